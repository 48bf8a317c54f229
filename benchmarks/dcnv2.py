"""The DCNv2 kernel beside torchvision's operator and cuDNN's plain convolution, all in one run on one GPU.

3x3, stride 1, as many channels out as in: nine sizes, fp16 and fp32. Times are of the GPU, by CUDA events around a CUDA
graph of many calls (a plain loop of calls where one cannot be captured): the median of rounds. "cold" overwrites a
buffer of twice the L2 cache's size before each call, which is then timed alone. torchvision gets NCHW, the one layout
that it has; the plain convolution gets channels_last. Needs torch and trtnn; benchmarks/dcnv2.sh
needs no installed trtnn.

examples:
  python3 benchmarks/dcnv2.py --out results                   # builds the kernel first, if it is not there
  python3 benchmarks/dcnv2.py --out results --library build/libtrtnn_dcnv2.so --type fp16
  python3 benchmarks/dcnv2.py --out results --sweep           # every block shape and split, to check the choice
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROWS = ((128, 80), (256, 40), (160, 160))
ROUNDS, TARGET_MS = 5, 20.0


def graph_of(call: Callable[[], object], times: int) -> Callable[[], object]:
    """What enqueues that many calls: a CUDA graph of them, or a loop where they cannot be captured."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for _ in range(times):
                call()
    except RuntimeError as error:
        print(f"not captured: {error}", file=sys.stderr)
        torch.cuda.synchronize()

        def loop() -> None:
            for _ in range(times):
                call()

        return loop
    return graph.replay


def elapsed(enqueue: Callable[[], object]) -> float:
    import torch

    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    enqueue()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def warm_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call among many of its kind."""
    call()
    once = elapsed(call)
    times = max(3, min(100, int(TARGET_MS / max(once, 1e-3))))
    enqueue = graph_of(call, times)
    enqueue()
    return median(elapsed(enqueue) / times for _ in range(ROUNDS))


def cold_ms(call: Callable[[], object], flush) -> float:
    """Milliseconds of one call after everything was driven out of the L2 cache."""
    import torch

    times = []
    for _ in range(11):
        flush.zero_()
        torch.cuda._sleep(1_000_000)  # so that the call is enqueued before the GPU comes to it
        times.append(elapsed(call))
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
    if args.sweep:
        tried = {}
        for tile, name in enumerate(library.tiles(half)):
            for splits in (1, 2, 3, 4) if batch == 1 else (1,):
                tried[f"{name}/{splits}"] = warm_ms(ours(layer, last, offset, mask, tile=tile, splits=splits))
        row["sweep"] = dict(sorted(tried.items(), key=lambda item: item[1]))
        best = next(iter(row["sweep"].items()))
        chosen = f"{row['choice'][0]}/{row['choice'][1]}"
        ours_ms = row["sweep"].get(chosen, float("nan"))
        print(
            f"{kind} {channels} {size} b{batch}: best {best[0]} {best[1]:.4f}, chosen {chosen} {ours_ms:.4f}",
            flush=True,
        )
        return row

    plain_weight = weight.contiguous(memory_format=torch.channels_last)
    calls = {
        "NHWC": ours(layer, last, offset, mask),
        "NCHW": ours(layer, x, offset, mask),
        "plain": lambda: torch.nn.functional.conv2d(last, plain_weight, bias, padding=1),
    }
    try:
        from torchvision.ops import deform_conv2d

        calls["torchvision"] = lambda: deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    except ImportError:
        print("torchvision is not installed here: its column stays empty", file=sys.stderr)
    with torch.no_grad():
        for name, function in calls.items():
            row[name] = warm_ms(function)
        row["NHWC cold"] = cold_ms(calls["NHWC"], flush)
        if "torchvision" in calls:
            row["torchvision cold"] = cold_ms(calls["torchvision"], flush)
        row["plain cold"] = cold_ms(calls["plain"], flush)
    row["TFLOP/s"] = 2 * 9 * channels**2 * batch * size**2 / row["NHWC"] / 1e9
    print(kind, channels, size, batch, {k: round(v, 4) for k, v in row.items() if isinstance(v, float)}, flush=True)
    return row


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table, milliseconds."""
    columns = ("NHWC", "NCHW", "torchvision", "plain", "NHWC cold", "torchvision cold", "plain cold")
    lines = [
        f"| type | C, H×W | batch | {' | '.join(columns)} | torchvision / NHWC | NHWC / plain | TFLOP/s | blocks |",
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
    name = "dcnv2-sweep" if args.sweep else "dcnv2"
    for kind in args.type:
        for channels, size in ROWS:
            for batch in args.batch:
                rows.append(measure(args, library, channels, size, batch, kind, flush))
                torch.cuda.empty_cache()
                (args.out / f"{name}.json").write_text(
                    json.dumps({"gpu": properties.name, "torch": torch.__version__, "rows": rows}, indent=1)
                )
    if not args.sweep:
        text = table(rows)
        (args.out / "dcnv2.md").write_text(text + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
