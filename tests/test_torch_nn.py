"""Every module of torch.nn is here, or in the table of those that are not; and the page that says so is current."""

import inspect

import pytest
import torch

from tests.helpers import message_of
from tests.torch_nn import OF_TORCHVISION, PAGE, page, torch_modules
from trtnn import functional, modules
from trtnn.modules.missing import MISSING

# Arguments of torch's constructors that mean nothing here.
NOT_TAKEN = {"device", "dtype", "self", "_weight", "_freeze", "min_value", "max_value", "args", "kwargs"}
NOT_OF_TORCH = {"Module", *OF_TORCHVISION}


def test_every_module_is_here_or_accounted_for():
    known = {*modules.__all__, *MISSING}
    assert [name for name in torch_modules() if name not in known] == []


def test_no_module_is_both_here_and_missing():
    assert set(modules.__all__) & MISSING.keys() == set()


def test_no_name_is_here_that_torch_has_not():
    assert [name for name in modules.__all__ if not hasattr(torch.nn, name)] == [*OF_TORCHVISION]


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.torch_nn"


@pytest.mark.parametrize("name", [name for name in modules.__all__ if name not in NOT_OF_TORCH])
def test_arguments_and_defaults_are_torchs(name):
    ours, theirs = (inspect.signature(getattr(nn, name)).parameters for nn in (modules, torch.nn))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in (*ours.values(), *theirs.values())):
        pytest.skip("torch shows no signature")
    ours, theirs = (
        [p for p in found.values() if p.name not in NOT_TAKEN and p.kind is not p.VAR_POSITIONAL]
        for found in (ours, theirs)
    )
    assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in theirs]
    for mine, wanted in zip(ours, theirs, strict=True):
        if wanted.name == "dim" and name in ("Softmax", "Softmin", "LogSoftmax"):
            continue  # torch guesses a dimension where none is given, and says that it will not for long
        default, expected = (getattr(p.default, "__name__", p.default) for p in (mine, wanted))
        assert default == expected


def test_a_missing_module_says_why():
    message = message_of(AttributeError, getattr, modules, "CrossEntropyLoss")
    assert "trtnn.modules has no CrossEntropyLoss" in message
    assert "a loss, for training" in message
    message = message_of(AttributeError, getattr, modules, "Conv4d")
    assert "nearest: Conv" in message


def test_functions_have_torchs_names():
    places = (torch, torch.nn.functional, torch.Tensor)
    ours = {"cast", "deform_conv2d", "getitem", "modulated_deform_conv2d"}  # the second is torchvision's
    names = [name for name in functional.__all__ if not any(hasattr(place, name) for place in places)]
    assert set(names) == ours


FUNCTIONS_NOT_HERE = {
    # for training
    "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "gumbel_softmax",
    # that torch keeps for itself, or for older sources
    "assert_int_or_pair", "boolean_dispatch", "conv_tbc", "grouped_mm", "multi_head_attention_forward",
    "native_channel_shuffle", "scaled_grouped_mm", "scaled_mm", "upsample", "upsample_bilinear", "upsample_nearest",
    # of vectors among themselves
    "pdist",
}  # fmt: skip


def test_every_function_of_torch_nn_is_here_or_accounted_for():
    kinds = ("loss", "_with_indices", "fractional", "has_torch", "handle_torch", "entropy", "kl_div")
    theirs = [
        name
        for name, value in vars(torch.nn.functional).items()
        if callable(value) and name[0].islower() and not name.endswith("_") and not any(k in name for k in kinds)
    ]
    assert [n for n in theirs if n not in functional.__all__ and n not in FUNCTIONS_NOT_HERE] == []
