"""Model calls recorded and made again for the first rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.a1111.recorded_calls import CallRecorder, first_rows
from tests.support import noise_of


class Model(nn.Module):
    """Adds what its conditioning says, each row its own."""

    def forward(self, x: Tensor, sigma: Tensor, cond: dict[str, list[Tensor]]) -> Tensor:
        return x * sigma[:, None] + cond["text"][0]


X, SIGMA, TEXT = noise_of(1, 6, 2), noise_of(2, 6), noise_of(3, 6, 2)


def recorded(*portions: slice) -> tuple[CallRecorder, Tensor]:
    model, recorder = Model(), CallRecorder()
    recorder.follow(model)
    return recorder, torch.cat([model(X[cut], SIGMA[cut], cond={"text": [TEXT[cut]]}) for cut in portions])


@pytest.mark.parametrize("portions", [[slice(0, 6)], [slice(0, 2), slice(2, 6)], [slice(i, i + 1) for i in range(6)]], ids=len)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6])
def test_a_replay_gives_the_first_rows_again(portions: list[slice], rows: int):
    recorder, output = recorded(*portions)
    before = recorder.rows_before()
    assert torch.equal(recorder.replay(rows), output[:rows])
    assert torch.equal(recorder.replay(rows), output[:rows])
    assert recorder.rows_before() == before  # it has not recorded itself


def test_more_rows_than_were_predicted_are_an_error():
    recorder, _ = recorded(slice(0, 2))
    with pytest.raises(UnsupportedError, match="fewer rows"):
        recorder.replay(3)


def test_following_again_forgets_and_detaching_removes_the_hook():
    recorder, _ = recorded(slice(0, 6))
    model = recorder.module
    recorder.follow(model)
    with pytest.raises(UnsupportedError):
        recorder.replay(1)
    assert len(model._forward_pre_hooks) == 1
    recorder.detach()
    recorder.detach()
    assert not model._forward_pre_hooks


def test_following_another_module_leaves_the_first():
    recorder, _ = recorded(slice(0, 6))
    first, second = recorder.module, Model()
    recorder.follow(second)
    assert not first._forward_pre_hooks and second._forward_pre_hooks


def test_rows_are_cut_however_deep_and_shared_values_are_kept():
    shared, scalar, whole = noise_of(4, 1, 3), torch.tensor(2.0), noise_of(5, 9, 3)
    cut = first_rows(({"a": [TEXT, shared]}, scalar, "text", None, (whole,)), take=2, rows=6)
    assert torch.equal(cut[0]["a"][0], TEXT[:2]) and cut[0]["a"][1] is shared
    assert cut[1] is scalar and cut[2:4] == ("text", None)
    assert torch.equal(cut[4][0], whole[:2])  # A1111 leaves image conditioning whole where it skips uncond
