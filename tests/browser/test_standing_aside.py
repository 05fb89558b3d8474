"""The page of a WebUI in which SDFM stands aside: it loads SDFM's script and styles too, and is what it is without them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .panel import FLAGS, MILLISECONDS, chromium, playwright, pythons, served

RECORD = """() => {
    window.begun = [];
    const nameOf = (target) => target === window ? "window" : target.nodeName + "#" + (target.id || "");
    for (const [owner, method, target] of [[EventTarget, "addEventListener", (own, given) => nameOf(own || window)],
                                           [MutationObserver, "observe", (own, given) => nameOf(given)]]) {
        const original = owner.prototype[method];
        owner.prototype[method] = function (given, ...more) {
            const at = target(this, given);
            if (/^(window|#document|HTML|BODY|GRADIO-APP)/.test(at)) window.begun.push(`${method} ${at} ${given}`);
            return original.call(this, given, ...more);
        };
    }
}"""
"""Counts what watches the page as a whole."""
LOOKS = """() => [...document.querySelectorAll("body, body *")].map((element) => {
    const style = getComputedStyle(element);
    const names = ["display", "position", "color", "background", "border", "margin", "padding", "font", "opacity", "width",
                   "height", "gap", "overflow", "grid-template-columns", "flex", "cursor", "box-shadow", "text-align"];
    return [element.nodeName, element.id, element.getAttribute("class"), ...names.map((name) => style.getPropertyValue(name))];
})"""
OURS = re.compile(r"<(script|style)>(?:(?!</\1>).)*?sdfm(?:(?!</\1>).)*?</\1>", re.DOTALL | re.IGNORECASE)


class Pages:
    """The demo's page with ``--sdfm-off``, loaded with SDFM's files and without them."""

    def __init__(self, browser, address: str) -> None:
        self._browser, self._address = browser, address

    def load(self, with_files: bool):
        page = self._browser.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.add_init_script(f"({RECORD})()")
        if not with_files:
            page.route(self._address, self._strip)
        page.goto(self._address)
        page.wait_for_selector("#txt2img_prompt textarea")
        page.wait_for_selector(".visible-switch", state="attached")
        page.wait_for_timeout(1500)  # longer than what SDFM's script waits for
        return page

    def _strip(self, route) -> None:
        response = route.fetch()
        body, found = OURS.subn("", response.text())
        assert found >= 3, "two scripts and the styles"
        route.fulfill(response=response, body=body)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    if chromium() is None:
        pytest.skip("chromium is not installed (apt-get install chromium): no browser tests")
    folder = tmp_path_factory.mktemp("aside")
    (folder / "data").mkdir()
    with served(pythons()["gradio3"], folder / "data", "--sdfm-off") as address, playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield Pages(browser, address)
        browser.close()


def test_the_page_is_what_it_is_without_sdfm(pages: Pages):
    ours, without = (pages.load(with_files) for with_files in (True, False))
    known = "() => typeof sdfmRequests"
    assert (ours.evaluate(known), without.evaluate(known)) == ("object", "undefined")
    assert ours.query_selector("[class*=sdfm], [id*=sdfm]") is None
    for page in (ours, without):
        page.click("#tabs button:has-text('img2img')")
        page.click("#tabs button:has-text('txt2img')")
        page.fill("#txt2img_prompt textarea", "[red:blue:0.5] house")
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)
    begun = [sorted(page.evaluate("() => window.begun")) for page in (ours, without)]
    assert begun[0] == begun[1]
    looks = [page.evaluate(LOOKS) for page in (ours, without)]
    assert [pair for pair in zip(*looks) if pair[0] != pair[1]] == [] and len(looks[0]) == len(looks[1]) > 100
    assert ours.errors == without.errors == []
