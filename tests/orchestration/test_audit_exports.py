"""What leaves the audit: PROV-JSON, OpenLineage events, cards."""

import json
import uuid
from datetime import datetime

from mmn.orchestration.audit.audit import audit
from mmn.orchestration.audit.cards import card
from mmn.orchestration.audit.export import openlineage, prov
from mmn.orchestration.audit.markdown import Readers, lineage
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
    assert text.startswith(f"- **{MODEL}** `{found.node(MODEL).entry.version}`\n")
    assert f"  - **{NOTES}** `{found.node(NOTES).entry.version}`\n" in text
    assert "    - weights: toy, SHA-256 abab" in text and text.count("(above)") == 4
    assert lineage(first_world.root, "models/toy/none") == ""
    readers = Readers(first_world.root)
    assert f"| {MODEL} | `{found.node(NOTES).entry.version}` | fresh |" in readers.table(NOTES)
    assert readers.table("results/toy/scores") == ""
