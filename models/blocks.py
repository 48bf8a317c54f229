"""Blocks that more than one family is made of."""

from __future__ import annotations

from collections.abc import Callable

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.modules import BatchNorm2d, Conv2d, Identity, MaxPool2d, Module, ModuleList, ReLU, SiLU
from trtnn.parameter import Parameter


class Conv(Module):
    """Convolution, BatchNorm, activation.

    Args:
        c_in, c_out: channels.
        k, s: the kernel's side and the stride.
        p: padding on each side; half of the kernel where None.
        g: groups.
        eps: of BatchNorm; Ultralytics trains with 1e-3.
        act: makes the activation.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        k: int = 1,
        s: int = 1,
        p: int | None = None,
        g: int = 1,
        eps: float = 1e-3,
        act: Callable[[], Module] = SiLU,
    ) -> None:
        super().__init__()
        self.conv = Conv2d(c_in, c_out, k, s, k // 2 if p is None else p, groups=g, bias=False)
        self.bn: Module = BatchNorm2d(c_out, eps=eps, momentum=0.03)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class TwoConvolutions(Module):
    """Two 3×3 convolutions with their norms, which residual blocks add something to.

    Args:
        c_in, c_out: channels.
        stride: of the first.
        norm: makes a norm of as many channels.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, norm: Callable[[int], Module] = BatchNorm2d) -> None:
        super().__init__()
        self.conv1 = Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = norm(c_out)
        self.relu = ReLU(inplace=True)
        self.conv2 = Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = norm(c_out)

    def convolve(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(y))


def without_norms(model: Module) -> None:
    """Give the convolutions of all :class:`Conv` in a model a bias in place of their BatchNorm, as in a fused one."""
    for block in model.modules():
        if isinstance(block, Conv):
            block.conv.register_parameter("bias", Parameter(block.conv.out_channels))
            block.bn = Identity()


class Bottleneck(Module):
    """A convolution with a kernel of ``k`` and one of 3×3, with a residual path round them where ``shortcut``.

    Args:
        c: channels.
        inner: channels between the two; ``c`` where None.
        c_out: channels behind them; ``c`` where None.

    Attributes:
        add: whether it has that path; Ultralytics' name.
    """

    def __init__(self, c: int, k: int, shortcut: bool, inner: int | None = None, c_out: int | None = None) -> None:
        super().__init__()
        inner = c if inner is None else inner
        self.cv1 = Conv(c, inner, k)
        self.cv2 = Conv(inner, c if c_out is None else c_out, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class SPP(Module):
    """Spatial pyramid pooling (https://arxiv.org/abs/1406.4729): maxima of windows of several sizes, side by side."""

    def __init__(self, c_in: int, c_out: int, windows: tuple[int, ...]) -> None:
        super().__init__()
        c = c_in // 2
        self.cv1 = Conv(c_in, c)
        self.cv2 = Conv(c * (len(windows) + 1), c_out)
        self.m = ModuleList(MaxPool2d(k, 1, k // 2) for k in windows)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(F.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(Module):
    """Spatial pyramid pooling with windows of 5, 9 and 13, from one pool of 5 applied again and again.

    Args:
        c_in, c_out: channels.
        act: makes the activation before the pools.
        add: whether the input is added to the result.

    Attributes:
        n: how often it is applied; Ultralytics' name, as ``add`` is.
    """

    n = 3

    def __init__(self, c_in: int, c_out: int, act: Callable[[], Module] = SiLU, add: bool = False) -> None:
        super().__init__()
        self.add = add
        c = c_in // 2
        self.cv1 = Conv(c_in, c, act=act)
        self.cv2 = Conv(c * 4, c_out)
        self.m = MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        maxima = [self.cv1(x)]
        for _ in range(self.n):
            maxima.append(self.m(maxima[-1]))
        y = self.cv2(F.cat(maxima, 1))
        return x + y if self.add else y


class Concat(Module):
    """Join along the channels, dimension ``d``."""

    d = 1

    def forward(self, *xs: Tensor) -> Tensor:
        return F.cat(xs, self.d)
