"""What mode `haim` changes, and by how much: both modes on one generated MIMIC world, modality by modality.

    python -m benchmarks.haim_and_clean [--size demo] [--seed 7]

Per modality, of the X-rays that both cohorts have: the share of items for which there is something, how many numbers
per item there are, and, where a number of the one has its counterpart in the other, the share of them that differ and
the median relative difference of those. X-rays are compared as the pixels that reach the network: the weights that HAIM
takes are not at hand here. Notes are compared with the packaged encoder in HAIM's way (pooler) and in the clean one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mmn.data.cohort import Cohort
from mmn.data.embeddings import Embeddings
from mmn.data.mimic import MIMIC
from mmn.data.mimic.generator import generate
from mmn.data.mimic.params import CxrParams
from mmn.featurizers import load_featurizer
from mmn.featurizers.image_reading import read_grey

MODES = ("clean", "haim")


def featurize(raw: Path, modality: str, cohort: Cohort, params: CxrParams) -> Embeddings:
    evidence = MIMIC.read_evidence(raw, modality, cohort, params)
    featurizer = load_featurizer(MIMIC.modality(modality).featurizer)
    settings = type(featurizer.defaults)(**({"mode": params.mode} if hasattr(featurizer.defaults, "mode") else {}))
    return featurizer.run(evidence, cohort, modality, settings, lambda done, total: None).embeddings


def pixels(raw: Path, cohort: Cohort, rows: np.ndarray, mode: Any) -> Embeddings:
    """The grey levels that reach a network of 224 x 224, as an embedding."""
    read = [read_grey(raw / path, 224, mode, 50_000_000) for path in cohort.items["image_path"].iloc[rows]]
    present = np.array([not isinstance(picture, str) for picture in read])
    values = np.stack([np.zeros((224, 224)) if isinstance(picture, str) else picture for picture in read])
    flat = np.where(present[:, None], values.reshape(len(read), -1), np.nan).astype(np.float32)
    items = cohort.items["item"].to_numpy()[rows]
    return Embeddings(items=items, values=flat[None, :, None], present=present[:, None])


def compared(clean: Embeddings, haim: Embeddings) -> dict[str, Any]:
    """Of the items that both have, in the order of the clean cohort."""
    place = {item: n for n, item in enumerate(haim.items)}
    mine = np.array([n for n, item in enumerate(clean.items) if item in place])
    theirs = np.array([place[clean.items[n]] for n in mine])
    row: dict[str, Any] = {
        "items": len(mine),
        "present, clean": f"{clean.present[mine, 0].mean():.0%}",
        "present, haim": f"{haim.present[theirs, 0].mean():.0%}",
        "numbers, clean": clean.width,
        "numbers, haim": haim.width,
        "differ": "-",
        "by (median)": "-",
    }
    if clean.width == haim.width:
        a, b = clean.values[0, mine, 0].astype(float), haim.values[0, theirs, 0].astype(float)
        both = clean.present[mine, :1] & haim.present[theirs, :1] & ~np.isnan(a) & ~np.isnan(b)
        size = np.maximum(np.abs(a), np.abs(b))
        relative = np.divide(np.abs(a - b), size, out=np.zeros_like(a), where=size > 0)
        differ = relative[both] > 1e-6
        row["differ"] = f"{differ.mean():.0%}" if both.any() else "-"
        row["by (median)"] = f"{np.median(relative[both][differ]):.0%}" if differ.any() else "-"
    return row


def compare(raw: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(facts of the two cohorts, modality -> comparison)."""
    params = {mode: CxrParams(mode=mode, **({"haim_dummies": False} if mode == "haim" else {})) for mode in MODES}
    cohorts = {mode: MIMIC.build_cohort(raw, params[mode]) for mode in MODES}
    facts: dict[str, Any] = {f"items, {mode}": len(cohorts[mode]) for mode in MODES}
    facts["items of both"] = len(set(cohorts["clean"].items["item"]) & set(cohorts["haim"].items["item"]))
    for mode in MODES:
        facts[f"patients on two sides of a fold, {mode}"] = straddling(cohorts[mode])
        in_a_test = cohorts[mode].folds.query("split == 'test'")["item"].nunique()
        facts[f"items in some test set, {mode}"] = f"{in_a_test / len(cohorts[mode]):.0%}"
    rows = {}
    for modality in ("demographics", "chart_events", "lab_events", "procedures", "notes", "ecg_notes"):
        made = {mode: featurize(raw, modality, cohorts[mode], params[mode]) for mode in MODES}
        rows[modality] = compared(made["clean"], made["haim"])
    shared = cohorts["clean"].items["item"].isin(cohorts["haim"].items["item"]).to_numpy().nonzero()[0][:200]
    rows["xray (pixels)"] = compared(*(pixels(raw, cohorts["clean"], shared, mode) for mode in MODES))
    history = {mode: history_of(raw, cohorts[mode], params[mode]) for mode in MODES}
    common = [item for item in history["clean"] if item in history["haim"]]
    wrong = np.mean([history["clean"][item] != history["haim"][item] for item in common])
    facts["X-rays whose image history is another in haim"] = f"{wrong:.0%} of {len(common)}"
    return facts, rows


def straddling(cohort: Cohort) -> int:
    sides = cohort.folds.merge(cohort.items[["item", "subject"]], on="item")
    return int(sides.groupby(["fold", "subject"])["split"].nunique().gt(1).groupby("subject").any().sum())


def history_of(raw: Path, cohort: Cohort, params: CxrParams) -> dict[str, frozenset]:
    """item -> its pictures with their share of the weight."""
    rows = MIMIC.read_evidence(raw, "xray_history", cohort, params).rows
    shares = rows["weight"] / rows.groupby("item", observed=True)["weight"].transform("sum").replace(0.0, 1.0)
    pairs = zip(rows["item"].astype(str), rows["source"].astype(str), shares.round(6), strict=True)
    found: dict[str, set] = {}
    for item, source, share in pairs:
        found.setdefault(item, set()).add((source, share))
    return {item: frozenset(pictures) for item, pictures in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="demo")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "mimic"
        generate(raw, options.size, options.seed)
        facts, rows = compare(raw)
    for what, value in facts.items():
        print(f"{what:<55}{value}")
    names = list(next(iter(rows.values())))
    print("\n| modality | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    for modality, row in rows.items():
        print(f"| {modality} | " + " | ".join(str(row[name]) for name in names) + " |")


if __name__ == "__main__":
    main()
