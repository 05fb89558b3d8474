"""Passes of the demo: hires fix, refiner, img2img; and what their texts say."""

import numpy as np
import pytest
from PIL import Image


def test_hires_pass_doubles_the_size(host):
    answer = host.txt2img(enable_hr=True, hr_scale=2, denoising_strength=0.6, hr_second_pass_steps=3, width=64, height=64)
    assert answer.pictures[0].size == (128, 128)
    for part in ("Size: 64x64", "Denoising strength: 0.6", "Hires upscale: 2", "Hires steps: 3"):
        assert part in answer.text


def test_hires_pass_makes_as_many_calls_as_it_has_steps(host):
    with host.calls() as calls:
        host.txt2img(enable_hr=True, hr_scale=2, denoising_strength=0.5, hr_second_pass_steps=3, width=64, height=64)
    assert [call.x.shape[-1] for call in calls] == [8] * 4 + [16] * 3


def test_hires_prompt_and_sampler(host):
    with host.calls() as calls:
        answer = host.txt2img(
            enable_hr=True, hr_scale=1.5, denoising_strength=0.5, hr_prompt="blue", hr_sampler_name="Heun", width=64, height=64
        )
    assert "Hires prompt: blue" in answer.text and "Hires sampler: Heun" in answer.text
    assert not (calls[0].text_cond == calls[-1].text_cond).all()


def test_refiner_switches_by_timestep_and_goes_back_for_the_next_job(host):
    from modules import shared

    models = []

    def look(params):
        models.append(shared.sd_model.sd_checkpoint_info.name_for_extra)

    plain = host.txt2img()
    with host.callback("cfg_denoiser", look):
        answer = host.txt2img(refiner_checkpoint="demo-second", refiner_switch_at=0.5)
    assert models == ["demo-first", "demo-first", "demo-second", "demo-second"]
    assert "Refiner: demo-second [" in answer.text and "Refiner switch at: 0.5" in answer.text
    assert "Model: demo-first" in answer.text and (answer.pixels != plain.pixels).any()
    assert np.array_equal(host.txt2img().pixels, plain.pixels)


def test_refiner_takes_part_in_the_second_pass_unless_told_otherwise(host):
    from modules import shared

    def models_of(**settings):
        models = []

        def look(params):
            models.append((params.x.shape[-1], shared.sd_model.sd_checkpoint_info.name_for_extra))

        with host.callback("cfg_denoiser", look):
            host.txt2img(
                enable_hr=True, denoising_strength=0.9, refiner_checkpoint="demo-second", refiner_switch_at=0.3, width=64,
                height=64, override_settings=settings,
            )  # fmt: skip
        return {size: {name for s, name in models if s == size} for size in (8, 16)}

    assert models_of() == {8: {"demo-first"}, 16: {"demo-first", "demo-second"}}
    assert models_of(hires_fix_refiner_pass="first pass") == {8: {"demo-first", "demo-second"}, 16: {"demo-first"}}


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "DPM++ 2M"])
def test_img2img_keeps_something_of_the_picture(host, sampler):
    picture = Image.new("RGB", (128, 128), "red")
    gentle, strong = (
        host.img2img(picture, denoising_strength=strength, steps=10, sampler_name=sampler) for strength in (0.2, 0.9)
    )
    assert "Denoising strength: 0.2" in gentle.text
    red = np.asarray(picture).astype(int)
    assert np.abs(gentle.pixels - red).mean() < np.abs(strong.pixels - red).mean()
    assert np.abs(gentle.pixels - red).mean() < 60


def test_img2img_makes_the_calls_that_the_strength_asks_for(host):
    with host.calls() as calls:
        host.img2img(Image.new("RGB", (128, 128), "red"), denoising_strength=0.5, steps=10)
    assert len(calls) == 6


def test_a_mask_protects_what_is_black(host):
    picture, mask = Image.new("RGB", (128, 128), (200, 60, 60)), Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    from .client import encoded

    answer = host.img2img(picture, denoising_strength=0.9, mask=encoded(mask))
    changed = np.abs(answer.pixels - np.asarray(picture)).mean(axis=(0, 2))
    assert changed[:40].max() < 12 < changed[80:].min()


def test_a_failing_job_leaves_nothing(host):
    assert host.txt2img(refiner_checkpoint="nowhere", refiner_switch_at=0.5).status == 500
    assert host.get("progress")["state"]["job_count"] == 0
    assert host.txt2img().status == 200
