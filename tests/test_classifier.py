"""Classifier: pictures in, the likeliest classes out, against torch."""

import warnings

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import message_of
from trtnn.errors import ArgumentError
from trtnn.modules import Linear, Module
from trtnn.vision import PIPELINES


class Net(Module):
    """A classifier of what colour pictures have."""

    def __init__(self, classes=7, **metadata):
        super().__init__()
        self.inputs = {"images": (trtnn.Dim("batch", 1, 2, 2), 3, 32, 48)}
        self.metadata = {"pipeline": "imagenet", "task": "classify", **metadata}
        self.fc = Linear(3, classes)
        random = np.random.default_rng(0)
        self.fc.load_state_dict(
            {"weight": random.standard_normal((classes, 3)).astype(np.float32), "bias": np.zeros(classes, np.float32)}
        )

    def forward(self, images):
        return self.fc(images.mean((2, 3)))


PICTURES = [np.full((40 + i, 90 - i, 3), color, np.uint8) for i, color in enumerate(((9, 90, 200), (250, 3, 30), 77))]


def check_best(best, model, pipeline, image, count):
    """Compare the likeliest classes of an image with torch's softmax of what the layer makes of its mean colour."""
    pixels, _ = PIPELINES[pipeline].preprocess([image], (32, 48))
    logits = torch.from_numpy(model.fc.weight.data) @ torch.from_numpy(pixels[0].mean((1, 2)))
    scores, indices = logits.softmax(0).topk(count)
    assert [row.class_index for row in best] == indices.tolist()
    np.testing.assert_allclose([row.score for row in best], scores, rtol=1e-4)


def test_the_likeliest_come_first_with_their_probabilities():
    model = Net(names=list("abcdefg"))
    classifier = trtnn.Classifier(model, top=3)
    assert (classifier.batch, classifier.size, classifier.classes) == (2, [32, 48], 7)
    assert classifier.labels == list("abcdefg")
    found = classifier(PICTURES)
    assert len(found) == 3  # the last batch is not full
    for image, best in zip(PICTURES, found, strict=True):
        check_best(best, model, "imagenet", image, 3)


def test_more_than_there_are_is_all_of_them():
    (best,) = trtnn.Classifier(Net(classes=2), top=99)(PICTURES[:1])
    assert sorted(row.class_index for row in best) == [0, 1]
    assert sum(row.score for row in best) == pytest.approx(1)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"task": "detect", "pipeline": "yolov8"}, "Net is not a classifier: its task is detect"),
        ({"task": "segment"}, "Net is not a classifier: its task is segment"),
        ({"names": ["a", "b"]}, "its metadata are of 2 classes\n  its output is of 7: float32[batch, 7]"),
        ({"pipeline": []}, "there is no pipeline []"),
    ],
)
def test_what_contradicts_itself_or_is_none(metadata, words):
    assert words in message_of(ArgumentError, trtnn.Classifier, Net(**metadata))


def test_numbers_that_are_not_finite_are_no_probabilities():
    model = Net()
    for value in (np.nan, np.inf):
        model.fc.bias.data = np.float32([0, 0, value, 0, 0, 0, 0])
        assert "the logits of a picture reach " in message_of(ArgumentError, trtnn.Classifier(model), PICTURES)


def test_what_names_no_preprocessing_is_not_guessed():
    model = Net()
    del model.metadata["pipeline"]
    assert "nothing tells how pictures are prepared for Net" in message_of(ArgumentError, trtnn.Classifier, model)


@pytest.mark.parametrize("top", [0, -1, 1.5, "5", None, True])
def test_top_is_a_positive_number(top):
    assert f"top is a positive int, not {top!r}" in message_of(ArgumentError, trtnn.Classifier, Net(), top=top)


def test_other_outputs_and_single_pictures():
    class Maps(Net):
        def forward(self, images):
            return images

    assert "expected one output (batch, classes)" in message_of(ArgumentError, trtnn.Classifier, Maps())
    assert "a Classifier takes a list of pictures" in message_of(ArgumentError, trtnn.Classifier(Net()), PICTURES[0])


class Probabilities(Net):
    """The same, with the softmax inside, as YOLO's classifiers have it."""

    def __init__(self, **metadata):
        super().__init__(**{"pipeline": "yolo-classify", **metadata})

    def forward(self, images):
        return super().forward(images).softmax(1)


def test_probabilities_are_taken_as_they_are():
    model = Probabilities()
    for image, best in zip(PICTURES, trtnn.Classifier(model)(PICTURES), strict=True):
        check_best(best, model, "yolo-classify", image, 5)


def test_logits_are_no_probabilities():
    model = Net(pipeline="yolo-classify")
    message = message_of(ArgumentError, trtnn.Classifier(model), PICTURES)
    assert message.startswith("the outputs of a picture are from -")
    assert 'the pipeline is "imagenet"' in message
    model.fc.bias.data = np.full(7, 9, np.float32)  # none of them negative
    assert "and probabilities sum to 1" in message_of(ArgumentError, trtnn.Classifier(model), PICTURES)
    model = Probabilities()
    model.fc.bias.data = np.full(7, np.nan, np.float32)
    assert "sum to nan" in message_of(ArgumentError, trtnn.Classifier(model), PICTURES)


def test_another_tool_s_classifier_and_a_pipeline_that_is_named():
    theirs = Probabilities(imgsz="[32, 48]", names="{0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e', 5: 'f', 6: 'g'}")
    del theirs.metadata["pipeline"]
    expected = trtnn.Classifier(Probabilities())(PICTURES)
    classifier = trtnn.Classifier(theirs)
    assert classifier(PICTURES) == expected
    assert classifier.labels == list("abcdefg")
    del theirs.metadata["imgsz"]
    assert '{"pipeline": "yolo-classify"}' in message_of(ArgumentError, trtnn.Classifier, theirs)
    assert trtnn.Classifier(theirs, pipeline="yolo-classify")(PICTURES) == expected
    for pipeline, task in (("yolov8", "detect"), ("yolov8-pose", "pose")):  # the task of the pipeline that is named
        message = message_of(ArgumentError, trtnn.Classifier, theirs, pipeline=pipeline)
        assert message.startswith(
            f"Probabilities is not read by a pipeline for the task {task}: its task is classify\n"
            "  pipelines for that: yolo-classify, imagenet\n"
        )


def made(name):
    """Return a model of that name, all of whose weights are the same."""
    model = trtnn.models.create(name)
    for member in (*model.parameters(), *model.buffers()):
        member.data = np.broadcast_to(np.float32(0.01), member.shape)
    return model


@pytest.mark.parametrize("reader", [trtnn.Classifier, trtnn.Detector])
@pytest.mark.parametrize(
    ("model", "pipeline", "task", "own", "way"),
    [
        ("resnet18", "yolov8", "detect", "classify", "trtnn.Classifier(...)"),
        ("resnet18", "yolov8-pose", "pose", "classify", "trtnn.Classifier(...)"),
        ("yolov8n", "imagenet", "classify", "detect", "trtnn.Detector(...)"),
    ],
)
def test_a_pipeline_of_another_task_is_not_taken_for_the_model_s_own(reader, model, pipeline, task, own, way):
    message = message_of(ArgumentError, reader, made(model), pipeline=pipeline)
    assert message.startswith(f"{model} is not read by a pipeline for the task {task}: its task is {own}\n")
    assert f"\n  {way} and trtnn " in message


@pytest.mark.parametrize("reader", [trtnn.Classifier, trtnn.Detector])
@pytest.mark.parametrize("model", ["resnet18", "yolov8n"])
def test_a_pipeline_that_is_none_is_told_before_tasks(reader, model):
    message = message_of(ArgumentError, reader, made(model), pipeline="bogus")
    assert message.startswith("there is no pipeline 'bogus'\n")


def test_the_task_of_a_pipeline_alone_is_called_the_pipeline_s():
    model = Net()
    del model.metadata["task"]
    message = message_of(ArgumentError, trtnn.Classifier, model, pipeline="yolov8")
    assert message.startswith("Net is not a classifier: its pipeline yolov8 is for the task detect\n")
    listed = Net(task=["detect"])  # as a file may have it
    assert "its task is ['detect']" in message_of(ArgumentError, trtnn.Classifier, listed)


class Softmaxed(Net):
    """The same with its softmax inside."""

    def forward(self, images):
        return super().forward(images).softmax(1)


def test_probabilities_that_are_read_as_logits_are_told_once():
    classifier = trtnn.Classifier(Softmaxed())
    with pytest.warns(UserWarning, match="leave the softmax out of forward"):
        classifier(PICTURES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(PICTURES)
        trtnn.Classifier(Net())(PICTURES)
        trtnn.Classifier(Softmaxed(pipeline="yolo-classify"))(PICTURES)
        trtnn.Classifier(Softmaxed(classes=1))(PICTURES)  # which is 1 either way
