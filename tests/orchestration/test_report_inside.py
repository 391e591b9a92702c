"""The report's parts on what happens inside MultiModN, and on less and other orders, from tables the test writes."""

import re

import numpy as np
import pandas as pd
import pytest

from mmn.data.files import write_json
from tests.orchestration.test_report import MODALITIES, World

ORDERS = (" > ".join(MODALITIES), " > ".join(reversed(MODALITIES)))
SUBSETS = ("nothing", *MODALITIES, " + ".join(MODALITIES))


class Fuller(World):
    """With the tables of Shapley values, of single items (of the generated data set alone), subsets and orders."""

    def _dataset(self, name: str, missingness: bool) -> None:
        super()._dataset(name, missingness)
        tasks = list(self.card(name, f"cohorts/{name}")["tasks"])
        items = ["ITEM7", "ITEM8"] if name == "mimic" else []
        inside = {
            "shapley": self._table(tasks, modality=MODALITIES, fold=range(5), shapley=None, abs_shapley=None)
            .assign(exact=True, error=0.0),
            "agreement": self._table(tasks, fold=range(5))
            .assign(over_modalities=0.4, over_items=0.83, same_first=True),
            "stability": self._table(tasks, measure=("imc", "shapley"))
            .assign(rank_correlation=0.2, lowest=-0.5, highest=0.9, strongest="notes", same_first=0.6),
            "imc_items": self._table(tasks, item=items, modality=MODALITIES, imc=None),
            "cp_items": self._table(tasks, item=items, step=(0,), modality=("prior", *MODALITIES), change=None)
            .assign(prediction=0.5),
        }  # fmt: skip
        folder = f"results/{name}/interpretability"
        self._add(name, folder, inside)
        card = {**self.card(name, folder), "items_shown": "2 generated" if items else "none: the data is real"}
        write_json(self.root / self.steps[folder].out / "card.json", card)
        subsets = self._table(tasks, subset=SUBSETS).assign(model="multimodn", num_items=200)
        subsets["num_modalities"] = [0 if s == "nothing" else s.count("+") + 1 for s in subsets["subset"]]
        subsets["all"] = subsets["num_modalities"] == 2
        orders = self._table(tasks, order=ORDERS).assign(variant="trained in one order", moved=0.05)
        orders["first"] = orders["order"] == ORDERS[0]
        sensitivity = self._table(tasks).assign(
            variant="trained in one order", metric="auroc", num_orders=2, all_orders=True, in_order=0.8, other=0.61,
            difference=-0.19, low=-0.25, high=-0.13, spread=0.1, lowest=0.6, highest=0.8, moved=0.05,
        )  # fmt: skip
        key = f"results/{name}/subsets"
        self._results(name, key, self.steps[folder].deps, {})
        tables = {"subsets": self._scored(subsets), "orders": self._scored(orders), "order_sensitivity": sensitivity}
        self._add(name, key, tables)

    def _add(self, name: str, key: str, tables: dict) -> None:
        import pyarrow as pa

        from mmn.data.files import write_parquet

        for table, frame in tables.items():
            path = self.root / self.steps[key].out / f"{table}.parquet"
            write_parquet(path, pa.Table.from_pandas(frame, preserve_index=False))

    def _table(self, tasks: list[str], **columns) -> pd.DataFrame:
        """All combinations of the given values; None is a random number."""
        given = {"task": tasks, **{name: list(values) for name, values in columns.items() if values is not None}}
        frame = pd.MultiIndex.from_product(given.values(), names=list(given)).to_frame(index=False)
        for name in (name for name, values in columns.items() if values is None):
            frame[name] = self.rng.normal(0, 0.1, len(frame))
        return frame.assign(task_set=frame["task"])

    def _scored(self, frame: pd.DataFrame) -> pd.DataFrame:
        """0.5 and 0.1 more for each modality; notes are worth 0.05 more than demographics."""
        if "subset" in frame:
            worth = 0.5 + 0.1 * frame["num_modalities"] + 0.05 * frame["subset"].str.contains("notes")
        else:
            worth = 0.8 - 0.19 * ~frame["first"]
        folds = [list(value + 0.001 * np.arange(-2, 3)) for value in worth]
        return frame.assign(
            metric="auroc", unit="", estimate=worth, low=worth - 0.02, high=worth + 0.02, num_folds=5, fold_values=folds
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    made = Fuller(tmp_path_factory.mktemp("fuller"), ("mimic", "mimic_icu"), missingness=())
    out, _ = made.report()
    html = (out / "index.html").read_text(encoding="utf-8")
    return out, html, re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL))


def test_the_subsets_table_names_the_best_modality_alone_and_the_costliest_to_lose(page):
    _, _, text = page
    assert "With less, and in another order" in text
    # With all 0.75, notes alone 0.65: demographics cost 0.10, notes 0.15, in every fold alike.
    assert "1 cardiomegaly, MultiModN, single task (AUROC) 0.750 notes 0.650 notes −0.150" in text
    assert "▲▼ told apart 0.500" in text


def test_the_orders_table_gives_the_difference_with_its_interval(page):
    _, _, text = page
    assert "0.800 0.610 −0.190 (−0.250 to −0.130) ▲▼ told apart 0.600 and 0.800 0.050" in text


def test_shapley_values_stand_beside_imc_with_how_far_they_and_the_folds_agree(page):
    _, _, text = page
    assert "0.83 0.40 0.20 (−0.50 to 0.90)" in text and "notes (60%)" in text
    assert "The folds’ models rank the modalities differently for cardiomegaly" in text


def test_single_items_are_numbered_on_the_page_and_of_real_data_it_says_why_there_are_none(page):
    out, html, text = page
    assert "mimic title: single items, IMC" in text and "mimic_icu title, single items: none: the data is real" in text
    assert "ITEM7" not in html and "item 1" in html
    named = pd.read_csv(out / "csv" / "imc_items-mimic.csv")
    assert dict(zip(named["item"], named["shown_as"], strict=True)) == {"ITEM7": "item 1", "ITEM8": "item 2"}
    assert not (out / "csv" / "imc_items-mimic_icu.csv").exists()


def test_every_new_figure_says_in_words_what_it_shows_and_has_its_csv(page):
    out, html, _ = page
    for figure in ("subsets", "orders", "shapley"):
        body = re.search(rf'<figure id="figure-{figure}-mimic">(.*?)</figure>', html, re.DOTALL)
        assert body is not None
        assert all(len(alt) > 40 for alt in re.findall(r'alt="([^"]*)"', body.group(1)))
        assert f"{figure}-mimic.csv" in body.group(1) and (out / "csv" / f"{figure}-mimic.csv").exists()
