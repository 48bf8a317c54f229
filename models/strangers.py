"""What a checkpoint of a network that trtnn does not have is, as far as its file or its names tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trtnn.checkpoint.state_dict import metadata_of
from trtnn.errors import harmless_text

_TASKS = {
    "segment": "for segmentation",
    "pose": "for poses",
    "obb": "for oriented boxes",
    "classify": "for classification",
    "detect": "for detection",
}
# A pattern of a name, and what has such a name; the first that is found says it. Layers are Ultralytics' numbers.
_SIGNS = (
    (r"model\.6\.m\.0\.0\.attn\.", "YOLO12"),
    (r"model\.10\.m\.0\.attn\.", "YOLO11 or a later one"),
    (r"model\.10\.attn\.", "YOLOv10"),
    (r"model\.2\.cv2\.0\.m\.0\.cv1\.(conv1|conv2)\.", "YOLOv9"),
    (r"model\.2\.cv[23]\.0\.cv1\.", "YOLOv9"),
    (r"model\.105\.m\.0\.", "YOLOv7"),
    (r"model\.77\.m\.0\.", "YOLOv7-tiny"),
    (r"model\.28\.cv3\.3\.", "YOLOv8 with a fourth level"),
    (r"model\.22\.cv4\.", "YOLOv8"),
    (r"model\.\d+\.cv3\.0\.2\.bias", "a YOLO with YOLOv8's head"),
    (r"model\.(24|33)\.proto\.", "YOLOv5"),
    (r"model\.\d+\.linear\.weight", "a YOLO"),
    (r"backbone\.backbone\.stem\.conv\.conv\.", "YOLOX"),
    (r"transformer\.decoder\.layers\.0\.", "a DETR"),
    (r"roi_heads\.mask_predictor\.", "a Mask R-CNN"),
    (r"roi_heads\.keypoint_predictor\.", "a Keypoint R-CNN"),
    (r"(roi_heads|roi_head)\.", "a Faster R-CNN"),
    (r"head\.regression_head\.bbox_ctrness\.", "FCOS"),
    (r"head\.classification_head\.module_list\.", "an SSD"),
    (r"encoder\.layers\.encoder_layer_0\.", "a vision transformer"),
    (r"blocks\.0\.attn\.qkv\.", "a vision transformer"),
    (r"(^|\.)lora_[AB]\.", "a LoRA, which goes with another network's weights"),
)
_HEADS = ((r"model\.\d+\.proto\.", "segment"), (r"model\.\d+\.linear\.weight", "classify"))


def stranger(state_dict: Mapping[str, Any]) -> str | None:
    """Return what a state dict of no model here is, such as ``yolo11n for segmentation``, or None."""
    said = metadata_of(state_dict)
    task = said.get("task") or _task(state_dict)
    family = said.get("architecture") if said.get("modules") else None
    family = None if str(family).endswith("Model") else family  # a class, which may be any network's
    sign = next((what for sign, what in _SIGNS if _has(state_dict, sign)), None)
    if family and sign and "head" in sign:  # Ultralytics train yolov3 and yolov5 with it, under those names
        family = f"{family} with YOLOv8's head"
    family = family or sign
    if family is None:
        return None
    return harmless_text(f"{family} {_TASKS[task]}" if task in _TASKS else str(family))


def _has(state_dict: Mapping[str, Any], sign: str) -> bool:
    return any(re.match(sign, name) for name in state_dict)


def _task(state_dict: Mapping[str, Any]) -> str | None:
    """Return what a YOLO is for by its head: a fourth branch tells masks, points, or one number, an angle."""
    for sign, task in _HEADS:
        if _has(state_dict, sign):
            return task
    branch = next((name for name in state_dict if re.fullmatch(r"model\.\d+\.cv4\.0\.2\.bias", name)), None)
    if branch is None:
        return None
    return "obb" if state_dict[branch].shape == (1,) else "pose"
