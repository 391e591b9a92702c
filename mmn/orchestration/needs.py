"""What steps need of a machine where `operating.yaml` knows better than the table of steps, whose guesses are of the
generated worlds' size: `engine: {needs: {model: {mem_gb: 32}, models/mimic: {minutes: 1440}}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any

from mmn.data import DATASETS, load_dataset
from mmn.data.dataset import Inspection
from mmn.data.errors import ParamsError
from mmn.orchestration.operating import FILE as OPERATING_FILE
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import resolve
from mmn.orchestration.settings import HIGHMMT, OPEN_QUESTIONS
from mmn.orchestration.step import Need, Step
from mmn.orchestration.steps import activate, build_steps

WHERE = "engine.needs"
_LEAST = {"gpus": 0, "cpus": 1, "mem_gb": 1, "minutes": 1}


def with_needs(
    steps: Mapping[str, Step], needs: Mapping[str, Any], params: Mapping[str, Any] | None = None
) -> dict[str, Step]:
    """The steps, each with what is said of it: of its kind first, then of its key's beginnings, the longest last.

    needs: a kind ("model") or a key or its beginning ("models/mimic") -> settings of `Need`; a kind's name means the
    kind. Raises ParamsError: a name that fits no step of any data set, an unknown setting, a number out of bounds.
    """
    if not needs:
        return dict(steps)
    known = {**_all_steps(params or {}), **steps}
    _check_names(needs, known.values())
    kinds = {step.kind for step in known.values()}
    found = {}
    for key, step in steps.items():
        need = step.need
        if step.kind in needs:
            need = _changed(need, needs[step.kind], step.kind)
        for name in sorted((n for n in needs if n not in kinds and _begins(key, n)), key=len):
            need = _changed(need, needs[name], name)
        found[key] = replace(step, need=need)
    return found


def _changed(need: Need, given: Any, name: str) -> Need:
    try:
        changed: Need = resolve(need, given, f"{WHERE}.{name}")
    except ParamsError as error:
        raise ParamsError(str(error).replace(PARAMS_FILE, OPERATING_FILE, 1)) from error
    for setting, value in asdict(changed).items():
        if value < _LEAST[setting]:
            raise ParamsError(
                f"{OPERATING_FILE}: {WHERE}.{name}.{setting} is {value}; {_LEAST[setting]} or more is expected."
            )
    return changed


def _check_names(needs: Mapping[str, Any], steps: Iterable[Step]) -> None:
    kinds, names = {HIGHMMT, OPEN_QUESTIONS}, {f"results/{HIGHMMT}", f"results/{OPEN_QUESTIONS}"}
    for step in steps:
        parts = step.key.split("/")
        kinds.add(step.kind)
        names |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    for name, given in needs.items():
        if not isinstance(name, str) or name.rstrip("/") not in names | kinds:
            nearest = get_close_matches(str(name), sorted(names | kinds), n=1)
            what = f"Did you mean '{nearest[0]}'?" if nearest else f"Kinds: {', '.join(sorted(kinds))}."
            raise ParamsError(
                f"{OPERATING_FILE}: {WHERE}: '{name}' is neither a kind of step nor the beginning of a step's key. "
                f"{what} `mmn steps` lists the keys."
            )
        # Also of what is not walked here: a wrong setting is said before its data set is linked.
        _changed(Need(), given, name)


def _begins(key: str, name: str) -> bool:
    return key == name or key.startswith(name.rstrip("/") + "/")


def _all_steps(params: Mapping[str, Any]) -> dict[str, Step]:
    """Of every data set with everything it can have: one `operating.yaml` may serve workspaces of other raw data."""
    everything = Inspection(version="", found={}, skipped={})
    return build_steps({name: activate(load_dataset(name), everything, params) for name in DATASETS})
