"""What every model is trained on, and what its card must say of that."""

from __future__ import annotations

from typing import Any

from mmn.data.cohort import Cohort, read_cohort
from mmn.data.embeddings import Embeddings, read_embeddings
from mmn.data.files import read_provenance
from mmn.orchestration.walk import Job


def read_model_inputs(job: Job) -> tuple[Cohort, dict[str, Embeddings], dict[str, Any]]:
    """The cohort, and of each modality its embeddings and what made them."""
    keys = dict(zip(job.step.options["modalities"], job.step.deps[1:], strict=True))
    return (
        read_cohort(job.path(f"cohorts/{job.step.dataset}")),
        {modality: read_embeddings(job.path(key)) for modality, key in keys.items()},
        {modality: (read_provenance(job.path(key)) or {})["identity"] for modality, key in keys.items()},
    )


def notes_of(job: Job) -> tuple[str, ...]:
    """What is missing from the raw files and hence not read, and what was read although it defines a label."""
    entry = job.active[job.step.dataset]
    wanted = entry.dataset.modalities if entry.chosen is None else map(entry.dataset.modality, entry.chosen)
    missing = [
        modality.name
        for modality in wanted
        if modality.name in entry.inspection.skipped and (modality.by_default or entry.chosen is not None)
    ]
    notes = [f"not read, as the raw files for it are not there: {', '.join(missing)}"] if missing else []
    for name in job.step.options["forced"]:
        why = entry.dataset.modality(name).unusable_for
        reasons = "; ".join(sorted(set(why.values())))
        notes.append(f"{name} was forced in, although it defines {', '.join(sorted(why))}: {reasons}")
    return tuple(notes)
