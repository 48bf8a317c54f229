"""From a torch module to trtnn source, and from the source to a module with its weights."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError, TrtnnError, UnsupportedError, where
from trtnn.from_torch.bodies import Constants
from trtnn.from_torch.classes import Classes, class_name
from trtnn.from_torch.converters import is_leaf
from trtnn.from_torch.expressions import quoted
from trtnn.from_torch.frames import OURS, TORCH
from trtnn.from_torch.lengths import Real, Whole
from trtnn.from_torch.record import Recorder, Scope, Step, parts_in, refused, tensors_in, values_in
from trtnn.from_torch.verify import largest_difference, mapped, second_example
from trtnn.from_torch.write import Source
from trtnn.modules.module import Module
from trtnn.network import Network
from trtnn.shapes.spec import Input
from trtnn.shapes.symbolic import Dim, Size

_MOST_TRIALS = 40
_MOST_KEPT = 100  # items of a dict or a list that a module keeps, and that are looked at


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function  # type: ignore[method-assign]

    def type_name(self) -> str:
        """Return the function's full name."""
        return f"{self.forward.__module__}.{getattr(self.forward, '__qualname__', type(self).__name__)}"


class Conversion:
    """A torch module that was recorded, and the source that was written of it.

    Args:
        module, args, kwargs: what :func:`from_torch` is given.
        dynamic: likewise, or a function that returns it for the names of the inputs.
        told: is called with each stage as it begins.

    Attributes:
        source: the text, with what it came of.
        network: what the source traces to, once it was tried.
        difference: the largest from torch on either input, in parts of an output's largest magnitude, once verified.
    """

    network: Network | None = None
    difference: float | None = None

    def __init__(
        self,
        module: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        dynamic: Any = None,
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.torch_module = _as_module(module)
        is_script = isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction))
        self.oracle = module if is_script else self.torch_module  # what is verified against
        _check(self.torch_module, args, kwargs)
        self.args, self.kwargs = args, kwargs
        self.told = told
        self.name = _class_name(module)
        self.dynamic = dynamic
        self.constants = Constants()
        self._brought: dict[int, tuple[torch.Tensor, Any]] = {}
        self.record(args, kwargs)
        self.write()

    def record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Call the module once, and keep what it does.

        Raises:
            UnsupportedError: it does what no network can.
        """
        self.told("recording one call")
        state, changes = _State(self.torch_module), []
        for _ in range(2):  # what the first call makes and keeps is there in the second
            self.recorder = Recorder(self.torch_module, is_leaf)
            own_args, own_kwargs = self._copied(args, kwargs)
            try:
                self.result = self.recorder.record(own_args, own_kwargs)
            except Exception as error:
                raise self._torch_failed(error) from error
            changes = state.changes(self.recorder.has_read)
            if not changes:
                break
            state = _State(self.torch_module)
        if changes:
            raise UnsupportedError(
                f"{type(self.torch_module).__name__} changes itself in forward, and an engine stays as it is",
                *changes[:10],
                "give what it keeps from call to call as an input and an output",
            )
        if self.recorder.refusals:
            raise refused(self.recorder, self.recorder.refusals, "does what no network can")

    def _copied(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return an example for the module to keep or change: a forward may write into its inputs."""
        self._copies: list[torch.Tensor] = []  # one for each place: a network's inputs are not the same tensor
        self._given: list[torch.Tensor] = []

        def copied(tensor: torch.Tensor) -> torch.Tensor:
            self._given.append(tensor)
            self._copies.append(tensor.detach().clone())
            return self._copies[-1]

        return mapped((args, kwargs), copied)

    def _torch_failed(self, error: Exception) -> Exception:
        """Return what to raise for an error of the user's forward; errors of what was refused before come after it."""
        if self.recorder.refusals:
            return refused(self.recorder, self.recorder.refusals, "does what no network can")
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((TORCH, OURS))]
        lines = [f"  {frame.filename}:{frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-1:]]
        branches = re.search(r"no rule registered for HigherOrderOperator (\w+)", str(error))
        if branches:
            return UnsupportedError(
                f"{type(self.torch_module).__name__} does what no network can",
                f"torch.{branches[1]}: in {where(self.recorder.failed)}: which way it goes is known only when it runs",
                *lines,
            )
        return ArgumentError(
            f"torch's own forward raised {type(error).__name__}: {error}",
            f"in {where(self.recorder.failed)}, with the example",
            *lines,
        )

    def write(self) -> None:
        """Write the source.

        Raises:
            UnsupportedError: there are operations that trtnn has not; all of them are told.
        """
        self.told("writing the source")
        self.constants.tensors.clear()
        self.constants.of_parameters.clear()
        self.classes = Classes(self.recorder, self.constants, self.name).build()
        if self.classes.refusals:
            raise refused(self.recorder, self.classes.refusals, self.classes.summary)
        self.source = Source(self.classes.groups, self.inputs(), self.header())

    def header(self) -> str:
        return f"{self.name}, converted from {class_name(self.torch_module)}."

    def inputs(self) -> list[tuple[str, str]]:
        """Return the inputs by name, as source."""
        declared = []
        for (name, tensor), shape in zip(self.named_tensors(), self.shapes(), strict=True):
            dtype = _dtype_name(tensor.dtype)
            lengths = ", ".join(map(_length, shape)) + ("," if len(shape) == 1 else "")
            declared.append((name, f"Input(({lengths}){'' if dtype == 'float32' else f', {quoted(dtype)}'})"))
        return declared

    def named_tensors(self) -> list[tuple[str, torch.Tensor]]:
        """Return the example's tensors by the names of the inputs."""
        assert self.recorder.root is not None
        names = [name for name, _, _ in self.classes.bodies[id(self.recorder.root)].parameters]
        return list(zip(names, self.input_tensors(), strict=True))

    def shapes(self) -> list[tuple[Any, ...]]:
        """Return the inputs' shapes, with Dims for what is dynamic.

        Raises:
            ArgumentError: an input is unknown, or the example is not among the lengths that its shape allows.
        """
        named = self.named_tensors()
        dynamic = self.dynamic([name for name, _ in named]) if callable(self.dynamic) else self.dynamic
        if isinstance(dynamic, Dim):
            dynamic = {name: (dynamic, *tensor.shape[1:]) for name, tensor in named if tensor.ndim}
        if not isinstance(dynamic, Mapping | None):
            raise ArgumentError(f"dynamic is a Dim or shapes by the names of the inputs, not {dynamic!r:.80}")
        dynamic = dict(dynamic or {})
        unknown = [name for name in dynamic if name not in dict(named)]
        if unknown:
            raise ArgumentError(
                f"dynamic names {unknown[0]!r}, which is no input",
                f"the inputs: {', '.join(name for name, _ in named)}",
            )
        return [_checked_shape(name, tensor, dynamic.get(name)) for name, tensor in named]

    def input_tensors(self) -> list[torch.Tensor]:
        """Return the example's tensors in the order of the inputs."""
        return [self._given[place] for place in self._places()]

    def _places(self) -> list[int]:
        """Return of each input its place among the example's tensors."""
        assert self.recorder.root is not None
        places = {id(copy): place for place, copy in enumerate(self._copies)}
        return [places[id(value.tensor)] for value in _values_of(self.recorder.root.arguments)]

    def execute(self) -> Module:
        """Run the source, and return its module with the weights."""
        file = f"<trtnn source of {self.name}>"
        linecache.cache[file] = (len(self.source.text), None, self.source.text.splitlines(True), file)
        namespace = ModuleType(self.name)
        exec(compile(self.source.text, file, "exec"), namespace.__dict__)
        model = getattr(namespace, self.source.classes[-1])()
        model.load_state_dict(self.state(model))
        model.source = self.source.text
        return model

    def state(self, model: Module) -> dict[str, Any]:
        """Return the weights under the names of the source's module; they share torch's memory on a CPU.

        Those on a GPU come over once, however often the source is executed.
        """
        tensors: dict[str, Any] = {}
        for named in (self.torch_module.named_parameters, self.torch_module.named_buffers):
            tensors.update(named(remove_duplicate=False))
        for path, constants in self.constants.tensors.items():
            tensors.update({f"{path}.{name}" if path else name: tensor for name, tensor in constants.items()})
        return {name: self._on_cpu(tensors[name]) for name in model._state() if name in tensors}

    def _on_cpu(self, tensor: torch.Tensor) -> Any:
        if tensor.device.type == "cpu":
            return _shared(tensor)
        if id(tensor) not in self._brought:
            self._brought[id(tensor)] = tensor, _shared(tensor.detach().cpu())  # kept, so that no other takes its id
        return self._brought[id(tensor)][1]

    def trial(self) -> Module:
        """Execute and trace; what trtnn cannot compute of constants becomes a Buffer, and the source is written anew.

        Raises:
            TrtnnError: trtnn refuses an operation; the details name the torch module and the user's line.
        """
        self.told("tracing what the source says")
        for _ in range(_MOST_TRIALS):
            model = self.execute()
            try:
                self.network = model.trace()
            except Exception as error:
                step = self._step_of(error)
                if step is None:
                    raise
                if self._may_be_folded(step):
                    self.constants.forced.add(step.number)
                    self.write()
                    continue
                raise _placed(error, step) from error
            return model
        raise TrtnnError("the constants of this model cannot be written")  # each trial folds one

    def _may_be_folded(self, step: Step) -> bool:
        """Whether what a step gives may be a Buffer: it is of constants, and not of lengths that vary."""
        values = _values_of(step.result) + ([step.writes] if step.writes is not None else [])
        if not values or any(value.depends for value in values) or step.number in self.constants.forced:
            return False
        of_lengths = any(isinstance(part, (Whole, Real)) for part in parts_in((step.args, step.kwargs)))
        return not (of_lengths and any(isinstance(length, Size) for shape in self.shapes() for length in shape))

    def verify(self) -> float:
        """Compare with torch on the example and on a second input; return the largest difference.

        Raises:
            VerificationError: it differs.
            UnsupportedError: with other lengths the module does something else.
        """
        self.told("comparing with torch on the example")
        tensors = self.input_tensors()
        first = self._compare(tensors, "the example", self.result if self.oracle is self.torch_module else None)
        second = second_example(tensors, self.shapes())
        self.told("comparing with torch on a second input")
        self.difference = max(first, self._compare(second, "a second input", None))
        return self.difference

    def _compare(self, tensors: list[torch.Tensor], which: str, theirs: Any) -> float:
        if theirs is None:
            theirs = self.call(tensors)
        assert self.network is not None  # it was tried
        ours = self.network.run(
            *(_shared(tensor).cpu().numpy() if tensor.dtype != torch.bfloat16 else tensor for tensor in tensors)
        )
        return largest_difference(ours, theirs, which, lambda: self._call_exactly(tensors))

    def call(self, tensors: list[torch.Tensor]) -> Any:
        """Call the module that was given, with other tensors in the places of the example's."""
        args, kwargs = self._with(tensors)
        with torch.no_grad():
            return self.oracle(*args, **kwargs)

    def _call_exactly(self, tensors: list[torch.Tensor]) -> Any:
        """Call a copy of the torch module in fp64."""
        args, kwargs = self._with(tensors)
        args, kwargs = mapped((args, kwargs), lambda t: t.double() if t.is_floating_point() else t)
        with torch.no_grad():
            exact = copy.deepcopy(self.oracle).double() if isinstance(self.oracle, nn.Module) else self.oracle
            return exact(*args, **kwargs)

    def _with(self, tensors: list[torch.Tensor]) -> Any:
        by_place = dict(zip(self._places(), tensors, strict=True))
        places = itertools.count()
        return mapped((self.args, self.kwargs), lambda tensor: by_place[next(places)].clone())

    def run(self, verify: bool) -> Module:
        """Check, try and verify the source, and return its module.

        Without ``verify`` it is traced only where it computes something of constants, which trtnn may be unable to.
        """
        if not verify:
            return self.trial() if self.classes.compute_constants else self.execute()
        self.check_lengths()
        model = self.trial()
        self.verify()
        return model

    def check_lengths(self) -> None:
        """Record calls with other lengths, where there are any: the source has to be the same.

        Lengths near the example's show what is odd or even, and twice as large ones what is rounded.

        Raises:
            UnsupportedError: it is not; the details say where the two part.
        """
        mine, shapes = self.input_tensors(), self.shapes()
        recorded = [[tensor.shape for tensor in mine]]
        for times in (1, 2):
            tensors = second_example(mine, shapes, times)
            lengths = [tensor.shape for tensor in tensors]
            if lengths not in recorded:
                recorded.append(lengths)
                self._check_lengths_of(tensors)

    def _check_lengths_of(self, tensors: list[torch.Tensor]) -> None:
        self.told("recording a call with other lengths")
        args, kwargs = self._with(tensors)
        other = Conversion.__new__(Conversion)
        other.__dict__.update(self.__dict__)
        other.constants = Constants(forced=self.constants.forced)
        other.told = lambda stage: None
        other.args, other.kwargs = args, kwargs
        other.dynamic = None
        other.record(args, kwargs)
        other.write()
        if _comparable(self.source.text) == _comparable(other.source.text) and _same_constants(self, other):
            return
        lines = [f"with {', '.join(f'{name} of {tuple(t.shape)}' for name, t in other.named_tensors())}"]
        mine = [(sign, outcome, place) for sign, _, _, outcome, _, place, _ in self.recorder.guards]
        yours = [(sign, outcome, place) for sign, _, _, outcome, _, place, _ in other.recorder.guards]
        parted = next((a for a, b in zip(mine, yours, strict=False) if a != b), None)
        places = [f"a comparison of lengths comes out otherwise: {parted[2]}"] if parted else []
        places += [
            f"a length is taken as a plain number: {place}"
            for place in dict.fromkeys(str(p) for _, _, p in self.recorder.escapes)
        ]
        if not places:
            places = self._first_difference(other)
        raise UnsupportedError(
            f"{type(self.torch_module).__name__} does something else where lengths are others", *lines, *places[:6]
        )

    def _first_difference(self, other: Conversion) -> list[str]:
        pairs = zip(self.source.text.splitlines(), other.source.text.splitlines(), strict=False)
        for number, (mine, yours) in enumerate(pairs, 1):
            steps = self.source.places.get(number)
            if mine != yours and steps:
                return [f"it was: {mine.strip()}", f"and is: {yours.strip()}", f"  {steps[-1].place}"]
        return []

    def _step_of(self, error: Exception) -> Any:
        file = f"<trtnn source of {self.name}>"
        frames = traceback.extract_tb(error.__traceback__)
        for i in range(len(frames) - 1, -1, -1):
            steps = self.source.places.get(frames[i].lineno or 0) if frames[i].filename == file else None
            if steps:
                within = [frame.name for frame in frames[i + 1 :]]  # of trtnn's functions, which have torch's names
                return next((step for step in steps if step.name.strip("_") in within), steps[-1])
        if any(frame.filename == file for frame in frames) or self.recorder.root is None:
            return None
        # An output is refused behind the last line, for what was written to.
        steps = [step for step in _steps_of(self.recorder.root) if step.writes is not None and step.scope is None]
        return steps[-1] if steps else None


def from_torch(
    module: Any, inputs: tuple[Any, ...], named_inputs: dict[str, Any], dynamic: Any, verify: bool
) -> Module:
    """Convert a module; see :mod:`trtnn.from_torch`."""
    return Conversion(module, inputs, named_inputs, dynamic).run(verify)


class _State:
    """What a module is made of besides the numbers of its weights, to see whether a call changes it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before = self._read()

    def _read(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for path, module in self.model.named_modules():
            for name, value in (*vars(module).items(), *module._parameters.items(), *module._buffers.items()):
                if name not in ("_parameters", "_buffers", "_modules"):
                    _note(state, f"{path}.{name}".lstrip("."), value)
        return state

    def changes(self, read: Callable[[torch.Tensor], bool]) -> list[str]:
        """Return what is another now, a line each.

        A tensor that is kept aside is another after each call; that matters where the call had read the one before.

        Args:
            read: whether the call read a tensor.
        """
        now = self._read()
        kept = {name: (self.before[name], value) for name, value in now.items() if name in self.before}
        changed = [name for name, (a, b) in kept.items() if type(a) is not type(b) or a != b]
        added = [name for name in now if name not in self.before]
        lines = [
            f"{name} was {self.before[name]!r:.60} and is {now[name]!r:.60}"
            for name in changed
            if not self._is_aside(name, now, read)
        ]
        return lines + [f"{name} was not there, and is {now[name]!r:.60}" for name in added]

    def _is_aside(self, name: str, now: dict[str, Any], read: Callable[[torch.Tensor], bool]) -> bool:
        before, after = self.before[name], now[name]
        both = isinstance(before, _Same) and isinstance(after, _Same)
        return both and not before.is_held and not read(before.tensor)


def _note(state: dict[str, Any], name: str, value: Any) -> None:
    """Note a plain value, a tensor, or what a dict or a list holds of such."""
    if isinstance(value, torch.Tensor):
        state[name] = _Same(value, isinstance(value, nn.Parameter))
    elif type(value) in (int, float, bool, str, torch.Size) or value is None:
        state[name] = value
    elif type(value) in (dict, list) and len(value) <= _MOST_KEPT:
        for key, item in value.items() if type(value) is dict else enumerate(value):
            _note(state, f"{name}[{key!r}]", item)


class _Same:
    """A tensor, equal to itself alone."""

    def __init__(self, tensor: torch.Tensor, is_held: bool) -> None:
        self.tensor, self.is_held = tensor, is_held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.tensor is self.tensor

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "a tensor"


def _length(length: Any) -> str:
    if isinstance(length, Dim):
        more = f", multiple_of={length.multiple_of}" if length.multiple_of > 1 else ""
        return f"Dim({quoted(length.name)}, {length.min}, {length.opt}, {length.max}{more})"
    return str(length)


def _checked_shape(name: str, tensor: torch.Tensor, shape: Any) -> tuple[Any, ...]:
    if shape is None:
        return tuple(map(int, tensor.shape))
    shape = tuple(shape.shape) if isinstance(shape, Input) else tuple(shape)
    fits = len(shape) == tensor.ndim and all(
        wanted.holds(now) if isinstance(wanted, Dim) else wanted == now
        for wanted, now in zip(shape, tensor.shape, strict=True)
    )
    if not fits or not all(isinstance(length, (int, Dim)) for length in shape):
        raise ArgumentError(
            f"the example of {name} has shape {tuple(tensor.shape)}, which is none of {shape}",
            "dynamic shapes hold ints and Dims; the example is one of those that they allow",
        )
    return shape


def _comparable(text: str) -> str:
    """Return source without what says the lengths of the example: docstrings, and the declared inputs."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.Module)) and node.body and isinstance(node.body[0], ast.Expr):
            node.body[0] = ast.Pass() if isinstance(node, ast.ClassDef) else ast.Expr(ast.Constant(""))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.inputs":
            node.value = ast.Constant(None)
    return "\n".join(line for line in ast.unparse(tree).splitlines() if not line.startswith(("from ", "import ")))


def _same_constants(one: Conversion, other: Conversion) -> bool:
    mine, yours = one.constants.tensors, other.constants.tensors
    return mine.keys() == yours.keys() and all(
        held.keys() == yours[path].keys()
        and all(t.shape == yours[path][n].shape and torch.equal(t, yours[path][n]) for n, t in held.items())
        for path, held in mine.items()
    )


def _placed(error: Exception, step: Any) -> Exception:
    lines = [f"recorded in {where(step.path)}, of torch's {step.name}", f"  {step.place}"]
    if isinstance(error, TrtnnError):
        return type(error)(error.summary, *error.details, *lines)
    return TrtnnError(f"{type(error).__name__}: {error}", *lines)


def _steps_of(scope: Scope) -> Iterator[Step]:
    for step in scope.steps:
        yield step
        if step.scope is not None:
            yield from _steps_of(step.scope)


def _values_of(value: Any) -> list[Any]:
    return list(values_in(value))


def _shared(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach()
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _dtype_name(dtype: torch.dtype) -> str:
    return {torch.float64: "float32", torch.int16: "int32"}.get(dtype, str(dtype).removeprefix("torch."))


def _class_name(module: Any) -> str:
    if isinstance(module, nn.Module):
        return module.original_name if isinstance(module, torch.jit.ScriptModule) else type(module).__name__
    if type(module).__name__ == "ExportedProgram":
        return "Exported"
    own = "name" if isinstance(module, torch.jit.ScriptFunction) else "__name__"
    name = str(getattr(module, own, "Function"))
    return "".join(part.capitalize() for part in name.strip("<>_").split("_")) or "Function"


def _as_module(module: Any) -> nn.Module:
    if isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        from trtnn.from_torch.traced import as_module as module_of_trace  # it writes functions, which few need

        return module_of_trace(module)
    if isinstance(module, nn.Module):
        return module
    if type(module).__name__ == "ExportedProgram":
        from trtnn.from_torch.exported import as_module  # it registers what ATen's operations are

        return as_module(module)
    if isinstance(module, type) or not callable(module):
        raise ArgumentError(
            f"from_torch takes a torch module or a function, not {module!r:.80}",
            *(["make one: from_torch(Net(), x)"] if isinstance(module, type) else []),
        )
    return type(_class_name(module), (_Function,), {})(module).eval()


def _check(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    held = [name for named in (module.named_parameters, module.named_buffers) for name, t in named() if t.is_meta]
    if held or any(tensor.is_meta for tensor in tensors_in((args, dict(kwargs)))):
        more = f" and {len(held) - 3} more" if len(held) > 3 else ""
        what = f"{type(module).__name__}'s {', '.join(held[:3])}{more}" if held else "the example"
        raise ArgumentError(
            f"{what} {'are' if len(held) > 1 else 'is'} on torch's meta device, which holds no numbers",
            "model.to_empty(device='cpu') and load_state_dict give it weights" if held else "give tensors with numbers",
        )
    if not any(True for _ in tensors_in((args, dict(kwargs)))):
        names = list(inspect.signature(module.forward).parameters)
        raise ArgumentError(
            "from_torch needs an example of each input",
            f"forward takes: {', '.join(names) or 'nothing'}",
            "such as from_torch(model, torch.rand(1, 3, 224, 224))",
        )
    training = [path for path, inner in module.named_modules() if inner.training]
    if training:
        raise UnsupportedError(
            f"{type(module).__name__} is in training mode: {', '.join(map(where, training[:5]))}"
            + (f" and {len(training) - 5} more" if len(training) > 5 else ""),
            "an engine does not train: model.eval()",
        )
