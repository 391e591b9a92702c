"""What is checked of each artifact, on the bytes as written, before they take the place of the last version.

A check has a name, so that the UI shows each alone. One that refuses is fatal: nothing is renamed, nothing is recorded,
and what follows does not run. One that warns is shown. `operating.yaml` moves a check from one to the other; the
contract itself (`schema`, `item_order`, `finite`) always refuses. Counts and rates only: no item, no value of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn.data.errors import ContractError, ParamsError
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.operating import CheckSettings

if TYPE_CHECKING:
    from mmn.orchestration.walk import Job


@dataclass(frozen=True, kw_only=True)
class Kind:
    """refuses: by default. fixed: `operating.yaml` may not change that."""

    description: str
    refuses: bool
    fixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """What became of one check. said: what, where and what next, if it did not pass; else what was looked at."""

    name: str
    passed: bool
    refuses: bool
    said: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "schema": Kind(
        description="Columns, types, keys and footer are the contract's.", refuses=True, fixed=True
    ),
    "item_order": Kind(
        description="The rows are the cohort's items, in its order, for every step and fold.", refuses=True, fixed=True
    ),
    "finite": Kind(
        description="No infinite value; what is called present holds something; probabilities lie in [0, 1].",
        refuses=True, fixed=True,
    ),
    "ranges": Kind(description="Targets and scores lie where they can lie.", refuses=True),
    "subjects_apart": Kind(description="No subject sits on two sides of a fold.", refuses=False),
    "spread": Kind(description="The embedding tells items apart: not every dimension is constant.", refuses=False),
    "presence_drift": Kind(
        description="As large a share of items has this modality as in the last version made with the same settings.",
        refuses=True,
    ),
    "label_drift": Kind(
        description="Binary labels are as frequent as in the last version made with the same settings.", refuses=False
    ),
    "volume_drift": Kind(description="Not many fewer files, rows or items than in the last version.", refuses=False),
    "reconstruction": Kind(description="The autoencoder explains as much as its stated bound asks.", refuses=True),
    "leakage": Kind(
        description="Test items were not trained on, and no modality that defines a task's labels was read unforced.",
        refuses=True, fixed=True,
    ),
    "not_forced": Kind(description="No modality that defines a task's labels was forced in.", refuses=False),
    "above_floors": Kind(description="Every model is better than the best floor of its task.", refuses=False),
    "self_contained": Kind(description="The page loads nothing from elsewhere.", refuses=True),
}  # fmt: skip
# Kind of step -> the names above, and the module whose `look` says what became of them.
OF_STEP: dict[str, tuple[str, tuple[str, ...]]] = {
    "raw": ("sources", ("schema", "volume_drift")),
    "prepared": ("sources", ("schema", "volume_drift")),
    "cohort": ("cohort", ("schema", "ranges", "subjects_apart", "label_drift", "volume_drift")),
    "features": ("embedding", ("schema", "item_order", "finite", "spread", "presence_drift")),
    "autoencoder": ("embedding", ("schema", "item_order", "finite", "spread", "presence_drift", "reconstruction")),
    "model": ("model", ("schema", "finite", "leakage", "not_forced")),
    "scores": ("results", ("schema", "ranges", "above_floors")),
    # Models over several data sets are trained inside these steps.
    "highmmt": ("results", ("schema", "ranges", "finite", "leakage", "above_floors")),
    "report": ("results", ("schema", "self_contained")),
}
OTHERS = ("results", ("schema", "ranges"))


@dataclass(frozen=True)
class Verdict:
    """What a `look` says of one check: why it failed, or None; and what was counted."""

    why: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


Look = Callable[["Job", CheckSettings], Mapping[str, Verdict]]


class CheckFailed(ContractError):
    """A result that is not to be used. `checks`: all of them, so that the UI can show which."""

    def __init__(self, message: str, checks: Sequence[Check]) -> None:
        super().__init__(message)
        self.checks = tuple(checks)


def names_of(kind: str) -> tuple[str, ...]:
    return OF_STEP.get(kind, OTHERS)[1]


def refuses(name: str, settings: CheckSettings) -> bool:
    if KINDS[name].fixed:
        return True
    return name in settings.refuse or (KINDS[name].refuses and name not in settings.warn)


def check_known_names(settings: CheckSettings) -> None:
    """Raises ParamsError for a check that is not known, is told to do both, or may not be only shown."""
    from mmn.orchestration.params import nearest_of

    for name in (*settings.refuse, *settings.warn):
        if name not in KINDS:
            raise ParamsError(
                f"{OPERATING_FILE}: checks: no check is called '{name}'. {nearest_of(name, sorted(KINDS))}"
            )
    for name in settings.warn:
        if KINDS[name].fixed or name in settings.refuse:
            why = "is told to refuse and to warn" if name in settings.refuse else "is the contract and always refuses"
            raise ParamsError(f"{OPERATING_FILE}: checks.warn: '{name}' {why}. Take it out of the list.")


def check_result(job: Job, settings: CheckSettings) -> tuple[Check, ...]:
    """Look at what was written to `job.out`. Raises CheckFailed where a check that refuses did not pass."""
    module, names = OF_STEP.get(job.step.kind, OTHERS)
    look: Look = import_module(f"{__name__}.{module}").look
    verdicts = look(job, settings)
    checks = []
    for name in names:
        # A look that stops at a broken schema says nothing of the rest.
        verdict = verdicts.get(name, Verdict("was not looked at: the schema is broken"))
        checks.append(
            Check(
                name=name,
                passed=verdict.why is None,
                refuses=refuses(name, settings),
                said=verdict.why or KINDS[name].description,
                metadata=verdict.metadata,
            )
        )
    if failed := [check for check in checks if check.refuses and not check.passed]:
        told = "; ".join(f"{check.name}: {check.said}" for check in failed if check.said)
        raise CheckFailed(f"{job.step.key}: refused, the last version stays. {told}", checks)
    return tuple(checks)


def last_version(job: Job) -> Path | None:
    """The artifact that this one is about to replace, if it was made with the same parameters; else no comparison."""
    from mmn.data.files import read_provenance

    path = job.workspace.root / job.step.out
    if not path.exists() or path == job.out:
        return None
    told = read_provenance(path)
    return path if told is not None and told.get("params") == job.provenance["params"] else None
