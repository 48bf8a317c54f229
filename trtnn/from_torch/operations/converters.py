"""What each call of torch's is in trtnn: by its name, which is mostly the same, or by a converter.

>>> @trtnn.from_torch.converter(torchvision.ops.deform_conv2d)
... def deform_conv2d(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
...     return f"F.deform_conv2d({input}, {offset}, {weight}, {bias}, {stride}, {padding}, {dilation}, {mask})"

A converter takes a call's arguments, Tensors and lengths as source, and returns source. One of a module's class takes
the torch module and returns the source of its constructor, such as ``"Conv2d(3, 8, 3)"``: a module with its state dict.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import torch

from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.from_torch.recording.steps import Listed, Step, Value, values_in
from trtnn.from_torch.source.expressions import (
    Attribute,
    Binary,
    Call,
    Expression,
    Item,
    Negative,
    Number,
    Text,
)
from trtnn.from_torch.source.parsing import parse
from trtnn.graph.tensor import Tensor
from trtnn.ops._annotations import as_switch

Express = Callable[..., Expression]  # of a recorded value, and what an argument of it would be called

_REGISTERED: dict[Any, Callable[..., str]] = {}


class Missing(Exception):
    """trtnn has no counterpart of an operation."""


def converter(target: Any) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Register what a function of torch's, a custom operator, or a class of modules is in trtnn.

    Args:
        target: the function, such as ``torch.ops.mine.op`` or ``torchvision.ops.roi_align``, or a subclass of
            torch.nn.Module, whose forward is then not looked into.

    Returns:
        A decorator for the converter: of a function it takes the call's arguments, with source in place of Tensors and
        of what is computed of their lengths, and returns the source of an expression over ``F``, which is
        ``trtnn.functional``, and the methods of Tensors. Of a class it takes the torch module and returns the source of
        a module of ``trtnn.modules`` that takes the same state dict and arguments.

    Raises:
        ArgumentError: it is neither a function nor a class of modules.
    """
    if not callable(target):
        raise ArgumentError(f"a converter is of a function or of a class of modules, not {target!r}")

    def register(function: Callable[..., str]) -> Callable[..., str]:
        _REGISTERED[_key(target)] = function
        return function

    return register


def registered(target: Any) -> Callable[..., str] | None:
    """Return the converter that was registered for a function or a class, or None."""
    return _REGISTERED.get(_key(target))


def _key(target: Any) -> Any:
    return target.overloadpacket if isinstance(target, torch._ops.OpOverload) else target


class _Source:
    """An argument of a converter: its text stands for a node of the tree."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return self.name


_DTYPES = {
    torch.float64: "float32", torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16",
    torch.int64: "int64", torch.int32: "int32", torch.int16: "int32", torch.int8: "int8", torch.uint8: "uint8",
    torch.bool: "bool_",
}  # fmt: skip
# What torch is told of where and how, and not of what.
_HOW = frozenset((
    "device", "layout", "memory_format", "pin_memory", "requires_grad", "non_blocking", "copy", "out", "_stacklevel",
    "generator",
))  # fmt: skip
_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "matmul": "@", "pow": "**",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
# Operators come under the names of methods.
_WHERE = frozenset(("contiguous", "cpu", "cuda", "detach", "pin_memory"))  # of memory, which a network has none of
_SYMBOLS = {"add": "add", "sub": "sub", "mul": "mul", "div": "truediv", "matmul": "matmul", "eq": "eq", "ne": "ne",
            "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "true_divide": "truediv"}  # fmt: skip
_ASSIGNED = {f"{name}_": _INFIX[_SYMBOLS[name]] for name in ("add", "sub", "mul", "div")}
_ASSIGNED |= {f"__i{name}__": sign for name, sign in _INFIX.items()}
_ALIASES = {"special_expit": "sigmoid", "expit": "sigmoid", "_transformer_encoder_layer_fwd": "", "_conj": "conj",
            "log_sigmoid": "logsigmoid", "numpy_T": "T"}  # fmt: skip
_JOINS = frozenset(("cat", "concat", "concatenate", "hstack"))  # here without what holds no elements
_OF_INTEGERS = frozenset(("quantize_per_tensor", "quantize_per_channel", "dequantize", "int_repr"))


def augmented_sign(step: Step) -> str | None:
    """Return the sign of ``x += y`` and its like, or None."""
    return _ASSIGNED.get(step.name) if step.writes is not None and len(step.args) == 2 and not step.kwargs else None


def owner_is_tensor(step: Step) -> bool:
    """Whether a recorded function is a method of torch.Tensor."""
    return step.owner.startswith(("torch.Tensor", "torch._C"))


def dtype_text(dtype: torch.dtype) -> Text:
    """Return the name of trtnn's type for one of torch's.

    Raises:
        Missing: it has none.
    """
    if dtype not in _DTYPES:
        raise Missing(str(dtype))
    return Text(f"trtnn.{_DTYPES[dtype]}")


_COMPLEX_CASTS = frozenset(("to", "type", "cfloat"))
_FILLS = frozenset((
    "zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones",
    "new_full", "new_empty", "tensor",
))  # fmt: skip


def convert(step: Step, express: Express) -> Expression:
    """Return the expression that a recorded function is in trtnn.

    Raises:
        Missing: it has none.
    """
    own = registered(step.function)
    made = _made_complex(step, express) if own is None else _converted(own, step, express)
    if made is not None:
        return made
    args, kwargs = list(step.args), {key: value for key, value in step.kwargs.items() if key not in _HOW}
    name = step.name
    plain = name.strip("_")
    is_operator = owner_is_tensor(step) or (step.owner == "torch.ops.aten" and isinstance(args[0], Value))
    if is_operator and name in _SYMBOLS and len(args) == 2 and not kwargs:
        return _binary(_SYMBOLS[name], args[0], args[1], express)
    if name.startswith("__") and len(args) == 2 and not kwargs:
        if plain in _INFIX:
            return _binary(plain, args[0], args[1], express)
        if plain[0] in "ri" and plain[1:] in _INFIX:
            swapped = plain[0] == "r"
            return _binary(plain[1:], *(reversed(args) if swapped else args), express)
    if len(args) == 1 and (name in ("__neg__", "__invert__") or (name == "neg" and owner_is_tensor(step))):
        return Negative(express(args[0]), "~" if plain == "invert" else "-")
    if name in _WHERE and step.writes is None:
        copied = name == "contiguous" and isinstance(step.result, Value) and step.result.last_write >= 0
        return Call(Attribute(express(args[0]), "clone"), ()) if copied else express(args[0])
    if name == "to" and _asks_for_a_copy(step):
        return Call(Attribute(_call(step, _without_how(args), kwargs, express), "clone"), ())
    if name == "__iter__":
        return Call(Attribute(express(args[0]), "unbind"), ())
    spelt_out = OF_ATEN.get(name) if step.owner == "torch.ops.aten" else None
    if (spelt_out := spelt_out or _SPELT_OUT.get(name)) is not None:
        return spelt_out(step, express)
    if name.startswith("get:"):
        if not hasattr(Tensor, name[4:]):
            raise Missing(f"torch.Tensor.{name[4:]}")
        return Attribute(express(args[0]), name[4:])
    return _call(step, _without_how(_with_elements(args) if name in _JOINS else args), kwargs, express)


def _made_complex(step: Step, express: Express) -> Expression | None:
    """Return what makes complex numbers of real ones by their type, and others of its kind: ``x + 0j``."""
    arguments = (*step.args, *step.kwargs.values())
    is_told = any(isinstance(value, torch.dtype) and value.is_complex for value in arguments)
    if not (is_told or step.name == "cfloat") or any(isinstance(value, complex) for value in arguments):
        return None
    is_cast = step.name in _COMPLEX_CASTS
    if any(value.tensor.is_complex() for value in values_in(arguments)):
        same = express(step.args[0]) if is_cast else None
        return Call(Attribute(same, "clone"), ()) if same is not None and _asks_for_a_copy(step) else same
    if is_cast:
        return Binary(express(step.args[0]), "+", Text("0j"))
    if step.name not in _FILLS:
        return None
    real = copy.copy(step)
    real.args = tuple(torch.float32 if isinstance(value, torch.dtype) else value for value in step.args)
    real.kwargs = step.kwargs | {"dtype": torch.float32}
    return Binary(convert(real, express), "+", Text("0j"))


def _asks_for_a_copy(step: Step) -> bool:
    """Whether ``x.to(...)`` gives another tensor also where the type is the same: ``copy``, or the second bool."""
    flags = [value for value in step.args if isinstance(value, bool)]
    return bool(step.kwargs.get("copy", flags[1:] == [True]))


def _item(step: Step, express: Express) -> Expression:
    """Return ``x[index]``, of Python's own index."""
    x, index = step.args
    return Item(express(x), tuple(map(express, index if type(index) is tuple else (index,))))


def _clone(step: Step, express: Express) -> Expression:
    """Return a copy; of a constant of one element, which is a number here, that number."""
    copied = express(step.args[0] if step.args else step.kwargs["input"])
    return copied if isinstance(copied, Number) else Call(Attribute(copied, "clone"), ())


def _fused_fake_quantize(step: Step, express: Express) -> Expression:
    """Return what torch's step of training with quantisation does where it measures nothing."""
    x, measuring, quantising, _, _, scale, zero_point, _, low, high, axis, *per_channel = step.args
    if measuring.tensor.any():
        raise Missing(f"{step.owner}.{step.name} with its observer on")
    if not quantising.tensor.any():
        return express(x)
    channels = bool(per_channel) and per_channel[0]
    function = Attribute(Text("F"), f"fake_quantize_per_{'channel' if channels else 'tensor'}_affine")
    axes = (express(axis, "axis"),) if channels else ()
    ends = (express(low, "quant_min"), express(high, "quant_max"))
    return Call(function, (express(x), express(scale), express(zero_point), *axes, *ends))


def _weight_norm(step: Step, express: Express) -> Expression:
    """Return a direction times a length: the norm that divides it is over all dimensions but one."""
    direction, length, *rest = step.args
    dim = step.kwargs.get("dim", rest[0] if rest else 0)
    others = tuple(i for i in range(direction.tensor.ndim) if i != dim)
    norm = Call(
        Attribute(Attribute(Text("F"), "linalg"), "vector_norm"),
        (express(direction),),
        (("dim", Number(others, "dim")), ("keepdim", Text("True"))),
    )
    return Binary(express(direction), "*", Binary(express(length), "/", norm))


def _mse_loss(step: Step, express: Express) -> Expression:
    """Return a mean squared error: models that quantise vectors return one beside their outputs."""
    input, target, *rest = step.args
    how = rest[2] if len(rest) > 2 else step.kwargs.get("reduction", "mean")
    if how not in ("mean", "sum", "none") or step.kwargs.get("weight") is not None:
        raise Missing(f"{step.owner}.{step.name} with reduction={how!r}")
    square = Binary(Binary(express(input), "-", express(target)), "**", Text("2"))
    return square if how == "none" else Call(Attribute(square, how), ())


def _grouped_mm(step: Step, express: Express) -> Expression:
    """Return a product of grouped rows: ATen's, and transformers' own, take all by position."""
    given = dict(zip(("self", "mat2", "offs", "bias", "out_dtype"), step.args, strict=False)) | step.kwargs
    a, b = given.pop("self", given.pop("input", None)), given.pop("mat2", given.pop("weight", None))
    named = tuple((key, express(value, key)) for key, value in given.items() if value is not None)
    return Call(Attribute(Text("F"), "grouped_mm"), (express(a), express(b)), named)


#: Operations of ATen's by name, of which tensors say what they are here, and not source alone.
OF_ATEN: dict[str, Callable[[Step, Express], Expression]] = {}
# What is no call of one name: of indices, and of several operations here.
_SPELT_OUT: dict[str, Callable[[Step, Express], Expression]] = {
    "__getitem__": _item,
    "clone": _clone,
    "fused_moving_avg_obs_fake_quant": _fused_fake_quantize,
    "_weight_norm": _weight_norm,
    "mse_loss": _mse_loss,
    "_grouped_mm": _grouped_mm,
    "grouped_mm_fallback": _grouped_mm,
}


def _with_elements(args: list[Any]) -> list[Any]:
    """Return the arguments of a join without the tensors that hold nothing, of which a network has none."""
    tensors = args[0] if args and isinstance(args[0], tuple) else ()
    there = tuple(item for item in tensors if isinstance(item, Value) and item.tensor.numel())
    return [there, *args[1:]] if 0 < len(there) < len(tensors) else args


def _without_how(args: list[Any]) -> list[Any]:
    return [value for value in args if not isinstance(value, (torch.device, torch.layout, torch.memory_format))]


def _binary(name: str, left: Any, right: Any, express: Express) -> Expression:
    return Binary(express(left), _INFIX[name], express(right))


def _call(step: Step, args: list[Any], kwargs: dict[str, Any], express: Express) -> Expression:
    name, owner = _ALIASES.get(step.name, step.name), step.owner
    if name.endswith("_with_indices"):  # torch's own name of max_pool2d(..., return_indices=True)
        name = name.removesuffix("_with_indices")
        kwargs = {**kwargs, "return_indices": True}
    if owner == "torch.ops.aten" and name.startswith(("linalg_", "fft_")):
        owner = f"torch.{name.partition('_')[0]}"
    if owner in ("torch.linalg", "torch.fft"):
        space = owner.rpartition(".")[2]
        short = name.removeprefix(f"{space}_")
        inner = getattr(F, space)
        if short not in inner.__all__:
            raise Missing(f"{owner}.{short}" if owner == step.owner else f"{step.owner}.{step.name}")
        function: Any = getattr(inner, short)
        callee: Expression = Attribute(Attribute(Text("F"), space), short)
        method = False
    else:
        name = name.removeprefix("special_") if owner in ("torch.special", "torch.ops.aten") else name
        method = hasattr(Tensor, name) and not (owner != "torch.Tensor" and _is_function(name))
        if not method and not _is_function(name):
            quantised = name in _OF_INTEGERS or owner in ("torch.ops.quantized", "torch.ops.quantized_decomposed")
            hint = " (convert the module as it is before torch.ao.quantization.convert)" if quantised else ""
            raise Missing(f"{owner}.{step.name}{hint}")
        function = getattr(Tensor if method else F, name)
        if isinstance(function, property):  # a graph calls what is an attribute
            return Attribute(express(args[0]), name)
        callee = Attribute(express(args[0]) if method and args else Text("F"), name)
    parameters = list(inspect.signature(function).parameters.values())
    parameters = parameters[1:] if method else parameters
    by_name = {parameter.name: parameter for parameter in parameters}
    kwargs = {key: as_switch(by_name.get(key), value) for key, value in kwargs.items()}
    kwargs = {key: value for key, value in kwargs.items() if not _is_default(parameters, key, value)}
    if "dtype" in kwargs and kwargs["dtype"] is None:
        del kwargs["dtype"]
    if method and args:
        args = args[1:]
    elif method:
        callee = Attribute(express(kwargs.pop("input")), name)
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    args = [as_switch(by_name.get(name), value) for name, value in itertools.zip_longest(names[: len(args)], args)]
    hints = [*names[: len(args)], *["size"] * len(args)]
    return Call(
        callee,
        tuple(express(value, hint) for value, hint in zip(args, hints, strict=False)),
        tuple((key, express(value, key)) for key, value in kwargs.items()),
    )


def _is_function(name: str) -> bool:
    if name in F.__all__:
        return True
    if not name.endswith("_") or name.startswith("_"):
        return False
    try:
        return callable(getattr(F, name))
    except AttributeError:
        return False


def _is_default(parameters: list[inspect.Parameter], key: str, value: Any) -> bool:
    default = next((p.default for p in parameters if p.name == key), inspect.Parameter.empty)
    if key == "training" and value is False:
        return default is not True
    return default is value or (type(default) is type(value) and default == value)


def _converted(own: Callable[..., str], step: Step, express: Express) -> Expression:
    names: dict[str, Expression] = {}

    def source(value: Any) -> Any:
        if value is None or isinstance(value, str) or type(value) in (bool, int, float):
            return value
        if isinstance(value, tuple) and all(type(item) in (bool, int, float) for item in value):
            return list(value) if isinstance(value, Listed) else tuple(value)
        name = f"argument_{len(names)}"
        names[name] = express(value)
        return _Source(name)

    text = own(*map(source, step.args), **{key: source(value) for key, value in step.kwargs.items()})
    if not isinstance(text, str):
        raise ArgumentError(
            f"the converter of {step.owner}.{step.name} returned {text!r}", "it returns source, a string"
        )
    try:
        return parse(text, names)
    except SyntaxError as error:
        raise ArgumentError(f"the converter of {step.owner}.{step.name} returned {text!r}", str(error)) from None
