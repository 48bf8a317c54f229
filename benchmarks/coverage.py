"""Which models of torchvision, timm, transformers and diffusers `trtnn.from_torch` converts, with random weights.

Each model runs on the CPU in a process of its own: it is made, its constant initialisations made random so that nothing
hides behind them, converted, compared with torch on its example and on a second input, and with `--build` built by
TensorRT-RTX in fp32 and fp16. Results go to a file of JSON lines as they come, so that a run that was stopped goes on;
`--report` writes the table.

examples:
  python benchmarks/coverage.py --build                    # all, the small ones first
  python benchmarks/coverage.py timm --most 400            # of each of timm's files the small variants first
  python benchmarks/coverage.py --again wrong failed
  python benchmarks/coverage.py --report docs/coverage.md
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import multiprocessing
import platform
import random
import re
import resource
import subprocess
import sys
import textwrap
import time
import warnings
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # for the models, benchmarks/zoo

from benchmarks import zoo

RESULTS = Path("build/coverage.jsonl")
TIMEOUT_S = 240
MEMORY_GIB = 12
_TOLD = 10  # times the difference: by less an output must not change with the input, or the comparison tells nothing
_ROUNDING = 1e-7  # of an output's largest magnitude: what fp32 leaves of equal results
_MOST_TOLD = 4000  # characters of an error
PRECISIONS = ("fp32", "fp16")
OUTCOMES = ("equal", "wrong", "unclear", "refused", "failed")


# -- one model --------------------------------------------------------------------------------------------------------


def convert(name: str, build_most: float | None) -> dict[str, Any]:
    """Convert one model; return what came of it.

    Args:
        name: the model's, with its source in front.
        build_most: how many parameters a model may have to be built as well; None builds none.

    A model whose comparison tells nothing is made once more, with settled statistics.
    """
    row = _convert(name, build_most, settled=False)
    return _convert(name, build_most, settled=True) if row["outcome"] == "unclear" else row


def _convert(name: str, build_most: float | None, settled: bool) -> dict[str, Any]:
    import torch

    from trtnn.errors import TrtnnError, UnsupportedError, VerificationError
    from trtnn.from_torch.convert import Conversion

    torch.set_num_threads(1)
    row: dict[str, Any] = {"model": name, "settled": settled}
    try:
        model, args, kwargs = zoo.make(name, settled)
        row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    except Exception as error:
        return {**row, "outcome": "not made", "why": f"{type(error).__name__}: {error}"[:500]}
    try:
        begun = time.perf_counter()
        conversion = Conversion(model, args, kwargs)
        converted = conversion.trial()
        row["seconds"] = round(time.perf_counter() - begun, 2)
        row["lines"] = conversion.source.text.count("\n")
        row["classes"] = len(conversion.source.classes)
        assert conversion.network is not None  # it was tried
        row["layers"] = len(conversion.network.graph.layer_paths)
        row["difference"] = conversion.verify()
        row.update(told(conversion))
        if build_most is not None and row["parameters"] <= build_most:
            row.update(built(converted))
    except VerificationError as error:
        unclear = "nothing can be compared" in str(error)
        row.update(outcome="unclear" if unclear else "wrong", why=str(error)[:_MOST_TOLD])
    except UnsupportedError as error:
        row.update(outcome="refused", why=str(error)[:_MOST_TOLD])
    except TrtnnError as error:
        row.update(outcome="refused", why=f"{type(error).__name__}: {error}"[:_MOST_TOLD])
    except Exception as error:
        row.update(outcome="failed", why=f"{type(error).__name__}: {error}"[:_MOST_TOLD])
    if "allocate memory" in row.get("why", ""):
        row["outcome"] = "failed"
    return row


def told(conversion: Any) -> dict[str, Any]:
    """Return whether a comparison that found no difference tells anything: outputs have to depend on the input.

    An output that is the same for both inputs, such as the places of anchors, may be so by the model's design; where
    all are, or change by hardly more than the two differ, the outcome is ``unclear``.
    """
    from trtnn.from_torch.verify import outputs_of

    second = conversion.call(conversion.second)
    pairs = zip(outputs_of(conversion.result), outputs_of(second), strict=True)
    changes = [changed(one, other) for (_, one), (_, other) in pairs]
    least = max(_ROUNDING, conversion.difference) * _TOLD
    row = {"change": max(changes, default=0.0), "outputs": len(changes), "still": sum(c <= least for c in changes)}
    if row["still"] == row["outputs"]:
        why = f"no output changes with the input by more than {row['change']:.1e} of its largest magnitude"
        return {**row, "outcome": "unclear", "why": why}
    return {**row, "outcome": "equal"}


def changed(one: Any, other: Any) -> float:
    """Return by how much two outputs of one name differ, in parts of the largest magnitude of a number in the first."""
    one, other = one.detach().double().flatten(), other.detach().double().flatten()
    both = one.isfinite() & other.isfinite()
    if not bool(both.any()):
        return 0.0
    one, other = one[both], other[both]
    return float((one - other).abs().max() / max(float(one.abs().max()), 1e-12))


def built(model: Any) -> dict[str, Any]:
    """Build an engine in each precision; return what came of each, and the seconds."""
    row: dict[str, Any] = {}
    for precision in PRECISIONS:
        begun = time.perf_counter()
        try:
            model.trace(fp16=precision == "fp16").build(targets=("sm86",), optimization_level=0)
            row[precision] = "built"
        except Exception as error:
            row[precision] = f"{type(error).__name__}: {error}"[:300]
        row[f"{precision}_seconds"] = round(time.perf_counter() - begun, 2)
    return row


# -- all of them ------------------------------------------------------------------------------------------------------


def run(wanted: list[str], results: Path, options: argparse.Namespace) -> None:
    """Run models one after another, each in its own process, and write a line for each as it ends."""
    for module in ("convert", "verify"):  # a file that is edited meanwhile is none of this run's
        importlib.import_module(f"trtnn.from_torch.{module}")
    importlib.import_module("trtnn.reference")
    importlib.import_module("trtnn.build.build")
    for source in {name.partition(":")[0] for name in wanted} & set(zoo.SOURCES):
        zoo.load(source)
    commit = version()
    results.parent.mkdir(parents=True, exist_ok=True)
    processes = multiprocessing.get_context("fork")  # what was imported here is there
    for number, name in enumerate(wanted, 1):
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=_send, args=(theirs, name, options))
        begun = time.perf_counter()
        process.start()
        theirs.close()
        row: dict[str, Any] = {"outcome": "failed", "why": f"took more than {options.timeout:.0f} s"}
        if ours.poll(options.timeout):
            try:
                row = ours.recv()
            except EOFError:
                row["why"] = f"the process ended, perhaps for lack of memory, of which it had {options.memory} GiB"
        process.kill()
        process.join()
        took = round(time.perf_counter() - begun, 1)
        now = datetime.now(timezone.utc).isoformat(timespec="minutes")
        row = {"model": name, **row, "wall": took, "commit": commit, "date": now}
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        why = row.get("why", "").replace("\n", " ")[:150]
        builds = " ".join(f"{p}={row[p][:60]!r}" for p in PRECISIONS if p in row)
        print(f"{number}/{len(wanted)} {name}: {row['outcome']} {row.get('difference', '')} {builds} {why}", flush=True)


def _send(connection: Any, name: str, options: argparse.Namespace) -> None:
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    connection.send(convert(name, options.build_most * 1e6 if options.build else None))


def version() -> str:
    """Return the commit that runs, with a plus where files are not as they are in it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD") or "unknown"
    return f"{commit}+" if git("status", "--porcelain", "--untracked-files=no", "trtnn", "benchmarks") else commit


def read(results: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each model."""
    if not results.exists():
        return {}
    rows = map(json.loads, results.read_text().splitlines())
    return {row["model"]: row for row in rows}


def wanted_of(options: argparse.Namespace, rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the names of the models to run: of each source those without a result, or with one that is run again."""
    found: list[str] = []
    for source in options.sources:
        if source not in zoo.SOURCES:
            found.append(source)
            continue
        mine = zoo.names(source)
        if source == "timm" and options.most:
            from benchmarks.zoo.timm_models import chosen, size

            mine = [f"timm:{name}" for name in sorted(chosen(options.most, options.seed), key=size)]
        elif options.most:
            mine = random.Random(options.seed).sample(sorted(mine), min(options.most, len(mine)))
        found += [name for name in mine if name not in rows or rows[name]["outcome"] in options.again]
    return found


# -- the table --------------------------------------------------------------------------------------------------------


def report(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    made = {name: row for name, row in sorted(rows.items()) if row["outcome"] != "not made"}
    parts = [_head(made), _summary(made), _reasons(made), _builds(made), _table(made)]
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(made: dict[str, dict[str, Any]]) -> list[str]:
    versions = []
    for package in ("torch", "torchvision", "timm", "transformers", "diffusers", "tensorrt_rtx_cu13", "trtnn"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    dates = sorted(row["date"][:10] for row in made.values() if "date" in row)
    days = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "undated"
    commits = Counter(row.get("commit", "unknown") for row in made.values())
    return [
        "# What `from_torch` converts",
        "",
        *textwrap.wrap(
            f"{days}, {', '.join(versions)}, Python {platform.python_version()}. Written by "
            "`python benchmarks/coverage.py --report`, of rows from "
            f"{', '.join(f'{commit} ({count})' for commit, count in commits.most_common())}; a plus "
            "is for changes that were no commit yet.",
            118,
        ),
        "",
        *textwrap.wrap(
            "Weights are random, also where initialisation leaves zeros and ones, and so are BatchNorms' statistics; "
            f"of {sum(row.get('settled', False) for row in made.values())} models, of which the comparison else told "
            "nothing, they are those of a few examples. Models of transformers and diffusers have small configurations "
            "(`benchmarks/zoo`). Of timm's architectures there are some of each file: first those that are small by "
            "their names; the seed is 0. Detectors pick boxes by their scores, which no network does; their backbones "
            "are listed beside the whole.",
            118,
        ),
        "",
        "- `equal`: every output is within 1e-3 of its largest magnitude on the example and on a second input, or",
        "  within ten times what torch's own fp32 differs from its fp64, and outputs do change with the input.",
        "- `wrong`: it is not, and nothing said so before the comparison.",
        "- `unclear`: torch's own fp32 is off its fp64 by a hundredth, or no output changes with the input, so that",
        "  nothing can be compared.",
        "- `refused`: an error says why; `failed`: anything else, such as the time limit.",
        "",
    ]


def _summary(made: dict[str, dict[str, Any]]) -> list[str]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in made.items():
        source, _, short = name.partition(":")
        whole = short.startswith("detection.") and not short.endswith(".backbone")
        groups.setdefault(f"{source}, whole detectors" if whole else source, []).append(row)
    text = [
        "| source | models | equal | wrong | unclear | refused | failed | fp32 built | fp16 built |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group, those in sorted(groups.items()):
        outcomes = Counter(row["outcome"] for row in those)
        cells = [group, str(len(those)), f"{outcomes['equal']} ({outcomes['equal'] / len(those):.1%})"]
        cells += [str(outcomes[outcome]) for outcome in OUTCOMES[1:]]
        for precision in PRECISIONS:
            tried = [row[precision] == "built" for row in those if precision in row]
            cells.append(f"{sum(tried)} of {len(tried)}" if tried else "")
        text.append(f"| {' | '.join(cells)} |")
    sizes: dict[str, float] = {}
    for name, row in made.items():
        if any(precision in row for precision in PRECISIONS):
            source = name.partition(":")[0]
            sizes[source] = max(sizes.get(source, 0), row["parameters"] / 1e6)
    limits = ", ".join(f"{size:.3g} million of {source}" for source, size in sorted(sizes.items()))
    return [*text, "", *([f"Built were models of up to so many parameters: {limits}.", ""] if limits else [])]


def _reasons(made: dict[str, dict[str, Any]]) -> list[str]:
    text = ["## What is not converted", ""]
    for name, row in made.items():
        if row["outcome"] != "equal":
            text.append(f"- `{name}`: {row['outcome']}: {_shortened(row.get('why', ''))}")
    return [*text, ""]


def _shortened(why: str) -> str:
    """Return what an error says first, and which parts can be converted; without lines of files of who ran it."""
    lines = [line.strip() for line in why.splitlines() if line.strip() and not re.match(r"\s*/\S+:\d+", line)]
    parts = [line for line in lines if line.startswith("parts without it")]
    said = "; ".join(line for line in lines if line not in parts)
    return "; ".join([said if len(said) <= 240 else f"{said[:240].rstrip()} …", *parts])


def _builds(made: dict[str, dict[str, Any]]) -> list[str]:
    text = []
    for name, row in made.items():
        for why in dict.fromkeys(row[p] for p in PRECISIONS if row.get(p, "built") != "built"):
            in_which = " and ".join(precision for precision in PRECISIONS if row.get(precision) == why)
            text.append(f"- `{name}` in {in_which}: {' '.join(why.split())[:240]}")
    return ["## What is not built", "", *text, ""] if text else []


def _table(made: dict[str, dict[str, Any]]) -> list[str]:
    text = [
        "## Models",
        "",
        "Parameters in millions; lines and classes of the source, layers of its network; the difference from torch, in",
        "parts of an output's largest magnitude; how many outputs do not change with the input, where there are such;",
        "seconds of one CPU core to convert, without the comparison, and to build with optimisation level 0 for sm86.",
        "",
        "| model | M | lines | classes | layers | difference | unchanged | s | fp32 s | fp16 s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in made.items():
        if row["outcome"] != "equal":
            continue
        still = f"{row['still']} of {row['outputs']}" if row.get("still") else ""
        cells = [name, f"{row['parameters'] / 1e6:.3g}", row["lines"], row["classes"], row["layers"]]
        cells += [f"{row['difference']:.0e}", still, row["seconds"]]
        for precision in PRECISIONS:
            done = row.get(precision)
            cells.append(row[f"{precision}_seconds"] if done == "built" else "no" if done else "")
        text.append(f"| {' | '.join(map(str, cells))} |")
    return text


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", default=zoo.SOURCES, help=f"{', '.join(zoo.SOURCES)}, or model names")
    parser.add_argument("--most", type=int, help="how many of each source, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", action="store_true", help="build engines in fp32 and fp16 as well")
    parser.add_argument("--build-most", type=float, default=1000, help="of models up to so many million parameters")
    parser.add_argument("--again", nargs="*", default=[], help="run what came out so once more")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for a model")
    parser.add_argument("--memory", type=float, default=MEMORY_GIB, help="GiB for a model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", type=Path, help="write the table, and run nothing")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = read(options.results)
    if options.report:
        options.report.write_text(report(rows))
    else:
        run(wanted_of(options, rows), options.results, options)


if __name__ == "__main__":
    main()
