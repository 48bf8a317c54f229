"""What Triton's Python backend calls, with its utilities stood in for, held against a Detector."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from trtnn import Detector
from trtnn.examples.digits import PICTURE
from trtnn.triton.python_model import TritonPythonModel, padded
from trtnn.vision import Detections, read_image
from trtnn.vision.images import encode_image


class Utilities(SimpleNamespace):
    """Triton's ``triton_python_backend_utils``, as far as the model calls it."""

    class Tensor:
        def __init__(self, name, array):
            self.name, self.array = name, array

        def as_numpy(self):
            return self.array

    class TritonError:
        def __init__(self, message):
            self.message = message

    class InferenceResponse:
        def __init__(self, tensors=(), error=None):
            self.tensors, self.error = {tensor.name: tensor.array for tensor in tensors}, error

    @staticmethod
    def get_input_tensor_by_name(request, name):
        return request[name]


@pytest.fixture
def model(monkeypatch, network, repository):
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", Utilities())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    opened = []

    def load(self, path):
        opened.append(path)
        return Detector(network, max_detections=self.rows)

    monkeypatch.setattr(TritonPythonModel, "load", load)
    model = TritonPythonModel()
    parameters = {"max_detections": {"string_value": "20"}}
    model.initialize({
        "model_config": json.dumps({"parameters": parameters}),
        "model_repository": str(repository / "digits-detector"),
        "model_version": "1",
        "model_instance_kind": "GPU",
        "model_instance_device_id": "1",
    })  # fmt: skip
    assert opened == [repository / "digits-detector" / "1" / "model.engine"]
    assert opened[0].is_file()
    return model


def test_requests_become_one_batch_and_each_gets_its_own(model, network, monkeypatch):
    import os

    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    image = read_image(PICTURE)
    images = [image, image[:, ::-1], image[: len(image) // 2]]
    data = [[encode_image("a.png", one)] for one in images]
    requests = [
        {"image": Utilities.Tensor("image", np.array(data[:2], object))},
        {"image": Utilities.Tensor("image", np.array([[b"nothing"]], object))},
        {"image": Utilities.Tensor("image", np.array(data[2:], object))},
    ]
    first, wrong, last = model.execute(requests)
    expected = Detector(network, max_detections=20)(images)
    assert "image 0" in wrong.error.message
    assert first.error is last.error is None
    for response, those in ((first, expected[:2]), (last, expected[2:])):
        tensors = response.tensors
        assert tensors["num_dets"].tolist() == [[len(found)] for found in those]
        for index, found in enumerate(those):
            np.testing.assert_array_equal(tensors["det_boxes"][index, : len(found)], found.boxes)
            np.testing.assert_array_equal(tensors["det_scores"][index, : len(found)], found.scores)
            np.testing.assert_array_equal(tensors["det_classes"][index, : len(found)], found.classes)
    assert len(expected[0]) > 3


def test_an_image_that_cannot_be_prepared_fails_no_other_request(model, network, monkeypatch):
    metadata = {**network.metadata, "preprocessing": {"fit": "warp"}}
    monkeypatch.setattr(network, "metadata", metadata)
    model.detector = Detector(network, max_detections=20)
    photos = [encode_image("a.png", image) for image in (np.zeros((1, 33_000, 3), np.uint8), read_image(PICTURE))]
    long, good = model.execute([{"image": Utilities.Tensor("image", np.array([[photo]], object))} for photo in photos])
    assert "a picture of 1×33000 is too long" in long.error.message
    assert good.error is None


def test_rows_behind_the_last_detection_are_empty():
    found = Detections([[1, 2, 3, 4]], [0.5], [2])
    none = Detections(np.zeros((0, 4)), [], [])
    arrays = padded([found, none], 3)
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "num_dets": ((2, 1), "int32"),
        "det_boxes": ((2, 3, 4), "float32"),
        "det_scores": ((2, 3), "float32"),
        "det_classes": ((2, 3), "int32"),
    }
    assert arrays["num_dets"].tolist() == [[1], [0]]
    assert arrays["det_boxes"].tolist() == [[[1, 2, 3, 4], [0] * 4, [0] * 4], [[0] * 4] * 3]
    assert arrays["det_classes"].tolist() == [[2, -1, -1], [-1] * 3]
