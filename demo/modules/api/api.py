"""Routes of the host's API that concern generation."""

from __future__ import annotations

import base64
import io
from contextlib import closing
from typing import Any

import gradio as gr
from fastapi import FastAPI, HTTPException
from PIL import Image

from modules import images, infotext_utils, script_callbacks, scripts, sd_models, sd_samplers, sd_schedulers, shared
from modules.api import models
from modules.api.exceptions import answer_exceptions
from modules.api.infotext import apply_infotext
from modules.call_queue import queue_lock
from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img, process_images

Txt2ImgRequest = models.request_model("Txt2ImgRequest", StableDiffusionProcessingTxt2Img, models.Request)
Img2ImgRequest = models.request_model("Img2ImgRequest", StableDiffusionProcessingImg2Img, models.Img2ImgOnly)
PREFIX = "/sdapi/v1"
NOT_OF_JOB = ("script_name", "script_args", "alwayson_scripts", "infotext", "send_images", "save_images", "sampler_index")


def decode_base64_to_image(encoding: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(base64.b64decode(encoding.split("base64,")[-1])))
    except Exception as error:
        raise HTTPException(500, "Invalid encoded image") from error


def encode_pil_to_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=images.png_metadata(image))
    return base64.b64encode(buffer.getvalue()).decode()


def _script_index(name: str, among: list[Any]) -> int:
    titles = [script.title().lower() for script in among]
    if name.lower() not in titles:
        raise HTTPException(422, f"Script '{name}' not found")
    return titles.index(name.lower())


class Api:
    """The routes, on an app. An unknown sampler is silently the first one (A1111 1.10.1)."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        answer_exceptions(app)
        self._defaults = {runner: _default_arguments(runner) for runner in (scripts.scripts_txt2img, scripts.scripts_img2img)}
        for path, endpoint in (("txt2img", self.text2imgapi), ("img2img", self.img2imgapi), ("png-info", self.pnginfoapi)):
            self._add(path, endpoint, "POST")
        self._add("options", self.get_config, "GET")
        self._add("options", self.set_config, "POST")
        self._add("interrupt", lambda: shared.state.interrupt(), "POST")
        self._add("skip", lambda: shared.state.skip(), "POST")
        for path, endpoint in self._readers().items():
            self._add(path, endpoint, "GET")

    def _add(self, path: str, endpoint: Any, method: str) -> None:
        name = f"{method} {path}"  # functions without a name of their own
        self.app.add_api_route(f"{PREFIX}/{path}", endpoint, methods=[method], name=name)

    def _readers(self) -> dict[str, Any]:
        return {
            "progress": self.progressapi,
            "scripts": self.get_scripts_list,
            "script-info": self.get_script_info,
            "samplers": lambda: [_sampler_item(item) for item in sd_samplers.all_samplers],
            "schedulers": lambda: [_scheduler_item(item) for item in sd_schedulers.schedulers],
            "sd-models": lambda: [_model_item(info) for info in sd_models.checkpoints_list.values()],
        }

    def text2imgapi(self, request: Txt2ImgRequest) -> dict[str, Any]:
        return self._generate(request, "txt2img", scripts.scripts_txt2img, StableDiffusionProcessingTxt2Img)

    def img2imgapi(self, request: Img2ImgRequest) -> dict[str, Any]:
        if request.init_images is None:
            raise HTTPException(404, "Init image not found")
        answer = self._generate(request, "img2img", scripts.scripts_img2img, StableDiffusionProcessingImg2Img)
        if not request.include_init_images:
            answer["parameters"].update(init_images=None, mask=None)
        return answer

    def _generate(self, request: Any, tabname: str, runner: Any, processing: type) -> dict[str, Any]:
        from_infotext = apply_infotext(request, tabname, runner)
        script, script_args = self._script_arguments(request, runner, from_infotext)
        fields = self._job_fields(request)
        with queue_lock, closing(processing(sd_model=shared.sd_model, **fields)) as p:
            if getattr(p, "init_images", None):
                p.init_images = [decode_base64_to_image(picture) for picture in p.init_images]
            p.is_api = True
            p.scripts = runner
            try:
                shared.state.begin(job=f"scripts_{tabname}")
                p.script_args = script_args if script else tuple(script_args)
                processed = runner.run(p, *script_args) if script else process_images(p)
            finally:
                shared.state.end()
        pictures = [encode_pil_to_base64(picture) for picture in processed.images] if request.send_images else []
        return {"images": pictures, "parameters": dict(vars(request)), "info": processed.js()}

    def _job_fields(self, request: Any) -> dict[str, Any]:
        """The request as arguments of the processing object, with a sampler that exists."""
        fields = {name: value for name, value in dict(request).items() if name not in NOT_OF_JOB}
        fields.pop("include_init_images", None)
        sampler, scheduler = sd_samplers.get_sampler_and_scheduler(
            request.sampler_name or request.sampler_index, request.scheduler
        )
        fields["sampler_name"] = sampler
        fields["scheduler"] = request.scheduler or (scheduler if scheduler != "Automatic" else None)
        fields["do_not_save_samples"] = fields["do_not_save_grid"] = not request.save_images
        if fields.get("mask"):
            fields["mask"] = decode_base64_to_image(fields["mask"])
        return fields

    def _script_arguments(self, request: Any, runner: Any, from_infotext: dict[int, Any]) -> tuple[Any, list[Any]]:
        """Defaults, then the infotext's values, then those of the request; shorter lists are filled up, longer ones cut."""
        script_args = list(self._defaults[runner])
        for index, value in from_infotext.items():
            script_args[index] = value
        script = None
        if request.script_name:
            index = _script_index(request.script_name, runner.selectable_scripts)
            script = runner.selectable_scripts[index]
            script_args[script.args_from : script.args_to] = request.script_args
            script_args[0] = index + 1
        for title, given in (request.alwayson_scripts or {}).items():
            found = runner.scripts[_script_index(title, runner.scripts)]
            if not found.alwayson:
                raise HTTPException(422, "Cannot have a selectable script in the always on scripts params")
            for i, value in enumerate(given.get("args", [])[: found.args_to - found.args_from]):
                script_args[found.args_from + i] = value
        return script, script_args

    def pnginfoapi(self, request: models.PngInfoRequest) -> dict[str, Any]:
        text, items = images.read_info_from_image(decode_base64_to_image(request.image))
        params = infotext_utils.parse_generation_parameters(text or "")
        script_callbacks.infotext_pasted_callback(text or "", params)
        return {"info": text or "", "items": items, "parameters": params}

    def progressapi(self, skip_current_image: bool = False) -> dict[str, Any]:
        state = shared.state
        return {
            "progress": state.fraction(),
            "eta_relative": 0,
            "state": state.dict(),
            "current_image": None,
            "textinfo": state.textinfo,
        }

    def get_scripts_list(self) -> dict[str, list[str]]:
        runners = {"txt2img": scripts.scripts_txt2img, "img2img": scripts.scripts_img2img}
        return {tab: [item.name for item in runner.scripts if item.name] for tab, runner in runners.items()}

    def get_script_info(self) -> list[models.ScriptInfo]:
        both = [*scripts.scripts_txt2img.scripts, *scripts.scripts_img2img.scripts]
        return [script.api_info for script in both if script.api_info is not None]

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(shared.opts, name) for name in shared.opts.data_labels}

    def set_config(self, req: dict[str, Any]) -> None:
        checkpoint = req.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoint_aliases:
            raise RuntimeError(f"model {checkpoint!r} not found")
        for name, value in req.items():
            shared.opts.set(name, value, is_api=True)
        if checkpoint is not None:
            sd_models.reload_model_weights()


def _sampler_item(item: Any) -> dict[str, Any]:
    return {
        "name": item.name,
        "aliases": item.aliases,
        "options": {key: str(value) for key, value in item.options.items()},
    }


def _scheduler_item(item: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(item).items() if key != "function"}


def _model_item(info: Any) -> dict[str, Any]:
    return {
        "title": info.title,
        "model_name": info.model_name,
        "hash": info.shorthash,
        "sha256": info.sha256,
        "filename": info.filename,
        "config": None,
    }


def _default_arguments(runner: Any) -> list[Any]:
    """One value per argument of all scripts. As in A1111 ``ui()`` is called twice more for it."""
    arguments: list[Any] = [None] * len(runner.inputs)
    arguments[0] = 0
    with gr.Blocks():
        for script in runner.scripts:
            if script.ui(script.is_img2img):
                values = [control.value for control in script.ui(script.is_img2img)]
                arguments[script.args_from : script.args_to] = values
    return arguments
