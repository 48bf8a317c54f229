"""ResNet in torch, with torchvision's state-dict names: the tests' oracle.

Written from the paper's table 1 (He et al., 2015, arXiv:1512.03385) and the names and shapes of torchvision's state
dicts. It was compared by hand with torchvision 0.29.1, from which the digests in the tests come as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

DEPTHS = {  # blocks in each stage, and the kernels of a block
    "resnet18": ((2, 2, 2, 2), (3, 3)),
    "resnet34": ((3, 4, 6, 3), (3, 3)),
    "resnet50": ((3, 4, 6, 3), (1, 3, 1)),
    "resnet101": ((3, 4, 23, 3), (1, 3, 1)),
    "resnet152": ((3, 8, 36, 3), (1, 3, 1)),
}


class Frozen(nn.Module):
    """BatchNorm with fixed statistics, scale and shift."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight / torch.sqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


class Block(nn.Module):
    """Convolutions conv1, conv2, ... of some kernels and widths, the first of 3×3 with the stride, and their input."""

    def __init__(self, channels: int, kernels: tuple[int, ...], widths: list[int], stride: int, norm: Callable) -> None:
        super().__init__()
        self.count = len(kernels)
        below = channels
        for i, (kernel, width) in enumerate(zip(kernels, widths, strict=True), 1):
            step = stride if i == kernels.index(3) + 1 else 1
            self.add_module(f"conv{i}", nn.Conv2d(below, width, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", norm(width))
            below = width
        if stride > 1 or below != channels:
            self.downsample = nn.Sequential(nn.Conv2d(channels, below, 1, stride, bias=False), norm(below))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    """The network; without ``fc`` where ``classes`` is 0. ``head`` is ``"logits"`` or ``"features"``, as ours."""

    def __init__(self, name: str, classes: int = 1000, head: str = "logits", norm: Callable = nn.BatchNorm2d) -> None:
        super().__init__()
        counts, kernels = DEPTHS[name]
        self.head = head
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(64)
        below = 64
        for stage, count in enumerate(counts):
            width = 64 << stage
            widths = [width, width] if len(kernels) == 2 else [width, width, 4 * width]
            blocks = nn.Sequential()
            for i in range(count):
                blocks.append(Block(below, kernels, widths, 2 if stage > 0 and i == 0 else 1, norm))
                below = widths[-1]
            self.add_module(f"layer{stage + 1}", blocks)
        if classes:
            self.fc = nn.Linear(below, classes)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        maps = {}
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            x = maps[stage] = self.get_submodule(stage)(x)
        return maps if self.head == "features" else self.fc(torch.flatten(x.mean(3).mean(2), 1))


@torch.no_grad()
def well_scaled(model: nn.Module, size: int, seed: int = 0) -> nn.Module:
    """Give a model with such norms random weights that neither drown nor amplify, and return it in eval mode.

    Kernels are normal with variance 1 / fan-in, and each norm's statistics are those of what it sees of noise pictures.
    Shifts lie above 0, where ReLU is straight: with shifts about 0 the network is chaotic, and amplifies rounding a
    hundred times and more.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, mean: float, std: float) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    def settle(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        norm.running_var.data, norm.running_mean.data = torch.var_mean(inputs[0], (0, 2, 3))

    hooks = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.copy_(normal(module.weight, 0.0, module.weight[0].numel() ** -0.5))
        elif isinstance(module, (nn.BatchNorm2d, Frozen, nn.GroupNorm)):
            module.weight.copy_(normal(module.weight, 0.5, 0.1))
            if not isinstance(module, nn.GroupNorm):
                hooks.append(module.register_forward_pre_hook(settle))
        if getattr(module, "bias", None) is not None:
            module.bias.copy_(normal(module.bias, 1.0, 0.2))
    model.eval()(torch.rand(4, 3, size, size, generator=generator))
    for hook in hooks:
        hook.remove()
    return model
