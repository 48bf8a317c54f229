"""What trtnn costs on a machine without a GPU, each figure beside its peer in the same run.

Every case runs in a process of its own, so that each pays for its own imports and memory. The result is a table in
Markdown on standard output.

examples:
  python benchmarks/cpu.py
  python benchmarks/cpu.py import build --model yolov5x
  python benchmarks/cpu.py reference --repeat 20
  python benchmarks/cpu.py families
  python benchmarks/cpu.py images
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

TARGETS = ("sm86", "sm89", "sm120")
GROWTH = (1000, 2000, 5000, 10_000)  # layers
sys.path.insert(1, str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins


class Family(NamedTuple):
    """How the models of a family are made, by name."""

    models: tuple[str, ...]  # to measure
    ours: Callable[[str], Any]  # empty
    twin: Callable[[str], Any]  # in torch


def registered(module: str, twin: str, *models: str, **options: str) -> Family:
    """A family of trtnn's registry; its twin in torch takes the same arguments."""

    def ours(name: str) -> Any:
        from trtnn.models import create

        return create(name, **options)

    return Family(models, ours, lambda name: getattr(importlib.import_module(module), twin)(name, **options))


def diffusion_blocks(blocks: ModuleType, nn: ModuleType) -> Any:
    """The blocks of diffusion networks one after another, as on the way down and up again: ours or their twins."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        blocks.ResnetBlock2D(in_channels=64, out_channels=128, temb_channels=None),
        blocks.Downsample2D(128, use_conv=True),
        blocks.Attention(128, heads=4, dim_head=32, bias=True, norm_num_groups=32, residual_connection=True),
        blocks.ResnetBlock2D(in_channels=128, temb_channels=None),
        blocks.Upsample2D(128, use_conv=True),
    )


def our_diffusion(name: str) -> Any:
    from trtnn import Input, modules
    from trtnn.models import diffusion

    model = diffusion_blocks(diffusion, modules)
    model.inputs = {"input": Input((1, 3, 128, 128))}
    return model


def twin_diffusion(name: str) -> Any:
    from torch import nn

    from benchmarks.twins import diffusion

    return diffusion_blocks(diffusion, nn)


FAMILIES = {  # by how the models' names begin
    "yolov5": registered("benchmarks.twins.yolov5", "YOLOv5", "yolov5s"),
    "yolov8": registered("benchmarks.twins.yolov8", "YOLOv8", "yolov8s"),
    "yolov9": registered("benchmarks.twins.yolov9", "YOLOv9", "yolov9t"),
    "yolo12": registered("benchmarks.twins.yolo12", "YOLO12", "yolo12n"),
    "yolo11": registered("benchmarks.twins.yolo_tasks", "YOLO", "yolo11n"),
    "yolo26": registered("trtnn.examples.digits.yolo26", "YOLO26", "yolo26n"),
    "yolov3": registered("benchmarks.twins.yolov3", "YOLOv3", "yolov3", "yolov3-tiny", version="9.0"),
    "resnet": registered("benchmarks.twins.resnet", "ResNet", "resnet50"),
    "retinanet": registered(
        "benchmarks.twins.retinanet", "RetinaNet", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"
    ),
    "centernet": registered("benchmarks.twins.centernet", "CenterNet", "centernet_dla34", "centernet_resnet50"),
    "diffusion": Family(("diffusion",), our_diffusion, twin_diffusion),
}


def peak_mb() -> float:
    """The most memory that this process has held, in MB; ``getrusage`` would count its parent's as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def family_of(name: str) -> Family:
    return next(family for prefix, family in FAMILIES.items() if name.startswith(prefix))


def make_model(name: str) -> Any:
    """Our model, empty."""
    return family_of(name).ours(name)


def make_twin(name: str) -> Any:
    """The torch twin with random weights."""
    import torch

    torch.manual_seed(0)
    return family_of(name).twin(name).eval()


def shape_of(name: str) -> tuple[int, ...]:
    """The usual shape of the model's only input."""
    (spec,) = make_model(name).inputs.values()
    return spec.shape


# -- cases, each in a process of its own, each returning figures by name ----------------------------------------------


def import_trtnn(name: str, folder: Path, repeat: int) -> dict:
    start = time.perf_counter()
    import trtnn  # noqa: F401

    seconds = time.perf_counter() - start
    heavy = [module for module in ("torch", "cv2", "tensorrt_rtx", "tensorrt") if module in sys.modules]
    return {"seconds": seconds, "loads": ", ".join(heavy) or "none of torch, cv2, tensorrt", "MB": peak_mb()}


def import_torch(name: str, folder: Path, repeat: int) -> dict:
    start = time.perf_counter()
    import torch  # noqa: F401

    return {"seconds": time.perf_counter() - start, "MB": peak_mb()}


def load_trtnn(name: str, folder: Path, repeat: int) -> dict:
    import trtnn

    path = folder / f"{name}-fp16.safetensors"
    before, start = peak_mb(), time.perf_counter()
    model = make_model(name)
    model.load_state_dict(trtnn.load(path))
    checksum = sum(float(p.data.reshape(-1)[::97].astype(np.float64).sum()) for p in model.parameters())  # touch pages
    file_mb = path.stat().st_size / 1e6
    seconds, added = time.perf_counter() - start, peak_mb() - before
    return {"seconds": seconds, "MB": added, "file MB": file_mb, "times the file": added / file_mb, "sum": checksum}


def load_torch(name: str, folder: Path, repeat: int) -> dict:
    from safetensors.torch import load_file

    make_twin("yolov5n")  # its imports are not what is measured
    path = folder / f"{name}-fp16.safetensors"
    before, start = peak_mb(), time.perf_counter()
    model = make_twin(name).half()
    model.load_state_dict(load_file(path), strict=False)
    file_mb = path.stat().st_size / 1e6
    added = peak_mb() - before
    return {"seconds": time.perf_counter() - start, "MB": added, "file MB": file_mb, "times the file": added / file_mb}


def build_trtnn(name: str, folder: Path, repeat: int) -> dict:
    import trtnn

    model = make_model(name)
    model.load_state_dict(trtnn.load(folder / f"{name}.safetensors"))
    start = time.perf_counter()
    network = model.trace()
    traced = time.perf_counter()
    engine = network.build(targets=TARGETS)
    built = time.perf_counter()
    return {
        "seconds": built - start,
        "trace s": traced - start,
        "build s": built - traced,
        "layers": network.graph.definition.num_layers,
        "plan MB": engine.plan.nbytes / 1e6,
        "MB": peak_mb(),
    }


def build_onnx(name: str, folder: Path, repeat: int) -> dict:
    """The ONNX road."""
    import torch
    from safetensors.torch import load_file

    model = make_twin(name)
    model.load_state_dict(load_file(folder / f"{name}.safetensors"), strict=False)
    return onnx_road(model, (torch.zeros(shape_of(name)),), folder / f"{name}.onnx")


def onnx_road(model: Any, example: tuple[Any, ...], path: Path, clock: Callable[[], float] = time.perf_counter) -> dict:
    """Export a torch module with the faster of torch's two exporters, parse the file and build it."""
    import tensorrt_rtx as trt
    import torch

    start = clock()
    torch.onnx.export(model, example, str(path), dynamo=False)
    exported = clock()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise RuntimeError(str([parser.get_error(i) for i in range(parser.num_errors)]))
    parsed = clock()
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(TARGETS)
    for index, target in enumerate(TARGETS):
        config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    plan = builder.build_serialized_network(network, config)
    built = clock()
    return {
        "seconds": built - start,
        "export s": exported - start,
        "parse s": parsed - exported,
        "build s": built - parsed,
        "layers": network.num_layers,
        "plan MB": plan.nbytes / 1e6,
        "MB": peak_mb(),
    }


def build_both(name: str, folder: Path, repeat: int) -> dict:
    """Our road and the ONNX road of the same model; ours makes no more layers."""
    ours, theirs = build_trtnn(name, folder, repeat), build_onnx(name, folder, repeat)
    if ours["layers"] > theirs["layers"]:
        raise SystemExit(f"{name}: {ours['layers']} layers, but {theirs['layers']} by way of ONNX")
    return {
        **{key: ours[key] for key in ("trace s", "build s", "layers")},
        **{f"ONNX {key}": theirs[key] for key in ("export s", "parse s", "build s", "layers")},
    }


def run_reference(name: str, folder: Path, repeat: int) -> dict:
    """Torch and the reference in turn on the same picture; both in one process, so that the machine is the same."""
    import torch

    import trtnn

    twin, model = make_twin(name), make_model(name)
    weights = trtnn.load(folder / f"{name}.safetensors")
    twin.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in weights.items()}, strict=False)
    model.load_state_dict(weights)
    network = model.trace()
    images = torch.rand(shape_of(name))

    def eager() -> None:
        with torch.inference_mode():
            twin(images)

    seconds: dict[str, list[float]] = {"torch": [], "reference": []}
    for round_ in range(repeat + 2):
        for key, function in (("torch", eager), ("reference", lambda: network.run(images))):
            start = time.perf_counter()
            function()
            if round_ >= 2:  # the first rounds warm up
                seconds[key].append(time.perf_counter() - start)
    ours, theirs = median(seconds["reference"]), median(seconds["torch"])
    return {
        "seconds": ours,
        "torch eager s": theirs,
        "times torch": ours / theirs,
        "threads": torch.get_num_threads(),
        "rounds": repeat,
    }


@contextmanager
def recorded():
    """Give the list of all layers that graphs add within the block: the call, and the names of what it takes and gives.

    An ITensor is noted as a :class:`Name`, since another network has others.
    """
    from trtnn.graph.graph import Graph
    from trtnn.graph.tensor import Tensor

    emit, calls = Graph.emit, []

    def noted(value):
        if isinstance(value, list):
            return [noted(item) for item in value]
        return Name(value.raw.name) if isinstance(value, Tensor) else value

    def emit_and_note(self, kind, *args, out_shape=None, set_inputs=None, traced_as=None, **attributes):
        call = (f"add_{kind}", [noted(arg) for arg in args], {i: noted(t) for i, t in (set_inputs or {}).items()})
        result = emit(self, kind, *args, out_shape=out_shape, set_inputs=set_inputs, traced_as=traced_as, **attributes)
        outputs = [tensor.raw.name for tensor in (result if isinstance(result, tuple) else (result,))]
        calls.append((*call, attributes, outputs))
        return result

    Graph.emit = emit_and_note
    try:
        yield calls
    finally:
        Graph.emit = emit


class Name(str):
    """The name of an ITensor."""


def replay(definition, calls: list, tensors: dict) -> None:
    """Make the calls on another network: what a person would write by hand, without names, checks or paths."""

    def found(value):
        if isinstance(value, list):
            return [found(item) for item in value]
        return tensors[value] if isinstance(value, Name) else value

    for method, args, set_inputs, attributes, outputs in calls:
        layer = getattr(definition, method)(*map(found, args))
        for index, name in set_inputs.items():
            layer.set_input(index, tensors[name])
        for key, value in attributes.items():
            setattr(layer, key, value)
        for index, name in enumerate(outputs):
            tensors[name] = layer.get_output(index)


def fold_by_hand(model, folded: list[tuple[str, str]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fold each BatchNorm into its convolution as a person would: the arrays that the bare calls take ready-made."""
    arrays = []
    for first, second in folded:
        weight, norm = model.get_submodule(first).weight.data, model.get_submodule(second)
        scale = norm.weight.data / np.sqrt(norm.running_var.data + norm.eps)
        shape = (-1, *(1,) * (weight.ndim - 1))
        arrays.append((weight * scale.reshape(shape), norm.bias.data - norm.running_mean.data * scale))
    return arrays


def trace_layers(name: str, folder: Path, repeat: int) -> dict:
    """A trace and the same calls on TensorRT's API alone, in turn; the difference is what trtnn adds.

    The calls find their weights folded; what it takes to fold them is measured beside.
    """
    import trtnn
    from trtnn.graph.ends import add_input
    from trtnn.graph.graph import Graph

    model = make_model(name)
    model.load_state_dict(trtnn.load(folder / f"{name}.safetensors"))
    with recorded() as calls:
        first = model.trace()
    seconds: dict[str, list[float]] = {"trace": [], "bare": [], "fold": []}
    for round_ in range(repeat + 2):
        start = time.perf_counter()
        network = model.trace()
        traced = time.perf_counter()
        graph = Graph(trtnn.get_backend())
        tensors = {key: add_input(graph, key, spec).raw for key, spec in first.inputs.items()}
        replay(graph.definition, calls, tensors)
        for key in first.outputs:
            graph.definition.mark_output(tensors[calls[-1][-1][0]] if len(first.outputs) == 1 else tensors[key])
        bare = time.perf_counter()
        arrays = fold_by_hand(model, network.graph.folded)  # kept, as the networks are, until there are others
        folded = time.perf_counter()
        if round_ >= 2:  # the first rounds warm up
            seconds["trace"].append(traced - start)
            seconds["bare"].append(bare - traced)
            seconds["fold"].append(folded - bare)
    layers = network.graph.definition.num_layers
    if graph.definition.num_layers != layers:
        raise RuntimeError(f"{graph.definition.num_layers} layers were made again, not {layers}")
    ours, theirs, folding = (median(seconds[key]) for key in ("trace", "bare", "fold"))
    return {
        "seconds": ours,
        "bare API s": theirs,
        f"folding {len(arrays)} by hand s": folding,
        "layers": layers,
        "µs a layer": 1e6 * ours / layers,
        "µs a layer beyond the bare API": 1e6 * (ours - theirs) / layers,
        "µs a layer beyond that and folding by hand": 1e6 * (ours - theirs - folding) / layers,
        "rounds": repeat,
    }


def trace_growth(name: str, folder: Path, repeat: int) -> dict:
    """Traces of longer and longer chains of convolutions and activations."""
    from trtnn.modules import Conv2d, ReLU, Sequential

    figures = {}
    for count in GROWTH:
        chain = Sequential(*(Conv2d(4, 4, 1) if i % 2 == 0 else ReLU() for i in range(count)))
        chain.inputs = {"input": (1, 4, 8, 8)}
        chain.load_state_dict({key: np.ones(p.shape, np.float32) for key, p in chain.named_parameters()})
        start = time.perf_counter()
        network = chain.trace()
        figures[f"{count} layers s"] = time.perf_counter() - start
        if network.graph.definition.num_layers != count:
            raise RuntimeError(f"{network.graph.definition.num_layers} layers instead of {count}")
    per_layer = [figures[f"{count} layers s"] / count for count in (GROWTH[0], GROWTH[-1])]
    return {
        **figures,
        "µs a layer at the end": 1e6 * per_layer[1],
        "times that at the start": per_layer[1] / per_layer[0],
    }


def share_state(name: str, folder: Path, repeat: int) -> dict:
    """1 GB of weights through a file's map, load_state_dict and state_dict: memory that only views need not take."""
    import trtnn

    class Large(trtnn.Module):
        def __init__(self) -> None:
            super().__init__()
            for index in range(16):
                setattr(self, f"weight{index}", trtnn.Parameter(4000, 4000))

    path, model = folder / "large.safetensors", Large()
    trtnn.save({key: np.zeros(p.shape, np.float32) for key, p in model.named_parameters()}, path)
    before, start = peak_mb(), time.perf_counter()
    loaded = trtnn.load(path)
    mapped = time.perf_counter()
    model.load_state_dict(loaded)
    taken = time.perf_counter()
    given = model.state_dict()
    end = time.perf_counter()
    shared = all(np.shares_memory(given[key], array) for key, array in loaded.items())
    return {
        "GB": sum(array.nbytes for array in given.values()) / 1e9,
        "load ms": 1e3 * (mapped - start),
        "load_state_dict ms": 1e3 * (taken - mapped),
        "state_dict ms": 1e3 * (end - taken),
        "MB added": peak_mb() - before,
        "shared": "all" if shared else "not all",
    }


def in_turn(functions: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Seconds of each function, the median over rounds in which each is called once; two rounds warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(repeat + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if round_ >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in seconds.items()}


def prepare_images(name: str, folder: Path, repeat: int) -> dict:
    """A picture of 1280 x 720 letterboxed to 640, and eight of them, beside OpenCV's ways.

    The fastest of these to the same numbers looks each byte up; dividing by 255 after the transpose gives them too.
    ``blobFromImage`` multiplies by 1 / 255, which rounds otherwise. Ours and the first write into memory that is there.
    """
    import cv2

    from trtnn.vision import preprocess

    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    out, eight = np.empty((1, 3, 640, 640), np.float32), np.empty((8, 3, 640, 640), np.float32)
    theirs, padded = np.empty((1, 3, 640, 640), np.float32), np.empty((640, 640, 3), np.uint8)
    table = np.arange(256, dtype=np.float32) / np.float32(255)

    def canvas() -> np.ndarray:
        resized = cv2.resize(image, (640, 360), interpolation=cv2.INTER_LINEAR)
        return cv2.copyMakeBorder(resized, 140, 140, 0, 0, cv2.BORDER_CONSTANT, padded, (114, 114, 114))

    def by_table() -> np.ndarray:
        for plane, channel in zip(theirs[0], cv2.split(canvas()), strict=True):
            cv2.LUT(channel, table, plane)
        return theirs

    def by_hand() -> np.ndarray:
        return np.ascontiguousarray(canvas().transpose(2, 0, 1)).astype(np.float32)[None] / np.float32(255)

    def blob() -> np.ndarray:
        return cv2.dnn.blobFromImage(canvas(), 1 / 255)

    ours, _ = preprocess([image], 640)
    if not (np.array_equal(ours, by_table()) and np.array_equal(ours, by_hand())):
        raise RuntimeError("OpenCV's ways give other numbers")
    ms = {
        key: 1e3 * value
        for key, value in in_turn(
            {
                "ours": lambda: preprocess([image], 640, out=out),
                "OpenCV by a table": by_table,
                "OpenCV and NumPy by hand": by_hand,
                "blobFromImage": blob,
                "ours, 8 pictures": lambda: preprocess([image] * 8, 640, out=eight),
            },
            5 * repeat,
        ).items()
    }
    return {
        **{f"{key} ms": value for key, value in ms.items()},
        "times OpenCV by a table": ms["ours"] / ms["OpenCV by a table"],
        "blobFromImage's numbers": "the same" if np.array_equal(ours, blob()) else "others",
    }


def suppress_candidates(name: str, folder: Path, repeat: int) -> dict:
    """Suppression of 8,000 candidates of one class and of 80, spread and in heaps, beside torchvision and OpenCV."""
    import cv2

    from trtnn.vision.suppression import suppress

    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError) as error:  # the latter of one that was built for another torch
        torchvision, figures = None, {"torchvision": f"cannot be imported: {next(iter(str(error).splitlines()))}"}
    else:
        figures = {"torchvision": torchvision.__version__}
    random, count = np.random.default_rng(0), 8000
    for kind, classes in (("spread", 1), ("spread", 80), ("in heaps", 1), ("in heaps", 80)):
        heap = random.integers(0, 60, count) if kind == "in heaps" else np.arange(count)
        centres = random.uniform(20, 620, (count, 2))[heap] + random.normal(0, 6, (count, 2))
        half = random.uniform(2, 100, (count, 2))[heap] * random.uniform(0.8, 1.2, (count, 2))
        boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
        scores, indices = random.permutation(count).astype(np.float32) / count, random.integers(0, classes, count)
        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        ways = {
            "ours": lambda b=boxes, s=scores, i=indices: suppress(b, s, i, 0.45, count),
            "ours, the best 300": lambda b=boxes, s=scores, i=indices: suppress(b, s, i, 0.45, 300),
            "OpenCV": lambda b=sides, s=scores, i=indices: cv2.dnn.NMSBoxesBatched(b, s, i.astype(np.int32), 0, 0.45),
        }
        if torchvision is not None:
            tensors = [torch.from_numpy(array) for array in (boxes, scores, indices)]
            ways["torchvision"] = lambda t=tensors: torchvision.ops.batched_nms(*t, 0.45)
            if classes == 1:
                ways["torchvision"] = lambda t=tensors: torchvision.ops.nms(*t[:2], 0.45)
            kept = ways["torchvision"]().numpy()
            if not np.array_equal(kept, ways["ours"]()):
                raise RuntimeError(f"torchvision keeps other boxes of {kind}, {classes} classes")
        for key, value in in_turn(ways, repeat).items():
            figures[f"{kind}, {classes} class{'es' * (classes > 1)}: {key} ms"] = 1e3 * value
    return figures


CASES: dict[str, Callable[[str, Path, int], dict]] = {
    function.__name__: function
    for function in (
        *(import_trtnn, import_torch, load_trtnn, load_torch, share_state),
        *(trace_layers, trace_growth, build_trtnn, build_onnx, build_both, run_reference),
        *(prepare_images, suppress_candidates),
    )
}
GROUPS = {
    "import": ("import_trtnn", "import_torch"),
    "load": ("load_trtnn", "load_torch"),
    "state": ("share_state",),
    "trace": ("trace_layers",),
    "growth": ("trace_growth",),
    "build": ("build_trtnn", "build_onnx"),
    "reference": ("run_reference",),
    "families": ("build_both",),
    "images": ("prepare_images", "suppress_candidates"),
}
MODELS = {  # of each group
    "import": ("",),
    "load": ("yolov5x",),
    "state": ("",),
    "trace": ("yolov5s",),
    "growth": ("",),
    "build": ("yolov5s",),
    "reference": ("yolov5s",),
    "images": ("",),
    "families": tuple(name for family in FAMILIES.values() for name in family.models),
}


def write_weights(name: str, folder: Path) -> None:
    """Random weights of ``name`` of reasonable size, in fp32 and fp16, for every case to read."""
    import torch

    import trtnn
    from benchmarks.twins.scaling import pictures, well_scaled

    state_dict = well_scaled(make_twin(name), [], pictures(4, 128, 128)).state_dict()
    state_dict = {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}
    trtnn.save(state_dict, folder / f"{name}.safetensors")
    trtnn.save({key: value.to(torch.float16) for key, value in state_dict.items()}, folder / f"{name}-fp16.safetensors")


def measure(case: str, name: str, folder: Path, repeat: int) -> dict:
    """Run a case in a new process and return its figures."""
    command = [sys.executable, __file__, "--case", case, "--model", name, "--folder", str(folder)]
    command += ["--repeat", str(repeat)]
    # With bytecode beside the sources, as everybody has it from the second time on.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    if case.startswith("import_"):
        subprocess.run([sys.executable, "-c", case.replace("_", " ")], env=environment, check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def show(figures: dict) -> str:
    """Figures as text, three digits each."""
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
    )


def main() -> None:
    summary, _, examples = __doc__.partition("examples:")
    parser = argparse.ArgumentParser(
        description=summary, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--model", help="instead of each group's own")
    parser.add_argument("--repeat", type=int, default=10, help="rounds of trace and reference (default: %(default)s)")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(CASES[arguments.case](arguments.model, arguments.folder, arguments.repeat)))
        return
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group is called {', '.join(unknown)}; known: {', '.join(GROUPS)}")
    print(f"{circumstances()}\n\n| case | model | figures |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for group in arguments.groups or GROUPS:
            for name in (arguments.model,) if arguments.model and MODELS[group] != ("",) else MODELS[group]:
                if name and not (folder / f"{name}.safetensors").exists():
                    write_weights(name, folder)
                for case in GROUPS[group]:
                    figures = show(measure(case, name, folder, arguments.repeat))
                    print(f"| {case} | {name} | {figures} |", flush=True)


def circumstances() -> str:
    """What figures depend on: the command, the date, the processor and Python."""
    command = f"`{' '.join(['python', *sys.argv])}`"
    machine = f"{os.cpu_count()} cores of {processor()}"
    return f"{command}, {datetime.date.today()}, {machine}, Python {platform.python_version()}"


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
