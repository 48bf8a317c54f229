"""From pictures to boxes on a GPU: the kernels, whole detectors, and what others do, all in one run on one machine.

Each row is printed as it comes, and the JSON of --out is written anew after each, so that a run that is cut off leaves
what it measured. Peers that are not installed are named and left out.

  kernel     the preprocessing of 32 pictures of 1280 x 720 at 640, fp16: beside what the GPU's memory can move in the
             same time, OpenCV on all cores, and CV-CUDA's resize
  suppress   8,000 and 30,000 candidates of one picture, with 300 detections: beside torchvision.ops.nms, and the CPU
  steps      where the time of one picture goes: each kernel, the network, the graph of all, and each step of a call
  one        one picture of 1280 x 720, from NumPy's memory, page-locked memory and a CUDA tensor, to Detections: beside
             the engine's CUDA graph alone, the CPU's way around the same engine, and OpenCV with torchvision.ops.nms
             around it. YOLOv5s has random weights and thousands of candidates, the digits' YOLOv5n a few.
  batch      the same of 8 pictures
  stream     some 2,000 pictures that lie decoded in memory: beside the engine's own pictures a second; and as JPEG
             files, read as trtnn detect reads them: beside reading them alone
  threads    8 threads with a Detector each, and with one for all: whether they find what one finds alone, and how fast
  memory     10,000 pictures of random sizes: the GPU's memory before and after
  torch      the picture through OpenCV's letterbox, a compiled torch twin in fp16, and torchvision.ops.nms (a minute);
             it needs no TensorRT, and torch's own Triton, so that another Python may run it

examples:
  python benchmarks/pictures.py --out pictures.json
  python benchmarks/pictures.py --out pictures.json --only kernel suppress one --seconds 120
  python benchmarks/pictures.py --out pictures.json --batch 8 --only stream --models yolov5s --engines /tmp/engines
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
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
from trtnn.vision.gpu_preprocessing import IMAGE, GpuPreprocessing
from trtnn.vision.heads import YOLOV5

sys.path.append(str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins
PICTURE, SIDE = (720, 1280), 640
ROUNDS = 5
PARTS = ("kernel", "suppress", "steps", "one", "batch", "stream", "threads", "memory", "torch")
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


def single_ms(call: Callable[[], object], times: int = 300) -> float:
    """The milliseconds of one call that waits for its result, in the median of many."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * median(taken[times // 10 :])


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
        pixels = [(put(lane, image), *PICTURE, image.strides[0]) for _ in range(count)]
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
        lane.upload(memory, np.zeros(after.cleared_bytes, np.uint8))
        module, results = kernels("postprocessing"), lane.pinned(after.result_bytes).ctypes.data

        def enqueue(stream: int) -> None:
            outputs = {"prediction": first}  # noqa: B023
            after.launch(module, stream, outputs, wanted, placed, memory, results, 1)  # noqa: B023

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
            took = single_ms(lambda: gpu([given] * batch))  # noqa: B023
            rows.add(part, f"{label}: Detector, from {source}, median", took)
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


class Stamped:
    """Kernels, and whatever else is put on a stream, with an event of CUDA behind each.

    Args:
        stream: its handle.
    """

    def __init__(self, stream: int) -> None:
        import torch

        self._torch, self.stream = torch, torch.cuda.ExternalStream(stream)
        self.events: list[tuple[str, Any]] = []

    def stamp(self, name: str) -> None:
        event = self._torch.cuda.Event(enable_timing=True)
        event.record(self.stream)
        self.events.append((name, event))

    def after(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that puts work on the stream, with an event behind it."""

        def stamped(*args: Any, **options: Any) -> None:
            call(*args, **options)
            self.stamp(name or str(args[0]))

        return stamped

    def microseconds(self, enqueue: Callable[[], object], times: int = 30) -> dict[str, float]:
        """Return what each part takes, in the median; the GPU is held up until all is on the stream."""
        taken: dict[str, list[float]] = {}
        for _ in range(times):
            self.events.clear()
            with self._torch.cuda.stream(self.stream):
                self._torch.cuda._sleep(4_000_000)
            self.stamp("")
            self.stamp("an event alone")
            enqueue()
            self.stream.synchronize()
            for (_, before), (name, event) in itertools.pairwise(self.events):
                taken.setdefault(name, []).append(before.elapsed_time(event) * 1e3)
        return {name: median(values) for name, values in taken.items()}


def part_steps(rows: Rows, args: argparse.Namespace) -> None:
    import torch

    import trtnn.on_gpu
    from trtnn import Detector

    image = noise(*PICTURE)
    for name in args.models:
        engine = engine_of(args, name, 1)
        detector = Detector(engine, device="cuda")
        steps: Any = detector._steps
        pinned = torch.from_numpy(image).pin_memory()
        sources = {"ordinary memory": image, "pinned memory": pinned.numpy(), "a CUDA tensor": pinned.cuda()}
        for _ in range(3):
            detector([image])
        (batch,) = steps._idle[1]
        lane = batch._lane
        rows.add("steps", f"{name}: the engine's CUDA graph alone", 1e3 * graph_of(engine), "us")
        whole = milliseconds(lambda: batch._graph.launch(lane.handle), ROUNDS, 20, 5, lane.synchronize)  # noqa: B023
        rows.add("steps", f"{name}: the graph of all from the image on the GPU to boxes", 1e3 * whole, "us")
        stamped = Stamped(lane.handle)
        kept, enqueue = trtnn.on_gpu.kernels, batch._worker.enqueue
        try:
            made = {}
            for source in ("preprocessing", "postprocessing"):
                real = kept(source)
                launch = stamped.after("", real.launch)
                made[source] = argparse.Namespace(launch=launch, has_clusters=real.has_clusters)
            trtnn.on_gpu.kernels = made.__getitem__  # type: ignore[assignment]
            batch._worker.enqueue = stamped.after("the network", enqueue)
            for what, took in stamped.microseconds(lambda: batch._enqueue(lane.handle)).items():  # noqa: B023
                rows.add("steps", f"{name}: {what}, launched alone", took, "us")
        finally:
            trtnn.on_gpu.kernels, batch._worker.enqueue = kept, enqueue
        for source, given in sources.items():
            moments = []
            for _ in range(200):
                at = [time.perf_counter()]
                prepared = steps.prepare([given], 0)
                at.append(time.perf_counter())
                computed = steps.compute(prepared)
                at.append(time.perf_counter())
                lane.synchronize()
                at.append(time.perf_counter())
                steps.finish(computed)
                at.append(time.perf_counter())
                moments.append(np.diff(at) * 1e6)
            for what, took in zip(
                ("prepare", "compute", "the wait", "finish behind it"), np.median(moments, 0), strict=True
            ):
                rows.add("steps", f"{name}, from {source}: {what}", float(took), "us")


def part_one(rows: Rows, args: argparse.Namespace) -> None:
    ways(rows, args, "one", 1)


def part_batch(rows: Rows, args: argparse.Namespace) -> None:
    ways(rows, args, "batch", 8)


def rate_of(pictures: Callable[[int], Iterable[Any]], count: int, times: int = 3) -> float:
    """The pictures a second that an iterable of so many gives, in the median of several times."""
    rates = []
    for _ in range(times):
        start = time.perf_counter()
        assert sum(1 for _ in pictures(count)) == count
        rates.append(count / (time.perf_counter() - start))
    return median(rates)


def busy(steps: Any, run: Callable[[], Any]) -> dict[str, float]:
    """The part of a run that each step was under way, in %: of finish, which waits for the GPU, all is best."""
    spent: dict[str, float] = {"prepare": 0.0, "compute": 0.0, "finish": 0.0}

    def timed(name: str, step: Callable[..., Any], *given: Any) -> Any:
        start = time.perf_counter()
        try:
            return step(*given)
        finally:
            spent[name] += time.perf_counter() - start

    for name in spent:
        setattr(steps, name, functools.partial(timed, name, getattr(steps, name)))
    start = time.perf_counter()
    run()
    took = time.perf_counter() - start
    for name in spent:
        delattr(steps, name)
    return {name: 100 * seconds / took for name, seconds in spent.items()}


def part_stream(rows: Rows, args: argparse.Namespace) -> None:
    from trtnn import Detector
    from trtnn.vision import write_image
    from trtnn.vision.frames import read_frames
    from trtnn.vision.sources import file_source

    count, image = 2000 // args.batch * args.batch, noise(*PICTURE)  # a last batch of fewer needs a graph of its own
    pictures = [image.copy() for _ in range(64)]
    folder = make_folder(args.engines / "jpeg")
    sources = [file_source(folder / f"{index}.jpg") for index in range(64)]
    for source in sources:
        write_image(source.path, image)

    def frames(count: int, by_gpu: bool) -> Iterator[Any]:
        files = [sources[i % 64] for i in range(count)]
        for _, frame in read_frames(files, lambda source, error: print(source.name, error), by_gpu=by_gpu):
            yield frame

    def read(count: int, by_gpu: bool) -> Iterator[Any]:
        return (frame.image for frame in frames(count, by_gpu))

    readers = {next(frames(1, by_gpu)).reader: by_gpu for by_gpu in (True, False)}  # nvImageCodec where it is installed
    for reader, by_gpu in readers.items():
        rate = rate_of(lambda count: read(count, by_gpu), count, 1)  # noqa: B023
        rows.add("stream", f"JPEG files of 1280 x 720, by {reader}: read alone", rate, "pictures/s")
    for name in args.models:
        engine = engine_of(args, name, args.batch)
        alone = args.batch / graph_of(engine) * 1000
        rows.add("stream", f"{name}, batch {args.batch}: the engine alone", alone, "pictures/s")
        detector = Detector(engine, device="cuda")

        def stream(count: int) -> Iterable[Any]:
            return detector.stream(pictures[i % 64] for i in range(count))  # noqa: B023

        list(stream(8 * args.batch))
        rate = rate_of(stream, count)
        rows.add("stream", f"{name}, batch {args.batch}: Detector.stream", rate, "pictures/s")
        rows.add("stream", f"{name}, batch {args.batch}: of the engine's own", 100 * rate / alone, "%")
        for step, part in busy(detector._steps, lambda: list(stream(count))).items():
            rows.add("stream", f"{name}, batch {args.batch}: {step} is under way", part, "%")
        for reader, by_gpu in readers.items():
            rate = rate_of(lambda count: detector.stream(read(count, by_gpu)), count, 1)  # noqa: B023
            what = f"{name}, batch {args.batch}: Detector.stream of JPEG files by {reader}"
            rows.add("stream", what, rate, "pictures/s")


def part_threads(rows: Rows, args: argparse.Namespace) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from trtnn import Detector

    many, threads = 40, 8
    image = noise(1500, 1500)
    rng = np.random.default_rng(1)
    pictures = [image[top:, left:] for top, left in rng.integers(0, 1400, (threads, 2))]
    for name in args.models:
        engine = engine_of(args, name, 1)
        cpu, shared = Detector(engine, device="cpu"), Detector(engine, device="cuda")
        expected = [cpu([picture])[0] for picture in pictures]

        def look(index: int, detector: Any = None) -> bool:
            detector = detector or Detector(engine, device="cuda")  # noqa: B023
            found = [detector([pictures[index]])[0] for _ in range(many)]
            wanted = expected[index]  # noqa: B023
            return all(
                np.array_equal(one.boxes, wanted.boxes)
                and np.array_equal(one.scores, wanted.scores)
                and np.array_equal(one.classes, wanted.classes)
                for one in found
            )

        with ThreadPoolExecutor(threads) as pool:
            for what, detector in (("a Detector each", None), ("one Detector", shared)):
                for turn in ("at first", "again"):
                    start = time.perf_counter()
                    same = list(pool.map(lambda index: look(index, detector), range(threads)))  # noqa: B023
                    rate = threads * many / (time.perf_counter() - start)
                    assert all(same), f"{what}: threads find other boxes"
                    rows.add("threads", f"{name}, 8 threads, {what}, exact, {turn}", rate, "pictures/s")


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
        twin(torch.zeros((1, 3, SIDE, SIDE), dtype=torch.half, device="cuda"))  # keeps its grids, outside of any graph
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
            traceback.print_exc()
            rows.add(part, "failed", str(error).splitlines()[0])


if __name__ == "__main__":
    main()
