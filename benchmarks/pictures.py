"""From pictures to boxes on a GPU: the kernels, whole detectors, and what others do, all in one run on one machine.

Each row is printed as it comes, and the JSON of --out is written anew after each, so that a run that is cut off leaves
what it measured. Peers that are not installed are named and left out.

  kernel     the preprocessing of 32 pictures of 1280 x 720 at 640, fp16: beside what the GPU's memory can move in the
             same time, OpenCV on all cores, and CV-CUDA's resize
  suppress   8,000 and 30,000 candidates of one picture, with 300 detections: beside torchvision.ops.nms, and the CPU
  one        one picture of 1280 x 720, from NumPy's memory, page-locked memory and a CUDA tensor, to Detections: beside
             the engine's CUDA graph alone, the CPU's way around the same engine, and OpenCV with torchvision.ops.nms
             around it. YOLOv5s has random weights and thousands of candidates, the digits' YOLOv5n a few.
  batch      the same of 8 pictures
  stream     2,000 pictures that lie decoded in memory: beside the engine's own pictures a second
  memory     10,000 pictures of random sizes: the GPU's memory before and after
  torch      the picture through OpenCV's letterbox, a compiled torch twin in fp16, and torchvision.ops.nms (a minute)

examples:
  python benchmarks/pictures.py --out pictures.json
  python benchmarks/pictures.py --out pictures.json --only kernel suppress one --seconds 120
  python benchmarks/pictures.py --out pictures.json --batch 8 --only stream --models yolov5s --engines /tmp/engines
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from trtnn.cuda import gpu_memory, gpu_name
from trtnn.engine.bench import milliseconds
from trtnn.engine.cuda_graph import CapturedGraph
from trtnn.engine.lane import Lane
from trtnn.errors import TrtnnError
from trtnn.files import atomic_write, make_folder
from trtnn.kernels import kernels
from trtnn.vision import Preprocessing, letterbox, preprocess
from trtnn.vision.gpu_postprocessing import PLACE, GpuPostprocessing, describe
from trtnn.vision.gpu_preprocessing import IMAGE, GpuPreprocessing, Pixels
from trtnn.vision.heads import YOLOV5

sys.path.append(str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins
PICTURE, SIDE = (720, 1280), 640
ROUNDS = 5
PARTS = ("kernel", "suppress", "one", "batch", "stream", "memory", "torch")
MODELS = ("yolov5s", "digits")  # random weights and thousands of candidates, and a few


class Rows:
    """What was measured: printed as it comes, and kept in a file.

    Args:
        path: the JSON file.
        end: the moment, of ``time.monotonic``, after which nothing new is begun.
    """

    def __init__(self, path: Path, end: float) -> None:
        self.path, self.end = path, end
        self.rows: dict[str, dict[str, float | str]] = {}
        about = {"gpu": gpu_name(), "date": datetime.date.today().isoformat(), "cores": os.cpu_count()}
        self._about = {**about, "command": " ".join(sys.argv)}

    def add(self, part: str, name: str, value: float | str, unit: str = "ms") -> None:
        """Add one figure, or why there is none."""
        shown = f"{value:.4g} {unit}" if isinstance(value, float) else value
        print(f"{part:9} {name:62} {shown}", flush=True)
        self.rows.setdefault(part, {})[f"{name} [{unit}]" if isinstance(value, float) else name] = value
        with atomic_write(self.path) as file:
            file.write(json.dumps({"about": self._about, **self.rows}, indent=1).encode())


def noise(*shape: int) -> np.ndarray:
    """A picture as a photograph is: smooth, with noise."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (*(-(-side // 16) for side in shape[:2]), 3)).repeat(16, 0).repeat(16, 1)
    return np.clip(rough[: shape[0], : shape[1]] + rng.integers(-20, 20, (*shape, 3)), 0, 255).astype(np.uint8)


def try_import(name: str) -> Any:
    """A module, or None where it is not installed or does not load."""
    try:
        return importlib.import_module(name)
    except Exception:  # torchvision of another Python raises all kinds
        return None


def graph_ms(lane: Lane, enqueue: Callable[[int], None], times: int = 20) -> float:
    """The milliseconds of work on the GPU alone: many times in one CUDA graph."""
    enqueue(lane.handle)
    lane.synchronize()

    def several(stream: int) -> None:
        for _ in range(times):
            enqueue(stream)

    graph = CapturedGraph(several)
    return milliseconds(lambda: graph.launch(lane.handle), ROUNDS, 10, 3, lane.synchronize) / times


def put(lane: Lane, array: np.ndarray) -> int:
    address = lane.allocate(array.nbytes)
    lane.upload(address, np.ascontiguousarray(array))
    return address


# -- the kernels alone ------------------------------------------------------------------------------------------------


def part_kernel(rows: Rows, args: argparse.Namespace) -> None:
    import torch

    lane, count, image = Lane(), 32, noise(*PICTURE)
    how, size = Preprocessing(), (SIDE, SIDE)
    for dtype in (np.float16, np.float32):
        before = GpuPreprocessing(how, size, dtype)
        described = np.zeros(count, IMAGE)
        pixels = [Pixels(put(lane, image), *PICTURE, image.strides[0]) for _ in range(count)]
        before.describe(pixels, described)
        images, table = put(lane, described), put(lane, before.table)
        output_bytes = count * 3 * SIDE * SIDE * np.dtype(dtype).itemsize
        output = lane.allocate(output_bytes)
        module = kernels("preprocessing")
        took = graph_ms(lane, lambda s: before.launch(module, s, images, table, output, count))  # noqa: B023
        name = f"32 pictures, {np.dtype(dtype).name}"
        rows.add("kernel", name, took)
        moved = count * image.nbytes + output_bytes
        there = torch.empty(moved // 2, dtype=torch.uint8, device="cuda")
        other = torch.empty_like(there)
        copy = milliseconds(lambda: other.copy_(there))  # noqa: B023  (as many bytes read, and as many written)
        rows.add("kernel", f"{name}: as many bytes moved by a copy", copy)
        rows.add("kernel", f"{name}: part of the memory's bandwidth", 100 * copy / took, "%")
    batch = np.empty((count, 3, SIDE, SIDE), np.float16)
    cpu = milliseconds(lambda: preprocess([image] * count, size, np.float16, how, out=batch), 3, 2, 1)
    rows.add("kernel", "32 pictures, float16, on the CPU, all cores", cpu)
    rows.add(
        "kernel", "one picture: letterbox by OpenCV, one core", milliseconds(lambda: letterbox(image, size), 3, 20, 3)
    )
    cvcuda = try_import("cvcuda")
    if cvcuda is None:
        rows.add("kernel", "CV-CUDA", "is not installed")
        return
    tensor = cvcuda.as_tensor(torch.from_numpy(np.stack([image] * count)).cuda(), "NHWC")
    shape = (count, 360, SIDE, 3)
    rows.add(
        "kernel", "CV-CUDA's resize of 32 pictures, bytes to bytes", milliseconds(lambda: cvcuda.resize(tensor, shape))
    )


def prediction(candidates: int, boxes: int, classes: int = 80) -> np.ndarray:
    """A YOLO head's output for one picture, with so many candidates over all of it."""
    rng = np.random.default_rng(0)
    rows = np.zeros((1, boxes, 5 + classes), np.float32)
    rows[..., :2] = rng.uniform(0, SIDE, (1, boxes, 2))
    rows[..., 2:4] = rng.uniform(8, 120, (1, boxes, 2))
    rows[:, :candidates, 4] = 1
    rows[..., 5:] = rng.uniform(0, 0.2, (1, boxes, classes))
    best = rng.integers(0, classes, boxes)
    rows[0, np.arange(boxes), 5 + best] = rng.uniform(0.3, 1, boxes)
    return rows


def part_suppress(rows: Rows, args: argparse.Namespace) -> None:
    import torch

    vision, lane, size = try_import("torchvision"), Lane(), (SIDE, SIDE)
    for candidates, boxes in ((100, 25200), (8000, 25200), (30000, 30000)):
        whole = prediction(candidates, boxes)
        thresholds = {**YOLOV5.thresholds, "confidence": 0.25}
        after = GpuPostprocessing(YOLOV5, {"prediction": whole.shape}, np.float32, size, thresholds)
        placements, places = [letterbox(noise(*PICTURE), size)[1]], np.zeros(1, PLACE)
        describe(placements, places)
        addresses = put(lane, whole), put(lane, after.wanted), put(lane, places), lane.allocate(after.memory_bytes)
        first, wanted, placed, memory = addresses
        module = kernels("postprocessing")

        def enqueue(stream: int) -> None:
            outputs = {"prediction": first}  # noqa: B023
            after.launch(module, stream, outputs, wanted, placed, memory, 1)  # noqa: B023

        name = f"{candidates} candidates of {boxes} boxes"
        rows.add("suppress", f"{name}: all from the output to the boxes", graph_ms(lane, enqueue))
        cpu = milliseconds(lambda: YOLOV5.detect({"prediction": whole}, placements, **thresholds), 3, 2, 1)  # noqa: B023
        rows.add("suppress", f"{name}: on the CPU", cpu)
        if vision is None:
            rows.add("suppress", "torchvision", "is not installed, or does not load")
            continue
        on_gpu = torch.from_numpy(whole[0]).cuda()
        rows.add("suppress", f"{name}: by torch and torchvision", milliseconds(lambda: torch_picks(on_gpu, vision)))  # noqa: B023


def torch_picks(rows: Any, vision: Any, confidence: float = 0.25, iou: float = 0.45) -> Any:
    """The usual way in torch: a mask, the best class, boxes moved apart by class, and torchvision's suppression."""
    import torch

    rows = rows[rows[:, 4] > confidence]
    scores, labels = (rows[:, 5:] * rows[:, 4:5]).max(1)
    good = scores > confidence
    scores, labels, rows = scores[good], labels[good], rows[good]
    half = rows[:, 2:4] / 2
    boxes = torch.cat([rows[:, :2] - half, rows[:, :2] + half], 1)
    kept = vision.ops.nms(boxes + labels[:, None] * 4096.0, scores, iou)[:300]
    return torch.cat([boxes[kept], scores[kept, None], labels[kept, None].to(boxes.dtype)], 1)


# -- whole detectors --------------------------------------------------------------------------------------------------


def engine_of(args: argparse.Namespace, name: str, batch: int) -> Any:
    """YOLOv5s of random weights, or the digits' YOLOv5n, in fp16; kept in the folder of engines."""
    import trtnn
    from trtnn import models

    path = make_folder(args.engines) / f"{name}-{batch}.engine"
    if path.exists():
        return trtnn.Engine.load(path)
    if name == "digits":
        from trtnn.examples.digits import WEIGHTS

        model = models.from_state_dict(trtnn.load(WEIGHTS))
    else:
        from benchmarks.twins.yolov5 import YOLOv5, well_scaled

        twin = well_scaled(YOLOv5(name), 128)
        weights = args.engines / f"{name}.npz"
        trtnn.save({k: v for k, v in twin.state_dict().items() if "num_batches" not in k}, weights)
        model = models.create(name)
        model.load_state_dict(trtnn.load(weights))
    network = model.trace({"images": trtnn.Input((batch, 3, SIDE, SIDE))}, fp16=True)
    engine = network.build(optimization_level=args.level, max_aux_streams=1, progress=False)
    engine.save(path)
    return engine


def graph_of(engine: Any) -> float:
    """The milliseconds of the engine's CUDA graph alone."""
    (spec,) = engine.inputs.values()
    images = np.zeros(tuple(spec.shape), spec.dtype.numpy)
    return milliseconds(engine.cuda_graph().bare(images), ROUNDS)


def ways(rows: Rows, args: argparse.Namespace, part: str, batch: int) -> None:
    import cv2
    import torch

    from trtnn import Detector

    vision = try_import("torchvision")
    image = noise(*PICTURE)
    for name in args.models:
        engine = engine_of(args, name, batch)
        label = f"{name}, {batch} of 1280 x 720"
        alone = graph_of(engine)
        rows.add(part, f"{label}: the engine's CUDA graph alone", alone)
        gpu, cpu = Detector(engine, device="cuda"), Detector(engine, device="cpu")
        found = cpu([image] * batch)
        for one, other in zip(gpu([image] * batch), found, strict=True):
            assert np.array_equal(one.boxes, other.boxes), "the ways find other boxes"
            assert np.array_equal(one.scores, other.scores), "the ways find other scores"
        rows.add(part, f"{label}: detections a picture", float(np.mean([len(one) for one in found])), "")
        pinned = torch.from_numpy(image).pin_memory()
        there = torch.empty(pinned.shape, dtype=torch.uint8, device="cuda")
        upload = milliseconds(lambda: there.copy_(pinned, non_blocking=True))  # noqa: B023
        rows.add(part, f"{label}: one pinned upload of a picture", upload)
        sources = {"ordinary memory": image, "pinned memory": pinned.numpy(), "a CUDA tensor": pinned.cuda()}
        for source, given in sources.items():
            took = milliseconds(lambda: gpu([given] * batch), ROUNDS)  # noqa: B023
            rows.add(part, f"{label}: Detector, from {source}", took)
            bound = alone + (batch * upload if source == "pinned memory" else 0)
            rows.add(part, f"{label}: Detector, from {source}, to the bound", took / bound, "x")
        rows.add(part, f"{label}: Detector(device='cpu')", milliseconds(lambda: cpu([image] * batch), 3, 5, 2))  # noqa: B023
        if vision is None:
            rows.add(part, "OpenCV and torchvision around the engine", "torchvision is not installed, or does not load")
            continue

        def peer() -> None:
            canvases = []
            for _ in range(batch):
                inner = cv2.resize(image, (SIDE, 360), interpolation=cv2.INTER_LINEAR)
                canvases.append(cv2.copyMakeBorder(inner, 140, 140, 0, 0, cv2.BORDER_CONSTANT, value=(114, 114, 114)))
            on_gpu = torch.from_numpy(np.stack(canvases)).cuda().permute(0, 3, 1, 2).float() / 255
            output = engine(on_gpu.contiguous())  # noqa: B023
            for picture in output[0] if isinstance(output, tuple) else output:
                torch_picks(picture, vision).cpu()

        rows.add(part, f"{label}: OpenCV and torchvision around it", milliseconds(peer, 3, 10, 3))


def part_one(rows: Rows, args: argparse.Namespace) -> None:
    ways(rows, args, "one", 1)


def part_batch(rows: Rows, args: argparse.Namespace) -> None:
    ways(rows, args, "batch", 8)


def part_stream(rows: Rows, args: argparse.Namespace) -> None:
    from trtnn import Detector

    count, image = 2000, noise(*PICTURE)
    pictures = [image.copy() for _ in range(64)]
    for name in args.models:
        engine = engine_of(args, name, args.batch)
        alone = args.batch / graph_of(engine) * 1000
        rows.add("stream", f"{name}, batch {args.batch}: the engine alone", alone, "pictures/s")
        detector = Detector(engine, device="cuda")
        list(detector.stream(pictures[i % 64] for i in range(4 * args.batch)))
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            assert sum(1 for _ in detector.stream(pictures[i % 64] for i in range(count))) == count
            rates.append(count / (time.perf_counter() - start))
        rows.add("stream", f"{name}, batch {args.batch}: Detector.stream", median(rates), "pictures/s")
        rows.add("stream", f"{name}, batch {args.batch}: of the engine's own", 100 * median(rates) / alone, "%")


def part_memory(rows: Rows, args: argparse.Namespace) -> None:
    from trtnn import Detector

    detector = Detector(engine_of(args, args.models[-1], 1), device="cuda")
    rng = np.random.default_rng(0)
    whole = np.zeros((1500, 1500, 3), np.uint8)
    for _ in range(3):
        detector([whole])
    before = gpu_memory()
    start = time.perf_counter()
    for height, width in rng.integers(1, 1500, (10000, 2)):
        detector([whole[:height, :width]])
    took, after = (time.perf_counter() - start) / 10000 * 1e3, gpu_memory()
    rows.add("memory", f"{args.models[-1]}, pictures of random sizes up to 1500 x 1500", took)
    if before is not None and after is not None:
        rows.add("memory", "taken over 10,000 of them", (before[0] - after[0]) / 2**20, "MiB")


def part_torch(rows: Rows, args: argparse.Namespace) -> None:
    import torch

    from benchmarks.twins.yolov5 import YOLOv5, well_scaled

    vision, image = try_import("torchvision"), noise(*PICTURE)
    twin = well_scaled(YOLOv5("yolov5s"), 128).cuda().half().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        compiled = torch.compile(twin, mode="reduce-overhead")

        def call() -> None:
            canvas, _ = letterbox(image, (SIDE, SIDE))
            on_gpu = torch.from_numpy(canvas).cuda().permute(2, 0, 1)[None].half() / 255
            output = compiled(on_gpu.contiguous(memory_format=torch.channels_last))
            rows_of = (output[0] if isinstance(output, tuple) else output)[0].float()
            if vision is not None:
                torch_picks(rows_of, vision).cpu()

        what = "and torchvision" if vision is not None else "without suppression"
        rows.add("torch", f"yolov5s, 1 of 1280 x 720: OpenCV, compiled torch {what}", milliseconds(call, 3, 20, 5))


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of figures")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--engines", type=Path, default=Path("build/pictures"), help="the folder where engines are kept"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=MODELS,
        metavar="MODEL",
        help=f"of {', '.join(MODELS)} (default: all)",
    )
    parser.add_argument("--batch", type=int, default=32, help="of the stream (default 32)")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default 1)")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no part after so many (default 3600)")
    args = parser.parse_args()
    rows = Rows(args.out, time.monotonic() + args.seconds)
    for part in PARTS:
        if part not in args.only:
            continue
        if time.monotonic() > rows.end:
            rows.add(part, "left out", f"after {args.seconds:g} s")
            continue
        try:
            globals()[f"part_{part}"](rows, args)
        except (TrtnnError, RuntimeError, ImportError, AssertionError) as error:
            rows.add(part, "failed", str(error).splitlines()[0])


if __name__ == "__main__":
    main()
