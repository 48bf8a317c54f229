"""Constructors and methods have torch.nn's arguments: names, order, kinds and defaults."""

import inspect
import re

import pytest
import torch

from trtnn import modules

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
