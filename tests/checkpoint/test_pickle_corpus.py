"""Every way in which a pickle can name or call something, nested and aliased: what could do harm is refused."""

import itertools
import pickletools

import pytest

from tests.checkpoint.test_hostile import HEAD, legacy_with, module, text, zip_with
from trtnn.checkpoint import load
from trtnn.checkpoint.harmful import is_harmful
from trtnn.errors import CheckpointError

ARGUMENT = text("touch harm")
# how a name comes onto the stack, and, where one instruction does both, how it is called
NAMES = {
    "GLOBAL": lambda module, name: f"c{module}\n{name}\n".encode(),
    "STACK_GLOBAL": lambda module, name: text(module) + text(name) + b"\x93",
    "STACK_GLOBAL of aliases": lambda module, name: text(module) + b"\x94" + text(name) + b"\x940" + b"0h\x00h\x01\x93",
    "STACK_GLOBAL of short texts": lambda module, name: (
        b"\x8c%c%s\x8c%c%s\x93" % (len(module), module.encode(), len(name), name.encode())
    ),
    "GLOBAL, popped and taken again": lambda module, name: f"c{module}\n{name}\nq\x070h\x07".encode("latin-1"),
    "GLOBAL, doubled": lambda module, name: f"c{module}\n{name}\n20".encode(),
    "INST": lambda module, name: b"(" + ARGUMENT + f"i{module}\n{name}\n".encode(),
}
CALLS = {
    "not called": b"",
    "REDUCE": b"(" + ARGUMENT + b"tR",
    "NEWOBJ": b"(" + ARGUMENT + b"t\x81",
    "NEWOBJ_EX": b"(" + ARGUMENT + b"t}\x92",
    "BUILD": b")\x81}" + text("a") + ARGUMENT + b"sb",
    "NEWOBJ and APPEND": b")\x81" + ARGUMENT + b"a",
    "NEWOBJ and SETITEM": b")\x81" + ARGUMENT + ARGUMENT + b"s",
    "REDUCE of what REDUCE made": b")R)R",
    "persistent id": b"Q",
}
PLACES = {
    "alone": lambda body: body,
    "in a list": lambda body: b"](" + body + b"e",
    "in a tuple in a tuple": lambda body: body + b"\x85\x85",
    "as a value": lambda body: b"}" + text("model") + body + b"s",
    "as a key": lambda body: b"}" + body + b"Ns",
    "in a set": lambda body: b"\x8f(" + body + b"\x90",
    "in a frozenset": lambda body: b"(" + body + b"\x91",
    "popped": lambda body: b"}" + body + b"0",
    "popped to a mark": lambda body: b"}(" + body + b"1",
    "as the argument of what is harmless": lambda body: b"ccollections\nOrderedDict\n(" + body + b"tR",
    "as the state of what is harmless": lambda body: b"cmodels.yolo\nModel\n)\x81" + body + b"b",
    "as an item of what is harmless": lambda body: b"cmodels.yolo\nModel\n)\x81" + text("a") + body + b"s",
    "as keywords": lambda body: b"cmodels.yolo\nModel\n)" + body + b"\x92",
    "as a parameter": lambda body: module(b"}" + text("w") + body + b"s"),
    "as a submodule": lambda body: module(b"}", b"}", b"}" + text("w") + body + b"s"),
    "as the bound method of a block": lambda body: b"cbuiltins\ngetattr\n(" + body + text("forward_fuse") + b"tR",
    "as a storage's kind": lambda body: b"(" + text("storage") + body + text("0") + text("cpu") + b"K\x01tQ",
}
HARMFUL = [
    ("posix", "system"),
    ("builtins", "eval"),
    ("__builtin__", "exec"),
    ("torch.hub", "load"),
    ("subprocess", "run"),
]


@pytest.mark.parametrize("place", PLACES)
def test_what_names_harm_is_refused_wherever_it_stands(tmp_path, place):
    kinds = itertools.product(NAMES, CALLS, HARMFUL)
    for number, (named, called, (owner, name)) in enumerate(kinds):
        body = HEAD + PLACES[place](NAMES[named](owner, name) + CALLS[called]) + b"."
        path = (zip_with if number % 2 else legacy_with)(tmp_path / "a.pt", body)
        with pytest.raises(CheckpointError) as caught:
            load(path)
        shown = owner.replace("__builtin__", "builtins")
        refusals = (f"asks for {shown}.{name}, which is not known to be harmless", "has the pickle instruction INST")
        assert any(words in caught.value.summary for words in refusals), (named, called, owner, caught.value.summary)
        path.unlink()


def test_no_instruction_that_names_or_calls_is_missing_here():
    naming = {
        opcode.name for opcode in pickletools.opcodes if "global" in opcode.doc.lower() or "class" in opcode.doc.lower()
    }
    tried = {"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "PERSID", "BINPERSID"}
    elsewhere = {"OBJ", "EXT1", "EXT2", "EXT4", "PROTO"}  # in test_hostile
    assert naming - tried - elsewhere <= {"LONG_BINPUT", "MARK", "FRAME", "STOP"}, naming


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *(("os", "system"), ("nt", "system"), ("sys", "exit"), ("importlib", "import_module"), ("ctypes", "CDLL")),
        *(
            ("builtins", "open"),
            ("builtins", "compile"),
            ("builtins", "setattr"),
            ("builtins", "object.__subclasses__"),
        ),
        *(("operator", "methodcaller"), ("types", "FunctionType"), ("types", "CodeType"), ("pathlib", "Path.unlink")),
        *(("torch", "load"), ("torch.utils.cpp_extension", "load"), ("numpy", "load"), ("numpy.testing", "measure")),
        *(("models.yolo", "os.system"), ("models.yolo", "sys.exit"), ("a", "b.__globals__"), ("a", "__reduce__")),
        *(("pip", "main"), ("pip._internal", "main"), ("setuptools", "setup"), ("dill", "loads"), ("pickle", "loads")),
        *(("timeit", "timeit"), ("cProfile", "run"), ("code", "interact"), ("asyncio", "run"), ("webbrowser", "open")),
        *(
            ("any.thing", "Popen"),
            ("any.thing", "eval"),
            ("builtins", "ｅval"),
            ("ｏs", "system"),
            ("a b", "c"),
            ("a", ""),
        ),
        *(("", "a"), ("a.", "b"), ("a..b", "c"), ("a", "b c"), ("a", "b.1"), ("a\nb", "c")),
    ],
)
def test_names_that_are_refused(owner, name):
    assert is_harmful(owner, name)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *(
            ("builtins", "range"),
            ("builtins", "xrange"),
            ("builtins", "Ellipsis"),
            ("builtins", "getattr"),
            ("builtins", "complex"),
        ),
        *(("collections", "OrderedDict"), ("functools", "partial"), ("operator", "itemgetter"), ("decimal", "Decimal")),
        *(("enum", "Enum"), ("uuid", "UUID"), ("re", "_compile"), ("datetime", "datetime"), ("_io", "BytesIO")),
        *(
            ("mmengine.logging.history_buffer", "HistoryBuffer"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("easydict", "EasyDict"),
        ),
        *(
            ("torch.nn.modules.conv", "Conv2d"),
            ("torch._C._nn", "gelu"),
            ("torch.nn.functional", "silu"),
            ("torch", "relu"),
        ),
        *(
            ("ultralytics.nn.modules.conv", "Conv"),
            ("models.common", "Conv"),
            ("__main__", "Config.Inner"),
            ("código", "Größe"),
        ),
        *(("numpy._core.multiarray", "_reconstruct"), ("numpy.random._pickle", "__randomstate_ctor")),
        *(("copyreg", "__newobj__"), ("timm.layers", "evaluate"), ("numpy", "dtype")),
    ],
)
def test_names_that_are_not(owner, name):
    assert not is_harmful(owner, name)
