"""HAIM's published embeddings (`cxr_ic_fusion_1103.csv`) as a data set of its own: MultiModN's tasks 1 and 2 on them.

The vectors are HAIM's (Soenksen et al. 2022), taken as they are: there is one mode, "haim". Heavy imports wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.haim.layout import PATTERNS
from mmn.data.haim.params import MODES, HaimParams

if TYPE_CHECKING:
    from mmn.data.cohort import Cohort
    from mmn.data.evidence import VectorEvidence


def _inspect(raw: Path) -> Inspection:
    from mmn.data.haim.layout import inspect

    return inspect(raw)


def _build_cohort(raw: Path, params: HaimParams) -> Cohort:
    from mmn.data.haim.cohort import build_cohort

    return build_cohort(raw, params)


def _read_evidence(
    raw: Path, modality: str, cohort: Cohort, params: HaimParams, prepared: Mapping[str, Path] | None = None
) -> VectorEvidence:
    from mmn.data.haim.evidence import read_evidence

    return read_evidence(raw, modality, cohort, params, prepared)


def _modality(name: str, description: str, *, read: bool = False, defines: str = "") -> Modality:
    """read: by the models unless `modalities:` names others. defines: why it may not be read for the two tasks."""
    return Modality(
        name=name,
        description=description,
        sources=("embeddings",),
        prepared=("vectors",),
        evidence="vectors",
        featurizer="given",
        by_default=read,
        unusable_for=dict.fromkeys((task.name for task in _TASKS), defines) if defines else {},
    )


_TASKS = (
    Task(
        name="cardiomegaly",
        number=1,
        kind="binary",
        description="The heart is enlarged, by the X-ray's report",
        published={"multimodn": "0.75±0.04", "p_fusion": "0.75±0.02"},
    ),
    Task(
        name="enlarged_cardiomediastinum",
        number=2,
        kind="binary",
        description="The mediastinum is widened, by the X-ray's report",
        published={"multimodn": "0.71±0.03", "p_fusion": "0.69±0.03"},
    ),
)

_TRAINING = {
    "batch_size": 16, "dropout": 0.2, "hidden": 32, "state": 50, "epochs": 100, "select_by": "bac+auroc",
    # Swamy et al. 2023, E.4.
    "fusion_transformer": {"batch_size": 32, "blocks": 2, "heads": 3, "head_size": 128, "mlp": 32},
}  # fmt: skip

# MultiModN's four are read by default, in its order.
_MODALITIES = (
    _modality("demographics", "Age, gender, ethnicity, marital status, language, insurance (de)", read=True),
    _modality("xray", "The chest X-ray: dense features of a DenseNet (vd)", read=True),
    _modality("notes", "Echocardiography notes of the stay; a constant vector where there is none (n_ech)", read=True),
    _modality("chart_events", "Nine charted signals, eleven statistics of each (ts_ce)", read=True),
    _modality("xray_findings", "The chest X-ray: probabilities of 18 findings (vp)"),
    _modality("xray_history", "The patient's X-rays, averaged: dense features (vmd)"),
    _modality("xray_history_findings", "The patient's X-rays, averaged: probabilities of findings (vmp)"),
    _modality("lab_events", "Twenty-two laboratory values, eleven statistics of each (ts_le)"),
    _modality("procedures", "Ten procedures of the whole stay, eleven statistics of each (ts_pe)"),
    _modality("ecg_notes", "Electrocardiography notes of the stay (n_ecg)"),
    _modality(
        "radiology_notes",
        "Radiology notes of the stay (n_rad)",
        defines="the labels were read from these reports",
    ),
)

MIMIC_HAIM = Dataset(
    name="mimic_haim",
    title="MIMIC: chest X-rays, HAIM's published embeddings",
    raw="haim",
    people="mimic",
    sources={"embeddings": PATTERNS},
    cohort_sources=("embeddings",),
    modalities=_MODALITIES,
    tasks=_TASKS,
    inspect=_inspect,
    build_cohort=_build_cohort,
    read_evidence=_read_evidence,
    cohort_defaults=HaimParams(),
    modes=MODES,
    prepared={"vectors": ("embeddings",)},
    prepare="mmn.data.haim.prepared:prepare",
    training_defaults=_TRAINING,
    multitask={"multitask": ("cardiomegaly", "enlarged_cardiomediastinum")},
    missingness=("xray", "cardiomegaly"),
    citation=(
        "Soenksen et al., npj Digit Med 5, 149 (2022), and haim-multimodal 1.0.1, PhysioNet; "
        "Swamy et al., NeurIPS 2023, arXiv:2309.14118"
    ),
    licence=(
        "PhysioNet Credentialed Health Data License 1.5.0 and Data Use Agreement 1.5.0. Whatever is made from it "
        "(models, predictions) is under the same agreement."
    ),
)

__all__ = ["MIMIC_HAIM"]
