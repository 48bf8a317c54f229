"""The class for map_batches, called without Ray, held against a Detector on the same images."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

import trtnn
from tests.helpers import ONE_TARGET, message_of
from tests.test_detecting_tasks import model
from trtnn import Detector, Dim, models
from trtnn.errors import ArgumentError, BackendError, ShapeError
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.ray import Detect
from trtnn.ray.detect import share_of
from trtnn.vision import Detections, read_image
from trtnn.vision.images import encode_image
from trtnn.vision.sources import Frame, Source

INPUTS = {"images": (2, 3, 160, 160)}


@pytest.fixture(scope="module")
def images():
    image = read_image(PICTURE)
    return [image, np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(image[: len(image) // 2])]


@pytest.fixture(scope="module")
def expected(images):
    model = models.from_state_dict(trtnn.load(WEIGHTS))
    return Detector(model.trace(INPUTS), confidence=0.3)(images)


@pytest.fixture(scope="module")
def detect():
    return Detect(WEIGHTS, "photo", reference=True, inputs=INPUTS, confidence=0.3)


def check(table, expected, images):
    assert table.num_rows == len(expected)
    assert sum(len(found) for found in expected) > 5
    for row, found, image in zip(table.to_pylist(), expected, images, strict=True):
        np.testing.assert_array_equal(np.reshape(row["boxes"], (-1, 4)).astype(np.float32), found.boxes)
        np.testing.assert_array_equal(np.array(row["scores"], np.float32), found.scores)
        assert row["classes"] == found.classes.tolist()
        assert (row["height"], row["width"]) == image.shape[:2]
        assert row["error"] is None


def test_bytes(detect, images, expected):
    data = [encode_image("a.png", image) for image in images]
    table = detect({"photo": np.array(data, object), "id": np.arange(3)})
    check(table, expected, images)
    assert table.column("id").to_pylist() == [0, 1, 2]
    assert "photo" not in table.column_names


def test_paths_are_kept(detect, images, expected, tmp_path):
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    for path, image in zip(paths, images, strict=True):
        trtnn.vision.write_image(path, image)
    check(detect(pa.table({"photo": [*paths[:2], f"file://{paths[2]}"]})), expected, images)
    table = detect({"photo": np.array(paths)})
    check(table, expected, images)
    assert table.column("photo").to_pylist() == paths


def test_arrays_of_one_size(detect, images):
    pair = images[:2]
    own = [np.ascontiguousarray(image[::2, ::2]) for image in pair]
    expected = detect.detector(own)
    check(detect({"photo": np.stack(own)}), expected, own)


def test_dicts_as_hugging_face_has_them(detect, images, expected, tmp_path):
    trtnn.vision.write_image(tmp_path / "a.png", images[1])
    rows = [
        {"bytes": encode_image("a.png", images[0]), "path": None},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        {"bytes": encode_image("a.png", images[2]), "path": "elsewhere.png"},
    ]
    check(detect(pa.table({"photo": rows})), expected, images)


def test_what_is_no_image_is_a_row_with_an_error(detect, images, expected):
    good = encode_image("a.png", images[0])
    table = detect({"photo": np.array([b"nothing", good, None, good[:100]], object)})
    errors = table.column("error").to_pylist()
    assert "cannot read the picture of a row" in errors[0]
    assert errors[1] is None
    assert "a row has no image, but NoneType" in errors[2]
    assert errors[3]
    assert [len(scores) for scores in table.column("scores").to_pylist()] == [0, len(expected[0]), 0, 0]
    assert table.column("height").to_pylist() == [None, images[0].shape[0], None, None]
    missing = detect({"photo": ["none.png", "nothing://a/b", "memory://none.png", "a\0.png", "x" * 5000]})
    assert [bool(error) for error in missing.column("error").to_pylist()] == [True] * 5
    assert "embedded null" in missing.column("error").to_pylist()[3]


def test_an_address_of_a_video_is_a_row_with_an_error(detect, monkeypatch):
    """Its first frame would else be taken for a picture."""
    video = Source("http://a/film", lambda most: iter([Frame(np.zeros((9, 9, 3), np.uint8), 0)]))
    monkeypatch.setattr(trtnn.ray.detect, "find_sources", lambda place: [video])
    (row,) = detect({"photo": np.array(["http://a/film"])}).to_pylist()
    assert row["error"].startswith("http://a/film is a video, and a row has one picture\n")
    assert row["height"] is None


def test_what_a_file_system_raises_is_the_row_s(detect, monkeypatch):
    """botocore's and aiohttp's errors are neither OSErrors nor ValueErrors."""

    class NoCredentialsError(Exception):
        pass

    def refused(*arguments):
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr("fsspec.open", refused)
    (error,) = detect({"photo": np.array(["memory://a.png"])}).column("error").to_pylist()
    assert error == "cannot read the picture memory://a.png: NoCredentialsError: Unable to locate credentials"


def test_arrays_that_are_no_uint8_images_are_rows_with_an_error(detect, images):
    small = np.ascontiguousarray(images[0][::8, ::8])
    for wrong in (small / 255, small.astype(np.uint16) * 257, small.astype(np.int64) - 1):
        table = detect({"photo": np.stack([wrong, wrong])})
        assert all("a picture must be uint8, RGB in 0..255" in error for error in table.column("error").to_pylist())
    table = detect({"photo": [[[[1, 2], [3]]], [[["a", "b", "c"]]], [[[1 << 70, 0, 0]]]][0]})
    assert table.column("error").to_pylist() == ["a row's lists are no array of numbers"]
    sizes = detect({"photo": np.array([small, small[:7]], object)}).column("height").to_pylist()
    assert sizes == [len(small), 7]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_paths_of_any_type_of_text_are_kept(detect, kind):
    table = detect(pa.table({"photo": pa.array(["none.png"]).cast(kind)}))
    assert table.column("photo").to_pylist() == ["none.png"]


def test_paths_of_pathlib_are_read_and_kept_as_text(detect, images, expected, tmp_path):
    pytest.importorskip("ray.data")
    from ray.data.extensions.object_extension import ArrowPythonObjectArray

    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path, image in zip(paths, images, strict=False):
        trtnn.vision.write_image(path, image)
    table = detect(pa.table({"photo": ArrowPythonObjectArray.from_objects(paths)}))
    check(table, expected[:2], images[:2])
    assert table.column("photo").to_pylist() == list(map(str, paths))


@pytest.mark.parametrize("name", trtnn.ray.detect.COLUMNS)
def test_rows_that_have_a_column_of_a_result_are_refused(detect, name):
    """They would be lost: a data set's own labels and sizes are often called so."""
    message = message_of(ArgumentError, detect, {"photo": np.array(["none.png"]), name: np.arange(1)})
    assert message.startswith(f"these rows have {name} already, and what is detected is called so\n")
    assert f"rows.rename_columns({{'{name}': 'own_{name}'}})" in message


def test_an_image_that_cannot_be_prepared_is_a_row_with_an_error(images):
    detect = Detect(WEIGHTS, "photo", reference=True, inputs=INPUTS)
    model = models.from_state_dict(trtnn.load(WEIGHTS))
    model.metadata = {**model.metadata, "preprocessing": {"fit": "warp"}}
    detect.detector = Detector(model.trace(INPUTS))
    photos = [encode_image("a.png", image) for image in (images[0], np.zeros((1, 33_000, 3), np.uint8))]
    first, second = detect({"photo": np.array(photos, object)}).column("error").to_pylist()
    assert first is None
    assert "a picture of 1×33000 is too long" in second


def test_no_rows(detect):
    table = detect(pa.table({"photo": pa.array([], pa.string())}))
    assert table.num_rows == 0
    assert table.schema.field("boxes").type == pa.list_(pa.list_(pa.float32(), 4))


def test_names_of_classes(images):
    model = models.from_state_dict(trtnn.load(WEIGHTS), names=[f"digit {i}" for i in range(10)])
    detect = Detect(WEIGHTS, "photo", reference=True, inputs=INPUTS)
    detect.detector = Detector(model.trace(INPUTS))
    table = detect({"photo": np.array([encode_image("a.png", images[0])], object)})
    (row,) = table.to_pylist()
    assert row["labels"] == [f"digit {i}" for i in row["classes"]]
    assert len(row["labels"]) > 3


def test_a_detector_of_more_than_boxes_is_refused(monkeypatch):
    monkeypatch.setattr(Detector, "from_weights", lambda *_, **__: Detector(model("yolov8-segment")))
    message = message_of(ArgumentError, Detect, WEIGHTS, reference=True)
    assert message.startswith("rows of a data set have boxes alone, and the task of this network is segment\n")


def test_a_column_that_is_not_there(detect):
    message = message_of(ArgumentError, detect, {"id": np.arange(2)})
    assert "there is no column 'photo'" in message
    assert "there are: id" in message
    assert "not list" in message_of(ArgumentError, detect, [1])


def test_options_for_map_batches(tmp_path):
    model = models.from_state_dict(trtnn.load(WEIGHTS))
    engine = model.trace({"images": (Dim("batch", 1, 8, 32), 3, 64, 64)}).build(**ONE_TARGET, optimization_level=0)
    file = engine.save(tmp_path / "digits.engine")
    assert Detect.options(file, "jpeg", confidence=0.5) == {
        "fn_constructor_args": (str(file), "jpeg"),
        "fn_constructor_kwargs": {"confidence": 0.5},
        "batch_size": 8 * 32,
        "batch_format": "pyarrow",
        "num_gpus": 1,
    }
    assert "num_gpus" not in Detect.options(WEIGHTS, reference=True)
    assert "the CPU takes a checkpoint" in message_of(ArgumentError, Detect, file, reference=True)


@pytest.mark.parametrize(
    ("processors", "gpus", "share"), [(64, 4, 16), (64, 8, 8), (64, 1, 64), (8, 4, 4), (2, 0, 4), (30, 4, 7)]
)
def test_processors_that_decode_are_shared_out_among_gpus(processors, gpus, share):
    assert share_of(processors, gpus) == share


@pytest.mark.parametrize(
    ("machine", "share", "said", "threads", "processes"),
    [(64, 64, None, 16, 56), (64, 8, None, 8, 7), (32, 4, None, 4, 4), (7, 7, None, 7, 0), (64, 64, 3, 3, 3)],
)
def test_how_many_decode(monkeypatch, machine, share, said, threads, processes):
    monkeypatch.setattr(trtnn.ray.detect, "processors", lambda: machine)
    monkeypatch.setattr(trtnn.ray.detect, "processors_here", lambda: share)
    detect = Detect(WEIGHTS, reference=True, inputs=INPUTS, readers=said)
    assert (detect.readers, detect._threads.count, detect._count) == (threads, threads, processes)


@pytest.fixture
def by_processes(monkeypatch):
    monkeypatch.setattr(trtnn.ray.detect, "processors", lambda: 8)
    detect = Detect(WEIGHTS, "photo", reference=True, inputs=INPUTS, confidence=0.3, readers=2)
    detect._ahead(["a.png"]).close()
    detect._processes.wait_until_ready()
    yield detect
    detect._processes.close()


def test_local_files_are_read_by_processes_which_are_kept(by_processes, images, expected, tmp_path, monkeypatch):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, image in zip(paths, images, strict=True):
        trtnn.vision.write_image(path, image)
    (tmp_path / "none.jpg").write_bytes(b"none")
    began = by_processes._processes
    numbers = began.process_ids()

    def fail(value, max_pixels):
        raise AssertionError(value)

    monkeypatch.setattr(trtnn.ray.detect, "open_image", fail)
    monkeypatch.chdir(tmp_path)
    check(by_processes(pa.table({"photo": [*map(str, paths[:2]), "2.png"]})), expected, images)
    check(by_processes({"photo": np.array([{"path": str(path), "bytes": None} for path in paths])}), expected, images)
    monkeypatch.undo()
    mixed = [paths[0], encode_image("a.png", images[1]), {"bytes": None, "path": str(paths[2])}, images[0]]
    for read, image in zip(by_processes._read(mixed), [*images, images[0]], strict=True):
        np.testing.assert_array_equal(read, image)
    wrong = [str(tmp_path / "none.jpg"), str(tmp_path / "away.jpg"), "a\0.png", "x" * 5000, "", str(tmp_path)]
    errors = by_processes({"photo": wrong}).column("error").to_pylist()
    monkeypatch.setattr(trtnn.ray.detect, "processors", lambda: 7)
    threads = Detect(WEIGHTS, "photo", reference=True, inputs=INPUTS, readers=2)
    assert all(errors)
    assert errors == threads({"photo": wrong}).column("error").to_pylist()
    assert threads._processes is None
    assert by_processes._processes is began
    assert began.process_ids() == numbers


def test_a_picture_that_the_detector_does_not_take_is_a_row_with_an_error(by_processes, tmp_path, monkeypatch):
    trtnn.vision.write_image(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))

    def check_size(size):
        raise ShapeError(f"no {size}")

    monkeypatch.setattr(by_processes.detector, "check_image_size", check_size)
    (row,) = by_processes({"photo": [str(tmp_path / "a.png")]}).to_pylist()
    assert (row["error"], row["height"], row["boxes"]) == ("no (4, 6)", None, [])


class Slow:
    """A detector whose first stream has all its images, and gives nothing until it may; it sees who reads when."""

    labels = None

    def __init__(self):
        self.first, self.has_all, self.may_go = True, threading.Event(), threading.Event()

    def check_image_size(self, size):
        pass

    def stream(self, images):
        is_first, self.first = self.first, False
        several = list(images)
        if is_first:
            self.has_all.set()
            assert self.may_go.wait(20)
        for image in several:
            yield Detections(np.full((1, 4), image.shape[0]), np.ones(1), np.zeros(1))


def arrays(*heights):
    return {"photo": np.array([np.zeros((height, 2, 3), np.uint8) for height in heights], object)}


@pytest.fixture
def slow():
    detect = Detect(WEIGHTS, "photo", reference=True, inputs=INPUTS, readers=2)
    detect.detector = Slow()
    return detect


def test_a_batch_is_read_while_another_s_detections_are_awaited(slow):
    """Else a GPU has nothing to do between two batches."""
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(slow, arrays(5, 6, 7))
        assert slow.detector.has_all.wait(20)
        second = threads.submit(slow, arrays(*range(8, 30))).result(20)
        assert not first.done()
        slow.detector.may_go.set()
        assert first.result(20).column("height").to_pylist() == [5, 6, 7]
    assert second.column("boxes").to_pylist() == [[[height] * 4] for height in range(8, 30)]


def test_images_of_one_batch_are_read_before_those_of_another(slow, monkeypatch):
    read, may_read = [], threading.Event()

    def opened(value, max_pixels):
        if not read:
            read.append(0)
            assert may_read.wait(20)
        read.append(len(value))
        return np.zeros((len(value), 2, 3), np.uint8)

    monkeypatch.setattr(trtnn.ray.detect, "open_image", opened)
    slow.detector.first = False
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(slow, arrays(*[3] * 40))
        while not read:
            time.sleep(0.01)
        second = threads.submit(slow, arrays(*[4] * 40))
        time.sleep(0.2)
        may_read.set()
        assert (len(first.result(20)), len(second.result(20))) == (40, 40)
    ahead = 2 * slow.readers
    assert sorted(read[1:]) == [3] * 40 + [4] * 40
    assert set(read[1 : 40 - ahead]) == {3}


def test_a_batch_that_fails_stops_no_other(slow):
    """It has the turn to read, and images that nobody waits for any more."""

    def fail(images):
        yield from [next(images)][:0]
        raise BackendError("the GPU is gone")

    stream, slow.detector.stream = slow.detector.stream, fail
    with pytest.raises(BackendError) as kept:  # and with it all that its frames hold
        slow(arrays(*range(1, 60)))
    slow.detector.stream, slow.detector.first = stream, False
    heights = []
    thread = threading.Thread(target=lambda: heights.extend(slow(arrays(4)).column("height").to_pylist()), daemon=True)
    thread.start()
    thread.join(20)
    assert heights == [4]
    assert str(kept.value) == "the GPU is gone"


@pytest.mark.parametrize("readers", [0, 2.5])
def test_readers_are_a_number_of_threads(readers):
    with pytest.raises(ArgumentError, match=rf"1 at least, not {readers}"):
        Detect(WEIGHTS, reference=True, readers=readers)
