"""Training and sampling of the small models, on problems with known answers."""

from types import SimpleNamespace

import pytest
import torch

from tools import tiny_sampling, train_tiny, training
from tools.tiny_model import EPS, FLOW, V


class PerfectModel:
    """Knows that all pictures are ``x0``; its latents are its pictures' first three channels."""

    def __init__(self, objective, x0):
        self.objective, self.x0, self.coding = objective, x0, SimpleNamespace(decode=lambda latents: latents[:, :3])

    def conditioning(self, captions):
        return torch.zeros(len(captions), 1, 1)

    def unet(self, x, timesteps, context):
        t = timesteps[0]
        if self.objective == FLOW:
            return (x - self.x0) / (t / 1000)
        if self.objective == V:
            alpha = tiny_sampling.v_table()[t.round().long()].float()
            return (alpha.sqrt() * x - self.x0) / (1 - alpha).sqrt()
        alpha = tiny_sampling.noise_table()[t.round().long()].float()
        return (x - alpha.sqrt() * self.x0) / (1 - alpha).sqrt()


@pytest.mark.parametrize("objective", [EPS, FLOW, V])
@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_samplers_find_the_only_picture(objective, steps, cfg):
    x0 = torch.linspace(-0.9, 0.9, 4).reshape(1, 4, 1, 1).expand(1, 4, 12, 12)
    pictures = tiny_sampling.sample(PerfectModel(objective, x0), ["", ""], seed=1, steps=steps, cfg=cfg, size=12)
    wanted = ((x0[0, :3, 0, 0] + 1) * 127.5).round()
    assert pictures.shape == (2, 12, 12, 3) and (pictures.float() - wanted).abs().max() <= 2


def test_noised_latents_and_what_is_to_be_predicted_belong_together():
    x0, noise = torch.randn(2, 6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    x, timesteps, wanted, weight = train_tiny.noised_eps(x0, noise, torch.Generator().manual_seed(2))
    alpha = tiny_sampling.noise_table()[timesteps.long()].float()[:, None, None, None]
    assert torch.allclose((x - (1 - alpha).sqrt() * wanted) / alpha.sqrt(), x0, atol=1e-5)
    assert weight.min() > 0
    x, timesteps, wanted, weight = train_tiny.noised_v(x0, noise, torch.Generator().manual_seed(2))
    alpha = tiny_sampling.v_table()[timesteps.long()].float()[:, None, None, None]
    assert torch.allclose(alpha.sqrt() * x - (1 - alpha).sqrt() * wanted, x0, atol=1e-5) and weight.min() > 0
    x, timesteps, wanted, _ = train_tiny.noised_flow(x0, noise, torch.Generator().manual_seed(2))
    t = (timesteps / 1000)[:, None, None, None]
    assert (t > 0).all() and (t < 1).all() and torch.allclose(x - t * wanted, x0, atol=1e-6)


def fitted(steps, state, stop=None):
    """A line through noisy points, in several rounds if there are several ``steps``; ``stop`` interrupts it there."""
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 1)

    def loss(step):
        if step == stop:
            raise KeyboardInterrupt
        x = torch.randn(64, 1, generator=training.step_random(3, step))
        return (network(x) - (2 * x + 1)).square().mean()

    fit = training.fit if isinstance(steps, int) else training.fit_in_rounds
    return fit(network, loss, {"steps": steps, "rate": 0.05}, state)


def test_training_finds_the_line_and_goes_on_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 50)
    whole = fitted(300, tmp_path / "whole.state")
    assert abs(whole.weight.item() - 2) < 0.05 and abs(whole.bias.item() - 1) < 0.05
    with pytest.raises(KeyboardInterrupt):
        fitted(300, tmp_path / "parts.state", stop=170)
    again = fitted(300, tmp_path / "parts.state")
    assert torch.equal(again.weight, whole.weight) and torch.equal(again.bias, whole.bias)


@pytest.mark.parametrize("stop", [70, 170])
def test_rounds_go_on_from_each_other_and_after_an_interruption(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(training, "SAVE_EVERY", 50)
    first, both = fitted(100, tmp_path / "first.state"), fitted((100, 100), tmp_path / "both.state")
    assert torch.equal(fitted((100,), tmp_path / "one.state").weight, first.weight)
    assert not torch.equal(both.weight, first.weight)
    with pytest.raises(KeyboardInterrupt):
        fitted((100, 100), tmp_path / "parts.state", stop)
    assert torch.equal(fitted((100, 100), tmp_path / "parts.state").weight, both.weight)
