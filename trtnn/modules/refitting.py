"""A model that an engine keeps to trace it again with other weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from trtnn.checkpoint.mapped import check_files, file_of
from trtnn.checkpoint.state_dict import LEFT_OUT, StateDict, metadata_of
from trtnn.errors import ArgumentError, named
from trtnn.modules.module import Module
from trtnn.modules.state import under_own_names
from trtnn.network import Network
from trtnn.parameter import Buffer

_EMPTY = np.empty(0)


class Retracer:
    """How a model was traced, and the weights that an engine has, in a copy of the model.

    Args:
        model: it is copied, so that what becomes of it later changes nothing here.
        keeps: whether the arrays of its Parameters are copied as well, so that a part of a state dict is enough.
            Without them a state dict has to hold them all. Buffers, such as the scales of a quantised model, are copied
            in any case.
        **options: of :meth:`trtnn.Module.trace`.
    """

    def __init__(self, model: Module, keeps: bool, **options: Any) -> None:
        self._keeps, self._options = keeps, options
        learned = [] if keeps else [member for member in model._state().values() if not isinstance(member, Buffer)]
        self._model = copy.deepcopy(model, {id(member.data): _EMPTY for member in learned if member.data is not None})
        self._forget()

    def _forget(self) -> None:
        """Let go of the arrays that are not kept."""
        for member in self._model._state().values():
            if not self._keeps and not isinstance(member, Buffer):
                member.data = None

    @contextmanager
    def traced(self, weights: Any) -> Iterator[Network]:
        """Yield the network with other weights; they are the engine's from then on, unless the block raises.

        Args:
            weights: a state dict, of which what is not there stays, or a model that has one.

        Raises:
            ArgumentError, StateDictError: as :meth:`trtnn.Module.load_state_dict`.
            CheckpointError: the file that they are views of was written to after it was loaded.
        """
        if not isinstance(weights, Mapping):
            if not callable(getattr(weights, "state_dict", None)):
                raise ArgumentError(f"refit takes a state dict or a model, not a {named(weights)}")
            weights = weights.state_dict()
        own = self._model._state()
        given = under_own_names(own, weights)
        metadata = metadata_of(given)
        told = {id(own[name]) for name in [*given, *metadata.get(LEFT_OUT, ())] if name in own}
        kept = {name: member.data for name, member in own.items() if id(member) not in told and member.data is not None}
        before = [(member, member.data) for member in own.values()]
        declared = [(module, dict(module._buffers)) for module in self._model.modules()]
        try:
            self._model.load_state_dict(StateDict({**kept, **given}, metadata))
            if self._keeps:  # the caller may write to its own
                members = {id(own[name]): own[name] for name in own.keys() & given.keys()}.values()
                files = [file_of(member.data) for member in members]
                for member in members:
                    member.data = np.array(member.data)
                check_files(files)
            yield self._model.trace(**self._options)
        except BaseException:
            for member, data in before:
                member.data = data
            for module, buffers in declared:  # a state dict may have declared scales
                module._buffers.clear()
                module._buffers.update(buffers)
            raise
        self._forget()
