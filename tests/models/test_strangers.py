"""Checkpoints of networks that are not here are called by what they are.

The names are those of each project's own checkpoints: of Ultralytics 8.4.190's, torchvision's, timm's and transformers'
models printed from them, of the others as their repositories define the modules.
"""

import json

import numpy as np
import pytest

import trtnn
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
    "a VGG or an AlexNet": ("features.0.weight", "classifier.0.weight", "classifier.6.weight"),
    "a DenseNet": ("features.conv0.weight", "features.denseblock1.denselayer1.norm1.weight", "classifier.weight"),
    "a MobileNetV2": ("features.0.0.weight", "features.1.conv.0.0.weight", "classifier.1.weight"),
    "a MobileNetV3": ("features.0.0.weight", "features.1.block.0.0.weight", "classifier.3.weight"),
    "an EfficientNet": ("features.0.0.weight", "features.1.0.block.0.0.weight", "classifier.1.weight"),
    "a network of MobileNet's kind with timm's names": ("conv_stem.weight", "blocks.0.0.conv_dw.weight"),
    "a ConvNeXt": ("stem.0.weight", "stages.0.blocks.0.gamma", "stages.0.blocks.0.conv_dw.weight"),
    "a Swin transformer": ("features.1.0.attn.relative_position_bias_table", "features.1.0.attn.qkv.weight"),
    "a network with torchvision's ResNet within": ("backbone.layer4.0.conv1.weight", "classifier.4.weight"),
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
    assert "trtnn.from_torch(module, example), or trtnn from-torch" in message.splitlines()[-1]
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


def residual(first: tuple[int, ...], second: tuple[int, ...], *more: str) -> dict[str, np.ndarray]:
    """Return what is looked at of a ResNet's state dict of 3, 4, 6 and 3 blocks, with these kernels in the first."""
    state = state_of(
        f"layer{stage}.{block}.conv{i}.weight"
        for stage, blocks in enumerate((3, 4, 6, 3), 1)
        for block in range(blocks)
        for i in (1, 2, 3)
    )
    kernels = {"layer1.0.conv1.weight": np.zeros(first), "layer1.0.conv2.weight": np.zeros(second)}
    return state | kernels | state_of(more) | {"fc.bias": np.zeros(1000)}


@pytest.mark.parametrize(
    ("state", "network"),
    [
        (residual((128, 64, 1, 1), (128, 4, 3, 3)), "a ResNeXt of 32 groups"),  # resnext50_32x4d
        (residual((128, 64, 1, 1), (128, 128, 3, 3)), "a wide ResNet"),  # wide_resnet50_2
        (residual((64, 64, 1, 1), (64, 64, 3, 3), "conv1.0.weight"), "a ResNet in another form"),  # resnet50d
        (residual((64, 64, 1, 1), (64, 64, 3, 3), "layer1.0.se.fc1.weight"), "a ResNet in another form"),  # seresnet50
        (residual((64, 64, 1, 1), (64, 64, 3, 3), "layer1.0.downsample.2.bias"), "a ResNet in another form"),
    ],
)
def test_a_resnet_of_other_groups_widths_and_blocks_is_named(state, network):
    assert models.identify(residual((64, 64, 1, 1), (64, 64, 3, 3), "conv1.weight")) == {
        "name": "resnet50",
        "classes": 1000,
    }
    assert models.identify(state) is None
    message = message_of(StateDictError, models.from_state_dict, state)
    named = f"{network}, with the names of torchvision's and timm's"
    assert message.startswith(f"this looks like {named}, which trtnn has no model for\n")
    assert f": it looks like {named}\n" in message_of(StateDictError, models.create("resnet50").load_state_dict, state)


@pytest.mark.parametrize("architecture", ["resnet50", "resnet50.a1_in1k", "resnetaa50", "resnetblur50", "resnet50d"])
def test_timm_s_resnets_of_the_same_weights_and_other_layers_are_told_by_its_config(tmp_path, architecture):
    """Poolings without weights stand between their convolutions, which nothing but the config tells."""
    state = {
        name: np.full(member.shape, 0.5, np.float32) for name, member in models.create("resnet50")._state().items()
    }
    trtnn.save(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture, "pretrained_cfg": {}}))
    loaded = trtnn.load(tmp_path / "model.safetensors")
    if architecture.startswith("resnet50") and architecture != "resnet50d":
        assert models.identify(loaded) == {"name": "resnet50", "classes": 1000}
    else:
        assert models.identify(loaded) is None
        message = message_of(StateDictError, models.from_state_dict, loaded)
        assert message.startswith(
            "this looks like a ResNet in another form, with the names of torchvision's and timm's"
        )
