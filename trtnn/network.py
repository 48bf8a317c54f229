"""Network: the finished graph with what can be done with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trtnn.arrays import kept
from trtnn.backend import get_backend
from trtnn.dtypes import float32
from trtnn.errors import ArgumentError, TrtnnError, UnsupportedError, check_switches
from trtnn.graph.ends import add_input, set_outputs
from trtnn.graph.graph import Graph
from trtnn.graph.precision import Precision
from trtnn.shapes.profiles import Ranges, merge_profiles
from trtnn.shapes.spec import TensorSpec
from trtnn.structure import map_leaves, unflatten
from trtnn.torch_import import import_with_torch

_NEEDS = "the CPU reference needs"

# What only some of a network's uses need is imported there, so that ``import trtnn`` loads little.
if TYPE_CHECKING:
    from trtnn.accuracy.report import Fp16Report
    from trtnn.accuracy.rounding import PrecisionReport
    from trtnn.build.config import BuildConfig
    from trtnn.engine.engine import Engine
    from trtnn.engine.refitting import Refittable
    from trtnn.graph.quantization import Declared, Placement
    from trtnn.graph.summary import LayerSummary
    from trtnn.shapes.call import Shapes
    from trtnn.viewer.facts import Facts


def trace(
    forward: Callable[..., Any],
    inputs: Mapping[str, Sequence[TensorSpec]],
    precision: Precision | None = None,
    paths: Mapping[int, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = (),
    declared: Mapping[str, Declared] | None = None,
) -> Network:
    """Run ``forward`` once with symbolic Tensors and return the network that it wrote.

    Args:
        forward: a function of Tensors; a Module's ``trace`` passes the Module itself.
        inputs: by the names of ``forward``'s arguments; for a dynamic one as many Inputs as there are profiles.
        precision: fp32 where None.
        paths: the path of each module that forward may call, by its ``id``.
        metadata: JSON values for the engine file.
        outputs: paths of modules, or patterns of them, whose outputs are outputs of the network as well.
        declared: what modules declare to be quantised, by their paths. ``forward`` then runs twice: where Quantize and
            Dequantize layers go depends on the layers behind.

    Raises:
        ArgumentError: the metadata are no JSON, or an engine file says itself what they say.
    """
    from trtnn.engine.metadata import check_metadata

    checked = check_metadata(metadata or {})
    merged, profiles = merge_profiles(inputs)

    def write(precision: Precision, into_sums: bool = True, for_kernels: bool = True, quantised: bool = True) -> Graph:
        if not declared or not quantised:
            return write_layers(precision, None)
        from trtnn.graph.placement import check_folded, place

        graph = write_layers(precision, None)
        graph.free_arrays_with_it()
        if precision.fp32_modules:
            plain = write_layers(dataclasses.replace(precision, fp32_modules=()), None)
            plain.free_arrays_with_it()
            check_folded(declared, graph, plain)
        return write_layers(precision, place(graph, declared, into_sums, for_kernels))

    def write_layers(precision: Precision, placement: Placement | None) -> Graph:
        graph = Graph(get_backend(), precision, paths or {}, profiles, placement, declared or {})
        if placement is not None:
            for path, dtype in placement.modules.items():
                graph.choices[f"quantised to {dtype.name}"].append(path)
        with graph.tracing():
            result = forward(**{name: add_input(graph, name, spec) for name, spec in merged.items()})
            set_outputs(graph, result, outputs)
        return graph

    graph = write(precision or Precision())
    if graph.fills:
        from trtnn.graph.beyond_half import warn_of_fills

        warn_of_fills(graph)
    if graph.lost:
        from trtnn.graph.beyond_half import warn_of_lost

        warn_of_lost(graph)
    return Network(graph, write, checked)


@dataclass
class Network:
    """A traced network: a real TensorRT network definition, ready to be looked at, run on the CPU or built.

    Attributes:
        graph: the definition and all it needs.
        retrace: writes the graph in another precision; ``into_sums=False`` rounds nothing but what modules declare, and
            ``for_kernels=False`` writes each layer once, see :func:`trtnn.graph.placement.place`;
            ``quantised=False`` rounds nothing.
        metadata: JSON values that go into the engine file.
    """

    graph: Graph
    retrace: Callable[..., Graph]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """The inputs by name."""
        return self.graph.inputs

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """The outputs by name."""
        return self.graph.outputs

    @property
    def profiles(self) -> Sequence[Ranges]:
        """What the dimensions of dynamic inputs may be, by name; none where every shape is static."""
        return self.graph.profiles

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise UnsupportedError(
            "a Network holds TensorRT's own definition, which cannot be copied or pickled",
            "copy or pickle the Module, and trace that",
        )

    def __repr__(self) -> str:
        return (
            f"Network({self.metadata.get('model', '')}: {', '.join(f'{n} {s}' for n, s in self.inputs.items())} -> "
            f"{', '.join(f'{n} {s}' for n, s in self.outputs.items())}, {len(self.graph.layer_paths)} layers, "
            f"{self.graph.backend})"
        )

    # -- looking ------------------------------------------------------------------------------------------------------

    def layers(self) -> list[LayerSummary]:
        """Return what each layer is and costs, in order."""
        from trtnn.graph.summary import layers_of

        return layers_of(self.graph)

    @property
    def flops(self) -> int:
        """The floating-point operations of convolutions and matrix products, two for each multiply-and-add.

        Those of a dynamic network are at the lengths that its first profile is fastest at.
        """
        return sum(row.flops for row in self.layers())

    def summary(self, depth: int | None = None) -> str:
        """Return a table of all layers: module path, layer type, output type and shape, parameters, :attr:`flops`.

        Under it is what operations chose where there is a choice.

        Args:
            depth: how many names of a path tell modules apart: a row is then all layers of a module, with the output of
                the last; None for a row each layer.

        Raises:
            ArgumentError: ``depth`` is no positive int.
        """
        from trtnn.graph.summary import table_of
        from trtnn.table import render

        choices = {
            what: dict.fromkeys(path or "(forward)" for path in paths) for what, paths in self.graph.choices.items()
        }
        chosen = [f"{what}: {', '.join(paths)}" for what, paths in choices.items()]
        return "\n".join([render(**table_of(self.layers(), depth)), *chosen])

    def _repr_html_(self) -> str:
        from trtnn.graph.summary import table_of
        from trtnn.table import MOST_IN_NOTEBOOK, render_html

        return render_html(repr(self), **table_of(self.layers(), 2, MOST_IN_NOTEBOOK))

    def facts(self, reports: Sequence[Any] = (), weights: bool = True) -> Facts:
        """Return what a page shows of the network, see :meth:`view`, as plain values; ``to_json()`` gives all of it.

        Args:
            reports: of errors by module: an Fp16Report, a Comparison.
            weights: whether the weights are a model's, and not stand-ins of which nothing is to be shown.
        """
        from trtnn.viewer.errors import with_errors
        from trtnn.viewer.network import network_facts
        from trtnn.viewer.roofline import gpu_roofline

        check_switches(weights=weights)
        facts = network_facts(self.graph, self.retrace, self.metadata, weights)
        return with_errors(facts, reports, gpu_roofline())

    def view(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        reports: Sequence[Any] = (),
        against: Any = None,
        open: bool = False,
    ) -> Path:
        """Write a page that shows the network: a map, a graph and a table of its layers, with what each costs.

        >>> network.view("yolov5s.html", reports=[network.fp16_report(samples)])

        It is one file of HTML that needs nothing else.

        Args:
            path: of the page; where None it goes to a temporary folder, and a browser is opened.
            reports: of errors by module: an Fp16Report, a Comparison.
            against: another Network or Engine, or the ``facts`` of one, to show beside this one.
            open: open the page in a browser.

        Returns:
            The page's path.

        Raises:
            ArgumentError: the path cannot be written, a report is of another network, or there is no browser to open.
            BackendError: what the page is made of is not installed: ``pip install "trtnn[view]"``.
        """
        from trtnn.viewer.page import facts_of, write_page

        return write_page(path, lambda: [self.facts(reports), *facts_of(against)], open)

    def to_onnx_graph(self, path: str | os.PathLike[str]) -> Path:
        """Write a picture of the network as an ONNX file, which Netron opens; it cannot be run, and has no weights.

        Its nodes are TensorRT's layers by their type, with their tensors' shapes and types, the module that made each
        and what it costs.

        Returns:
            The file's path.

        Raises:
            ArgumentError: the path cannot be written.
            BackendError: onnx is not installed: ``pip install "trtnn[onnx]"``.
        """
        from trtnn.viewer.onnx_graph import write_onnx_graph

        return write_onnx_graph(path, self.facts())

    # -- running on the CPU -------------------------------------------------------------------------------------------

    @cached_property
    def _shapes(self) -> Shapes:
        from trtnn.shapes.call import Shapes

        return Shapes(self.inputs, self.outputs, self.profiles)

    @cached_property
    def _interpreter(self) -> Any:
        reference = import_with_torch("trtnn.reference", _NEEDS)
        return reference.Interpreter(self.graph.definition, self.graph.trt, self.graph.plugins)

    def run(self, *args: Any, outputs: Sequence[str] = (), **kwargs: Any) -> Any:
        """Execute the network on the CPU, layer by layer as TensorRT defines each.

        Args:
            *args, **kwargs: the inputs, NumPy arrays or torch tensors, by position or name.
            outputs: paths of modules, or patterns such as ``"model.24.m.*"``, whose output is wanted as well; it comes
                in the type that it has in the network. A convolution that a BatchNorm was folded into has none there;
                trace the network with it, ``model.trace(outputs=[...])``, and it is computed beside.
                Of a layer that stands twice in a quantised network, for who reads floats and for who reads int8, it is
                that for floats; both are the same numbers, as far as sums in another order are.

        Returns:
            What the network returns, with arrays for Tensors (torch tensors where the first input was one): what
            ``forward`` returned, see :meth:`trtnn.Module.trace`. With ``outputs`` that and a dict of what each of
            those modules returned, by its path.

        Raises:
            ArgumentError, ShapeError, DTypeError: an input is missing or does not fit, or a path is unknown or folded.
        """
        inner = {path: self.graph.module_outputs[path] for path in self.graph.module_outputs.matching(outputs)}
        wanted = set(self.outputs)
        map_leaves(lambda leaf: wanted.add(leaf.name) if self._is_raw(leaf) else None, list(inner.values()))
        values = self._run(args, kwargs, wanted)
        result = unflatten(self.graph.structure, values)
        if not outputs:
            return result
        return result, map_leaves(lambda leaf: values[leaf.name] if self._is_raw(leaf) else leaf, inner)

    def run_flat(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Execute the network on the CPU and return its outputs by name, not as ``forward`` does; see :meth:`run`."""
        return self._run(args, kwargs, set(self.outputs))

    def _run(self, args: Sequence[Any], kwargs: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
        from trtnn.shapes.call import check_numpy_has

        tensors, wants_torch = self._read_inputs(args, kwargs)
        if not wants_torch:
            instead = "give the first input as a torch tensor, and all outputs are"
            check_numpy_has({n: spec for n, spec in self.outputs.items() if n in wanted}, instead)
        values = self._interpreter(tensors, wanted)
        values = {name: value.clone() for name, value in values.items()}  # none shares memory with another
        return values if wants_torch else {name: value.numpy() for name, value in values.items()}

    def _read_inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return checked inputs as torch tensors by name, and whether the first of them was one."""
        from trtnn.shapes.call import check_arrays, check_is_dense, name_arguments

        arrays = name_arguments(list(self.inputs), args, kwargs)
        check_arrays(self._shapes, arrays)
        torch = import_with_torch("torch", _NEEDS)
        tensors = {}
        for name, array in arrays.items():
            if isinstance(array, torch.Tensor):
                check_is_dense(name, array)
                tensors[name] = array.detach()
            else:
                tensors[name] = torch.from_numpy(np.array(array))
        stored = {name: self.graph.stored_dtype(spec.dtype).name for name, spec in self.inputs.items()}
        tensors = {name: tensor.to(getattr(torch, stored[name])) for name, tensor in tensors.items()}
        return tensors, isinstance(next(iter(arrays.values())), torch.Tensor)

    def _is_raw(self, leaf: Any) -> bool:
        return isinstance(leaf, self.graph.trt.ITensor)

    # -- half precision -----------------------------------------------------------------------------------------------

    def fp16_report(self, samples: Iterable[Any], *, fp16_attention: bool = False) -> Fp16Report:
        """Measure what fp16 would do to this network: what overflows, what is lost, the error of each layer alone.

        It runs on the CPU reference. Take samples like what the network will see: it is trusted as far as they reach.

        >>> report = model.trace().fp16_report(samples)
        >>> print(report)
        >>> engine = model.compile(fp16=True, fp32_modules=report.suggested_fp32_modules())

        Args:
            samples: inputs, each an array, a tuple or list of arrays in order, or a dict of them by name.
            fp16_attention: as of :meth:`trtnn.Module.trace`.

        Raises:
            ArgumentError: there are no samples, or the network was traced in fp16.
            ShapeError, DTypeError: a sample does not fit; with its number.
        """
        from trtnn.accuracy.choice import MixedPrecision
        from trtnn.accuracy.report import make_report
        from trtnn.progress import progress_bar

        check_switches(fp16_attention=fp16_attention)
        if self.graph.precision.compute is not float32:
            raise ArgumentError(
                f"fp16 is measured against fp32, and this network was traced in {self.graph.precision.compute.name}",
                "trace it in fp32: model.trace().fp16_report(samples)",
            )
        tensors = self._read_samples(samples)
        trials = import_with_torch("trtnn.accuracy.trials", _NEEDS)
        graph = self.graph
        if fp16_attention:
            graph = self.retrace(Precision(fp16_attention=True, is_alike=True))
        precision = MixedPrecision(graph, self.retrace, fp16_attention)
        with progress_bar("measuring fp16", 2 * len(tensors)) as advance:
            comparison = trials.Comparison(graph, precision.layers, precision.fills, tensors, advance)
            report = make_report(graph, precision, comparison, advance)
        precision.forget()
        return report

    def precision_report(self, samples: Iterable[Any]) -> PrecisionReport:
        """Measure what quantisation does to this network: by module, the error that quantising it alone brings.

        It runs on the CPU reference, once for each module and sample. Take other samples than the calibration's.

        >>> report = trtnn.quantize(model, samples).trace().precision_report(others)
        >>> print(report)
        >>> trtnn.quantize(model, samples, skip=report.suggested_skip(tolerance=0.02))

        Args:
            samples: inputs, each an array, a tuple or list of arrays in order, or a dict of them by name.

        Raises:
            ArgumentError: there are no samples, or nothing of the network is quantised.
            ShapeError, DTypeError: a sample does not fit; with its number.
        """
        rounding = import_with_torch("trtnn.accuracy.rounding", _NEEDS)
        return rounding.make_precision_report(self, self._read_samples(samples))

    def _read_samples(self, samples: Iterable[Any]) -> list[dict[str, Any]]:
        check_samples(samples)
        return list(self.stream_samples(kept(samples)))

    def stream_samples(self, samples: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield samples one after another as checked torch tensors by name, as the reference takes them.

        Args:
            samples: inputs, each an array, a tuple or list of arrays in order, or a dict of them by name.

        Raises:
            ArgumentError: there are none, or what is given is one itself.
            ShapeError, DTypeError: a sample does not fit; with its number.
        """
        check_samples(samples)
        number = -1
        for number, sample in enumerate(samples):
            args, kwargs = (), {}
            if isinstance(sample, Mapping):
                kwargs = sample
            else:
                args = sample if isinstance(sample, (tuple, list)) else (sample,)
            try:
                tensors = self._read_inputs(args, kwargs)[0]
            except TrtnnError as error:
                raise type(error)(f"sample {number}: {error.summary}", *error.details) from None
            yield tensors
        if number < 0:
            raise ArgumentError("there are no samples", "give a few inputs like those that the network will see")

    # -- building -----------------------------------------------------------------------------------------------------

    def build(self, config: BuildConfig | None = None, **options: Any) -> Engine:
        """Build an engine; ``options`` are those of :class:`trtnn.BuildConfig`, in place of one."""
        from trtnn.build.build import build
        from trtnn.build.config import BuildConfig

        if config is not None and options:
            raise ArgumentError("build takes a BuildConfig or options, not both")
        return build(self.graph, config or BuildConfig.from_options(options), self.metadata)

    def refittable(self) -> Refittable:
        """Return the arrays that a refit of an engine of this network exchanges, by layer and role."""
        from trtnn.build.refitting import refittable

        return refittable(self.graph)

    def refittable_arrays(self) -> dict[tuple[str, str], np.ndarray]:
        """Return these arrays alone, which takes no look at the rest of the network."""
        from trtnn.build.refitting import refittable_arrays

        return refittable_arrays(self.graph)


def check_samples(samples: Any) -> None:
    """Check that samples are an iterable of inputs, and not one itself.

    Raises:
        ArgumentError: they are not.
    """
    if hasattr(samples, "shape") or isinstance(samples, (str, Mapping)) or not isinstance(samples, Iterable):
        raise ArgumentError(
            f"samples are an iterable of inputs, not a {type(samples).__name__}", "a single one: samples=[images]"
        )
