"""The graph that a trace writes: a network definition, every array it needs, and who made each layer."""

from __future__ import annotations

import contextvars
import fnmatch
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trtnn.arrays import is_torch
from trtnn.backend import Backend
from trtnn.dtypes import NARROW, DType, float16, float32, int8, uint8
from trtnn.errors import (
    ArgumentError,
    BuildError,
    DTypeError,
    TrtnnError,
    UnsupportedError,
    nearest,
    where,
)
from trtnn.graph.deferred import Deferred
from trtnn.graph.failures import misplaced, of_length, outdated, refused, too_deep
from trtnn.graph.formulas import settled_shape
from trtnn.graph.module_outputs import ModuleOutputs
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.graph.precision import Precision, Scope
from trtnn.graph.quantization import Declared, Placement, Rounder
from trtnn.graph.tensor import Tensor, Value
from trtnn.graph.types import floating_dtype, layer_dtype, may_leave_8_bits, narrow_dtype, narrowed
from trtnn.graph.weights import Weights
from trtnn.parameter import Parameter
from trtnn.shapes.profiles import Ranges
from trtnn.shapes.spec import MOST_DIMENSIONS, TensorSpec
from trtnn.shapes.symbolic import Length, is_static

if TYPE_CHECKING:
    from trtnn.graph.beyond_half import Fill

_CURRENT: contextvars.ContextVar[Graph | None] = contextvars.ContextVar("trtnn_graph", default=None)
_WATCHER: contextvars.ContextVar[Any] = contextvars.ContextVar("trtnn_watcher", default=None)
# The largest magnitude that float16 makes 0 of: half of the smallest that it has.
_MOST_LOST = 2.0**-25

_OURS = frozenset((Tensor, list, PluginLayer))  # what TensorRT does not take as it is


def current_graph() -> Graph | None:
    """Return the graph that is being traced here, or None."""
    return _CURRENT.get()


@contextmanager
def watching(watcher: Any) -> Iterator[None]:
    """Tell an object of what the graphs that are made within the block are made of.

    Args:
        watcher: its ``layer(graph)`` is called for each layer that was added to a graph, and its
            ``module(path, module)`` with each module that is about to run.
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@dataclass
class Graph:
    """A real ``INetworkDefinition`` with all that belongs to it.

    Args:
        backend: the TensorRT to write for.
        precision: the element type of its layers.
        paths: the path of each module that may be called, by the module's ``id``.
        profiles: what the dimensions of dynamic inputs may be, see :mod:`trtnn.shapes.profiles`.
        placement: what is quantised, by the layers' names; None where nothing is.
        declared: what modules declare to be quantised, by path.

    Attributes:
        definition: the ``INetworkDefinition``.
        weights: the arrays that its layers were given.
        layer_paths: for each layer of the definition, in order, the path of the module that made it.
        layer_dtypes: for each layer the floating type that it was traced in, None where it holds integers alone.
        roundings: the indices of the layers that :meth:`add_rounding` wrote.
        again: of these, those of the layers that stand once more, each with the index of its first.
        plugins: of the layers that are plugins, by the layer's name, what each was made of.
        choices: what operations chose where there is a choice, each with the paths of the modules that did.
        module_outputs: what each module returned.
        deferred: the layers that are yet to be added.
        scopes: the modules that are running, the innermost last.
        inputs, outputs: the network's own, by name.
        inner_outputs: the paths of the modules whose outputs are the network's as well.
        folded: the path of the module that made a layer, and that of the module that was folded into it, for each such
            pair; what the former returned is not in the network, unless something else reads it.
        structure: what the network returns, see :mod:`trtnn.structure`: what ``forward`` did; where outputs of inner
            modules were asked for, a tuple of that and a dict of what each of those modules returned, by its path.
        dimensions: for each dynamic dimension by name the input that it is read from, and its axis there.
        lengths: the Tensors made of lengths that are known only when the network runs, see :mod:`trtnn.ops._sizes`, and
            of numbers that are computed where they are no constants, see :mod:`trtnn.graph.infinity`.
        first_input: the Tensor of the first input as it enters, while the trace runs.
        fills: the numbers beyond float16 that operations put into Tensors, each by the index of its constant's layer.
        lost: the numbers that are 0 in float16, in order, each once for a module.
        carries: whether a Tensor is carried in fp32, see :mod:`trtnn.graph.beyond_half`.
        watcher: what is told of each layer and module, see :func:`watching`; None as a rule.
        is_pinned: whether a build asked for the types of layers, which stays in the definition.
        skeleton: the digest of all that a refit does not exchange, once it was asked for.
    """

    backend: Backend
    precision: Precision = field(default_factory=Precision)
    paths: Mapping[int, str] = field(default_factory=dict)
    profiles: Sequence[Ranges] = ()
    placement: Placement | None = None
    declared: Mapping[str, Declared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = self.backend.make_builder()
        self.definition = self.builder.create_network(self.backend.network_flags)
        self.layer_paths: list[str] = []
        self.layer_dtypes: list[DType | None] = []
        self.roundings: set[int] = set()
        self.again: dict[int, int] = {}
        self.plugins: dict[str, PluginLayer] = {}
        self.choices: defaultdict[str, list[str]] = defaultdict(list)
        self.module_outputs = ModuleOutputs(self.paths.values())
        self.inputs: dict[str, TensorSpec] = {}
        self.outputs: dict[str, TensorSpec] = {}
        self.inner_outputs: list[str] = []
        self.folded: list[tuple[str, str]] = []
        self.structure: Any = None
        self.dimensions: dict[str, tuple[Tensor, int]] = {}
        self.lengths: dict[str, Tensor] = {}
        self.first_input: Tensor | None = None
        self._dynamic_shapes: dict[str, tuple[Length, ...]] = {}  # by the names of ITensors
        self.weights = Weights()
        self._names: defaultdict[str, int] = defaultdict(int)
        self.deferred = Deferred(self)
        self._recurrences: dict[str, Any] = {}  # layers whose next value is yet to come, by the names of their outputs
        self.scopes = [Scope("", self.precision.compute)]
        self._rounder = None if self.placement is None else Rounder(self, self.placement)
        self._finished = False
        self.fills: dict[int, Fill] = {}
        self.lost: dict[Fill, None] = {}
        self.carries = False
        self.watcher = _WATCHER.get()
        self.is_pinned = False
        self.skeleton: str | None = None
        for pattern in self.precision.fp32_modules:
            if not any(fnmatch.fnmatchcase(path, pattern) for path in self.paths.values()):
                raise ArgumentError(
                    f"fp32_modules names no module: {pattern}", *nearest(pattern, self.paths.values(), most=3)
                )

    @property
    def is_weakly_typed(self) -> bool:
        """Whether TensorRT chooses the types of layers, as 8.6 does, and not the network."""
        return not self.backend.capabilities.strongly_typed

    @property
    def trt(self) -> Any:
        """TensorRT's Python module."""
        return self.backend.trt

    @property
    def compute_dtype(self) -> DType:
        """The floating type of the module that is running."""
        return self.scopes[-1].compute

    def stored_dtype(self, dtype: DType) -> DType:
        """Return the type that the definition has for what is traced as ``dtype``.

        It is the same where networks are strongly typed. Elsewhere a definition is in fp32 throughout: what is traced
        as float16 is what the builder may take to fp16, and what is traced as float32 is what the build pins. Whole
        numbers of 8 bits are float32 within a network, which holds each of them and their products.
        """
        if dtype is uint8 or dtype is int8:
            return float32
        return dtype if dtype is not float16 or self.backend.capabilities.strongly_typed else float32

    # -- tracing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Make this the current graph within the block."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def free_arrays_with_it(self) -> None:
        """Free the arrays when nobody holds this graph any more, see :meth:`trtnn.graph.weights.Weights.free_with`.

        It is for traces that are nobody else's: the ``definition`` alone is of no use then.
        """
        self.weights.free_with(self)

    # -- what functions call ------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Take no more layers, and drop what only a trace needs; Tensors hold their graph, which makes circles."""
        self.deferred.settle()
        self.weights.finish()
        self.lengths.clear()
        self.dimensions.clear()
        self.first_input = None
        self.module_outputs.finish()
        self._finished = True

    def cast(self, tensor: Tensor, dtype: DType) -> Tensor:
        """Return ``tensor`` as ``dtype``: itself where it is that already.

        An fp16 tensor that the graph made of an fp32 one, at an edge of precision, gives that back.
        """
        if tensor.dtype is dtype:
            return tensor
        tensor = self.deferred.snapshot("cast", tensor)
        if tensor.unrounded is not None and (dtype is float32 or tensor.value.beyond is not None):
            return self.cast(tensor.unrounded.copy(), dtype)
        if dtype in NARROW:
            return narrowed(tensor, dtype, self)
        stored = self.stored_dtype(dtype)
        if self.stored_dtype(tensor.dtype) is stored:
            return Tensor(self, Value(tensor.raw, constant=tensor.value.constant), tensor.shape, dtype)
        result = self.emit("cast", tensor, self.backend.data_type(stored), traced_as=dtype)
        if result.dtype is not dtype:
            raise UnsupportedError(
                f"{self.backend} makes {result.dtype.name} of what {self.where} casts to {dtype.name}",
                "use int32 within the network, and cast on the host",
            )
        return result

    def held(self, value: Any) -> np.ndarray:
        """Return a NumPy array as it is, or the one that a Parameter or a torch tensor holds.

        Raises:
            ArgumentError: the Parameter is empty.
            DTypeError: NumPy cannot hold what torch's tensor does.
        """
        return self.weights.held(value, self.scopes[-1].path)

    def array(self, value: Any, dtype: DType, later: bool = False) -> np.ndarray:
        """Return a copy of an array of weights for a layer that is traced in ``dtype``, see :class:`Weights`.

        Args:
            value: a NumPy array, or a Parameter that holds one.
            later: whether it may be empty until :meth:`fill`.

        Raises:
            DTypeError: a finite value becomes infinite in fp16.
        """
        return self.weights.array(self.held(value), dtype, self.stored_dtype(dtype), self.scopes[-1].path, later)

    def scaled(self, data: np.ndarray, factors: np.ndarray, dtype: DType) -> np.ndarray:
        """Return data · factors as :meth:`array` does, multiplied in fp32 when the trace ends.

        Args:
            factors: of a shape that broadcasts to that of ``data``.
        """
        return self.weights.scaled(data, factors, dtype, self.stored_dtype(dtype), self.scopes[-1].path)

    def fill(self) -> None:
        """Compute the arrays that were left empty: copies, and weights that something is folded into."""
        self.weights.fill()

    def constant(self, value: Any, dtype: DType, ndim: int = 0) -> Tensor:
        """Return a number or an array as a Tensor of at least ``ndim`` dimensions.

        Of a type that NumPy has not, bfloat16, it is a constant in fp32 and a cast, which TensorRT does as it builds.
        What float16 does not hold, and no Parameter that is learned, is a Tensor that only fp32 can read, see
        :mod:`trtnn.graph.beyond_half`.

        Raises:
            DTypeError: the type does not hold it.
        """
        if dtype.numpy is None:
            return self.cast(self.constant(value, float32, ndim), dtype)
        held = self.held(value if isinstance(value, Parameter) or is_torch(value) else np.asarray(value))
        try:
            array = self.weights.array(held, dtype, self.stored_dtype(dtype), self.scopes[-1].path, True)
        except DTypeError as error:
            if dtype is not float16 or self.weights.is_learned(held):
                raise
            from trtnn.graph.beyond_half import unfit

            return unfit(self, held, ndim, error)
        if dtype is float16 and held.size == 1 and 0 < abs(held.item()) <= _MOST_LOST:
            self._note_lost(held)
        shape = (1,) * (ndim - array.ndim) + array.shape
        if len(shape) > MOST_DIMENSIONS:
            raise too_deep("constant", shape, self.scopes[-1].path)
        if not array.size:
            return self.deferred.nothing(shape, dtype, f"a constant of shape {shape} in {self.where} has no elements")
        if array.size == 1 and dtype.is_floating_point and not self.backend.capabilities.strongly_typed:
            number = array.item()
            if not math.isfinite(number):
                from trtnn.graph.infinity import computed  # for TensorRT 8.6 alone

                return computed(number, dtype, shape, self)
        return self.emit("constant", shape, array, traced_as=dtype)

    def _note_lost(self, held: np.ndarray) -> None:
        from trtnn.graph.beyond_half import Fill

        if not self.weights.is_learned(held):
            self.lost[Fill(self.scopes[-1].path, held.item())] = None

    def filling(self, value: Any, dtype: DType, ndim: int = 0) -> Tensor:
        """Return the one number that an operation puts into a Tensor of ``dtype``, as :meth:`constant` does.

        Where it is beyond float16, float16's own end stands for it there.
        """
        from trtnn.graph.beyond_half import filling, is_beyond

        number = value if isinstance(value, (int, float)) else np.asarray(value).item()
        if dtype in (float16, float32) and is_beyond(number):
            return filling(self, number, dtype, max(ndim, np.ndim(value)))
        return self.constant(value, dtype, ndim)

    # -- loops ---------------------------------------------------------------------------------------------------------

    def make_loop(self, *inputs: Tensor) -> Any:
        """Return a new ``ILoop``; layers that :meth:`emit` adds with ``loop`` are its boundary.

        Args:
            *inputs: what it iterates over and starts from; their layers come before it.
        """
        for tensor in inputs:
            tensor.ensure()
        loop = self.definition.add_loop()
        loop.name = self._unique_name("loop")
        return loop

    def feed_back(self, current: Tensor, following: Tensor) -> None:
        """Let a loop's recurrence, which gave ``current``, give ``following`` in the next trip."""
        self._recurrences.pop(current.name).set_input(1, following.raw)

    def emit(
        self,
        kind: str,
        *args: Any,
        loop: Any = None,
        out_shape: Sequence[Length] | None = None,
        set_inputs: Mapping[int, Tensor] | None = None,
        traced_as: DType | None = None,
        **attributes: Any,
    ) -> Any:
        """Add one layer: ``definition.add_<kind>(*args)``, then set its attributes.

        Args:
            kind: such as ``"convolution_nd"``.
            *args: as TensorRT takes them, with Tensors (also in lists) for ITensors, and a PluginLayer for its plugin.
            loop: the ``ILoop`` that it is a boundary layer of, and that adds it in the definition's place.
            out_shape: the shape of the output by the operation's formula, which has to be TensorRT's as far as that
                tells one. It is needed where TensorRT leaves a length open, unless the layer keeps or broadcasts the
                shapes of its inputs.
            set_inputs: further inputs by their index, as ``ILayer.set_input`` takes them.
            traced_as: the type of a floating output, where it is not that of the floating inputs.
            **attributes: properties of the layer to set, such as ``stride_nd=(2, 2)``.

        Returns:
            The output as a Tensor, or a tuple of them where the layer has several, or none.

        Raises:
            BuildError: TensorRT refused; with the module path, the inputs, the user's line and TensorRT's own words.
            ShapeError: at some lengths within the profiles nothing is left, or an attribute is a dynamic length.
            UnsupportedError: the output's shape is dynamic, and the operation says nothing of it.
        """
        self._check_takes(kind, out_shape)
        self.deferred.settle()
        if self.carries:
            from trtnn.graph.beyond_half import carry

            options = {"loop": loop, "out_shape": out_shape, "traced_as": traced_as, **attributes}
            if (carried := carry(self, kind, args, set_inputs, options)) is not None:
                return carried
        inputs: list[Tensor] = []
        raw_args = [self._raw(kind, arg, inputs) if type(arg) in _OURS else arg for arg in args]
        shaped = len(inputs)
        raw_later = {index: self._raw(kind, tensor, inputs) for index, tensor in (set_inputs or {}).items()}
        name = self._unique_name(kind)
        try:
            if self._rounder is not None:
                raw_args = self._quantized(self._rounder, name, raw_args, raw_later)
            layer = self._add(loop or self.definition, kind, raw_args, raw_later, attributes)
            if layer is None:
                raise self.failure(f"TensorRT refused {kind}", inputs)
            layer.name = layer.metadata = name  # by the latter an engine shows layers that have none of its name
            traced_as = traced_as or floating_dtype(inputs) or narrow_dtype(inputs)
            constant = loop is None
            for tensor in inputs:
                constant = constant and tensor.value.constant
            outputs = [
                self._output(kind, layer.get_output(i), f"{name}:{i}", inputs, traced_as, constant)
                for i in range(layer.num_outputs)
            ]
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, TrtnnError):
                raise
            raise (
                of_length(kind, attributes.values(), self.where)
                or self.failure(f"TensorRT refused {kind}: {error}", inputs)
            ) from error
        outputs = [self._settled(kind, output, out_shape, inputs[:shaped]) for output in outputs]
        for plugin in args:
            if isinstance(plugin, PluginLayer):
                self.plugins[name] = plugin
        self._note(layer_dtype(kind, [*inputs, *outputs], traced_as))
        self._compute_again(name, kind, raw_args, attributes, outputs)
        if kind == "recurrence":
            self._recurrences[outputs[0].name] = layer
        if traced_as is not None and not traced_as.is_floating_point and may_leave_8_bits(kind, args, outputs, self):
            outputs[0] = narrowed(outputs[0], traced_as, self)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _add(
        self, to: Any, kind: str, args: Sequence[Any], later: Mapping[int, Any], attributes: Mapping[str, Any]
    ) -> Any:
        """Add a layer to the definition or a loop; return it, or None where TensorRT refuses it."""
        layer = getattr(to, f"add_{kind}")(*map(self._lent, args))
        if layer is not None:
            for index, raw in later.items():
                layer.set_input(index, raw)
            for attribute, value in attributes.items():
                setattr(layer, attribute, self._lent(value))
        return layer

    def _check_takes(self, kind: str, out_shape: Sequence[Length] | None) -> None:
        """Raise where no layer can be added now, or none of so many dimensions."""
        if self._finished or _CURRENT.get() is not self:
            raise misplaced(kind, self._finished)
        if out_shape is not None and len(out_shape) > MOST_DIMENSIONS:
            raise too_deep(kind, out_shape, self.scopes[-1].path)

    def _note(self, dtype: DType | None) -> None:
        """Note who made the layer that was added, and the floating type that it was traced in."""
        self.layer_paths.append(self.scopes[-1].path)
        self.layer_dtypes.append(dtype)
        if self.watcher is not None:
            self.watcher.layer(self)

    def chose(self, what: str) -> None:
        """Note for the network's summary what an operation chose, in the module that is running."""
        self.choices[what].append(self.scopes[-1].path)

    def _quantized(self, rounder: Rounder, name: str, args: Sequence[Any], later: dict[int, Any]) -> list[Any]:
        """Return the arguments of a layer with what it reads rounded as the placement says; a kernel goes into later.

        Args:
            name: of the layer.
            args: as TensorRT takes them.
            later: the inputs that are set once the layer is there, by their index.
        """
        tensor = self.trt.ITensor
        given = [item for arg in args for item in (arg if type(arg) is list else [arg]) if isinstance(item, tensor)]
        read = iter(rounder.reads(name, given))
        result = [
            [next(read) if isinstance(item, tensor) else item for item in arg]
            if type(arg) is list
            else (next(read) if isinstance(arg, tensor) else arg)
            for arg in args
        ]
        result, kernel = rounder.kernel(name, result)
        later |= kernel
        return list(result)

    def _compute_again(
        self, name: str, kind: str, args: Sequence[Any], attributes: Mapping[str, Any], outputs: Sequence[Tensor]
    ) -> None:
        """Add the layer that was added last once more, where the placement says so."""
        if self._rounder is not None and name in self._rounder.again:
            first = len(self.layer_paths) - 1
            options = {"traced_as": self.layer_dtypes[-1], **attributes}
            self._rounder.compute_again(name, outputs[0].raw, kind, args, options)
            self.again[len(self.layer_paths) - 1] = first

    def rounded_output(self, name: str, tensor: Tensor) -> Tensor:
        """Return what an output of the network is: a Tensor as it is, or rounded where the placement says so."""
        raw = tensor.raw if self._rounder is None else self._rounder.output(name, tensor.raw)
        return tensor if raw is tensor.raw else self.wrap(raw, tensor.shape, tensor.dtype)

    def add_rounding(
        self,
        kind: str,
        what: str,
        *args: Any,
        like: Any = None,
        later: Mapping[int, Any] | None = None,
        traced_as: DType | None = None,
        **attributes: Any,
    ) -> Any:
        """Add a layer of quantisation in the module that is running, which changes the name of no other layer.

        Args:
            kind: such as ``"quantize"``.
            what: the end of its name.
            *args: as TensorRT takes them.
            like: an ITensor of the same lengths as what it gives; of a constant there need be none.
            later: further inputs by their index, as ``ILayer.set_input`` takes them.
            traced_as: the floating type that it was traced in, if it was.
            **attributes: properties of the layer to set.

        Returns:
            The ITensor that it gives.

        Raises:
            BuildError: TensorRT refused.
        """
        layer = self._add(self.definition, kind, args, later or {}, attributes)
        if layer is None:
            raise self.failure(f"TensorRT refused {kind}", [])
        path = self.scopes[-1].path
        self._names[f"{path}/{what}"] = count = self._names[f"{path}/{what}"] + 1
        layer.name = layer.metadata = name = f"{path}/{what}" if count == 1 else f"{path}/{what}_{count}"
        raw = layer.get_output(0)
        raw.name = f"{name}:0"
        if like is not None and like.name in self._dynamic_shapes:
            self._dynamic_shapes[raw.name] = self._dynamic_shapes[like.name]
        self.roundings.add(len(self.layer_paths))
        self._note(traced_as)
        return raw

    def _lent(self, value: Any) -> Any:
        """Return what TensorRT is given; of arrays their memory alone."""
        return self.weights.lend(value) if isinstance(value, np.ndarray) else value

    def _raw(self, kind: str, arg: Any, inputs: list[Tensor]) -> Any:
        """Return an argument as TensorRT takes it, and append its Tensors, whose layers come first, to ``inputs``."""
        if isinstance(arg, Tensor):
            if arg.graph is not self:
                raise ArgumentError(f"{kind} in {self.where} was given a tensor of another trace")
            if arg.is_outdated:
                raise outdated(kind, self.scopes[-1].path)
            inputs.append(arg)
            return arg.raw
        if isinstance(arg, list):
            return [self._raw(kind, item, inputs) for item in arg]
        return arg.raw if isinstance(arg, PluginLayer) else arg

    @property
    def where(self) -> str:
        """The path of the module that is running, for messages."""
        return where(self.scopes[-1].path)

    def _output(
        self, kind: str, raw: Any, name: str, inputs: Sequence[Tensor], traced_as: DType | None, constant: bool
    ) -> Tensor:
        try:
            dims = raw.shape
            # A slice of Dims is a tuple; iterating over them takes 4 µs more, as their end comes as an IndexError.
            shape = dims[:] if len(dims) else ()
        except ValueError:  # TensorRT's way to say that it could not infer one
            shape = None
        if shape is None or 0 in shape:  # the latter TensorRT 8 shows where a kernel is larger than its input
            raise self.failure(f"TensorRT found no valid output for {kind}", inputs)
        raw.name = name  # its colon keeps it apart from the network's inputs and outputs
        dtype = self.backend.dtype(raw.dtype)
        if traced_as is not None and self.stored_dtype(traced_as) is dtype:
            dtype = traced_as
        return Tensor(self, Value(raw, constant=constant), shape, dtype)

    def _settled(
        self, kind: str, output: Tensor, expected: Sequence[Length] | None, inputs: Sequence[Tensor]
    ) -> Tensor:
        """Return an output in the shape that it is expected in, held against the one that TensorRT shows."""
        shape = settled_shape(kind, output.shape, expected, inputs, self.scopes[-1].path)
        if shape is None:
            raise self.failure(f"{kind} gives {expected} by its formula and {output.shape} in TensorRT", inputs)
        return output if shape is output.shape else self.wrap(output.raw, shape, output.dtype, output.value.constant)

    def wrap(self, raw: Any, shape: tuple[Length, ...], dtype: DType, constant: bool = False) -> Tensor:
        """Return an ITensor of this graph as a Tensor of a shape, which :meth:`shape_of` then gives."""
        if not is_static(shape):
            self._dynamic_shapes[raw.name] = shape
        return Tensor(self, Value(raw, constant=constant), shape, dtype)

    def shape_of(self, raw: Any) -> tuple[Length, ...]:
        """Return the shape of an ITensor of this graph, with Sizes where it is dynamic."""
        return self._dynamic_shapes.get(raw.name) or tuple(raw.shape)

    def _unique_name(self, kind: str) -> str:
        path = self.scopes[-1].path
        # What stands before a slash is the module's path, and for the model's own forward that is nothing.
        name = path if path and path not in self._names else f"{path}/{kind.removesuffix('_nd')}"
        self._names[name] = count = self._names[name] + 1
        return name if count == 1 else f"{name}_{count}"

    def failure(self, summary: str, inputs: Sequence[Tensor]) -> BuildError:
        """Return the error of what TensorRT refused in the module that is running, with TensorRT's own words."""
        return refused(summary, inputs, self.scopes[-1], self.backend.logger.take())
