"""NAG against numbers of public implementations, against plain torch in whole pictures, and where both hosts differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.ops.nag import attention, normalized_guidance
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.techniques.nag import Nag, NagSettings
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host, Processing, encoded, prompt
from tests.hosts.jobs import HOSTS, another_checkpoint, new_forge, new_host, samples
from tests.hosts.reference import Reference
from tests.hosts.variety import VARIETIES
from tests.pairs import in_pairs
from tests.support import noise_of
from tests.techniques.recorded_guidance import Case, assert_recorded, recorded
from tests.techniques.reference import assert_same_picture, euler_samples, fresh_host
from tests.techniques.test_freeu import patch_cat, plain_cat

VALUES = {"scale": 2.0, "tau": 2.5, "alpha": 0.5}


def guided_as(case: Case, dtype: torch.dtype) -> Tensor:
    given, said = {name: tensor.to(dtype) for name, tensor in case.inputs.items()}, case.params
    values = said["nag_scale"] - 1 if "nag_scale" in said else said["scale"], said["tau"], said["alpha"]
    if "z_pos" in given:
        return normalized_guidance(given["z_pos"], given["z_neg"], *values)
    plain = attention(given["q"], given["k"], given["v"], said["heads"])  # rows: uncond, cond
    if said["sigma_end"] >= said["sigma"]:
        return plain
    negative = attention(given["q"][1:], given["k_neg"], given["v_neg"], said["heads"])
    return torch.cat([plain[:1], normalized_guidance(plain[1:], negative, *values)])


@pytest.mark.parametrize("case", recorded("nag"), ids=lambda case: case.id)
def test_it_gives_recorded_numbers(case: Case):
    wanted = case.outputs["result"]
    assert_recorded(guided_as(case, torch.float64), wanted)
    torch.testing.assert_close(guided_as(case, torch.float32).double(), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite_and_near(dtype: torch.dtype):
    """Sums over 1280 channels of 60 are beyond float16's 65504."""
    positive, negative = noise_of(1, 2, 77, 1280) + 60, noise_of(2, 2, 77, 1280) + 60
    positive[0, :3], negative[1, :3] = 0, 0
    got = normalized_guidance(positive.to(dtype), negative.to(dtype), 4.0, 2.5, 0.5)
    assert got.dtype == dtype and got.isfinite().all()
    wanted = normalized_guidance(positive, negative, 4.0, 2.5, 0.5)
    assert ((got.float() - wanted).norm() / wanted.norm()) < 0.02


def test_equal_prompts_and_a_limit_for_each_token():
    positive, negative = noise_of(1, 2, 5, 8), noise_of(2, 2, 5, 8)
    torch.testing.assert_close(normalized_guidance(positive, positive, **VALUES), positive)
    guided = normalized_guidance(positive, negative, 50.0, 1.5, 1.0)
    torch.testing.assert_close(guided.abs().sum(-1), 1.5 * positive.abs().sum(-1))
    assert torch.equal(guided[1:], normalized_guidance(positive[1:], negative[1:], 50.0, 1.5, 1.0))


def call(index: int = 3, sigma: float | None = 2.0, hires: bool = False) -> ModelCall:
    return ModelCall(index=index, total=10, sigma=sigma, timestep=600.0, hires=hires)


def test_windows_by_steps_and_by_noise():
    assert Nag(NagSettings(start_step=3, end_step=3), "sdfm").active(call(sigma=None))
    assert not Nag(NagSettings(start_step=4), "sdfm").active(call())
    assert not Nag(NagSettings(end_step=2, hires_end_step=5), "sdfm").active(call())
    assert Nag(NagSettings(end_step=2, hires_end_step=5), "sdfm").active(call(hires=True))
    levels = [0.5, 1.0, 1.5, 3.0, 3.5]
    limited = Nag(NagSettings(sigma_from=3.0, sigma_to=1.0), "sdfm")
    assert [limited.active(call(sigma=level)) for level in levels] == [False, False, True, True, False]
    assert limited.needs_level() and not Nag(NagSettings(), "sdfm").needs_level()
    assert Nag(NagSettings(sigma_to=1.0), "sdfm").active(call(sigma=4518.0))


def test_it_is_refused_in_recipe_original():
    with pytest.raises(SdfmError, match="recipe.*original.*NAG"):
        samples(new_host(), {"recipe": "original", "nag": {}})


@contextmanager
def guided_cross_attention(unet: nn.Module, negative: Tensor) -> Iterator[None]:
    """NAG written out in plain torch: each attention, head, and token by itself as far as it makes a difference."""

    def forward_of(layer: nn.Module) -> Any:
        def mixed(x: Tensor, text: Tensor) -> Tensor:
            parts = [part.chunk(layer.heads, -1) for part in (layer.to_q(x), layer.to_k(text), layer.to_v(text))]
            return torch.cat([(q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v for q, k, v in zip(*parts)], -1)

        def forward(x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
            good, bad = mixed(x, context), mixed(x, negative[None])
            pushed = good + VALUES["scale"] * (good - bad)
            ratio = pushed.norm(p=1, dim=-1) / good.norm(p=1, dim=-1)
            held = pushed * torch.where(ratio > VALUES["tau"], VALUES["tau"] / ratio, 1.0)[..., None]
            return layer.to_out(VALUES["alpha"] * held + (1 - VALUES["alpha"]) * good)

        return forward

    layers = [module.attn2 for module in unet.modules() if hasattr(module, "attn2")]
    for layer in layers:
        layer.forward = forward_of(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class NagReference(Reference):
    """NAG in every row but the unconditional one, perturbed rows included.

    :param against: the negative prompt of each image in NAG, if it is another than CFG's
    """

    def __init__(self, *args: Any, against: Tensor | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self.against = self.uncond if against is None else against

    def _image(self, x: Tensor, timestep: float, prompts: list, negative: Tensor, *scales: Any) -> tuple[Tensor, Tensor]:
        image = next(i for i, row in enumerate(self.uncond) if row is negative)
        self.current = negative, self.against[image]
        return super()._image(x, timestep, prompts, negative, *scales)

    def eps(self, *args: Any) -> tuple[Tensor, Tensor]:
        self.uncond = list(self.uncond)  # rows that can be told apart by identity
        return super().eps(*args)

    def _predict(self, x: Tensor, timestep: float, text: Tensor, perturbed: bool = False) -> Tensor:
        uncond, against = self.current
        if text is uncond:
            return super()._predict(x, timestep, text, perturbed)
        with guided_cross_attention(self.unet, against):
            return super()._predict(x, timestep, text, perturbed)


def reference(p: Processing, **more: Any) -> NagReference:
    return NagReference(p.host.unet, p.c, p.negatives(), **more)


def negatives(*texts: str) -> dict[str, Any]:
    return {"negative_prompts": list(texts), "unconds": torch.stack([encoded(text) for text in texts])}


LONG = torch.stack([prompt(0, 6), prompt(9, 6)])
AND = [[(prompt(1), 1.0), (prompt(2), 0.6)], [(prompt(3), 1.3)]]
JOBS = {
    "one": {},
    "three": {"batch_size": 3},
    "negative prompts that differ": {"batch_size": 2, **negatives("a", "b")},
    "of another length": {"batch_size": 2, **negatives("a" * 80, "b" * 80)},
}
MAKE = {"A1111": fresh_host, "Forge": new_forge}


@in_pairs(make=MAKE, cfg=[7.0, 1.0], settings=JOBS)
def test_pictures_are_those_of_plain_torch(make: Any, settings: dict, cfg: float):
    host = make()
    got = samples(host, {"nag": VALUES}, cfg_scale=cfg, **settings)
    wanted = euler_samples(fresh_host(), lambda p: reference(p, cfg=lambda *_: cfg, pag=lambda *_: 0.0), **settings)
    assert_same_picture(got, wanted)
    assert (got - samples(host, cfg_scale=cfg, **settings)).std() > 0.02


def test_odd_sizes(host: Host, monkeypatch: pytest.MonkeyPatch):
    patch_cat(monkeypatch, plain_cat)
    size = {"width": 72, "height": 40, "batch_size": 2}
    got = samples(host, {"nag": VALUES, "pag": {}, "freeu": {}}, **size)
    assert got.isfinite().all() and (got - samples(host, {"pag": {}, "freeu": {}}, **size)).std() > 0.02


@in_pairs(
    make=MAKE,
    whole={"tail": False, "whole passes": True},
    settings=[{}, {"batch_size": 2}, {"batch_size": 3, "cfg_scale": 1.0}],
)
def test_perturbed_rows_have_it_too(make: Any, settings: dict, whole: bool):
    host, cfg = make(), settings.get("cfg_scale", 7.0)
    if whole:
        unet = host.diffusion_model
        plain = unet.forward
        unet.forward = lambda *args, **kwargs: plain(*args, **kwargs)
    try:
        got = samples(host, {"nag": VALUES, "pag": {"scale": 3.0}}, **settings)
    finally:
        if whole:
            del unet.forward
    wanted = euler_samples(fresh_host(), lambda p: reference(p, cfg=lambda *_: cfg), **settings)
    assert_same_picture(got, wanted)


@pytest.mark.parametrize("together", [True, False])
def test_prompts_joined_by_and_on_a1111(together: bool):
    host, settings = fresh_host(), {"conds": AND, "unconds": LONG, "batch_size": 2}
    host.batch_cond_uncond = together
    got = samples(host, {"nag": VALUES, "pag": {"scale": 3.0}}, **settings)
    assert_same_picture(got, euler_samples(fresh_host(), reference, **settings))


def test_prompts_joined_by_and_on_forge():
    """Forge joins prompts of the same weights in all images."""
    settings = {"conds": [AND[0], AND[0]], "unconds": LONG, "batch_size": 2}
    got = samples(new_forge(), {"nag": VALUES}, **settings)
    assert_same_picture(got, euler_samples(fresh_host(), lambda p: reference(p, pag=lambda *_: 0.0), **settings))


def test_neutral_settings_are_bit_equal_to_none(host: Host):
    for neutral in ({"scale": 0}, {"alpha": 0}, {"start_step": 50}, {"sigma_from": 0.01}):
        assert torch.equal(samples(host, {"nag": neutral}), samples(host)), neutral


def test_lengths_that_differ_in_a_batch_on_forge():
    """The host makes no rows of them at CFG scale 1."""
    settings, texts = {"cfg_scale": 1.0}, ["a", "b" * 80]
    got = samples(new_forge(), {"nag": VALUES}, negative_prompts=texts, batch_size=2, **settings)
    singles = [
        samples(new_forge(), {"nag": VALUES}, negative_prompts=[text], seed=seed, **settings)
        for seed, text in enumerate(texts, start=1)
    ]
    assert_same_picture(got, torch.cat(singles))


@pytest.mark.parametrize("cfg", [7.0, 1.0])
def test_a_text_of_its_own(host: Host, cfg: float):
    got = samples(host, {"nag": {**VALUES, "negative": "blurry"}}, cfg_scale=cfg, batch_size=2)
    against = torch.stack([encoded("blurry")] * 2)
    scales = {"cfg": lambda *_: cfg, "pag": lambda *_: 0.0}
    assert_same_picture(got, euler_samples(fresh_host(), lambda p: reference(p, against=against, **scales), batch_size=2))


@pytest.mark.parametrize("cfg", [7.0, 1.0])
def test_an_empty_negative_prompt_of_sdxl_is_a_text(monkeypatch: pytest.MonkeyPatch, cfg: float):
    """The hosts give zeros for it; attention to these is no attention to a text."""
    pictures = []
    for make in (new_host, new_forge):
        zeros = torch.zeros(1, 3, 16)
        host, settings = make(variety=VARIETIES["SDXL"]), {"negative_prompts": [""], "unconds": zeros, "cfg_scale": cfg}
        got = samples(host, {"nag": VALUES}, **settings)
        wanted = samples(host, {"nag": {**VALUES, "negative": " "}}, **settings)
        named = samples(host, {"nag": {**VALUES, "negative": "x"}}, **settings)
        assert torch.equal(got, wanted) and not torch.equal(got, named)
        pictures.append(got)
    assert_same_picture(*pictures)


@pytest.mark.parametrize("cfg", [7.0, 1.0])
def test_a_refiner_encodes_with_its_own_text_encoder(host: Host, cfg: float):
    second = another_checkpoint(host)
    second.sd_checkpoint_info.name = "second"
    pictures = []
    for name in ("second", "first"):
        second.sd_checkpoint_info.name = name
        loaded, host.refiner = host.sd_model, (1, second)
        pictures.append(samples(host, {"nag": {**VALUES, "negative": "blurry"}}, cfg_scale=cfg))
        host.sd_model, host.refiner = loaded, None
    assert (pictures[0] - pictures[1]).std() > 1e-3


def test_the_hires_pass_has_values_of_its_own(host: Host):
    hires = {"enable_hr": True, "steps": 2}
    off = samples(host, {"nag": {"end_step": 0, "scale": 4.0, "hires_scale": 0}}, **hires)
    assert torch.equal(off, samples(host, {"nag": {"end_step": 0, "scale": 4.0, "hires_start_step": 50}}, **hires))
    assert not torch.equal(off, samples(host, {"nag": {"end_step": 0, "scale": 4.0}}, **hires))


def test_without_a_negative_row_it_costs_none(a1111_and_forge: list[Host]):
    for host in a1111_and_forge:
        samples(host, {"nag": {}}, cfg_scale=1.0, batch_size=2)
        assert set(host.sd_model.calls) == {2}


@pytest.fixture
def a1111_and_forge() -> list[Host]:
    return [new_host(), new_forge()]


@pytest.fixture(params=HOSTS.values(), ids=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return request.param()
