"""Complex numbers as two Tensors, their real and their imaginary parts: TensorRT has no type for them."""

from __future__ import annotations

import builtins
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtnn.arrays import is_torch
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError, named
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._inplace import joining, overwrite, repeating, seen, viewing, viewing_parts
from trtnn.ops._promotion import align, cast, expect_one_type, promote
from trtnn.ops.angles import atan2, hypot
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.assigning import setitem
from trtnn.ops.comparison import isnan, lt, where
from trtnn.ops.creation import full_like, new_zeros, zeros_like
from trtnn.ops.division import div
from trtnn.ops.einsum import einsum as _real_einsum
from trtnn.ops.indexing import getitem, index_select, select
from trtnn.ops.joining import cat as _real_cat
from trtnn.ops.joining import stack as _real_stack
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad as _real_pad
from trtnn.ops.reduction import mean, sum
from trtnn.ops.shaping import flatten, permute, reshape, squeeze, transpose, unsqueeze
from trtnn.ops.tiling import expand, flip, repeat, roll
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
        return Complex(self.real.view_of_all(), seen(self.imag, neg(self.imag)))

    def __neg__(self) -> Complex:
        return Complex(neg(self.real), neg(self.imag))

    def __add__(self, other: Any) -> Complex:
        real, imag = _parts(other, self)
        total = add(self.real, real)
        if imag is None:
            return Complex(total, expand(cast(self.imag, total.dtype), total.shape).copy())
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

    def __matmul__(self, other: Any) -> Complex:
        return _multiplied(matmul, (self, other))

    __radd__, __rmul__ = __add__, __mul__

    # What is changed in place is so under every name that it has, and outdates its views, as of Tensors.

    def _become(self, other: Complex) -> Complex:
        values = other.real.copy(), other.imag.copy()
        overwrite(self.real, values[0])
        overwrite(self.imag, values[1])
        self.real.be_up_to_date()  # where both lie in one memory, as of view_as_complex
        return self

    def __iadd__(self, other: Any) -> Complex:
        return self._become(self + other)

    def __isub__(self, other: Any) -> Complex:
        return self._become(self - other)

    def __imul__(self, other: Any) -> Complex:
        return self._become(self * other)

    def __itruediv__(self, other: Any) -> Complex:
        return self._become(self / other)

    add_, sub_, mul_, div_ = __iadd__, __isub__, __imul__, __itruediv__

    def __setitem__(self, index: Any, value: Any) -> None:
        """Set a part, of which the index is as a Tensor's; a real value has no imaginary part."""
        real, imag = _parts(value, self)
        outdated = self.imag.is_outdated
        setitem(self.real, index, real)
        if not outdated:
            self.imag.be_up_to_date()
        setitem(self.imag, index, 0.0 if imag is None else imag)
        self.real.be_up_to_date()

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
    **dict.fromkeys(("contiguous", "resolve_conj"), lambda input: input),
    "clone": lambda input: input.copy(),
    "expand": repeating(expand),
    **{name: joining(function) for name, function in (("flatten", flatten), ("reshape", reshape), ("view", reshape))},
    **{function.__name__: viewing(function) for function in (permute, select, squeeze, transpose, unsqueeze)},
    **{
        function.__name__: function for function in (flip, index_select, mean, new_zeros, repeat, roll, sum, zeros_like)
    },
}
for _name, _function in {"__getitem__": viewing_parts(getitem), **OF_PARTS}.items():
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
    result = _real_stack([input.real, input.imag], -1)
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
    return Complex(expand(real, shape).copy(), expand(imag, shape).copy())


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
    return Complex(add(x, number.real) if number.real else x.copy(), full_like(x, number.imag))


def _times(x: Tensor, number: float) -> Tensor:
    return x.copy() if number == 1 else mul(x, number)  # by 0 as well: of infinity it is NaN


def pad(input: Tensor | Complex, pad: Sequence[Length], mode: str = "constant", value: float | None = None) -> Tensor:
    """Put elements around a tensor, as ``torch.nn.functional.pad``; around complex numbers such.

    Args:
        pad: how many before and after the last dimension, then the one before it, and so on; below 0 cuts off. Sizes
            may come to 0: ``pad(x, (0, -x.shape[-1] % 8))`` makes the last dimension a multiple of 8.
        mode: ``"constant"``; ``"reflect"``, without the edge itself; ``"replicate"``, the edge; or ``"circular"``.
        value: of ``"constant"``; 0 where None, as it has to be for other modes.

    Raises:
        ArgumentError: ``pad`` is no list of pairs, or the mode is unknown or takes no value.
        ShapeError: more is to be put than the mode can take from the input, or nothing is left.
    """
    if not isinstance(input, Complex):
        return _real_pad(input, pad, mode, value)
    return Complex(_real_pad(input.real, pad, mode, value), _real_pad(input.imag, pad, mode))  # type: ignore[return-value]


def cat(tensors: Sequence[Operand | Complex], dim: int = 0) -> Tensor:
    """Join tensors along ``dim``; their other lengths are equal. With complex numbers the result is such.

    Raises:
        ShapeError: they do not fit together.
    """
    return _joined(_real_cat, tensors, dim)


def stack(tensors: Sequence[Operand | Complex], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension. With complex numbers the result is such.

    Raises:
        ArgumentError: there is no tensor.
        ShapeError: their shapes differ.
    """
    return _joined(_real_stack, tensors, dim)


def einsum(equation: str, *operands: Operand | Complex) -> Tensor:
    """Return sums of products, in Einstein's notation, as ``torch.einsum``.

    ``"bij,bjk->bik"``: a letter for each dimension; letters that the result does not name are summed over. Without
    ``->`` the result has the letters that come up once, in order. ``...`` stands for further dimensions, broadcast. A
    letter twice in one operand takes its diagonal. With complex numbers the result is such.

    Operands are multiplied as matrices, two at a time from the left, as torch does: of TensorRT's own layer for it
    TensorRT 8.6.0 made wrong numbers in attention in fp16, without a word (docs/limits.md).

    Raises:
        ArgumentError: the equation does not fit the operands.
        ShapeError: a letter stands for two lengths.
    """
    listed = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    if not any(isinstance(operand, Complex) for operand in listed):
        return _real_einsum(equation, *operands)  # type: ignore[arg-type]
    return _multiplied(functools.partial(_real_einsum, equation), listed)  # type: ignore[return-value]


def _multiplied(product: Callable[..., Tensor], operands: Sequence[Any]) -> Complex:
    """Return a product of which each operand is a factor, some of them complex, by the products of their parts."""
    beside = next(operand for operand in operands if isinstance(operand, Complex))
    parts = [[part for part in _parts(operand, beside) if part is not None] for operand in operands]
    terms: tuple[list[Tensor], list[Tensor]] = [], []  # the real and the imaginary ones
    for picked in itertools.product(*(range(len(part)) for part in parts)):
        turns = builtins.sum(picked)  # of a quarter, one for each imaginary factor
        term = product(*(part[i] for part, i in zip(parts, picked, strict=True)))
        terms[turns % 2].append(neg(term) if turns % 4 >= 2 else term)
    real, imag = (functools.reduce(add, part) for part in terms)
    return Complex(real, imag)


def _joined(function: Callable[..., Tensor], tensors: Sequence[Any], dim: int) -> Tensor:
    beside = next((tensor for tensor in tensors if isinstance(tensor, Complex)), None)
    if beside is None:
        return function(tensors, dim)
    parts = [_parts(tensor, beside) for tensor in tensors]
    imags = [full_like(real, 0.0) if imag is None else imag for real, imag in parts]
    return Complex(function([real for real, _ in parts], dim), function(imags, dim))  # type: ignore[return-value]


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
