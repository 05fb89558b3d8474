"""Parts of each WebUI, made of stand-ins for its objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from lib_sdfm.hosts.run import Ways
from sdfm_webui import host_a1111, host_forge
from sdfm_webui.host_a1111 import a1111_parts
from sdfm_webui.host_forge import ForgeSampling, forge_parts
from sdfm_webui.host_parts import HostModules, HostParts
from sdfm_webui.host_reforge import reforge_parts

NOTED: list[str] = []


@contextmanager
def noted(name: str) -> Iterator[None]:
    NOTED.append(f"{name} begins")
    yield
    NOTED.append(f"{name} ends")


class Watch:
    def running(self) -> Any:
        return noted("watch")


def host(**opts: Any) -> HostModules:
    NOTED.clear()
    shared = SimpleNamespace(opts=SimpleNamespace(**opts), state=None)
    return HostModules(shared, lambda *args: None, noted("lock"), Watch(), Ways())


def in_main_thread(function: Callable[..., Any], *args: Any) -> Any:
    with noted("main thread"):
        return function(*args)


def sampling() -> ForgeSampling:
    return ForgeSampling(*[lambda *args: None] * 4, in_main_thread)


def a1111(modules: HostModules) -> HostParts:
    devices = SimpleNamespace(device="cpu", autocast=lambda: None)
    return a1111_parts(modules, SimpleNamespace(), devices, SimpleNamespace())


def forge(modules: HostModules) -> HostParts:
    return forge_parts(modules, sampling(), SimpleNamespace())


def reforge(modules: HostModules) -> HostParts:
    return reforge_parts(modules, sampling(), SimpleNamespace(), lambda entry: entry == "comfy")


@pytest.mark.parametrize("make", [a1111, forge, reforge])
def test_the_option_for_zero_terminal_snr_counts_everywhere_and_is_asked_each_time(make: Callable[..., HostParts]):
    modules = host()
    parts, plain = make(modules), SimpleNamespace()
    assert not parts.host_rescales(plain)
    modules.shared.opts.sd_noise_schedule = "Zero Terminal SNR"
    assert parts.host_rescales(plain)


def test_marked_checkpoints_count_where_the_webui_knows_the_mark():
    marked = SimpleNamespace(ztsnr=True, model_config=SimpleNamespace(ztsnr=True))
    assert [make(host()).host_rescales(marked) for make in (a1111, forge, reforge)] == [False, True, True]


@pytest.mark.parametrize(("make", "module"), [(a1111, host_a1111), (forge, host_forge), (reforge, host_forge)])
def test_detection_waits_for_the_queue(make: Callable[..., HostParts], module: Any, monkeypatch: pytest.MonkeyPatch):
    name = "ask_a1111" if module is host_a1111 else "ask_forge"
    monkeypatch.setattr(module, name, lambda *args: NOTED.append("asked") or "found")
    assert make(host()).probe(SimpleNamespace()) == "found"
    inside = ["asked"] if module is host_a1111 else ["main thread begins", "asked", "main thread ends"]
    assert ["lock begins", "watch begins", *inside, "watch ends", "lock ends"] == NOTED


def test_what_differs_besides():
    by_host = [make(host()) for make in (a1111, forge, reforge)]
    assert [parts.goes_by_calls for parts in by_host] == [False, True, True]
    assert [parts.blind_samplers for parts in by_host] == [("LCM",), (), ()]
    assert [parts.own_schedules("comfy") for parts in by_host] == [False, False, True]
    unet = object()
    model = SimpleNamespace(forge_objects=SimpleNamespace(unet=SimpleNamespace(model=unet)))
    assert [parts.target(model) for parts in by_host] == [model, unet, model]
