"""New weights in a built YOLOv5 on a GPU: how long they take, what a refittable engine costs, and that none is wrong.

Each step is a process with a time limit of its own. It prints its rows as they come and leaves STEP.json; a step whose
file is there is not run again, so that an interrupted run goes on where it stopped. Weights are random and well scaled,
two sets of them for each model; fp16, in CUDA graphs.

steps of each model, and where they say so of each batch:
  weights   the two sets
  cold      a build where nothing was measured before, and once more; of the first batch, with --cold
  plain     each batch: the engine built with a warm timing cache, its time, and its layers
  marked    each batch: the same of a refittable engine
  refit     refits of all weights and of the head alone; what they give beside a fresh build, also after saving
  rebuild   the plain engine built again with other weights, in the background: the longest gap between calls meanwhile
  load      the refittable engine under load from 4 threads, 100 refits of the head a step: wrong results, memory

It ends with a table, and in MODEL-BATCH-layers.diff the layers of the plain (-) and the refittable (+) engine.

examples:
  python benchmarks/refit.py --out results --model yolov5s:1,8
  python benchmarks/refit.py --out results --model yolov5s:1,8 yolov5x:1,8 --seconds 540   # again until all is there
  python benchmarks/refit.py --out results --model yolov5s:1 --refits 1000 --steps load
"""

from __future__ import annotations

import argparse
import difflib
import json
import lzma
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))  # for the twins in torch, benchmarks/twins
from trtnn.cuda import gpu_memory
from trtnn.engine.bench import circumstances, milliseconds
from trtnn.files import atomic_write, make_folder

TIMING = Path(__file__).parent / "timing"
THREADS = 4
# How far results may be from a fresh build's: rms(difference) / rms(result).
TOLERANCE = 1e-3
LIMITS = {"weights": 120, "cold": 580, "plain": 400, "marked": 580, "refit": 400, "rebuild": 400, "load": 300}


class Step(NamedTuple):
    """A process: a function of this file on a model, at a batch; ``part`` counts those of one kind."""

    kind: str
    model: str
    batch: int = 1
    part: int = 0

    @property
    def result(self) -> str:
        return "-".join(map(str, self)) + ".json"


# -- what steps share -------------------------------------------------------------------------------------------------


def images(args: argparse.Namespace, seed: int = 0) -> Any:
    import numpy as np

    return np.random.default_rng(seed).random((args.step.batch, 3, args.size, args.size), np.float32)


def weights(args: argparse.Namespace, which: int) -> dict[str, Any]:
    """Return one of the model's two sets of weights."""
    import trtnn

    return dict(trtnn.load(args.out / f"{args.step.model}-{which}.npz"))


def head(state: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of the last module."""
    last = max(int(name.split(".")[1]) for name in state)
    return {name: array for name, array in state.items() if name.startswith(f"model.{last}.")}


def load_model(args: argparse.Namespace, state: dict[str, Any]) -> Any:
    from trtnn.models import create

    model = create(args.step.model)
    model.load_state_dict(state)
    return model


def compiled(args: argparse.Namespace, state: dict[str, Any], folder: Path | None = None, **options: Any) -> Any:
    """Build an engine of these weights, with the timing cache in a folder."""
    import trtnn

    spec = trtnn.Input((args.step.batch, 3, args.size, args.size))
    given = {"optimization_level": args.level, "max_aux_streams": args.aux_streams, "progress": False, **args.targets}
    if not trtnn.get_backend().capabilities.targets:  # TensorRT-RTX measures nothing while it builds
        given["timing_cache"] = folder or args.out / "timing"
    return load_model(args, state).compile({"images": spec}, fp16=True, **given, **options)


def timed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - start, result


def result_of(call: Callable[[Any], Any], inputs: Any) -> Any:
    """Return what an engine, or its graph, gives: one array."""
    import numpy as np

    return np.array(call(inputs))


def difference(result: Any, expected: Any) -> float:
    """Return rms(difference) / rms(expected); infinite where a result is no number."""
    import numpy as np

    if not np.isfinite(result).all():
        return float("inf")
    return float(np.sqrt(np.square(result - expected, dtype=np.float64).mean() / np.square(expected).mean()))


def compared(result: Any, expected: Any) -> dict[str, Any]:
    return {"bit for bit": bool((result == expected).all()), "difference": difference(result, expected)}


def row(args: argparse.Namespace, name: str, value: Any) -> None:
    """Keep a figure of the step, and print it."""
    args.figures[name] = value
    shown = f"{value:.4g}" if isinstance(value, float) else value
    print(f"{args.step.kind} {args.step.model} {args.step.batch} | {name} | {shown}", flush=True)


def memory(args: argparse.Namespace, name: str) -> None:
    """Keep what the GPU has in use, whoever uses it, and what this process holds of the host for itself, in MiB.

    The latter is without the pages of files and what is shared, which grow as libraries are read.
    """
    free, total = gpu_memory() or (0, 0)
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    own = (resident - shared) * os.sysconf("SC_PAGESIZE")
    row(args, f"MiB of the GPU, of the host, {name}", [(total - free) >> 20, own >> 20])


# -- steps ------------------------------------------------------------------------------------------------------------


def step_weights(args: argparse.Namespace) -> None:
    import trtnn
    from benchmarks.twins.yolov5 import YOLOv5, well_scaled

    for which in range(2):
        twin = well_scaled(YOLOv5(args.step.model), 128, seed=which)
        state = {name: tensor for name, tensor in twin.state_dict().items() if "num_batches" not in name}
        trtnn.save(state, args.out / f"{args.step.model}-{which}.npz")


def step_cold(args: argparse.Namespace) -> None:
    state = weights(args, 0)
    for name, options in (("plain", {}), ("refittable", {"refittable": True})):
        folder = make_folder(args.out / f"cold-{args.step.model}-{args.step.batch}-{name}")
        for file in folder.iterdir():
            file.unlink()
        row(args, f"s to build the {name} engine cold", timed(compiled, args, state, folder, **options)[0])
        row(args, f"s to build the {name} engine warm", timed(compiled, args, state, folder, **options)[0])


def step_plain(args: argparse.Namespace, **options: Any) -> None:
    """The first build adds to the timing cache what is not there yet; the second is the one that finds it warm."""
    state, inputs = weights(args, 0), images(args)
    start = args.out / f"{args.step.model}-{args.step.batch}-{args.step.kind}"
    row(args, "s to build, whatever was measured before", timed(compiled, args, state, **options)[0])
    seconds, engine = timed(compiled, args, state, **options)
    row(args, "s to build with a warm timing cache", seconds)
    engine.save(f"{start}.engine")
    row(args, "plan MB", engine.plan.nbytes / 1e6)
    with engine:
        result_of(engine, inputs)
        engine.save_layer_info(f"{start}.layers.json")
        row(args, "layers", len(engine.layers()))
        with own_stream():
            row(args, "ms in a CUDA graph", milliseconds(engine.cuda_graph().bare(inputs)))
            row(args, "ms without one", milliseconds(engine.bare(inputs)))
        if args.aux_streams == 0:
            Path(f"{start}.txt").write_text(str(engine.timing(inputs)))


def step_marked(args: argparse.Namespace) -> None:
    step_plain(args, refittable=True)


def step_refit(args: argparse.Namespace) -> None:
    import trtnn

    inputs, states = images(args), [weights(args, which) for which in range(2)]
    heads, file = [head(state) for state in states], args.out / f"{args.step.model}-refitted.engine"
    expected = []
    for state in (*states, {**states[0], **heads[1]}):
        with compiled(args, state, refittable=True) as fresh:
            expected.append(result_of(fresh, inputs))
    row(args, "that far are the two sets of weights apart", difference(expected[1], expected[0]))
    row(args, "that far is the head alone", difference(expected[2], expected[0]))
    seconds, engine = timed(compiled, args, states[0], refittable=True)
    row(args, "s to build with a warm timing cache", seconds)
    with engine:
        row(args, "a second build beside the first", compared(result_of(engine, inputs), expected[0]))
        for number, which in enumerate((1, 0, 1, 0), 1):
            seconds, changed = timed(engine.refit, states[which])
            row(args, f"s to refit all weights, time {number}", seconds)
            row(args, f"arrays that changed, time {number}", len(changed))
            row(args, f"then beside a fresh build, time {number}", compared(result_of(engine, inputs), expected[which]))
        for number, which in enumerate((1, 0, 1), 1):
            seconds, changed = timed(engine.refit, heads[which])
            row(args, f"s to refit the head alone, time {number}", seconds)
            row(args, f"arrays of the head that changed, time {number}", len(changed))
        refitted = result_of(engine, inputs)
        row(args, "then beside a fresh build, the head alone", compared(refitted, expected[2]))
        engine.save(file)
    with trtnn.Engine.load(file) as again:
        row(args, "saved and loaded, beside that", compared(result_of(again, inputs), refitted))
        row(args, "s to refit what was loaded, by a model", timed(again.refit, load_model(args, states[1]))[0])
        row(args, "then beside a fresh build, loaded", compared(result_of(again, inputs), expected[1]))


def step_rebuild(args: argparse.Namespace) -> None:
    inputs, states = images(args), [weights(args, which) for which in range(2)]
    with compiled(args, states[1]) as fresh:
        new = result_of(fresh, inputs)
    with compiled(args, states[0]) as engine:
        old = result_of(engine, inputs)
        row(args, "that far are the two sets of weights apart", difference(new, old))
        row(args, "s of a refit by a second build", timed(engine.refit, states[1], rebuild=True)[0])
        row(args, "then beside a fresh build", compared(result_of(engine, inputs), new))
        for how, call, which in (("plain", engine, 0), ("in a CUDA graph", engine.cuda_graph(), 1)):
            watch(args, how, engine, lambda: result_of(call, inputs), states[which], ((new, old), (old, new))[which])  # noqa: B023
        memory(args, "at the end")


def watch(
    args: argparse.Namespace,
    how: str,
    engine: Any,
    call: Callable[[], Any],
    state: dict[str, Any],
    results: tuple[Any, Any],
) -> None:
    """Call an engine without a pause while it is built again in the background, and some times after.

    Args:
        args: of the step.
        how: it is called, for the rows.
        engine: it has the old weights.
        call: runs it.
        state: the new weights.
        results: those of the old weights, and of the new.
    """
    before = [timed(call)[0] for _ in range(2 * args.calls)][args.calls :]
    start = time.perf_counter()
    future = engine.refit(state, rebuild=True, background=True)
    row(args, f"{how}: s until refit returned", time.perf_counter() - start)
    meanwhile, after, wrong, are_new = [], [], 0, False
    while len(after) < args.calls:
        (after if future.done() else meanwhile).append(0.0)
        calls = after if after else meanwhile
        calls[-1], result = timed(call)
        near = [difference(result, expected) < TOLERANCE for expected in results]
        wrong += sum(near) != 1 or (near[0] and are_new)
        are_new = are_new or near[1]
        if len(after) == 1:
            row(args, f"{how}: s until the new weights ran", time.perf_counter() - start)
    future.result()
    row(args, f"{how}: calls meanwhile", len(meanwhile))
    row(args, f"{how}: wrong results", wrong)
    row(args, f"{how}: the last is of the new weights", near[1])
    for name, times in (("before", before), ("meanwhile", meanwhile or [0.0]), ("after", after)):
        row(args, f"{how}: ms of the longest call {name}", max(times) * 1e3)


def step_load(args: argparse.Namespace) -> None:
    """Threads call while the head is exchanged by turns; each result has to be of one of the two heads."""
    import trtnn

    state = weights(args, 0)
    model, heads = load_model(args, state), [head(state), head(weights(args, 1))]
    inputs = [images(args, seed) for seed in range(THREADS)]
    engine = trtnn.Engine.load(args.out / f"{args.step.model}-{args.step.batch}-marked.engine")

    def refit(which: int) -> None:
        model.load_state_dict(heads[which], strict=False)
        engine.refit(model)

    expected = []
    for which in (1, 0):
        refit(which)
        expected.append([result_of(engine, image) for image in inputs])
    apart = min(difference(expected[1][place], expected[0][place]) for place in range(THREADS))
    row(args, "that far are the two heads apart, at least", apart)
    stop, counts, wrong, errors = threading.Event(), [0] * THREADS, [0] * THREADS, []

    def call(place: int) -> None:
        try:
            run = engine.cuda_graph() if place % 2 else engine
            while not stop.is_set():
                result = result_of(run, inputs[place])
                wrong[place] += sum(difference(result, both[place]) < TOLERANCE for both in expected) != 1
                counts[place] += 1
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=call, args=(place,)) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    times = []
    try:
        while len(times) < args.refits_a_step and not errors:
            if len(times) % 20 == 0:
                memory(args, f"after {len(times)} refits")
            times.append(timed(refit, 1 - len(times) % 2)[0])
        memory(args, "after the last")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        engine.close()
    row(args, "refits", len(times))
    row(args, "s of the longest refit", max(times))
    row(args, "calls", sum(counts))
    row(args, "wrong results", sum(wrong))
    row(args, "errors", errors)


def own_stream() -> Any:
    from trtnn.engine.bench import _own_stream

    return _own_stream()


STEPS = {name.removeprefix("step_"): value for name, value in list(globals().items()) if name.startswith("step_")}


# -- the run ----------------------------------------------------------------------------------------------------------


def all_steps(args: argparse.Namespace) -> Iterator[Step]:
    for entry in args.model:
        model, _, listed = entry.partition(":")
        batches = [int(batch) for batch in (listed or "1").split(",")]
        yield Step("weights", model)
        if args.cold:
            yield Step("cold", model, batches[0])
        for batch in batches:
            yield Step("plain", model, batch)
            yield Step("marked", model, batch)
        yield Step("refit", model, batches[0])
        yield Step("rebuild", model, batches[0])
        yield from (Step("load", model, batches[0], part) for part in range(-(-args.refits // args.refits_a_step)))


def run_here(args: argparse.Namespace) -> None:
    """Run one step in this process, and keep what it found."""
    args.figures = {}
    STEPS[args.step.kind](args)
    args.figures["circumstances"] = circumstances()
    with atomic_write(args.out / args.step.result) as file:
        file.write(json.dumps(args.figures, indent=2).encode())


def unpack_timing(args: argparse.Namespace) -> None:
    """Begin with the timing cache that is packed, where no build has left one yet."""
    for packed in TIMING.glob("*.xz"):
        path = make_folder(args.out / "timing") / packed.stem
        if not path.exists():
            with atomic_write(path) as file:
                file.write(lzma.decompress(packed.read_bytes()))


def write_differences(args: argparse.Namespace) -> None:
    """Write the layers of plain and refittable engines side by side."""
    for plain in args.out.glob("*-plain.layers.json"):
        start = plain.name.removesuffix("-plain.layers.json")
        marked = args.out / f"{start}-marked.layers.json"
        if marked.exists():
            both = [list(map(layer_line, json.loads(file.read_text())["Layers"])) for file in (plain, marked)]
            lines = difflib.unified_diff(*both, "plain", "refittable", lineterm="", n=max(map(len, both)))
            (args.out / f"{start}-layers.diff").write_text("\n".join(lines) + "\n")


def layer_line(layer: Any) -> str:
    """Return what counts of a layer of the inspector's: its type, its outputs' formats, its tactic and its name."""
    if not isinstance(layer, dict):
        return str(layer)
    formats = ", ".join(str(output.get("Format/Datatype", "")) for output in layer.get("Outputs", ()))
    return f"{layer.get('LayerType', '')} | {formats} | {layer.get('TacticName', '')} | {layer.get('Name', '')}"


def table(args: argparse.Namespace) -> str:
    """Return the figures that there are in Markdown, and the refittable engine's share of the plain one's time."""
    lines, done = ["| step | figure | value |", "|---|---|---|"], {}
    for step in all_steps(args):
        file = args.out / step.result
        if not file.exists():
            lines.append(f"| {' '.join(map(str, step))} | not done | |")
            continue
        done[step] = json.loads(file.read_text())
        for name, value in done[step].items():
            if name != "circumstances":
                shown = f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
                lines.append(f"| {step.kind} {step.model} {step.batch} | {name} | {shown} |")
    for step, figures in done.items():
        marked = done.get(step._replace(kind="marked"))
        if step.kind == "plain" and marked:
            for key in ("ms in a CUDA graph", "ms without one"):
                share = f"{marked[key] / figures[key]:.3f}"
                lines.append(f"| {step.model} {step.batch} | refittable / plain, {key} | {share} |")
    loads = [figures for step, figures in done.items() if step.kind == "load"]
    if loads:
        sums = {name: sum(figures[name] for figures in loads) for name in ("refits", "calls", "wrong results")}
        lines.append(f"| load | all | {json.dumps(sums)} |")
    return "\n".join(lines)


def main() -> None:
    summary, _, examples = (__doc__ or "").partition("examples:")
    parser = argparse.ArgumentParser(
        description=summary, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of results")
    parser.add_argument("--model", nargs="+", default=["yolov5s:1,8"], metavar="NAME:BATCH,...", help="%(default)s")
    parser.add_argument("--steps", nargs="+", choices=[*STEPS], default=[*STEPS], help="only these (default: all)")
    parser.add_argument("--cold", action="store_true", help="measure cold builds too, which take minutes")
    parser.add_argument("--refits", type=int, default=1000, help="under load (default: %(default)s)")
    parser.add_argument("--level", type=int, default=1, help="optimisation level (default: %(default)s)")
    parser.add_argument("--aux-streams", type=int, default=1, help="0 to have the time of each layer as well")
    parser.add_argument("--size", type=int, default=640, help="pixels of a side (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1e6, help="begin nothing after so many; what runs is ended")
    parser.add_argument("--step", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.targets, args.refits_a_step, args.calls = {}, 100, 200
    args.out.mkdir(parents=True, exist_ok=True)
    if args.step:
        args.step = Step(*args.step)
        run_here(args)
        return
    unpack_timing(args)
    end = time.monotonic() + args.seconds
    for step in all_steps(args):
        left = end - time.monotonic()
        if (args.out / step.result).exists() or step.kind not in args.steps or left < 1:
            continue
        run_process(step, min(LIMITS[step.kind], left))
    write_differences(args)
    (args.out / "table.md").write_text(table(args) + "\n")
    print(table(args))


def run_process(step: Step, seconds: float) -> None:
    """Run a step in a new process, for so long at most."""
    command = [sys.executable, __file__, *sys.argv[1:], "--step", json.dumps(step)]
    try:
        if subprocess.run(command, check=False, timeout=seconds).returncode:
            print(f"{' '.join(map(str, step))} failed", flush=True)
    except subprocess.TimeoutExpired:
        print(f"{' '.join(map(str, step))} was ended after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
