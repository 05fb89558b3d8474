"""Rules of the house: who may import whom, and that a technique is one class and nothing else."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.sampling.stages import Perturbation
from lib_sdfm.schema.axes import axes_of
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.jsonschema import json_schema
from lib_sdfm.schema.params import choice, number
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Schema
from lib_sdfm.techniques import TECHNIQUES
from lib_sdfm.techniques.pag import Pag
from sdfm_webui.axes import ATTRIBUTE
from sdfm_webui.paste import PasteTargets
from tests.hosts.jobs import job, new_host, samples

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for name in ("lib_sdfm", "sdfm_webui", "scripts") for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

OURS = {"lib_sdfm", "sdfm_webui", "scripts", "demo", "tests"}
HOST_PACKAGES = {"gradio", "modules", "backend", "modules_forge", "fastapi"}
LAYERS = (
    ("lib_sdfm.errors",),
    ("lib_sdfm.ops", "lib_sdfm.prompts"),
    ("lib_sdfm.sampling",),
    ("lib_sdfm.schema",),
    ("lib_sdfm.planning",),
    ("lib_sdfm.techniques",),
    ("lib_sdfm.catalog", "lib_sdfm.hosts"),
    ("sdfm_webui",),
    ("scripts",),
)
"""Packages from the ground up: each imports itself and what stands below it, never its neighbours; docs/architecture.md."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, relative ones resolved."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} if node.module else {f"{module}.{alias.name}" for alias in node.names}
    return found


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer_of(module: str) -> tuple[int, str]:
    """Layer and package of a module of ours."""
    return next((n, package) for n, layer in enumerate(LAYERS) for package in layer if is_in(module, package))


@pytest.mark.parametrize("path", [path for path in SOURCES if name_of(path) != "lib_sdfm"], ids=name_of)
def test_imports_go_one_way(path: Path):
    layer, package = layer_of(name_of(path))
    own = {module for module in imports_of(path) if module.split(".")[0] in OURS and module != "lib_sdfm"}
    wrong = [module for module in sorted(own) if not is_in(module, package) and layer_of(module)[0] >= layer]
    assert not wrong, f"{name_of(path)} may import what stands below it (LAYERS): not {wrong}"


def test_no_files_import_each_other_in_a_circle():
    files = {name_of(path): path for path in SOURCES}
    after = {name: {m for m in imports_of(path) if m in files and m != name} for name, path in files.items()}
    while free := {name for name, needed in after.items() if not needed & set(after)}:
        after = {name: needed for name, needed in after.items() if name not in free}
    assert not after, f"these import each other: {sorted(after)}"


@pytest.mark.parametrize("path", [path for path in SOURCES if is_in(name_of(path), "lib_sdfm")], ids=name_of)
def test_the_library_knows_no_host(path: Path):
    assert {module.split(".")[0] for module in imports_of(path)} & HOST_PACKAGES == set()


@pytest.mark.parametrize("path", [path for path in SOURCES if is_in(name_of(path), "lib_sdfm.ops")], ids=name_of)
def test_maths_needs_tensors_only(path: Path):
    outside = {module.split(".")[0] for module in imports_of(path)} - {"lib_sdfm", "torch", "numpy"}
    assert outside <= sys.stdlib_module_names


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[-2] != "scripts"], ids=name_of)
def test_only_scripts_imports_the_host_by_name(path: Path):
    assert {module.split(".")[0] for module in imports_of(path)} & {"modules", "backend", "modules_forge"} == set()


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, ROOT / "install.py", ROOT / "preload.py"], ids=name_of)
def test_the_syntax_is_that_of_python_3_10(path: Path):
    assert ast.parse(path.read_text(encoding="utf8"), feature_version=(3, 10)).body or path.name == "__init__.py"


@pytest.mark.parametrize("path", [path for path in SOURCES if is_in(name_of(path), "lib_sdfm")], ids=name_of)
def test_what_is_public_has_a_docstring(path: Path):
    module = ast.parse(path.read_text(encoding="utf8"))
    definitions = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    assert [node.name for node in definitions if not ast.get_docstring(node)] == []
    assert ast.get_docstring(module)


@dataclass(frozen=True)
class LiftSettings:
    amount: float = number(0.5, 0, 2, step=0.1, label="Lift amount", key="Lift Amount", axis="[Lift] Amount", help="How much.")
    where: str = choice("all", ("all", "first"), label="Lift where", key="Lift Where", own=True, help="Which channels.")


class Lift(Technique):
    """A method that nobody needs: adds a number to the result."""

    name, label, title, summary, Settings = "lift", "Lift", "Lifting", "Adds a number.", LiftSettings
    active_key, active_axis, rank, positions = "Lift Active", "[Lift] Active", 99, (17, 18, 19)

    def active(self, step: ModelCall) -> bool:
        return True

    def correct(self, denoised: Tensor, prediction: Prediction, step: ModelCall) -> Tensor:
        lifted = denoised + self.settings.amount
        return lifted if self.settings.where == "all" else torch.cat([lifted[:, :1], denoised[:, 1:]], dim=1)


@dataclass(frozen=True)
class JoltSettings:
    strength: float = number(1.0, 0, 9, step=0.5, label="Jolt strength", key="Jolt Strength", help="How much.")


class Jolt(Technique):
    """A method with an extra prediction of its own."""

    name, label, title, summary, Settings = "jolt", "Jolt", "Jolting", "Perturbs a layer.", JoltSettings
    active_key, rank, positions = "Jolt Active", 98, (20, 21)

    def active(self, step: ModelCall) -> bool:
        return True

    def perturbation(self, step: ModelCall) -> Perturbation:
        return Perturbation(parse_layers("input.1"), identity=True)

    def correct(self, denoised: Tensor, prediction: Prediction, step: ModelCall) -> Tensor:
        difference = prediction.cond - prediction.perturbed[self.name]
        return denoised + prediction.sum_per_image(prediction.weighted(difference)) * self.settings.strength


class TestANewTechniqueIsOneClass:
    """Nothing but the two classes above was written for these."""

    schema = Schema((Pag, Lift, Jolt))

    def test_it_has_generation_parameters(self):
        settings = resolve_job(self.schema, [{"lift": {"amount": 2, "where": "first"}}]).settings
        pairs = write_infotext(self.schema, settings)
        assert pairs == {"Lift Active": True, "Lift Amount": 2, "Lift Where": "first", "SDFM": 1}
        read = read_infotext(self.schema, {key: str(value) for key, value in pairs.items()})
        assert self.schema.settings(read.values) == settings and not read.errors + read.warnings

    def test_it_stands_in_the_positional_list(self):
        assert self.schema.position_names[17:] == ["lift.enabled", "lift.amount", "lift.where", "jolt.enabled", "jolt.strength"]
        args = ["", "sdfm", "", *[field.param.default for field in self.schema.positional[3:17]], True, 1.5]
        assert resolve_job(self.schema, args).settings.techniques == {"lift": LiftSettings(1.5)}

    def test_it_is_in_the_dictionary_and_its_json_schema(self):
        assert resolve_job(self.schema, [{"jolt": {}}]).settings.techniques == {"jolt": JoltSettings()}
        assert set(json_schema(self.schema)["properties"]) == {"recipe", "pag", "lift", "jolt"}

    def test_it_has_axes(self):
        labels = {axis.label: axis for axis in axes_of(self.schema)}
        assert {"[SDFM] Lift amount", "[Lift] Amount", "[Lift] Active", "[SDFM] Jolt strength"} <= set(labels)
        axes = labels["[Lift] Amount"].values("1.5")
        assert resolve_job(self.schema, [], axes=axes).settings.techniques == {"lift": LiftSettings(1.5)}

    def test_it_pastes(self):
        targets = PasteTargets(self.schema)
        assert targets.by_id["lift.amount"]({"Lift Active": "True", "Lift Amount": "0.25"}) == 0.25
        assert targets.by_id["jolt.enabled"]({"SDFM": "1"}) is False

    def test_it_runs(self):
        host = new_host(self.schema)
        one_step = {"steps": 1}  # the last step of Euler gives the denoised picture itself
        plain = samples(host, **one_step)
        torch.testing.assert_close(samples(host, {"lift": {"amount": 1.5}}, **one_step), plain + 1.5)
        jolted = samples(host, {"jolt": {}}, **one_step)
        assert (jolted - plain).std() > 0.01
        torch.testing.assert_close(samples(host, {"jolt": {}, "lift": {}}, **one_step), jolted + 0.5)
        assert torch.equal(samples(host, **one_step), plain)

    def test_it_writes_and_runs_from_an_axis(self):
        host = new_host(self.schema)
        plain = samples(host, steps=1)
        p = job(host, steps=1)
        setattr(p, ATTRIBUTE, {"lift.amount": 2.0})
        torch.testing.assert_close(host.run(p), plain + 2)
        assert p.extra_generation_params == {"Lift Active": True, "Lift Amount": 2, "SDFM": 1}


def test_the_folder_of_techniques_holds_one_file_each():
    files = {path.stem for path in (ROOT / "lib_sdfm" / "techniques").glob("*.py")} - {"__init__"}
    assert files == {technique.__module__.rsplit(".", 1)[-1] for technique in TECHNIQUES} and len(files) == len(TECHNIQUES)


def test_a_folder_per_host_with_the_same_file_names():
    hosts = ROOT / "lib_sdfm" / "hosts"
    folders = [path for path in hosts.iterdir() if path.is_dir() and path.name != "__pycache__"]
    common = {"run_pass.py", "attention.py", "tail.py", "model_kind.py"}
    assert {path.name for path in folders} >= {"a1111", "forge"}
    assert all(common <= {path.name for path in folder.glob("*.py")} for folder in folders)
    assert len(list(hosts.glob("*.py"))) <= 12
