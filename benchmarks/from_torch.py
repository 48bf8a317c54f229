"""What `trtnn.from_torch` costs, and what its networks are worth, beside the ONNX road and torch in the same run.

layers  layers and seconds of TensorRT-RTX: conversion, trace and build beside torch.onnx.export, parse and build. It
        fails where ours has more layers, or another result than torch.
speed   a conversion without verification beside one eager call, and the memory that either adds.
gpu     fp16 engines on a GPU, alone and in CUDA graphs: ours, the ONNX road's, and torch eager, in a CUDA graph, and
        compiled with mode="reduce-overhead"; and how far each is from torch in fp32 on the CPU. With --fp16-attention
        ours keep the scores of attention in fp16, as those of ONNX files are.

Every step runs in a process of its own, ends after its time, and leaves a JSON file in the folder of results; a step
whose file is there is not run again, so that an interrupted run goes on where it stopped. A row is printed as it is
done.

Seconds of `layers` and `speed` are those of the CPU, torch on one thread: what else the machine does hardly counts.

The models are torchvision's and timm's, with random weights. For `gpu` this Python has torch, torchvision, onnx and,
for its models, timm (a wheel on PYTHONPATH is enough); --trt-python has TensorRT and torch. Models are converted by
this one, which needs no TensorRT: the source and the weights go on to the other.

examples:
  python benchmarks/from_torch.py layers
  python benchmarks/from_torch.py layers --model torchvision:swin_t timm:fastvit_t8
  python benchmarks/from_torch.py speed --out results
  python benchmarks/from_torch.py gpu --out results --trt-python /opt/trt86/bin/python --seconds 280
  python benchmarks/from_torch.py gpu --out results --model torchvision:resnet50 --batch 1 8 --no-compare-torch
  python benchmarks/from_torch.py gpu --out results --gpus 4      # as many rows at once, each on a GPU of its own
  python benchmarks/from_torch.py gpu --out results --model timm:deit_tiny_patch16_224 --fp16-attention
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import runpy
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))  # for what the benchmarks share

from benchmarks.cpu import TARGETS, circumstances, onnx_road, peak_mb
from benchmarks.gpu import EXPORT, TIMING, Task, build_onnx, engine_file, torch_timings, unpack_timing
from benchmarks.processes import first_gpus, run_for
from benchmarks.zoo import make
from trtnn.engine.bench import milliseconds
from trtnn.files import atomic_write

MODELS = {
    "layers": (
        *("torchvision:resnet18", "torchvision:resnet50", "torchvision:vit_b_16", "torchvision:swin_t"),
        *("torchvision:convnext_tiny", "torchvision:efficientnet_b0", "torchvision:mobilenet_v3_large"),
        *("torchvision:densenet121", "torchvision:regnet_y_400mf", "torchvision:shufflenet_v2_x1_0"),
        *("torchvision:segmentation.deeplabv3_mobilenet_v3_large", "torchvision:maxvit_t"),
        *("timm:mobilenetv4_conv_small", "timm:fastvit_t8", "timm:efficientvit_b0", "timm:coatnet_0_rw_224"),
        *("timm:xcit_nano_12_p16_224", "timm:deit_tiny_patch16_224", "timm:edgenext_xx_small"),
        *("timm:res2net50_26w_4s", "timm:convnextv2_atto"),
    ),
    "speed": ("torchvision:resnet50", "torchvision:vit_b_16", "torchvision:vit_h_14"),
    "gpu": (  # those of few different layers first, which build quickly
        *("torchvision:resnet18", "timm:deit_tiny_patch16_224", "torchvision:vit_b_16", "torchvision:convnext_tiny"),
        *("torchvision:resnet50", "torchvision:swin_t", "timm:edgenext_xx_small", "timm:mobilenetv4_conv_small"),
        *("torchvision:mobilenet_v3_large", "torchvision:efficientnet_b0"),
    ),
}
LIMITS_S = {"ours": 600, "onnx": 600, "speed": 600, "export": 120, "tensorrt": 650, "torch": 240}  # of each step
ROADS = ("onnx", "trtnn")
HALF_ATTENTION = "-fp16-attention"  # what the name of a step with it ends with
TURNS = 5


# -- steps, each in a process of its own, each returning figures by name ----------------------------------------------


def step_ours(args: argparse.Namespace) -> dict:
    """Convert, trace and build; then compare the network with torch on two inputs."""
    import torch

    import trtnn
    from trtnn.from_torch.convert import Conversion

    trtnn.get_backend()  # TensorRT's import is not what is measured
    torch.set_num_threads(1)
    module, inputs, named = make(args.task.model)
    start = time.process_time()
    conversion = Conversion(module, inputs, named)
    model = conversion.run(verify=False)
    converted = time.process_time()
    conversion.network = model.trace()
    traced = time.process_time()
    conversion.network.build(targets=TARGETS)
    built = time.process_time()
    return {
        "convert s": converted - start,
        "trace s": traced - converted,
        "build s": built - traced,
        "layers": conversion.network.graph.definition.num_layers,
        "difference": conversion.verify(),
    }


def step_onnx(args: argparse.Namespace) -> dict:
    """The ONNX road of the same model."""
    import torch

    torch.set_num_threads(1)
    module, inputs, _ = make(args.task.model)
    with tempfile.TemporaryDirectory() as folder:
        return onnx_road(module, inputs, Path(folder) / "model.onnx", time.process_time)


def step_speed(args: argparse.Namespace) -> dict:
    """An eager call and a conversion without verification: seconds, and the memory that they add."""
    import torch

    import trtnn
    import trtnn.from_torch.convert  # which is not what is measured

    torch.set_num_threads(1)
    module, inputs, named = make(args.task.model)

    def eager() -> None:
        with torch.no_grad():
            module(*inputs, **named)

    def convert() -> Any:
        return trtnn.from_torch(module, *inputs, verify=False, **named)

    eager()
    seconds: dict[str, list[float]] = {"eager": [], "convert": []}
    added: dict[str, float] = {}
    model = None
    for _ in range(TURNS):
        for name, call in (("eager", eager), ("convert", convert)):
            model = None  # of the turn before
            before, start = forget_peak(), time.process_time()
            model = call()
            seconds[name].append(time.process_time() - start)
            added.setdefault(name, peak_mb() - before)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shared = [
        np.shares_memory(array, tensors[name].detach().numpy())
        for name, array in model.state_dict().items()
        if name in tensors
    ]
    model_mb = sum(tensor.nbytes for tensor in tensors.values()) / 1e6
    eager_s = median(seconds["eager"])
    return {
        "million parameters": sum(parameter.numel() for parameter in module.parameters()) / 1e6,
        "eager s": eager_s,
        "first convert s": seconds["convert"][0],
        "convert s": median(seconds["convert"]),
        "limit s": 3 * eager_s + 0.5,
        "model MB": model_mb,
        "eager adds MB": added["eager"],
        "convert adds MB": added["convert"],
        "times the model": (model_mb + added["convert"]) / model_mb,
        "weights shared": f"{sum(shared)} of {len(shared)}",
    }


def forget_peak() -> float:
    """Let :func:`peak_mb` begin anew; return what the process holds, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def step_export(args: argparse.Namespace) -> dict:
    """Write what the others take: ONNX, our source and weights, the input, and what torch makes of it in fp32."""
    import torch

    from trtnn.from_torch.convert import Conversion
    from trtnn.from_torch.saving import save_source

    module, images = module_and_images(args.task)
    with torch.no_grad():
        expected = module(images)
    np.savez(numbers_file(args), images=images.numpy(), expected=expected.numpy())
    start = time.perf_counter()
    path = str(args.out / f"{args.task.model}-{args.task.batch}.onnx")
    torch.onnx.export(module, (images,), path, **EXPORT)
    exported = time.perf_counter()
    conversion = Conversion(module, (images,), {})
    model = conversion.execute()  # what it computes of constants is tried when it is built: TensorRT need not be here
    converted = time.perf_counter()
    save_source(model, source_file(args), force=True)
    return {"export s": exported - start, "convert s": converted - exported, "class": conversion.source.classes[-1]}


def step_tensorrt(args: argparse.Namespace) -> dict:
    """Build by either road with the same flags, level and timing cache; then time both by turns."""
    import torch

    import trtnn

    level = int(args.task.part.removesuffix(HALF_ATTENTION))
    with np.load(numbers_file(args)) as numbers:
        images, expected = numbers["images"], numbers["expected"]
    figures: dict[str, Any] = {"level": level, "TensorRT": str(trtnn.get_backend())}
    for road, build in zip(ROADS, (build_onnx, build_converted), strict=True):
        start = time.perf_counter()
        try:
            built, layers = build(args, road, args.out / "timing", level)
        except Exception as error:  # the other road may have one
            traceback.print_exc()
            figures[road] = {"failed": f"{type(error).__name__}: {error}"}
            continue
        figures[road] = {"build s": time.perf_counter() - start, "layers": layers}
        if build is build_onnx:
            engine_file(args, road).write_bytes(built)
        else:
            built.save(engine_file(args, road))
        print(road, figures[road], flush=True)
    with ExitStack() as engines, torch.cuda.stream(torch.cuda.Stream()):
        calls = {}
        for road in (road for road in ROADS if "failed" not in figures[road]):
            engine = engines.enter_context(trtnn.Engine.load(engine_file(args, road)))
            inputs = dict.fromkeys(engine.inputs, images)
            figures[road]["difference"] = difference(engine(**inputs), expected)
            engine.save_layer_info(
                engine_file(args, road).with_suffix(".layers.json")
            )  # for what one has and one has not
            calls[road, "execute"] = engine.bare(**inputs)
            calls[road, "graph"] = engine.cuda_graph().bare(**inputs)
        # They differ by less than what one of them takes more or less a second later: so by turns.
        turns = [{key: milliseconds(call) for key, call in calls.items()} for _ in range(TURNS)]
    for road, way in calls:
        figures[road][way] = median(turn[road, way] for turn in turns)
    return figures


def build_converted(args: argparse.Namespace, road: str, timing: Path, level: int) -> tuple[Any, int]:
    """Build the source that was written; return the engine and the layers of the network."""
    network = load_converted(args).trace(fp16=True, fp16_attention=args.task.part.endswith(HALF_ATTENTION))
    engine = network.build(timing_cache=timing, progress=False, optimization_level=level)
    return engine, network.graph.definition.num_layers


def load_converted(args: argparse.Namespace) -> Any:
    """Return the module of the source that was written, with its weights."""
    import trtnn

    exported = Task("export", args.task.model, args.task.batch)
    made = json.loads((args.out / exported.result).read_text())
    model = runpy.run_path(str(source_file(args)))[made["class"]]()
    model.load_state_dict(trtnn.load(source_file(args).with_suffix(".safetensors")))
    return model


def step_torch(args: argparse.Namespace) -> dict:
    """torch in fp16: its times, and how far it is from fp32."""
    import torch

    module, _ = module_and_images(args.task)
    with np.load(numbers_file(args)) as numbers:
        images, expected = torch.from_numpy(numbers["images"]), numbers["expected"]
    figures = torch_timings(module, images)
    with torch.no_grad():
        return {**figures, "difference": difference(module(images.cuda().half()).float().cpu(), expected)}


STEPS: dict[str, Callable[[argparse.Namespace], dict]] = {
    name.removeprefix("step_"): value for name, value in list(globals().items()) if name.startswith("step_")
}


def module_and_images(task: Task) -> tuple[Any, Any]:
    """Return the torch module, and a batch for it."""
    import torch

    module, (example,), _ = make(task.model)
    return module, torch.rand(task.batch, *example.shape[1:], generator=torch.Generator().manual_seed(1))


def numbers_file(args: argparse.Namespace) -> Path:
    return args.out / f"{args.task.model}-{args.task.batch}.npz"


def source_file(args: argparse.Namespace) -> Path:
    return args.out / f"{args.task.model}-{args.task.batch}.py"


def difference(result: Any, expected: np.ndarray) -> float:
    """Return the largest difference, in parts of the largest magnitude."""
    result = np.asarray(result[0] if isinstance(result, tuple) else result, np.float64)
    if result.shape != expected.shape:
        raise ValueError(f"the result has shape {result.shape}, and torch's {expected.shape}")
    return float(np.abs(result - expected).max() / np.abs(expected).max())


# -- the run ----------------------------------------------------------------------------------------------------------


def run_step(step: Task, args: argparse.Namespace, gpu: str | None = None) -> dict:
    """Run a step, but where its result is there; return its figures, or why there are none."""
    result, log = args.out / step.result, args.out / f"{step.result}.log"
    if result.exists():
        return json.loads(result.read_text())
    seconds = min(LIMITS_S[step.kind], args.end - time.monotonic())
    if seconds < 1:
        return {"failed": "no time was left"}
    python = args.trt_python if step.kind == "tensorrt" else sys.executable
    command = [python, __file__, args.what, "--out", str(args.out), "--step", json.dumps(step)]
    environment = os.environ if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    log.unlink(missing_ok=True)
    code = run_for(command, seconds, log, environment)
    if result.exists():
        return json.loads(result.read_text())
    if code is None:
        return {"failed": f"took more than {seconds:.0f} s"}
    return {"failed": (log.read_text().strip().splitlines() or [f"ended with {code}"])[-1][:200]}


def run_here(args: argparse.Namespace) -> None:
    """Run one step in this process, and write its figures."""
    args.task = Task(*json.loads(args.step))
    figures = STEPS[args.task.kind](args)
    with atomic_write(args.out / args.task.result) as file:
        file.write(json.dumps(figures, indent=2).encode())


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def head(*titles: str) -> str:
    return f"{row(titles)}\n{'|---' * len(titles)}|"


def cell(figures: dict, *keys: str, form: str = ".3g") -> str:
    """Return figures between slashes, or why there are none."""
    if "failed" in figures:
        return figures["failed"].replace("|", "/")
    values = [figures.get(key, "none") for key in keys]
    return " / ".join(format(value, form) if isinstance(value, float) else str(value) for value in values)


def times(figures: dict, peer: dict, key: str, of: str) -> str:
    return f"{figures[key] / peer[of]:.2f}" if key in figures and of in peer else ""


def run_layers(args: argparse.Namespace) -> list[str]:
    """Print a row for each model; return what is wrong."""
    print(head("model", "convert / trace / build s", "export / parse / build s", "layers", "by ONNX", "difference"))
    wrong = []
    for model in args.model:
        ours, theirs = (run_step(Task(kind, model), args) for kind in ("ours", "onnx"))
        counts = [cell(figures, "layers") for figures in (ours, theirs)]
        seconds = [cell(ours, "convert s", "trace s", "build s"), cell(theirs, "export s", "parse s", "build s")]
        print(row([model, *seconds, *counts, cell(ours, "difference", form=".0e")]), flush=True)
        if "failed" in ours:
            wrong.append(f"{model}: {ours['failed']}")
        elif ours["layers"] > theirs.get("layers", ours["layers"]):  # the parser does not take every file
            wrong.append(f"{model}: {ours['layers']} layers, but {theirs['layers']} by way of ONNX")
    return wrong


def run_speed(args: argparse.Namespace) -> list[str]:
    """Print a row for each model; return what is wrong."""
    keys = ("million parameters", "eager s", "first convert s", "convert s", "limit s", "model MB", "eager adds MB")
    keys = (*keys, "convert adds MB", "times the model", "weights shared")
    print(head("model", *keys))
    wrong = []
    for model in args.model:
        figures = run_step(Task("speed", model), args)
        print(
            row([model, *([cell(figures)] if "failed" in figures else [cell(figures, key) for key in keys])]),
            flush=True,
        )
        if "failed" in figures:
            wrong.append(f"{model}: there are no figures")
        elif figures["convert s"] > figures["limit s"]:
            wrong.append(f"{model}: {figures['convert s']:.2f} s, and the limit is {figures['limit s']:.2f} s")
    return wrong


def run_gpu(args: argparse.Namespace) -> list[str]:
    """Print a row for each model and batch as it is done, several at once on several GPUs; return what is wrong."""
    unpack_timing(args)
    gpus: queue.Queue[str] = queue.Queue()
    for gpu in args.gpus:
        gpus.put(gpu)
    print("Milliseconds: the execution alone / in a CUDA graph; torch: eager / in a CUDA graph / compiled.")
    print("Differences from torch in fp32, in parts of the largest magnitude: ours, by ONNX, torch in fp16.")
    print("Ours keep the scores of attention in fp16.\n" if args.fp16_attention else "")
    titles = ("model, batch", "ours", "by ONNX", "graph, times ONNX", "torch", "graph, times compile")
    print(head(*titles, "layers", "build s", "differences"), flush=True)
    wrong: list[str] = []

    def run_row(task: Task) -> None:
        gpu = gpus.get()
        try:
            text, fault = gpu_row(task, args, gpu)
        finally:  # others may be waiting for it
            gpus.put(gpu)
        print(text, flush=True)
        wrong.extend(fault)

    with ThreadPoolExecutor(len(args.gpus)) as pool:
        list(pool.map(run_row, [Task("", model, batch) for batch in args.batch for model in args.model]))
    return wrong


def gpu_row(task: Task, args: argparse.Namespace, gpu: str) -> tuple[str, list[str]]:
    """Run the steps of a model at a batch; return its row, and what is wrong."""
    name = f"{task.model}, {task.batch}"
    exported = run_step(task._replace(kind="export"), args, gpu)
    if "failed" in exported:
        return row([name, cell(exported)]), [f"{name}: nothing was exported"]
    # The settings are part of the name: results of others are not taken for these.
    part = f"{args.level}{HALF_ATTENTION if args.fp16_attention else ''}"
    built = run_step(task._replace(kind="tensorrt", part=part), args, gpu)
    torch = run_step(task._replace(kind="torch"), args, gpu) if args.compare_torch else {"failed": ""}
    theirs, ours = (built if "failed" in built else built[road] for road in ROADS)
    cells = [
        *(cell(figures, "execute", "graph", form=".3f") for figures in (ours, theirs)),
        times(ours, theirs, "graph", "graph"),
        cell(torch, "eager", "graph", "compile", form=".3f"),
        times(ours, torch, "graph", "compile"),
        *(" / ".join(cell(figures, key) for figures in (ours, theirs)) for key in ("layers", "build s")),
        " / ".join(cell(figures, "difference", form=".0e") for figures in (ours, theirs, torch)),
    ]
    return row([name, *cells]), [f"{name}: no engine of ours"] if "failed" in ours else []


RUNS = {"layers": run_layers, "speed": run_speed, "gpu": run_gpu}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    summary, _, examples = __doc__.partition("examples:")
    parser = argparse.ArgumentParser(
        description=summary, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=RUNS)
    parser.add_argument("--out", type=Path, help="the folder of results (default: a temporary one; gpu needs one)")
    parser.add_argument(
        "--model", nargs="+", metavar="SOURCE:NAME", help="torchvision: and timm: models (default: of each its own)"
    )
    parser.add_argument("--seconds", type=float, default=1e6, help="start nothing after so many; what runs is ended")
    gpu = parser.add_argument_group("gpu")
    gpu.add_argument("--batch", nargs="+", type=int, default=[1], help="(default: 1)")
    gpu.add_argument("--trt-python", default=sys.executable, help="the Python that has TensorRT (default: this one)")
    gpu.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    gpu.add_argument("--fp16-attention", action="store_true", help="ours keep the scores of attention in fp16")
    gpu.add_argument("--gpus", type=int, default=1, help="as many GPUs are used side by side (default: %(default)s)")
    gpu.add_argument("--compare-torch", action=argparse.BooleanOptionalAction, default=True, help="time torch as well")
    gpu.add_argument(
        "--timing", type=Path, default=TIMING, help="the packed timing cache to begin with (default: benchmarks/timing)"
    )
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.what == "gpu" and args.out is None:
        parser.error("gpu writes its results to a folder: --out FOLDER")
    unknown = [model for model in args.model or () if not model.startswith(("torchvision:", "timm:"))]
    if unknown:
        parser.error(f"a model is torchvision:NAME or timm:NAME, not {unknown[0]}")
    args.gpus = first_gpus(parser, args.gpus)
    args.model = args.model or MODELS[args.what]
    args.aux_streams = None  # TensorRT's own choice, as build_onnx asks
    return args


def main() -> None:
    args = parse()
    if args.step:
        run_here(args)
        return
    args.end = time.monotonic() + args.seconds
    print(f"{circumstances()}\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        args.out = args.out or Path(temporary)
        args.out.mkdir(parents=True, exist_ok=True)
        wrong = RUNS[args.what](args)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
