"""Training with rounding: the file is a quantised detector, whose numbers are those that were trained."""

import numpy as np
import torch

import trtnn
from trtnn.examples.digits import SIZE_PX
from trtnn.examples.digits.qat import train
from trtnn.models import from_state_dict, identify

SHAPE = (1, 3, SIZE_PX, SIZE_PX)


def outputs(state, x, path: str) -> np.ndarray:
    model = from_state_dict(state)
    model.inputs = {"images": SHAPE}
    return model.trace().run(x, outputs=[path])[1][path]


def test_two_steps(tmp_path):
    path = tmp_path / "a.safetensors"
    twin = train(2, 1, 0, path, batches=1)
    state = trtnn.load(path)
    assert identify(state) == {"name": "yolov5n", "classes": 10, "version": "6.0"}
    scaled = {name.removesuffix(".weight_scale") for name in state if name.endswith(".weight_scale")}
    convolutions = {name for name, module in twin.named_modules() if isinstance(module, torch.nn.Conv2d)}
    assert convolutions - scaled == {f"model.24.m.{i}" for i in range(3)}  # the last layers stay as they are
    assert scaled < convolutions
    assert "model.0.bn.output_scale" in state, "the first is rounded before its activation"
    x = np.random.default_rng(0).random(SHAPE, np.float32)
    # Two convolutions in: further on, what lay beside a half and went the other way has made others go, too.
    with torch.no_grad():
        trained = twin.model[1](twin.model[0](torch.from_numpy(x))).numpy()
    plain = {name: array for name, array in state.items() if "scale" not in name and "quant_max" not in name}
    rounded, unrounded = (np.sqrt(((outputs(s, x, "model.1") - trained) ** 2).mean()) for s in (state, plain))
    assert rounded < unrounded / 50
