// The panel's looks: short labels, help behind a mark, the switch in the title, marks on what is on. gradio has none of these.

// Short labels: gradio's are unique, since the WebUI keeps the controls' defaults by them.
const sdfmPanel = (function () {
    const PANEL = ".sdfm-panel";
    let touched = null; // the control that the user touched last
    const TITLES = "[data-testid=block-info]";
    const CHECKBOX = "input[type=checkbox]";

    const titleOf = (block) => block.querySelector(TITLES) || block.querySelector(":scope > label > span");
    const byId = (id) => gradioApp().querySelector(`#${CSS.escape(id)}`);
    const data = (element, name) => JSON.parse(element.dataset[name]);

    function setText(element, text) {
        const node = [...element.childNodes].find((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
        if (node) node.data = text;
    }

    function shortened(text, prefixes) {
        let short = text.replace(", hires pass", "");
        for (const prefix of prefixes) {
            const rest = short.startsWith(prefix) ? short.slice(prefix.length).replace(/^[:\s]+/, "") : "";
            if (rest && !/^\w/.test(short.charAt(prefix.length))) short = rest;
        }
        return short.charAt(0).toUpperCase() + short.slice(1);
    }

    // The paragraph about a technique stands in its accordion, before its controls.
    function shortenLabels(summary) {
        const own = data(summary, "sdfmPrefixes");
        const fold = foldOf(summary);
        fold.querySelectorAll(`${TITLES}, .block > label > span`).forEach((title) => {
            const group = title.closest(".sdfm-group:not(.sdfm-hires)");
            const name = group ? group.querySelector(".label-wrap > span").textContent.trim().toLowerCase() : "";
            const prefixes = name ? [...own, name] : own;
            if (!title.closest(".sdfm-plain > .form > :first-child")) setText(title, shortened(title.textContent.trim(), prefixes));
        });
    }

    function foldOf(summary) {
        return summary.closest(".input-accordion, .sdfm-plain");
    }

    function showNames(holder) {
        for (const [id, [label, values]] of Object.entries(data(holder, "sdfmShown"))) {
            const block = byId(id);
            if (!block) continue;
            setText(titleOf(block), label);
            block.querySelectorAll("input[type=radio]").forEach((input) => setText(input.nextElementSibling, values[input.value]));
        }
    }

    // gradio puts a help text behind a label, or before a checkbox.
    function helpOf(block) {
        const title = block.querySelector(".has-info");
        if (title) return title.nextElementSibling;
        const label = block.querySelector(":scope > label");
        const before = label && block.querySelector(CHECKBOX) && label.previousElementSibling;
        return before && !before.classList.contains("wrap") ? before : null;
    }

    function markHelp(block) {
        const help = helpOf(block);
        const title = titleOf(block);
        if (!help || !title) return;
        help.classList.add("sdfm-help");
        const mark = document.createElement("button");
        mark.type = "button";
        mark.className = "sdfm-info";
        mark.title = help.textContent.trim();
        mark.setAttribute("aria-label", "Help");
        mark.setAttribute("aria-expanded", "false");
        title.append(mark);
    }

    function toggleHelp(mark) {
        const help = helpOf(mark.closest(".block"));
        mark.setAttribute("aria-expanded", String(help.classList.toggle("sdfm-open")));
    }

    // The switch for all guidance stands in the title, as those of techniques do in theirs.
    function addMaster(panel) {
        const input = panel.querySelector(`.sdfm-master ${CHECKBOX}`);
        const header = panel.querySelector(":scope > .label-wrap");
        if (!input || !header) return;
        const master = document.createElement("input");
        master.type = "checkbox";
        master.checked = input.checked;
        master.className = `${input.className} sdfm-switch`;
        master.title = "Turn all guidance off or on; settings are kept";
        master.addEventListener("click", (event) => {
            event.stopPropagation();
            if (input.checked !== master.checked) input.click();
        });
        header.insertBefore(master, header.firstChild);
    }

    // What is on is seen on the tabs, and which of the suggested values a text has.
    function showState(panel) {
        const master = panel.querySelector(".sdfm-switch");
        if (master) {
            master.checked = panel.querySelector(`.sdfm-master ${CHECKBOX}`).checked;
            panel.classList.toggle("sdfm-off", !master.checked);
        }
        const tabs = panel.querySelectorAll("[id*=_sdfm_parts] > .tab-nav > button");
        const parts = panel.querySelectorAll("[id*=_sdfm_parts] > .tabitem");
        parts.forEach((part, i) => {
            const on = [...part.querySelectorAll(".input-accordion")].filter(isOn).length;
            if (tabs[i] && tabs[i].dataset.sdfmOn !== String(on || "")) tabs[i].dataset.sdfmOn = on || "";
        });
        panel.querySelectorAll(".sdfm-chips").forEach((chips) => {
            const box = byId(chips.dataset.sdfmFor);
            const value = box ? box.querySelector("textarea, input").value.trim() : "";
            chips.querySelectorAll("button").forEach((button) => button.classList.toggle("sdfm-chosen", button.value === value));
        });
        disable(panel);
    }

    // What the old extensions lack is disabled while they are imitated.
    function disable(panel) {
        const recipe = panel.querySelector("[id$=_sdfm_recipe] input:checked");
        const isOld = Boolean(recipe && recipe.value === "original");
        const folds = [...panel.querySelectorAll("[data-sdfm-ours]")].map(foldOf);
        for (const element of [...panel.querySelectorAll(".sdfm-ours"), ...folds]) {
            element.inert = isOld;
            element.classList.toggle("sdfm-disabled", isOld);
        }
    }

    function isOn(accordion) {
        const input = byId(`${accordion.id}-checkbox`);
        return Boolean(input && input.querySelector("input").checked);
    }

    function choose(chip) {
        const field = byId(chip.parentElement.dataset.sdfmFor).querySelector("textarea, input");
        field.value = chip.value;
        field.dispatchEvent(new Event("input", { bubbles: true }));
    }

    // The first value of a technique that has no effect by its defaults, once somebody switches it on.
    function firstValue(event) {
        const header = event.target.closest(".label-wrap");
        const accordion = header && header.parentElement.closest(".input-accordion");
        const button = accordion && header.parentElement === accordion && byId(`${accordion.id}_first`);
        if (button) setTimeout(() => isOn(accordion) && button.click(), 50);
    }

    // The values of all techniques' switches for the hires pass, with that of the technique that was touched last on.
    function hires(folds, values) {
        const fold = touched && touched.closest(".sdfm-hires") && foldOf(touched);
        return folds.map((id, i) => values[i] || Boolean(fold && id === fold.id)); // gradio adds the outputs' values
    }

    function onClick(event) {
        const target = event.target;
        if (!target.closest || !target.closest(PANEL)) return;
        const mark = target.closest(".sdfm-info");
        const chip = target.closest(".sdfm-chips button");
        if (mark) {
            event.preventDefault();
            toggleHelp(mark);
        }
        if (chip) choose(chip);
        if (event.isTrusted) firstValue(event);
    }

    function showStates() {
        gradioApp().querySelectorAll(PANEL).forEach(showState);
    }

    function prepare(panel) {
        panel.querySelectorAll("[data-sdfm-prefixes]").forEach(shortenLabels);
        panel.querySelectorAll("[data-sdfm-shown]").forEach(showNames);
        panel.querySelectorAll(".block:not(:has(.block))").forEach(markHelp);
        addMaster(panel);
        showState(panel);
        const nav = panel.querySelector("[id*=_sdfm_parts] > .tab-nav");
        if (nav) new MutationObserver(() => showState(panel)).observe(nav, { childList: true });
    }

    onSdfmLoaded(function () {
        gradioApp().querySelectorAll(PANEL).forEach(prepare);
        gradioApp().addEventListener("click", onClick, true);
        document.addEventListener("sdfmchange", () => requestAnimationFrame(showStates));
        for (const kind of ["pointerdown", "keydown", "input"]) {
            gradioApp().addEventListener(kind, (event) => { touched = event.target; }, true);
        }
    });
    return { byId, foldOf, hires };
})();

// Recipe original: what the old extensions lack takes its neutral value, and its own back afterwards. See
// sdfm_webui/panel_rules.py, which calls this.
const sdfmRecipe = (function () {
    const kept = {}; // by panel: the values that had to go

    return function (id, recipe, values, neutral) {
        const own = values.slice(0, neutral.length); // gradio adds the outputs' values
        if (recipe === "original") {
            kept[id] = kept[id] || own;
            return neutral;
        }
        const back = kept[id] || own;
        delete kept[id];
        return back;
    };
})();
const sdfmHires = sdfmPanel.hires;
