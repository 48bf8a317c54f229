"""What each module of torch.nn is in trtnn: which are one operation, and the call that makes trtnn's."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from trtnn import modules
from trtnn.errors import ArgumentError
from trtnn.from_torch.operations.converters import registered
from trtnn.from_torch.recording.hooks import plain_weights
from trtnn.from_torch.recording.observers import is_observed
from trtnn.from_torch.source.expressions import Call, Expression, Number, Text, text_of
from trtnn.from_torch.source.parsing import parse
from trtnn.ops._annotations import as_switch

# Modules that are one operation each have a module of the same name here, but for these: they hold modules.
_NO_LEAVES = frozenset((
    "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Transformer", "TransformerEncoder",
    "TransformerDecoder", "Module",
))  # fmt: skip


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one operation: one of torch's that trtnn has, or one that a converter is for."""
    kind = type(module)
    if registered(kind) is not None:
        return True
    name = kind.__name__
    if not kind.__module__.startswith("torch.nn.modules") or name in _NO_LEAVES or name not in modules.__all__:
        return False
    if is_observed(module) or plain_weights(module):
        return False
    if name.startswith("Transformer"):
        return _activation(module) is not None
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module.running_mean is not None  # else it is of the batch, and forward says so
    return True


def _activation(module: nn.Module) -> str | None:
    functions = {torch.nn.functional.relu: "relu", torch.nn.functional.gelu: "gelu"}
    return functions.get(module.activation)  # type: ignore[arg-type]


def constructor(module: nn.Module) -> Call:
    """Return the call that makes trtnn's module of a torch module that is one operation."""
    own = registered(type(module))
    if own is not None:
        call = parse(own(module), {})
        if not isinstance(call, Call):
            raise ArgumentError(f"the converter of {type(module).__name__} returned {text_of(call)}, which is no call")
        return call
    name = type(module).__name__
    declared = inspect.signature(getattr(modules, name)).parameters
    arguments = _arguments(module, name)
    args: list[Expression] = []
    kwargs: list[tuple[str, Expression]] = []
    for key, parameter in declared.items():
        if key not in arguments or parameter.kind is parameter.VAR_POSITIONAL or key in ("momentum", "device", "dtype"):
            continue
        value = arguments[key] if key in ("normalized_shape", "unflattened_size") else _one_of_equals(arguments[key])
        if key == "normalized_shape" and len(value) == 1:
            value = value[0]
        if key == "stride" and "Pool" in name and value == _one_of_equals(arguments.get("kernel_size")):
            continue
        value = as_switch(parameter, value)
        if key == "p" and "Dropout" in name:
            value = float(value)
        default = parameter.default
        if isinstance(value, (str, type(None))):
            if value == default:
                continue
            node: Expression = Text(text_of(Number(value)))
        else:
            node = Number(tuple(value) if isinstance(value, torch.Size) else value, key, default=default)
        required = default is parameter.empty
        if required and not kwargs:
            args.append(node)
        else:
            kwargs.append((key, node))
    return Call(Text(name), tuple(args), tuple(kwargs))


def _arguments(module: Any, name: str) -> dict[str, Any]:
    """Return the constructor's arguments of a torch module, of those that trtnn's takes."""
    if name in ("TransformerEncoderLayer", "TransformerDecoderLayer"):
        attention = module.self_attn
        arguments = {
            "d_model": attention.embed_dim, "nhead": attention.num_heads,
            "dim_feedforward": module.linear1.out_features, "activation": _activation(module),
            "layer_norm_eps": module.norm1.eps, "batch_first": attention.batch_first,
            "norm_first": module.norm_first, "bias": module.linear1.bias is not None,
        }  # fmt: skip
        if arguments["activation"] == "relu":
            del arguments["activation"]
        return arguments
    arguments = {}
    for key in inspect.signature(getattr(modules, name)).parameters:
        if key == "bias":
            if name == "MultiheadAttention":
                arguments[key] = module.in_proj_bias is not None
            elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                arguments[key] = module.bias
            elif getattr(module, "weight", None) is not None or "weight" not in module._parameters:
                arguments[key] = getattr(module, "bias", None) is not None
        elif key == "add_bias_kv":
            arguments[key] = module.bias_k is not None
        elif key in ("kdim", "vdim"):
            if getattr(module, key) != module.embed_dim:
                arguments[key] = getattr(module, key)
        elif hasattr(module, key) and not isinstance(getattr(module, key), (torch.Tensor, nn.Module)):
            arguments[key] = getattr(module, key)
    return arguments


def _one_of_equals(value: Any) -> Any:
    """Return the one number of a tuple of equal ones, such as 3 of (3, 3), and anything else as it is."""
    if (
        isinstance(value, (tuple, list))
        and value
        and all(type(item) is type(value[0]) and item == value[0] for item in value)
    ):
        return value[0] if isinstance(value[0], (int, float)) else value
    return value
