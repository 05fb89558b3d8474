"""The one error that users see."""

from __future__ import annotations

import pytest
from fastapi import HTTPException

from lib_sdfm.errors import SettingError
from sdfm_webui.errors import SdfmError, shown_to_user

pytestmark = pytest.mark.panel


def test_it_is_an_http_error_that_reads_well():
    error = SdfmError("PAG Scale: -1 is not valid")
    assert isinstance(error, HTTPException)
    assert (error.status_code, error.detail) == (422, "SDFM: PAG Scale: -1 is not valid")
    assert str(error) == "SDFM: PAG Scale: -1 is not valid"


def test_errors_of_the_library_become_it_and_others_pass():
    with pytest.raises(SdfmError, match="PAG Scale: -1 is not valid. Allowed: a number") as caught, shown_to_user():
        raise SettingError("PAG Scale", -1, "a number")
    assert isinstance(caught.value.__cause__, SettingError)
    with pytest.raises(ZeroDivisionError), shown_to_user():
        raise ZeroDivisionError
