// What extensions' scripts expect of the host, and accordions that are switches.
"use strict";

function gradioApp() {
    const app = document.querySelector("gradio-app");
    return (app && app.shadowRoot) || document;
}

const uiLoadedCallbacks = [];
const uiUpdateCallbacks = [];
const uiAfterUpdateCallbacks = [];
function onUiLoaded(callback) { uiLoadedCallbacks.push(callback); }
function onUiUpdate(callback) { uiUpdateCallbacks.push(callback); }
function onAfterUiUpdate(callback) { uiAfterUpdateCallbacks.push(callback); }

// A value set by a script reaches gradio through this.
function updateInput(target) {
    target.dispatchEvent(new Event("input", { bubbles: true }));
    target.dispatchEvent(new Event("change", { bubbles: true }));
}

function showTab(label) {
    const buttons = [...gradioApp().querySelectorAll("#tabs button")];
    const button = buttons.find((candidate) => candidate.textContent.trim() === label);
    if (button) { button.click(); }
}

// --- accordions: an open one is on; its header shows the switch as a checkbox

function accordionHeader(accordion) {
    return accordion.querySelector(".label-wrap");
}

function accordionIsOpen(accordion) {
    return accordionHeader(accordion).classList.contains("open");
}

function switchOf(accordion) {
    return gradioApp().querySelector(`#${CSS.escape(accordion.id)}-checkbox input`);
}

function setSwitch(accordion, on) {
    const input = switchOf(accordion);
    if (input && input.checked !== on) { input.click(); }
}

// Called by gradio whenever the switch has changed, by whomever.
function accordionFollows(id, on) {
    const accordion = gradioApp().querySelector(`#${CSS.escape(id)}`);
    if (!accordion || !accordionHeader(accordion)) { return; }
    accordion.classList.toggle("is-on", on);
    const mark = accordion.querySelector(".visible-switch");
    if (mark) { mark.checked = on; }
    if (accordionIsOpen(accordion) !== on) { accordionHeader(accordion).click(); }
}

function prepareAccordion(accordion) {
    const header = accordionHeader(accordion);
    if (!header || accordion.dataset.prepared) { return; }
    accordion.dataset.prepared = "yes";
    const mark = document.createElement("input");
    mark.type = "checkbox";
    mark.className = "visible-switch";
    mark.title = "on or off";
    const input = switchOf(accordion);
    mark.checked = Boolean(input && input.checked);
    mark.addEventListener("click", (event) => {
        event.stopPropagation();
        setSwitch(accordion, mark.checked);
    });
    header.insertBefore(mark, header.firstChild);
    new MutationObserver(() => setSwitch(accordion, accordionIsOpen(accordion)))
        .observe(header, { attributes: true, attributeFilter: ["class"] });
}

let uiIsLoaded = false;
function afterMutation(records) {
    const root = gradioApp();
    if (!root.querySelector("#txt2img_prompt")) { return; }
    root.querySelectorAll(".input-accordion").forEach(prepareAccordion);
    if (!uiIsLoaded) {
        uiIsLoaded = true;
        uiLoadedCallbacks.forEach((callback) => callback());
    }
    uiUpdateCallbacks.forEach((callback) => callback(records));
    clearTimeout(afterMutation.timer);
    afterMutation.timer = setTimeout(() => uiAfterUpdateCallbacks.forEach((callback) => callback()), 200);
}

document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(afterMutation).observe(document.documentElement, { childList: true, subtree: true });
});
