"""Operations over a dynamic batch and a dynamic last axis, against torch's at two sizes of one network.

A case is a function that means the same in torch and in trtnn, as in ``test_operations``. What is declared of its
outputs' shapes is held against what comes out.
"""

import math

import numpy as np
import pytest
import torch

from tests.helpers import (
    BATCH,
    IMAGES,
    ODD,
    TORCH,
    WIDTH,
    assert_close,
    check_dynamic,
    layers,
    load_random,
    message_of,
    numbers,
    trace,
)
from trtnn import Dim, Input, modules, sym_max, sym_min
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.models.boxes import cells_of

LINES, LINE_SIZES = (BATCH, 4, ODD), [(1, 4, 12), (3, 4, 3)]
IMAGE_SIZES = [(1, 4, 8, 24), (3, 4, 16, 8)]
VOLUMES, VOLUME_SIZES = (BATCH, 2, 3, 4, WIDTH), [(1, 2, 3, 4, 16), (3, 2, 3, 4, 8)]


def weights(ops, *shape):
    """Return weights as ``ops`` takes them."""
    array = numbers(*shape, seed=7, scale=0.5)
    return torch.from_numpy(array) if ops is TORCH else array


def modulated(ops, x, convolve):
    """Convolve each image with a kernel of its own: the images are the groups, as StyleGAN2 does it."""
    batch, channels, height, width = x.shape
    kernel = weights(ops, 1, channels, channels, 3, 3) * x.mean((2, 3)).reshape(batch, channels, 1, 1, 1)
    kernel = kernel.reshape(batch * channels, channels, 3, 3)
    images = x.reshape(1, batch * channels, height, width)
    found = convolve(images, kernel, stride=2, groups=batch)
    return found.reshape(batch, channels, *found.shape[2:])


def ones(ops, x):
    """A batch of square matrices as many as x has, all of ones."""
    return (x[:, :, :1] * 0 + 1) @ (x[:, :, :1].mT * 0 + 1)


# Of (batch, 4, odd); the answer in fp16 is the same but for rounding.
CASES = {
    "of one number": lambda ops, x: [
        ops.exp(x), ops.log(abs(x) + 1), ops.erf(x), ops.floor(x), ops.round(x), ops.sign(x), -x, ops.rsqrt(x * x + 1)
    ],
    "activations": lambda ops, x: [
        ops.gelu(x), ops.elu(x), ops.softplus(x), ops.mish(x), ops.hardtanh(x), ops.logsigmoid(x), ops.hardshrink(x),
        ops.softsign(x), ops.celu(x, 0.5), ops.relu6(x), ops.threshold(x, 0.5, 2.0), ops.glu(x, 1),
    ],
    "of two numbers": lambda ops, x: [
        ops.maximum(x, x.sum(1, keepdim=True)), x // 2, x % 2, x**3, x.clamp(-1, 0.5), ops.minimum(x, x[:, :1]),
        ops.add(x, x[:, 1:2], alpha=2), ops.fmod(x, 0.75),
    ],
    "comparison": lambda ops, x: [x > 0, x <= x[:, :1], (x > 0) & (x < 1), ops.isfinite(x), ~(x != x[:, :1])],
    "where": lambda ops, x: [
        ops.where(x > 0, x, 0.5), x.masked_fill(x > 1, -1.0), ops.where(x[:, :1] > 0, x, x.mean(1, keepdim=True))
    ],
    "reductions": lambda ops, x: [
        x.sum(), x.sum(-1), x.mean(0), x.mean((1, 2), keepdim=True), x.amax(-1, True), x.amin(1), (x / 2).prod(1),
        x.max(), (x > 9).any(-1), (x < 99).all(0),
    ],
    "variance": lambda ops, x: [
        x.var(-1), x.var(1), x.std((1, 2)), x.var(-1, unbiased=False), x.std(2, keepdim=True), x.var((0, 1, 2))
    ],
    "norms": lambda ops, x: [
        x.norm(dim=-1), x.norm(1, 0), x.norm(float("inf"), 1), ops.normalize(x), ops.normalize(x, dim=-1),
        x.logsumexp(-1), ops.cosine_similarity(x, x[:, :1], -1), ops.pairwise_distance(x, x * 2),
    ],
    "extremes": lambda ops, x: [
        tuple(x.max(-1)), x.argmax(1), x.argmin(-1, True), x.argmax(), tuple(x.topk(2, -1)), tuple(x.sort(1)),
        x[0, 0].argmax(),
    ],
    "running sums": lambda ops, x: [x.cumsum(-1), x.cumsum(1)],
    "softmax": lambda ops, x: [
        ops.softmax(x, -1), ops.softmax(x, 1), ops.log_softmax(x, -1), ops.softmin(x, 0), ops.softmax(x[0, 0], 0)
    ],
    "normalisation": lambda ops, x: [
        ops.group_norm(x, 2), ops.layer_norm(x.mT, (4,)), ops.local_response_norm(x, 2),
        ops.group_norm(x, 4, weights(ops, 4), weights(ops, 4)),
    ],
    "dimensions of length 1": lambda ops, x: [
        x.unsqueeze(1), x.unsqueeze(-1), x.unsqueeze(0).squeeze(0), x[:, :1].squeeze(1), x[0].unsqueeze(0)
    ],
    "joining": lambda ops, x: [ops.stack([x, x * 2]), ops.stack((x, x), -1), ops.cat([x, x[..., :2]], -1)],
    "parts": lambda ops, x: [*x.unbind(1), x.select(-1, 2), x.movedim(0, -1), x.mT, x.unflatten(1, (2, -1))],
    "repetition": lambda ops, x: [
        x.repeat(2, 1, 3), x.repeat_interleave(2, -1), x.repeat_interleave(3, 0), ops.tile(x, (2,)),
        x[:, :1].expand_as(x), x.expand(2, *x.shape),
    ],
    "turning": lambda ops, x: [x.flip(-1), x.flip((0, 1)), x.roll(1, -1), x.roll((-2, 1), (2, 0)), x.roll(5, -1)],
    "picking": lambda ops, x: [
        x[..., [0, 2]], x[..., [-1, 0]], x[:, [0, -1]], x[:, [0, 1], [1, -1]], x.index_select(-1, ops.tensor([1, 0])),
        x[..., x[0, 0].argmax()], x[0, :, np.array([[0, 1], [2, -3]])], x[:, :, ops.arange(2)],
    ],
    "gathering": lambda ops, x: [
        x.gather(1, (x > 0).long()), x.gather(-1, (x > 0).long()), x.gather(-1, x.argmax(-1, True)),
        x.scatter(1, (x[:, :1] > 0).long(), 0.5), ops.one_hot(x.argmax(1), 4),
        x.scatter_add(1, (x > 0).long(), x), x.scatter_add(-1, x.argmax(-1, True), x),
        x.index_add(-1, (x[0, 0] > 0).long(), x), x.index_add(1, (x[0, :, 0] > 0).long(), x, alpha=2),
    ],
    "logarithms and angles": lambda ops, x: [
        ops.expm1(x), ops.log1p(abs(x)), ops.log2(abs(x) + 1), ops.atan2(x, x[:, :1]), ops.hypot(x, x[..., :1]),
        ops.logaddexp(x, x.mean(1, keepdim=True)), ops.sinc(x), ops.erfc(x), ops.nan_to_num(x), ops.exp2(x),
        ops.copysign(x, x[:1, :1, :1]), ops.xlogy(x, abs(x) + 1), ops.logit(x, 0.1), ops.isclose(x, x), ops.fmax(x, -x),
    ],
    "three operands": lambda ops, x: [
        ops.lerp(x, x * 2, 0.25), ops.lerp(x, x * 2, x[:, :1]), ops.addcmul(x, x, x[:1], value=2),
        ops.addcdiv(x, x, abs(x) + 1), ops.heaviside(x, x * 2),
    ],
    "pairs and neighbours": lambda ops, x: [
        *ops.var_mean(x, -1), *ops.std_mean(x, (0, 2)), tuple(ops.aminmax(x)), tuple(ops.aminmax(x, dim=-1)),
        ops.nansum(x, -1), ops.nanmean(x), ops.diff(x), ops.diff(x, 2), ops.trapezoid(x), ops.trapezoid(x, dim=1),
        ops.cumulative_trapezoid(x, dx=2), ops.dist(x, x[:1]), ops.diff(x, dim=0, prepend=x),
    ],
    "sides": lambda ops, x: [
        ops.hstack([x, x]), ops.vstack([x, x]), ops.dstack([x, x]), ops.column_stack([x[0, 0], x[0, 0]]),
        ops.block_diag(x[0], x[0, 0]), *ops.broadcast_tensors(x, x[0]), x[0].broadcast_to(x.shape), *x.hsplit(2),
        *x.tensor_split((1, 3), 1), *ops.tensor_split(x, 3, 1), *x.dsplit((2,)), *x.split_with_sizes([1, 3], 1),
        x.ravel(), x.swapaxes(0, -1), x.adjoint(), x.rot90(1, (1, 2)), x.rot90(3, (0, 2)), x.fliplr(), x.flipud(),
        x.sum_to_size(4, 1), ops.atleast_3d(x[0, 0]), *ops.tensor_split(x.repeat(1, 1, 2), 2, -1),
    ],
    "diagonals": lambda ops, x: [
        (x.mT @ x).diagonal(0, 1, 2), ops.cat([x[0], x[0]], 1)[:2].diagonal(1), x[0, :3].mT.diagonal()[:2] * 1,
        (x.mT @ x).diagonal(-1, -1, -2), ops.diag(x[0, 0]),
        ops.diag_embed(x), ops.diag_embed(x, -2, 0, 2), ops.diagflat(x[0]), ops.trace(x[0].mT @ x[0]),
        (x.mT @ x).diagonal_scatter(x[:, 0], 0, 1, 2), (x.mT @ x)[0].clone().fill_diagonal_(7),
    ],
    "placing": lambda ops, x: [
        ops.take(x, (x[0, 0] > 0).long()), ops.take_along_dim(x, x.argmax(1, True), 1),
        ops.take_along_dim(x, x[:1].argmax(-1, True), -1), x.index_fill(-1, ops.tensor([0, -1]), 7.0),
        x.index_fill(1, ops.tensor([1]), 7.0), x.index_copy(1, ops.tensor([2, 0]), x[:, :2]),
        x.masked_scatter(x > 0, x * 2), x.select_scatter(x[:, 0], 1, 2), x.select_scatter(x[..., 0], -1, -1),
        x.slice_scatter(x[..., :2] * 2, -1, 1, 3), x.slice_scatter(x[:, :2] * 2, 1, 0, 4, 2),
        x.index_put((ops.tensor([0]), ops.tensor([-1])), x[0, 0]), x.mT.index_put((ops.tensor([0]),), x[0, :, 0], True),
    ],
    "products of vectors": lambda ops, x: [
        ops.baddbmm(x.mT, x.mT, x @ x.mT), ops.addbmm(x[0], ones(ops, x), x),
        ops.tensordot(x, x, ([1], [1]))[0, 0], ops.tensordot(x, x[:, 0], ([0], [0])), ops.inner(x, x[0]),
        ops.kron(x[0], x[0, :2]), ops.cross(x[:, :3], x[:, 1:], 1), ops.linalg.vecdot(x, x),
        ops.addr(x[0], x[0, :, 0], x[0, 0]),
        ops.linalg.vector_norm(x, dim=-1), ops.linalg.matrix_norm(x), ops.linalg.matrix_norm(x, 1, (2, 0)),
        ops.linalg.norm(x), ops.cartesian_prod(x[0, 0], x[0, 1]), ops.linalg.multi_dot([x[0], x[0].mT, x[0, :, 0]]),
    ],
    "triangles": lambda ops, x: [
        x.tril(), x.triu(1), ops.tril(x.mT, -1), (x > 0).tril(), x.tril(x.shape[2] - 4), ops.triu(x, 3 - x.shape[2]),
        x[:, :, :3].triu(x.shape[2] - 3),
    ],
    "windows": lambda ops, x: [x.unfold(1, 2, 1), x.unfold(-1, 2, 1), x.unfold(-1, 3, 2), ops.unfold(x[:, None], 2)],
    "windows that are added up": lambda ops, x: [
        ops.fold(ops.unfold(x[:, None], 2), x.shape[1:], 2),
        ops.fold(ops.unfold(x[:, None], 3, 1, 1), x.shape[1:], 3, 1, 1),
        ops.fold(ops.unfold(x[:, None], (2, 1), 1, 0, (2, 1)), (4, x.shape[2]), (2, 1), 1, 0, (2, 1)),
    ],
    "padding": lambda ops, x: [
        ops.pad(x, (1, 2)), ops.pad(x, (2, 0), value=1.5), ops.pad(x, (-1, 1)), ops.pad(x, (2, 1), "reflect"),
        ops.pad(x, (3, 4), "replicate"), ops.pad(x, (1, 3), "circular"), ops.pad(x, (0, 0, 1, 1, 1, 0)),
    ],
    "products": lambda ops, x: [
        x @ x.mT, x.mT @ x, x @ x[0, 0], x[0] @ x.mT, ops.bmm(x, x.mT), ops.outer(x[0, 0], x[0, 1]),
        ops.mv(x[0], x[0, 0]), x[:, None] @ x.mT,
    ],
    "sums of products": lambda ops, x: [
        ops.einsum("bij,bkj->bik", x, x), ops.einsum("bij->bji", x), ops.einsum("...ij,...kj->...ik", x, x[:1]),
        ops.einsum("bij,j->bi", x, x[0, 0]), ops.einsum("ij,kj,lj->ikl", x[0], x[0], x[0]),
    ],
    "attention": lambda ops, x: [
        ops.scaled_dot_product_attention(x.mT, x.mT, x.mT),
        ops.scaled_dot_product_attention(x.mT, x.mT, x.mT, is_causal=True),
        ops.scaled_dot_product_attention(x.mT, x.mT[:, 1:], x.mT[:, 1:], is_causal=True),
        ops.scaled_dot_product_attention(x.mT, x.mT, x.mT, x.mT @ x <= 99),
    ],
    "pooling": lambda ops, x: [
        ops.max_pool1d(x, 3, 2, 1), ops.avg_pool1d(x, 3, 1, 1), ops.avg_pool1d(x, 2, count_include_pad=False),
        ops.max_pool1d(x[0], 2), ops.adaptive_avg_pool1d(x, 1),
        ops.lp_pool1d(abs(x) + 1, 2.0, 2), ops.adaptive_avg_pool1d(x[0], 1),
    ],
    "convolution": lambda ops, x: [
        ops.conv1d(x, weights(ops, 6, 4, 3), padding=1),
        ops.conv1d(x[0], weights(ops, 6, 4, 3), stride=2),
        ops.conv_transpose1d(x, weights(ops, 4, 3, 3), stride=2),
    ],
    "resizing": lambda ops, x: [
        ops.interpolate(x, scale_factor=2), ops.interpolate(x, size=7, mode="linear"),
        ops.interpolate(x, size=(x.shape[2] * 3,), mode="nearest-exact"), ops.interpolate(x, size=1, mode="area"),
    ],
    "creation": lambda ops, x: [
        ops.zeros_like(x), ops.full_like(x, 2.5), x.new_ones((x.shape[0], 2)), ops.zeros(x.shape[2], 1) + x[0, 0],
        *ops.meshgrid(x[0, 0], x[0, :, 0], indexing="xy"), ops.arange(x.shape[2]), ops.full((x.shape[0],), 7),
        ops.ones(3, 1) * x.shape[2], x.new_zeros(1, 2, x.shape[2]), ops.eye(x.shape[2]), ops.eye(3, x.shape[2]),
        ops.eye(x.shape[2], x.shape[0], dtype=x.dtype),
    ],
    "lengths in place of numbers": lambda ops, x: [
        ops.full((2,), x.shape[2]), ops.full((x.shape[2],), x.shape[0] / 3), x.new_full((2, 1), x.shape[0]),
        ops.full_like(x, x.shape[2] ** 0.5), ops.linspace(1 - x.shape[0], x.shape[2], 5), x[..., [0, x.shape[2] - 1]],
        ops.linspace(x.shape[0], x.shape[2] / 2, x.shape[2]), x[:, [-1, 0]][:, :, [x.shape[2] // 2, 0, -1]],
        ops.one_hot(x.argmax(-1), x.shape[2]), x[:, 0].repeat_interleave(x.shape[2], 0),
        x[0].repeat_interleave(x.shape[0]),
        ops.addmm(x[0], x[0], ops.eye(x.shape[2]), beta=x.shape[0], alpha=1 / x.shape[0]),
        ops.baddbmm(x, ones(ops, x), x, alpha=x.shape[0], beta=x.shape[0]), ops.softplus(x, x.shape[0]),
        ops.addcdiv(x, x, abs(x) + 1, value=x.shape[0]), ops.addcmul(x, x, x, value=x.shape[0]),
    ],
    "windows as long as a side": lambda ops, x: [
        ops.avg_pool1d(x, x.shape[2]), ops.max_pool1d(x, x.shape[2:]), ops.max_pool2d(x, (2, x.shape[2])),
        ops.avg_pool2d(x, x.shape[1:], divisor_override=5), ops.avg_pool1d(x, x.shape[2], ceil_mode=True),
    ],
}  # fmt: skip


# Of (batch, 4, height, width).
OF_IMAGES = {
    "pooling": lambda ops, x: [
        ops.avg_pool2d(x, 3, 2, 1), ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False), ops.max_pool2d(x, 3, 2, 1),
        ops.avg_pool2d(x, 2, divisor_override=3), ops.adaptive_avg_pool2d(x, 1), ops.adaptive_avg_pool2d(x, (1, None)),
        ops.avg_pool2d(x, 4, 4, ceil_mode=True), ops.adaptive_avg_pool2d(x, (None, None)),
        ops.avg_pool2d(x, x.shape[2:]), ops.max_pool2d(x, x.shape[2:], stride=x.shape[2:]),
        ops.avg_pool2d(x, (x.shape[2], 3), (1, 2), (0, 1), count_include_pad=False),
        ops.avg_pool2d(x, (3, x.shape[3]), (2, 5), (1, 0), ceil_mode=True, divisor_override=4),
    ],
    "pixels": lambda ops, x: [
        ops.pixel_shuffle(x, 2), ops.pixel_unshuffle(x, 4), ops.channel_shuffle(x, 2), ops.pixel_shuffle(x[0], 2)
    ],
    "resizing": lambda ops, x: [
        ops.interpolate(x, size=(5, x.shape[3]), mode="bicubic"),
        ops.interpolate(x, scale_factor=2, mode="nearest-exact"),
        ops.interpolate(x, scale_factor=0.5, mode="bilinear", recompute_scale_factor=True),
        ops.interpolate(x, size=(x.shape[2], 1), mode="area"),
    ],
    "sampling": lambda ops, x: [
        ops.grid_sample(x, ops.stack([x[:, 0] / 3, x[:, 1] / 3], -1), align_corners=False),
        ops.grid_sample(
            x[:, :2], ops.affine_grid(x[:, 0, :2, :3], (x.shape[0], 4, 5, 6), align_corners=True), align_corners=True
        ),
    ],
    "padding": lambda ops, x: [
        ops.pad(x, (1, 2, 3, 0)), ops.pad(x, (1, 1, 2, 2), "reflect"), ops.pad(x, (-1, 0, -2, 1))
    ],
    "without a batch": lambda ops, x: [ops.max_pool2d(x[0], 2), ops.conv2d(x[0], weights(ops, 3, 4, 3, 3))],
    "kernels of each image": lambda ops, x: [modulated(ops, x, ops.conv2d), modulated(ops, x, ops.conv_transpose2d)],
    "windows": lambda ops, x: [
        ops.softmax(x.unflatten(2, (-1, 4)).unflatten(-1, (-1, 4)).movedim(3, 4).flatten(-2), -1)
    ],
    "distances": lambda ops, x: [ops.cosine_similarity(x, x.roll(1, 1)), ops.normalize(x, dim=1)],
}  # fmt: skip

# Of (batch, 4, odd) of whole numbers.
OF_INTEGERS = {
    "arithmetic": lambda ops, x: [x + 1, x // 2, x % 3, x * x.shape[2], -x, x.clamp(0, 2), abs(x), x**2],
    "reductions": lambda ops, x: [x.sum(-1), x.amax(1), x.sum(), (x > 0).sum(0), x.prod(1), x.cumsum(-1)],
    "logic": lambda ops, x: [(x > 0) | (x < -1), ops.logical_xor(x, x[:, :1]), x == x[:, :1], ops.where(x > 0, x, 0)],
    "floating": lambda ops, x: [x / 2, x.float().mean(-1), ops.exp(x / 8)],
}


@pytest.mark.parametrize("name", CASES)
def test_over_lines(name):
    function = CASES[name]
    check_dynamic(lambda x: function(F, x), lambda x: function(TORCH, x), LINES, LINE_SIZES)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_over_images(name):
    function = OF_IMAGES[name]
    check_dynamic(lambda x: function(F, x), lambda x: function(TORCH, x), IMAGES, IMAGE_SIZES, fp16_tolerance=1e-2)


@pytest.mark.parametrize("name", OF_INTEGERS)
def test_over_integers(name):
    function = OF_INTEGERS[name]
    check_dynamic(lambda x: function(F, x), lambda x: function(TORCH, x), LINES, LINE_SIZES, dtype="int32")


def test_over_volumes():
    def function(ops, x):
        return [
            ops.conv3d(x, weights(ops, 6, 2, 3, 3, 3), padding=1, stride=(1, 1, 2)),
            ops.conv_transpose3d(x, weights(ops, 2, 3, 3, 3, 2), stride=2),
            ops.max_pool3d(x, 2), ops.avg_pool3d(x, 3, 2, 1), ops.interpolate(x, scale_factor=2, mode="trilinear"),
            ops.adaptive_avg_pool3d(x, (3, 2, 1)),
        ]  # fmt: skip

    check_dynamic(lambda x: function(F, x), lambda x: function(TORCH, x), VOLUMES, VOLUME_SIZES)


def test_index_arrays_over_dynamic_dimensions():
    def function(x):
        return [x[[0, 0], :, [0, -1]], x[:, 1, [2, 0]], x[[[0], [0]], [1, 2]], x[:, [-1, 0], [-3, 1]]]

    check_dynamic(function, function, LINES, LINE_SIZES)


def test_two_inputs_of_one_dimension():
    def function(ops, x, y):
        i = (x > 0).long()
        return [x @ y, ops.where(i > 0, x, 0.0), x.gather(2, i), ops.cat([x, y.mT], -1), ops.bmm(x, y)]

    check_dynamic(
        lambda x, y: function(F, x, y),
        lambda x, y: function(TORCH, x, y),
        [LINES, (BATCH, ODD, 4)],
        [[(1, 4, 12), (1, 12, 4)], [(3, 4, 3), (3, 3, 4)]],
    )


def test_products_are_counted_where_dimensions_are_fastest():
    def function(x):
        return F.einsum("bij,bkj->bik", x, x) @ x

    dynamic, static = trace(function, LINES), trace(function, (2, 4, 5))
    flops = [[row.flops for row in network.layers()] for network in (dynamic, static)]
    assert flops[0] == flops[1] == [0, 320, 320]  # bkj is turned round first


def test_tensors_of_lengths():
    def function(ops, x):
        return [
            ops.tensor(x.shape[2]), ops.tensor([x.shape[0], 3, x.shape[2] // 2]),
            ops.tensor((x.shape[2], 2), dtype=torch.float32) * 2, ops.tensor([[x.shape[2], 1], [2, x.shape[0] * 3]]),
            ops.tensor([[x.shape[2] / 2, 0.5, 3], [x.shape[0], 1, x.shape[2] ** -0.5]]), ops.tensor(x.shape[2] / 4),
        ]  # fmt: skip

    check_dynamic(lambda x: function(F, x), lambda x: function(TORCH, x), LINES, LINE_SIZES)


# -- modules ----------------------------------------------------------------------------------------------------------

# Of each module its arguments and the shape of its input.
MODULES = {
    "Conv1d": ((4, 6, 3, 2, 1), {}, LINES),
    "Conv2d": ((4, 6, 3), {"padding": 1, "padding_mode": "reflect"}, IMAGES),
    "ConvTranspose2d": ((4, 3, 3, 2, 1, 1), {}, IMAGES),
    "BatchNorm1d": ((4,), {}, LINES),
    "GroupNorm": ((2, 4), {}, IMAGES),
    "InstanceNorm2d": ((4,), {"affine": True}, IMAGES),
    "InstanceNorm1d": ((4,), {}, LINES),
    "LayerNorm": ((6,), {}, (BATCH, ODD, 6)),
    "RMSNorm": ((6,), {}, (BATCH, ODD, 6)),
    "PReLU": ((4,), {}, LINES),
    "Upsample": ((), {"scale_factor": 2, "mode": "bilinear"}, IMAGES),
    "AdaptiveAvgPool2d": ((1,), {}, IMAGES),
    "ReflectionPad2d": ((2,), {}, IMAGES),
    "Unfold": ((2,), {}, (BATCH, 4, 5, 6)),
    "TransformerEncoderLayer": ((8, 2, 16), {"batch_first": True}, (BATCH, ODD, 8)),
    "GRUCell": ((6, 5), {}, (BATCH, 6)),
}


def at(shape, batch, side):
    """Return a shape with numbers for its dimensions."""
    return tuple(n if isinstance(n, int) else batch if n is BATCH else side for n in shape)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    args, options, shape = MODULES[name]
    make, theirs = getattr(modules, name), getattr(torch.nn, name)
    sizes = [at(shape, 1, 12), at(shape, 3, 3)] if any(n is ODD for n in shape) else [at(shape, 1, 8), at(shape, 3, 16)]
    check_dynamic(make(*args, **options), theirs(*args, **options), shape, sizes)


def twins(name, *args, **options):
    """Return a module and torch's, with the same weights."""
    ours, theirs = getattr(modules, name)(*args, **options), load_random(getattr(torch.nn, name)(*args, **options))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention(causal):
    ours, theirs = twins("MultiheadAttention", 8, 2, batch_first=True)

    def function(ops, module, x):
        mask = ops.ones_like(x[0] @ x[0].mT).triu(1) > 0 if causal else None
        return list(module(x, x, x, attn_mask=mask))

    check_dynamic(
        lambda x: function(F, ours, x),
        lambda x: function(TORCH, theirs, x),
        (BATCH, ODD, 8),
        [(1, 12, 8), (3, 3, 8)],
    )


def test_embedding():
    ours, theirs = twins("Embedding", 3, 5)
    check_dynamic(
        lambda x: ours(abs(x) % 3), lambda x: theirs(abs(x) % 3), (BATCH, ODD), [(1, 12), (3, 3)], dtype="int32"
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.tril(),
        lambda x: F.unfold(x, 2),
        lambda x: F.max_pool2d(x, 2, dilation=2),
        lambda x: x + cells_of(*x.shape[2:]).sum(),
    ],
    ids=["tril", "unfold", "max_pool2d", "cells_of"],
)
def test_places_of_known_lengths_are_computed_while_tracing(function):
    """By no layer but the one that takes them; of unknown ones there are more."""
    known, unknown = (trace(function, shape) for shape in ((1, 4, 8, 16), (1, 4, 8, WIDTH)))
    kinds = ("FILL", "CAST", "ELEMENTWISE")
    assert len(layers(known, *kinds)) <= 1 < len(layers(unknown, *kinds))


# -- lengths that people compute ---------------------------------------------------------------------------------------

LONGER, LONGER_SIZES = (1, 2, Dim("h", 8, 16, 64)), [(1, 2, h) for h in (8, 9, 15, 16, 31, 33, 63, 64)]

# Of (1, 2, h), in the words that torch takes as well; of the numbers -0.5 the root comes by its own layers.
OF_LENGTHS = {
    "halves": lambda ops, x: [
        x[..., : x.shape[2] // 2], x[..., -(x.shape[2] // 2) :], x[..., : -(x.shape[2] // 2)],
        *x.split([x.shape[2] // 2, x.shape[2] - x.shape[2] // 2], 2), *x.chunk(2, 2), *x.chunk(3, 2),
        x[..., : x.shape[2] // 2] + x[..., -(x.shape[2] // 2) :], ops.cat([x[..., ::2], x[..., 1::2]], -1),
    ],
    "to a multiple": lambda ops, x: [
        ops.pad(x, (0, -x.shape[2] % 8)).view(1, 2, -1, 8), ops.pad(x, (-x.shape[2] % 8, 0), value=1.5),
        ops.pad(x, (0, 7))[..., : (x.shape[2] + 7) // 8 * 8].view(1, 2, (x.shape[2] + 7) // 8, 8),
        ops.pad(x, (0, 7))[..., : x.shape[2] + -x.shape[2] % 8].view(1, 2, (x.shape[2] + 7) // 8, 8),
        ops.pad(x, (0, (8 - x.shape[2] % 8) % 8), value=float("inf")), ops.pad(x > 0, (0, -x.shape[2] % 8), value=True),
        ops.pad(x, (0, x.shape[2] % 2)).view(1, 2, -1, 2).sum(-1) + x[..., ::2],
        x[..., : x.shape[2] - x.shape[2] % 4].reshape(2, -1, 4),
    ],
    "padding": lambda ops, x: [
        *[ops.pad(x, (x.shape[2] % 3, -x.shape[2] % 8), mode) for mode in ("reflect", "replicate", "circular")],
        *[ops.pad(x, (1, x.shape[2] // 2 - 10), mode) for mode in ("constant", "reflect", "replicate", "circular")],
        ops.pad(x, (x.shape[2] // 2 - 10, 0), value=2.0),
    ],
    "slices that are longer": lambda ops, x: [x[..., :40], x[..., -40:], x[..., 4:20], x[..., :-3]],
    "turning": lambda ops, x: [x.roll(x.shape[2] // 2, -1), x.roll(x.shape[2] - 1, 2), x.flip(-1)],
    "places": lambda ops, x: [
        x.narrow(2, x.shape[2] // 4, x.shape[2] // 3), x[..., x.shape[2] // 2], ops.arange(x.shape[2] // 2),
        ops.arange(x.shape[2] - 1, -1, -1), ops.linspace(-1, 2, x.shape[2]), ops.linspace(x.sum(), 2, x.shape[2]),
        x[..., : math.ceil(x.shape[2] / 2)], x[..., : math.floor(x.shape[2] * 0.75)],
        x[..., : divmod(x.shape[2], 3)[0]],
    ],
    "resizing": lambda ops, x: [
        ops.interpolate(x, size=x.shape[2] * 2, mode="linear"), ops.interpolate(x, size=(x.shape[2] + 7) // 8 * 8)
    ],
    "factors": lambda ops, x: [
        x * x.shape[2] ** -0.5, x * x.shape[2] ** 0.5, x * (x.shape[2] * 0.5), x / (x.shape[2] / 3), 1 / x.shape[2] * x,
        x + x.shape[2] ** 2, x - (x.shape[2] + 0.3) ** 0.25, 2 ** (x.shape[2] / 64) + x, x * (x.shape[2] * 0.3 // 1),
        x.clamp(max=x.shape[2] ** -0.5), x.sum(2) * (1 / x.shape[2]), -(x.shape[2] / 3) + x, x * (x.shape[2] % 2.5),
        ops.scaled_dot_product_attention(x, x, x, scale=x.shape[2] ** -0.5), x * (x.shape[2] ** -2),
    ],
    "variance": lambda ops, x: [x.var(2, correction=0.5), x.std((1, 2)), x.var(2, correction=0)],
}  # fmt: skip


@pytest.mark.parametrize("name", OF_LENGTHS)
def test_of_lengths(name):
    function = OF_LENGTHS[name]
    check_dynamic(lambda x: function(F, x), lambda x: function(TORCH, x), LONGER, LONGER_SIZES)


def test_the_smaller_and_the_larger_of_two_lengths():
    def function(least, most, pad):
        return lambda x: [
            x[..., : least(x.shape[2], 32)], pad(x, (0, most(x.shape[2], 32) - x.shape[2])),
            x * most(x.shape[2] // 2, 10), pad(x, (0, most(0, 20 - x.shape[2])), value=3.0),
        ]  # fmt: skip

    check_dynamic(function(sym_min, sym_max, F.pad), function(min, max, torch.nn.functional.pad), LONGER, LONGER_SIZES)


def windows_of_seven(ops, x):
    """Cut (batch, channels, height, width) into windows as Swin does, and join them again."""
    b, c, h, w = x.shape
    padded = ops.pad(x, (0, (7 - w % 7) % 7, 0, (7 - h % 7) % 7))
    tall, wide = padded.shape[2:]
    cells = padded.permute(0, 2, 3, 1).view(b, tall // 7, 7, wide // 7, 7, c).permute(0, 1, 3, 2, 4, 5)
    windows = cells.reshape(-1, 49, c)
    whole = windows.view(b, tall // 7, wide // 7, 7, 7, c).permute(0, 1, 3, 2, 4, 5).reshape(b, tall, wide, c)
    return [windows, whole.roll((-3, -3), (1, 2))[:, :h, :w] + x.permute(0, 2, 3, 1)]


@pytest.mark.parametrize("longest", [64, 6400])
def test_windows_of_seven(longest):
    sides = Dim("h", 8, 16, longest), Dim("w", 8, 16, longest)
    check_dynamic(
        lambda x: windows_of_seven(F, x), lambda x: windows_of_seven(TORCH, x), (BATCH, 2, *sides),
        [(1, 2, 8, 8), (2, 2, 14, 9), (3, 2, 21, 28), (1, 2, 64, 63)],
    )  # fmt: skip


ROUNDED_UP = [
    ("max_pool", {}), ("max_pool", {"dilation": 2}), ("max_pool", {"return_indices": True}), ("avg_pool", {}),
    ("avg_pool", {"count_include_pad": False}), ("avg_pool", {"divisor_override": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("n", "kernel", "stride", "padding"), [
    (1, 2, 2, 0), (1, 3, 2, 1), (2, 2, 3, 1), (2, 3, 3, 1), (2, 1, 4, 0), (2, 2, 1, 0), (3, 2, 2, 1), (3, 3, 4, 1)
])  # fmt: skip
@pytest.mark.parametrize(("name", "options"), ROUNDED_UP)
def test_pooling_rounded_up(n, kernel, stride, padding, name, options):
    """At every length, those too where the last window would start in the padding and is left out."""
    if n == 1 and "divisor_override" in options:
        pytest.skip("torch's avg_pool1d takes no divisor_override")
    if kernel < stride and "count_include_pad" in options and padding:
        pytest.skip("a window may lie in the padding alone, and TensorRT refuses a mean of nothing")
    options = {**options, "ceil_mode": True}
    name = f"{name}{n}d"

    def function(ops):
        def pool(x):
            result = getattr(ops, name)(x, kernel, stride, padding, **options)
            return list(result) if isinstance(result, tuple) else result

        return pool

    check_dynamic(
        function(F), function(torch.nn.functional), (1, 2, *[5] * (n - 1), Dim("h", 5, 6, 13)),
        [(1, 2, *[5] * (n - 1), h) for h in range(5, 14)], build="dilation" not in options,
    )  # fmt: skip


@pytest.mark.parametrize("stride", [None, 640, (639, 1000)])
@pytest.mark.parametrize(("name", "options"), [row for row in ROUNDED_UP if "dilation" not in row[1]])
def test_a_window_that_is_larger_than_its_input(name, options, stride):
    """As a pooler has it that does not know the size of its input; TensorRT refuses windows of so many elements."""

    def function(ops):
        def pool(x):
            result = getattr(ops, f"{name}2d")(x, 640, stride, ceil_mode=True, **options)
            return list(result) if isinstance(result, tuple) else result

        return pool

    check_dynamic(function(F), function(torch.nn.functional), (BATCH, 2, 2, 3), [(1, 2, 2, 3), (2, 2, 2, 3)])


def test_no_window_that_begins_beyond_its_input():
    with pytest.raises(ShapeError, match=r"the window \(9, 9\) is larger than its input"):
        trace(lambda x: F.avg_pool2d(x, 9, 2, ceil_mode=True), np.zeros((1, 1, 7, 6), np.float32))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x.squeeze(), ShapeError, "whether batch != 1 is known only when the network runs"),
        (lambda x: x.squeeze(0), ShapeError, "batch is 1 to 4"),
        (lambda x: x.sort(-1), UnsupportedError, "sort along a dimension of odd in"),
        (lambda x: x.argsort(-1), UnsupportedError, "a network fixes how many elements it orders\n  odd is "),
        (lambda x: x.msort(), UnsupportedError, "sort along a dimension of batch in"),
        (lambda x: x.topk(5, -1), ShapeError, "whether odd >= 5 is known only"),
        (lambda x: x.topk(13, -1), ArgumentError, "topk of 13 along a dimension of odd"),
        (lambda x: x.unbind(-1), ShapeError, "odd is known only when the network runs"),
        (lambda x: x.unfold(-1, 4, 1), ShapeError, "known only when the network runs"),
        (lambda x: F.adaptive_avg_pool1d(x, 3), UnsupportedError, "adaptive_avg_pool1d of a length of odd to 3"),
        (lambda x: F.adaptive_max_pool1d(x, 2), UnsupportedError, "its windows would depend on the length"),
        (lambda x: F.interpolate(x, size=3, mode="area"), UnsupportedError, "of a length of odd to 3"),
        (
            lambda x: x[..., : min(x.shape[2], 9)],
            ShapeError,
            "it never holds for odd up to 9, and always holds for odd",
        ),
        (lambda x: x[..., : min(x.shape[2], 9)], ShapeError, "trtnn.sym_min"),
        (lambda x: F.zeros(2, -x.shape[2] % 4), ShapeError, "of shape (2, 4*((odd + 3)//4) - odd) may hold nothing"),
        (lambda x: F.zeros(2, -x.shape[2] % 4), ShapeError, "functional.pad takes it"),
        (lambda x: F.zeros(x.shape[2] / 3), ArgumentError, "which // divides, not (odd / 3,)"),
        (lambda x: F.pad(x, (0, x.shape[2] / 3)), ShapeError, "odd / 3 is no whole number of elements"),
        (lambda x: x[..., : x.shape[2] / 3], ShapeError, "odd / 3 is no whole number of elements"),
        (lambda x: x[..., : int(x.shape[2] * 0.5)], ShapeError, "divide with //: odd // 2"),
        (lambda x: x.repeat(1, 1, x.shape[2] / 3), ShapeError, "odd / 3 is no whole number of elements"),
        (lambda x: x.narrow(2, 0, x.shape[2] / 3), ShapeError, "divide them with //"),
        (lambda x: F.interpolate(x, size=x.shape[2] / 3), ArgumentError, "divide lengths with //"),
        (lambda x: F.pad(x, (0, x.shape[2]), "reflect"), ShapeError, "padding by odd in mode 'reflect'"),
        (lambda x: F.pad(x, (0, x.shape[2] * 2 - 6), "reflect"), ShapeError, "never holds for odd up to 5"),
        (lambda x: F.pixel_unshuffle(x, 2), ShapeError, "odd"),
        (lambda x: F.avg_pool1d(x, x.shape[2], (1, 2)), ArgumentError, "stride takes an int, not"),
        (lambda x: F.max_pool1d(x, x.shape[2], (1, 2)), ArgumentError, "stride takes an int, not"),
        (F.glu, ShapeError, "odd"),
        (lambda x: F.pad(x, (4, 0), "reflect"), ShapeError, "odd"),
        (lambda x: F.pad(x, (-3, 0)), ShapeError, "odd"),
        (lambda x: F.group_norm(x.mT, 3), ShapeError, "odd"),
        (lambda x: F.layer_norm(x, (5,)), ShapeError, "takes (..., 5), not (batch, 4, odd)"),
        (lambda x: F.instance_norm(x.mT, weight=np.ones(4, "f4")), ShapeError, "received odd, in an input of shape"),
        (lambda x: F.bmm(x, x), ShapeError, "shapes (batch, 4, odd) and (batch, 4, odd) do not fit together"),
        (lambda x: F.bmm(x, x[:1].mT), ShapeError, "two batches of one size, not (batch, 4, odd) and (1, odd, 4)"),
        (lambda x: F.einsum("bij,bjk->bik", x, x), ShapeError, "a letter is odd and 4 long"),
        (lambda x: x.gather(2, F.zeros(4, 4, 1, dtype="int32")), ShapeError, "batch"),
        (lambda x: x[..., [0, 5]], ShapeError, "odd"),
        (lambda x: x[..., [0, 12]], ShapeError, "index 12 is out of range for a dimension of odd"),
        (lambda x: x[..., [-13]], ShapeError, "index -13 is out of range for a dimension of odd"),
        (lambda x: x[:, :, np.array([True, False, True])], ShapeError, "does not fit dimensions (odd,)"),
        (lambda x: F.where(x > 0, x, x[..., 1:]), ShapeError, "(batch, 4, odd - 1)"),
        (lambda x: x.unflatten(-1, (2, -1)), ShapeError, "cannot unflatten dimension -1, of odd"),
        (lambda x: x.var(-1, correction=3), ShapeError, "odd"),
        (lambda x: F.linspace(0, 9, x.shape[2], dtype="int32"), DTypeError, "linspace of odd numbers as int32"),
        (
            lambda x: F.leaky_relu(x, 1 / x.shape[2]),
            ShapeError,
            "known while tracing, not 1 / odd\n  an engine is built for one: odd is 3 to 12",
        ),
        (lambda x: F.avg_pool1d(x, x.shape[2] - 1), UnsupportedError, "windows of odd - 1 over a length of odd"),
        (lambda x: F.max_pool1d(x, x.shape[2], 1, 1), UnsupportedError, "windows of odd over a length of odd"),
        (
            lambda x: F.lp_pool1d(x, 2, x.shape[2]),
            ArgumentError,
            "takes an int, not odd\n  an engine is built for one: odd is 3",
        ),
        (lambda x: F.fold(x, (3, 3), 2), ShapeError, "odd"),
        (lambda x: F.fold(x, (4, x.shape[2]), 2, stride=2), ShapeError, "how far from the end of a length the last"),
        (lambda x: F.fold(x, (4, x.shape[2], 1), 2), ArgumentError, "output_size takes an int or two"),
        (lambda x: F.fold(x, (0, x.shape[2]), 2), ArgumentError, "output_size is at least 1"),
        (lambda x: F.unfold(x[:, None], 4), ShapeError, "odd"),
        (lambda x: F.affine_grid(x[:, :2, :3], (x.shape[0], 1, x.shape[2], 4)), ShapeError, "odd"),
        (lambda x: F.grid_sample(x[:, None], F.zeros(4, 1, 4, 2)), ShapeError, "batch"),
    ],
)
def test_errors_name_the_dimension(function, error, words):
    assert words in message_of(error, trace, function, LINES)


@pytest.mark.parametrize("rows", [3, 10])
def test_scatter_of_fewer_rows_than_the_input_has(rows):
    length = Dim("rows", 3, 5, 10)

    def function(x, index, source):
        return (
            x.scatter_add(1, index, source),
            x.scatter_reduce(1, index, source, "amax", include_self=False),
        )

    network = trace(function, (10, 4), Input((length, 2), "int32"), (length, 2))
    x, source = numbers(10, 4), numbers(rows, 2, seed=1)
    index = np.random.default_rng(0).integers(0, 4, (rows, 2)).astype("int32")
    expected = function(torch.from_numpy(x), torch.from_numpy(index).long(), torch.from_numpy(source))
    assert_close(network.run(x, index, source), expected)
