"""Settings, claims and tables of ``bench.quality``, on pictures that need no model."""

import argparse
import json
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from bench.quality import claims, rows, run, sheets, tables
from bench.quality.claims import CLAIMS, FAILS, HOLDS, SAME, UNDECIDED, Claim, Finding
from bench.quality.features import drawn, features
from bench.quality.results import Results, coded
from bench.quality.rows import Measured, Work
from bench.quality.settings import NOTHING, SETTINGS, UNWANTED, Setting, chosen
from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UserError
from lib_sdfm.schema.payload import resolve_job
from tools import drawing, shapes
from tools.shapes import Group, Scene

ROOT = Path(__file__).parents[2]
NAMES = [setting.name for setting in SETTINGS]


def row_of(pictures, kept):
    return Measured(np.asarray(kept), ~np.asarray(kept), features(pictures), pictures[:8], 20)


@pytest.fixture(scope="module")
def results():
    """Two settings: drawn pictures, and the same with half of them black."""
    good = drawn(40, 3)
    bad = good * (np.arange(40) % 2 == 0)[:, None, None, None].astype(np.uint8)
    rows = {"CFG 4": row_of(good, np.arange(40) < 36), "CFG 4, PAG 3": row_of(bad, np.arange(40) < 12)}
    by_name = {setting.name: setting for setting in SETTINGS}
    return Results([(by_name[name], row) for name, row in rows.items()], 1, 64)


def test_names_are_unique_and_every_request_is_one_that_sdfm_takes():
    assert len(set(NAMES)) == len(NAMES)
    for setting in SETTINGS:
        resolve_job(SCHEMA, [setting.techniques])


def test_every_claim_and_sheet_is_about_settings_that_there_are():
    for claim in CLAIMS:
        assert {*claim.better, *claim.than} <= set(NAMES), claim.text
    assert {name for sheet in sheets.SHEETS for name in (sheet.without, sheet.with_it)} <= set(NAMES)
    parts = {setting.name: setting.part for setting in SETTINGS}
    assert all(len({parts[name] for name in (*claim.better, *claim.than)}) == 1 for claim in CLAIMS)


def test_patterns_choose_settings_and_nonsense_is_refused():
    assert chosen([]) == list(SETTINGS)
    assert [s.name for s in chosen(["flow, Euler, *"])] == [n for n in NAMES if fnmatchcase(n, "flow, Euler, *")] != []
    with pytest.raises(SettingError, match=r"--only: 'CGF\*' is not valid"):
        chosen(["CFG 4", "CGF*"])


def test_recoloured_scenes_change_the_colours_of_objects_alone():
    for number, scene in enumerate(rows.scenes_of(50, 2)):
        other = rows.recoloured(scene, number)
        assert other.background == scene.background and len(other.words().split()) == len(scene.words().split())
        for group, new in zip(scene.groups, other.groups, strict=True):
            known = {scene.background, *(g.colour for g in scene.groups)}
            assert new.colour is None if group.colour is None else new.colour not in known
            assert (new.shape, new.count, new.size, new.place) == (group.shape, group.count, group.size, group.place)


def test_prompts_say_what_is_asked():
    scene = Scene((Group("star", "red"),), "blue")
    by_mode = {s.prompts: rows.prompt_of(s, scene, 0) for s in SETTINGS}
    assert by_mode["caption"] == "a red star on blue" and by_mode[NOTHING] == ""
    assert by_mode["synced"].endswith(" star on blue:a red star on blue:refiner]")
    assert by_mode["by number"] == by_mode["synced"].replace(":refiner]", ":0.4]")


def test_all_settings_have_the_same_promises():
    assert rows.scenes_of(20, 3) == rows.scenes_of(40, 3)[:20] != rows.scenes_of(20, 4)


@pytest.mark.parametrize(
    ("low", "high", "equal", "verdict"),
    [
        (0.01, 0.1, False, HOLDS), (-0.1, -0.01, False, FAILS), (-0.1, 0.1, False, UNDECIDED),
        (-0.04, 0.1, True, HOLDS), (-0.2, -0.06, True, FAILS), (-0.06, 0.1, True, UNDECIDED),
        (-0.01, 0.04, False, SAME), (0.0, 0.0, False, SAME), (0.01, 0.04, False, HOLDS), (-0.01, 0.06, False, UNDECIDED),
    ],
)  # fmt: skip
def test_verdicts(low, high, equal, verdict):
    claim = Claim("", "adherence", ("a",), ("b",), equal)
    assert Finding(claim, (low + high) / 2, low, high).verdict == verdict


def test_findings_tell_the_better_from_the_worse(results):
    found = {finding.claim.measure: finding for finding in claims.findings(results)}
    assert set(found) == {"adherence", "agreement", "distance"}  # all that can be said of these two
    assert found["agreement"].gain == pytest.approx(0.6) and found["agreement"].verdict == HOLDS
    assert found["adherence"].gain == pytest.approx(-0.6) and found["adherence"].verdict == FAILS
    assert found["distance"].gain < 0 and found["distance"].verdict == FAILS


def test_the_best_of_several_counts(results):
    rows = {name: results.row(name) for name in ("CFG 4", "CFG 4, PAG 3")}
    best = {measure: claims._best(results, measure, tuple(rows))[0] for measure in ("adherence", "distance")}
    assert best["adherence"] == pytest.approx(0.9) and -best["distance"] == pytest.approx(rows["CFG 4"]["distance"], abs=1e-4)


def test_styles_are_told_apart():
    by_name = {setting.name: setting for setting in SETTINGS}
    rows = [("CFG 4", drawing.PLAIN), ("shapes-ink", drawing.INK)]
    measured = [(by_name[name], row_of(coded(drawn(40, 8, style)), [True] * 40)) for name, style in rows]
    results = Results(measured, 1, 64)
    assert results.inked("CFG 4")[0] < 0.1 and results.inked("shapes-ink")[0] > 0.9


def test_work_is_kept_until_what_decides_it_changes(tmp_path):
    batch, setting, numbers = row_of(drawn(10, 3), [True, False] * 5), SETTINGS[0], range(10)
    work = Work(tmp_path, "state", 1)
    assert not work.path(setting, numbers).exists()
    work.save(setting, numbers, batch)
    again = Work(tmp_path, "state", 1).load(setting, numbers)
    assert all(np.array_equal(getattr(again, name), value) for name, value in vars(batch).items())
    assert len(list(tmp_path.iterdir())) == 1
    others = [Work(tmp_path, "other", 1).path(setting, numbers), Work(tmp_path, "state", 2).path(setting, numbers)]
    others += [work.path(SETTINGS[1], numbers), work.path(setting, range(5, 10)), work.path(setting, range(12))]
    assert len({work.path(setting, numbers), *others}) == 6


def test_settings_tell_their_checkpoints():
    of = {setting.name: setting.checkpoints() for setting in SETTINGS}
    assert of["CFG 4"] == ["shapes-eps"] and of["flow, Euler, 10 calls"] == ["shapes-flow"]
    assert of["refiner, one prompt"] == ["shapes-eps", "shapes-ink"]


class FakeHost:
    """Draws what is promised, with too few calls or enough."""

    def __init__(self, calls: int) -> None:
        self.calls, self.prompts = calls, []

    def paint(self, request, prompts, seeds):
        from bench.quality.demo_host import Painted

        self.prompts += list(zip(prompts, seeds))
        return Painted(drawn(len(prompts), seeds[0]), self.calls)


@pytest.mark.parametrize("count", [80, 128, 31])
def test_batches_are_of_all_promises_each_with_its_own_seed(count):
    host, setting = FakeHost(20), Setting("x", part=2)
    batches = [rows.measure(host, setting, numbers, 3) for numbers in rows.batches_of(setting, count)]
    row = rows.joined(batches)
    assert len(row.kept) == len(row.features) == len(host.prompts) == count // 2 and row.calls == 20
    assert [prompt for prompt, _ in host.prompts] == [scene.words() for scene in rows.scenes_of(count // 2, 3)]
    assert len({seed for _, seed in host.prompts}) == count // 2


def test_fewer_pictures_are_the_first_of_more():
    few, many = (rows.batches_of(Setting("x"), count) for count in (64, 200))
    assert few == many[: len(few)] and [number for batch in many for number in batch] == list(range(200))


def test_more_calls_than_said_are_an_error():
    with pytest.raises(RuntimeError, match="called 21 times"):
        rows.measure(FakeHost(21), Setting("x", calls=20), range(4), 3)


def test_json_has_the_promised_form(monkeypatch, tmp_path, capsys, results):
    pairs = list(results._rows.values())
    monkeypatch.setattr(run, "measured", lambda settings, options: iter(pairs))
    run.main(["--json", "--only", "CFG 4", "--only", "CFG 4, PAG 3", "--work", str(tmp_path), "--drawn", "64"])
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["rows"] and [row["setting"] for row in told["rows"]] == ["CFG 4", "CFG 4, PAG 3"]
    for row in told["rows"]:
        measures = ("adherence", "agreement", "distance")
        assert list(row) == ["setting", "n", *(name for measure in measures for name in (measure, f"{measure}_ci"))]
        assert all(row[f"{name}_ci"][0] <= row[name] <= row[f"{name}_ci"][1] for name in measures) and row["n"] == 40


def test_a_part_of_the_settings_leaves_the_rest_of_the_document_as_it_was(results):
    options, before = argparse.Namespace(count=40, seed=1), json.loads(run.FIGURES.read_text(encoding="utf8"))
    few = run.figures_of(results, options)
    figures = json.loads(json.dumps(run.with_earlier(few, results, before)))
    changed = [new["setting"] for new, old in zip(figures["rows"], before["rows"], strict=True) if new != old]
    assert changed == ["CFG 4", "CFG 4, PAG 3"]
    changed = [new["text"] for new, old in zip(figures["claims"], before["claims"], strict=True) if new != old]
    assert changed == ["PAG helps beside CFG"] * 3
    with pytest.raises(UserError, match="seed 1, these 2"):
        run.with_earlier({**few, "seed": 2}, results, before)
    for part in ("rows", "claims"):
        with pytest.raises(UserError, match="not measured yet: CFG 1"):
            run.with_earlier(few, results, {**before, part: []})


def test_of_many_comparisons_each_interval_is_wider():
    claim = Claim("", "adherence", ("a",), ("b",))
    one, many = (Finding(claim, 0.1, 0.02, 0.18, count) for count in (1, 90))
    assert one.bounds == pytest.approx((0.02, 0.18)) and one.verdict == HOLDS
    errors = [(finding.bounds[1] - 0.1) / (0.08 / 1.96) for finding in (one, many)]
    assert errors == pytest.approx([1.96, 3.45], abs=0.01) and many.verdict == UNDECIDED
    rng = np.random.default_rng(1).standard_normal((4000, 90)) * (0.08 / 1.96)
    wrong = np.abs(rng).max(1) > many.bounds[1] - 0.1
    assert 0.03 < wrong.mean() < 0.07


def test_a_background_that_is_unwanted():
    scene, setting = Scene((Group("star", "red"),), "blue"), next(s for s in SETTINGS if s.prompts == UNWANTED)
    prompt, negative = (of(setting, scene, 3) for of in (rows.prompt_of, rows.negative_of))
    unwanted = rows.unwanted(scene, 3)
    assert (prompt, negative) == ("a red star", f"a red star on {unwanted}") and unwanted != "red"
    rng = np.random.default_rng(5)
    for background in set(shapes.COLOURS) - {"red"}:
        drawn_scene = Scene(scene.groups, background, "flat")
        picture = drawing.draw(shapes.realise(drawn_scene, rng), drawing.PLAIN, rng)
        assert rows.keeps(setting, picture, scene, 3) is (background != unwanted)
    assert rows.negative_of(Setting("x"), scene, 3) == ""


def test_sheets_are_two_rows_and_their_figures(tmp_path, results):
    from PIL import Image

    measured = {name: row for name, (_, row) in results._rows.items()}
    made = sheets.write(tmp_path, measured, results.rows())
    assert [sheet.file for sheet in made] == ["pag"]
    assert Image.open(tmp_path / "pag.webp").size == (8 * shapes.SIZE, 2 * shapes.SIZE)
    (entry,) = json.loads((tmp_path / sheets.INDEX).read_text())
    assert entry["file"] == "pag.webp" and entry["rows"] == results.rows()


def test_tables_show_every_row_once(results):
    options = argparse.Namespace(count=40, seed=1)
    figures = run.figures_of(results, options)
    table = tables.rows_table(figures)
    assert table.count("\n") == 4 and "| CFG 4 | 40 | 90% [77, 96] |" in table
    text = "a\n<!-- quality: claims -->\nstale\n<!-- end -->\nb"
    new = tables.refreshed(figures, text)
    assert "stale" not in new and new.startswith("a\n<!-- quality: claims -->\n| claim |") and new.endswith("<!-- end -->\nb")
    assert tables.refreshed(figures, new) == new


def test_the_document_shows_the_figures_that_were_measured():
    """If not: ``python -m bench.quality --document docs/benchmarks.md``."""
    figures = json.loads(run.FIGURES.read_text(encoding="utf8"))
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf8")
    assert all(f"<!-- quality: {name} -->" in text for name in tables.TABLES)
    assert tables.refreshed(figures, text) == text
    assert [row["setting"] for row in figures["rows"]] == NAMES
    assert [claim["text"] for claim in figures["claims"]] == [claim.text for claim in CLAIMS]
