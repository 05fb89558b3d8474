"""FreeU: where and when it acts, whole pictures against a patched concatenation, and its texts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from ldm.modules.diffusionmodules import openaimodel
from torch import Tensor, nn

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UnsupportedError
from lib_sdfm.hosts.a1111.decoder import EditedSkips
from lib_sdfm.ops.freeu import channel_window, filter_skip, scale_backbone
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.sampling.model_call import HostCounters, ModelCall
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.originals import OLD_ENTRIES
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.techniques import freeu as freeu_module
from lib_sdfm.techniques.freeu import (
    STAGE_FIELDS,
    FreeU,
    FreeuSettings,
    decode_schedule,
    decode_stages,
    encode_schedule,
    encode_stages,
)
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import new_host, samples
from tests.hosts.reference import Reference
from tests.support import CONTEXT, noise_of, predict, tiny_unet
from tests.techniques.reference import assert_same_picture, euler_samples, fresh_host

STAGES = {"stage1_backbone": 1.1, "stage1_skip": 0.6, "stage2_backbone": 1.3, "stage2_skip": 0.4, "stage3_backbone": 1.2}


def freeu(recipe: str = "sdfm", **settings: Any) -> FreeU:
    return FreeU(FreeuSettings(preset="Custom", **{**STAGES, **settings}), recipe)


def at(index: int = 0, total: int | None = 10, **host: int) -> ModelCall:
    return ModelCall(index=index, total=total, sigma=2.0, timestep=600.0, host=HostCounters(**{"pass_steps": 10, **host}))


def acts(technique: FreeU, channels: int, base_width: int) -> bool:
    h, skip = noise_of(1, 1, channels, 4, 4), noise_of(2, 1, 8, 4, 4)
    h_after, skip_after = technique.skip(h, skip, base_width, at())
    changed = not torch.equal(h_after, h)
    assert changed or torch.equal(skip_after, skip)
    return changed


@pytest.mark.parametrize("base_width", [320, 384, 64])
def test_stages_are_multiples_of_the_models_width(base_width: int):
    acting = [channels for channels in (64, 128, 256, 320, 384, 640, 768, 1280, 1536) if acts(freeu(), channels, base_width)]
    assert acting == sorted(base_width * width for width in (4, 2, 1))


@pytest.mark.parametrize("base_width", [320, 384, 64])
def test_stages_of_recipe_original_are_fixed(base_width: int):
    acting = [c for c in (64, 128, 256, 320, 384, 640, 768, 1280, 1536) if acts(freeu("original"), c, base_width)]
    assert acting == [320, 640, 1280]


@pytest.mark.parametrize(("stage", "channels"), [(1, 256), (2, 128), (3, 64)])
def test_each_stage_has_its_own_values(stage: int, channels: int):
    values = {"offset": 0.25, "width": 0.25, "cutoff": 0.5, "high": 0.9, "backbone": 1.4, "skip": 0.3}
    settings = {f"stage{stage}_{name}": value for name, value in values.items()}
    h, skip = noise_of(1, 2, channels, 8, 8), noise_of(2, 2, 24, 8, 8)
    got_h, got_skip = freeu(**settings).skip(h, skip, 64, at())
    window = channel_window(0.25, 0.25, channels, inclusive=False)
    torch.testing.assert_close(got_h, scale_backbone(h, window, 1.4, "2"))
    torch.testing.assert_close(got_skip, filter_skip(skip, 0.5, 0.3, 0.9))


@pytest.mark.parametrize(("recipe", "scaled"), [("sdfm", 640), ("original", 641)])
def test_half_the_backbone_is_one_channel_more_in_recipe_original(recipe: str, scaled: int):
    h = noise_of(1, 1, 1280, 2, 2)
    got, _ = freeu(recipe, version="1").skip(h, noise_of(2, 1, 8, 2, 2), 320, at())
    assert (got != h).any(dim=(0, 2, 3)).nonzero().flatten().tolist() == list(range(scaled))


def test_factors_act_in_part_where_the_schedule_does():
    technique, step = freeu(version="1", smoothness=1.0), at(index=5)  # half way down the ramp
    h, skip = noise_of(1, 1, 256, 8, 8), noise_of(2, 1, 8, 8, 8)
    got_h, got_skip = technique.skip(h, skip, 64, step)
    torch.testing.assert_close(got_h[:, :128], h[:, :128] * 1.05)
    torch.testing.assert_close(got_skip, filter_skip(skip, 0.0, 0.8, 1.0))


SHARES = [
    ({}, [0, 1, 2, 3]),
    ({"start": 0.25, "stop": 0.75}, [1, 2]),
    ({"start": 0.5, "stop": 0.5}, []),
    ({"start": 1, "stop": 3, "start_in_steps": True, "stop_in_steps": True}, [1, 2]),
    ({"start": 2, "stop": 2, "start_in_steps": True, "stop_in_steps": True}, []),
    ({"start": 0.25, "stop": 0.75, "smoothness": 1.0}, [1, 2]),
    ({"start": 0.5, "stop": 1.0, "smoothness": 0.5}, [1, 2, 3]),
    ({"stop": 0.0}, []),
]


@pytest.mark.parametrize(("schedule", "active"), SHARES, ids=str)
def test_recipe_sdfm_counts_the_steps_of_each_pass(schedule: dict, active: list[int]):
    technique = freeu(**schedule)
    for hires in (False, True):
        steps = [dataclasses.replace(at(i, 4, run_call=50 + i, pass_steps=99), hires=hires) for i in range(4)]
        assert [i for i in range(4) if technique.active(steps[i])] == active


@pytest.mark.parametrize(("schedule", "active"), SHARES, ids=str)
def test_recipe_original_counts_model_calls_across_passes(schedule: dict, active: list[int]):
    """A first pass of 4 calls and a hires pass of 6; a sampler of second order makes two calls per step."""
    technique = freeu("original", **schedule)
    first = [at(index=0, run_call=call, pass_steps=4) for call in range(4)]
    assert [call for call in range(4) if technique.active(first[call])] == active
    hires = [dataclasses.replace(at(index=0, run_call=4 + call, pass_steps=4), hires=True) for call in range(6)]
    assert not any(technique.active(step) for step in hires)
    second_order = [at(index=call // 2, run_call=call, pass_steps=4) for call in range(8)]
    assert [call for call in range(8) if technique.active(second_order[call])] == active


def test_a_longer_hires_pass_of_recipe_original_begins_where_the_first_pass_ended():
    technique = freeu("original", stop=0.6)
    hires = [dataclasses.replace(at(index=call, run_call=4 + call, pass_steps=10), hires=True) for call in range(10)]
    assert [call for call in range(10) if technique.active(hires[call])] == [0, 1]


def test_a_stop_of_1_is_the_end_where_the_sampler_makes_more_steps_than_were_asked_for():
    """DPM adaptive and Restart."""
    assert all(freeu().active(at(index, total=None, pass_steps=10)) for index in range(15))


@pytest.mark.parametrize("said", [{"start_ratio": 1}, {"start_ratio": 2, "stop_ratio": 0.5}], ids=str)
def test_old_payloads_may_have_a_step_and_a_share(said: dict):
    """The original's dictionary took a whole number for a step; its stop, when left out, was the share 1.0."""
    (entry,) = (entry for entry in OLD_ENTRIES if entry.title == "FreeU")
    settings = resolve_job(SCHEMA, [], [(entry, [{**said, "stage_infos": [{"backbone_factor": 1.2}]}])]).settings
    (technique,) = plan_of(SCHEMA, settings).techniques
    stop = 10 * said.get("stop_ratio", 1.0)
    active = [call for call in range(10) if technique.active(at(run_call=call, pass_steps=10))]
    assert active == list(range(said["start_ratio"], int(stop)))


def literal_cat(h: Tensor, skip: Tensor, window: slice, backbone: float, low: float) -> Tensor:
    """FreeU version 2 as it stands in the paper, one image at a time, before the host cuts ``h`` to the skip's size."""
    h, skip = h.clone(), skip.clone()
    for image in range(len(h)):
        mean = h[image].mean(0)
        strength = (mean - mean.min()) / (mean.max() - mean.min())
        h[image, window] *= 1 + (backbone - 1) * strength
        spectrum = torch.fft.fftshift(torch.fft.fft2(skip[image]), dim=(-2, -1))
        row, column = spectrum.shape[1] // 2, spectrum.shape[2] // 2
        spectrum[:, max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] *= low
        skip[image] = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    return torch.cat([cut_to(h, skip), skip], dim=1)


def cut_to(h: Tensor, skip: Tensor) -> Tensor:
    """A1111's own cut where a skip connection is one pixel smaller."""
    return h if h.shape[2:] == skip.shape[2:] else F.interpolate(h, skip.shape[2:], mode="nearest")


def patch_cat(monkeypatch: pytest.MonkeyPatch, cat: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replaces the UNet's concatenation of backbone and skip features."""

    class Torch:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        @staticmethod
        def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
            return cat(*tensors) if dim == 1 and len(tensors) == 2 else torch.cat(tensors, dim)

    monkeypatch.setattr(openaimodel, "th", Torch())


def plain_cat(h: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([cut_to(h, skip), skip], dim=1)


def freeu_cat(h: Tensor, skip: Tensor) -> Tensor:
    """Meaning of :data:`STAGES` for a UNet of base width 32."""
    factors = {128: (1.1, 0.6), 64: (1.3, 0.4), 32: (1.2, 1.0)}
    if h.shape[1] not in factors:
        return plain_cat(h, skip)
    return literal_cat(h, skip, slice(0, h.shape[1] // 2), *factors[h.shape[1]])


SIZES = [(8, 8), (9, 5), (11, 7), (5, 3), (6, 10)]


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("changes", [{}, {"channel_mult": (1, 2, 4)}, {"num_res_blocks": 2}], ids=str)
def test_the_unet_with_edited_skips_is_one_with_another_concatenation(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], changes: dict
):
    unet = tiny_unet(**changes)
    inputs = noise_of(1, 2, 4, *size), torch.tensor([500.0, 20.0]), noise_of(2, 2, 5, CONTEXT)
    patch_cat(monkeypatch, plain_cat)
    plain = predict(unet, *inputs)
    edited = EditedSkips(unet, lambda h, skip, base_width: freeu().skip(h, skip, base_width, at()))
    edited.attach()
    got = predict(unet, *inputs)
    edited.detach()
    assert torch.equal(predict(unet, *inputs), plain)
    patch_cat(monkeypatch, freeu_cat)
    wanted = predict(unet, *inputs)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - plain).std() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_edits_that_change_nothing_are_bit_equal(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]):
    unet, inputs = tiny_unet(), (noise_of(1, 2, 4, *size), torch.tensor([500.0, 20.0]), noise_of(2, 2, 5, CONTEXT))
    patch_cat(monkeypatch, plain_cat)
    plain = predict(unet, *inputs)
    edited = EditedSkips(unet, lambda h, skip, base_width: (h, skip))
    edited.attach()
    assert torch.equal(predict(unet, *inputs), plain)


def test_a_model_without_decoder_blocks_is_named():
    with pytest.raises(UnsupportedError, match=r"FreeU: this model is not a Stable Diffusion UNet \(Linear\)"):
        EditedSkips(nn.Linear(1, 1), lambda h, skip, base_width: (h, skip))


@pytest.fixture
def host() -> Host:
    return fresh_host()


@pytest.mark.parametrize("pag", [0.0, 3.0])
@pytest.mark.parametrize("size", [{}, {"width": 72, "height": 40}], ids=["even", "odd"])
def test_pictures_are_those_of_another_concatenation(host: Host, monkeypatch: pytest.MonkeyPatch, size: dict, pag: float):
    """In PAG's own prediction as well."""
    patch_cat(monkeypatch, plain_cat)
    request = {"freeu": STAGES, "pag": {"scale": pag} if pag else False}
    got, plain = samples(host, request, **size), samples(host, **size)
    patch_cat(monkeypatch, freeu_cat)
    unet = host.sd_model.model.diffusion_model
    wanted = euler_samples(host, lambda p: Reference(unet, p.c, p.uc, pag=lambda *_: pag), **size)
    assert_same_picture(got, wanted)
    assert (got - plain).std() > 0.02


def edited_calls(host: Host, monkeypatch: pytest.MonkeyPatch, request: dict, **settings: Any) -> list[bool]:
    """For each denoiser call of a job, whether a decoder feature was scaled."""
    edited: list[bool] = []
    monkeypatch.setattr(freeu_module, "scale_backbone", lambda h, *args: edited.append(True) or h)
    host.sd_model.before_call = lambda number: edited.append(False)
    samples(host, request, **settings)
    text = "".join("x" if edit else " " for edit in edited)
    return ["x" in call for call in text.split(" ")[1:]]


@pytest.mark.parametrize(("recipe", "hires"), [("sdfm", [True, True, True, False]), ("original", [False] * 4)])
def test_the_hires_pass(host: Host, monkeypatch: pytest.MonkeyPatch, recipe: str, hires: list[bool]):
    monkeypatch.setattr(freeu_module, "ORIGINAL_CHANNELS", (128, 64, 32))
    request = {"recipe": recipe, "freeu": {**STAGES, "stop": 0.75}}
    calls = edited_calls(host, monkeypatch, request, enable_hr=True, denoising_strength=1.0, steps=4)
    assert calls == [True, True, True, False, *hires]


def test_heun_of_recipe_original_stops_half_way(host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(freeu_module, "ORIGINAL_CHANNELS", (128, 64, 32))
    settings = {"sampler_name": "Heun", "steps": 4}
    assert edited_calls(host, monkeypatch, {"freeu": STAGES}, **settings) == [True] * 7
    original = {"recipe": "original", "freeu": STAGES}
    assert edited_calls(host, monkeypatch, original, **settings) == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    "said",
    [
        {"freeu": {"start": 0.5, "stop": 0.5}},
        {"freeu": {"stop": 0.0}},
        {"freeu": {"preset": "Custom"}},
        {"freeu": {"stage1_backbone": 1.0}},
        {"recipe": "original", "freeu": {}},  # no feature of this small model has the original's widths
    ],
    ids=str,
)
def test_neutral_settings_are_bit_equal_to_none(host: Host, said: dict):
    assert torch.equal(samples(host, said), samples(host))


def test_neutral_values_are_inert_and_presets_are_not():
    assert "leave features as they are" in FreeU(FreeuSettings(preset="Custom"), "sdfm").inert(False)
    assert FreeU(FreeuSettings(), "sdfm").inert(False) is None
    assert freeu().inert(False) is None


@pytest.mark.parametrize(
    ("preset", "sdxl", "factors"),
    [
        ("Auto", False, (1.2, 0.9, 1.4, 0.2)),
        ("Auto", True, (1.1, 0.6, 1.2, 0.4)),
        ("SD2.1", True, (1.1, 0.9, 1.2, 0.2)),
        ("Custom", True, (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_presets_become_numbers(preset: str, sdxl: bool, factors: tuple[float, ...]):
    got = FreeU.resolved(FreeuSettings(preset=preset), ModelFacts(sdxl=sdxl))
    assert got.preset == "Custom"
    assert (got.stage1_backbone, got.stage1_skip, got.stage2_backbone, got.stage2_skip) == factors
    assert FreeU.resolved(got, ModelFacts(sdxl=not sdxl)) == got


hundredths = st.integers(0, 100).map(lambda n: n / 100)
factors = st.integers(-100, 300).map(lambda n: n / 100)
stage_values = st.fixed_dictionaries(
    {
        f"stage{stage}_{name}": st.just(default) | (hundredths if low == 0 else factors)
        for stage in (1, 2, 3)
        for name, _, default, low, *_ in STAGE_FIELDS
    }
)


@given(stage_values)
def test_stages_survive_a_round_trip(values: dict[str, float]):
    settings = FreeuSettings(preset="Custom", **values)
    assert FreeuSettings(**decode_stages(encode_stages(settings))) == settings


@given(hundredths, hundredths, hundredths)
def test_a_schedule_of_shares_survives_a_round_trip(start: float, stop: float, smoothness: float):
    settings = FreeuSettings(start=start, stop=stop, smoothness=smoothness)
    assert FreeuSettings(**decode_schedule(encode_schedule(settings))) == settings


@given(st.integers(0, 200), st.integers(0, 200), hundredths)
def test_a_schedule_of_steps_survives_a_round_trip(start: int, stop: int, smoothness: float):
    settings = FreeuSettings(start=start, stop=stop, smoothness=smoothness, start_in_steps=True, stop_in_steps=True)
    text = encode_schedule(settings)
    assert text == f"{start}, {stop}, {smoothness}"
    assert FreeuSettings(**decode_schedule(text)) == settings


def test_texts_are_those_of_the_original():
    settings = FreeuSettings(preset="Custom", stage1_backbone=1.1, stage1_skip=0.6, stage3_cutoff=0.5)
    assert json.loads(encode_stages(settings)) == [{"backbone_factor": 1.1, "skip_factor": 0.6}, {}, {"skip_cutoff": 0.5}]
    assert encode_stages(FreeuSettings(preset="Custom")) == "[]"
    assert encode_schedule(FreeuSettings()) == "0.0, 1.0, 0.0"
    assert decode_stages('[{"skip_threshold": 0.5}]') == {"preset": "Custom", "stage1_cutoff": 0.5}
    assert decode_schedule("0, 0.5, 0.0") == {
        "start": 0.0,
        "stop": 0.5,
        "smoothness": 0.0,
        "start_in_steps": True,
        "stop_in_steps": False,
    }


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}, {}, {}, {}]", '[{"backbone": 1}]', "nonsense"])
def test_bad_stages_are_named(text: str):
    with pytest.raises(SettingError, match="FreeU Stages"):
        decode_stages(text)


@pytest.mark.parametrize("text", ["", "0.0, 1.0", "a, b, c", "0.0, 1.0, 0.0, 0.0", "true, 0.5, 0.0", "null, 1, 0"])
def test_bad_schedules_are_named(text: str):
    with pytest.raises(SettingError, match="FreeU Schedule"):
        decode_schedule(text)


@pytest.mark.parametrize(
    ("values", "name"), [({"start": 2.0}, "FreeU start"), ({"stop": 1.5, "stop_in_steps": True}, "FreeU stop")]
)
def test_ends_that_are_neither_shares_nor_steps_are_refused(values: dict, name: str):
    with pytest.raises(SettingError, match=name):
        FreeU.check(FreeuSettings(**values), "sdfm")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_pictures_stay_finite(dtype: torch.dtype):
    host = new_host()
    for module in host.sd_model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        result = samples(host, {"freeu": STAGES})
    assert math.isfinite(float(result.abs().max()))
