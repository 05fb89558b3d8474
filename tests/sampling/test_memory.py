"""Memory of techniques from step to step."""

from __future__ import annotations

import dataclasses

from lib_sdfm.sampling.memory import PassMemory
from lib_sdfm.sampling.model_call import ModelCall


def call(memory: PassMemory, step: int) -> ModelCall:
    return ModelCall(index=step, total=9, sigma=1.0, timestep=500.0, memory=memory)


def test_all_calls_of_a_step_get_what_was_kept_in_an_earlier_one():
    memory, seen = PassMemory(), []
    for number, step in enumerate([0, 0, 1, 1, 3]):  # two calls per step; nothing was active in step 2
        seen.append(call(memory, step).previous("momentum"))
        call(memory, step).keep("momentum", number)
    assert seen == [None, None, 1, 1, 3]


def test_what_is_not_kept_again_lasts():
    memory = PassMemory()
    call(memory, 0).keep("crossed", True)
    assert call(memory, 5).previous("crossed") and call(memory, 6).previous("crossed")


def test_names_do_not_mix_and_calls_without_a_pass_share_nothing():
    memory = PassMemory()
    call(memory, 0).keep("one", 1)
    assert call(memory, 1).previous("other") is None
    plain = ModelCall(index=0, total=1, sigma=None, timestep=None)
    plain.keep("one", 1)
    assert dataclasses.replace(plain, index=1).previous("one") == 1
    assert ModelCall(index=1, total=1, sigma=None, timestep=None).previous("one") is None
