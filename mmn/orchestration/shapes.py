"""What is in an artifact, in words for its page: shapes, what a row is, columns and their units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmn.data.dataset import Task
from mmn.orchestration.checks.tables import TABLES, Table
from mmn.orchestration.served_report import LINK
from mmn.orchestration.step import Active, Step

EMBEDDINGS = ("features", "autoencoder")
# Of an embedding table (`mmn/data/embeddings.py`).
EMBEDDING = {
    "fold": "The fold on whose training rows it was fitted; 0 is the first.",
    "item": "What one prediction is about, in the cohort's order.",
    "step": "0 is the first.",
    "embedding": "Null where the modality is absent.",
    "set_aside": "Why a part of the item's evidence was left out; null where none was.",
}
# Of an entry of a raw manifest: name -> (type, what it is).
MANIFEST = {
    "path": ("string", "Below the raw folder."),
    "size": ("int", "Bytes."),
    "md5": ("string", "Of the bytes."),
    "rows": ("int", "Data rows, of a table."),
}
_SECONDS = "Position in the video, seconds."
_EVENT = {
    "subject_id": "Patient.",
    "hadm_id": "Admission; null outside one.",
    "stay_id": "ICU stay; null outside one.",
    "itemid": "What was measured or done, by the source's dictionary.",
    "time": "When it happened, by the hospital's shifted clock.",
    "storetime": "When it was known, by the same clock.",
    "number": "The value, in `unit`; null where it is none.",
    "unit": "As the source writes it.",
}
# Raw folder -> columns of its prepared tables.
PREPARED: Mapping[str, Mapping[str, str]] = {
    "edu": {
        "course": "The course's id.",
        "user_id": "Student, by the log's own id.",
        "time": "Microseconds since 1970, UTC.",
        "stream": "Which log: 0 video, 1 problem, 2 forum.",
        "row": "Data row of its csv, from 0.",
        "event_type": "What was done.",
        "content": "Id of the video or problem; null in the forum.",
        "current_time": _SECONDS,
        "old_time": _SECONDS,
        "new_time": _SECONDS,
        "old_speed": "Playback speed, 1 is as recorded.",
        "new_speed": "Playback speed, 1 is as recorded.",
        "grade": "Points.",
        "submission_number": "1 is the first.",
    },
    "mimic": _EVENT,
    "haim": {"haim_id": "Admission.", "img_id": "Image."},
}
_ROW_OF = {"edu": "click", "mimic": "event", "haim": "sound row of the file"}


def shape(step: Step, active: Mapping[str, Active], root: Path) -> str:
    """Markdown; "" of a kind that has nothing to say. Where an embedding lies there, its own numbers are in it."""
    entry = active.get(step.dataset)
    if step.kind == "raw":
        return "JSON: an entry per file, sorted by path: its size in bytes, its MD5, and the rows of a table."
    if step.kind == "prepared":
        return (
            f"Shape (row, column): one row per {_ROW_OF.get(step.dataset, 'row of the raw table')}. What it was made "
            "from, and rows left out by reason, are in its footer."
        )
    if step.kind == "report":
        return (
            "`index.html`: one page that loads nothing else. `csv/`: each of its tables, with the unit beside each "
            f"value. [Open it]({LINK})."
        )
    if tables := tables_of(step):
        return _tables(tables)
    if entry is None:
        return ""
    if step.kind == "cohort":
        there = [task for task in entry.dataset.tasks if task.name not in entry.inspection.skipped]
        told = "One row per item; targets are (item,) or (item, step), null where there is no label."
        return f"{told}\n\n{_tasks(there)}"
    if step.kind in EMBEDDINGS:
        modality = entry.dataset.modality(step.options["modality"])
        generic = "(fold, item, step, D)" if step.kind == "autoencoder" else "([fold,] item, [step,] D)"
        why = "; ".join(f"not for {task}: {reason}" for task, reason in modality.unusable_for.items())
        source = ", ".join((*modality.sources, *modality.prepared))
        return (
            f"Shape {embedding_shape(root / step.out) or generic}: float32, one list of D per row, null where absent. "
            f"From {source} ({modality.evidence})." + (f" {why}." if why else "")
        )
    if step.kind == "model":
        tasks = [entry.dataset.task(name) for name in step.options["tasks"]]
        read = ", ".join(step.options["modalities"])
        return f"Reads {read}, in that order. Predicts probabilities, or the target in its unit:\n\n{_tasks(tasks)}"
    return ""


def embedding_shape(path: Path) -> str:
    """As "(item, step, D) = (57, 10, 15)", from the footer of what lies there; "" where no embedding does: the page of
    a broken one opens, and whoever reads it says what is wrong."""
    if not path.is_file():
        return ""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError):
        return ""
    names = file.schema_arrow.names
    if "embedding" not in names or not pa.types.is_fixed_size_list(file.schema_arrow.field("embedding").type):
        return ""
    kind = file.schema_arrow.field("embedding").type
    sizes = {name: _largest(file, name) + 1 for name in ("fold", "step") if name in names}
    sizes["item"] = file.metadata.num_rows // max(sizes.get("fold", 1) * sizes.get("step", 1), 1)
    axes = [name for name in ("fold", "item", "step") if name in sizes]
    return f"({', '.join(axes)}, D) = ({', '.join(str(sizes[name]) for name in axes)}, {kind.list_size})"


def _largest(file: pq.ParquetFile, name: str) -> int:
    at = file.schema_arrow.names.index(name)
    return max(
        (int(file.metadata.row_group(g).column(at).statistics.max) for g in range(file.num_row_groups)), default=0
    )


def tables_of(step: Step) -> Mapping[str, Table]:
    """The tables that the folder of a step of results holds."""
    return TABLES.get(str(step.options.get("kind", step.kind)), {}) if step.key.startswith("results/") else {}


def described(step: Step, table: str) -> dict[str, str]:
    """Column -> what it is, with the unit, of a parquet of this step."""
    if step.kind in EMBEDDINGS:
        return EMBEDDING
    if step.kind == "prepared":
        return dict(PREPARED.get(step.dataset, {}))
    contract = tables_of(step).get(table)
    return {name: column.means for name, column in contract.contract.items()} if contract else {}


def _tables(tables: Mapping[str, Table]) -> str:
    rows = [
        f"| {name}{' (not always)' if table.optional else ''} | {table.rows} | {', '.join(table.contract)} |"
        for name, table in tables.items()
    ]
    return "\n".join(["| table | one row per | columns |", "|---|---|---|", *rows])


_PROBABILITIES = {"binary": "P(1)", "multiclass": "P of each class"}


def _tasks(tasks: list[Task]) -> str:
    rows = [
        f"| {t.name} | {t.kind} | {t.unit or _PROBABILITIES.get(t.kind, '')} | "
        f"{'per step' if t.per_step else 'static'}, read after step {t.read_step} |"
        for t in tasks
    ]
    return "\n".join(["| task | kind | unit | target |", "|---|---|---|---|", *rows])
