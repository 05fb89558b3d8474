"""After a run everything is as it was, however it ends, and a plain picture is bit-equal to one before."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.hosts.run import RUN
from lib_sdfm.hosts.steps import SamplerSteps
from sdfm_webui.errors import SdfmError
from sdfm_webui.job import LAST_CALL
from tests.hosts.fake_a1111 import Host, Interrupted, Processing, Sampler
from tests.hosts.jobs import HOSTS, another_checkpoint, attached, job, samples
from tests.hosts.reference import Reference
from tests.pairs import in_pairs, in_turn
from tests.support import fingerprint
from tests.together import together

EVERYTHING, EVERYTHING_ORIGINAL = together(), together(recipe="original")
REQUESTS = [
    pytest.param({"pag": {}}, id="PAG"),
    pytest.param({"recipe": "original", "pag": {"scale": 1, "sanf": True}}, id="PAG of recipe original"),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(EVERYTHING_ORIGINAL, id="everything of recipe original"),
]
MODEL_CALLS = 6
"""Of a picture with PAG, Euler and three steps: main and extra prediction in turn."""


PLAIN: dict[type[Host], Tensor] = {}
"""The plain picture of each kind of host: new ones of a kind are alike."""


class Trouble(Exception):
    pass


@contextmanager
def unchanged(host: Host, with_picture: bool = True) -> Iterator[Callable[[Processing], Processing]]:
    """Checks that jobs, samplers, denoisers and the model are as before, and a following plain picture too.

    Gives a function that a job must be passed through to be checked.

    :param with_picture: false leaves the picture out, between jobs after the last of which it is looked at
    """
    if type(host) not in PLAIN:
        PLAIN[type(host)] = samples(host)
    fresh, no_trouble = Sampler(host, "Euler"), host.sd_model.before_call
    known = attached(host.sd_model), fingerprint(fresh, fresh.model_wrap_cfg)
    jobs: list[tuple[Processing, dict]] = []

    def watch(p: Processing) -> Processing:
        jobs.append((p, fingerprint(p)))
        return p

    host.samplers.clear()
    yield watch
    made = list(host.samplers)
    host.sd_model.before_call, host.interrupt_at = no_trouble, None
    assert jobs and made
    for p, before in jobs:
        assert fingerprint(p) == before
        assert RUN not in vars(p)
    assert attached(host.sd_model) == known[0]
    for sampler in made:
        assert fingerprint(sampler, sampler.model_wrap_cfg) == known[1]
    if with_picture:
        assert torch.equal(samples(host), PLAIN[type(host)])


@pytest.mark.parametrize("request_", REQUESTS)
def test_after_a_picture(host: Host, request_: dict):
    with unchanged(host) as watch:
        host.run(watch(job(host, request_)))


@pytest.mark.parametrize("request_", REQUESTS)
def test_after_an_error_in_any_call_of_the_model(host: Host, request_: dict):
    host.run(job(host, request_))
    calls = len(host.sd_model.calls)
    assert calls >= 3
    for call in range(calls):
        with unchanged(host, with_picture=call == calls - 1) as watch:
            fail_at(host, call)
            with pytest.raises(Trouble):
                host.run(watch(job(host, request_)))


def fail_at(host: Host, call: int, error: type[BaseException] = Trouble) -> None:
    """Lets a call of the model fail, counted from now."""
    host.sd_model.calls.clear()

    def before_call(number: int) -> None:
        if number == call:
            raise error

    host.sd_model.before_call = before_call


@in_pairs(make=HOSTS, name=["to_q", "to_v", "to_out.0"], call=[0, 1, 2])
def test_after_an_error_inside_a_perturbed_layer(make: Callable[[], Host], name: str, call: int):
    """The hooks of the extra prediction are in place at that moment (call 1)."""
    host = make()
    attention = host.unet.middle_block[1].transformer_blocks[1].attn1
    calls: list[int] = []

    def fail(module: object, args: tuple) -> None:
        calls.append(1)
        if len(calls) == call + 1:
            raise Trouble

    with unchanged(host) as watch, attention.get_submodule(name).register_forward_pre_hook(fail), pytest.raises(Trouble):
        host.run(watch(job(host, {"pag": {}})))


@pytest.mark.parametrize("calls", range(MODEL_CALLS))
def test_after_an_interrupt(host: Host, calls: int):
    with unchanged(host) as watch:
        host.sd_model.calls.clear()
        host.interrupt_at = calls
        assert host.run(watch(job(host, {"pag": {}}))).shape == (1, 4, 8, 8)


@in_turn(make=HOSTS, call=range(MODEL_CALLS))
def test_after_an_interrupt_in_the_middle_of_a_call(make: Callable[[], Host], call: int):
    host = make()
    with unchanged(host) as watch:
        fail_at(host, call, Interrupted)
        assert host.run(watch(job(host, {"pag": {}}))).shape == (1, 4, 8, 8)


@in_turn(call=range(MODEL_CALLS), make=dict(reversed(HOSTS.items())))
def test_after_an_exception_that_is_no_error(make: Callable[[], Host], call: int):
    host = make()
    with unchanged(host) as watch:
        fail_at(host, call, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            host.run(watch(job(host, {"pag": {}})))


def test_after_an_error_in_the_samplers_callback(host: Host, monkeypatch: pytest.MonkeyPatch):
    with unchanged(host) as watch, monkeypatch.context() as patch, pytest.raises(Trouble):
        patch.setattr(Sampler, "callback_state", lambda self, info: (_ for _ in ()).throw(Trouble))
        host.run(watch(job(host, {"pag": {}})))


@pytest.mark.parametrize("failing_call", [None, 1, 7, 8, 9])
def test_after_two_passes(host: Host, failing_call: int | None):
    with unchanged(host) as watch:
        p = watch(job(host, {"pag": {}}, enable_hr=True, denoising_strength=1.0))
        if failing_call is None:
            host.run(p)
            assert len(host.samplers) == 2
        else:
            fail_at(host, failing_call)
            with pytest.raises(Trouble):
                host.run(p)


@pytest.mark.parametrize("failing_call", [None, 0, 3, 5])
def test_after_several_batches_with_one_sampler(host: Host, failing_call: int | None):
    """Img2img makes its sampler once."""
    latent = torch.zeros(1, 4, 8, 8)
    settings = {"init_latent": latent, "denoising_strength": 1.0, "n_iter": 2}
    with unchanged(host) as watch:
        p = watch(job(host, {"pag": {}}, **settings))
        if failing_call is None:
            guided = host.run(p)
            assert len(host.samplers) == 1
            assert torch.equal(guided[1:], samples(host, {"pag": {}}, seed=2, init_latent=latent, denoising_strength=1.0))
        else:
            fail_at(host, failing_call)
            with pytest.raises(Trouble):
                host.run(p)


def test_one_sampler_object_makes_plain_pictures_after_guided_ones(host: Host):
    p = job(host, {"pag": {}}, init_latent=torch.zeros(1, 4, 8, 8))
    host.run(p)
    used = p.sampler
    p.script_args = []
    p.init = lambda: None  # the same sampler once more
    assert torch.equal(host.run(p), samples(host, init_latent=torch.zeros(1, 4, 8, 8)))
    assert p.sampler is used


@pytest.mark.parametrize("changes", [{}, {"model_channels": 64}], ids=["the same architecture", "another one"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_refiner_takes_over_with_guidance_and_without_traces(host: Host, at: int, changes: dict):
    check_refiner(host, at, another_checkpoint(host, **changes))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a1111s_refiner_can_take_over_in_the_same_modules(a1111: Host, at: int):
    refiner = another_checkpoint(a1111)
    refiner.model = a1111.sd_model.model
    check_refiner(a1111, at, refiner)


def check_refiner(host: Host, at: int, refiner: nn.Module) -> None:
    base = host.sd_model
    before = attached(base), attached(refiner)
    wanted = refined_by_hand(host, at, refiner)
    host.sd_model, host.refiner = base, (at, refiner)
    got = host.run(job(host, {"pag": {}}))
    assert not host.swallowed
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-2)
    assert (attached(base), attached(refiner)) == before
    for sampler in host.samplers:
        assert not hooks_of(sampler.model_wrap) and not hooks_of(sampler.model_wrap_cfg.inner_model)


@pytest.mark.parametrize("request_", [{"pag": {}}, {"freeu": {}}, {"recipe": "original", "seg": {}}], ids=str)
def test_the_model_that_the_denoiser_calls_is_guided(host: Host, request_: dict):
    """In img2img both hosts keep the refiner's denoiser for the next batch, although the first checkpoint is loaded again."""
    settings = {"init_latent": torch.zeros(1, 4, 8, 8), "denoising_strength": 1.0}
    refiner = another_checkpoint(host)
    host.refiner = 1, refiner
    batches = samples(host, request_, n_iter=2, **settings)
    host.sd_model, host.refiner = refiner, None
    assert torch.equal(batches[1:], samples(host, request_, seed=2, **settings))
    assert not torch.equal(batches[1:], samples(host, seed=2, **settings))


def hooks_of(wrap: object) -> dict:
    """Hooks on what wraps the model; Forge's is no module."""
    return dict(getattr(wrap, "_forward_pre_hooks", {}))


def refined_by_hand(host: Host, at: int, refiner: nn.Module) -> Tensor:
    """Euler whose model changes, in plain torch."""
    p = job(host)
    p.setup_conds()
    sampler = Sampler(host, "Euler")
    models = [Reference(model.unet, p.c, p.uc) for model in (host.sd_model, refiner)]

    def switched(x: Tensor, sigma: Tensor) -> Tensor:
        return models[models[0].calls + models[1].calls >= at](x, sigma)

    sigmas = sampler.get_sigmas(p.steps)
    return sampler.func(switched, p.noise(8, 8) * sigmas[0], sigmas, disable=True)


def test_a_sample_attribute_of_another_script_comes_back(host: Host):
    p = job(host, {"pag": {}})
    own, calls = p.sample, []

    def other_scripts_sample(**kwargs: object) -> Tensor:
        calls.append(vars(p)["sample"])
        return own(**kwargs)

    p.sample = other_scripts_sample
    guided = host.run(p)
    assert vars(p)["sample"] is other_scripts_sample
    assert calls == [other_scripts_sample]  # it was back before it was called
    assert torch.equal(guided, samples(host, {"pag": {}}))


@pytest.mark.parametrize("next_request", [{"pag": {}}, {}, {"pag": {"scale": -1}}], ids=["guided", "off", "bad"])
def test_a_batch_that_never_came_to_sampling_is_forgotten_by_the_next(host: Host, next_request: dict):
    """Something failed between `process_batch` and `p.sample`."""
    p = job(host, {"pag": {"scale": 9}})
    before = fingerprint(p)
    for _ in range(3):
        host.script_call(p, "process_batch")
    p.script_args = [next_request]
    host.script_call(p, "process_batch")
    if "scale" in next_request.get("pag", ()):
        with pytest.raises(SdfmError):
            p.sample()
    else:
        assert torch.equal(host.run(p), samples(host, next_request))
    assert fingerprint(p) == before


def test_a_combine_denoised_that_was_replaced_before_is_used_and_comes_back(a1111: Host, monkeypatch: pytest.MonkeyPatch):
    """Dynamic thresholding works this way."""
    made = Sampler.__init__

    def make(self: Sampler, *args: object) -> None:
        made(self, *args)
        plain = self.model_wrap_cfg.combine_denoised
        self.model_wrap_cfg.combine_denoised = lambda *args: plain(*args) * 0.5
        self.model_wrap_cfg.theirs = self.model_wrap_cfg.combine_denoised

    monkeypatch.setattr(Sampler, "__init__", make)
    plain, guided = samples(a1111), samples(a1111, {"pag": {"scale": 1e-6}})
    torch.testing.assert_close(guided, plain, rtol=1e-3, atol=1e-3)
    for sampler in a1111.samplers:
        assert vars(sampler.model_wrap_cfg)["combine_denoised"] is sampler.model_wrap_cfg.theirs


def test_the_run_dies_with_the_call(host: Host):
    p = job(host, {"pag": {}})
    runs: list[weakref.ref] = []
    host.on_cfg_denoiser.append(lambda params: runs.append(weakref.ref(getattr(p, RUN))))
    host.run(p)
    gc.collect()
    assert runs and not any(run() for run in runs)


class Wrapper:
    """A script that wraps ``p.sample`` behind SDFM's in the first batch, and leaves its wrapper there."""

    def __init__(self) -> None:
        self.calls = 0

    def before_process(self, p: Processing, *args: object) -> None:
        pass

    def process_batch(self, p: Processing, *args: object) -> None:
        if p.iteration == 0:
            inner = p.sample

            def sample(*args: object, **kwargs: object) -> Tensor:
                self.calls += 1
                return inner(*args, **kwargs)

            p.sample = sample

    process_before_every_sampling = before_process


@pytest.mark.parametrize("request_", [{"pag": {}}, {"cfg_rescale": {}, "freeu": {}}])
def test_a_wrapper_behind_ours_that_stays_changes_nothing(host: Host, request_: dict):
    wanted = samples(host, request_, n_iter=3)
    p, wrapper = job(host, request_, n_iter=3), Wrapper()
    p.scripts.append(wrapper)
    before = attached(host.sd_model)
    assert torch.equal(host.run(p), wanted)
    assert wrapper.calls == 3 and attached(host.sd_model) == before
    assert RUN not in vars(p) and LAST_CALL not in vars(p)


@pytest.mark.parametrize("place", ["lib_sdfm.hosts.a1111.run_pass.SamplerSteps", "lib_sdfm.hosts.forge.run_pass.SamplerSteps"])
def test_after_an_adapter_that_fails_halfway(host: Host, place: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise Trouble

    with unchanged(host) as watch:
        p = watch(job(host, {"pag": {}}))
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            if hasattr(host.sd_model, "forge_objects") == ("forge" in place):
                with pytest.raises(Trouble):
                    host.run(p)
            else:
                host.run(p)


def test_after_something_that_cannot_be_detached(host: Host, monkeypatch: pytest.MonkeyPatch):
    """All else is put back all the same."""
    with unchanged(host) as watch:
        p = watch(job(host, {"pag": {}, "freeu": {}}))
        with monkeypatch.context() as patch:
            detach = SamplerSteps.detach

            def fail(steps: SamplerSteps) -> None:
                detach(steps)
                raise Trouble

            patch.setattr(SamplerSteps, "detach", fail)
            with pytest.raises(Trouble):
                host.run(p)
