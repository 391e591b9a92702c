"""Both models beside the best floors on real station tables, under every protocol, in °C, % and m.

python -m benchmarks.stations --raw DIR [--protocols stations blocked chronological both] [--max-items 800]
                              [--windows 30] [--stride-hours 168] [--block-degrees 0.2] [--folder PATH] [--single]
                              [--set features.air.incomplete=absent autoencoder.unit=window training.epochs=100]

Each protocol is a workspace of its own, whose steps are walked as `mmn run` walks them, one after the other in this
process. Without --single, MultiModN is trained on all tasks at once alone, not on each as well: a fifth of the time.
--folder keeps the workspaces: a second call goes on from them, and `mmn run` there makes the report.
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
    return score(read_cohort(workspace.root / steps[f"cohorts/{NAME}"].out), tasks, predictions, embeddings)


def _is_one_of_two(key: str) -> bool:
    return key.endswith("/p_fusion") or key.split("/")[2] in WEATHER2K.multitask


def compact(scores: pd.DataFrame, metric: str = "rmse") -> pd.DataFrame:
    """One row per task: the models' errors, the best two floors' and their names, and which models lose to the best."""
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
        for place in range(min(2, len(floors))):
            floor = floors.iloc[place]
            row |= {f"floor {place + 1}": floor["estimate"], f"its name {place + 1}": floor["model"]}
        mean, last = (of_task.loc[of_task["model"] == name, "estimate"] for name in ("training mean", "persistence"))
        row |= {"mean": mean.iloc[0], "persistence": last.iloc[0]}
        # `beats_floor` is null where there is no floor to lose to.
        loses = [
            name for name, beats in zip(names, models["beats_floor"], strict=True) if beats is not pd.NA and not beats
        ]
        rows.append({**row, "loses": ", ".join(loses) or "none"})
    return pd.DataFrame(rows)


def cohort_settings(protocol: str, args: argparse.Namespace) -> dict[str, Any]:
    if protocol in IN_TIME:
        return {"max_items": args.max_items}
    found: dict[str, Any] = {"windows_per_station": args.windows, "stride_hours": args.stride_hours}
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
    parser.add_argument("--raw", type=Path, required=True, help="the folder of the station tables")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--max-items", type=int, default=800, help="where time is held out")
    parser.add_argument("--windows", type=int, default=30, help="of each station, where all share their hours")
    parser.add_argument("--stride-hours", type=int, default=168, help="between these")
    parser.add_argument("--block-degrees", type=float, default=0.2)
    parser.add_argument("--folder", type=Path, help="keep the workspaces here")
    parser.add_argument("--single", action="store_true", help="MultiModN on each task alone as well")
    parser.add_argument("--set", dest="changes", nargs="*", default=[], metavar="KEY=VALUE", help="further parameters")
    args = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; RMSE at the read-out, mean over folds", flush=True)
    with tempfile.TemporaryDirectory(prefix="mmn-stations-") as temporary:
        for protocol in args.protocols:
            wall, cpu = time.perf_counter(), time.process_time()
            folder = (args.folder or Path(temporary)) / protocol
            scores = score_protocol(
                args.raw, folder, protocol, cohort_settings(protocol, args), nested(args.changes), args.single
            )
            took = f"{time.perf_counter() - wall:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
            print(f"\n{protocol} ({scores['num_folds'].max()} folds; {took})")
            print(compact(scores).round(2).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
