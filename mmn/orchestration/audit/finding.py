"""What an audit has to say about one place, and how grave it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["fault", "stale", "missing", "note"]
Witness = Literal["agrees", "disagrees", "missing", "not read"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """severity: a fault cannot be true if nobody changed anything by hand, and is what makes an audit fail; stale:
    something changed since, and a run would mend it; missing: a witness is not here; note: worth knowing.

    code: a stable word for programs. key: of the artifact, "" for the records as a whole. place: where to look,
    relative to the workspace.
    """

    severity: Severity
    code: str
    key: str
    place: str
    message: str


def verdict(findings: Iterable[Finding]) -> Witness:
    return "disagrees" if any(finding.severity == "fault" for finding in findings) else "agrees"
