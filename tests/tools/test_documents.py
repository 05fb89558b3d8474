"""The README's tables are made from the declarations."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.params import params_of
from lib_sdfm.techniques.pag import Pag
from tools.documents import refreshed, settings_table

README = Path(__file__).parent.parent.parent / "README.md"


def test_the_readme_is_in_sync():
    """If not: ``make docs``."""
    text = README.read_text(encoding="utf8")
    assert refreshed(SCHEMA, text) == text


@pytest.mark.parametrize("technique", SCHEMA.techniques, ids=lambda technique: technique.name)
def test_the_readme_has_a_table_of_each_technique(technique: type):
    assert f"<!-- settings: {technique.name} -->" in README.read_text(encoding="utf8")


def test_a_table_has_a_row_for_each_setting():
    rows = settings_table(SCHEMA, Pag).splitlines()[2:]
    assert {row.split("|")[2].strip() for row in rows} == {f"`pag.{param.name}`" for param in params_of(Pag.Settings)}
    assert len({row.count(" | ") for row in rows}) == 1


def test_only_what_stands_between_the_marks_is_made_anew():
    text = "before\n<!-- settings: pag -->\nold\n<!-- end -->\nafter <!-- end -->"
    new = refreshed(SCHEMA, text)
    assert new == f"before\n<!-- settings: pag -->\n{settings_table(SCHEMA, Pag)}<!-- end -->\nafter <!-- end -->"
    assert refreshed(SCHEMA, new) == new
