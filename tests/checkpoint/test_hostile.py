"""Pickles made to do harm: each is refused, and nothing in it runs."""

import os
import pickle
import pickletools
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from trtnn.checkpoint import load
from trtnn.errors import CheckpointError

HEAD = b"\x80\x02"


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def attacks(command: str) -> dict[str, bytes]:
    """Pickles by what they try; each would run the shell command, or Python code like it, in Python's own reader."""
    code = f"__import__('os').system({command!r})"
    class_of_dict = call("builtins", "getattr", b"}", text("__class__"))
    system = call("posix", "system", text(command))
    return {
        "os.system": HEAD + call("os", "system", text(command)) + b".",
        "posix.system": HEAD + system + b".",
        "builtins.exec": HEAD + call("builtins", "exec", text(code)) + b".",
        "builtins.eval": HEAD + call("__builtin__", "eval", text(code)) + b".",
        "builtins.__import__": HEAD + call("builtins", "__import__", text("antigravity")) + b".",
        "subprocess": HEAD + call("subprocess", "getoutput", text(command)) + b".",
        "functools.partial": HEAD + call("functools", "partial", b"cposix\nsystem\n", text(command)) + b")R.",
        "operator.methodcaller": HEAD + call("operator", "methodcaller", text("system"), text(command)) + b".",
        "getattr": HEAD + class_of_dict + b".",
        "STACK_GLOBAL": b"\x80\x04" + text("posix") + text("system") + b"\x93(" + text(command) + b"tR.",
        "dotted name": b"\x80\x04" + text("models.yolo") + text("os.system") + b"\x93(" + text(command) + b"tR.",
        "dotted torch": b"\x80\x04" + text("torch") + text("os.system") + b"\x93(" + text(command) + b"tR.",
        "lookalike module": HEAD + call("torch.nnx", "system", text(command)) + b".",
        "torch.hub": HEAD + call("torch.hub", "load", text("evil/evil")) + b".",
        "torch's own shell": HEAD + call("torch.utils.collect_env", "run", text(command)) + b".",
        "numpy's own exec": HEAD + call("numpy.testing._private.utils", "runstring", text(code), b"}") + b".",
        "nested pickle": HEAD + call("torch.storage", "_load_from_bytes", b"C\x01.") + b".",
        "INST": HEAD + b"(" + text(command) + b"iposix\nsystem\n.",
        "OBJ": HEAD + b"(cmodels.yolo\nModel\n" + text(command) + b"o.",
        "EXT1": HEAD + b"\x82\x01)R.",
        "EXT2": HEAD + b"\x83\x01\x00)R.",
        "EXT4": HEAD + b"\x84\x01\x00\x00\x00)R.",
        "__setstate__": HEAD + b"cmodels.yolo\nModel\n)\x81}" + text("a") + system + b"sb.",
        "state of a class": HEAD + b"cmodels.yolo\nModel\n}" + text("__class__") + b"cposix\nsystem\nsb.",
        "state of a function": HEAD + b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__code__") + b"Ns\x86b.",
        "call of an object": HEAD + b"cmodels.yolo\nModel\n)\x81(" + text(command) + b"tR.",
        "call of text": HEAD + text("os.system") + b"(" + text(command) + b"tR.",
        "persistent id": HEAD + b"(" + text("module") + b"cposix\nsystem\n" + text("") + text("") + b"tQ.",
        "protocol 0": b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR.",
        "in a dict": HEAD + b"}" + text("model") + system + b"s.",
        "hidden and popped": HEAD + system + b"0}.",
        "hidden in an optimizer": HEAD + b"}(" + text("model") + b"}" + text("optimizer") + system + b"u.",
        "as a key": HEAD + b"}" + system + b"Ns.",
        "__reduce__ by Python": pickle.dumps(_Attack(command), protocol=4),
    }


class _Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def zip_with(path: Path, data_pkl: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/version", b"3\n")
    return path


def legacy_with(path: Path, data_pkl: bytes) -> Path:
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts) + data_pkl)
    return path


@pytest.mark.parametrize("pack", [zip_with, legacy_with])
@pytest.mark.parametrize("kind", attacks(""))
def test_is_refused_and_nothing_runs(tmp_path, kind, pack):
    data_pkl = attacks(f"touch {tmp_path / 'harm'}")[kind]
    before = set(sys.modules)
    with pytest.raises(CheckpointError, match=r"a\.pt (asks for|has the pickle instruction|is damaged)"):
        load(pack(tmp_path / "a.pt", data_pkl))
    assert not (tmp_path / "harm").exists()
    assert {name for name in set(sys.modules) - before if not name.startswith("encodings")} == set()


@pytest.mark.parametrize("kind", ["os.system", "builtins.exec", "functools.partial", "INST", "hidden and popped"])
def test_the_attacks_would_work(tmp_path, kind):
    pickle.loads(attacks(f"touch {tmp_path / 'harm'}")[kind])
    assert (tmp_path / "harm").exists()


def test_an_attack_within_a_whole_model(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model[0].hook = _Attack(f"touch {tmp_path / 'harm'}")
    torch.save({"model": model, "ema": None}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt asks for posix\.system, which is not known to be harmless"):
        load(tmp_path / "a.pt")
    assert not (tmp_path / "harm").exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "harm").exists()


def test_messages_name_the_file_and_the_cause(tmp_path):
    for data_pkl, summary in [
        (attacks("")["posix.system"], "asks for posix.system, which is not known to be harmless: refused"),
        (attacks("")["builtins.eval"], "asks for builtins.eval, which is not known to be harmless: refused"),
        (attacks("")["EXT1"], "has the pickle instruction EXT1, which torch.save does not write: refused"),
    ]:
        with pytest.raises(CheckpointError) as caught:
            load(zip_with(tmp_path / "a.pt", data_pkl))
        assert caught.value.summary == f"{tmp_path}/a.pt {summary}"
        assert caught.value.details[0] == "nothing in the file was run"


def test_deep_nesting_overflows_no_stack(tmp_path):
    deep_tuple = b")" + b"\x85" * 150_000
    deep_list = b"]" * 100_000 + b"a" * 99_999
    for data_pkl in (
        HEAD + b"}" + deep_tuple + b"Ns.",
        HEAD + b"c__builtin__\nset\n(]" + deep_tuple + b"atR.",
        HEAD + deep_list + b".",
        HEAD + b"(" * 100_000 + b".",
    ):
        with pytest.raises(CheckpointError):
            load(zip_with(tmp_path / "a.pt", data_pkl))


@pytest.mark.parametrize(
    "body",
    [
        b"\x8e" + b"\xff" * 7 + b"\x7f",  # BINBYTES8 of 2^63 bytes
        b"\x8d" + b"\xff" * 7 + b"\x7f",  # BINUNICODE8
        b"\x8b\xff\xff\xff\x7f",  # LONG4
        b"B\xff\xff\xff\xff",  # BINBYTES
        b"h\x05",  # BINGET of what was never put
        b"t",  # TUPLE without a MARK
        b"R",  # REDUCE on an empty stack
        b"}NNs}NNsu",
        b"Na",
        b"NNNs",
        b"(NNu",
        b"N]b",
        b"}]Ns",
        b"}(NNNu",
        b"}NNsNNs",
        b"NQ",
        b"ctorch\nFloatStorage\nN\x86Q",
        b"\xff",
    ],
)
@pytest.mark.parametrize("pack", [zip_with, legacy_with])
def test_nonsense(tmp_path, body, pack):
    with pytest.raises(CheckpointError, match="is damaged: its pickle cannot be read"):
        load(pack(tmp_path / "a.pt", HEAD + body + b"."))


def rebuild(shape=b"K\x02\x85", strides=b"K\x01\x85", offset=b"K\x00", count=b"K\x02") -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + count + b"tQ"
    arguments = b"(" + storage + offset + shape + strides + b"\x89Nt"
    return HEAD + b"}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"shape": b"K\x03\x85"}, "w reaches to element 2 of a storage of 2"),
        ({"offset": b"K\x01"}, "w reaches to element 2 of a storage of 2"),
        ({"strides": b"K\x02\x85"}, "w reaches to element 2 of a storage of 2"),
        ({"count": b"K\x03"}, "w needs 12 bytes, 8 are there"),
        ({"count": b"J\xff\xff\xff\xff"}, "it refers to something that is not a storage"),
        ({"strides": b"J\xff\xff\xff\xff\x85"}, "shape, strides or offset are malformed"),
        ({"offset": b"J\xff\xff\xff\xff"}, "shape, strides or offset are malformed"),
        ({"shape": b"J\xff\xff\xff\xff\x85"}, "shape, strides or offset are malformed"),
        ({"shape": b"K\x01K\x02\x86"}, "shape, strides or offset are malformed"),
        ({"shape": b"\x88\x85"}, "shape, strides or offset are malformed"),
        ({"shape": b"N"}, "its pickle cannot be read"),
        ({"shape": b"(" + b"K\x01" * 40 + b"t", "strides": b"(" + b"K\x01" * 40 + b"t"}, "are malformed"),
    ],
)
def test_tensors_that_do_not_fit_their_storage(tmp_path, options, problem):
    for given, expected in [({}, None), (options, problem)]:
        path = zip_with(tmp_path / "a.pt", rebuild(**given))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/data/0", bytes(8))
        if expected is None:
            assert load(path)["w"].tolist() == [0, 0]
        else:
            with pytest.raises(CheckpointError, match=expected):
                load(path)


def test_the_stride_of_a_size_of_1_may_be_anything(tmp_path):
    path = zip_with(tmp_path / "a.pt", rebuild(shape=b"K\x01\x85", strides=b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(8))
    assert load(path)["w"].tolist() == [0]


def test_messages_survive_what_they_would_show(tmp_path):
    huge = b"\x8b" + (10_000).to_bytes(4, "little") + b"\x01" * 10_000  # Python refuses to print so many digits
    deep = b"cmodels.yolo\nModel\n)\x81}" + text("a") + b"]" * 50_000 + b"a" * 49_999 + b"sb"
    for data_pkl in (
        rebuild(count=huge),
        rebuild(offset=huge),
        rebuild(shape=huge + b"\x85"),
        rebuild(strides=huge + b"\x85"),
        HEAD + b"}" + huge + b"Ns.",
        HEAD + b"}" + deep + b"Ns.",
        HEAD + b"}(" + deep + b"q\x01Nh\x01Nu.",
    ):
        with pytest.raises(CheckpointError):
            load(zip_with(tmp_path / "a.pt", data_pkl))


def test_every_instruction_is_either_known_or_refused(tmp_path):
    for opcode in pickletools.opcodes:
        body = HEAD + opcode.code.encode("latin-1") + bytes(16)
        with pytest.raises(CheckpointError):
            load(zip_with(tmp_path / "a.pt", body))
