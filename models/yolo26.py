"""YOLO26, with the names and numbers of its official checkpoints (https://docs.ultralytics.com/models/yolo26).

It is YOLO11 without distributions of distances, and with a second set of branches in the head, which names each object
once (https://arxiv.org/abs/2405.14458): nothing has to be suppressed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trtnn.checkpoint.state_dict import StateDict, metadata_of
from trtnn.models.blocks import SPPF, Concat, Conv
from trtnn.models.yolo11 import C2PSA, SCALES, YOLO11, C3k2
from trtnn.models.yolo_family import TASKS, Scale, is_named
from trtnn.models.yolo_heads import OBB26, Pose26, Segment26
from trtnn.modules import Identity, Module, Upsample

# Of the heads for masks and key points: classes of pixels, and how sure a key point is.
_IN_TRAINING = re.compile(r"model\.23\.(proto\.semseg\.|flow_model\.|(one2one_)?cv4_sigma\.)")


class YOLO26(YOLO11):
    """YOLO26 in any of its sizes and tasks.

    Args:
        name: yolo26n, s, m, l or x, or with -seg, -pose, -obb or -cls behind it those of the other tasks.
        classes, names, kpt_shape: as :class:`trtnn.models.yolov8.YOLOv8` has them.
        head: ``"end2end"`` gives (batch, 300, 6), the best first: x1, y1, x2, y2 in pixels, the score in 0..1 and the
            class; for oriented boxes centre x, centre y, width, height, score, class, angle in radians. The
            coefficients of a mask or the key points stand behind the class. ``"one-to-many"`` gives what YOLOv8's
            ``"decoded"`` does. For masks either is ``"prediction"`` in a dict, beside ``"prototypes"``. For images
            ``"probabilities"`` or ``"logits"``.
        fused: whether BatchNorm was folded into the convolutions, as checkpoints may have it; such a model has the
            branches of its own head alone.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32, for -cls any.
    """

    default_name = "yolo26s"
    variants = {f"yolo26{size}{suffix}": scale for suffix in TASKS for size, scale in SCALES.items()}
    heads = ("end2end", "one-to-many")
    end2end = True
    head_classes = {**YOLO11.head_classes, "segment": Segment26, "pose": Pose26, "obb": OBB26}

    def neck(self, scale: Scale, channels: Sequence[int]) -> tuple[list[Module], list[int]]:
        n = scale.repeats(2)
        c3, c4, c5 = map(scale.channels, (256, 512, 1024))
        layers: list[Module] = [
            SPPF(c5, c5, Identity, add=True),
            C2PSA(c5, n),
            Upsample(scale_factor=2),
            Concat(),
            C3k2(c5 + c4, c4, n, True),
            Upsample(scale_factor=2),
            Concat(),
            C3k2(c4 + c4, c3, n, True),
            Conv(c3, c3, 3, 2),
            Concat(),
            C3k2(c3 + c4, c4, n, True),
            Conv(c4, c4, 3, 2),
            Concat(),
            C3k2(c4 + c5, c5, 1, False, attention=True),
        ]
        return layers, [c3, c4, c5]

    def head_options(self, variant: Any) -> dict[str, Any]:
        return {"depthwise": True, "distribution": False}

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict without what has a part in training alone."""
        arrays = {name: array for name, array in state_dict.items() if not _IN_TRAINING.match(name)}
        return StateDict(arrays, metadata_of(state_dict))

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        if head == "model.10.":  # YOLO11's classifiers are the same networks
            return "model.9.m.0.attn.qkv.conv.weight" in state_dict and not is_named(state_dict, "yolo11")
        return head == "model.23." and "model.22.m.0.1.attn.qkv.conv.weight" in state_dict
