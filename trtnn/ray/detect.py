"""A class for Ray Data's ``map_batches``: rows with images in, the same rows with what was detected out."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trtnn.detector import Detector
from trtnn.engine.engine import Engine
from trtnn.engine.file import SUFFIXES
from trtnn.errors import ArgumentError, BackendError, ImageError, TrtnnError, check_switches
from trtnn.ray.columns import columns_of
from trtnn.threads import processors
from trtnn.vision import Detections
from trtnn.vision.ahead import MOST_READERS, ReadAhead
from trtnn.vision.frames import FEWEST_PROCESSORS
from trtnn.vision.images import MAX_PIXELS, check_image, decode_image, most_bytes, read_image
from trtnn.vision.readers import Groups, Readers, most_readers
from trtnn.vision.sources import find_sources

if TYPE_CHECKING:
    import pyarrow

READERS = 4  # that decode images, at least, for each detector
BATCHES_A_CALL = 8  # of the network, so that what is read, computed and finished overlaps
COLUMNS = ("boxes", "scores", "classes", "labels", "height", "width", "error")


class Detect:
    """A detector for the rows of a data set, one on each GPU.

    >>> rows = ray.data.read_parquet("s3://bucket/photos/")
    >>> found = rows.map_batches(Detect, **Detect.options("yolov5s.engine", column="jpeg"))
    >>> found.write_parquet("s3://bucket/found/")

    A column holds the images: paths and addresses (http, https, or what fsspec knows, such as s3), bytes of image
    files, arrays (height, width, 3) uint8 RGB, or dicts with ``bytes`` or ``path`` as Hugging Face's data sets have
    them.

    Args:
        source: an engine file; or a checkpoint, of which each worker builds an engine for its own GPU and TensorRT.
        column: the name of the images' column.
        reference: compute a checkpoint's network on the CPU.
        model: the model's name, where the checkpoint does not tell it.
        inputs: of a checkpoint's network, by name, in place of those that it declares.
        fp16: build a checkpoint in half precision.
        cache_dir: where engines of checkpoints are kept; machines may share it.
        max_pixels: the most that an image may have.
        readers: threads that decode images, and where the machine has 8 processors as many processes for local files;
            by default its processors, shared out among its GPUs: 4 to 16 threads, and up to 64 processes.
        **thresholds: the detector's own, such as ``confidence=0.25``.

    Raises:
        TrtnnError: the detector cannot be made here.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        column: str = "image",
        *,
        reference: bool = False,
        model: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        fp16: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        max_pixels: int = MAX_PIXELS,
        readers: int | None = None,
        **thresholds: Any,
    ) -> None:
        check_switches(reference=reference, fp16=fp16)
        if readers is not None and (not isinstance(readers, int) or readers < 1):
            raise ArgumentError(f"readers are a number of threads, 1 at least, not {readers!r}")
        share = processors_here()
        self.column, self.max_pixels, self.readers = column, max_pixels, readers or min(MOST_READERS, share)
        self._threads, self._turn = Readers(self.readers, False), threading.Lock()
        self._count = (readers or most_readers(share)) if processors() >= FEWEST_PROCESSORS else 0
        self._processes: Readers | None = None  # begun at the first local file
        if Path(source).suffix.lower() in SUFFIXES:
            if reference:
                raise ArgumentError(f"{source} is an engine, which runs on a GPU alone", "the CPU takes a checkpoint")
            self.detector = Detector(Engine.load(source), **thresholds)
        else:
            self.detector = Detector.from_weights(
                source, model, inputs=inputs, fp16=fp16, cache_dir=cache_dir, reference=reference, **thresholds
            )
        self.detector.check_boxes_alone("rows of a data set have")

    @staticmethod
    def options(source: str | os.PathLike[str], column: str = "image", **more: Any) -> dict[str, Any]:
        """Return what ``Dataset.map_batches`` takes beside the class: a GPU for each worker, and enough rows a call.

        Args:
            source, column, **more: what the class takes. Paths are told in full: workers run in other folders.
        """
        source = os.path.abspath(source)
        if more.get("cache_dir") is not None:
            more["cache_dir"] = os.path.abspath(more["cache_dir"])
        batch = 1
        if Path(source).suffix.lower() in SUFFIXES:
            engine = Engine.load(source)
            batch = Detector(engine, device="cpu").batch if engine.description.get("trtnn") else 1
        return {
            "fn_constructor_args": (source, column),
            "fn_constructor_kwargs": more,
            "batch_size": max(64, BATCHES_A_CALL * batch),
            "batch_format": "pyarrow",
            **({} if more.get("reference") else {"num_gpus": 1}),
        }

    def __call__(self, batch: pyarrow.Table | Mapping[str, Any]) -> pyarrow.Table:
        """Detect in the images of a batch of rows.

        Threads may call it at once: the images of one batch are read while the last of another are detected, and while
        its rows are made.

        Returns:
            The rows with ``boxes`` (x1, y1, x2, y2 in px), ``scores`` in 0..1 and ``classes``, a list each;
            ``labels``, where the model has names; ``height`` and ``width`` of the image; and ``error``, the
            reason where it could not be read, which has no detections. Images themselves are left out, and paths kept.

        Raises:
            ArgumentError: there is no such column, or one of a result's name.
        """
        table = _as_table(batch)
        taken = [name for name in table.column_names if name in COLUMNS]
        if taken:
            raise ArgumentError(
                f"these rows have {', '.join(taken)} already, and what is detected is called so",
                f"rename them: rows.rename_columns({ {name: f'own_{name}' for name in taken} })",
                "or leave them out: rows.drop_columns(...)",
            )
        if self.column not in table.column_names:
            raise ArgumentError(f"there is no column {self.column!r}", f"there are: {', '.join(table.column_names)}")
        values = table.column(self.column).to_pylist() if table.num_rows else []
        found: list[Detections | None] = [None] * len(values)
        sizes: list[tuple[int, int] | None] = [None] * len(values)
        errors: list[str | None] = [None] * len(values)
        under_way: deque[int] = deque()

        def images(read: Iterator[np.ndarray | str]) -> Iterator[np.ndarray]:
            for index, image in enumerate(read):
                if isinstance(image, str):
                    errors[index] = image
                    continue
                height, width = image.shape[:2]
                sizes[index] = height, width
                under_way.append(index)
                yield image

        with closing(self._read(values)) as read:
            for detections in self.detector.stream(images(read)):
                found[under_way.popleft()] = detections
        return self._with_results(table, found, sizes, errors)

    def failed(self, table: pyarrow.Table, why: str) -> pyarrow.Table:
        """Return rows without detections, each with an error."""
        count = table.num_rows
        return self._with_results(table, [None] * count, [None] * count, [why] * count)

    def _read(self, values: Sequence[Any]) -> Generator[np.ndarray | str, None, None]:
        """Yield the image of each value, or what is wrong with it; several threads or processes read ahead.

        Of several calls at a time one hands values to the threads, so that the next one's are read as soon as all of
        its own are under way, and not in their stead.
        """
        ahead: ReadAhead[list[Any], list[np.ndarray | str | None]] | None = None
        try:
            with self._turn:
                ahead = self._ahead(values)
                while not ahead.is_all_begun:
                    yield from self._taken(ahead)
            while ahead:
                yield from self._taken(ahead)
        finally:
            if ahead is not None:
                ahead.close()

    def _ahead(self, values: Sequence[Any]) -> ReadAhead[list[Any], list[np.ndarray | str | None]]:
        """Begin to read values: local files by processes, where there are any."""
        by_processes = self._count > 0 and any(local_path(value) is not None for value in values)
        if by_processes and self._processes is None:
            self._processes = Readers(self._count, True)
        readers = self._processes if self._processes is not None and by_processes else self._threads
        groups = Groups(values, local_path, readers)

        def read(group: list[Any]) -> list[np.ndarray | str | None]:
            images = groups.read(group, self.max_pixels)
            if images is None:
                return [self._image(group[0])]
            return [None if image is None else self._checked(image) for image in images]

        return readers.ahead(groups, read, _nbytes)

    def _taken(self, ahead: ReadAhead[list[Any], list[np.ndarray | str | None]]) -> Iterator[np.ndarray | str]:
        group, future = ahead.take()
        there = future.result()
        del future
        for value in group:
            image = there.pop(0)
            yield self._image(value) if image is None else image

    def _image(self, value: Any) -> np.ndarray | str:
        try:
            return self._checked(open_image(value, self.max_pixels))
        except TrtnnError as error:
            return str(error)

    def _checked(self, image: np.ndarray | ImageError) -> np.ndarray | str:
        """Return an image that the detector takes, or what is wrong with it."""
        if isinstance(image, ImageError):
            return str(image)
        try:
            self.detector.check_image_size((image.shape[0], image.shape[1]))
            return image
        except TrtnnError as error:
            return str(error)

    def _with_results(
        self,
        table: pyarrow.Table,
        found: Sequence[Detections | None],
        sizes: Sequence[tuple[int, int] | None],
        errors: Sequence[str | None],
    ) -> pyarrow.Table:
        import pyarrow as pa

        columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        columns[self.column] = _paths(table.column(self.column))
        if columns[self.column] is None:
            del columns[self.column]
        columns |= columns_of(found, self.detector.labels)
        columns["height"] = pa.array([size and size[0] for size in sizes], pa.int32())
        columns["width"] = pa.array([size and size[1] for size in sizes], pa.int32())
        columns["error"] = pa.array(errors, pa.string())
        return pa.table(columns)


def _nbytes(read: Sequence[np.ndarray | str | None]) -> int:
    return sum(image.nbytes for image in read if isinstance(image, np.ndarray))


def processors_here() -> int:
    """Return how many processors decode for a detector on this machine, as Ray counts them and GPUs."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return READERS
    here = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    return share_of(resources.get("CPU", 0), resources.get("GPU", 0))


def share_of(processors: float, gpus: float) -> int:
    """Return how many of a machine's processors decode for each of its GPUs."""
    return max(READERS, int(processors // gpus)) if gpus else READERS


def _paths(column: Any) -> Any:
    """Return a column of paths and addresses as it is, one of pathlib's as text, and None for one of images."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if str(kind) in ("string", "large_string", "string_view"):  # the last is not in every pyarrow
        return column
    if isinstance(kind, pa.BaseExtensionType):  # Ray's, of any objects
        values = column.to_pylist()
        if values and all(isinstance(value, os.PathLike) for value in values):
            return pa.array(map(os.fspath, values), pa.string())
    return None


def local_path(value: Any) -> str | None:
    """Return the path of a value of a data set that is a file of this machine, as :func:`open_image` has it."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    place = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    return place if isinstance(place, str) and "://" not in place else None


def open_image(value: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the image that a value of a data set is, uint8 (height, width, 3) RGB.

    Raises:
        ImageError: it cannot be read, is a video, or is none.
        ShapeError, DTypeError: an array, or lists of numbers, that are no image.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return decode_image(bytes(value), "of a row", max_pixels)
    if isinstance(value, (str, os.PathLike)):
        return _read_place(os.fspath(value), max_pixels)
    if isinstance(value, list):
        value = _of_lists(value)
    if isinstance(value, np.ndarray):
        return check_image(value)
    raise ImageError(f"a row has no image, but {type(value).__name__}", "expected a path, bytes or an array")


def _of_lists(rows: list[Any]) -> np.ndarray:
    """Return lists of whole numbers in 0..255, as a column of arrays gives them, as uint8; others as they are.

    Raises:
        ImageError: they are no array.
    """
    try:
        array = np.asarray(rows)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise ImageError("a row's lists are no array of numbers")
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    return array


def _read_place(place: str, max_pixels: int) -> np.ndarray:
    """Return the image at a path or an address."""
    scheme, separator, _ = place.partition("://")
    if not separator:
        return read_image(place, max_pixels)
    if scheme in ("http", "https"):
        (source,) = find_sources(place)
        frame = next(source.read(max_pixels))
        if frame.index is not None:
            raise ImageError(f"{source.name} is a video, and a row has one picture", "trtnn detect takes videos")
        return np.asarray(frame.image)
    import fsspec

    try:
        opened: Any = fsspec.open(place, "rb")
        with opened as file:
            return decode_image(file.read(most_bytes(max_pixels)), place, max_pixels)
    except TrtnnError:
        raise
    except Exception as error:  # those of file systems are their own, and one row ends no job
        raise ImageError(f"cannot read the picture {place}: {type(error).__name__}: {error}") from error


def _as_table(batch: Any) -> pyarrow.Table:
    import pyarrow as pa

    if isinstance(batch, pa.Table):
        return batch
    if not isinstance(batch, Mapping):
        raise ArgumentError(f"a batch is a table or a dict of columns, not {type(batch).__name__}")
    columns = {}
    for name, values in batch.items():
        columns[name] = pa.array([v.tolist() if isinstance(v, np.ndarray) and v.ndim > 1 else v for v in values])
    return pa.table(columns)


def check_ray() -> Any:
    """Return the module ``ray``, with Ray Data.

    Raises:
        BackendError: it is not installed.
    """
    try:
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    except ImportError as error:
        raise BackendError(f"Ray cannot be imported: {error}", 'pip install "trtnn[ray]"') from error
    return ray
