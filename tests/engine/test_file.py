"""Engine files: what is written, what is read, and that nothing damaged gets through."""

import hashlib
import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trtnn.engine.engine
import trtnn.engine.file
from tests.engine.tiny import loaded_net
from tests.helpers import ONE_TARGET, message_of
from trtnn import Dim, Engine, Input
from trtnn.build.describe import describe
from trtnn.checkpoint import save
from trtnn.cli.sources import fill_empty
from trtnn.engine.metadata import RESERVED, class_names
from trtnn.engine.plan import looks_like_a_plan
from trtnn.errors import ArgumentError, EngineError
from trtnn.models import create


@pytest.fixture
def saved(engine, tmp_path):
    return engine.save(tmp_path / "net.engine")


def test_the_file_is_a_length_the_description_and_the_plan(engine, saved):
    data = saved.read_bytes()
    length = int.from_bytes(data[:4], "little")
    text = data[4 : 4 + length]
    head, _, end = text.rpartition(b', "description_digest": ')
    of_head = hashlib.blake2b(head, digest_size=20).hexdigest()
    assert end.decode() == f'"{of_head}"}}'
    assert json.loads(text) == {"trtnn_file": 2, **engine.description, "description_digest": of_head}
    assert data[4 + length :] == bytes(engine.plan)


def test_saving_and_loading_changes_nothing(engine, saved, tmp_path):
    loaded = Engine.load(str(saved))
    assert loaded.description == engine.description
    assert loaded.inputs == engine.inputs
    assert loaded.outputs == engine.outputs
    assert bytes(loaded.plan) == bytes(engine.plan)
    assert repr(loaded) == repr(engine)
    again = loaded.save(str(tmp_path / "again.engine"))
    assert again.read_bytes() == saved.read_bytes()


def test_an_engine_may_be_saved_over_itself(saved):
    before = saved.read_bytes()
    loaded = Engine.load(saved)
    loaded.save(saved)
    assert saved.read_bytes() == before
    assert bytes(loaded.plan) == before[-loaded.plan.nbytes :]
    assert os.listdir(saved.parent) == [saved.name]  # nothing half-written stays behind


@pytest.mark.parametrize("use", [Engine.check_plan, lambda engine: engine.save(engine.path)])
@pytest.mark.parametrize("write", [lambda data: b"short", lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_file_that_was_written_into_is_not_used(saved, use, write):
    """The plan is read when it is needed: in a file that was cut short that would end the process."""
    loaded, before = Engine.load(saved), saved.stat().st_mtime_ns
    saved.write_bytes(write(saved.read_bytes()))
    os.utime(saved, ns=(before + 1, before + 1))
    message = message_of(EngineError, use, loaded)
    assert f"the engine file {saved} was written to after it was read" in message
    assert "cp writes into it" in message


@pytest.mark.parametrize("use", [Engine.check_plan, lambda engine: engine.save(engine.path)])
def test_a_file_that_has_another_time_alone_is_used(saved, use):
    """Caches give a file the time of its last use."""
    loaded, before, data = Engine.load(saved), saved.stat().st_mtime_ns, saved.read_bytes()
    os.utime(saved, ns=(before + 1, before + 1))
    use(loaded)
    assert saved.read_bytes() == data


@pytest.mark.parametrize(
    ("path", "words"),
    [("missing/net.engine", "the folder"), (".", "it is a folder")],
)
def test_a_path_that_cannot_be_written(engine, tmp_path, path, words):
    message = message_of(ArgumentError, engine.save, tmp_path / path)
    assert f"cannot write {tmp_path / path}: {words}" in message
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_closed_to_us(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    message = message_of(ArgumentError, engine.save, tmp_path / "net.engine")
    assert f"no permission to write in {tmp_path}" in message


def test_a_file_that_is_not_there(tmp_path):
    message = message_of(EngineError, Engine.load, tmp_path / "net.engine")
    assert f"cannot read the engine file {tmp_path / 'net.engine'}" in message
    assert "No such file" in message
    assert "cannot read the engine file" in message_of(EngineError, Engine.load, tmp_path)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (np.int64(3), "description['more'] is a numpy.int64, no JSON value"),
        (float("nan"), "description['more'] is nan"),
        ("x" * (1 << 22), "bytes, and 4,194,304 are read"),
        ([0] * 200_000, "values, and 200,000 are read"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(engine, tmp_path, more, words):
    odd = Engine(engine.plan, {**engine.description, "more": more})
    message = message_of(ArgumentError, odd.save, tmp_path / "a.engine")
    assert f"cannot write {tmp_path / 'a.engine'}: no file can hold this engine's description: " in message
    assert words in message
    assert os.listdir(tmp_path) == []


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.engine")
    for path, words in ((tmp_path / "pipe.engine", "it is a pipe"), ("/dev/zero", "it is a device")):
        assert f"cannot read the engine file {path}: {words}" in message_of(EngineError, Engine.load, path)


# -- plans of other tools ---------------------------------------------------------------------------------------------


def with_length(data):
    return struct.pack("<i", len(data)) + data


def loaded_from(tmp_path, data):
    path = tmp_path / "net.engine"
    path.write_bytes(data)
    return Engine.load(path)


def test_a_bare_plan(engine, tmp_path):
    bare = loaded_from(tmp_path, bytes(engine.plan))
    assert bare.description == {}
    assert bytes(bare.plan) == bytes(engine.plan)
    assert bytes(loaded_from(tmp_path, b"ftrt" + bytes(100)).plan) == b"ftrt" + bytes(100)


def test_ultralytics_file(engine, tmp_path):
    """The keys are those that its exporter writes."""
    theirs = {
        "description": "Ultralytics YOLO11n model trained on coco.yaml",
        "author": "Ultralytics",
        "version": "8.3.59",
        "task": "detect",
        "stride": 32,
        "batch": 1,
        "imgsz": [640, 640],
        "names": {"0": "person", "1": "bicycle"},
    }
    loaded = loaded_from(tmp_path, with_length(json.dumps(theirs).encode()) + bytes(engine.plan))
    assert loaded.description == theirs
    assert bytes(loaded.plan) == bytes(engine.plan)


def test_what_readers_of_ultralytics_files_look_for(saved):
    """A reader written after its layout alone: the length, the JSON, and what stands behind it."""
    with open(saved, "rb") as file:
        metadata = json.loads(file.read(int.from_bytes(file.read(4), byteorder="little")).decode("utf-8"))
        plan = file.read()
    assert (metadata["task"], metadata["batch"], metadata["imgsz"]) == ("detect", 1, [8, 8])
    assert metadata["names"] == ["cat", "dog"]
    assert plan[:4] in (b"ftrt", b"vtrt")


SIDES = [Dim(name, 32, opt, 160, multiple_of=32) for name, opt in (("height", 64), ("width", 128))]
ANY_SIZE = Input((Dim("batch", 1, 2, 4), 3, *SIDES))


@pytest.mark.parametrize(
    ("name", "options", "shape", "stride", "size"),
    [
        ("yolov8n", {"classes": 2}, (1, 3, 64, 96), 32, (1, [64, 96])),
        ("yolov8n", {"classes": 2}, ANY_SIZE, 32, (2, [64, 128])),
        ("yolov8n", {"classes": 2, "names": ["cat", "dog"]}, ANY_SIZE, 32, (2, [64, 128])),
        ("resnet18", {"classes": 2}, (3, 3, 64, 64), 1, (3, [64, 64])),
    ],
)
def test_such_a_reader_finds_all_that_it_does_not_do_without(name, options, shape, stride, size):
    """Ultralytics' own takes these five for granted where there is any JSON, and names as a list or a dict."""
    network = fill_empty(create(name, **options)).trace({"images": shape})
    metadata = json.loads(json.dumps(describe(network.graph, (), network.metadata, b"")))
    assert metadata["task"] in ("detect", "classify")
    assert (metadata["stride"], (metadata["batch"], metadata["imgsz"])) == (stride, size)
    assert metadata["names"] == options.get("names", ["class0", "class1"])
    assert class_names(metadata) == class_names(network.metadata) == options.get("names")


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (None, None),
        ([], None),
        (5, None),
        ([5, "six"], ["5", "six"]),
        ({"0": "class0", "1": "class1"}, None),
        ({"0": "cat", "1": "class1"}, ["cat", "class1"]),
        (["class1", "class0"], ["class1", "class0"]),
    ],
)
def test_the_names_of_classes(names, known):
    assert class_names({"names": names}) == known


def test_a_network_that_takes_no_pictures_has_no_size_of_them(tmp_path):
    class Sum(trtnn.Module):
        def forward(self, x, y):
            return x + y

    described = Sum().compile({"x": (1, 3, 8, 8), "y": (1, 3, 8, 8)}, **ONE_TARGET).description
    assert not {"batch", "imgsz", "channels"} & described.keys()


# -- metadata ---------------------------------------------------------------------------------------------------------


def with_metadata(metadata):
    net = loaded_net()
    net.metadata = metadata
    return net


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"stride": np.int64(32)}, "metadata['stride'] is a numpy.int64, no JSON value"),
        ({"names": ["cat", Path("dog")]}, "metadata['names'][1] is a pathlib.PosixPath, no JSON value"),
        ({"a": {"b": [1, {2}]}}, "metadata['a']['b'][1] is a set, no JSON value"),
        ({"a": np.ones(2)}, "metadata['a'] is a numpy.ndarray, no JSON value"),
        ({"a": b"b"}, "metadata['a'] is a bytes, no JSON value"),
        ({"a": float("nan")}, "metadata['a'] is nan, which JSON has not"),
        ({"a": [float("-inf")]}, "metadata['a'][0] is -inf, which JSON has not"),
        ({"a": {True: 1}}, "metadata['a'] has the key True, a bool: keys are text"),
        ({"a": {1: "x", "1": "y"}}, "metadata['a'] has one key as a number and as text"),
        ({"a": "\ud800"}, "metadata['a'] has half a character (a lone surrogate)"),
        ({"\ud800": 1}, "metadata has a key with half a character (a lone surrogate)"),
        ({"a": "x" * (1 << 21)}, "bytes of JSON, and 2,097,152 may be"),
        ({"a": [0] * 200_000}, "values, and 100,000 are read"),
        *(({name: 1}, f"metadata hold {name!r}, which an engine file says itself") for name in sorted(RESERVED)),
    ],
)
def test_metadata_that_no_file_can_hold_are_refused_at_trace(metadata, words):
    message = message_of(ArgumentError, with_metadata(metadata).trace)
    assert words in message
    assert "x" * 2000 not in message


def test_metadata_that_are_no_dict():
    for value in (None, ["cat"], 3):
        message = message_of(ArgumentError, with_metadata(value).trace)
        assert message == f"metadata is a dict of JSON values, not {value!r}"


def test_a_structure_of_many_levels_is_read_again(tmp_path):
    class Deep(trtnn.Module):
        def forward(self, x):
            value = x + 1
            for level in range(99):
                value = [{"a": value}, (value,), [value]][level % 3]
            return value

    engine = Deep().compile({"x": (2,)}, **ONE_TARGET)
    assert Engine.load(engine.save(tmp_path / "a.engine")).description == engine.description


def test_metadata_that_hold_themselves():
    metadata = {"a": []}
    metadata["a"].append(metadata)
    assert "metadata is nested too deeply" in message_of(ArgumentError, with_metadata(metadata).trace)


def test_metadata_that_change_after_the_trace_are_looked_at_again():
    network = with_metadata({"a": 1}).trace()
    network.metadata["plugins"] = 3
    assert "metadata hold 'plugins'" in message_of(ArgumentError, network.build, **ONE_TARGET)


def test_a_network_has_metadata_as_a_file_gives_them_back(tmp_path):
    network = with_metadata({"names": {0: "cat", 1: "dog"}, "size": (1, 2), "much": [None, True, 1.5, "é"]}).trace()
    expected = {"model": "TinyNet", "names": {"0": "cat", "1": "dog"}, "size": [1, 2], "much": [None, True, 1.5, "é"]}
    assert network.metadata == expected
    loaded = Engine.load(network.build(**ONE_TARGET).save(tmp_path / "a.engine"))
    assert expected.items() <= loaded.description.items()
    assert class_names(loaded.description) == class_names(network.metadata) == ["cat", "dog"]


def test_the_size_of_pictures_is_the_engines_own():
    """Metadata may tell the size of the training."""
    description = with_metadata({"imgsz": 192, "batch": 16}).compile(**ONE_TARGET).description
    assert (description["imgsz"], description["batch"]) == ([8, 8], 1)


def test_what_a_description_says_itself_is_reserved(engine):
    """But for what tells other tools of pictures and classes, which is the model's to say where it is not known."""
    network = fill_empty(create("yolov8n", classes=2)).trace({"images": ANY_SIZE}, fp16=True)
    said = describe(network.graph, (), {"classes": 2}, b"").keys() | engine.description.keys()
    models_own = {"model", "names", "task", "classes", "stride", "batch", "channels", "imgsz"}
    assert said - models_own <= RESERVED


# -- damage -----------------------------------------------------------------------------------------------------------


def described(engine, **changes):
    description = {**engine.description, **changes}
    return with_length(json.dumps({k: v for k, v in description.items() if v is not ...}).encode()) + bytes(engine.plan)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x01\x00", "a description of -1 bytes in a file of 2"),
        (struct.pack("<i", -5) + b"{}plan", "a description of -5 bytes"),
        (struct.pack("<i", 0) + b"plan", "a description of 0 bytes"),
        (struct.pack("<i", 10**9) + b"{}plan", "a description of 1000000000 bytes in a file of 10"),
        (with_length(b"no json") + b"plan", "its description is not sound JSON: Expecting value"),
        (with_length(b"\xff\xfe\xfd") + b"plan", "its description is not sound JSON: 'utf-8' codec"),
        (with_length('{"trtnn": "1"}'.encode("utf-16")) + b"plan", "its description is not sound JSON: 'utf-8' codec"),
        (
            with_length(b'{"trtnn": "1", "trtnn": "2"}') + b"plan",
            "its description is not sound JSON: it has 'trtnn' twice",
        ),
        (with_length(b'{"\\u001b[2J": 1, "\\u001b[2J": 2}') + b"plan", "it has '\\x1b[2J' twice"),
        (with_length(b"[]") + b"plan", "its description is not sound JSON: it is a list, not an object"),
        (with_length(b"3") + b"plan", "it is a int, not an object"),
        (with_length(b"{}") + b"plan", "its description is not trtnn's, and no plan is behind it"),
        (with_length(b"[" * 100_000) + b"plan", "its description is not sound JSON: it is nested too deeply"),
        (with_length(b'{"description": "of another tool", "stride": 32}') + b"plan", "no plan is behind it"),
        (with_length(b'{"trtnn": "1"}') + b"ftrt", "its description lacks backend, tensorrt, targets"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it looks like a picture"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "it looks like a picture"),
    ],
)
def test_files_of_another_kind(tmp_path, data, words):
    message = message_of(EngineError, loaded_from, tmp_path, data)
    assert f"{tmp_path / 'net.engine'} is not an engine file, or is damaged" in message
    assert words in message


@pytest.mark.parametrize("kind", ["x.pt", "old.pt", "x.safetensors"])
def test_a_checkpoint_is_told_to_be_one(tmp_path, kind):
    if kind == "x.safetensors":
        save({"a": np.ones(3, np.float32)}, tmp_path / kind)
    else:
        torch.save({"a": torch.ones(3)}, tmp_path / kind, _use_new_zipfile_serialization=kind == "x.pt")
    message = message_of(EngineError, Engine.load, tmp_path / kind)
    assert f"{tmp_path / kind} is not an engine file, or is damaged\n  it looks like a checkpoint (" in message
    assert "a description of" not in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan_digest": ...}, "lacks plan_digest"),
        ({"plan_bytes": "many"}, "its plan_bytes is a str"),
        ({"targets": "sm86"}, "its targets is a str"),
        ({"targets": [86]}, "its targets are not all strings"),
        ({"backend": "tensorflow"}, "its backend is tensorflow"),
        ({"inputs": {"x": {"shape": [0], "dtype": "float32"}}}, "a shape holds positive ints"),
        ({"inputs": {"x": {"shape": [1], "dtype": "complex"}}}, "no element type"),
        ({"inputs": {"x": [1]}}, "TypeError"),
        (
            {"inputs": {"x": {"shape": [10**18], "dtype": "float32"}}},
            "its x would have more than 1,099,511,627,776 elements",
        ),
        ({"outputs": {"y": {"shape": [2**30, 2**30], "dtype": "int8"}}}, "its y would have more than"),
        ({"tensorrt": "1.7; rm -rf ~"}, "'1.7; rm -rf ~' is no version of TensorRT"),
        ({"inputs": {"x": {"shape": [1] * 9, "dtype": "float32"}}}, "a shape is a list of at most 8 lengths"),
        ({"inputs": {"x": {"shape": "12", "dtype": "float32"}}}, "dimensions of which no profile tells"),
        ({"inputs": {"x": {"shape": ["h"], "dtype": "float32"}}}, "dimensions of which no profile tells"),
        ({"profiles": [{"h": {"min": 1, "opt": 1, "max": 1}}]}, "its profiles are not of the dimensions that its"),
        ({"fp16_attention": 1}, "its fp16_attention is neither true nor false: 1"),
        ({"fp32_modules": 3}, "its fp32_modules are not a list of strings: 3"),
        ({"inner_outputs": [1]}, "its inner_outputs are not a list of strings: [1]"),
        ({"more": [[]] * 100_000}, "it has about 200,0"),
        ({"structure": "nothing"}, "KeyError: 'nothing'"),
        ({"structure": {"tuple": 3}}, "TypeError"),
        ({"structure": {"tuple": ["images"]}}, "KeyError: 'images'"),
    ],
)
def test_descriptions_that_cannot_be_true(engine, tmp_path, changes, words):
    assert words in message_of(EngineError, loaded_from, tmp_path, described(engine, **changes))


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ("*".join(["(a+b+c+d+e+f+g+h+i+j)"] * 40), "too complicated"),  # 10⁹ terms
        ("(" * 40 + "a" + "*7+b)//5" * 40, "too complicated"),  # each floor holds the one within it twice
        ("(" * 40 + "a*3" + "".join(f"%{n}+b)" for n in range(997, 957, -1)), "is damaged"),
        ("a*" * 600 + "a", "it has 1,201 characters, 1,000 are read"),
        ("-" * 990 + "a", "is no length"),
        ("(" * 400 + "a" + ")" * 400, "is no length"),
    ],
)
def test_lengths_that_would_take_forever(engine, tmp_path, length, words):
    dims = {name: {"min": 1, "opt": 500, "max": 1000} for name in "abcdefghij"}
    changes = {"profiles": [dims], "outputs": {"y": {"shape": [length], "dtype": "float32"}}}
    changes["inputs"] = {
        f"x{n}": {"shape": list(names), "dtype": "float32"} for n, names in enumerate(["abcde", "fghij"])
    }
    start = time.process_time()
    assert words in message_of(EngineError, loaded_from, tmp_path, described(engine, **changes))
    assert time.process_time() - start < 2


def test_a_description_of_odd_types_is_shown(engine, tmp_path):
    loaded = loaded_from(tmp_path, described(engine, model=["odd"], precision=None))
    assert repr(loaded).startswith("Engine(['odd'], None, ")


def of_before(engine):
    """A file as they were written when the plan alone was under a digest."""
    return described(engine)


def test_a_file_of_before_still_loads(engine, tmp_path):
    loaded = loaded_from(tmp_path, of_before(engine))
    assert loaded.description == engine.description
    loaded.check_plan()
    again = loaded.save(tmp_path / "again.engine")
    assert again.read_bytes() == engine.save(tmp_path / "new.engine").read_bytes()


def test_no_bit_of_a_file_changes_unseen(engine, tmp_path):
    """Before TensorRT is given any of it."""
    plan, path = b"ftrt and what a plan goes on with", tmp_path / "changed.engine"
    own = {"plan_bytes": len(plan), "plan_digest": hashlib.blake2b(plan, digest_size=20).hexdigest()}
    content = bytearray(Engine(plan, engine.description | own).save(path).read_bytes())
    start_of_plan = len(content) - len(plan)
    for place in range(8 * len(content)):
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        if place // 8 < start_of_plan:
            message = message_of(EngineError, Engine.load, path)
            assert "is not an engine file, or is damaged" in message
        else:
            assert "the plan of this engine is damaged" in message_of(EngineError, Engine.load(path).check_plan)
        content[place // 8] ^= 1 << place % 8


def test_a_description_that_was_changed_is_told_with_both_digests(saved):
    content = saved.read_bytes().replace(b'"shape": [1, 3, 8, 8]', b'"shape": [1, 3, 8, 9]')
    saved.write_bytes(content)
    message = message_of(EngineError, Engine.load, saved)
    assert "its description is not what was written: expected the digest " in message
    saved.write_bytes(content.replace(b", 9]", b", 8]").replace(b"description_digest", b"description_digesT"))
    assert "its description has lost its digest" in message_of(EngineError, Engine.load, saved)


def test_a_file_of_a_later_format_is_no_file_of_this_one(saved):
    content = saved.read_bytes()
    text = content[4 : 4 + int.from_bytes(content[:4], "little")]
    head = text.rpartition(b', "description_digest": ')[0].replace(b'"trtnn_file": 2', b'"trtnn_file": 3')
    digest = hashlib.blake2b(head, digest_size=20).hexdigest()
    later = head + f', "description_digest": "{digest}"}}'.encode()
    saved.write_bytes(content.replace(text, later))
    assert "a later trtnn wrote it: its format is 3, and this one reads up to 2" in message_of(
        EngineError, Engine.load, saved
    )


def test_an_empty_file(tmp_path):
    assert "cannot read the engine file" in message_of(EngineError, loaded_from, tmp_path, b"")


def test_truncated_files(engine, saved, tmp_path):
    data = saved.read_bytes()
    path = tmp_path / "short.engine"
    for length in (1, 3, 4, 50, len(data) - engine.plan.nbytes - 1, len(data) - engine.plan.nbytes, len(data) - 1):
        path.write_bytes(data[:length])
        assert "is not an engine file, or is damaged" in message_of(EngineError, Engine.load, path)
    assert f"where {engine.plan.nbytes} were written" in message_of(EngineError, Engine.load, path)
    path.write_bytes(data + b"x")
    assert f"a plan of {engine.plan.nbytes + 1} bytes" in message_of(EngineError, Engine.load, path)


@pytest.fixture
def reaching(monkeypatch):
    """The plans that come as far as TensorRT, on a machine that has the GPU."""
    plans = []
    monkeypatch.setattr(trtnn.engine.engine, "gpus", lambda: ("sm86",))
    monkeypatch.setattr(trtnn.engine.engine, "device_memory", lambda: None)
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda backend, plan, *_: plans.append(bytes(plan)))

    def deserialize(backend, plan):
        plans.append(bytes(plan))
        raise EngineError("as far as TensorRT")

    monkeypatch.setattr(trtnn.engine.engine, "deserialize", deserialize)
    return plans


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_give_errors_and_damaged_plans_go_nowhere(engine, saved, reaching, data):
    content = bytearray(saved.read_bytes())
    header = 4 + int.from_bytes(content[:4], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["header", "anywhere", "cut", "insert", "digit"]))
        end = min(header, len(content)) if kind in ("header", "digit") else len(content)
        at = data.draw(st.integers(0, end - 1))
        if kind == "cut":
            del content[max(at, 1) :]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        else:  # digits and brackets keep JSON whole more often
            content[at] = data.draw(
                st.sampled_from(b'0123456789"{}[],: -e') if kind == "digit" else st.integers(0, 255)
            )
    path = saved.with_name("damaged.engine")
    path.write_bytes(content)
    reaching.clear()
    refusal = None
    try:
        loaded = Engine.load(path)
        assert repr(loaded).startswith("Engine(")
        loaded._open()
    except EngineError as error:
        refusal = error
    path.unlink()
    for plan in reaching:
        assert plan == bytes(engine.plan) or looks_like_a_plan(content)  # what begins as plans do is a bare one
    assert refusal is not None or reaching


def test_numbers_of_a_plan_are_checked_once(engine, saved, monkeypatch):
    asked, digest = [], trtnn.engine.file.digest
    monkeypatch.setattr(
        trtnn.engine.file, "digest", lambda data: (asked.append(1) if len(data) > 10_000 else None) or digest(data)
    )
    loaded = Engine.load(saved)
    assert asked == []  # looking at a file reads none of its plan
    assert loaded.inputs == {"images": Input((1, 3, 8, 8), np.float32)}
    loaded.check_plan()
    loaded.check_plan()
    assert asked == [1]
