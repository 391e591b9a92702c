"""Modality to embedding. `FEATURIZERS` is the table of contents: name -> where its `Featurizer` value lives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmn.featurizers.featurizer import Featurizer

FEATURIZERS: dict[str, str] = {
    "table": "mmn.featurizers.table:TABLE",
    "event_statistics": "mmn.featurizers.event_statistics:EVENT_STATISTICS",
    "text": "mmn.featurizers.text:TEXT",
    "image": "mmn.featurizers.image:IMAGE",
    "weekly_clicks": "mmn.featurizers.weekly_clicks:WEEKLY_CLICKS",
    "given": "mmn.featurizers.given:GIVEN",
    "station_hours": "mmn.featurizers.station_hours:STATION_HOURS",
}


def load_featurizer(name: str) -> Featurizer:
    module, attribute = FEATURIZERS[name].split(":")
    return getattr(import_module(module), attribute)
