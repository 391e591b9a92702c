"""A path inside an artifact: one of the models of a step that trains several, or any file or folder of an output.

It is made, recorded and verified with the whole artifact. Of it alone there is its card: what it reads, with which
featurizers and weights, and its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from mmn.orchestration.audit.artifact import Artifact
from mmn.orchestration.audit.finding import Finding
from mmn.orchestration.audit.lock import Entry
from mmn.orchestration.report.lineage import settings

_OF_A_MODEL = ("architecture", "title", "tasks", "modalities", "settings", "notes")


@dataclass(frozen=True, kw_only=True)
class Part:
    """path: inside the artifact's folder. card: of the model that it is or is of; {} where it is of none. models: paths
    of the models that it holds."""

    path: str
    card: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        model = {name: self.card.get(name) for name in _OF_A_MODEL} if self.card else None
        return {"path": self.path, "model": model, "models": list(self.models)}

    def lines(self) -> list[str]:
        """For people."""
        if not self.card:
            return [f"holds the models {', '.join(self.models)}"] if self.models else []
        tasks = ", ".join(task["name"] for task in self.card.get("tasks", ()))
        lines = [f"model: {self.card.get('title', self.card['architecture'])}, tasks {tasks}"]
        for name, featurizer, weights in reads(self.card):
            lines.append(f"reads {name}: featurizer {featurizer}{f', weights {weights}' if weights else ''}")
        return [*lines, f"settings: {settings(self.card.get('settings', {}))}"]


def reads(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of a model's card: each modality's name, its featurizer with settings, and its weights, "" where it has none."""
    rows = []
    for modality in card["modalities"]:
        told = modality.get("featurizer") or {}
        chosen = settings(told.get("settings") or {})
        weights = told["weights"] if isinstance(told.get("weights"), Mapping) else {}
        rows.append(
            (
                modality["name"],
                f"{told.get('name', 'not stated')}{f' ({chosen})' if chosen else ''}",
                f"{weights.get('name')}, SHA-256 {weights.get('sha256')}, {weights.get('licence')}" if weights else "",
            )
        )
    return rows


def read_part(entry: Entry, artifact: Artifact | None, path: str) -> tuple[Part, list[Finding]]:
    """With the nearest card at or above the path, where that is a model's. What cannot be read is a fault."""
    if artifact is None:
        return Part(path=path), []
    place = PurePosixPath(path)
    folders = [str(folder) for folder in (place, *place.parents)]
    card = next((name for folder in folders if (name := _card_in(folder)) in artifact.files), "")
    try:
        told = artifact.card(str(PurePosixPath(card).parent))
        found = told if {"architecture", "modalities"} <= set(told) else {}
        part = Part(path=path, card=found, models=tuple(artifact.models_in(path)))
        part.lines()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The message of a parser may quote what it read.
        message = f"cannot be read ({type(error).__name__}): it is damaged"
        where = f"{entry.path}/{card}"
        return Part(path=path), [Finding(severity="fault", code="footer", key=entry.key, place=where, message=message)]
    return part, []


def _card_in(folder: str) -> str:
    return (PurePosixPath(folder) / "card.json").as_posix()
