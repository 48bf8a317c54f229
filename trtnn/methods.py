"""The methods and operators of Tensors and Parameters: the functions under the names that torch has for them.

It is imported for what it does to the two classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.dtypes import DType, bfloat16, bool_, float16, float32, int32, int64, uint8
from trtnn.errors import UnsupportedError
from trtnn.functional import (
    add,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    cast,
    div,
    eq,
    expand,
    expand_as,
    floor_divide,
    full_like,
    ge,
    getitem,
    gt,
    imag,
    is_floating_point,
    le,
    lt,
    matmul,
    mul,
    ne,
    neg,
    permute,
    put,
    remainder,
    reshape,
    reshape_as,
    sub,
    tile,
    transpose,
    unbind,
    where,
    windows,
    zeros_like,
)
from trtnn.graph.graph import current_graph
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand
from trtnn.ops._inplace import in_place, viewing
from trtnn.ops._promotion import dtype_of
from trtnn.ops.assigning import setitem
from trtnn.ops.calling import public, torch_function
from trtnn.ops.complex import Complex, beside_a_complex_number
from trtnn.ops.constants import index, item, numpy, tolist, truth
from trtnn.ops.creation import new_full, new_ones, new_tensor, new_zeros, of_array
from trtnn.ops.diagonals import fill_diagonal
from trtnn.ops.empty import new_empty
from trtnn.ops.missing import MISSING, explain
from trtnn.ops.places import DEVICE, double, element_size, stride, to, type_
from trtnn.ops.reshaping import reshaping_in_place
from trtnn.ops.shaping import unpacked
from trtnn.ops.turning import sum_to_size
from trtnn.parameter import Parameter
from trtnn.shapes.symbolic import Length


def _refuse_in_place(parameter: Parameter, *args: Any, **kwargs: Any) -> None:
    raise UnsupportedError("a Parameter changed in place", "an engine's weights stay as they are", "write y = p + x")


def _swapped(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    return lambda input, other: function(other, input)


def _of_operands(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Any]:
    """Return ``==`` or ``!=`` that leaves what is no operand, such as None, to Python, as in torch."""

    def compare(input: Tensor, other: Any) -> Any:
        if other is None or isinstance(other, (str, bytes, list, tuple, dict, set, DType)):
            return NotImplemented
        return function(input, other)

    return compare


def _beside_complex(name: str) -> Callable[..., Any]:
    """Return arithmetic that leaves complex numbers on the right to :class:`Complex`, and takes those of Python."""
    function = OPERATORS_OF_TWO[name.removeprefix("r")]
    function = _swapped(function) if name.startswith("r") else function

    def compute(input: Tensor, other: Any) -> Tensor:
        if type(other) is complex:
            return beside_a_complex_number(input, name, other)  # type: ignore[return-value]
        return NotImplemented if type(other) is Complex else function(input, other)

    return compute


def _where_else(input: Tensor, condition: Operand, other: Operand) -> Tensor:
    """Return the tensor where a condition is true, else other; see :func:`where`."""
    return where(condition, input, other)


def _type_as(input: Tensor, other: Tensor) -> Tensor:
    """Return the elements in the type of another tensor."""
    return cast(input, other.dtype)


def _as_it_is(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the tensor: where it is and how it lies in memory is the engine's to decide."""
    return input


def _contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """Return the tensor as a view of itself: whether torch copies it depends on how it lies in memory.

    So the other is outdated once one of the two is changed in place.
    """
    result = input.copy()
    result.share_memory_of(input)
    result.repeats = False  # torch copies what repeats elements
    return result


def _filled(input: Tensor, value: Any) -> Tensor:
    """Return one number in every place, in the shape and type of ``input``."""
    return full_like(input, value)


def _to_type(dtype: DType) -> Callable[[Tensor], Tensor]:
    def method(input: Tensor) -> Tensor:
        return cast(input, dtype)

    method.__doc__ = f"Return the elements as {dtype.name}."
    return method


def _copied(input: Tensor, src: Any) -> Tensor:
    """Return the elements of another tensor, or a number, in the shape and type of ``input``."""
    if isinstance(src, (bool, int, float)):
        return _filled(input, src)
    return cast(expand(src, input.shape), input.dtype)


def _tiled(input: Tensor, *sizes: Length | Sequence[Length], dims: Sequence[Length] = ()) -> Tensor:
    """Repeat the whole tensor so many times along its last dimensions; see :func:`tile`."""
    return tile(input, unpacked(sizes) if sizes else tuple(dims))


def _is_contiguous(input: Tensor, memory_format: Any = None) -> bool:
    """Return True: what lies how in memory is the engine's to decide."""
    return True


# The functions that are methods under the same name.
_SAME_NAME = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint",
    "all", "amax", "amin", "aminmax", "angle", "any", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atan2", "atanh", "baddbmm", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bmm", "broadcast_to",
    "cast", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "clone", "conj", "conj_physical", "copysign",
    "cos", "cosh", "count_nonzero", "cross", "cummax", "cummin", "cumprod", "cumsum", "deg2rad", "det", "detach",
    "diag", "diag_embed", "diagflat", "diagonal", "diagonal_scatter", "diff", "dist", "div", "divide", "dot", "dsplit",
    "eq", "erf", "erfc", "exp", "exp2", "expand", "expm1", "fix", "flatten", "flip", "fliplr", "flipud", "floor",
    "floor_divide", "fmax", "fmin", "fmod", "frac", "gather", "ge", "ger", "greater", "greater_equal", "gt",
    "hardshrink", "heaviside", "histc", "hsplit", "hypot", "index_add", "index_copy", "index_fill", "index_put",
    "index_reduce", "index_select", "inner", "inverse", "is_complex", "isclose", "isfinite", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "istft", "kron", "kthvalue", "ldexp", "le", "lerp", "less", "less_equal", "log",
    "log10", "log1p", "log2", "log_softmax", "logaddexp", "logaddexp2", "logcumsumexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logsumexp", "lt", "masked_fill", "masked_scatter", "matmul", "matrix_power",
    "max", "maximum", "mean", "median", "min", "minimum", "mm", "mode", "moveaxis", "movedim", "msort", "mul",
    "multiply", "mv", "nan_to_num", "nanmean", "nanmedian", "nanquantile", "nansum", "narrow", "ne", "neg", "negative",
    "norm", "not_equal", "outer", "permute", "positive", "pow", "prelu", "prod", "put", "quantile", "rad2deg", "ravel",
    "reciprocal", "relu", "remainder", "repeat", "repeat_interleave", "reshape", "resolve_conj", "resolve_neg", "roll",
    "rot90", "round", "rsqrt", "scatter", "scatter_add", "scatter_reduce", "select", "select_scatter", "sgn", "sigmoid",
    "sign", "signbit", "sin", "sinc", "sinh", "slice_scatter", "softmax", "sort", "split", "split_with_sizes", "sqrt",
    "square", "squeeze", "std", "stft", "sub", "subtract", "sum", "swapaxes", "swapdims", "t", "take", "take_along_dim",
    "tan", "tanh", "tensor_split", "topk", "trace", "transpose", "tril", "triu", "true_divide", "trunc",
    "unbind", "unflatten", "unsafe_chunk", "unsafe_split", "unsqueeze", "var", "vdot", "vsplit", "xlogy",
)  # fmt: skip

# Of each operator, its function; those in the second table also stand with their Tensor on the right.
OPERATORS = {
    "eq": eq,
    "ne": ne,
    "lt": lt,
    "le": le,
    "gt": gt,
    "ge": ge,
    "neg": neg,
    "abs": F.abs,
    "invert": bitwise_not,
}
OPERATORS_OF_TWO = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "floordiv": floor_divide, "mod": remainder, "pow": F.pow,
    "matmul": matmul, "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor,
    "lshift": bitwise_left_shift, "rshift": bitwise_right_shift,
}  # fmt: skip

METHODS: dict[str, Any] = {
    **{name: getattr(F, name) for name in _SAME_NAME},
    **{f"__{name}__": function for name, function in (OPERATORS | OPERATORS_OF_TWO).items()},
    "__eq__": _of_operands(eq),
    "__ne__": _of_operands(ne),
    "__pos__": _as_it_is,
    "__bool__": truth,
    "__float__": lambda input: float(item(input)),
    "__int__": lambda input: int(item(input)),
    "__index__": index,
    "__array__": lambda input, dtype=None, copy=None: numpy(input).astype(dtype or input.dtype.numpy or "float32"),
    **{f"__r{name}__": _swapped(function) for name, function in OPERATORS_OF_TWO.items()},
    **{f"__{r}{name}__": _beside_complex(f"{r}{name}") for r in ("", "r") for name in ("add", "sub", "mul", "truediv")},
    "__getitem__": getitem,
    "__setitem__": setitem,
    "T": property(lambda input: permute(input, range(input.ndim)[::-1]), doc="It with its dimensions reversed."),
    "mT": property(lambda input: transpose(input, -2, -1), doc="It with its last two dimensions exchanged."),
    "H": property(lambda input: permute(input, range(input.ndim)[::-1]), doc="T, as no element is complex."),
    "mH": property(lambda input: transpose(input, -2, -1), doc="mT, as no element is complex."),
    "bfloat16": _to_type(bfloat16),
    "bool": _to_type(bool_),
    "byte": _to_type(uint8),
    **dict.fromkeys(("cpu", "cuda", "requires_grad_", "detach_"), _as_it_is),
    "contiguous": _contiguous,
    "expand_as": expand_as,
    "device": property(lambda input: DEVICE, doc="The GPU that the engine runs on."),
    "is_cuda": property(lambda input: True, doc="True: an engine runs on a GPU."),
    "requires_grad": property(lambda input: False, doc="False: nothing is learned in an engine."),
    "data": property(viewing(_as_it_is)),
    "double": double,
    "element_size": element_size,
    "float": _to_type(float32),
    "half": _to_type(float16),
    "imag": property(imag),
    "int": _to_type(int32),
    "is_contiguous": _is_contiguous,
    "is_floating_point": is_floating_point,
    "item": item,
    "long": _to_type(int64),
    "new_tensor": new_tensor,
    "numpy": numpy,
    "real": property(_as_it_is),
    "stride": stride,
    "sum_to_size": sum_to_size,
    "tolist": tolist,
    "new_empty": new_empty,
    "new_full": new_full,
    "new_ones": new_ones,
    "new_zeros": new_zeros,
    "reshape_as": reshape_as,
    "tile": _tiled,
    "to": to,
    "type": type_,
    "type_as": _type_as,
    "unfold": windows,
    "view": reshape,
    "view_as": reshape_as,
    "where": _where_else,
}

# The functions that are methods in place under the same name and an underscore.
IN_PLACE = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh",
    "baddbmm", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "ceil", "clamp", "clamp_max", "clamp_min", "clip", "conj_physical", "copysign", "cos", "cosh", "cumprod", "cumsum",
    "deg2rad", "div", "divide", "eq", "erf", "erfc", "exp", "exp2", "expm1", "fix", "floor", "floor_divide", "fmod",
    "frac", "ge", "greater", "greater_equal", "gt", "heaviside", "hypot", "index_add", "index_copy", "index_fill",
    "index_put", "index_reduce", "ldexp", "le", "lerp", "less", "less_equal", "log", "log10", "log1p", "log2",
    "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "lt", "masked_fill", "masked_scatter", "mul",
    "multiply", "nan_to_num", "ne", "neg", "negative", "not_equal", "pow", "rad2deg", "reciprocal", "relu", "remainder",
    "round", "rsqrt", "scatter", "scatter_add", "scatter_reduce", "sgn", "sigmoid", "sign", "sin", "sinc", "sinh",
    "sqrt", "square", "sub", "subtract", "tan", "tanh", "tril", "triu", "true_divide", "trunc", "xlogy",
)  # fmt: skip
METHODS_IN_PLACE: dict[str, Any] = {
    **{f"{name}_": in_place(METHODS[name]) for name in IN_PLACE},
    **{f"__i{name}__": in_place(function) for name, function in OPERATORS_OF_TWO.items() if name != "matmul"},
    **{
        f"{name}_": reshaping_in_place(METHODS[name])
        for name in ("squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
    },
    "copy_": in_place(_copied),
    "fill_": in_place(_filled),
    "fill_diagonal_": in_place(fill_diagonal),
    "put_": in_place(put),
    "zero_": in_place(zeros_like),
}


def _as_method(name: str, function: Any) -> Any:
    """Return a method as it is called from outside; operators take operands as they come."""
    if isinstance(function, property) or name.startswith("__") or getattr(F, name, None) is function:
        return function
    return public(function, f"Tensor.{name}")


_BOUND = {name: _as_method(name, function) for name, function in (METHODS | METHODS_IN_PLACE).items()}
for _name, _function in _BOUND.items():
    setattr(Tensor, _name, _function)


def _compared_as_itself(function: Callable[..., Any]) -> Callable[[Parameter, Any], Any]:
    """Return ``==`` or ``!=`` that is Python's own of two parameters outside a trace, for ``p in parameters``."""

    def compare(parameter: Parameter, other: Any) -> Any:
        if current_graph() is None and isinstance(other, Parameter):
            return NotImplemented
        return function(of_array(parameter), other)

    return compare


def _on_parameter(name: str, function: Any) -> Any:
    if isinstance(function, property):
        getter: Any = function.fget
        return property(lambda parameter: getter(of_array(parameter)))
    if name.strip("_").removeprefix("r") in OPERATORS_OF_TWO:  # they take operands of any kind
        return function
    if name.startswith("__"):
        return lambda parameter, *args, **kwargs: function(of_array(parameter), *args, **kwargs)
    return function  # its door makes a Tensor of it


# A parameter within forward does what a Tensor does. Outside it is an array: it has the numbers that it holds.
for _name, _function in {
    **{name: _BOUND[name] for name in METHODS},
    "__iter__": lambda input: iter(unbind(input)),
}.items():
    if _name not in vars(Parameter) and _name != "data":
        setattr(Parameter, _name, _on_parameter(_name, _function))
for _name, _function in {
    **dict.fromkeys(METHODS_IN_PLACE, _refuse_in_place),
    **{name: _compared_as_itself(METHODS[name]) for name in ("__eq__", "__ne__")},
    "dtype": property(dtype_of),
}.items():
    setattr(Parameter, _name, _function)


class _Missing:
    """A method of torch's that is not here: to read it says why, and what to use instead.

    One for each name, and no ``__getattr__``: with that Python looks up every attribute of a class the slow way.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        raise AttributeError(explain(owner.__name__, self.name, ()), name=self.name, obj=instance)


_BY_NAME = {
    **{name: getattr(F, name) for name in F.__all__},
    **{f"fft_{name}": getattr(F.fft, name) for name in F.fft.__all__},
}
for _owner in (Tensor, Complex):
    setattr(_owner, "__torch_function__", torch_function(_BY_NAME))  # noqa: B010


def _say_what_is_missing(owner: type) -> None:
    names = {name for plain in MISSING if "." not in plain for name in (plain, f"{plain}_")} - {*dir(owner)}
    for name in names:
        setattr(owner, name, _Missing(name))
    setattr(owner, "__dir__", lambda value: [name for name in object.__dir__(value) if name not in names])  # noqa: B010


_say_what_is_missing(Tensor)
_say_what_is_missing(Parameter)
