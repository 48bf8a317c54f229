"""From a torch module to trtnn source, and from that to a module with its weights: the stages, one after another."""

from __future__ import annotations

import copy
import linecache
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError, TrtnnError, VerificationError, listed, where
from trtnn.from_torch import intake
from trtnn.from_torch.classes.classes import Classes
from trtnn.from_torch.example import Example
from trtnn.from_torch.graphs.exported import as_it_was
from trtnn.from_torch.other_lengths import check_other_lengths
from trtnn.from_torch.recording.observers import in_double
from trtnn.from_torch.recording.packing import packs, padded_in_full
from trtnn.from_torch.recording.padding import padded_encoders, without_fast_path
from trtnn.from_torch.recording.steps import Step, steps_within
from trtnn.from_torch.recording.tape import Tape
from trtnn.from_torch.recording.tracing import answered_questions
from trtnn.from_torch.transcript import Transcript
from trtnn.from_torch.verify import (
    largest_difference,
    mapped,
    other_masks,
    outputs_of,
    rounded_otherwise,
    with_second_example,
)
from trtnn.from_torch.write import Source
from trtnn.modules.module import Module
from trtnn.network import Network

_MOST_TRIALS = 40


class Conversion:
    """A torch module that was recorded, and the source that was written of it.

    Args:
        module, args, kwargs: what :func:`from_torch` is given.
        dynamic: likewise, or a function that returns it for the names of the inputs.
        told: is called with each stage as it begins.

    Attributes:
        transcript: the recorded call, with the source.
        network: what the source traces to, once it was tried.
        second: the second input that it was compared on, once verified.
        difference: the largest from torch on either input, in parts of an output's largest magnitude, once verified.
        in_forward: why the rounding of a model's own modules stays operations in forward; None of others.
        int8_sums: of a model whose rounding is declared, the modules whose sums read int8 where torch adds floats.
        packs: whether it packs sequences by a tensor of lengths.
        notes: what the network does otherwise than torch may, each a text for a warning.
    """

    network: Network | None = None
    second: list[torch.Tensor] | None = None
    difference: float | None = None
    in_forward: str | None = None
    int8_sums: tuple[str, ...] = ()

    def __init__(
        self,
        module: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        dynamic: Any = None,
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.torch_module = intake.as_module(module)
        kinds = (torch.jit.ScriptModule, torch.jit.ScriptFunction)
        holds = isinstance(module, nn.Module) and any(isinstance(inner, kinds) for inner in module.modules())
        self.oracle = module if holds or isinstance(module, kinds) else self.torch_module  # what is verified against
        if type(module).__name__ == "ExportedProgram":
            self.oracle = as_it_was(module)
        intake.check(self.torch_module, args, kwargs)
        self.told = told
        self.name = intake.name_of_class(module)
        self.example = Example(args, kwargs, dynamic)
        self._brought: dict[int, tuple[torch.Tensor, Any]] = {}
        self.transcript = Transcript(self.torch_module, self.example, self.name, told=told)
        tape = self.transcript.tape
        self.packs = packs(tape)
        self.notes = (*_of_padding(tape), *_of_packing(tape), *_of_weights_numbers(tape))

    @property
    def source(self) -> Source:
        """The text, with what it came of."""
        return self.transcript.source

    @property
    def classes(self) -> Classes:
        """The classes that are written."""
        return self.transcript.classes

    @property
    def result(self) -> Any:
        """What torch's module returned for the example."""
        return self.transcript.result

    def header(self) -> str:
        """Return the first line of the source."""
        return self.transcript.header()

    def input_tensors(self) -> list[torch.Tensor]:
        """Return the example's tensors in the order of the inputs."""
        return self.example.tensors()

    def shapes(self) -> list[tuple[Any, ...]]:
        """Return the inputs' shapes, with Dims for what is dynamic."""
        return self.transcript.shapes()

    def run(self, verify: bool) -> Module:
        """Check, try and verify the source, and return its module.

        Without ``verify`` it is traced only where it computes something of constants, which trtnn may be unable to.
        """
        if not verify:
            return self.trial() if self.classes.compute_constants else self.execute()
        check_other_lengths(self.transcript, self.told)
        model = self.trial()
        self.verify()
        return model

    # -- the source, executed -----------------------------------------------------------------------------------------

    def execute(self) -> Module:
        """Run the source, and return its module with the weights."""
        file = self._file
        linecache.cache[file] = (len(self.source.text), None, self.source.text.splitlines(True), file)
        namespace = ModuleType(self.name)
        exec(compile(self.source.text, file, "exec"), namespace.__dict__)
        model = getattr(namespace, self.source.classes[-1])()
        model.load_state_dict(self.state(model))
        model.source = self.source.text
        return model

    @property
    def _file(self) -> str:
        """Under which tracebacks name the source."""
        return f"<trtnn source of {self.name}>"

    def state(self, model: Module) -> dict[str, Any]:
        """Return the weights under the names of the source's module; they share torch's memory on a CPU.

        Those on a GPU come over once, however often the source is executed.
        """
        tensors: dict[str, Any] = {}
        for named in (self.torch_module.named_parameters, self.torch_module.named_buffers):
            tensors.update(named(remove_duplicate=False))
        for path, constants in self.transcript.constants.tensors.items():
            tensors.update({f"{path}.{name}" if path else name: tensor for name, tensor in constants.items()})
        return {name: self._on_cpu(tensors[name]) for name in model._state() if name in tensors}

    def _on_cpu(self, tensor: torch.Tensor) -> Any:
        if tensor.device.type == "cpu":
            return _shared(tensor)
        if id(tensor) not in self._brought:
            self._brought[id(tensor)] = tensor, _shared(tensor.detach().cpu())  # kept, so that no other takes its id
        return self._brought[id(tensor)][1]

    # -- the source, traced -------------------------------------------------------------------------------------------

    def trial(self) -> Module:
        """Execute and trace; what trtnn cannot compute of constants becomes a Buffer, and the source is written anew.

        Raises:
            TrtnnError: trtnn refuses an operation; the details name the torch module and the user's line.
        """
        self.told("tracing what the source says")
        folded: dict[Any, tuple[Exception, Step]] = {}
        for _ in range(_MOST_TRIALS):
            model = self.execute()
            try:
                self.network = model.trace()
            except Exception as error:
                step = self._step_of(error)
                if step is None:
                    raise
                if self.transcript.may_fold(step):
                    folded[step.place] = error, step
                    self.transcript.fold(step)
                    continue
                # A constant that is folded is of lengths that are dynamic: what was refused of it is told.
                error, step = folded.get(step.place, (error, step)) if step.number < 0 else (error, step)
                raise _placed(error, step) from error
            return model
        raise TrtnnError("the constants of this model cannot be written")  # each trial folds one

    def _step_of(self, error: Exception) -> Step | None:
        """Return the recorded step that the line of source is of where an error was raised."""
        file, root = self._file, self.transcript.tape.root
        frames = traceback.extract_tb(error.__traceback__)
        for i in range(len(frames) - 1, -1, -1):
            steps = self.source.places.get(frames[i].lineno or 0) if frames[i].filename == file else None
            if steps:
                within = [frame.name for frame in frames[i + 1 :]]  # of trtnn's functions, which have torch's names
                return next((step for step in steps if step.name.strip("_") in within), steps[-1])
        if any(frame.filename == file for frame in frames) or root is None:
            return None
        # An output is refused behind the last line, for what was written to.
        steps = [step for step in steps_within(root) if step.writes is not None and step.scope is None]
        return steps[-1] if steps else None

    # -- beside torch -------------------------------------------------------------------------------------------------

    def verify(self) -> float:
        """Compare with torch on the example and on a second input; return the largest difference.

        Raises:
            VerificationError: it differs.
            UnsupportedError: with other lengths the module does something else.
        """
        self.told("comparing with torch on the example")
        self.transcript.tape.forget_numbers()
        tensors = self.input_tensors()
        is_torchs = self.oracle is self.torch_module and not self.transcript.told_traced
        first = self._compare(tensors, "the example", self.result if is_torchs else None)
        self.told("comparing with torch on a second input")
        # Of rows of the example where sequences are packed: the longest is as long.
        called = self._called_with_others
        self.second, theirs = with_second_example(called, tensors, self.shapes(), by_rows=self.packs)
        self.difference = max(first, self._compare(self.second, "a second input", theirs))
        if self.transcript.told_traced:
            self.difference = max(self.difference, self._compare_other_decisions(tensors))
        return self.difference

    def _compare_other_decisions(self, tensors: list[torch.Tensor]) -> float:
        """Compare on masks with which torch, which is not told that a graph is made of it, goes the other way."""
        others = other_masks(tensors)
        try:
            theirs = self._called_with_others(others)
        except ArgumentError:  # they are no masks, and what they are the module does not take
            return 0.0
        return self._compare(others, "masks of other numbers", theirs)

    def _compare(self, tensors: list[torch.Tensor], which: str, theirs: Any) -> float:
        if theirs is None:
            theirs = self._called_with_others(tensors)
        assert self.network is not None  # it was tried
        ours = self.network.run(*(_shared(tensor).cpu() for tensor in tensors))  # NumPy has no bfloat16
        try:
            return largest_difference(ours, theirs, which, lambda number: self._call_exactly(tensors, number))
        except VerificationError:
            self._check_is_the_same_again(tensors, theirs, which)
            self._check_is_not_of_graphs(tensors, ours, which)
            raise

    def _check_is_the_same_again(self, tensors: list[torch.Tensor], theirs: Any, which: str) -> None:
        """Check that torch gives again what it gave, before a difference is laid to the conversion.

        Raises:
            VerificationError: it does not.
        """
        try:
            largest_difference(self.call(tensors), theirs, which)
        except VerificationError as error:
            raise VerificationError(
                f"on {which} torch's own forward gives something else each time, so that nothing can be compared",
                "a network draws no random numbers, as of NumPy or Python's random: give them as an input",
            ) from error

    def _check_is_not_of_graphs(self, tensors: list[torch.Tensor], ours: Any, which: str) -> None:
        """Check that a difference is not between torch's own results, with and without a graph that is made of it.

        Raises:
            VerificationError: it is: the network gives what torch gives where functions are told of a graph.
        """
        told = self.transcript.told_traced
        if not told:
            return
        try:
            with answered_questions(told, set()):
                theirs = self.call(tensors)
            largest_difference(ours, theirs, which)
        except Exception:  # of either comparison; the difference is told as it is
            return
        names = listed(sorted({code.co_name for code in told}), 5)
        raise VerificationError(
            f"on {which} torch itself gives something else where a graph is made of the module, as the network does",
            f"torch.compiler.is_compiling() or is_exporting() decides it in {names}, which else decides by numbers",
            "inputs or options that leave no choice, such as a mask or attn_implementation='eager', have one result; "
            "verify=False takes that of graphs",
        )

    def call(self, tensors: list[torch.Tensor]) -> Any:
        """Call the module that was given, with other tensors in the places of the example's.

        A trace that pads packed sequences does so to the longest one: where that is not what a network does, or the
        sequences are in an order that it takes not, what it was read as is called.
        """
        if not self.packs or self.oracle is self.torch_module:
            return self._called(self.oracle, tensors)
        padded = self._called(self.torch_module, tensors)
        try:
            theirs = self._called(self.oracle, tensors)
        except RuntimeError:
            return padded
        return theirs if [*map(_shape, outputs_of(theirs))] == [*map(_shape, outputs_of(padded))] else padded

    def _called(self, module: Any, tensors: list[torch.Tensor]) -> Any:
        args, kwargs = self.example.with_tensors(tensors)
        with torch.no_grad(), without_fast_path(), padded_in_full(known=self.transcript.tape.known_lengths):
            return module(*args, **kwargs)

    def _called_with_others(self, tensors: list[torch.Tensor]) -> Any:
        """Call the module with inputs that the user did not choose.

        Raises:
            ArgumentError: the module raises an error.
        """
        try:
            return self.call(tensors)
        except Exception as error:
            raise ArgumentError(
                f"torch's own forward raised {type(error).__name__}: {error}",
                "with a second input, of random numbers as large as the example's",
                "verify=False leaves the comparison out",
            ) from error

    def _call_exactly(self, tensors: list[torch.Tensor], number: int) -> Any:
        """Call a copy of the torch module in fp64: the first as it is, others with all numbers moved by a rounding."""
        args, kwargs = self.example.with_tensors(tensors)
        args, kwargs = mapped((args, kwargs), lambda t: t.double() if t.is_floating_point() else t)
        with torch.no_grad(), without_fast_path(), padded_in_full(known=self.transcript.tape.known_lengths):
            exact = in_double(copy.deepcopy(self.oracle)) if isinstance(self.oracle, nn.Module) else self.oracle
            if number:
                generator = torch.Generator().manual_seed(number)
                args, kwargs = mapped((args, kwargs), lambda t: rounded_otherwise(t, generator))
                for tensor in exact.parameters() if isinstance(exact, nn.Module) else ():
                    tensor.copy_(rounded_otherwise(tensor, generator))
            return exact(*args, **kwargs)


def _shape(output: tuple[str, Any]) -> tuple[int, ...]:
    return tuple(output[1].shape)


def _of_padding(tape: Tape) -> Iterator[str]:
    encoders = [path or "the model" for path in padded_encoders(tape)]
    if encoders:
        yield (
            f"where src_key_padding_mask is true, torch without gradients gives zeros, in {listed(encoders, 5)}, if "
            "padding is at the end of each row; the network gives what the layers give, as torch does with gradients "
            "and in torch.export: enable_nested_tensor=False has torch do so always"
        )


def _of_packing(tape: Tape) -> Iterator[str]:
    if places := {str(step.place): None for step in tape.padded}:
        lines = "".join(f"\n  {place}" for place in [*places][:5])
        yield (
            "pad_packed_sequence gives as many steps as the longest sequence has, and in the network as many as the "
            "padded batch has: the same where the longest sequence fills it; total_length=x.size(1), with batch_first, "
            f"or x.size(0) has torch do so always{lines}"
        )


def _of_weights_numbers(tape: Tape) -> Iterator[str]:
    if tape.taken:
        names = [*dict.fromkeys(name for names in tape.taken.values() for name in names)]
        places = "".join(f"\n  {place}" for place in [*tape.taken][:5])
        yield (
            f"Python takes numbers of {listed(names, 5)}, and what it makes of them stays in the source, whatever "
            f"weights are loaded: convert a model with the weights that are meant{places}"
        )


def _placed(error: Exception, step: Any) -> Exception:
    lines = [f"recorded in {where(step.path)}, of torch's {step.name}", f"  {step.place}"]
    if isinstance(error, TrtnnError):
        return type(error)(error.summary, *error.details, *lines)
    return TrtnnError(f"{type(error).__name__}: {error}", *lines)


def _shared(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach()
    return tensor.float() if tensor.dtype == torch.float64 else tensor
