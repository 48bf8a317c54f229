"""The stubs that type checkers read are those that the methods give."""

import pytest

from tests.stubs import texts


@pytest.mark.parametrize(("stub", "text"), texts().items(), ids=lambda value: getattr(value, "name", ""))
def test_the_stubs_are_up_to_date(stub, text):
    assert stub.read_text(encoding="utf-8") == text, "python -m tests.stubs"
