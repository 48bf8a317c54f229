"""Functions that raise errors for some numbers, or do more: here, for pytest rewrites the asserts of tests."""

from __future__ import annotations

import torch


def asserts(x, most):
    assert (x < most).all(), f"no more than {most}"


def asserts_a_number(x, most):
    assert x.max().item() < most


def asserts_a_sum(x, most):
    assert not float(x.abs().sum()) - 1 > 100 * most


def raises(x, most):
    if not bool((x < most).all()):
        message = f"{x.max()} is not below {most}"
        raise ValueError(message)


def raises_at_once(x, most):
    if x.max().item() > most or torch.equal(x, x + 1):
        raise ValueError


def raises_else(x, most):
    if torch.allclose(x, x.clone()):
        most += 1
    else:
        raise ValueError(f"{most}")


def asserts_within(x, most):
    try:
        asserts(x, most)
    finally:
        most += 1


def caught(x, most):
    try:
        asserts(x, most)
    except AssertionError:
        x += 1


def caught_of_any(x, most):
    try:
        assert (x < most).all()
    except:  # noqa: E722
        x += 1


def kept(x, most):
    is_large = (x > most).any()
    if is_large:
        x += 1


def does_before(x, most):
    if (x > most).any():
        x += 1
        assert most > 2
