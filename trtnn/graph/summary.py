"""What each layer of a graph is and costs, and a table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trtnn.errors import ArgumentError
from trtnn.graph.costs import count_flops, count_parameters, count_trips
from trtnn.graph.definition import read_layers
from trtnn.graph.graph import Graph
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import at_opt
from trtnn.table import Content


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a network: who made it, what it is, what it gives and what it costs.

    A loop's limit gives nothing. FLOPs within a loop are those of all its trips, and FLOPs of a dynamic network those
    at the lengths that its first profile is fastest at.
    """

    path: str
    kind: str
    output: TensorSpec | None
    parameters: int
    flops: int


def layers_of(graph: Graph) -> list[LayerSummary]:
    """Return what each layer is and costs, in order."""
    rows = []
    read = list(read_layers(graph.definition, graph.trt))
    trips = count_trips(read, graph.shape_of)
    for path, (kind, layer), times in zip(graph.layer_paths, read, trips, strict=True):
        output = layer.get_output(0) if layer.num_outputs else None
        plugin = graph.plugins.get(layer.name)
        spec = TensorSpec(graph.shape_of(output), output.dtype) if output is not None else None
        flops = at_opt(times * count_flops(kind, layer, graph.shape_of, plugin))
        rows.append(LayerSummary(path, kind, spec, count_parameters(kind, layer, plugin), flops))
    return rows


def table_of(layers: Sequence[LayerSummary], depth: int | None, limit: int | None = None) -> Content:
    """Return the table of layers, or of modules.

    Args:
        layers: what :func:`layers_of` gives.
        depth: how many names of a path tell modules apart; None for a row each layer.
        limit: the most rows to show.

    Raises:
        ArgumentError: ``depth`` is no positive int.
    """
    rows = layers if depth is None else _by_module(layers, depth)
    header = ("module", "layer", "output", "parameters", "FLOPs")
    cells = [
        (
            row.path or "(forward)",
            row.kind.lower() if depth is None else row.kind,
            str(row.output or ""),
            _count(row.parameters),
            _count(row.flops),
        )
        for row in rows
    ]
    total_parameters, total_flops = sum(r.parameters for r in rows), sum(r.flops for r in rows)
    total = ("total", f"{len(layers)} layers", "", f"{total_parameters:,}", f"{total_flops:,}")
    return {"header": header, "rows": cells, "left": 3, "total": total, "limit": limit}


def _by_module(layers: Sequence[LayerSummary], depth: int) -> list[LayerSummary]:
    """Return the sums of the layers of each module, told apart by the first ``depth`` names of its path."""
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ArgumentError(f"depth is a positive int, not {depth!r}")
    groups: dict[str, list[LayerSummary]] = {}
    for row in layers:
        groups.setdefault(".".join(row.path.split(".")[:depth]), []).append(row)
    return [
        LayerSummary(
            path,
            f"{len(rows)} layer{'' if len(rows) == 1 else 's'}",
            next((row.output for row in reversed(rows) if row.output), None),
            sum(row.parameters for row in rows),
            sum(row.flops for row in rows),
        )
        for path, rows in groups.items()
    ]


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
