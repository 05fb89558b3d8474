"""SEG: its arithmetic, and whole pictures against attention written out in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib_sdfm.ops.blur import blur_matrices, blur_tokens, kernel_size, mean_tokens
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.model_call import HostCounters, ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.techniques.seg import Seg, SegSettings
from tests.hosts.fake_a1111 import Conds, Host, Processing, prompt
from tests.hosts.jobs import samples
from tests.hosts.reference import Reference, middle_attentions
from tests.pairs import in_pairs
from tests.support import noise_of, predict
from tests.techniques.reference import assert_same_picture, euler_samples, fresh_host

WEIGHTS, IMAGES = [1.0, 0.6, 1.3], [0, 0, 1]
COND, UNCOND, BLURRED = noise_of(1, 3, 4, 8, 8), noise_of(2, 2, 4, 8, 8), noise_of(3, 3, 4, 8, 8)
PREDICTION = Prediction(COND, UNCOND, torch.tensor(WEIGHTS), torch.tensor(IMAGES), 7.0, {"seg": BLURRED})
CFG = UNCOND + PREDICTION.sum_per_image(PREDICTION.cfg_terms("CFG"))


def step(index: int = 3, **more: Any) -> ModelCall:
    return ModelCall(index=index, total=10, sigma=2.0, timestep=600.0, **more)


def term(scale: float) -> Tensor:
    rows = [weight * scale * (COND[row] - BLURRED[row]) for row, weight in enumerate(WEIGHTS)]
    return torch.stack([rows[0] + rows[1], rows[2]])


def test_the_term_is_added_to_what_guides_already():
    torch.testing.assert_close(Seg(SegSettings(scale=2.0), "sdfm").correct(CFG, PREDICTION, step()), CFG + term(2.0))


def test_the_samplers_multiplier_counts():
    divided = step(scale_multiplier=1 / 12.5)
    got = Seg(SegSettings(scale=3.0), "sdfm").correct(CFG, PREDICTION, divided)
    torch.testing.assert_close(got, CFG + term(3.0 / 12.5))


def test_each_recipe_changes_its_own_prediction():
    ours, theirs = (Seg(SegSettings(layers="output.3" if r == "sdfm" else "middle"), r) for r in ("sdfm", "original"))
    assert ours.perturbation(step()).layers == parse_layers("output.3") and ours.main_perturbation(step()) is None
    assert theirs.main_perturbation(step()).layers == parse_layers("middle") and theirs.perturbation(step()) is None
    without_extra = Prediction(COND, UNCOND, torch.tensor(WEIGHTS), torch.tensor(IMAGES), 7.0)
    assert theirs.correct(CFG, without_extra, step()) is CFG
    assert (ours.passes(False), theirs.passes(False)) == (1, 0)


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 5.0, 10.5])
def test_the_blur_is_two_to_its_power_in_tokens(recipe: str, exponent: float):
    queries, grid = noise_of(1, 2, 40, 6), (5, 8)
    width_kernel = kernel_size(2.0**exponent, 8)
    taps = (width_kernel if recipe == "original" else kernel_size(2.0**exponent, 5), width_kernel)
    wanted = blur_tokens(queries, *blur_matrices(grid, 2.0**exponent, taps, queries))
    assert torch.equal(query_of(recipe, exponent)(queries, grid), wanted)


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
@pytest.mark.parametrize("exponent", [10.51, 11.0, 100.0])
def test_above_ten_and_a_half_it_is_infinite(recipe: str, exponent: float):
    queries = noise_of(1, 2, 40, 6)
    assert torch.equal(query_of(recipe, exponent)(queries, (5, 8)), mean_tokens(queries))


def query_of(recipe: str, exponent: float) -> Callable[[Tensor, tuple[int, int]], Tensor]:
    seg = Seg(SegSettings(blur=exponent), recipe)
    return (seg.perturbation(step()) or seg.main_perturbation(step())).query


@pytest.mark.parametrize(
    ("window", "active"),
    [((0, 150), [0, 1, 2, 3]), ((1, 2), [1, 2]), ((3, 2048), [3]), ((2, 1), []), ((0, 0), [0])],
)
def test_windows_count_the_samplers_steps_and_include_both_ends(window: tuple[int, int], active: list[int]):
    seg = Seg(SegSettings(start_step=window[0], end_step=window[1]), "sdfm")
    assert [i for i in range(4) if seg.active(step(i, host=HostCounters(lagging=99)))] == active


@pytest.mark.parametrize(("window", "active"), [((0, 150), [0, 1, 2, 3]), ((0, 0), [0, 1]), ((1, 1), [2]), ((1, 2048), [2, 3])])
def test_windows_of_recipe_original_count_as_the_host_does_0_0_1_2(window: tuple[int, int], active: list[int]):
    seg = Seg(SegSettings(start_step=window[0], end_step=window[1]), "original")
    assert [
        call for call, lagging in enumerate([0, 0, 1, 2]) if seg.active(step(99, host=HostCounters(lagging=lagging)))
    ] == active


@pytest.mark.parametrize("hires", [False, True])
def test_hires_values_replace_those_of_the_first_pass(hires: bool):
    at, queries = step(hires=hires, host=HostCounters(lagging=3)), noise_of(1, 1, 16, 4)
    seg = Seg(SegSettings(scale=2.0, hires_scale=5.0, blur=11.0, hires_blur=1.0), "sdfm")
    torch.testing.assert_close(seg.correct(CFG, PREDICTION, at), CFG + term(5.0 if hires else 2.0))
    blurred = seg.perturbation(at).query(queries, (4, 4))
    assert torch.equal(blurred, mean_tokens(queries)) is not hires
    for recipe in ("sdfm", "original"):
        assert Seg(SegSettings(start_step=9, hires_start_step=0), recipe).active(at) is hires
        assert Seg(SegSettings(end_step=2, hires_end_step=9), recipe).active(at) is hires
    assert (Seg(SegSettings(hires_scale=0.0), "sdfm").inert(hires) is None) is not hires
    assert (Seg(SegSettings(hires_blur=0.0), "original").inert(hires) is None) is not hires


@contextmanager
def blurred_queries(attention: nn.Module, grid: tuple[int, int], exponent: float) -> Iterator[None]:
    """Attention written out, with queries that a plain convolution has blurred."""

    def forward(x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for part in (convolved(attention.to_q(x), grid, exponent), attention.to_k(x), attention.to_v(x))
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return attention.to_out((weights @ v).transpose(1, 2).flatten(2))

    attention.forward = forward
    try:
        yield
    finally:
        del attention.forward


def convolved(queries: Tensor, grid: tuple[int, int], exponent: float) -> Tensor:
    planes = queries.transpose(1, 2).unflatten(2, grid)
    if exponent > 10.5:
        return planes.mean((2, 3))[:, None].expand_as(queries)
    reach = int(3 * 2**exponent)
    places = torch.arange(-reach, reach + 1)
    line = torch.exp(-(places**2) / (2 * 4**exponent))
    kernel = (line[:, None] * line) / (line[:, None] * line).sum()
    padded = F.pad(planes, [reach] * 4, mode="reflect")
    result = F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None])
    return result.view_as(planes).flatten(2).transpose(1, 2)


class SegReference(Reference):
    """A model with CFG and SEG: the paper's, or the originals' with the blur in the uncond prediction."""

    def __init__(self, p: Processing, exponent: float, scale: float, recipe: str, **more: Any) -> None:
        super().__init__(p.sd_model.model.diffusion_model, p.c, p.uc, pag=lambda call, sigma: 0.0, **more)
        self.exponent, self.scale, self.original = exponent, scale, recipe == "original"

    def _image(
        self, x: Tensor, timestep: float, prompts: list[tuple[Tensor, float]], negative: Tensor, cfg: float | None, pag: float
    ) -> tuple[Tensor, Tensor]:
        conds = [self._predict(x, timestep, text) for text, _ in prompts]
        if cfg is None:
            uncond = conds[0]
        else:
            uncond = self._blurred(x, timestep, negative) if self.original else self._predict(x, timestep, negative)
        guided = uncond
        for cond, (text, weight) in zip(conds, prompts):
            guided = guided + weight * (1.0 if cfg is None else cfg) * (cond - uncond)
            if not self.original:
                guided = guided + weight * self.scale * (cond - self._blurred(x, timestep, text))
        return guided, uncond

    def _blurred(self, x: Tensor, timestep: float, text: Tensor) -> Tensor:
        grid = (x.shape[2] // 2, x.shape[3] // 2)  # the middle block's, below one halving
        with ExitStack() as stack:
            for attention in middle_attentions(self.unet):
                stack.enter_context(blurred_queries(attention, grid, self.exponent))
            return predict(self.unet, x, torch.tensor([timestep]), text[None])


@pytest.fixture
def host() -> Host:
    return fresh_host()


RECIPES = {"sdfm": {"seg": {"scale": 3}}, "original": {"recipe": "original", "seg": {}}}
AND: Conds = [[(prompt(1), 1.0), (prompt(5), 0.6)], [(prompt(2), 1.3)]]
LONG = torch.stack([prompt(0, tokens=5)] * 2)


def ngms(call: int, sigma: float) -> float | None:
    return None if call % 2 else 7.0


JOBS = {
    "one": {},
    "two": {"batch_size": 2},
    "not square": {"width": 80, "height": 48},
    "AND": {"conds": AND, "batch_size": 2},
    "unequal lengths": {"unconds": LONG[:1]},
    "AND, unequal lengths, two": {"conds": AND, "unconds": LONG, "batch_size": 2},
    "NGMS": {"s_min_uncond": 100.0, "cfg": ngms},
}


@in_pairs(settings=JOBS, batch_cond_uncond={"together": True, "apart": False}, recipe=list(RECIPES))
def test_pictures_are_those_of_plain_torch(host: Host, settings: dict, batch_cond_uncond: bool, recipe: str):
    host.batch_cond_uncond = batch_cond_uncond
    run = {"steps": 2, **{key: value for key, value in settings.items() if key != "cfg"}}
    reference = {key: value for key, value in settings.items() if key == "cfg"}
    wanted = euler_samples(host, lambda p: SegReference(p, 11.0, 3.0, recipe, **reference), **run)
    assert_same_picture(samples(host, RECIPES[recipe], **run), wanted)
    assert (wanted - samples(host, **run)).std() > 0.02


@pytest.mark.parametrize(("recipe", "exponent"), [("sdfm", 0.0), ("sdfm", 0.5), ("original", 0.5)])
def test_finite_blurs_are_those_of_a_plain_convolution(host: Host, recipe: str, exponent: float):
    """On a map that is as wide as the whole kernel."""
    request = {**RECIPES[recipe], "seg": {**RECIPES[recipe]["seg"], "blur": exponent}}
    settings = {"width": 160, "height": 176, "steps": 2}
    wanted = euler_samples(host, lambda p: SegReference(p, exponent, 3.0, recipe), **settings)
    assert_same_picture(samples(host, request, **settings), wanted)
    assert (wanted - samples(host, **settings)).std() > 0.02


def outputs_of_the_first_call(host: Host, request: dict | None, **settings: Any) -> Tensor:
    """Return the UNet's output in the first denoiser call: cond rows, then uncond rows."""
    outputs: list[Tensor] = []
    unet = host.sd_model.model.diffusion_model
    with unet.register_forward_hook(lambda module, args, output: outputs.append(output.clone())):
        samples(host, request, steps=1, **settings)
    return torch.cat(outputs)


@pytest.mark.parametrize("batch_cond_uncond", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"batch_size": 2}, id="equal lengths"),
        pytest.param({"unconds": LONG, "batch_size": 2}, id="unequal lengths"),
        pytest.param({"conds": AND, "batch_size": 2}, id="AND"),
        pytest.param({"conds": AND, "unconds": LONG, "batch_size": 2}, id="AND, unequal lengths"),
        pytest.param({"conds": AND[:1], "unconds": LONG[:1]}, id="AND, one picture"),
    ],
)
def test_recipe_original_touches_uncond_rows_only(host: Host, settings: dict, batch_cond_uncond: bool):
    host.batch_cond_uncond = batch_cond_uncond
    plain, got = (outputs_of_the_first_call(host, request, **settings) for request in (None, RECIPES["original"]))
    images = settings.get("batch_size", 1)
    assert torch.equal(got[:-images], plain[:-images])
    for row in range(-images, 0):
        assert (got[row] - plain[row]).std() > 1e-3


def test_with_pag_the_extra_prediction_of_recipe_original_is_not_blurred(host: Host):
    both = samples(host, {"recipe": "original", "pag": {"scale": 3}, "seg": {}}, steps=1)
    pag, seg, plain = (
        samples(host, {"recipe": "original", **request}, steps=1) for request in ({"pag": {"scale": 3}}, {"seg": {}}, {})
    )
    torch.testing.assert_close(both - seg, pag - plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "request_",
    [{"seg": {"scale": 0}}, {"seg": {"start_step": 90}}, {"seg": False}, {"recipe": "original", "seg": {"blur": 0}}],
    ids=str,
)
def test_neutral_settings_are_bit_equal_to_none(host: Host, request_: dict):
    assert torch.equal(samples(host, request_), samples(host))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_batch_of_two_equals_two_batches_of_one(host: Host, recipe: str):
    both = samples(host, RECIPES[recipe], batch_size=2)
    assert_same_picture(both, samples(host, RECIPES[recipe], n_iter=2))
