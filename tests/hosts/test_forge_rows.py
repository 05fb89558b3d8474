"""SDFM on Forge and reForge beside what calls the UNet with other rows than the host, or in a modifier of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.forge import rows
from lib_sdfm.hosts.forge.cross_attention import MarkedRows
from lib_sdfm.ops.nag import attention
from sdfm_webui.errors import SdfmError
from tests.hosts import fake_forge, fake_reforge
from tests.hosts.fake_a1111 import Host, prompt
from tests.hosts.fake_forge import ForgeHost, UnetPatcher
from tests.hosts.jobs import new_forge, new_reforge
from tests.hosts.test_forge_neighbours import add, run_beside
from tests.hosts.test_tail import difference

TECHNIQUES = {
    "PAG": {"pag": {"scale": 2}},
    "SEG": {"seg": {"scale": 2, "blur": 1}},
    "SEG of recipe original": {"recipe": "original", "seg": {"blur": 1}},
    "TPG": {"tpg": {"scale": 2, "layers": "middle"}},
    "NAG": {"nag": {"scale": 3}},
    "three": {"pag": {"scale": 2}, "tpg": {"scale": 2, "layers": "middle"}, "nag": {"scale": 3}},
}
NEUTRAL = {
    "pag": {"scale": 1e-6}, "seg": {"scale": 1e-6, "blur": 1}, "apg": {"eta": 0.999999, "norm_threshold": 0, "momentum": 0},
    "freeu": {f"stage{stage}_{what}": 1.000001 for stage in (1, 2) for what in ("backbone", "skip")},
}  # fmt: skip
TWO = {"batch_size": 2, "conds": [[(prompt(1), 1.0)], [(prompt(2), 1.0)]], "unconds": torch.stack([prompt(0), prompt(3)])}
Apply = Callable[..., Tensor]


@pytest.fixture(params=[new_forge, new_reforge], ids=["Forge", "reForge"])
def host(request: pytest.FixtureRequest) -> Host:
    return request.param()


def wrapped(wrapper: Callable[[Apply, dict[str, Any]], Tensor]) -> Callable[[UnetPatcher], None]:
    return lambda unet: unet.model_options.update(model_function_wrapper=wrapper)


def apart(apply: Apply, args: dict[str, Any]) -> Tensor:
    """MultiDiffusion with one tile in a call: the left half, then the right one."""
    return torch.cat([apply(half, args["timestep"], **args["c"]) for half in args["input"].chunk(2, 3)], 3)


def together(apply: Apply, args: dict[str, Any]) -> Tensor:
    """The same with both tiles in a call."""
    c, sigma = args["c"], args["timestep"]
    c = {**c, "c_crossattn": torch.cat([c["c_crossattn"]] * 2)}
    return torch.cat(apply(torch.cat(args["input"].chunk(2, 3)), torch.cat([sigma] * 2), **c).chunk(2), 3)


def interleaved(apply: Apply, args: dict[str, Any]) -> Tensor:
    """Both tiles of a row, then those of the next one: nobody does this."""
    c, sigma = args["c"], args["timestep"]
    halves = torch.stack(args["input"].chunk(2, 3), 1).flatten(0, 1)
    c = {**c, "c_crossattn": c["c_crossattn"].repeat_interleave(2, 0)}
    left, right = apply(halves, sigma.repeat_interleave(2, 0), **c).unflatten(0, (-1, 2)).unbind(1)
    return torch.cat([left, right], 3)


def test_prompts_are_compared_once_in_a_call(host: Host, monkeypatch: pytest.MonkeyPatch):
    """And not in each layer: a comparison waits for the GPU."""
    compared: list[int] = []
    calls: list[int] = []
    equal = torch.equal
    monkeypatch.setattr(rows.torch, "equal", lambda *pair: compared.append(1) or equal(*pair))

    def counted(apply: Apply, args: dict[str, Any]) -> Tensor:
        calls.append(1)
        return together(apply, args)

    run_beside(host, TECHNIQUES["three"], wrapped(counted), **TWO)
    assert 0 < len(compared) <= len(calls)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_tiles_in_one_call_are_guided_as_in_a_call_each(host: Host, name: str):
    got, wanted = (run_beside(host, TECHNIQUES[name], wrapped(tiles), **TWO) for tiles in (together, apart))
    assert difference(got, wanted) < 1e-4
    assert difference(got, run_beside(host, None, wrapped(apart), **TWO)) > 1e-3


@pytest.mark.parametrize("name", ["PAG", "TPG", "NAG"])
def test_rows_in_an_unknown_order_are_refused(host: Host, name: str):
    plain = run_beside(host, None, wrapped(interleaved), **TWO)
    with pytest.raises(SdfmError, match="8 rows where the model was called with 4: another extension"):
        run_beside(host, TECHNIQUES[name], wrapped(interleaved), **TWO)
    assert torch.equal(run_beside(host, None, wrapped(interleaved), **TWO), plain)


@pytest.mark.parametrize("rows", [1, 3])
def test_cross_attention_with_some_of_the_rows_is_refused(rows: int):
    """Regional Prompter attends to each region by itself."""
    marked, text = MarkedRows(), torch.zeros(2, 5, 8)
    extra = {"cond_or_uncond": [1, 0], "sigmas": torch.ones(1), "original_shape": [2, 4, 8, 8]}
    marked.patch()(text, text, text, extra)
    with pytest.raises(UnsupportedError, match=f"{rows} rows where the model was called with 2"):
        marked.images(rows)


class Reference:
    """ControlNet's reference modes: in a modifier the model predicts a picture without CFG, whose features are added then.

    Forge hands that on to the functions after CFG as well; it has a row per image, or two if they ask for the negative prompt.
    """

    def __init__(self, host: Host) -> None:
        self._fake = fake_forge if isinstance(host, ForgeHost) else fake_reforge
        self._bank: Tensor | None = None
        self._records = False

    def __call__(self, unet: UnetPatcher) -> None:
        add(unet.model_options, "conditioning_modifiers", self._modify)
        add(unet.model_options["transformer_options"].setdefault("patches", {}), "output_block_patch", self._block)

    def _modify(self, model: Any, x: Tensor, sigma: Tensor, uncond: Any, cond: Any, scale: float, options: dict, seed: int):
        self._records, wanted = True, uncond if options.get("disable_cfg1_optimization") else None
        denoised = self._fake.calc_cond_uncond_batch(model, cond, wanted, x * 0.5, sigma, options)
        self._records = False
        given = {"denoised": denoised[0], "cond_denoised": denoised[0], "uncond_denoised": denoised[1], "model": model,
                 "cond": cond, "uncond": uncond, "input": x, "sigma": sigma, "model_options": options}  # fmt: skip
        for function in options.get("sampler_post_cfg_function", ()):
            assert torch.equal(function(given), denoised[0])
        return model, x, sigma, uncond, cond, scale, options, seed

    def _block(self, h: Tensor, skip: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        if options["block"] != ("output", 0):
            return h, skip
        if self._records:
            self._bank = h
            return h, skip
        return torch.cat([part + self._bank for part in h.chunk(len(options["cond_or_uncond"]))]), skip


def test_what_others_predict_in_a_modifier_is_left_alone(host: Host):
    alone = run_beside(host, None, Reference(host), **TWO)
    assert difference(run_beside(host, NEUTRAL, Reference(host), **TWO), alone) < 1e-4
    assert difference(run_beside(host, TECHNIQUES["PAG"], Reference(host), **TWO), alone) > 1e-3
    assert difference(run_beside(host, None, lambda unet: None, **TWO), alone) > 1e-3


def longer(unet: UnetPatcher) -> None:
    """NegPiP: makes keys and values of a longer context, unless it is given values."""

    def replaced(module: nn.Module) -> Callable[..., Tensor]:
        def forward(x: Tensor, context: Tensor, value: Tensor | None = None) -> Tensor:
            context = torch.cat([context, context[:, :2] * 1.5], 1)
            of_keys, of_values = module.to_k(context), module.to_v(context if value is None else value)
            return module.to_out(attention(module.to_q(x), of_keys, of_values, module.heads))

        return forward

    for module in unet.model.modules():
        if hasattr(module, "attn2"):
            module.attn2.forward = replaced(module.attn2)


@pytest.mark.parametrize("name", ["PAG", "SEG", "TPG", "NAG"])
def test_cross_attention_makes_its_values_as_without_us(host: Host, name: str):
    request_ = {"nag": {"alpha": 1e-6}} if name == "NAG" else {name.lower(): {**TECHNIQUES[name][name.lower()], "scale": 1e-6}}
    alone = run_beside(host, None, longer, **TWO)
    assert difference(run_beside(host, request_, longer, **TWO), alone) < 1e-4
    assert difference(run_beside(host, TECHNIQUES[name], longer, **TWO), alone) > 1e-3
