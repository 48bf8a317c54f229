"""Activations.

``inplace`` means what it means in torch, and saves nothing: a network has no memory to save by it.
"""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.modules.function import FunctionModule
from trtnn.modules.module import Module
from trtnn.parameter import Parameter


class ReLU(FunctionModule):
    """max(x, 0)."""

    function = staticmethod(F.relu)


class ReLU6(FunctionModule):
    """min(max(x, 0), 6)."""

    function = staticmethod(F.relu6)


class LeakyReLU(FunctionModule):
    """x where x ≥ 0, else negative_slope · x."""

    function = staticmethod(F.leaky_relu)
    shown = "negative_slope={negative_slope}"


class RReLU(FunctionModule):
    """x where x ≥ 0, else x · (lower + upper) / 2, as in evaluation."""

    function = staticmethod(F.rrelu)
    shown = "lower={lower}, upper={upper}"


class ELU(FunctionModule):
    """x where x > 0, else alpha · (exp(x) - 1) (https://arxiv.org/abs/1511.07289)."""

    function = staticmethod(F.elu)
    shown = "alpha={alpha}"


class CELU(FunctionModule):
    """x where x > 0, else alpha · (exp(x / alpha) - 1) (https://arxiv.org/abs/1704.07483)."""

    function = staticmethod(F.celu)
    shown = "alpha={alpha}"


class SELU(FunctionModule):
    """1.0507 · x where x > 0, else 1.0507 · 1.6733 · (exp(x) - 1) (https://arxiv.org/abs/1706.02515)."""

    function = staticmethod(F.selu)


class GELU(FunctionModule):
    """x · Φ(x), by erf or by tanh; see :func:`trtnn.functional.gelu` (https://arxiv.org/abs/1606.08415).

    Args:
        approximate: ``"none"`` for erf, ``"tanh"`` for the approximation by it.
    """

    function = staticmethod(F.gelu)
    shown = "approximate={approximate!r}"


class SiLU(FunctionModule):
    """x · sigmoid(x) (https://arxiv.org/abs/1702.03118)."""

    function = staticmethod(F.silu)


class Mish(FunctionModule):
    """x · tanh(softplus(x)) (https://arxiv.org/abs/1908.08681)."""

    function = staticmethod(F.mish)


class Hardswish(FunctionModule):
    """x · min(max(x + 3, 0), 6) / 6 (https://arxiv.org/abs/1905.02244)."""

    function = staticmethod(F.hardswish)


class Hardsigmoid(FunctionModule):
    """min(max(x + 3, 0), 6) / 6."""

    function = staticmethod(F.hardsigmoid)


class Hardtanh(FunctionModule):
    """min(max(x, min_val), max_val)."""

    function = staticmethod(F.hardtanh)
    shown = "min_val={min_val}, max_val={max_val}"


class Sigmoid(FunctionModule):
    """1 / (1 + exp(-x))."""

    function = staticmethod(F.sigmoid)


class Tanh(FunctionModule):
    """The hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Softplus(FunctionModule):
    """log(1 + exp(beta · x)) / beta, and x where beta · x > threshold."""

    function = staticmethod(F.softplus)
    shown = "beta={beta}, threshold={threshold}"


class Softsign(FunctionModule):
    """x / (1 + |x|)."""

    function = staticmethod(F.softsign)


class LogSigmoid(FunctionModule):
    """log(sigmoid(x))."""

    function = staticmethod(F.logsigmoid)


class Tanhshrink(FunctionModule):
    """x - tanh(x)."""

    function = staticmethod(F.tanhshrink)


class Hardshrink(FunctionModule):
    """x where |x| > lambd, else 0."""

    function = staticmethod(F.hardshrink)
    shown = "{lambd}"


class Softshrink(FunctionModule):
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0."""

    function = staticmethod(F.softshrink)
    shown = "{lambd}"


class Threshold(FunctionModule):
    """x where x > threshold, else value."""

    function = staticmethod(F.threshold)
    shown = "threshold={threshold}, value={value}"


class GLU(FunctionModule):
    """The first half of a dimension times the sigmoid of the second (https://arxiv.org/abs/1612.08083).

    Args:
        dim: the dimension that is halved.
    """

    function = staticmethod(F.glu)
    shown = "dim={dim}"


class Softmax(FunctionModule):
    """exp(x) / sum of exp(x) along ``dim``."""

    function = staticmethod(F.softmax)
    shown = "dim={dim}"


class Softmin(FunctionModule):
    """The softmax of -x.

    Args:
        dim: the dimension along which the results sum to 1.
    """

    function = staticmethod(F.softmin)
    shown = "dim={dim}"


class LogSoftmax(FunctionModule):
    """log(softmax(x)) along ``dim``."""

    function = staticmethod(F.log_softmax)
    shown = "dim={dim}"


class Softmax2d(Module):
    """The softmax over channels of (batch, channels, height, width), or without a batch."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d takes (batch, channels, height, width), not {input.shape}")
        return F.softmax(input, -3)


class PReLU(Module):
    """x where x ≥ 0, else weight · x (https://arxiv.org/abs/1502.01852).

    Args:
        num_parameters: 1, or as many as there are channels.
        init: of torch's, without effect: the weight is what a state dict brings.

    Attributes:
        weight: (num_parameters,): one, or one for each channel.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(num_parameters)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
