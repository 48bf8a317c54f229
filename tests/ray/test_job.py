"""Jobs in a Ray cluster of this machine, held against a Detector in this process, image by image."""

import functools
import inspect
import io
import json
import os
import re
import shutil
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

import trtnn.cli.ray
from tests.helpers import message_of
from tests.ray.workers import (
    DiesAlways,
    DiesOnce,
    DiesWithAnother,
    HasNoRoom,
    Holder,
    StoreWorker,
    WritesBehind,
    WritesNowhere,
)
from trtnn import Detector, models
from trtnn.cli import main
from trtnn.errors import ArgumentError, BackendError, CheckpointError, ImageError
from trtnn.examples.digits import WEIGHTS
from trtnn.examples.digits.scenes import validation_set
from trtnn.ray import Detect, Job, Progress
from trtnn.ray import job as job_module
from trtnn.ray.job import MOST_TRIES, PartWorker, calls_at_once, connect
from trtnn.ray.places import images_at, is_address
from trtnn.vision import read_image, write_image

INPUTS = {"images": (2, 3, 96, 96)}
MAKE = {"reference": True, "inputs": INPUTS, "confidence": 0.2}
COUNT = 18
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's and pandas' own


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two workers on the loopback address."""
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        address="local", num_cpus=2, _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False,
        logging_level="error",
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index, scene in enumerate(validation_set(COUNT - 2)):
        write_image(folder / f"{index:02}.png", scene.image[:: 1 + index % 2])
    (folder / "07b.png").write_bytes(b"no picture")
    (folder / "11b.png").write_bytes((folder / "11.png").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def images(folder):
    return sorted(str(path) for path in folder.iterdir())


@pytest.fixture(scope="module")
def expected(images):
    detector = Detector(models.from_state_dict(trtnn.load(WEIGHTS)).trace(INPUTS), confidence=0.2)
    good = [image for image in images if "b.png" not in image]
    return dict(zip(good, detector(map(read_image, good)), strict=True))


def check(job, images, expected):
    rows = [row for table in job.tables() for row in table.to_pylist()]
    assert [row["source"] for row in rows] == images
    for row in rows:
        if row["source"] not in expected:
            assert row["error"]
            assert row["scores"] == []
            continue
        found = expected[row["source"]]
        assert row["error"] is None
        np.testing.assert_array_equal(np.reshape(row["boxes"], (-1, 4)).astype(np.float32), found.boxes)
        np.testing.assert_array_equal(np.array(row["scores"], np.float32), found.scores)
        assert row["classes"] == found.classes.tolist()


def test_a_worker_that_dies_is_started_again_and_all_is_written_once(images, expected, tmp_path):
    output = tmp_path / "found"
    job = Job(images, output, Detect.options(WEIGHTS, **MAKE), part=4)
    assert (job.open(), job.parts) == (0, 5)
    done = sum(job.run(workers=2, worker=DiesOnce), Progress())
    assert (tmp_path / "died").exists()
    total = sum(len(found) for found in expected.values())
    assert done == Progress(COUNT, total, 2)
    assert total > COUNT
    assert sorted(os.listdir(output)) == ["manifest.json", *(f"part-{part:06}.parquet" for part in range(5))]
    check(job, images, expected)

    # What was stopped goes on: two parts are missing, and the others are not touched.
    before = {name: (output / name).stat().st_mtime_ns for name in os.listdir(output)}
    for part in (1, 3):
        os.remove(output / f"part-{part:06}.parquet")
    again = Job(images, output, Detect.options(WEIGHTS, **MAKE), part=4)
    assert again.open() == 4 * 2 + 2
    assert [progress.images for progress in again.run()] == [4, 4]
    check(again, images, expected)
    changed = {name for name, time in before.items() if (output / name).stat().st_mtime_ns != time}
    assert changed == {"part-000001.parquet", "part-000003.parquet"}
    assert list(again.run()) == []

    # The results of anything else are not mixed with these.
    for others, options in ((images[1:], MAKE), (images, {**MAKE, "confidence": 0.3})):
        other = Job(others, output, Detect.options(WEIGHTS, **options), part=4)
        assert "holds the results of other images" in message_of(ArgumentError, other.open)
    for name in ("mine.json", "coco.json", ".part-000001.parquet.tries", ".part-000001.parquet.a_b1c2d3.tmp"):
        (output / name).touch()
    assert other.open(force=True, reports=["coco.json"]) == 0
    assert sorted(os.listdir(output)) == ["manifest.json", "mine.json"]


def test_a_folder_that_no_job_wrote_is_kept(images, tmp_path):
    (tmp_path / "mine.txt").touch()
    job = Job(images, tmp_path, Detect.options(WEIGHTS, **MAKE))
    for force in (False, True):
        assert "and no job wrote it" in message_of(ArgumentError, job.open, force)
    assert os.listdir(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize(
    ("names", "output", "words"),
    [
        (["a.png"], "nothing://a/b", "there are no files at nothing://a/b: Protocol not known"),
        (["a.png", "b\udcff.png"], "found", r"the name of 'b\udcff.png' is not UTF-8"),
    ],
)
def test_places_and_names_that_are_none(tmp_path, names, output, words):
    output = output if "://" in output else tmp_path / output
    assert words in message_of(ArgumentError, Job, names, output, Detect.options(WEIGHTS, **MAKE))


def test_a_part_is_written_while_the_next_is_detected_and_counts_once_it_is(images, expected, tmp_path):
    job = Job(images, tmp_path / "found", Detect.options(WEIGHTS, **MAKE), part=4)
    job.open()
    done = Progress()
    for count, progress in enumerate(job.run(workers=1, worker=WritesBehind), 1):
        done += progress
        assert len(job.done()) >= count
    assert done == Progress(COUNT, sum(map(len, expected.values())), 2)
    check(job, images, expected)
    assert sorted(os.listdir(job.root)) == ["manifest.json", *(f"part-{part:06}.parquet" for part in range(5))]


def test_a_worker_that_died_as_it_wrote(images, expected, tmp_path):
    output = tmp_path / "found"
    job = Job(images[:3], output, Detect.options(WEIGHTS, **MAKE), part=3)
    job.open()
    (output / ".part-000000.parquet.tries").touch()  # it has no number yet
    for part in (0, 1):  # the second is another worker's, which writes it
        (output / f".part-{part:06}.parquet.a_b1c2d3.tmp").write_bytes(b"PAR1")
    worker = PartWorker(str(output), job.make)
    found = sum(len(expected[image]) for image in images[:3])
    assert worker({"part": [0], "images": [images[:3]]}) == {"images": [3], "detections": [found], "errors": [0]}
    left = [".part-000001.parquet.a_b1c2d3.tmp", "manifest.json", "part-000000.parquet"]
    assert sorted(os.listdir(output)) == left


def test_a_part_that_raised_is_not_one_at_which_a_worker_died(images, expected, tmp_path, monkeypatch):
    output = tmp_path / "found"
    job = Job(images[:1], output, Detect.options(WEIGHTS, **MAKE), part=1)
    job.open()
    worker = PartWorker(str(output), job.make)
    row = {"part": [0], "images": [images[:1]]}
    detect = worker.detect

    def fails(rows):
        raise MemoryError("CUDA out of memory")

    worker.detect = fails
    for _ in range(MOST_TRIES + 1):
        with pytest.raises(MemoryError):
            worker(row)
    worker.detect = detect
    assert worker(row) == {"images": [1], "detections": [len(expected[images[0]])], "errors": [0]}
    assert sorted(os.listdir(output)) == ["manifest.json", "part-000000.parquet"]


@pytest.mark.parametrize("known", [{}, {"enable_true_multi_threading"}, None], ids=["2.40", "2.53", "2.59"])
def test_rays_of_other_versions(monkeypatch, known):
    """What a pool takes came bit by bit; until it took how many calls there are at a time, the worker did."""
    names = {"max_tasks_in_flight_per_actor", "max_concurrent_calls_per_actor", "enable_true_multi_threading"}
    known = names if known is None else {"max_tasks_in_flight_per_actor", *known}

    def strategy(**options):
        return options

    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("size", *known)]
    strategy.__signature__ = inspect.Signature(parameters)
    monkeypatch.setattr(ray.data, "ActorPoolStrategy", strategy)
    options = calls_at_once(3)
    assert options.pop("compute").keys() == {"size", *known}
    assert options == ({} if "max_concurrent_calls_per_actor" in known else {"max_concurrency": 2})


@pytest.mark.parametrize("worker", [DiesAlways, DiesWithAnother])
def test_a_part_at_which_workers_always_die_is_rows_with_errors(images, expected, tmp_path, worker):
    job = Job(images[:6], tmp_path / "found", Detect.options(WEIGHTS, **MAKE), part=3)
    job.open()
    done = sum(job.run(workers=1, worker=worker), Progress())
    good = images[:3]
    assert done == Progress(6, sum(len(expected[image]) for image in good), 3)
    rows = [row for table in job.tables() for row in table.to_pylist()]
    assert [row["error"] for row in rows[:3]] == [None] * 3
    assert {row["error"] for row in rows[3:]} == {"the worker died at this part of 3 images, 4 times"}
    assert [len(row["scores"]) for row in rows[3:]] == [0, 0, 0]
    assert sorted(os.listdir(job.root)) == ["manifest.json", "part-000000.parquet", "part-000001.parquet"]


def test_a_part_that_was_stopped_again_and_again_is_none_at_which_workers_died(images, expected, tmp_path):
    job = Job(images[:3], tmp_path / "found", Detect.options(WEIGHTS, **MAKE), part=3)
    job.open()
    (tmp_path / "found" / ".part-000000.parquet.tries").write_text(str(MOST_TRIES))
    (tmp_path / "found" / ".part-000000.parquet.a_b1c2d3.tmp").write_bytes(b"PAR1")
    assert job.open() == 0
    assert [progress.errors for progress in job.run()] == [0]
    check(job, images[:3], expected)
    assert sorted(os.listdir(job.root)) == ["manifest.json", "part-000000.parquet"]


def test_paths_from_here_are_found_by_workers_in_another_folder(images, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the workers' is the one that the cluster was started in
    shutil.copy(WEIGHTS, "mine.safetensors")
    options = Detect.options("mine.safetensors", cache_dir="engines", **MAKE)
    assert options["fn_constructor_args"][0] == str(tmp_path / "mine.safetensors")
    assert options["fn_constructor_kwargs"]["cache_dir"] == str(tmp_path / "engines")
    for output in ("found", f"file://{tmp_path}/other"):
        job = Job(images[:3], output, options, part=3)
        job.open()
        assert [progress.images for progress in job.run()] == [3]
        check(job, images[:3], expected)
    assert sorted(os.listdir()) == ["found", "mine.safetensors", "other"]


def test_an_object_store(images, expected, tmp_path):
    job = Job(images[:4], f"store://{tmp_path}/bucket/found", Detect.options(WEIGHTS, **MAKE), part=2)
    assert job.open() == 0
    assert job.done() == []  # which is remembered, if it may be
    assert [progress.images for progress in job.run(worker=StoreWorker)] == [2, 2]
    check(job, images[:4], expected)
    assert job.open() == 4


def failure(error, images, output, weights=WEIGHTS, **run) -> str:
    """Return the message of what a job of these images raises."""
    job = Job(images, output, Detect.options(weights, **MAKE), part=1)
    job.open()
    return message_of(error, lambda: list(job.run(**run)))


def test_a_place_that_workers_do_not_share(images, tmp_path):
    """Each process has a memory of its own; and what workers have written may not be there for who asked."""
    message = failure(ArgumentError, images[:2], "memory://found")
    assert "memory://found is another place for a worker than for who began the job: no manifest.json is" in message
    assert f"on the machine {socket.gethostname()}" in message
    message = failure(BackendError, images[:2], tmp_path / "found", worker=WritesNowhere)
    assert f"workers have written 2 parts to {tmp_path}/found, and 2 of them are not there" in message


def test_what_a_worker_raises_is_told_as_it_is(images, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"no weights at all")
    message = failure(CheckpointError, images[:2], tmp_path / "one", tmp_path / "mine.safetensors")
    assert "mine.safetensors" in message
    assert f"on the machine {socket.gethostname()}" in message
    message = failure(BackendError, images[:2], tmp_path / "two", worker=HasNoRoom)
    assert "a worker failed: OSError: [Errno 28] No space left on device" in message


def test_a_folder_is_left_as_it_is_where_no_cluster_can_do_the_job(images, tmp_path, monkeypatch):
    options = Detect.options(WEIGHTS, **MAKE)
    before = Job(images[:1], tmp_path / "found", options)
    before.open()
    (tmp_path / "found" / "part-000000.parquet").touch()
    names = sorted(os.listdir(tmp_path / "found"))
    for output, force in (("new", False), ("found", True)):
        job = Job(images, tmp_path / output, {**options, "num_gpus": 1})
        assert "no GPU" in message_of(BackendError, job.open, force, address="local")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    job = Job(images, tmp_path / "new", options)
    assert "nobody answers at 127.0.0.1:1," in message_of(BackendError, job.open, address="127.0.0.1:1")
    assert os.listdir(tmp_path) == ["found"]
    assert sorted(os.listdir(tmp_path / "found")) == names
    assert before.open(address="127.0.0.1:1") == 1  # all of it is done, which needs no cluster


def test_a_data_set_of_ray_s(images, expected):
    rows = ray.data.from_items([{"path": image, "id": index} for index, image in enumerate(images[:6])])
    workers = ray.data.ActorPoolStrategy(size=1)
    options = {**Detect.options(WEIGHTS, "path", **MAKE), "batch_size": 3, "compute": workers}
    found = sorted(rows.map_batches(Detect, **options).take_all(), key=lambda row: row["id"])
    assert [row["path"] for row in found] == images[:6]
    for row in found:
        np.testing.assert_array_equal(np.array(row["scores"], np.float32), expected[row["path"]].scores)


def test_a_cluster_without_gpus(images, tmp_path):
    job = Job(images, tmp_path / "found", Detect.options("a.engine.pt"))
    job._manifest = dict
    job.open()
    message = message_of(BackendError, lambda: list(job.run()))
    assert "this cluster has no GPU, and an engine needs one for each worker" in message
    assert "there is: 2 CPU" in message
    assert "--reference" in message


def test_a_cluster_without_room_is_waited_for_and_told(images, tmp_path, monkeypatch):
    """Whoever holds the processors gives them back once the job has said that it waits."""
    holder = ray.remote(num_cpus=2)(Holder).remote()
    assert ray.get(holder.holds.remote())
    assert ray.available_resources().get("CPU", 0) == 0

    class Stderr(io.StringIO):
        def write(self, text: str) -> int:
            if "waiting" in text:
                ray.kill(holder)
            return super().write(text)

    monkeypatch.setattr(job_module, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(sys, "stderr", said := Stderr())
    job = Job(images[:2], tmp_path, Detect.options(WEIGHTS, **MAKE))
    job.open()
    assert sum(progress.images for progress in job.run("local", workers=1)) == 2
    words = "waiting for a CPU of the cluster, which has 2: others hold them, see ray status\n"
    assert said.getvalue().count(words) == 1
    again = Job(images[:3], tmp_path / "again", Detect.options(WEIGHTS, **MAKE))
    again.open()
    assert sum(progress.images for progress in again.run("local", workers=1)) == 3
    assert said.getvalue().count("waiting") == 1  # not where there is room


def test_a_folder_that_is_there(images, tmp_path):
    (tmp_path / "mine").write_text("mine")
    job = Job(images, tmp_path, Detect.options(WEIGHTS, **MAKE))
    assert f"{tmp_path} is there already, and no job wrote it" in message_of(ArgumentError, job.open)
    assert os.listdir(tmp_path) == ["mine"]


def test_nothing_to_do(tmp_path):
    options = Detect.options(WEIGHTS, **MAKE)
    assert "there are no images" in message_of(ArgumentError, Job, [], tmp_path, options)
    assert "at least one image, not 0" in message_of(ArgumentError, Job, ["a"], tmp_path, options, part=0)


def test_an_address_where_nobody_answers(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = message_of(BackendError, connect, address)
        assert re.match(rf"nobody answers at {address}, after \d+\.\d s: ", message)
        assert "start it: ray start --head --port=6379" in message
        assert "nobody answers at ray://" in message_of(BackendError, connect, f"ray://{address}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        def answer():
            connection, _ = other.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert f"what answers at {address} is no Ray cluster" in message_of(BackendError, connect, address)
        thread.join()
    for address in ("here", "host:", ":1", "host:x", "host:65536", "http://host:1"):
        message = message_of(ArgumentError, connect, address)
        assert f"{address!r} is no address of a Ray cluster" in message


def test_detect_by_ray(images, folder, expected, tmp_path, monkeypatch, capfd):
    output = tmp_path / "found"
    arguments = [
        "detect", str(folder), "--weights", str(WEIGHTS), "--reference", "--size", "96", "--confidence", "0.2",
        "--ray", "auto", "-o", str(output), "--format", "coco", "--format", "json",
    ]  # fmt: skip
    monkeypatch.setattr(trtnn.cli.ray, "Job", functools.partial(Job, part=8))
    monkeypatch.setattr(sys, "argv", ["trtnn", *arguments])
    # Among pictures a video, or a name that is no text, is named and left out; it is no reason to do nothing.
    film, odd = folder / "film.mp4", Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg"))
    film.touch()
    odd.touch()
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        film.unlink()
        odd.unlink()
    out, err = capfd.readouterr()
    assert ended.value.code == 1
    assert f"skipped: --ray takes pictures, and not {film}" in err
    assert "caf\\udce9.jpg' is not UTF-8, and --ray's results hold no other text" in err
    assert f"4 of {COUNT + 2} sources could not be read" in err
    assert f"{COUNT} pictures, {sum(map(len, expected.values()))} detections: {output}" in out
    assert "2 pictures could not be read" in err
    detections = json.loads((output / "detections.json").read_text())
    assert {name: len(row["detections"]) for name, row in detections.items()} == {
        name: len(found) for name, found in expected.items()
    }
    boxes = json.loads((output / "coco.json").read_text())
    assert len(boxes) == sum(map(len, expected.values()))
    assert len(json.loads((output / "coco_images.json").read_text())["images"]) == COUNT - 2

    # The same command goes on where parts are missing, and counts what all of them hold.
    os.remove(output / "part-000001.parquet")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    out, err = capfd.readouterr()
    assert "10 pictures of 18 are done already" in err
    total = sum(map(len, expected.values()))
    assert f"{COUNT} pictures (8 of them in this run), {total} detections: {output}" in out
    assert "2 pictures could not be read" in err
    assert f"2 of {COUNT} pictures could not be read" in err

    for more, words in (
        (["--draw", "png"], "--ray draws no pictures"),
        (["--format", "yolo"], "--ray writes no YOLO files"),
        (["--triton", "http://h/m"], "detect takes one of"),
    ):
        monkeypatch.setattr(sys, "argv", ["trtnn", *arguments, *more])
        with pytest.raises(SystemExit):
            main()
        assert words in capfd.readouterr().err
    for source, words in (
        ("0", "--ray takes pictures, and not 0"),
        ("http://me:secret@h/a.jpg", "--ray gives no password to workers: http://me:***@h/a.jpg"),
    ):
        monkeypatch.setattr(sys, "argv", ["trtnn", "detect", source, *arguments[2:]])
        with pytest.raises(SystemExit):
            main()
        assert words in capfd.readouterr().err
    monkeypatch.setattr(sys, "argv", ["trtnn", *arguments, "--names", "one,two"])
    with pytest.raises(SystemExit):
        main()
    assert "--names gives 2 names for 10 classes" in capfd.readouterr().err


def test_images_at_an_address(images, folder, tmp_path, monkeypatch, capfd):
    """As s3://bucket/folder is one: a folder's pictures, those below it, or the one that it names."""
    (tmp_path / "below").mkdir()
    for index, name in enumerate(["b.png", "a.PNG", "below/c.png", "notes.txt"]):
        shutil.copy(images[index], tmp_path / name)
    root = f"file://{tmp_path}"
    assert images_at(root) == [f"{root}/a.PNG", f"{root}/b.png"]
    assert images_at(f"{root}/", recursive=True) == [f"{root}/{name}" for name in ("a.PNG", "b.png", "below/c.png")]
    assert images_at(f"{root}/below/c.png") == [f"{root}/below/c.png"]
    assert "no picture at memory://nowhere" in message_of(ImageError, images_at, "memory://nowhere")
    assert [is_address(text) for text in ("s3://a/b", "http://a/b.jpg", "rtsp://a", "a/b", "0")] == [True, *[False] * 4]
    arguments = ["detect", root, images[3], "--weights", str(WEIGHTS), "--reference", "--size", "96", "--ray", "auto"]
    monkeypatch.setattr(sys, "argv", ["trtnn", *arguments, "-r", "-o", str(tmp_path / "found")])
    main()
    assert "4 pictures" in capfd.readouterr().out
    rows = pq.read_table(tmp_path / "found" / "part-000000.parquet").to_pylist()
    assert [row["source"] for row in rows] == [
        *(f"{root}/{name}" for name in ("a.PNG", "b.png", "below/c.png")),
        images[3],
    ]
    assert [row["error"] for row in rows] == [None] * 4


def test_a_list_of_addresses_and_files(images, tmp_path, monkeypatch, capfd):
    (tmp_path / "photos").mkdir()
    for index, name in enumerate(["b.png", "a.png"]):
        shutil.copy(images[index], tmp_path / "photos" / name)
    root = f"file://{tmp_path}/photos"  # as s3://bucket/photos is one
    lines = [images[3], root, f"{root}/b.png", "memory://nowhere/c.png", "gone.png"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    arguments = ["detect", str(tmp_path / "list.txt"), "--weights", str(WEIGHTS), "--reference", "--size", "96"]
    monkeypatch.setattr(sys, "argv", ["trtnn", *arguments, "--ray", "auto", "-o", str(tmp_path / "found")])
    with pytest.raises(SystemExit):
        main()
    assert "2 of 5 pictures could not be read" in capfd.readouterr().err
    rows = pq.read_table(tmp_path / "found" / "part-000000.parquet").to_pylist()
    expected = [images[3], f"{root}/a.png", f"{root}/b.png", "memory://nowhere/c.png", str(tmp_path / "gone.png")]
    assert [row["source"] for row in rows] == expected
    assert [row["error"] is None for row in rows] == [True, True, True, False, False]


def test_a_list_takes_what_is_below_its_addresses_where_asked(images, tmp_path, monkeypatch, capfd):
    (tmp_path / "photos" / "below").mkdir(parents=True)
    shutil.copy(images[0], tmp_path / "photos" / "a.png")
    shutil.copy(images[1], tmp_path / "photos" / "below" / "b.png")
    root = f"file://{tmp_path}/photos"
    (tmp_path / "list.txt").write_text(root)
    arguments = ["detect", str(tmp_path / "list.txt"), "-r", "--weights", str(WEIGHTS), "--reference", "--size", "96"]
    monkeypatch.setattr(sys, "argv", ["trtnn", *arguments, "--ray", "auto", "-o", str(tmp_path / "found")])
    main()
    assert "2 pictures" in capfd.readouterr().out
    rows = pq.read_table(tmp_path / "found" / "part-000000.parquet").to_pylist()
    assert [row["source"] for row in rows] == [f"{root}/a.png", f"{root}/below/b.png"]


def test_links_keep_their_own_names(tmp_path, monkeypatch):
    """As Hugging Face's cache has them: the files themselves are called by their digests."""
    (tmp_path / "blob").touch()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).symlink_to(tmp_path / "blob")
    monkeypatch.chdir(tmp_path)
    places = [
        trtnn.cli.ray._image_of(name, Path(name)) for name in ("a.jpg", "b.jpg", "../" + tmp_path.name + "/a.jpg")
    ]
    assert places == [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "a.jpg")]
