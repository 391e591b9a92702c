"""What a data set is: its raw sources, its modalities, its tasks, and the functions that read them.

A data set is one `Dataset` value. `mmn.data.DATASETS` is the table of contents; assets, stages, `mmn doctor` and the
tests are made from it, so a new data set is one file and one line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmn.data.cohort import Cohort
from mmn.data.errors import ParamsError

EvidenceKind = Literal["table", "texts", "images", "events", "clicks", "hours", "vectors"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to predict about an item.

    `per_step`: a continuous task, one target per time step; otherwise static, the same target at every step.
    `read_step`: the step (0-based) after which results are reported; every model sees the input up to there.
    `early`: share of the series -> the step after which it is seen, where results are reported as well.
    `classes`: of a multiclass task, what each number from 0 on stands for; its targets are those numbers.
    `unit`: of a regression target as the cohort stores it (physical). `published`: the paper's numbers by model.
    """

    name: str
    number: int | None
    kind: Literal["binary", "multiclass", "regression"]
    description: str
    per_step: bool = False
    read_step: int = 0
    early: Mapping[str, int] = field(default_factory=dict)
    unit: str = ""
    published: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A card gives a list.
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.kind == "multiclass" and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ParamsError(f"task '{self.name}': a multiclass task names its classes, two or more, each once.")
        if self.kind != "multiclass" and self.classes:
            raise ParamsError(f"task '{self.name}': classes are a multiclass task's; this one is {self.kind}.")


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One kind of evidence about an item.

    `sources`: the raw sources it is read from (keys of `Dataset.sources`); `prepared`: the prepared tables (keys of
    `Dataset.prepared`). `evidence`: what `Dataset.read_evidence` gives for it; `featurizer`: the entry of
    `mmn.featurizers.FEATURIZERS` that turns it into an embedding, with `settings` in place of some of its defaults.
    `by_default`: read by the models unless `params.yaml` names other modalities.
    `unusable_for`: tasks whose labels this modality defines, with the reason; those models leave it out, unless
    `params.yaml` forces it.
    """

    name: str
    description: str
    sources: tuple[str, ...]
    evidence: EvidenceKind
    featurizer: str
    optional: bool = True
    prepared: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_default: bool = True
    unusable_for: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is under a raw folder, found cheaply (names and headers, no full scan).

    `version`: as detected. `found`: a line per source that is there. `skipped`: modality or task -> why it is left
    out and what would bring it back. `problem`: why no cohort can be made at all, and what to do; None if one can.
    """

    version: str
    found: Mapping[str, str]
    skipped: Mapping[str, str]
    problem: str | None = None
    generated: bool = False


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set, as a value.

    `raw`: the name people give its raw folder (`mmn run --raw RAW=PATH`); two data sets may share one.
    `people`: data sets with the same word have the same people's names as subjects; "" = those of one raw folder.
    `sources`: source name -> glob patterns under the raw folder; each becomes a pinned manifest.
    `cohort_sources`: the sources that the cohort is read from; `mode_sources`: mode -> those that it reads besides,
    where they are there; `cohort_prepared`: the prepared tables that it is read from, which `build_cohort` then gets.
    `modes`: the values of `params.yaml`'s `mode`; the first is the default and is right, the others repeat published
    behaviour. It reaches the cohort's parameters and every featurizer that has a `mode`.
    `prepared`: big raw tables that are converted once, for all data sets of one raw folder: name -> the sources read.
    `cohort_defaults`: the frozen dataclass of parameters that `params.yaml` may override. `training_defaults`: the
    papers' settings, and a block of them by architecture where one has its own.
    `multitask`: the task sets beyond the single ones: name -> task names.
    `autoencoded`: P-Fusion reads an autoencoder's embedding of each modality, fitted per fold (EDU, Weather2k).
    `inspect(raw)`, `build_cohort(raw, params[, prepared])`: see their types; `prepare`: where the function that writes
    a prepared table lives, "module:function" of (raw, name, out, provenance, progress); `read_evidence(raw, modality,
    cohort, params, prepared)` reads the tables that `prepared` names (name -> file; left out where the modality has
    none), and makes those it lacks in a temporary folder, as `build_cohort` does;
    `generate(raw, size, seed)` writes a world in the real on-disk format with a `GENERATED.json` that tells the truth;
    with a fourth argument, in another of `formats`. `export`: where the function that writes features in the form that
    was published lives, "module:function" of (raw, cohort, params, out, embeddings, prepared). `shared_settings`:
    settings of featurizers that must be the same for all modalities. `binarise`: where the function that turns a
    regression's target into yes or no lives, "module:function" of (cohort, task, fold), (N,) 0, 1 or NaN.
    """

    name: str
    title: str
    raw: str
    sources: Mapping[str, tuple[str, ...]]
    cohort_sources: tuple[str, ...]
    modalities: tuple[Modality, ...]
    tasks: tuple[Task, ...]
    inspect: Callable[[Path], Inspection]
    build_cohort: Callable[..., Cohort]
    read_evidence: Callable[..., Any]
    cohort_defaults: Any
    modes: tuple[str, ...] = ("clean",)
    mode_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cohort_prepared: tuple[str, ...] = ()
    prepared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prepare: str = ""
    training_defaults: Mapping[str, Any] = field(default_factory=dict)
    multitask: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    autoencoded: bool = False
    missingness: tuple[str, str] | None = None
    generate: Callable[..., None] | None = None
    formats: tuple[str, ...] = ()
    people: str = ""
    export: str = ""
    shared_settings: tuple[str, ...] = ()
    binarise: str = ""
    citation: str = ""
    licence: str = ""

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def modality(self, name: str) -> Modality:
        return next(modality for modality in self.modalities if modality.name == name)

    @property
    def task_sets(self) -> dict[str, tuple[str, ...]]:
        """Every task alone, then the multi-task sets."""
        return {**{task.name: (task.name,) for task in self.tasks}, **self.multitask}
