"""A model that an engine keeps to trace it again with other weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, named
from trtnn.modules.module import Module
from trtnn.modules.state import under_own_names
from trtnn.network import Network


class Retracer:
    """The weights that an engine has, in a copy of its model, and how it was traced.

    Args:
        model: it is copied with its arrays, so that what becomes of it later changes nothing here.
        **options: of :meth:`trtnn.Module.trace`.
    """

    def __init__(self, model: Module, **options: Any) -> None:
        self._model, self._options = copy.deepcopy(model), options

    @contextmanager
    def traced(self, weights: Any) -> Iterator[Network]:
        """Yield the network with other weights; they are the engine's from then on, unless the block raises.

        Args:
            weights: a state dict, of which what is not there stays, or a model that has one.

        Raises:
            ArgumentError, StateDictError: as :meth:`trtnn.Module.load_state_dict`.
        """
        if not isinstance(weights, Mapping):
            if not callable(getattr(weights, "state_dict", None)):
                raise ArgumentError(f"refit takes a state dict or a model, not a {named(weights)}")
            weights = weights.state_dict()
        own = self._model._state()
        given = under_own_names(own, weights)
        told = {id(own[name]) for name in given if name in own}
        kept = {name: member.data for name, member in own.items() if id(member) not in told and member.data is not None}
        before = [(member, member.data) for member in own.values()]
        try:
            self._model.load_state_dict({**kept, **given})
            for member in {id(own[name]): own[name] for name in own.keys() & given.keys()}.values():
                member.data = np.array(member.data)  # the caller may write to its own
            yield self._model.trace(**self._options)
        except BaseException:
            for member, data in before:
                member.data = data
            raise
