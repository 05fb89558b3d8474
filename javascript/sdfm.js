// Help texts become tooltips where a pointer can hover, so that the panel stays compact. gradio has no tooltips.
(function () {
    // the help stands behind a control's label; a checkbox has it in front of itself
    const BEHIND_LABEL = ".has-info + div";
    const CHECKBOX = "input[type=checkbox]";

    function hide(help) {
        help.closest(".block").title = help.textContent.trim();
        help.classList.add("sdfm-help");
    }

    function helpToTooltips(panel) {
        panel.querySelectorAll(BEHIND_LABEL).forEach(hide);
        for (const checkbox of panel.querySelectorAll(CHECKBOX)) {
            const label = checkbox.closest(".block > label");
            const help = label && label.previousElementSibling;
            if (help && !help.classList.contains("wrap")) hide(help);
        }
    }

    onUiLoaded(function () {
        gradioApp().querySelectorAll(".sdfm-panel").forEach(helpToTooltips);
    });
})();

// Numbers in the prompt boxes follow the refiner's slider. Texts are set as if typed, so that the browser's undo takes it back.
(function () {
    const TABS = ["txt2img", "img2img"];
    const BOXES = { prompt: "prompt", negative: "neg_prompt" };
    const known = {}; // by tab: what the line said last, and where its edits are by now

    const box = (tab, name) => gradioApp().querySelector(`#${tab}_${BOXES[name]} textarea`);

    function edits(tab) {
        const line = gradioApp().querySelector(`#sdfm_refiner_${tab} [data-sdfm-edits]`);
        if (!line) return null;
        const said = line.dataset.sdfmEdits;
        if (!known[tab] || known[tab].said !== said) known[tab] = { said, ...JSON.parse(said) };
        return known[tab];
    }

    // one piece of typing per box: from the first number to the last
    function type(textarea, places, number) {
        const text = textarea.value;
        const [start] = places[0];
        const [last, old] = places[places.length - 1];
        let piece = "";
        let done = start;
        const moved = [];
        for (const [place, was] of places) {
            piece += text.slice(done, place);
            moved.push([start + piece.length, number]);
            piece += number;
            done = place + was.length;
        }
        textarea.focus({ preventScroll: true });
        textarea.setSelectionRange(start, last + old.length);
        if (!document.execCommand("insertText", false, piece)) {
            textarea.setRangeText(piece);
            textarea.dispatchEvent(new Event("input", { bubbles: true }));
        }
        return moved;
    }

    function follow(tab, all, number) {
        const active = document.activeElement;
        for (const [name, places] of Object.entries(all)) {
            const textarea = box(tab, name);
            // the line may be older than the text: only what stands where it says is touched
            const there = places.filter(([place, was]) => textarea && textarea.value.slice(place, place + was.length) === was);
            if (there.length === places.length && there.some(([, was]) => was !== number)) {
                all[name] = type(textarea, places, number);
            }
        }
        if (active && active !== document.activeElement) active.focus({ preventScroll: true });
    }

    const share = (value) => (value.includes(".") ? value : `${value}.0`);

    function onSlider(event) {
        const slider = event.target.closest && event.target.closest(TABS.map((tab) => `#${tab}_switch_at`).join());
        const value = Number(event.target.value);
        if (!slider || !event.isTrusted || !(value >= 0 && value <= 1) || event.target.value === "") return;
        const tab = slider.id.slice(0, -"_switch_at".length);
        const said = edits(tab);
        if (said) follow(tab, said.following, share(String(value)));
    }

    function onClick(event) {
        const button = event.target.closest && event.target.closest(".sdfm-follow");
        const tab = button && TABS.find((name) => button.closest(`#sdfm_refiner_${name}`));
        const said = tab && edits(tab);
        if (said) follow(tab, said.fixes, said.new);
    }

    onUiLoaded(function () {
        gradioApp().addEventListener("input", onSlider, true);
        gradioApp().addEventListener("click", onClick, true);
    });
})();
