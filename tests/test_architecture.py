"""Rules of the house: who may import whom, and where the files of each kind are."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from lib_sdfm.techniques import TECHNIQUES

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for name in ("lib_sdfm", "sdfm_webui", "scripts") for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

OURS = {"lib_sdfm", "sdfm_webui", "scripts", "demo", "tests"}
HOST_PACKAGES = {"gradio", "modules", "backend", "modules_forge", "ldm_patched", "fastapi"}
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
    assert {module.split(".")[0] for module in imports_of(path)} & {
        "modules",
        "backend",
        "modules_forge",
        "ldm_patched",
    } == set()


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, ROOT / "install.py", ROOT / "preload.py"], ids=name_of)
def test_the_syntax_is_that_of_python_3_10(path: Path):
    assert ast.parse(path.read_text(encoding="utf8"), feature_version=(3, 10)).body or path.name == "__init__.py"


@pytest.mark.parametrize("path", [path for path in SOURCES if is_in(name_of(path), "lib_sdfm")], ids=name_of)
def test_what_is_public_has_a_docstring(path: Path):
    module = ast.parse(path.read_text(encoding="utf8"))
    definitions = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    assert [node.name for node in definitions if not ast.get_docstring(node)] == []
    assert ast.get_docstring(module)


def test_the_folder_of_techniques_holds_one_file_each():
    files = {path.stem for path in (ROOT / "lib_sdfm" / "techniques").glob("*.py")} - {"__init__"}
    assert files == {technique.__module__.rsplit(".", 1)[-1] for technique in TECHNIQUES} and len(files) == len(TECHNIQUES)


def test_a_folder_per_host_with_the_same_file_names():
    hosts = ROOT / "lib_sdfm" / "hosts"
    folders = [path for path in hosts.iterdir() if path.is_dir() and path.name != "__pycache__"]
    common = {"run_pass.py", "attention.py", "cross_attention.py", "tail.py", "model_kind.py"}
    names = {folder.name: {path.name for path in folder.glob("*.py")} for folder in folders}
    assert set(names) == {"a1111", "forge", "reforge"}
    assert common <= names["a1111"] and common <= names["forge"]
    assert (
        names["reforge"] - {"uncond.py", "sampler_options.py"} <= names["forge"]
    ), "reForge's has what differs from Forge, under the same names"
    assert len(list(hosts.glob("[!_]*.py"))) <= 12
