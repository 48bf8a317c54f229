"""Reading hostile files in a process of its own, which has little memory and says when something runs.

>>> python -m tests.fuzz.confined fuzz seed.pt 1 1000     # a thousand mutations of a sound file
>>> python -m tests.fuzz.confined generate .pt 1 1000     # a thousand made-up files of a format, see tests/fuzz
>>> python -m tests.fuzz.confined read FOLDER             # every file in a folder

It prints one JSON object: how many files were loaded and refused, what went wrong, and the longest time. Each file may
take 64 MiB beside three times its own size, or that of what was honestly in it, and 30 s of the CPU: so much that no
slow machine is taken for a file without a bound, which takes hours.
"""

from __future__ import annotations

import codecs
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np

from tests import ROOT
from tests.fuzz.checkpoints import GENERATORS
from tests.fuzz.mutations import MUTATIONS
from trtnn import Engine
from trtnn.checkpoint import load
from trtnn.errors import CheckpointError, EngineError

MOST_SECONDS = 30  # of the CPU
MOST_TIMES, ALWAYS_BYTES = 3, 64 * 2**20
ROOM_BYTES = 600 * 2**20  # what reading one small file may take
# what Python's own reader of a harmful pickle, or an import of what it names, cannot do without
FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.", "pty."),
    *("pickle.find_class", "marshal.", "exec", "import", "ctypes.", "code.", "builtins.input", "webbrowser."),
    *("socket.", "urllib.", "ftplib.", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.putenv", "os.chmod"),
    *("shutil.", "os.kill", "signal.", "sys.settrace", "sys.setprofile"),
)


def confined(*arguments: object) -> dict:
    """Run this module in a process of its own and return what it says, which a process that died could not."""
    command = [sys.executable, "-m", "tests.fuzz.confined", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
    return json.loads(done.stdout)


# what Python imports when it is first needed, and what a file may therefore bring about
for _lazy in ("cp437", "raw_unicode_escape", "unicode_escape", "ascii", "latin-1"):
    codecs.lookup(_lazy)
__import__("unicodedata")


class Watch:
    """Notes what Python's audit events tell while a file is read."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.on and event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.200}")
        if self.on and event == "open" and arguments[1] not in ("r", "rb", None):
            self.seen.append(f"open {arguments!r:.200}")


def memory_bytes(key: str) -> int:
    """Return what this process has of memory (VmRSS), or had at most (VmHWM); getrusage would count the parent's."""
    status = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def forget_peak() -> None:
    """Let VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def use(path: Path) -> int:
    """Read a file, touch all that it gives, and return how many bytes that is."""
    if path.suffix == ".engine":
        engine = Engine.load(path)
        repr(engine)
        engine.check_plan()
        return engine.plan.nbytes
    state_dict = load(path)
    for name, array in state_dict.items():
        assert isinstance(name, str)
        assert name.isprintable()
        assert type(array) is np.ndarray
        assert array.flags.c_contiguous
        array.sum() if array.dtype.kind == "f" else array.max(initial=0)
    json.dumps(state_dict.metadata, allow_nan=False).encode()
    claimed = sum(array.nbytes for array in state_dict.values())
    assert claimed <= 40 * path.stat().st_size + 2**27, f"{claimed:,} bytes out of {path.stat().st_size:,}"
    return claimed


class TooLong(BaseException):
    """Nothing that reads files catches it."""


def too_long(*_: object) -> None:
    raise TooLong(f"it takes more than {MOST_SECONDS} s")


class Record:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.longest = (0.0, "")
        self.peak_bytes = 0
        self.watch = Watch()
        signal.signal(signal.SIGVTALRM, too_long)

    def read(self, path: Path, what: str) -> None:
        honest_bytes = path.stat().st_size
        forget_peak()
        before_bytes = memory_bytes("VmRSS")
        start = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
        self.watch.on = True
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                honest_bytes = max(honest_bytes, use(path))
            self.counts["loaded"] += 1
        except (CheckpointError, EngineError) as error:
            self.counts["refused"] += 1
            if len(error.summary) > 2000 or not all(map(str.isprintable, str(error).split("\n"))):
                self.faults.append(f"{what}: a message that cannot be shown: {str(error)[:300]!r}")
        except BaseException as error:
            self.faults.append(f"{what}: {type(error).__name__}: {error!s:.300}")
        finally:
            self.watch.on = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        self.faults += [f"{what}: {event}" for event in self.watch.seen]
        self.watch.seen.clear()
        took_bytes = memory_bytes("VmHWM") - before_bytes
        if took_bytes > MOST_TIMES * honest_bytes + ALWAYS_BYTES:
            self.faults.append(f"{what}: it takes {took_bytes:,} bytes of memory, and has {honest_bytes:,}")
        self.peak_bytes = max(self.peak_bytes, memory_bytes("VmHWM"))
        self.longest = max(self.longest, (time.process_time() - start, what))


def confine() -> None:
    """Leave this process so much memory as it has and a little more."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM_BYTES, now + ROOM_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def fuzz(record: Record, sound: Path, seed: int, count: int) -> None:
    content = sound.read_bytes()
    mutations = MUTATIONS[sound.suffix]
    path = sound.with_name(f"mutated{sound.suffix}")
    for index in range(count):
        random = Random(f"{sound.name} {seed} {index}")
        changed = content
        for mutation in random.choices(mutations, k=random.choice([1, 1, 1, 2, 3])):
            try:
                changed = mutation(random, changed) or b"\0"
            except Exception:
                continue  # what was there is too damaged for this one
        path.write_bytes(changed)
        record.read(path, f"{sound.name} {seed} {index}")
        record.counts["different"] += changed != content


def generate(record: Record, suffix: str, seed: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            path = Path(folder, f"made{suffix}")
            for name, content in GENERATORS[suffix](Random(f"{suffix} {seed} {index}")).items():
                path.with_name(name or path.name).write_bytes(content)
            record.read(path, f"{suffix} {seed} {index}")


def main(mode: str, *arguments: str) -> None:
    record = Record()
    confine()
    warnings.simplefilter("ignore")  # zipfile's, of doubled names, when the files are made
    if mode == "fuzz":
        fuzz(record, Path(arguments[0]), int(arguments[1]), int(arguments[2]))
    elif mode == "generate":
        generate(record, arguments[0], int(arguments[1]), int(arguments[2]))
    else:
        for path in sorted(Path(arguments[0]).iterdir()):
            record.read(path, path.name)
    found = {"faults": record.faults, "longest": record.longest, "peak_bytes": record.peak_bytes}
    print(json.dumps({**record.counts, **found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
