"""Engines on a GPU beside the ONNX road and torch, all in one run on one machine.

Each task leaves a JSON file in the folder of results; a task whose file is there is not run again, so that an
interrupted run goes on where it stopped. Tasks of one kind share a process, since TensorRT takes ten seconds, on a busy
machine a minute, before it builds in each. Its timing cache is kept in the folder as well, and begins with what
benchmarks/timing holds, of YOLOv5s and YOLOv5x at batch 1 and 8 on an H200, with and without deformable convolutions.
Builds are not run side by side on one GPU: that gains next to nothing. On a machine of several, --gpus 4 gives each
model and batch a GPU of its own; nothing is timed before all is built.

Models with deformable convolutions, such as yolov5s-dcn, have no ONNX road: TensorRT has no such layer. They have two
roads of trtnn's: native layers, and the plugin, which has to be built before (python -m trtnn.plugins.dcnv2 build).
Name the model without them as well to have all three in one run.

examples:
  python benchmarks/gpu.py --out results
  python benchmarks/gpu.py --out results --model yolov5s:1,8,32 yolov5x:1,8 --torch yolov5s:1
  python benchmarks/gpu.py --out results --trt-python /opt/trt86/bin/python --seconds 600
  python benchmarks/gpu.py --out results --model yolov5s:1,8 yolov5s-dcn:1,8 yolov5x:1,8 yolov5x-dcn:1,8 --gpus 4
  python benchmarks/gpu.py --out results --model yolo11s:1,8,32 yolo26s:1,8,32 rtdetr_r18:1,8,32 --models-only
  python benchmarks/gpu.py --out results --levels 0 1 2 3 4 5      # how long yolov5s:1 takes to build, and to run then
  python benchmarks/gpu.py --out results-3 --aux-streams 3         # layers side by side
  python benchmarks/gpu.py --out results-half --models-only --model rtdetr_r18:8 --fp16-attention
"""

from __future__ import annotations

import argparse
import datetime
import json
import lzma
import os
import queue
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from trtnn.build.build import BuildConfig
from trtnn.engine.bench import bench_engine, milliseconds
from trtnn.errors import ArgumentError, EngineError
from trtnn.files import atomic_write, make_folder

sys.path.append(str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins

from benchmarks.processes import first_gpus

SIZE_PX = 640
TIMING = Path(__file__).parent / "timing"
ROUNDS, RUNS = 5, 30
PICKED = 300  # boxes of a head that suppresses none
NEAR = "share near the reference's"  # by which a road that computes something else is told
EXPORT = {"dynamo": False, "opset_version": 17}  # the exporter, and the newest operators, that TensorRT 8.6 reads
ROADS = ("onnx", "onnx-half-input", "trtnn", "trtnn-half-input")
DEFORMABLE_ROADS = ("trtnn-plugin", "trtnn-native")


class Task(NamedTuple):
    """What a process does: a function of this file, on a model, at a batch; ``part`` is a road or a level, if any."""

    kind: str
    model: str
    batch: int = 1
    part: str = ""

    @property
    def result(self) -> str:
        return "-".join(str(value) for value in self if value != "") + ".json"


def roads_of(model: str) -> tuple[str, ...]:
    """The ways to an engine of a model."""
    return DEFORMABLE_ROADS if model.endswith("-dcn") else ROADS


# -- what tasks share -------------------------------------------------------------------------------------------------


def pictures(batch: int):
    """The input that every peer gets, on the host."""
    import numpy as np

    return np.random.default_rng(0).random((batch, 3, SIZE_PX, SIZE_PX), np.float32)


def make_twin(model: str):
    """The torch twin of a model; that of YOLO26 sorts no more than TensorRT's layer for it takes."""
    from benchmarks.twins import rtdetr, yolo_tasks, yolov5
    from trtnn.examples.digits.yolo26 import YOLO26

    twins = {"rtdetr": rtdetr.RTDETR, "yolo26": YOLO26, "yolov5": yolov5.YOLOv5}
    return next((twin for start, twin in twins.items() if model.startswith(start)), yolo_tasks.YOLO)(model)


def load_twin(args: argparse.Namespace):
    """The torch twin with the weights that every peer gets."""
    import torch

    import trtnn

    twin = make_twin(args.task.model)
    weights = trtnn.load(args.out / f"{args.task.model}.npz")
    twin.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    return twin.eval()


def load_model(args: argparse.Namespace, lowering: str = "auto"):
    """trtnn's model with the same weights; its deformable convolutions, where it has some, in one lowering."""
    import trtnn
    from trtnn.models import create
    from trtnn.modules import DeformConv2d

    model = create(args.task.model)
    model.load_state_dict(trtnn.load(args.out / f"{args.task.model}.npz"))
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            module.lowering = lowering
    return model


def engine_file(args: argparse.Namespace, road: str) -> Path:
    return args.out / f"{args.task.model}-{args.task.batch}-{road}.engine"


def build_onnx(args: argparse.Namespace, road: str, timing: Path, level: int) -> tuple[Any, int]:
    """Parse and build the ONNX file with trtnn's timing cache; return the plan and the layers of the network."""
    import trtnn
    from trtnn.build.timing_cache import timing_cache, timing_cache_file

    backend = trtnn.get_backend()
    trt = backend.trt
    builder = trt.Builder(backend.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, backend.logger)
    if not parser.parse((args.out / f"{args.task.model}-{args.task.batch}.onnx").read_bytes()):
        raise RuntimeError(str([str(parser.get_error(i)) for i in range(parser.num_errors)]))
    if "half" in road:
        network.get_input(0).dtype = trt.float16
    config = builder.create_builder_config()
    config.builder_optimization_level = level
    config.set_flag(trt.BuilderFlag.FP16)
    if args.aux_streams is not None:
        config.max_aux_streams = args.aux_streams
    with timing_cache(config, timing_cache_file(make_folder(timing), backend)):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("\n".join(backend.logger.take()))
    return plan, network.num_layers


def build_trtnn(args: argparse.Namespace, road: str, timing: Path, level: int) -> tuple[Any, int]:
    """Trace and build trtnn's model; return the engine and the layers of the network."""
    import trtnn

    spec = trtnn.Input((args.task.batch, 3, SIZE_PX, SIZE_PX), "float16" if "half" in road else "float32")
    lowering = next((name for name in ("plugin", "native") if name in road), "auto")
    network = load_model(args, lowering).trace({"images": spec}, fp16=True, fp16_attention=args.fp16_attention)
    options = {"optimization_level": level, "max_aux_streams": args.aux_streams}
    engine = network.build(timing_cache=timing, progress=False, **options)
    return engine, len(network.graph.layer_paths)


def build_small():
    """Build the engine of a network that takes next to no time to build or run."""
    from trtnn import functional as F
    from trtnn.network import trace
    from trtnn.shapes.spec import Input

    network = trace(lambda x: F.relu(x * 2), {"x": (Input((1, 8, 8, 8)),)})
    return network.build(optimization_level=0, timing_cache=False, progress=False)


# -- tasks: before the builds -----------------------------------------------------------------------------------------


def task_weights(args: argparse.Namespace) -> dict:
    """Random weights of reasonable size, for every peer."""
    import trtnn
    from benchmarks.twins import rtdetr, yolo_tasks, yolov5

    model = args.task.model
    if model.startswith("rtdetr"):
        twin = rtdetr.make(model)
    elif model.startswith("yolov5"):
        twin = yolov5.well_scaled(yolov5.YOLOv5(model), 128)
    else:
        twin = yolo_tasks.make(model, 80)
    state = {name: tensor for name, tensor in twin.state_dict().items() if "num_batches" not in name}
    trtnn.save(state, args.out / f"{model}.npz")
    return {}


def task_export(args: argparse.Namespace) -> dict:
    """The twin as ONNX."""
    import torch

    start = time.perf_counter()
    example = torch.zeros(args.task.batch, 3, SIZE_PX, SIZE_PX)
    path = str(args.out / f"{args.task.model}-{args.task.batch}.onnx")
    twin = load_twin(args)
    outputs = ["boxes", "scores"] if args.task.model.startswith("rtdetr") else ["output"]
    torch.onnx.export(twin, (example,), path, input_names=["images"], output_names=outputs, **EXPORT)
    return {"seconds": time.perf_counter() - start}


# -- tasks: builds ----------------------------------------------------------------------------------------------------


def task_build(args: argparse.Namespace) -> dict:
    """The engine of one road; all have the same flags, level and timing cache."""
    road = args.task.part
    build = build_onnx if road.startswith("onnx") else build_trtnn
    start = time.perf_counter()
    built, layers = build(args, road, args.out / "timing", args.level)
    figures = {"seconds": time.perf_counter() - start, "layers": layers}
    if build is build_onnx:
        engine_file(args, road).write_bytes(built)
    else:
        built.save(engine_file(args, road))
    return figures


def task_cold(args: argparse.Namespace) -> dict:
    """The seconds that trtnn's engine takes to build where nothing was measured before, and once more after that."""
    shutil.rmtree(level_folder(args), ignore_errors=True)
    return {"start": seconds_to_start(), "first": build_level(args)[0], "second": build_level(args)[0]}


def task_again(args: argparse.Namespace) -> dict:
    """The same in another process, with the timing cache that is there now; and how long the engine takes."""
    start, (seconds, engine) = seconds_to_start(), build_level(args)
    with engine:
        timings = bench_engine(engine, {"images": pictures(args.task.batch)}, ROUNDS, RUNS).timings
    return {"start": start, "third": seconds, **{key: timings[key].ms for key in ("execute", "graph execute")}}


def level_folder(args: argparse.Namespace) -> Path:
    return args.out / f"timing-of-level-{args.task.part}"


def build_level(args: argparse.Namespace) -> tuple[float, Any]:
    """Return the seconds that trtnn's engine takes to build at the task's level, and the engine."""
    start = time.perf_counter()
    engine, _ = build_trtnn(args, "trtnn", level_folder(args), int(args.task.part))
    return time.perf_counter() - start, engine


def seconds_to_start() -> float:
    """What TensorRT takes before it builds the first network in a process, and to build a single layer."""
    start = time.perf_counter()
    build_small()
    return time.perf_counter() - start


# -- tasks: timings ---------------------------------------------------------------------------------------------------


def first_output(outputs: Mapping[str, Any]) -> Any:
    """The first output by name: ONNX's engines have those of a model in another order."""
    import numpy as np

    return np.asarray(outputs[min(outputs)])


def share_near(result: Any, expected: Any) -> float:
    """The share of numbers within 2 % of what is expected, in parts of the largest of their column or channel.

    Of up to 300 boxes, which a head picked and sorted by scores, it is the share of those expected boxes that one
    anywhere among the results has all numbers of: scores near each other come in another order.
    """
    import numpy as np

    axis = 1 + int(np.argmin(result.shape[1:]))  # of boxes' coordinates and scores, however they lie
    largest = np.abs(expected).max(tuple(i for i in range(expected.ndim) if i != axis), keepdims=True)
    if max(result.shape[1:]) > PICKED:
        return float(np.mean(np.abs(result - expected) <= 0.02 * largest))
    result, expected, largest = (np.moveaxis(array, axis, -1) for array in (result, expected, largest))
    near = np.abs(result[:, None] - expected[:, :, None]) <= 0.02 * largest
    return float(near.all(-1).any(-1).mean())


def task_time(args: argparse.Namespace) -> dict:
    """Every engine, plain and in a CUDA graph: the execution alone, and through ``engine(images)``.

    And how many numbers are those of the CPU reference: a road may be fast at something else.
    """
    import numpy as np

    import trtnn

    reference = load_model(args, "native").trace({"images": trtnn.Input((1, 3, SIZE_PX, SIZE_PX))})
    right = first_output(reference.run_flat(pictures(1)))
    expected, figures = None, {}
    for road in roads_of(args.task.model):
        if not engine_file(args, road).exists():
            print(f"{args.task} has no engine by {road}", flush=True)
            continue
        with trtnn.Engine.load(engine_file(args, road)) as engine:
            images = pictures(args.task.batch).astype("float16" if "half" in road else "float32")
            result = first_output(engine.run_flat(images))
            expected = result if expected is None else expected
            timings = bench_engine(engine, dict.fromkeys(engine.inputs, images), ROUNDS, RUNS).to_json()["timings"]
            figures[road] = {name: timing["ms"] for name, timing in timings.items()}
            figures[road]["largest difference from the first"] = float(np.abs(result - expected).max())
            figures[road][NEAR] = share_near(result[:1], right)
            print(args.task.model, args.task.batch, road, figures[road], flush=True)
            try:
                timing = engine.timing(images)
            except EngineError as error:  # as of one on several streams
                print(args.task, road, error, flush=True)
                continue
            figures[road]["kernels"] = sum(row.milliseconds > 0 for row in timing.layers)
            (args.out / f"{args.task.model}-{args.task.batch}-{road}.txt").write_text(str(timing))
    return figures


def task_boxes(args: argparse.Namespace) -> dict:
    """From images of 1280 by 720 to boxes, by a Detector with trtnn's engine: at a threshold that leaves 300 of each.

    So a head whose boxes are suppressed and one whose are not have as many; random weights find something everywhere.
    """
    import numpy as np

    import trtnn

    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (720, 1280, 3), np.uint8) for _ in range(args.task.batch)]
    road = next(road for road in roads_of(args.task.model) if road.startswith("trtnn"))
    with trtnn.Engine.load(engine_file(args, road)) as engine:
        scores = np.concatenate([found.scores for found in trtnn.Detector(engine, confidence=0.01)(images)])
        confidence = float(np.sort(scores)[-300 * len(images) :][0])
        figures = {}
        for device in ("cuda", "cpu"):
            try:
                detector = trtnn.Detector(engine, confidence=confidence, device=device)
            except ArgumentError as error:  # this head's boxes are picked on the CPU alone
                figures[device] = str(error)
                continue
            found = detector(images)
            figures[device] = {"ms": milliseconds(lambda: detector(images), 3, 10, 3), "boxes": sum(map(len, found))}  # noqa: B023
    print(args.task, figures, flush=True)
    return figures


def task_copies(args: argparse.Namespace) -> dict:
    """What ``engine(array)`` takes, beside the execution with copies through pinned memory by hand."""
    import numpy as np
    import torch

    import trtnn

    images = pictures(args.task.batch)
    road = next(road for road in roads_of(args.task.model) if road.startswith("trtnn"))
    with trtnn.Engine.load(engine_file(args, road)) as engine, torch.cuda.stream(torch.cuda.Stream()):
        (output,) = engine.outputs.values()
        on_host = [torch.empty(shape, pin_memory=True) for shape in (images.shape, tuple(output.shape))]
        on_gpu = [torch.empty_like(tensor, device="cuda") for tensor in on_host]
        result, pinned = np.empty(tuple(output.shape), np.float32), engine.pinned_inputs()["images"]
        pinned[:] = images

        def by_hand() -> None:
            np.copyto(on_host[0].numpy(), images)
            on_gpu[0].copy_(on_host[0], non_blocking=True)
            engine(on_gpu[0], out=on_gpu[1])
            on_host[1].copy_(on_gpu[1], non_blocking=True)
            torch.cuda.current_stream().synchronize()
            np.copyto(result, on_host[1].numpy())

        def transfers() -> None:
            on_gpu[0].copy_(on_host[0], non_blocking=True)
            engine(on_gpu[0], out=on_gpu[1])
            on_host[1].copy_(on_gpu[1], non_blocking=True)
            torch.cuda.current_stream().synchronize()

        calls = {
            "pinned transfers and execution": transfers,
            "the same with copies to and from pinned memory": by_hand,
            "engine(pinned array)": lambda: engine(pinned),
            "engine(array)": lambda: engine(images),
            "engine(array, out=array)": lambda: engine(images, out=result),
        }
        # They differ by less than what one of them takes more or less a second later: so by turns.
        turns = [{name: milliseconds(call) for name, call in calls.items()} for _ in range(5)]
        figures = {name: median(turn[name] for turn in turns) for name in calls}
    print(figures, flush=True)
    return figures


def task_overhead(args: argparse.Namespace) -> dict:
    """What a call costs in Python: a network so small that launching it takes longer than running it."""
    import numpy as np

    with build_small() as engine:
        benchmark = bench_engine(engine, {"x": np.zeros((1, 8, 8, 8), np.float32)}, runs=2000)
    print(benchmark, flush=True)
    return benchmark.to_json()


def task_torch(args: argparse.Namespace) -> dict:
    """torch in fp16, channels last."""
    import torch

    return torch_timings(load_twin(args), torch.from_numpy(pictures(args.task.batch)))


def torch_timings(module: Any, images: Any) -> dict:
    """Time a torch module in fp16, channels last: eager, in a CUDA graph, and compiled with mode="reduce-overhead".

    There is no "graph" of a module that cannot be captured.
    """
    import torch

    torch.backends.cudnn.benchmark = True
    module = module.cuda().half().to(memory_format=torch.channels_last)
    images = images.cuda().half().to(memory_format=torch.channels_last)
    figures: dict[str, Any] = {"torch": torch.__version__}
    with torch.inference_mode():
        figures["eager"] = milliseconds(lambda: module(images))
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                module(images)
            figures["graph"] = milliseconds(graph.replay)
        except RuntimeError as error:  # it makes tensors on the CPU
            print("not captured:", error)
        print(figures, flush=True)
        compiled = torch.compile(module, mode="reduce-overhead")
        figures["compile"] = milliseconds(lambda: compiled(images))
    print(figures, flush=True)
    return figures


TASKS = {name.removeprefix("task_"): value for name, value in list(globals().items()) if name.startswith("task_")}
WITHOUT_TENSORRT = ("weights", "export", "torch")


# -- the run ----------------------------------------------------------------------------------------------------------


def run_tasks(tasks: list[Task], args: argparse.Namespace) -> dict[Task, dict]:
    """Run tasks of one kind, but for those whose results are there; return all results there are."""
    start = time.monotonic()
    missing = [task for task in tasks if not (args.out / task.result).exists()]
    if missing:
        gpus: queue.Queue[str] = queue.Queue()
        for gpu in args.gpus:
            gpus.put(gpu)

        def run_group(group: list[Task]) -> None:
            gpu = gpus.get()
            try:
                run_process(group, args, gpu)
            finally:  # others may be waiting for it
                gpus.put(gpu)

        with ThreadPoolExecutor(len(args.gpus)) as pool:
            list(pool.map(run_group, grouped(missing) if len(args.gpus) > 1 else [missing]))
    found = {task: args.out / task.result for task in tasks if (args.out / task.result).exists()}
    if missing:
        print(f"{tasks[0].kind}: {len(found)} of {len(tasks)}, {time.monotonic() - start:.0f} s", flush=True)
    return {task: json.loads(path.read_text()) for task, path in found.items()}


def grouped(tasks: list[Task]) -> list[list[Task]]:
    """Return what is to run on one GPU: a model at a batch, with and without deformable convolutions; or a level."""
    groups: dict[tuple, list[Task]] = {}
    for task in tasks:
        level = "" if task.kind == "build" else task.part
        groups.setdefault((task.model.removesuffix("-dcn"), task.batch, level), []).append(task)
    return list(groups.values())


def run_process(tasks: list[Task], args: argparse.Namespace, gpu: str) -> None:
    """Run tasks one after another in a new process that sees one GPU, as long as there is time."""
    seconds = args.end - time.monotonic()
    if seconds < 1:
        return
    python = sys.executable if tasks[0].kind in WITHOUT_TENSORRT else args.trt_python
    command = [python, __file__, "--out", str(args.out), "--level", str(args.level), "--tasks", json.dumps(tasks)]
    if args.aux_streams is not None:
        command += ["--aux-streams", str(args.aux_streams)]
    if args.fp16_attention:
        command.append("--fp16-attention")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    with open(args.out / "log.txt", "a") as log:
        try:
            subprocess.run(command, check=False, timeout=seconds, stdout=log, stderr=log, env=environment)
        except subprocess.TimeoutExpired:
            print(f"no time was left for all of {tasks[0].kind}", flush=True)


def run_here(args: argparse.Namespace) -> None:
    """Run tasks in this process; one that fails does not keep the others back."""
    for values in json.loads(args.tasks):
        args.task = Task(*values)
        try:
            figures = TASKS[args.task.kind](args)
        except Exception:
            traceback.print_exc()
        else:
            with atomic_write(args.out / args.task.result) as file:
                file.write(json.dumps(figures, indent=2).encode())


def report(times: dict[Task, dict], torches: dict[Task, dict], others: dict[str, dict[Task, dict]]) -> str:
    """The results in Markdown, milliseconds a batch."""

    def cell(row: dict, *keys: str) -> str:
        return " / ".join(f"{row[key]:.3f}" if key in row else "" for key in keys)

    lines = [
        f"{datetime.date.today()}, `python {' '.join(sys.argv)}`",
        "",
        "Execution alone, and in a CUDA graph; torch is eager, in a CUDA graph, and compiled.",
    ]
    for roads in (ROADS, DEFORMABLE_ROADS):
        tasks = [task for task in times if roads_of(task.model) == roads]
        if tasks:
            lines += ["", f"| model, batch | {' | '.join([*roads, 'torch'])} |", "|---" * (len(roads) + 2) + "|"]
        for task in tasks:
            torch_ = torches.get(task._replace(kind="torch"), {})
            cells = [f"{task.model}, {task.batch}"]
            cells += [cell(times[task].get(road, {}), "execute", "graph execute") for road in roads]
            lines.append(f"| {' | '.join([*cells, cell(torch_, 'eager', 'graph', 'compile')])} |")
    lines += ["", "Of a road's numbers so many are near the CPU reference's; one with few computes something else."]
    for task, row in times.items():
        near = {road: figures[NEAR] for road, figures in row.items() if NEAR in figures}
        lines += [f"{task.model}, {task.batch}: " + ", ".join(f"{road} {share:.3f}" for road, share in near.items())]
    for results in others.values():
        lines += ["", *(f"{task}: {json.dumps(result)}" for task, result in results.items())]
    return "\n".join(lines)


def main() -> None:
    summary, _, examples = __doc__.partition("examples:")
    parser = argparse.ArgumentParser(
        description=summary, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of results")
    parser.add_argument(
        "--model", nargs="+", default=["yolov5s:1"], metavar="NAME:BATCH,...", help="default: %(default)s"
    )
    parser.add_argument("--torch", nargs="*", default=[], metavar="NAME:BATCH,...", help="torch's own times of these")
    parser.add_argument(
        "--roads", nargs="+", choices=(*ROADS, *DEFORMABLE_ROADS), metavar="ROAD", help="only these (default: all)"
    )
    parser.add_argument(
        "--levels",
        nargs="*",
        type=int,
        default=[],
        metavar="LEVEL",
        help="the first model at these optimisation levels: how long it takes to build, cold and again, and to run",
    )
    parser.add_argument("--gpus", type=int, default=1, help="as many GPUs are used side by side (default: %(default)s)")
    parser.add_argument("--models-only", action="store_true", help="leave out what copies and calls cost")
    parser.add_argument("--build", action="store_true", help="build, and time nothing yet")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    parser.add_argument("--aux-streams", type=int, help="every road's max_aux_streams (default: TensorRT's own choice)")
    parser.add_argument("--fp16-attention", action="store_true", help="trtnn's roads keep scores of attention in fp16")
    parser.add_argument("--seconds", type=float, default=1e6, help="start nothing after so many; what runs is ended")
    parser.add_argument(
        "--timing", type=Path, default=TIMING, help="the packed timing cache to begin with (default: benchmarks/timing)"
    )
    parser.add_argument("--trt-python", default=sys.executable, help="the Python that has TensorRT (default: this one)")
    parser.add_argument("--tasks", help=argparse.SUPPRESS)
    args = parser.parse_args()
    try:
        for level in (args.level, *args.levels):
            BuildConfig(optimization_level=level, max_aux_streams=args.aux_streams)
    except ArgumentError as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    if args.tasks:
        run_here(args)
        return
    args.gpus = first_gpus(parser, args.gpus)
    names = ("level", "aux_streams", "fp16_attention")
    settings, file = {name: getattr(args, name) for name in names}, args.out / "settings.json"
    before = json.loads(file.read_text()) if file.exists() else settings
    if before != settings:  # results do not tell them apart
        parser.error(f"{args.out} holds results of {before}, not of {settings}: give another folder")
    file.write_text(json.dumps(settings))
    args.end = time.monotonic() + args.seconds
    run_all(args)


def listed(values: list[str]) -> list[tuple[str, int]]:
    """Return name and batch of each ``NAME:BATCH,BATCH``."""
    pairs = (value.partition(":")[::2] for value in values)
    return [(name, int(batch)) for name, batches in pairs for batch in (batches or "1").split(",")]


def unpack_timing(args: argparse.Namespace) -> None:
    """Begin with the timing cache that is packed, where no build has left one yet."""
    for packed in args.timing.glob("*.xz"):
        path = make_folder(args.out / "timing") / packed.stem
        if not path.exists():
            with atomic_write(path) as file:
                file.write(lzma.decompress(packed.read_bytes()))


def forget_without_all(task: Task, args: argparse.Namespace) -> None:
    """Remove the timings of a model where an engine has come since: roads are compared within one run."""
    path, args.task = args.out / task.result, task
    if path.exists():
        timed = json.loads(path.read_text())
        if any(road not in timed and engine_file(args, road).exists() for road in roads_of(task.model)):
            path.unlink()


def run_all(args: argparse.Namespace) -> None:
    wanted, for_torch = listed(args.model), listed(args.torch)
    names = list(dict.fromkeys(name for name, _ in (*wanted, *for_torch)))
    run_tasks([Task("weights", name) for name in names], args)
    run_tasks([Task("export", *pair) for pair in wanted if "onnx" in roads_of(pair[0])], args)
    unpack_timing(args)
    builds = [
        Task("build", *pair, road) for pair in wanted for road in roads_of(pair[0]) if road in (args.roads or [road])
    ]
    others = {"build": run_tasks(builds, args)}
    if args.build:
        return
    torches: dict[Task, dict] = {}
    timings = [Task("time", *pair) for pair in wanted]
    for task in timings:
        forget_without_all(task, args)
    times = run_tasks(timings, args)

    def table() -> str:
        text = report(times, torches, others)
        (args.out / "table.md").write_text(text + "\n")
        return text

    table()
    others["boxes"] = run_tasks([task._replace(kind="boxes") for task in timings], args)
    if not args.models_only:
        others["copies"] = run_tasks([Task("copies", *wanted[0])], args)
        others["overhead"] = run_tasks([Task("overhead", "small")], args)
    torches |= run_tasks([Task("torch", *pair) for pair in for_torch], args)
    table()
    others["cold"] = run_tasks([Task("cold", *wanted[0], str(level)) for level in args.levels], args)
    others["again"] = run_tasks([task._replace(kind="again") for task in others["cold"]], args)
    print(table(), flush=True)


if __name__ == "__main__":
    main()
