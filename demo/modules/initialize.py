"""From nothing to a host that can generate."""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI

from modules import script_callbacks, scripts, sd_models, sheets, ui
from modules.api.api import Api
from modules.page import serve_page


def load() -> None:
    """Checkpoints, then the scripts of the extensions: these hear of the model that is loaded next."""
    sd_models.list_models()
    scripts.load_scripts()
    sd_models.reload_model_weights()


def create_app() -> tuple[FastAPI, gr.Blocks]:
    """The panel and the API on one app; extensions add their routes before the panel takes all the rest."""
    blocks = ui.create_ui()
    blocks.queue()
    app = FastAPI(title="WebUI (demo)")
    Api(app)
    script_callbacks.app_started_callback(blocks, app)
    sheets.serve(app)
    serve_page(app)
    return gr.mount_gradio_app(app, blocks, path="/"), blocks
