"""Every module of torch.nn is here, or in the table of those that are not; and the page that says so is current."""

import pytest
import torch

from tests.helpers import TORCH, assert_close, message_of, numbers, run, trace
from tests.modules.torch_nn import OF_TORCHVISION, PAGE, page, torch_functions, torch_modules
from trtnn import functional, modules
from trtnn.graph.tensor import Tensor
from trtnn.modules.missing import MISSING
from trtnn.ops.missing import KINDS
from trtnn.ops.missing import MISSING as MISSING_FUNCTIONS
from trtnn.parameter import Parameter


def test_every_module_is_here_or_accounted_for():
    known = {*modules.__all__, *MISSING}
    assert [name for name in torch_modules() if name not in known] == []


def test_no_module_is_both_here_and_missing():
    assert set(modules.__all__) & MISSING.keys() == set()


def test_no_name_is_here_that_torch_has_not():
    assert [name for name in modules.__all__ if not hasattr(torch.nn, name)] == [*OF_TORCHVISION]


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.modules.torch_nn"


def test_a_missing_module_says_why():
    message = message_of(AttributeError, getattr, modules, "CrossEntropyLoss")
    assert "trtnn.modules has no CrossEntropyLoss" in message
    assert "a loss, for training" in message
    message = message_of(AttributeError, getattr, modules, "Conv4d")
    assert "nearest: Conv" in message


def test_functions_have_torchs_names():
    places = (torch, torch.nn.functional, torch.Tensor, torch.nn.utils.rnn)
    ours = {"cast", "getitem", "deform_conv2d", "modulated_deform_conv2d", "roi_align"}  # torchvision's among them
    names = [name for name in functional.__all__ if not any(hasattr(place, name) for place in places)]
    assert set(names) == ours


def _is_here(name):
    place, _, function = name.rpartition(".")
    if place:
        return function in getattr(getattr(functional, place, None), "__all__", ())
    in_place = name.endswith("_") and hasattr(functional, name)
    return name in functional.__all__ or hasattr(Tensor, name) or in_place


def test_every_function_is_here_or_accounted_for():
    left = [name for name in torch_functions() if not _is_here(name)]
    assert [name for name in left if name not in MISSING_FUNCTIONS and name.rstrip("_") not in MISSING_FUNCTIONS] == []


def test_no_function_is_both_here_and_missing():
    assert [name for name in MISSING_FUNCTIONS if _is_here(name)] == []


def test_every_missing_function_is_torchs_and_named_once():
    theirs = {*torch_functions(), *(name.rstrip("_") for name in torch_functions()), "special"}
    names = [name for kind in KINDS for name in kind.names.split()]
    assert [name for name in names if name not in theirs] == []
    assert sorted({*names}) == sorted(names)


@pytest.mark.parametrize("name", ["nonzero", "svd", "bernoulli_", "backward", "cdouble"])
def test_a_missing_function_says_why(name):
    why, instead = MISSING_FUNCTIONS[name.rstrip("_")]

    def messages(x):
        places = (("trtnn.functional", functional), ("Tensor", x), ("Parameter", Parameter(2)))
        for owner, place in places:
            assert not hasattr(place, name)
            message = message_of(AttributeError, getattr, place, name)
            assert message == f"{owner} has no {name}: {why}; {instead}"
        return x

    trace(messages, (2, 3))


def test_a_misspelled_function_says_which_is_near():
    assert "trtnn.functional has no softmx: nearest: softmax" in message_of(
        AttributeError, getattr, functional, "softmx"
    )
    message = message_of(AttributeError, getattr, functional.linalg, "svd")
    assert "trtnn.functional.linalg has no svd: it needs a decomposition" in message
    trace(lambda x: (message_of(AttributeError, getattr, x, "premute"), x)[1], (2,))
    with pytest.raises(ImportError):
        exec("from trtnn.functional import nonzero")


def test_functions_in_place():
    def changed(ops):
        return lambda x: [ops.relu_(x * 1), ops.elu_(x * 1), ops.threshold_(x * 1, 0.1, 2.0), ops.exp_(x * 1)]

    x = numbers(2, 3)
    assert_close(run(changed(functional), x), changed(TORCH)(torch.from_numpy(x)))
