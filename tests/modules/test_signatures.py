"""Constructors and methods have torch.nn's arguments: names, order, kinds and defaults."""

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import message_of, numbers, trace
from tests.modules.test_all import CASES
from trtnn import modules
from trtnn.errors import ArgumentError, TrtnnError

TORCH_LACKS = ("DCN", "DeformConv2d", "FrozenBatchNorm2d")  # of torchvision and of CenterNet
# What may differ: the arguments of ours, or None where they are not looked at, and why.
ACCEPTED = {
    "GRU": (None, "torch's are *args and **kwargs; see test_recurrent"),
    "LSTM": (None, "torch's are *args and **kwargs; see test_recurrent"),
    "RNN": (None, "torch's are *args and **kwargs; see test_recurrent"),
    "CrossMapLRN2d": ("size, alpha=0.0001, beta=0.75, k=1.0", "torch writes the same k as an int"),
    "Hardtanh": ("min_val=-1.0, max_val=1.0, inplace=False", "torch's min_value and max_value are deprecated there"),
    "LogSigmoid": ("", "torch's are *args and **kwargs, which it refuses"),
    "Module": ("", "torch's are *args and **kwargs, which it refuses"),
    "Sequential": ("*modules", "torch's *args"),
    "Sigmoid": ("", "torch's are *args and **kwargs, which it refuses"),
    "Softmax2d": ("", "torch's are *args and **kwargs, which it refuses"),
    "Softsign": ("", "torch's are *args and **kwargs, which it refuses"),
    "Tanh": ("", "torch's are *args and **kwargs, which it refuses"),
    "Tanhshrink": ("", "torch's are *args and **kwargs, which it refuses"),
}
OTHER_METHODS = {
    "compile": "builds an engine; torch's compiles",
    "forward": "is the user's",
    "state_dict": "torch's takes the three by position too, which it deprecates",
}
RENAMED = {"Sequential": {"extend": ("self, modules", "self, sequential")}}  # one method for both kinds of lists
METHODS = [
    name
    for name, method in vars(torch.nn.Module).items()
    if inspect.isfunction(method) and not name.startswith("_") and name in vars(modules.Module)
]


def shown(signature):
    """Return arguments as text, without annotations; functions by their names."""
    parameters = []
    for parameter in signature.parameters.values():
        default = parameter.default
        default = default.__name__ if inspect.isfunction(default) or inspect.isbuiltin(default) else default
        parameters.append(parameter.replace(default=default, annotation=parameter.empty))
    return str(inspect.Signature(parameters))[1:-1]


@pytest.mark.parametrize("name", [name for name in modules.__all__ if name not in TORCH_LACKS])
def test_a_constructor_has_torch_s_arguments(name):
    ours, theirs = (shown(inspect.signature(getattr(source, name))) for source in (modules, torch.nn))
    if name in ACCEPTED:
        expected, _ = ACCEPTED[name]
        assert ours != theirs, "it differs no more"
        assert expected in (None, ours)
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_network_has_the_arguments_of_torch_s_base(name):
    """torch's RNNBase has them, behind the mode; RNN puts the nonlinearity among them, and only LSTM projects."""
    theirs = list(inspect.signature(torch.nn.RNNBase).parameters.values())[1:]
    theirs = [parameter for parameter in theirs if name == "LSTM" or parameter.name != "proj_size"]
    expected = shown(inspect.Signature(theirs))
    if name == "RNN":
        expected = expected.replace("num_layers=1", "num_layers=1, nonlinearity='tanh'")
    assert shown(inspect.signature(getattr(modules, name))) == expected


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_torch_s_arguments(name):
    ours, theirs = (shown(inspect.signature(getattr(owner, name))) for owner in (modules.Module, torch.nn.Module))
    assert (ours == theirs) == (name not in OTHER_METHODS)


@pytest.mark.parametrize("name", ["modules", "named_modules", "load_state_dict", "register_buffer", "apply"])
def test_methods_are_compared(name):
    assert name in METHODS


@pytest.mark.parametrize("name", ["Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"])
def test_a_container_s_methods_have_torch_s_arguments(name):
    ours, theirs = getattr(modules, name), getattr(torch.nn, name)
    shared = [
        method
        for method, function in vars(theirs).items()
        if inspect.isfunction(function) and not method.startswith("_") and hasattr(ours, method) and method != "forward"
    ]
    differing = {
        method: pair
        for method in shared
        if len(set(pair := tuple(shown(inspect.signature(getattr(owner, method))) for owner in (ours, theirs)))) > 1
    }
    assert differing == RENAMED.get(name, {})


@pytest.mark.parametrize(
    "module",
    [
        lambda **more: modules.Conv2d(3, 4, 1, **more),
        lambda **more: modules.LSTM(3, 4, **more),
        lambda **more: modules.LayerNorm(3, **more),
    ],
)
def test_device_and_dtype_have_no_effect(module):
    shapes = [parameter.shape for parameter in module().parameters()]
    assert [p.shape for p in module(device="cuda", dtype=torch.float16).parameters()] == shapes


@pytest.mark.parametrize("name", modules.__all__)
def test_a_docstring_names_every_argument(name):
    """Of those without effect the package's docstring tells."""
    kind = getattr(modules, name)
    without_effect = {"device", "dtype", "inplace", "args", "kwargs"}
    words = set(re.findall(r"\w+", kind.__doc__))
    assert [p for p in inspect.signature(kind).parameters if p not in words | without_effect] == []
    assert without_effect - {"args", "kwargs"} <= set(re.findall(r"\w+", modules.__doc__))


ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "DCN": ((4, 6, 3), {}),
    "DeformConv2d": ((4, 6, 3), {}),
    "Embedding": ((5, 4), {}),
    "EmbeddingBag": ((5, 4), {}),
    "FrozenBatchNorm2d": ((4,), {}),
    "SyncBatchNorm": ((4,), {}),
    "TransformerDecoder": ((modules.TransformerDecoderLayer(8, 2, 16), 1), {}),
    "TransformerEncoder": ((modules.TransformerEncoderLayer(8, 2, 16), 1), {}),
    **{f"MaxUnpool{n}d": ((2,), {}) for n in (1, 2, 3)},
    **{case.name: (case.args, case.options) for case in reversed(CASES)},
}
SWITCHES = [
    (name, parameter.name, "None" in parameter.annotation)
    for name in modules.__all__
    for parameter in inspect.signature(getattr(modules, name)).parameters.values()
    if parameter.annotation in ("bool", "bool | None")
]


def with_argument(kind: Any, name: str, parameter: str, value: Any) -> Any:
    """Make a module with one argument in place of that of its case."""
    args, options = ARGUMENTS[name]
    given = inspect.signature(getattr(modules, name)).bind(*args, **options).arguments
    return kind(**{**given, parameter: value})


@pytest.mark.parametrize(("name", "parameter", "or_none"), SWITCHES)
def test_no_string_and_no_number_is_a_switch(name, parameter, or_none):
    """As of ``check_switches``; torch's modules take them, and its functions then refuse most."""
    kind = getattr(modules, name)
    for value in ("no", "", 0, 1, 1.0, [], *([] if or_none else [None])):
        words = message_of(ArgumentError, with_argument, kind, name, parameter, value)
        assert words.startswith(f"{name} takes True or False{' or None' if or_none else ''} as {parameter}, not ")
    others = [True] if parameter == "track_running_stats" else [True, False]
    for value in [*others, *map(np.bool_, others), *([None] if or_none else [])]:
        assert isinstance(with_argument(kind, name, parameter, value), modules.Module)


def test_switches_are_found():
    assert {("LSTM", "bidirectional", False), ("Upsample", "align_corners", True)} <= {*SWITCHES}
    assert len(SWITCHES) > 100
    assert {name for name, *_ in SWITCHES} <= ARGUMENTS.keys()


def test_no_string_runs_a_network_both_ways():
    """``bidirectional="no"`` made a network that runs both ways."""
    words = message_of(ArgumentError, modules.LSTM, 3, 4, bidirectional="no")
    assert words == "LSTM takes True or False as bidirectional, not 'no'"
    with pytest.raises(TypeError):
        torch.nn.LSTM(3, 4, bidirectional="no")(torch.ones(2, 1, 3))


@pytest.mark.parametrize(
    ("module", "switch"),
    [
        *[(lambda: modules.MultiheadAttention(8, 2), s) for s in ("need_weights", "average_attn_weights", "is_causal")],
        (lambda: modules.TransformerEncoderLayer(8, 2, 16), "is_causal"),
        (lambda: modules.TransformerDecoderLayer(8, 2, 16), "memory_is_causal"),
    ],
)
def test_no_string_is_a_switch_of_a_call(module, switch):
    made = module()
    for value in ("no", 1):
        words = message_of(ArgumentError, made.forward, **{switch: value})
        assert words.startswith(f"{type(made).__name__} takes True or False as {switch}, not ")


def test_no_string_is_a_switch_of_a_method():
    words = message_of(ArgumentError, modules.Embedding.from_pretrained, np.ones((3, 2), np.float32), freeze="no")
    assert words == "Embedding.from_pretrained takes True or False as freeze, not 'no'"


class Own(modules.Module):
    def __init__(self, shortcut: bool = True, width: int = 4) -> None:
        super().__init__()
        self.shortcut, self.width = shortcut, width


class OwnConv(modules.Conv2d):
    def __init__(self, width: int, bias: bool = False) -> None:
        super().__init__(3, int(width), 1, bias=bias)


def test_a_user_s_own_modules_take_what_they_like():
    assert (Own("no").shortcut, Own(1, 2.5).width) == ("no", 2.5)
    assert OwnConv(4.0).out_channels == 4
    assert "OwnConv takes True or False as bias" in message_of(ArgumentError, OwnConv, 4, "no")


WRONG = {
    "bool": ("no", 0),
    "int": ("2", 2.5, 2.0, True, 0, -1, None),
    "float": ("0.5", None, -1, math.nan, math.inf, [1.0]),
    "str": ("zerosx", 3, None),
    "Sides": ("2", 2.5, True, 0, -1, (1, 2, 3, 4), (1.0, 1.0), [2]),
}
# What torch refuses and these take, which is the same number or none at all.
ACCEPTED_WRONG = {
    ("Hardtanh", "max_val", "-1"): "a range of one number",
    ("LPPool2d", "kernel_size", "[2]"): "one for all, as in torch's other pools",
    ("Upsample", "scale_factor", "[1.0]"): "torch takes tuples alone",
}


def outcome(make: Any, run: Any) -> str | None:
    """Return the error of a module that is made and called, of trtnn's own kind, or None."""
    try:
        run(make())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def of_annotation(annotation: str) -> list[Any]:
    words = re.findall(r"\w+", annotation.replace("Sequence[int]", "Sides").replace("Length", "int"))
    found = [value for word in words for value in WRONG.get(word, ())]
    return [value for value in found if value is not None or "None" not in words]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted({case.name for case in CASES if not case.name.endswith(("1d", "3d"))}))
def test_what_torch_refuses_is_refused(name):
    """One wrong argument at a time: where torch's module is no module, or computes nothing, ours says why."""
    inputs = [numbers(*shape, seed=i) for i, shape in enumerate(next(c for c in CASES if c.name == name).shapes)]
    parameters = inspect.signature(getattr(modules, name)).parameters.values()
    accepted = []
    for parameter in parameters:
        for value in of_annotation(str(parameter.annotation)):
            make_theirs, make_ours = (
                lambda kind=kind, p=parameter.name, v=value: with_argument(kind, name, p, v)
                for kind in (getattr(torch.nn, name), getattr(modules, name))
            )

            def run_theirs(module):
                with torch.no_grad():
                    module.eval()(*map(torch.from_numpy, inputs))

            def run_ours(module):
                for member in (*module.parameters(), *module.buffers()):
                    member.data = np.ones(member.shape, np.float32)
                trace(module, *inputs)

            if outcome(make_theirs, run_theirs) is None:
                continue
            try:
                run_ours(make_ours())
            except TrtnnError:
                continue
            if (name, parameter.name, repr(value)) not in ACCEPTED_WRONG:
                accepted.append((parameter.name, value))
    assert not accepted


CHOICES = [
    *(("Conv2d", "padding_mode", v) for v in ("zero", "refect", "REFLECT")),
    ("Conv2d", "padding", "sam"),
    ("ConvTranspose2d", "padding_mode", "reflect"),
    ("RNN", "nonlinearity", "gelu"),
    ("RNNCell", "nonlinearity", "tanhh"),
    *((name, "activation", "rel") for name in ("Transformer", "TransformerDecoderLayer", "TransformerEncoderLayer")),
    ("DeformConv2d", "lowering", "plugins"),
    ("DCN", "lowering", "plugins"),
]
KNOWN = {
    "Conv2d": ("zeros", "reflect", "replicate", "circular"),
    "ConvTranspose2d": ("zeros",),
    **dict.fromkeys(("RNN", "RNNCell"), ("tanh", "relu")),
    **dict.fromkeys(("Transformer", "TransformerDecoderLayer", "TransformerEncoderLayer"), ("relu", "gelu")),
    **dict.fromkeys(("DCN", "DeformConv2d"), ("auto", "plugin", "native")),
}


@pytest.mark.parametrize(("name", "parameter", "value"), CHOICES)
def test_a_misspelt_word_is_refused_where_it_is_written(name, parameter, value):
    """In the constructor, with the words that are known; of what a function alone looks at, see tests/ops."""
    words = message_of(ArgumentError, with_argument, getattr(modules, name), name, parameter, value)
    known = ("valid", "same") if parameter == "padding" else KNOWN[name]
    assert repr(value) in words
    assert [word for word in known if word not in words.replace(repr(value), "")] == []
