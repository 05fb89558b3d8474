"""All of the training of the small models, with next to no steps: a seed decides the files."""

import sys

import pytest
from safetensors.torch import load_file

from tools import tiny_model, train_tiny


@pytest.fixture
def short(monkeypatch):
    """Stages of two rounds of a step each."""
    small = {"steps": 2, "batch": 8, "pictures": 40, "captions": 40, "measured": 20}
    for settings in (train_tiny.CODING, train_tiny.TEXT, *train_tiny.STAGES.values()):
        for name in settings.keys() & small.keys():
            monkeypatch.setitem(settings, name, (1, 1) if isinstance(settings[name], tuple) else small[name])
    monkeypatch.setattr(train_tiny, "BATCH", 8)
    monkeypatch.setattr(train_tiny, "show", lambda path, folder: None)


def trained(folder, monkeypatch, *arguments):
    command = ["train_tiny", "--work", str(folder / "work"), "--out", str(folder / "models"), "--threads", "1", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    train_tiny.main()
    return {path.stem: contents(path) for path in sorted((folder / "models").glob("*.safetensors"))}


def contents(path):
    """All of a checkpoint; the order of its metadata is chance."""
    weights = {name: value.numpy().tobytes() for name, value in load_file(path).items()}
    return {**tiny_model.read_metadata(path), **weights}


def test_the_same_seed_trains_the_same_files(host, short, tmp_path, monkeypatch):
    first = trained(tmp_path / "first", monkeypatch)
    assert list(first) == ["shapes-eps", "shapes-flow", "shapes-ink", "shapes-v"]
    assert all(first["shapes-eps"] != first[other] for other in first if other != "shapes-eps")
    again = trained(tmp_path / "second", monkeypatch, "--only", "coding", "shapes-base", "shapes-eps")
    assert again["shapes-eps"] == first["shapes-eps"]
    other = trained(tmp_path / "third", monkeypatch, "--seed", "2", "--only", "coding", "shapes-base", "shapes-eps")
    assert other["shapes-eps"] != first["shapes-eps"]


def test_what_is_there_is_not_trained_again(host, short, tmp_path, monkeypatch):
    first = trained(tmp_path, monkeypatch, "--only", "coding", "shapes-base", "shapes-eps")
    path = tmp_path / "models" / "shapes-eps.safetensors"
    written = path.stat().st_mtime_ns
    trained(tmp_path, monkeypatch, "--only", "coding", "shapes-base", "shapes-eps")
    assert path.stat().st_mtime_ns == written
    assert tiny_model.load(path).objective == "eps" and set(first) == {"shapes-eps"}
