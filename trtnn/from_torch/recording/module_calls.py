"""Every call of a module: a scope with the steps of its forward, or one step where it is not looked into."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from trtnn.errors import where
from trtnn.from_torch.recording.arguments import Arguments
from trtnn.from_torch.recording.lengths import Origin, Real, Whole, plain, without_origins
from trtnn.from_torch.recording.observers import is_observing, measures
from trtnn.from_torch.recording.replacing import in_this_thread, replaced
from trtnn.from_torch.recording.steps import Callee, Scope, storage_of, tensors_in, values_in
from trtnn.from_torch.recording.tape import Tape

_THREADS = "a network has no threads, and what one computes is not seen: call it in forward's own"


@contextmanager
def watched_modules(tape: Tape, is_leaf: Callable[[nn.Module], bool]) -> Iterator[None]:
    """Note the calls of modules on a tape.

    Args:
        tape: what they are noted on.
        is_leaf: whether a module is one operation, and its forward is not looked into.
    """
    original = nn.Module.__call__
    calls = _ModuleCalls(tape, is_leaf, original)

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return calls.call(module, args, kwargs)

    @functools.wraps(original)
    def elsewhere(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if any(map(tape.depends, tensors_in((args, kwargs)))):
            tape.refuse(f"{type(module).__name__} in another thread", _THREADS)
        return original(module, *args, **kwargs)

    with replaced(nn.Module, "__call__", call, elsewhere):
        yield


class _ModuleCalls:
    """What is called in the place of ``nn.Module.__call__``."""

    def __init__(self, tape: Tape, is_leaf: Callable[[nn.Module], bool], original: Callable[..., Any]) -> None:
        self.tape, self.is_leaf, self._original = tape, is_leaf, original

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module, and note it in its own way."""
        path = self._path_within(module)
        if path is None or self.tape.depth:
            return self._original(module, *args, **kwargs)
        if (measured := measures(module)) is not None:
            self.tape.refuse(*measured, path)
            return self._unnoted(module, args, kwargs)
        hooks = module._forward_hooks or module._forward_pre_hooks
        with self._watched_hooks(module, path) if hooks else nullcontext():
            if not self.is_leaf(module):
                return self._scope(module, path, args, kwargs, self._original)
            if module is self.tape.model:  # a scope of one step, which is the module itself
                return self._scope(module, path, args, kwargs, self._leaf)
            return self._leaf(module, *args, **kwargs)

    def _unnoted(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module, and note nothing of what it does within."""
        self.tape.depth += 1
        try:
            with torch._C.DisableTorchFunction():
                result = self._original(module, *args, **kwargs)
        finally:
            self.tape.depth -= 1
        for tensor in tensors_in(result):
            self.tape.value(tensor).depends = True
        return result

    def _refuse_others_weights(self, module: nn.Module) -> None:
        """Refuse a module that is one step and computes with tensors that are not the weights it holds."""
        others = [
            name
            for name, held in (*module.named_parameters(), *module.named_buffers())
            if id(held) not in self.tape.held
        ]
        if others:
            why = "functional_call does that: write it with torch.nn.functional"
            self.tape.refuse(f"{type(module).__name__}, whose {others[0]} is put in its place for the call", why)

    @contextmanager
    def _watched_hooks(self, module: nn.Module, path: str) -> Iterator[None]:
        """Let a module's hooks look at what goes by, and refuse one that changes it or computes something of it.

        What one computes of parameters alone, such as a weight, is recorded as a part of the module.
        """

        def watched(hook: Callable[..., Any]) -> Callable[..., Any]:
            if is_observing(hook):  # what it computes is recorded as a part of the module
                return hook

            def call(*args: Any, **kwargs: Any) -> Any:
                before = self.tape.count
                result = hook(*args, **kwargs)
                if result is not None or self._is_of_inputs(before):
                    why = f"{where(path)} has one that does more than look; remove it, or write it in forward"
                    self.tape.refuse(f"a hook of {type(module).__name__}", why)
                return result

            return call

        tables = (module._forward_hooks, module._forward_pre_hooks)
        kept = [dict(table) for table in tables]
        for table in tables:
            table.update({key: in_this_thread(watched(hook), hook) for key, hook in table.items()})
        try:
            yield
        finally:
            for table, hooks in zip(tables, kept, strict=True):
                table.update({key: hook for key, hook in hooks.items() if key in table})

    def _is_of_inputs(self, first: int) -> bool:
        """Whether a step from a number on depends on the inputs."""
        steps = self.tape.scope.steps if self.tape.scope is not None else []
        return any(value.depends for step in steps if step.number >= first for value in values_in(step.result))

    def _path_within(self, module: nn.Module) -> str | None:
        """Return the module's path where the module at hand can name it: within itself."""
        paths = self.tape.paths.get(id(module))
        if not paths or self.tape.scope is None:
            return paths[0] if paths else None
        prefix = self.tape.path
        inside = [path for path in paths if not prefix or path.startswith(prefix + ".")]
        return inside[0] if inside else None

    def _leaf(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Call a module, and note it as one step."""
        self._refuse_others_weights(module)
        tape = self.tape
        with torch._C.DisableTorchFunction():
            before = Arguments(tape, args, kwargs)
            tape.depth += 1
            try:
                result = self._original(module, *without_origins(args), **without_origins(kwargs))
            finally:
                tape.depth -= 1
            written = before.written()
            if args and result is args[0] and written is None:
                return result  # an identity in evaluation
            tape.called_leaves.add(id(module))
            name = type(module).__name__
            writes = None if written is None else tape.written(written, before.depends, name)
            tape.add(Callee("module", module, name, "module"), (before.args, before.kwargs), result, writes)
            return result

    def _scope(
        self, module: nn.Module, path: str, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]
    ) -> Any:
        """Call a module by a function, and note it as a step with the steps of its forward."""
        tape = self.tape
        before = tape.snapshot((args, kwargs))
        names = _bound(module, args, kwargs)
        inner = {name: self._rerooted(value, name) for name, value in names.items()} if names is not None else None
        if inner is not None:
            args, kwargs = _as_called(module, args, kwargs, inner)
        home = tape.paths[id(module)][0]
        scope = Scope(module, path, home, tape.snapshot(inner if inner is not None else dict(enumerate(args))))
        first = tape.count
        with tape.within(scope):
            result = run(module, *args, **kwargs)
            scope.result = tape.snapshot(result)
        if tape.root is None and tape.scope is None:
            tape.root = scope
        looked = scope.steps or any(guard.scope is scope for guard in tape.guards)
        first_argument = next(iter((*args, *kwargs.values())), None)
        if result is not None and result is first_argument and not looked and tape.scope is not None:
            return result  # it does nothing in evaluation
        tape.scopes[id(module)].append(scope)
        written = {storage_of(inner.writes.tensor) for inner in scope.steps if inner.writes is not None}
        writes = next((value for value in values_in(before) if storage_of(value.tensor) in written), None)
        step = tape.add(Callee("scope", module, type(module).__name__, "module"), before, result, writes, scope)
        step.number = first
        outer = self._rerooted(result, step)
        if outer is not result:
            step.result = tape.snapshot(outer)
        return outer

    def _rerooted(self, value: Any, root: Any, path: tuple[Any, ...] = ()) -> Any:
        """Return a structure whose numbers are an argument's, or those of a call's result."""
        if isinstance(value, (Whole, Real)):
            kind = Whole if isinstance(value, Whole) else Real
            number = kind(plain(value), Origin("argument", (root, path), self.tape, outside=value))
            self.tape.keep(number)
            return number
        if isinstance(value, (tuple, list)) and any(isinstance(item, (Whole, Real, tuple, list)) for item in value):
            items = [self._rerooted(item, root, (*path, i)) for i, item in enumerate(value)]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value


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
