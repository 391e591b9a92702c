"""An unknown or impossible setting is refused with the place and the nearest known name."""

import dataclasses
from typing import Literal

import pytest

from mmn.data import load_dataset
from mmn.data.errors import ParamsError
from mmn.orchestration.params import load_params, resolve, section
from mmn.orchestration.settings import training_settings
from mmn.orchestration.steps import check_params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    epochs: int = 10
    dropout: float = 0.1
    course: str | None = None
    mode: Literal["clean", "haim"] = "clean"
    rates: tuple[float, ...] = (0.0, 0.5)


def test_overrides_are_put_in_and_an_integer_serves_where_a_float_is_due():
    made = resolve(Settings(), {"dropout": 0, "rates": [0.1], "course": "dsp"}, "edu.training")
    assert made == Settings(dropout=0.0, rates=(0.1,), course="dsp")


def test_an_unknown_setting_names_the_nearest_known_one():
    with pytest.raises(ParamsError, match=r"edu\.training has no setting 'epoch'\. Did you mean 'epochs'\?"):
        resolve(Settings(), {"epoch": 3}, "edu.training")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"epochs": "many"}, r"edu\.training\.epochs is 'many'; expected int"),
        ({"epochs": True}, r"expected int"),
        ({"mode": "published"}, r"'clean' \| 'haim'"),
    ],
)
def test_a_setting_of_the_wrong_type_says_what_is_expected(override, message):
    with pytest.raises(ParamsError, match=message):
        resolve(Settings(), override, "edu.training")


def test_a_file_that_is_not_yaml_is_refused_with_its_line(tmp_path):
    (tmp_path / "params.yaml").write_text("edu:\n  training: {epochs: 3\n")
    with pytest.raises(ParamsError, match=r"params\.yaml at line 3: not readable as YAML"):
        load_params(tmp_path)


def test_a_missing_section_is_empty():
    assert section({"edu": {"training": {"epochs": 3}}}, "edu.training") == {"epochs": 3}
    assert section({"edu": None}, "edu.training.epochs") == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mimik": {}}, "the file has no setting 'mimik'. Did you mean 'mimic'"),
        ({"edu": {"trainning": {}}}, "edu has no setting 'trainning'. Did you mean 'training'"),
        ({"edu": {"features": {"vidoe": {}}}}, "edu.features has no setting 'vidoe'. Did you mean 'video'"),
        ({"edu": {"training": {"epoch": 1}}}, "edu.training has no setting 'epoch'. Did you mean 'epochs'"),
        ({"mimic": {"cohort": {"num_fold": 5}}}, "mimic.cohort has no setting 'num_fold'. Did you mean 'num_folds'"),
        (
            {"edu": {"training": {"select_task": "pass_cuorse"}}},
            "edu.training.select_task has no setting 'pass_cuorse'. Did you mean 'pass_course'",
        ),
        (
            {"edu": {"training": {"p_fusion": {"task_weights": {"pass_cuorse": 2}}}}},
            "edu.training.task_weights has no setting 'pass_cuorse'. Did you mean 'pass_course'",
        ),
        (
            {"edu": {"missingness": {"training": {"select_task": "pass_cuorse"}}}},
            "edu.missingness.training.select_task has no setting 'pass_cuorse'. Did you mean 'pass_course'",
        ),
    ],
)
def test_every_level_of_the_file_is_checked(params, message):
    with pytest.raises(ParamsError) as error:
        check_params(params)
    assert message in str(error.value)


def test_the_mode_is_set_once_for_a_data_set_and_reaches_what_has_one():
    from mmn.data import load_dataset
    from mmn.orchestration.settings import cohort_settings, featurizer_settings

    mimic = load_dataset("mimic")
    params = {"mimic": {"mode": "haim"}}
    check_params(params)
    assert cohort_settings(params, mimic).mode == "haim"
    assert featurizer_settings(params, mimic, "chart_events").mode == "haim"
    assert featurizer_settings({}, mimic, "chart_events").mode == "clean"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mimic": {"mode": "hiam"}}, "mimic.mode is 'hiam'; mimic has clean, haim"),
        ({"mimic": {"cohort": {"mode": "haim"}}}, "mimic.cohort.mode: the mode is set once, as mimic.mode"),
        ({"mimic": {"features": {"chart_events": {"mode": "haim"}}}}, "the mode is set once, as mimic.mode"),
        ({"mimic": {"modalities": ["xrya"]}}, "mimic.modalities has no setting 'xrya'. Did you mean 'xray'"),
        ({"mimic": {"modalities": "xray"}}, "mimic.modalities must be a list; known: demographics"),
        ({"mimic": {"forced": ["radiology"]}}, "mimic.forced has no setting 'radiology'"),
        ({"mimic": {"modalities": []}}, "mimic.modalities is empty: name at least one"),
        ({"mimic": {"forced": ["notes"]}}, "mimic.forced: notes defines no label, so there is nothing to force"),
        ({"mimic": {"forced": ["radiology_notes"]}}, "radiology_notes is not read. Name it under mimic.modalities"),
    ],
)
def test_modes_and_modalities_are_checked(params, message):
    with pytest.raises(ParamsError) as error:
        check_params(params)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["mimic", "mimic_haim"])
def test_a_modality_that_defines_every_label_is_refused_unless_it_is_forced(name):
    """Left out of every model it would be asked for and gone, without a word."""
    block = {"modalities": ["xray", "radiology_notes"]}
    with pytest.raises(ParamsError) as error:
        check_params({name: block})
    for told in ("radiology_notes", "cardiomegaly, enlarged_cardiomediastinum", "labels", "forced: [radiology_notes]"):
        assert told in str(error.value)
    check_params({name: {**block, "forced": ["radiology_notes"]}})


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("mimic", (2, 3, 128, 32, 32, 0.2, 100)),
        ("mimic_icu", (2, 3, 128, 32, 32, 0.2, 100)),
        ("mimic_haim", (2, 3, 128, 32, 32, 0.2, 100)),
        ("edu", (4, 4, 256, 128, 64, 0.25, 50)),
        ("weather2k", (4, 4, 256, 128, 64, 0.25, 50)),
    ],
)
def test_the_transformer_has_the_papers_sizes_and_the_other_models_their_own(name, paper):
    """Swamy et al. 2023, appendix E.4. Dropout and epochs of MIMIC are not given there: they are MultiModN's."""
    dataset = load_dataset(name)
    own = training_settings({}, dataset, "fusion_transformer")
    said = (own.blocks, own.heads, own.head_size, own.mlp, own.batch_size, own.dropout, own.epochs)
    assert said == paper and own.mlp_dropout == 0.4
    others = [training_settings({}, dataset, model) for model in ("multimodn", "p_fusion")]
    table_3 = {"edu": (64, 0.1), "weather2k": (128, 0.1)}.get(name, (16, 0.2))
    assert {(other.batch_size, other.dropout) for other in others} == {table_3}
    given = training_settings({name: {"training": {"dropout": 0.3}}}, dataset, "fusion_transformer")
    assert given.dropout == 0.3 and given.blocks == own.blocks
