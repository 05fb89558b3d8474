// Help texts become tooltips where a pointer can hover, so that the panel stays compact. gradio has no tooltips.
(function () {
    const HELP = ".block .has-info + div, .block.gradio-checkbox > div:not(.wrap)";

    function helpToTooltips(panel) {
        for (const help of panel.querySelectorAll(HELP)) {
            help.closest(".block").title = help.textContent.trim();
            help.classList.add("sdfm-help");
        }
    }

    onUiLoaded(function () {
        gradioApp().querySelectorAll(".sdfm-panel").forEach(helpToTooltips);
    });
})();
