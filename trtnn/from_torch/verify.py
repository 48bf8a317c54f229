"""A conversion beside torch: on its example, and on a second input that shows what was only right for the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trtnn.errors import ArgumentError, VerificationError
from trtnn.shapes.symbolic import Dim, Size, evaluate

TOLERANCE = 1e-3  # of the largest magnitude of an output: weights and inputs are whatever they are
_HALF_TOLERANCE = 5e-2  # where torch itself computes in 16 bits
_TIMES_TORCH = 10  # times torch's own distance from its result in fp64, where that is larger
_OTHER_ROUNDINGS = 4  # with which torch is run in fp64 before a conversion is called wrong
_ROUNDING = 2.0**-24  # of a number, what fp32 rounds off at most
_UNCLEAR = 0.01  # of the largest magnitude: where torch itself is that far off, nothing can be compared


def mapped(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Return a structure with each tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        items = [mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        changed = {key: mapped(item, change) for key, item in value.items()}
        return changed if type(value) is dict else type(value)(**changed)
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return type(value)(**{name: mapped(getattr(value, name), change) for name in value.__dataclass_fields__})
    return value


def second_example(
    tensors: Sequence[torch.Tensor], shapes: Sequence[Sequence[Any]], times: int = 1, by_rows: str = ""
) -> list[torch.Tensor]:
    """Return inputs like an example's, of other values, and of other lengths where those are dynamic.

    Floats are drawn with the example's mean and deviation, between its least and its largest: a module may take images
    in 0..1 alone. Whole numbers and truths are drawn from those it holds, and so are floats beside infinity.

    Args:
        tensors: the example's.
        shapes: of each, with Dims for what is dynamic.
        times: how many times the example's the other lengths are, as nearly as they may be.
        by_rows: what is the example's rows from the last to the first, for one column may hold what is no place in the
            table of another: ``"whole numbers"``, floats that hold nothing else and truths among them, or ``"all"``.
    """
    generator = torch.Generator().manual_seed(1)
    dims: dict[str, Dim] = {}
    lengths: dict[str, int] = {}
    for tensor, shape in zip(tensors, shapes, strict=True):
        for length, now in zip(shape, tensor.shape, strict=True):
            if isinstance(length, Size):
                for axis in length.dims:
                    dims[axis.name] = axis  # type: ignore[assignment]
                    if isinstance(length, Dim):
                        lengths[axis.name] = now
    other = {name: _another(dim, lengths.get(name), times) for name, dim in dims.items()}
    return [
        _drawn(tensor, [n if isinstance(n, int) else evaluate(n, other) for n in shape], generator, by_rows)
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]


def with_second_example(
    call: Callable[[list[torch.Tensor]], Any],
    tensors: Sequence[torch.Tensor],
    shapes: Sequence[Sequence[Any]],
    times: int = 1,
    by_rows: bool = False,
) -> tuple[list[torch.Tensor], Any]:
    """Return the first second example that a call takes, and what the call returned.

    Args:
        call: the model's.
        tensors, shapes, times: as for :func:`second_example`.
        by_rows: whether whole numbers are rows of the example from the first try on.

    Raises:
        ArgumentError: it takes none.
    """
    refused: ArgumentError | None = None
    for rows in ("whole numbers", "all") if by_rows else ("", "whole numbers", "all"):
        second = second_example(tensors, shapes, times, rows)
        if rows == "all" and all(map(torch.equal, tensors, second)):
            break  # it would tell nothing
        try:
            return second, call(second)
        except ArgumentError as error:
            refused = error
    assert refused is not None  # the first is always tried
    raise refused


def _another(dim: Any, now: int | None, times: int) -> int:
    """Return a length of a dimension other than the example's, and other than 1 where there is one.

    Of two that are as near it is the larger: what the example holds may be places along it.
    """
    allowed = range(dim.min, dim.max + 1, dim.multiple_of)
    others = [n for n in allowed if n != now and n > 1]
    return min(others, key=lambda n: (abs(n - times * (now or dim.opt)), -n)) if others else allowed[0]


def _drawn(tensor: torch.Tensor, shape: Sequence[int], generator: torch.Generator, by_rows: str) -> torch.Tensor:
    is_whole = not tensor.is_floating_point() or bool((tensor == tensor.round()).all())
    has_rows = by_rows == "all" or (by_rows == "whole numbers" and is_whole)
    if tensor.is_floating_point() and bool(tensor.isfinite().all()) and not has_rows:
        numbers = tensor.detach().float()
        mean, least, largest = float(numbers.mean()), float(numbers.min()), float(numbers.max())
        deviation = float(numbers.std(correction=0)) if least != largest else 1.0
        drawn = torch.randn(tuple(shape), generator=generator) * deviation + mean
        if least != largest:
            within = torch.rand(tuple(shape), generator=generator) * (largest - least) + least
            drawn = torch.where((drawn < least) | (drawn > largest), within, drawn)
        return drawn.to(tensor.device, tensor.dtype)
    if has_rows:
        rows = next((axis for axis, n in enumerate(tensor.shape[:-1]) if n > 1), 0)  # a batch of one has others
        for axis, (n, length) in enumerate(zip(tensor.shape, shape, strict=True)):
            places = torch.arange(length, device=tensor.device) % n
            tensor = tensor.detach().index_select(axis, n - 1 - places if axis == rows else places)
        return tensor
    held = tensor.detach().flatten()
    picked = torch.randint(held.numel(), tuple(shape), generator=generator)
    return held[picked.to(held.device)]


def other_masks(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return inputs whose masks are others: of ones where there were zeros, and with zeros where there were none.

    A mask is what holds whole numbers or truths, of one number that is not 0, or of that and 0. Zeros are the second
    half of each row, as padding is.
    """

    def other(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point() or tensor.is_complex() or not tensor.ndim:
            return tensor
        held = tensor.unique().tolist()
        if len(held) == 2 and not all(held):
            return torch.full_like(tensor, sum(held))
        if len(held) == 1 and all(held):
            padded = tensor.clone()
            padded[..., (tensor.shape[-1] + 1) // 2 :] = 0
            return padded
        return tensor

    return [other(tensor) for tensor in tensors]


def outputs_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays and tensors in what a network or a torch module returned, with where they are."""

    def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            yield path or "output", value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from walk(item, f"{path}[{key!r}]")
        elif isinstance(value, (tuple, list)):
            for i, item in enumerate(value):
                yield from walk(item, f"{path}[{i}]")
        elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
            for name in value.__dataclass_fields__:
                yield from walk(getattr(value, name), f"{path}[{name!r}]")

    return walk(value, "")


def rounded_otherwise(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a tensor in fp64 with its numbers moved by at most what fp32 rounds off; one of other numbers as it is."""
    if tensor.dtype != torch.float64:
        return tensor
    moved = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype).mul_(2).sub_(1).mul_(_ROUNDING)
    return tensor * moved.to(tensor.device).add_(1)


def largest_difference(ours: Any, theirs: Any, which: str, exact: Callable[[int], Any] | None = None) -> float:
    """Return the largest difference of any output, in parts of that output's largest magnitude.

    Args:
        ours, theirs: what the network and torch returned.
        which: the input, for the message.
        exact: returns what torch gives in fp64, by 0, and by other numbers with its inputs and weights rounded
            otherwise; it is asked where the difference is larger than :data:`TOLERANCE`, for what rounding does grows
            from layer to layer, and in torch as well. Where a network is chaotic it is little once and much the
            next time, so that one comparison does not tell it.

    Raises:
        VerificationError: outputs are of other numbers, shapes or values; or ``exact``, where it is asked, raises.
    """
    mine, yours = list(outputs_of(ours)), list(outputs_of(theirs))
    if len(mine) != len(yours):
        raise VerificationError(f"on {which} there are {len(mine)} outputs, and {len(yours)} of torch")
    worst = 0.0
    runs: dict[int, list[Any]] = {}

    def exactly(number: int, output: int, differs: str) -> torch.Tensor:
        assert exact is not None
        if number not in runs:
            try:
                runs[number] = [value for _, value in outputs_of(exact(number))]
            except Exception as error:  # of torch's own forward, which may hold fp32 alone
                raise VerificationError(
                    differs,
                    "what rounding does is not known: in fp64 torch's own forward raised "
                    f"{type(error).__name__}: {error}",
                    "verify=False leaves the comparison out",
                ) from error
        return runs[number][output]

    for i, ((path, got), (_, expected)) in enumerate(zip(mine, yours, strict=True)):
        difference = _difference(got, expected, path, which)
        limit = _HALF_TOLERANCE if expected.dtype in (torch.float16, torch.bfloat16) else TOLERANCE
        if difference > limit and exact is not None and expected.is_floating_point():
            differs = _differs(path, which, difference)
            difference = _difference(got, exactly(0, i, differs), path, which)
            own, least = 0.0, limit
            for number in range(1 + _OTHER_ROUNDINGS):
                if number and difference <= limit:
                    break
                given = exactly(number, i, differs).float() if number else expected
                own = max(own, _difference(given, exactly(0, i, differs), path, which))
                limit = max(least, _TIMES_TORCH * own)
            if own > _UNCLEAR:
                raise VerificationError(
                    f"on {which} torch's own {path} differs from what it is in fp64 by {own:.1e} of its largest "
                    "magnitude, so that nothing can be compared",
                    "give the trained weights, or verify=False",
                )
        if not difference <= limit:
            raise VerificationError(_differs(path, which, difference), f"allowed is {limit:.1e}", *_reasons(expected))
        worst = max(worst, difference)
    return worst


def _reasons(expected: torch.Tensor) -> list[str]:
    """Return what may be the reason that an output differs from torch's."""
    fault = "this is a fault of the conversion: please report it with the module"
    if expected.is_floating_point():
        return [fault]
    return [
        "it may be indices of equal elements, such as -inf: torch's sort, argsort and topk give these in any order, "
        "trtnn's the first first; torch.sort(stable=True) does so too",
        f"else {fault}",
    ]


def _differs(path: str, which: str, difference: float) -> str:
    return f"on {which} {path} differs from torch's by {difference:.1e} of its largest magnitude"


def _difference(got: Any, expected: torch.Tensor, path: str, which: str) -> float:
    got = got.detach().cpu() if isinstance(got, torch.Tensor) else torch.as_tensor(np.asarray(got))
    expected = expected.detach().cpu()
    if tuple(got.shape) != tuple(expected.shape):
        raise VerificationError(f"on {which} {path} has shape {tuple(got.shape)}, and torch's {tuple(expected.shape)}")
    if not expected.is_floating_point():
        return float((got.to(expected.dtype) != expected).double().mean()) if expected.numel() else 0.0
    got, expected = got.double(), expected.detach().double()
    same = (got == expected) | (got.isnan() & expected.isnan())
    if bool(same.all()):
        return 0.0
    off = torch.where(same, 0.0, (got - expected).abs())
    largest = expected[expected.isfinite()].abs().max() if bool(expected.isfinite().any()) else torch.tensor(1.0)
    return float(off.max() / max(float(largest), 1e-12)) if bool(off.isfinite().all()) else float("inf")
