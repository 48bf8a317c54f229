"""Better than the nearest number for each weight: adaptive rounding, and biases that make up for what rounding shifts.

Both look at what the layers of the quantised model read on samples, each layer given its true inputs, rounded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from trtnn.accuracy.rounding import RoundingTrials, measured
from trtnn.dtypes import DType
from trtnn.graph.definition import read_layers
from trtnn.graph.placement import WITH_KERNEL
from trtnn.modules import Conv2d, Linear, Module
from trtnn.network import Network
from trtnn.parameter import Parameter
from trtnn.reference.layers.quantized import rounded_steps

_WIDEST = 4608  # weights of an output channel, 512 channels of 3×3; more take minutes each
_MOST_BYTES = 1 << 30  # of the matrices that are kept in one run over the samples
_PLACES = 2048  # of each sample that a layer is looked at
_DAMPING = 0.001  # of the mean of the diagonal, so that the matrix can be inverted
_BLOCK = 128  # columns whose errors are passed on together
_SAMPLES = 32  # that are enough for both


class Seen(NamedTuple):
    """A layer of a quantised module as it runs: what it reads, rounded and not, and what it gives without rounding.

    ``index`` is that of the layer, ``axis`` that of its output channels: 1 of a convolution's, the last of a product's.
    """

    index: int
    path: str
    axis: int
    function: Callable[..., torch.Tensor]
    rounded: list[torch.Tensor]
    true: list[torch.Tensor]
    output: torch.Tensor


def _runs(network: Network, samples: Sequence[Any]) -> Iterator[Seen]:
    """Yield each quantised layer with weights, for each sample."""
    graph = measured(network)
    trials = RoundingTrials(graph, (), lambda: None)
    weighted = {
        index: (graph.layer_paths[index], -1 if kind == "MATRIX_MULTIPLY" else 1)
        for index, (kind, layer) in enumerate(read_layers(graph.definition, graph.trt))
        if (kind in WITH_KERNEL or kind == "MATRIX_MULTIPLY") and trials.owner(index, 1) == graph.layer_paths[index]
    }
    for tensors in network.stream_samples(samples):
        seen: list[Seen] = []

        def look(index: int, step: Any, rounded: list[torch.Tensor], true: list[torch.Tensor], output: Any) -> None:
            if index in weighted:
                seen.append(Seen(index, *weighted[index], step.function, rounded, true, output))  # noqa: B023  used at once

        trials.run_true(tensors, look)
        yield from seen


def _shared(model: Module) -> set[int]:
    """Return the ``id`` of each parameter that several modules hold: a change for one of them would harm the others."""
    held = Counter(id(one) for module in model.modules() for one in module.parameters(recurse=False))
    return {key for key, count in held.items() if count > 1}


# -- biases -----------------------------------------------------------------------------------------------------------


def correct_biases(model: Module, samples: Sequence[Any], before: Network) -> list[str]:
    """Take from each bias what rounding adds to the mean of its output channel, in place.

    b' = b - (E[Q(W) Q(x)] - E[W x]), over samples and places, with the true x of each layer
    (M. Nagel et al., Data-free quantization through weight equalization and bias correction,
    https://arxiv.org/abs/1906.04721, chapter 4.2). Where a BatchNorm was folded in, it is that one's bias. W is what it
    was before weights were rounded adaptively, and x what it comes to by such weights of all layers before: what these
    lose their own biases make up for.

    Args:
        model: quantised.
        samples: as for ``quantize``.
        before: the network of the model, traced before weights were rounded adaptively.

    Returns:
        The paths of the modules that have a bias to correct: they have a single layer with weights, and a ``bias`` of a
        number for each of its channels that no other module holds as well.
    """
    folded, shared = dict(before.graph.folded), _shared(model)
    now = {seen.index: (seen.function, seen.rounded[1:]) for seen in _runs(model.trace(), samples[:1])}
    shifts: dict[str, torch.Tensor] = {}
    runs: Counter[str] = Counter()
    for seen in _runs(before, samples):
        bias = _bias_of(model, folded, seen.path)
        if bias is None or id(bias) in shared or seen.output.ndim == 0 or bias.shape != (seen.output.shape[seen.axis],):
            continue
        function, others = now[seen.index]
        shift = function(seen.rounded[0], *others).double() - seen.output.double()
        mean = shift.mean([i for i in range(shift.ndim) if i != seen.axis % shift.ndim])
        shifts[seen.path] = shifts[seen.path] + mean if seen.path in shifts else mean
        runs[seen.path] += 1
    for path, total in shifts.items():
        bias = _bias_of(model, folded, path)
        assert bias is not None  # or there was no mean
        bias.data = (np.asarray(bias.data, np.float64) - (total / runs[path]).numpy()).astype(np.float32)
    return list(shifts)


def _bias_of(model: Module, folded: Mapping[str, str], path: str) -> Parameter | None:
    """Return the bias of a module's layer, or of the BatchNorm that was folded into it; None where there is none.

    A module of several weights, such as attention's projections, has none that is of one of them.
    """
    bias = getattr(model.get_submodule(folded.get(path, path)), "bias", None)
    scale = model.get_submodule(path)._buffers.get("input_scale")
    is_single = scale is not None and scale.data is not None and scale.data.size == 1
    return bias if is_single and isinstance(bias, Parameter) and bias.data is not None else None


# -- adaptive rounding ------------------------------------------------------------------------------------------------


def round_adaptively(model: Module, samples: Sequence[Any]) -> list[str]:
    """Round weights so that a layer's output on the samples stays, not each weight to its nearest number, in place.

    That the nearest is not the best, and that second moments of what a layer reads tell what is, is AdaRound's finding
    (M. Nagel et al., Up or down? Adaptive rounding for post-training quantization, https://arxiv.org/abs/2004.10568).
    The choice is made weight by weight, with each error passed on to the weights that are yet to be rounded, as in
    E. Frantar et al., OPTQ (https://arxiv.org/abs/2210.17323): no training, and the same result each time.

    Args:
        model: quantised.
        samples: as for ``quantize``.

    Returns:
        The paths of the modules whose weights were rounded so: convolutions of one group and linear layers, of up to
        4608 weights for an output, but for those that several BatchNorms are folded into, and those whose weights
        another module holds as well, such as an embedding.
    """
    network, shared = model.trace(), _shared(model)
    placement = network.graph.placement
    quantised = ((path, model.get_submodule(path)) for path in (placement.modules if placement else ()))
    modules = {path: module for path, module in quantised if isinstance(module, (Conv2d, Linear))}
    pending = {
        path: _width(module)
        for path, module in modules.items()
        if "weight_scale" in module._buffers
        and id(module.weight) not in shared
        and _is_whole(module)
        and _has_one_kernel(module)
    }
    pending = {path: width for path, width in pending.items() if width <= _WIDEST}
    done = []
    while pending:
        moments: dict[str, torch.Tensor] = {}
        room = _MOST_BYTES
        for path, width in pending.items():
            if not moments or width * width * 4 <= room:
                moments[path] = torch.zeros(width, width)
                room -= width * width * 4
        kernels: dict[str, torch.Tensor] = {}
        for seen in _runs(network, samples):
            module = modules.get(seen.path)
            if module is None or seen.path not in moments:
                continue
            if seen.true[1].numel() == module.weight.numel():  # a stem may have been widened
                columns = _columns(module, seen.rounded[0])
                moments[seen.path].addmm_(columns.T, columns)
                kernels[seen.path] = seen.true[1]
        for path, moment in moments.items():
            del pending[path]
            if path in kernels and placement is not None:
                _adapt(
                    modules[path], kernels[path].reshape(modules[path].weight.shape), moment, placement.modules[path]
                )
                done.append(path)
    return done


def _has_one_kernel(module: Conv2d | Linear) -> bool:
    """Whether a module has one layer's weights: one that is called before several BatchNorms has those of each."""
    scale = module._buffers["input_scale"]
    return scale is not None and scale.data is not None and scale.data.size == 1


def _is_whole(module: Conv2d | Linear) -> bool:
    plain = isinstance(module, Linear) or (module.groups == 1 and module.padding_mode == "zeros")
    return plain and getattr(module, "padding", 0) != "same"


def _width(module: Conv2d | Linear) -> int:
    return math.prod(module.weight.shape[1:])


def _columns(module: Conv2d | Linear, x: torch.Tensor) -> torch.Tensor:
    """Return what each output of a layer is the product of weights with, (places, weights), of up to 2048 places."""
    if isinstance(module, Linear):
        columns = x.reshape(-1, x.shape[-1]).float()
    else:
        padding = tuple(module.padding) if not isinstance(module.padding, str) else (0, 0)  # "valid"
        columns = F.unfold(x.float(), module.kernel_size, module.dilation, padding, module.stride)
        columns = columns.transpose(1, 2).reshape(-1, columns.shape[1])
    step = -(-len(columns) // _PLACES)
    return columns[::step]


def _adapt(module: Conv2d | Linear, kernel: torch.Tensor, moment: torch.Tensor, dtype: DType) -> None:
    """Choose the rounded weights of a module, and give it weights that are rounded to these.

    Args:
        kernel: its weights as the layer has them, with a BatchNorm folded in.
        moment: X.T X of the columns that it multiplies.
        dtype: what they are rounded to.
    """
    rows = kernel.reshape(len(kernel), -1).double()
    before = torch.from_numpy(np.asarray(module.weight.data, np.float64).reshape(rows.shape))
    # What the folded BatchNorm multiplies each output channel by: the weights are divided by it again.
    factor = (rows * before).sum(1, keepdim=True) / before.square().sum(1, keepdim=True).clamp_min(1e-300)
    scale = torch.from_numpy(np.asarray(module.weight_scale.data, np.float64)).reshape(-1, 1)
    rounded = _passed_on(rows, scale, moment.double(), dtype)
    usable = factor.abs() > 1e-12
    after = torch.where(usable, rounded / torch.where(usable, factor, 1.0), before)
    module.weight.data = after.numpy().astype(np.float32).reshape(module.weight.shape)


def _passed_on(rows: torch.Tensor, scale: torch.Tensor, moment: torch.Tensor, dtype: DType) -> torch.Tensor:
    """Return rows of weights rounded one column after another, each error made up for by the columns behind."""
    dead = moment.diagonal() == 0
    moment.diagonal()[dead] = 1.0
    moment.diagonal().add_(_DAMPING * moment.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)
    rows, result = rows.clone(), torch.empty_like(rows)
    width = rows.shape[1]
    for start in range(0, width, _BLOCK):
        end = min(start + _BLOCK, width)
        errors = torch.zeros(len(rows), end - start, dtype=rows.dtype)
        for i in range(start, end):
            steps = rows[:, i : i + 1] / scale
            result[:, i : i + 1] = rounded_steps(steps, dtype).double() * scale
            error = (rows[:, i] - result[:, i]) / inverse[i, i]
            rows[:, i:end] -= error[:, None] * inverse[i, i:end]
            errors[:, i - start] = error
        rows[:, end:] -= errors @ inverse[start:end, end:]
    return result
