"""What torch.nn.functional has beside: activations, normalisation, convolution, pooling and the like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.calls import (
    BOOL,
    BOOLS,
    DTYPES,
    FACTORS,
    FLOAT,
    FLOATS,
    KEEPDIM,
    MATRICES,
    POSITIVE,
    SCALARS,
    WHOLE,
    Array,
    Case,
    Together,
    arrays,
    case,
    dim,
    each,
    exactly,
    maybe,
    mostly,
    other,
    shapes,
    weights,
    windows,
)

SIDES = {n: shapes(n + 2, n + 1, least=3, most=5) for n in (1, 2, 3)}


def activation(inplace: bool = True, low: float = -3, **arguments: Any) -> Case:
    own = {"inplace": maybe(BOOLS)} if inplace else {}
    return case(arrays(low=low), **arguments, **own, half=1e-2)  # of one number near 0, as a difference


ACTIVATIONS = {
    **{name: activation() for name in ("relu", "relu6", "silu", "hardswish", "hardsigmoid", "mish", "selu")},
    **{name: activation(inplace=False) for name in ("sigmoid", "tanh", "logsigmoid", "softsign")},
    "tanhshrink": activation(absolute=1e-3, inplace=False),  # torch rounds tanh(x) to fp16, which is nearly x
    "hardtanh": activation(
        min_val=maybe(st.sampled_from([-1.0, 0, -2.5])), max_val=maybe(st.sampled_from([1.0, 0.5, -1.5]))
    ),
    "leaky_relu": activation(negative_slope=maybe(FACTORS)),
    "rrelu": activation(lower=maybe(st.just(0.1)), upper=maybe(st.just(0.5))),
    "elu": activation(alpha=maybe(FACTORS)),
    "celu": activation(alpha=maybe(FACTORS), refuses={"an alpha above 0": lambda c: c.arguments.get("alpha", 1) < 0}),
    "gelu": activation(
        inplace=False, low=-2, approximate=maybe(mostly(st.sampled_from(["none", "tanh"]), st.just("erf")))
    ),
    "softplus": activation(
        inplace=False, low=-1, beta=maybe(st.sampled_from([1, 2, 0.5])), threshold=maybe(st.sampled_from([20, 1]))
    ),
    "hardshrink": activation(inplace=False, lambd=maybe(st.sampled_from([0.5, 1, 0]))),
    "softshrink": activation(inplace=False, lambd=maybe(st.sampled_from([0.5, 1, 0, -1]))),
    "threshold": activation(threshold=st.sampled_from([0, 0.5, -1]), value=SCALARS),
    "prelu": case(arrays(FLOAT, (1, 2, 3)), lambda x: weights(1) | (weights(x.shape[1]) if x.ndim > 1 else weights(1))),
    "glu": case(arrays(shape=(1, 2, 3)), dim=maybe(dim)),
    **{name: case(arrays(), dim=dim, dtype=maybe(DTYPES)) for name in ("softmax", "softmin", "log_softmax")},
    **{
        name: case(arrays(), p=maybe(st.just(0.25)), training=st.just(False))
        for name in ("dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
    },
    "dropout1d": case(arrays(shape=(2, 3)), training=st.just(False)),
}


def normalized(*names: str) -> Case:
    """Normalisation over the last dimensions, with weights of these names."""

    def last(x: Array) -> Any:
        return st.integers(1, x.ndim).map(lambda n: x.shape[-n:])

    own = maybe(lambda x, shape: weights(*shape))
    return case(
        arrays(FLOAT, (1, 2, 3)),
        last,
        **dict.fromkeys(names, own),
        eps=maybe(st.sampled_from([1e-5, 1e-2])),
        half=MATRICES,
    )


def channels(x: Array, *_: Any) -> Any:
    return weights(x.shape[1])


NORMS = {
    "batch_norm": case(
        arrays(FLOATS, (2, 3, 4)),
        channels,
        lambda x, _: weights(x.shape[1], **POSITIVE),
        weight=maybe(channels),
        bias=maybe(channels),
        eps=maybe(st.just(1e-3)),
        half=1e-2,
        absolute=1e-2,  # the bias takes away nearly all of some
    ),
    "group_norm": case(
        arrays(FLOATS, st.sampled_from([(2, 4, 3), (1, 6, 2, 2), (2, 2, 3)])),
        st.integers(1, 3),
        weight=maybe(channels),
        bias=maybe(channels),
        half=MATRICES,
    ),
    "instance_norm": case(
        arrays(FLOATS, st.sampled_from([(2, 4, 3), (1, 6, 2, 2), (2, 2, 3)])),
        weight=maybe(channels),
        bias=maybe(channels),
        half=MATRICES,
    ),
    "layer_norm": normalized("weight", "bias"),
    "rms_norm": normalized("weight"),
    "normalize": case(
        arrays(FLOATS, (2, 3), **POSITIVE),
        p=maybe(st.sampled_from([1, 2.0, 3, math.inf])),
        dim=maybe(dim),
        eps=maybe(st.sampled_from([0.5, 5.0])),  # below and above the length of what is drawn
        half=MATRICES,
    ),
    "local_response_norm": case(
        arrays(FLOAT, (3, 4)),
        size=st.integers(1, 4),
        alpha=maybe(st.just(0.5)),
        beta=maybe(st.just(0.5)),
        k=maybe(st.just(2.0)),
    ),
    "cosine_similarity": case(
        arrays(shape=(1, 2, 3), kinds=FLOATS, **POSITIVE),
        other(FLOATS, **POSITIVE),
        dim=lambda x, y: st.sampled_from([0, -1]),
        eps=maybe(st.sampled_from([0.5, 5.0])),
        half=MATRICES,
    ),
    "pairwise_distance": case(
        arrays(FLOATS, (1, 2), low=0, high=3),
        lambda x: exactly(*x.shape, kinds=FLOATS, low=4, high=6),
        p=maybe(st.sampled_from([1.0, 2.0, 3.0, math.inf])),
        eps=maybe(st.sampled_from([0, 0.5])),
        keepdim=KEEPDIM,
        half=MATRICES,
    ),
}


@st.composite
def attended(draw: Any) -> Together:
    """A query, a key, a value, and what goes with them."""
    batch, (length, width, others, values) = draw(shapes(0, 1, 2, most=3)), draw(shapes(4, most=4))
    sides = ((length, width), (others, width), (others, values))
    query, key, value = (draw(exactly(*batch, *side, kinds=FLOAT)) for side in sides)
    how: dict[str, Any] = {"scale": draw(st.none() | st.just(0.3)), "is_causal": draw(BOOLS)}
    if draw(BOOLS):
        how["attn_mask"] = draw(
            exactly(length, others, kinds=BOOL + FLOAT) | exactly(*batch, length, others, kinds=BOOL + FLOAT)
        )
    return Together((query, key, value, how))


@st.composite
def grids(draw: Any, volumes: bool) -> Together:
    """Images or volumes, and places in them and around."""
    batch, lengths = draw(st.integers(1, 2)), draw(shapes(3 if volumes else 2, most=3))
    places = exactly(batch, *lengths, 3 if volumes else 2, kinds=FLOAT, low=-1.6, high=1.6)
    images = arrays(FLOAT, shapes(5 if volumes else 4).map(lambda found: (batch, *found[1:])))
    return Together((draw(images), draw(places)))


def sampled(modes: tuple[str, ...], volumes: bool) -> Case:
    return case(
        grids(volumes),
        mode=maybe(mostly(st.sampled_from(modes), st.just("cubic"))),
        padding_mode=maybe(st.sampled_from(["zeros", "border", "reflection"])),
        align_corners=BOOLS,
    )


@st.composite
def resized(draw: Any, x: Array) -> dict[str, Any]:
    n = x.ndim - 2
    smooth = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}[n]
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "area", *smooth]))
    how: dict[str, Any] = {"mode": mode}
    if draw(BOOLS):
        how["size"] = draw(each(n, st.integers(1, 7)))
    else:
        how["scale_factor"] = draw(each(n, st.sampled_from([2.0, 0.5, 1.5, 0.7])))
    return how | ({"align_corners": draw(BOOLS)} if mode in smooth else {})


@st.composite
def convolved(draw: Any, n: int, transposed: bool, computed: bool = False) -> Together:
    """An input, weights that fit, known while tracing or computed, and how one goes over the other."""
    groups = draw(st.sampled_from([1, 1, 2]))
    inner, outer = (draw(st.integers(1, 2)) for _ in range(2))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * n))
    sides = draw(st.tuples(*[st.integers(3, 7)] * n))
    batch = draw(st.sampled_from([(2,), (1,), ()]))
    x = draw(exactly(*batch, inner * groups, *sides, kinds=FLOAT))
    shape = (inner * groups, outer) if transposed else (outer * groups, inner)
    weight = draw(exactly(*shape, *kernel, kinds=FLOAT) if computed else weights(*shape, *kernel))
    how: dict[str, Any] = {"groups": groups}
    for name, least in (("stride", 1), ("dilation", 1), ("padding", 0)):
        if draw(BOOLS):
            how[name] = draw(each(n, st.integers(least, 2)))
    if not transposed and draw(st.integers(0, 4)) == 4:
        how["padding"] = draw(st.sampled_from(["same", "valid"]))
    if transposed and draw(BOOLS):
        how["output_padding"] = draw(each(n, st.integers(0, 1)))
    if draw(BOOLS):
        how["bias"] = draw(weights(outer * groups))
    return Together((x, weight, how))


def lengths_of(n: int) -> Any:
    return each(n, st.integers(1, 3)) if n > 1 else st.integers(1, 3)


def pooled(n: int, kinds: Any = FLOATS, **arguments: Any) -> Case:
    return case(arrays(kinds, SIDES[n], distinct=True), **windows(n), ceil_mode=maybe(BOOLS), **arguments)


def adaptive(n: int, **arguments: Any) -> Case:
    size = st.integers(1, 3) | (st.tuples(*[st.none() | st.integers(1, 3)] * n) if n > 1 else st.integers(1, 3))
    return case(arrays(FLOATS, SIDES[n], distinct=True), size, **arguments, half=MATRICES)


def unpooled(n: int) -> Any:
    def function(ops: Any, x: Any, **how: Any) -> Any:
        pool = getattr(ops, f"max_pool{n}d")
        found = pool(x, 2, **how, return_indices=True)
        return getattr(ops, f"max_unpool{n}d")(*found, 2, **how, output_size=x.shape[-n:])

    return function


@st.composite
def bags(draw: Any) -> Together:
    """Indices in a vector, a table, and where the bags begin; rarely not in order."""
    index = draw(arrays(("int64",), (1,), low=0, high=4))
    count = index.shape[0]
    more = draw(mostly(st.lists(st.integers(0, count), max_size=3).map(sorted), st.just([3, 1])))
    how: dict[str, Any] = {"offsets": np.array([0, *more])}
    if draw(BOOLS):
        how |= {"include_last_offset": True, "offsets": np.array([0, *more, draw(st.sampled_from([count, count + 1]))])}
    if draw(BOOLS):
        how["per_sample_weights"] = draw(exactly(*index.shape, kinds=FLOAT))
    return Together((index, draw(weights(5, 3)), how))


@st.composite
def heads(draw: Any) -> dict[str, Any]:
    """What ``multi_head_attention_forward`` is given by name: an embed_dim of 6, in 2 heads."""
    length, source, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([0, 1, 2]))
    sides = (batch,) if batch else ()
    found = {
        "query": draw(exactly(length, *sides, 6, kinds=FLOAT)),
        "in_proj_bias": draw(st.none() | weights(18)),
        "out_proj_weight": draw(weights(6, 6)),
        "out_proj_bias": draw(st.none() | weights(6)),
        "bias_k": draw(st.none() | weights(1, 1, 6)),
        "add_zero_attn": draw(BOOLS),
        "need_weights": draw(BOOLS),
        "average_attn_weights": draw(BOOLS),
    }
    if draw(BOOLS):
        widths = (3, 5)
        found |= {f"{name}_proj_weight": draw(weights(6, n)) for name, n in zip("qkv", (6, *widths), strict=True)}
        found |= {"use_separate_proj_weight": True, "in_proj_weight": None}
    else:
        widths = (6, 6)
        found["in_proj_weight"] = draw(weights(18, 6))
    found |= {
        name: draw(exactly(source, *sides, n, kinds=FLOAT)) for name, n in zip(("key", "value"), widths, strict=True)
    }
    found["bias_v"] = None if found["bias_k"] is None else draw(weights(1, 1, 6))
    masks = st.sampled_from([(length, source), (max(batch, 1) * 2, length, source)])
    kinds = st.sampled_from([BOOL, FLOAT])
    shape = draw(mostly(masks, st.just((length, source + 1))))
    found["attn_mask"] = draw(st.none() | kinds.flatmap(lambda k: exactly(*shape, kinds=k)))
    found["key_padding_mask"] = draw(st.none() | exactly(*sides, source, kinds=BOOL))
    return found


def attend(ops: Any, given: dict[str, Any]) -> Any:
    """The output, and the weights where they are asked for; where a place may go nowhere, NaN is no number."""
    found = ops.multi_head_attention_forward(embed_dim_to_check=6, num_heads=2, dropout_p=0.0, training=False, **given)
    return [ops.nan_to_num(value) for value in found if value is not None]


LAYERS = {
    "multi_head_attention_forward": case(heads(), function=lambda ops, **given: attend(ops, given), half=MATRICES),
    "scaled_dot_product_attention": case(
        attended(),
        half=MATRICES,
        refuses={"not both": lambda c: c.arguments["is_causal"] and "attn_mask" in c.arguments},
    ),
    "grid_sample": sampled(("bilinear", "nearest", "bicubic"), False),
    "grid_sample: volumes": sampled(("bilinear", "nearest"), True),
    "affine_grid": case(
        arrays(FLOAT, st.sampled_from([(1, 2, 3), (2, 2, 3), (2, 3, 4)])),
        lambda x: mostly(shapes(x.shape[1]).map(lambda s: (x.shape[0], 3, *s)), st.just((3, 1, 2, 2))),
        align_corners=BOOLS,
    ),
    "interpolate": case(arrays(FLOATS, shapes(3, 4, 5, most=5)), resized, half=MATRICES),
    **{f"conv{n}d": case(convolved(n, False), half=MATRICES) for n in (1, 2, 3)},
    **{f"conv{n}d: computed": case(convolved(n, False, True), half=MATRICES) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": case(convolved(n, True), half=MATRICES) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d: computed": case(convolved(n, True, True), half=MATRICES) for n in (1, 2, 3)},
    **{f"max_pool{n}d": pooled(n, dilation=maybe(st.integers(1, 2)), return_indices=maybe(BOOLS)) for n in (1, 2, 3)},
    "avg_pool1d": pooled(1, count_include_pad=maybe(BOOLS), half=MATRICES),
    **{
        f"avg_pool{n}d": pooled(
            n,
            FLOATS if n < 3 else FLOAT,
            count_include_pad=maybe(BOOLS),
            divisor_override=maybe(st.integers(1, 3)),
            half=MATRICES,
        )
        for n in (2, 3)
    },
    **{
        f"lp_pool{n}d": case(
            arrays(FLOAT, SIDES[n], **POSITIVE),
            norm_type=st.sampled_from([1, 2, 3.0]),
            kernel_size=lengths_of(n),
            stride=maybe(lengths_of(n)),
            ceil_mode=maybe(BOOLS),
            half=MATRICES,
        )
        for n in (1, 2, 3)
    },
    **{f"adaptive_avg_pool{n}d": adaptive(n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": adaptive(n, return_indices=maybe(BOOLS)) for n in (1, 2, 3)},
    **{
        f"max_unpool{n}d": case(
            arrays(FLOAT, SIDES[n], distinct=True),
            stride=maybe(st.integers(2, 3)),
            padding=maybe(st.integers(0, 1)),
            function=unpooled(n),
        )
        for n in (1, 2, 3)
    },
    "embedding": case(arrays(WHOLE, low=0, high=4), weights(5, 3)),
    "embedding_bag: by offsets": case(
        bags(),
        mode=maybe(st.sampled_from(["sum", "mean", "max"])),
        padding_idx=maybe(st.integers(0, 4)),
        half=MATRICES,
        refuses={"offsets in order": lambda c: (np.diff(c.arguments["offsets"]) < 0).any()},
    ),
    "embedding_bag": case(
        arrays(WHOLE, (2,), low=0, high=4),
        weights(5, 3),
        mode=maybe(st.sampled_from(["sum", "mean", "max"])),
        padding_idx=maybe(st.integers(-5, 4)),
        half=MATRICES,
    ),
}

CASES = ACTIVATIONS | NORMS | LAYERS
