"""Results of public implementations of guidance methods (``tests/recorded/README.md``), and calls to feed techniques with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.schema.request import apply_request

CALL = ModelCall(index=3, total=10, sigma=2.0, timestep=600.0)


@dataclass(frozen=True)
class Case:
    """One recorded case, in float64.

    :param inputs: tensors by name
    :param params: the method's numbers
    :param outputs: tensors by name; ``result`` if there is only one
    """

    id: str
    inputs: dict[str, Tensor]
    params: dict[str, Any]
    outputs: dict[str, Tensor]


def recorded(prefix: str) -> list[Case]:
    """Return the cases whose name begins so."""
    path = Path(__file__).parents[1] / "recorded" / "guidance.json"
    found = [case for case in json.loads(path.read_text(encoding="utf8")) if case["id"].startswith(prefix)]
    assert found
    return [_case(said) for said in found]


def _case(said: dict[str, Any]) -> Case:
    inputs = {name: _wave(given, given.get("shape", said["shape"])) for name, given in said["inputs"].items()}
    output = said["output"]
    outputs = {"result": output} if "values" in output else output
    tensors = {
        name: torch.tensor(one["values"], dtype=torch.float64).reshape(one["shape"]) if "values" in one else _wave(one, [1])
        for name, one in outputs.items()
    }
    return Case(said["id"], inputs, said["params"], tensors)


def _wave(given: dict[str, Any], shape: list[int]) -> Tensor:
    if given.get("zeros"):
        return torch.zeros(shape, dtype=torch.float64)
    a, p, s, b, q = given["wave"]
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (a * torch.sin(p * i + s) + b * torch.cos(q * i)).reshape(shape)


def assert_recorded(got: Tensor, wanted: Tensor) -> None:
    """Check a result in float64 against a recorded one, which has ten digits."""
    torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)


def technique(name: str, **settings: Any) -> Technique:
    """A technique with settings as the API's dictionary names them."""
    checked = SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), {name: settings}))
    return plan_of(SCHEMA, checked).techniques[0]


def prediction(cond: Tensor, uncond: Tensor, scale: float, noisy: Tensor | None = None) -> Prediction:
    """A prediction of one prompt of weight 1 for each image."""
    images = torch.arange(len(cond))
    return Prediction(cond, uncond, cond.new_ones(len(cond)), images, scale, noisy=noisy)


def call(**changes: Any) -> ModelCall:
    """A call of a pass of its own, with a memory of its own unless one is given."""
    return dataclasses.replace(CALL, **{"memory": type(CALL.memory)(), **changes})
