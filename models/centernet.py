"""CenterNet, "Objects as Points" (https://arxiv.org/abs/1904.07850), with the names and numbers of its own checkpoints.

An object is the peak of a heat map on stride 4. The features come from deep layer aggregation, DLA-34
(https://arxiv.org/abs/1707.06484), whose maps are joined through deformable convolutions, or from a ResNet with three
deconvolutions (https://arxiv.org/abs/1804.06208), in the "resdcn" models with a deformable convolution before each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.boxes import cells_of
from trtnn.models.dla import DLASeg
from trtnn.models.family import Family
from trtnn.models.resnet import Backbone, Bottleneck
from trtnn.models.sizes import expect_multiples
from trtnn.modules import DCN, BatchNorm2d, Conv2d, ConvTranspose2d, Module, ReLU, Sequential

STRIDE = 4  # pixels of an image for a place of the heat map
_NEVER = -1e4  # a logit whose sigmoid is 0, also in fp32


class DeconvResNet(Backbone):
    """A ResNet and three deconvolutions, each to twice the size: from images to a map on stride 4.

    Attributes:
        width: channels of that map.
    """

    def __init__(self, name: str, deformable: bool) -> None:
        super().__init__(name)
        parts: list[Module] = []
        c_in = self.channels[-1]
        for c in (256, 128, 64) if deformable else (256, 256, 256):
            if deformable:
                parts += [DCN(c_in, c, 3, padding=1), BatchNorm2d(c), ReLU(inplace=True)]
                c_in = c
            parts += [ConvTranspose2d(c_in, c, 4, 2, 1, bias=False), BatchNorm2d(c), ReLU(inplace=True)]
            c_in = c
        self.deconv_layers = Sequential(*parts)
        self.width = c_in

    def forward(self, images: Tensor) -> Tensor:
        return self.deconv_layers(super().forward(images)[-1])


class Variant(NamedTuple):
    """What finds the features, and the channels within the heads."""

    backbone: str
    deformable: bool
    head: int


class CenterNet(Family):
    """CenterNet for detection.

    Args:
        name: centernet_dla34, centernet_resnet50, centernet_resdcn18 or centernet_resdcn101.
        classes: the number of classes.
        head: ``"decoded"`` gives (batch, detections, 6): left, top, right and bottom in pixels, the score in 0..1 and
            the class, the best first. ``"raw"`` gives a dict of maps on stride 4: ``"hm"`` (batch, classes, rows,
            columns), the logits of centres; ``"wh"`` (batch, 2, rows, columns), widths and heights; ``"reg"``, of the
            same shape, x and y of the centre within its place; sizes and places in places of the map.
        detections: how many, at most 3840; where there are fewer peaks, the rest have score 0.
        names: of the classes, for the engine file.

    Shape: images (batch, 3, height, width), BGR in 0..1, less (0.40789654, 0.44719302, 0.47026115), through
    (0.28863828, 0.27408164, 0.27809835); height and width multiples of 32.
    """

    pipeline = "centernet"
    variants = {
        "centernet_dla34": Variant("dla34", True, 256),
        "centernet_resnet50": Variant("resnet50", False, 64),
        "centernet_resdcn18": Variant("resnet18", True, 64),
        "centernet_resdcn101": Variant("resnet101", True, 64),
    }

    def __init__(
        self,
        name: str = "centernet_dla34",
        classes: int = 80,
        head: str = "decoded",
        detections: int = 100,
        names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        self.head, self.detections = head, detections
        self.declare(name, classes, head, names, 512, [STRIDE], stride=32)
        backbone, deformable, inner = self.variants[name]
        features = DLASeg() if backbone == "dla34" else DeconvResNet(backbone, deformable)
        for part, module in features.named_children():  # checkpoints have them beside the heads
            self.add_module(part, module)
        self._features = features.forward
        for part, outputs in (("hm", classes), ("wh", 2), ("reg", 2)):
            first = Conv2d(features.width, inner, 3, padding=1)
            self.add_module(part, Sequential(first, ReLU(inplace=True), Conv2d(inner, outputs, 1)))

    def forward(self, images: Tensor) -> Any:
        expect_multiples(images.shape[2:], 32, self.name)
        x = self._features(images)
        maps = {"hm": self.hm(x), "wh": self.wh(x), "reg": self.reg(x)}
        return maps if self.head == "raw" else decode(**maps, detections=self.detections)

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the CenterNet that a state dict's names and sizes tell of, or None."""
        heads = {key.removesuffix(".2.bias") for key in state_dict if key.endswith(".2.bias") and key.count(".") == 2}
        if heads != {"hm", "wh", "reg"}:  # those of poses and of boxes in space have others beside
            return None
        if "dla_up.ida_0.proj_1.conv.conv_offset_mask.weight" in state_dict:
            backbone, deformable = "dla34", True
        else:
            deformable = "deconv_layers.0.conv_offset_mask.weight" in state_dict
            blocks = sum(f"layer3.{i}.conv1.weight" in state_dict for i in range(64))
            deep = "layer3.0.conv3.weight" in state_dict
            backbones = {(v.repeats[2], v.block is Bottleneck): name for name, v in Backbone.variants.items()}
            backbone = backbones.get((blocks, deep))
        names = [name for name, v in cls.variants.items() if (v.backbone, v.deformable) == (backbone, deformable)]
        return {"name": names[0], "classes": math.prod(state_dict["hm.2.bias"].shape)} if names else None


def decode(hm: Tensor, wh: Tensor, reg: Tensor, detections: int) -> Tensor:
    """Turn the maps of the raw head into boxes (batch, detections, 6), as :class:`CenterNet` describes them.

    A peak is a place that is not below any of its eight neighbours. All is computed in fp32, and of logits: sigmoids
    near 1 are equal long before their logits are.
    """
    batch, _, rows, columns = hm.shape
    hm, wh, reg = hm.float(), wh.float(), reg.float()
    peaks = F.where(F.max_pool2d(hm, 3, 1, 1) == hm, hm, _NEVER)
    logits, index = peaks.flatten(1).topk(detections)
    label = index // (rows * columns)
    place = index - label * (rows * columns)

    centre, half = (reg + cells_of(rows, columns).T.reshape(2, rows, columns)) * STRIDE, wh * (STRIDE / 2)
    corners = F.cat([centre - half, centre + half], 1).flatten(2)
    box = corners.gather(2, place.unsqueeze(1).expand(batch, 4, detections))
    return F.cat([box, logits.sigmoid().unsqueeze(1), label.float().unsqueeze(1)], 1).transpose(1, 2)
