"""``scripts/sdfm.py`` executed as the host does it, with stand-ins for the host's modules."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.axes import ALL_OLD
from lib_sdfm.schema.request import OWN_VERSION, VERSION
from lib_sdfm.schema.titles import ALL_ENTRIES
from sdfm_webui.axes import axes_of_job
from sdfm_webui.errors import SdfmError
from tests.webui.host import FakeModules, PasteField, Script


@pytest.fixture
def modules(tmp_path: Path) -> FakeModules:
    return FakeModules(tmp_path)


def install(modules: FakeModules) -> dict[str, Script]:
    """All our scripts by title, in the runner of both tabs, with their places in the list of arguments."""
    place, found = 1, {}
    for cls in modules.script_classes().values():
        script = cls()
        with gr.Blocks():
            inputs = script.ui(False)
        script.args_from, script.args_to = place, place + len(inputs)
        place = script.args_to
        found[script.title()] = script
        modules.runner.scripts.append(script)
        modules.runner.alwayson_scripts.append(script)
    return found


def job(modules: FakeModules, **args_by_title: Any) -> Any:
    """A job with arguments for some titles; hidden controls of the others are empty."""
    scripts = modules.runner.alwayson_scripts
    args: list[Any] = [""] * max(script.args_to for script in scripts)
    for script in scripts:
        given = args_by_title.get(script.title().replace(" ", ""), [])
        args[script.args_from : script.args_from + len(given)] = given
    return SimpleNamespace(
        scripts=modules.runner, script_args=args, extra_generation_params={}, is_api=True, comments=[], batch_size=1, n_iter=1,
        iteration=0, sample=lambda: "sampled",
    )  # fmt: skip


def process_batch(modules: FakeModules, script: Script, p: Any, args: list[Any]) -> None:
    modules.shared.sd_model = SimpleNamespace(is_sdxl=False)
    script.before_process(p, *args)
    script.process_batch(p, *args)


@pytest.mark.panel
def test_it_is_an_always_visible_script_with_the_entries_of_the_old_titles(modules: FakeModules):
    scripts = install(modules)
    assert set(scripts) == {"SDFM", *(entry.title for entry in ALL_ENTRIES)}
    assert all(script.show(False) is modules.scripts.AlwaysVisible for script in scripts.values())


@pytest.mark.panel
def test_the_panel_has_as_many_inputs_as_places_and_the_old_titles_as_many_as_they_had(modules: FakeModules):
    scripts = install(modules)
    sizes = {title: script.args_to - script.args_from for title, script in scripts.items()}
    assert sizes == {"SDFM": len(SCHEMA.positional), **{entry.title: entry.size for entry in ALL_ENTRIES}}


def test_reloading_the_ui_registers_again_and_keeps_nothing(modules: FakeModules):
    first, second = modules.run_script(), modules.run_script()
    assert first.SdfmScript is not second.SdfmScript
    assert {name: len(found) for name, found in modules.callbacks.items()} == dict.fromkeys(modules.callbacks, 2)


@pytest.mark.panel
def test_both_tabs_and_later_calls_paste_with_the_same_functions(modules: FakeModules):
    cls = modules.script_classes()["SdfmScript"]
    targets = []
    for is_img2img in (False, True, False):
        script = cls()
        script.is_img2img = is_img2img
        with gr.Blocks():
            script.ui(is_img2img)
        of_hires = {"hr_sampler_name", "hr_scheduler"}  # img2img has no such fields
        targets.append([field[1] for field in script.infotext_fields if getattr(field, "api", None) not in of_hires])
    assert targets[0] == targets[1] == targets[2]


def api_fields(script: Any) -> dict[str, Any]:
    """Return the functions by which pasting fills requests of the API, by the field's name."""
    return {field.api: field[1] for field in script.infotext_fields if getattr(field, "api", None)}


class TestPaste:
    OLD = "Euler a_dynthres1"

    def test_the_true_sampler_reaches_the_panel(self, modules: FakeModules):
        """The panel's controls read what this callback leaves."""
        modules.run_script()
        params = {"Sampler": self.OLD, "Steps": "20"}
        modules.callbacks["infotext_pasted"][0]("", params)
        assert params == {"Sampler": "Euler a", "Steps": "20"}

    def test_the_true_sampler_reaches_the_api(self, modules: FakeModules):
        """The API calls no such callback, and sets a field of the request for each target with a name."""
        fields = api_fields(install(modules)["SDFM"])
        assert set(fields) == {"sampler_name", "scheduler", "hr_sampler_name", "hr_scheduler"}
        assert fields["sampler_name"]({"Sampler": self.OLD}) == "Euler a"
        assert fields["sampler_name"]({"Sampler": "Euler a"}) is None and fields["sampler_name"]({}) is None

    GLUED = {"Sampler": "euler_ancestral_cfg_pp_karras", "Schedule type": "Automatic", "Hires sampler": "Use same sampler"}

    def test_other_webuis_samplers_reach_the_panel_with_their_schedule(self, modules: FakeModules):
        modules.run_script()
        params = {**self.GLUED, "Hires sampler": "EULER"}
        modules.callbacks["infotext_pasted"][0]("", params)
        assert params == {"Sampler": "Euler Ancestral CFG++", "Schedule type": "Karras", "Hires sampler": "Euler"}

    def test_and_the_api(self, modules: FakeModules):
        fields = api_fields(install(modules)["SDFM"])
        found = {name: target(self.GLUED) for name, target in fields.items()}
        assert found == {
            "sampler_name": "Euler Ancestral CFG++", "scheduler": "Karras", "hr_sampler_name": None, "hr_scheduler": None,
        }  # fmt: skip
        found = {name: target({**self.GLUED, "Hires upscale": "2"}) for name, target in fields.items()}
        assert (found["hr_sampler_name"], found["hr_scheduler"]) == ("Euler Ancestral CFG++", "Karras")
        own = {"Sampler": "Euler", "Schedule type": "Beta", "Hires sampler": "euler_cfg_pp", "Hires upscale": "2"}
        found = {name: target(own) for name, target in fields.items()}
        assert found == {
            "sampler_name": None, "scheduler": None, "hr_sampler_name": "euler_cfg_pp", "hr_scheduler": "Beta",
        }  # fmt: skip

    def test_what_stays_unknown_is_named_with_the_nearest(self, modules: FakeModules):
        script = install(modules)["SDFM"]
        targets = {target.__name__: target for _, target in script.infotext_fields}
        params = {"Sampler": "Euler Dy CFG++", "Steps": "20"}
        modules.callbacks["infotext_pasted"][0]("", params)
        assert params["Sampler"] == "Euler Dy CFG++"
        assert "Sampler: Euler Dy CFG++: this WebUI has no such sampler" in targets["notice"](params)
        assert "the nearest is Euler CFG++" in json.loads(targets["notes"](params))["warnings"][0]
        assert targets["notice"]({"Sampler": "Euler", "Hires sampler": "Use same sampler"}) == ""

    def test_what_the_host_pastes_itself_is_left_to_it(self, modules: FakeModules):
        params = {"freeu_enabled": "True", "freeu_b1": "1.3"}
        script = install(modules)["SDFM"]
        enabled = next(target for _, target in script.infotext_fields if target.__name__ == "paste_freeu_enabled")
        assert enabled(params) is True
        fields = [PasteField(None, "freeu_b1"), PasteField(None, len)]
        modules.infotext_utils.paste_fields.update(txt2img={"fields": fields}, extras={"fields": None})
        assert enabled(params) is False


def test_a_job_writes_its_generation_parameters_and_forgets_older_ones(modules: FakeModules):
    script, p = install(modules)["SDFM"], job(modules)
    process_batch(modules, script, p, [{"pag": {"scale": 2}}])
    assert p.extra_generation_params["PAG Scale"] == 2
    before = p.sample
    p.extra_generation_params["Theirs"] = 1
    process_batch(modules, script, p, [])
    assert p.extra_generation_params == {"Theirs": 1}
    assert callable(before)


def test_an_old_payload_is_taken_under_its_title(modules: FakeModules):
    script = install(modules)["SDFM"]
    p = job(modules, Incantations=[True, 2.0])  # the oldest layouts begin with PAG, the newest with SEG
    process_batch(modules, script, p, [])
    assert p.extra_generation_params["SDFM Recipe"] == "original"
    assert p.extra_generation_params["SEG Blur Sigma"] == 2


def test_bad_settings_are_raised_by_sample_and_not_before(modules: FakeModules):
    script, p = install(modules)["SDFM"], job(modules)
    own = p.sample
    process_batch(modules, script, p, [{"pag": {"scale": -2}}])
    assert p.extra_generation_params == {}
    with pytest.raises(SdfmError, match="pag.scale: -2"):
        p.sample()
    assert p.sample is own


@pytest.mark.panel
def test_an_installed_original_answers_to_its_own_title(modules: FakeModules):
    class Original(Script):
        def title(self) -> str:
            return "Incantations"

    scripts = install(modules)
    modules.runner.scripts.insert(0, Original())
    ours = scripts["Incantations"]
    assert ours.title() != "Incantations"
    p = job(modules, Incantations=[True, 2.0])
    p.script_args[ours.args_from : ours.args_from + 2] = [True, 2.0]
    process_batch(modules, scripts["SDFM"], p, [])
    assert p.extra_generation_params == {}
    with gr.Blocks() as demo:
        scripts["SDFM"].ui(False)
    notices = [block.value for block in demo.blocks.values() if isinstance(block, gr.HTML) and block.value]
    assert any("Incantations" in notice for notice in notices)


def plot_of(modules: FakeModules) -> list[Any]:
    """The list of the host's plot, which is loaded."""
    options: list[Any] = []
    plot = SimpleNamespace(
        axis_options=options, AxisOption=lambda *args, **more: SimpleNamespace(label=args[0], apply=args[2], **more),
        __file__="scripts/xyz_grid.py",
    )  # fmt: skip
    modules.scripts.scripts_data = [SimpleNamespace(path="scripts/xyz_grid.py", module=plot)]
    return options


def test_an_option_adds_the_rare_axes_behind_the_others(modules: FakeModules):
    modules.run_script()
    added: dict[str, Any] = {}
    modules.shared.opts.add_option = added.__setitem__
    modules.callbacks["ui_settings"][0]()
    ((name, info),) = added.items()
    assert info.default is False and info.section == ("sdfm", "SDFM") and info.reloads

    usual = plot_of(modules)
    modules.callbacks["before_ui"][0]()
    setattr(modules.shared.opts, name, True)
    every = plot_of(modules)
    modules.callbacks["before_ui"][0]()
    labels = [[option.label for option in options] for options in (usual, every)]
    assert labels[0] == labels[1][: len(usual)] and len(labels[1]) == len(set(labels[1])) > len(usual)
    assert not [label for label in labels[0] if "hires" in label.lower() or "stage" in label.lower()]
    assert {"[SDFM] PAG scale, hires pass", "[SDFM] Hires CFG scale", "[FreeU] Stage 1 Backbone Scale"} <= set(labels[1])


def test_routes_and_axes_are_added_when_the_server_starts(modules: FakeModules):
    options = plot_of(modules)
    modules.run_script()
    app = FastAPI()
    modules.callbacks["before_ui"][0]()
    modules.callbacks["app_started"][0](None, app)
    assert {"/sdfm/v1/schema", "/sdfm/v1/explain"} <= {route.path for route in app.routes}
    labels = [option.label for option in options]
    assert "[PAG] PAG Scale" in labels and len(set(labels)) == len(labels)
    assert options[labels.index("[SDFM] PAG scale")].format_value(None, None, 3.0) == "PAG scale: 3"

    option = options[labels.index("[PAG] PAG Scale")]
    with pytest.raises(SdfmError, match="PAG Scale: -1"):
        option.confirm(None, [2.0, -1.0])
    p = SimpleNamespace()
    option.apply(p, 2.0, [2.0])
    cell = copy.copy(p)  # the plot makes one for each cell
    option.apply(cell, 3.0, [3.0])
    assert (axes_of_job(p), axes_of_job(cell)) == ({"pag.scale": 2.0, ALL_OLD: True}, {"pag.scale": 3.0, ALL_OLD: True})
    options[labels.index("[SDFM] PAG start step")].apply(cell, 2, [2])
    assert axes_of_job(cell) == {"pag.scale": 3.0, "pag.start_step": 2, ALL_OLD: False}


def test_settings_are_stated_before_other_scripts_see_the_job(modules: FakeModules):
    """Also those of a plot's cells, and of requests over the API."""
    options = plot_of(modules)
    script = install(modules)["SDFM"]
    assert script.setup_for_ui_only is False
    modules.callbacks["before_ui"][0]()
    panel = ["" if field is None else field.param.default for field in SCHEMA.positional]
    p = job(modules, SDFM=[{"pag": {"scale": 3}}, *panel[1:]])
    script.setup(p)
    assert p.script_args[script.args_from] == {VERSION: OWN_VERSION, "recipe": "sdfm", "pag": {}}
    cell = copy.copy(p)
    next(option for option in options if option.label == "[SDFM] PAG scale").apply(cell, 2.0, [2.0])
    assert cell.script_args[script.args_from]["pag"] == {"scale": 2.0} and p.script_args[script.args_from]["pag"] == {}


def test_a_picture_from_a_machine_without_sdfm_is_named(modules: FakeModules):
    script, p = install(modules)["SDFM"], job(modules)
    p.batch_size, args = 2, [{"pag": {"scale": 2}}]
    script.before_process(p, *args)
    p.batch_size = 1  # another extension has given a picture away
    modules.shared.sd_model = SimpleNamespace(is_sdxl=False, sd_model_hash=None)
    script.process(p, *args)
    own = "a\nSteps: 4, Sampler: Euler, Seed: 5, PAG Active: True, PAG Scale: 2, SDFM: 1"
    processed = SimpleNamespace(images=[1, 2], infotexts=[own, own], comments="")
    script.postprocess(p, processed, *args)
    processed.infotexts[1] = "a\nSteps: 4, Sampler: Euler, Seed: 6"
    assert "seed 6" in processed.comments and "no PAG" in processed.comments


def test_calls_of_samplers_that_are_not_ours_are_left_alone(modules: FakeModules):
    script = modules.script_classes()["SdfmScript"]()
    (on_cfg_denoiser,) = modules.callbacks["cfg_denoiser"]
    p = SimpleNamespace(sampler=SimpleNamespace())
    denoiser = SimpleNamespace(p=p)
    script.process_before_every_sampling(p)
    on_cfg_denoiser(SimpleNamespace(denoiser=denoiser))
    on_cfg_denoiser(SimpleNamespace(denoiser=SimpleNamespace()))
    assert vars(denoiser) == {"p": p} and vars(p) == {"sampler": SimpleNamespace()}


def test_an_unsuitable_host_gets_nothing(modules: FakeModules, capsys: pytest.CaptureFixture):
    modules.shared.cmd_opts.sdfm_off = True
    assert modules.script_classes() == {}
    assert "--sdfm-off" in capsys.readouterr().out
    modules.shared.cmd_opts.sdfm_off = False
    modules.scripts.Script = type("OldScript", (), {})
    modules.run_script()
    assert "too old" in capsys.readouterr().out
    assert not any(modules.callbacks.values())


def test_forge_classic_and_older_forges_get_one_line_and_nothing_else(
    modules: FakeModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """They have the callbacks that SDFM needs, but sample in another way."""
    for name in ("modules_forge", "ldm_patched", "ldm_patched/modules"):
        (tmp_path / "forge" / name).mkdir(parents=True)
        (tmp_path / "forge" / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "forge"))
    assert modules.script_classes() == {} and not any(modules.callbacks.values())
    told = capsys.readouterr()
    assert told.out.count("\n") == 1 and told.out.startswith("SDFM: not active, Forge Classic") and told.err == ""


def test_before_the_first_picture_forge_has_no_model(tmp_path: Path):
    """It has an object of a few attributes in the model's place, with which title and plot of the panel must do."""
    modules = FakeModules(tmp_path)
    modules.sd_models = SimpleNamespace(model_data=SimpleNamespace(sd_model=SimpleNamespace(chunk_length=75)))
    script = modules.run_script()
    assert script.LOADED() is None
    assert script.facts_of_course(ModelFacts(sdxl=True), None) == ModelFacts(sdxl=True)
