"""A network as an ONNX file that is a picture: Netron draws it, nothing can run it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trtnn.errors import BackendError
from trtnn.files import atomic_write, check_writable
from trtnn.viewer.facts import Facts, TensorFacts

_DOMAIN = "trtnn.picture"  # operators of no runtime
_TYPES = {
    "float32": "FLOAT",
    "float16": "FLOAT16",
    "bfloat16": "BFLOAT16",
    "int8": "INT8",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "float8_e4m3fn": "FLOAT8E4M3FN",
}


def write_onnx_graph(path: str | os.PathLike[str], facts: Facts) -> Path:
    """Write the picture of a network, and return its path.

    Raises:
        ArgumentError: the path cannot be written.
        BackendError: onnx is not installed.
    """
    path = check_writable(path)
    try:
        import onnx
    except ImportError as error:
        raise BackendError(f"onnx cannot be imported: {error}", 'pip install "trtnn[onnx]"') from error
    make = onnx.helper
    tensors = {tensor.name: tensor for tensor in facts.tensors}
    info = {name: _info(onnx, tensor) for name, tensor in tensors.items()}
    nodes = []
    for row in facts.rows:
        told: dict[str, Any] = {
            "module": row.module,
            "line": row.line,
            "dtype": row.asked,
            "flops": row.flops,
            "parameters": row.parameters,
            **{weight.name: f"{weight.dtype} {list(weight.shape)}" for weight in row.weights},
        }
        nodes.append(
            make.make_node(
                row.kind,
                list(row.inputs),
                list(row.outputs),
                name=row.name,
                domain=_DOMAIN,
                doc_string=row.line or "",
                **{key: value for key, value in told.items() if value not in (None, "")},
            )
        )
    ends = {*facts.inputs, *facts.outputs}
    graph = make.make_graph(
        nodes,
        facts.title,
        [info[name] for name in facts.inputs],
        [info[name] for name in facts.outputs],
        value_info=[value for name, value in info.items() if name not in ends],
        doc_string="A picture of a TensorRT network: it has no weights and cannot be run.",
    )
    model = make.make_model(graph, producer_name="trtnn", opset_imports=[make.make_opsetid(_DOMAIN, 1)])
    with atomic_write(path) as file:
        file.write(model.SerializeToString())
    return path


def _info(onnx: Any, tensor: TensorFacts) -> Any:
    kind = getattr(onnx.TensorProto, _TYPES.get(tensor.dtype, "UNDEFINED"))
    return onnx.helper.make_tensor_value_info(tensor.name, kind, list(tensor.shape))
