"""MIMIC-IV with MIMIC-CXR-JPG and notes: two cohorts of one raw folder, as two `Dataset` values.

`MIMIC`: one item per chest X-ray, MultiModN's tasks 1 and 2. `MIMIC_ICU`: one item per ICU stay, HAIM's outcomes; it
needs no images, so the open demo will do. Everything is as of the prediction time (mode "clean"). Heavy imports wait.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmn.data.dataset import Dataset, Inspection, Modality, Task
from mmn.data.mimic.params import CxrParams, IcuParams
from mmn.data.mimic.sources import sources

if TYPE_CHECKING:
    from mmn.data.cohort import Cohort
    from mmn.data.evidence import Evidence


def _inspect_cxr(raw: Path) -> Inspection:
    from mmn.data.mimic.inspection import inspect_cxr

    return inspect_cxr(raw)


def _inspect_icu(raw: Path) -> Inspection:
    from mmn.data.mimic.inspection import inspect_icu

    return inspect_icu(raw)


def _build_cxr_cohort(raw: Path, params: CxrParams) -> Cohort:
    from mmn.data.mimic.cohort_cxr import build_cxr_cohort

    return build_cxr_cohort(raw, params)


def _build_icu_cohort(raw: Path, params: IcuParams) -> Cohort:
    from mmn.data.mimic.cohort_icu import build_icu_cohort

    return build_icu_cohort(raw, params)


def _read_cxr_evidence(raw: Path, modality: str, cohort: Cohort, params: CxrParams) -> Evidence:
    from mmn.data.mimic.evidence import read_cxr_evidence

    return read_cxr_evidence(raw, modality, cohort)


def _read_icu_evidence(raw: Path, modality: str, cohort: Cohort, params: IcuParams) -> Evidence:
    from mmn.data.mimic.evidence import read_icu_evidence

    return read_icu_evidence(raw, modality, cohort)


def _generate(raw: Path, size: str, seed: int) -> None:
    from mmn.data.mimic.generator import generate

    generate(raw, size, seed)


_TRAINING: dict[str, Any] = {
    "batch_size": 16, "dropout": 0.2, "hidden": 32, "state": 50, "epochs": 100, "select_by": "bac+auroc",
}  # fmt: skip
_LICENCE = (
    "PhysioNet Credentialed Health Data License 1.5.0 and Data Use Agreement 1.5.0 (the demo: Open Database License). "
    "Whatever is made from the credentialed data (embeddings, models, predictions) is under the same agreement."
)
_CITATION = (
    "Johnson et al., MIMIC-IV, PhysioNet, and Sci Data 10, 1 (2023); Johnson et al., MIMIC-CXR-JPG, arXiv:1901.07042; "
    "Soenksen et al., npj Digit Med 5, 149 (2022); Swamy et al., NeurIPS 2023, arXiv:2309.14118"
)

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
    sources=("tables", "chartevents"),
    evidence="events",
    featurizer="event_statistics",
)

MIMIC = Dataset(
    name="mimic",
    title="MIMIC: chest X-rays in their admissions",
    raw="mimic",
    sources=sources("tables", "chartevents", "notes", "cxr_labels", "images"),
    cohort_sources=("tables", "cxr_labels"),
    modalities=(
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
    ),
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
    training_defaults=_TRAINING,
    multitask={"multitask": ("cardiomegaly", "enlarged_cardiomediastinum")},
    missingness=("xray", "cardiomegaly"),
    generate=_generate,
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
        Modality(
            name="lab_events",
            description="Twenty-two laboratory values of the blood",
            sources=("tables", "labevents"),
            evidence="events",
            featurizer="event_statistics",
        ),
        Modality(
            name="procedures",
            description="Ten procedures, in minutes up to the prediction",
            sources=("tables", "procedureevents"),
            evidence="events",
            featurizer="event_statistics",
        ),
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
    training_defaults=_TRAINING,
    multitask={"multitask": ("mortality_48h", "discharge_48h")},
    # Laboratory tests are ordered when someone worries: the modality whose absence tells most.
    missingness=("lab_events", "mortality_48h"),
    generate=_generate,
    citation=_CITATION,
    licence=_LICENCE,
)

__all__ = ["MIMIC", "MIMIC_ICU"]
