"""A graph of TorchScript as the lines of a Python function, with the author's variables and places."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import torch
from torch import nn

from trtnn.errors import ArgumentError, where
from trtnn.from_torch.graphs.recurrent import Calling, takes_packed
from trtnn.from_torch.recording.frames import TORCH, Place
from trtnn.from_torch.source.names import free_name, is_name

_DTYPES = (
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64,
    torch.complex32, torch.complex64, torch.complex128, torch.bool, None, None, None, torch.bfloat16,
)  # fmt: skip
_HOW = frozenset(("device", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "generator"))
_SIGNS = {"add": "+", "sub": "-", "rsub": "-", "mul": "*", "div": "/", "floor_divide": "//", "floordiv": "//",
          "remainder": "%", "matmul": "@", "pow": "**"}  # fmt: skip
# Of numbers alone: what a trace does to lengths, which it takes for tensors.
_COMPARED = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
_NUMBER_STAYS = frozenset(
    ("aten::detach", "aten::detach_", "aten::clone", "aten::lift_fresh", "aten::alias", "aten::to")
)
_OF_ONE = {"neg": "(-{})", "abs": "abs({})", "reciprocal": "(1 / {})", "square": "({} ** 2)", "round": "round({})"}
_FRACTIONS = frozenset(("div", "reciprocal", "sqrt", "log", "log2", "log10", "exp"))  # of whole numbers as well
_ITSELF = frozenset(("alias", "lift_fresh"))
_OF_NUMBERS = frozenset(("prim::NumToTensor", "aten::Int", "aten::IntImplicit", "aten::FloatImplicit",
                         "aten::ScalarImplicit", "aten::Float"))  # fmt: skip
_LENGTHS = frozenset(("reshape", "view", "permute", "expand", "repeat"))  # whose lengths stand one by one
_OTHERWISE = frozenset(("norm", "where", "istft", "stft", "unique", "type_as"))  # methods with arguments of their own
_NO_NAMES = frozenset(("self", "torch", "math", "values", "input"))  # the last is torch's own
_WRITTEN_LATER = frozenset((
    "prim::ListConstruct", "prim::TupleConstruct", "prim::DictConstruct", "aten::size", "aten::to", "aten::slice",
    "aten::dropout", "aten::feature_dropout", *(f"aten::{name}" for name in _ITSELF),
))  # fmt: skip
_END = 2**63 - 1
CALLINGS = "_callings"  # the attribute of a recurrent module that has, of each of its methods, how a graph calls it
_INSTEAD = "give the nn.Module that it was made of, or torch.export.export of that"


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float) or (isinstance(value, torch.Tensor) and value.ndim == 0)


def _packed(node: Any) -> tuple[Any, Any]:
    """Return what an author packed, and the lengths: torch sorts both before, where he says so."""
    x, lengths, _ = node.inputs()
    ordered, counts = x.node(), lengths.node()
    if ordered.kind() == "aten::index_select" and counts.kind() == "aten::sort" and _is_torchs(ordered):
        return next(iter(ordered.inputs())), next(iter(counts.inputs()))
    return x, lengths


def _is_torchs(node: Any) -> bool:
    """Whether a line of torch's own functions for sequences made a node."""
    return "torch/nn/utils/rnn.py" in node.sourceRange().partition("): ")[0].replace("\\", "/")


def _places(indices: str) -> str:
    """Return the source of an index of Python's, of a list in which None is a whole dimension."""
    return re.sub(r"(?<![\w.])None(?!\w)", ":", indices[1:-1])


class Method:
    """One graph as the lines of a function.

    Attributes:
        parameters: the function's.
        lines: its body, each with the author's line.
    """

    def __init__(self, script: Any, module: nn.Module, path: str, graph: Any) -> None:
        self.script, self.module, self.path = script, module, path
        self.lines: list[tuple[str, Place | None]] = []
        self._texts: dict[str, str] = {}
        self._sizes: set[str] = set()  # the batch sizes of packed sequences
        self._unsorted: set[str] = set()  # packed sequences in an order of torch's own
        self._called: dict[str, tuple[str, Calling, bool]] = {}  # recurrent modules, by what their graphs give
        self._numbers: set[str] = set()
        self._fractions: set[str] = set()  # of them those that are floats
        self._bound: dict[str, str] = {}
        self._last: dict[str, int] = {}
        self._uses: Counter[str] = Counter()
        nodes = list(graph.nodes())
        self._look(nodes, graph.return_node())
        inputs = list(graph.inputs())
        if script is not None:
            self._texts[inputs.pop(0).debugName()] = "self"
        self.parameters = []
        for i, value in enumerate(inputs):  # a trace knows the names of those of the model alone
            name = None if path else self._name(value, -1)
            self.parameters.append(name or ("x" if i == 0 else f"x{i + 1}"))
            self._bound[self.parameters[-1]] = value.debugName()
            self._texts[value.debugName()] = self.parameters[-1]
        for i, node in enumerate(nodes):
            self._write(node, i)
        result = [self._texts[value.debugName()] for value in graph.outputs()]
        self.lines.append((f"return {result[0] if len(result) == 1 else f'({chr(44).join(result)})'}", None))

    def _look(self, nodes: list[Any], returned: Any) -> None:
        """Note which values are numbers, how often each is used, and up to which node it is read.

        What is written where it is used reads what it is of as late as that.
        """
        late = []
        for i, node in enumerate([*nodes, returned]):
            names = [value.debugName() for value in node.inputs()]
            if node.kind() == "aten::_pack_padded_sequence":
                names += [value.debugName() for value in _packed(node)]
            for name in names:
                self._last[name] = i
                self._uses[name] += 1
            number = node.kind() in _OF_NUMBERS or (
                node.kind().startswith("aten::") and names and self._numbers >= {*names}
            )
            number = number or (node.kind() == "aten::size" and len(names) == 2)
            number = number or (node.kind() in _NUMBER_STAYS and names[0] in self._numbers)
            number = number or (node.kind() == "prim::Constant" and _is_number(node.output().toIValue()))
            if number:
                self._numbers.add(node.output().debugName())
            if number or node.kind() in _WRITTEN_LATER:
                late.append(node)
        for node in reversed(late):
            until = max((self._last.get(value.debugName(), -1) for value in node.outputs()), default=-1)
            for value in node.inputs():
                self._last[value.debugName()] = max(self._last[value.debugName()], until)

    # -- names --------------------------------------------------------------------------------------------------------

    def _name(self, value: Any, at: int) -> str | None:
        """Return the author's name of a value, or None; a name whose value is still read is not bound anew."""
        name = value.debugName()
        stem = name.rpartition(".")[0] or name
        return None if not is_name(stem) or stem in _NO_NAMES else self._free(value, at, stem)

    def _named(self, value: Any, at: int, usual: str) -> str:
        """Return the author's name of a value, or what is usual."""
        return self._name(value, at) or self._free(value, at, usual)

    def _free(self, value: Any, at: int, stem: str) -> str:
        free = free_name(stem, lambda wanted: wanted in self._bound and self._last.get(self._bound[wanted], -1) > at)
        self._bound[free] = value.debugName()
        return free

    def _place(self, node: Any) -> Place | None:
        for line in node.sourceRange().splitlines():
            match = re.match(r"(.+)\((\d+)\): (.+)", line) or re.match(
                r' *File "(.+)", line (\d+)()', line
            )  # of a script
            if match and not match[1].startswith((TORCH, "<")):
                return Place(match[1], int(match[2]), match[3] or "forward")
        return None

    def _assign(self, node: Any, text: str, i: int, otherwise: str | None = None) -> None:
        value = node.output()
        name = self._name(value, i) or otherwise
        if name is None:
            name = f"values[{i}]"  # under which nobody takes it for the author's
            if not any(line == "values = {}" for line, _ in self.lines):
                self.lines.insert(0, ("values = {}", None))
        self.lines.append((f"{name} = {text}", self._place(node)))
        self._texts[value.debugName()] = name

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _write(self, node: Any, i: int) -> None:
        kind = node.kind()
        outputs = [value.debugName() for value in node.outputs()]
        texts = [self._texts.get(value.debugName(), "None") for value in node.inputs()]
        if kind == "prim::Constant":
            self._texts[outputs[0]] = self._constant(node)
        elif kind == "prim::GetAttr":
            self._texts[outputs[0]] = self._attribute(node, texts[0])
        elif kind == "prim::ListConstruct":
            if str(node.output().type()) == "List[Tensor]":
                names = [value.debugName() for value in node.inputs()]
                texts = [f"torch.tensor({t})" if n in self._numbers else t for n, t in zip(names, texts, strict=True)]
            self._texts[outputs[0]] = f"[{', '.join(texts)}]"
        elif kind == "prim::TupleConstruct":
            self._texts[outputs[0]] = f"({''.join(f'{text}, ' for text in texts)})"
        elif kind == "prim::DictConstruct":
            pairs = zip(texts[::2], texts[1::2], strict=True)
            self._texts[outputs[0]] = f"{{{', '.join(f'{key}: {value}' for key, value in pairs)}}}"
        elif kind in ("prim::ListUnpack", "prim::TupleUnpack"):
            self._unpack(node, texts[0], i)
        elif kind in _OF_NUMBERS:
            self._number(node, texts[0], i)
        elif kind == "prim::CallMethod" and str(node.output().type()) == "NoneType":
            return  # of a module that gave what it took, such as an Identity, a trace knows neither
        elif kind == "prim::CallMethod":
            self._call(node, texts, i)
        elif not kind.startswith("prim::") and not takes_packed(node):
            self._operation(node, kind.removeprefix("aten::"), texts, i)
        else:
            raise self._refusal(node, kind)

    def _member(self, value: Any) -> Any:
        """Return the module that a value is, or None."""
        node = value.node()
        if node.kind() != "prim::GetAttr":
            return self.module
        return getattr(self._member(node.input()), node.s("name"), None)

    def _calling(self, node: Any) -> Calling | None:
        """Return how a graph calls the recurrent module that a node calls; None of other modules."""
        module = self._member(next(iter(node.inputs())))
        return vars(module).get(CALLINGS, {}).get(node.s("name")) if isinstance(module, nn.Module) else None

    def _call(self, node: Any, texts: list[str], i: int) -> None:
        """Call a module."""
        if (calling := self._calling(node)) is not None:
            self._call_recurrent(node, calling, texts, i)
            return
        method = node.s("name")
        callee = texts[0] if method == "forward" else f"{texts[0]}._{method}"
        self._assign(node, f"{callee}({', '.join(texts[1:])})", i, self._in_its_place(node, texts, i))

    def _call_recurrent(self, node: Any, calling: Calling, texts: list[str], i: int) -> None:
        """Call a recurrent module as torch.nn's is called, of whose results a graph has those that are used."""
        arguments = calling.arguments(texts[1:], lambda parts: f"({', '.join(parts)})")
        text = f"{texts[0]}({', '.join(arguments)})"
        taken = [value.debugName() for value in node.inputs()][1:][calling.input]
        if calling.sorts and taken not in self._unsorted:
            raise self._refusal(node, "a packed sequence that was sorted elsewhere")
        if taken in self._unsorted and calling.is_one:
            self._unsorted.add(node.output().debugName())
        if calling.is_one:
            self._assign(node, text + "".join(f"[{place}]" for place in calling.results[0]), i)
        else:
            self._called[node.output().debugName()] = text, calling, taken in self._unsorted

    def _unpack_states(self, node: Any, i: int) -> None:
        """Write ``output, (h, c) = lstm(x)``, with a variable for what is used."""
        text, calling, is_unsorted = self._called[node.input().debugName()]
        names: dict[tuple[int, ...], str] = {}
        usual: dict[tuple[int, ...], str] = {(0,): "output", (1,): "h", (1, 0): "h", (1, 1): "c"}
        if calling.is_cell:
            usual |= {(0,): "h", (1,): "c"}
        for value, places in zip(node.outputs(), calling.results, strict=True):
            names[places] = self._named(value, i, usual[places])
            if places == (0,) and is_unsorted:
                self._unsorted.add(value.debugName())
            self._texts[value.debugName()] = names[places]
        states = f"({names.get((1, 0), '_')}, {names.get((1, 1), '_')})"
        second = states if any(len(places) > 1 for places in names) else names.get((1,), "_")
        producer = node.input().node()
        line = f"{names.get((0,), '_')}, {second} = {text}"
        self.lines.append((line, self._place(node) or self._place(producer)))

    def _refusal(self, node: Any, kind: str) -> ArgumentError:
        """Return the error of what a trace does not tell."""
        place = self._place(node)
        what = f"{kind} in {where(self.path)}: of torch.jit.script, whose control flow no trace shows"
        if kind == "prim::PythonOp":
            what = f"a torch.autograd.Function in {where(self.path)}, whose operations a trace does not hold"
        if takes_packed(node):  # which torch.export takes not
            what = f"{kind} of a packed sequence in {where(self.path)}, which a trace does not say the module of"
        instead = "give the nn.Module that it was made of" if takes_packed(node) else _INSTEAD
        return ArgumentError(what, *([f"  {place}"] if place else []), instead)

    def _attribute(self, node: Any, base: str) -> str:
        name = node.s("name")
        value = getattr(self.script, name, None) if base == "self" else None
        if isinstance(value, (bool, int, float, str)):
            if _is_number(value):
                self._numbers.add(node.output().debugName())
            return repr(value)
        return f"{base}.{name}" if is_name(name) else f"getattr({base}, {name!r})"

    def _in_its_place(self, node: Any, texts: list[str], i: int) -> str | None:
        """Return the variable for what a module of a list gives: that of what it took, so that a loop can do it."""
        if len(texts) != 2 or not texts[0].startswith("getattr("):
            return None
        name = texts[1] if texts[1].isidentifier() else "x"
        if self._last.get(self._bound.get(name, ""), -1) > i:
            return None
        self._bound[name] = node.output().debugName()
        return name

    def _constant(self, node: Any) -> str:
        output = node.output()
        value = output.toIValue()
        if isinstance(value, torch.Tensor):
            if value.ndim:
                i = 1
                while hasattr(self.module, name := f"constant{i if i > 1 else ''}"):
                    i += 1
                setattr(self.module, name, value)
                return f"self.{name}"
            value = value.item()
        if isinstance(value, float):
            self._fractions.add(output.debugName())
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        return "None" if isinstance(value, torch.device) else repr(value)

    def _unpack(self, node: Any, text: str, i: int) -> None:
        if node.input().debugName() in self._called:
            self._unpack_states(node, i)
            return
        targets = []
        for k, value in enumerate(node.outputs()):
            targets.append(self._name(value, i) or f"part{i}_{k}")
            self._texts[value.debugName()] = targets[-1]
        producer = node.input().node()
        place = self._place(node)
        if self.lines and self.lines[-1][0].startswith(f"{text} = ") and self._uses[node.input().debugName()] == 1:
            line, place = self.lines.pop()
            text = line.removeprefix(f"{text} = ")
        self.lines.append(
            (f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {text}", place or self._place(producer))
        )

    def _number(self, node: Any, text: str, i: int) -> None:
        """Write what is a number, in a trace's own eyes a tensor, and is a number again."""
        source = node.input()
        name = source.debugName()
        if name not in self._numbers or (name in self._fractions and node.kind() in ("aten::Int", "aten::IntImplicit")):
            text = f"{'float' if node.kind() == 'aten::Float' else 'int'}({text})"
        elif name in self._fractions:
            self._fractions.add(node.output().debugName())
        if source.node().kind() != "aten::size":
            self._texts[node.output().debugName()] = text
            return
        self._assign(node, text, i)
        rank = len(source.node().inputsAt(0).type().sizes() or ())
        matches = (
            [re.fullmatch(r"(\w+) = (.+)\.shape\[(\d+)\]", line) for line, _ in self.lines[-rank:]] if rank else []
        )
        sizes = [match.groups() for match in matches if match is not None]
        of = sizes[0][1] if sizes else ""
        if len(sizes) == rank > 1 and [size[1:] for size in sizes] == [(of, str(k)) for k in range(rank)]:
            place = self.lines[-rank][1]
            self.lines[-rank:] = [(f"{', '.join(size[0] for size in sizes)} = {of}.shape", place)]

    def _operation(self, node: Any, name: str, texts: list[str], i: int) -> None:
        names = [value.debugName() for value in node.inputs()]
        output = node.output().debugName() if node.outputsSize() == 1 else ""
        if self._is_of_packing(node, name, texts, i):
            return
        if name == "size" and len(texts) == 2:
            text = f"{texts[0]}.shape[{texts[1]}]"
            if all(use.user.kind() == "prim::NumToTensor" for use in node.output().uses()):
                self._texts[output] = text
            else:
                self._assign(node, text, i)
            return
        if name == "index_put_" and node.inputsAt(3).toIValue() is False:
            self.lines.append((f"{texts[0]}[{_places(texts[1])}] = {texts[2]}", self._place(node)))
            self._texts[output] = texts[0]
            return
        positional, keywords = self._arguments(node, texts)
        if output in self._numbers:
            if name in _FRACTIONS or any(value in self._fractions for value in names):
                self._fractions.add(output)
            if "alpha" in keywords:
                at = 0 if name == "rsub" else 1
                texts[at] = f"{keywords['alpha']} * {texts[at]}"
            self._texts[output] = self._of_numbers(node, name, texts, names[0] in self._fractions)
            return
        text = self._spelled(name, texts, positional, keywords, node)
        if output and text == texts[0]:
            self._texts[output] = text
        elif output:
            self._assign(node, text, i)
        else:
            targets = [self._name(value, i) or f"part{i}_{k}" for k, value in enumerate(node.outputs())]
            self._texts.update(zip((value.debugName() for value in node.outputs()), targets, strict=True))
            self.lines.append((f"{', '.join(targets)} = {text}" if targets else text, self._place(node)))

    def _is_of_packing(self, node: Any, name: str, texts: list[str], i: int) -> bool:
        """Write an operation by which torch packs and pads sequences; return whether it is one."""
        if name == "_pack_padded_sequence":
            self._pack(node, texts, i)
            return True
        if name == "_pad_packed_sequence":
            self._pad(node, texts, i)
            return True
        first = next((value.debugName() for value in node.inputs()), "")
        if name in ("index_select", "index") and first in self._unsorted and _is_torchs(node):
            self._texts[node.output().debugName()] = texts[0]  # padded in the order of the author, which was kept
            return True
        if name == "size" and first in self._sizes:
            self._texts[node.output().debugName()] = "None"  # the longest length, which pad_packed_sequence knows
            return True
        return False

    def _pack(self, node: Any, texts: list[str], i: int) -> None:
        """Write ``pack_padded_sequence`` with what its author gave: torch sorts it before, where he says so."""
        x, lengths = _packed(node)
        data, sizes = node.outputs()
        is_sorted = x.debugName() == next(iter(node.inputs())).debugName()
        if not is_sorted:
            self._unsorted.add(data.debugName())
        given = [self._texts[value.debugName()] for value in (x, lengths)]
        while lengths.node().kind() in _NUMBER_STAYS:
            lengths = next(iter(lengths.node().inputs()))
        if lengths.node().kind() == "prim::Constant":  # a list that its author gave
            given[1] = str(lengths.toIValue().tolist())
        name = self._named(data, i, "packed")
        call = f"torch.nn.utils.rnn.pack_padded_sequence({', '.join(given)}, {texts[2]}, {is_sorted})"
        self.lines.append((f"{name} = {call}", self._place(node)))
        self._texts |= {data.debugName(): name, sizes.debugName(): "None"}
        self._sizes.add(sizes.debugName())

    def _pad(self, node: Any, texts: list[str], i: int) -> None:
        """Write ``pad_packed_sequence``; its length is the longest sequence's where it was not given."""
        sequence, sizes, _, _, total = node.inputs()
        padded, lengths = node.outputs()
        told = total.node()
        while told.kind() in ("aten::Int", "prim::NumToTensor"):
            told = told.input().node()
        is_longest = told.kind() == "aten::size" and next(iter(told.inputs())).debugName() == sizes.debugName()
        names = [self._named(padded, i, "output"), self._named(lengths, i, "lengths")]
        arguments = [texts[0], *texts[2:4], *([] if is_longest else [texts[4]])]
        call = f"torch.nn.utils.rnn.pad_packed_sequence({', '.join(arguments)})"
        self.lines.append((f"{', '.join(names)} = {call}", self._place(node)))
        self._texts |= {padded.debugName(): names[0], lengths.debugName(): names[1]}
        if sequence.debugName() in self._unsorted:
            self._unsorted |= {padded.debugName(), lengths.debugName()}

    def _of_numbers(self, node: Any, name: str, texts: list[str], is_fraction: bool) -> str:
        """Return what is computed of numbers alone, as Python does it.

        Raises:
            ArgumentError: Python has it not.
        """
        if f"aten::{name}" in _NUMBER_STAYS:
            dtypes = [value.toIValue() for value in node.inputs() if value.node().kind() == "prim::Constant"]
            dtype = next((_DTYPES[code] for code in dtypes if type(code) is int), None) if name == "to" else None
            if dtype is None:
                return texts[0]
            if dtype.is_floating_point:
                self._fractions.add(node.output().debugName())
                return texts[0] if is_fraction else f"float({texts[0]})"
            return f"int({texts[0]})" if is_fraction else texts[0]
        sign = _SIGNS.get(name) or _COMPARED.get(name)
        if sign is not None and len(texts) > 1:
            return f"({' '.join(self._in_order(name, texts[0], sign, texts[1]))})"
        if name in _OF_ONE:
            return _OF_ONE[name].format(texts[0])
        if hasattr(math, name):
            return f"math.{name}({texts[0]})"
        place = self._place(node)
        raise ArgumentError(
            f"aten::{name} of a length in {where(self.path)}, of which Python has no such function",
            *([f"  {place}"] if place else []),
            _INSTEAD,
        )

    def _in_order(self, name: str, left: str, sign: str, right: str) -> tuple[str, str, str]:
        return (right, sign, left) if name == "rsub" else (left, sign, right)

    def _arguments(self, node: Any, texts: list[str]) -> tuple[list[str], dict[str, str]]:
        """Return an operation's arguments as source, without those that are their defaults, and where it is."""
        schema = torch._C.parse_schema(node.schema())
        positional: list[str] = []
        keywords: dict[str, str] = {}
        kept = 0
        for argument, value, own in zip(schema.arguments, node.inputs(), texts, strict=True):
            if argument.name in _HOW or argument.name == "requires_grad":
                continue
            constant = value.toIValue() if value.node().kind() == "prim::Constant" else ...
            text = str(_DTYPES[constant]) if argument.name == "dtype" and isinstance(constant, int) else own
            default = argument.has_default_value() and constant is not ... and constant == argument.default_value
            if argument.kwarg_only:
                if not default:
                    keywords[argument.name] = text
                continue
            positional.append(text)
            kept = kept if default else len(positional)
        return positional[:kept], keywords

    def _spelled(self, name: str, texts: list[str], args: list[str], keywords: dict[str, str], node: Any) -> str:
        """Return an operation as a person writes it."""
        inputs = list(node.inputs())
        constants = [value.toIValue() if value.node().kind() == "prim::Constant" else None for value in inputs]
        if name in _ITSELF or (name in ("dropout", "feature_dropout") and constants[2] is False):
            return texts[0]
        if name in _SIGNS and len(args) == 2 and not keywords:
            return " ".join(self._in_order(name, args[0], _SIGNS[name], args[1]))
        if name == "_convolution":
            return self._convolution(node, texts, constants)
        if name == "to":
            kinds = [text for text in (*args[1:], *keywords.values()) if text.startswith("torch.")]
            others = [text for value, text in zip(inputs[1:], texts[1:], strict=True) if str(value.type()) == "Tensor"]
            return f"{args[0]}.to({kinds[0]})" if kinds else f"{args[0]}.type_as({others[0]})" if others else args[0]
        if name == "slice" and type(constants[1]) is int and constants[1] >= 0:
            start, stop = ("" if constants[k] in (0, _END) or texts[k] == "None" else texts[k] for k in (2, 3))
            start = "" if texts[2] in ("0", "None") else start
            step = "" if constants[4] == 1 else f":{texts[4]}"
            return texts[0] if not start + stop + step else f"{texts[0]}[{':, ' * constants[1]}{start}:{stop}{step}]"
        if name == "select" and type(constants[1]) is int and constants[1] >= 0:
            return f"{texts[0]}[{':, ' * constants[1]}{texts[2]}]"
        if name == "index":
            return f"{texts[0]}[{_places(texts[1])}]"
        if name == "size":
            return f"{texts[0]}.shape"
        args = [
            f"torch.tensor({text})" if v.debugName() in self._numbers and str(v.type()) == "Tensor" else text
            for v, text in zip(inputs, args, strict=False)
        ]
        words = [*args[1:], *(f"{key}={value}" for key, value in keywords.items())]
        if len(args) == 1 and not callable(getattr(torch.Tensor, name, None)) and hasattr(torch.Tensor, name):
            return f"{args[0]}.{name}"
        if name in _LENGTHS and len(args) == 2 and args[1][0] == "[":
            words[0] = args[1][1:-1]
        if hasattr(torch.Tensor, name) and name not in _OTHERWISE and str(inputs[0].type()) != "List[Tensor]":
            return f"{args[0]}.{name}({', '.join(words)})"
        space = "torch.ops" if "::" in name else "torch" if name in ("cat", "stack") else "torch.ops.aten"
        function = f"{space}.{name.replace('::', '.')}"
        return f"{function}({', '.join([*args[:1], *words])})"

    def _convolution(self, node: Any, texts: list[str], constants: list[Any]) -> str:
        """Return a convolution; a trace has one operation for all of them."""
        x, weight, bias, stride, padding, dilation, _, output_padding, groups, *_ = texts
        name = f"{'conv_transpose' if constants[6] else 'conv'}{len(list(list(node.inputs())[3].node().inputs()))}d"
        rest = [output_padding, groups, dilation] if constants[6] else [dilation, groups]
        return f"torch.{name}({', '.join([x, weight, bias, stride, padding, *rest])})"
