"""Train one architecture on one task set: all folds side by side."""

from __future__ import annotations

from dataclasses import replace

from mmn.modeling.encoders import restricted
from mmn.modeling.storage import write_model
from mmn.modeling.train import train
from mmn.orchestration.actions.model_inputs import notes_of, read_model_inputs
from mmn.orchestration.pictures import curve_picture
from mmn.orchestration.settings import training_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset, options = job.active[job.step.dataset].dataset, job.step.options
    cohort, embeddings, featurizers = read_model_inputs(job)
    job.tell(f"epochs of {cohort.num_folds} members")
    trained = train(
        cohort,
        embeddings,
        tuple(dataset.task(name) for name in options["tasks"]),
        options["architecture"],
        restricted(training_settings(job.workspace.params, dataset, options["architecture"]), tuple(embeddings)),
        progress=job.progress,
        checkpoint=job.checkpoint(options["architecture"]),
    )
    trained = replace(trained, notes=(*trained.notes, *notes_of(job)))
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
    return Work(summary=summary, pictures={"training loss": picture})
