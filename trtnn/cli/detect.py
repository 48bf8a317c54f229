"""``trtnn detect``: objects in pictures and videos."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from trtnn.cli.images import find_all, note_unread, tell_unread
from trtnn.cli.options import Anchors, Confidence, MaxPixels, Names, Overlap, PipelineName, given_names, refuse
from trtnn.cli.places import Place, files_of, is_video, places_of
from trtnn.cli.program import command, log, print_line, print_note
from trtnn.cli.ray import detect_by_ray
from trtnn.cli.results import LABELS, Format, Result, Writer, Yolo, open_writers
from trtnn.cli.runners import Recursive, Runner, with_runner
from trtnn.cli.tables import MAX_ROWS, counted, print_detections
from trtnn.cli.written import ResultFolder, some_of
from trtnn.detector import Detector
from trtnn.errors import ArgumentError
from trtnn.vision import Detection, Detections
from trtnn.vision import draw as draw_boxes
from trtnn.vision.frames import read_frames
from trtnn.vision.images import MAX_PIXELS, encode_image
from trtnn.vision.sources import Frame, Source
from trtnn.vision.video import VideoWriter


class Drawn(str, Enum):
    """The format of drawn pictures."""

    jpg = "jpg"
    png = "png"


@command(
    "trtnn detect street.jpg --engine yolov5s.engine",
    "trtnn detect photos/ -r --weights yolov5s.pt --reference --size 320",
    "trtnn detect photos/ --weights yolov5s.safetensors --anchors usual",
    "trtnn detect photos/ --engine a.engine --no-draw --format coco",
    "trtnn detect 'photos/*.png' --engine pets.engine --names cat,dog -o found",
    "trtnn detect photos/ --engine other.engine --names data.yaml",
    "trtnn detect street.mp4 more.txt https://a.org/b.jpg --engine a.engine",
    "trtnn detect 0 --engine a.engine --format csv --format yolo",
    "trtnn detect s3://b/photos --engine a.engine --ray auto -o s3://b/found",
    bare={"--ray": "local"},
)
@with_runner
def detect(
    runner: Runner,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, videos, folders, quoted globs, lists of them in .txt files, http:// and rtsp:// addresses, "
            "cameras' numbers, or - for a picture on standard input."
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="The folder for pictures and results.")] = "detections",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that detect did not write.")] = False,
    recursive: Recursive = False,
    format: Annotated[
        list[Format] | None,
        typer.Option(help="The format of results, written as they come; may be repeated.", show_default="json"),
    ] = None,
    draw: Annotated[Drawn | None, typer.Option(help="The format of drawn pictures.", show_default="theirs")] = None,
    no_draw: Annotated[bool, typer.Option("--no-draw", help="Draw no pictures: write results alone.")] = False,
    confidence: Confidence = None,
    iou: Overlap = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="The most to keep in one picture.", show_default="the model's")
    ] = None,
    names: Names = None,
    pipeline: PipelineName = None,
    anchors: Anchors = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    gpu_jpeg: Annotated[
        bool, typer.Option("--gpu-jpeg", help="Let nvImageCodec decode JPEG files on the GPU, where it is installed.")
    ] = False,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Drop no frame of a camera or a stream, however far behind.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Let a Ray cluster do it, a GPU each worker: host:port, auto for the one that runs here; local, as "
            "without an address, for one of this machine. Sources and --output may then be such as "
            "s3://bucket/folder; that gets Parquet.",
        ),
    ] = None,
) -> None:
    """Detect objects in pictures and videos: draws them into copies and writes detections.json.

    Copies have the format of their pictures; those of videos are MP4. What cannot be read is named and skipped, and the
    exit code is 1 at the end. Results are written as they come: what is found until Ctrl-C is kept. Nothing is
    overwritten but what detect wrote before.

    The results of each format are those of one run: a run replaces what an earlier one wrote into the folder, labels
    of other pictures too, unless they were changed. Drawn pictures of others stay.
    """
    if draw and no_draw:
        raise ArgumentError("detect takes one of --draw and --no-draw")
    options: dict[str, Any] = {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    options = {name: value for name, value in {**options, "pipeline": pipeline}.items() if value is not None}
    if ray is not None:
        refuse({"--draw": draw, "--no-draw": no_draw}, "--ray draws no pictures")
        refuse({"--anchors": anchors}, "workers know models by their checkpoints; build an engine, and give --engine")
        detect_by_ray(
            ray, runner, sources, output, recursive=recursive, formats=format or (), names=names,
            max_pixels=max_pixels, force=force, options=options,
        )  # fmt: skip
        return
    formats = format or [Format.json]
    found = find_all(sources, recursive)

    # All that can be known to fail is found out before an engine is built, and all of that before a picture is read.
    opened = runner.open(anchors)
    detector = Detector(opened, **options)
    labels = detector.labels if names is None else given_names(names, detector.classes)
    folder = ResultFolder.at(output)
    places = places_of(found, folder.path, draw and f".{draw.value}")
    written = files_of(folder.path, formats, () if no_draw else places.values(), places.values())
    folder.check(written, force)
    ready = runner.ready(opened)
    if ready is not opened:
        detector = Detector(ready, **options)

    paths = [source.path for source, _ in found if source.path is not None and not is_video(source.path)]
    writers = open_writers(
        formats, folder, labels, detector.classes, paths if len(paths) == len(found) else None, detector.task
    )
    results = _Detected(folder, places, not no_draw, force, labels, list(writers))
    for writer in results.writers:
        _tell_labels(writer, folder.path / LABELS, found, list(places.values()))
    unread: list[str] = []
    under_way: deque[tuple[Source, Frame]] = deque()

    def images() -> Iterator[Any]:
        on_gpu = gpu_jpeg and detector.device == "cuda"
        skip = partial(note_unread, unread)
        frames = read_frames(
            [source for source, _ in found],
            skip,
            max_pixels,
            by_gpu=on_gpu,
            every_frame=every_frame,
            check_size=detector.check_image_size,
        )
        for item in frames:
            under_way.append(item)
            yield item[1].image

    total = len(found) if len(paths) == len(found) else None
    try:
        with closing(detector.stream(images())) as stream:
            quiet = not sys.stderr.isatty()
            for detections in track(stream, "detecting", total=total, console=log, disable=quiet):
                results.keep(*under_way.popleft(), detections)
    except KeyboardInterrupt:
        of = "" if total is None else f" of {counted(total, 'picture')}"
        print_note("interrupted", "yellow", f"{results.count}{of or ' pictures'} are in {written[0]}")
        raise
    finally:
        results.close()
    print_detections(results.rows, results.total, labels)
    summary = f"{counted(results.count, 'picture')}, {counted(results.total, 'detection')}"
    readers = f", read by {' and '.join(results.readers)}" if results.readers else ""
    print_line(f"{summary}{readers}: {output}")
    tell_unread(unread, len(found), "picture" if len(paths) == len(found) else "source")


def _tell_labels(
    writer: Writer, folder: Path, found: Sequence[tuple[Source, Path | None]], places: Sequence[Place]
) -> None:
    """Say of YOLO's labels which are called otherwise than their pictures, and which an earlier run or others wrote.

    YOLO finds a picture's labels by its name, and two pictures may have one.
    """
    if not isinstance(writer, Yolo):
        return
    renamed = [
        f"{source.name}: {place.labels}"
        for (source, _), place in zip(found, places, strict=True)
        if source.path is not None and source.path.stem != place.labels.stem
    ]
    mine = {folder / place.labels for place in places}
    mine |= {path.with_suffix("") for path in mine}  # folders of videos' frames

    def others(paths: Sequence[Path]) -> list[Path]:
        return [path for path in paths if path not in mine and path.parent not in mine]

    for things, thing, what in (
        (renamed, "source", "with labels of another name, since two would have one"),
        (others(writer.removed), "label file", "of an earlier run removed, of other pictures"),
        (others(writer.kept), "label file", "kept that detect did not write as it is"),
    ):
        if things:
            print_note("note", "cyan", f"{counted(len(things), thing)} {what}: {some_of(things)}")


@dataclass
class _Detected:
    """What was detected: each image is drawn and written at once, and what is shown at the end is kept."""

    folder: ResultFolder
    places: dict[str, Place]
    draws: bool
    force: bool
    labels: Sequence[str] | None
    writers: list[Writer]
    count: int = 0
    total: int = 0
    rows: list[tuple[str, Detection]] = field(default_factory=list)
    readers: dict[str, None] = field(default_factory=dict)  # in the order in which they came
    video: VideoWriter | None = None

    def keep(self, source: Source, frame: Frame, detections: Detections) -> None:
        place, drawn = self.places[source.name], None
        if self.draws:
            image = draw_boxes(np.asarray(frame.image), detections, self.labels)
            drawn = place.image if frame.index is None else place.video
            assert drawn is not None
            if frame.index is None:
                self.folder.write(drawn, encode_image(drawn, image))
            else:
                self._add_to_video(drawn, image, frame.rate)
        label_path = place.labels if frame.index is None else place.labels.with_suffix("") / f"{frame.index:06}.txt"
        result = Result(source.name, frame.index, frame.size, detections, drawn, label_path)
        if frame.index is not None and any(isinstance(writer, Yolo) for writer in self.writers):
            self.folder.check([self.folder.path / LABELS / label_path], self.force)
        for writer in self.writers:
            writer.add(result)
        self.readers[frame.reader] = None
        self.count, self.total = self.count + 1, self.total + len(detections)
        if len(self.rows) < MAX_ROWS:
            name = Path(source.name).name or source.name
            shown = name if frame.index is None else f"{name}#{frame.index}"
            self.rows += [(shown, detection) for detection in detections][: MAX_ROWS - len(self.rows)]

    def _add_to_video(self, path: Path, image: np.ndarray, rate: float) -> None:
        if self.video is None or self.video.path != path:
            self._end_video()
            self.folder.begin(path)
            self.video = VideoWriter(path, image.shape[:2], rate)
        self.video.write(image)

    def _end_video(self) -> None:
        if self.video is not None:
            self.video.close()
            self.folder.end(self.video.path)
            self.video = None

    def close(self) -> None:
        with ExitStack() as stack:  # one that fails keeps none of the others open
            for writer in self.writers:
                stack.callback(writer.close)
            stack.callback(self._end_video)
