"""torch.nn's recurrent modules in graphs, which hold one operation for each, or the steps of a cell.

Graphs call such a module with its tensors in an order of their own, and take only those of its results that are used.
:class:`Calling` says which, so that a module of torch.nn's stands where the author had it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

_MODULES = {
    "lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN",
    "lstm_cell": "LSTMCell", "gru_cell": "GRUCell", "rnn_tanh_cell": "RNNCell", "rnn_relu_cell": "RNNCell",
}  # fmt: skip
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ZEROS = "zeros"
_PREFIX = "torch.nn.modules.rnn."


class Calling(NamedTuple):
    """How a graph calls a recurrent module.

    Attributes:
        input: which of the graph's arguments the input is.
        state: which the hidden state is, and an LSTM's cell; nothing where it is not given.
        results: of each result of the graph the places by which it is reached in what the module returns.
        is_one: whether the graph gives its one result as it is.
        is_cell: whether it does one step.
        sorts: whether it puts states in the order of sorted sequences, as torch does where they are packed unsorted.
        is_packed: whether the input is what a packed sequence holds, of which no graph says where the batch stood.
    """

    input: int
    state: tuple[int, ...]
    results: tuple[tuple[int, ...], ...]
    is_one: bool
    is_cell: bool
    sorts: bool = False
    is_packed: bool = False

    def arguments(self, given: Sequence[Any], join: Callable[[Sequence[Any]], Any] = tuple) -> list[Any]:
        """Return what the module is called with, of what the graph is."""
        state = [given[place] for place in self.state]
        return [given[self.input], *([join(state)] if len(state) > 1 else state)]


class _Layers(NamedTuple):
    """What a graph's operation says of a recurrent module: its name, its weights, and a module's arguments."""

    operation: str
    names: Sequence[str]
    options: Mapping[str, Any]


def _options(operation: str, arguments: Sequence[Any]) -> dict[str, Any] | None:
    """Return the arguments of a module, of those of an operation behind its weights; None of one in training."""
    options: dict[str, Any] = {}
    if operation.startswith("rnn_"):
        options["nonlinearity"] = operation.split("_")[1]
    if operation.endswith("_cell"):
        return options
    bias, layers, dropout, train, bidirectional, *batch_first = arguments
    if train is not False:
        return None
    given = {"bias": bias, "num_layers": layers, "dropout": dropout, "bidirectional": bidirectional}
    return {**options, **given, "batch_first": bool(batch_first and batch_first[0])}


def _module(kind: str, told: _Layers, held: Mapping[str, nn.Parameter]) -> nn.Module | None:
    """Return torch.nn's module of a class with the weights that a graph's module holds; None where it has others."""
    name = kind.removeprefix(_PREFIX)
    if _MODULES[told.operation] != name:
        return None
    first = held.get("weight_ih" if name.endswith("Cell") else "weight_ih_l0")
    projection = held.get("weight_hr_l0")
    if first is None:
        return None
    options = dict(told.options)
    if name.endswith("Cell"):
        options["bias"] = "bias_ih" in held
    if projection is not None:
        options["proj_size"] = projection.shape[0]
    hidden = first.shape[0] // _GATES[name.removesuffix("Cell")]
    module = getattr(nn, name)(first.shape[1], hidden, device="meta", **options)
    wanted = {key: parameter.shape for key, parameter in module.named_parameters()}
    if {key: parameter.shape for key, parameter in held.items()} != wanted or list(told.names) != list(wanted):
        return None
    for key, parameter in held.items():
        setattr(module, key, parameter)
    return module.eval()


def _place(operation: str, number: int | None) -> tuple[int, ...]:
    """Return by which places a result of an operation is reached in what the module returns."""
    if number is None:
        return ()
    return ((0,), (1, 0), (1, 1))[number] if operation == "lstm" else (number,)


def _calling(operation: str, input: Any, state: Sequence[Any], results: Sequence[Any], is_one: bool) -> Calling | None:
    """Return a call; None where the input or the state come from elsewhere than the graph's arguments."""
    is_given = not all(place == _ZEROS for place in state)
    if type(input) is not int or (is_given and not all(type(place) is int for place in state)) or ... in results:
        return None
    places = tuple(_place(operation, number) for number in results)
    return Calling(input, tuple(state) if is_given else (), places, is_one, operation.endswith("_cell"))


# -- exported programs ------------------------------------------------------------------------------------------------


def of_exported(module: nn.Module, kind: str) -> tuple[nn.Module, Calling] | None:
    """Return torch.nn's module of a module of an exported program, and how its graph is called; None of others."""
    graph = getattr(module, "graph", None)
    if graph is None or not kind.startswith(_PREFIX):
        return None
    nodes = list(graph.nodes)
    operations = [node for node in nodes if _name(node) in _MODULES]
    if len(operations) != 1:
        return None
    node, operation = operations[0], _name(operations[0])
    given = {node: place for place, node in enumerate(n for n in nodes if n.op == "placeholder")}
    input, state, *rest = node.args
    weights, more = (rest, ()) if operation.endswith("_cell") else (rest[0], rest[1:])
    names = [weight.target for weight in weights if weight is not None and weight.op == "get_attr"]
    options = _options(operation, more)
    if options is None or node.kwargs or len(names) != len([weight for weight in weights if weight is not None]):
        return None
    states = [_source(part, given) for part in (state if isinstance(state, (list, tuple)) else [state])]
    returned = next(n for n in nodes if n.op == "output").args[0]
    is_one = not isinstance(returned, (list, tuple))
    results = [_result(part, node) for part in ([returned] if is_one else returned)]
    calling = _calling(operation, _source(input, given), states, results, is_one)
    made = _module(kind, _Layers(operation, names, options), dict(module.named_parameters()))
    return None if calling is None or made is None else (made, calling)


def call_of(module: nn.Module, calling: Calling) -> Callable[..., Any]:
    """Return a function that calls a module as a graph calls its own."""

    def call(*given: Any) -> Any:
        result = module(*calling.arguments(given))
        results = []
        for places in calling.results:
            part = result
            for place in places:
                part = part[place]
            results.append(part)
        return results[0] if calling.is_one else results

    return call


def _name(node: Any) -> str:
    packet = getattr(node.target, "overloadpacket", None) if node.op == "call_function" else None
    return packet.__name__ if packet is not None and node.target.namespace == "aten" else ""


def _source(node: Any, given: Mapping[Any, int]) -> Any:
    """Return which argument of its graph a node is, with a batch or without, or that it is zeros."""
    while _name(node) == "unsqueeze":
        node = node.args[0]
    is_zeros = _name(node) == "zeros" or (_name(node) == "full" and node.args[1] == 0)
    return _ZEROS if is_zeros else given.get(node)


def _result(node: Any, operation: Any) -> Any:
    """Return which result of an operation a node is: a number, None of the only one, or ... of none."""
    while _name(node) == "squeeze":
        node = node.args[0]
    if node is operation:
        return None
    is_part = node.op == "call_function" and node.target.__name__ == "getitem" and node.args[0] is operation
    return node.args[1] if is_part else ...


# -- traces -----------------------------------------------------------------------------------------------------------


def of_traced(kind: str, graph: Any, held: Mapping[str, nn.Parameter]) -> tuple[nn.Module, Calling] | None:
    """Return torch.nn's module of a traced one, and how a graph of it is called; None of others."""
    if not kind.startswith(_PREFIX):
        return None
    nodes = {node.kind().removeprefix("aten::"): node for node in graph.nodes()}
    operation = next((name for name in _MODULES if name in nodes), None)
    arguments = [value.debugName() for value in graph.inputs()][1:]  # the first is the module
    given = {name: place for place, name in enumerate(arguments)}
    outputs = list(graph.outputs())
    is_one = outputs[0].node().kind() != "prim::TupleConstruct"
    returned = outputs if is_one else list(outputs[0].node().inputs())
    if operation is None:
        return _of_traced_cell(kind, graph, held, given, returned, is_one)
    node = nodes[operation]
    input, state, *rest = node.inputs()
    is_packed = takes_packed(node)
    if is_packed:
        state, *rest = rest  # behind the batch sizes
    if operation.endswith("_cell"):
        weights, more = rest, []
    else:
        weights, more = list(rest[0].node().inputs()), [value.toIValue() for value in rest[1:]]
    names = [weight.node().s("name") for weight in weights if weight.node().kind() == "prim::GetAttr"]
    options = _options(operation, more)
    if options is None:
        return None
    is_list = state.node().kind() == "prim::ListConstruct"
    states = [_traced_source(value, given) for value in (state.node().inputs() if is_list else [state])]
    places = {value.debugName(): i for i, value in enumerate(node.outputs())}
    only = None if operation.endswith("_cell") and len(places) == 1 else ...
    results = [_traced_result(value, places) if only is ... else None for value in returned]
    calling = _calling(operation, _traced_source(input, given), states, results, is_one)
    made = _module(kind, _Layers(operation, names, options), held)
    if calling is None or made is None:
        return None
    return made, calling._replace(sorts="index_select" in nodes, is_packed=is_packed)


def takes_packed(node: Any) -> bool:
    """Whether a node of a trace is an operation of torch's on a packed sequence."""
    operation = node.kind().removeprefix("aten::")
    if operation not in _MODULES or operation.endswith("_cell"):
        return False
    _, second, third, *_ = (str(value.type()) for value in node.inputs())  # a list where no batch sizes stand before
    return (second if operation == "lstm" else third) == "Tensor"


def _of_traced_cell(
    kind: str, graph: Any, held: Mapping[str, nn.Parameter], given: Mapping[str, int], returned: list[Any], is_one: bool
) -> tuple[nn.Module, Calling] | None:
    """Return what :func:`of_traced` does, of a cell: a trace holds its steps."""
    name, nodes = kind.removeprefix(_PREFIX), list(graph.nodes())
    products = {}
    for node in nodes:
        if node.kind() == "aten::linear":
            x, weight, *_ = node.inputs()
            if weight.node().kind() == "prim::GetAttr":
                products[weight.node().s("name")] = _traced_source(x, given)
    if not name.endswith("Cell") or products.keys() != {"weight_ih", "weight_hh"}:
        return None
    state, results = [products["weight_hh"]], [None]
    operation = {"LSTMCell": "lstm_cell", "GRUCell": "gru_cell"}.get(name)
    if operation is None:
        operation = "rnn_relu_cell" if any(node.kind() == "aten::relu" for node in nodes) else "rnn_tanh_cell"
    if operation == "lstm_cell":
        factors = [
            _traced_source(value, given) for node in nodes if node.kind() == "aten::mul" for value in node.inputs()
        ]
        state += [place for place in factors if place is not None][:1]
        results = [0 if _squeezed(value).node().kind() == "aten::mul" else 1 for value in returned]
    calling = _calling(operation, products["weight_ih"], state, results, is_one)
    made = _module(kind, _Layers(operation, list(held), _options(operation, ()) or {}), held)
    return None if calling is None or made is None else (made, calling)


def _squeezed(value: Any) -> Any:
    """Return a value before what takes its batch away, or puts it in another order."""
    while value.node().kind() in ("aten::squeeze", "aten::index_select"):
        value = next(iter(value.node().inputs()))
    return value


def _traced_source(value: Any, given: Mapping[str, int]) -> Any:
    while value.node().kind() in ("aten::unsqueeze", "aten::index_select"):
        value = next(iter(value.node().inputs()))
    return _ZEROS if value.node().kind() == "aten::zeros" else given.get(value.debugName())


def _traced_result(value: Any, places: Mapping[str, int]) -> Any:
    return places.get(_squeezed(value).debugName(), ...)
