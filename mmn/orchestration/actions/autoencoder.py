"""Compress one modality's embeddings with an autoencoder fitted per fold."""

from __future__ import annotations

from mmn.data.cohort import read_cohort
from mmn.data.embeddings import read_embeddings
from mmn.featurizers.autoencoder import fit_autoencoder
from mmn.orchestration.actions.features import identity_of, write_featurized
from mmn.orchestration.settings import autoencoder_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset = job.active[job.step.dataset].dataset
    cohort = read_cohort(job.path(f"cohorts/{dataset.name}"))
    embeddings = read_embeddings(job.path(f"features/{dataset.name}/{job.step.options['modality']}"))
    settings = autoencoder_settings(job.workspace.params, dataset)
    # Units that read a whole window read it up to where the tasks are read.
    read_steps = tuple(task.read_step for task in dataset.tasks if task.name in cohort.targets)
    made = fit_autoencoder(embeddings, cohort, settings, 0, job.progress, read_steps)
    # It was fitted here: another fit gives other numbers for the same item.
    identity = {**identity_of("autoencoder", settings, made), "fitted on": job.provenance["inputs"]}
    return write_featurized(job, made, cohort.items["item"].to_numpy(), identity)
