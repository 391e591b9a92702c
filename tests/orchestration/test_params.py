"""An unknown or impossible setting is refused with the place and the nearest known name."""

import dataclasses
from typing import Literal

import pytest

from mmn.data.errors import ParamsError
from mmn.orchestration.params import load_params, resolve, section
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
    ],
)
def test_every_level_of_the_file_is_checked(params, message):
    with pytest.raises(ParamsError) as error:
        check_params(params)
    assert message in str(error.value)
