"""A new technique is one file: what a contributor gets for it everywhere, and what the contributor must not forget."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from lib_sdfm.planning.technique import Technique
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.settings import Schema
from lib_sdfm.techniques import TECHNIQUES
from sdfm_webui.axes import ATTRIBUTE
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import job, new_forge, new_host, samples
from tests.schema.alone import PAG_ONLY, PagAlone
from tests.technique_places import PLACES, VALUES, missing_in

ROOT = Path(__file__).parent.parent
LIFT = '''
"""Lifting: adds a number to the result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..schema.params import choice, number


@dataclass(frozen=True)
class LiftSettings:
    """Settings of :class:`Lift`."""

    amount: float = number(0.5, 0, 2, step=0.1, label="Lift amount", key="Lift Amount", axis="[Lift] Amount", help="How much.")
    where: str = choice("all", ("all", "first"), label="Lift where", key="Lift Where", own=True, help="Which channels.")


class Lift(Technique):
    """``D + amount``."""

    name, label, title, summary, Settings = "lift", "Lift", "Lifting", "Adds a number.", LiftSettings
    active_key, active_axis, rank, positions = "Lift Active", "[Lift] Active", 41, (19, 20, 21)

    def active(self, call: ModelCall) -> bool:
        return True

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        lifted = denoised + self.settings.amount
        return lifted if self.settings.where == "all" else torch.cat([lifted[:, :1], denoised[:, 1:]], dim=1)
'''
JOLT = '''
"""Jolting: an extra prediction, with the identity as attention map of an encoder block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..planning.technique import Technique
from ..sampling.layers import parse_layers
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import Perturbation
from ..schema.params import number


@dataclass(frozen=True)
class JoltSettings:
    """Settings of :class:`Jolt`."""

    strength: float = number(1.0, 0, 9, step=0.5, label="Jolt strength", key="Jolt Strength", help="How much.")


class Jolt(Technique):
    """``D + strength * (cond - perturbed)``."""

    name, label, title, summary, Settings = "jolt", "Jolt", "Jolting", "Perturbs a layer.", JoltSettings
    active_key, rank, positions = "Jolt Active", 42, (22, 23)

    def active(self, call: ModelCall) -> bool:
        return True

    def perturbation(self, call: ModelCall) -> Perturbation:
        return Perturbation(parse_layers("input.1"), identity=True)

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        difference = prediction.cond - prediction.perturbed[self.name]
        return denoised + prediction.sum_per_image(prediction.weighted(difference)) * self.settings.strength
'''


def imported(folder: Path, name: str, source: str) -> type[Technique]:
    """Return the technique of a file, imported as if the file were in ``lib_sdfm/techniques``."""
    file = folder / f"{name}.py"
    file.write_text(source, encoding="utf8")
    spec = importlib.util.spec_from_file_location(f"lib_sdfm.techniques.{name}", file)
    module = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {spec.name: module}):  # dataclasses look their module up
        spec.loader.exec_module(module)
    return getattr(module, name.capitalize())


@pytest.fixture(scope="module")
def lift(tmp_path_factory: pytest.TempPathFactory) -> type[Technique]:
    return imported(tmp_path_factory.mktemp("techniques"), "lift", LIFT)


@pytest.fixture(scope="module")
def jolt(tmp_path_factory: pytest.TempPathFactory) -> type[Technique]:
    return imported(tmp_path_factory.mktemp("techniques"), "jolt", JOLT)


@pytest.fixture(scope="module")
def schema(lift: type[Technique], jolt: type[Technique]) -> Schema:
    return Schema((PagAlone, lift, jolt))


@pytest.mark.parametrize("place", PLACES)
def test_one_file_puts_a_technique_everywhere(schema: Schema, tmp_path: Path, place: str):
    missing = missing_in(place, schema, tmp_path)
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_missing_is_named(tmp_path: Path, place: str):
    assert missing_in(place, PAG_ONLY, tmp_path) == [f"{place} {id}" for id in VALUES if id in PLACES[place][1]]


HOSTS = {"A1111": new_host, "Forge": new_forge}
ONE_STEP = {"steps": 1}
"""The last step of Euler gives the denoised picture itself."""


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, schema: Schema) -> Host:
    return HOSTS[request.param](schema)


def test_it_runs_in_either_host(host: Host):
    plain = samples(host, **ONE_STEP)
    lifted = samples(host, {"lift": {"amount": 1.5}}, **ONE_STEP)
    torch.testing.assert_close(lifted, plain + 1.5, msg=lambda why: f"lift does not run: {why}")
    first = samples(host, {"lift": {"amount": 1.5, "where": "first"}}, **ONE_STEP)
    wanted = torch.cat([lifted[:, :1], plain[:, 1:]], dim=1)
    torch.testing.assert_close(first, wanted, msg=lambda why: f"lift.where has no effect: {why}")
    assert torch.equal(samples(host, **ONE_STEP), plain), "something of lift is left behind in the host"


def test_an_extra_prediction_runs_in_either_host(host: Host):
    plain = samples(host, **ONE_STEP)
    jolted = samples(host, {"jolt": {}}, **ONE_STEP)
    assert (jolted - plain).std() > 0.01, "jolt makes no extra prediction"
    both = samples(host, {"jolt": {}, "lift": {}}, **ONE_STEP)
    torch.testing.assert_close(both, jolted + 0.5, msg=lambda why: f"jolt and lift do not add up: {why}")
    assert torch.equal(samples(host, **ONE_STEP), plain), "something of jolt is left behind in the host"


def test_it_writes_and_runs_from_an_axis(host: Host):
    plain = samples(host, **ONE_STEP)
    p = job(host, **ONE_STEP)
    setattr(p, ATTRIBUTE, {"lift.amount": 2.0})
    torch.testing.assert_close(host.run(p), plain + 2, msg=lambda why: f"lift does not run from an axis: {why}")
    assert p.extra_generation_params == {"Lift Active": True, "Lift Amount": 2, "SDFM": 1}


POSITIONS = "(19, 20, 21)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("(19, 20)", "lift: 3 controls need 3 API positions, 2 given; the next free one is 21"),
        ("()", "lift: 3 controls need 3 API positions, 0 given; the next free one is 19"),
        ("(18, 19, 20)", "API position 18 is taken twice, by pag.sigma_to and lift.enabled; the next free one is 21"),
        ("(0, 19, 20)", "API position 0 is taken twice, by request and lift.enabled; the next free one is 21"),
        ("(19, 20, 200)", "API positions have gaps: lift.where has 200; the next free one is 21"),
        ("(-1, 19, 20)", "API positions have gaps: lift.enabled has -1; the next free one is 21"),
    ],
)
def test_wrong_positions_tell_the_next_free_one(tmp_path: Path, wrong: str, message: str):
    assert POSITIONS in LIFT
    technique = imported(tmp_path, "lift", LIFT.replace(POSITIONS, wrong))
    with pytest.raises(TypeError) as error:
        assert Schema((PagAlone, technique)).positional
    assert str(error.value) == message


def test_what_is_not_declared_is_named():
    declared = {"name": "lift", "label": "Lift", "title": "Lifting", "summary": "", "Settings": object}
    undeclared = type("Lift", (Technique,), declared)
    message = "Lift does not declare active_key, rank, positions; the next free API position is 19, the highest rank is 40"
    with pytest.raises(TypeError, match=message):
        Schema((PagAlone, undeclared))


PARAGRAPH = "a heading '{}' and a paragraph to docs/techniques.md"


def forgotten(techniques: tuple[type[Feature], ...], tests: Iterable[str], document: str) -> list[str]:
    """Return what is to be added for registered techniques, a line for each thing.

    :param tests: names of the files in ``tests/techniques``
    :param document: what users read about techniques, without generated tables
    """
    missing = []
    for technique in techniques:
        test = f"test_{technique.name}.py"
        if issubclass(technique, Technique) and test not in tests:  # other features are tested where they have their effect
            missing.append(f"{technique.name}: add tests/techniques/{test}")
        if not has_paragraph(technique, document):
            missing.append(f"{technique.name}: add {PARAGRAPH.format(technique.label)}")
    missing += [f"{name}: {why}" for name, why in taken_twice(techniques)]
    try:
        assert Schema(techniques).positional
    except TypeError as error:
        missing.append(str(error))
    return missing


def has_paragraph(technique: type[Feature], document: str) -> bool:
    """Return True if a heading, a bold name or the first cell of a row names the technique."""
    name = re.escape(technique.label)
    named = rf"^#+ .*(?<!\w){name}(?!\w)|\*\*{name}(?!\w)|^\|\W*{name}(?!\w)"
    return bool(re.search(named, document, re.MULTILINE | re.IGNORECASE))


def taken_twice(techniques: tuple[type[Feature], ...]) -> list[tuple[str, str]]:
    ranks = [technique.rank for technique in techniques]
    free = max(ranks) + 10
    return [(t.name, f"rank {t.rank} is taken; {free} is free") for i, t in enumerate(techniques) if t.rank in ranks[:i]]


def written_documents() -> str:
    return (ROOT / "docs" / "techniques.md").read_text(encoding="utf8")


def test_nothing_was_forgotten():
    tests = [path.name for path in (ROOT / "tests" / "techniques").glob("*.py")]
    missing = forgotten(TECHNIQUES, tests, written_documents())
    assert not missing, "\n".join(missing)


def test_what_was_forgotten_is_named(lift: type[Technique]):
    document = "* **PAG**, perturbed-attention guidance\nNothing of a lift."
    again = type("Again", (lift,), {"name": "again", "label": "Again", "rank": 40})
    assert forgotten((PagAlone, lift), ["test_pag.py"], document) == [
        "lift: add tests/techniques/test_lift.py",
        f"lift: add {PARAGRAPH.format('Lift')}",
    ]
    assert forgotten((PagAlone, again), ["test_pag.py", "test_again.py"], "# PAG\n## Again (rank)") == [
        "again: rank 40 is taken; 50 is free"
    ]
    overlapping = type("Overlapping", (lift,), {"positions": (3, 4, 5)})
    assert forgotten((PagAlone, overlapping), ["test_pag.py", "test_lift.py"], "# PAG\n# Lift") == [
        "API position 3 is taken twice, by pag.enabled and lift.enabled; the next free one is 19"
    ]
