"""The stubs that type checkers read are those that the methods give."""

import pytest

from tests.stubs import stubs


@pytest.mark.parametrize(("path", "text"), [pytest.param(*stub, id=stub[0].stem) for stub in stubs().items()])
def test_the_stub_is_up_to_date(path, text):
    assert path.read_text(encoding="utf-8") == text, "python -m tests.stubs"
