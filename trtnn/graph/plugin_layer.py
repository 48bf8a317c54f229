"""A plugin made for one layer of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PluginLayer:
    """A plugin of TensorRT's and what it was made of, of which TensorRT shows nothing again.

    Attributes:
        plugin: its name in :data:`trtnn.plugins.PLUGINS`.
        fields: what TensorRT was given to make it of, by name.
        library: the file that it came from.
        flops_per_output: floating-point operations for each number that the layer gives.
        raw: what ``add_plugin_v2`` or ``add_plugin_v3`` takes.
    """

    plugin: str
    fields: Mapping[str, np.ndarray]
    library: Path
    flops_per_output: int
    raw: Any = field(repr=False)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Those of its fields that hold floating numbers."""
        return {name: array for name, array in self.fields.items() if array.dtype.kind == "f"}
