"""The steps over several data sets: which modalities carry the same information, and one HighMMT over all of them.

They are there when `params.yaml` names data sets under `highmmt:`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from mmn.data import DATASETS
from mmn.modeling.highmmt.settings import HighMMTSettings
from mmn.orchestration.settings import HIGHMMT, joined_names
from mmn.orchestration.step import Active, Need, Step

_FOLDER = f"results/{HIGHMMT}"


def highmmt_steps(active: Mapping[str, Active]) -> Iterable[Step]:
    """None where fewer than two of the named data sets are there."""
    joined = {name: entry for name, entry in active.items() if entry.joined is not None}
    if len(joined) < 2:
        return
    settings = next(iter(joined.values())).joined
    assert settings is not None
    tasks = {
        name: tuple(task for task in entry.tasks if task in settings.tasks.get(name, entry.tasks))
        for name, entry in joined.items()
    }
    lacking = not_there(settings, active)
    besides = f" Not there: {', '.join(lacking)}." if lacking else ""
    modalities = {name: entry.modalities_for(tasks[name]) for name, entry in joined.items()}
    names = joined_names(settings.datasets)
    readers = [DATASETS[name].split(":")[0] for name in joined]
    inputs = (
        *(f"cohorts/{name}" for name in joined),
        *(f"features/{name}/{m}" for name, found in modalities.items() for m in found),
    )
    kinds = {
        "unimodal": "How much worse a model of one modality is for having begun with another's weights: "
        "who carries the same information (MU).",
        "crossmodal": "The same between pairs of modalities of one data set (MC).",
        "sharing": "One HighMMT over all data sets, sharing everything, in groups by heterogeneity, in groups by lot, "
        "and nothing: scores against parameters.",
        "transfer": "What the other data sets are worth to each, with all of its training labels and with few.",
        "ablations": "One HighMMT over all data sets without modality marks, without its encoder, without its pairs.",
        "involvement": "In how many data sets and tasks each shared parameter of the joint model takes part.",
        "interference": "What the labels of one data set, flipped, do to the others that share its parameters.",
    }
    pairs = sum(len(list(combinations(found, 2))) for found in modalities.values())
    if not settings.crossmodal or pairs < 2:
        del kinds["crossmodal"]
    if not settings.few_shot:
        del kinds["transfer"]
    if not settings.ablations:
        del kinds["ablations"]
    if not settings.analyses:
        del kinds["involvement"], kinds["interference"]
    of_kind = {"sharing": measured_of(kinds), **dict.fromkeys(("involvement", "interference"), (f"{_FOLDER}/sharing",))}
    for kind, description in kinds.items():
        key = f"{_FOLDER}/{kind}"
        action = "heterogeneity" if key in measured_of(kinds) else f"highmmt_{kind}"
        yield Step(
            key=key,
            kind=HIGHMMT,
            dataset=HIGHMMT,
            out=f"artifacts/{key}",
            description=description + besides,
            deps=(*inputs, *of_kind.get(kind, ())),
            sections=(HIGHMMT, *(f"{name}.training" for name in joined)),
            modules=(f"mmn.orchestration.actions.{action}",),
            tables=tuple(module for reader in readers for module in (reader, f"{reader}.tasks")),
            options={
                "kind": kind,
                "modalities": modalities,
                "names": {name: {m: names[name][m] for m in found} for name, found in modalities.items()},
                "tasks": tasks,
                "lacking": lacking,
            },
            need=Need(gpus=1, mem_gb=8, minutes=240),
            action=action,
        )


def not_there(settings: HighMMTSettings, active: Mapping[str, Active]) -> list[str]:
    """Data sets that are to be joined and whose raw files are not here."""
    return [name for name in settings.datasets if name not in active]


def measured_of(kinds: Iterable[str]) -> tuple[str, ...]:
    """The steps whose distances make groups."""
    return tuple(f"{_FOLDER}/{kind}" for kind in kinds if kind in {"unimodal", "crossmodal"})
