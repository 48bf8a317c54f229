"""Engines on a GPU beside the ONNX road and torch, all in one run on one machine.

Each task runs in a process of its own and leaves a JSON file in the folder of results; a task whose file is there is
not run again, so that an interrupted run goes on where it stopped. TensorRT's timing cache is kept there as well.

examples:
  python benchmarks/gpu.py --out results
  python benchmarks/gpu.py --out results --model yolov5s yolov5x --batch 1 8 32 --level 3
  python benchmarks/gpu.py --out results --trt-python /opt/trt86/bin/python
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

from trtnn.bench import milliseconds

SIZE_PX = 640


# -- what tasks share -------------------------------------------------------------------------------------------------


def pictures(batch: int):
    """The input that every peer gets, on the GPU."""
    import torch

    return torch.rand(batch, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0)).cuda()


def load_twin(args: argparse.Namespace):
    """The torch twin with the weights that every peer gets."""
    import torch

    import trtnn
    from trtnn.examples.twin import YOLOv5

    twin = YOLOv5(args.name)
    weights = trtnn.load(args.out / f"{args.name}.npz")
    twin.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
    return twin.eval()


# -- tasks ------------------------------------------------------------------------------------------------------------


def task_weights(args: argparse.Namespace) -> dict:
    """Random weights of reasonable size, for every peer."""
    import trtnn
    from trtnn.examples.twin import YOLOv5, well_scaled

    twin = well_scaled(YOLOv5(args.name), 128)
    trtnn.save({k: v for k, v in twin.state_dict().items() if "num_batches" not in k}, args.out / f"{args.name}.npz")
    return {}


def task_export(args: argparse.Namespace) -> dict:
    """The twin as ONNX, by the exporter that is faster to build from."""
    import torch

    start = time.perf_counter()
    torch.onnx.export(
        load_twin(args),
        (torch.zeros(args.n, 3, SIZE_PX, SIZE_PX),),
        str(args.out / f"{args.name}-{args.n}.onnx"),
        dynamo=False,
        input_names=["images"],
        output_names=["output"],
    )
    return {"seconds": time.perf_counter() - start}


def task_build(args: argparse.Namespace) -> dict:
    """trtnn's engine and the ONNX road's, with the same flags and level and one timing cache for both."""
    import trtnn
    from trtnn.models import create

    model = create(args.name)
    model.load_state_dict(trtnn.load(args.out / f"{args.name}.npz"))
    figures: dict = {"level": args.level, "tensorrt": str(trtnn.get_backend())}
    for kind, dtype in (("trtnn", "float32"), ("trtnn-half-input", "float16")):
        start = time.perf_counter()
        network = model.trace({"images": trtnn.Input((args.n, 3, SIZE_PX, SIZE_PX), dtype)}, fp16=True)
        engine = network.build(optimization_level=args.level, timing_cache=args.out / "timing")
        figures[kind] = {"seconds": time.perf_counter() - start, "layers": network.graph.definition.num_layers}
        engine.save(args.out / f"{args.name}-{args.n}-{kind}.engine")
        print(kind, figures[kind], flush=True)
    figures["onnx"] = build_onnx(args)
    print("onnx", figures["onnx"], flush=True)
    return figures


def build_onnx(args: argparse.Namespace) -> dict:
    """Parse and build the ONNX file; the timing cache is read from where trtnn keeps it, so that neither pays alone."""
    import trtnn
    from trtnn.timing_cache import timing_cache, timing_cache_file

    backend = trtnn.get_backend()
    trt = backend.trt
    start = time.perf_counter()
    builder = trt.Builder(backend.logger)
    flags = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0)
    parser = trt.OnnxParser(network, backend.logger)
    if not parser.parse((args.out / f"{args.name}-{args.n}.onnx").read_bytes()):
        raise RuntimeError(str([str(parser.get_error(i)) for i in range(parser.num_errors)]))
    config = builder.create_builder_config()
    config.builder_optimization_level = args.level
    if hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    (args.out / "timing").mkdir(exist_ok=True)
    with timing_cache(config, timing_cache_file(args.out / "timing", backend)):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("\n".join(backend.logger.take()))
    (args.out / f"{args.name}-{args.n}-onnx.plan").write_bytes(plan)
    return {"seconds": time.perf_counter() - start, "layers": network.num_layers}


def task_time(args: argparse.Namespace) -> dict:
    """Every engine, plain and in a CUDA graph: the execution alone, and through ``engine(images)``."""
    import torch

    import trtnn

    backend = trtnn.get_backend()
    images = pictures(args.n)
    expected = None
    figures: dict = {}
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for kind in ("onnx", "trtnn", "trtnn-half-input"):
            stem = args.out / f"{args.name}-{args.n}-{kind}"
            given = images.half() if "half" in kind else images
            engine = None if kind == "onnx" else trtnn.Engine.load(stem.with_suffix(".engine"))
            plan = stem.with_suffix(".plan").read_bytes() if engine is None else engine.plan
            run, outputs, kernels = raw_engine(backend, plan, given)
            row = {"ms": milliseconds(run), "engine layers": kernels}
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                run()
            row["graph ms"] = milliseconds(graph.replay)
            result = next(iter(outputs.values())).float().cpu()
            if expected is None:
                expected = result
            row["largest difference from onnx"] = float((result - expected).abs().max() / expected.abs().max())
            if engine is not None:
                row["engine(x) ms"] = milliseconds(lambda engine=engine, given=given: engine(given))
                graphed = engine.cuda_graph()
                row["cuda_graph()(x) ms"] = milliseconds(lambda graphed=graphed, given=given: graphed(given))
                array = given.cpu().numpy()
                row["engine(numpy) ms"] = milliseconds(lambda engine=engine, array=array: engine(array))
                engine.close()
            figures[kind] = row
            print(kind, row, flush=True)
    return figures


def raw_engine(backend, plan, given):
    """A bare ``execute_async_v3`` on fixed buffers, the buffers of the outputs, and the number of layers it has."""
    import torch

    trt = backend.trt
    engine = trt.Runtime(backend.logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    outputs = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            context.set_tensor_address(name, given.data_ptr())
        else:
            dtype = torch.float16 if engine.get_tensor_dtype(name) == trt.DataType.HALF else torch.float32
            outputs[name] = torch.empty(tuple(engine.get_tensor_shape(name)), dtype=dtype, device="cuda")
            context.set_tensor_address(name, outputs[name].data_ptr())
    kept = (engine, given)  # the context needs both for as long as it runs

    def run() -> None:
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        assert kept

    return run, outputs, engine.num_layers


def task_torch(args: argparse.Namespace) -> dict:
    """torch in fp16, channels last: eager, in a CUDA graph, and compiled with mode="reduce-overhead"."""
    import torch

    torch.backends.cudnn.benchmark = True
    twin = load_twin(args).cuda().half().to(memory_format=torch.channels_last)
    images = pictures(args.n).half().to(memory_format=torch.channels_last)
    figures = {"torch": torch.__version__}
    with torch.inference_mode():
        figures["eager ms"] = milliseconds(lambda: twin(images))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            twin(images)
        figures["graph ms"] = milliseconds(graph.replay)
        print(figures, flush=True)
        compiled = torch.compile(twin, mode="reduce-overhead")
        figures["compile ms"] = milliseconds(lambda: compiled(images))
    return figures


TASKS = {name.removeprefix("task_"): value for name, value in list(globals().items()) if name.startswith("task_")}
NEEDS_TENSORRT = ("build", "time")


# -- the run ----------------------------------------------------------------------------------------------------------


def run_task(task: str, name: str, batch: int, args: argparse.Namespace) -> dict | None:
    """Run a task in a new process unless its result is there; return the result, or None where it failed."""
    result = args.out / f"{task}-{name}-{batch}.json"
    if not result.exists():
        python = args.trt_python if task in NEEDS_TENSORRT else sys.executable
        command = [python, __file__, "--task", task, "--name", name, "--n", str(batch), "--out", str(args.out)]
        print(f"-- {task} {name} batch {batch}", flush=True)
        try:
            done = subprocess.run([*command, "--level", str(args.level)], check=False, timeout=args.timeout)
        except subprocess.TimeoutExpired:
            print(f"-- {task} took more than {args.timeout} s", flush=True)
            return None
        if done.returncode:
            return None
    return json.loads(result.read_text())


def report(args: argparse.Namespace, results: dict) -> str:
    """The results as a table in Markdown, milliseconds a batch."""
    lines = [
        f"{datetime.date.today()}, `python {' '.join(sys.argv)}`",
        "",
        "| model, batch | ONNX plain / graph | trtnn plain / graph | fp16 input plain / graph | torch eager / graph / "
        "compile |",
        "|---|---|---|---|---|",
    ]
    for (name, batch), (timed, torch_) in results.items():
        cells = [f"{name}, {batch}"]
        for kind in ("onnx", "trtnn", "trtnn-half-input"):
            row = (timed or {}).get(kind, {})
            cells.append(" / ".join(f"{row[key]:.3f}" if key in row else "" for key in ("ms", "graph ms")))
        row = torch_ or {}
        keys = ("eager ms", "graph ms", "compile ms")
        cells.append(" / ".join(f"{row[key]:.3f}" if key in row else "" for key in keys))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    summary, _, examples = __doc__.partition("examples:")
    parser = argparse.ArgumentParser(
        description=summary, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of results")
    parser.add_argument("--model", nargs="+", default=["yolov5s"], help="default: yolov5s")
    parser.add_argument("--batch", nargs="+", type=int, default=[1], help="default: 1")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds a task may take (default: %(default)s)")
    parser.add_argument("--trt-python", default=sys.executable, help="the Python that has TensorRT (default: this one)")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.task:
        figures = TASKS[args.task](args)
        (args.out / f"{args.task}-{args.name}-{args.n}.json").write_text(json.dumps(figures, indent=2))
        return
    results = {}
    for name in args.model:
        run_task("weights", name, 0, args)
        for batch in args.batch:
            torch_ = run_task("torch", name, batch, args)
            built = run_task("export", name, batch, args) and run_task("build", name, batch, args)
            results[name, batch] = (run_task("time", name, batch, args) if built else None, torch_)
            table = report(args, results)
            (args.out / "table.md").write_text(table + "\n")
            print(table, flush=True)


if __name__ == "__main__":
    main()
