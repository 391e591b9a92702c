"""docs/experiments.md: it names every experiment, its `mmn run` key and its tables, and its examples can be typed."""

import re
from pathlib import Path

import yaml

from mmn.data import load_dataset
from mmn.data.dataset import Inspection
from mmn.modeling.trust import TABLES
from mmn.orchestration.report.results import COMPARISON_TABLES, INSIDE_TABLES, MISSINGNESS_TABLES, SUBSETS_TABLES
from mmn.orchestration.steps import Active, build_steps, check_params

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
KINDS = ("scores", "interpretability", "missingness", "subsets", "early", "trust")


def test_every_experiment_stands_on_the_page_with_what_to_type_and_with_its_tables():
    for kind in KINDS:
        assert f"`results/DATASET/{kind}`" in PAGE
    tables = {"scores", "imc", "cp", "missingness", "early", "step_by_step", "binarised", *TABLES}
    for known in (COMPARISON_TABLES, INSIDE_TABLES, MISSINGNESS_TABLES, SUBSETS_TABLES):
        tables |= set(known)
    assert not [name for name in sorted(tables) if f"`{name}`" not in PAGE]


def test_its_examples_are_settings_that_are_known():
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        check_params(yaml.safe_load(example))


def test_each_experiment_is_a_step_of_its_own_that_its_settings_make_stale():
    active = {
        name: Active(dataset=load_dataset(name), inspection=Inspection(version="any", found={}, skipped={}))
        for name in ("mimic", "edu")
    }
    steps = build_steps(active)
    for name in active:
        settings = {"scores": "comparison", "interpretability": "interpretability", "subsets": "subsets",
                    "missingness": "missingness"}  # fmt: skip
        for kind, setting in settings.items():
            assert f"{name}.{setting}" in steps[f"results/{name}/{kind}"].sections
        assert f"results/{name}/trust" in steps
    assert "results/edu/early" in steps
