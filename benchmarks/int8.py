"""YOLOv5 in int8 beside fp16 on a GPU with TensorRT 8.6, in CUDA graphs, all in one run on one machine.

Each engine is built, timed and looked into by a process of its own, which leaves NAME.json with its figures,
NAME.layers.json with what TensorRT's inspector shows, with --aux-streams 0 NAME.txt with the time of each layer, and
NAME.engine, of which benchmarks/kernels.py shows the kernels. A figure that is there is not measured again, so that an
interrupted run goes on where it stopped.

ways to an engine:
  fp16       no int8
  implicit   every tensor has a range, and TensorRT chooses what is in int8; TensorRT 11 and RTX have no such way
  naive      a Quantize and a Dequantize before every convolution, each with a scale of its own, and on its weights
  declared   what trtnn.quantize declares, and no place more
  ours       what trtnn.quantize declares, placed so that TensorRT makes int8 kernels of it
  rounded    ours with --round-outputs rounded for the head too, of which TensorRT makes one kernel then
  all        ours with the last layers in int8 too, which trtnn.quantize leaves: where implicit has int8

Timing caches are kept by way: TensorRT 8.6 drops one that holds what another way's build measured ("Myelin error from
unknown graph"). Weights are random and well scaled, and ranges are those of a random image.

examples:
  python benchmarks/int8.py --out results
  python benchmarks/int8.py --out results --model yolov5x:1,8,32 --seconds 900
  python benchmarks/int8.py --out looked --model yolov5s:8 --ways implicit ours --aux-streams 0 --verbose
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins
SIZE_PX = 640
WAYS = ("fp16", "implicit", "naive", "declared", "ours", "rounded", "all")
PLACED = ("ours", "rounded", "all")
RANGE = 8.0  # of every tensor, for "implicit"; its size does not matter to the time
_TELLING = re.compile(r"(?i)quanti|qdq|fus|swap|split|reformat|myelin error|removing|merging|concat")


def load_model(name: str, folder: Path) -> Any:
    """Return the model with random weights of reasonable size, the same for every way."""
    import trtnn
    from benchmarks.twins.yolov5 import YOLOv5, well_scaled
    from trtnn.models import create

    file = folder / f"{name}.npz"
    if not file.exists():
        twin = well_scaled(YOLOv5(name), 128)
        trtnn.save({n: tensor for n, tensor in twin.state_dict().items() if "num_batches" not in n}, file)
    model = create(name)
    model.load_state_dict(trtnn.load(file))
    return model


def image(batch: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).random((batch, 3, SIZE_PX, SIZE_PX), np.float32)


def trace(name: str, batch: int, way: str, args: argparse.Namespace) -> Any:
    """Return the network of one way."""
    import trtnn
    from trtnn.build import pinning
    from trtnn.graph import placement
    from trtnn.graph.quantization import Placement
    from trtnn.parameter import Buffer
    from trtnn.quantization import quantize

    model = load_model(name, args.out)
    if way in ("naive", "declared", *PLACED):
        # A file, so that ways and batches have the same scales.
        declared = {"rounded": {"round_outputs": args.round_outputs}, "all": {"skip": []}}.get(way, {})
        quantised = args.out / f"{name}-{way if declared else 'int8'}.npz"
        if not quantised.exists():
            trtnn.save(quantize(model, [image(1)], **{"skip": args.skip, **declared}).state_dict(), quantised)
        model.load_state_dict(trtnn.load(quantised))
    if way not in PLACED:
        placement.spread = lambda *given: None
    if way == "naive":
        for number, module in enumerate(model.modules()):
            module._buffers.pop("output_scale", None)
            if (scale := module._buffers.get("input_scale")) is not None:
                module.input_scale = Buffer((), data=scale.data * (1 + number / 1000))
    network = model.trace({"images": trtnn.Input((batch, 3, SIZE_PX, SIZE_PX))}, fp16=True)
    if way == "implicit":
        graph = network.graph
        tensors = [graph.definition.get_input(0)]
        for index in range(graph.definition.num_layers):
            layer = graph.definition.get_layer(index)
            tensors += [layer.get_output(i) for i in range(layer.num_outputs)]
        for tensor in tensors:
            tensor.dynamic_range = (-RANGE, RANGE)
        graph.placement = Placement()  # which sets the flag INT8
        pinning._pin_to_fp16 = lambda *given: []
    return network


def measure(args: argparse.Namespace) -> None:
    """Build, look into and time one engine."""
    name, batch, way = args.task.split(":")
    import trtnn
    from trtnn.engine.bench import _own_stream, milliseconds
    from trtnn.engine.plan import deserialize

    backend = trtnn.get_backend()
    result = args.out / f"{name}-{batch}-{way}"
    if args.verbose:
        _record(backend, result.with_suffix(".log"))
    start = time.perf_counter()
    network = trace(name, int(batch), way, args)
    traced = time.perf_counter() - start
    start = time.perf_counter()
    engine = network.build(
        optimization_level=args.level,
        max_aux_streams=args.aux_streams,
        timing_cache=None if way == "fp16" else args.out / f"timing-{way}",  # the usual one has fp16's kernels
        progress=False,
    )
    figures: dict[str, Any] = {"trace s": traced, "build s": time.perf_counter() - start}
    images = {"images": image(int(batch))}
    engine.save(f"{result}.engine")
    with engine:
        engine(**images)
        kind = backend.trt.LayerInformationFormat.JSON
        _runtime, raw = deserialize(backend, engine.plan)
        text = raw.create_engine_inspector().get_engine_information(kind)
        Path(f"{result}.layers.json").write_text(text)
        with _own_stream():
            graphed = engine.cuda_graph()
            figures["graph ms"] = milliseconds(graphed.bare(**images))
            figures["plain ms"] = milliseconds(engine.bare(**images))
        print(f"{result.name}: {figures}", flush=True)
        if args.aux_streams == 0:
            timing = engine.timing(**images)
            figures["kernels"] = sum(row.milliseconds > 0 for row in timing.layers)
            rows = [f"{row.milliseconds:8.4f} {row.precision:8} {row.kind:24} {row.name}" for row in timing.layers]
            Path(f"{result}.txt").write_text("\n".join(rows))
    Path(f"{result}.json").write_text(json.dumps(figures, indent=1))


def _record(backend: Any, file: Path) -> None:
    """Write what TensorRT says of its graph's optimisation into a file."""
    kind, usual = type(backend.logger), type(backend.logger).log
    stream = file.open("w")

    def log(self: Any, severity: Any, message: str) -> None:
        if "Tactic" not in message and _TELLING.search(message):
            stream.write(message.strip() + "\n")
            stream.flush()
        usual(self, severity, message)

    kind.log = log
    backend.logger.min_severity = backend.trt.ILogger.Severity.VERBOSE


def tasks(args: argparse.Namespace) -> Iterator[str]:
    for entry in args.model:
        name, _, batches = entry.partition(":")
        for batch in batches.split(",") if batches else ("1", "8", "32"):
            for way in args.ways:
                yield f"{name}:{batch}:{way}"


def table(args: argparse.Namespace) -> str:
    """Return what was measured: a row for each model and batch, with each way's time and its share of fp16's."""
    rows = [f"{'':14}" + "".join(f"{way:>20}" for way in args.ways)]
    done: dict[str, float] = {}
    for task in tasks(args):
        file = args.out / f"{task.replace(':', '-')}.json"
        if file.exists():
            done[task] = json.loads(file.read_text())["graph ms"]
    for model in dict.fromkeys(task.rpartition(":")[0] for task in tasks(args)):
        base = done.get(f"{model}:fp16")
        cells = []
        for way in args.ways:
            ms = done.get(f"{model}:{way}")
            share = f" ({ms / base:.3f})" if ms and base else ""
            cells.append(f"{ms:.4f}{share}" if ms else "")
        rows.append(f"{model:14}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--model", nargs="+", default=["yolov5s:1,8,32"], help="models with batches")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["fp16", "implicit", "naive", "ours"])
    parser.add_argument("--skip", nargs="*", help="modules that are not quantised (default: as trtnn.quantize leaves)")
    parser.add_argument("--round-outputs", nargs="+", default=["model.20.cv3"], help="modules, for the way rounded")
    parser.add_argument("--level", type=int, default=1, help="optimisation level")
    parser.add_argument("--aux-streams", type=int, default=1, help="0 to have the time of each layer as well")
    parser.add_argument("--verbose", action="store_true", help="keep what TensorRT says of fusions, in NAME.log")
    parser.add_argument("--seconds", type=float, default=1800, help="no new engine is begun after so many")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.task:
        measure(args)
        return
    start = time.monotonic()
    for task in tasks(args):
        if (args.out / f"{task.replace(':', '-')}.json").exists() or time.monotonic() - start > args.seconds:
            continue
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--task", task], check=False)
        if done.returncode:
            print(f"{task} failed", flush=True)
    print(table(args))


if __name__ == "__main__":
    main()
