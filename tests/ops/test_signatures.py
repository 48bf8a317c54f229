"""The functions show torch's arguments, in torch's order and with torch's defaults."""

import ast
import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import TORCH, assert_close, check_triangle, message_of, numbers, run, trace
from tests.ops.signatures import of_function, of_torch, takes
from trtnn import functional as F
from trtnn import ops
from trtnn.errors import ArgumentError, DTypeError, TrtnnError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.methods import METHODS, METHODS_IN_PLACE

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


def function_of(name: str) -> Any:
    return functools.reduce(getattr, name.split("."), F)


def parameters_of(function: Any, annotations: set[str]) -> list[str]:
    """The arguments whose annotation is a union of these words alone."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if {*map(str.strip, str(p.annotation).split("|"))} <= annotations]


METHOD_NAMES = sorted(
    name for name in METHODS | METHODS_IN_PLACE if inspect.isfunction(getattr(Tensor, name)) and name[0] != "_"
)
CALLS = [(name, function_of(name)) for name in NAMES] + [(f"Tensor.{n}", getattr(Tensor, n)) for n in METHOD_NAMES]
SWITCHES = [(n, f, p) for n, f in CALLS for p in parameters_of(f, {"bool", "None"})]
INTS = [(n, f, p) for n, f in CALLS for p in parameters_of(f, {"int", "Length", "None"}) if p != "input"]
FLOATS = [(n, f, p) for n, f in CALLS for p in parameters_of(f, {"int", "float", "None"}) if p != "input"]


def test_arguments_of_each_kind_are_found():
    """Of each some that are known, so that the tests below look at what they say."""
    found = [{(name, p) for name, _, p in kind} for kind in (SWITCHES, INTS, FLOATS)]
    assert {("sum", "keepdim"), ("interpolate", "align_corners"), ("Tensor.sort", "descending")} <= found[0]
    assert {("chunk", "chunks"), ("glu", "dim"), ("round", "decimals"), ("tril", "diagonal")} <= found[1]
    assert {("batch_norm", "eps"), ("leaky_relu", "negative_slope")} <= found[2]
    assert len(found[0]) > 200


@pytest.mark.parametrize(("name", "function", "parameter"), SWITCHES)
def test_no_string_and_no_number_is_a_switch(name, function, parameter):
    """As torch's functions in C++ have it, and ``check_switches`` for trtnn's own; those of Python take anything."""
    for value in ("no", "", 0, 1, 1.0, X[0]):
        words = message_of(DTypeError, function, **{parameter: value})
        assert f" takes True or False as {parameter}, not " in words.replace(" or None", "")


@pytest.mark.parametrize(("name", "function", "parameter"), INTS)
def test_no_string_no_fraction_and_no_truth_is_an_int(name, function, parameter):
    for value in ("2", 2.5, 2.0, True, np.float32(2)):
        assert f" as {parameter}, not " in message_of(DTypeError, function, **{parameter: value})


@pytest.mark.parametrize(("name", "function", "parameter"), FLOATS)
def test_no_string_is_a_number(name, function, parameter):
    assert f" as {parameter}, not '0.5'" in message_of(DTypeError, function, **{parameter: "0.5"})


@pytest.mark.parametrize("value", [True, np.True_, np.array(True)])
def test_what_a_switch_is(value):
    given = lambda x: [F.sum(x, 1, keepdim=value), x.sum(1, keepdim=value), F.max_pool1d(x, 2, ceil_mode=value)]  # noqa: E731
    x = torch.from_numpy(X)
    assert_close(run(given, X), [x.sum(1, True), x.sum(1, True), torch.max_pool1d(x, 2, ceil_mode=True)])


def test_a_switch_is_looked_at_after_calls_of_the_same_types():
    """What passed once is not looked at again, by the types of its arguments."""
    words = message_of(DTypeError, trace, lambda x: [F.sum(x, 1, True), F.sum(x, 1, False), F.sum(x, 1, 1)], X)
    assert words.startswith("sum takes True or False as keepdim, not 1")


IMAGE, GRID = numbers(1, 2, 4, 4, seed=3), np.zeros((1, 3, 3, 2), np.float32)
PLACES = np.zeros((2, 3), np.int32)
SIDES = {1: (16,), 2: (4, 4), 3: (4, 2, 2)}
NORMS = ("ortho", "forward", "backward")
# A call with a word in it, and the words that torch knows there.
CHOICES = {
    "cdist": (lambda f, x, w: f.cdist(x, x, compute_mode=w), ("use_mm_for_euclid_dist", "donot_use_mm")),
    **{
        f"conv{n}d": (
            lambda f, x, w, n=n: getattr(f, f"conv{n}d")(x.reshape(1, 2, *SIDES[n]), f.ones(1, 2, *[2] * n), padding=w),
            ("valid", "same"),
        )
        for n in (1, 2, 3)
    },
    **{name: (lambda f, x, w, name=name: getattr(f, name)(x, 2.0, rounding_mode=w), ("trunc", "floor"))
       for name in ("div", "divide")},
    "embedding_bag": (
        lambda f, x, w: f.embedding_bag(f.zeros(2, 3, dtype=PLACE_TYPES[f]), x[0, 0], mode=w), ("sum", "mean", "max")
    ),
    "gelu": (lambda f, x, w: f.gelu(x, approximate=w), ("none", "tanh")),
    "grid_sample": (
        lambda f, x, w: f.grid_sample(x, x[:, :, :, :2], mode=w, align_corners=False),
        ("bilinear", "nearest", "bicubic"),
    ),
    "grid_sample: padding": (
        lambda f, x, w: f.grid_sample(x, x[:, :, :, :2], padding_mode=w, align_corners=False),
        ("zeros", "border", "reflection"),
    ),
    "index_reduce": (
        lambda f, x, w: f.index_reduce(x, 1, f.zeros(2, dtype=PLACE_TYPES[f]), x, w), ("prod", "mean", "amax", "amin")
    ),
    **{
        name: (
            lambda f, x, w, name=name: getattr(f, name)(x, scale_factor=2, mode=w),
            ("nearest", "bilinear", "bicubic", "area", "nearest-exact"),
        )
        for name in ("interpolate", "upsample")
    },
    "meshgrid": (lambda f, x, w: f.meshgrid(x[0, 0, 0], x[0, 0, 0], indexing=w), ("ij", "xy")),
    **{
        name: (
            lambda f, x, w, name=name: getattr(f, name)(x, 0.5, 1, interpolation=w),
            ("linear", "lower", "higher", "nearest", "midpoint"),
        )
        for name in ("quantile", "nanquantile")
    },
    "norm": (lambda f, x, w: f.norm(x, w), ("fro",)),
    "pad": (lambda f, x, w: f.pad(x, (1, 1), mode=w), ("constant", "reflect", "replicate", "circular")),
    "scatter": (lambda f, x, w: f.scatter(x, 1, _indices(f, x), 1.0, reduce=w), ("add", "multiply")),
    "scatter_reduce": (
        lambda f, x, w: f.scatter_reduce(x, 1, _indices(f, x), x, w), ("sum", "prod", "mean", "amax", "amin")
    ),
    "searchsorted": (lambda f, x, w: f.searchsorted(f.arange(4.0), x, side=w), ("left", "right")),
    "stft": (
        lambda f, x, w: f.stft(x.reshape(1, 32), 8, 4, None, f.ones(8), True, w, return_complex=True),
        ("constant", "reflect", "replicate", "circular"),
    ),
    **{
        f"fft.{name}": (lambda f, x, w, name=name: getattr(f.fft, name)(x, norm=w), NORMS)
        for name in F.fft.__all__
        if "norm" in inspect.signature(getattr(F.fft, name)).parameters
    },
    "linalg.matrix_norm": (lambda f, x, w: f.linalg.matrix_norm(x, w), ("fro",)),
    "linalg.norm": (lambda f, x, w: f.linalg.norm(x[0, 0], w), ("fro",)),
}  # fmt: skip
PLACE_TYPES: dict[Any, Any] = {F: "int32", TORCH: torch.int64}
NO_WORDS = {
    "deform_conv2d": "lowering is trtnn's own, see test_deform",
    "modulated_deform_conv2d": "lowering is trtnn's own, see test_deform",
    "einsum": "an equation is no choice",
}


def _indices(f: Any, x: Any) -> Any:
    return f.zeros(*x.shape, dtype=PLACE_TYPES[f])


def test_all_words_are_looked_at():
    words = {name for name in NAMES for p in parameters_of(function_of(name), {"str", "float", "None"})
             if "str" in str(inspect.signature(function_of(name)).parameters[p].annotation)}  # fmt: skip
    assert words <= {name.partition(":")[0] for name in CHOICES} | NO_WORDS.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHOICES)
def test_a_misspelt_word_is_refused_with_those_that_are_known(name):
    call, known = CHOICES[name]
    for wrong in (f"{known[0]}x", known[0].upper(), known[0][:-1]):
        with pytest.raises(Exception):  # noqa: B017  torch's types differ
            call(TORCH, torch.from_numpy(IMAGE), wrong)
        words = message_of(TrtnnError, trace, lambda x, wrong=wrong: call(F, x, wrong), IMAGE)
        assert repr(wrong) in words
        assert [word for word in known if word not in words.replace(repr(wrong), "")] == []
