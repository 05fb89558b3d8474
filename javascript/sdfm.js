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
