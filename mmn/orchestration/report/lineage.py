"""Where each number comes from: every artifact between the report and the raw files, with its version.

An artifact names the versions that it was made from (`provenance` in its card or footer); the report's own inputs are
followed from there, so the page needs no list of its own and says nothing that the artifacts do not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mmn.data.errors import StaleInputError
from mmn.data.files import read_provenance
from mmn.orchestration.report.numbers import anchor

ORDER = ("results", "models", "features", "cohorts", "prepared", "raw")


@dataclass(kw_only=True)
class Artifact:
    """inputs: key -> version it was made from. fed: keys made from it. params: what `params.yaml` changed for it."""

    key: str
    version: str
    inputs: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    fed: list[str] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return anchor("made", self.key)

    @property
    def kind(self) -> str:
        return self.key.split("/")[0]


def trace(inputs: Mapping[str, str], path: Callable[[str], Path]) -> dict[str, Artifact]:
    """Every artifact upstream of `inputs` (key -> version). Raises StaleInputError where one has two versions."""
    found: dict[str, Artifact] = {}
    waiting = [(key, version, "report") for key, version in inputs.items()]
    while waiting:
        key, version, user = waiting.pop(0)
        artifact = found.get(key)
        if artifact is None:
            provenance = (read_provenance(path(key)) if path(key).exists() else None) or {}
            artifact = found[key] = Artifact(
                key=key, version=version, inputs=provenance.get("inputs", {}), params=provenance.get("params", {})
            )
            waiting.extend((source, seen, key) for source, seen in artifact.inputs.items())
        if artifact.version != version:
            raise StaleInputError(
                f"report: {user} was made from {key} at version {version}, {' and '.join(artifact.fed) or 'another'} "
                f"from {artifact.version}. Type `mmn run` to make everything from the same."
            )
        if user not in artifact.fed:
            artifact.fed.append(user)
    return dict(sorted(found.items(), key=lambda pair: (_place(pair[1].kind), pair[0])))


def lineage_table(artifacts: Mapping[str, Artifact]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "artifact": a.key,
                "version": a.version,
                "made_from": " ".join(f"{key}@{version}" for key, version in sorted(a.inputs.items())),
                "fed_into": " ".join(sorted(a.fed)),
                "parameters": settings(a.params),
            }
            for a in artifacts.values()
        ],
        columns=["artifact", "version", "made_from", "fed_into", "parameters"],
    )


def settings(params: Mapping[str, Any]) -> str:
    """What `params.yaml` changed, as one line of dotted names."""
    return "; ".join(f"{name} = {value}" for name, value in sorted(_flat(params)))


def _flat(params: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        elif isinstance(value, list) and value and not any(isinstance(part, list | dict) for part in value):
            yield f"{above}{name}", ", ".join(map(str, value))
        else:
            yield f"{above}{name}", str(value)


def _place(kind: str) -> int:
    return ORDER.index(kind) if kind in ORDER else len(ORDER)
