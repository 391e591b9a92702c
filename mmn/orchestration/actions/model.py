"""Train one architecture on one task set: all folds side by side."""

from __future__ import annotations

from dataclasses import replace

from mmn.data.cohort import read_cohort
from mmn.data.embeddings import read_embeddings
from mmn.data.files import read_provenance
from mmn.modeling.storage import write_model
from mmn.modeling.train import train
from mmn.orchestration.pictures import curve_picture
from mmn.orchestration.settings import training_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset, options = job.active[job.step.dataset].dataset, job.step.options
    keys = dict(zip(options["modalities"], job.step.deps[1:], strict=True))
    trained = train(
        read_cohort(job.path(f"cohorts/{dataset.name}")),
        {modality: read_embeddings(job.path(key)) for modality, key in keys.items()},
        tuple(dataset.task(name) for name in options["tasks"]),
        options["architecture"],
        training_settings(job.workspace.params, dataset, options["architecture"]),
        progress=job.progress,
        checkpoint=job.checkpoint(options["architecture"]),
    )
    reasons = [dataset.modality(name).unusable_for for name in options["forced"]]
    forced = tuple(
        f"{name} was forced in, although it defines {', '.join(sorted(why))}: {'; '.join(sorted(set(why.values())))}"
        for name, why in zip(options["forced"], reasons, strict=True)
    )
    trained = replace(trained, notes=(*trained.notes, *forced))
    featurizers = {name: (read_provenance(job.path(key)) or {})["identity"] for name, key in keys.items()}
    write_model(job.out, trained, job.provenance, featurizers)
    history = trained.history.groupby("epoch")[["train_loss", "validation_score"]].mean()
    summary = {
        "tasks": ", ".join(options["tasks"]),
        "modalities": ", ".join(options["modalities"]),
        "members": len(trained.members),
        "epochs": len(history),
        "parameters per member": trained.num_parameters,
    }
    for number, note in enumerate(trained.notes):
        summary[f"note {number + 1}"] = note
    picture = curve_picture({"training loss": list(history["train_loss"])}, "epoch", "mean over members")
    return Work(summary=summary, picture=picture)
