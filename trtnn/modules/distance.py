"""How far vectors are from each other."""

from __future__ import annotations

from trtnn import functional as F
from trtnn.modules.function import FunctionModule


class CosineSimilarity(FunctionModule):
    """The cosine of the angle between vectors along ``dim``; see :func:`trtnn.functional.cosine_similarity`.

    Args:
        dim: the dimension of the vectors.
        eps: the least that the product of the lengths counts as.
    """

    function = staticmethod(F.cosine_similarity)


class PairwiseDistance(FunctionModule):
    """The p-norm of differences; see :func:`trtnn.functional.pairwise_distance`.

    Args:
        p: of the norm.
        eps: what is added to each difference.
        keepdim: whether the last dimension stays, with length 1.
    """

    function = staticmethod(F.pairwise_distance)
