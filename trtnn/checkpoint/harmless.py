"""The classes and functions that a checkpoint's pickle may name.

Nothing that a pickle names is ever imported or called (see ``unpickle.py``). The list is there so that a file which was
made to do harm is refused instead of read as if nothing were wrong with it.
"""

from __future__ import annotations

_STORAGES = (
    "BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage DoubleStorage "
    "FloatStorage HalfStorage IntStorage LongStorage QInt8Storage QInt32Storage QUInt8Storage ShortStorage "
    "TypedStorage UntypedStorage"
)
_DTYPES = (
    "bfloat16 bool complex64 complex128 float16 float32 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 "
    "float8_e5m2fnuz int8 int16 int32 int64 qint8 qint32 quint8 uint8 uint16 uint32 uint64"
)
_PATHS = "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"
_NAMES = {
    module: frozenset(names.split())
    for module, names in {
        "torch": f"Size Tensor device dtype {_DTYPES} {_STORAGES}",
        "torch.cuda": _STORAGES,
        "torch.storage": _STORAGES,
        "torch.serialization": "_get_layout",
        "torch._tensor": "_rebuild_from_type_v2",
        "torch._utils": (
            "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
            "_rebuild_qtensor _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage"
        ),
        "numpy": "bool_ dtype float16 float32 float64 int32 int64 ndarray uint8",
        "numpy.core.multiarray": "_reconstruct scalar",
        "numpy._core.multiarray": "_reconstruct scalar",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "builtins": ("bool bytearray bytes complex dict float frozenset int list object range set slice str tuple"),
        "collections": "Counter OrderedDict defaultdict deque",
        "pathlib": _PATHS,
        "pathlib._local": _PATHS,
        "datetime": "date datetime time timedelta timezone",
        "_codecs": "encode",
        "argparse": "Namespace",
        "types": "SimpleNamespace",
    }.items()
}
# the classes of whole pickled models: those of YOLOv5 and its relatives, of a training script, and torch's own
_PACKAGES = (
    *("models", "utils", "ultralytics", "yolov5", "__main__"),
    *("torch.nn", "torch.optim", "torchvision", "lightning", "lightning_fabric", "pytorch_lightning"),
    "numpy.dtypes",
)


def is_harmless(module: str, name: str) -> bool:
    """Whether a checkpoint may name ``name`` of ``module``."""
    package_known = any(f"{module}.".startswith(f"{package}.") for package in _PACKAGES)
    return name in _NAMES.get(module, ()) or (package_known and name.isidentifier())
