"""trtnn: TensorRT networks written as PyTorch-like modules."""

import importlib.metadata as _metadata
from pathlib import Path as _Path

# In a clone the folders that are installed as trtnn.models, trtnn.plugins and trtnn.examples stand beside this one, and
# Python finds this one first where it is started in the clone.
if not _Path(__file__).with_name("models").exists():
    __path__.append(str(_Path(__file__).parents[1]))

from trtnn import errors, functional, modules
from trtnn import methods as _methods  # noqa: F401  (it gives Tensors their methods)
from trtnn.accuracy.report import Fp16Report
from trtnn.backend import get_backend
from trtnn.build.build import BuildConfig
from trtnn.checkpoint import load, save
from trtnn.classifier import Classifier
from trtnn.compare import Comparison, compare
from trtnn.detector import Detector
from trtnn.dtypes import bfloat16, bool_, finfo, float16, float32, iinfo, int8, int32, int64, uint8
from trtnn.engine.engine import Engine
from trtnn.engine.timing import Profile
from trtnn.errors import TrtnnError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.modules import Module
from trtnn.moved import find_old_names as _find_old_names
from trtnn.network import Network
from trtnn.parameter import Buffer, Parameter
from trtnn.shapes.spec import Input
from trtnn.shapes.symbolic import Dim, sym_max, sym_min

__version__ = _metadata.version("trtnn")

_find_old_names()

__all__ = [
    "Buffer",
    "BuildConfig",
    "Classifier",
    "Comparison",
    "Detector",
    "Dim",
    "Engine",
    "Fp16Report",
    "Input",
    "Module",
    "Network",
    "Parameter",
    "Profile",
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
    "modules",
    "save",
    "sym_max",
    "sym_min",
    "uint8",
]
