"""Generation parameters in the demo: written, parsed, pasted with the host's casts."""

from types import SimpleNamespace

import pytest

TEXT = """a cat, [b:c:0.5]
Negative prompt: bad
worse
Steps: 12, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Size: 64x96, Note: "x, y\""""


def parse(text):
    from modules.infotext_utils import parse_generation_parameters

    return parse_generation_parameters(text)


def pasted(value, target, params):
    """The update of a control whose initial value is given."""
    from modules.infotext_utils import paste_function

    text = "Steps: 1, Sampler: Euler, Seed: 2" + "".join(f", {key}: {item}" for key, item in params.items())
    return paste_function([(SimpleNamespace(value=value), target)])(text)[0]


def test_parsing(host):
    params = parse(TEXT)
    assert params["Prompt"] == "a cat, [b:c:0.5]" and params["Negative prompt"] == "bad\nworse"
    assert (params["Steps"], params["Size-1"], params["Size-2"], params["Note"]) == ("12", "64", "96", "x, y")
    assert (params["Clip skip"], params["Schedule type"], params["Hires resize-1"]) == ("1", "Automatic", 0)


def test_two_pairs_are_prompt(host):
    assert parse("cat\nSteps: 1, Seed: 2")["Prompt"] == "cat\nSteps: 1, Seed: 2"


@pytest.mark.parametrize(
    "line, key, value",
    [
        ("CFG++ eta: 1", "eta", "1"),
        ("Foo.bar: 2", "bar", "2"),
        ("A_b-c/d 1: 3", "A_b-c/d 1", "3"),
        ('Quoted: ""', "Quoted", ""),
        ("Twice: 1, Twice: 2", "Twice", "2"),
    ],
)
def test_keys_and_values(host, line, key, value):
    assert parse(f"Steps: 1, Sampler: Euler, Seed: 2, {line}")[key] == value


def test_sampler_names_of_old_texts(host):
    from modules import sd_samplers

    assert sd_samplers.get_sampler_and_scheduler("DPM++ 2M Karras", None) == ("DPM++ 2M", "Automatic")
    assert sd_samplers.get_sampler_and_scheduler("Euler Karras", None) == ("Euler", "Karras")
    assert sd_samplers.get_sampler_and_scheduler("Nonsense", "Automatic") == ("DPM++ 2M", "Automatic")


@pytest.mark.parametrize(
    "initial, given, expected",
    [(False, "False", False), (False, "True", True), (0, "1.5", 1.5), (0.0, "2", 2.0), ("", "text", "text")],
)
def test_casts_on_paste(host, initial, given, expected):
    update = pasted(initial, "Key", {"Key": given})
    assert update["value"] == expected and type(update["value"]) is type(expected)


@pytest.mark.parametrize("initial, target", [(0.0, "Sampler"), (1, "Missing"), (None, "Steps"), (1, lambda params: 1 / 0)])
def test_what_cannot_be_pasted_changes_nothing(host, initial, target):
    assert "value" not in pasted(initial, target, {})


def test_an_update_is_passed_through(host):
    import gradio as gr

    assert pasted("", lambda params: gr.update(value=5, visible=False), {})["visible"] is False


def test_settings_of_a_text(host):
    from modules.infotext_utils import create_override_settings_dict, get_override_settings

    found = get_override_settings({"Clip skip": "2", "Model hash": "abc", "ENSD": "0", "Eta": "0.5"})
    assert found == [("Clip skip", "CLIP_stop_at_last_layers", 2), ("Eta", "eta_ancestral", 0.5)]
    assert create_override_settings_dict(["Clip skip: 2", "NGMS: 1.5"]) == {"CLIP_stop_at_last_layers": 2, "s_min_uncond": 1.5}


def test_the_text_of_a_picture_gives_the_picture_again(host):
    first = host.txt2img(prompt="a (red:1.2) [house:tree:0.5], x: y", negative_prompt="bad", steps=5, sampler_name="Euler a")
    again = host.post("/sdapi/v1/txt2img", {"infotext": first.text})
    assert again.text == first.text and (again.pixels == first.pixels).all()


def test_the_text_is_in_the_picture_and_png_info_reads_it(host):
    answer = host.txt2img(save_images=False)
    assert answer.pictures[0].text["parameters"] == answer.text
    read = host.http.post("/sdapi/v1/png-info", json={"image": answer.body["images"][0]}).json()
    assert read["info"] == answer.text and read["parameters"]["Seed"] == "1"


def test_the_last_text_is_kept_for_an_empty_paste(host, data_folder):
    host.txt2img(prompt="remembered")
    assert (data_folder / "params.txt").read_text().startswith("remembered\nSteps: 4, Sampler: Euler")


def test_override_settings_are_put_back(host):
    from modules import shared

    assert "Clip skip: 2" in host.txt2img(override_settings={"CLIP_stop_at_last_layers": 2}).text
    assert shared.opts.CLIP_stop_at_last_layers == 1
