"""What leaves the audit: PROV-JSON, OpenLineage events, cards."""

import io
import json
import re
import uuid
from datetime import datetime
from urllib.parse import urlsplit

from prov.model import ProvActivity, ProvAgent, ProvDerivation, ProvDocument, ProvEntity

from mmn.orchestration.audit.audit import audit
from mmn.orchestration.audit.cards import card
from mmn.orchestration.audit.export import openlineage, prov
from mmn.orchestration.audit.markdown import Pages, lineage, link
from mmn.orchestration.audit.snapshot import open_snapshot
from tests.orchestration.test_audit import MODEL, NOTES, first_world  # noqa: F401 - a fixture


def test_prov_has_an_entity_for_each_version_and_every_reference_resolves(first_world):  # noqa: F811
    found = audit(open_snapshot(first_world.root), MODEL)
    told = json.loads(prov(found))
    entities, activities = told["entity"], told["activity"]
    version = found.node(NOTES).entry.version
    assert entities[f"mmn:{NOTES}@{version}"]["mmn:version"] == version
    assert len(told["wasGeneratedBy"]) == len(activities) == 5
    for relation in told["used"].values():
        assert relation["prov:entity"] in entities and relation["prov:activity"] in activities
    for relation in told["wasDerivedFrom"].values():
        assert {relation["prov:generatedEntity"], relation["prov:usedEntity"]} <= set(entities)
    assert [agent["prov:label"] for agent in told["agent"].values()] == ["Ada <ada@example.org>"]


def test_provs_own_library_reads_it_and_writes_the_same_records(first_world):  # noqa: F811
    found = audit(open_snapshot(first_world.root), MODEL)
    document = ProvDocument.deserialize(content=prov(found), format="json")
    assert len(list(document.get_records(ProvEntity))) == len({(n.key, n.entry.version) for n in found.nodes}) + 1
    assert len(list(document.get_records(ProvActivity))) == len(found.nodes)
    assert len(list(document.get_records(ProvDerivation))) == sum(
        len(node.entry.inputs) + len(node.entry.raw) for node in found.nodes
    )
    (person,) = document.get_records(ProvAgent)
    assert {str(kind) for kind in person.get_asserted_types()} == {"prov:Person"}
    written = io.StringIO()
    document.serialize(written, format="json")
    ours, theirs = json.loads(prov(found)), json.loads(written.getvalue())
    for kind, records in ours.items():
        if kind in {"entity", "activity", "agent"}:
            assert theirs[kind] == records
        elif kind != "prefix":  # relations have no name of their own, and are numbered
            assert sorted(map(str, theirs[kind].values())) == sorted(map(str, records.values()))


def test_openlineage_events_are_what_the_published_schema_asks_for(first_world):  # noqa: F811
    """OpenLineage 2-0-2: what is required, which form it has, and how a facet that is not standard is named."""
    found = audit(open_snapshot(first_world.root), MODEL)
    for event in map(json.loads, openlineage(found).splitlines()):
        assert {"eventTime", "producer", "schemaURL", "run", "job"} <= set(event)
        assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
        assert set(event) <= {
            "eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs",
        }  # fmt: skip
        assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", event["eventTime"])
        assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
        named = [event["job"], *event["inputs"], *event["outputs"]]
        assert all({"namespace", "name"} <= set(one) for one in named)
        facets = [(name, facet) for one in named for name, facet in one.get("facets", {}).items()]
        assert {name for name, _ in facets} >= {"version", "mmn_step"}
        needs = {"version": {"datasetVersion"}, "sourceCodeLocation": {"type", "url"}}
        for name, facet in facets:
            assert {"_producer", "_schemaURL", *needs.get(name, ())} <= set(facet)
            assert name in needs or name.startswith("mmn_")
            if name in needs:
                page = f"{name[0].upper()}{name[1:]}"
                assert re.search(rf"/facets/\d+-\d+-\d+/\w*{page}\w*Facet\.json#/\$defs/\w+Facet$", facet["_schemaURL"])
        for url in (event["producer"], event["schemaURL"], *(facet["_schemaURL"] for _, facet in facets)):
            assert urlsplit(url).scheme in {"https", "urn"}


def test_openlineage_has_one_event_per_run_with_versions_in_and_out(first_world):  # noqa: F811
    found = audit(open_snapshot(first_world.root), MODEL)
    events = [json.loads(line) for line in openlineage(found).splitlines()]
    assert [event["job"]["name"] for event in events] == [node.key for node in found.nodes]
    for event, node in zip(events, found.nodes, strict=True):
        assert event["eventType"] == "COMPLETE" and uuid.UUID(event["run"]["runId"])
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        (out,) = event["outputs"]
        assert out["facets"]["version"]["datasetVersion"] == f"md5:{node.entry.version}"
        assert {i["name"] for i in event["inputs"]} == {*node.entry.inputs, *node.entry.raw}
        assert all({"_producer", "_schemaURL"} <= set(facet) for facet in event["job"]["facets"].values())
    assert openlineage(found) == openlineage(audit(open_snapshot(first_world.root), MODEL))


def test_a_models_card_tells_scores_data_weights_and_what_they_have_seen(first_world):  # noqa: F811
    found = audit(open_snapshot(first_world.root), MODEL, verify=True)
    text = card(found)
    assert text.startswith("# MultiModN: models/toy/died/multimodn\n")
    assert "| died | auroc | 0.700 ± 0.100 | 2 |" in text
    assert "24 items of 12 subjects" in text and "| too young | fewer than 10 |" in text
    assert (
        f"| {NOTES} | {found.node(NOTES).entry.version} | text | toy `{'ab' * 32}` (MIT) | Nothing but toys. |" in text
    )
    assert "Every byte was read; 0 faults were found." in text


def test_an_embeddings_card_tells_weights_licence_and_readers(first_world):  # noqa: F811
    text = card(audit(open_snapshot(first_world.root), NOTES))
    for line in (
        f"- weights' SHA-256: {'ab' * 32}",
        "- weights' licence: MIT",
        "- what the weights have seen: Nothing",
    ):
        assert line in text
    assert f"| {MODEL} |" in text and "| width | 3 |" in text


def test_the_pages_of_the_assets_get_the_chain_and_the_readers(first_world):  # noqa: F811
    found = audit(open_snapshot(first_world.root), MODEL)
    text = lineage(first_world.root, MODEL)
    assert text.startswith(f"- {link(MODEL)} `{found.node(MODEL).entry.version}`\n")
    assert f"  - {link(NOTES)} `{found.node(NOTES).entry.version}`\n" in text
    assert "    - weights: toy, SHA-256 abab" in text and text.count("(above)") == 4
    assert lineage(first_world.root, "models/toy/none") == ""
    pages = Pages(first_world.root)
    assert f"| {link(MODEL)} | `{found.node(NOTES).entry.version}` | fresh |" in pages.readers(NOTES)
    assert pages.readers("results/toy/scores") == ""
    assert f"| {link(NOTES)} | `{found.node(NOTES).entry.version}` | fresh |" in pages.sources(MODEL)
    assert pages.sources(MODEL).startswith(f"Version `{found.node(MODEL).entry.version}`, fresh.")
    assert pages.sources("models/toy/none") == ""


def test_a_step_that_dvc_records_later_shows_the_chain_of_what_it_read(first_world):  # noqa: F811
    found = audit(open_snapshot(first_world.root), MODEL)
    inputs = found.node(MODEL).entry.inputs
    text = lineage(first_world.root, MODEL, "0" * 32, {**inputs, NOTES: "1" * 32})
    assert text.startswith(f"- {link(MODEL)} `{'0' * 32}`\n")
    assert f"  - {link(NOTES)} `{'1' * 32}`, now `{inputs[NOTES]}`\n" in text
    assert "    - weights: toy, SHA-256 abab" in text
    assert lineage(first_world.root, MODEL, "0" * 32) == ""
