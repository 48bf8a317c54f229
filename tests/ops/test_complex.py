"""Complex numbers changed in place and joined, beside torch's: what shares memory there does so here, or is refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import trtnn
from tests.helpers import assert_close
from trtnn import functional as F
from trtnn.errors import UnsupportedError
from trtnn.modules import Module

SHAPES = {"x": (3, 4, 2), "y": (3, 4, 2), "r": (3, 4)}


def result_of(function):
    """Return what a function of two complex tensors and a real one gives in a network, and in torch."""

    class Net(Module):
        def forward(self, x, y, r):
            return function(F, F.view_as_complex(x), F.view_as_complex(y), r)

    torch.manual_seed(0)
    inputs = [torch.randn(shape) for shape in SHAPES.values()]
    x, y, r = (tensor.clone() for tensor in inputs)
    expected = function(torch, torch.view_as_complex(x), torch.view_as_complex(y), r)
    network = Net().trace({name: trtnn.Input(shape) for name, shape in SHAPES.items()})
    return network.run(*(tensor.numpy() for tensor in inputs)), expected


def alias(t, z, w, r):
    other = z
    other *= 2
    return t.view_as_real(z), t.view_as_real(other)


def methods(t, z, w, r):
    z.mul_(w).add_(r).sub_(w).div_(w)
    return t.view_as_real(z), t.view_as_real(w)


def sums_apart(t, z, w, r):
    other = z + r
    other *= w
    return t.view_as_real(z), t.view_as_real(other)


def clones_apart(t, z, w, r):
    other = z.clone()
    z /= w
    return t.view_as_real(z), t.view_as_real(other)


def parts_apart(t, z, w, r):
    made = t.complex(r, r * 2)
    made -= w
    return t.view_as_real(made), r


def real_apart(t, z, w, r):
    made = r + 0j
    made += 2j
    return t.view_as_real(made), r


def set_parts(t, z, w, r):
    z[:, 1:3] = w[:, :2]
    z[0] = r[0]
    z[1, 1] = 2 + 1j
    return t.view_as_real(z)


def changed_parts(t, z, w, r):
    made = z * w
    made[:, 1:3] += w[:, :2]
    made[0] *= r[0]
    return t.view_as_real(made)


def joined(t, z, w, r):
    return t.view_as_real(t.cat([z, r, w], 1)), t.view_as_real(t.stack([r, z * w], 1))


def moved(t, z, w, r):
    index = torch.tensor([2, 0]) if t is torch else [2, 0]
    return [t.view_as_real(made) for made in (z.flip(1), z.roll(1, 1), t.zeros_like(z), z.index_select(0, index))]


def padded(t, z, w, r):
    pad = functional.pad if t is torch else F.pad
    return [t.view_as_real(pad(z, *how)) for how in (((1, 2),), ((0, 1), "constant", 2.0), ((-1, 2, 1, 0),))]


def products(t, z, w, r):
    a = t.einsum("ij,kj->ik", z, w)
    return [t.view_as_real(made) for made in (a, t.einsum("ij,ij,kj->ik", z, r, w * z), z @ w.transpose(0, 1))]


OTHERS = [alias, methods, sums_apart, clones_apart, parts_apart, real_apart, set_parts, changed_parts, joined, moved,
          padded, products]  # fmt: skip


@pytest.mark.parametrize("function", OTHERS, ids=lambda function: function.__name__)
def test_complex_numbers(function):
    ours, theirs = result_of(function)
    ours, theirs = (value if isinstance(value, (tuple, list)) else (value,) for value in (ours, theirs))
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, 1e-5)


def view_of_a_row(t, z, w, r):
    row = z[1]
    z *= 2
    return t.view_as_real(row)


def whole_of_a_view(t, z, w, r):
    flat = z.reshape(12)
    flat *= 2
    return t.view_as_real(z)


def conjugate(t, z, w, r):
    other = z.conj()
    z *= 2
    return t.view_as_real(other.resolve_conj())


def real_part(t, z, w, r):
    part = z.real
    z += w
    return part * 1


@pytest.mark.parametrize("function", [view_of_a_row, whole_of_a_view, conjugate], ids=lambda f: f.__name__)
def test_a_view_of_what_was_changed_is_refused(function):
    with pytest.raises(UnsupportedError, match="shares memory with one that was changed in place since"):
        result_of(function)


def test_the_real_part_is_the_part_itself():
    ours, theirs = result_of(real_part)
    assert_close(ours, theirs, 1e-5)
