"""What is written behind options: sizes, ranges, shares. A wrong one is told with what it may be."""

from __future__ import annotations

import math
from typing import Any

import typer

_LEAST_SIDE, _MOST_SIDE, _MOST_PICTURES = 32, 1 << 15, 1 << 16
_OF_LEVEL = 6  # numbers that the anchors of a level are
Lengths = tuple[int, ...]  # one, or the least, the best and the most of a range


def _read_lengths(text: str, least: int, most: int) -> Lengths:
    """Return the lengths in ``N`` or ``MIN,OPT,MAX``; a range of one length is that length.

    Raises:
        ValueError: it is neither.
    """
    lengths = tuple(map(int, text.split(",")))
    if len(lengths) not in (1, 3) or list(lengths) != sorted(lengths) or not least <= lengths[0] <= lengths[-1] <= most:
        raise ValueError
    return lengths if len(set(lengths)) > 1 else lengths[:1]


def read_size(text: str) -> tuple[Lengths, Lengths]:
    """Return the lengths of height and width in ``N``, ``HxW``, ``H,W`` or ``MIN,OPT,MAX``, or a range of each."""
    words = text.lower().replace("×", "x")
    sides = words.split("x") if "x" in words else words.split(",") if words.count(",") == 1 else [words] * 2
    try:
        height, width = (_read_lengths(side, _LEAST_SIDE, _MOST_SIDE) for side in sides)
    except ValueError:
        reason = f"neither a number from {_LEAST_SIDE} up nor MIN,OPT,MAX of such, nor a height and a width: 480x640"
        raise typer.BadParameter(f"{text!r} is {reason}; the most is {_MOST_SIDE:,}") from None
    return height, width


def read_batch(text: str) -> Lengths:
    """Return how many pictures ``N`` or ``MIN,OPT,MAX`` says."""
    try:
        return _read_lengths(text, 1, _MOST_PICTURES)
    except ValueError:
        message = f"{text!r} is neither a number from 1 up nor MIN,OPT,MAX of such; the most is {_MOST_PICTURES:,}"
        raise typer.BadParameter(message) from None


def read_anchors(text: str) -> Any:
    """Return the anchors that a list of widths and heights in px says, ((6 numbers), ...) by level, or ``"usual"``."""
    if text == "usual":
        return text
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if not numbers or len(numbers) % _OF_LEVEL or not all(math.isfinite(number) and number > 0 for number in numbers):
        reason = f"neither usual nor {_OF_LEVEL} numbers above 0 for each level, three widths and heights in pixels"
        raise typer.BadParameter(f"{text!r} is {reason}, the finest first: 10,13,16,30,33,23,30,61,...")
    return tuple(tuple(numbers[at : at + _OF_LEVEL]) for at in range(0, len(numbers), _OF_LEVEL))


def read_share(text: str) -> float:
    """Return a number in 0..1."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        percent = f"; {text} % is {share / 100:g}" if 1 < share <= 100 else ""
        raise typer.BadParameter(f"{text!r} is no number from 0 to 1{percent}")
    return share
