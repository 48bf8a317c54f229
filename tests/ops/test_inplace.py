"""What torch does in place: the same under every name of a Tensor, and an error where a view would show it."""

import gc
import weakref

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, check_triangle, message_of, numbers, run, trace
from trtnn import functional as F
from trtnn import modules
from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.methods import IN_PLACE, METHODS_IN_PLACE
from trtnn.modules.module import Module
from trtnn.parameter import Parameter
from trtnn.shapes.spec import Input


def keeps(change):
    """A function that returns its argument, a second name of it, and what ``change`` gives."""

    def function(x):
        x = x * 1
        other = x
        result = change(x)
        return x, other, result

    return function


def iadd(x):
    x += x * 2
    return x


def other_operators(x):
    x -= 1
    x *= 3
    x /= 2
    x **= 2
    x //= 2
    x %= 3
    return x


CHANGES = {
    "+=": iadd,
    "the other operators": other_operators,
    "twice": lambda x: x.add_(1).mul_(2),
    "with arguments": lambda x: x.clamp_(-0.5, 0.5).add_(x, alpha=2).masked_fill_(x > 0.2, 7.0),
    "copy_": lambda x: x.copy_(x[:1] * 2),
    "copy_ of integers": lambda x: x.copy_((x > 0).int()),
    "of another type": lambda x: x.int().add_(x > 0),
    "fill_": lambda x: x.fill_(3),
    "zero_": lambda x: x.zero_(),
    "clip_": lambda x: x.clip_(max=0),
    "a view of what was changed": lambda x: x.add_(1)[:, 0],
    "a view that is not read again": lambda x: (x[:, 0].sum(), x.t(), x.relu_())[0],
    "a clone": lambda x: (x.clone(), x.clone().add_(5), x.add_(1))[0],
    "elements picked": lambda x: (x[[0, 1]], x.add_(1))[0],
    **{
        f"{name} where asked": lambda x, name=name: getattr(torch.nn.functional if torch.is_tensor(x) else F, name)(
            x, inplace=True
        )
        for name in ("relu", "relu6", "silu", "elu", "leaky_relu", "hardswish", "hardsigmoid", "mish", "selu", "celu")
    },
    "relu asked by position": lambda x: (torch.nn.functional if torch.is_tensor(x) else F).relu(x, True),
    "elu asked by position": lambda x: (torch.nn.functional if torch.is_tensor(x) else F).elu(x, 0.5, True),
    "not asked by position": lambda x: (torch.nn.functional if torch.is_tensor(x) else F).elu(x, 0.5, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_as_torch(name):
    x = numbers(3, 4)
    assert_close(run(keeps(CHANGES[name]), x), keeps(CHANGES[name])(torch.from_numpy(x)))


def _index(x):
    """The places 0 and 1 along a dimension, of the type that torch asks for."""
    chosen = x[0] > 0.3
    return chosen.long() if torch.is_tensor(x) else chosen.int()


OF_TWO = (
    "add", "clamp_max", "clamp_min", "copysign", "div", "divide", "eq", "floor_divide", "fmod",
    "ge", "greater", "greater_equal", "gt", "le", "less", "less_equal", "lt", "mul", "multiply", "ne", "not_equal",
    "remainder", "sub", "subtract", "true_divide", "xlogy",
)  # fmt: skip
OF_TENSORS = ("arctan2", "atan2", "heaviside", "hypot", "ldexp", "logical_and", "logical_or", "logical_xor")
ARGUMENTS = {
    **dict.fromkeys(OF_TWO, lambda x: (0.25,)),
    **dict.fromkeys(OF_TENSORS, lambda x: (x + 1,)),
    **dict.fromkeys(("addcdiv", "addcmul"), lambda x: (x + 1, x + 2)),
    "addbmm": lambda x: (x[None] * 1, x[None] * 1),  # torch reads of itself what it has overwritten
    "addmm": lambda x: (x * 1, x * 1),
    "addr": lambda x: (x[0] * 1, x[1] * 1),
    "clamp": lambda x: (0.2,),
    "clip": lambda x: (0.2,),
    "cumprod": lambda x: (0,),
    "cumsum": lambda x: (0,),
    "index_add": lambda x: (0, _index(x), x + 1),
    "index_copy": lambda x: (0, _index(x), x * 0 + 1),
    "index_fill": lambda x: (0, _index(x), 7.0),
    "index_put": lambda x: ((_index(x),), x * 0 + 7),
    "index_reduce": lambda x: (0, _index(x), x + 1, "amax"),
    "lerp": lambda x: (x + 1, 0.25),
    "masked_fill": lambda x: (x > 0.3, 2.0),
    "masked_scatter": lambda x: (x > 0.3, x + 1),
    "pow": lambda x: (2,),
    "scatter": lambda x: (0, _index(x)[None], 0.5),
    "scatter_reduce": lambda x: (0, _index(x)[None], x + 1, "amax"),
    "scatter_add": lambda x: (0, _index(x)[None], x + 1),
}
OF_BOOLS = [name for name in IN_PLACE if name.startswith("bitwise")]  # which the table of all operations changes


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")  # it is in beta, torch says
@pytest.mark.parametrize("name", [name for name in IN_PLACE if name not in OF_BOOLS])
def test_methods_as_torchs(name):
    x = np.abs(numbers(3, 3)) / 4 + (1 if name in ("acosh", "arccosh") else 0.1)

    def change(x):
        if name == "baddbmm":  # of three dimensions
            return x.unsqueeze_(0).baddbmm_(x * 1, x * 1)
        if name == "addmv":  # of one
            return (x[0] * 1).addmv_(x, x[1])
        return getattr(x, f"{name}_")(*ARGUMENTS.get(name, lambda x: ())(x))

    assert_close(run(keeps(change), x), keeps(change)(torch.from_numpy(x)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.squeeze_(1),
        lambda x: x.unsqueeze_(-1),
        lambda x: x.t_(),
        lambda x: x.transpose_(0, 1),
        lambda x: x.swapaxes_(0, 1),
        lambda x: x.swapdims_(-1, 0),
        lambda x: x.unsqueeze_(0).add_(1),
    ],
)
def test_what_changes_the_shape_in_place(change):
    x = numbers(3, 1)
    assert_close(run(keeps(change), x), keeps(change)(torch.from_numpy(x)))


def test_what_changes_the_shape_in_place_is_a_view():
    def function(x):
        x = x * 1
        row = x[0]
        x.unsqueeze_(0)
        kept = row * 2
        x.add_(1)
        return x, kept

    x = numbers(3, 2)
    assert_close(run(function, x), function(torch.from_numpy(x)))


WHOLE = {
    "[:]": lambda x: x[:],
    "[...]": lambda x: x[...],
    "view": lambda x: x.view(3, 2),
    "chunk": lambda x: x.chunk(1)[0],
    "narrow": lambda x: x.narrow(0, 0, 3),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "expand": lambda x: x.expand(3, 2),
    "squeeze": lambda x: x.squeeze(0),
    "of a view": lambda x: x[:].view(3, 2),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("changes_view", [True, False])
def test_the_shape_of_a_view_of_all_is_its_own(name, changes_view):
    def function(x):
        x = x * 1
        view = WHOLE[name](x)
        view.add_(1)  # seen in both
        x.mul_(2)
        (view if changes_view else x).unsqueeze_(0).transpose_(0, 2)
        return x, view

    x = numbers(3, 2)
    assert_close(run(function, x), function(torch.from_numpy(x)))


def test_a_reshaped_view_of_all_is_read_no_more_once_the_other_is_changed():
    def function(x):
        x = x * 1
        view = x[:]
        view.t_()
        x.add_(1)
        return view * 2

    assert "shares memory" in message_of(UnsupportedError, trace, function, (3, 2))


def test_every_method_is_torchs():
    assert [name for name in METHODS_IN_PLACE if not hasattr(torch.Tensor, name)] == []


def test_modules_in_place_change_their_input():
    def function(nn):
        return lambda x: (nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (2, 3)))(x * 2), nn.ReLU(inplace=True)(x), x)

    x = numbers(2, 3)
    assert_close(run(function(modules), x), function(torch.nn)(torch.from_numpy(x.copy())))


class Inner(Module):
    def forward(self, x):
        return x + 1


class Outer(Module):
    def __init__(self):
        super().__init__()
        self.inner, self.weight = Inner(), Parameter(2)

    def forward(self, x):
        y = self.inner(x)
        y += 10
        return y


def test_what_a_module_returned_stays_what_it_was():
    outer = Outer()
    outer.load_state_dict({"weight": np.ones(2, np.float32)})
    x = numbers(2)
    result, inner = outer.trace({"x": (2,)}).run(x, outputs=["inner"])
    assert_close(result, x + 11)
    assert_close(inner["inner"], x + 1)


VIEWS = {
    "an element": lambda x: x[:, 0],
    "view": lambda x: x.view(-1),
    "flatten": F.flatten,
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "chunk": lambda x: x.chunk(2, 1)[1],
    "unbind": lambda x: x.unbind()[0],
    "expand": lambda x: x[None].expand(2, -1, -1),
    "unfold": lambda x: x.unfold(0, 2, 1),
    "a view of a view": lambda x: x.unsqueeze(0).squeeze(0).transpose(0, 1),
    "view_as": lambda x: x.view_as(F.zeros(4, 3)),
    "contiguous": lambda x: x.T.contiguous(),
    "einsum": lambda x: F.einsum("ij->ji", x),
    "linalg.diagonal": F.linalg.diagonal,
    "unsafe_split": lambda x: F.unsafe_split(x, 2)[0],
    "meshgrid": lambda x: F.meshgrid(x[0], indexing="ij")[0].unsqueeze(0),
    "view_as_real": lambda x: F.view_as_real(F.view_as_complex(x.reshape(3, 2, 2))),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("changes_view", [True, False])
def test_what_shares_memory_is_not_read_after_a_change(name, changes_view):
    def function(x):
        x = x * 1
        view = VIEWS[name](x)
        (view if changes_view else x).add_(1)
        return (x if changes_view else view) * 2

    message = message_of(UnsupportedError, trace, function, (3, 4))
    if changes_view and name in ("expand", "unfold"):  # refused where it is changed
        assert "several of its elements are one in memory" in message
        assert "clone()" in message
        return
    assert "shares memory with one that was changed in place" in message
    assert "x = x + y" in message

    def as_output(x):
        x = x * 1
        view = VIEWS[name](x)
        (view if changes_view else x).add_(1)
        return x if changes_view else view

    assert "the output" in message_of(UnsupportedError, trace, as_output, (3, 4))


def _of_equal_slices(x):
    """As Python does it from 3.12 on, where each of the two has a slice of its own."""
    x.__setitem__(slice(1, None), x[1:].__iadd__(1))


def _within_a_view(x):
    view = x.view(-1)
    view[3:] *= 2
    x[:] = view.view(x.shape) + 1


PARTS = {
    "an element": "x[0] += 1",
    "a slice": "x[1:] *= 2",
    "a column": "x[:, 1] -= x[:, 0] * 2",
    "every second": "x[..., ::2] /= 4",
    "all": "x[:] += 1; x[...] *= 2; x[None] -= 3",
    "a place": "x[1, 2] += 5",
    "several": "x[0] += 1; x[0] *= 2; x[:, 1:3] += x[:, :2] * 1; x[-1, :] **= 2",
    "a list": "x[[0, 0, 2]] += 1",
    "equal slices": _of_equal_slices,
    "within a view": _within_a_view,
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_changed_and_put_back(name):
    def function(x):
        x = x * 1
        if callable(PARTS[name]):
            PARTS[name](x)
        else:
            exec(PARTS[name], {"x": x})
        return x * 1

    check_triangle(function, function, numbers(3, 4))


def _elsewhere(x):
    part = x[0]
    part += 1
    x[1] = part


def _changed_beside(x):
    part = x[0]
    x[:, 0].add_(1)
    part.fill_(3)
    x[0] = part


def _changed_by_another(x):
    part = x[0]
    x[:, 0].add_(1)
    x[0] = part


def _of_a_part(x):
    x[0][1] += 2


@pytest.mark.parametrize("change", [_elsewhere, _changed_beside, _changed_by_another, _of_a_part])
def test_a_part_that_is_not_all_that_changed(change):
    def function(x):
        x = x * 1
        change(x)
        return x * 1

    assert "shares memory with one that was changed" in message_of(UnsupportedError, trace, function, (3, 4))


# What needs no layer to give the numbers of a tensor, and is a look at them all the same.
READS = {
    "clone": lambda x: x.clone(),
    "to": lambda x: x.to(x.dtype, copy=True),
    "tensor": F.tensor,
    "cat": lambda x: F.cat([x]),
    "pad": lambda x: F.pad(x, (0, 0)),
    "diff": lambda x: F.diff(x, n=0),
    "rot90": lambda x: F.rot90(x, 4),
    "nan_to_num": lambda x: x.nan_to_num(),
    "index_put": lambda x: x.index_put((np.zeros(0, np.int64),), F.tensor(1)),
    "copy_": lambda x: F.zeros_like(x).copy_(x),
    "put there": lambda x: (F.zeros_like(x) + 1).__iadd__(0).copy_(x),
}


@pytest.mark.parametrize("name", READS)
def test_what_shares_memory_is_not_read_without_a_layer(name):
    def function(x):
        x = x * 1
        x.view(-1).add_(1)
        return READS[name](x)

    message = message_of(UnsupportedError, trace, function, Input((3, 4), "int32"))
    assert "reads a tensor that shares memory with one that was changed in place" in message


def test_the_numbers_of_constants_are_not_read_after_a_change():
    def function(x):
        start = F.tensor([0, 1])
        start[:1] += 1
        return x[start.tolist()]

    def through_a_view(x):
        start = F.tensor([0, 1])
        start.view(2, 1).add_(1)
        return x[start.tolist()]

    x = numbers(3, 4)
    assert_close(run(function, x), x[[1, 1]])
    assert "shares memory with one that was changed" in message_of(UnsupportedError, trace, through_a_view, (3, 4))


def test_numbers_before_they_were_rounded_are_not_read_after_a_change():
    """A cast of fp16 to fp32 gives back what an fp32 module gave, which a change in place of a view has made old."""

    class Net(Module):
        def __init__(self):
            super().__init__()
            self.inner = modules.ReLU()

        def forward(self, x):
            y = self.inner(x)
            y.view(-1).add_(1)
            return y.float()

    options = {"fp16": True, "fp32_modules": ["inner"]}
    if trace(lambda x: x, (2, 3)).graph.backend.capabilities.strongly_typed:
        assert "shares memory" in message_of(UnsupportedError, Net().trace, {"x": (2, 3)}, **options)


def test_a_whole_that_is_written_anew_is_read():
    """Nobody looks at the numbers that a change of a view has made old."""

    def function(ops, x):
        x = x * 1
        x.view(-1).add_(1)
        like = ops.zeros_like(x)
        x.fill_(3)
        return x, like

    check_triangle(lambda x: function(F, x), lambda x: function(torch, x), numbers(3, 4))


def test_what_an_fp32_module_changes_is_not_read_outside():
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.relu = modules.ReLU(inplace=True)

        def forward(self, x):
            x = x * 2
            return self.relu(x) + x

    x = numbers(2, 3)
    expected = np.maximum(x * 2, 0) * 2
    assert_close(Net().trace({"x": (2, 3)}, fp16=True).run(x), expected, 2e-3)
    if trace(lambda x: x, (2, 3)).graph.backend.capabilities.strongly_typed:
        options = {"fp16": True, "fp32_modules": ("relu",)}
        assert "shares memory" in message_of(UnsupportedError, Net().trace, {"x": (2, 3)}, **options)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x[:1].add_(x), ShapeError, "(1, 4) cannot become (3, 4) in place"),
        (lambda x: x.int().add_(0.5), DTypeError, "int32 cannot become float32 in place"),
        (lambda x: (x > 0).add_(1), DTypeError, "bool cannot become int"),
        (lambda x: x.__setitem__(x > 0, x), UnsupportedError, "assignment into a Tensor"),
    ],
)
def test_errors(function, error, words):
    assert words in message_of(error, trace, function, (3, 4))


REPEATED = {
    "expand": lambda x: x[:, :1].expand(-1, 4),
    "expand_as": lambda x: x[0].expand_as(x),
    "broadcast_to": lambda x: F.broadcast_to(x[0], (3, 4)),
    "broadcast_tensors": lambda x: F.broadcast_tensors(x[0], x)[0],
    "meshgrid": lambda x: F.meshgrid(x[0], x[1], indexing="ij")[0],
    "unfold": lambda x: x.unfold(1, 2, 1),
    "unfold of as many": lambda x: F.pad(x, (0, 2)).unfold(1, 3, 2),
    "a view of it": lambda x: x[0].expand(2, 3, 4)[..., 0].mT,
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_repeats_elements_is_not_changed(name):
    def function(x):
        repeated = REPEATED[name](x * 1)
        repeated[0] = 0  # torch changes what the other rows show as well
        return repeated

    message = message_of(UnsupportedError, trace, function, (3, 4))
    assert "several of its elements are one in memory" in message
    assert "clone()" in message


def test_what_torch_copies_of_repeated_elements_is_changed():
    def function(x):
        flat = (x * 1)[:, None].expand(3, 2, 4).reshape(6, 4)
        flat[1] = 0
        whole = (x * 1)[:, None].expand(3, 2, 4).contiguous()
        whole[0] = 1
        once = (x * 1).unfold(1, 2, 2)
        once[0] = 2
        clone = x[0].expand(3, 4).clone()
        clone[0] = 3
        return flat, whole, once, clone

    x = numbers(3, 4)
    assert_close(run(function, x), function(torch.from_numpy(x)))


def test_a_parameter_stays_as_it_is():
    class Net(Outer):
        def forward(self, x):
            weight = self.weight
            weight += x
            return weight

    net = Net()
    net.load_state_dict({"weight": np.ones(2, np.float32)})
    assert "a Parameter changed in place" in message_of(UnsupportedError, net.trace, {"x": (2,)})


COPIES = {
    "cat": lambda ops, x: ops.cat([x], 1),
    "hstack": lambda ops, x: ops.hstack((x,)),
    "vstack": lambda ops, x: ops.vstack([x]),
    "repeat": lambda ops, x: x.repeat(1, 1),
    "tile": lambda ops, x: ops.tile(x, (1,)),
    "repeat_interleave": lambda ops, x: ops.repeat_interleave(x, 1, 1),
    "roll": lambda ops, x: ops.roll(x, 4, 1),
    "flip": lambda ops, x: ops.flip(x, ()),
    "rot90": lambda ops, x: ops.rot90(x, 0, (0, 1)),
    "pow": lambda ops, x: ops.pow(x, 1),
    "**": lambda ops, x: x**1,
    "pad": lambda ops, x: (F if ops is F else torch.nn.functional).pad(x, (0, 0)),
    "sum": lambda ops, x: ops.sum(x[0, 0] * 1),
    "floor": lambda ops, x: ops.floor(x.int()),
    "to a type": lambda ops, x: x.to(x.dtype, copy=True),
    "to a device": lambda ops, x: x.to("cpu", x.dtype, False, True),
    "to another's": lambda ops, x: x.to(x, copy=True),
    "abs": lambda ops, x: ops.abs(x),
    "aminmax": lambda ops, x: ops.aminmax(x[0, 0] * 1)[0],
    "sgn": lambda ops, x: ops.sgn(x > 0).int(),
    "matrix_power": lambda ops, x: ops.matrix_power(x[:, :3] * 1, 1),
    "nansum": lambda ops, x: ops.nansum(x[0, 0] * 1),
    "relu of what is not below 0": lambda ops, x: (
        ops.relu(x, False) if ops is F else torch.nn.functional.relu(x, False)
    ),
}


def test_what_gives_its_argument_where_nothing_changes_gives_another_tensor():
    def function(ops, x):
        found = []
        first, truths = x[0, 0] * 1, x > 0
        for one, other in (
            (first, ops.aminmax(first, dim=0)[1]),
            (truths, ops.sgn(truths)),
            (square := x[:, :3] * 1, ops.matrix_power(square, 1)),
        ):
            one.fill_(0)
            found += [one, other]
        return tuple(found)

    x = numbers(3, 4)
    assert_close(run(lambda x: function(F, x), x), function(torch, torch.from_numpy(x)))


@pytest.mark.parametrize("name", COPIES)
def test_what_changes_nothing_is_still_a_copy(name):
    def function(ops, x):
        first = x * 2
        second = COPIES[name](ops, first)
        second += 1
        return first, second

    x = numbers(3, 4)
    check_triangle(lambda x: function(F, x), lambda x: function(torch, x), x)


@pytest.mark.parametrize(
    "act",
    [
        lambda y: F.relu(y, inplace=True),
        lambda y: F.relu(y, True),
        lambda y: F.leaky_relu(y, 1.0, True),
        lambda y: F.elu(y, 1.0, inplace=True),
        lambda y: F.hardtanh(y, -9.0, 9.0, True),
    ],
)
def test_what_an_activation_gives_in_place_is_its_input(act):
    def function(x):
        y = x * 1
        z = act(y)
        z += 10
        return y, z

    x = np.array([0.5, 2.0], np.float32)
    for result in run(function, x):
        np.testing.assert_array_equal(result, x + 10)


def test_a_network_with_views_of_all_ends_with_its_last_name():
    gc.disable()
    try:
        network = trace(lambda x: (x * 2).detach()[:] + (x * 1).squeeze(), (2, 3))
        graph = weakref.ref(network.graph)
        del network
        assert graph() is None
    finally:
        gc.enable()


def test_a_shape_in_place_that_stays_leaves_views_as_they_are():
    def function(x):
        y = x * 1
        other = y.detach()
        y.squeeze_()
        other += 1
        return y * 1, other * 1

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for result in run(function, x):
        np.testing.assert_array_equal(result, x + 1)
