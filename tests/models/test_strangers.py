"""Checkpoints of networks that are not here are called by what they are.

The names are those of each project's own checkpoints: of Ultralytics 8.4.190's and transformers' models printed from
them, of the others as their repositories define the modules.
"""

import numpy as np
import pytest

from tests.helpers import message_of
from trtnn import models
from trtnn.checkpoint import StateDict
from trtnn.errors import StateDictError

STRANGERS = {
    "YOLOv10": ("model.10.attn.qkv.conv.weight", "model.23.one2one_cv3.0.2.bias", "model.23.cv3.0.2.bias"),
    "YOLOv7": ("model.0.conv.weight", "model.105.m.0.weight", "model.105.m.0.bias"),
    "YOLOv7x": ("model.121.im.0.implicit", "model.121.m.0.bias"),
    "YOLOv7-tiny": ("model.77.m.0.weight", "model.77.m.0.bias"),
    "YOLOv12 in the form of its authors' release": ("model.6.m.0.0.attn.qk.conv.weight", "model.21.cv3.0.2.bias"),
    "YOLOv9 in the form of its authors' release": ("model.3.cv2.0.cv1.conv.weight", "model.38.cv3.0.2.bias"),
    "YOLOE": ("model.0.conv.weight", "model.23.reprta.m.w12.weight", "model.23.cv3.0.2.bias"),
    "YOLO-World": ("model.0.conv.weight", "model.22.cv4.0.logit_scale", "model.22.cv3.0.2.bias"),
    "Ultralytics' RT-DETR": ("model.28.decoder.layers.0.self_attn.in_proj_weight", "model.28.dec_score_head.0.bias"),
    "a YOLO of Ghost blocks": ("model.2.m.0.conv.0.cv1.conv.weight", "model.22.cv3.0.2.bias"),
    "a YOLO with YOLOv5's head": ("model.0.conv.weight", "model.99.m.0.bias"),
    "YOLOv6": ("backbone.stem.rbr_dense.conv.weight", "backbone.ERBlock_2.0.rbr_dense.conv.weight"),
    "YOLOX": ("backbone.backbone.stem.conv.conv.weight", "head.cls_convs.0.0.conv.weight"),
    "YOLO-NAS": ("backbone.stem.conv.branch_3x3.conv.weight", "heads.head1.cls_pred.weight"),
    "RTMDet": ("backbone.stem.0.conv.weight", "bbox_head.rtm_cls.0.weight"),
    "D-FINE in another form": (
        "model.decoder.lqe_layers.0.reg_conf.layers.0.weight",
        "model.encoder.lateral_convs.0.conv.weight",
    ),
    "RF-DETR": ("backbone.0.encoder.encoder.embeddings.cls_token", "transformer.decoder.layers.0.norm1.weight"),
    "a Deformable DETR": ("model.level_embed", "model.decoder.layers.0.encoder_attn.value_proj.weight"),
    "a DETR": ("transformer.decoder.layers.0.multihead_attn.in_proj_weight", "class_embed.weight"),
    "LW-DETR": (
        "model.backbone.backbone.embeddings.position_embeddings",
        "model.decoder.layers.0.cross_attn.value_proj.weight",
    ),
    "DAB-DETR": (
        "model.query_refpoint_embeddings.weight",
        "model.decoder.layers.0.self_attn.self_attn_query_content_proj.weight",
    ),
    "YOLOS": ("vit.embeddings.cls_token", "vit.embeddings.detection_tokens"),
    "an SSD": ("head.classification_head.module_list.0.weight", "head.regression_head.module_list.0.weight"),
    "a Mask R-CNN": ("roi_heads.box_head.fc6.weight", "roi_heads.mask_predictor.conv5_mask.weight"),
}


def state_of(names):
    return {name: np.zeros(1, np.float32) for name in names}


@pytest.mark.parametrize("network", STRANGERS)
def test_a_network_that_is_not_here_is_named(network):
    state = state_of(STRANGERS[network])
    assert models.identify(state) is None
    message = message_of(StateDictError, models.from_state_dict, state)
    assert message.startswith(f"this looks like {network}, which trtnn has no model for\n  trtnn models lists")
    message = message_of(StateDictError, models.create("yolov8n").load_state_dict, state)
    assert f"this does not look like a YOLOv8, nor like another model of trtnn: it looks like {network}\n" in message


@pytest.mark.parametrize("before", ["module.", "_orig_mod.", "model.", "module.model."])
@pytest.mark.parametrize("network", ["YOLOv7", "YOLOX", "RF-DETR", "a DETR"])
def test_one_within_wrappers_is_named(network, before):
    state = state_of(f"{before}{name}" for name in STRANGERS[network])
    message = message_of(StateDictError, models.from_state_dict, state)
    assert message.startswith(f"this looks like {network}, which trtnn has no model for\n")


@pytest.mark.parametrize(
    ("foreign", "network"),
    [("model.22.cv4.0.logit_scale", "YOLO-World"), ("model.22.reprta.m.w12.weight", "YOLOE")],
)
def test_a_head_that_compares_with_words_is_no_yolov8_s(foreign, network):
    """All of YOLOv8's own names are there as well."""
    members = models.create("yolov8n")._state()
    state = {name: np.broadcast_to(np.float32(0), member.shape) for name, member in members.items()}
    assert models.identify(state) == {"name": "yolov8n", "classes": 80}
    state |= state_of([foreign])
    assert models.identify(state) is None
    assert f"this looks like {network}," in message_of(StateDictError, models.from_state_dict, state)


def test_yolov9_of_its_authors_is_not_ultralytics():
    """The same names; the second convolution of the branch for the sides is in four groups."""
    members = models.create("yolov9c")._state()
    state = {name: np.broadcast_to(np.float32(0), member.shape) for name, member in members.items()}
    assert models.identify(state)["name"] == "yolov9c"
    state["model.22.cv2.0.1.conv.weight"] = np.zeros((64, 16, 3, 3), np.float32)
    message = message_of(StateDictError, models.from_state_dict, state)
    assert "this looks like YOLOv9 in the form of its authors' release" in message


def test_what_a_file_says_goes_before_names():
    modules = {"model.0": {"class": "ultralytics.nn.modules.conv.Conv"}}
    said = {"architecture": "yolov10s", "task": "detect", "modules": modules}
    message = message_of(StateDictError, models.from_state_dict, StateDict(state_of(STRANGERS["YOLOv10"]), said))
    assert "this looks like yolov10s for detection, which trtnn has no model for" in message


def test_a_form_that_is_not_here_is_told_beside_the_name_that_a_file_says():
    modules = {"model.0": {"class": "ultralytics.nn.modules.conv.Conv"}}
    said = {"architecture": "yolov12m", "task": "detect", "modules": modules}
    state = StateDict(state_of(["model.6.m.0.0.attn.qk.conv.weight"]), said)
    message = message_of(StateDictError, models.from_state_dict, state)
    assert "this looks like yolov12m in the form of its authors' release for detection, which trtnn has no" in message
