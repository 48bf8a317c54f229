"""The digits detector: its scenes, its loss, and that the weights do what results.json says."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from trtnn.examples.digits import PICTURE, SIZE_PX, WEIGHTS, scenes, train
from trtnn.examples.digits.evaluate import RESULTS, measure
from trtnn.examples.digits.loss import assign, complete_iou, detection_loss
from trtnn.examples.digits.network import YOLOv5
from trtnn.examples.digits.picture import TRUTH, demo_scene
from trtnn.examples.digits.predictors import BATCH, load_twin, network_predictor, torch_predictor
from trtnn.examples.digits.train import SceneStream, optimizer_for, save
from trtnn.vision import box_iou, non_max_suppression


@pytest.fixture(scope="module")
def few():
    return scenes.validation_set(12)


@pytest.fixture(scope="module")
def twin():
    return load_twin()


def test_scenes_depend_only_on_seed_and_index(few):
    again = scenes.make_scene(np.random.default_rng((2026, 7)), scenes.validation_source())
    np.testing.assert_array_equal(again.image, few[7].image)
    np.testing.assert_array_equal(again.boxes, few[7].boxes)
    np.testing.assert_array_equal(again.labels, few[7].labels)
    assert not np.array_equal(scenes.validation_set(1, seed=1)[0].image, few[0].image)


def test_scenes_are_as_described(few):
    for scene in few:
        assert scene.image.shape == (320, 320, 3)
        assert scene.image.dtype == np.uint8
        assert scene.boxes.shape == (len(scene.labels), 4)
        assert scene.boxes.dtype == np.float32
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= 320).all()
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        assert (sides >= 3).all()
        assert (sides.max(1) <= 220).all()
        assert set(scene.labels) <= set(range(10))
    assert sum(len(scene.labels) for scene in few) > 30


def test_boxes_are_tight():
    rng = np.random.default_rng(3)
    grey = np.full((320, 320, 3), 128, np.uint8)
    tight = 0
    for _ in range(20):
        scene = scenes.draw_digits(rng, scenes.validation_source(), grey, 1, heights_px=(20, 120))
        change = np.abs(scene.image.astype(int) - 128).max(2)
        drawn = change > 0.25 * change.max()
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        apart = (seen - scene.boxes[0]) * [1, 1, -1, -1]  # how far inside the box the drawing ends
        assert (apart <= 1).all()
        tight += (apart >= -1).all()
    assert tight >= 12  # one in four lies on a slip of paper, which is wider


def test_training_and_validation_share_nothing():
    training, validation = scenes.training_source(), scenes.validation_source()
    assert not set(scenes.TRAINING_PHOTOS) & set(scenes.VALIDATION_PHOTOS)
    assert (len(training.labels), len(validation.labels)) == (1437, 360)
    seen = {glyph.tobytes() for glyph in training.glyphs}
    assert not any(glyph.tobytes() in seen for glyph in validation.glyphs)


def test_a_box_is_learnt_in_its_cell_and_the_two_nearest():
    targets = torch.tensor([[2, 7, 42.0, 29.0, 20.0, 30.0], [0, 1, 1.0, 1.0, 300.0, 300.0]])  # the second is too big
    places = assign(targets, torch.tensor([[2.0, 4.0], [1.0, 0.9]]), rows=10, columns=12, stride_px=8)
    assert sorted(zip(places.row.tolist(), places.column.tolist(), strict=True)) == [(3, 4), (3, 5), (4, 5)]
    assert places.picture.tolist() == [2, 2, 2]
    assert places.anchor.tolist() == [0, 0, 0]
    assert places.label.tolist() == [7, 7, 7]
    torch.testing.assert_close(places.box[0], targets[0, 2:] / 8)


def test_complete_iou_against_torchvision_s_definition():
    a = torch.tensor([[10.0, 10, 8, 4], [10, 10, 8, 4], [0, 0, 2, 2]])
    b = torch.tensor([[10.0, 10, 8, 4], [12, 10, 4, 4], [10, 0, 2, 2]])
    v = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2
    second = 0.5 - 4 / (8**2 + 4**2) - v**2 / (1 - 0.5 + v)
    torch.testing.assert_close(
        complete_iou(a, b), torch.tensor([1, second, -100 / (12**2 + 2**2)], dtype=torch.float32)
    )


@pytest.mark.usefixtures("one_thread")
def test_loss_falls_on_one_batch():
    torch.manual_seed(0)
    model = YOLOv5("yolov5n", classes=10, width=0.125)
    images, targets = next(iter(SceneStream(batch=2, seed=0)))
    pixels = images.permute(0, 3, 1, 2).float() / 255
    optimizer = optimizer_for(model)
    totals = []
    for _ in range(8):
        loss = sum(detection_loss(model.detect, model(pixels), targets).values())
        totals.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert totals[-1] < 0.9 * totals[0]


def test_saved_weights_come_back(tmp_path):
    model = YOLOv5("yolov5n", classes=10)
    save(model, tmp_path / "weights.safetensors")
    again = load_twin(tmp_path / "weights.safetensors")
    for name, value in again.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, model.state_dict()[name].half().float(), rtol=0, atol=0)


@pytest.mark.usefixtures("one_thread")
def test_training_for_a_number_of_steps(tmp_path, monkeypatch, capsys):
    score = SimpleNamespace(map50=0.5, map50_95=0.25)
    monkeypatch.setattr(train, "validation_set", lambda pictures: [])
    monkeypatch.setattr(train, "measure", lambda predict, pictures: score)
    out = tmp_path / "weights.safetensors"
    model = train.train("yolov5n-dcn", minutes=0, steps=2, batch=1, workers=0, seed=0, out=out)
    assert "2 steps of 1 pictures" in capsys.readouterr().out
    assert model.model[1].conv_offset_mask.weight.abs().max() > 0
    assert load_twin(out).name == "yolov5n-dcn"


def test_weights_tell_which_detector_they_are_of(tmp_path):
    with torch.no_grad():
        save(YOLOv5("yolov5n-dcn", classes=10), tmp_path / "weights.safetensors")
    again = load_twin(tmp_path / "weights.safetensors")
    assert again.name == "yolov5n-dcn"
    pictures = np.random.default_rng(0).random((BATCH, 3, SIZE_PX, SIZE_PX), np.float32)
    expected = torch_predictor(again)(pictures)
    np.testing.assert_allclose(
        network_predictor(False, tmp_path / "weights.safetensors")(pictures), expected, atol=1e-3, rtol=1e-4
    )


def test_weights_too_large_for_fp16_are_refused(tmp_path):
    model = YOLOv5("yolov5n", classes=10)
    model.model[0].bn.running_var[3] = 1e6
    with pytest.raises(FloatingPointError, match=r"model\.0\.bn\.running_var does not fit fp16: up to 1e\+06"):
        save(model, tmp_path / "weights.safetensors")


def test_weights_are_small():
    assert WEIGHTS.stat().st_size < 4_000_000


def test_the_picture_is_the_one_described():
    scene = demo_scene()
    rows = json.loads(TRUTH.read_text())
    np.testing.assert_allclose([row["box"] for row in rows], scene.boxes, atol=2)
    assert [row["class"] for row in rows] == scene.labels.tolist()
    picture = cv2.cvtColor(cv2.imread(str(PICTURE)), cv2.COLOR_BGR2RGB)
    assert PICTURE.stat().st_size < 300_000
    assert np.abs(picture.astype(int) - scene.image).mean() < 4


def test_finds_every_digit_of_the_picture(twin):
    picture = cv2.cvtColor(cv2.imread(str(PICTURE)), cv2.COLOR_BGR2RGB)
    prediction = torch_predictor(twin)(picture[None].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    (found,) = non_max_suppression(prediction, confidence=0.25, iou=0.45)
    rows = json.loads(TRUTH.read_text())
    truth = np.array([row["box"] for row in rows])
    best = box_iou(truth, found.boxes).argmax(1)
    assert len(found) == len(rows)
    assert found.classes[best].tolist() == [row["class"] for row in rows]
    assert box_iou(truth, found.boxes).max(1).min() > 0.6


def test_measures_what_the_results_say(twin):
    score = measure(torch_predictor(twin), scenes.validation_set(40))
    reported = json.loads(RESULTS.read_text())["torch"]
    assert reported["mAP50"] >= 0.9
    assert score.map50 == pytest.approx(reported["mAP50"], abs=0.06)
    assert score.map50_95 == pytest.approx(reported["mAP50-95"], abs=0.08)
