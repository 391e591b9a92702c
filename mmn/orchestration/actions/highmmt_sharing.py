"""One HighMMT over all data sets under every plan of who shares with whom: scores against parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from mmn.data.files import read_provenance
from mmn.modeling.highmmt.features import feature_distances
from mmn.modeling.highmmt.heterogeneity import Source
from mmn.modeling.highmmt.joint import Joint
from mmn.modeling.highmmt.sharing import PRETRAINED, Plan, compare_plans, plans
from mmn.modeling.storage import write_model
from mmn.modeling.trained import Trained
from mmn.orchestration.actions.heterogeneity import nodes_of
from mmn.orchestration.actions.highmmt_inputs import folder_of, read_sources, scores_of, write_tables
from mmn.orchestration.settings import highmmt_settings, highmmt_training
from mmn.orchestration.walk import Job, Work


def run(job: Job) -> Work:
    settings, params = highmmt_settings(job.workspace.params), job.workspace.params
    sources = read_sources(job)
    unimodal, crossmodal = (nodes_of(sources, pairs=pairs) for pairs in (False, True))
    names = [node.name for node in unimodal]
    has_pairs = "results/highmmt/crossmodal" in job.step.deps
    measured = _distances(job, "unimodal", names)
    between_pairs = _distances(job, "crossmodal", [node.name for node in crossmodal]) if has_pairs else None
    chosen: list[Plan] = []

    def choose(first: Joint) -> list[Plan]:
        chosen.extend(
            plans(
                measured,
                names,
                between_pairs,
                [(node.modalities[0], node.modalities[1]) for node in crossmodal],
                [budget for budget in settings.budgets if budget < len(names)],
                settings.by_lot,
                features=feature_distances(first, sources),
            )
        )
        return chosen

    joints = compare_plans(
        sources,
        choose,
        highmmt_training(params, "training"),
        highmmt_training(params, "tuning"),
        settings.batch_sizes,
        job.progress,
        job.checkpoint,
        settings.cross_group if settings.mode == "published" else (),
    )
    rows: list[dict[str, object]] = []
    scores = scores_of(sources, _written(job, sources, joints, rows))
    skill = scores[scores["kind"] == "model"].groupby("model")["skill"].mean()
    front = pd.DataFrame(rows)
    front["mean_skill"] = front["plan"].map(skill)
    write_tables(job, {"front": front, "scores": scores}, plans={plan.name: _told(plan) for plan in chosen})
    best = front.loc[front["mean_skill"].idxmax()]
    return Work(summary={"plans": len(front), "best": best["plan"], "its mean skill": round(best["mean_skill"], 4)})


def _written(
    job: Job, sources: Mapping[str, Source], joints: Iterator, rows: list[dict[str, object]]
) -> Iterator[tuple[str, dict[str, Trained]]]:
    """Each plan's models, stored below `models/`, a folder per plan and data set, that `mmn predict` reads."""
    identities = {
        job.step.options["names"][name][m]: (read_provenance(job.path(f"features/{name}/{m}")) or {})["identity"]
        for name, found in job.step.options["modalities"].items()
        for m in found
    }
    for plan, joint in joints:
        rows.append(
            {
                "plan": plan.name,
                "kind": plan.kind,
                "num_encoders": len(joint.parts.encoders),
                "num_blocks": len(joint.parts.blocks),
                "num_parameters": joint.num_parameters,
            }
        )
        others = ", ".join(joint.trained)
        note = f"trained with {others} as one model ({plan.name}); its encoders and pair blocks are shared with theirs"
        for name, trained in joint.trained.items():
            folder = job.out / "models" / folder_of(plan.name) / name
            own = {m: identities[m] for m in sources[name].embeddings}
            write_model(folder, replace(trained, notes=(*trained.notes, note)), job.provenance, own)
        yield plan.name, joint.trained


def _distances(job: Job, kind: str, names: list[str]) -> np.ndarray:
    table = pd.read_parquet(job.path(f"results/highmmt/{kind}") / "distances.parquet")
    wide = table.pivot(index="source", columns="target", values="distance").reindex(index=names, columns=names)
    found = wide.to_numpy(dtype=float, copy=True)
    np.fill_diagonal(found, 0.0)
    return found


def _told(plan: Plan) -> dict[str, dict[str, int]]:
    assert plan.kind != PRETRAINED
    return {"encoder_groups": dict(plan.encoder_groups), "pair_groups": dict(plan.pair_groups)}
