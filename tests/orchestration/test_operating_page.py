"""docs/operating.md: its example is read as it stands, its checks are those of the code, its pictures are there."""

import dataclasses
import re

import pytest
import yaml

from mmn.orchestration.checks import KINDS, check_known_names
from mmn.orchestration.operating import Operating, load_operating
from tests.orchestration.conftest import REPOSITORY

# Of `params.yaml`.
OTHERS = {"device"}
PAGE = REPOSITORY / "docs" / "operating.md"
WARNS = {name for name, kind in KINDS.items() if not kind.refuses}


def fragments() -> list[str]:
    """What the page quotes in its text as YAML, such as `refuse: [above_floors]`."""
    text = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    return [quoted for quoted in re.findall(r"`([^`]+)`", text) if re.match(r"[a-z_]+: ", quoted)]


@pytest.mark.parametrize("fragment", fragments())
def test_every_setting_that_the_text_quotes_is_read_as_it_stands(tmp_path, fragment):
    ((name, value),) = yaml.safe_load(fragment).items()
    blocks = {field.name: field.default_factory for field in dataclasses.fields(Operating)}
    if name in blocks:
        whole = {name: value}
    else:
        inside = [block for block, made in blocks.items() if name in getattr(made, "__dataclass_fields__", {})]
        assert inside or name in OTHERS, f"{fragment}: no such setting"
        whole = {block: {name: value} for block in inside}
    (tmp_path / "operating.yaml").write_text(yaml.safe_dump(whole))
    assert load_operating(tmp_path) is not None
    if isinstance(value, dict):
        read = getattr(load_operating(tmp_path), name)
        assert {key: getattr(read, key) for key in value} == value


def test_the_page_quotes_the_switch_of_the_conditions():
    assert any(fragment.startswith("automation: {enabled: true") for fragment in fragments())


def test_the_example_is_what_mmn_reads(tmp_path):
    example = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example
    (tmp_path / "operating.yaml").write_text(example[1])
    operating = load_operating(tmp_path)
    check_known_names(operating.checks)
    assert operating.new_files.expected_days == 7 and operating.schedule("mimic").timezone == "Europe/Zurich"


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_check_warns_where_the_page_says_so_and_refuses_else(name):
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    said = [star for line in table for star in re.findall(rf"`{name}`(\*?)", line)]
    assert said and {bool(star) for star in said} == {name in WARNS}


def test_the_pictures_are_there_and_small():
    names = re.findall(r"!\[.*?\]\((images/.*?)\)", PAGE.read_text())
    assert len(names) == 3
    assert all((PAGE.parent / name).stat().st_size < 300_000 for name in names)
