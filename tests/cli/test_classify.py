"""``trtnn classify`` with a ResNet, against the network itself."""

import json

import numpy as np
import pytest

import trtnn
from tests.test_detecting_families import fill
from trtnn import models
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.vision import read_image, write_image

SIZE = ["--reference", "--size", 64]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet18.safetensors"
    trtnn.save(fill(models.create("resnet18", classes=7)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    for index, color in enumerate(((250, 10, 10), (10, 250, 10))):
        write_image(folder / f"{index}.png", np.full((70, 80, 3), color, np.uint8))
    (folder / "broken.jpg").write_bytes(b"none")
    return folder


@pytest.mark.parametrize(
    "shape",
    [["--size", 64], ["--size", 64, "--batch", 2], ["--size", "64,64,96"], ["--size", "64,64,96", "--batch", "1,2,4"]],
    ids=str,
)
def test_the_likeliest_classes_are_shown_and_written(run, weights, album, tmp_path, shape):
    options = ["--reference", *shape, "--top", 2, "--json", tmp_path / "a.json"]
    result = run("classify", album, "--weights", weights, *options)
    assert result.code == 1
    assert result.err.splitlines()[-1] == "error: 1 of 3 pictures could not be read"
    report = json.loads((tmp_path / "a.json").read_text())
    model = models.from_state_dict(trtnn.load(weights))
    classifier = trtnn.Classifier(model.trace({"images": (1, 3, 64, 64)}), top=2)
    for index in range(2):
        path = album / f"{index}.png"
        (expected,) = classifier([read_image(path)])
        assert [row["class"] for row in report[str(path)]] == [row.class_index for row in expected]
        np.testing.assert_allclose(
            [row["score"] for row in report[str(path)]], [row.score for row in expected], rtol=1e-3
        )
        assert result.out.count(f"{index}.png") == 2
    assert len(report) == 2


def test_names_of_the_classes(run, weights, album, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"))
    options = ["--weights", weights, *SIZE, "--json", tmp_path / "a.json"]
    assert run("classify", album / "0.png", *options, "--names", tmp_path / "names.txt").code == 0
    (rows,) = json.loads((tmp_path / "a.json").read_text()).values()
    assert len(rows) == 5
    assert all(row["label"] == "abcdefg"[row["class"]] for row in rows)
    result = run("classify", album / "0.png", *options, "--names", "a,b")
    assert "--names gives 2 names for 7 classes" in result.err


def test_what_was_found_before_ctrl_c_is_kept(run, weights, album, tmp_path, monkeypatch):
    def read(path, max_pixels):
        if path.name == "1.png":
            raise KeyboardInterrupt
        return read_image(path, max_pixels)

    monkeypatch.setattr("trtnn.cli.images.read_image", read)
    result = run("classify", album, "--weights", weights, *SIZE, "--json", tmp_path / "a.json")
    assert (result.code, result.err) == (130, "error: interrupted\n")
    assert list(json.loads((tmp_path / "a.json").read_text())) == [str(album / "0.png")]


def test_a_detector_is_no_classifier_nor_the_other_way(run, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("classify", PICTURE, "--weights", WEIGHTS, *SIZE)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: yolov5n is not a classifier: its task is detect\n")
    result = run("detect", PICTURE, "--weights", weights, *SIZE)
    assert result.err.startswith("error: resnet18 is not a detector\n")
    assert "trtnn classify" in result.err
    assert run("classify", PICTURE).err == "error: classify takes one of --engine, --weights and --triton\n"
