"""CFG++ samplers: against another implementation's results, against k-diffusion's own samplers, and their properties."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.ops import cfgpp_samplers, descent
from tests.analytic import NOISES, RECORDED, SIGMAS, START, AnalyticModel, NoiseInTurn, recorded

SAMPLERS = {name: value for name, value in vars(cfgpp_samplers).items() if name.startswith("sample_")}
NOISY = sorted(name for name, func in SAMPLERS.items() if "noise_sampler" in inspect.signature(func).parameters)
PLAIN = {
    "sample_euler_cfgpp": k.sample_euler,
    "sample_euler_ancestral_cfgpp": k.sample_euler_ancestral,
    "sample_dpmpp_2m_cfgpp": k.sample_dpmpp_2m,
    "sample_dpmpp_2s_ancestral_cfgpp": k.sample_dpmpp_2s_ancestral,
    "sample_dpmpp_sde_cfgpp": k.sample_dpmpp_sde,
    "sample_dpmpp_2m_sde_cfgpp": k.sample_dpmpp_2m_sde,
    "sample_dpmpp_3m_sde_cfgpp": k.sample_dpmpp_3m_sde,
}


def samples(name: str | Callable[..., Tensor], model: AnalyticModel | None = None, x: Tensor = START, **more: object) -> Tensor:
    func = SAMPLERS[name] if isinstance(name, str) else name
    wanted = inspect.signature(func).parameters
    options = {"sigmas": SIGMAS, "noise_sampler": NoiseInTurn(), "disable": True, **more}
    return func(model or AnalyticModel(), x, **{key: value for key, value in options.items() if key in wanted})


@pytest.mark.parametrize("case", RECORDED["final"])
def test_another_implementation_gives_the_same(case: str):
    name, *settings = case.replace("_cfg_pp", "_cfgpp").split()
    options = {key: float(value) for key, value in (setting.split("=") for setting in settings)}
    made = samples(f"sample_{name}", AnalyticModel(options.pop("scale")), **options)
    torch.testing.assert_close(made, recorded(RECORDED["final"][case]), rtol=0, atol=1e-12)


def test_all_recorded_samplers_are_there():
    assert {f"sample_{case.split()[0].replace('_cfg_pp', '_cfgpp')}" for case in RECORDED["final"]} <= set(SAMPLERS)
    assert len(SAMPLERS) == 10


@pytest.mark.parametrize("name", [name for name in PLAIN if "2s" not in name])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_without_guidance_it_is_the_plain_sampler(name: str, eta: float):
    made, plain = (samples(func, AnalyticModel(same=True), eta=eta, s_noise=0.9) for func in (name, PLAIN[name]))
    torch.testing.assert_close(made, plain, rtol=0, atol=1e-9)


def plain_res_multistep(model: AnalyticModel, x: Tensor, sigmas: Tensor) -> Tensor:
    """Second-order exponential integrator with the last prediction, by Lagrange interpolation in ``-log(sigma)``."""
    levels, before = (-sigmas[:-1].log()).tolist(), None
    for i, t in enumerate(levels[:-1]):
        h, now = levels[i + 1] - t, model(x, sigmas[i].expand(2))
        back = None if before is None else levels[i - 1] - t
        slope = 0 if before is None else (before - now) / back
        decay = torch.tensor(-h, dtype=torch.float64).exp()
        x, before = decay * x + (1 - decay) * now + slope * (h - (1 - decay)), now
    return model(x, sigmas[-2].expand(2))


def test_without_guidance_res_is_an_exponential_integrator():
    made = samples("sample_res_multistep_cfgpp", AnalyticModel(same=True))
    torch.testing.assert_close(made, plain_res_multistep(AnalyticModel(same=True), START, SIGMAS))


def test_gradient_estimation_of_gamma_1_is_euler():
    torch.testing.assert_close(samples("sample_gradient_estimation_cfgpp", ge_gamma=1.0), samples("sample_euler_cfgpp"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_gives_the_guided_prediction(name: str):
    model = AnalyticModel()
    made = samples(name, model, sigmas=torch.tensor([14.6, 0.0], dtype=torch.float64))
    torch.testing.assert_close(made, AnalyticModel()(START, torch.full((2,), 14.6, dtype=torch.float64)))
    assert model.calls == [14.6]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_constant_guided_and_uncond_prediction_is_followed_exactly(name: str):
    """Predictions that don't change: any order then gives the first order's step, from the first to the last level."""

    class Constant(AnalyticModel):
        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            self.last_uncond = torch.full_like(x, 0.25)
            return torch.full_like(x, 0.25)

    sigmas = SIGMAS[:-1]
    made = samples(name, Constant(), sigmas=sigmas, eta=0.0)
    torch.testing.assert_close(made, 0.25 + (START - 0.25) * (sigmas[-1] / sigmas[0]))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_of_two_is_two_batches_of_one(name: str):
    together = samples(name)
    alone = [samples(name, x=START[[i]], noise_sampler=NoiseInTurn(slice(i, i + 1))) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("name", SAMPLERS)
def test_half_precision_stays_finite_and_half(name: str):
    made = samples(name, x=START.half(), noise_sampler=lambda *sigmas: NOISES[0].half())
    assert made.dtype == torch.float16
    assert made.isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("at", [0, 4, 8])
def test_a_level_that_occurs_twice_is_no_fault(name: str, at: int):
    twice = torch.cat([SIGMAS[: at + 1], SIGMAS[at:]])
    assert samples(name, sigmas=twice, eta=0.0).isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_callback_hears_every_step_once_as_k_diffusion_does(name: str):
    def heard(func: str | Callable[..., Tensor]) -> list[dict]:
        infos: list[dict] = []
        samples(func, AnalyticModel(same=True), callback=infos.append)
        return infos

    ours, theirs = heard(name), heard(k.sample_euler)
    assert [info["i"] for info in ours] == list(range(10))
    for own, other in zip(ours, theirs):
        assert own.keys() == other.keys()
        assert own["sigma"] == other["sigma"] and own["sigma_hat"] == other["sigma_hat"]
        assert own["x"].shape == own["denoised"].shape == START.shape
    assert torch.equal(ours[0]["denoised"], theirs[0]["denoised"])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_signature_is_k_diffusions(name: str):
    parameters = inspect.signature(SAMPLERS[name]).parameters
    plain = inspect.signature(PLAIN[name]).parameters if name in PLAIN else {}
    assert list(parameters)[:6] == ["model", "x", "sigmas", "extra_args", "callback", "disable"]
    kept = [key for key in plain if key not in ("r", "s_churn", "s_tmin", "s_tmax", "solver_type")]
    assert {key: parameters[key].default for key in kept if key in parameters} == {
        key: plain[key].default for key in kept if key in parameters
    }
    assert not set(kept) - set(parameters) - {"s_noise"}
    assert SAMPLERS[name].__name__ == name and SAMPLERS[name].__doc__


@pytest.mark.parametrize("name", SAMPLERS)
def test_unknown_parameters_are_an_error(name: str):
    with pytest.raises(TypeError, match="s_churm"):
        SAMPLERS[name](AnalyticModel(), START, SIGMAS, s_churm=1)


@pytest.mark.parametrize("name", NOISY)
def test_without_eta_no_noise_is_drawn(name: str):
    def refused(*sigmas: Tensor) -> Tensor:
        raise AssertionError

    samples(name, eta=0.0, noise_sampler=refused)
    samples(name, s_noise=0.0, noise_sampler=refused)


@pytest.mark.parametrize("name", NOISY)
def test_without_a_noise_sampler_noise_is_random(name: str):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, second = (samples(name, noise_sampler=None) for _ in range(2))
    assert not torch.equal(first, second)


def test_extra_arguments_reach_the_model():
    class Listening(AnalyticModel):
        def __call__(self, x: Tensor, sigma: Tensor, **extra_args: object) -> Tensor:
            assert extra_args == {"cond": "c"}
            return super().__call__(x, sigma)

    samples("sample_euler_cfgpp", Listening(), extra_args={"cond": "c"})


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.99])
def test_a_first_order_step_on_the_changed_prediction_is_the_cfgpp_step(ratio: float):
    denoised, uncond = NOISES[0], NOISES[1]
    changed = descent.denoised_for_uncond_renoise(denoised, uncond, ratio)
    plain = changed + (START - changed) * ratio
    torch.testing.assert_close(plain, descent.cfgpp_step(START, denoised, uncond, ratio))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 3.0])
def test_ancestral_levels_are_k_diffusions(eta: float):
    ours = descent.ancestral_levels(2.0, 1.5, eta)
    theirs = k.get_ancestral_step(torch.tensor(2.0).double(), torch.tensor(1.5).double(), eta)
    assert ours == pytest.approx([float(level) for level in theirs])
