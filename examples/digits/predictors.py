"""The digits detector as functions from pictures to boxes: in torch, as a TensorRT network on the CPU, as an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import trtnn
from trtnn.examples.digits import CLASSES, SIZE_PX, WEIGHTS
from trtnn.examples.digits.network import YOLOv5
from trtnn.examples.digits.yolo26 import YOLO26
from trtnn.network import Network

BATCH = 10

#: From (N, 3, h, w) float32, RGB in 0..1, to YOLOv5's decoded boxes, (N, boxes, 15), or to YOLO26's best, (N, 300, 6).
Predictor = Callable[[np.ndarray], np.ndarray]


def load_twin(path: Path = WEIGHTS) -> YOLOv5 | YOLO26:
    """The torch twin of a detector's weights, which tell which model it is, in fp32 and eval mode."""
    from trtnn.models import identify  # training needs no TensorRT

    state = trtnn.load(path)
    name = identify(state)["name"]
    model = (YOLO26 if name.startswith("yolo26") else YOLOv5)(name, classes=CLASSES)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return model.eval()


def torch_predictor(model: nn.Module) -> Predictor:
    """``model`` as a function of arrays, on the device where it lies."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def predict(images: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(images).to(device)).float().cpu().numpy()

    return predict


def _network(fp16: bool, path: Path) -> Network:
    from trtnn.models import from_state_dict  # training needs no TensorRT

    return from_state_dict(trtnn.load(path)).trace(fp16=fp16, inputs={"images": (BATCH, 3, SIZE_PX, SIZE_PX)})


def network_predictor(fp16: bool, path: Path = WEIGHTS) -> Predictor:
    """The TensorRT network, run on the CPU by trtnn's reference; it takes ``BATCH`` pictures at a time."""
    network = _network(fp16, path)
    return lambda images: np.asarray(network.run(images))


def engine_predictor(fp16: bool, path: Path = WEIGHTS) -> Predictor:
    """An engine, built here and run on the GPU; it takes ``BATCH`` pictures at a time."""
    return _network(fp16, path).build(optimization_level=1)
