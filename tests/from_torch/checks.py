"""Functions that raise errors for some numbers, or do more: here, for pytest rewrites the asserts of tests."""

from __future__ import annotations

import contextlib
import sys

import torch
from torch import _check_value


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


def checks(x, most):
    torch._check(x.max().item() < most)


def checks_with_a_message(x, most):
    torch._check(bool((x < most).all()), lambda: f"{x.max()} is not below {most}")


def checks_by_a_name_of_its_own(x, most):
    _check_value(not x.max().item() > most, message=lambda: "no")


def asserts_by_torch(x, most):
    torch._assert(x.max() < most, "too much")


def check_is_caught(x, most):
    try:
        torch._check(x.max().item() < most)
    except RuntimeError:
        x += 1


def checks_another_ones(x, most):
    checks = _Checks()
    checks._check(x.max().item() < most)


class _Checks:
    def _check(self, condition):
        self.condition = condition


def asserts_and_is_caught(x, most):
    with contextlib.suppress(AssertionError):
        torch._assert(x.max() < most, "too much")
        x += 1


def checks_and_keeps(x, most):
    torch._check((largest := x.max().item()) < most)
    x += largest


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


def suppressed(x, most):
    with contextlib.suppress(ValueError):
        raises(x, most)
        x += 1


def suppressed_on_a_device(x, most):
    with contextlib.suppress(ValueError, *([x.device] if most < 0 else [])):
        raises(x, most)
        x += 1


def suppressed_or_not(x, most):
    with contextlib.suppress(ValueError) if most > 1 else torch.no_grad():
        raises(x, most)
        x += 1


def swallowed(x, most):
    try:
        raises(x, most)
        x += 1
    finally:
        return  # noqa: B012  that is the case


class _Counter:
    """Ends where numbers are none that it takes, which ``for`` asks for by an error."""

    def __init__(self, x, most):
        self.x, self.most, self.left = x, most, 3

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left < 0 or (self.x * self.left > self.most).any():
            raise StopIteration
        return self.left


def ends(x, most):
    for _ in _Counter(x, most):
        x += 1


class _Lacking:
    """Has an attribute where numbers are such, which ``getattr`` and ``hasattr`` ask for by an error."""

    def __init__(self, x, most):
        self.x, self.most = x, most

    def __getattr__(self, name):
        if (self.x > self.most).any():
            raise ValueError(name)
        return 1

    @property
    def near(self):
        if (self.x > self.most).any():
            raise AttributeError("near")
        return 1


def lacks(x, most):
    x += getattr(_Lacking(x, most), "far", 0)


def has(x, most):
    if hasattr(_Lacking(x, most), "near"):
        x += 1


if sys.version_info >= (3, 11):
    _SOURCE = """
def caught_in_a_group(x, most):
    try:
        raises(x, most)
        x += 1
    except* ValueError:
        pass
"""
    exec(compile(_SOURCE, __file__, "exec"))
else:
    caught_in_a_group = caught
