"""Model repositories, read by Triton's own protocol buffers."""

import ast
import os
import shutil
import warnings
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import trtnn
from tests.engine.tiny import loaded_net
from tests.helpers import ONE_TARGET, message_of
from tests.standin import stand_in
from tests.test_detecting_tasks import model
from trtnn import Dim, Input, Module
from trtnn import functional as F
from trtnn.errors import ArgumentError, FileError
from trtnn.triton import write_repository
from trtnn.triton.text_format import Word, to_text


def read_config(folder):
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_the_config_says_what_the_engine_is(repository, engine):
    config = read_config(repository / "digits")
    assert (config.name, config.platform, config.max_batch_size) == ("digits", "tensorrt_plan", 4)
    assert config.default_model_filename == "model.plan"
    (image,), (prediction,) = config.input, config.output
    assert (image.name, image.data_type, list(image.dims)) == ("images", model_config_pb2.TYPE_FP32, [3, 160, 160])
    (name,) = engine.outputs
    assert (prediction.name, prediction.data_type) == (name, model_config_pb2.TYPE_FP32)
    assert list(prediction.dims) == [3 * (20 * 20 + 10 * 10 + 5 * 5), 15]
    assert prediction.label_filename == ""
    assert list(config.dynamic_batching.preferred_batch_size) == [2]
    assert config.dynamic_batching.max_queue_delay_microseconds == 250
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.gpus)) == (2, model_config_pb2.ModelInstanceGroup.KIND_GPU, [0, 1])
    assert list(group.profile) == ["0"]
    (warm_up,) = config.model_warmup
    assert warm_up.batch_size == 2
    assert warm_up.inputs["images"].data_type == model_config_pb2.TYPE_FP32
    assert list(warm_up.inputs["images"].dims) == [3, 160, 160]
    assert warm_up.inputs["images"].random_data


def test_the_files_are_the_plan_and_the_names_of_classes(repository, engine):
    folder = repository / "digits"
    assert (folder / "1" / "model.plan").read_bytes() == bytes(engine.plan)
    assert (folder / "labels.txt").read_text().split("\n") == [*"0123456789", ""]
    assert sorted(os.listdir(repository)) == ["digits", "digits-detector"]  # nothing half-written stays behind


def test_what_the_model_says_of_itself_is_a_literal_as_ultralytics_client_reads_it(repository):
    metadata = ast.literal_eval(read_config(repository / "digits").parameters["metadata"].string_value)
    assert metadata["names"] == dict(enumerate("0123456789"))
    assert (metadata["task"], metadata["stride"], metadata["imgsz"]) == ("detect", 32, [160, 160])
    assert metadata["pipeline"] == "yolov5"
    assert not {"plan_digest", "structure", "trtnn"} & metadata.keys()


def test_the_detector_s_config_and_files(repository, engine):
    folder = repository / "digits-detector"
    config = read_config(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("digits-detector", "python", 4)
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] == [
        ("image", model_config_pb2.TYPE_STRING, [1])
    ]
    assert {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in config.output} == {
        "num_dets": (model_config_pb2.TYPE_INT32, [1]),
        "det_boxes": (model_config_pb2.TYPE_FP32, [300, 4]),
        "det_scores": (model_config_pb2.TYPE_FP32, [300]),
        "det_classes": (model_config_pb2.TYPE_INT32, [300]),
    }
    assert config.parameters["max_detections"].string_value == "300"
    assert bytes(trtnn.Engine.load(folder / "1" / "model.engine").plan) == bytes(engine.plan)
    space: dict = {}
    exec((folder / "1" / "model.py").read_text(), space)
    assert callable(space["TritonPythonModel"].execute)


class Several(Module):
    """Two profiles, an input in half precision beside one of whole numbers, and a length of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {
            "x": [
                Input((Dim("batch", 1, 1, 1), Dim("n", 2, 4, 8)), "float16"),
                Input((Dim("batch", 1, 8, 16), Dim("n", 2, 6, 8)), "float16"),
            ],
            "index": [Input((Dim("batch", 1, 1, 1), 1), "int32"), Input((Dim("batch", 1, 8, 16), 1), "int32")],
        }
        self.metadata = {"model": "several", "task": "classify", "names": ['a "cat"', "new\nline", "Käse", "\x07"]}

    def forward(self, x, index):
        return F.cat([x * 2, x], 1) + index


def test_profiles_types_and_labels(tmp_path):
    engine = Several().trace().build(**ONE_TARGET)
    (folder,) = write_repository(engine, tmp_path)
    config = read_config(folder)
    assert folder.name == "several"
    assert config.max_batch_size == 16
    assert {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in config.input} == {
        "x": (model_config_pb2.TYPE_FP16, [-1]),
        "index": (model_config_pb2.TYPE_INT32, [1]),
    }
    assert [list(tensor.dims) for tensor in config.output] == [[-1]]
    assert config.output[0].label_filename == "labels.txt"
    assert list(config.dynamic_batching.preferred_batch_size) == [1, 8]
    assert list(config.instance_group[0].profile) == ["0", "1"]
    assert list(config.instance_group[0].gpus) == []
    sizes = [(sample.batch_size, list(sample.inputs["x"].dims)) for sample in config.model_warmup]
    assert sizes == [(1, [4]), (8, [6])]
    assert (folder / "labels.txt").read_text() == 'a "cat"\nnew line\nKäse\n\x07\n'
    metadata = ast.literal_eval(config.parameters["metadata"].string_value)
    assert metadata["names"] == dict(enumerate(['a "cat"', "new\nline", "Käse", "\x07"]))


@pytest.mark.parametrize("save", [False, True])
def test_a_full_disk_is_told_with_the_model_s_folder(engine, tmp_path, monkeypatch, save):
    def fail(self, *args):
        raise OSError(28, "No space left on device", str(self))

    if save:
        monkeypatch.setattr("trtnn.files.os.fsync", fail)
    else:
        monkeypatch.setattr(Path, "write_bytes", fail)
    message = message_of(FileError, write_repository, engine, tmp_path, "digits", with_detector=True)
    name = "digits-detector" if save else "digits"
    assert message == f"cannot write {tmp_path / name}: No space left on device"
    assert os.listdir(tmp_path) == (["digits"] if save else [])


@pytest.mark.parametrize("most", [{}, {"instances": (1 << 31) - 1, "max_queue_us": (1 << 64) - 1, "gpus": [2**31 - 1]}])
def test_tensors_of_the_batch_alone_are_of_one_number_for_triton(tmp_path, most):
    class Best(Module):
        def forward(self, x, bias):
            return x.argmax(1) + bias, x

    count = Dim("count", 1, 2, 4)
    network = Best().trace({"x": Input((count, 3)), "bias": Input((count,), trtnn.int32)})
    (folder,) = write_repository(network.build(**ONE_TARGET), tmp_path, **most)
    config = read_config(folder)
    tensors = {tensor.name: (list(tensor.dims), tensor.HasField("reshape")) for tensor in config.input}
    assert tensors == {"x": ([3], False), "bias": ([1], True)}  # Triton refuses what has no dims
    assert [(list(tensor.dims), tensor.HasField("reshape")) for tensor in config.output] == [([1], True), ([3], False)]
    reshaped = [tensor.reshape for tensor in (*config.input, *config.output) if tensor.HasField("reshape")]
    assert [list(reshape.shape) for reshape in reshaped] == [[], []]
    assert {name: list(value.dims) for name, value in config.model_warmup[0].inputs.items()} == {"x": [3], "bias": [1]}
    if most:
        (group,) = config.instance_group
        assert (group.count, list(group.gpus)) == (most["instances"], most["gpus"])
        assert config.dynamic_batching.max_queue_delay_microseconds == most["max_queue_us"]


def test_text_is_what_protocol_buffers_read():
    text = "\\ \" ' \n\t\r \x00 \x7f é 猫 \u2028"
    message = {"name": text, "max_batch_size": 3, "instance_group": [{"kind": Word("KIND_CPU"), "passive": True}]}
    config = text_format.Parse(to_text(message), model_config_pb2.ModelConfig())
    assert (config.name, config.max_batch_size) == (text, 3)
    assert (config.instance_group[0].kind, config.instance_group[0].passive) == (2, True)


def test_an_engine_of_one_batch_is_refused(tmp_path):
    engine = loaded_net().compile(**ONE_TARGET)
    message = message_of(ArgumentError, write_repository, engine, tmp_path / "models")
    assert "this engine has no profile of batches" in message
    assert "images float32[1, 3, 8, 8]" in message
    assert "--batch 1,8,32" in message
    assert not (tmp_path / "models").exists()


def test_a_detector_of_more_than_boxes_is_refused_and_its_plan_is_not(tmp_path, monkeypatch):
    network = model("yolov8-pose").trace()
    stand_in(monkeypatch, network)
    engine = network.build(**ONE_TARGET)
    message = message_of(ArgumentError, write_repository, engine, tmp_path / "a", "pose", with_detector=True)
    assert message.startswith("Triton's detector gives boxes alone, and the task of this network is pose\n")
    assert not (tmp_path / "a").exists()
    assert len(write_repository(engine, tmp_path / "a", "pose")) == 1


def test_an_engine_that_takes_no_single_image_is_refused(tmp_path):
    net = loaded_net()
    net.inputs = {"images": (Dim("batch", 4, 4, 8), 3, 8, 8)}
    message = message_of(ArgumentError, write_repository, net.compile(**ONE_TARGET), tmp_path)
    assert "Triton may send a single request" in message
    assert "4" in message


def of_profiles(*images):
    net = loaded_net()
    net.inputs = {"images": list(images)}
    return net.trace().build(**ONE_TARGET)


def test_profiles_that_take_one_and_more_together(tmp_path):
    """One for a single request, and one for many."""
    few, many = Dim("batch", 1, 1, 1), Dim("batch", 2, 8, 16)
    (folder,) = write_repository(of_profiles((few, 3, 8, 8), (many, 3, 8, 8)), tmp_path / "whole")
    config = read_config(folder)
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [1, 8]
    assert [sample.batch_size for sample in config.model_warmup] == [1, 8]
    for other in ((Dim("batch", 3, 8, 16), 3, 8, 8), (many, 3, 16, 8)):
        engine = of_profiles((few, 3, Dim("h", 8, 8, 8), 8), (*other[:2], Dim("h", *[other[2]] * 3), 8))
        message = message_of(ArgumentError, write_repository, engine, tmp_path / "gap")
        assert "Triton may send a single request, and this engine takes more at a time" in message
        assert f"batches of 1 to 1; batches of {other[0].min} to 16" in message
    assert os.listdir(tmp_path) == ["whole"]


def test_batches_are_as_large_as_they_are_taken_in_each_size(tmp_path):
    small, large = Dim("h", 8, 8, 16), Dim("h", 16, 24, 32)
    engine = of_profiles((Dim("batch", 1, 8, 16), 3, small, 8), (Dim("batch", 1, 2, 4), 3, large, 8))
    config = read_config(write_repository(engine, tmp_path)[0])
    assert config.max_batch_size == 4
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4]
    sizes = [(sample.batch_size, list(sample.inputs["images"].dims)) for sample in config.model_warmup]
    assert sizes == [(4, [3, 8, 8]), (2, [3, 24, 8])]


def test_an_engine_with_an_output_of_no_batch_is_refused(tmp_path):
    class Mean(Module):
        def forward(self, x):
            return x.mean(0)

    engine = Mean().compile({"x": (Dim("batch", 1, 2, 4), 3)}, **ONE_TARGET)
    message = message_of(ArgumentError, write_repository, engine, tmp_path)
    assert "not all inputs and outputs of this engine are of one batch" in message
    assert "gives output float32[3]" in message


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "with space", "ü", "x" * 200, "a\n"])
def test_a_name_that_triton_does_not_take(engine, tmp_path, name):
    message = message_of(ArgumentError, write_repository, engine, tmp_path, name)
    assert f"Triton takes no model of the name {name!r}" in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_queue_us": -1}, "not for -1"),
        ({"instances": 0}, "at least one instance of a model, not 0"),
        ({"gpus": [1, 1]}, "each once, not [1, 1]"),
        ({"gpus": [0, -1]}, "not [0, -1]"),
        ({"gpus": 1}, "such as gpus=[0, 1], not 1"),
        ({"gpus": [1 << 31]}, "not [2147483648]"),  # fields of model_config.proto are int32, that of the queue uint64
        ({"instances": 1 << 31}, "not 2147483648"),
        ({"instances": 1.5}, "not 1.5"),
        ({"instances": True}, "not True"),
        ({"max_queue_us": 1 << 64}, "not for 18446744073709551616"),
        ({"max_queue_us": 0.5}, "not for 0.5"),
    ],
)
def test_numbers_out_of_range(engine, tmp_path, options, words):
    assert words in message_of(ArgumentError, write_repository, engine, tmp_path, **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["digits", "digits-detector"])
def test_what_is_no_model_is_kept_also_by_force(engine, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "diary.txt").write_text("mine")
    message = message_of(ArgumentError, write_repository, engine, tmp_path, "digits", with_detector=True, force=True)
    assert message.startswith(f"{tmp_path / name} is there already, and is no model of Triton's")
    assert [path.name for path in tmp_path.rglob("*")] == [name, "diary.txt"]


def test_a_model_that_is_there_is_kept_unless_forced(engine, tmp_path):
    (tmp_path / "digits-detector").mkdir()
    for name in ("config.pbtxt", "mine"):
        (tmp_path / "digits-detector" / name).write_text("mine")
    message = message_of(ArgumentError, write_repository, engine, tmp_path, "digits", with_detector=True)
    assert f"{tmp_path / 'digits-detector'} is there already" in message
    assert "--force" in message
    assert os.listdir(tmp_path) == ["digits-detector"]
    write_repository(engine, tmp_path, "digits", with_detector=True, force=True)
    assert sorted(os.listdir(tmp_path)) == ["digits", "digits-detector"]
    assert sorted(os.listdir(tmp_path / "digits-detector")) == ["1", "config.pbtxt"]


def test_no_detector_of_an_older_engine_is_left(engine, tmp_path):
    write_repository(engine, tmp_path, "digits", with_detector=True)
    other = tmp_path / "other-detector"  # which somebody else wrote
    (other / "1").mkdir(parents=True)
    (other / "config.pbtxt").write_text("mine")
    (other / "1" / "model.py").write_text("mine")
    with pytest.warns(UserWarning, match="is removed") as warned:
        (folder,) = write_repository(engine, tmp_path, "digits", max_queue_us=1, force=True)
    (warning,) = warned
    gone = tmp_path / "digits-detector"
    assert str(warning.message) == f"{gone} is removed, as it has the older engine; one of this engine: --with-detector"
    assert warning.filename == __file__
    assert sorted(os.listdir(tmp_path)) == ["digits", "other-detector"]
    write_repository(engine, tmp_path, "digits", with_detector=True, force=True)
    shutil.rmtree(folder)
    message = message_of(ArgumentError, write_repository, engine, tmp_path, "digits")
    assert message.startswith(f"{tmp_path / 'digits-detector'} is there already\n")
    assert not folder.exists()
    write_repository(engine, tmp_path, "other", force=True)
    assert (other / "1" / "model.py").read_text() == "mine"


def test_a_detector_that_was_changed_is_left_and_said_to_have_an_older_engine(engine, tmp_path):
    write_repository(engine, tmp_path, "digits", with_detector=True)
    model = tmp_path / "digits-detector" / "1" / "model.py"
    model.write_text(model.read_text() + "# mine\n")
    with pytest.warns(UserWarning, match="is left") as warned:
        write_repository(engine, tmp_path, "digits", force=True)
    assert [str(one.message) for one in warned] == [
        f"{tmp_path / 'digits-detector'} is left with the engine that it has, as it is not quite what trtnn writes; "
        "one of this engine: --with-detector --force"
    ]
    assert model.read_text().endswith("# mine\n")
    with warnings.catch_warnings(action="error"):
        write_repository(engine, tmp_path, "digits", with_detector=True, force=True)
    assert not model.read_text().endswith("# mine\n")


def test_what_fails_on_the_way_leaves_what_was_there(engine, tmp_path, monkeypatch):
    (folder,) = write_repository(engine, tmp_path, "digits")
    before = (folder / "config.pbtxt").read_bytes()
    real = os.rename

    def fail(source, target, **more):
        if str(target) == str(folder) and str(source).endswith("new"):
            raise OSError(28, "No space left on device")
        return real(source, target, **more)

    monkeypatch.setattr(os, "rename", fail)
    message = message_of(FileError, write_repository, engine, tmp_path, "digits", max_queue_us=1, force=True)
    assert message == f"cannot write {folder}: No space left on device"
    assert (folder / "config.pbtxt").read_bytes() == before
    assert os.listdir(tmp_path) == ["digits"]
