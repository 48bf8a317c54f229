"""Module: declared parameters and a ``forward``; nothing of a builder."""

from __future__ import annotations

import re
import reprlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np

from trtnn.arrays import is_torch
from trtnn.dtypes import DType, as_dtype, float16, float32
from trtnn.errors import ArgumentError, DTypeError, TrtnnError, UnsupportedError, check_switches, nearest
from trtnn.graph.edges import call_module
from trtnn.graph.failures import of_the_user
from trtnn.graph.graph import current_graph
from trtnn.graph.precision import TOLERANCE, Precision, beside
from trtnn.graph.quantization import BUFFERS, declared_by, shown_scales
from trtnn.modules.missing import METHODS
from trtnn.modules.state import match, misfit, note_new_weights, under_own_names
from trtnn.network import Network, trace
from trtnn.ops._annotations import checking
from trtnn.parameter import Buffer, Parameter
from trtnn.shapes.spec import Input

if TYPE_CHECKING:
    from trtnn.engine.engine import Engine

Self = TypeVar("Self", bound="Module")
# What is asked of the module that is traced alone, and torch's has not: members within may have such names.
OF_THE_TRACED = frozenset(("explain_state_dict", "inputs", "metadata", "trace"))
_DEVICE = re.compile(r"(cpu|cuda|hpu|ipu|maia|meta|mps|mtia|privateuseone|vulkan|xla|xpu)(:\d+)?")  # as torch writes it


class LoadResult(NamedTuple):
    """What ``load_state_dict(strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _says_a_type(value: Any) -> bool:
    """Whether an argument of ``to`` is an element type, whoever's, or a text that torch reads as no device."""
    if isinstance(value, str):
        return _DEVICE.fullmatch(value) is None
    is_torchs = str(value).startswith("torch.") and hasattr(value, "is_floating_point")
    return is_torchs or isinstance(value, (DType, np.dtype, type))


def _first_of_each(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


class Module:
    """The base of every network and every part of one, with torch.nn.Module's ways.

    A subclass calls ``super().__init__()``, assigns :class:`Parameter` and Module attributes, which register
    themselves, and defines ``forward`` over Tensors.

    Attributes:
        inputs: the inputs that ``trace`` and ``compile`` take where none are given: an :class:`Input` or a shape by the
            name of each argument of ``forward``.
        metadata: JSON values that go into the engine file, such as class names, by names that it does not use itself
            (:data:`trtnn.engine.metadata.RESERVED`); a trace looks at them.
        training: False: a network is what torch's module is after ``eval()``.
    """

    training = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] == "trtnn":  # a user's own take what they like
            for name, member in [*vars(cls).items()]:
                if name in ("__init__", "forward"):
                    setattr(cls, name, checking(member))
                elif isinstance(member, classmethod):
                    setattr(cls, name, classmethod(checking(member.__func__)))

    def __init__(self) -> None:
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_buffers", {})
        object.__setattr__(self, "_transient", set())  # the names of buffers that no state dict has
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
        return call_module(graph, self, self.forward, args, kwargs)

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
        if own is not self._buffers:
            self._transient.discard(name)
        if own is not None:
            own[name] = value  # a name that is there keeps its place, as in torch
        object.__setattr__(self, name, value)  # those of the tables as well: so Python finds them by itself

    def __getattr__(self, name: str) -> Any:
        unready = "" if "_modules" in self.__dict__ else ": its __init__ did not call super().__init__()"
        why = f": {'; '.join(METHODS[name])}" if name in METHODS else unready
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{why}")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)
        self._transient.discard(name)
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if not name[0].isdigit()]  # those are no Python, as in torch

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under ``name``; None keeps the name and holds nothing."""
        self._register(self._parameters, name, param, Parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a buffer under ``name``.

        Args:
            name: what it is called.
            tensor: a Buffer, an array or a torch tensor that it starts with, or None.
            persistent: whether it is in the state dict.
        """
        check_switches(persistent=persistent)
        if isinstance(tensor, np.ndarray) or is_torch(tensor):
            tensor = Buffer(tuple(tensor.shape), data=tensor)
        self._register(self._buffers, name, tensor, Buffer)
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under ``name``."""
        self._register(self._modules, name, module, Module)

    register_module = add_module

    def _register(self, table: dict[str, Any], name: str, value: Any, kind: type) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ArgumentError(f"a name is a string without dots, not {name!r}")
        others = (*self._parameters, *self._buffers, *self._modules)
        if name not in table and hasattr(self, name) and (name not in OF_THE_TRACED or name in others):
            raise ArgumentError(f"{type(self).__name__} already has an attribute {name!r}")
        if value is not None and not isinstance(value, kind):
            raise ArgumentError(f"{name!r} takes a {kind.__name__}, not {type(value).__name__}")
        table[name] = value
        object.__setattr__(self, name, value)

    # -- walking ------------------------------------------------------------------------------------------------------

    def _walk(self, prefix: str = "", once: bool = False) -> list[tuple[str, Module]]:
        """Return this module and everything inside it by path; a shared module under each of its paths, or once.

        It is no recursion, so that modules may be nested to any depth.

        Raises:
            ArgumentError: a module holds itself, and its paths have no end; where shared ones come once they have.
        """
        walked: list[tuple[str, Module]] = []
        holders: list[int] = []  # of the module at hand, and itself
        seen: set[int] = set()
        pending = [(0, prefix, self)]
        while pending:
            depth, path, module = pending.pop()
            if once:
                if id(module) in seen:
                    continue
                seen.add(id(module))
            walked.append((path, module))
            if not module._modules:
                continue
            del holders[depth:]
            if not once and id(module) in holders:
                raise ArgumentError(
                    f"{type(module).__name__} holds itself, as {path}, so its parameters have names without end",
                    "a reference that is no submodule: self.parents = [parent]",
                )
            holders.append(id(module))
            start, inner = f"{path}." if path else "", reversed(module._modules.items())
            pending += [(depth + 1, start + name, child) for name, child in inner if child is not None]
        return walked

    @checking
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module as ``""`` and everything inside it by path; a shared module once, by its first path.

        Args:
            memo: modules to leave out; those that are yielded are added.
            prefix: the path of this module.
            remove_duplicate: whether a shared module comes once.
        """
        memo = set() if memo is None else memo
        for path, module in self._walk(prefix, once=remove_duplicate):
            if not remove_duplicate or module not in memo:
                memo.add(module)
                yield path, module

    def _members(
        self, *tables: str, prefix: str = "", recurse: bool = True, once: bool = False
    ) -> Iterator[tuple[str, Any]]:
        """Yield what modules hold in their tables by path, module by module as torch does; shared ones repeatedly."""
        for path, module in self._walk(prefix, once) if recurse else [(prefix, self)]:
            start = f"{path}." if path else ""
            for table in tables:
                for name, member in module.__dict__[table].items():
                    if member is not None:
                        yield start + name, member

    @checking
    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Yield this module and everything inside it, each once where ``remove_duplicate``."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct submodules by name, a shared one once."""
        return _first_of_each((name, child) for name, child in self._modules.items() if child is not None)

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules."""
        return (child for _, child in self.named_children())

    @checking
    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter by path, a shared one once.

        Args:
            prefix: the path of this module.
            recurse: whether those of the modules inside are wanted.
            remove_duplicate: whether a shared one comes once.
        """
        named = self._members("_parameters", prefix=prefix, recurse=recurse, once=remove_duplicate)
        return _first_of_each(named) if remove_duplicate else named

    @checking
    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield every parameter, a shared one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    @checking
    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """Yield every buffer by path, a shared one once; the arguments are those of :meth:`named_parameters`."""
        named = self._members("_buffers", prefix=prefix, recurse=recurse, once=remove_duplicate)
        return _first_of_each(named) if remove_duplicate else named

    @checking
    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Yield every buffer."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

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

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a path such as ``"model.4.cv1.weight"``.

        Raises:
            ArgumentError: there is none, with the names that come nearest.
        """
        return self._get_member("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Buffer:
        """Return the buffer at a path, as :meth:`get_parameter` does."""
        return self._get_member("_buffers", "buffer", target)

    def _get_member(self, table: str, what: str, target: str) -> Any:
        members = dict(self._members(table))
        if target not in members:
            near = nearest(target, members, most=3)
            raise ArgumentError(f"{type(self).__name__} has no {what} {target!r}", *near)
        return members[target]

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every module, children first, and return this one."""
        self._walk()  # it raises where there is no end
        pending: list[tuple[Module, bool]] = [(self, False)]
        while pending:
            module, after_its_children = pending.pop()
            if after_its_children:
                fn(module)
            else:
                pending += [(module, True), *((child, False) for child in [*module.children()][::-1])]
        return self

    # -- what torch's modules do and these need not ----------------------------------------------------------------

    def eval(self: Self) -> Self:
        """Return this module, which is in evaluation at all times."""
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Return this module where ``mode`` is False.

        Raises:
            UnsupportedError: ``mode`` is True.
        """
        check_switches(mode=mode)
        if mode:
            raise UnsupportedError("an engine does not train", "train with torch, and load the state dict")
        return self

    @checking
    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Return this module; there are no gradients."""
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Return this module: an engine runs on the GPU, and its memory format is TensorRT's choice.

        Raises:
            DTypeError: a type is given, and it is not float32.
        """
        for value in (*args, *kwargs.values()):
            dtype = value.dtype if is_torch(value) else value
            if _says_a_type(dtype):
                self._check_is_float32(dtype)
        return self

    def _check_is_float32(self, dtype: Any) -> None:
        try:
            is_float32 = as_dtype(dtype) is float32
        except DTypeError:
            is_float32 = False
        if not is_float32:
            wanted = getattr(dtype, "__name__", None) or str(dtype).rpartition(".")[2]
            raise DTypeError(
                f"{type(self).__name__} cannot be made {wanted}: a trace says what is computed in",
                "half precision: model.trace(fp16=True) or model.compile(fp16=True)",
            )

    def type(self: Self, dst_type: Any) -> Self:
        """Return this module where the type is float32, see :meth:`to`."""
        self._check_is_float32(dst_type)
        return self

    def float(self: Self) -> Self:
        """Return this module, which is computed in fp32 unless a trace says otherwise."""
        return self

    def half(self: Self) -> Self:
        """Raise a DTypeError: see :meth:`to`."""
        return self.type("float16")

    def bfloat16(self: Self) -> Self:
        """Raise a DTypeError: see :meth:`to`."""
        return self.type("bfloat16")

    def double(self: Self) -> Self:
        """Raise a DTypeError: see :meth:`to`."""
        return self.type("float64")

    def cuda(self: Self, device: Any = None) -> Self:
        """Return this module, see :meth:`to`."""
        return self

    def cpu(self: Self) -> Self:
        """Return this module, see :meth:`to`."""
        return self

    # -- state --------------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Parameter]:
        """Return what a state dict holds, by path: a shared parameter under each of its names."""
        state = {}
        for path, module in self._walk():
            start = f"{path}." if path else ""
            for table in (module._parameters, module._buffers):
                for name, member in table.items():
                    if member is not None and name not in module._transient:
                        state[start + name] = member
        return state

    @checking
    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return every parameter and buffer that holds an array, by path; the arrays themselves, not copies.

        Args:
            destination: a dict to add them to and return, in place of an OrderedDict.
            prefix: what their names begin with.
            keep_vars: whether the Parameters are wanted in place of their arrays.
        """
        destination = OrderedDict() if destination is None else destination
        for name, member in self._state().items():
            if member.data is not None:
                destination[prefix + name] = member if keep_vars else member.data
        return destination

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> LoadResult:
        """Take arrays from a state dict: all of them, or on any error none.

        Arrays are kept as they are, in their own element type, and not copied; whole numbers and truths for what was
        declared floating become float32, and others what was declared, where that loses nothing. Of the names of a
        shared parameter one is enough; arrays under several have to be the same. ``num_batches_tracked`` is ignored. A
        flat array of the right length fills a parameter of any shape: some formats carry no shapes.

        Args:
            state_dict: NumPy arrays, torch tensors or numbers by path.
            strict: whether every name has to be met on both sides.
            assign: of torch, which copies where it is False; here arrays are assigned in any case.

        Returns:
            The names that were missing and unexpected, both empty where strict.

        Raises:
            ArgumentError: it is no mapping of names.
            StateDictError: names are missing or unexpected, or entries are wrongly shaped, no numbers or contradict
                each other; with the first of each and their number. Or it is a checkpoint that holds a state dict.
        """
        check_switches(strict=strict, assign=assign)
        return self._load(self._state(), state_dict, strict)

    def _load(self, own: Mapping[str, Parameter], state_dict: Mapping[str, Any], strict: bool) -> LoadResult:
        """Do what :meth:`load_state_dict` says; ``own`` is what :meth:`_state` gives."""
        state_dict = under_own_names(own, state_dict)
        scales = self._undeclared_scales(own, state_dict)
        own = {**own, **{name: buffer for name, (_, buffer) in scales.items()}}
        matched = match(own, state_dict)
        unmet = strict and (matched.missing or matched.unexpected)
        if matched.mismatched or matched.refused or unmet:
            raise misfit(self, own, state_dict, matched)
        note_new_weights(own, matched.arrays, state_dict)
        for member, array in matched.arrays:
            member.data = array
        for name, (module, buffer) in scales.items():
            setattr(module, name.rpartition(".")[2], buffer)
        return LoadResult(matched.missing, matched.unexpected)

    def _undeclared_scales(self, own: Mapping[str, Parameter], state_dict: Any) -> dict[str, tuple[Module, Buffer]]:
        """Return by name the scales of a state dict that modules have not yet, each with its module.

        A state dict that has scales says so that the model is quantised, see :mod:`trtnn.graph.quantization`.
        """
        names = [name for name in state_dict if name not in own and name.rpartition(".")[2] in BUFFERS]
        if not names:
            return {}
        modules = dict(self._walk())
        owners = ((name, modules.get(name.rpartition(".")[0])) for name in names)
        return {name: (owner, Buffer(*np.shape(state_dict[name]))) for name, owner in owners if owner is not None}

    def explain_state_dict(self, state_dict: Mapping[str, Any]) -> str | None:
        """Say in a line what a state dict that does not fit looks like; a model that can tell overrides this."""
        return None

    def _network_metadata(self) -> Mapping[str, Any]:
        """Return the metadata of a network that is traced now; a model whose weights tell some of it overrides this."""
        return self.metadata

    # -- networks and engines -----------------------------------------------------------------------------------------

    def trace(
        self,
        inputs: Mapping[str, Input | Sequence[Any]] | None = None,
        *,
        fp16: bool = False,
        fp32_modules: Sequence[str] | Literal["auto"] = (),
        fp16_attention: bool = False,
        samples: Iterable[Any] | None = None,
        tolerance: float | None = None,
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
            fp16_attention: keep the scores of attention in fp16 too, see
                :func:`trtnn.functional.scaled_dot_product_attention`. It is faster where TensorRT makes one kernel of
                attention, and less exact: the largest error of attention alone, in parts of its largest result, is
                1.2e-3 where scores reach 1, 2.4e-3 to 3e-3 at 16, 2.5e-2 at 256 and 0.3 at 4096 (TensorRT 8.6.0, H200);
                scores beyond 65504 give infinity and NaN.
            samples: for ``"auto"``: inputs like those the network will see, as ``Network.fp16_report`` takes them.
            tolerance: for ``"auto"``: the largest rms(difference from fp32) / rms(output) of any output, 1e-2 if None.
            outputs: paths of modules within this one, or patterns of them, whose outputs the network gives as well. It
                and its engine then return a tuple: what ``forward`` returned, and a dict of what each of these modules
                returned, by its path; of a module that is called several times, its last call. An output is a tensor
                that TensorRT has to write to memory, so it cannot fuse the layers on its two sides.

        Raises:
            ArgumentError: parameters are empty, inputs are missing or unknown, ``"auto"`` has no samples, or samples
                no ``"auto"``, a module of ``outputs`` or ``fp32_modules`` was not called, or the metadata are none that
                an engine file can hold.
            BuildError: TensorRT refused a layer.
        """
        from trtnn.modules.tracing import check_is_filled, resolve_inputs, warn_of_cut_off_weights

        walked = self._walk()
        check_is_filled(self, walked)
        check_switches(fp16=fp16, fp16_attention=fp16_attention)
        automatic = isinstance(fp32_modules, str) and fp32_modules == "auto"
        if automatic and not fp16:
            raise ArgumentError('fp32_modules="auto" says what stays in fp32 beside fp16', "pass fp16=True as well")
        if automatic != (samples is not None):
            raise ArgumentError(
                'fp32_modules="auto" and samples go together',
                'samples=[images, ...], inputs like those the network will see, are what "auto" chooses by',
            )
        if tolerance is not None and not automatic:
            raise ArgumentError(
                "a tolerance is of modules that are chosen by it", 'fp32_modules="auto" with samples chooses them'
            )
        paths = {id(module): path for path, module in reversed(walked)}  # of a shared one the first
        if not isinstance(self.metadata, Mapping):
            raise ArgumentError(f"metadata is a dict of JSON values, not {self.metadata!r:.100}")
        metadata = {"model": type(self).__name__, **self._network_metadata()}
        declared = {path: one for path, m in walked if (one := declared_by(path, m._buffers)) and paths[id(m)] == path}
        write = partial(
            trace, self, resolve_inputs(self, inputs),
            paths=paths, metadata=metadata, outputs=outputs, declared=declared,
        )  # fmt: skip
        try:
            if automatic and samples is not None:  # which go together
                plain = write(declared={})
                report = plain.fp16_report(samples, fp16_attention=fp16_attention)
                suggested = report.suggested_fp32_modules(TOLERANCE if tolerance is None else tolerance)
                folded = [norm for path, norm in plain.graph.folded if path in declared]
                called = plain.graph.module_outputs.called
                fp32_modules = suggested if not declared else beside({*declared, *folded}, suggested, called)
            network = write(Precision(float16 if fp16 else float32, fp32_modules, fp16_attention))
            network.graph.module_outputs.check_called(network.graph.precision.fp32_modules, "fp32_modules")
            if network.graph.placement is not None:
                warn_of_cut_off_weights(dict(walked), network.graph.placement.largest)
            return network
        except RecursionError:
            raise TrtnnError(
                f"the calls within {type(self).__name__} are nested deeper than Python's {sys.getrecursionlimit()}",
                "a forward calls itself without end, or modules are nested very deep",
                "of the latter each takes three calls: sys.setrecursionlimit(...)",
            ) from None
        except Exception as error:
            raise of_the_user(error)  # noqa: B904  it is the same

    def compile(
        self,
        inputs: Mapping[str, Input | Sequence[Any]] | None = None,
        *,
        fp16: bool = False,
        fp32_modules: Sequence[str] | Literal["auto"] = (),
        fp16_attention: bool = False,
        samples: Iterable[Any] | None = None,
        tolerance: float | None = None,
        outputs: Sequence[str] = (),
        **options: Any,
    ) -> Engine:
        """Trace and build in one call; ``options`` are those of :class:`trtnn.BuildConfig`, such as ``targets``."""
        from trtnn.build.config import BuildConfig

        config = BuildConfig.from_options(options)
        written: dict[str, Any] = {"inputs": inputs, "fp16": fp16, "fp16_attention": fp16_attention, "outputs": outputs}
        network = self.trace(fp32_modules=fp32_modules, samples=samples, tolerance=tolerance, **written)
        network.graph.free_arrays_with_it()
        from trtnn.modules.refitting import Retracer

        engine, kept = network.build(config), network.graph.precision.fp32_modules
        try:
            engine.retracer = Retracer(self, keeps=bool(config.refittable), fp32_modules=kept, **written)
        except Exception:  # a module of the user's may hold what cannot be copied
            if config.refittable:
                raise
        return engine

    # -- looks --------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the arguments to show in ``repr``."""
        return ""

    def _shown(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each submodule, for ``repr``."""
        return ((name, repr(child)) for name, child in self._modules.items())

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        try:
            shown = list(self._shown())
        except RecursionError:  # deeper than anyone reads
            shown = [(name, "...") for name in self._modules]
        lines = [f"({name}): " + text.replace("\n", "\n  ") for name, text in shown]
        extra = self.extra_repr()
        if "quant_max" in self._buffers:
            extra = ", ".join(filter(None, (extra, shown_scales(self._buffers))))
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([extra, *lines] if extra else lines)
        return f"{type(self).__name__}(\n  {body}\n)"
