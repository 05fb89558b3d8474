"""Documents: the generated one is up to date, links lead somewhere, and what pages tell people to type is possible."""

from __future__ import annotations

import fnmatch
import importlib.util
import io
import itertools
import json
import re
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS, shipped_preset
from lib_sdfm.errors import ConflictError, UserError
from lib_sdfm.planning.explain import explain_infotext
from lib_sdfm.planning.unet_cost import unet_cost
from lib_sdfm.schema.feature import PARTS
from lib_sdfm.schema.infotext import write_infotext
from lib_sdfm.schema.params import params_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques import TECHNIQUES
from lib_sdfm.techniques.pag import Pag
from sdfm_webui.kind_row import add_kind_routes
from sdfm_webui.routes import PREFIX, add_routes
from tests.test_new_technique import imported
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


def settings_of(request: dict[str, Any]) -> Settings:
    """Return what a request to the WebUI's API asks of SDFM."""
    settings = resolve_job(SCHEMA, request["alwayson_scripts"]["SDFM"]["args"]).settings
    assert settings.techniques
    return settings


@pytest.mark.parametrize("body", blocks("json"))
def test_requests_are_possible(body: str):
    request = json.loads(body)
    if "alwayson_scripts" in request:
        settings_of(request)
    elif "detail" in request:
        name, value = re.match(r"SDFM: ([\w.]+): (.*?) is not valid", request["detail"]).groups()
        technique, setting = name.split(".")
        with pytest.raises(UserError) as raised:
            resolve_job(SCHEMA, [{technique: {setting: json.loads(value)}}])
        assert request["detail"] == f"SDFM: {raised.value.for_api()}"
    elif "kind" in request:
        resolve_job(SCHEMA, [{"model": {name: said for name, said in request.items() if name != "shift"}}])
    elif "understood" in request:
        text = next(asked["infotext"] for block in blocks("json") if "infotext" in (asked := json.loads(block.values[0])))
        explained = explain_infotext(SCHEMA, text)
        assert request == {name: explained[name] for name in request} and {*explained} - {*request} == {"techniques"}
    else:
        assert set(request) == {"infotext"}, "this kind of block is not checked"


@pytest.mark.parametrize("body", blocks("sh"))
def test_curl_sends_what_is_possible(body: str):
    settings_of(json.loads(re.search(r"-d '(.*)'", body, re.DOTALL)[1]))


@pytest.mark.parametrize("body", [block for block in blocks("python") if "CONTRIBUTING" not in block.id])
def test_python_sends_what_is_possible(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sent = []

    def urlopen(request: urllib.request.Request) -> io.BytesIO:
        sent.append(settings_of(json.loads(request.data)))
        return io.BytesIO(json.dumps({"images": ["UE5H"], "info": json.dumps({"infotexts": ["a castle"]})}).encode())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.chdir(tmp_path)
    exec(body, {})
    assert len(sent) == 1 and [path.read_bytes() for path in tmp_path.iterdir()] == [b"PNG"]
    for text in (block.values[0] for block in blocks("text") if "castle" in block.values[0] and "api.md" in block.id):
        written = ", ".join(f"{key}: {value}" for key, value in write_infotext(SCHEMA, sent[0]).items())
        assert "preset" not in body or text.strip().endswith(written)


def test_the_example_of_a_technique_works(tmp_path: Path):
    """It takes the next free positions here; that wrong ones are named is tested elsewhere."""
    page = text_of(ROOT / "CONTRIBUTING.md")
    source = next(body for language, body in BLOCK.findall(page) if language == "python")
    free = len(SCHEMA.positional)
    source, found = re.subn(r"positions = \(.*\)", f"positions = ({free}, {free + 1})", source)
    example = imported(tmp_path, "brighten", source)
    schema = Schema((*TECHNIQUES, example))
    assert found == 1 and len(schema.positional) == free + 2 and example.rank > max(t.rank for t in TECHNIQUES)
    assert resolve_job(schema, [{"brighten": True}]).settings.techniques


def excludes(one: dict[str, Any], other: dict[str, Any]) -> bool:
    try:
        return not resolve_job(SCHEMA, [{**one, **other}])
    except ConflictError:
        return True


def test_what_goes_with_what_is_as_the_code_has_it():
    """Each row names the techniques that others can't be on together with."""
    left = {"guidance", "hires_cfg", "model", "flow", "refiner_sync"}
    asked = {t.label.lower(): {t.name: True} for t in TECHNIQUES if t.name not in left} | {"sanf": {"pag": {"sanf": True}}}
    page = text_of(ROOT / "docs" / "techniques.md").replace("\\*", "*").lower()
    table = (
        page.replace("pag with sanf", "sanf")
        .replace("pag without sanf", "pag")
        .partition("combines with everything except |")[2]
    )
    said: dict[str, set[str]] = {}
    for row in table.partition("\n\n")[0].splitlines()[2:]:
        first, second = row.strip("| ").split(" | ")
        names, others = first.split(", "), set(re.split(r", and |, | and ", second.partition(":")[0]))
        said |= {name: {*others, *(names if "each other" in others else ())} - {name} for name in names}
    assert set(said) == set(asked)
    for one, other in itertools.permutations(set(asked) - {"pag"}, 2):
        assert excludes(asked[one], asked[other]) == (other in said[one]), (one, other)
    assert not any(excludes(asked["pag"], asked[other]) for other in set(asked) - {"pag", "sanf"})


QUOTED_CONTROLS = ("techniques.md", "models.md", "reproduce.md")
ITALIC = re.compile(r"(?<![*\w\\])\*([^*\s][^*\n]*)\*(?![*\w])")
OF_THE_WEBUI = {"Refiner", "Interrupt", "PNG Info", "Hires CFG Scale"}
HELP_MARK = "i"


def names_in_the_panel() -> set[str]:
    """Return the names of tabs, techniques, settings, their values and presets, and the texts of buttons."""
    names = {*PARTS, *(preset.name for preset in SHIPPED_PRESETS), HELP_MARK}
    for field in SCHEMA.fields:
        label, values = field.param.shown_as or (field.param.label, {})
        short = label.removeprefix(field.technique.label).strip() if field.technique else label
        names |= {label, short[:1].upper() + short[1:], *map(str, field.param.choices), *values.values()}
    buttons = "".join(text_of(ROOT / "sdfm_webui" / name) for name in ("preset_row.py", "kind_row.py"))
    return names | set(re.findall(r'"([A-Z][a-z]+)"', buttons))


@pytest.mark.parametrize("name", QUOTED_CONTROLS)
def test_controls_and_presets_are_called_so(name: str):
    said = set(ITALIC.findall(text_of(ROOT / "docs" / name)))
    assert said <= names_in_the_panel() | OF_THE_WEBUI


def test_every_preset_for_a_checkpoint_is_among_the_recipes():
    recipes = text_of(ROOT / "docs" / "models.md")
    missing = [preset.name for preset in SHIPPED_PRESETS if preset.name not in recipes]
    assert [name for name in missing if {"model", "flow"} & set(shipped_preset(name))] == []


def test_messages_are_quoted_as_they_are():
    files = [path for name in ("lib_sdfm", "sdfm_webui") for path in sorted((ROOT / name).rglob("*.py"))]
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(text_of(path) for path in files))
    rows = re.findall(r"^\| (\".*?) \|", text_of(ROOT / "docs" / "troubleshooting.md"), re.MULTILINE)
    quoted = [part.strip(" :;") for row in rows for message in re.findall(r'"(.*?)"', row) for part in message.split("...")]
    assert len(rows) > 5 and [part for part in quoted if part.strip() and part not in source] == []


COSTS = {
    "CFG and PAG (or SEG) in the middle block": (2, 1, "middle"),
    "CFG, PAG and SEG": (2, 2, "middle"),
    "CFG 1 and NAG": (1, 1, "nag"),
}
"""Rows of the table of costs: whole rows, and how many partial ones from which place of the UNet."""


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_the_counted_ones(name: str):
    page = text_of(ROOT / "docs" / "benchmarks.md")
    told = re.search(rf"^\| {re.escape(name)} \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE).groups()
    whole, times, place = COSTS[name]
    for figure, cost, pixels in zip(told, (unet_cost(sdxl=True), unet_cost(sdxl=False)), (128 * 128, 64 * 64)):
        counted = whole + times * cost.of(place, pixels) / cost.of("input", pixels)
        assert figure == f"{counted:.{len(figure.partition('.')[2])}f}"


def test_routes_are_there():
    app = FastAPI()
    add_routes(SCHEMA, app)
    add_kind_routes(None, app)
    ours = {f"{method} {route.path}" for route in app.routes if route.path.startswith(PREFIX) for method in route.methods}
    assert ours == set(re.findall(rf"`([A-Z]+ {PREFIX}/\w+)`", text_of(ROOT / "docs" / "api.md")))


FOLDERS = ("lib_sdfm", "sdfm_webui", "tests", "scripts", "tools", "docs", "javascript", "bench", "demo")


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_named_files_are_there(name: str):
    """With their folders, as far as the page gives these; ``NAME`` is the reader's."""
    files = [path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    said = re.findall(r"`([\w./*<>]+\.(?:py|json|js|css|md))`", text_of(ROOT / name))
    wanted = {path.replace("<host>", "*") for path in said if "NAME" not in path}
    missing = {path for path in wanted if not fnmatch.filter(files, f"*/{path}") and not (ROOT / path).exists()}
    assert not missing


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
