"""The texts that this extension exists for."""

from __future__ import annotations

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.planning.explain import explain_infotext
from lib_sdfm.schema.infotext import Reading, parse_infotext, read_infotext, write_infotext
from lib_sdfm.schema.settings import Schema
from tests.schema.alone import PAG_ONLY
from tests.schema.published import A, B, C
from tests.schema.texts import printed


def read(text: str, schema: Schema = SCHEMA) -> Reading:
    return read_infotext(schema, parse_infotext(f"\nNegative prompt: \n{text}"))


@pytest.mark.parametrize("text", [A, B, C], ids="abc")
def test_they_are_understood_as_what_the_originals_made(text: str):
    reading = read(text)
    assert reading.errors + reading.warnings == []
    assert reading.values["recipe"] == "original"
    assert reading.values["pag.enabled"] and reading.values["pag.scale"] == 1


def test_the_first_has_pag_with_fusion_to_the_end():
    values = read(A).values
    assert (values["pag.sanf"], values["pag.start_step"], values["pag.end_step"]) == (True, 0, 2048)


@pytest.mark.parametrize("text", [B, C], ids="bc")
def test_the_others_have_no_window_and_no_fusion(text: str):
    values = read(text).values
    assert (values["pag.sanf"], values["pag.start_step"], values["pag.end_step"]) == (False, 0, 150)


def regenerated(text: str) -> str:
    pairs = write_infotext(SCHEMA, SCHEMA.settings(read(text).values))
    return printed(pairs).split("Size: 512x512, ")[1].removesuffix(", Version: v1.10.1")


def extensions_part(text: str) -> str:
    return text.split("Clip skip: 2, ")[1].split(", Version: ")[0]


def test_the_first_is_regenerated_to_the_letter():
    assert regenerated(A) == extensions_part(A) + ", SDFM Recipe: original, SDFM: 1"


@pytest.mark.parametrize("text", [B, C], ids="bc")
def test_the_others_are_regenerated_with_all_keys_of_pag(text: str):
    rest = extensions_part(text).removesuffix("PAG Active: True, PAG Scale: 1")
    assert regenerated(text) == (
        f"{rest}PAG Active: True, PAG SANF: False, PAG Scale: 1, PAG Start Step: 0, PAG End Step: 150, "
        "SDFM Recipe: original, SDFM: 1"
    )


@pytest.mark.parametrize("text", [A, B, C], ids="abc")
def test_a_schema_without_the_other_techniques_says_what_it_lacks(text: str):
    warnings = read(text, PAG_ONLY).warnings
    lacking = [key for key in ("SEG Active", "FreeU Stages", "Dynamic thresholding enabled") if key in text]
    assert sorted(warning.split(":")[0] for warning in warnings) == sorted(lacking)


@pytest.mark.parametrize("text", [A, B, C], ids="abc")
def test_explain_knows_every_key(text: str):
    assert explain_infotext(SCHEMA, text)["unknown"] == []


@pytest.mark.parametrize("text", [B, C], ids="bc")
def test_explain_says_that_thresholding_did_nothing_beside_pag(text: str):
    inert = {entry["technique"]: entry["why"] for entry in explain_infotext(SCHEMA, text)["inert"]}
    assert list(inert) == ["dynamic_thresholding"] and "PAG" in inert["dynamic_thresholding"]
