"""What int8 and fp8 cost in accuracy, on the CPU reference: a detector and a classifier of scikit-learn's digits.

The detector is examples/digits, on its validation pictures; the classifier, of depthwise convolutions as MobileNet's,
is trained here in torch on 1,200 of scikit-learn's digits and measured on the other 597. Scales are measured on
pictures of the training; nothing is trained after that. Each row goes into OUT as it comes, and none is measured twice.

examples:
  python benchmarks/quantization.py --out quantization.json
  python benchmarks/quantization.py --out quantization.json --pictures 100 --what detector
  python benchmarks/quantization.py --out quantization.json --what detector --rows fp32 "int8, mse"
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import trtnn
from trtnn import modules
from trtnn.accuracy.sites import Sites
from trtnn.examples.digits import WEIGHTS
from trtnn.examples.digits.evaluate import measure
from trtnn.examples.digits.scenes import make_scene, training_source, validation_set
from trtnn.models import from_state_dict

sys.path.append(str(Path(__file__).parents[1]))
CALIBRATION, BATCH, SIZE_PX = 256, 4, 320
FIRST_TOO = "last and first"  # of ``skip``: the last layers and the first convolution
AS_INT8 = {"correct_bias": False, "adaptive_rounding": False, "skip": FIRST_TOO}
ROWS: dict[str, dict[str, Any] | None] = {
    "fp32": None,
    "int8, mse": {"method": "mse"},
    "int8, max": {"method": "max"},
    "int8, mse, first left": {"method": "mse", "skip": FIRST_TOO},
    "fp8": {"dtype": "fp8"},
    "fp8, mse": {"dtype": "fp8", "method": "mse"},
    "fp8, biases kept": {"dtype": "fp8", "correct_bias": False},
    "fp8, nearest numbers": {"dtype": "fp8", "correct_bias": False, "adaptive_rounding": False},
    "fp8, nearest numbers, ends as int8": {**AS_INT8, "dtype": "fp8"},
    "int8, max, all layers": {"method": "max", "skip": ()},
    "int8, mse, all layers": {"method": "mse", "skip": ()},
    "int8, entropy": {"method": "entropy"},
    "int8, percentile": {"method": "percentile"},
    "int8, mse, biases corrected": {"method": "mse", "correct_bias": True},
    "int8, mse, 20.cv3 rounded for the head": {"method": "mse", "round_outputs": ["model.20.cv3"]},
    "int8, mse, 17.cv3 rounded for the head": {"method": "mse", "round_outputs": ["model.17.cv3"]},
    "int8, mse, both rounded for the head": {"method": "mse", "round_outputs": ["model.*.cv3"]},
    "int8, mse, adaptive rounding": {"method": "mse", "adaptive_rounding": True},
}


def quantized(model: modules.Module, samples: list[np.ndarray], how: dict[str, Any]) -> None:
    if how.get("skip") == FIRST_TOO:
        how = {**how, "skip": Sites(model.trace().graph, int8=False).ends()}
    trtnn.quantize(model, samples, **how)


# -- the detector -----------------------------------------------------------------------------------------------------


def training_pictures() -> Iterator[np.ndarray]:
    """Yield batches of pictures as the detector was trained on."""
    rng, source = np.random.default_rng(7), training_source()
    for _ in range(CALIBRATION // BATCH):
        images = np.stack([make_scene(rng, source).image for _ in range(BATCH)])
        yield images.transpose(0, 3, 1, 2).astype(np.float32) / 255


def detector_rows(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    scenes, pictures = validation_set(args.pictures), list(training_pictures())
    for name, how in ROWS.items():

        def row(how: dict[str, Any] | None = how) -> dict[str, float]:
            model = from_state_dict(trtnn.load(WEIGHTS))
            model.inputs = {"images": trtnn.Input((BATCH, 3, SIZE_PX, SIZE_PX))}
            start = time.perf_counter()
            if how is not None:
                quantized(model, pictures, how)
            seconds = time.perf_counter() - start
            network = model.trace({"images": (10, 3, SIZE_PX, SIZE_PX)})
            found = measure(network.run, scenes)
            return {"mAP50": found.map50, "mAP50-95": found.map50_95, "calibration s": seconds}

        yield name, row


# -- the classifier ---------------------------------------------------------------------------------------------------

WIDTHS = (16, 32, 64)


def _parts(kinds: Any) -> list[Any]:
    """Return the layers of the classifier, of torch's or of trtnn's modules."""
    parts, before = [], 1
    for width in WIDTHS:
        if before > 1:  # depthwise, then pointwise
            parts += [kinds.Conv2d(before, before, 3, 1, 1, groups=before, bias=False), kinds.BatchNorm2d(before)]
            parts += [kinds.ReLU6()]
        parts += [kinds.Conv2d(before, width, 3 if before == 1 else 1, 1, 1 if before == 1 else 0, bias=False)]
        parts += [kinds.BatchNorm2d(width), kinds.ReLU6(), kinds.MaxPool2d(2) if width < 64 else kinds.Flatten()]
        before = width
    return [*parts, kinds.Linear(64 * 2 * 2, 10)]


def trained_classifier() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Return its state dict, the training's pictures, and pictures and classes of the test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    x, y = (digits.images[order, None] / 16).astype(np.float32), digits.target[order]
    torch.manual_seed(0)
    model = nn.Sequential(*_parts(nn)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, 40 * 19)
    for _ in range(40):
        for part in torch.randperm(1200).split(64):
            shifted = torch.roll(torch.from_numpy(x[part]), (int(torch.randint(-1, 2, ())),), (3,))
            loss = nn.functional.cross_entropy(model(shifted), torch.from_numpy(y[part]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items() if "num_batches" not in name}
    return state, x[:1200], x[1200:], y[1200:]


def classifier_rows(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    state, training, test, classes = trained_classifier()

    def logits(how: dict[str, Any] | None) -> np.ndarray:
        model = modules.Sequential(*_parts(modules))
        model.load_state_dict(state)
        model.inputs = {"input": (50, 1, 8, 8)}
        if how is not None:
            quantized(model, [training[i : i + 50] for i in range(0, 600, 50)], how)
        return model.trace({"input": test.shape}).run(test)

    plain = logits(None)
    for name, how in ROWS.items():

        def row(how: dict[str, Any] | None = how) -> dict[str, float]:
            result = logits(how)
            return {"top-1": float((result.argmax(1) == classes).mean()), "rms error": _error(result, plain)}

        yield name, row


def _error(value: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(((value - true) ** 2).mean() / (true**2).mean()))


# -- how long it takes ------------------------------------------------------------------------------------------------


def calibration_rows(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """Time the calibration of YOLOv5s at 640×640 beside the reference's runs of the same pictures."""
    from benchmarks.twins.yolov5 import YOLOv5, well_scaled

    def row() -> dict[str, float]:
        model = trtnn.models.create("yolov5s")
        twin = well_scaled(YOLOv5("yolov5s"), 128).state_dict()
        model.load_state_dict({name: tensor for name, tensor in twin.items() if "num_batches" not in name})
        pictures = [np.random.default_rng(i).random((1, 3, 640, 640), np.float32) for i in range(args.timed)]
        network = model.trace()
        network.run(pictures[0])
        times = []
        for call in (lambda: [network.run(x) for x in pictures], lambda: trtnn.quantize(model, pictures)):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return {
            "pictures": args.timed,
            "reference s": times[0],
            "calibration s": times[1],
            "ratio": times[1] / times[0],
        }

    yield "mse", row


WHAT = {"detector": detector_rows, "classifier": classifier_rows, "calibration": calibration_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the file of results")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="default: all")
    parser.add_argument("--pictures", type=int, default=500, help="of the detector's validation")
    parser.add_argument("--timed", type=int, default=20, help="pictures that the calibration is timed on")
    args = parser.parse_args()
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    for what in args.what:
        for name, row in WHAT[what](args):
            key = f"{what}: {name}"
            if name in ROWS and name not in args.rows:
                continue
            if key not in results:
                results[key] = row()
                args.out.write_text(json.dumps(results, indent=1))
            print(key, results[key], flush=True)


if __name__ == "__main__":
    main()
