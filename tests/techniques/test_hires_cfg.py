"""CFG scale of the hires pass on A1111: as Forge does it itself, and only there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA, schema_for
from lib_sdfm.errors import SettingError
from lib_sdfm.schema.infotext import our_keys, parse_infotext, read_infotext
from lib_sdfm.schema.payload import resolve_job
from sdfm_webui.axes import ATTRIBUTE
from sdfm_webui.errors import SdfmError
from tests.hosts.jobs import job, new_forge, new_host, samples
from tests.schema import foreign_texts

HIRES = {"enable_hr": True, "cfg_scale": 7.0}
OF_FORGE = schema_for({"hr_cfg"}.__contains__)
TEXT = "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Denoising strength: 0.7, Hires upscale: 2"


def on_a1111(request: dict | None, scale: float, **settings: Any) -> Tensor:
    return samples(new_host(), {**(request or {}), "hires_cfg": {"scale": scale}}, **{**HIRES, **settings})


def on_forge(request: dict | None, scale: float, **settings: Any) -> Tensor:
    return samples(new_forge(OF_FORGE), request, hr_cfg=scale, **{**HIRES, **settings})


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "Heun", "DDIM"])
@pytest.mark.parametrize("scale", [1.0, 3.5, 12.0])
def test_it_is_forges(sampler: str, scale: float):
    ours, theirs = on_a1111(None, scale, sampler_name=sampler), on_forge(None, scale, sampler_name=sampler)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    "request_",
    [
        {"pag": {}},
        {"cfg_schedule": {"schedule": "Linear"}},
        {"cfg_schedule": {"high": 5.0}},
        {"dynamic_thresholding": {"mimic_scale": 2.0}},
        {"cfgpp": {}},
        {"recipe": "original", "pag": {}},
        {"recipe": "original", "cfg_schedule": {"schedule": "Cosine"}},
    ],
    ids=str,
)
def test_what_changes_the_scale_starts_from_it(request_: dict):
    ours, theirs = on_a1111(request_, 3.5), on_forge(request_, 3.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_ddim_cfgpp_divides_it_as_it_divides_cfg():
    ours = on_a1111(None, 3.0, cfg_scale=3.0, sampler_name="DDIM CFG++")
    other = on_a1111(None, 9.0, cfg_scale=3.0, sampler_name="DDIM CFG++")
    assert torch.equal(ours, samples(new_host(), None, **{**HIRES, "cfg_scale": 3.0}, sampler_name="DDIM CFG++"))
    assert other.abs().max() < 3 * ours.abs().max() and not other.allclose(ours, atol=1e-3)


@pytest.mark.parametrize(("scale", "settings"), [(0.0, {}), (7.0, {}), (3.0, {"enable_hr": False})], ids=str)
def test_the_same_scale_or_no_hires_pass_changes_nothing(scale: float, settings: dict):
    assert torch.equal(on_a1111(None, scale, **settings), samples(new_host(), None, **{**HIRES, **settings}))


def test_img2img_has_no_hires_pass():
    picture = {"init_latent": torch.zeros(1, 4, 8, 8), "enable_hr": False}
    assert torch.equal(on_a1111(None, 3.0, **picture), samples(new_host(), None, **{**HIRES, **picture}))


def test_only_the_hires_pass_changes_and_the_host_s_scale_is_never_set():
    host, assigned, inputs = new_host(), [], []

    class Watched(host.processing):
        def __setattr__(self, name: str, value: Any) -> None:
            assigned.append(name)
            super().__setattr__(name, value)

    host.processing = Watched
    host.on_cfg_denoiser.insert(0, lambda params: inputs.append(params.x.clone()))
    p = job(host, {"hires_cfg": {"scale": 2.0}}, **HIRES)
    assigned.clear()
    host.run(p)
    assert "cfg_scale" not in assigned and p.cfg_scale == 7.0
    changed = list(inputs)
    inputs.clear()
    host.run(job(host, None, **HIRES))
    assert [torch.equal(a, b) for a, b in zip(changed, inputs)][:4] == [True] * 4  # with the hires pass' first call
    assert not torch.equal(changed[-1], inputs[-1])


def test_at_scale_1_the_hires_pass_costs_half():
    host = new_host()
    samples(host, {"hires_cfg": {"scale": 1.0}}, **HIRES)
    assert host.sd_model.calls == [2, 2, 2, 1, 1]


class TestGenerationParameters:
    def written(self, request: dict, **settings: Any) -> dict:
        host = new_host()
        p = job(host, request, **{**HIRES, **settings})
        host.run(p)
        return p.extra_generation_params

    def test_forges_key_is_written(self):
        assert self.written({"hires_cfg": {"scale": 3.5}}) == {"Hires CFG Scale": "3.5", "SDFM": 1}

    @pytest.mark.parametrize(
        ("scale", "settings"), [(0.0, {}), (3.5, {"enable_hr": False}), (3.5, {"init_latent": torch.zeros(1, 4, 8, 8)})]
    )
    def test_not_where_it_can_have_no_effect(self, scale: float, settings: dict):
        assert self.written({"hires_cfg": {"scale": scale}}, **{"enable_hr": "init_latent" not in settings, **settings}) == {}

    def test_from_an_axis(self):
        host = new_host()
        p = job(host, **HIRES)
        setattr(p, ATTRIBUTE, {"hires_cfg.scale": 2.0})
        torch.testing.assert_close(host.run(p), on_a1111(None, 2.0))

    @pytest.mark.parametrize("format_", ["", ", SDFM: 1"], ids=["Forge", "SDFM"])
    def test_it_is_read_and_turns_nothing_else_on(self, format_: str):
        reading = read_infotext(SCHEMA, parse_infotext(f"{TEXT}, Hires CFG Scale: 5{format_}"))
        assert (reading.errors, reading.warnings) == ([], [])
        settings = SCHEMA.settings(reading.values)
        assert settings.recipe == "sdfm" and list(settings.techniques) == ["hires_cfg"]
        assert settings.techniques["hires_cfg"].scale == 5.0

    def test_beside_other_keys_of_forge(self):
        """The key alone is no sign of an old extension's picture."""
        reading = read_infotext(SCHEMA, parse_infotext(f"{TEXT}, {foreign_texts.FORGE_PAG}, Hires CFG Scale: 5"))
        assert reading.values["recipe"] == "sdfm" and reading.values["pag.enabled"] and reading.values["hires_cfg.enabled"]

    def test_a_bad_value_is_named(self):
        (error,) = read_infotext(SCHEMA, parse_infotext(f"{TEXT}, Hires CFG Scale: a lot")).errors
        assert "Hires CFG Scale" in error and "a lot" in error


class TestHostWithItsOwn:
    """Forge, Neo and reForge have the field ``hr_cfg``: everything about it is theirs."""

    def test_nothing_is_declared_read_or_taken_away(self):
        assert not [field for field in OF_FORGE.fields if field.id.startswith("hires_cfg")]
        assert "Hires CFG Scale" not in our_keys(OF_FORGE)
        reading = read_infotext(OF_FORGE, parse_infotext(f"{TEXT}, Hires CFG Scale: 5"), {"Hires CFG Scale"})
        assert (reading.errors, reading.warnings, OF_FORGE.settings(reading.values).techniques) == ([], [], {})

    def test_the_other_settings_keep_their_places(self):
        assert OF_FORGE.position_names == SCHEMA.position_names
        places = {name: place for place, name in enumerate(SCHEMA.position_names)}
        args = ["" if field is None else field.param.default for field in SCHEMA.positional]
        assert resolve_job(OF_FORGE, args).settings == OF_FORGE.settings(OF_FORGE.defaults())
        args[places["hires_cfg.enabled"]] = True
        with pytest.raises(SettingError, match="hires_cfg: True .* hr_cfg"):
            resolve_job(OF_FORGE, args)

    @pytest.mark.parametrize("asked", [{"scale": 3.0}, {}, True])
    def test_asking_for_it_names_the_host_s_field(self, asked: Any):
        with pytest.raises(SdfmError, match="hires_cfg: .* hr_cfg"):
            samples(new_forge(OF_FORGE), {"hires_cfg": asked}, **HIRES)
        assert resolve_job(OF_FORGE, [{"hires_cfg": False}]).settings.techniques == {}
