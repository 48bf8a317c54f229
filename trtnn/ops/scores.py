"""Scores of attention that a forward writes out in fp16: softmax(query @ key · factor).

Of blocks of attention whose scores are scaled behind the product TensorRT 8.6.0 was seen to make kernels that give
wrong numbers, without a word; scaled before it, query and key each by the root of the factor, as ONNX files from torch
have them, they are right (docs/limits.md). So where networks are weakly typed a product waits for a factor, and both
for a softmax. What stands elsewhere is as it was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trtnn.dtypes import finfo, float16
from trtnn.graph.tensor import Tensor
from trtnn.shapes.symbolic import Length

SCALED_BEFORE = "scores scaled before their product"
_LARGEST = finfo(float16).max
_FACTOR, _SOFTMAX = "a factor of scores", "the softmax of scores"


def is_at_risk(query: Tensor, key: Tensor) -> bool:
    """Return whether a product of two Tensors, scaled behind it, may be wrong in front of a softmax.

    Scales of a quantised product are those of what it reads as it was written.
    """
    graph = query.graph
    declared = graph.declared.get(graph.scopes[-1].path)
    return (
        graph.is_weakly_typed
        and query.dtype is float16
        and not (query.value.constant or key.value.constant)
        and not (declared and declared.products)
    )


def waiting_product(query: Tensor, key: Tensor, multiply: Callable[..., Tensor], shape: tuple[Length, ...]) -> Tensor:
    """Return a product of matrices that may yet be scaled before it.

    Args:
        query, key: its operands.
        multiply: makes the product of two Tensors.
        shape: of the product.
    """
    graph = query.graph
    query, key = (graph.deferred.snapshot("matrix_multiply", tensor) for tensor in (query, key))

    def make(scale: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        if scale is None:
            return multiply(query, key)
        graph.chose(SCALED_BEFORE)
        return multiply(scale(query), scale(key))

    return graph.deferred.postpone(make, shape, query.dtype, _FACTOR)


def waiting_scores(scores: Any, factor: Any, multiply: Callable[[Tensor, float], Tensor]) -> Tensor | None:
    """Return a waiting product times a factor, which waits for a softmax; None where it is none of these.

    Args:
        scores: an operand of a multiplication.
        factor: the other one; a positive Python number that fp16 holds is waited with: others are carried in fp32.
        multiply: multiplies a Tensor with a number.
    """
    if type(scores) is not Tensor or type(factor) not in (int, float) or not 0 < factor <= _LARGEST:
        return None
    graph = scores.graph
    product = graph.deferred.claim(scores, _FACTOR)
    if product is None:
        return None
    root, before = math.sqrt(factor), product
    scores = graph.deferred.snapshot("elementwise", scores)

    def make(is_for_softmax: bool = False) -> Tensor:
        return before(lambda tensor: multiply(tensor, root)) if is_for_softmax else multiply(scores, factor)

    return graph.deferred.postpone(make, scores.shape, scores.dtype, _SOFTMAX)


def scores_of_softmax(scores: Tensor) -> Tensor:
    """Return what a softmax reads: of scores that wait for it those that are scaled before their product."""
    make = scores.graph.deferred.claim(scores, _SOFTMAX)
    return scores if make is None else make(True)
