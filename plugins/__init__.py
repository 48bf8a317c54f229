"""Layers that TensorRT does not have, as plugins of our own; each is built on the machine where it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from trtnn.errors import EngineError

# The names that engine files have for them, which are the names of their modules. Each has ``load()``, which makes it
# known to the running TensorRT, or says why it cannot.
PLUGINS = ("dcnv2",)


def load_plugins(names: Iterable[str]) -> None:
    """Make plugins known to the running TensorRT, which has to be done before it sees an engine that holds them.

    Raises:
        EngineError: trtnn has no plugin of that name, or its library is missing or does not fit.
        BackendError: this TensorRT has no plugins.
    """
    for name in names:
        if name not in PLUGINS:
            raise EngineError(
                f"this engine holds the plugin {name!r}, which this trtnn does not have", f"known: {', '.join(PLUGINS)}"
            )
        importlib.import_module(f"trtnn.plugins.{name}").load()
