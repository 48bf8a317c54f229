"""The stub that type checkers read is the one that the methods give."""

from tests.stubs import STUB, text


def test_the_stub_is_up_to_date():
    assert STUB.read_text(encoding="utf-8") == text(), "python -m tests.stubs"
