"""Jobs of several clients at once, and of Agent Scheduler's queue: each has its own settings and gives its own picture.

The variable ``SDFM_JOBS`` says how many jobs the clients send together.
"""

from __future__ import annotations

import base64
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from tests.hosts.real.client import SMALL, Pictures, Refused, WebUi

JOBS = int(os.environ.get("SDFM_JOBS", "16"))
FAST = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 3, "width": 64, "height": 64}
CLIENTS: tuple[tuple[dict[str, Any] | None, ...], ...] = (
    ({"pag": {"scale": 4}}, None, {"cfgpp": {}}, {"adaptive_guidance": {"threshold": 0.9}}),
    ({"freeu": {}, "seg": {"scale": 3}}, {"pag": {"scale": 1}}, {"flow": {}}, {"nag": {}, "cfg_rescale": {"phi": 0.6}}),
)
"""Each client's settings, which it sends in turn."""


@pytest.fixture(scope="module")
def alone(webui: WebUi) -> list[list[Pictures]]:
    """Return the pictures of each client's requests, made one by one."""
    return [[webui.txt2img(settings, **FAST) for settings in requests] for requests in CLIENTS]


def test_the_settings_give_pictures_of_their_own(alone: list[list[Pictures]]):
    assert len({pictures.pixels[0] for own in alone for pictures in own}) == sum(map(len, CLIENTS))


def test_clients_in_parallel_get_the_pictures_of_single_runs(webui: WebUi, alone: list[list[Pictures]]):
    def send(client: int) -> list[int]:
        requests = CLIENTS[client]
        made = [webui.txt2img(requests[i % len(requests)], **FAST) for i in range(JOBS // len(CLIENTS))]
        return [i for i, pictures in enumerate(made) if pictures != alone[client][i % len(requests)]]

    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        assert list(pool.map(send, range(len(CLIENTS)))) == [[] for _ in CLIENTS]


def results(webui: WebUi, task: str) -> dict[str, Any]:
    """The pictures of a queued task, once it has been carried out."""
    for _ in range(600):
        answer = webui.get(f"/agent-scheduler/v1/task/{task}/results")
        if answer["success"] or "pending" not in answer["message"] and "running" not in answer["message"]:
            return answer
        time.sleep(0.5)
    raise AssertionError(f"task {task} was not carried out")


def test_agent_schedulers_tasks_are_single_runs(webui: WebUi, alone: list[list[Pictures]]):
    try:
        webui.get("/agent-scheduler/v1/queue")
    except Refused:
        pytest.skip("Agent Scheduler is not installed")
    tasks = []
    for settings in (settings for requests in zip(*CLIENTS) for settings in requests):
        scripts = {} if settings is None else {"SDFM": {"args": [settings]}}
        body = {**SMALL, **FAST, "alwayson_scripts": scripts, "save_images": True}
        tasks.append(webui.post("/agent-scheduler/v1/queue/txt2img", body)["task_id"])
    wanted = [pictures for row in zip(*alone) for pictures in row]
    for task, pictures in zip(tasks, wanted, strict=True):
        answer = results(webui, task)
        assert answer["success"], answer
        (made,) = answer["data"]
        data = base64.b64decode(made["image"].split(",")[-1])
        assert Image.open(io.BytesIO(data)).convert("RGB").tobytes() == pictures.pixels[0]
        assert made["infotext"] == pictures.texts[0]
