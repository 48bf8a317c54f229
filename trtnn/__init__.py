"""trtnn: TensorRT networks written as PyTorch-like modules."""

import importlib as _importlib
from pathlib import Path as _Path
from typing import TYPE_CHECKING
from typing import Any as _Any

# In a clone the folders that are installed as trtnn.models, trtnn.plugins and trtnn.examples stand beside this one, and
# Python finds this one first where it is started in the clone.
if not _Path(__file__).with_name("models").exists():
    __path__.append(str(_Path(__file__).parents[1]))

from trtnn import errors, functional, modules
from trtnn import methods as _methods  # noqa: F401  (it gives Tensors their methods)
from trtnn.backend import get_backend
from trtnn.checkpoint import load, save
from trtnn.compare import compare
from trtnn.dtypes import bfloat16, bool_, finfo, float16, float32, iinfo, int8, int32, int64, uint8
from trtnn.errors import TrtnnError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.modules import Module
from trtnn.moved import find_old_names as _find_old_names
from trtnn.moved import warn_renamed as _warn_renamed
from trtnn.network import Network
from trtnn.parameter import Buffer, Parameter
from trtnn.shapes.spec import Input
from trtnn.shapes.symbolic import Dim, sym_max, sym_min
from trtnn.torch_import import import_with_torch as _import_with_torch

if TYPE_CHECKING:
    from trtnn import models as models
    from trtnn import quantization as quantization
    from trtnn import ray as ray
    from trtnn import triton as triton
    from trtnn import vision as vision
    from trtnn.accuracy.report import Fp16Report
    from trtnn.build.config import BuildConfig
    from trtnn.checkpoint.lora import merge_lora
    from trtnn.classifier import Classifier
    from trtnn.compare import Comparison
    from trtnn.detector import Detector
    from trtnn.engine.engine import Engine
    from trtnn.engine.timing import EngineTiming
    from trtnn.quantization.quantizing import quantize

    __version__: str

_find_old_names()

# What is imported when it is first asked for: a trace needs none of it.
_LATER = {
    "BuildConfig": "trtnn.build.config",
    "Classifier": "trtnn.classifier",
    "Comparison": "trtnn.compare",
    "Detector": "trtnn.detector",
    "Engine": "trtnn.engine.engine",
    "EngineTiming": "trtnn.engine.timing",
    "Fp16Report": "trtnn.accuracy.report",
    "from_torch": "",
    "merge_lora": "trtnn.checkpoint.lora",
    "models": "",
    "quantization": "",
    "quantize": "trtnn.quantization.quantizing",
    "ray": "",
    "save_source": "trtnn.from_torch.saving",
    "triton": "",
    "vision": "",
}


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        value = _importlib.import_module("trtnn.digest").own_version()
    elif name in _LATER:
        module = _import_with_torch(_LATER[name] or f"trtnn.{name}", f"trtnn.{name} needs")
        value = getattr(module, name) if _LATER[name] else module
    elif name == "Profile":
        _warn_renamed("trtnn.Profile", "trtnn.EngineTiming")
        return __getattr__("EngineTiming")
    else:
        raise AttributeError(f"module 'trtnn' has no attribute {name!r}")
    globals()[name] = value
    return value


__all__ = [
    "Buffer",
    "BuildConfig",
    "Classifier",
    "Comparison",
    "Detector",
    "Dim",
    "Engine",
    "EngineTiming",
    "Fp16Report",
    "Input",
    "Module",
    "Network",
    "Parameter",
    "Tensor",
    "TrtnnError",
    "UnsupportedError",
    "bfloat16",
    "bool_",
    "compare",
    "errors",
    "finfo",
    "float16",
    "float32",
    "functional",
    "get_backend",
    "iinfo",
    "int8",
    "int32",
    "int64",
    "load",
    "merge_lora",
    "modules",
    "quantize",
    "save",
    "sym_max",
    "sym_min",
    "uint8",
]
