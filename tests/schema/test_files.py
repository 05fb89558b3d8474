"""Files are written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_sdfm.schema.files import write_json


def test_a_file_takes_the_place_of_the_earlier_one(tmp_path: Path):
    path = tmp_path / "kept.json"
    for content in ({"a": 1}, {"é": [True, None]}):
        write_json(path, content)
        assert json.loads(path.read_text(encoding="utf8")) == content
    assert "é" in path.read_text(encoding="utf8") and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [{"a": "\ud800"}, {"a": object()}], ids=["no text", "no JSON"])
def test_what_can_not_be_written_changes_nothing(tmp_path: Path, content: object):
    path = tmp_path / "kept.json"
    write_json(path, {"a": 1})
    with pytest.raises((TypeError, UnicodeEncodeError)):
        write_json(path, content)
    assert json.loads(path.read_text(encoding="utf8")) == {"a": 1} and list(tmp_path.iterdir()) == [path]
