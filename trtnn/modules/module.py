"""Module: declared parameters and a ``forward``; nothing of a builder."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from trtnn.build import BuildConfig
from trtnn.dtypes import float16, float32
from trtnn.engine import Engine
from trtnn.errors import ArgumentError, StateDictError, TrtnnError, nearest
from trtnn.fp16 import TOLERANCE
from trtnn.graph import Precision, current_graph
from trtnn.inputs import Input
from trtnn.network import Network, trace
from trtnn.parameter import Buffer, Parameter
from trtnn.profiles import as_inputs


class LoadResult(NamedTuple):
    """What ``load_state_dict(strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _first_of_each(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _as_array(value: Any) -> np.ndarray:
    """Return a NumPy array of a NumPy array or a torch tensor; NumPy has no bfloat16, so that becomes float32."""
    if type(value).__module__.split(".")[0] == "torch":
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return value.numpy()
    return np.asarray(value)


class Module:
    """The base of every network and every part of one, with torch.nn.Module's ways.

    A subclass calls ``super().__init__()``, assigns :class:`Parameter` and Module attributes, which register
    themselves, and defines ``forward`` over Tensors.

    Attributes:
        inputs: the inputs that ``trace`` and ``compile`` take where none are given: an :class:`Input` or a shape by the
            name of each argument of ``forward``.
        metadata: JSON values that go into the engine file, such as class names.
    """

    def __init__(self) -> None:
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_buffers", {})
        object.__setattr__(self, "_modules", {})
        self.inputs: dict[str, Input | Sequence[int]] = {}
        self.metadata: dict[str, Any] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output from Tensors; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        graph = current_graph()
        if graph is None:
            raise TrtnnError(
                f"{type(self).__name__} was called outside a trace",
                "a module describes a network and computes nothing itself",
                "to see numbers: model.trace().run(images)",
                "for an engine: model.compile()(images)",
            )
        return graph.call(self, self.forward, args, kwargs)

    # -- attributes ---------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            tables = {Buffer: self._buffers, Parameter: self._parameters, Module: self._modules}
        except AttributeError:
            raise TrtnnError(f"{type(self).__name__} sets {name!r} before super().__init__() was called") from None
        own = next((table for kind, table in tables.items() if isinstance(value, kind)), None)
        for table in tables.values():
            if table is not own:
                table.pop(name, None)
        if own is not None:
            own[name] = value  # a name that is there keeps its place, as in torch
        object.__setattr__(self, name, value)  # those of the tables as well: so Python finds them by itself

    def __getattr__(self, name: str) -> Any:
        unready = "" if "_modules" in self.__dict__ else ": its __init__ did not call super().__init__()"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{unready}")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)
        object.__delattr__(self, name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under ``name``; None keeps the name and holds nothing."""
        self._register(self._parameters, name, param, Parameter)

    def register_buffer(self, name: str, tensor: Buffer | np.ndarray | None) -> None:
        """Add a buffer under ``name``: a Buffer, an array that it starts with, or None."""
        if isinstance(tensor, np.ndarray):
            tensor = Buffer(tensor.shape, data=tensor)
        self._register(self._buffers, name, tensor, Buffer)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under ``name``."""
        self._register(self._modules, name, module, Module)

    def _register(self, table: dict[str, Any], name: str, value: Any, kind: type) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ArgumentError(f"a name is a string without dots, not {name!r}")
        if name not in table and hasattr(self, name):
            raise ArgumentError(f"{type(self).__name__} already has an attribute {name!r}")
        if value is not None and not isinstance(value, kind):
            raise ArgumentError(f"{name!r} takes a {kind.__name__}, not {type(value).__name__}")
        table[name] = value
        object.__setattr__(self, name, value)

    # -- walking ------------------------------------------------------------------------------------------------------

    def _walk(self, path: str = "") -> list[tuple[str, Module]]:
        """Return this module and everything inside it by path; a shared module under each of its paths."""
        found = [(path, self)]
        for name, child in self._modules.items():
            if child is not None:
                found += child._walk(f"{path}.{name}" if path else name)
        return found

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module as ``""`` and everything inside it by path; a shared module once, by its first path."""
        return _first_of_each(iter(self._walk()))

    def _members(self, *tables: str) -> Iterator[tuple[str, Any]]:
        """Yield what modules hold in their tables by path, module by module as torch does; shared ones repeatedly."""
        for path, module in self._walk():
            for table in tables:
                for name, member in module.__dict__[table].items():
                    if member is not None:
                        yield f"{path}.{name}" if path else name, member

    def modules(self) -> Iterator[Module]:
        """Yield this module and everything inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct submodules by name."""
        return ((name, child) for name, child in self._modules.items() if child is not None)

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules."""
        return (child for _, child in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter by path, a shared one once."""
        return _first_of_each(self._members("_parameters"))

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter, a shared one once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield every buffer by path, a shared one once."""
        return _first_of_each(self._members("_buffers"))

    def buffers(self) -> Iterator[Buffer]:
        """Yield every buffer."""
        return (buffer for _, buffer in self.named_buffers())

    def get_submodule(self, target: str) -> Module:
        """Return the module at a path such as ``"model.4.cv1"``.

        Raises:
            ArgumentError: there is none, with the names that come nearest.
        """
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                paths = [path for path, _ in self.named_modules()]
                raise ArgumentError(
                    f"{type(self).__name__} has no module {target!r}",
                    f"{type(module).__name__} holds: {', '.join(module._modules) or 'none'}",
                    *nearest(target, paths, most=3),
                )
            module = child
        return module

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call ``fn`` on every module, children first, and return this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- state --------------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Parameter]:
        return dict(self._members("_parameters", "_buffers"))

    def state_dict(self) -> OrderedDict[str, np.ndarray]:
        """Return every parameter and buffer that holds an array, by path; the arrays themselves, not copies."""
        return OrderedDict((name, member.data) for name, member in self._state().items() if member.data is not None)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Take arrays from a state dict: all of them, or on any error none.

        Arrays are kept as they are, in their own element type, and not copied. ``num_batches_tracked`` is ignored. A
        flat array of the right length fills a parameter of any shape: some formats carry no shapes.

        Args:
            state_dict: NumPy arrays or torch tensors by path.
            strict: whether every name has to be met on both sides.

        Returns:
            The names that were missing and unexpected, both empty where strict.

        Raises:
            StateDictError: names are missing, unexpected or wrongly shaped; all are listed.
        """
        own = self._state()
        given = {name: array for name, array in state_dict.items() if not name.endswith("num_batches_tracked")}
        missing = [name for name, member in own.items() if name not in given and not member.optional]
        unexpected = [name for name in given if name not in own]
        arrays, mismatched = {}, []
        for name in own.keys() & given.keys():
            array, shape = _as_array(given[name]), own[name].shape
            if array.shape == shape:
                arrays[name] = array
            elif array.ndim == 1 and array.size == own[name].numel():
                arrays[name] = array.reshape(shape)
            else:
                mismatched.append((name, shape, array.shape))
        if mismatched or (strict and (missing or unexpected)):
            raise self._state_dict_error(given, missing, unexpected, sorted(mismatched))
        for name, array in arrays.items():
            own[name].data = array
        return LoadResult(missing, unexpected)

    def _state_dict_error(self, given: Mapping[str, Any], missing: list, unexpected: list, mismatched: list) -> Any:
        details = [f"missing: {name} {self._state()[name].shape}" for name in missing]
        details += [f"unexpected: {name} {tuple(np.shape(given[name]))}" for name in unexpected]
        details += [f"wrong shape: {name}: expected {want}, received {got}" for name, want, got in mismatched]
        hint = self.explain_state_dict(given)
        return StateDictError(
            f"the state dict does not fit {type(self).__name__}: {len(missing)} missing, "
            f"{len(unexpected)} unexpected, {len(mismatched)} of the wrong shape; nothing was loaded",
            *([hint] if hint else []),
            *details,
        )

    def explain_state_dict(self, state_dict: Mapping[str, Any]) -> str | None:
        """Say in a line what a state dict that does not fit looks like; a model that can tell overrides this."""
        return None

    # -- networks and engines -----------------------------------------------------------------------------------------

    def trace(
        self,
        inputs: Mapping[str, Input | Sequence[Any]] | None = None,
        *,
        fp16: bool = False,
        fp32_modules: Sequence[str] | Literal["auto"] = (),
        samples: Iterable[Any] | None = None,
        tolerance: float = TOLERANCE,
        outputs: Sequence[str] = (),
    ) -> Network:
        """Run ``forward`` once with symbolic Tensors and return the network that it wrote.

        >>> engine = model.trace(outputs=["model.9", "model.24.m.*"]).build()
        >>> detections, inner = engine(images)
        >>> inner["model.9"]

        Args:
            inputs: an Input or a shape by name, in place of those that the module declares. What a shape holds as a
                :class:`trtnn.Dim` is known only when the network runs; a list of Inputs, with the same names of
                dimensions and other ranges, makes as many optimisation profiles.
            fp16: compute in half precision; inputs and outputs stay as declared, floating outputs are fp32.
            fp32_modules: paths of modules, or patterns such as ``"model.24.*"``, that stay in fp32 with all they hold;
                or ``"auto"``: just enough of them, see :meth:`trtnn.Fp16Report.suggested_fp32_modules`.
            samples: for ``"auto"``: inputs like those the network will see, as ``Network.fp16_report`` takes them.
            tolerance: for ``"auto"``: the largest rms(difference from fp32) / rms(output) of any output.
            outputs: paths of modules within this one, or patterns of them, whose outputs the network gives as well. It
                and its engine then return a tuple: what ``forward`` returned, and a dict of what each of these modules
                returned, by its path; of a module that is called several times, its last call. An output is a tensor
                that TensorRT has to write to memory, so it cannot fuse the layers on its two sides.

        Raises:
            ArgumentError: parameters are empty, inputs are missing or unknown, ``"auto"`` has no samples, or samples
                no ``"auto"``, or a module of ``outputs`` was not called.
            BuildError: TensorRT refused a layer.
        """
        members = self._members("_parameters", "_buffers")
        empty = [name for name, member in members if member.data is None and not member.optional]
        if empty:
            shown = [f"{name} {self._state()[name].shape}" for name in empty[:10]]
            more = [f"... and {len(empty) - 10} more"] if len(empty) > 10 else []
            raise ArgumentError(
                f"{len(empty)} parameters of {type(self).__name__} are empty",
                'load them first: model.load_state_dict(trtnn.load("weights.pt"))',
                *shown,
                *more,
            )
        automatic = isinstance(fp32_modules, str) and fp32_modules == "auto"
        if automatic and not fp16:
            raise ArgumentError('fp32_modules="auto" says what stays in fp32 beside fp16', "pass fp16=True as well")
        if automatic != (samples is not None):
            raise ArgumentError(
                'fp32_modules="auto" and samples go together',
                'samples=[images, ...], inputs like those the network will see, are what "auto" chooses by',
            )
        paths = {id(module): path for path, module in self.named_modules()}
        metadata = {"model": type(self).__name__, **self.metadata}
        write = partial(trace, self, self._resolve_inputs(inputs), paths=paths, metadata=metadata, outputs=outputs)
        if automatic:
            fp32_modules = write().fp16_report(samples).suggested_fp32_modules(tolerance)
        return write(Precision(float16 if fp16 else float32, fp32_modules))

    def compile(
        self,
        inputs: Mapping[str, Input | Sequence[Any]] | None = None,
        *,
        fp16: bool = False,
        fp32_modules: Sequence[str] | Literal["auto"] = (),
        samples: Iterable[Any] | None = None,
        tolerance: float = TOLERANCE,
        outputs: Sequence[str] = (),
        **options: Any,
    ) -> Engine:
        """Trace and build in one call; ``options`` are those of :class:`trtnn.BuildConfig`, such as ``targets``."""
        config = BuildConfig.from_options(options)
        network = self.trace(
            inputs, fp16=fp16, fp32_modules=fp32_modules, samples=samples, tolerance=tolerance, outputs=outputs
        )
        return network.build(config)

    def _resolve_inputs(self, inputs: Mapping[str, Any] | None) -> dict[str, tuple[Input, ...]]:
        parameters = inspect.signature(self.forward).parameters.values()
        variadic = any(p.kind is p.VAR_KEYWORD for p in parameters)
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        required = [p.name for p in parameters if p.name in names and p.default is p.empty]
        example = ", ".join(f'"{name}": (1, 3, 640, 640)' for name in required or names or ["x"])
        if not isinstance(inputs, Mapping | None):
            received = inputs if isinstance(inputs, (tuple, Input)) else f"a {type(inputs).__name__}"
            raise ArgumentError(f"inputs are shapes by name, such as inputs={{{example}}}, not {received}")
        merged = {**self.inputs, **(inputs or {})}
        unknown = [name for name in merged if name not in names and not variadic]
        missing = [name for name in required if name not in merged]
        if unknown or missing or not merged:
            raise ArgumentError(
                f"the inputs of {type(self).__name__} are "
                + (f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing) or 'all'}"),
                f"its forward takes: {', '.join(names) or 'no names of its own'}",
                f"pass inputs={{{example}}}, or declare self.inputs in __init__",
            )
        order = [name for name in names if name in merged] + [name for name in merged if name not in names]
        return {name: as_inputs(merged[name]) for name in order}

    # -- looks --------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the arguments to show in ``repr``."""
        return ""

    def _shown(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each submodule, for ``repr``."""
        return ((name, repr(child)) for name, child in self._modules.items())

    def __repr__(self) -> str:
        lines = [f"({name}): " + text.replace("\n", "\n  ") for name, text in self._shown()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([extra, *lines] if extra else lines)
        return f"{type(self).__name__}(\n  {body}\n)"
