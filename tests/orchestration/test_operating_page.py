"""docs/operating.md: its example is read as it stands, its checks are those of the code, its pictures are there."""

import re

import pytest

from mmn.orchestration.checks import KINDS, check_known_names
from mmn.orchestration.operating import load_operating
from tests.orchestration.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "operating.md"
WARNS = {name for name, kind in KINDS.items() if not kind.refuses}


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
