"""Errors as they come from another process."""

import pickle

import pytest

from trtnn import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TrtnnError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_keep_their_sentence_and_their_lines(kind):
    error = kind("one sentence", "a line", f"\x1b another {'and more ' * 200}")
    if hasattr(error, "add_note"):  # since Python 3.11
        error.add_note("a note")
    same = pickle.loads(pickle.dumps(error))
    assert type(same) is kind
    assert (str(same), same.summary, same.details) == (str(error), error.summary, error.details)
    assert str(same).startswith("one sentence\n  a line\n  ")
    assert getattr(same, "__notes__", None) == getattr(error, "__notes__", None)
