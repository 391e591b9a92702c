"""One modality's evidence to its embedding table."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmn.data.cohort import read_cohort
from mmn.data.embeddings import check_embeddings, write_embeddings
from mmn.featurizers import load_featurizer
from mmn.featurizers.featurizer import MACHINE_SETTINGS, Featurized
from mmn.featurizers.shards import Shards
from mmn.orchestration.pictures import embedding_picture
from mmn.orchestration.settings import cohort_settings, featurizer_settings
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    dataset = job.active[job.step.dataset].dataset
    modality = dataset.modality(job.step.options["modality"])
    params = job.workspace.params
    cohort = read_cohort(job.path(f"cohorts/{dataset.name}"))
    prepared = {name: job.path(f"prepared/{dataset.raw}/{name}") for name in modality.prepared}
    more = (prepared,) if prepared else ()
    evidence = dataset.read_evidence(job.raw, modality.name, cohort, cohort_settings(params, dataset), *more)
    featurizer = load_featurizer(modality.featurizer)
    settings = featurizer_settings(params, dataset, modality.name)
    shards = Shards(job.workspace.shards)
    made = featurizer.run(evidence, cohort, modality.name, settings, job.progress, shards=shards)
    shards.sweep()
    return write_featurized(job, made, cohort.items["item"].to_numpy(), identity_of(featurizer.name, settings, made))


def identity_of(name: str, settings: Any, made: Featurized) -> dict[str, Any]:
    """What makes two embeddings comparable: the featurizer, all its settings, its weights."""
    kept = {key: value for key, value in dataclasses.asdict(settings).items() if key not in MACHINE_SETTINGS}
    return {"name": name, "settings": kept, **({"weights": made.card["weights"]} if "weights" in made.card else {})}


def write_featurized(job: Job, made: Featurized, items, identity: dict[str, Any]) -> Work:
    embeddings, featurizer = made.embeddings, identity["name"]
    check_embeddings(embeddings, items, job.step.key)
    write_embeddings(
        job.out,
        embeddings,
        {**job.provenance, "featurizer": {"name": featurizer, **made.card}, "identity": identity},
        made.set_aside,
    )
    summary = {
        "items": len(items),
        "dimensions": embeddings.width,
        "steps": embeddings.num_steps,
        "presence rate": round(float(embeddings.present.mean()), 4),
        "items with nothing": int((~embeddings.present.any(axis=1)).sum()),
        "featurizer": featurizer,
    }
    summary |= {key: value for key, value in made.card.items() if isinstance(value, str | int | float)}
    summary |= {f"left out: {reason}": n for reason, n in sorted(made.card.get("quarantined", {}).items())}
    return Work(summary=summary, pictures={"the embedding": embedding_picture(embeddings)})
