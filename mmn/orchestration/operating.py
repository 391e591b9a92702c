"""`operating.yaml`: how a workspace is operated: owners, retraining, the engine, how strict its checks are.

Nothing in it decides an artifact's bytes, so a change makes no step stale. Without the file the defaults hold: one
machine, nothing runs by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from mmn.data.errors import ParamsError
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import resolve

FILE = "operating.yaml"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a data set is brought up to date. running: on from the start; else somebody switches it on in the UI."""

    cron: str = "0 2 * * 6"
    timezone: str = "UTC"
    running: bool = False

    def __post_init__(self) -> None:
        _check_clock(self.cron, self.timezone)


@dataclass(frozen=True, kw_only=True)
class NewFiles:
    """The sensor on raw files. seconds: between two looks. settled_seconds: a file younger than that is still being
    written, and waited for. expected_days: raw files that bring nothing new for so long are shown as overdue."""

    seconds: int = 300
    settled_seconds: int = 60
    expected_days: int | None = None
    running: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self, seconds=(1, None), settled_seconds=(0, None), expected_days=(1, None))


@dataclass(frozen=True, kw_only=True)
class Automation:
    """Dagster's conditions, for those who prefer them to schedules: what is made of data follows at once, models and
    results at the next tick of `cron` after their inputs changed, so that GPUs are used once a night."""

    enabled: bool = False
    cron: str = "0 3 * * *"
    timezone: str = "UTC"
    running: bool = False

    def __post_init__(self) -> None:
        _check_clock(self.cron, self.timezone)


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """presence_margin: by how much a presence rate may differ from the last version's, beyond chance. label_margin:
    the same of a binary label's rate. volume_margin: by which share files, rows or items may shrink.
    refuse, warn: names of checks whose failure shall refuse the result, or only be shown."""

    presence_margin: float = 0.1
    label_margin: float = 0.1
    volume_margin: float = 0.5
    refuse: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_bounds(self, presence_margin=(0, 1), label_margin=(0, 1), volume_margin=(0, 1))
        for name in (*self.refuse, *self.warn):
            if not isinstance(name, str):
                raise ValueError(f"refuse and warn hold names of checks, found {name!r}.")


@dataclass(frozen=True, kw_only=True)
class PromotionSettings:
    """A retrained model becomes the current one if on no task it is worse by more than a margin, on average over the
    folds, than the current one and than the best one (`promotion.best_of`). auroc_margin: absolute. rmse_margin: a
    share of the other model's error. least_items, least_folds: below these of shared test items (per fold) and folds,
    the two are not comparable."""

    enabled: bool = True
    auroc_margin: float = 0.01
    rmse_margin: float = 0.02
    least_items: int = 10
    least_folds: int = 3

    def __post_init__(self) -> None:
        _check_bounds(self, auroc_margin=(0, 1), rmse_margin=(0, None), least_items=(1, None), least_folds=(1, None))


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Where steps run. local: processes of this machine. k8s: a job per step. slurm: a batch job per step.

    max_concurrent: steps at a time. retries, retry_delay_seconds: of a step whose process or machine was lost; an error
    that a person must mend is not retried. partition, gpu_partition, account, gres: Slurm's names ("gres" without the
    count; "license:gpu" asks for a licence instead). k8s: given to dagster-k8s's executor as it is (job_image, volumes,
    env_secrets, ...). needs: of a kind of step or the beginning of a key -> what it needs of a machine (`needs.py`).
    """

    name: Literal["local", "k8s", "slurm"] = "local"
    max_concurrent: int = 2
    retries: int = 1
    retry_delay_seconds: int = 30
    partition: str | None = None
    gpu_partition: str | None = None
    account: str | None = None
    gres: str = "gpu"
    k8s: dict = field(default_factory=dict)
    needs: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_bounds(self, max_concurrent=(1, None), retries=(0, None), retry_delay_seconds=(0, None))


@dataclass(frozen=True, kw_only=True)
class Operating:
    """owners: e-mail addresses or `team:name`. storage: where Dagster keeps its events (`storage.py`). schedules: by
    data set; one that is not named has the default."""

    owners: tuple[str, ...] = ()
    storage: Literal["sqlite", "postgres"] = "sqlite"
    schedules: dict[str, Schedule] = field(default_factory=dict)
    new_files: NewFiles = field(default_factory=NewFiles)
    automation: Automation = field(default_factory=Automation)
    checks: CheckSettings = field(default_factory=CheckSettings)
    promotion: PromotionSettings = field(default_factory=PromotionSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)

    def __post_init__(self) -> None:
        _check_owners(self.owners)

    def schedule(self, dataset: str) -> Schedule:
        return self.schedules.get(dataset, Schedule())


def load_operating(root: Path) -> Operating:
    """Raises ParamsError: not YAML, an unknown key or check, a wrong type, a number out of its bounds, a cron, a time
    zone or an owner that is none."""
    path = root / FILE
    if not path.exists():
        return Operating()
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not readable as YAML. Mend it, or restore the file from git.") from error
    try:
        operating = _resolved(loaded)
    except ParamsError as error:
        raise ParamsError(str(error).replace(PARAMS_FILE, FILE, 1)) from error
    if operating.checks.refuse or operating.checks.warn:
        from mmn.orchestration.checks import check_known_names

        check_known_names(operating.checks)
    return operating


def _resolved(loaded: Any) -> Operating:
    if not isinstance(loaded, dict):
        raise ParamsError(f"{FILE}: expected blocks such as `schedules:`, found {type(loaded).__name__}.")
    blocks = {
        "new_files": NewFiles(), "automation": Automation(), "checks": CheckSettings(),
        "promotion": PromotionSettings(), "engine": EngineSettings(),
    }  # fmt: skip
    # An empty block is the defaults; `promotion: off` is none, and not taken for them.
    values = {
        name: resolve(start, {} if loaded[name] is None else loaded[name], name)
        for name, start in blocks.items()
        if name in loaded
    }
    if "schedules" in loaded:
        from mmn.data import DATASETS
        from mmn.orchestration.params import check_known

        given = loaded["schedules"] or {}
        if not isinstance(given, dict):
            raise ParamsError(f"{FILE}: schedules must be a block per data set, found {type(given).__name__}.")
        for name in given:
            check_known(name, DATASETS, "schedules")
        values["schedules"] = {
            name: resolve(Schedule(), part or {}, f"schedules.{name}") for name, part in given.items()
        }
    rest = {name: value for name, value in loaded.items() if name not in values}
    return replace(resolve(Operating(), rest, "the file"), **values)


def _check_clock(cron: str, timezone: str) -> None:
    from dagster._utils.schedules import is_valid_cron_schedule

    if not is_valid_cron_schedule(cron):
        raise ValueError(f"cron is {cron!r}; five fields as in crontab are expected, such as '0 2 * * 6'.")
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones, such as "Europe"
        raise ValueError(f"timezone is {timezone!r}; a name such as 'Europe/Zurich' is expected.") from error


def _check_owners(owners: Sequence[Any]) -> None:
    from dagster._core.definitions.utils import is_valid_owner

    for owner in owners:
        if not isinstance(owner, str) or not is_valid_owner(owner) or not owner.removeprefix("team:").strip():
            raise ValueError(
                f"owners: {owner!r} is neither an e-mail address as Dagster takes it (jane@hospital.example) nor "
                "`team:name`."
            )


def _check_bounds(settings: Any, **bounds: tuple[float, float | None]) -> None:
    """Each from `low` to `high`, both allowed; a high of None is any number that is finite."""
    for name, (low, high) in bounds.items():
        value = getattr(settings, name)
        if value is None:
            continue
        if not (math.isfinite(value) and low <= value and (high is None or value <= high)):
            expected = f"{low} or more" if high is None else f"{low} to {high}"
            raise ValueError(f"{name} is {value}; {expected} is expected.")
