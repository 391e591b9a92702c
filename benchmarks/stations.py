"""Both models beside the floors on real station tables, under every protocol, in °C, % and m.

python -m benchmarks.stations --raw DIR [DIR ...] [--protocols stations blocked chronological both] [--max-items 800]
                              [--windows N] [--stride-hours H] [--block-degrees 0.2] [--folder PATH] [--scores FILE]
                              [--set features.air.incomplete=absent autoencoder.unit=window training.epochs=100]
                              [--single]

Each data set and protocol is a workspace of its own, whose steps are walked as `mmn run` walks them, one after the
other in this process, and a table in Markdown: RMSE/MAE at the read-out. --scores writes every metric of every model
and floor as csv. Without --single, MultiModN is trained on all tasks at once alone, not on each as well: a fifth of the
time. --folder keeps the workspaces: a second call goes on from them, and `mmn run` there makes the report.

prsa-beijing names its sites and does not say where they are: without a coordinates.csv beside its tables, it is read
with the approximate positions below.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mmn.data.cohort import read_cohort
from mmn.data.embeddings import read_embeddings
from mmn.data.weather2k import WEATHER2K
from mmn.data.weather2k.sources import find_layout
from mmn.data.weather2k.splits import IN_TIME, PROTOCOLS
from mmn.modeling.scores import score
from mmn.orchestration.demo import make_workspace
from mmn.orchestration.dvc_pipeline import write_stages
from mmn.orchestration.run import make_plan
from mmn.orchestration.steps import active_datasets, build_steps
from mmn.orchestration.walk import walk
from mmn.orchestration.workspace import Workspace

NAME = WEATHER2K.name
MODELS = {"multimodn": "MultiModN", "p_fusion": "P-Fusion"}
# Floors that have a column of their own, whichever is the best.
SHOWN = {"persistence": "persistence", "climatology": "climatology", "ridge on 24 h": "ridge"}
# Windows of each station and the hours between them, where all stations share their hours.
WINDOWS = {"prsa-beijing": (30, 168), "nycflights13": (100, 72)}
OTHER_WINDOWS = (30, 168)
# Degrees north and east, from maps: enough to tell which sites are neighbours. The plain lies about 50 m above the sea.
BEIJING_POSITIONS = {
    "Aotizhongxin": (39.98, 116.40), "Changping": (40.22, 116.23), "Dingling": (40.29, 116.22),
    "Dongsi": (39.93, 116.42), "Guanyuan": (39.93, 116.34), "Gucheng": (39.91, 116.18), "Huairou": (40.33, 116.63),
    "Nongzhanguan": (39.94, 116.46), "Shunyi": (40.13, 116.66), "Tiantan": (39.89, 116.41),
    "Wanliu": (39.99, 116.29), "Wanshouxigong": (39.88, 116.35),
}  # fmt: skip
BEIJING_ALTITUDE = 50


def with_positions(raw: Path, folder: Path) -> Path:
    """The folder to read: `raw`, or, of prsa-beijing without a coordinates.csv, `folder` with links to its tables and
    the positions above."""
    if "geographic" not in WEATHER2K.inspect(raw).skipped or kind_of(raw) != "prsa-beijing":
        return raw
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(raw.glob("*.csv*")):
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path.resolve())
    rows = [(site, lat, lon, BEIJING_ALTITUDE) for site, (lat, lon) in BEIJING_POSITIONS.items()]
    pd.DataFrame(rows, columns=["station", "lat", "lon", "alt"]).to_csv(folder / "coordinates.csv", index=False)
    return folder


def kind_of(raw: Path) -> str:
    """The column map's name; "" of Weather2K's own files."""
    column_map = find_layout(raw).column_map
    return column_map.name if column_map else ""


def score_protocol(
    raw: Path, folder: Path, protocol: str, cohort: dict[str, Any], settings: dict[str, Any], single: bool
) -> pd.DataFrame:
    """The table of `mmn.modeling.scores` for one protocol. folder: its workspace, new or from an earlier call.

    cohort: parameters beside the protocol; settings: blocks of `params.yaml`, such as `training`, that stand over them.
    """
    workspace = Workspace(folder) if (folder / "params.yaml").exists() else make_workspace(folder)
    params = {NAME: {**settings, "cohort": {"protocol": protocol, **cohort, **settings.get("cohort", {})}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    workspace = Workspace(workspace.root)
    workspace.link_raw(WEATHER2K.raw, raw)
    active = active_datasets(workspace)
    steps = build_steps(active)
    write_stages(workspace, steps)
    models = [step.key for step in steps.values() if step.kind == "model" and (single or _is_one_of_two(step.key))]
    for key in make_plan(workspace, steps, models).keys:
        walk(workspace, steps[key], steps, active)
    predictions = {}
    for key in models:
        _, _, task_set, model = key.split("/")
        predictions[task_set, model] = pd.read_parquet(workspace.root / steps[key].out / "predictions.parquet")
    entry = active[NAME]
    embeddings = {m: read_embeddings(workspace.root / steps[f"features/{NAME}/{m}"].out) for m in entry.modalities}
    tasks = tuple(task for task in WEATHER2K.tasks if task.name not in entry.inspection.skipped)
    alone = {task.name: entry.modalities_for((task.name,)) for task in tasks}
    cohort_read = read_cohort(workspace.root / steps[f"cohorts/{NAME}"].out)
    return score(cohort_read, tasks, predictions, embeddings, alone=alone)


def _is_one_of_two(key: str) -> bool:
    return key.endswith("/p_fusion") or key.split("/")[2] in WEATHER2K.multitask


def compact(scores: pd.DataFrame, metric: str = "rmse") -> pd.DataFrame:
    """One row per task: the models' errors, those of `SHOWN` and of the mean (NaN where a floor was not fitted), the
    best floor's and its name, and which models lose to that."""
    rows = []
    for task, of_task in scores[scores["metric"] == metric].groupby("task", sort=False):
        floors = of_task[of_task["kind"] == "floor"].dropna(subset="estimate").sort_values("estimate")
        row: dict[str, Any] = {"task": task, "unit": of_task["unit"].iloc[0], "items": int(of_task["num_items"].max())}
        models = of_task[of_task["kind"] == "model"]
        names = [
            MODELS[m] + (" alone" if m == "multimodn" and task_set == task else "")
            for m, task_set in zip(models["model"], models["task_set"], strict=True)
        ]
        row |= dict(zip(names, models["estimate"], strict=True))
        known = dict(zip(floors["model"], floors["estimate"], strict=True))
        row |= {shown: known.get(name, float("nan")) for name, shown in {**SHOWN, "training mean": "mean"}.items()}
        best = floors.iloc[0] if len(floors) else None
        row |= (
            {"best floor": best["estimate"], "is": best["model"]}
            if best is not None
            else {"best floor": None, "is": ""}
        )
        # `beats_floor` is null where there is no floor to lose to.
        loses = [
            name for name, beats in zip(names, models["beats_floor"], strict=True) if beats is not pd.NA and not beats
        ]
        rows.append({**row, "loses": ", ".join(loses) or "none"})
    return pd.DataFrame(rows)


def as_markdown(scores: pd.DataFrame, protocol: str) -> str:
    """Rows of a table, RMSE/MAE in the target's unit; a model that beats its best floor's RMSE is bold."""
    rmse, mae = (compact(scores, metric).set_index("task") for metric in ("rmse", "mae"))
    models = [name for name in rmse.columns if name.removesuffix(" alone") in MODELS.values()]
    columns = [*models, *SHOWN.values(), "mean"]
    lines = [f"| {protocol} | items | " + " | ".join([*columns, "best floor", "loses"]) + " |"]
    lines.append("|---" * (len(columns) + 4) + "|")
    for task, row in rmse.iterrows():
        cells = []
        for name in columns:
            cell = _pair(row[name], mae.loc[task, name], row["unit"])
            beats = name in models and name not in row["loses"].split(", ") and cell
            cells.append(f"**{cell}**" if beats else cell)
        best = f"{_rounded(row['best floor'], row['unit'])} {row['is']}"
        lines.append(f"| {task}, {row['unit']} | {row['items']} | " + " | ".join([*cells, best, row["loses"]]) + " |")
    return "\n".join(lines)


def _pair(rmse: float, mae: float, unit: str) -> str:
    return "" if pd.isna(rmse) else f"{_rounded(rmse, unit)}/{_rounded(mae, unit)}"


def _rounded(value: float, unit: str) -> str:
    return "" if pd.isna(value) else f"{value:.{ {'m': 0, '%': 1}.get(unit, 2) }f}"


def cohort_settings(protocol: str, kind: str, args: argparse.Namespace) -> dict[str, Any]:
    if protocol in IN_TIME:
        return {"max_items": args.max_items}
    windows, stride = WINDOWS.get(kind, OTHER_WINDOWS)
    found: dict[str, Any] = {
        "windows_per_station": args.windows or windows, "stride_hours": args.stride_hours or stride,
    }  # fmt: skip
    return found | ({"block_degrees": args.block_degrees} if protocol == "blocked" else {})


def nested(pairs: list[str]) -> dict[str, Any]:
    """ "training.epochs=100" -> {"training": {"epochs": 100}}, over this script's own settings."""
    # The paper's 128 suits its 1,866 stations; a fold of a few stations trains on some hundred windows.
    found: dict[str, Any] = {"training": {"batch_size": 32, "epochs": 120}}
    for pair in pairs:
        dotted, _, value = pair.partition("=")
        *blocks, name = dotted.split(".")
        place = found
        for block in blocks:
            place = place.setdefault(block, {})
        place[name] = yaml.safe_load(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, nargs="+", help="folders of station tables")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--max-items", type=int, default=800, help="where time is held out")
    parser.add_argument("--windows", type=int, help="of each station, where all share their hours")
    parser.add_argument("--stride-hours", type=int, help="between these")
    parser.add_argument("--block-degrees", type=float, default=0.2)
    parser.add_argument("--folder", type=Path, help="keep the workspaces here")
    parser.add_argument("--scores", type=Path, help="a csv of every metric")
    parser.add_argument("--single", action="store_true", help="MultiModN on each task alone as well")
    parser.add_argument("--set", dest="changes", nargs="*", default=[], metavar="KEY=VALUE", help="further parameters")
    args = parser.parse_args()
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; RMSE/MAE at the read-out, mean over folds", flush=True
    )
    found = []
    with tempfile.TemporaryDirectory(prefix="mmn-stations-") as temporary:
        folder = args.folder or Path(temporary)
        for given in args.raw:
            kind = kind_of(given)
            raw = with_positions(given, folder / f"{given.name}-raw")
            for protocol in args.protocols:
                wall, cpu = time.perf_counter(), time.process_time()
                cohort, settings = cohort_settings(protocol, kind, args), nested(args.changes)
                scores = score_protocol(raw, folder / given.name / protocol, protocol, cohort, settings, args.single)
                found.append(scores.assign(raw=given.name, protocol=protocol))
                took = f"{time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
                print(f"\n{given.name}, {protocol}: {scores['num_folds'].max()} folds; {took}\n", flush=True)
                print(as_markdown(scores, protocol), flush=True)
                if args.scores:
                    pd.concat(found).drop(columns="fold_values").to_csv(args.scores, index=False)


if __name__ == "__main__":
    main()
