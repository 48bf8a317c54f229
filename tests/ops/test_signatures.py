"""The functions show torch's arguments, in torch's order and with torch's defaults."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, check_triangle, message_of, numbers, run, trace
from tests.ops.signatures import of_function, of_torch, takes
from trtnn import functional as F
from trtnn import ops
from trtnn.errors import ArgumentError, UnsupportedError

NAMES = [*F.__all__, *(f"fft.{name}" for name in F.fft.__all__), *(f"linalg.{name}" for name in F.linalg.__all__)]

_OWN = "no function of torch's, or one that says nothing of its arguments; torchvision's have these"
_IN_WORDS = "torch's documentation has this name; in C++ an overload for each type has its own"
_LINALG = "torch.linalg's documentation has this name; input= is taken as well"
_PADDING = "'valid' is the default of an overload for words, and means 0"
_ONE_BY_ONE = "torch's documentation takes them one by one, *sizes; size= is taken as well"
_PACKED = "an overload is of packed sequences, which modules take as pack_padded_sequence gives them"
_INDICES = "None is the type of indices, int64 where TensorRT has it"
# The functions whose signatures differ from torch's, and why.
ACCEPTED = {
    **dict.fromkeys(("cast", "getitem", "modulated_deform_conv2d", "deform_conv2d", "logsigmoid", "roi_align"), _OWN),
    **dict.fromkeys(("dsplit", "hsplit", "isin", "tensor_split", "vsplit"), _IN_WORDS),
    **dict.fromkeys(("linalg.matrix_norm", "linalg.matrix_power", "linalg.norm", "linalg.vector_norm"), _LINALG),
    "linalg.solve_triangular": _LINALG,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _PADDING),
    **dict.fromkeys(("tril_indices", "triu_indices"), _INDICES),
    **dict.fromkeys(("gru", "lstm", "rnn_relu", "rnn_tanh"), _PACKED),
    "arange": "start is the end where it is alone, as in NumPy; end= alone is not taken",
    "einsum": "torch has *args, and its documentation these two",
    "expand": _ONE_BY_ONE,
    "gather": "sparse_grad is of training, and is taken without effect",
    "repeat_interleave": "of repeats alone it makes indices, as many as the numbers say",
    "where": "of a condition alone it gives indices, as many as the numbers say",
}


def differs(name: str) -> bool:
    function = F
    for part in name.split("."):
        function = getattr(function, part)
    theirs = of_torch(name)
    return not theirs or not all(takes(of_function(function), overload) for overload in theirs)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_torchs(name):
    assert differs(name) == (name in ACCEPTED)


def test_the_comparison_sees_names_orders_and_defaults():
    def right(input, weight, bias=None, *, eps=1e-5): ...
    def renamed(input, weights, bias=None, *, eps=1e-5): ...
    def swapped(weight, input, bias=None, *, eps=1e-5): ...
    def changed(input, weight, bias=None, *, eps=1e-6): ...
    def shorter(input, weight, *, eps=1e-5): ...
    def longer(input, weight, bias=None, *, eps=1e-5, other): ...

    theirs = of_function(right)
    assert takes(theirs, theirs)
    assert not any(takes(of_function(f), theirs) for f in (renamed, swapped, changed, shorter, longer))


def test_accepted_names_are_there():
    assert ACCEPTED.keys() <= set(NAMES)


X, Y = numbers(2, 3, seed=1), numbers(2, 3, seed=2)


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_no_dim_is_an_error_that_says_what_torch_takes(name):
    words = message_of(ArgumentError, trace, getattr(F, name), X)
    assert f"{name} in " in words
    assert "torch's own choice, which it warns of, is 1 here" in words


@pytest.mark.parametrize("name", ["max", "min"])
def test_another_tensor_by_name(name):
    check_triangle(lambda x, y: getattr(F, name)(x, other=y), lambda x, y: getattr(torch, name)(x, other=y), X, Y)
    for arguments in ({"dim": 0}, {"keepdim": True}):
        function = lambda x, y, a=arguments: getattr(F, name)(x, other=y, **a)  # noqa: E731
        assert "not both" in message_of(ArgumentError, trace, function, X, Y)
    assert "not both" in message_of(ArgumentError, trace, lambda x, y: getattr(F, name)(x, y, True), X, Y)


def test_names_of_cpp_and_of_the_documentation():
    result = run(
        lambda x: [F.linalg.norm(A=x), F.linalg.norm(input=x), F.det(input=x[:, :2]), F.vdot(input=x[0], other=x[1])], X
    )
    norm, (a, b) = torch.linalg.norm(torch.from_numpy(X)), torch.from_numpy(X)
    assert_close(result, [norm, norm, torch.det(torch.from_numpy(X[:, :2])), torch.vdot(a, b)])


# The words that docstrings of functions begin with.
VERBS = """
Add Cast Check Compute Convert Convolve Count Cut Divide Drop Expand Flatten Interleave Join Move Normalize Pick Permute
Put Reduce Refuse Reorder Repeat Resize Return Round Shift Swap Turn Undo
"""


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_begin_with_an_imperative(name):
    function = F
    for part in name.split("."):
        function = getattr(function, part)
    assert function.__doc__.split()[0] in VERBS.split(), function.__doc__
    assert function.__doc__.splitlines()[0].endswith((".", ")"))


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: F.rrelu(x, training=True), UnsupportedError, "rrelu with training=True"),
        (lambda x: F.repeat_interleave(x, 2, 0, output_size=5), ArgumentError, "to 4 elements with output_size=5"),
        (lambda x: F.conv1d(x[None], np.ones((1, 2, 1)), padding="full"), ArgumentError, "'valid', 'same' or a number"),
    ],
)
def test_no_argument_is_ignored(function, error, words):
    assert words in message_of(error, trace, function, X)


def test_a_checked_output_size():
    check_triangle(
        *[lambda x, f=f: f(x, 2, 1, output_size=6) for f in (F.repeat_interleave, torch.repeat_interleave)], X
    )


def test_docstrings_say_what_is_raised():
    silent = []
    for path in Path(ops.__file__).parent.glob("[!_]*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (node.name in F.__all__ or path.stem in ("fft", "linalg")):
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                if raises and not node.name.startswith("_") and "Raises:" not in (ast.get_docstring(node) or ""):
                    silent.append(f"{path.name}: {node.name}")
    assert not silent
