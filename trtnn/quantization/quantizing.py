"""The door to quantisation: a model and samples in, the same model with its scales declared out."""

from __future__ import annotations

import itertools
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from trtnn.accuracy.choice import patterns as glob_paths
from trtnn.accuracy.rounding import output_errors
from trtnn.accuracy.sites import Site, Sites
from trtnn.arrays import kept
from trtnn.dtypes import DType, float8_e4m3fn, int8
from trtnn.errors import ArgumentError, check_switches, check_tolerance, nearest, where
from trtnn.graph.placement import channel_ranges
from trtnn.graph.precision import check_paths
from trtnn.graph.quantization import BUFFERS, LEAST_SCALE, TOLERANCE, Placement, held_by, largest_of
from trtnn.modules import Module
from trtnn.network import check_samples
from trtnn.parameter import Buffer
from trtnn.quantization.calibration import Calibration
from trtnn.quantization.choosing import engine_speed, not_faster
from trtnn.quantization.ranges import METHODS
from trtnn.quantization.weights import correct_biases, round_adaptively

M = TypeVar("M", bound=Module)
DTYPES = {"int8": int8, "fp8": float8_e4m3fn}

_LAST = {"int8": 1, "fp8": 4}  # layers on the way to a result that are left as they are where nothing is said
# What is told where no module is quantised that was asked for by one of these.
_NOTHING = {
    "auto": "nothing is quantised: the tolerance leaves no module",
    "fastest": "nothing is quantised: the tolerance leaves no module that is faster so than in fp16",
}
_LOOKED_AT_AGAIN = 32  # samples that are kept where weights or the choice of modules depend on them
_TRIED = 4  # of these, that the choice of modules is tried on, once for each module


def quantize(
    model: M,
    samples: Iterable[Any],
    dtype: Literal["int8", "fp8"] = "int8",
    method: Literal["max", "percentile", "entropy", "mse"] | None = None,
    modules: Sequence[str] | Literal["auto", "fastest"] | None = None,
    skip: Sequence[str] | None = None,
    *,
    round_outputs: Sequence[str] = (),
    tolerance: float | None = None,
    correct_bias: bool | None = None,
    adaptive_rounding: bool | None = None,
    on_gpu: bool = False,
    calibration_cache: str | os.PathLike[str] | None = None,
) -> M:
    """Measure the ranges of a model's numbers on samples, and declare it quantised, in place.

    >>> trtnn.quantize(model, samples)
    >>> trtnn.save(model.state_dict(), "model-int8.safetensors")
    >>> engine = model.compile(fp16=True)

    Convolutions and their transposes, linear layers and products of matrices then compute in int8 or fp8, wherever the
    model is traced. What they read, and their weights, are rounded to q = round(x / scale). The scales are buffers of
    the modules: ``input_scale`` (one number), ``weight_scale`` (one for each output channel, of the weights with the
    BatchNorm behind folded in), ``product_scale`` of products, ``output_scale`` of what else a sum needs in int8 and of
    what a first convolution gives to SiLU or the like, and ``quant_max``, 127 or 448, the largest q. They are in the
    state dict, and a model that loads one with scales is quantised as well. Tensors that are joined, as by a
    concatenation, share a scale, so that no kernel stands between.

    The samples are run one after another, and but for the first 32, where they are looked at again, none is kept. All
    scales that the model has already are measured anew.

    Args:
        model: its weights are loaded.
        samples: inputs like those that the network will see, each an array, a tuple or list of arrays in order, or a
            dict of them by name; a few hundred images are usual.
        dtype: ``"int8"``, or ``"fp8"``, which is E4M3: TensorRT since 10 and TensorRT-RTX have it.
        method: how a range comes of what was seen: ``"max"``, the largest magnitude; ``"percentile"``, what holds
            99.99 % of the numbers; ``"mse"``, the least squared error of the rounded numbers; ``"entropy"``, the least
            Kullback-Leibler divergence, of int8 alone. Where None, ``"mse"`` for int8 and ``"max"`` for fp8, whose
            steps are finer for smaller numbers in any case. Weights have the largest magnitude of each channel.
        modules: paths of modules, or patterns such as ``"model.2.*"``, to quantise with all that they hold; all that
            can be where None. ``"auto"``: all but those that it takes to be within ``tolerance``, see
            :meth:`trtnn.Network.precision_report`. ``"fastest"``: of these all that are faster so than in fp16 on the
            GPU here, for which engines are built and timed; the result is not slower than fp16.
        skip: paths or patterns likewise, what not to quantise. Where None, and ``modules`` are not named, the last
            layers, which no other quantised one comes behind, such as a detector's convolutions to boxes and scores,
            since what they lose goes straight into the result; of fp8, whose numbers have 4 significant bits, the three
            before these as well, unless that is more than half of all; and convolutions over up to 4 channels, of int8
            those alone that TensorRT 8.6 is slower at than in fp16: it has fast kernels for first convolutions, which
            read images, where no activation or ReLU comes behind, or another that they are rounded before. ``()``
            quantises all of these as well.
        round_outputs: paths or patterns likewise, of modules whose output is rounded for all that reads it, where
            something quantised does. Else what stays in floating point beside, such as a head, reads it unrounded, for
            which TensorRT 8.6 computes a 1×1 convolution twice. It is faster and loses accuracy: measure both.
        tolerance: for ``"auto"`` and ``"fastest"``: the largest rms(difference) / rms(output) of any output; 2e-2 where
            None.
        correct_bias: take from the biases what rounding adds to the mean of each output channel. Where None, for fp8
            and not for int8. The biases of the model are changed.
        adaptive_rounding: round weights so that the layers' outputs on the samples stay, not each to its nearest
            number. Where None, for fp8 and not for int8. The weights of the model are changed.
        on_gpu: run the samples by an engine with inner outputs, which is built here, not on the CPU reference.
        calibration_cache: a file that keeps what was seen, so that an interrupted calibration goes on where it stopped.

    Returns:
        The model.

    Raises:
        ArgumentError: there are no samples, a path names nothing that can be quantised, or the numbers of a module are
            not finite, or all zero.
        ShapeError, DTypeError: a sample does not fit; with its number.
        CheckpointError: the file of the calibration is damaged, or of another network.
        EngineError: a GPU is asked for, and there is none.
    """
    check_switches(on_gpu=on_gpu)
    check_switches(or_none=True, correct_bias=correct_bias, adaptive_rounding=adaptive_rounding)
    is_fp8 = dtype == "fp8"
    method = ("max" if is_fp8 else "mse") if method is None else method
    check_model(model)
    _check(samples, dtype, method, modules, skip, round_outputs, tolerance)
    automatic = modules if isinstance(modules, str) else None
    paths = None if isinstance(modules, str) else modules
    correct_bias, adaptive_rounding = (is_fp8 if x is None else x for x in (correct_bias, adaptive_rounding))
    weights = [(parameter, parameter.data) for parameter in model.parameters()]
    before = forget(model)
    first = _First(samples, _LOOKED_AT_AGAIN if automatic or correct_bias or adaptive_rounding else 0)
    try:
        network = model.trace()
        ends = Sites(network.graph, int8=not is_fp8).ends(_LAST[dtype]) if skip is None and paths is None else ()
        skip = glob_paths(ends) if skip is None else skip
        sites = _checked(Sites(network.graph, paths, skip, not is_fp8, rounded=round_outputs), round_outputs)
        calibration = Calibration(network, sites, with_histograms=method != "max")
        calibration.run(first, first.total, None if calibration_cache is None else Path(calibration_cache), on_gpu)

        def declare(skipped: Sequence[str]) -> list[str]:
            forget(model)
            try:
                also = [placed.together[path] for path in skipped if path in placed.together]
                left = [*skip, *glob_paths([path for path in (*skipped, *also) if path in sites.by_path])]
                chosen = Sites(network.graph, paths, left, not is_fp8, rounded=round_outputs, kept=skipped)
            except ArgumentError:  # nothing is left
                return []
            ranges = _ranges(chosen, calibration, method, DTYPES[dtype])
            declare_quantised(model, chosen, ranges, largest_of(DTYPES[dtype]))
            return [*chosen.by_path, *chosen.outputs.values()]

        placed = Placement()
        declare(())
        if automatic:
            placed = model.trace().graph.placement or placed
            left_out = _left_out(model, declare, first.kept[:_TRIED], TOLERANCE if tolerance is None else tolerance)
            slow: Sequence[str] = ()
            if automatic == "fastest":
                slow = not_faster(model, lambda more: declare([*left_out, *more]), lambda: forget(model), engine_speed)
            declare([*left_out, *slow])
        if automatic and not any(name in module._buffers for module in model.modules() for name in BUFFERS):
            warnings.warn(_NOTHING[automatic], stacklevel=2)
            return model
        before_rounding = model.trace() if correct_bias else None
        if adaptive_rounding:
            round_adaptively(model, first.kept)
        if before_rounding is not None:
            correct_biases(model, first.kept, before_rounding)
    except BaseException:
        forget(model)
        restore(before)
        for parameter, data in weights:
            parameter.data = data
        raise
    return model


def _left_out(
    model: Module, declare: Callable[[Sequence[str]], Sequence[str]], samples: Sequence[Any], tolerance: float
) -> list[str]:
    """Return the modules that stay as they are so that no output is further off than a tolerance.

    Where less is joined, scales are others: what a report suggests is tried by the scales that come of it.

    Args:
        model: quantised.
        declare: declares it quantised anew without the modules at some paths, and returns the paths that are.
        samples: that it is tried on.
        tolerance: see :func:`quantize`.
    """
    found: list[str] = []
    while declare(found):
        network = model.trace()
        tensors = [*network.stream_samples(samples)]
        if max(output_errors(network, tensors).values()) <= tolerance:
            break
        found += network.precision_report(samples).suggested_skip(tolerance)
    return found


def check_model(model: Any) -> None:
    """Check that scales can be declared in a model.

    Raises:
        ArgumentError: it is no Module of trtnn.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            f"scales are declared in a trtnn.Module, not in a {type(model).__module__}.{type(model).__qualname__}",
            "a torch module is one by trtnn.from_torch(module, example), and what was traced or built is too late",
        )


def _check(
    samples: Any, dtype: str, method: str, modules: Any, skip: Any, round_outputs: Any, tolerance: float | None
) -> None:
    for name, value, known in (("dtype", dtype, list(DTYPES)), ("method", method, list(METHODS))):
        if value not in known:
            raise ArgumentError(f"{name} {value!r}", *nearest(str(value), known), f"known: {', '.join(known)}")
    if method == "entropy" and dtype == "fp8":
        raise ArgumentError("the entropy is of int8's even steps, and fp8 has none", 'method="mse" is for both')
    if modules is not None and modules not in ("auto", "fastest"):
        check_paths(modules, 'modules takes a list of module paths, "auto" or "fastest"')
    if skip is not None:
        check_paths(skip, "skip takes a list of module paths")
    check_paths(round_outputs, "round_outputs takes a list of module paths")
    if tolerance is not None:
        check_tolerance(tolerance)
    if tolerance is not None and not isinstance(modules, str):
        raise ArgumentError(
            "a tolerance is of modules that are chosen by it", 'modules="auto" or modules="fastest" chooses them'
        )
    check_samples(samples)


class _First:
    """Samples as they come, of which the first are kept."""

    def __init__(self, samples: Iterable[Any], count: int) -> None:
        self._samples, self._count = samples, count
        self.kept: list[Any] = []
        self.total = len(samples) if isinstance(samples, Sized) else None

    def __iter__(self) -> Iterator[Any]:
        self.kept.clear()
        samples = iter(self._samples)
        for sample in kept(itertools.islice(samples, self._count)):
            self.kept.append(sample)
            yield sample
        yield from samples


def declare_quantised(model: Module, sites: Sites, ranges: dict[str, float], largest: float) -> None:
    """Give the modules of a model their scales.

    Args:
        model: it has none.
        sites: what is quantised of it.
        ranges: of each tensor that is rounded, by its name.
        largest: the largest number of the type.
    """
    weights = _weight_ranges(sites)
    for path, site in sites.by_path.items():
        _declare(model.get_submodule(path), site, ranges, weights.get(path), largest)
    for name, path in sites.outputs.items():
        module = model.get_submodule(path)
        module.output_scale = buffer(ranges[name] / largest)
        module.quant_max = buffer(largest)


def _ranges(sites: Sites, calibration: Calibration, method: str, dtype: DType) -> dict[str, float]:
    """Return the range of each tensor that is rounded, by its name.

    Raises:
        ArgumentError: one was zero in all samples.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(sites.observed()):
        groups[sites.group(name)].append(name)
    ranges = {}
    for names in groups.values():
        seen = calibration.of_group(names)
        if seen.largest <= least_range(largest_of(dtype)):
            path = sites.reader_of(names[0])
            raise ArgumentError(
                f"{where(path)} reads nothing but zeros in {calibration.samples} samples",
                f'no scale comes of that: give other samples, or skip=["{path}"]',
            )
        ranges |= dict.fromkeys(names, METHODS[method](seen, dtype))
    return ranges | {name: ranges[other] for name, other in sites.follows.items()}


def forget(model: Module) -> list[tuple[Module, str, Buffer]]:
    """Take the scales out of a model, in place, and return them with their modules and names."""
    held = [(m, name, m._buffers[name]) for m in model.modules() for name in BUFFERS if name in m._buffers]
    for module, name, _ in held:
        delattr(module, name)
    return held


def restore(held: Sequence[tuple[Module, str, Buffer]]) -> None:
    """Put back what :func:`forget` took."""
    for module, name, buffer in held:
        setattr(module, name, buffer)


def _declare(module: Module, site: Site, ranges: dict[str, float], weights: np.ndarray | None, largest: float) -> None:
    if weights is not None:
        inputs = np.array([ranges[names[0]] for _, names in sorted(site.inputs.items())])
        module.input_scale = buffer((inputs if len(inputs) > 1 else inputs.reshape(())) / largest)
        module.weight_scale = buffer(held_range(weights, largest) / largest)
        held_by(module.weight_scale).first = 1.0  # it holds the largest weights
    if site.products:
        module.product_scale = buffer(np.array([[ranges[a], ranges[b]] for a, b in site.products]) / largest)
    module.quant_max = buffer(largest)


def _weight_ranges(sites: Sites) -> dict[str, np.ndarray]:
    """Return the largest magnitude of each output channel of the weights of sites, by path."""
    return channel_ranges({path: site.weights for path, site in sites.by_path.items() if site.weights})


def _checked(sites: Sites, round_outputs: Sequence[str]) -> Sites:
    """Return sites that are known to be right: what is wrong with weights or paths is told before anything runs."""
    sites.check_rounded(round_outputs)
    _weight_ranges(sites)
    return sites


def held_range(channels: np.ndarray, largest: float) -> np.ndarray:
    """Return the ranges of output channels by their largest magnitudes; ``largest`` of those that are as good as 0."""
    return np.where(channels > least_range(largest), channels, largest)  # zeros are exact by any scale


def least_range(largest: float) -> float:
    """Return the range of the least scale."""
    return largest * LEAST_SCALE


def buffer(value: Any) -> Buffer:
    """Return a Buffer that holds numbers, in float32."""
    array = np.asarray(value, np.float32)
    return Buffer(array.shape, data=array)
