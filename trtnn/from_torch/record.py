"""What one call of a torch module does: a tree of module calls, each with the operations that its forward ran.

A ``TorchFunctionMode`` sees every operation under torch's own name, and ``nn.Module.__call__`` opens a scope for every
module. What neither sees, such as the inside of a script function, a ``TorchDispatchMode`` does: an operation on a
tensor that depends on the input, with no call of ours around it, is refused.
"""

from __future__ import annotations

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from trtnn.errors import UnsupportedError, where
from trtnn.from_torch.frames import Place, caller, place_of, read_names, stored_names, user_frame
from trtnn.from_torch.lengths import Origin, Real, Whole, plain, with_origin
from trtnn.from_torch.quantised import is_observing, measures

_functorch: Any = torch._C._functorch  # type: ignore[attr-defined]  # of vmap, grad and their like
# What gives Python a tensor's numbers, or a shape that depends on them.
_LEAVES_THE_GRAPH = frozenset((
    "item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "__complex__",
    "__contains__", "is_nonzero", "equal", "allclose", "data_ptr", "__dlpack__", "untyped_storage", "storage",
    "nonzero", "argwhere", "nonzero_static", "unique", "unique_consecutive", "masked_select", "bincount",
))  # fmt: skip
# What a tensor is asked for that says nothing of its numbers.
_SAYS_NOTHING = frozenset((
    "dim", "ndimension", "is_contiguous", "is_floating_point", "is_complex", "element_size", "stride", "storage_offset",
    "is_same_size", "get_device", "has_names", "is_signed", "is_inference", "is_conj", "is_neg", "is_pinned",
    "__format__", "__repr__", "__str__", "__hash__", "__len__", "requires_grad_", "result_type", "can_cast",
    "promote_types", "is_tensor", "is_storage", "finfo", "iinfo", "is_grad_enabled", "is_autocast_enabled",
    "broadcast_shapes", "__deepcopy__", "type", "_is_view",
))  # fmt: skip
# What takes the shape of a tensor, and none of its numbers.
_OF_ITS_SHAPE = frozenset((
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor",
))  # fmt: skip
_ITSELF = frozenset(("contiguous", "detach", "cpu", "cuda", "to", "requires_grad_"))


_TRANSFORMED = "it calls a function with tensors of its own, which no source can name: write what it computes"
_KNOWN_LATER = "what comes of it depends on numbers that are known only when the network runs"


class Value:
    """A tensor of the recorded call. In-place operations change it, and it stays the same one.

    Attributes:
        tensor: torch's.
        depends: whether its numbers depend on the model's inputs.
        step: what made it, or None where it was there before.
        last_write: the number of the last step that wrote to it.
    """

    __slots__ = ("depends", "last_write", "step", "tensor")

    def __init__(self, tensor: torch.Tensor, depends: bool = False, step: Step | None = None) -> None:
        self.tensor, self.depends, self.step, self.last_write = tensor, depends, step, -1


class Listed(tuple):
    """The items that a list held when it was passed, with the list itself."""

    source: list[Any]


class Fields(dict):
    """The fields of a dataclass, or the items of an own kind of dict, by name."""


class Step:
    """One operation, or one call of a module, as it was recorded.

    Attributes:
        number: its place among all.
        kind: ``"function"``, ``"module"`` for one that is not looked into, or ``"scope"``.
        function: what was called.
        name: its last name, such as ``relu``; ``get:T`` of an attribute.
        owner: what it is a function of, such as ``torch.Tensor``.
        args, kwargs, result: what was passed and returned, with Values for tensors.
        writes: the Value that it changed in place, or None.
        scope: of a module call what happened within.
        stored: the variables that the result went to.
        names: by which names the caller knew values then, by the id of a Value or number.
        reads, attributes, literals: the variables, attributes of ``self`` and numbers that the line reads.
        own: whether the line is of the user's, and not of torch's.
        place: the user's line.
        path: the module whose forward it is in.
    """

    __slots__ = (
        "args", "attributes", "function", "kind", "kwargs", "literals", "name", "names", "number", "own", "owner",
        "path", "place", "reads", "result", "scope", "stored", "writes",
    )  # fmt: skip


class Scope:
    """A module's forward: what it was called with, what it did, and what it returned."""

    def __init__(self, module: nn.Module, path: str, arguments: Mapping[str, Any]) -> None:
        self.module, self.path, self.arguments = module, path, arguments
        self.steps: list[Step] = []
        self.result: Any = None
        self.place: Place | None = None


class Refusal:
    """Why a call cannot be converted: what, where and how to go on."""

    def __init__(self, what: str, path: str, place: Place, why: str) -> None:
        self.what, self.path, self.place, self.why = what, path, place, why


def refused(recorder: Recorder, refusals: list[Refusal], summary: str) -> UnsupportedError:
    """Return the error that tells all refusals: each once, with how often, in which modules, and at which line.

    At the end are the largest parts of the model that hold none of them.
    """
    grouped: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        grouped[refusal.what, refusal.why].append(refusal)
    lines = []
    for (what, why), those in grouped.items():
        paths = list(dict.fromkeys(where(refusal.path) for refusal in those))
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        times = "once" if len(those) == 1 else f"{len(those)} times"
        lines.append(f"{what}: {times}, in {', '.join(paths[:3])}{more}: {why}")
        lines += [f"  {place}" for place in list(dict.fromkeys(str(refusal.place) for refusal in those))[:3]]
    parts = list(recorder.parts_without({refusal.path for refusal in refusals}))
    if parts:
        more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
        lines.append(f"parts without it: {', '.join(parts[:5])}{more}: from_torch(model.{parts[0]}, ...)")
    return UnsupportedError(f"{type(recorder.model).__name__} {summary}", *lines)


class _Watch(TorchDispatchMode):
    """Sees what the recorder does not: operations on tensors of the graph that no recorded call has around it."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        recorder, kwargs = self.recorder, kwargs or {}
        if recorder.depth == 0 and any(recorder.depends(t) for t in tensors_in((args, kwargs))):
            recorder.refuse(str(func), "it runs where it cannot be recorded, such as in a script function")
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        before = _states_of_randomness()
        result = func(*args, **kwargs)
        if not all(map(torch.equal, before, _states_of_randomness())):
            recorder.refuse(str(func), "an engine draws no random numbers: give them as an input")
        return result


def _states_of_randomness() -> list[torch.Tensor]:
    """Return the states of torch's generators, on the CPU and on GPUs that are in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists, dicts and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name, None))


def parts_in(value: Any) -> Iterator[Any]:
    """Yield what was recorded, and all that it holds."""
    yield value
    inside = value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else ()
    for item in (value.start, value.stop, value.step) if isinstance(value, slice) else inside:
        yield from parts_in(item)


def values_in(value: Any) -> Iterator[Value]:
    """Yield the Values in what was recorded."""
    return (part for part in parts_in(value) if isinstance(part, Value))


class Recorder(TorchFunctionMode):
    """Records one call of a module.

    Args:
        model: the module.
        is_leaf: whether a module is one operation, and its forward is not looked into.

    Attributes:
        root: the scope of the model itself, once it was called.
        refusals: what cannot be converted.
        guards: the comparisons of lengths that decided something: sign, operands, outcome, path and line.
        escapes: the numbers that Python took without a trace, each with path and line.
        paths: of each module its paths, the first first.
        held: of each parameter and buffer its names.
    """

    def __init__(self, model: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.model, self.is_leaf = model, is_leaf
        self.paths: dict[int, list[str]] = defaultdict(list)
        for path, module in model.named_modules(remove_duplicate=False):
            self.paths[id(module)].append(path)
        self.held: dict[int, list[str]] = defaultdict(list)
        for named in (model.named_parameters, model.named_buffers):
            for name, tensor in named(remove_duplicate=False):
                self.held[id(tensor)].append(name)
        self._storages = {storage_of(t) for named in (model.parameters, model.buffers) for t in named()}
        self.values: dict[int, Value] = {}
        self.numbers: list[Any] = []  # kept, so that no other takes their id
        self.scopes: dict[int, list[Scope]] = defaultdict(list)
        self.refusals: list[Refusal] = []
        self.guards: list[tuple[str, Any, Any, bool, Scope, Place, int]] = []
        self.escapes: list[tuple[Any, str, Place]] = []
        self.leaf_calls: Counter[int] = Counter()
        self.depth = 0
        self._stack: list[Scope] = []
        self._count = 0
        self.root: Scope | None = None
        self.failed = ""  # the path of the module in whose forward torch raised an error

    # -- what is asked of it ------------------------------------------------------------------------------------------

    def depends(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor's numbers depend on the inputs."""
        value = self.values.get(id(tensor))
        return value is not None and value.depends

    def has_read(self, tensor: torch.Tensor) -> bool:
        """Whether an operation took a tensor."""
        return id(tensor) in self.values

    def refuse(self, what: str, why: str, path: str | None = None) -> None:
        """Note what cannot be converted, in the module at hand or at a path; the call runs on, so that all are told."""
        path = (self._stack[-1].path if self._stack else "") if path is None else path
        self.refusals.append(Refusal(what, path, place_of(user_frame(2)), why))

    def compared(self, sign: str, a: Any, b: Any, outcome: bool) -> None:
        """Note that a comparison of lengths decided something."""
        if self._stack and self.depth == 0:
            scope = self._stack[-1]
            self.guards.append((sign, a, b, outcome, scope, place_of(user_frame(2)), len(scope.steps)))

    def parts_without(self, paths: set[str]) -> Iterator[str]:
        """Yield the paths of the outermost modules with parameters that were called and hold none of the paths."""
        yielded: list[str] = []
        for path, module in self.model.named_modules():
            if not path or any(path.startswith(f"{other}.") for other in yielded):
                continue
            holds = any(other == path or other.startswith(f"{path}.") for other in paths)
            called = id(module) in self.scopes and any(True for _ in module.parameters())
            if called and not holds:
                yielded.append(path)
                yield path

    def escaped(self, number: Any) -> None:
        """Note that Python took a length as a plain number."""
        if self._stack and self.depth == 0:
            self.escapes.append((number, self._stack[-1].path, place_of(user_frame(2))))

    def record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the model once; return what it returned."""
        for tensor in tensors_in((args, kwargs)):
            self._value(tensor).depends = True
        original = nn.Module.__call__
        recorder = self

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return recorder._call(original, module, args, kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            with torch.no_grad(), _Watch(self), self:
                return self.model(*args, **kwargs)
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]

    # -- values -------------------------------------------------------------------------------------------------------

    def _value(self, tensor: torch.Tensor) -> Value:
        value = self.values.get(id(tensor))
        if value is None:
            value = self.values[id(tensor)] = Value(tensor)  # which keeps the tensor, and so its id
        return value

    def snapshot(self, value: Any) -> Any:
        """Return what a structure holds now, with Values for tensors."""
        if isinstance(value, torch.Tensor):
            return self._value(value)
        if isinstance(value, list):
            listed = Listed(map(self.snapshot, value))
            listed.source = value
            return listed
        if isinstance(value, tuple):
            return tuple(map(self.snapshot, value))
        if isinstance(value, Mapping):
            items = {key: self.snapshot(item) for key, item in value.items()}
            return items if type(value) is dict else Fields(items)
        if isinstance(value, slice):
            return slice(*map(self.snapshot, (value.start, value.stop, value.step)))
        if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
            return Fields({name: self.snapshot(getattr(value, name)) for name in value.__dataclass_fields__})
        if isinstance(value, (Whole, Real)):
            self.numbers.append(value)
        return value

    def _names(self, frame: FrameType | None) -> dict[int, list[str]]:
        names: dict[int, list[str]] = {}
        if frame is not None:
            for name, value in frame.f_locals.items():
                if isinstance(value, torch.Tensor):
                    recorded = self.values.get(id(value))
                    if recorded is not None:
                        names.setdefault(id(recorded), []).append(name)
                elif isinstance(value, (Whole, Real)):
                    self.numbers.append(value)
                    names.setdefault(id(value), []).append(name)
                elif type(value) is list:
                    names.setdefault(id(value), []).append(name)
        return names

    def _add(
        self, kind: str, function: Any, name: str, owner: str, before: Any, result: Any, writes: Value | None,
        scope: Scope | None = None,
    ) -> Step:  # fmt: skip
        step = Step()
        step.number, self._count = self._count, self._count + 1
        step.kind, step.function, step.name, step.owner, step.scope = kind, function, name, owner, scope
        step.args, step.kwargs = before
        step.writes = writes
        frame = caller(2)
        step.stored = None if frame is None else stored_names(frame)
        step.reads, step.attributes, step.literals = (
            read_names(frame) if frame is not None else (frozenset(), (), frozenset())
        )
        step.names = self._names(frame)
        if frame is not None and (not self._stack or frame.f_locals.get("self") is not self._stack[-1].module):
            step.attributes = ()
        step.own = frame is not None
        step.place = place_of(user_frame(2))
        step.path = self._stack[-1].path if self._stack else ""
        step.result = self._results(step, result, before)
        if self._stack:
            self._stack[-1].steps.append(step)
        return step

    def _results(self, step: Step, result: Any, before: Any) -> Any:
        snapshot = self.snapshot(result)
        depends = any(value.depends for value in values_in(before)) and step.name not in _OF_ITS_SHAPE
        for value in values_in(snapshot):
            if value.step is None and id(value.tensor) not in self.held and not value.depends:
                value.step = step
                value.depends = depends or (step.scope is not None and value.depends)
        return snapshot

    # -- functions ----------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, owner = name_of(func)
        self.depth += 1
        try:
            return self._function(func, name, owner, args, kwargs)
        finally:
            self.depth -= 1

    def _function(self, func: Any, name: str, owner: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._refuse_transforms(args, kwargs)
        before = self.snapshot((args, kwargs))
        depends = any(value.depends for value in values_in(before))
        self._refuse_autocast(args, kwargs, depends)
        if depends and name in _LEAVES_THE_GRAPH:
            self.refuse(f"{owner}.{name}", _KNOWN_LATER)
        if name in ("__getitem__", "where") and _depends_on_numbers(name, before[0]):
            self.refuse(f"{owner}.{name} of a mask", _KNOWN_LATER)
        versions = [(t, t._version) for t in tensors_in((args, kwargs)) if not t.is_inference()]
        if name == "__iter__":
            result: Any = args[0].unbind(0)
        else:
            result = func(*_without_origins(args), **_without_origins(kwargs))
        if name in ("get:shape", "size"):
            return self._lengths(before[0], result, before[0][1:] or tuple(before[1].values()))
        if name in ("numel", "nelement", "get:nbytes"):
            return with_origin(result, "numel", before[0][0], watcher=self)
        if name in ("item", "__float__", "__int__") and not depends and self._is_of_parameters(before[0][0]):
            return with_origin(result, "item", before[0][0], watcher=self) if name == "item" else result
        if name == "__len__" and self._stack:
            number = with_origin(result, "shape", before[0][0], 0, watcher=self)
            self.escapes.append((number, self._stack[-1].path, place_of(user_frame())))
        written = [tensor for tensor, version in versions if tensor._version != version]
        if not any(True for _ in tensors_in(result)) and not written:
            return result
        if name in _SAYS_NOTHING or name in ("get:grad", "__setstate__"):
            return result
        if isinstance(result, torch.Tensor) and not written and any(result is a for a in args):
            return result  # itself: a tensor that was contiguous, or in the type that was asked for
        if name == "get:data" and isinstance(result, torch.Tensor):
            name = "detach"
        writes = self._write(before, written[0], depends, name) if written else None
        self._add("function", func, name, owner, before, result, writes)
        return iter(result) if name == "__iter__" else result

    def _refuse_transforms(self, args: Any, kwargs: Any) -> None:
        """Refuse what vmap, grad and their like compute of the inputs: their tensors stand for others."""
        transform = _functorch.peek_interpreter_stack()
        if transform is None:
            return
        for tensor in tensors_in((args, kwargs)):
            inner = tensor
            while _functorch.is_functorch_wrapped_tensor(inner):
                inner = _functorch.get_unwrapped(inner)
            self._value(tensor).depends |= self.depends(inner)
        if any(map(self.depends, tensors_in((args, kwargs)))):
            self.refuse(f"torch.func.{transform.key().name.lower()}", _TRANSFORMED)

    def _refuse_autocast(self, args: Any, kwargs: Any, depends: bool) -> None:
        """Refuse what autocast may compute in types that nothing in forward names."""
        if depends and any(torch.is_autocast_enabled(t.device.type) for t in tensors_in((args, kwargs))):
            self.refuse("autocast", "it picks types that source would not tell: leave it out, and build with fp16=True")

    def _is_of_parameters(self, value: Any) -> bool:
        return isinstance(value, Value) and bool(self.held.get(id(value.tensor)))

    def _lengths(self, args: Any, result: Any, dims: tuple[Any, ...]) -> Any:
        value = args[0]
        if not isinstance(value, Value):
            return result
        if isinstance(result, int):
            dim = plain(dims[0])
            return with_origin(result, "shape", value, dim if dim >= 0 else dim + value.tensor.ndim, watcher=self)
        lengths = torch.Size([with_origin(n, "shape", value, i, watcher=self) for i, n in enumerate(result)])
        frame = caller()
        if frame is not None and isinstance(stored_names(frame), list):  # B, C, H, W = x.shape
            self.numbers += lengths
            self._add("lengths", None, "shape", "torch.Tensor", (args, {}), tuple(lengths), None)
        return lengths

    def _write(self, before: Any, tensor: torch.Tensor, depends: bool, name: str) -> Value:
        value = self._value(tensor)
        storage = storage_of(tensor)
        if storage in self._storages:
            names = self.held.get(id(tensor)) or [
                name for id_, names in self.held.items() for name in names if storage_of(self.values_of(id_)) == storage
            ]
            self.refuse(
                name, f"it changes {names[0] if names else 'a parameter'} in place, and weights stay as they are"
            )
        elif value.step is None and not value.depends:
            self.refuse(name, "it changes in place a tensor that was made before the call")
        for other in list(self.values.values()):
            if storage_of(other.tensor) == storage:
                other.depends = other.depends or depends
                other.last_write = self._count
        return value

    def values_of(self, identity: int) -> torch.Tensor:
        """Return the tensor of a parameter or buffer."""
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            if id(tensor) == identity:
                return tensor
        raise KeyError(identity)

    # -- modules ------------------------------------------------------------------------------------------------------

    def _call(self, original: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self._path_within(module)
        if path is None or self.depth:
            return original(module, *args, **kwargs)
        if (measured := measures(module)) is not None:
            return self._measuring(original, module, path, measured, args, kwargs)
        if module._forward_hooks or module._forward_pre_hooks:
            with self._watched_hooks(module, path):
                return self._call_itself(original, module, path, args, kwargs)
        return self._call_itself(original, module, path, args, kwargs)

    def _call_itself(
        self, original: Any, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not self.is_leaf(module):
            return self._scope(original, module, path, args, kwargs)

        def leaf(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self._refuse_others_weights(module)
            with torch._C.DisableTorchFunction():
                return self._leaf(original, module, args, kwargs)

        if module is self.model:  # a scope of one step, which is the module itself
            return self._scope(leaf, module, path, args, kwargs)
        return leaf(module, *args, **kwargs)

    def _measuring(
        self, original: Any, module: nn.Module, path: str, measured: tuple[str, str], args: Any, kwargs: Any
    ) -> Any:
        """Refuse a module that measures as it is called, and none of what it does within."""
        self.refuse(measured[0], measured[1], path)
        self.depth += 1
        try:
            with torch._C.DisableTorchFunction():
                result = original(module, *args, **kwargs)
        finally:
            self.depth -= 1
        for tensor in tensors_in(result):
            self._value(tensor).depends = True
        return result

    def _refuse_others_weights(self, module: nn.Module) -> None:
        """Refuse a module that is one step and computes with tensors that are not the weights it holds."""
        kept = [name for inner in module.modules() for name, held in vars(inner).items() if torch.is_tensor(held)]
        others = [name for name in kept if "weight" in name or "bias" in name]
        others += [
            name for name, held in (*module.named_parameters(), *module.named_buffers()) if id(held) not in self.held
        ]
        if others:
            why = "functional_call and weight_norm do that: write it with torch.nn.functional, or remove_weight_norm"
            self.refuse(f"{type(module).__name__}, whose {others[0]} is put in its place for the call", why)

    @contextmanager
    def _watched_hooks(self, module: nn.Module, path: str) -> Iterator[None]:
        """Let a module's hooks look at what goes by, and refuse one that changes it or computes something."""

        def watched(hook: Callable[..., Any]) -> Callable[..., Any]:
            if is_observing(hook):  # what it computes is recorded as a part of the module
                return hook

            def call(*args: Any, **kwargs: Any) -> Any:
                before = self._count
                result = hook(*args, **kwargs)
                if result is not None or self._count != before:
                    why = f"{where(path)} has one that does more than look; remove it, or write it in forward"
                    self.refuse(f"a hook of {type(module).__name__}", why)
                return result

            return call

        tables = (module._forward_hooks, module._forward_pre_hooks)
        kept = [dict(table) for table in tables]
        for table in tables:
            table.update({key: watched(hook) for key, hook in table.items()})
        try:
            yield
        finally:
            for table, hooks in zip(tables, kept, strict=True):
                table.update({key: hook for key, hook in hooks.items() if key in table})

    def _path_within(self, module: nn.Module) -> str | None:
        """Return the module's path where the module at hand can name it: within itself."""
        paths = self.paths.get(id(module))
        if not paths or not self._stack:
            return paths[0] if paths else None
        prefix = self._stack[-1].path
        inside = [path for path in paths if not prefix or path.startswith(prefix + ".")]
        return inside[0] if inside else None

    def _leaf(self, original: Any, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before = self.snapshot((args, kwargs))
        depends = any(value.depends for value in values_in(before))
        self._refuse_autocast(args, kwargs, depends)
        versions = [(t, t._version) for t in tensors_in((args, kwargs)) if not t.is_inference()]
        self.depth += 1
        try:
            result = original(module, *_without_origins(args), **_without_origins(kwargs))
        finally:
            self.depth -= 1
        written = [tensor for tensor, version in versions if tensor._version != version]
        if args and result is args[0] and not written:
            return result  # an identity in evaluation
        self.leaf_calls[id(module)] += 1
        writes = self._write(before, written[0], depends, type(module).__name__) if written else None
        self._add("module", module, type(module).__name__, "module", before, result, writes)
        return result

    def _scope(self, original: Any, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before = self.snapshot((args, kwargs))
        names = _bound(module, args, kwargs)
        inner = {name: self._rerooted(value, name) for name, value in names.items()} if names is not None else None
        if inner is not None:
            args, kwargs = _as_called(module, args, kwargs, inner)
        scope = Scope(module, path, self.snapshot(inner if inner is not None else dict(enumerate(args))))
        self._stack.append(scope)
        first = self._count
        try:
            result = original(module, *args, **kwargs)
            scope.result = self.snapshot(result)
        except Exception:
            self.failed = max(self.failed, path, key=len)
            raise
        finally:
            self._stack.pop()
        if self.root is None and not self._stack:
            self.root = scope
        looked = scope.steps or any(guard[4] is scope for guard in self.guards)
        first_argument = next(iter((*args, *kwargs.values())), None)
        if result is not None and result is first_argument and not looked and self._stack:
            return result  # it does nothing in evaluation
        self.scopes[id(module)].append(scope)
        written = {storage_of(inner.writes.tensor) for inner in scope.steps if inner.writes is not None}
        writes = next((value for value in values_in(before) if storage_of(value.tensor) in written), None)
        step = self._add("scope", module, type(module).__name__, "module", before, result, writes, scope)
        step.number = first
        outer = self._rerooted(result, step)
        if outer is not result:
            step.result = self.snapshot(outer)
        return outer

    def _rerooted(self, value: Any, root: Any, path: tuple[Any, ...] = ()) -> Any:
        """Return a structure whose numbers are an argument's, or those of a call's result."""
        if isinstance(value, (Whole, Real)):
            kind = Whole if isinstance(value, Whole) else Real
            number = kind(plain(value), Origin("argument", (root, path), self))
            self.numbers.append(number)
            return number
        if isinstance(value, (tuple, list)) and any(isinstance(item, (Whole, Real, tuple, list)) for item in value):
            items = [self._rerooted(item, root, (*path, i)) for i, item in enumerate(value)]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value


def storage_of(tensor: torch.Tensor) -> Any:
    """Return what tells the memory of one tensor from another's; of one without memory the tensor itself."""
    try:
        with torch._C.DisableTorchFunction():
            return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def _without_origins(value: Any) -> Any:
    if isinstance(value, (Whole, Real)):
        return plain(value)
    if isinstance(value, slice):
        return slice(*map(_without_origins, (value.start, value.stop, value.step)))
    if isinstance(value, (tuple, list)):
        if not any(isinstance(item, (Whole, Real, slice, tuple, list)) for item in value):
            return value
        items = [_without_origins(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return {key: _without_origins(item) for key, item in value.items()} if type(value) is dict else value


def _depends_on_numbers(name: str, args: Any) -> bool:
    """Whether an operation picks by a mask: how many elements there are depends on the numbers."""
    if name == "where":
        return len(args) == 1 and args[0].depends
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return any(isinstance(v, Value) and v.depends and v.tensor.dtype is torch.bool for v in index)


def name_of(func: Any) -> tuple[str, str]:
    """Return the last name of a function of torch's, and what it is a function of."""
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__"):
        return f"{name[2:5]}:{getattr(func.__self__, '__name__', '?')}", "torch.Tensor"
    if isinstance(func, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        packet = func.overloadpacket if isinstance(func, torch._ops.OpOverload) else func
        namespace, _, short = packet._qualified_op_name.partition("::")
        return short, f"torch.ops.{namespace}"
    full = resolve_name(func) or f"{getattr(func, '__module__', None) or 'torch'}.{name}"
    owner, _, short = full.rpartition(".")
    return short, owner


def _bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    except TypeError:
        return None  # torch says it in its own words


def _as_called(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], arguments: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments by name as they were passed: decorators may take one by position or by keyword alone."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    more = {p.kind: arguments.get(p.name) for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    args = tuple(arguments[name] for name in positional[: len(args)]) + tuple(
        more.get(inspect.Parameter.VAR_POSITIONAL) or ()
    )
    others = more.get(inspect.Parameter.VAR_KEYWORD) or {}
    return args, {name: others[name] if name in others else arguments[name] for name in kwargs}
