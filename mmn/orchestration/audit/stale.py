"""Whether a recorded artifact is what its inputs, code and parameters of that moment would make."""

from __future__ import annotations

from mmn.orchestration.audit.lock import Entry
from mmn.orchestration.audit.snapshot import Snapshot
from mmn.orchestration.params import FILE as PARAMS_FILE
from mmn.orchestration.params import section


class Staleness:
    """Answers for one snapshot; each key is looked at once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[str, str | None] = {}

    def why(self, key: str) -> str | None:
        """In words; None where the artifact is fresh as far as its records tell. Bytes are not read."""
        if key not in self._known:
            self._known[key] = None  # a circle in a damaged lock ends here
            self._known[key] = self._why(self._snapshot.entries[key])
        return self._known[key]

    def own(self, entry: Entry) -> str | None:
        """Of the step itself, without what is upstream of it."""
        snapshot = self._snapshot
        if snapshot.stages is not None and not entry.rebuilt:
            stage = snapshot.stages.by_name.get(entry.stage)
            if stage is None:
                return "it is no step of dvc.yaml any more"
            recorded = {*entry.deps, entry.path}
            wanted = {name for name in stage.listed if name in recorded or "/" in name}
            if changed := sorted(recorded ^ wanted):
                return f"its inputs are others now: {changed[0]}"
        if changed_code := changed_code_of(snapshot, entry):
            more = f" and {len(changed_code) - 1} more" if len(changed_code) > 1 else ""
            return f"{changed_code[0]}{more} changed"
        if dotted := changed_params_of(snapshot, entry):
            return f"{PARAMS_FILE}: {', '.join(dotted)} changed"
        return None

    def _why(self, entry: Entry) -> str | None:
        if (reason := self.own(entry)) is not None:
            return reason
        entries = self._snapshot.entries
        for source, seen in entry.inputs.items():
            if source not in entries:
                return f"{source} is not recorded"
            if entries[source].version != seen:
                return f"it read {source} at {seen}, which is now {entries[source].version}"
        for source in entry.inputs:
            if self.why(source) is not None:
                return f"{source} is stale"
        return None


def changed_code_of(snapshot: Snapshot, entry: Entry) -> list[str]:
    """Files of code that are here and other than recorded; a file that is gone counts where code is here at all."""
    if not snapshot.has_code:
        return []
    return [path for path, md5 in sorted(entry.code.items()) if snapshot.md5_of_code(path) != md5]


def changed_params_of(snapshot: Snapshot, entry: Entry) -> list[str]:
    """Sections of the parameters whose values are other than recorded. A section that the record lacks was empty."""
    stage = snapshot.stages.by_name.get(entry.stage) if snapshot.stages else None
    dotted = {*entry.params, *(name for name in (stage.listed if stage else ()) if "/" not in name and "." in name)}
    return sorted(
        name for name in dotted if (section(snapshot.params, name) or None) != (entry.params.get(name) or None)
    )
