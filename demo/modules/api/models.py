"""Requests and answers of the API. Works with both generations of pydantic."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, get_type_hints

from pydantic import BaseModel, create_model

LEFT_OUT = ("sd_model", "comments", "extra_generation_params", "sampler_noise_scheduler_override")


class ScriptArg(BaseModel):
    label: str = ""
    value: Any = None
    minimum: Any = None
    maximum: Any = None
    step: Any = None
    choices: Any = None


class ScriptInfo(BaseModel):
    name: str | None = None
    is_alwayson: bool | None = None
    is_img2img: bool | None = None
    args: list[ScriptArg] = []


class Request(BaseModel):
    """The fields of a job that are not fields of its processing object."""

    sampler_index: str = "Euler"
    script_name: str | None = None
    script_args: list[Any] = []
    alwayson_scripts: dict[str, Any] = {}
    infotext: str | None = None
    send_images: bool = True
    save_images: bool = False

    def given(self) -> set[str]:
        """Names of the fields that the client has sent."""
        return set(getattr(self, "model_fields_set", None) or self.__fields_set__)


class Img2ImgOnly(Request):
    mask: str | None = None
    include_init_images: bool = False


class PngInfoRequest(BaseModel):
    image: str = ""


def request_model(name: str, processing: type, base: type[Request]) -> type[Request]:
    """A request with the fields of a processing class and their types; every one may be left out or null."""
    types = get_type_hints(processing)
    fields = {
        field.name: (Optional[types[field.name]], _default(field))  # noqa: UP007 - a value, not an annotation
        for field in dataclasses.fields(processing)
        if field.init and field.name not in LEFT_OUT and field.name not in base.__annotations__
    }
    return create_model(name, __base__=base, **fields)


def _default(field: dataclasses.Field) -> Any:
    return None if field.default is dataclasses.MISSING else field.default
