"""Another extension fails at any place, in any step: the picture is guided as ever, and the next ones are as ever."""

from contextlib import contextmanager

import numpy as np
import pytest

ASKED = {"pag": {"scale": 4}, "seg": {}, "freeu": {"preset": "SDXL"}, "cfg_schedule": {"schedule": "Linear"}}
SMALL = {"width": 64, "height": 96, "steps": 2, "enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.9}
STEPS = range(4)
"""Of both passes."""
METHODS = (
    "before_process", "process", "before_process_batch", "process_batch", "process_before_every_sampling", "before_hr",
    "post_sample", "postprocess_batch", "postprocess_image", "postprocess",
)  # fmt: skip
CALLBACKS = ("cfg_denoiser", "cfg_denoised", "cfg_after_cfg")


class Trouble(Exception):
    pass


class Failing:
    """Fails at one of its calls.

    :param error: what it raises, an instance or a class
    """

    def __init__(self, call, error=Trouble):
        self.calls, self.call, self.error = 0, call, error

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls - 1 == self.call:
            raise self.error


@contextmanager
def failing_script(method, fail, first):
    """While it is open there is another extension's script, before or after ours."""
    from modules import scripts

    def run(self, p, *args, **kwargs):
        fail()

    named = {"title": lambda self: "Neighbour", "filename": __file__, method: run}
    runner, script = scripts.scripts_txt2img, type("Neighbour", (scripts.Script,), named)()
    runner.alwayson_scripts.insert(0 if first else len(runner.alwayson_scripts), script)
    try:
        yield
    finally:
        runner.alwayson_scripts.remove(script)


def made(host):
    return host.txt2img(**SMALL).pixels, host.guided(ASKED, **SMALL).pixels


@pytest.fixture(scope="module")
def before(host):
    """Plain and guided pixels before all trouble."""
    host.reset()
    plain, guided = made(host)
    assert (plain != guided).any()
    return plain, guided


@pytest.fixture
def pictures(host, before):
    """The same; they are the same afterwards."""
    yield before
    host.swallowed.clear()
    assert all(np.array_equal(*both) for both in zip(before, made(host)))
    assert host.swallowed == []


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_a_script_fails(host, pictures, first):
    for method in METHODS:
        fail = Failing(0)
        with failing_script(method, fail, first):
            guided = host.guided(ASKED, **SMALL)
        assert fail.calls and "Trouble" in " ".join(host.swallowed)
        assert np.array_equal(guided.pixels, pictures[1]), method
        host.swallowed.clear()


@pytest.mark.parametrize("category", CALLBACKS)
def test_a_callback_fails_in_any_step(host, pictures, category):
    for step in STEPS:
        fail = Failing(step)
        with host.callback(category, fail):
            guided = host.guided(ASKED, **SMALL)
        assert fail.calls == len(STEPS) and np.array_equal(guided.pixels, pictures[1]), step


@pytest.mark.parametrize("category", CALLBACKS)
def test_a_callback_ends_the_pass_in_any_step(host, pictures, category):
    from modules.sd_samplers_common import InterruptedException

    for step in STEPS:
        with host.callback(category, Failing(step, InterruptedException)):
            assert host.guided(ASKED, **SMALL).status == 200


@pytest.mark.parametrize("flag", ["skip", "interrupt"])
def test_skip_and_interrupt_in_any_step(host, pictures, flag):
    from modules import shared

    for step in STEPS:
        calls = []

        def press(params, step=step, calls=calls):
            calls.append(params)
            if len(calls) - 1 == step:
                getattr(shared.state, flag)()

        with host.callback("cfg_denoiser", press):
            assert host.guided(ASKED, **SMALL).status == 200
        assert len(calls) < len(STEPS) or step == STEPS[-1]


def test_after_a_skipped_batch_the_next_is_as_ever(host, pictures):
    from modules import shared

    wanted = host.guided(ASKED, **SMALL, n_iter=2).pictures[-1]
    calls = []

    def press(params):
        calls.append(params)
        if len(calls) == 2:
            shared.state.skip()

    with host.callback("cfg_denoiser", press):
        skipped = host.guided(ASKED, **SMALL, n_iter=2).pictures[-1]
    assert np.array_equal(np.asarray(skipped), np.asarray(wanted))
