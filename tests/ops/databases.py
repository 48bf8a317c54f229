"""torch's own databases of operations and modules, run through trtnn and held against torch.

``op_db`` has sample inputs for every operation of torch, ``module_db`` for every module. Each sample is called in torch
and traced in trtnn, as a function, a method, in place and as an operator, and the network's reference is run.
"""

from __future__ import annotations

import contextlib
import operator
import random
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from tests.helpers import ONE_TARGET
from trtnn import Input, Module, Network, modules
from trtnn import functional as F
from trtnn.errors import TrtnnError
from trtnn.graph.tensor import Tensor
from trtnn.ops.complex import Complex

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

# The import forbids what other tests do: to set flags of cuDNN.
torch.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True
# Its fast path puts zeros where keys are padded, which torch without it does not.
torch.backends.mha.set_fastpath_enabled(False)

USUAL = ("float32", "float16", "int64", "bool")
ALL = (*USUAL, "int32", "bfloat16", "uint8", "int8")

# OpInfo calls these with an order of arguments of its own.
_OWN_ORDER = {
    "where": lambda input, condition, other: F.where(condition, input, other),
    "einsum": lambda tensors, equation: F.einsum(equation, *tensors),
    "nn.functional.embedding": lambda weight, input, **how: F.embedding(input, weight, **how),
    "nn.functional.embedding_bag": lambda weight, input, **how: F.embedding_bag(input, weight, **how),
    "nn.functional.multi_head_attention_forward": F.multi_head_attention_forward,
    "zero_": lambda x: x.clone().zero_(),
}
_OPERATORS = {
    name: lambda x, other, function=function: function(other, x)
    for name, function in {
        "__radd__": operator.add, "__rmul__": operator.mul, "__rand__": operator.and_, "__ror__": operator.or_,
        "__rxor__": operator.xor, "__rmatmul__": operator.matmul, "__rmod__": operator.mod, "__rpow__": operator.pow,
        "__rsub__": operator.sub,
    }.items()
}  # fmt: skip

NO_TENSORS = ("broadcast_shapes",)  # it gives a shape
OPERATIONS = {op.full_name: op for op in op_db}
MODULES = {info.module_cls.__name__: info for info in module_db}


class Way(NamedTuple):
    """One spelling of an operation, in torch and in trtnn."""

    name: str
    theirs: Callable[..., Any]
    ours: Callable[..., Any]


class Sample(NamedTuple):
    """The arguments of a call."""

    input: Any
    args: tuple
    kwargs: dict[str, Any]


class Outcome(NamedTuple):
    """What became of a sample: the problems that its comparison found, or trtnn's words where it refused."""

    problems: list[str]
    refusal: str | None = None


def our_function(name: str) -> Callable[..., Any] | None:
    """Return the function of ours that an operation of the database names, or None."""
    if name in _OWN_ORDER:
        return _OWN_ORDER[name]
    place: Any = F
    for part in name.removeprefix("nn.functional.").split("."):
        place = vars(place).get(part) if hasattr(place, "__dict__") else None
        if place is None:
            return None
    listed = "." in name.removeprefix("nn.functional.") or name.removeprefix("nn.functional.") in F.__all__
    return place if callable(place) and listed else None


def ways_of(op: Any) -> list[Way]:
    """Return the spellings of an operation that both have; none where trtnn lacks it."""
    plain = op.name.removeprefix("nn.functional.")
    ways = []
    # torch has unfold as a method alone; the function of the name is another.
    function = None if op.name == "unfold" else our_function(op.name)
    if function is not None:
        ways.append(Way("function", op.op, function))
    if op.name in _OPERATORS:
        return [Way("operator", op.op, _OPERATORS[op.name])]
    if plain == op.name and hasattr(Tensor, op.name):

        def method(x: Any, *args: Any, **kwargs: Any) -> Any:
            found = getattr(x, op.name)
            return found(*args, **kwargs) if callable(found) and not isinstance(found, Tensor) else found

        theirs = op.op if op.method_variant is None or op.name in ("T", "mT", "H", "mH") else op.method_variant
        ways.append(Way("method", theirs, method))
    if op.inplace_variant is not None and hasattr(Tensor, f"{plain}_"):

        def in_place(x: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(x.clone(), f"{plain}_")(*args, **kwargs)

        ways.append(Way("in place", lambda x, *args, **how: op.inplace_variant(x.clone(), *args, **how), in_place))
    if ways and op.operator_variant is not None and not op.name.startswith("__"):
        ways.append(Way("operator", op.operator_variant, op.operator_variant))
    return ways


def fits(way: Way, sample: Sample) -> bool:
    """Whether a sample can be spelled in a way."""
    if way.name != "function" and not isinstance(sample.input, torch.Tensor):
        return False
    return not way.name.startswith("operator") or (len(sample.args) <= 1 and not sample.kwargs)


def samples_of(op: Any, dtype: str, most: int | None) -> list[Sample]:
    """Return sample inputs, ``most`` of them drawn by a seed that the operation and the type give, or all."""
    seed = zlib.crc32(f"{op.full_name} {dtype}".encode())
    torch.manual_seed(seed)
    np.random.seed(seed % (1 << 31))
    random.seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # op.sample_inputs would look through the whole stack for the test that asks, and seed each sample anew.
        inputs = op.sample_inputs_func(op, "cpu", getattr(torch, dtype), False)
        samples = [Sample(s.input, tuple(s.args), dict(s.kwargs)) for s in inputs]
    if most is None or len(samples) <= most:
        return samples
    return [samples[i] for i in sorted(random.Random(seed).sample(range(len(samples)), most))]


def is_open(op: Any, sample: Sample) -> bool:
    """Whether torch itself leaves the numbers of a sample open: they are drawn, or what memory holds."""
    how = sample.kwargs
    return bool(
        ("dropout" in op.name and how.get("training", True))
        or (op.name == "nn.functional.rrelu" and how.get("training", False))
        or how.get("dropout_p", 0.0) > 0
        or op.name in ("empty", "empty_like", "new_empty")
    )


# -- one sample --------------------------------------------------------------------------------------------------------


def map_tensors(value: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    """Return a nest of arguments with a function applied to each torch tensor in it."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, Sample):
        return Sample(*(map_tensors(part, function) for part in value))
    if isinstance(value, (tuple, list)):
        items = [map_tensors(item, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(map_tensors(end, function) for end in (value.start, value.stop, value.step)))
    return value


class _Slot(NamedTuple):
    name: str
    dtype: str


class _Call(Module):
    def __init__(self, function: Callable[..., Any], sample: Any) -> None:
        super().__init__()
        self.function, self.sample = function, sample
        self.within: Any = None  # what the call gave while it was traced, in types

    def forward(self, **tensors: Any) -> Any:
        def fill(value: Any) -> Any:
            if isinstance(value, _Slot):
                tensor = tensors[value.name]
                return tensor.to(value.dtype) if value.dtype in ("float16", "bfloat16") else tensor
            if isinstance(value, Sample):
                return Sample(*map(fill, value))
            if isinstance(value, (tuple, list)):
                items = [fill(item) for item in value]
                return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
            if isinstance(value, dict):
                return {key: fill(item) for key, item in value.items()}
            if isinstance(value, slice):
                return slice(*map(fill, (value.start, value.stop, value.step)))
            return value

        filled = fill(self.sample)
        result = _as_real(self.function(filled.input, *filled.args, **filled.kwargs))
        self.within = [leaf.dtype.name for leaf in leaves(result) if isinstance(leaf, Tensor)]
        return result


def _as_real(value: Any) -> Any:
    """Return complex results, ours and torch's, with their two parts as a last dimension: no network gives others."""
    if isinstance(value, (tuple, list)):
        items = [_as_real(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Complex):
        return F.view_as_real(value)
    is_complex = isinstance(value, torch.Tensor) and value.is_complex()
    return torch.view_as_real(value.resolve_conj()) if is_complex else value


def leaves(value: Any) -> list[Any]:
    """Return what tuples and lists hold, in order."""
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def traced(ours: Callable[..., Any], sample: Sample) -> tuple[Network, dict[str, torch.Tensor], _Call]:
    """Trace a call in which every tensor is an input of the network."""
    arrays: dict[str, torch.Tensor] = {}

    def slot(tensor: torch.Tensor) -> _Slot:
        name = f"x{len(arrays)}"
        arrays[name] = tensor.detach().resolve_conj().resolve_neg().contiguous()
        return _Slot(name, str(tensor.dtype).removeprefix("torch."))

    program = _Call(ours, map_tensors(sample, slot))
    arrays = arrays or {"unused": torch.zeros(1)}  # a network has at least one input
    specs = {name: Input(tuple(tensor.shape), tensor.dtype) for name, tensor in arrays.items()}
    return program.trace(specs), arrays, program


def _copied(sample: Sample) -> Sample:
    return map_tensors(sample, lambda tensor: tensor.detach().clone())


def _in_torch(function: Callable[..., Any], sample: Sample) -> Any:
    sample = _copied(sample)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return _as_real(function(sample.input, *sample.args, **sample.kwargs))


def outcome(op: Any, way: Way, sample: Sample, build: bool = False) -> Outcome | None:
    """Run one sample in torch and in trtnn.

    Returns:
        None where both refuse it.
    """
    theirs = None
    with contextlib.suppress(Exception):
        theirs = _in_torch(way.theirs, sample)
    try:
        network, arrays, program = traced(way.ours, sample)
        ours = network.run(**arrays)
    except TrtnnError as error:
        return None if theirs is None else Outcome([], str(error))
    if theirs is None:  # trtnn takes more than torch does
        return None
    if build:
        try:
            network.build(**ONE_TARGET)
        except TrtnnError as error:
            return Outcome([], str(error))
    ours = _with_ties(sample, ours, theirs) if op.name in _WITH_TIES else ours
    problems = [] if is_open(op, sample) else differences(ours, theirs, _truth(way, sample))
    expected = [str(leaf.dtype).removeprefix("torch.") for leaf in leaves(theirs) if isinstance(leaf, torch.Tensor)]
    if program.within != expected:
        problems.append(f"types within the network: {program.within}, not {expected}")
    return Outcome(problems)


# Of equal elements torch picks whichever comes first to it.
_WITH_TIES = frozenset(
    [
        "argmax",
        "argmin",
        "argsort",
        "cummax",
        "cummin",
        "kthvalue",
        "max",
        "median",
        "min",
        "mode",
        "msort",
        "nanmedian",
        "sort",
        "topk",
    ]
)


def _with_ties(sample: Sample, ours: Any, theirs: Any) -> Any:
    """Return a result in which indices of other elements that are equal are torch's own."""
    mine, expected, x = leaves(ours), leaves(theirs), sample.input
    if len(mine) != len(expected) or not isinstance(x, torch.Tensor) or sample.kwargs.get("stable") is True:
        return ours
    indices, wanted = mine[-1], expected[-1]
    if wanted.dtype != torch.int64 or (indices.shape, indices.dtype) != (wanted.shape, wanted.dtype):
        return ours
    dim = sample.kwargs.get("dim")
    if not wanted.ndim:  # of the whole
        x, dim = x.reshape(-1), 0
    for axis in range(x.ndim) if dim is None else (dim % max(1, x.ndim),):
        a, b = (value if value.ndim == x.ndim else value.unsqueeze(axis) for value in (indices, wanted))
        if [*a.shape[:axis], *a.shape[axis + 1 :]] != [*x.shape[:axis], *x.shape[axis + 1 :]]:
            continue
        known = int(a.min()) >= 0 and int(a.max()) < x.shape[axis]
        if known and _equal(x.gather(axis, a), x.gather(axis, b)) and _once(a, axis):
            return wanted if isinstance(ours, torch.Tensor) else (*mine[:-1], wanted)
    return ours


def _once(indices: torch.Tensor, axis: int) -> bool:
    return bool((indices.sort(axis).values.diff(dim=axis) > 0).all())


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _truth(way: Way, sample: Sample) -> list[torch.Tensor] | None:
    """Return the result of the same numbers in float64, by which half precision is judged, or None."""
    half = (torch.float16, torch.bfloat16)
    kinds: set[torch.dtype] = {sample.kwargs.get("dtype")}
    map_tensors(sample, lambda tensor: kinds.add(tensor.dtype))
    if not kinds.intersection(half):
        return None
    wide = map_tensors(sample, lambda tensor: tensor.double() if tensor.dtype in half else tensor)
    if wide.kwargs.get("dtype") in half:
        wide = wide._replace(kwargs=wide.kwargs | {"dtype": torch.float64})
    with contextlib.suppress(Exception):
        return leaves(_in_torch(way.theirs, wide))
    return None


# Of each type, how far a result may be off: in parts of its own magnitude, and in parts of the largest in the result
# beside it, since what sums up to little has errors of the size of what was summed.
BOUNDS = {
    torch.float64: (1e-4, 2e-6),
    torch.float32: (1e-4, 2e-6),
    torch.float16: (2e-3, 1e-3),
    torch.bfloat16: (1.6e-2, 8e-3),
}


def differences(ours: Any, theirs: Any, truth: list[torch.Tensor] | None = None) -> list[str]:
    """Say where a result differs from torch's: in structure, shape, type, or an element."""
    mine, expected = leaves(ours), leaves(theirs)
    if len(mine) != len(expected) or isinstance(ours, (tuple, list)) != isinstance(theirs, (tuple, list)):
        return [f"{len(mine)} results, not {len(expected)}"]
    found = []
    for i, (a, b) in enumerate(zip(mine, expected, strict=True)):
        exact = truth[i] if truth is not None and len(truth) == len(expected) else None
        found += [f"result {i}: {problem}" for problem in _differences(a, b, exact)]
    return found


def _differences(a: Any, b: Any, exact: Any) -> Iterator[str]:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        yield from () if a == b else [f"{a!r}, not {b!r}"]
        return
    outside = torch.float32 if b.dtype == torch.float16 else b.dtype  # fp16 leaves a network as fp32
    if a.dtype != outside:
        yield f"{a.dtype}, not {outside}"
    if a.shape != b.shape:
        yield f"shape {tuple(a.shape)}, not {tuple(b.shape)}"
        return
    if not b.dtype.is_floating_point:
        if not torch.equal(a.long(), b.long()):
            yield f"{int((a.long() != b.long()).sum())} of {b.numel()} differ, such as {_first(a, b, a != b)}"
        return
    relative, of_scale = BOUNDS[b.dtype]
    mine, theirs = a.double(), b.double()
    same = (mine == theirs) | (mine.isnan() & theirs.isnan())
    for reference in (
        theirs,
        *([exact.double()] if isinstance(exact, torch.Tensor) and exact.shape == b.shape else []),
    ):
        finite = reference.isfinite() & mine.isfinite()
        scale = float(reference[finite].abs().max()) if finite.any() else 0.0
        same |= finite & ((mine - reference).abs() <= relative * reference.abs() + of_scale * min(scale, 1e3) + 1e-30)
    if not same.all():
        yield f"{int((~same).sum())} of {b.numel()} differ, such as {_first(mine, theirs, ~same)}"


def _first(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> str:
    at = tuple(where.nonzero()[0].tolist())
    return f"{a[at].item():.7g} in place of {b[at].item():.7g} at {at}"


# -- modules -----------------------------------------------------------------------------------------------------------


def as_ours(value: Any) -> Any:
    """Return what a constructor of torch's is given as what ours is given: modules and functions by their names."""
    if isinstance(value, (torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer)):
        return getattr(modules, type(value).__name__)(
            value.self_attn.embed_dim, value.self_attn.num_heads, value.linear1.out_features, 0.0,
            as_ours(value.activation), value.norm1.eps, value.self_attn.batch_first, value.norm_first,
            value.linear1.bias is not None,
        )  # fmt: skip
    if isinstance(value, torch.nn.Module):
        return getattr(modules, type(value).__name__)()
    name = getattr(value, "__name__", "")
    return getattr(F, name) if callable(value) and not isinstance(value, type) and name in F.__all__ else value


def module_samples(info: Any, dtype: torch.dtype = torch.float32) -> list[Any]:
    """Return the samples of a module: how it is made, and what it is called with."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            sample
            for sample in info.module_inputs_func(info, "cpu", dtype, requires_grad=False, training=False)
            if sample.forward_input is not None
        ]


def module_outcome(info: Any, sample: Any, build: bool = False) -> Outcome | None:
    """Run one sample of a module in torch and in trtnn; None where torch refuses it."""
    made, given = sample.constructor_input, sample.forward_input
    torch.manual_seed(0)
    try:
        theirs = info.module_cls(*made.args, **made.kwargs).eval()
        generator = torch.Generator().manual_seed(1)
        for name, tensor in theirs.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator) * 0.5
                tensor.copy_(drawn.abs() + 0.5 if name.endswith("var") else drawn)
        call = Sample(None, tuple(given.args), dict(given.kwargs))
        expected = _in_torch(lambda _, *args, **kwargs: theirs(*args, **kwargs), call)
    except Exception:
        return None
    try:
        ours = getattr(modules, info.module_cls.__name__)(
            *(as_ours(value) for value in made.args), **{key: as_ours(value) for key, value in made.kwargs.items()}
        )
        ours.load_state_dict(theirs.state_dict())

        def run(_: Any, *args: Any, **kwargs: Any) -> Any:
            return ours(*args, **kwargs)

        network, arrays, _ = traced(run, call)
        result = network.run(**arrays)
        if build:
            network.build(**ONE_TARGET)
    except TrtnnError as error:
        return Outcome([], str(error))
    return Outcome(differences(result, expected))
