"""A job: detection in many images by the workers of a Ray cluster, in parts that are written once.

Each part of the images is one row of a data set: a worker detects in its images and writes what was detected into a
file of its own, whole or not at all. So a worker that dies is started again by Ray, its part is done again, and nothing
is there twice; and a job that was stopped goes on with the parts that are missing.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import logging
import os
import pickle
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trtnn.digest import digest
from trtnn.errors import ArgumentError, BackendError, TrtnnError, check_switches
from trtnn.files import atomic_write
from trtnn.ray.detect import Detect, check_ray
from trtnn.ray.places import files_at, is_local

PART = 1000  # images
MOST_TRIES = 4  # of a part at which workers die
_AT_ONCE = 2  # parts of a worker: one is read and detected while another is written
CONNECT_S = 5.0
_PATIENCE_S = 5.0  # with a cluster without room, before it is told
LOCAL, AUTO = "local", "auto"
_MANIFEST = "manifest.json"
_SAID = b"trtnn"  # the key of a part's metadata
_FAILURE = "failure"  # the column of a worker's error
SOURCE = "source"  # the column of paths and addresses
# Columns whose values come again and again; to look for such among boxes and scores takes longer than to write them.
_REPEATED: Any = ["classes.list.element", "labels.list.element", "height", "width", "error"]


class Progress(NamedTuple):
    """How far a job is.

    Attributes:
        images, detections, errors: of the parts that are done; errors are images that could not be read.
    """

    images: int = 0
    detections: int = 0
    errors: int = 0

    def __add__(self, other: Progress) -> Progress:  # type: ignore[override]  of tuples it would be a longer one
        return Progress(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @classmethod
    def of(cls, table: Any) -> Progress:
        """Count what a part's table holds."""
        detections = sum(len(scores) for scores in table.column("scores"))
        return cls(table.num_rows, detections, table.num_rows - table.column("error").null_count)

    def as_columns(self) -> dict[str, list[int]]:
        """Return it as a batch of one row."""
        return {name: [count] for name, count in self._asdict().items()}


class Job:
    """Detection in images, in parts, into a folder of Parquet files.

    >>> job = Job(paths, "s3://bucket/found", Detect.options("yolov5s.engine"))
    >>> for progress in job.run("ray-head:6379"): ...

    Args:
        images: paths and addresses, which all workers can read.
        output: a folder, or what fsspec knows, such as ``s3://bucket/found``.
        options: what ``Detect.options`` gives; the column does not count.
        part: images in a file.

    Raises:
        ArgumentError: there are no images, a path is no text, or ``output`` is no place that files go to.
    """

    def __init__(
        self, images: Sequence[str], output: str | os.PathLike[str], options: Mapping[str, Any], part: int = PART
    ) -> None:
        check_ray()
        if not images:
            raise ArgumentError("there are no images to detect in")
        odd = next((image for image in images if not is_text(image)), None)
        if odd is not None:
            raise ArgumentError(f"the name of {odd!r} is not UTF-8, and Parquet holds no other text", "rename the file")
        if part < 1:
            raise ArgumentError(f"a part has at least one image, not {part}")
        self.images, self.part = list(images), part
        (source, _), kwargs = options["fn_constructor_args"], options["fn_constructor_kwargs"]
        self.make = {"source": source, "column": SOURCE, **kwargs}
        self.gpus = options.get("num_gpus", 0)
        self._files, self.root = files_at(os.fspath(output))
        # Workers run in other folders than this process, so that a path is told in full.
        self.output = self.root if is_local(self._files) else os.fspath(output)

    # -- files --------------------------------------------------------------------------------------------------------

    def open(self, force: bool = False, reports: Sequence[str] = (), address: str | None = None) -> int:
        """Take the folder for this job, and return how many images are done there already.

        Args:
            force: remove what another job wrote there, and nothing else.
            reports: the names of all files that :meth:`put` may have written.
            address: of the cluster that is to do it, see :meth:`run`: where it cannot, the folder stays as it is.

        Raises:
            ArgumentError: it holds the parts of another job, or something that no job wrote.
            BackendError: nobody answers at the address, or the cluster has no GPU.
        """
        check_switches(force=force)
        manifest = json.dumps(self._manifest(), indent=1).encode()
        place = f"{self.root}/{_MANIFEST}"
        self._files.invalidate_cache()
        is_mine = self._files.exists(place) and self._files.cat_file(place) == manifest
        if is_mine:
            pass
        elif self._files.exists(place):
            if not force:
                raise ArgumentError(
                    f"{self.output} holds the results of other images, or of another detector",
                    "choose another --output, or --force to remove them",
                )
        elif self._listed():
            raise ArgumentError(f"{self.output} is there already, and no job wrote it", "choose another --output")
        if address is not None and not (is_mine and len(self.done()) == self.parts):
            self._connect(address)
        self._files.makedirs(self.root, exist_ok=True)
        for path in self._listed():
            name = path.rpartition("/")[2]
            # What a run that was stopped had under way is no part at which workers died.
            if _UNDER_WAY.fullmatch(name) or (not is_mine and (name in reports or _PART.fullmatch(name))):
                self._files.rm_file(path)
        if not is_mine:
            self._files.pipe_file(place, manifest)
        return sum(len(self._images_of(part)) for part in self.done())

    def _manifest(self) -> dict[str, Any]:
        """Return what results are of: they are those of this job where all of it is the same."""
        source = self.make["source"]
        free = ("source", "cache_dir", "readers")  # on which results do not depend
        options = {key: repr(value) for key, value in sorted(self.make.items()) if key not in free}
        return {
            "trtnn": "detections",
            "images": len(self.images),
            "digest": digest("\0".join(self.images).encode()),
            "part": self.part,
            "source": digest(Path(source).read_bytes()),
            "options": options,
        }

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-len(self.images) // self.part)

    def done(self) -> list[int]:
        """Return the parts whose files are there."""
        names = {path.rpartition("/")[2] for path in self._listed()}
        return [part for part in range(self.parts) if part_name(part) in names]

    def _listed(self) -> list[str]:
        """Return what is in the folder now, to which workers write, and not what fsspec remembers of it."""
        self._files.invalidate_cache()
        try:
            return self._files.ls(self.root, detail=False)
        except FileNotFoundError:  # object stores have no folder without files
            return []

    def tables(self) -> Iterator[Any]:
        """Yield the table of each part that is done, in the order of the images."""
        import pyarrow.parquet as pq

        for part in self.done():
            yield pq.read_table(io.BytesIO(self._files.cat_file(f"{self.root}/{part_name(part)}")))

    def classes(self) -> tuple[list[str] | None, int | None]:
        """Return the names of the detector's classes, and how many there are, as the first part says; None unsaid."""
        import pyarrow.parquet as pq

        for part in self.done()[:1]:
            schema = pq.read_schema(io.BytesIO(self._files.cat_file(f"{self.root}/{part_name(part)}")))
            said = json.loads((schema.metadata or {}).get(_SAID, b"{}"))
            return said.get("labels"), said.get("classes")
        return None, None

    def put(self, files: Sequence[Path]) -> None:
        """Copy files into the folder."""
        for file in files:
            self._files.put_file(str(file), f"{self.root}/{file.name}")

    def _images_of(self, part: int) -> list[str]:
        return self.images[part * self.part : (part + 1) * self.part]

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(
        self, address: str = LOCAL, workers: int | None = None, worker: Callable[..., Any] | None = None
    ) -> Iterator[Progress]:
        """Detect in the images of the parts that are not done, and yield what each part adds as it is written.

        Where others hold all GPUs of the cluster it waits for one, and says so on stderr.

        Args:
            address: of the cluster: ``"local"`` starts one here, ``"auto"`` is the one that runs here, and else
                ``host:port`` or ``ray://host:port``. Where Ray is connected already, that one is used.
            workers: how many detectors; by default one for each GPU, or on the CPU one for every two cores.
            worker: the class of workers, :class:`PartWorker` by default.

        Raises:
            BackendError: nobody answers at the address, the cluster has no GPU, a worker failed, or what workers wrote
                is not there.
            TrtnnError: what a worker raised, such as of weights that cannot be read.
        """
        missing = sorted(set(range(self.parts)) - set(self.done()))
        if not missing:
            return
        ray = self._connect(address)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        workers = min(workers or self._workers(ray), len(missing))
        self._wait_for_room(ray)
        rows = [{"part": part, "images": self._images_of(part)} for part in missing]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Telling,
            fn_constructor_args=(worker or PartWorker, self.output, self.make),
            batch_size=1,
            num_gpus=self.gpus or None,
            **calls_at_once(workers),
        )
        for row in done.iter_rows():
            if row[_FAILURE]:
                raise pickle.loads(row[_FAILURE])
            yield Progress(*(int(row[name]) for name in Progress._fields))
        lost = len(set(missing) - set(self.done()))
        if lost:
            raise BackendError(
                f"workers have written {len(missing)} parts to {self.output}, and {lost} of them are not there",
                "give a folder that all machines share, or an address such as s3://bucket/folder",
            )

    def _connect(self, address: str) -> Any:
        """Connect to a cluster that can do this job, and return the module ``ray``."""
        ray = check_ray()
        connect(address)
        self._workers(ray)
        return ray

    def _wait_for_room(self, ray: Any) -> None:
        """Wait until a cluster has room for a worker; where that takes a while say on stderr for what."""
        what, needs = ("GPU", {"num_gpus": self.gpus, "num_cpus": 0}) if self.gpus else ("CPU", {"num_cpus": 1})
        if ray.available_resources().get(what, 0) >= max(needs.values()):
            return
        room = [ray.remote(**needs)(lambda: None).remote()]
        if not ray.wait(room, timeout=_PATIENCE_S)[0]:
            all_of = ray.cluster_resources().get(what, 0)
            print(
                f"waiting for a {what} of the cluster, which has {all_of:g}: others hold them, see ray status",
                file=sys.stderr,
            )
            ray.wait(room)

    def _workers(self, ray: Any) -> int:
        """Return how many workers a cluster has place for."""
        resources = ray.cluster_resources()
        if not self.gpus:
            return max(1, int(resources.get("CPU", 1)) // 2)
        gpus = int(resources.get("GPU", 0))
        if not gpus:
            there = ", ".join(f"{value:g} {name}" for name, value in sorted(resources.items()) if name == "CPU")
            raise BackendError(
                "this cluster has no GPU, and an engine needs one for each worker",
                f"there is: {there or 'nothing'}",
                "start workers with GPUs, or give a checkpoint with --reference, which computes on the CPU",
            )
        return gpus


class PartWorker:
    """What a worker does: it detects in the images of a part, and writes the part's file.

    Args:
        output: the job's folder.
        make: what :class:`Detect` takes.
    """

    def __init__(self, output: str, make: Mapping[str, Any]) -> None:
        self.files, self.root = files_at(output)
        if not self.files.exists(f"{self.root}/{_MANIFEST}"):
            raise ArgumentError(
                f"{output} is another place for a worker than for who began the job: no {_MANIFEST} is there",
                "give a folder that all machines share, or an address such as s3://bucket/folder",
            )
        self.detect = Detect(**make)
        self._changed, self._under_way, self._is_alone = threading.Condition(), 0, False

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[int]]:
        """Do one part, whose row is the batch, and return once it is written; threads may call it at once."""
        import pyarrow as pa

        (part,), (images,) = batch["part"], batch["images"]
        rows = pa.table({SOURCE: pa.array(list(images), pa.string())})
        # Ray starts a worker that died again and again; one image may be what it dies of. Which of two parts that were
        # under way it was nobody knows, so that each is done again alone.
        tries = f"{self.root}/.{part_name(int(part))}.tries"
        self.files.invalidate_cache()  # another worker may have written it
        # A worker that died as it wrote the number leaves an empty file.
        count = int(self.files.cat_file(tries) or b"1") if self.files.exists(tries) else 0
        with self._under_way_now(alone=count > 0):
            if count:
                self._remove_temporary(int(part))
            if count < MOST_TRIES:
                self.files.pipe_file(tries, str(count + 1).encode())
                try:
                    table = self.detect(rows)
                except Exception:  # no worker died
                    self.files.pipe_file(tries, str(count).encode())
                    raise
            else:
                table = self.detect.failed(rows, f"the worker died at this part of {len(rows):,} images, {count} times")
            self.write(int(part), table)
            self.files.rm_file(tries)
        return Progress.of(table).as_columns()

    def _remove_temporary(self, part: int) -> None:
        """Remove what a worker that died as it wrote a part's file left of it."""
        for path in self.files.ls(self.root, detail=False):
            name = path.rpartition("/")[2]
            if name.startswith(f".{part_name(part)}.") and name.endswith(".tmp"):
                self.files.rm_file(path)

    @contextlib.contextmanager
    def _under_way_now(self, alone: bool) -> Iterator[None]:
        """Hold a part as under way, once none is under way alone, or none at all."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone and not (alone and self._under_way))
            self._under_way, self._is_alone = self._under_way + 1, alone
        try:
            yield
        finally:
            with self._changed:
                self._under_way, self._is_alone = self._under_way - 1, False
                self._changed.notify_all()

    def write(self, part: int, table: Any) -> None:
        """Write a part's file, whole or not at all: object stores put a file in one request."""
        import pyarrow.parquet as pq

        said = {"labels": self.detect.detector.labels, "classes": self.detect.detector.classes}
        table = table.replace_schema_metadata({_SAID: json.dumps(said)})
        data = io.BytesIO()
        pq.write_table(table, data, compression="zstd", use_dictionary=_REPEATED)
        path = f"{self.root}/{part_name(part)}"
        if is_local(self.files):
            with atomic_write(path) as file:
                file.write(data.getvalue())
        else:
            self.files.pipe_file(path, data.getvalue())


class _Telling:
    """A worker whose errors are rows as well: what Ray makes of one that is raised, others cannot read.

    Args:
        kind: the class of the worker, which takes what follows.
    """

    def __init__(self, kind: Callable[..., Any], output: str, make: Mapping[str, Any]) -> None:
        self._worker, self._failure = None, b""
        try:
            self._worker = kind(output, make)
        except Exception as error:
            self._failure = _pickled(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        if self._worker is not None:
            try:
                return {**self._worker(batch), _FAILURE: [b""]}
            except Exception as error:
                return {**Progress().as_columns(), _FAILURE: [_pickled(error)]}
        return {**Progress().as_columns(), _FAILURE: [self._failure]}


def _pickled(error: Exception) -> bytes:
    """Return a worker's error for who began the job: trtnn's own, with the machine, and what others are in words."""
    traceback.print_exception(error)  # into Ray's log of the worker
    where = f"on the machine {socket.gethostname()}"
    if isinstance(error, TrtnnError):
        told = type(error)(error.summary, *error.details, where)
    else:
        words = f"a worker failed: {type(error).__name__}: {error}"
        told = BackendError(words, where, "Ray's log of the worker has the traceback")
    return pickle.dumps(told)


def calls_at_once(workers: int) -> dict[str, Any]:
    """Return what ``map_batches`` takes for so many workers, each of which is called by two threads.

    Rays before 2.53 run one call of a worker after the other all the same.
    """
    strategy = check_ray().data.ActorPoolStrategy
    known = inspect.signature(strategy).parameters
    wanted = {
        "max_tasks_in_flight_per_actor": _AT_ONCE,
        "max_concurrent_calls_per_actor": _AT_ONCE,
        "enable_true_multi_threading": True,
    }
    pool = {"compute": strategy(size=workers, **{name: wanted[name] for name in wanted if name in known})}
    # Before 2.59 it is an option of the worker's.
    return pool if "max_concurrent_calls_per_actor" in known else {**pool, "max_concurrency": _AT_ONCE}


def part_name(part: int) -> str:
    """Return the name of a part's file."""
    return f"part-{part:06}.parquet"


_PART = re.compile(r"part-\d{6,}\.parquet")
_UNDER_WAY = re.compile(r"\.part-\d{6,}\.parquet\.(tries|\w+\.tmp)")  # the last are atomic_write's


def is_text(name: str) -> bool:
    """Whether a name is Unicode, and not of bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def connect(address: str) -> None:
    """Connect to a cluster, unless this process is connected already.

    Raises:
        BackendError: nobody answers there.
    """
    ray = check_ray()
    if ray.is_initialized():
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    if address == LOCAL:
        ray.init(address=LOCAL, **quiet)
        return
    start = "start it: ray start --head --port=6379"
    if address != AUTO:
        host, port = _host(address)
        began = time.monotonic()
        try:
            is_ray = _speaks_grpc(host, port)
        except OSError as error:
            took = time.monotonic() - began
            raise BackendError(f"nobody answers at {address}, after {took:.1f} s: {error}", start) from error
        if not is_ray:
            raise BackendError(f"what answers at {address} is no Ray cluster", start)
    quiet.pop("include_dashboard")  # the cluster's own affair
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BackendError(f"no Ray cluster at {address}: {error}", start) from error


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether who listens there begins as servers of gRPC do, which clusters are: Ray itself asks for many minutes.

    https://httpwg.org/specs/rfc9113.html#preface

    Raises:
        OSError: nobody listens, or answers in time.
    """
    with socket.create_connection((host, port), CONNECT_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return True
        settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # a frame of none
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        return connection.recv(len(settings))[3:4] == settings[3:4]


def _host(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise ArgumentError(f"{address!r} is no address of a Ray cluster", "such as local, auto, or 10.0.0.1:6379")
    return host.strip("[]"), int(port)
