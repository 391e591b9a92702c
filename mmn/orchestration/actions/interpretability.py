"""IMC and CP of every MultiModN model of a data set; aggregates only."""

from __future__ import annotations

import pandas as pd

from mmn.modeling.interpret import cumulative_predictions, individual_contributions
from mmn.modeling.storage import read_model
from mmn.orchestration.actions.results_card import read_inputs, write_results
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    cohort, embeddings = read_inputs(job, job.active[job.step.dataset].modalities)
    models = [key for key in job.step.deps if key.startswith("models/")]
    imc, cp = [], []
    for done, key in enumerate(models):
        task_set = key.split("/")[2]
        trained = read_model(job.path(key))
        used = {shape.name: embeddings[shape.name] for shape in trained.modalities}
        imc.append(individual_contributions(trained, cohort, used).assign(task_set=task_set))
        cp.append(cumulative_predictions(trained, cohort, used).assign(task_set=task_set))
        job.progress(done + 1, len(models))
    tables = {"imc": pd.concat(imc, ignore_index=True), "cp": pd.concat(cp, ignore_index=True)}
    write_results(job, cohort, embeddings, tables)
    return Work(summary={"models": len(models), "contributions": len(tables["imc"]), "cumulative": len(tables["cp"])})
