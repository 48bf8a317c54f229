"""Models that torch.ao prepared: plain modules that declare how they are rounded, where that gives torch's own numbers.

torch rounds what modules return, by a FakeQuantize module behind each, and weights within its layers. trtnn's modules
declare the same by buffers, see :mod:`trtnn.graph.quantization`. The model is first written as it is, with rounding as
operations in forward. What these read, and who reads them, says how each can be declared:

- Behind a module whose result nobody else reads, as its ``output_scale``: all that reads it rounds it.
- Elsewhere, as behind the network's input, if nothing but layers with rounded weights reads it, as their
  ``input_scale``.

Where neither holds, all rounding stays in forward.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from trtnn.errors import TrtnnError, where
from trtnn.from_torch.convert import Conversion
from trtnn.from_torch.recording.observers import is_observing
from trtnn.graph.graph import Graph
from trtnn.graph.placement import Edges, weighted_layers
from trtnn.modules.module import Module
from trtnn.quantization.others import keeps_rounded, returned_by
from trtnn.quantization.quantizing import buffer

_LAYERS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_WEIGHTS, _RESULT = ".weight_fake_quant", ".activation_post_process"
_KINDS = ("CONVOLUTION", "MATRIX_MULTIPLY")
_LEAST, _LARGEST = -128, 127
_NUDGES = (0, 1, -1, 2, -2, 3, -3, 4, -4)  # units in the last place


class StaysInForward(TrtnnError):
    """Rounding cannot be declared; the message says why."""


class Scales(NamedTuple):
    """How a module is rounded.

    Attributes:
        input, output: one number each, or None.
        weight: (channels,) or (1,), or None.
        steps: its rounded weights in units of these, (channels, rest), or None.
    """

    input: float | None = None
    output: float | None = None
    weight: np.ndarray | None = None
    steps: np.ndarray | None = None


def rounding_modules(model: nn.Module) -> dict[str, Any]:
    """Return the FakeQuantize modules of a model that round, by path."""
    named: Any = model.named_modules(remove_duplicate=False)
    return {path: module for path, module in named if _is_fake(module) and bool(module.fake_quant_enabled.any())}


def convert(
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: Any = None,
    told: Callable[[str], None] = lambda stage: None,
    verify: bool = True,
) -> tuple[Conversion, Module]:
    """Convert a module, and declare how it is rounded where that can be.

    Args:
        module, args, kwargs, dynamic, told: as of :class:`Conversion`.
        verify: whether the result is compared with torch.

    Returns:
        The conversion, whose ``in_forward`` says why rounding is not declared, and the trtnn module.
    """
    reason = None
    if isinstance(module, nn.Module) and rounding_modules(module):
        try:
            declared = DeclaredConversion(module, args, kwargs, dynamic, told)
            return declared, declared.run(verify)
        except TrtnnError as error:  # where it is of something else, the conversion as it is raises it as well
            reason = "; ".join((error.summary, *(error.details if isinstance(error, StaysInForward) else ())))
    conversion = Conversion(module, args, kwargs, dynamic, told)
    conversion.in_forward = reason
    return conversion, conversion.run(verify)


class DeclaredConversion(Conversion):
    """The conversion of a prepared model to plain modules with scales.

    Args:
        module, args, kwargs, dynamic, told: as of :class:`Conversion`.

    Raises:
        StaysInForward: not all of its rounding can be declared.
    """

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        dynamic: Any = None,
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        told("looking for what is rounded")
        self._scales = _scales_of(Conversion(_unshared(module), args, kwargs, dynamic))
        self._weights: dict[str, np.ndarray] = {}
        super().__init__(_plain(module), args, kwargs, dynamic, told)
        self.oracle = module

    def execute(self) -> Module:
        """Run the source, and return its module with the weights and scales."""
        model = super().execute()
        modules = dict(model.named_modules(remove_duplicate=False))
        for path in self._scales:
            if path not in modules:
                raise StaysInForward(f"{where(path)} is no module of the source")
        if not self._weights:
            self._weights = _weight_scales(model.trace().graph, self._scales)
        for path, scales in self._scales.items():
            module = modules[path]
            module.quant_max = buffer(_LARGEST)
            if scales.input is not None:
                module.input_scale = buffer(scales.input)
                module.weight_scale = buffer(self._weights[path])
            if scales.output is not None:
                module.output_scale = buffer(scales.output)
        return model


# -- what torch rounds ------------------------------------------------------------------------------------------------


def _scales_of(conversion: Conversion) -> dict[str, Scales]:
    """Return the scales of a prepared model, by the paths of its modules.

    Raises:
        StaysInForward: a rounding cannot be declared; with the module and the reason.
    """
    model, fakes = conversion.torch_module, rounding_modules(conversion.torch_module)
    outputs = _outputs(conversion, fakes)
    scales = {path: _scale(path, fakes[path], output) for path, output in outputs.items()}
    weights = {path.removesuffix(_WEIGHTS): scale for path, scale in scales.items() if path.endswith(_WEIGHTS)}
    results = {path: scale for path, scale in scales.items() if not path.endswith(_WEIGHTS)}
    for path, scale in scales.items():
        kind = type(model.get_submodule(path.removesuffix(_WEIGHTS)))
        if path in results and len(scale) != 1:
            raise StaysInForward(f"{where(path)} has {len(scale)} scales, and TensorRT takes one for a tensor")
        if path not in results and not (issubclass(kind, _LAYERS) and kind.__module__.startswith("torch.ao.nn.")):
            raise StaysInForward(f"{where(path)} rounds the weights of {kind.__name__}")
    conversion.trial()
    assert conversion.network is not None  # it was tried
    graph = conversion.network.graph
    edges = Edges(graph)
    returned = {raw.name: path for path in results if (raw := _tensor(graph, path)) is not None}
    lost = next((path for path in results if path not in returned.values()), None)
    if lost is not None:
        raise StaysInForward(f"{where(lost)} rounds what the network does not compute")
    inputs = {path: _input(edges, path, returned) for path in weights}
    sources = {path: _source(edges, path) for path in results}
    owners = {path: _owner(model, graph, edges, path, sources[path]) for path in results}

    def is_again(path: str, reader: str) -> bool:
        """Whether what one rounding gives is read by another that rounds to the same numbers."""
        return bool(results[path] == results[reader])

    def is_declared(path: str) -> bool:
        """Whether a module's result is rounded so, be it by another rounding before."""
        before = returned.get(sources[path] or "")
        return owners[path] is not None or (before is not None and is_again(path, before) and is_declared(before))

    for name, path in returned.items():
        again = {other for other in results if is_again(path, other)}
        if not is_declared(path) and not _read_by_layers(edges, name, weights, again):
            raise StaysInForward(
                f"what {where(path)} rounds is the result of no module, and others than quantised layers read it"
            )
    own = {owner: float(results[path][0]) for path, owner in owners.items() if owner is not None}
    return {
        path: Scales(
            float(results[inputs[path]][0]) if path in weights else None,
            own.get(path),
            weights.get(path),
            _steps(outputs[path + _WEIGHTS], weights[path]) if path in weights else None,
        )
        for path in {**weights, **own}
    }


def _outputs(conversion: Conversion, fakes: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return what each rounding that is called returns for the example."""
    outputs: dict[str, torch.Tensor] = {}
    calls: Counter[str] = Counter()

    def look(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: torch.Tensor) -> None:
            outputs[path] = output.detach()
            calls[path] += 1

        return hook

    handles = [fake.register_forward_hook(look(path)) for path, fake in fakes.items()]
    try:
        conversion.call(conversion.input_tensors())
    finally:
        for handle in handles:
            handle.remove()
    for path in calls:
        if calls[path] > 1:
            raise StaysInForward(f"{where(path)} is called {calls[path]} times")
    return outputs


def _scale(path: str, fake: Any, output: torch.Tensor) -> np.ndarray:
    """Return the scale of a rounding, or one for each channel."""
    if type(fake).__name__ not in ("FakeQuantize", "FusedMovingAvgObsFakeQuantize"):
        raise StaysInForward(f"{where(path)} is a {type(fake).__name__}")
    scale, zero = (value.detach().cpu().numpy().reshape(-1) for value in _parameters(fake))
    ends = fake.activation_post_process.quant_min, fake.activation_post_process.quant_max
    if len({*zero.tolist()}) != 1 or (ends[0] - zero[0], ends[1] - zero[0]) != (_LEAST, _LARGEST):
        around = f"around {zero[0]:g}, to {ends[0]} to {ends[1]}"
        if not path.endswith(_WEIGHTS) or zero.any() or ends != (-_LARGEST, _LARGEST):
            raise StaysInForward(f"{where(path)} rounds {around}, and TensorRT around 0, to -128 to 127")
    if len(scale) > 1 and fake.ch_axis != 0:
        raise StaysInForward(f"{where(path)} has scales along axis {fake.ch_axis}")
    steps = output.detach().cpu().double().numpy() / scale.reshape(
        -1, *[1] * (output.ndim - 1) if len(scale) > 1 else ()
    )
    if not np.allclose(steps, steps.round(), atol=1e-3):
        raise StaysInForward(f"{where(path)} rounds by other scales than it holds")
    return scale.astype(np.float32)


def _parameters(fake: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point; a fused observer computes them of the ends that it saw, whenever it is called."""
    if type(fake).__name__ == "FusedMovingAvgObsFakeQuantize":
        return fake.activation_post_process.calculate_qparams()
    return fake.scale, fake.zero_point


def _steps(output: torch.Tensor, scale: np.ndarray) -> np.ndarray:
    """Return rounded weights in units of their scales, (channels, rest)."""
    rows = output.cpu().double().numpy().reshape(len(output), -1)
    return np.round(rows / scale.reshape(-1, 1))


# -- who reads it, in the network that rounds in forward --------------------------------------------------------------


def _tensor(graph: Graph, path: str) -> Any:
    """Return the tensor that a module returned, or None where it is no single one of the network's."""
    raw = graph.module_outputs.get(path)
    return raw if hasattr(raw, "name") else None


def _reads_of_layer(edges: Edges, path: str) -> list[str]:
    """Return the names of the tensors that the layers with weights of a module read."""
    return [edge.reads[0] for edge in edges.layers if edge.path == path and edge.kind in _KINDS]


def _input(edges: Edges, path: str, returned: Mapping[str, str]) -> str:
    """Return the path of the rounding that a layer with rounded weights reads."""
    found = {returned_by(edges, name, returned) for name in _reads_of_layer(edges, path)}
    if len(found) != 1 or None in found:
        raise StaysInForward(
            f"the weights of {where(path)} are rounded, and what it reads is not, or by several scales"
        )
    (rounding,) = found
    assert rounding is not None
    return rounding


def _source(edges: Edges, path: str) -> str | None:
    """Return the name of the tensor that a rounding reads, if nothing else reads it, or None."""
    layers = [edge for edge in edges.layers if edge.path == path or edge.path.startswith(f"{path}.")]
    inside = {name for edge in layers for name in edge.gives}
    reads = {name for edge in layers for name in edge.reads if name not in inside and not edges.is_constant(name)}
    if len(reads) != 1:
        return None
    (name,) = reads
    readers = {edges.layers[index].name for index, _ in edges.readers[name]}
    return name if name not in edges.outputs and readers <= {edge.name for edge in layers} else None


def _owner(model: nn.Module, graph: Graph, edges: Edges, path: str, source: str | None) -> str | None:
    """Return the module whose result a rounding alone reads, or None."""
    made = None if source is None else edges.made_by(source)
    if made is None:
        return None
    holder = path.rpartition(".")[0]
    if path.endswith(_RESULT) and _is_hooked(model.get_submodule(holder)):  # it is a part of what the module returns
        return holder
    returned = (p for p, raw in graph.module_outputs.items() if p and getattr(raw, "name", None) == source)
    return next((p for p in returned if not _is_fake(model.get_submodule(p))), None)


def _read_by_layers(edges: Edges, name: str, layers: Mapping[str, Any], again: Collection[str]) -> bool:
    """Whether layers with rounded weights alone read a tensor, be it behind layers that keep its numbers.

    Args:
        edges: of the network.
        name: of the tensor.
        layers: the paths of the modules whose weights are rounded.
        again: the paths of what rounds to the same numbers, and does so before as well as behind such layers.
    """
    if name in edges.outputs:
        return False
    for index, place in edges.readers[name]:
        edge = edges.layers[index]
        is_layer = edge.path in layers and edge.kind in _KINDS and place == 0
        if is_layer or edge.path in again:
            continue
        if not (keeps_rounded(edges, index) and _read_by_layers(edges, edge.gives[0], layers, again)):
            return False
    return True


# -- the model without its rounding -----------------------------------------------------------------------------------


def _plain(model: nn.Module) -> nn.Module:
    """Return a prepared model without what rounds in it: other modules with the same parameters and buffers."""

    def children(module: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
        for name, child in module._modules.items():
            if name != _WEIGHTS[1:] and not (name == _RESULT[1:] and _is_hooked(module)):
                yield name, nn.Identity().eval() if _is_fake(child) else child

    return _copied(model, children, _plain_class, is_observing)


def _unshared(model: nn.Module) -> nn.Module:
    """Return a prepared model in which no two places share what rounds them, so that each has its own path."""

    def children(module: nn.Module) -> Iterator[tuple[str, nn.Module | None]]:
        for name, child in module._modules.items():
            yield name, copy.copy(child) if _is_fake(child) else child

    return _copied(model, children, type, lambda hook: False)


def _copied(
    model: nn.Module,
    children: Callable[[nn.Module], Iterator[tuple[str, nn.Module | None]]],
    kind: Callable[[nn.Module], type],
    drops: Callable[[Callable[..., Any]], bool],
) -> nn.Module:
    """Return modules like a model's with the same parameters and buffers.

    Args:
        model: stays as it is.
        children: says what a module holds, by name.
        kind: says of which class the copy of a module is.
        drops: says which hooks are left out.
    """
    done: dict[int, nn.Module] = {}

    def copied(module: nn.Module) -> nn.Module:
        if id(module) not in done:
            new = done[id(module)] = object.__new__(kind(module))
            new.__dict__.update((name, value) for name, value in vars(module).items() if name != "qconfig")
            for hooks in ("_forward_hooks", "_forward_pre_hooks"):
                kept = ((key, hook) for key, hook in vars(module)[hooks].items() if not drops(hook))
                new.__dict__[hooks] = OrderedDict(kept)
            held = list(children(module))
            kept_alive.append(held)
            new.__dict__["_modules"] = {name: None if child is None else copied(child) for name, child in held}
        return done[id(module)]

    kept_alive: list[Any] = []  # so that no other takes an id
    return copied(model)


def _is_hooked(module: nn.Module) -> bool:
    """Whether torch.ao put what rounds a module's result behind it."""
    return any(map(is_observing, module._forward_hooks.values()))


def _is_fake(module: nn.Module | None) -> bool:
    fakes = sys.modules.get("torch.ao.quantization.fake_quantize")  # None where nobody made such a module
    return fakes is not None and isinstance(module, fakes.FakeQuantizeBase)


def _plain_class(module: nn.Module) -> type[nn.Module]:
    """Return torch.nn's class of a layer whose weights torch.ao rounds, with what it fused behind."""
    kind = type(module)
    base = next((layer for layer in _LAYERS if isinstance(module, layer)), None)
    if base is None or not kind.__module__.startswith("torch.ao.nn."):
        return kind
    with_norm, with_relu = "bn" in module._modules, "ReLU" in kind.__name__
    if not with_norm and not with_relu:
        return base

    def forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        x = base.forward(self, input)
        x = self.bn(x) if with_norm else x
        return nn.functional.relu(x) if with_relu else x

    return type(kind.__name__, (base,), {"forward": forward, "__module__": kind.__module__})


# -- weights ----------------------------------------------------------------------------------------------------------


def _weight_scales(graph: Graph, scales: Mapping[str, Scales]) -> dict[str, np.ndarray]:
    """Return scales by which each layer's weights are rounded to torch's numbers: torch's own, or some bits beside.

    torch multiplies by the inverse of a scale where TensorRT divides, and its scale of a channel is the largest weight
    by 127.5, which lies on a half, so that the last bit decides.

    Raises:
        StaysInForward: there are none.
    """
    weighted = weighted_layers(Edges(graph))
    found = {}
    for path, own in scales.items():
        if own.weight is None or own.steps is None:
            continue
        held = weighted[path].weights if path in weighted else []
        if len(held) != 1 or held[0].shape != own.steps.shape:
            raise StaysInForward(f"the weights of {where(path)} are not those of one layer")
        found[path] = _matching(held[0].astype(np.float32), own.weight, own.steps)
        if found[path] is None:
            raise StaysInForward(
                f"no scales of {where(path)} give torch's weights with what is folded into them",
                "fuse a BatchNorm behind it first: torch.ao.quantization.fuse_modules_qat",
            )
    return found  # type: ignore[return-value]


def _matching(weights: np.ndarray, scale: np.ndarray, steps: np.ndarray) -> np.ndarray | None:
    """Return the scales nearest to these by which weights are rounded to steps, or None.

    Args:
        weights: (channels, rest).
        scale: (channels,) or (1,).
        steps: (channels, rest).
    """
    groups = len(scale)
    rows, wanted = weights.reshape(groups, -1), steps.reshape(groups, -1)
    result = np.full_like(scale, np.nan)
    for units in _NUDGES:
        tried = scale + np.float32(units) * np.spacing(scale)
        rounded = np.clip(np.round(rows / tried[:, None]), _LEAST, _LARGEST)
        fits = (rounded == wanted).all(1) & np.isnan(result)
        result[fits] = tried[fits]
    return None if np.isnan(result).any() else result
