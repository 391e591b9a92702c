"""Cards in Markdown: what a model or an embedding is, what it was made from, and on which terms it may be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from mmn.data import DATASETS, load_dataset
from mmn.data.errors import MmnError
from mmn.orchestration.audit.audit import Audit, Node
from mmn.orchestration.audit.part import reads
from mmn.orchestration.report.lineage import settings

_SMALL = 10  # a count of people below this is not printed
_UNSEEN = "None of these data, as far as its publisher says."


def card(audit: Audit) -> str:
    """Raises MmnError for what is neither a model nor an embedding. A path inside an artifact may be a model's."""
    if not audit.subject:
        kinds = ("models", "features")
        known = [node.key for node in audit.nodes if node.key.split("/")[0] in kinds]
        raise MmnError(
            "--export card: a card is of one model or one embedding. Name it: `mmn audit model KEY --export card` or "
            f"`mmn audit embedding KEY --export card`. Recorded here: {', '.join(known) or 'none'}."
        )
    kind = audit.subject.split("/")[0]
    makers = {"models": model_card, "features": embedding_card}
    if audit.part and audit.part.card:
        return model_card(audit)
    if kind not in makers:
        raise MmnError(
            f"{_asked(audit)}: there is a card for models and embeddings (features/…) alone{_models(audit)}."
        )
    return makers[kind](audit)


def _asked(audit: Audit) -> str:
    return f"{audit.subject}/{audit.part.path}" if audit.part else audit.subject


def _models(audit: Audit) -> str:
    """What it holds that there is a card of."""
    artifact = audit.node(audit.subject).checked.artifact
    inside = artifact.models_in(audit.part.path if audit.part else "") if artifact else []
    more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
    return f"; models in it: {', '.join(f'{audit.subject}/{name}' for name in inside[:5])}{more}" if inside else ""


def model_card(audit: Audit) -> str:
    node = audit.node(audit.subject)
    whole = node.checked.artifact.card() if node.checked.artifact else {}
    told = audit.part.card if audit.part else whole
    if not told:
        raise MmnError(f"{_asked(audit)}: its card.json is not here. `dvc pull` brings it back.")
    lines = [f"# {told['title']}: {_asked(audit)}", "", *_identity(node, audit)]
    if audit.part:
        lines += ["", f"A part of `{node.key}`: version, code and parameters above are of the whole."]
    lines += ["", "## What it predicts", ""]
    for task in told["tasks"]:
        lines.append(
            f"- **{task['name']}** ({task['kind']}{', per step' if task['per_step'] else ''}): {task['description']}"
        )
    lines += ["", "## How good it is", "", "On test items, mean ± deviation over members (folds and seeds).", ""]
    rows = [
        (task, metric, f"{fmean(known):.3f} ± {pstdev(known):.3f}", str(len(known)))
        for task, metrics in sorted(told["metrics"].items())
        for metric, values in sorted(metrics.items())
        if (known := [value for value in values if isinstance(value, int | float)])
    ]
    lines += _table(("task", "metric", "value", "members"), rows)
    lines += ["", "## What it was trained on", "", *_cohort(audit)]
    lines += ["", *_embeddings_table(audit)]
    if audit.part:
        lines += ["", "## What it reads", "", *_table(("modality", "featurizer", "weights"), reads(told))]
    lines += ["", "## Settings", ""]
    lines += _table(("setting", "value"), [(name, str(value)) for name, value in sorted(told["settings"].items())])
    notes = [*told.get("notes", []), *(f"Published behaviour: {name}" for name in told.get("published_behaviour", []))]
    lines += ["", "## What a user must know", "", *_bullets(notes or ["Nothing beyond the terms below."])]
    names = [key.split("/")[1] for n in audit.nodes if (key := n.key).startswith("cohorts/")] if audit.part else []
    return "\n".join([*lines, "", *_terms(audit, *(names or [node.key.split("/")[1]])), *_standing(audit)]) + "\n"


def embedding_card(audit: Audit) -> str:
    node = audit.node(audit.subject)
    told = node.featurizer
    lines = [f"# Embedding {node.key}", "", *_identity(node, audit), "", "## How it is made", ""]
    lines.append(f"- featurizer: {told.get('name', 'not stated')}")
    lines += _weights(told)
    plain = {name: value for name, value in told.items() if isinstance(value, str | int | float) and name != "name"}
    lines += [f"- {name}: {value}" for name, value in sorted(plain.items())]
    if quarantined := told.get("quarantined"):
        lines += ["", "Evidence that was left out, by reason:", ""]
        lines += _table(("reason", "pieces"), [(why, _count(num)) for why, num in sorted(quarantined.items())])
    if isinstance(chosen := told.get("settings"), Mapping) and chosen:
        lines += ["", *_table(("setting", "value"), [(name, str(value)) for name, value in sorted(chosen.items())])]
    lines += ["", "## Of what", "", *_cohort(audit), "", "## What reads it", ""]
    rows = [(key, version, why or "fresh") for key, (version, why) in audit.read_by.items()]
    lines += _table(("artifact", "version it read", "state"), rows) if rows else ["Nothing."]
    return "\n".join([*lines, "", *_terms(audit, node.key.split("/")[1]), *_standing(audit)]) + "\n"


def _identity(node: Node, audit: Audit) -> list[str]:
    made, commit = node.made, audit.snapshot.commit
    rows = [("version (MD5)", node.entry.version), ("SHA-256", made.get("sha256", "not recorded"))]
    rows += [("git revision", commit.sha)] if commit else []
    rows += [("code version", node.entry.code_version), ("parameters", settings(node.entry.params) or "the defaults")]
    if "at" in made:
        rows += [("made", f"{made['at']} by {made.get('git') or made['by']}")]
        if code := made.get("code"):
            rows += [("code", f"{code['revision']}{' with uncommitted changes' if code['changed'] else ''}")]
        environment = made.get("environment") or {}
        packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.get("packages", {}).items()))
        rows += [("environment", f"Python {environment['python']}; {packages}")] if "python" in environment else []
    return _table(("", ""), rows)


def _cohort(audit: Audit) -> list[str]:
    lines: list[str] = []
    for node in audit.nodes:
        if not node.key.startswith("cohorts/") or node.checked.artifact is None:
            continue
        told = node.checked.artifact.card()
        lines += [""] if lines else []
        lines.append(
            f"`{node.key}` at {node.entry.version}: {_count(told['num_items'])} items of "
            f"{_count(told['num_subjects'])} subjects, {told['num_steps']} steps, "
            f"{told['num_folds']} folds by {told['fold_group']}."
        )
        if told["excluded"]:
            rows = [(why, _count(num)) for why, num in sorted(told["excluded"].items())]
            lines += ["", *_table(("left out because", "items"), rows)]
        lines += ["", *_bullets(told["notes"])] if told["notes"] else []
    raws = [(node.key, node.entry.version) for node in audit.nodes if node.key.startswith("raw/")]
    return [*lines, "", *_table(("raw manifest", "version"), raws)] if raws else lines


def _embeddings_table(audit: Audit) -> list[str]:
    rows = []
    for node in audit.nodes:
        if node.key.startswith("features/"):
            weights = node.featurizer.get("weights")
            weights = weights if isinstance(weights, Mapping) else {}
            hashed = (
                f"{weights['name']} `{weights['sha256']}` ({weights['licence']})" if weights.get("sha256") else "none"
            )
            seen = weights.get("has_seen", _UNSEEN) if weights else ""
            rows.append((node.key, node.entry.version, node.featurizer.get("name", ""), hashed, seen))
    return _table(("embedding", "version", "featurizer", "weights", "what the weights have seen"), rows)


def _weights(told: Mapping[str, Any]) -> list[str]:
    weights = told.get("weights")
    if not isinstance(weights, Mapping):
        fitted = "fold cards" in told
        return ["- weights: fitted here, on the training rows of each fold" if fitted else "- weights: none"]
    return [
        f"- weights: {weights.get('name')}",
        f"- weights' SHA-256: {weights.get('sha256')}",
        f"- weights' licence: {weights.get('licence')}",
        *([f"- weights' revision: {weights['revision']}"] if weights.get("revision") else []),
        f"- what the weights have seen: {weights.get('has_seen') or _UNSEEN}",
    ]


def _terms(audit: Audit, *names: str) -> list[str]:
    """names: of data sets."""
    lines = ["## Terms of use", ""]
    for dataset in (load_dataset(name) for name in names if name in DATASETS):
        lines.append(f"- data: {dataset.title}. {dataset.licence or 'Licence not stated.'}")
        lines += [f"- cite: {dataset.citation}"] if dataset.citation else []
    for node in audit.nodes:
        weights = node.featurizer.get("weights")
        if isinstance(weights, Mapping) and weights.get("licence"):
            lines.append(f"- weights {weights.get('name')}: {weights['licence']}")
    return list(dict.fromkeys(lines))


def _standing(audit: Audit) -> list[str]:
    faults = [f"{finding.place}: {finding.message}" for finding in audit.findings if finding.severity == "fault"]
    state = "Every byte was read" if audit.verified else "Bytes were not read"
    told = [f"{state}; {len(faults)} faults were found.", *_bullets(faults[:20])]
    told += [f"Missing witness: {name} ({why})." for name, why in audit.missing.items()]
    return ["", "## Audit", "", *told]


def _count(number: int) -> str:
    return f"fewer than {_SMALL}" if 0 < number < _SMALL else f"{number:,}"


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
