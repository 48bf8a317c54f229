"""Measures the digits detector on its 500 validation pictures: in torch, as a network on the CPU, as an engine.

Engines need a GPU that TensorRT builds for. The weights are fp16; what is called fp16 computes with them in fp16, torch
and all else in fp32. Each figure goes into results.json beside this file, in place of an earlier one of the same name.

examples:
  python -m trtnn.examples.digits.evaluate
  python -m trtnn.examples.digits.evaluate --measure torch engine-fp32 engine-fp16
  python -m trtnn.examples.digits.evaluate --weights yolov5n-dcn-digits.safetensors --out yolov5n-dcn.json
  python -m trtnn.examples.digits.evaluate --weights yolo26n-digits.safetensors --out yolo26n.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from trtnn.backend import get_backend
from trtnn.cuda import gpu_name
from trtnn.examples.digits import FOLDER, WEIGHTS
from trtnn.examples.digits.predictors import (
    BATCH,
    Predictor,
    engine_predictor,
    load_twin,
    network_predictor,
    torch_predictor,
)
from trtnn.examples.digits.scenes import Scene, validation_set
from trtnn.vision import Detections, MeanAveragePrecision, mean_average_precision, non_max_suppression

RESULTS = FOLDER / "results.json"


def detections_of(prediction: np.ndarray) -> list[Detections]:
    """All that a detector finds: YOLOv5's boxes, (N, boxes, 15), are suppressed; YOLO26's, (N, 300, 6), are taken."""
    if prediction.shape[2] == 6:
        return [Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)) for rows in prediction]
    return non_max_suppression(prediction, confidence=0.001, iou=0.6, max_detections=300, multi_label=True)


def measure(predict: Predictor, scenes: Sequence[Scene], batch: int = BATCH) -> MeanAveragePrecision:
    """The mean average precision of ``predict``, which gets ``batch`` pictures at a time, on ``scenes``."""
    found = []
    for first in range(0, len(scenes), batch):
        images = np.stack([scene.image for scene in scenes[first : first + batch]])
        found += detections_of(predict(images.transpose(0, 3, 1, 2).astype(np.float32) / 255))
    return mean_average_precision(found, [(scene.boxes, scene.labels) for scene in scenes])


PREDICTORS: dict[str, Callable[[Path], Predictor]] = {
    "torch": lambda weights: torch_predictor(load_twin(weights)),
    "trtnn-fp32": lambda weights: network_predictor(False, weights),
    "trtnn-fp16": lambda weights: network_predictor(True, weights),
    "engine-fp32": lambda weights: engine_predictor(False, weights),
    "engine-fp16": lambda weights: engine_predictor(True, weights),
}
ON_THE_CPU = [name for name in PREDICTORS if not name.startswith("engine")]


def main() -> None:
    summary, _, examples = __doc__.split("\n\n", 2)
    parser = argparse.ArgumentParser(
        description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--measure", nargs="+", choices=PREDICTORS, default=ON_THE_CPU, help="what (default: all but the engines)"
    )
    parser.add_argument("--pictures", type=int, default=500, help="how many, a multiple of ten (default: %(default)s)")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="of a digits detector (default: the example's own)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file of figures (default: the example's own)")
    arguments = parser.parse_args()
    scenes = validation_set(arguments.pictures)
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for name in arguments.measure:
        start = time.perf_counter()
        score = measure(PREDICTORS[name](arguments.weights), scenes)
        print(f"{name}: mAP50 {score.map50:.4f}, mAP50-95 {score.map50_95:.4f}, {time.perf_counter() - start:.0f} s")
        where = "on the CPU" if name in ON_THE_CPU else f"{get_backend()} on one {gpu_name()}"
        results[name] = {
            "mAP50": round(score.map50, 4),
            "mAP50-95": round(score.map50_95, 4),
            "AP50 of 0 to 9": [round(float(value), 4) for value in score.ap50],
            "pictures": len(scenes),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "with": f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}, "
            f"OpenCV {cv2.__version__}, {where}",
        }
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
