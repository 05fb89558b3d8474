"""The demo's denoiser and samplers behave as A1111's do: order of rows, counters, callbacks, schedules."""

import numpy as np
import pytest
import torch


def test_rows_of_prompts_come_first_and_uncond_last(host):
    with host.calls() as calls:
        assert host.txt2img(prompt="red AND blue :0.5", steps=1, batch_size=2).status == 200
    first = calls[0]
    assert first.x.shape[0] == 6  # two prompts for each of two pictures, then two negative ones
    assert first.text_cond.shape[0] == 4 and first.text_uncond.shape[0] == 2
    assert torch.equal(first.x[0], first.x[1]) and torch.equal(first.x[0], first.x[4]) and torch.equal(first.x[2], first.x[5])
    assert not torch.equal(first.x[0], first.x[2])


@pytest.mark.parametrize("sampler, expected", [("Euler", [0, 0, 1, 2]), ("Heun", [0, 0, 0, 1, 1, 2, 2]), ("DDIM", [0, 0, 1])])
def test_the_step_counter_lags(host, sampler, expected):
    with host.calls() as calls:
        host.txt2img(sampler_name=sampler, steps=4)
    assert [call.sampling_step for call in calls][: len(expected)] == expected


def test_ddim_makes_one_call_more_with_48_steps(host):
    with host.calls() as calls:
        host.txt2img(sampler_name="DDIM", steps=48, width=64, height=64)
    assert len(calls) == 49 and int(calls[0].sigma[0]) == 981


def test_cfgpp_divides_the_scale_and_keeps_the_noise_of_uncond(host):
    with host.calls() as calls:
        host.txt2img(sampler_name="DDIM CFG++", steps=2)
    denoiser = calls[0].denoiser
    assert denoiser.cond_scale_miltiplier == 1 / 12.5 and denoiser.last_noise_uncond.shape == (1, 4, 16, 16)


def test_callbacks_come_in_order_and_their_errors_are_swallowed(host):
    heard = []

    def before(params):
        heard.append("before")
        raise RuntimeError("not told to anybody")

    def between(params):
        heard.append("between")

    def after(params):
        heard.append("after")

    plain = host.txt2img(steps=2)
    with host.callback("cfg_denoiser", before), host.callback("cfg_denoised", between), host.callback("cfg_after_cfg", after):
        answer = host.txt2img(steps=2)
    assert heard == ["before", "between", "after"] * 2
    assert answer.status == 200 and np.array_equal(answer.pixels, plain.pixels)
    assert any("not told to anybody" in record for record in host.swallowed)


def test_all_samplers_and_schedules_give_a_picture(host):
    from modules import sd_samplers, sd_schedulers

    pictures = [host.txt2img(sampler_name=item.name, steps=3, width=64, height=64) for item in sd_samplers.all_samplers]
    pictures += [host.txt2img(scheduler=item.label, steps=3, width=64, height=64) for item in sd_schedulers.schedulers]
    assert {picture.status for picture in pictures} == {200}
    assert all(10 < picture.pixels.mean() < 245 for picture in pictures)


def test_schedule_type_stands_in_the_text(host):
    assert "Schedule type: Karras" in host.txt2img(sampler_name="DPM++ 2M", steps=2).text
    assert "Schedule type: Automatic" in host.txt2img(sampler_name="Euler", steps=2).text


def test_a_batch_gives_the_pictures_of_single_jobs(host):
    single = host.txt2img(seed=6, sampler_name="Euler a").pixels
    batch = host.txt2img(seed=5, batch_size=2, sampler_name="Euler a", do_not_save_grid=True)
    assert np.abs(np.asarray(batch.pictures[-1]).astype(int) - single).max() <= 1


@pytest.mark.parametrize("setting", [{"batch_cond_uncond": False}, {"pad_cond_uncond": True}, {"s_min_uncond": 5.0}])
def test_settings_that_split_the_calls(host, setting):
    long = " ".join(f"word{i}" for i in range(100))
    answer = host.txt2img(prompt=long, steps=3, override_settings=setting)
    assert answer.status == 200 and answer.pixels.std() > 5
    marks = {"pad_cond_uncond": "Pad conds: True", "s_min_uncond": "NGMS: 5.0"}
    assert all(mark in answer.text for key, mark in marks.items() if key in setting)


def test_longer_prompts_have_more_chunks(host):
    with host.calls() as calls:
        host.txt2img(prompt=" ".join(["word"] * 80), steps=1)
    assert calls[0].text_cond.shape[1] == 154 and calls[0].text_uncond.shape[1] == 77


def test_an_interrupt_gives_the_last_picture(host):
    def stop(params):
        from modules import shared

        if params.sampling_step == 1:
            shared.state.interrupt()

    with host.callback("cfg_denoiser", stop), host.calls() as calls:
        answer = host.txt2img(steps=8)
    assert answer.status == 200 and len(answer.pictures) == 1 and len(calls) == 3
