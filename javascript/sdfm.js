// Nothing here acts on a page without SDFM's panel: that of a WebUI in which the script stands aside.
const onSdfmLoaded = (start) => onUiLoaded(() => {
    if (gradioApp().querySelector(".sdfm-panel")) start();
});

// Requests that wait for each other, so that no answer overtakes a newer one: see sdfm_webui/events.py, which calls
// sdfmAsk and sdfmAnswered.
const sdfmRequests = (function () {
    const REST = 250; // milliseconds
    const resting = new Map(); // by id: the timer until its controls are at rest
    const due = new Map(); // by the id of a hidden button or of a row of buttons: whether to ask once more
    const element = (id) => gradioApp().querySelector(`#${CSS.escape(id)}`);

    function begin(id) {
        due.set(id, false);
        element(id).dataset.sdfmDue = "";
    }

    // Once the controls are at rest: not for every key.
    function ask(id) {
        document.dispatchEvent(new CustomEvent("sdfmchange"));
        clearTimeout(resting.get(id));
        resting.set(id, setTimeout(() => send(id), REST));
    }

    function send(id) {
        resting.delete(id);
        if (due.has(id)) {
            due.set(id, true);
        } else if (element(id)) {
            begin(id);
            element(id).click();
        }
    }

    function answered(id) {
        const again = due.get(id);
        due.delete(id);
        if (element(id)) delete element(id).dataset.sdfmDue;
        if (again) send(id);
    }

    let pressed = ""; // id of the button that was clicked last

    function onClick(event) {
        const button = event.target.closest && event.target.closest("button");
        if (button && !button.matches(".sdfm-ask")) pressed = button.id;
        const row = button && button.closest(".sdfm-one-at-a-time");
        if (!row) return;
        if (due.has(row.id)) {
            event.stopImmediatePropagation();
            event.preventDefault();
        } else {
            begin(row.id);
        }
    }

    onSdfmLoaded(function () {
        gradioApp().addEventListener("click", onClick, true);
    });
    const isDue = (id) => due.has(id) || resting.has(id);
    return { ask, answered, isDue, isQuiet: () => due.size + resting.size === 0, pressed: () => pressed };
})();
const sdfmAsk = sdfmRequests.ask;
const sdfmAnswered = sdfmRequests.answered;
const sdfmPressed = sdfmRequests.pressed;

function sdfmPress(id) {
    const button = gradioApp().querySelector(`#${CSS.escape(id)}`);
    if (button) button.click();
}

// Numbers in the prompt boxes are set as if typed, so that the browser's undo takes them back. The browser types only where
// the focus is: it goes to the box and back, but never away from a control that somebody types into. Then the text is set
// plainly, and typed once more as soon as the box gets the focus.
const sdfmTyping = (function () {
    const TEXT = "textarea, select, [contenteditable], input:not([type=range], [type=checkbox], [type=radio], [type=button])";
    const plain = new WeakMap(); // by box: its text before and after it was set plainly
    let lastKeyAt = null; // the control that got the last key

    const isTypedInto = (control) => Boolean(control) && (control.matches(TEXT) || control === lastKeyAt);

    function insert(textarea, start, end, piece) {
        textarea.setSelectionRange(start, end);
        if (document.execCommand("insertText", false, piece)) return;
        textarea.setRangeText(piece);
        textarea.dispatchEvent(new Event("input", { bubbles: true }));
    }

    function insertPlainly(textarea, start, end, piece) {
        const earlier = plain.get(textarea);
        const before = earlier && earlier.after === textarea.value ? earlier.before : textarea.value;
        textarea.setRangeText(piece, start, end, "preserve");
        plain.set(textarea, { before, after: textarea.value });
        textarea.dispatchEvent(new Event("input", { bubbles: true }));
    }

    // How many characters two texts begin with, and how many more they end with, in common.
    function common(before, after) {
        const shorter = Math.min(before.length, after.length);
        let start = 0;
        while (start < shorter && before[start] === after[start]) start++;
        let rest = 0;
        while (rest < shorter - start && before.at(-1 - rest) === after.at(-1 - rest)) rest++;
        return { start, rest };
    }

    function typeOnceMore(textarea) {
        const { before, after } = plain.get(textarea) || {};
        plain.delete(textarea);
        if (after === undefined || textarea.value !== after || before === after) return;
        let { start, rest } = common(before, after);
        if (start > 0 && start + rest === after.length) start--; // browsers differ in typing nothing
        const caret = [textarea.selectionStart, textarea.selectionEnd, textarea.selectionDirection];
        textarea.setRangeText(before.slice(start, before.length - rest), start, after.length - rest);
        insert(textarea, start, before.length - rest, after.slice(start, after.length - rest));
        textarea.setSelectionRange(...caret);
    }

    // Replaces each [place, text] of a box by a number, in one piece from the first to the last; returns the new places.
    function replace(textarea, places, number) {
        const text = textarea.value;
        const [start] = places[0];
        const [last, old] = places[places.length - 1];
        const end = last + old.length;
        let piece = "";
        let done = start;
        const moved = [];
        for (const [place, was] of places) {
            piece += text.slice(done, place);
            moved.push([start + piece.length, number]);
            piece += number;
            done = place + was.length;
        }
        const active = document.activeElement;
        if (active !== textarea && isTypedInto(active)) {
            insertPlainly(textarea, start, end, piece);
            return moved;
        }
        textarea.focus({ preventScroll: true });
        const passed = (caret) => places.filter(([place, was]) => place + was.length <= caret);
        const after = (caret) => passed(caret).reduce((at, [, was]) => at + number.length - was.length, caret);
        const caret = [after(textarea.selectionStart), after(textarea.selectionEnd), textarea.selectionDirection];
        insert(textarea, start, end, piece);
        textarea.setSelectionRange(...caret);
        if (active === textarea) return moved;
        if (active && active !== document.body) active.focus({ preventScroll: true });
        else textarea.blur();
        return moved;
    }

    onSdfmLoaded(function () {
        gradioApp().addEventListener("focusin", (event) => typeOnceMore(event.target), true);
        gradioApp().addEventListener("keydown", (event) => { lastKeyAt = event.target; }, true);
        gradioApp().addEventListener("pointerdown", () => { lastKeyAt = null; }, true);
    });
    // Where [place, text] of an older text of a box are in its text now, if one piece of it was replaced meanwhile.
    function moved(textarea, before, places) {
        const { start, rest } = common(before, textarea.value);
        const longer = textarea.value.length - before.length;
        const kept = places.filter(([place, was]) => place + was.length <= start || place >= before.length - rest);
        return kept.map(([place, was]) => [place < start ? place : place + longer, was]);
    }

    return { replace, moved };
})();

// Numbers in the prompt boxes follow the refiner's "Switch at", once somebody has set it: while a number is typed it is half
// a number.
(function () {
    const TABS = ["txt2img", "img2img"];
    const BOXES = { prompt: "prompt", negative: "neg_prompt" };
    const moving = {}; // by tab: the marks that go along with the number that is being set
    const known = {}; // by tab: what the line said when its number was last set, and the marks since then

    // Marks are places by box, and the boxes' texts that they are places of: the line may be older than the texts.
    const box = (tab, name) => gradioApp().querySelector(`#${tab}_${BOXES[name]} textarea`);
    const stand = (textarea, places) => places.every(([place, was]) => textarea.value.slice(place, place + was.length) === was);
    const switchAt = (tab) => gradioApp().querySelector(`#${tab}_switch_at input`);

    function tabOf(target, id) {
        return target.closest && TABS.find((tab) => target.closest(`#${id(tab)}`));
    }

    function said(tab) {
        const line = gradioApp().querySelector(`#sdfm_refiner_${tab} [data-sdfm-edits]`);
        return line ? line.dataset.sdfmEdits : "";
    }

    // Each box that has places, with these in its text of now.
    function* now(tab, { texts, places }) {
        for (const [name, found] of Object.entries(places)) {
            const textarea = box(tab, name);
            if (textarea) yield [name, textarea, sdfmTyping.moved(textarea, texts[name], found)];
        }
    }

    function fits(tab, marks) {
        const boxes = [...now(tab, marks)];
        return boxes.length > 0 && boxes.every(([, textarea, places]) => places.length > 0 && stand(textarea, places));
    }

    // The places that have the refiner's number now. The line may be older than the controls, or about half a number.
    function following(tab) {
        const text = said(tab);
        const { texts, following: places } = text ? JSON.parse(text) : { texts: {}, following: {} };
        const { said: earlier, marks } = known[tab] || {};
        if (!marks || (!sdfmRequests.isDue(`sdfm_refiner_${tab}_ask`) && earlier !== text)) return { texts, places };
        return fits(tab, { texts, places }) ? { texts, places } : marks;
    }

    function replace(tab, marks, number) {
        const moved = { texts: {}, places: {} };
        for (const [name, textarea, places] of now(tab, marks)) {
            const isNew = places.length > 0 && stand(textarea, places) && places.some(([, was]) => was !== number);
            moved.places[name] = isNew ? sdfmTyping.replace(textarea, places, number) : places;
            moved.texts[name] = textarea.value;
        }
        return moved;
    }

    function settle(tab, input) {
        const { badInput, rangeUnderflow, rangeOverflow } = input.validity;
        if (!moving[tab] || input.value === "" || badInput || rangeUnderflow || rangeOverflow) return;
        const number = String(Number(input.value));
        const marks = replace(tab, moving[tab], number.includes(".") ? number : `${number}.0`);
        known[tab] = { said: said(tab), marks };
        delete moving[tab];
    }

    function onInput(event) {
        const tab = tabOf(event.target, (name) => `${name}_switch_at`);
        const isUndo = String(event.inputType).startsWith("history") && event.target !== document.activeElement;
        if (tab && event.isTrusted && !isUndo && !moving[tab]) moving[tab] = following(tab);
    }

    // Once gradio has put a number that is left out of range into it, and the focus is where it goes.
    function onSet(event) {
        const tab = tabOf(event.target, (name) => `${name}_switch_at`);
        if (tab && moving[tab]) setTimeout(() => settle(tab, event.target));
    }

    function onClick(event) {
        const generating = tabOf(event.target, (name) => `${name}_generate`);
        if (generating && moving[generating]) settle(generating, switchAt(generating));
        const button = event.target.closest && event.target.closest(".sdfm-follow");
        const tab = button && TABS.find((name) => button.closest(`#sdfm_refiner_${name}, #script_${name}_sdfm_refiner_line`));
        if (!tab || !said(tab)) return;
        const { texts, fixes, new: number } = JSON.parse(said(tab));
        replace(tab, { texts, places: fixes }, number);
    }

    onSdfmLoaded(function () {
        gradioApp().addEventListener("input", onInput, true);
        gradioApp().addEventListener("change", onSet, true);
        gradioApp().addEventListener("focusout", onSet, true);
        gradioApp().addEventListener("click", onClick, true);
    });
})();

// The panel says what counts for the loaded checkpoint, and draws the run: once gradio answers to buttons, and whenever the WebUI
// tells the page that another checkpoint is loaded.
(function () {
    let loaded = null;

    function ask() {
        for (const tab of ["txt2img", "img2img"]) {
            for (const what of ["model", "header"]) sdfmAsk(`script_${tab}_sdfm_${what}_ask`);
        }
    }

    function onOptions() {
        if (opts.sd_checkpoint_hash === loaded) return;
        loaded = opts.sd_checkpoint_hash;
        ask();
    }

    onSdfmLoaded(function () {
        setTimeout(ask, 500);
        if (typeof onOptionsChanged === "function") onOptionsChanged(onOptions);
    });
})();

// The list of presets gets the names of now once gradio answers to buttons: the page's own are those of the server's start.
onSdfmLoaded(() => setTimeout(function () {
    for (const tab of ["txt2img", "img2img"]) sdfmPress(`script_${tab}_sdfm_presets_names`);
}, 500));
