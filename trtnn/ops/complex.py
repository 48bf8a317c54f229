"""Complex numbers as two Tensors, their real and their imaginary parts: TensorRT has no type for them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from trtnn.arrays import is_torch
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError, named
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating
from trtnn.ops._inplace import viewing
from trtnn.ops._promotion import align, cast, expect_one_type, promote
from trtnn.ops.angles import atan2, hypot
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.comparison import isnan, lt, where
from trtnn.ops.creation import full_like
from trtnn.ops.division import div
from trtnn.ops.indexing import getitem, select
from trtnn.ops.joining import stack
from trtnn.ops.reduction import mean, sum
from trtnn.ops.shaping import flatten, permute, reshape, squeeze, transpose, unsqueeze
from trtnn.ops.tiling import expand, repeat
from trtnn.ops.unary import abs as _real_abs
from trtnn.ops.unary import cos, neg, sin
from trtnn.ops.unary import exp as _real_exp
from trtnn.parameter import Parameter
from trtnn.shapes.symbolic import Length


class Complex:
    """Complex numbers while a network is traced: what ``view_as_complex`` and ``fft.rfft`` give.

    It has torch's arithmetic, with NumPy's and torch's complex arrays as well, and what moves elements about:
    ``[...]``, ``reshape``, ``permute``, ... Anything else is done with its parts. No input or output of a network is
    one: give ``view_as_real(x)``.

    Attributes:
        real, imag: floating Tensors of one shape and type.
    """

    __slots__ = ("imag", "real")
    __array_ufunc__ = None  # so that ``numpy_array * x`` comes to __rmul__
    __hash__ = object.__hash__

    def __init__(self, real: Tensor, imag: Tensor) -> None:
        self.real = real
        self.imag = imag

    @property
    def shape(self) -> tuple[Length, ...]:
        return self.real.shape

    @property
    def ndim(self) -> int:
        return self.real.ndim

    def size(self, dim: int | None = None) -> Length | tuple[Length, ...]:
        """Return the shape, or the length of one dimension."""
        return self.real.size(dim)

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self.real.ndim

    def is_complex(self) -> bool:
        """Return True, as of every complex number."""
        return True

    def __repr__(self) -> str:
        return f"Complex(shape={self.shape}, of={self.real.dtype.name})"

    def abs(self) -> Tensor:
        """Return the distance from 0, which does not overflow where squares would."""
        return hypot(self.real, self.imag)

    __abs__ = abs

    def exp(self) -> Complex:
        """Return e to the power of it."""
        return polar(_real_exp(self.real), self.imag)

    def angle(self) -> Tensor:
        """Return the angle from the real axis, from -π to π."""
        return atan2(self.imag, self.real)

    def conj(self) -> Complex:
        """Return the same with the imaginary part's sign turned."""
        return Complex(self.real, neg(self.imag))

    def __neg__(self) -> Complex:
        return Complex(neg(self.real), neg(self.imag))

    def __add__(self, other: Any) -> Complex:
        real, imag = _parts(other, self)
        total = add(self.real, real)
        if imag is None:
            return Complex(total, expand(cast(self.imag, total.dtype), total.shape))
        return Complex(total, add(self.imag, imag))

    def __sub__(self, other: Any) -> Complex:
        return self + _negative(_parts(other, self))

    def __rsub__(self, other: Any) -> Complex:
        return -self + other

    def __mul__(self, other: Any) -> Complex:
        real, imag = _parts(other, self)
        if imag is None:
            return Complex(mul(self.real, real), mul(self.imag, real))
        return Complex(sub(mul(self.real, real), mul(self.imag, imag)), add(mul(self.real, imag), mul(self.imag, real)))

    def __truediv__(self, other: Any) -> Complex:
        real, imag = _parts(other, self)
        if imag is None:
            return Complex(div(self.real, real), div(self.imag, real))
        return self * _inverse(real, imag)

    def __rtruediv__(self, other: Any) -> Complex:
        return _inverse(self.real, self.imag) * other

    __radd__, __rmul__ = __add__, __mul__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Complex' object has no attribute {name!r}")
        raise AttributeError(
            f"Complex has no {name}: TensorRT has no complex types; take x.real, x.imag or view_as_real(x)"
        )

    def __bool__(self) -> bool:
        raise ArgumentError("complex numbers have no truth value while they are traced")


def _of_parts(function: Callable[..., Tensor]) -> Callable[..., Complex]:
    """Return a function that is done with the real and the imaginary parts alike."""

    def each(self: Complex, *args: Any, **kwargs: Any) -> Complex:
        return Complex(function(self.real, *args, **kwargs), function(self.imag, *args, **kwargs))

    each.__doc__ = function.__doc__
    return each


#: The functions that are done with the real and the imaginary parts alike, by name.
OF_PARTS = {
    **dict.fromkeys(("clone", "contiguous", "resolve_conj"), lambda input: input),
    "view": reshape,
    **{
        function.__name__: function
        for function in (
            expand, flatten, mean, permute, repeat, reshape, select, squeeze, sum, transpose, unsqueeze,
        )
    },
}  # fmt: skip
for _name, _function in {"__getitem__": getitem, **OF_PARTS}.items():
    setattr(Complex, _name, _of_parts(_function))


def _parts(value: Any, beside: Complex) -> tuple[Tensor, Tensor | None]:
    """Return the real and the imaginary part of an operand, the latter None where it is real."""
    if isinstance(value, Complex):
        return value.real, value.imag
    if isinstance(value, Parameter):
        value = value.data
    if is_torch(value):
        value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
    if isinstance(value, (builtins.complex, np.ndarray, np.generic)) and np.iscomplexobj(value):
        graph, kind = beside.real.graph, beside.real.dtype
        array = np.asarray(value)
        return graph.constant(np.real(array).copy(), kind), graph.constant(np.imag(array).copy(), kind)
    if not isinstance(value, (Tensor, np.ndarray, np.integer, np.floating, np.bool_, int, float)):
        raise DTypeError(f"an operand beside complex numbers is a Tensor, an array or a number, not a {named(value)}")
    tensor = value if isinstance(value, Tensor) else promote(value, graph=beside.real.graph)[0]
    return tensor if tensor.dtype.is_floating_point else cast(tensor, beside.real.dtype), None


def _negative(parts: tuple[Tensor, Tensor | None]) -> Any:
    real, imag = parts
    return neg(real) if imag is None else Complex(neg(real), neg(imag))


def _inverse(real: Tensor, imag: Tensor) -> Complex:
    """Return 1 / z, by way of the larger part, so that squares do not overflow."""
    size = hypot(real, imag)
    return Complex(div(div(real, size), size), neg(div(div(imag, size), size)))


_selected = viewing(select)


def view_as_complex(input: Tensor) -> Complex:
    """Return the complex numbers whose real and imaginary parts lie along the last dimension, of length 2.

    The result is a :class:`Complex`, which holds the two parts as Tensors.

    Raises:
        ShapeError: the last dimension is not 2 long.
        DTypeError: the input holds no fractions.
    """
    expect_floating(input, "view_as_complex")
    if not input.shape or input.shape[-1] != 2:
        raise ShapeError(f"view_as_complex in {input.graph.where} takes a last dimension of 2, not {input.shape}")
    return Complex(_selected(input, -1, 0), _selected(input, -1, 1))


def view_as_real(input: Tensor | Complex) -> Tensor:
    """Return the real and the imaginary parts of complex numbers along a last dimension of length 2.

    Raises:
        DTypeError: the input is real.
    """
    if not isinstance(input, Complex):
        raise DTypeError(f"view_as_real takes complex numbers, not a {named(input)}", "view_as_complex(x) gives such")
    result = stack([input.real, input.imag], -1)
    result.share_memory_of(input.real)
    return result


def complex(real: Tensor, imag: Tensor) -> Complex:
    """Return complex numbers of their two parts, broadcast.

    Raises:
        DTypeError: the parts are of different types, or hold no fractions.
    """
    expect_one_type("complex", real, imag)
    expect_floating(real, "complex")
    real, imag = align(real, imag)
    shape = add(real, imag).shape
    return Complex(expand(real, shape), expand(imag, shape))


def polar(abs: Tensor, angle: Tensor) -> Complex:
    """Return complex numbers of their distance from 0 and their angle, broadcast.

    Raises:
        DTypeError: the two are of different types, or hold no fractions.
    """
    expect_one_type("polar", abs, angle)
    expect_floating(abs, "polar")
    return Complex(mul(abs, cos(angle)), mul(abs, sin(angle)))


def beside_a_complex_number(input: Tensor, operator: str, number: Any) -> Complex:
    """Return what Python's arithmetic of a Tensor with a complex number gives, such as ``1j * x``.

    Args:
        operator: ``"add"``, ``"sub"``, ``"mul"`` or ``"truediv"``; ``"r"`` before it where the number stands first.
    """
    x = input if input.dtype.is_floating_point else cast(input, input.graph.compute_dtype)
    if operator in ("mul", "rmul", "truediv"):
        number = 1 / number if operator == "truediv" else number
        return Complex(_times(x, number.real), _times(x, number.imag))
    if operator == "rtruediv":
        return Complex(div(number.real, x), div(number.imag, x))
    x = neg(x) if operator == "rsub" else x
    number = -number if operator == "sub" else number
    return Complex(add(x, number.real) if number.real else x, full_like(x, number.imag))


def _times(x: Tensor, number: float) -> Tensor:
    return x if number == 1 else mul(x, number)  # by 0 as well: of infinity it is NaN


def exp(input: Tensor | Complex) -> Tensor:
    """Return e to the power of x; of complex numbers such, e to the real part, turned by the imaginary one."""
    if not isinstance(input, Complex):
        return _real_exp(input)
    return input.exp()  # type: ignore[return-value]  # what most have is a Tensor, and checkers shall know so


def abs(input: Tensor | Complex) -> Tensor:
    """Return the magnitude: of complex numbers their distance from 0."""
    return input.abs() if isinstance(input, Complex) else _real_abs(input)


def real(input: Tensor | Complex) -> Tensor:
    """Return the real parts: of real numbers they themselves."""
    return input.real if isinstance(input, Complex) else input


def conj(input: Tensor | Complex) -> Tensor | Complex:
    """Return the complex conjugate: of real numbers they themselves."""
    return input.conj() if isinstance(input, Complex) else input


def is_complex(input: Tensor | Complex) -> bool:
    """Return whether it is a :class:`Complex`."""
    return isinstance(input, Complex)


def angle(input: Tensor | Complex) -> Tensor:
    """Return the angle from the real axis: of real numbers 0, π where they are below 0, and NaN of NaN."""
    if isinstance(input, Complex):
        return input.angle()
    values = input if input.dtype.is_floating_point else cast(input, input.graph.compute_dtype)
    return cast(where(isnan(values), values, where(lt(values, 0), np.pi, 0.0)), values.dtype)


def imag(input: Tensor | Complex) -> Tensor:
    """Return the imaginary parts of complex numbers.

    Raises:
        UnsupportedError: the input is real, as in torch.
    """
    if not isinstance(input, Complex):
        raise UnsupportedError("imag of a real tensor", "it has none, as in torch")
    return input.imag
