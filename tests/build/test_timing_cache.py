"""The timing cache's file: merged, kept apart by version and GPU, damaged, refused.

TensorRT measures only where there is a GPU (see tests/gpu/test_caches.py); here a stand-in holds what was measured.
"""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

import trtnn.build.build
import trtnn.build.timing_cache
import trtnn.files
from tests import ROOT
from tests.helpers import ONE_TARGET, message_of, trace
from tests.quantization.networks import detector, images, quantize
from trtnn import BuildConfig, get_backend
from trtnn.build.pinning import NO_PINS, HalfLayer, Pins
from trtnn.build.timing_cache import timing_cache, timing_cache_file
from trtnn.errors import ArgumentError, BackendError, BuildError
from trtnn.files import CACHE_ENVIRONMENT, locked


class Measured:
    """Stands for an ITimingCache: a set of lines."""

    def __init__(self, data=b""):
        self.lines = set(data.split())

    def serialize(self):
        return memoryview(b"\n".join(sorted(self.lines)))

    def combine(self, other, ignore_mismatch):
        assert ignore_mismatch is False
        self.lines |= other.lines
        return True


class Settings:
    """Stands for an IBuilderConfig; it refuses the timing caches that hold ``refused``, and any after the first."""

    def __init__(self, refused=None):
        self.refused, self.parsed, self.cache = refused, [], None

    def create_timing_cache(self, data):
        self.parsed.append(data)
        return Measured(data)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        if self.refused in cache.lines or self.cache is not None:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


@pytest.fixture
def path(tmp_path):
    return tmp_path / "timing.cache"


def measure(path, *lines, settings=None):
    """Build with the timing cache, measuring what is not known; return what was known."""
    settings = settings or Settings()
    with timing_cache(settings, path):
        known = set(settings.cache.lines)
        settings.cache.lines |= set(lines)
    return known


def test_what_was_measured_is_known_to_the_next(path):
    assert measure(path, b"conv1", b"conv2") == set()
    assert measure(path, b"conv3") == {b"conv1", b"conv2"}
    assert measure(path) == {b"conv1", b"conv2", b"conv3"}


def test_what_others_measured_meanwhile_is_merged(path):
    measure(path, b"old")
    settings = Settings()
    with timing_cache(settings, path):
        assert measure(path, b"theirs") == {b"old"}
        settings.cache.lines.add(b"ours")
    assert measure(path) == {b"old", b"ours", b"theirs"}


def test_nothing_new_is_not_written(path):
    measure(path, b"conv")
    before = path.stat()
    measure(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_failed_build_adds_nothing(path):
    with pytest.raises(KeyboardInterrupt), timing_cache(Settings(), path):
        raise KeyboardInterrupt
    assert not path.exists()


MEASURER = """
import sys
from pathlib import Path
from tests.build.test_timing_cache import measure
print("ready", flush=True)
sys.stdin.readline()
for step in range(20):
    measure(Path(sys.argv[1]), f"{sys.argv[2]}.{step}".encode())
"""


def test_processes_at_once_lose_nothing(path):
    command = [sys.executable, "-c", MEASURER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*command, name], cwd=ROOT, **pipes) for name in "ab"]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.communicate("\n")
        assert child.returncode == 0
    assert measure(path) == {f"{name}.{step}".encode() for name in "ab" for step in range(20)}
    assert sorted(file.name for file in path.parent.iterdir()) == ["timing.cache", "timing.cache.lock"]


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"garbage",
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data[:-1] + b"!",
        lambda data: data.replace(b"cache 1", b"cache 2"),
        lambda data: data[len(data) - len(b"conv1\nconv2") :],
    ],
    ids=["empty", "garbage", "short", "long", "changed", "newer", "bare"],
)
def test_a_damaged_file_is_replaced_and_never_shown_to_tensorrt(path, damage):
    measure(path, b"conv1", b"conv2")
    path.write_bytes(damage(path.read_bytes()))
    settings = Settings()
    with pytest.warns(UserWarning, match=f"the timing cache {path} is damaged and is replaced"):
        assert measure(path, b"conv3", settings=settings) == set()
    assert settings.parsed == [b""]
    assert measure(path) == {b"conv3"}


def test_one_that_tensorrt_refuses_is_replaced(path):
    measure(path, b"from-another-gpu")
    with pytest.warns(UserWarning, match=f"TensorRT does not accept the timing cache {path}; it is replaced"):
        assert measure(path, b"conv", settings=Settings(refused=b"from-another-gpu")) == set()
    assert measure(path) == {b"conv"}


def test_where_tensorrt_takes_none_the_file_stays_without_a_word(path, recwarn):
    measure(path, b"conv")
    settings = Settings()
    settings.set_timing_cache(settings.create_timing_cache(b""), False)  # it refuses a second
    with timing_cache(settings, path):
        pass
    assert [str(warning.message) for warning in recwarn] == []
    assert measure(path) == {b"conv"}


def test_one_that_tensorrt_cannot_read_is_replaced(path):
    measure(path, b"old")
    settings = Settings()
    create = settings.create_timing_cache
    settings.create_timing_cache = lambda data: create(data) if not data else None
    with pytest.warns(UserWarning, match="TensorRT does not accept the timing cache"):
        measure(path, b"new", settings=settings)
    assert measure(path) == {b"new"}


def test_a_folder_in_place_of_the_file_costs_no_engine(path):
    path.mkdir()
    with pytest.warns(UserWarning, match=f"the timing cache {path} cannot be read: Is a directory"):  # noqa: SIM117
        with pytest.warns(UserWarning, match=f"the timing cache was not kept: cannot write {path}: it is a folder"):
            measure(path, b"conv")


def test_a_lock_is_waited_for(path, capsys):
    with locked(path):
        assert path.with_name("timing.cache.lock").exists()
        code = f"from trtnn.files import locked\nwith locked({str(path)!r}, 'waiting'): print('in')"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)
        assert child.stderr.readline() == "waiting\n"
        assert child.poll() is None
    assert child.communicate()[0] == "in\n"


# -- which file -------------------------------------------------------------------------------------------------------


def test_versions_and_gpus_have_files_of_their_own(monkeypatch, tmp_path):
    def file(name="tensorrt", version="8.6.0", gpu="sm90", model="NVIDIA H100 80GB HBM3"):
        monkeypatch.setattr(trtnn.build.timing_cache, "gpus", lambda: (gpu, "sm75"))
        monkeypatch.setattr(trtnn.build.timing_cache, "gpu_name", lambda: model)
        return timing_cache_file(tmp_path, SimpleNamespace(name=name, version=version))

    assert file() == tmp_path / "timing-tensorrt-8.6.0-sm90-NVIDIA_H100_80GB_HBM3.cache"
    assert len({file(), file("other"), file(version="10.13.0"), file(gpu="sm89"), file(model="NVIDIA H200")}) == 5


@pytest.fixture
def measuring():
    """Stands for a TensorRT that measures on its own GPU."""
    return SimpleNamespace(name="tensorrt", version="8.6.0", capabilities=SimpleNamespace(targets=False))


def files_of(graph, **options):
    return trtnn.build.build._find_timing_caches(graph, BuildConfig(**options))[0]


def found(backend, **options):
    graph = trace(lambda x: x + 1, (4,)).graph
    object.__setattr__(graph, "backend", SimpleNamespace(**vars(backend), trt=graph.trt))
    folders = {file.parent for file in files_of(graph, **options)}
    return folders.pop() if folders else None


def test_where_it_is_kept(measuring, monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_ENVIRONMENT, str(tmp_path / "default"))
    assert found(measuring) == tmp_path / "default"
    assert found(measuring, cache_dir=tmp_path / "engines") == tmp_path / "engines"
    assert found(measuring, cache_dir=tmp_path / "engines", timing_cache=str(tmp_path / "own")) == tmp_path / "own"
    assert found(measuring, timing_cache=False) is None
    assert found(measuring, cache_dir=tmp_path / "engines", timing_cache=False) is None
    assert (tmp_path / "own").is_dir()


def test_a_home_that_cannot_be_written_is_a_warning(measuring, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_ENVIRONMENT, str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"the build is slower than it might be: cannot keep files in .*: it is a"):
        assert found(measuring) is None


def test_a_folder_that_was_asked_for_and_cannot_be_written_is_an_error(measuring, tmp_path):
    (tmp_path / "file").touch()
    for option in ("timing_cache", "cache_dir"):
        with pytest.raises(ArgumentError, match=r"cannot keep files in .*: it is a file"):
            found(measuring, **{option: tmp_path / "file"})


def test_quantised_networks_have_files_of_their_own(measuring, tmp_path):
    """TensorRT 8.6 drops a timing cache in which another of them left something."""
    plain, (x,) = detector(), images(1, 1, 4, 16, 16)
    graphs = [quantize(detector(), [x * factor]).trace().graph for factor in (1, 1, 2)]
    files = []
    for graph in (plain.trace().graph, *graphs):
        object.__setattr__(graph, "backend", SimpleNamespace(**vars(measuring), trt=graph.trt))
        files.append(files_of(graph, timing_cache=tmp_path)[0].name)
    assert "network" not in files[0]
    assert files[1] == files[2]
    assert len(set(files)) == 3


DROPPED = ("1: Error Code 1: Myelin (Myelin error from unknown graph)", "4: The timing cache will not be used!")


class Machine:
    """A TensorRT 8.6 that drops timing caches, and the builds of a network by it.

    Attributes:
        graph: of the network.
        known: what was in the timing cache of each build, None where it was given none.
        drops: the caches that hold this are dropped.
        fails: builds with a cache that was dropped find no kernel.
        fails_always: builds without one find none either.
        pins: of the layers.
    """

    def __init__(self, measuring, monkeypatch, folder):
        self.graph, self.folder, self.known, self.lines = trace(lambda x: x + 1, (4,)).graph, folder, [], []
        self.drops, self.fails, self.fails_always, self.pins = b"poison", True, False, NO_PINS
        logger = SimpleNamespace(take=lambda: [self.lines.pop(0) for _ in self.lines[:]])
        self.backend = SimpleNamespace(**vars(measuring), trt=self.graph.trt, logger=logger)
        self.backend.capabilities.progress = False
        monkeypatch.setattr(self.graph, "backend", self.backend)
        monkeypatch.setattr(self.graph, "builder", SimpleNamespace(build_serialized_network=self._build))
        monkeypatch.setattr(trtnn.build.build, "_make_settings", lambda *_: (Settings(), self.pins))
        self.shared = timing_cache_file(folder, self.backend)
        self.own = trtnn.build.build._find_timing_caches(self.graph, BuildConfig(timing_cache=folder))[1]

    def _build(self, definition, settings):
        cache = settings.cache
        self.known.append(cache and set(cache.lines))
        if cache and self.drops in cache.lines:
            self.lines.extend(DROPPED)
            cache = None
            if self.fails:
                self.lines.append("10: Could not find any implementation")
                return None
        if self.fails_always:
            self.lines.append("10: out of kernels")
            return None
        if cache:
            cache.lines.add(b"measured")
        return b"plan"

    def build(self):
        """Return what the timing caches of a build's tries knew."""
        self.known.clear()
        config = BuildConfig(timing_cache=self.folder)
        arguments = (self.graph, Settings(), config, "a block", False, self.pins)
        assert trtnn.build.build._build_plan(*arguments) == b"plan"
        return self.known


@pytest.fixture
def machine(measuring, monkeypatch, tmp_path):
    return Machine(measuring, monkeypatch, tmp_path)


def test_a_build_that_fails_over_what_others_measured_is_done_with_a_cache_of_its_own(machine):
    """TensorRT 8.6 was seen to find no kernel for a mixed network whose shared cache it had dropped.

    It was seen too to refuse a second cache for the same settings: what would be kept then is the first one.
    """
    machine.pins = Pins([], [HalfLayer("CONVOLUTION", SimpleNamespace(name="it is not to blame"))])
    measure(machine.shared, b"poison")
    assert machine.build() == [{b"poison"}, set()]
    assert machine.build() == [{b"measured"}]  # at once
    assert measure(machine.own) == {b"measured"}
    assert measure(machine.shared) == {b"poison"}  # others go on with what they share
    other = trace(lambda x: x + 2, (4,)).graph
    object.__setattr__(other, "backend", machine.backend)
    assert files_of(other, timing_cache=machine.folder)[0] == machine.shared


@pytest.mark.parametrize("fails", [True, False])
def test_a_network_whose_own_cache_is_dropped_is_built_without_one_from_then_on(machine, fails):
    """TensorRT 8.6 drops some that it wrote itself, each time, and says so in its log alone."""
    machine.fails = fails
    measure(machine.own, b"poison")
    assert machine.build() == ([{b"poison"}, None] if fails else [{b"poison"}])
    assert machine.build() == [None]
    assert machine.build() == [None]
    assert not machine.shared.exists()


def test_a_dropped_cache_that_all_share_is_kept_where_the_build_succeeds(machine):
    machine.fails = False
    measure(machine.shared, b"poison", b"others")
    for _ in range(2):
        assert machine.build() == [{b"poison", b"others"}]
    assert not machine.own.exists()


def test_a_build_that_fails_without_a_cache_too_gives_none_up(machine):
    machine.fails_always = True
    measure(machine.own, b"poison")
    assert "out of kernels" in message_of(BuildError, machine.build)
    assert machine.known == [{b"poison"}, None]
    assert measure(machine.own) == {b"poison"}


def test_what_tensorrt_wrote_of_one_network_and_refuses_is_replaced_without_a_word(machine):
    measure(machine.own, b"refused")
    arguments = (machine.graph, Settings(refused=b"refused"), BuildConfig(timing_cache=machine.folder))
    assert trtnn.build.build._build_plan(*arguments, "a block", False, NO_PINS) == b"plan"
    assert machine.known == [set()]
    assert machine.build() == [{b"measured"}]


def test_where_tensorrt_takes_no_cache_nothing_is_kept(path):
    settings = Settings()
    settings.cache = Measured(b"of another build")
    with timing_cache(settings, path):
        settings.cache.lines.add(b"conv")
    assert not path.exists()


def test_a_cache_that_cannot_be_given_up_costs_no_engine(machine):
    measure(machine.own, b"poison")
    lock = machine.own.with_name(f"{machine.own.name}.lock")
    lock.unlink()
    lock.mkdir()
    assert machine.build() == [{b"poison"}, None]
    assert machine.build() == [{b"poison"}, None]


def test_a_build_that_fails_for_another_reason_is_not_done_again(measuring, monkeypatch, tmp_path):
    graph, tries = trace(lambda x: x + 1, (4,)).graph, []
    backend = SimpleNamespace(**vars(measuring), trt=graph.trt, logger=SimpleNamespace(take=lambda: ["no kernel"]))
    backend.capabilities.progress = False
    monkeypatch.setattr(graph, "backend", backend)
    monkeypatch.setattr(
        graph, "builder", SimpleNamespace(build_serialized_network=lambda *args: tries.append(1) or None)
    )
    config = BuildConfig(timing_cache=tmp_path)
    arguments = (graph, Settings(), config, "a block", False, NO_PINS)
    assert "no kernel" in message_of(BuildError, trtnn.build.build._build_plan, *arguments)
    assert tries == [1]


@pytest.mark.skipif(not get_backend().capabilities.targets, reason="this TensorRT measures")
def test_tensorrt_rtx_measures_nothing(tmp_path):
    network = trace(lambda x: x + 1, (4,))
    message = message_of(BackendError, network.build, timing_cache=tmp_path, **ONE_TARGET)
    assert "tensorrt_rtx" in message
    assert "measures nothing while it builds, so it has no timing cache" in message
    assert "leave timing_cache out; cache_dir keeps whole engines" in message
    network.build(cache_dir=tmp_path, **ONE_TARGET)
    assert list(tmp_path.glob("*.cache")) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_build_goes_through_tensorrts_own_timing_cache(monkeypatch, path):
    monkeypatch.setattr(trtnn.build.build, "_find_timing_caches", lambda graph, config: ([path], None))
    for _ in range(2):
        engine = trace(lambda x: x + 1, (4,)).build(**ONE_TARGET)
        assert engine.plan.nbytes > 0
        assert path.stat().st_size > len(trtnn.build.timing_cache._MAGIC)
