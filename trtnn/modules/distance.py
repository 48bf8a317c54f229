"""How far vectors are from each other."""

from __future__ import annotations

from trtnn import functional as F
from trtnn.modules.function import FunctionModule


class CosineSimilarity(FunctionModule):
    """The cosine of the angle between vectors along ``dim``; see :func:`trtnn.functional.cosine_similarity`."""

    function = staticmethod(F.cosine_similarity)


class PairwiseDistance(FunctionModule):
    """The p-norm of differences; see :func:`trtnn.functional.pairwise_distance`."""

    function = staticmethod(F.pairwise_distance)
