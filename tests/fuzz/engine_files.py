"""Engine files that were damaged or forged, and what has to become of each; in a process of its own.

>>> python -m tests.fuzz.engine_files 1 1000     # a thousand files of seed 1

Damaged ones still have the digests of what was written: each is refused, or as good as the sound one. Forged ones have
digests that fit, or none over the description, as files of before: what they say is held against the plan, so that no
buffer is ever of another size than TensorRT's own. None takes more memory or time than a small file may.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import trtnn.engine.session
from tests.fuzz.mutations import ANY, EXTREMES, json_text
from tests.helpers import trace
from tests.standin import CudaEngine, Memory
from trtnn import Dim, Engine, Input, Network
from trtnn.build.describe import describe
from trtnn.digest import digest
from trtnn.engine.session import Session
from trtnn.errors import EngineError, TrtnnError
from trtnn.shapes.call import CallShapes, Shapes
from trtnn.shapes.symbolic import evaluate

MOST_SECONDS = 30  # of CPU, for one file
ROOM_BYTES = 64 * 2**20
PLAN = b"ftrt, and what a plan goes on with"
MARKED = {"trtnn_file": 2}

Description = dict[str, Any]
Change = Callable[[Random, Description], None]


# -- what is changed --------------------------------------------------------------------------------------------------


def networks() -> Iterator[Network]:
    """Yield one of static shapes and one of dynamic ones, in two profiles."""
    yield trace(lambda x, y: {"a": x * 2, "b": [y + 1, x.flatten(1)]}, (1, 3, 8, 8), Input((4,), "int32"))

    def of(batch: tuple[int, int, int], height: tuple[int, int, int]) -> Input:
        return Input((Dim("batch", *batch), 3, Dim("height", *height, multiple_of=8), 8))

    def forward(x: Any, y: Any) -> Any:
        return {"a": x[:, :, ::3], "b": [y + 1, x.flatten(1)], "c": x.reshape(x.shape[0] * 3, -1)}

    yield trace(forward, [of((1, 2, 4), (8, 16, 40)), of((1, 1, 1), (48, 64, 96))], Input((4,), "int32"))


def number(random: Random) -> Any:
    near = [0, 1, 2, 3, 4, 7, 8, 9, 16, 40]
    return random.choice([*near, *near, *EXTREMES, -1, 1.5, True, None, "1", float("nan")])


def length(random: Random, depth: int = 3) -> str:
    """Return the text of a length, mostly a sound one, of the dimensions that there are and one that is not."""
    if depth == 0 or random.random() < 0.3:
        return random.choice(["batch", "height", "height", "width", "3", "8", "1009", str(random.choice(EXTREMES))])
    left, right = length(random, depth - 1), length(random, depth - 1)
    by = random.choice([2, 3, 7, 8, 0])
    forms = [f"({left} + {right})", f"({left} - {right})", f"{left}*{right}", f"({left})//{by}", f"({left})%{by}"]
    forms += [f"min({left}, {right})", f"max({left}, 1)", f"-{left}", f"{left}**2", f"abs({left})"]
    return random.choice(forms) if random.random() < 0.9 else random.choice(LONG)(left)


LONG: list[Callable[[str], str]] = [
    lambda text: "*".join([f"({text} + batch)"] * 30),
    lambda text: "(" * 40 + text + "*7 + batch)//5" * 40,
    lambda text: "(" * 40 + text + "*3" + "".join(f"%{n} + height)" for n in range(997, 957, -1)),
    lambda text: "(" * 300 + text + ")" * 300,
    lambda text: "-" * 500 + text,
    lambda text: "+".join([text] * 200),
]


def a_table(random: Random, description: Description) -> dict[str, Any]:
    return description[random.choice(["inputs", "outputs"])]


def a_spec(random: Random, description: Description) -> dict[str, Any]:
    return random.choice(list(a_table(random, description).values()))


def change_length(random: Random, description: Description) -> None:
    shape = a_spec(random, description)["shape"]
    shape[random.randrange(len(shape))] = random.choice([number, length])(random)


def change_rank(random: Random, description: Description) -> None:
    shape, at = a_spec(random, description)["shape"], random.randrange(3)
    shape[at:at] = [random.choice([1, "batch", [1], "height"])] * random.choice([1, 1, 5, 100, 20_000])
    if random.random() < 0.3:
        del shape[: random.randrange(len(shape) + 1)]


def swap_lengths(random: Random, description: Description) -> None:
    random.shuffle(a_spec(random, description)["shape"])


def change_type(random: Random, description: Description) -> None:
    kinds = ["float16", "float32", "int8", "int64", "bool", "uint8", "bfloat16", "complex64", "", None, ["float32"]]
    a_spec(random, description)["dtype"] = random.choice(kinds)


def rename(random: Random, description: Description) -> None:
    """Give an input or output another name, everywhere it stands."""
    old = random.choice([*description["inputs"], *description["outputs"]])
    new = random.choice([*description["inputs"], *description["outputs"], "z", "", "\x1b[2J", "\ud800", "n" * 5000])
    for table in ("inputs", "outputs", "structure"):
        text = json.dumps(description[table]).replace(json.dumps(old), json.dumps(new))
        description[table] = json.loads(text)


def drop_or_add(random: Random, description: Description) -> None:
    table = a_table(random, description)
    if random.random() < 0.5:
        del table[random.choice(list(table))]
    else:
        spec = a_spec(random, description)
        table |= {f"more{i}": json.loads(json.dumps(spec)) for i in range(random.choice([1, 1, 3, 5000]))}


def exchange(random: Random, description: Description) -> None:
    """Exchange what two inputs or outputs are."""
    names = [(table, name) for table in ("inputs", "outputs") for name in description[table]]
    (t, a), (u, b) = random.choice(names), random.choice(names)
    description[t][a], description[u][b] = description[u][b], description[t][a]


def change_profile(random: Random, description: Description) -> None:
    profiles = description.setdefault("profiles", [{}])
    how = random.randrange(7)
    profile = random.choice(profiles)
    if how == 0:
        random.shuffle(profiles)
    elif how == 1:
        profiles.append(random.choice(profiles))
    elif how == 2:
        profiles.remove(profile)
    elif how == 3:
        profile["more"] = {"min": 1, "opt": 1, "max": 1, "multiple_of": 1}
    elif how == 4:
        profile |= {f"d{i}": {"min": 1, "opt": 1, "max": 1} for i in range(20_000)}
    elif profile:
        dim = random.choice(list(profile.values()))
        dim[random.choice(["min", "opt", "max", "multiple_of", "most"])] = number(random)


def change_field(random: Random, description: Description) -> None:
    name = random.choice(list(description))
    values = [
        "",
        "x",
        [],
        {},
        "1.0; ls",
        "\x1b[2J",
        [["sm90"]],
        {"tuple": ["a"]},
        {"dict": {"a": "b_0"}},
        number(random),
    ]
    description[name] = random.choice(values)


def drop_field(random: Random, description: Description) -> None:
    del description[random.choice(list(description))]


def much(random: Random, description: Description) -> None:
    """Add metadata that are large, deep or odd."""
    deep: Any = 0
    for _ in range(random.choice([50, 300, 900])):
        deep = random.choice([[deep], {"a": deep}])
    choices = [[[]] * 90_000, [{}] * 110_000, [{"a": 0}] * 40_000, "\U0001f600" * 100_000, "\ud800", "\x9b", deep]
    description["more"] = random.choice(choices)


CHANGES: list[Change] = [
    *[change_length, change_length, change_length, swap_lengths, change_rank, change_type, exchange, rename],
    *[drop_or_add, change_profile, change_profile, change_profile, change_field, drop_field, much],
]


def signed(text: bytes) -> bytes:
    """Return the text of a description with the digest that fits."""
    return text[:-1] + f', "description_digest": "{digest(text[:-1])}"}}'.encode()


def file_of(text: bytes) -> bytes:
    return struct.pack("<i", len(text)) + text + PLAN


def forged(random: Random, description: Description) -> bytes:
    """Return a file whose description was changed, with a digest that fits it or as of before there was one."""
    own = json.loads(json.dumps(description))
    try:
        for change in random.choices(CHANGES, k=random.choice([1, 1, 1, 2, 3])):
            change(random, own)
    except (AttributeError, IndexError, KeyError, TypeError):
        pass  # the last one found no place left
    text = json.dumps(own)
    if len(text) < 10_000 and random.random() < 0.3:
        with contextlib.suppress(RecursionError):  # of what is deep already
            text = json_text(random, text)
    if random.random() < 0.5:
        return file_of(text.encode("utf-8", "surrogatepass"))
    return file_of(signed(json.dumps(MARKED)[:-1].encode() + b", " + text.encode("utf-8", "surrogatepass")[1:]))


def damaged(random: Random, content: bytes) -> bytes:
    for mutation in random.choices(ANY, k=random.choice([1, 1, 1, 2, 3])):
        content = mutation(random, content) or b"\0"
    return content


# -- what becomes of it -----------------------------------------------------------------------------------------------


class NotingMemory(Memory):
    """A device's memory that notes how much of each type it was asked for, and takes little."""

    def __init__(self) -> None:
        super().__init__([], {})
        self.asked: list[tuple[int, str]] = []

    def empty(self, spec: Input) -> np.ndarray:
        self.asked.append((spec.shape[0], spec.dtype.name))
        return np.empty(spec.shape[0], np.bool_)

    pinned = empty


def calls(shapes: Shapes) -> Iterator[CallShapes]:
    """Yield the shapes of a call at each end of each profile, and at lengths between."""
    for profile in shapes.profiles or ({},):
        for place in (0, 1, 0.4):
            steps = {n: round(place * (d.max - d.min) / d.multiple_of) * d.multiple_of for n, d in profile.items()}
            lengths = {name: dim.min + steps[name] for name, dim in profile.items()}
            arrays = {
                name: np.broadcast_to(np.float32(0), tuple(evaluate(n, lengths) for n in spec.shape))
                for name, spec in shapes.inputs.items()
            }
            yield shapes.of_call(arrays)


def asked_for(memory: NotingMemory, engine: Engine, true: Shapes) -> list[tuple[int, str]]:
    """Return the buffers that calls of an engine ask for; the plan is that of ``true``.

    Raises:
        EngineError: the description is not that of the plan.
    """
    trtnn.engine.session.device_memory = lambda: memory
    session = Session(CudaEngine(true).backend(), engine.plan, engine._described())
    for shapes in calls(engine._described()):
        worker = session.worker(shapes.profile)
        worker._settle(shapes)
        worker._own_buffers(shapes)
    return memory.asked


class TooMuch(BaseException):
    """Nothing that reads files catches it."""


def too_long(*_: object) -> None:
    raise TooMuch(f"it takes more than {MOST_SECONDS} s")


def use(path: Path, sound: Engine) -> str:
    """Read a file, and call what it gives; return what became of it."""
    engine = Engine.load(path)
    assert repr(engine).isprintable()
    if not engine.description:
        return "a bare plan"
    if engine._shapes is None:
        return "another tool's"
    engine.check_plan()
    assert bytes(engine.plan) == PLAN
    memory = NotingMemory()
    try:
        found = asked_for(memory, engine, sound._described())
    except TrtnnError:
        found = memory.asked
        expected = asked_for(NotingMemory(), sound, sound._described())
        assert found == expected[: len(found)], f"asked for {found} before it was refused"
        raise
    assert found == asked_for(NotingMemory(), sound, sound._described()), f"asked for {found}"
    return "the same" if engine.description == sound.description else "as good"


def fuzz(folder: Path, seed: int, count: int) -> dict[str, Any]:
    """Make and use files, and return what became of how many, and what must not have."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    sounds = []
    for network in networks():
        described = describe(network.graph, ("sm90",), {"model": "net", "names": ["cat", "dog"]}, PLAN)
        sounds.append(Engine(PLAN, described))
    contents = [sound.save(folder / "sound.engine").read_bytes() for sound in sounds]
    path = folder / "made.engine"
    signal.signal(signal.SIGVTALRM, too_long)
    before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for index in range(count):
        random = Random(f"{seed} {index}")
        sound, content = sounds[index % 2], contents[index % 2]
        is_damaged = random.random() < 0.3
        made = damaged(random, content) if is_damaged else forged(random, sound.description)
        path.write_bytes(made)
        resource.setrlimit(resource.RLIMIT_AS, (before + 4 * len(made) + 2 * ROOM_BYTES, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
        try:
            what = use(path, sound)
            if is_damaged and what not in ("the same", "a bare plan"):
                raise AssertionError(f"damaged, and {what}")
        except EngineError as error:
            what = "refused"
            if not all(map(str.isprintable, str(error).split("\n"))):
                faults.append(f"{seed} {index}: a message that cannot be shown: {str(error)[:300]!r}")
        except BaseException as error:
            what = "fault"
            faults.append(f"{seed} {index}: {type(error).__name__}: {error!s:.300}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        counts[f"{'damaged' if is_damaged else 'forged'}: {what}"] += 1
    return {"counts": dict(counts), "faults": faults}


def main(seed: str, count: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(fuzz(Path(folder), int(seed), int(count))))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main(*sys.argv[1:])
