"""What the reader of each page has before its first block, and what has to be true after its last."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtnn
from benchmarks.twins import yolov5 as twin
from benchmarks.zoo.torchvision_models import import_torchvision
from tests.helpers import FP16_TOLERANCE, ONE_TARGET, RUNS_HERE, assert_close, load_random
from tests.standin import stand_in
from trtnn import functional as F
from trtnn import get_backend
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.modules import Linear
from trtnn.network import Network
from trtnn.ops import arithmetic

Names = dict[str, Any]

# -- before -----------------------------------------------------------------------------------------------------------


class Twin(nn.Module):
    """The network of the page "Write a model", as torch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32 * 8 * 8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images / 255).flatten(1)).softmax(1)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@torch.no_grad()
def save_yolov5s() -> None:
    torch.save(twin.YOLOv5("yolov5s").state_dict(), "yolov5s.pt")


@torch.no_grad()
def torch_twin() -> nn.Module:
    return load_random(Twin())


def a_checkpoint() -> Names:
    save_yolov5s()
    return {"images": np.zeros((1, 3, 640, 640), np.float32)}


def a_checkpoint_and_a_model() -> Names:
    conv = load_random(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.SiLU()))
    return {**a_checkpoint(), "torch_model": conv}


def a_torch_model() -> Names:
    return {"torch_model": torch_twin(), "images": pixels(1, 3, 32, 32)}


def the_digits() -> Names:
    shutil.copy(WEIGHTS, "digits.safetensors")
    shutil.copy(PICTURE, "street.jpg")
    return {}


def an_engine_and_an_adapter() -> Names:
    model = Linear(4, 3)
    model.load_state_dict({"weight": np.zeros((3, 4), np.float32), "bias": np.zeros(3, np.float32)})
    trtnn.save(model.state_dict(), "model.safetensors")
    Path("adapters/red").mkdir(parents=True)
    factors = {"lora_A.weight": np.ones((2, 4), np.float32), "lora_B.weight": np.ones((3, 2), np.float32)}
    trtnn.save({f"base_model.model.{name}": a for name, a in factors.items()}, "adapters/red/adapter_model.safetensors")
    Path("adapters/red/adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    return {"model": model, "engine": model.compile({"input": (1, 4)}, **ONE_TARGET)}


def merged(names: Names) -> None:
    np.testing.assert_allclose(names["model"].weight.data, np.full((3, 4), 0.8 * 4 / 2 * 2), rtol=1e-6)


def what_operations_import() -> Names:
    """Return what a file of operations has imported: the page's function goes into one."""
    return vars(arithmetic) | {"sqrt": F.sqrt, "square": F.square}


def torchvision_and_no_weights() -> Names:
    import_torchvision()
    return {}


@torch.no_grad()
def a_small_checkpoint_and_samples() -> Names:
    """Put a YOLOv5n into the file that the page reads: its numbers are computed on the CPU."""
    torch.save(load_random(twin.YOLOv5("yolov5n")).state_dict(), "yolov5s.pt")
    return {"samples": [pixels(1, 3, 640, 640) / 255]}


def a_network_with_its_engine() -> Names:
    model = trtnn.modules.Conv2d(3, 8, 3)
    model.inputs = {"input": (1, 3, 16, 16)}
    model.load_state_dict({name: np.ones(p.shape, np.float32) for name, p in model.named_parameters()})
    return {"model": model, "engine": model.compile(), "samples": [pixels(1, 3, 16, 16)]}


BEFORE: dict[str, Callable[[], Names]] = {
    "README.md": a_checkpoint_and_a_model,
    "docs/architecture.md": what_operations_import,
    "docs/checkpoints.md": a_checkpoint,
    "docs/detect.md": the_digits,
    "docs/from_torch.md": torchvision_and_no_weights,
    "docs/index.md": a_checkpoint,
    "docs/quantization.md": a_small_checkpoint_and_samples,
    "docs/refit.md": an_engine_and_an_adapter,
    "docs/viewer.md": a_network_with_its_engine,
    "docs/write_a_model.md": a_torch_model,
}

# -- after ------------------------------------------------------------------------------------------------------------


def of_the_model(names: Names) -> None:
    images = names["images"]
    with torch.no_grad():
        theirs = names["torch_model"]
        expected = theirs(torch.from_numpy(images))
        inner = theirs.features[:3](torch.from_numpy(images) / 255)
    assert_close(names["scores"], expected, FP16_TOLERANCE)
    assert trtnn.Engine.load("net.engine").outputs == names["network"].outputs
    assert names["network"].run(images, outputs=["features.2"])[1]["features.2"].dtype == np.float16
    half = names["network"].run(images, outputs=["features.2"])[1]["features.2"]
    assert_close(half.astype(np.float32), inner, FP16_TOLERANCE)
    assert_close(names["result"], expected, 1e-4)  # of the engine in fp32
    x = np.float32([[1, 2, 3, 4, 5], [5, 1, 1, 1, 1]])
    np.testing.assert_array_equal(names["spread"].run(x), [[0, 0, 3, 4, 5], [5, 0, 0, 0, 0]])


def of_two_roads(names: Names) -> None:
    np.testing.assert_allclose(names["by_api"], names["by_trtnn"], rtol=1e-5, atol=1e-5)
    assert names["network"].num_layers == len(names["ours"].layers())
    assert names["half"].graph.precision.compute is trtnn.float16


def of_hypot(names: Names) -> None:
    from tests.helpers import run

    x, y = np.float32([3, 5, -8]), np.float32([4, 12, 15])
    np.testing.assert_allclose(run(names["hypot"], x, y), [5, 13, 17], rtol=1e-6)


def of_the_digits(names: Names) -> None:
    classes = sorted(detection.class_index for detection in names["found"])
    truth = json.loads(PICTURE.with_suffix(".json").read_text(encoding="utf-8"))
    assert classes == sorted(digit["class"] for digit in truth)


def of_the_first(names: Names) -> None:
    assert names["engine"].description["precision"] == "float16"


def of_the_lock(names: Names) -> None:
    first, again = names["written"], names["again"]
    assert first.description["lock"] == again.description["lock"]
    assert again.description["lock"]["new_weights"] == 0


AFTER: dict[str, Callable[[Names], None]] = {
    "docs/deploy.md": of_the_lock,
    "docs/refit.md": merged,
    "docs/architecture.md": of_hypot,
    "docs/detect.md": of_the_digits,
    "docs/index.md": of_the_first,
    "docs/two_roads.md": of_two_roads,
    "docs/write_a_model.md": of_the_model,
}

# -- the machine ------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, the TensorRT that pages import, and engines that run, on the GPU or on a stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", get_backend().trt)
    if not RUNS_HERE:
        build = Network.build

        def build_and_stand_in(network: Network, config: Any = None, **options: Any) -> Any:
            engine = build(network, config, **({} if config else ONE_TARGET | options))
            paths = list(dict.fromkeys(layer.path for layer in network.layers()))
            stand_in(monkeypatch, network, lambda run: [(path, 0.01) for path in paths], paths)
            return engine

        monkeypatch.setattr(Network, "build", build_and_stand_in)
