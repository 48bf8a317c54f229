"""What a checkpoint of a network that trtnn does not have is, as far as its file or its names tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trtnn.checkpoint.prefixes import unwrapped
from trtnn.checkpoint.state_dict import metadata_of
from trtnn.errors import harmless_text

_TASKS = {
    "segment": "for segmentation",
    "pose": "for poses",
    "obb": "for oriented boxes",
    "classify": "for classification",
    "detect": "for detection",
}
# A pattern of a name, and what has such a name; the first that is found says it. Layers are numbered in the YOLOs that
# are made of lists of them.
_SIGNS = (
    (r"model\.6\.m\.0\.0\.attn\.qk\.", "YOLOv12 in the form of its authors' release"),
    (r"model\.6\.m\.0\.0\.attn\.", "YOLO12 in another form"),
    (r"model\.\d+\.(reprta|savpe|lrpc)\.", "YOLOE"),
    (r"model\.\d+\.cv4\.0\.(logit_scale|bias)$", "YOLO-World"),
    (r"model\.10\.m\.0\.attn\.", "YOLO11 or a later one in another form"),
    (r"model\.10\.attn\.", "YOLOv10"),
    (r"model\.2\.m\.0\.conv\.0\.cv1\.", "a YOLO of Ghost blocks"),
    (r"model\.\d+\.cv2\.0\.cv1\.", "YOLOv9 in the form of its authors' release"),
    (r"model\.105\.i?m\.0\.", "YOLOv7"),
    (r"model\.121\.i?m\.0\.", "YOLOv7x"),
    (r"model\.118\.i?m2?\.0\.", "YOLOv7-W6"),
    (r"model\.77\.i?m\.0\.", "YOLOv7-tiny"),
    (r"model\.\d+\.dec_score_head\.", "Ultralytics' RT-DETR"),
    (r"model\.\d+\.cv3\.0\.2\.bias", "a YOLO with YOLOv8's head"),
    (r"model\.(24|33)\.proto\.", "YOLOv5"),
    (r"model\.\d+\.m\.0\.bias", "a YOLO with YOLOv5's head"),
    (r"model\.\d+\.linear\.weight", "a YOLO"),
    (r"backbone\.ERBlock_2\.", "YOLOv6"),
    (r"backbone\.backbone\.stem\.conv\.conv\.|bbox_head\.multi_level_cls_convs\.", "YOLOX"),
    (r"backbone\.stem\.conv\.branch_3x3\.", "YOLO-NAS"),
    (r"backbone\.block_list\.0\.", "DAMO-YOLO"),
    (r"bbox_head\.rtm_cls\.", "RTMDet"),
    (r"(backbone\.)?down1\.conv1\.conv\.0\.", "YOLOv4"),
    (r"(fpn\.cell\.0\.fnode|bifpn)\.", "EfficientDet"),
    (r"(model\.)?decoder\.(decoder\.)?lqe_layers\.", "D-FINE in another form"),
    (r"(model\.)?encoder\.lateral_convs\.0\.conv\.weight", "an RT-DETR in another form"),
    (r"backbone\.0\.encoder\.encoder\.embeddings\.|model\.backbone\.backbone\.embeddings\.cls_token", "RF-DETR"),
    (r"model\.backbone\.backbone\.embeddings\.position_embeddings", "LW-DETR"),
    (r"(model|transformer)\.level_embed$", "a Deformable DETR"),
    (r"model\.query_refpoint_embeddings\.", "DAB-DETR"),
    (r"vit\.embeddings\.detection_tokens", "YOLOS"),
    (r"transformer\.decoder\.layers\.0\.|model\.decoder\.layers\.0\.encoder_attn\.", "a DETR"),
    (r"image_encoder\.(trunk|patch_embed)\.", "a Segment Anything model"),
    (r"proposal_generator\.rpn_head\.", "a detector of Detectron2"),
    (r"roi_heads\.mask_predictor\.", "a Mask R-CNN"),
    (r"roi_heads\.keypoint_predictor\.", "a Keypoint R-CNN"),
    (r"(roi_heads|roi_head)\.", "a Faster R-CNN"),
    (r"head\.regression_head\.bbox_ctrness\.", "FCOS"),
    (r"head\.classification_head\.module_list\.", "an SSD"),
    (r"features\.denseblock1\.", "a DenseNet"),
    (r"features\.\d+\.squeeze\.weight", "a SqueezeNet"),
    (r"classifier\.6\.weight", "a VGG or an AlexNet"),
    (r"features\.1\.conv\.0\.0\.weight", "a MobileNetV2"),
    (r"features\.1\.block\.0\.0\.weight", "a MobileNetV3"),
    (r"features\.1\.0\.block\.0\.0\.weight", "an EfficientNet"),
    (r"conv_stem\.weight", "a network of MobileNet's kind with timm's names"),
    (r"features\.1\.0\.layer_scale|stages\.0\.blocks\.0\.(gamma|conv_dw\.weight)$", "a ConvNeXt"),
    (
        r"(features\.1|layers\.0\.blocks)\.0\.attn\.(relative_position_bias_table|cpb_mlp|logit_scale)",
        "a Swin transformer",
    ),
    (r"trunk_output\.block1\.|s1\.b1\.conv1\.conv\.weight", "a RegNet"),
    (r"Mixed_5b\.", "an Inception"),
    (r"inception3a\.", "GoogLeNet"),
    (r"stage2\.0\.branch2\.", "a ShuffleNet"),
    (r"backbone\.layer4\.0\.conv1\.weight", "a network with torchvision's ResNet within"),
    (r"encoder\.layers\.encoder_layer_0\.", "a vision transformer"),
    (r"blocks\.0\.attn\.qkv\.", "a vision transformer"),
    (r"(^|\.)lora_[AB]\.", "a LoRA, which goes with another network's weights"),
)
_FORM = " in "  # what follows is how it differs from the network of that name
_WIDTH = 64  # channels of the first block of a ResNet
_HEADS = ((r"model\.\d+\.proto\.", "segment"), (r"model\.\d+\.linear\.weight", "classify"))


def stranger(state_dict: Mapping[str, Any]) -> str | None:
    """Return what a state dict of no model here is, such as ``yolov10n for detection``, or None.

    Its names may have those of wrappers before them.
    """
    return next((what for part in unwrapped(state_dict) if (what := _stranger(part)) is not None), None)


def _stranger(state_dict: Mapping[str, Any]) -> str | None:
    """Return the same of names as they are."""
    said = metadata_of(state_dict)
    task = said.get("task") or _task(state_dict)
    family = said.get("architecture") if said.get("modules") else None
    family = None if str(family).endswith("Model") else family  # a class, which may be any network's
    told = next((what for sign, what in _SIGNS if _has(state_dict, sign)), None) or _residual(state_dict)
    if family and told and _FORM in told:  # the name alone may be that of a model here
        family = f"{family}{_FORM}{told.partition(_FORM)[2]}"
    family = family or told
    if family is None:
        return None
    return harmless_text(f"{family} {_TASKS[task]}" if task in _TASKS else str(family))


def _residual(state_dict: Mapping[str, Any]) -> str | None:
    """Return what a network with the names of torchvision's ResNets is, by the groups and widths of its first block."""
    first, second = (getattr(state_dict.get(f"layer1.0.conv{i}.weight"), "shape", ()) for i in (1, 2))
    if len(first) != 4 or len(second) != 4 or "layer4.0.conv1.weight" not in state_dict:
        return None
    if second[1] < first[0]:
        kind = f"a ResNeXt of {first[0] // second[1]} groups"
    elif first[0] > _WIDTH:
        kind = "a wide ResNet"
    else:
        kind = "a ResNet in another form"  # with a stem, blocks or depths that torchvision's have not
    return f"{kind}, with the names of torchvision's and timm's"


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
