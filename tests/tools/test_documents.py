"""Documents: the generated one is up to date, links lead somewhere, and what pages tell people to type is possible."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS
from lib_sdfm.errors import UserError
from lib_sdfm.schema.params import params_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.techniques.pag import Pag
from tools.documents import SETTINGS, settings_document, settings_table, with_tables

ROOT = Path(__file__).parent.parent.parent
WITH_READERS = sorted(ROOT.glob("docs/*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "demo/README.md")), *WITH_READERS]
LONGEST_README = 180
LARGEST_PICTURE = 150_000
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf8")


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_settings_are_in_sync():
    """If not: ``make docs``."""
    assert text_of(SETTINGS) == settings_document(SCHEMA)


def test_the_settings_have_a_heading_for_each_technique():
    headings = re.findall(r"^## (.*)$", text_of(SETTINGS), re.MULTILINE)
    assert headings == [technique.label for technique in SCHEMA.techniques]


def test_a_table_has_a_row_for_each_setting():
    rows = settings_table(SCHEMA, Pag).splitlines()[2:]
    assert {row.split("|")[2].strip() for row in rows} == {f"`pag.{param.name}`" for param in params_of(Pag.Settings)}
    assert len({row.count(" | ") for row in rows}) == 1


def test_only_what_stands_between_the_marks_is_made_anew():
    text = "before\n<!-- kind: one -->\nold\n<!-- end -->\nafter <!-- end -->"
    new = with_tables(text, "kind", lambda name: f"{name} anew\n")
    assert new == "before\n<!-- kind: one -->\none anew\n<!-- end -->\nafter <!-- end -->"


def test_the_readme_can_be_read_in_one_go():
    lines = text_of(ROOT / "README.md").splitlines()
    tables = re.findall(r"(?:^\|.*\n)+", text_of(ROOT / "README.md"), re.MULTILINE)
    assert len(lines) <= LONGEST_README and max(table.count("\n") for table in tables) <= 15


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    wrong = []
    for _, link in LINK.findall(BLOCK.sub("", text_of(page))):
        path, _, anchor = link.partition("#")
        if re.match(r"https?:", link):
            continue
        target = (page.parent / unquote(path)).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            wrong.append(link)
    assert not wrong


@pytest.mark.parametrize("page", WITH_READERS, ids=name_of)
def test_a_page_says_first_whom_it_is_for(page: Path):
    assert re.match(r"# .+\n\nFor ", text_of(page))


def test_pictures_are_small_and_shown():
    pictures = sorted((ROOT / "docs" / "pictures").glob("*"))
    shown = {link for page in PAGES for mark, link in LINK.findall(text_of(page)) if mark}
    assert {picture.name for picture in pictures} == {Path(link).name for link in shown}
    assert all(picture.suffix in (".webp", ".png") and picture.stat().st_size <= LARGEST_PICTURE for picture in pictures)


def blocks(kind: str) -> list[Any]:
    found = [(page, body) for page in PAGES for language, body in BLOCK.findall(text_of(page)) if language == kind]
    return [pytest.param(body, id=f"{name_of(page)} {number}") for number, (page, body) in enumerate(found)]


@pytest.mark.parametrize("body", blocks("json"))
def test_requests_are_possible(body: str):
    request = json.loads(body)
    if "alwayson_scripts" in request:
        args = request["alwayson_scripts"]["SDFM"]["args"]
        preset = args[0].pop("preset", None)
        assert preset is None or preset in {preset.name for preset in SHIPPED_PRESETS}
        assert resolve_job(SCHEMA, args).settings.techniques
    elif "detail" in request:
        name, value = re.match(r"SDFM: ([\w.]+): (.*?) is not possible", request["detail"]).groups()
        technique, setting = name.split(".")
        with pytest.raises(UserError) as raised:
            resolve_job(SCHEMA, [{technique: {setting: json.loads(value)}}])
        assert request["detail"] == f"SDFM: {raised.value.for_api()}"


@pytest.mark.parametrize("body", blocks("sh"))
def test_curl_sends_what_is_possible(body: str):
    request = json.loads(re.search(r"-d '(.*)'", body, re.DOTALL)[1])
    assert resolve_job(SCHEMA, request["alwayson_scripts"]["SDFM"]["args"]).settings.techniques


def test_commands_are_there():
    """Every ``make`` target, and every module that is run by ``python -m``."""
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # it tells of older ones
            continue
        text = text_of(page)
        assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)) <= targets, name_of(page)
        for module in re.findall(r"python -m ([\w.]+)", text):
            assert importlib.util.find_spec(module) is not None, (name_of(page), module)
