"""A browser on the panel, the demo's or that of a real WebUI: starts it, reads and sets controls."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
MILLISECONDS = 20_000
"""How long a test waits for what the page shall show."""
LOADING = 5 * MILLISECONDS
"""How long it waits for the page itself: a real WebUI's is large."""
PAINT = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"
"""Waits until the page has done what was due."""
SWITCH = ".visible-switch, [id$=-visible-checkbox]"
"""The mark in an accordion that is a switch: the demo's and the WebUIs'."""
STILL = """() => document.addEventListener("DOMContentLoaded", () => {
    const style = document.createElement("style");
    style.textContent = "*, *::before, *::after { animation: none !important; transition: none !important; }";
    document.head.append(style);
})"""
"""Nothing moves: without a GPU a spinner takes half of a processor."""
READ = """(ids) => Object.fromEntries(ids.map((id) => {
    const block = document.getElementById(id);
    if (!block) { return [id, null]; }
    const checked = block.querySelector('input[type=radio]:checked');
    const box = block.querySelector('input[type=checkbox]');
    const field = block.querySelector('input[type=number], textarea, input:not([type=radio])');
    if (block.querySelector('input[type=radio]')) { return [id, checked ? checked.value : null]; }
    return [id, box ? box.checked : field ? field.value : null];
}))"""
"""Values of controls by the ids of their blocks, in gradio 3 and 4."""


def chromium() -> str | None:
    """Path of Debian's chromium, the smaller one without windows first: it takes less time for the same page."""
    return next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "/usr/bin/chromium"))), None)


def pythons() -> dict[str, str]:
    """Interpreters that have a gradio: this one, and that of ``make test``'s second environment where it was made."""
    found = {"gradio3": sys.executable}
    other = ROOT / ".venv-gradio4" / "bin" / "python"
    if other.exists() and (other.parent.parent / "ready").exists():
        found["gradio4"] = str(other)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(python: str, data: Path, *arguments: str):
    """The demo in a process of its own; gives its address."""
    port = _free_port()
    command = [python, str(ROOT / "demo" / "launch.py"), "--port", str(port), *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SDFM_DEMO_")}  # of a host in this process
    environment = {**own, "SDFM_DEMO_DATA": str(data), "OMP_NUM_THREADS": "1"}
    with open(data / "server.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/", process, data / "server.log")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(3000):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the demo does not start:\n{log.read_text()[-3000:]}")


@contextmanager
def opened(python: str, folder: Path):
    """The demo under one gradio, and a page of it with the extension's accordion open, as :class:`Panel`."""
    (folder / "data").mkdir()
    with served(python, folder / "data") as address, shown(address, folder) as panel:
        yield panel
        assert panel.errors == []


_RUNNING: list = []
"""This process's Playwright."""


@contextmanager
def playwright():
    """Playwright, the one that runs already if there is one: a process can't have two."""
    from playwright import sync_api

    if _RUNNING:
        yield _RUNNING[0]
        return
    _know_callers()
    with sync_api.sync_playwright() as started:
        _RUNNING.append(started)
        try:
            yield started
        finally:
            _RUNNING.clear()


def _know_callers() -> None:
    """Note that pytest-xdist's frames belong to no module, else Python searches all modules whenever Playwright asks."""
    for frame, _ in traceback.walk_stack(None):
        if inspect.getmodule(frame) is None:
            inspect.modulesbyfile[frame.f_code.co_filename] = ""


@contextmanager
def shown(address: str, folder: Path):
    """The page at an address with the extension's accordion open, as :class:`Panel`."""
    with playwright() as started:
        browser = started.chromium.launch_persistent_context(
            str(folder / "profile"), executable_path=chromium(), args=list(FLAGS), viewport={"width": 1280, "height": 1000}
        )
        page = browser.new_page()
        page.set_default_timeout(MILLISECONDS)
        panel = Panel(page, address)
        panel.open(panel.control_id("panel"))
        yield panel
        browser.close()


class Panel:
    """The page, one tab of it at a time."""

    def __init__(self, page, address: str) -> None:
        self.page, self.tab = page, "txt2img"
        self.errors: list[str] = []
        self._open: set = set()  # requests whose answers are due
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._open.add(request) if "/run/predict" in request.url else None)
        for ended in ("requestfinished", "requestfailed"):
            page.on(ended, lambda request: self._open.discard(request))
        page.on("framenavigated", lambda frame: self._open.clear())  # Forge Neo's page loads itself again, dark
        page.add_init_script(f"({STILL})()")
        page.goto(address, timeout=LOADING)
        page.wait_for_selector("#txt2img_prompt textarea", timeout=LOADING)
        page.wait_for_selector(SWITCH, state="attached", timeout=LOADING)
        self.settle()

    def settle(self) -> None:
        """Waits until nothing is asked of the server any more, nor is about to be."""
        for _ in range(MILLISECONDS // 20):
            self.page.evaluate(PAINT)
            if not self._open and self.page.evaluate("() => sdfmRequests.isQuiet()"):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("the page does not come to rest")

    def part(self, name: str) -> None:
        """Shows one part of the extension's panel."""
        self.page.click(f"#{self.control_id('parts')} > .tab-nav > button:has-text('{name}')")

    def control_id(self, name: str) -> str:
        """Of one of the extension's controls."""
        return f"script_{self.tab}_sdfm_{name.replace('.', '_')}"

    def read(self, ids) -> dict:
        return self.page.evaluate(READ, list(ids))

    def open(self, id: str) -> None:
        self.page.click(f"#{id} > .label-wrap")
        self.settle()

    def set_number(self, id: str, value: float) -> None:
        self.page.fill(f"#{id} input[type=number]", str(value))
        self.page.keyboard.press("Tab")

    def paste(self, text: str) -> None:
        """Puts a text into the prompt box and presses the button; done when only the prompt is left in the box."""
        box = f"#{self.tab}_prompt textarea"
        self.page.fill(box, text)
        self.page.keyboard.press("Tab")
        self.page.click(f"#{self.tab}_paste, #{self.tab}_tools #paste")
        self.page.wait_for_function("([box, text]) => document.querySelector(box).value !== text", arg=[box, text])

    def generate(self) -> str:
        """Presses the button and waits; returns what stands under the picture, or the error."""
        log = f"#html_log_{self.tab}"
        ended = f"{log} .time:not([data-old]), {log} .error:not([data-old])"
        self.page.evaluate("(ended) => document.querySelectorAll(ended).forEach((e) => { e.dataset.old = 'yes'; })", ended)
        self.page.click(f"#{self.tab}_generate")
        self.page.wait_for_selector(ended, timeout=60000)
        return self.page.inner_text(f"#html_info_{self.tab}") + self.page.inner_text(log)

    def show(self, tab: str) -> None:
        self.page.click(f"#tabs button:has-text('{tab}')")
        self.tab = tab
