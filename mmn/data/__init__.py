"""What a data set is: contracts, readers, cohorts, folds, generators. One folder each.

`DATASETS` is the table of contents: name -> where its `Dataset` value lives. It is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmn.data.dataset import Dataset

DATASETS: dict[str, str] = {
    "mimic": "mmn.data.mimic:MIMIC",
    "mimic_icu": "mmn.data.mimic:MIMIC_ICU",
    "mimic_haim": "mmn.data.haim:MIMIC_HAIM",
    "edu": "mmn.data.edu:EDU",
    "weather2k": "mmn.data.weather2k:WEATHER2K",
    "avmnist": "mmn.data.multibench.avmnist:AVMNIST",
    "ur_funny": "mmn.data.multibench.ur_funny:UR_FUNNY",
    "mosei": "mmn.data.multibench.mosei:MOSEI",
    "mimic_iii": "mmn.data.multibench.mimic_iii:MIMIC_III",
    "enrico": "mmn.data.multibench.enrico:ENRICO",
    "gentle_push": "mmn.data.multibench.gentle_push:GENTLE_PUSH",
    "vision_touch": "mmn.data.multibench.vision_touch:VISION_TOUCH",
}


def load_dataset(name: str) -> Dataset:
    module, attribute = DATASETS[name].split(":")
    return getattr(import_module(module), attribute)
