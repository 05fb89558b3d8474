"""CFG++ samplers among the host's own."""

from __future__ import annotations

import inspect
import types

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS
from lib_sdfm.planning.explain import explain_infotext, explain_payload
from lib_sdfm.schema.host_names import HostNames
from sdfm_webui.samplers import SamplerModules, names_of, register_samplers
from tests.webui.host import FakeSampler, FakeSamplers, SamplerData

NAMES = [
    "Euler CFG++", "Euler Ancestral CFG++", "DPM++ 2M CFG++", "DPM++ 2S Ancestral CFG++", "DPM++ SDE CFG++",
    "DPM++ 2M SDE CFG++", "DPM++ 3M SDE CFG++", "RES Multistep CFG++", "RES Multistep Ancestral CFG++",
    "Gradient Estimation CFG++",
]  # fmt: skip
SPELLINGS = {
    "Euler a CFG++": "Euler Ancestral CFG++", "DPM++ 2S a CFG++": "DPM++ 2S Ancestral CFG++",
    "RES multistep CFG++": "RES Multistep CFG++", "euler_ancestral_cfg_pp": "Euler Ancestral CFG++",
}  # fmt: skip


def modules() -> SamplerModules:
    kinds = types.SimpleNamespace(KDiffusionSampler=FakeSampler, CompVisSampler=FakeSampler)
    return SamplerModules(FakeSamplers(), types.SimpleNamespace(SamplerData=SamplerData), kinds, kinds, types.SimpleNamespace())


@pytest.fixture
def host() -> SamplerModules:
    made = modules()
    register_samplers(made, forge=False)
    return made


def names(host: SamplerModules) -> list[str]:
    return [entry.name for entry in host.samplers.all_samplers]


def test_reforges_names_stand_after_the_hosts(host: SamplerModules):
    assert names(host) == ["Euler", *NAMES]
    assert [named.name for named in NAMED_SAMPLERS] == NAMES


@pytest.mark.parametrize(("spelling", "name"), [*SPELLINGS.items(), *zip(NAMES, NAMES)])
def test_every_spelling_is_found_by_paste_api_and_axis(host: SamplerModules, spelling: str, name: str):
    assert host.samplers.get_sampler_and_scheduler(spelling, "Karras") == (name, "Karras")
    assert host.samplers.all_samplers_map[spelling].name == name
    assert host.samplers.samplers_map[spelling.lower()] == name


@pytest.mark.parametrize("alias", ["k_euler", "euler", "Euler Comfy"])
def test_the_hosts_own_samplers_answer_to_other_webuis_names(host: SamplerModules, alias: str):
    assert host.samplers.all_samplers_map[alias].name == "Euler" == host.samplers.samplers_map[alias.lower()]
    assert "Heun Comfy" not in host.samplers.all_samplers_map  # this host has no Heun


def test_once_more_adds_nothing_and_mends_the_table(host: SamplerModules):
    before, entries = names(host), list(host.samplers.all_samplers)
    host.samplers.all_samplers_map = {entry.name: entry for entry in host.samplers.all_samplers}  # Forge's add_sampler
    register_samplers(host, forge=False)
    assert names(host) == before
    assert all(old is new for old, new in zip(entries, host.samplers.all_samplers))
    assert set(SPELLINGS) <= set(host.samplers.all_samplers_map)


def test_what_the_host_has_stays_the_hosts():
    host = modules()
    own = SamplerData("Euler a CFG++", lambda model: "own", [], {})
    host.samplers.all_samplers.append(own)
    host.samplers.all_samplers_map[own.name] = own
    register_samplers(host, forge=True)
    table = host.samplers.all_samplers_map
    assert all(table[name] is own for name in ("Euler a CFG++", "Euler Ancestral CFG++", "euler_ancestral_cfg_pp"))
    assert host.samplers.get_sampler_and_scheduler("Euler Ancestral CFG++", "Karras")[0] == "Euler a CFG++"
    assert names(host)[:2] == ["Euler", "Euler a CFG++"] and "Euler Ancestral CFG++" not in names(host)


@pytest.mark.parametrize(("own", "said", "name"), [
    ("Euler Comfy", "Euler Comfy", "Euler Comfy"), ("Euler Comfy", "k_euler", "Euler"),
    ("Euler a CFG++", "Euler Ancestral CFG++", "Euler a CFG++"), ("Euler", "Euler a CFG++", "Euler Ancestral CFG++"),
])  # fmt: skip
def test_a_sampler_is_explained_by_its_name_in_the_hosts_list(own: str, said: str, name: str):
    """reForge has its own variants of some samplers, Forge Neo its own name of one."""
    host = modules()
    if own not in host.samplers.all_samplers_map:
        host.samplers.all_samplers.append(SamplerData(own, lambda model: "own", [], {}))
        host.samplers.all_samplers_map[own] = host.samplers.all_samplers[-1]
    register_samplers(host, forge=True)
    names = HostNames(names_of(host.samplers.all_samplers_map))
    text = f"a house\nSteps: 4, Sampler: {said}, CFG scale: 5, Seed: 1"
    assert explain_infotext(SCHEMA, text, host=names)["sampler"]["name"] == name
    assert explain_payload(SCHEMA, {"prompt": "a house", "sampler_name": said}, host=names)["sampler"]["name"] == name


def test_a_name_that_was_looked_up_before_is_looked_up_anew():
    host = modules()
    assert host.samplers.get_sampler_and_scheduler("Euler CFG++", "Karras")[0] == "Euler"
    register_samplers(host, forge=False)
    assert host.samplers.get_sampler_and_scheduler("Euler CFG++", "Karras")[0] == "Euler CFG++"


def test_only_forge_gets_a_ddim_cfgpp():
    host = modules()
    register_samplers(host, forge=True)
    assert names(host)[-1] == DDIM_CFGPP
    func = host.samplers.all_samplers[-1].constructor("model").func
    assert {"timesteps", "eta"} <= set(inspect.signature(func).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_the_host_learns_what_it_must_offer(host: SamplerModules, name: str):
    entry = host.samplers.all_samplers_map[name]
    sampler = entry.constructor("model")
    parameters = inspect.signature(sampler.func).parameters
    assert list(parameters)[:3] == ["model", "x", "sigmas"]
    noisy = "Ancestral" in name or "SDE" in name
    assert {"eta", "s_noise", "noise_sampler"} & set(parameters) == ({"eta", "s_noise", "noise_sampler"} if noisy else set())
    assert sampler.extra_params == (["s_noise"] if noisy else [])
    assert entry.options.get("brownian_noise", False) == ("SDE" in name)
    assert entry.options.get("second_order", False) == (name in ("DPM++ 2S Ancestral CFG++", "DPM++ SDE CFG++"))
    assert entry.options.get("uses_ensd", False) == ("Ancestral" in name)
