"""ResNet (https://arxiv.org/abs/1512.03385), with the names and numbers of torchvision's checkpoints.

The larger ones halve the image in the 3×3 convolution of a block, not in its first, as torchvision's do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trtnn.checkpoint.state_dict import metadata_of
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import TwoConvolutions
from trtnn.models.family import Family
from trtnn.models.names import unknown_name
from trtnn.modules import BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, ReLU, Sequential

_SAID = re.compile(r"resnet[a-z]*\d")  # how timm calls its ResNets
Norm = Callable[[int], Module]
# What a ResNet has in its stem and blocks; those with other stems, shortcuts and attention have more there. What a
# profiler counts in each module, and what quantises it, makes no other network of it, nor what stands beside.
_WITHIN = re.compile(r"(conv1|bn1|stem|layer[0-4])\.")
_OWN = re.compile(
    r"(conv1|bn1|layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample\.[01]))\.[a-z_]+$"
    r"|(.+\.)?(total_ops|total_params)$|.+\.(\w+_quantizer|\w+_fake_quant|activation_post_process)\."
)


def _downsample(c_in: int, c_out: int, stride: int, norm: Norm) -> Sequential | None:
    """Return what brings a block's input to the shape of its output, or None where it has that already."""
    if stride == 1 and c_in == c_out:
        return None
    return Sequential(Conv2d(c_in, c_out, 1, stride, bias=False), norm(c_out))


def _is_foreign(name: str) -> bool:
    """Whether only a ResNet in another form has this name in its stem or a block."""
    return _WITHIN.match(name) is not None and _OWN.match(name) is None


class BasicBlock(TwoConvolutions):
    """Two 3×3 convolutions, with a residual path round them."""

    expansion = 1

    def __init__(self, c_in: int, c: int, stride: int, norm: Norm) -> None:
        super().__init__(c_in, c, stride, norm)
        self.downsample = _downsample(c_in, c, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.convolve(x) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(Module):
    """A 3×3 convolution between two of 1×1, the second to four times the channels; a residual path round them."""

    expansion = 4

    def __init__(self, c_in: int, c: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = Conv2d(c_in, c, 1, bias=False)
        self.bn1 = norm(c)
        self.conv2 = Conv2d(c, c, 3, stride, 1, bias=False)
        self.bn2 = norm(c)
        self.conv3 = Conv2d(c, 4 * c, 1, bias=False)
        self.bn3 = norm(4 * c)
        self.relu = ReLU(inplace=True)
        self.downsample = _downsample(c_in, 4 * c, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Variant(NamedTuple):
    """The blocks of a ResNet, and how many each of its four stages has."""

    block: type[BasicBlock] | type[Bottleneck]
    repeats: tuple[int, ...]


class Backbone(Module):
    """A ResNet without its head, for networks that build upon its maps.

    Args:
        name: of the ResNet.
        norm: makes a normalisation of as many channels.

    Shape: images (batch, 3, height, width) to a list of the maps of layer1, 2, 3 and 4, on strides 4, 8, 16 and 32:
    (batch, channels, ceil(height / stride), ceil(width / stride)).

    Attributes:
        channels: of each map.
    """

    variants = {
        "resnet18": Variant(BasicBlock, (2, 2, 2, 2)),
        "resnet34": Variant(BasicBlock, (3, 4, 6, 3)),
        "resnet50": Variant(Bottleneck, (3, 4, 6, 3)),
        "resnet101": Variant(Bottleneck, (3, 4, 23, 3)),
        "resnet152": Variant(Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(self, name: str, norm: Norm = BatchNorm2d) -> None:
        super().__init__()
        if name not in self.variants:
            raise unknown_name(name, self.variants)
        block, repeats = self.variants[name]
        self.conv1 = Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = norm(64)
        self.relu = ReLU(inplace=True)
        self.maxpool = MaxPool2d(3, 2, 1)
        self.channels: list[int] = []
        c_in = 64
        for i, (c, n) in enumerate(zip((64, 128, 256, 512), repeats, strict=True)):
            c_out = c * block.expansion
            blocks = [block(c_out if j else c_in, c, 2 if i and not j else 1, norm) for j in range(n)]
            setattr(self, f"layer{i + 1}", Sequential(*blocks))
            self.channels.append(c_out)
            c_in = c_out

    def forward(self, images: Tensor) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps: list[Tensor] = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class ResNet(Family, Backbone):
    """ResNet in any of its depths.

    Args:
        name: resnet18, 34, 50, 101 or 152.
        classes: the number of classes.
        head: ``"logits"`` gives (batch, classes). ``"features"`` gives a dict of the maps of ``"layer1"`` to
            ``"layer4"``, on strides 4, 8, 16 and 32.
        names: of the classes, for the engine file.

    Shape: images (batch, 3, height, width) of any size, RGB in 0..1, less (0.485, 0.456, 0.406), through
    (0.229, 0.224, 0.225).
    """

    pipeline, task = "imagenet", "classify"
    heads = ("logits", "features")

    def __init__(
        self,
        name: str = "resnet50",
        classes: int = 1000,
        head: str = "logits",
        names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(name)
        self.head = head
        self.declare(name, classes, head, names, 224)
        self.fc = Linear(self.channels[-1], classes)

    def forward(self, images: Tensor) -> Any:
        maps = super().forward(images)
        if self.head == "features":
            return {f"layer{i}": x for i, x in enumerate(maps, 1)}
        return self.fc(maps[-1].mean((2, 3)))

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the ResNet that a state dict's names and sizes tell of, or None."""
        first, bias = (state_dict.get(key) for key in ("layer1.0.conv1.weight", "fc.bias"))
        if first is None or bias is None or any(map(_is_foreign, state_dict)):
            return None
        repeats = tuple(sum(f"layer{i}.{j}.conv1.weight" in state_dict for j in range(64)) for i in range(1, 5))
        block, taps = (Bottleneck, 1) if "layer1.0.conv3.weight" in state_dict else (BasicBlock, 9)
        if math.prod(first.shape) != 64 * 64 * taps:  # ResNeXts and wide ResNets have the same names
            return None
        shape = Variant(block, repeats)
        name = next((name for name, variant in cls.variants.items() if variant == shape), None)
        said = str(metadata_of(state_dict).get("architecture", ""))
        if _SAID.match(said) and said.partition(".")[0] != name:  # resnetaa50 and resnetblur50 have the same weights
            return None
        return None if name is None else {"name": name, "classes": math.prod(bias.shape)}
