"""MIMIC-IV with MIMIC-CXR-JPG and notes: two cohorts of one raw folder, as two `Dataset` values.

`MIMIC`: one item per chest X-ray, MultiModN's tasks 1 and 2. `MIMIC_ICU`: one item per ICU stay, HAIM's outcomes; it
needs no images, so the open demo will do. In mode "clean" everything is as of the prediction time; `MIMIC` has a mode
"haim" too, which repeats what HAIM and MultiModN published, with its faults. Heavy imports wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.mimic.params import CXR_MODES, ICU_MODES, CxrParams, IcuParams
from mmn.data.mimic.sources import PREPARE, PREPARED, sources

if TYPE_CHECKING:
    from mmn.data.cohort import Cohort
    from mmn.data.evidence import Evidence

_NONE: Mapping[str, Path] = MappingProxyType({})

FORMATS = ("2.2", "1.0", "2.0", "3.1")  # versions of MIMIC-IV that `generate` writes, the usual one first


def _inspect_cxr(raw: Path) -> Inspection:
    from mmn.data.mimic.inspection import inspect_cxr

    return inspect_cxr(raw)


def _inspect_icu(raw: Path) -> Inspection:
    from mmn.data.mimic.inspection import inspect_icu

    return inspect_icu(raw)


def _build_cxr_cohort(raw: Path, params: CxrParams) -> Cohort:
    if params.mode == "haim":
        from mmn.data.mimic.cohort_haim import build_haim_cohort

        return build_haim_cohort(raw, params)
    from mmn.data.mimic.cohort_cxr import build_cxr_cohort

    return build_cxr_cohort(raw, params)


def _build_icu_cohort(raw: Path, params: IcuParams) -> Cohort:
    from mmn.data.mimic.cohort_icu import build_icu_cohort

    return build_icu_cohort(raw, params)


def _read_cxr_evidence(
    raw: Path, modality: str, cohort: Cohort, params: CxrParams, prepared: Mapping[str, Path] = _NONE
) -> Evidence:
    from mmn.data.mimic.evidence import read_cxr_evidence

    return read_cxr_evidence(raw, modality, cohort, params, prepared)


def _read_icu_evidence(
    raw: Path, modality: str, cohort: Cohort, params: IcuParams, prepared: Mapping[str, Path] = _NONE
) -> Evidence:
    from mmn.data.mimic.evidence import read_icu_evidence

    return read_icu_evidence(raw, modality, cohort, params, prepared)


def _generate(raw: Path, size: str, seed: int, version: str = FORMATS[0]) -> None:
    from mmn.data.mimic.generator import generate

    generate(raw, size, seed, version)


_TRAINING: dict[str, Any] = {
    "batch_size": 16, "dropout": 0.2, "hidden": 32, "state": 50, "epochs": 100, "select_by": "bac+auroc",
    # Swamy et al. 2023, E.4.
    "fusion_transformer": {"batch_size": 32, "blocks": 2, "heads": 3, "head_size": 128, "mlp": 32},
}  # fmt: skip
_LICENCE = (
    "PhysioNet Credentialed Health Data License 1.5.0 and Data Use Agreement 1.5.0 (the demo: Open Database License). "
    "Whatever is made from the credentialed data (embeddings, models, predictions) is under the same agreement."
)
_CITATION = (
    "Johnson et al., MIMIC-IV, PhysioNet, and Sci Data 10, 1 (2023); Johnson et al., MIMIC-CXR-JPG, arXiv:1901.07042; "
    "Soenksen et al., npj Digit Med 5, 149 (2022); Swamy et al., NeurIPS 2023, arXiv:2309.14118"
)

_DEFINES = "CheXpert's labels are read off the same reports"
_FINDINGS = {"output": "findings"}

# One definition for both data sets: the same words, files and numbers of the same name.
_DEMOGRAPHICS = Modality(
    name="demographics",
    description="Age, gender, race group, marital status, language, insurance",
    sources=("tables",),
    evidence="table",
    featurizer="table",
    optional=False,
)
_CHART_EVENTS = Modality(
    name="chart_events",
    description="Nine charted signals: heart rate, blood pressure, breathing, oxygen saturation, coma scale",
    sources=("tables",),
    prepared=("chartevents",),
    evidence="events",
    featurizer="event_statistics",
)
_LAB_EVENTS = Modality(
    name="lab_events",
    description="Twenty-two laboratory values of the blood",
    sources=("tables",),
    prepared=("labevents",),
    evidence="events",
    featurizer="event_statistics",
)
_PROCEDURES = Modality(
    name="procedures",
    description="Ten procedures, in minutes up to the prediction",
    sources=("tables",),
    prepared=("procedureevents",),
    evidence="events",
    featurizer="event_statistics",
)

# MultiModN reads the first four; the others are HAIM's further embeddings, read where `params.yaml` names them.
_CXR_MODALITIES = (
    _DEMOGRAPHICS,
    Modality(
        name="xray",
        description="The chest X-ray itself",
        sources=("images",),
        evidence="images",
        featurizer="image",
    ),
    Modality(
        name="notes",
        description="Echocardiography reports of the admission, written before the X-ray",
        sources=("notes",),
        evidence="texts",
        featurizer="text",
    ),
    _CHART_EVENTS,
    replace(_LAB_EVENTS, by_default=False),
    replace(_PROCEDURES, by_default=False),
    Modality(
        name="ecg_notes",
        description="Electrocardiography reports of the admission, written before the X-ray",
        sources=("notes",),
        evidence="texts",
        featurizer="text",
        by_default=False,
    ),
    Modality(
        name="radiology_notes",
        description="Radiology reports of the admission, written before the X-ray",
        sources=("notes",),
        evidence="texts",
        featurizer="text",
        by_default=False,
        unusable_for={"cardiomegaly": _DEFINES, "enlarged_cardiomediastinum": _DEFINES},
    ),
    Modality(
        name="xray_findings",
        description="What a network trained on findings says of the chest X-ray",
        sources=("images",),
        evidence="images",
        featurizer="image",
        settings=_FINDINGS,
        by_default=False,
    ),
    Modality(
        name="xray_history",
        description="The patient's chest X-rays up to this one, of any admission, the newer the heavier",
        sources=("cxr_labels", "images"),
        evidence="images",
        featurizer="image",
        by_default=False,
    ),
    Modality(
        name="xray_history_findings",
        description="What a network trained on findings says of the patient's chest X-rays up to this one",
        sources=("cxr_labels", "images"),
        evidence="images",
        featurizer="image",
        settings=_FINDINGS,
        by_default=False,
    ),
)

MIMIC = Dataset(
    name="mimic",
    title="MIMIC: chest X-rays in their admissions",
    raw="mimic",
    sources=sources(
        "tables", "chartevents", "labevents", "procedureevents", "stay_order", "notes", "cxr_labels", "images"
    ),
    cohort_sources=("tables", "cxr_labels"),
    mode_sources={"haim": ("procedureevents", "stay_order")},
    modalities=_CXR_MODALITIES,
    tasks=(
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
    ),
    inspect=_inspect_cxr,
    build_cohort=_build_cxr_cohort,
    read_evidence=_read_cxr_evidence,
    cohort_defaults=CxrParams(),
    modes=CXR_MODES,
    prepared=PREPARED,
    prepare=PREPARE,
    training_defaults=_TRAINING,
    multitask={"multitask": ("cardiomegaly", "enlarged_cardiomediastinum")},
    missingness=("xray", "cardiomegaly"),
    generate=_generate,
    formats=FORMATS,
    export="mmn.data.mimic.haim_columns:export_haim",
    citation=_CITATION,
    licence=_LICENCE,
)

MIMIC_ICU = Dataset(
    name="mimic_icu",
    title="MIMIC: ICU stays",
    raw="mimic",
    sources=sources("tables", "chartevents", "labevents", "procedureevents", "notes"),
    cohort_sources=("tables",),
    modalities=(
        _DEMOGRAPHICS,
        _CHART_EVENTS,
        _LAB_EVENTS,
        _PROCEDURES,
        Modality(
            name="notes",
            description="Radiology reports of the admission, written before the prediction",
            sources=("notes",),
            evidence="texts",
            featurizer="text",
        ),
    ),
    tasks=(
        Task(
            name="mortality_48h",
            number=None,
            kind="binary",
            description="Dies in hospital within 48 h of the prediction",
        ),
        Task(
            name="discharge_48h",
            number=None,
            kind="binary",
            description="Leaves the hospital alive within 48 h of the prediction",
        ),
    ),
    inspect=_inspect_icu,
    build_cohort=_build_icu_cohort,
    read_evidence=_read_icu_evidence,
    cohort_defaults=IcuParams(),
    modes=ICU_MODES,
    prepared=PREPARED,
    prepare=PREPARE,
    training_defaults=_TRAINING,
    multitask={"multitask": ("mortality_48h", "discharge_48h")},
    # Laboratory tests are ordered when someone worries: the modality whose absence tells most.
    missingness=("lab_events", "mortality_48h"),
    generate=_generate,
    formats=FORMATS,
    citation=_CITATION,
    licence=_LICENCE,
)

__all__ = ["MIMIC", "MIMIC_ICU"]
