"""The panel while somebody types: numbers in the prompts that follow the refiner, and answers that come late."""

import re

import pytest

from .conftest import under
from .panel import MILLISECONDS

NUMBER, SLIDER = "#txt2img_switch_at input[type=number]", "#txt2img_switch_at input[type=range]"
PROMPT, NEGATIVE = "#txt2img_prompt textarea", "#txt2img_neg_prompt textarea"
LINE, OUR_LINE = "#sdfm_refiner_txt2img", "#script_txt2img_sdfm_refiner_line"
TITLE = "#script_txt2img_sdfm_panel > .label-wrap"
SLOWLY = 30
"""Milliseconds between two keys: gradio updates its values meanwhile."""
QUIET = 300
"""Milliseconds after which the panel asks about a change, and a little more."""
NOTE_FOCUS = """() => {
    const first = !window.left;
    window.left = [];
    if (first) document.addEventListener("focusout", (event) => window.left.push(event.target.id || event.target.type), true);
}"""
"""Starts a list of the controls that the focus leaves."""


class LateAnswer:
    """Holds back the answer to the first request that the page sends, until :meth:`arrive`; the others go on.

    :param requests: how many requests were sent
    """

    PATH = "**/run/predict*"

    def __init__(self, panel) -> None:
        self._panel, self._page, self._held, self.requests = panel, panel.page, None, 0
        self._page.route(self.PATH, self._handle)

    def _handle(self, route) -> None:
        self.requests += 1
        if self.requests > 1:
            route.continue_()
            return
        self._held = route, route.fetch()

    def wait(self) -> None:
        """Until there is an answer to be held back."""
        for _ in range(MILLISECONDS // 50):
            if self._held:
                return
            self._page.wait_for_timeout(50)
        raise AssertionError("no request was sent")

    def arrive(self) -> None:
        route, response = self._held
        route.fulfill(response=response)
        self._panel.settle()

    def end(self) -> None:
        self._page.unroute(self.PATH)


@pytest.fixture
def late(panel):
    """Makes a :class:`LateAnswer` once the page is quiet."""
    made = []

    def make() -> LateAnswer:
        panel.settle()
        made.append(LateAnswer(panel))
        return made[0]

    yield make
    for answer in made:
        answer.end()


class RefinerPanel:
    """The demo's page with a refiner that takes over at 0.8, and prompts that follow it."""

    PROMPTS = {PROMPT: "[red:blue:0.8] house, [x:y:0.3]", NEGATIVE: "[[a:b:.8]|c], [d:e:0.80]"}

    @pytest.fixture(scope="class")
    def refiner(self, panel):
        """The refiner switched on, once for all tests of a class."""
        page = panel.page
        panel.paste("Steps: 20, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128")
        panel.settle()
        page.click("#txt2img_enable > .label-wrap")
        page.fill("#txt2img_checkpoint input", "shapes-ink")
        page.keyboard.press("Enter")
        yield
        page.click("#txt2img_enable > .label-wrap")
        for box in self.PROMPTS:
            page.fill(box, "")

    @pytest.fixture
    def page(self, panel, refiner):
        page = panel.page
        for id, value in {"txt2img_steps": 20, "txt2img_switch_at": 0.8}.items():
            if page.input_value(f"#{id} input[type=number]") != str(value):
                for box in self.PROMPTS:
                    page.fill(box, "")
                panel.set_number(id, value)
        for box, text in self.PROMPTS.items():
            if page.input_value(box) != text:
                page.fill(box, text)
        panel.settle()
        self.line(page, "Model and prompt and negative prompt switch at step")
        return page

    def line(self, page, word: str) -> str:
        page.wait_for_function("([line, word]) => document.querySelector(line).innerText.includes(word)", arg=[LINE, word])
        return page.inner_text(LINE)

    def texts(self, page) -> dict:
        return {box: page.input_value(box) for box in self.PROMPTS}

    def following(self, number: str) -> dict:
        """The prompts with another number."""
        return {PROMPT: f"[red:blue:{number}] house, [x:y:0.3]", NEGATIVE: f"[[a:b:{number}]|c], [d:e:{number}]"}

    def wait_for(self, page, texts: dict) -> None:
        """Until the prompts are these; if they don't become so, the difference is told."""
        for _ in range(MILLISECONDS // 50):
            if self.texts(page) == texts:
                break
            page.wait_for_timeout(50)
        assert self.texts(page) == texts


class TestNumbersThatFollow(RefinerPanel):
    """Numbers that move with the refiner's "Switch at"."""

    def test_the_line_says_when_the_model_switches(self, page):
        said = self.line(page, "negative prompt switch at step")
        assert re.search(r"Model and prompt and negative prompt switch at step \d+ of 20 of the run \(sigma [\d.]+\)", said)

    def test_dragging_takes_equal_numbers_along_and_undo_gives_them_back(self, page):
        place = page.locator(SLIDER).bounding_box()
        page.mouse.move(place["x"] + 0.8 * place["width"], place["y"] + place["height"] / 2)
        page.mouse.down()
        for part in (0.7, 0.6, 0.5, 0.4):
            page.mouse.move(place["x"] + part * place["width"], place["y"] + place["height"] / 2)
            page.wait_for_timeout(50)
        page.mouse.up()
        value = page.input_value(SLIDER)
        assert abs(float(value) - 0.4) < 0.05
        self.wait_for(page, self.following(value))
        assert page.evaluate("document.activeElement.type") == "range"
        page.click(PROMPT)
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
        assert self.texts(page) == self.PROMPTS

    @under("gradio3")
    def test_places_are_counted_as_the_browser_counts_them(self, panel, page):
        page.fill(PROMPT, "\N{GRINNING FACE} [red:blue:0.8]")
        self.line(page, "negative prompt switch at step")
        panel.settle()
        panel.set_number("txt2img_switch_at", 0.5)
        self.wait_for(page, {**self.following("0.5"), PROMPT: "\N{GRINNING FACE} [red:blue:0.5]"})

    @pytest.mark.parametrize(("panel", "line"), [("gradio3", LINE), ("gradio4", OUR_LINE)], indirect=["panel"])
    def test_what_does_not_follow_is_shown_with_its_cure(self, panel, page, line):
        """In the WebUI's panel, and beside our settings."""
        page.fill(NEGATIVE, "[a:b:0.5] c")
        assert "“:0.5]” in the negative prompt does not follow" in self.line(page, "does not follow")
        panel.part("Refiner")
        assert page.inner_text(f"{line} .sdfm-follow") == "Change to 0.8"
        page.click(f"{line} .sdfm-follow")
        panel.part("Perturbed")
        assert page.input_value(NEGATIVE) == "[a:b:0.8] c"
        assert "negative prompt switch" in self.line(page, "negative prompt switch")

    @under("gradio3")
    def test_without_a_refiner_nothing_is_touched(self, panel, page):
        page.click("#txt2img_enable > .label-wrap")
        page.wait_for_function("(line) => !document.querySelector(line).innerText.trim()", arg=LINE)
        panel_number = page.locator(NUMBER)
        panel_number.evaluate("(input) => input.focus()")
        page.keyboard.press("ArrowDown")
        panel.settle()
        assert self.texts(page) == self.PROMPTS
        page.click("#txt2img_enable > .label-wrap")


class TestTyping(RefinerPanel):
    """Real keys, one by one."""

    def type_number(self, page, text: str) -> None:
        page.click(NUMBER, click_count=3)
        page.evaluate(NOTE_FOCUS)
        page.keyboard.type(text, delay=SLOWLY)

    def focus_left(self, page) -> list:
        return page.evaluate("window.left")

    def test_a_number_arrives_as_it_was_typed_and_undo_gives_the_old_one_back(self, page):
        self.type_number(page, "0.35")
        assert page.input_value(NUMBER) == "0.35"
        assert self.focus_left(page) == []
        page.keyboard.press("Tab")
        self.wait_for(page, self.following("0.35"))
        assert page.input_value(NUMBER) == page.input_value(SLIDER) == "0.35"
        assert "negative prompt switch at step" in self.line(page, "Model and prompt and negative prompt switch")
        page.click(PROMPT)
        for _ in self.PROMPTS:  # the browser has one list of changes for the whole page
            page.keyboard.press("Control+z")
        assert self.texts(page) == self.PROMPTS

    def test_the_prompts_have_no_half_numbers(self, panel, page):
        self.type_number(page, "0.35")
        panel.settle()
        assert self.texts(page) == self.PROMPTS
        page.keyboard.press("Enter")
        self.wait_for(page, self.following("0.35"))
        page.keyboard.press("Backspace")
        page.keyboard.type("7", delay=SLOWLY)
        assert page.input_value(NUMBER) == "0.37"
        assert self.focus_left(page) == []
        page.keyboard.press("Tab")
        self.wait_for(page, self.following("0.37"))

    def test_a_number_out_of_range_counts_as_what_gradio_makes_of_it(self, panel, page):
        before = self.PROMPTS
        for typed, becomes in (("7", "1.0"), ("0", "0.01"), ("1", "1.0")):
            self.type_number(page, typed)
            panel.settle()
            assert self.texts(page) == before
            page.keyboard.press("Tab")
            before = self.following(becomes)
            self.wait_for(page, before)

    def test_arrow_keys_in_the_number_box(self, page):
        page.click(NUMBER)
        page.evaluate(NOTE_FOCUS)
        for _ in range(3):
            page.keyboard.press("ArrowDown", delay=SLOWLY)
        self.wait_for(page, self.following("0.77"))
        assert self.focus_left(page) == []

    def test_arrow_keys_on_the_slider(self, page):
        page.locator(SLIDER).focus()
        page.evaluate(NOTE_FOCUS)
        for _ in range(12):
            page.keyboard.press("ArrowLeft", delay=5)
        self.wait_for(page, self.following("0.68"))
        for _ in range(3):
            page.keyboard.press("ArrowRight", delay=SLOWLY)
        self.wait_for(page, self.following("0.71"))
        assert self.focus_left(page) == [] and page.input_value(NUMBER) == "0.71"

    @under("gradio3")
    def test_the_prompt_is_typed_into_meanwhile(self, panel, page):
        page.click(PROMPT)
        page.keyboard.press("Home")
        page.keyboard.type("one, ", delay=SLOWLY)
        self.type_number(page, "0.5")
        page.click(PROMPT, position={"x": 5, "y": 12})
        page.keyboard.press("Home")
        page.keyboard.type("two, ", delay=SLOWLY)
        self.wait_for(page, {**self.following("0.5"), PROMPT: "two, one, [red:blue:0.5] house, [x:y:0.3]"})
        panel.settle()
        self.type_number(page, "0.6")
        page.click(PROMPT, position={"x": 5, "y": 12})
        page.keyboard.press("End")
        page.keyboard.type(", three", delay=SLOWLY)
        self.wait_for(page, {**self.following("0.6"), PROMPT: "two, one, [red:blue:0.6] house, [x:y:0.3], three"})

    @under("gradio4")
    def test_the_caret_of_the_prompt_stays_where_it_is(self, page):
        """Some browsers give buttons no focus, so that the prompt has it while a number is put into it."""
        page.fill(NEGATIVE, "[a:b:0.55] house")
        self.line(page, "does not follow")
        page.evaluate("(box) => document.querySelector(box).setSelectionRange(11, 16)", NEGATIVE)
        page.evaluate(NOTE_FOCUS)
        page.evaluate("() => document.addEventListener('mousedown', (event) => event.preventDefault(), { once: true })")
        page.click(f"{LINE} .sdfm-follow")
        assert page.input_value(NEGATIVE) == "[a:b:0.8] house" and self.focus_left(page) == []
        page.keyboard.type("cat")
        assert page.input_value(NEGATIVE) == "[a:b:0.8] cat"

    @under("gradio4")
    def test_a_script_that_moves_the_slider_takes_nothing_along(self, panel, page):
        page.evaluate(
            """(slider) => {
                const input = document.querySelector(slider);
                input.value = "0.25";
                input.dispatchEvent(new Event("input", { bubbles: true }));
                input.dispatchEvent(new Event("change", { bubbles: true }));
            }""",
            SLIDER,
        )
        panel.settle()
        assert self.texts(page) == self.PROMPTS

    @under("gradio3")
    def test_undo_in_a_box_gives_back_what_was_set_from_the_keyboard(self, page):
        """It was set without the focus: to the browser it happens once the box gets it, in one step."""
        self.type_number(page, "0.35")
        page.keyboard.press("Enter")
        self.wait_for(page, self.following("0.35"))
        page.keyboard.press("Backspace")
        page.keyboard.type("7")
        page.keyboard.press("Enter")
        self.wait_for(page, self.following("0.37"))
        for box in self.PROMPTS:
            page.click(box)
            assert page.input_value(box) == self.following("0.37")[box]
            page.keyboard.press("Control+z")
            assert page.input_value(box) == self.PROMPTS[box]
            page.keyboard.press("Control+Shift+z")
            assert page.input_value(box) == self.following("0.37")[box]

    @under("gradio4")
    def test_undo_goes_on_to_what_was_typed_before(self, panel, page):
        page.click(PROMPT)
        page.keyboard.press("Control+End")
        page.keyboard.type(" and more")
        panel.settle()
        self.type_number(page, "0.35")
        page.keyboard.press("Tab")
        self.wait_for(page, {**self.following("0.35"), PROMPT: self.following("0.35")[PROMPT] + " and more"})
        page.click(PROMPT)
        seen = []
        while len(seen) < 20 and self.PROMPTS[PROMPT] not in seen:
            page.keyboard.press("Control+z")
            seen.append(page.input_value(PROMPT))
        assert seen[:2].count(self.PROMPTS[PROMPT] + " and more") and seen[-1] == self.PROMPTS[PROMPT]

    def test_generate_takes_the_number_that_stands_there(self, panel, page):
        self.type_number(page, "0.5")
        text = panel.generate()
        assert "Refiner switch at: 0.5" in text
        assert "[red:blue:9]" in text, "the text has the step instead, as the prompt is to mean the same without a refiner"


class TestLateAnswers(RefinerPanel):
    """The answer to an earlier question arrives after that to a newer one would have."""

    @under("gradio4")
    def test_the_line_is_about_the_newest_values(self, panel, page, late):
        answer = late()
        panel.set_number("txt2img_steps", 30)
        answer.wait()
        panel.set_number("txt2img_switch_at", 0.5)
        page.wait_for_timeout(QUIET)
        panel.set_number("txt2img_steps", 40)
        page.wait_for_timeout(QUIET)
        answer.arrive()
        self.line(page, "of 40 of the run")
        self.wait_for(page, self.following("0.5"))
        assert page.inner_text(LINE).startswith("Model and prompt and negative prompt switch at step")

    @under("gradio3")
    def test_the_number_follows_while_the_line_is_late(self, panel, page, late):
        answer = late()
        panel.set_number("txt2img_switch_at", 0.5)
        answer.wait()
        self.wait_for(page, self.following("0.5"))
        panel.set_number("txt2img_switch_at", 0.25)
        self.wait_for(page, self.following("0.25"))
        answer.arrive()
        self.line(page, "Model and prompt and negative prompt switch")
        panel.set_number("txt2img_switch_at", 0.6)
        self.wait_for(page, self.following("0.6"))

    @under("gradio3")
    def test_the_number_follows_in_a_text_that_the_line_does_not_know_yet(self, panel, page, late):
        answer = late()
        page.click(PROMPT)
        page.keyboard.press("Home")
        page.keyboard.type("one, ")
        answer.wait()
        for number in ("0.5", "0.6"):
            panel.set_number("txt2img_switch_at", float(number))
            self.wait_for(page, {**self.following(number), PROMPT: "one, " + self.following(number)[PROMPT]})
        page.click(PROMPT)
        page.keyboard.press("End")
        page.keyboard.type(", two")
        panel.set_number("txt2img_switch_at", 0.7)
        self.wait_for(page, {**self.following("0.7"), PROMPT: "one, " + self.following("0.7")[PROMPT] + ", two"})
        answer.arrive()

    @under("gradio4")
    def test_a_failing_answer_does_not_end_the_line(self, panel, page):
        panel.settle()
        page.route(LateAnswer.PATH, lambda route: route.abort())
        panel.set_number("txt2img_steps", 30)
        panel.settle()
        page.unroute(LateAnswer.PATH)
        panel.set_number("txt2img_steps", 40)
        self.line(page, "of 40 of the run")


class TestLateAnswersInTheExtensionsPanel:
    """The same for the title, the presets and what one value implies for another."""

    @pytest.fixture
    def page(self, panel):
        panel.paste("Steps: 20, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 128x128")
        panel.settle()
        return panel.page

    def title(self, page, word: str) -> None:
        page.wait_for_function("([title, word]) => document.querySelector(title).innerText.includes(word)", arg=[TITLE, word])

    @under("gradio3")
    def test_the_title_is_about_the_newest_values(self, panel, page, late):
        page.click("#script_txt2img_sdfm_pag > .label-wrap")
        self.title(page, "PAG")
        answer = late()
        panel.set_number("script_txt2img_sdfm_pag_scale", 0)
        answer.wait()
        page.click("#script_txt2img_sdfm_seg > .label-wrap")
        page.wait_for_timeout(QUIET)
        answer.arrive()
        self.title(page, "SEG")

    def test_a_button_of_the_presets_waits_for_the_other(self, panel, page, late):
        answer = late()
        page.click("#script_txt2img_sdfm_preset input")
        page.keyboard.type("SEG")
        page.keyboard.press("Enter")
        answer.wait()
        page.click("#script_txt2img_sdfm_preset_reset")
        page.wait_for_timeout(QUIET)
        assert answer.requests == 1
        answer.arrive()
        # gradio 4 may take the values for the second before it shows the first one's: then nothing changed for it
        message = "#script_txt2img_sdfm_preset_message"
        page.wait_for_function("(id) => /SEG off|Nothing changed/.test(document.querySelector(id).innerText)", arg=message)
        panel.settle()
        assert "SEG" not in page.inner_text(TITLE)

    @under("gradio4")
    def test_the_buttons_of_the_model_kind_come_back(self, panel, page):
        panel.part("Model")
        page.click("#script_txt2img_sdfm_model_detect")
        page.wait_for_selector("#script_txt2img_sdfm_model_buttons:not([data-sdfm-due])")
        page.wait_for_function("() => document.querySelector('#script_txt2img_sdfm_model_message').innerText.trim() !== ''")
        shows = "() => document.querySelector('#script_txt2img_sdfm_model_line').innerText.includes('decided by the WebUI')"
        page.wait_for_function(shows)
        panel.part("Perturbed")

    def test_a_stage_makes_the_preset_of_freeu_a_custom_one_at_once(self, panel, page, late):
        panel.part("Details")
        page.click("#script_txt2img_sdfm_freeu > .label-wrap")
        page.click("#script_txt2img_sdfm_freeu_stage_1 > .label-wrap")
        answer = late()
        panel.set_number("script_txt2img_sdfm_freeu_stage1_backbone", 1.3)
        answer.wait()
        preset = "script_txt2img_sdfm_freeu_preset"
        assert panel.read([preset])[preset] == "Custom"
        answer.arrive()
        page.click("#script_txt2img_sdfm_freeu_stage_1 > .label-wrap")
        page.click("#script_txt2img_sdfm_freeu > .label-wrap")
        panel.part("Perturbed")
