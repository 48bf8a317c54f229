"""``trtnn detect`` on the CPU: what it finds, what it writes, and what it leaves alone."""

import errno
import importlib
import json
import os
import shutil

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET, RUNS_HERE
from trtnn.cli.written import MARKER
from trtnn.errors import EngineError
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.examples.digits.picture import TRUTH
from trtnn.vision import SUFFIXES, Detections, box_iou, read_image

REFERENCE = ["--weights", WEIGHTS, "--reference", "--size", 320]
SMALL = ["--weights", WEIGHTS, "--reference", "--size", 32]


@pytest.fixture
def album(tmp_path):
    """A folder of two pictures of one stem, and one of another."""
    folder = tmp_path / "my [red]album"
    folder.mkdir()
    trtnn.vision.write_image(folder / "picture.png", read_image(PICTURE)[:, ::-1])
    shutil.copy(PICTURE, folder / "picture.jpg")
    shutil.copy(PICTURE, folder / "zoo.jpg")
    return folder


def check_digits(entry):
    """Compare an entry of detections.json with what is in the picture."""
    truth, found = json.loads(TRUTH.read_text()), entry["detections"]
    overlaps = box_iou([row["box"] for row in truth], [row["box"] for row in found])
    assert len(found) == len(truth)
    assert overlaps.max(1).min() > 0.6
    assert [found[best]["class"] for best in overlaps.argmax(1)] == [row["class"] for row in truth]
    assert all(0.25 <= row["score"] <= 1 for row in found)


def drawn_in(image, found):
    """Whether boxes are drawn: the pixels there differ from the picture's."""
    before = read_image(PICTURE)
    assert image.shape == before.shape
    changed = (image != before).any(2)
    edges = [changed[round(y1), round(x1) : round(x2)].mean() for x1, y1, x2, _ in (row["box"] for row in found)]
    return min(edges) > 0.5


@pytest.fixture
def no_anchors(tmp_path):
    """The arrays alone without their anchors, and these as the command takes them."""
    arrays = trtnn.load(WEIGHTS)
    cells = np.asarray(arrays["model.24.anchors"], np.float32)
    path = tmp_path / "parameters.npz"
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items() if name != "model.24.anchors"})
    pixels = (cells * np.reshape([8, 16, 32], (3, 1, 1))).ravel()
    return path, ",".join(f"{number:g}" for number in pixels)


def test_anchors_that_the_checkpoint_lacks(run, no_anchors, tmp_path):
    weights, anchors = no_anchors
    own = ["detect", PICTURE, "--weights", weights, "--reference", "--size", 320, "--no-draw", "-o"]
    result = run("detect", PICTURE, *REFERENCE, "--no-draw", "-o", tmp_path / "whole")
    result = run(*own, tmp_path / "given", "--anchors", anchors)
    assert (result.code, result.err) == (0, "")
    whole, given = (json.loads((tmp_path / name / "detections.json").read_text()) for name in ("whole", "given"))
    boxes, others = ([row["box"] for row in report[str(PICTURE)]["detections"]] for report in (whole, given))
    np.testing.assert_allclose(others, boxes, rtol=0, atol=0.05)  # px
    twice = ",".join(f"{2 * float(number):g}" for number in anchors.split(","))
    assert run(*own, tmp_path / "twice", "--anchors", twice).code == 0
    found = json.loads((tmp_path / "twice" / "detections.json").read_text())[str(PICTURE)]["detections"]
    assert not np.allclose([row["box"] for row in found][:1], boxes[:1], 0, 5)


@pytest.mark.parametrize(
    ("anchors", "words"),
    [
        (None, "on the command line --anchors"),
        ("coco", "'coco' is neither usual nor 6 numbers above 0 for each level"),
        ("10,13", "'10,13' is neither usual nor 6 numbers above 0 for each level"),
        ("1,2,3,4,5,-6", "'1,2,3,4,5,-6' is neither usual nor"),
        ("1,2,3,4,5,nan", "'1,2,3,4,5,nan' is neither usual nor"),
        (",", "',' is neither usual nor"),
        ("1,2,3,4,5,6", "anchors are 3 pairs of width and height on each of 3 levels"),
    ],
)
def test_anchors_that_are_none(run, no_anchors, tmp_path, anchors, words):
    given = [] if anchors is None else ["--anchors", anchors]
    result = run("detect", PICTURE, "--weights", no_anchors[0], "--reference", "-o", tmp_path / "a", *given)
    assert result.code in (1, 2)
    assert words in " ".join(result.err.split())
    assert not (tmp_path / "a").exists()


def test_anchors_that_would_change_nothing(run, tmp_path):
    result = run("detect", PICTURE, *SMALL, "-o", tmp_path / "a", "--anchors", "1,2,3,4,5,6," * 2 + "1,2,3,4,5,6")
    assert result.code == 1
    assert "the weights come with anchors of their own" in result.err
    ray = run("detect", PICTURE, *SMALL, "-o", tmp_path / "a", "--anchors", "usual", "--ray", "local")
    assert ray.code == 1
    assert "--anchors would change nothing here" in ray.err
    server = ["--triton", "http://localhost:1/a"]
    assert "--anchors would change nothing here" in run("detect", PICTURE, *server, "--anchors", "usual").err


def test_a_picture(run, tmp_path):
    result = run("detect", PICTURE, *REFERENCE, "-o", tmp_path / "deep" / "er")
    assert (result.code, result.err) == (0, "")
    report = json.loads((tmp_path / "deep" / "er" / "detections.json").read_text())
    assert list(report) == [str(PICTURE)]
    entry = report[str(PICTURE)]
    check_digits(entry)
    assert entry["drawn"] == str(tmp_path / "deep" / "er" / "picture.jpg")
    assert drawn_in(read_image(entry["drawn"]), entry["detections"])
    assert result.out.count("picture.jpg") == 11
    assert result.out.splitlines()[-1] == f"1 picture, 11 detections, read by OpenCV: {tmp_path / 'deep' / 'er'}"


@pytest.mark.parametrize("kind", ["folder", "glob"])
def test_a_folder_and_a_glob_and_a_batch_that_is_not_full(run, tmp_path, album, kind):
    source = album if kind == "folder" else f"{tmp_path}/*/*.jpg"
    result = run("detect", source, *REFERENCE, "-o", tmp_path / "out", "--batch", 2)
    assert (result.code, result.err) == (0, "")
    report = json.loads((tmp_path / "out" / "detections.json").read_text())
    if kind == "folder":
        assert list(report) == [str(album / name) for name in ("picture.jpg", "picture.png", "zoo.jpg")]
    else:
        assert list(report) == [str(album / name) for name in ("picture.jpg", "zoo.jpg")]
    check_digits(report[str(album / "picture.jpg")])
    check_digits(report[str(album / "zoo.jpg")])


def test_pictures_of_one_stem_have_a_file_each_and_no_source_is_overwritten(run, album):
    before = {path: path.read_bytes() for path in album.iterdir()}
    result = run("detect", album, *SMALL, "-o", album)
    assert (result.code, result.err) == (0, "")
    report = json.loads((album / "detections.json").read_text())
    drawn = {os.path.basename(path): os.path.basename(entry["drawn"]) for path, entry in report.items()}
    assert drawn == {"picture.jpg": "picture-2.jpg", "picture.png": "picture-2.png", "zoo.jpg": "zoo-2.jpg"}
    assert all(path.read_bytes() == data for path, data in before.items())
    assert {path.name for path in album.iterdir()} == {*drawn, *drawn.values(), "detections.json", MARKER}
    again = run("detect", album, *SMALL, "-o", album)  # what was drawn is no source, and drawn again
    assert (again.code, again.err, again.out) == (0, "", result.out)
    assert json.loads((album / "detections.json").read_text()) == report


def test_a_batch_larger_than_all_pictures_changes_nothing(run, tmp_path):
    single, batch = tmp_path / "single", tmp_path / "batch"
    assert run("detect", PICTURE, *REFERENCE, "-o", single).code == 0
    assert run("detect", PICTURE, *REFERENCE, "-o", batch, "--batch", 3).code == 0
    (one,), (other,) = (json.loads((f / "detections.json").read_text()).values() for f in (single, batch))
    np.testing.assert_allclose(
        *([row["box"] for row in entry["detections"]] for entry in (one, other)), rtol=0, atol=1e-2
    )


def test_a_picture_that_does_not_decode_is_skipped(run, tmp_path, album):
    (album / "broken.jpg").write_bytes(b"not a picture")
    (album / "empty.png").touch()
    result = run("detect", album, *SMALL, "-o", tmp_path / "out", "--batch", 2)
    assert result.code == 1
    lines = result.err.splitlines()
    assert lines[0] == f"skipped: cannot read the picture {album / 'broken.jpg'}: it does not decode"
    assert f"skipped: cannot read the picture {album / 'empty.png'}: the file is empty" in lines
    assert lines[-1] == "error: 2 of 5 pictures could not be read"
    assert result.out.splitlines()[-1].startswith("3 pictures, ")
    report = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [os.path.basename(path) for path in report] == ["picture.jpg", "picture.png", "zoo.jpg"]
    assert all(os.path.isfile(entry["drawn"]) for entry in report.values())


def test_links_that_go_round_in_a_loop_are_skipped(run, tmp_path, album):
    (album / "one.jpg").symlink_to("two.jpg")
    (album / "two.jpg").symlink_to("one.jpg")
    result = run("detect", album, *SMALL, "-o", tmp_path / "out")
    assert result.code == 1
    assert "Traceback" not in result.err
    for name in ("one.jpg", "two.jpg"):
        assert f"skipped: cannot read the picture {album / name}" in result.err
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 3


def test_a_picture_that_cannot_be_prepared_is_skipped(run, tmp_path, album):
    lines = ("from trtnn.models.yolov5 import YOLOv5", "class Warped(YOLOv5):", "    def __init__(self):")
    lines += (
        '        super().__init__("yolov5n", classes=10)',
        '        self.metadata["preprocessing"] = {"fit": "warp"}',
    )
    (tmp_path / "own.py").write_text("\n".join(lines))
    trtnn.vision.write_image(album / "a.png", np.zeros((1, 33_000, 3), np.uint8))
    result = run("detect", album, *SMALL, "--model", f"{tmp_path / 'own.py'}:Warped", "-o", tmp_path / "out")
    assert result.code == 1
    assert result.err.startswith(f"skipped: cannot take {album / 'a.png'}: a picture of 1×33000 is too long")
    assert result.err.endswith("error: 1 of 4 pictures could not be read\n")
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 3


def test_results_go_to_an_address_by_ray_alone(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("detect", PICTURE, *REFERENCE, "-o", "s3://bucket/found")
    assert (result.code, result.out) == (1, "")
    assert "--output s3://bucket/found is no folder of this machine\n  --ray ADDRESS writes to addresses" in result.err
    assert list(tmp_path.iterdir()) == []


def test_no_picture_that_decodes(run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    result = run("detect", tmp_path / "broken.jpg", *SMALL, "-o", tmp_path / "out")
    assert (result.code, result.out) == (1, f"0 pictures, 0 detections: {tmp_path / 'out'}\n")
    assert result.err.endswith("error: 1 of 1 picture could not be read\n")
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == {}


def test_thresholds(run, tmp_path):
    result = run("detect", PICTURE, *REFERENCE, "-o", tmp_path, "--max-detections", 3, "--confidence", 0.5)
    assert "1 picture, 3 detections" in result.out
    result = run("detect", PICTURE, *REFERENCE, "-o", tmp_path, "--confidence", 0.0001, "--iou", 0.9)
    lines = result.out.splitlines()
    assert "... and " in lines[-2]
    assert len(lines) < 60


@pytest.mark.parametrize("kind", ["commas", "file"])
def test_names(run, tmp_path, kind):
    # Together they are longer than a file's name may be.
    names = [f"the digit that is {'one more than ' * digit}zero" for digit in range(10)]
    given = ",".join(names)
    if kind == "file":
        given = tmp_path / "names.txt"
        given.write_text("\n".join(names) + "\n\n")
    result = run("detect", PICTURE, *REFERENCE, "-o", tmp_path, "--names", given)
    assert result.code == 0, result.err
    (entry,) = json.loads((tmp_path / "detections.json").read_text()).values()
    assert entry["detections"][0]["label"] == names[entry["detections"][0]["class"]]


@pytest.mark.parametrize("form", ["{0: no, 1: yes, %s}", "[no, yes, %s]"])
def test_names_of_the_data_that_it_was_trained_with(run, tmp_path, form):
    rest = [f"{i}: c{i}" if form[0] == "{" else f"c{i}" for i in range(2, 10)]
    (tmp_path / "data.yaml").write_text("train: images\nnc: 10\nnames: " + form % ", ".join(rest))
    result = run("detect", PICTURE, *REFERENCE, "-o", tmp_path, "--names", tmp_path / "data.yaml")
    assert (result.code, result.err) == (0, "")
    (entry,) = json.loads((tmp_path / "detections.json").read_text()).values()
    names = ["no", "yes", *(f"c{i}" for i in range(2, 10))]
    assert all(row["label"] == names[row["class"]] for row in entry["detections"])


def test_no_label_is_guessed_from_the_number_of_classes(run, tmp_path, monkeypatch):
    """80 classes that nobody named are not COCO's."""

    class StandIn:
        labels, batch, task, device = None, 1, "detect", "cpu"

        def stream(self, images):
            return (Detections([[0, 0, 9, 9]], [0.9], [79]) for _ in images)

        def check_image_size(self, size):
            assert size == read_image(PICTURE).shape[:2]

    monkeypatch.setattr("trtnn.cli.detect.Detector", lambda *_, **__: StandIn())
    for classes in (80, 91):
        StandIn.classes = classes
        result = run("detect", PICTURE, *SMALL, "-o", tmp_path / str(classes))
        assert result.code == 0
        (entry,) = json.loads((tmp_path / str(classes) / "detections.json").read_text()).values()
        assert entry["detections"] == [{"box": [0.0, 0.0, 9.0, 9.0], "score": pytest.approx(0.9), "class": 79}]
        assert "toothbrush" not in result.out


# -- what is written, and where ---------------------------------------------------------------------------------------


def drawn(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in SUFFIXES)


def test_pictures_keep_their_format_unless_another_is_asked_for(run, tmp_path, album):
    (album / "scan").write_bytes((album / "picture.png").read_bytes())
    trtnn.vision.write_image(album / "a.webp", read_image(PICTURE))
    for options, names in (
        ([], ["a.webp", "picture.jpg", "picture.png", "zoo.jpg"]),
        (["--draw", "png"], ["a.png", "picture-2.png", "picture.png", "zoo.png"]),
        (["--draw", "jpg"], ["a.jpg", "picture-2.jpg", "picture.jpg", "zoo.jpg"]),
        (["--no-draw"], []),
    ):
        out = tmp_path / "-".join(["out", *options])
        result = run("detect", album, *SMALL, "-o", out, *options)
        assert (result.code, result.err) == (0, "")
        assert drawn(out) == names
        report = json.loads((out / "detections.json").read_text())
        assert len(report) == 4
        assert {os.path.basename(entry["drawn"]) for entry in report.values() if "drawn" in entry} == set(names)
    signatures = {".jpg": b"\xff\xd8", ".png": b"\x89PNG", ".webp": b"RIFF"}
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes().startswith(signatures.get(path.suffix, b""))
    assert run("detect", album / "scan", *SMALL, "-o", tmp_path / "scan").code == 0  # by its content, no suffix
    assert drawn(tmp_path / "scan") == ["scan.png"]
    both = run("detect", album, *SMALL, "--draw", "png", "--no-draw")
    assert both == (1, "", "error: detect takes one of --draw and --no-draw\n")


def test_pictures_of_a_folder_that_are_of_other_kinds_are_named(run, tmp_path, album):
    """A telephone's folder has both: half of it was missing without a word."""
    (album / "sub").mkdir()
    for name in ("a.HEIC", "b.avif", ".hidden.heic", "c.xml", "sub/d.dng"):
        (album / name).touch()
    result = run("detect", album, *SMALL, "-o", tmp_path / "out", "--no-draw")
    told = "note: 2 pictures left out, of kinds that are not read: a.HEIC, b.avif\n"
    assert (result.code, result.err.splitlines(keepends=True)[-1]) == (0, told)
    (album / "b.avif").unlink()
    result = run("detect", album, *SMALL, "-o", tmp_path / "out", "--no-draw")
    assert "note: 1 picture left out, of a kind that is not read: a.HEIC\n" in result.err
    result = run("detect", album, *SMALL, "-o", tmp_path / "out", "--no-draw", "-r")
    assert "note: 2 pictures left out, of kinds that are not read: a.HEIC, d.dng\n" in result.err


def test_subfolders_are_named_or_taken(run, tmp_path, album):
    (album / "sub" / "deep").mkdir(parents=True)
    for place in ("sub/zoo.jpg", "sub/deep/zoo.jpg"):
        shutil.copy(PICTURE, album / place)
    result = run("detect", album, *SMALL, "-o", tmp_path / "one")
    assert (result.code, result.err) == (0, "note: 1 subfolder left out: sub; -r takes their pictures too\n")
    assert drawn(tmp_path / "one") == ["picture.jpg", "picture.png", "zoo.jpg"]
    for _ in range(2):
        result = run("detect", album, *SMALL, "-r", "-o", album / "found")  # within: it is no source in the next run
        assert (result.code, result.err) == (0, "")
        assert drawn(album / "found") == ["picture.jpg", "picture.png", "sub/deep/zoo.jpg", "sub/zoo.jpg", "zoo.jpg"]
    shutil.rmtree(album / "sub" / "deep")
    (album / "sub" / "zoo.jpg").rename(tmp_path / "zoo.jpg")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    result = run("detect", tmp_path / "outer", *SMALL)
    outer = tmp_path / "outer"
    assert f"its subfolders were left out: '{outer}/**/*', or -r of detect, or recursive=True, takes" in result.err
    shutil.copy(PICTURE, outer / "inner")
    assert run("detect", f"{outer}/**/*", *SMALL, "-o", tmp_path / "of a glob").code == 0


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("kind", ["file", "glob"])
def test_recursion_is_for_a_folder(run, album, kind):
    result = run("detect", PICTURE if kind == "file" else f"{album.parent}/*/*.jpg", *SMALL, "-r")
    told = "error: --recursive would change nothing here\n  it is for a folder; a glob takes subfolders by **\n"
    assert result == (1, "", told)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["picture.jpg", "detections.json"])
def test_what_detect_did_not_write_is_not_overwritten(run, tmp_path, name):
    out = tmp_path / "photos"
    out.mkdir()
    (out / name).write_bytes(b"mine")
    result = run("detect", PICTURE, *SMALL, "-o", out)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"error: this would overwrite a file that it did not write: {out / name}\n"
        "  give another folder with --output, or overwrite with --force\n"
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {name: b"mine"}


def test_what_detect_wrote_is_overwritten_until_it_was_changed(run, tmp_path):
    assert run("detect", PICTURE, *SMALL, "-o", tmp_path).code == 0
    first = (tmp_path / "detections.json").read_bytes()
    assert run("detect", PICTURE, *SMALL, "-o", tmp_path, "--confidence", "0.01").code == 0
    assert run("detect", PICTURE, *SMALL, "-o", tmp_path).code == 0
    assert (tmp_path / "detections.json").read_bytes() == first
    (tmp_path / "picture.jpg").write_bytes(b"mine")
    assert "did not write: " in run("detect", PICTURE, *SMALL, "-o", tmp_path).err
    (tmp_path / "picture.jpg").unlink()
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "picture.jpg").symlink_to(tmp_path / "elsewhere")
    assert "did not write: " in run("detect", PICTURE, *SMALL, "-o", tmp_path).err
    assert run("detect", PICTURE, *SMALL, "-o", tmp_path, "--force").code == 0
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\n", b"[1]\n[1,2]\nnull\n", b"[" * 100_000, b'["picture.jpg", "no digest"]\n']
)
def test_a_marker_that_is_damaged_allows_nothing(run, tmp_path, content):
    (tmp_path / MARKER).write_bytes(content)
    (tmp_path / "picture.jpg").write_bytes(b"mine")
    assert "did not write: " in run("detect", PICTURE, *SMALL, "-o", tmp_path).err


def test_a_marker_that_was_cut_off_keeps_what_follows(run, tmp_path):
    (tmp_path / MARKER).write_bytes(b'["detections.js')
    assert run("detect", PICTURE, *SMALL, "-o", tmp_path).code == 0
    assert run("detect", PICTURE, *SMALL, "-o", tmp_path).code == 0


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("elsewhere", path)])
def test_a_marker_that_is_no_file_is_not_written_to(run, tmp_path, make):
    make(tmp_path / MARKER)
    result = run("detect", PICTURE, *SMALL, "-o", tmp_path)
    assert result.err.startswith(f"error: {tmp_path / MARKER} is no regular file\n")
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device", "x.jpg")])
def test_what_was_found_before_an_end_is_kept(run, tmp_path, album, monkeypatch, error):
    def read(path, max_pixels):
        if path.name == "zoo.jpg":
            raise error
        return read_image(path, max_pixels)

    monkeypatch.setattr("trtnn.vision.sources.read_image", read)
    result = run("detect", album, *SMALL, "-o", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [os.path.basename(path) for path in report] == ["picture.jpg", "picture.png"]
    assert drawn(tmp_path / "out") == ["picture.jpg", "picture.png"]
    if error is KeyboardInterrupt:
        told = f"interrupted: 2 of 3 pictures are in {tmp_path / 'out' / 'detections.json'}\nerror: interrupted\n"
        assert (result.code, result.err) == (130, told)
    else:
        assert (result.code, result.err) == (1, "error: x.jpg: No space left on device\n")


def test_a_picture_of_too_many_pixels_is_skipped_unless_they_are_allowed(run, tmp_path):
    height, width, _ = read_image(PICTURE).shape
    options = [PICTURE, *SMALL, "-o", tmp_path]
    result = run("detect", *options, "--max-pixels", height * width - 1)
    assert result.code == 1
    assert f"picture.jpg is too large: {height}×{width} pixels" in result.err
    assert "--max-pixels" in result.err
    assert run("detect", *options, "--max-pixels", height * width).code == 0


@pytest.fixture
def no_pictures(monkeypatch):
    """Fail where a picture is read."""
    monkeypatch.setattr("trtnn.vision.sources.read_image", lambda *_: pytest.fail("a picture was read"))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("trtnn.engine.engine.gpus", lambda: ())


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    model = trtnn.models.from_state_dict(trtnn.load(WEIGHTS))
    path = tmp_path_factory.mktemp("engine") / "digits.engine"
    return model.compile({"images": (1, 3, 32, 32)}, **ONE_TARGET).save(path)


@pytest.mark.usefixtures("no_build", "no_pictures")
class TestBeforeAnyWork:
    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        yield
        assert not (tmp_path / "detections").exists()

    @pytest.mark.parametrize("options", [[], ["--weights", WEIGHTS, "--engine", "x.engine"]])
    def test_both_or_neither_of_engine_and_weights(self, run, options):
        assert run("detect", PICTURE, *options) == (
            1,
            "",
            "error: detect takes one of --engine, --weights and --triton\n",
        )

    def test_options_that_would_change_nothing(self, run, engine):
        message = "error: --reference takes --weights\n  an engine runs on a GPU alone\n"
        assert run("detect", PICTURE, "--engine", engine, "--reference") == (1, "", message)
        result = run("detect", PICTURE, "--engine", engine, "--size", 64, "--fp16", "--model", "yolov5n")
        assert result.code == 1
        assert result.err.startswith("error: --model, --size, --fp16 would change nothing here\n")
        assert "--cache would change nothing here" in run("detect", PICTURE, *SMALL, "--cache", "c").err

    def test_no_picture(self, run, tmp_path):
        assert f"no picture in the folder {tmp_path}" in run("detect", tmp_path, *SMALL).err
        assert "no picture at none.jpg" in run("detect", "none.jpg", *SMALL).err
        result = run("detect", "*/nothing*.png", *SMALL)
        assert result.code == 1
        assert "no picture at */nothing*.png" in result.err

    def test_an_engine_file_that_is_none(self, run, tmp_path, engine):
        path = tmp_path / "bad.engine"
        path.write_bytes(engine.read_bytes()[:-1000])
        result = run("detect", PICTURE, "--engine", path)
        assert result.code == 1
        assert f"{path} is not an engine file, or is damaged" in result.err
        result = run("detect", PICTURE, "--engine", "missing.engine")
        assert result == (1, "", "error: cannot read the engine file missing.engine: No such file or directory\n")
        result = run("detect", PICTURE, "--engine", WEIGHTS)
        message = "is not an engine file: .safetensors is the suffix of a checkpoint\n  give it with --weights\n"
        assert result == (1, "", f"error: {WEIGHTS} {message}")

    @pytest.mark.usefixtures("no_gpu")
    def test_an_engine_without_a_gpu(self, run, engine):
        result = run("detect", PICTURE, "--engine", engine)
        assert (result.code, result.out) == (1, "")
        backend = trtnn.get_backend()
        assert f"it needs {backend.name} {backend.version} and a GPU of " in result.err
        assert "no GPU was found here" in result.err

    @pytest.mark.usefixtures("no_gpu")
    def test_weights_without_a_gpu(self, run):
        result = run("detect", PICTURE, "--weights", WEIGHTS)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("error: no GPU was found here, and an engine needs one to run\n")
        assert "trtnn detect --reference" in result.err

    @pytest.mark.skipif(not ONE_TARGET, reason="this TensorRT builds for its own GPU alone")
    def test_weights_with_a_gpu_that_is_too_old(self, run, monkeypatch):
        monkeypatch.setattr("trtnn.engine.engine.gpus", lambda: ("sm50",))
        result = run("detect", PICTURE, "--weights", WEIGHTS)
        assert result.code == 1
        assert "does not build for the GPU here, which is sm50" in result.err

    def test_weights_without_a_way_to_the_gpu_s_memory(self, run, monkeypatch):
        def missing():
            raise EngineError("an engine needs torch with CUDA, or pycuda, for device memory")

        monkeypatch.setattr("trtnn.engine.engine.gpus", lambda: ONE_TARGET.get("targets", ("sm86",)))
        monkeypatch.setattr("trtnn.engine.engine.device_memory", missing)
        assert "needs torch with CUDA, or pycuda" in run("detect", PICTURE, "--weights", WEIGHTS).err

    @pytest.mark.parametrize("names", ["one,two", ",".join("0123456789a")])
    def test_a_wrong_number_of_names(self, run, names, monkeypatch):
        monkeypatch.setattr("trtnn.cli.runners.check_gpu", lambda: None)
        for mode in ([], ["--reference"]):
            result = run("detect", PICTURE, "--weights", WEIGHTS, "--size", 32, "--names", names, *mode)
            assert result.code == 1
            assert f"--names gives {names.count(',') + 1} names for 10 classes" in result.err

    @pytest.mark.parametrize("names", ["gone.yaml", "gone.txt", "some/names", "gone.json"])
    def test_a_file_of_names_that_is_missing_is_not_one_name(self, run, names):
        result = run("detect", PICTURE, *SMALL, "--names", names)
        message = f"error: --names {names} gives no names of classes: No such file or directory\n"
        assert (result.code, result.err) == (1, message)

    def test_a_file_of_names_that_is_not_text(self, run):
        result = run("detect", PICTURE, *SMALL, "--names", PICTURE)
        assert result.code == 1
        assert f"--names {PICTURE} is not a text file" in result.err

    def test_an_output_folder_that_cannot_be(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr("trtnn.cli.runners.check_gpu", lambda: None)
        (tmp_path / "file").touch()
        for mode in ([], ["--reference"]):
            options = ["--weights", WEIGHTS, "--size", 32, *mode]
            result = run("detect", PICTURE, *options, "-o", tmp_path / "file")
            assert result.code == 1
            assert f"cannot keep files in {tmp_path / 'file'}: it is a file" in result.err
            assert "Not a directory" in run("detect", PICTURE, *options, "-o", tmp_path / "file" / "in").err
        (tmp_path / "out" / "detections.json").mkdir(parents=True)
        result = run("detect", PICTURE, *SMALL, "-o", tmp_path / "out")
        assert (
            f"cannot write {tmp_path / 'out' / 'detections.json'}: it is a folder\n  give another folder" in result.err
        )
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        result = run("detect", PICTURE, *SMALL, "-o", tmp_path / "link")
        assert f"cannot keep files in {tmp_path / 'link'}: it is a link to what is not there\n" in result.err

    def test_a_size_between_two(self, run):
        result = run("detect", PICTURE, "--weights", WEIGHTS, "--reference", "--size", 100)
        assert result.code == 1
        assert "nearest: (96, 96) and (128, 128)" in result.err


def test_weights_are_built_and_the_engine_run(run, tmp_path, monkeypatch):
    built = []
    if not RUNS_HERE:  # the network stands in for its engine
        monkeypatch.setattr("trtnn.cli.runners.check_gpu", lambda: None)
        monkeypatch.setattr("trtnn.Network.build", lambda self, **options: built.append(options) or self)
    result = run("detect", PICTURE, "--weights", WEIGHTS, "--size", 320, "-o", tmp_path, "--cache", tmp_path / "cache")
    assert result.code == 0, result.err
    check_digits(json.loads((tmp_path / "detections.json").read_text())[str(PICTURE)])
    assert RUNS_HERE or built == [{"cache_dir": tmp_path / "cache"}]


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--ray"], "local"),
        (["--ray", "-r"], "local"),
        (["--ray", "auto"], "auto"),
        (["--ray=10.0.0.1:6379"], "10.0.0.1:6379"),
        (["-r", "--", "--ray"], None),
    ],
)
def test_a_cluster_without_an_address_is_one_of_this_machine(arguments, address, run, monkeypatch, tmp_path):
    module = importlib.import_module("trtnn.cli.detect")
    asked = []
    monkeypatch.setattr(module, "detect_by_ray", lambda *given, **options: asked.append(given[0]))
    result = run("detect", tmp_path, "--engine", "a.engine", *arguments)
    assert asked == ([] if address is None else [address]), result.err
    assert result.code == (address is None)
