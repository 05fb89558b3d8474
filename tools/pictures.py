"""Makes the documents' pictures: ``python -m tools.pictures`` (``make pictures``).

The strip of pairs is the demo's. The panel is the demo's too, or that of the WebUI at ``SDFM_WEBUI_URL``, dark and light, after
the same generation parameters were pasted.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.panel import FLAGS, ROOT, chromium, served

FOLDER = ROOT / "docs" / "pictures"
LARGEST = 150_000
"""Bytes of a picture, at most."""
SIZE = {"width": 1280, "height": 1400}
TEXT = (
    "a castle\nSteps: 20, Sampler: Euler, Schedule type: Karras, CFG scale: 5, Seed: 1, Size: 512x512, PAG Active: True, "
    "PAG Scale: 3, PAG End Step: 12, CFG Interval Enable: True, CFG Interval Schedule: Cosine, SDFM: 1"
)
PANEL = "#script_txt2img_sdfm_panel"
PLOT = ".sdfm-plot"
REST = 2500
"""Milliseconds in which the panel comes to rest after pasting."""


def save(picture: Image.Image, name: str) -> None:
    """Write a picture as WebP, as good as its size allows.

    :raises SystemExit: if it is too large at any quality
    """
    for quality in (90, 80, 65, 50):
        data = io.BytesIO()
        picture.convert("RGB").save(data, "webp", quality=quality, method=6)
        if data.tell() <= LARGEST:
            (FOLDER / f"{name}.webp").write_bytes(data.getvalue())
            print(f"{name}.webp: {picture.width}x{picture.height}, {data.tell() // 1000} kB, quality {quality}")
            return
    raise SystemExit(f"{name}: {picture.width}x{picture.height} is larger than {LARGEST} bytes at any quality")


def make_pairs(folder: Path) -> None:
    """Make the demo's pairs anew, and keep them."""
    environment = {**os.environ, "SDFM_DEMO_DATA": str(folder), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(ROOT / "demo" / "launch.py"), "--pictures", "--once"], env=environment, check=True)
    save(Image.open(folder / "outputs" / "pairs.png"), "before-after")


@contextmanager
def webui(folder: Path) -> Iterator[str]:
    """Give the address of the WebUI that is to be shown."""
    given = os.environ.get("SDFM_WEBUI_URL")
    if given:
        yield given
        return
    with served(sys.executable, folder) as address:
        yield address


def show_panel(page: Page, address: str, theme: str) -> None:
    """Open the panel with the settings of :data:`TEXT`."""
    page.goto(f"{address.rstrip('/')}/?__theme={theme}")
    page.wait_for_selector("#txt2img_prompt textarea")
    page.wait_for_selector(PANEL, state="attached")
    page.wait_for_timeout(REST)
    page.fill("#txt2img_prompt textarea", TEXT)
    page.keyboard.press("Tab")
    page.click("#txt2img_tools #paste, #txt2img_paste >> nth=0")
    page.wait_for_timeout(REST)
    page.click(f"{PANEL} > .label-wrap")
    page.mouse.move(0, 0)
    page.wait_for_timeout(REST)


def picture_of(page: Page, selector: str) -> Image.Image:
    """Return what an element looks like."""
    return Image.open(io.BytesIO(page.locator(selector).first.screenshot()))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pairs(folder)
        with webui(folder) as address, sync_playwright() as started:
            browser = started.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            for theme in ("dark", "light"):
                page = browser.new_page(viewport=SIZE)
                show_panel(page, address, theme)
                save(picture_of(page, PANEL), f"panel-{theme}")
                if theme == "light":
                    save(picture_of(page, PLOT), "plot")
            browser.close()


if __name__ == "__main__":
    main()
