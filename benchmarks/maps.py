"""YOLOv5 with its head decoded and raw on a GPU: the network alone, and from pictures to boxes.

A decoded head makes a row of each box, (batch, 25200, 85) at 640 pixels; of a raw one a Detector reads the maps, and
makes boxes where objectness is above the threshold. Both have the same random weights, so that both find the same.

Figures are milliseconds a batch: "execute" is TensorRT alone, "graph" the same as a CUDA graph, "boxes" a Detector's
from pictures of 1280 by 720 in ordinary memory, with as many boxes found.

examples:
  python benchmarks/maps.py --out maps
  python benchmarks/maps.py --out maps --model yolov5s:32 --int8
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn.engine.bench import circumstances, milliseconds
from trtnn.files import atomic_write
from trtnn.models import create

sys.path.append(str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins

from benchmarks.int8 import SIZE_PX, image, load_model

HEADS = ("decoded", "raw")


def weights(name: str, int8: bool, folder: Path) -> dict[str, Any]:
    """Return a model's state dict, quantised where asked; a file in the folder keeps it."""
    model = load_model(name, folder)
    if not int8:
        return dict(model.state_dict())
    file = folder / f"{name}-int8.npz"
    if not file.exists():
        trtnn.save(trtnn.quantize(model, [image(1)]).state_dict(), file)
    return trtnn.load(file)


def network_of(name: str, head: str, state: dict[str, Any], batch: int) -> Any:
    """Return the network with one of the heads."""
    model = create(name, head=head)
    model.load_state_dict(state)
    return model.trace({"images": trtnn.Input((batch, 3, SIZE_PX, SIZE_PX))}, fp16=True)


def measure(engine: Any, batch: int, confidence: float) -> dict[str, float]:
    """Return the milliseconds of an engine by what was run, and how many boxes its Detector found."""
    images = {"images": image(batch)}
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (720, 1280, 3), np.uint8) for _ in range(batch)]
    detector = trtnn.Detector(engine, confidence=confidence)
    found = sum(map(len, detector(pictures)))
    return {
        "execute": milliseconds(engine.bare(**images)),
        "graph": milliseconds(engine.cuda_graph().bare(**images)),
        "boxes": milliseconds(lambda: detector(pictures), 5, 20, 5),
        "found": found,
    }


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--model", nargs="+", default=["yolov5s:1,8,32"], help="models with batches")
    parser.add_argument("--int8", action="store_true", help="as trtnn.quantize declares it, beside fp16")
    parser.add_argument("--confidence", type=float, default=0.25, help="the Detector's (default: %(default)s)")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"about": circumstances()}
    for entry in args.model:
        name, _, batches = entry.partition(":")
        state = weights(name, args.int8, args.out)
        for batch in map(int, (batches or "1").split(",")):
            for head in HEADS:
                network = network_of(name, head, state, batch)
                timing = args.out / f"timing-int8-{head}" if args.int8 else None  # the usual one has fp16's kernels
                options = {"optimization_level": args.level, "max_aux_streams": 1, "timing_cache": timing}
                with network.build(progress=False, **options) as engine:
                    row = figures[f"{name}, {batch}, {head}"] = measure(engine, batch, args.confidence)
                times = ", ".join(f"{what} {value:.4g}" for what, value in row.items())
                print(f"{name} {batch:3} {head:8} {times}", flush=True)
                with atomic_write(args.out / "maps.json") as file:
                    file.write(json.dumps(figures, indent=1).encode())


if __name__ == "__main__":
    main()
