"""The DCNv2 kernel beside torchvision's operator and cuDNN's plain convolution, all in one run on one GPU.

3x3, stride 1, as many channels out as in: nine sizes, fp16 and fp32. Times are of the GPU, by CUDA events, median of
rounds. Ours and the plain convolution are many calls in one CUDA graph. torchvision is many calls one after the other,
in no graph: it launches its sampling on the default stream whatever stream is current, so that a graph captured on
another has only its matrix product. The GPU waits until all of its calls are enqueued; where it did not, which is said,
the costs of launching are in the time. What ours and torchvision give is compared first. "cold" overwrites a buffer of
twice the L2 cache's size before each call, which is then timed alone. torchvision gets NCHW, the one layout it has; the
plain convolution gets channels_last. Needs torch and trtnn; benchmarks/dcnv2.sh needs no installed trtnn.

examples:
  python3 benchmarks/dcnv2.py --out results                   # builds the kernel first, if it is not there
  python3 benchmarks/dcnv2.py --out results --library build/libtrtnn_dcnv2.so --type fp16
  python3 benchmarks/dcnv2.py --out results --sweep           # every block shape and split, to check the choice
  python3 benchmarks/dcnv2.py --out results --sweep --type fp16 --batch 8 --only 128x128   # those with this in the name
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROWS = ((128, 80), (256, 40), (160, 160))
ROUNDS, TARGET_MS = 5, 20.0
SWEEP_ROUNDS, SWEEP_TARGET_MS = 3, 5.0
MOST_SPLITS = 8  # that the kernel takes by itself
WAIT_CYCLES = 40_000_000  # of the GPU, about 20 ms: longer than it takes to enqueue what is timed next
TOLERANCE = {"fp16": 5e-3, "fp32": 1e-4}  # of the largest magnitude


def graph_of(call: Callable[[], object], times: int) -> Callable[[], object]:
    """What enqueues that many calls as one CUDA graph."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            call()
    return graph.replay


def elapsed(enqueue: Callable[[], object], waits: bool = False) -> float:
    """Milliseconds of the GPU; with ``waits`` it begins when everything is enqueued."""
    import torch

    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    if waits:
        torch.cuda._sleep(WAIT_CYCLES)
    start.record()
    enqueue()
    end.record()
    if waits and start.query():
        print("not all was enqueued before the GPU began: launch costs are in the next time", file=sys.stderr)
    end.synchronize()
    return start.elapsed_time(end)


def calls_for(call: Callable[[], object], target_ms: float, most: int) -> int:
    """How many calls take about that long."""
    call()
    elapsed(call)
    return max(3, min(most, int(target_ms / max(elapsed(call), 1e-3))))


def warm_ms(call: Callable[[], object], rounds: int = ROUNDS, target_ms: float = TARGET_MS) -> float:
    """Milliseconds of one call among many of its kind, in a graph."""
    times = calls_for(call, target_ms, 100)
    enqueue = graph_of(call, times)
    enqueue()
    return median(elapsed(enqueue) / times for _ in range(rounds))


def queued_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call among many of its kind, enqueued one by one on the default stream."""
    times = calls_for(call, TARGET_MS, 30)

    def enqueue() -> None:
        for _ in range(times):
            call()

    return median(elapsed(enqueue, waits=True) / times for _ in range(ROUNDS))


def cold_ms(call: Callable[[], object], flush) -> float:
    """Milliseconds of one call after everything was driven out of the L2 cache."""
    times = []
    for _ in range(11):
        flush.zero_()
        times.append(elapsed(call, waits=True))
    return median(times)


def ours(layer, x, offset, mask, **options) -> Callable[[], object]:
    """The call with its buffers made once; the stream is the current one, as capturing needs."""
    import torch

    prepared = {}

    def call() -> None:
        stream = torch.cuda.current_stream().cuda_stream
        if stream not in prepared:
            prepared[stream] = layer.prepare(x, offset, mask, **options)
        prepared[stream][1]()

    return call


def sweep(only: str, library, layer, tensors: tuple) -> dict[str, float]:
    """Milliseconds of every block shape and number of splits, the best first."""
    from trtnn.errors import TrtnnError

    tried = {}
    for tile, name in enumerate(library.tiles(layer.half)):
        across = int(re.match(r"\d+x(\d+)", name)[1])
        if only not in name or across > 1.5 * layer.layer.out_channels:
            continue
        for splits in range(1, MOST_SPLITS + 1):
            call = ours(layer, *tensors, tile=tile, splits=splits)
            try:
                tried[f"{name}/{splits}"] = warm_ms(call, SWEEP_ROUNDS, SWEEP_TARGET_MS)
            except TrtnnError as error:
                print(f"{name}/{splits}: {error}", file=sys.stderr)
    return dict(sorted(tried.items(), key=lambda item: item[1]))


def measure(args: argparse.Namespace, library, channels: int, size: int, batch: int, kind: str, flush) -> dict:
    import numpy as np
    import torch

    from trtnn.plugins.dcnv2.kernel import DeformConv2d

    half = kind == "fp16"
    dtype = torch.float16 if half else torch.float32
    torch.manual_seed(0)
    x = torch.randn(batch, channels, size, size, device="cuda", dtype=dtype)
    weight = (torch.randn(channels, channels, 3, 3, device="cuda") * (9 * channels) ** -0.5).to(dtype)
    bias = torch.randn(channels, device="cuda").to(dtype)
    offset = torch.randn(batch, 18, size, size, device="cuda", dtype=dtype)
    mask = torch.rand(batch, 9, size, size, device="cuda", dtype=dtype)
    last = x.contiguous(memory_format=torch.channels_last)
    layer = DeformConv2d(
        library, np.asarray(weight.cpu().float()), np.asarray(bias.cpu().float()), padding=1, half=half
    )
    call = layer.make_call(batch, size, size, input_layout=1, output_layout=1, offset_type=int(half))
    row = {"channels": channels, "size": size, "batch": batch, "type": kind, "choice": layer.choice(call)}
    if args.once:
        ours(layer, last, offset, mask)()
        torch.cuda.synchronize()
        print(row, flush=True)
        return row
    plain_weight = weight.contiguous(memory_format=torch.channels_last)
    calls = {
        "NHWC": ours(layer, last, offset, mask),
        "NCHW": ours(layer, x, offset, mask),
        "plain": lambda: torch.nn.functional.conv2d(last, plain_weight, bias, padding=1),
    }
    if args.sweep:
        row["plain"] = warm_ms(calls["plain"])
        row["sweep"] = sweep(args.only, library, layer, (last, offset, mask))
        chosen = f"{row['choice'][0]}/{row['choice'][1]}"
        best = ", ".join(f"{key} {ms:.4f}" for key, ms in list(row["sweep"].items())[:8])
        print(f"{kind} {channels} {size} b{batch}: plain {row['plain']:.4f}; best {best}", flush=True)
        print(f"  chosen {chosen} {row['sweep'].get(chosen)}", flush=True)
        return row

    try:
        from torchvision.ops import deform_conv2d

        calls["torchvision"] = lambda: deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    except ImportError:
        print("torchvision is not installed here: its column stays empty", file=sys.stderr)
    with torch.no_grad():
        if "torchvision" in calls:
            # In fp32 and of one picture: in fp16 torchvision rounds the positions themselves.
            one = [t[:1].float() for t in (x, offset, mask)]
            wanted = deform_conv2d(one[0], one[1], weight.float(), bias.float(), padding=1, mask=one[2])
            given = layer(last, offset, mask)[:1].float()
            row["difference"] = ((given - wanted).abs().max() / wanted.abs().max()).item()
            if not row["difference"] < TOLERANCE[kind]:
                raise SystemExit(f"{row}: ours and torchvision's results are not the same")
        for name, function in calls.items():
            row[name] = (queued_ms if name == "torchvision" else warm_ms)(function)
        for name in ("NHWC", "torchvision", "plain"):
            if name in calls:
                row[f"{name} cold"] = cold_ms(calls[name], flush)
    row["TFLOP/s"] = 2 * 9 * channels**2 * batch * size**2 / row["NHWC"] / 1e9
    print(kind, channels, size, batch, {k: round(v, 4) for k, v in row.items() if isinstance(v, float)}, flush=True)
    return row


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table, milliseconds."""
    columns = ("NHWC", "NCHW", "torchvision", "plain", "NHWC cold", "torchvision cold", "plain cold")
    heads = [f"{c} (graph)" if c in ("NHWC", "NCHW", "plain") else c for c in columns]
    heads[columns.index("torchvision")] += " (calls)"  # see the top: a graph would not hold all that it does
    lines = [
        f"| type | C, H×W | batch | {' | '.join(heads)} | torchvision / NHWC | NHWC / plain | TFLOP/s | blocks |",
        f"|{'---|' * (len(columns) + 7)}",
    ]
    for row in rows:
        times = " | ".join(f"{row[c]:.3f}" if c in row else "" for c in columns)
        speedup = f"{row['torchvision'] / row['NHWC']:.2f}" if "torchvision" in row else ""
        layer = f"{row['channels']}, {row['size']}×{row['size']}"
        lines.append(
            f"| {row['type']} | {layer} | {row['batch']} | {times} | {speedup} | "
            f"{row['NHWC'] / row['plain']:.2f} | {row['TFLOP/s']:.0f} | {row['choice'][0]}, {row['choice'][1]} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder for dcnv2.json and dcnv2.md")
    parser.add_argument("--library", help="libtrtnn_dcnv2.so (default: built here for this GPU)")
    parser.add_argument("--type", nargs="+", choices=("fp16", "fp32"), default=["fp16", "fp32"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--sweep", action="store_true", help="time every block shape instead of the peers")
    parser.add_argument("--once", action="store_true", help="run each size once and time nothing: for a profiler")
    parser.add_argument("--only", default="", help="of the sweep, block shapes with this in their names")
    args = parser.parse_args()

    import torch

    from trtnn.plugins.dcnv2.building import build
    from trtnn.plugins.dcnv2.kernel import Library

    if not torch.cuda.is_available():
        parser.error("torch sees no GPU here")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    library = Library(args.library or build(kernel_only=True))
    properties = torch.cuda.get_device_properties(0)
    flush = torch.empty(2 * properties.L2_cache_size, dtype=torch.uint8, device="cuda")
    print(properties.name, torch.__version__, library.path, flush=True)
    rows = []
    name = "dcnv2-sweep" if args.sweep else "dcnv2-once" if args.once else "dcnv2"
    for kind in args.type:
        for channels, size in ROWS:
            for batch in args.batch:
                rows.append(measure(args, library, channels, size, batch, kind, flush))
                torch.cuda.empty_cache()
                (args.out / f"{name}.json").write_text(
                    json.dumps({"gpu": properties.name, "torch": torch.__version__, "rows": rows}, indent=1)
                )
    if not (args.sweep or args.once):
        text = table(rows)
        (args.out / "dcnv2.md").write_text(text + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
