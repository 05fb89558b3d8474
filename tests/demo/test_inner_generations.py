"""Extensions that make pictures of their own in between, as ADetailer does: with our script or without, as they choose."""

import copy
import json
from contextlib import contextmanager

import numpy as np
import pytest

ASKED = {"pag": {"scale": 4}, "freeu": {"preset": "SDXL"}}
WRITTEN = "FreeU Version: 2, PAG Active: True, PAG SANF: False, PAG Scale: 4, PAG Start Step: 0, PAG End Step: 150, SDFM: 1"
INNER = {"denoising_strength": 0.5}


@contextmanager
def detailer(with_ours):
    """While it is open, an extension repaints each picture; afterwards it tells scripts of the job's beginning once more.

    :param with_ours: whether our script takes part
    """
    from modules import processing, scripts

    class Detailer(scripts.Script):
        filename = __file__

        def title(self):
            return "Detailer"

        def postprocess_image(self, p, wrapped):
            if isinstance(p, processing.StableDiffusionProcessingImg2Img):
                return
            wrapped.image = self.repainted(p, wrapped.image)
            if p.batch_index == p.batch_size - 1:
                again = copy.copy(p)
                p.scripts.before_process(again)
                p.scripts.process(again)

        def repainted(self, p, picture):
            inner = processing.StableDiffusionProcessingImg2Img(
                init_images=[picture], prompt=p.prompt, seed=p.seeds[p.batch_index], steps=p.steps, cfg_scale=p.cfg_scale,
                width=p.width, height=p.height, sampler_name=p.sampler_name, do_not_save_samples=True,
                extra_generation_params={k: v for k, v in p.extra_generation_params.items() if not callable(v)}, **INNER,
            )  # fmt: skip
            inner.is_api = True  # or the panel's own controls set sampler and seed
            runner = copy.copy(p.scripts)
            runner.alwayson_scripts = [s for s in runner.alwayson_scripts if with_ours or "sdfm" not in s.filename]
            inner.scripts, inner.script_args = runner, list(p.script_args)
            with inner:
                return processing.process_images(inner).images[0]

    runner, script = scripts.scripts_txt2img, Detailer()
    runner.alwayson_scripts.append(script)
    try:
        yield
    finally:
        runner.alwayson_scripts.remove(script)


@pytest.mark.parametrize("with_ours", [True, False])
@pytest.mark.parametrize("several", [{}, {"batch_size": 2}, {"n_iter": 2}], ids=str)
def test_both_are_what_they_are_alone(host, with_ours, several):
    outer = host.guided(ASKED, **several)
    scripts = {"alwayson_scripts": {"SDFM": {"args": [ASKED]}}} if with_ours else {}
    wanted = [host.img2img(picture, **INNER, **scripts, seed=1 + i) for i, picture in enumerate(outer.pictures[-2:])]
    with detailer(with_ours):
        repainted = host.guided(ASKED, **several)
    assert host.swallowed == []
    for picture, alone in zip(repainted.pictures[-2:], wanted):
        assert np.array_equal(np.asarray(picture), np.asarray(alone.pictures[0]))
    assert (host.guided(ASKED, **several).pixels == outer.pixels).all()
    assert np.array_equal(host.txt2img().pixels, host.plain["Euler"])


@pytest.mark.parametrize("several", [{}, {"batch_size": 2}, {"n_iter": 2}, {"enable_hr": True, "hr_scale": 1.5}], ids=str)
def test_the_texts_keep_what_was_used(host, several):
    with detailer(False):
        answer = host.guided(ASKED, **several)
    assert host.swallowed == []
    texts = json.loads(answer.body["info"])["infotexts"]
    assert [WRITTEN in text for text in texts] == [True] * len(texts)
