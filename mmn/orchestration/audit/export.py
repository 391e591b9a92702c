"""An audit in the words of others: W3C PROV-JSON, and OpenLineage events, one per line.

Made by hand from the two specifications; nothing is sent anywhere.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from mmn.orchestration.audit.audit import Audit, Node

NAMESPACE = "mmn"
PRODUCER = "urn:mmn"
_OPENLINEAGE = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_VERSION_FACET = f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
_SOURCE_FACET = f"{_FACETS}/1-1-0/SourceCodeLocationJobFacet.json#/$defs/SourceCodeLocationJobFacet"
_OWN_FACET = f"{PRODUCER}:facet:step:1"


def prov(audit: Audit) -> str:
    """PROV-JSON: each artifact's version an entity, each run an activity, who ran it an agent."""
    found: dict[str, dict[str, Any]] = {
        name: {}
        for name in ("entity", "activity", "agent", "used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith")
    }
    for node in audit.nodes:
        entity, activity = _entity(node.key, node.entry.version), f"mmn:run/{_run_id(node)}"
        found["entity"][entity] = {
            "prov:type": _name(f"mmn:{node.key.split('/')[0]}"),
            "prov:location": node.entry.path,
            "mmn:version": node.entry.version,
            **({"mmn:sha256": node.made["sha256"]} if "sha256" in node.made else {}),
            **({"mmn:featurizer": json.dumps(node.featurizer, sort_keys=True)} if node.featurizer else {}),
        }
        found["activity"][activity] = {
            "prov:type": _name("mmn:step"),
            "prov:label": f"mmn step {node.key}",
            "mmn:code_version": node.entry.code_version,
            "mmn:parameters": json.dumps(dict(node.entry.params), sort_keys=True),
            **({"prov:endTime": node.made["at"]} if "at" in node.made else {}),
        }
        name = f"{node.key}@{node.entry.version}"
        generated = {"prov:entity": entity, "prov:activity": activity}
        found["wasGeneratedBy"][f"_:made/{name}"] = generated | (
            {"prov:time": node.made["at"]} if "at" in node.made else {}
        )
        for source, version in sorted({**node.entry.inputs, **node.entry.raw}.items()):
            read = _entity(source, version)
            found["entity"].setdefault(
                read, {"prov:type": _name(f"mmn:{source.split('/')[0]}"), "mmn:version": version}
            )
            found["used"][f"_:read/{name}/{source}"] = {"prov:activity": activity, "prov:entity": read}
            found["wasDerivedFrom"][f"_:from/{name}/{source}"] = {
                "prov:generatedEntity": entity,
                "prov:usedEntity": read,
                "prov:activity": activity,
            }
        if "by" in node.made:
            who = node.made.get("git") or node.made["by"]
            agent = f"mmn:person/{uuid.uuid5(uuid.NAMESPACE_URL, who).hex[:12]}"
            found["agent"][agent] = {"prov:type": _name("prov:Person"), "prov:label": who}
            found["wasAssociatedWith"][f"_:by/{name}"] = {"prov:activity": activity, "prov:agent": agent}
    prefix = {
        "mmn": f"{PRODUCER}:",
        "prov": "http://www.w3.org/ns/prov#",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
    }
    kept = {name: records for name, records in found.items() if records}
    return json.dumps({"prefix": prefix, **kept}, indent=2, sort_keys=True) + "\n"


def openlineage(audit: Audit) -> str:
    """One COMPLETE event per artifact, sources first. Its time is the journal's; else of the commit that records it."""
    return "".join(json.dumps(_event(audit, node), sort_keys=True) + "\n" for node in audit.nodes)


def _event(audit: Audit, node: Node) -> dict[str, Any]:
    commit = audit.snapshot.commit
    at = node.made.get("at") or (commit.at if commit else None) or _time_of_lock(audit)
    revision = (node.made.get("code") or {}).get("revision")
    # A facet that is not in the standard bears the name of its maker before its own.
    job_facets = {
        "mmn_step": {
            "_producer": PRODUCER,
            "_schemaURL": _OWN_FACET,
            "codeVersion": node.entry.code_version,
            "parameters": dict(node.entry.params),
            "featurizer": node.featurizer,
        }
    }
    if revision:
        job_facets["sourceCodeLocation"] = {
            "_producer": PRODUCER,
            "_schemaURL": _SOURCE_FACET,
            "type": "git",
            "url": PRODUCER,
            "version": revision,
        }
    return {
        "eventType": "COMPLETE",
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": _OPENLINEAGE,
        "run": {"runId": _run_id(node)},
        "job": {"namespace": NAMESPACE, "name": node.key, "facets": job_facets},
        "inputs": [_dataset(k, v) for k, v in sorted({**node.entry.inputs, **node.entry.raw}.items())],
        "outputs": [_dataset(node.key, node.entry.version)],
    }


def _dataset(key: str, version: str) -> dict[str, Any]:
    facet = {"_producer": PRODUCER, "_schemaURL": _VERSION_FACET, "datasetVersion": f"md5:{version}"}
    return {"namespace": NAMESPACE, "name": key, "facets": {"version": facet}}


def _time_of_lock(audit: Audit) -> str:
    from datetime import UTC, datetime

    for name in ("dvc.lock", "artifacts"):
        if (path := audit.snapshot.root / name).exists():
            return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return datetime.now(UTC).isoformat(timespec="seconds")


def _run_id(node: Node) -> str:
    """The same for the same result of the same entry, so that an event that is sent twice is one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mmn:{node.key}@{node.entry.version}/{node.entry.digest}"))


def _name(name: str) -> dict[str, str]:
    """A name with a prefix, as PROV-JSON tells it from a text."""
    return {"$": name, "type": "xsd:QName"}


def _entity(key: str, version: str) -> str:
    return f"mmn:{key}@{version}"
