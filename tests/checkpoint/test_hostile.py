"""Pickles made to do harm: each is refused, and nothing in it runs."""

import os
import pickle
import pickletools
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from tests.fuzz.confined import confined
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
    path = call("pathlib", "PosixPath", text(command[6:]))
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
        "subclasses of object": HEAD
        + call("builtins", "getattr", b"cbuiltins\nobject\n", text("__subclasses__"))
        + b")R.",
        "types.FunctionType": HEAD
        + call("types", "FunctionType", call("builtins", "compile", text(code)), b"}")
        + b")R.",
        "importlib": HEAD + call("importlib", "import_module", text("antigravity")) + b".",
        "runpy": HEAD + call("runpy", "run_path", text("/dev/stdin")) + b".",
        "ctypes": HEAD + call("ctypes", "CDLL", text("evil.so")) + b".",
        "builtins.open": HEAD + call("builtins", "open", text(command[6:]), text("w")) + b".",
        "a path's method": b"\x80\x04" + text("pathlib") + text("PosixPath.touch") + b"\x93(" + path + b"tR.",
        "shutil": HEAD + call("shutil", "rmtree", text("/nowhere")) + b".",
        "copyreg": HEAD + call("copyreg", "__newobj__", b"cposix\nsystem\n", text(command)) + b".",
        "itertools.starmap": HEAD
        + call("itertools", "starmap", b"cposix\nsystem\n", b"(" + text(command) + b"t\x85")
        + b".",
        "torch.load": HEAD + call("torch", "load", text("evil.pt")) + b".",
        "a compiler of torch's": HEAD
        + call("torch.utils.cpp_extension", "load", text("evil"), b"](" + text("e.cpp") + b"e")
        + b".",
        "numpy.load": HEAD + call("numpy", "load", text("evil.npy"), b"N", b"\x88") + b".",
        "Cyrillic torch": b"\x80\x04" + text("t\u043erch") + text("Tensor") + b"\x93)R.",
        "full-width eval": b"\x80\x04" + text("builtins") + text("\uff45val") + b"\x93(" + text(code) + b"tR.",
        "a name of two lines": b"\x80\x04" + text("torch\nposix") + text("system") + b"\x93(" + text(command) + b"tR.",
        "a name that clears the screen": b"\x80\x04"
        + text("torch\x1b[2J")
        + text("system")
        + b"\x93("
        + text(command)
        + b"tR.",
        "socket": HEAD + call("socket", "create_connection", b"(" + text("localhost") + b"K\x09t") + b".",
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
    unknown = kind in ("call of an object", "Cyrillic torch")  # which name nothing harmful, and make nothing
    words = "holds no state dict|is damaged" if unknown else "asks for|has the pickle instruction|is damaged"
    with pytest.raises(CheckpointError, match=rf"a\.pt ({words})"):
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


# -- what runs nothing, and takes time or memory instead --------------------------------------------------------------


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    data = value.to_bytes(size, "little", signed=True)
    return (b"\x8a" + bytes([size]) if size < 256 else b"\x8b" + size.to_bytes(4, "little")) + data


def module(*registries: bytes) -> bytes:
    """An object like torch's modules, with the parameters, buffers and submodules given."""
    parameters, buffers, children = (*registries, *[b"}"] * (3 - len(registries)))
    state = b"}" + text("_parameters") + parameters + b"s" + text("_buffers") + buffers + b"s"
    return b"cmodels.yolo\nModel\n)\x81" + state + text("_modules") + children + b"sb"


def within_itself(parameters: bytes, children: bytes) -> bytes:
    """A pickle of a module whose submodules may be itself, which the memo has at 0."""
    made = module(parameters, b"}", children)
    head, rest = made[: made.index(b"\x81") + 1], made[made.index(b"\x81") + 1 :]
    return HEAD + head + b"q\x00" + rest + b"."


def colliding_tuples(count: int) -> list[tuple[int, int]]:
    """Pairs whose hashes are all the same, by solving Python's hash of tuples (xxHash) for the second item."""
    p1, p2, p5, whole = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64
    turned = lambda value, by: (value << by | value >> (64 - by)) % whole  # noqa: E731
    pairs: list[tuple[int, int]] = []
    first = 0
    while len(pairs) < count:
        first += 1
        state = turned((p5 + first * p2) % whole, 31) * p1 % whole
        second = (turned(12345, 64 - 31) - state) * pow(p2, -1, whole) % whole
        if second < 2**61 - 1:
            pairs.append((first, second))
    return pairs


def bombs() -> dict[str, bytes]:
    laughs = b"N" + b"2\x86" * 200  # 2²⁰⁰ times None
    prime = sys.hash_info.modulus
    equal_hashes = b"".join(number(i * prime) + b"N" for i in range(1, 60_001))
    pairs = colliding_tuples(40_000)
    assert len({hash(pair) for pair in pairs}) == 1
    many = b"}(" + b"".join(text(f"{i}") + b"N" for i in range(20_000)) + b"u"
    into_itself = b"".join(text(f"{i}") + b"h\x00" for i in range(10_000))
    short_names = b"".join(text(f"{i}") + b"K\x01" for i in range(1000))
    huge = number(1 << 20_000)
    long = text("x" * 500_000)
    return {
        "laughs": HEAD + laughs + b".",
        "laughs as a name": HEAD + b"}" + laughs + b"Ns.",
        "laughs as an element of a set": HEAD + b"cbuiltins\nset\n]" + laughs + b"a\x85R.",
        "laughs as a tensor": HEAD + b"}" + text("w") + laughs + b"s.",
        "laughs as a shape": rebuild(shape=laughs, strides=laughs),
        "laughs as a storage": HEAD + laughs + b"Q.",
        "laughs as a state": HEAD + b"cmodels.yolo\nModel\n)\x81" + laughs + b"b.",
        "lists that hold themselves": HEAD + b"]q\x00" + b"h\x00a" * 1000 + b".",
        "a dict that holds itself": HEAD + b"}q\x00" + text("state_dict") + b"h\x00s" + text("model") + b"h\x00s.",
        "a module within itself": within_itself(b"}", b"}" + text("a") + b"h\x00s"),
        "a module 10,000 times in itself": within_itself(b"}", b"}(" + into_itself + b"u"),
        "modules with one long name": within_itself(
            b"}" + long + b"K\x01s", b"}(" + text("a") + b"h\x00" + text("b") + b"h\x00u"
        ),
        "modules with many names": within_itself(b"}(" + short_names + b"u", b"}" + text("a") + b"h\x00s"),
        "a number of 20,000 bits as a name": HEAD + module(b"}", b"}", b"}" + huge + module() + b"s") + b".",
        "a tuple as a module's name": HEAD + module(b"}", b"}", b"}K\x01\x85Ns") + b".",
        "sets": HEAD + b"(" + b"\x8f" * 3_000_000 + b"t.",
        "frozensets": HEAD + b"(" + b"(\x91" * 1_500_000 + b"t.",
        "memo": HEAD + b"N" + b"\x94" * 3_000_000 + b".",
        "memo in far places": HEAD
        + b"N"
        + b"".join(b"r" + (2**32 - 1 - i).to_bytes(4, "little") for i in range(1000))
        + b".",
        "copies of a dict": HEAD
        + many
        + b"q\x00ccollections\nOrderedDict\nq\x01"
        + b"h\x01h\x00\x85R" * 100_000
        + b".",
        "copies by Counter": HEAD + many + b"q\x00ccollections\nCounter\nq\x01" + b"h\x01h\x00\x85R" * 100_000 + b".",
        "copies of a set": HEAD
        + b"]("
        + b"N" * 100_000
        + b"eq\x00cbuiltins\nset\nq\x01"
        + b"h\x01h\x00\x85R" * 300_000
        + b".",
        "long arguments": HEAD
        + b"("
        + b"N" * 100_000
        + b"tq\x00ctorch._utils\n_rebuild_parameter\nq\x01"
        + b"h\x01h\x00R0" * 300_000
        + b".",
        "numbers of one hash": HEAD + b"}(" + equal_hashes + b"u.",
        "numbers of one hash, one by one": HEAD + b"}" + equal_hashes.replace(b"N\x8a", b"Ns\x8a") + b"s.",
        "tuples of one hash": HEAD + b"}(" + b"".join(number(a) + number(b) + b"\x86N" for a, b in pairs) + b"u.",
        "tuples of one hash in a set": HEAD
        + b"\x8f("
        + b"".join(number(a) + number(b) + b"\x86" for a, b in pairs)
        + b"\x90.",
        "a frame of 2^63 bytes": HEAD + b"\x95" + b"\xff" * 7 + b"\x7f}.",
        "text of 2^32 characters": HEAD + b"X\xff\xff\xff\xffabc.",
        "a bytearray of 2^62 bytes": HEAD + b"\x96" + (2**62).to_bytes(8, "little") + b"abc.",
        "a number of 2^31 bytes": HEAD + b"\x8b\xff\xff\xff\x7fabc.",
        "digits": HEAD + b"I" + b"9" * 1_000_000 + b"\n.",
        "a shape of 10^18": rebuild(shape=number(10**18) + b"\x85", strides=b"K\x00\x85"),
        "a shape of 10^9 by 10^9": rebuild(shape=number(10**9) + number(10**9) + b"\x86", strides=b"K\x00K\x00\x86"),
        "an empty shape with 2^62 in it": rebuild(shape=b"K\x00" + number(2**62) + b"\x86", strides=b"K\x01K\x01\x86"),
        "a storage of 10^18": rebuild(count=number(10**18)),
        "an offset of 2^62": rebuild(offset=number(2**62)),
        "a list as a shape": rebuild(shape=b"]K\x02a", strides=b"]K\x01a"),
        "text as a shape": rebuild(shape=text(""), strides=text("")),
        "a set as a shape": rebuild(shape=b"\x8f", strides=b"\x8f"),
        "bytes as a shape": rebuild(shape=b"C\x02\x01\x02", strides=b"C\x02\x01\x02"),
        "a long shape": rebuild(shape=b"(" + b"K\x01" * 100_000 + b"tq\x00", strides=b"h\x00"),
        "a rebuild by itself": HEAD
        + call("torch._tensor", "_rebuild_from_type_v2", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"N", b")", b"N")
        + b".",
        "a parameter of nothing": HEAD + b"}" + text("w") + b"ctorch._utils\n_rebuild_parameter\n)Rs.",
        "a tensor without a storage": HEAD
        + b"}"
        + text("w")
        + call("torch._utils", "_rebuild_tensor_v2", b"N", b"K\x00", b")", b")")
        + b"s.",
        "a state for a class": HEAD + b"cmodels.yolo\nModel\n}b.",
        "a state for a tensor": rebuild()[:-2] + b"}" + text("shape") + number(10**18) + b"sbs.",
        "a state for an OrderedDict": HEAD + b"ccollections\nOrderedDict\n)R}" + text("__class__") + b"Nsb.",
        "keywords": HEAD + b"cmodels.yolo\nModel\n)}" + text("__class__") + b"cbuiltins\nobject\ns\x92.",
        "a factory": HEAD + b"ccollections\ndefaultdict\n(cbuiltins\nlist\ntR.",
        "a persistent id of text": HEAD + long + b"Q.",
        "a persistent id in itself": HEAD + b"]q\x00h\x00aQ.",
        "the name of a shell as a storage": HEAD
        + b"("
        + text("storage")
        + b"c__main__\nsystem\n"
        + long
        + text("cpu")
        + b"K\x02tQ.",
        "a codec": HEAD + call("_codecs", "encode", text("x"), text("os.system")) + b".",
        "a tensor called clear-the-screen": rebuild().replace(text("w"), text("\x1b[2J\n")),
        "a tensor called half a character": rebuild().replace(text("w"), b"X\x03\x00\x00\x00\xed\xa0\x80"),
        "a long tuple as the key of many dicts": HEAD
        + b"("
        + b"N" * 100_000
        + b"tq\x00]("
        + b"}h\x00Ns" * 20_000
        + b"e.",
        "sets of a long text": HEAD
        + text("x" * 200_000)
        + b"q\x00cbuiltins\nset\nq\x01]("
        + b"h\x01h\x00\x85R" * 3000
        + b"e.",
        "dicts of a long text": HEAD
        + text("x" * 200_000)
        + b"q\x00ccollections\nOrderedDict\nq\x01]("
        + b"h\x01h\x00\x85R" * 3000
        + b"e.",
        "a long module": b"\x80\x04"
        + text("m" * 350_000)
        + b"q\x00"
        + text("n")
        + b"q\x01]("
        + b"h\x00h\x01\x93" * 9000
        + b"e.",
        "a long name": HEAD + b"]" + b"c" + b"m" * 300_000 + b"\nn\na.",
        "a storage of a kind with a long name": HEAD
        + b"c"
        + b"a" * 300_000
        + b"\nb\nq\x00]("
        + (b"(" + text("storage") + b"h\x00" + text("0") + text("cpu") + b"K\x02tQ") * 9000
        + b"e.",
        "many classes": HEAD + b"(" + b"".join(b"ca.b\nc%d\n" % i for i in range(100_000)) + b"t.",
        "empty dicts": HEAD + b"}" * 2_000_000 + b".",
        "objects": HEAD + b"cmodels.yolo\nModel\nq\x00" + b"h\x00)\x81" * 1_500_000 + b".",
        "marks": HEAD + b"(" * 2_000_000 + b".",
        "models that share one": HEAD
        + b"}("
        + text("ema")
        + rebuild()[len(HEAD) : -1]
        + text("m")
        + module(b"}(" + b"".join(text(f"{i}") + b"K\x01" for i in range(40_000)) + b"u")
        + b"q\x09"
        + b"".join(text(f"model{i}") + module(b"}", b"}", b"}" + text("x") + b"h\x09s") for i in range(1500))
        + b"u.",
        "modules that say much": HEAD
        + module(
            b"}",
            b"}",
            b"}("
            + text("x")
            + module().replace(b"cmodels.yolo\nModel\n", b"ctorch.nn.modules.conv\nConv2d\n")[:-2]
            + text("padding")
            + b"("
            + b"N" * 9000
            + b"tsbq\x09"
            + b"".join(text(f"{i}") + b"h\x09" for i in range(30_000))
            + b"u",
        )
        + b".",
        "names of many wrappers": HEAD
        + b"}("
        + text("module." * 130 + "a")
        + rebuild()[len(HEAD) + 7 : -2]
        + b"q\x05"
        + b"".join(text("module." * 130 + f"{i}") + b"h\x05" for i in range(10_000))
        + b"u.",
        "many averages": HEAD
        + b"}("
        + text("ema.w")
        + rebuild()[len(HEAD) + 7 : -2]
        + b"q\x05"
        + b"".join(text(f"ema{i}.w") + b"h\x05" for i in range(60_000))
        + b"u.",
        "names without end": HEAD
        + b"}("
        + text("names")
        + b"]q\x09("
        + b"h\x09" * 9
        + b"e"
        + text("train_args")
        + b"}"
        + text("a")
        + b"h\x09s"
        + text("model")
        + module()
        + b"u.",
        "nothing": b"",
        "a stop": b".",
        "protocol 255": b"\x80\xff}.",
        "half an instruction": HEAD + b"X\x05",
    }


# those that are sound files after all, of an empty state dict or an empty tensor
HARMLESS = {
    zip_with: {
        *("an empty shape with 2^62 in it", "a state for an OrderedDict", "a factory", "protocol 255"),
        *("models that share one", "names without end", "names of many wrappers", "many averages"),
    },
    legacy_with: set(),
}


@pytest.mark.parametrize("pack", [zip_with, legacy_with])
def test_bombs(tmp_path, pack):
    """Each is refused, or harmless and read; in a process with little memory, that says when anything runs."""
    (folder := tmp_path / "bombs").mkdir()
    for index, data_pkl in enumerate(bombs().values()):
        if pack is legacy_with and len(data_pkl) > 400_000:
            continue  # the same reader, and these take seconds
        path = pack(folder / f"{index:03}.pt", data_pkl)
        if pack is zip_with:
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr("archive/data/0", bytes(8))
    found = confined("read", folder)
    names = list(bombs())
    assert [names[int(fault[:3])] + fault[3:] for fault in found["faults"]] == []
    assert found.get("loaded", 0) == len([name for name in names if name in HARMLESS[pack]])


def test_every_instruction_is_either_known_or_refused(tmp_path):
    for opcode in pickletools.opcodes:
        body = HEAD + opcode.code.encode("latin-1") + bytes(16)
        with pytest.raises(CheckpointError):
            load(zip_with(tmp_path / "a.pt", body))


def test_a_directory_that_exchanges_two_entries(tmp_path):
    torch.save({"a": torch.zeros(2), "b": torch.ones(2)}, path := tmp_path / "a.pt")
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    directory = (
        content[start:].replace(b"data/0", b"data/x").replace(b"data/1", b"data/0").replace(b"data/x", b"data/1")
    )
    path.write_bytes(content[:start] + directory)
    with pytest.raises(CheckpointError, match="its zip entry a/data/1 is not where it should be"):
        load(path)


# -- aimed files of other formats -------------------------------------------------------------------------------------


def directory_of(count: int) -> bytes:
    """A zip file whose directory has so many entries, all of the same few bytes."""
    local = b"PK\x03\x04" + bytes(22) + b"\x01\x00\x00\x00a"
    entries = b"".join(
        b"PK\x01\x02" + bytes(24) + b"\x05\x00" + bytes(16) + b"%05d" % (i % 99999) for i in range(count)
    )
    size, start = len(entries).to_bytes(4, "little"), len(local).to_bytes(4, "little")
    return local + entries + b"PK\x05\x06" + bytes(8) + size + start + bytes(2)


def header_of(text: str) -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode()


def listed(item: str, count: int) -> bytes:
    return header_of('{"a": [' + ",".join([item] * count) + "]}")


def aimed() -> dict[str, bytes]:
    entry = '{"dtype":"F32","shape":[],"data_offsets":[0,0]}'
    return {
        "directory.pt": directory_of(250_000),
        "directory.npz": directory_of(250_000),
        "smaller directory.npz": directory_of(40_000),
        "tensors.safetensors": header_of("{" + ",".join(f'"{i}":{entry}' for i in range(250_000)) + "}"),
        "dicts.safetensors": listed("{}", 5_000_000),
        "fewer dicts.safetensors": listed('{"":0}', 200_000),
        "lists.safetensors": listed("[]", 5_000_000),
        "numbers.safetensors": listed("1", 7_000_000),
        "floats.safetensors": listed("1.5", 3_500_000),
        "texts.safetensors": listed('""', 5_000_000),
        "long text.safetensors": header_of('{"__metadata__": {"a": "' + "x" * 15_000_000 + '"}}'),
        "wide text.safetensors": header_of('{"__metadata__": {"a": "' + "\U0001f600" * 3_700_000 + '"}}'),
        "nested.safetensors": header_of("[" * 15_000_000),
        "tensors.wts": b"900000\n" + b"".join(b"%d 1 3f800000\n" % i for i in range(900_000)),
        "empty tensors.wts": b"1500000\n" + b"".join(b"%d 0\n" % i for i in range(1_500_000)),
        "more tensors.wts": b"1\n" + b"".join(b"%d 0\n" % i for i in range(1_500_000)),
        "short words.wts": b"1\na 7000000 " + b"1 " * 7_000_000 + b"\n",
        "index.index.json": b'{"weight_map": {' + b",".join(b'"%d":"a"' % i for i in range(1_000_000)) + b"}}",
    }


def test_aimed_files_take_neither_time_nor_memory(tmp_path):
    for name, content in aimed().items():
        (tmp_path / name).write_bytes(content)
    found = confined("read", tmp_path)
    assert found["faults"] == []
    assert found["loaded"] == 3  # the long texts, which change nothing, and the short words
