"""What a step of the road is, and what of a data set is there to be walked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmn.data.dataset import Dataset, Inspection
from mmn.modeling import BY_DEFAULT
from mmn.modeling.highmmt.settings import HighMMTSettings


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a step needs of the machine it lands on; each engine is told in its own words."""

    gpus: int = 0
    cpus: int = 1
    mem_gb: int = 4
    minutes: int = 60


@dataclass(frozen=True, kw_only=True)
class Step:
    """One arrow of the road.

    kind: what it makes. action: the module of `mmn.orchestration.actions` that walks it, "" = the kind's. out: the
    path it writes, below the workspace's root. deps: keys of the steps it reads. raw: the raw folder it reads, if any.
    sections: dotted paths in `params.yaml`. modules: the modules whose code (and whatever of this package they import)
    decides the result. tables: modules that are read for their values (tasks, defaults) alone.
    options: what the work function is told (modality, task set, architecture).
    """

    key: str
    kind: str
    dataset: str
    out: str
    description: str
    deps: tuple[str, ...] = ()
    raw: str | None = None
    sections: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    need: Need = Need()
    action: str = ""

    @property
    def stage(self) -> str:
        return self.key.replace("/", "-")


@dataclass(frozen=True, kw_only=True)
class Active:
    """A data set whose raw files are here, and what of it can be walked.

    chosen: the modalities that `params.yaml` names, None for the data set's default ones. forced: modalities that are
    read even for the tasks whose labels they define. mode: "" is the data set's default one. architectures: what is
    trained. removed: the modalities that the missingness experiment takes away, () for the data set's one.
    joined: how it is joined with other data sets in one HighMMT, None = it is not. open_questions: whether they are put
    in this run, of no data set.
    """

    dataset: Dataset
    inspection: Inspection
    chosen: tuple[str, ...] | None = None
    forced: tuple[str, ...] = ()
    mode: str = ""
    architectures: tuple[str, ...] = BY_DEFAULT
    removed: tuple[str, ...] = ()
    joined: HighMMTSettings | None = None
    open_questions: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """All whose labels there are."""
        return tuple(task.name for task in self.dataset.tasks if task.name not in self.inspection.skipped)

    @property
    def modalities(self) -> tuple[str, ...]:
        """In the order in which models read them: the data set's."""
        return tuple(
            modality.name
            for modality in self.dataset.modalities
            if modality.name not in self.inspection.skipped
            and (modality.by_default if self.chosen is None else modality.name in self.chosen)
        )

    @property
    def cohort_sources(self) -> tuple[str, ...]:
        besides = self.dataset.mode_sources.get(self.mode, ())
        return (*self.dataset.cohort_sources, *(source for source in besides if source in self.inspection.found))

    @property
    def task_sets(self) -> dict[str, tuple[str, ...]]:
        """Tasks that are skipped fall out of the multi-task sets; a set of fewer than two tasks is none."""
        sets = {
            name: tuple(task for task in tasks if task not in self.inspection.skipped)
            for name, tasks in self.dataset.task_sets.items()
        }
        return {
            name: tasks for name, tasks in sets.items() if len(tasks) > (1 if name in self.dataset.multitask else 0)
        }

    def modalities_for(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Without those that define a label of one of the tasks, unless they are forced."""
        return tuple(
            name
            for name in self.modalities
            if name in self.forced or not set(tasks) & set(self.dataset.modality(name).unusable_for)
        )
