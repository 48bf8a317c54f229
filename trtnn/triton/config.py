"""What ``config.pbtxt`` says of a model.

Fields are those of Triton's ``model_config.proto``: https://github.com/triton-inference-server/common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trtnn.dtypes import DType
from trtnn.engine.engine import Engine
from trtnn.engine.file import WRITTEN
from trtnn.engine.metadata import class_names
from trtnn.errors import ArgumentError
from trtnn.shapes.profiles import Ranges, lengths_in
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import Dim, Length
from trtnn.triton.text_format import Message, Word

PLAN, LABELS = "model.plan", "labels.txt"
METADATA = "metadata"  # the parameter under which Ultralytics' client looks for what a model says of itself
#: Triton's types by ours.
TYPES = {
    **{name: f"TYPE_{name.upper()}" for name in ("bool", "uint8", "int8", "int32", "int64")},
    **{"float16": "TYPE_FP16", "float32": "TYPE_FP32", "bfloat16": "TYPE_BF16"},
}
# What of a file's description is of the plan and not of the model.
_OF_PLAN = WRITTEN | {"profiles", "inner_outputs", "plugins", "engine_cache"}


class Service(NamedTuple):
    """How a model is to be served.

    Attributes:
        max_queue_us: microseconds that a request waits for others to make a batch with.
        instances: execution contexts on each GPU.
        gpus: the indices of the GPUs; none is all of them.
    """

    max_queue_us: int = 500
    instances: int = 1
    gpus: Sequence[int] = ()

    def check(self) -> None:
        """Check the numbers.

        Raises:
            ArgumentError: one is out of range.
        """
        if not _is_int(self.max_queue_us, 0, 64):
            raise ArgumentError(f"a request waits for 0 microseconds or more, not for {self.max_queue_us!r}")
        if not _is_int(self.instances, 1, 31):
            raise ArgumentError(f"a GPU has at least one instance of a model, not {self.instances!r}")
        if not isinstance(self.gpus, Sequence) or not all(_is_int(gpu, 0, 31) for gpu in self.gpus):
            raise ArgumentError(f"GPUs are named by their index, such as gpus=[0, 1], not {self.gpus!r}")
        if len(set(self.gpus)) < len(self.gpus):
            raise ArgumentError(f"GPUs are named by their index, each once, not {list(self.gpus)}")

    def group(self, **more: Any) -> Message:
        """Return the instance group."""
        gpus = {"gpus": list(self.gpus)} if self.gpus else {}
        return {"count": self.instances, "kind": Word("KIND_GPU"), **gpus, **more}


def _is_int(value: Any, least: int, bits: int) -> bool:
    """Return whether a value is an int, from the least on, that a field of so many bits holds."""
    return type(value) is int and least <= value < 1 << bits


def plan_config(engine: Engine, name: str, service: Service) -> Message:
    """Return the config of an engine that Triton's TensorRT backend runs.

    Batches are as large as the engine's profiles take in each of their sizes, and best as large as these are fastest
    at; before a model takes requests, one such batch of random numbers runs on each profile.

    Raises:
        ArgumentError: the engine takes no batches of several sizes, or a type is none of Triton's.
    """
    batch = batch_of(engine)
    profiles = engine.profiles
    most = _largest(profiles, batch.name)
    best = sorted({min(profile[batch.name].opt, most) for profile in profiles})
    names = [str(index) for index in range(len(profiles))]
    return {
        "name": name,
        "platform": "tensorrt_plan",
        "default_model_filename": PLAN,
        "max_batch_size": most,
        "input": [_tensor(key, spec) for key, spec in engine.inputs.items()],
        "output": [_tensor(key, spec, **_labels(engine)) for key, spec in engine.outputs.items()],
        "dynamic_batching": {"preferred_batch_size": best, "max_queue_delay_microseconds": service.max_queue_us},
        "instance_group": [service.group(profile=names)],
        "parameters": [_parameter(METADATA, repr(metadata_of(engine)))],
        "model_warmup": [_warm_up(engine, index, batch, most) for index in range(len(profiles))],
    }


def detector_config(name: str, engine: Engine, most_detections: int, service: Service) -> Message:
    """Return the config of the detector that Triton's Python backend runs: encoded images in, boxes out.

    Outputs are named as those of TensorRT's EfficientNMS plugin; of ``max_detections`` rows the first ``num_dets`` are
    detections, boxes in pixels of the image.
    """
    batch = batch_of(engine)
    most = _largest(engine.profiles, batch.name)
    rows = most_detections
    return {
        "name": name,
        "backend": "python",
        "max_batch_size": most,
        "input": [{"name": "image", "data_type": Word("TYPE_STRING"), "dims": [1]}],
        "output": [
            {"name": "num_dets", "data_type": Word("TYPE_INT32"), "dims": [1]},
            {"name": "det_boxes", "data_type": Word("TYPE_FP32"), "dims": [rows, 4]},
            {"name": "det_scores", "data_type": Word("TYPE_FP32"), "dims": [rows]},
            {"name": "det_classes", "data_type": Word("TYPE_INT32"), "dims": [rows]},
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": service.max_queue_us},
        "instance_group": [service.group()],
        "parameters": [_parameter("max_detections", str(rows))],
    }


def batch_of(engine: Engine) -> Dim:
    """Return the dimension that is the batch of all inputs and outputs.

    Raises:
        ArgumentError: there is none.
    """
    specs = [*engine.inputs.values(), *engine.outputs.values()]
    first = {spec.shape[0] if spec.shape else 1 for spec in specs}
    batches = {length for length in first if isinstance(length, Dim)}
    if not batches:
        raise ArgumentError(
            "Triton makes batches of requests, and this engine has no profile of batches",
            f"it takes {_in_words(engine.inputs)}, and gives {_in_words(engine.outputs)}",
            "build it for several: trtnn build ... --batch 1,8,32",
        )
    if len(first) > 1:
        raise ArgumentError(
            "Triton makes batches of requests, and not all inputs and outputs of this engine are of one batch",
            f"it takes {_in_words(engine.inputs)}, and gives {_in_words(engine.outputs)}",
            "give each of them the batch as its first dimension",
        )
    (batch,) = batches
    profiles = engine.profiles
    if batch.multiple_of > 1 or not all(_takes_fewer(profile, profiles, batch.name) for profile in profiles):
        raise ArgumentError(
            "Triton may send a single request, and this engine takes more at a time",
            "; ".join(f"batches of {_range(profile[batch.name])}" for profile in profiles),
            "build it for one and more: trtnn build ... --batch 1,8,32",
        )
    return batch


def _others(profile: Ranges, batch: str) -> frozenset[tuple[str, int, int]]:
    """Return the ranges of what is no batch."""
    return frozenset((name, dim.min, dim.max) for name, dim in profile.items() if name != batch)


def _largest(profiles: Sequence[Ranges], batch: str) -> int:
    """Return the largest batch that is taken whatever the other lengths are: Triton knows one number for all."""
    largest: dict[frozenset[Any], int] = {}
    for profile in profiles:
        others = _others(profile, batch)
        largest[others] = max(largest.get(others, 0), profile[batch].max)
    return min(largest.values())


def _takes_fewer(profile: Ranges, profiles: Sequence[Ranges], batch: str) -> bool:
    """Whether smaller batches, down to one, are taken too, by this profile or by others of the same other lengths."""
    least = profile[batch].min
    return least == 1 or any(
        other[batch].min < least <= other[batch].max + 1
        and _others(other, batch) == _others(profile, batch)
        and _takes_fewer(other, profiles, batch)
        for other in profiles
    )


def _range(dim: Dim) -> str:
    return f"{dim.min} to {dim.max}" + (f" in steps of {dim.multiple_of}" if dim.multiple_of > 1 else "")


def metadata_of(engine: Engine) -> dict[str, Any]:
    """Return what an engine says of its model, in the form that Ultralytics' client reads: names by index."""
    said = {key: value for key, value in engine.description.items() if key not in _OF_PLAN}
    names = class_names(engine.description)
    return {**said, **({} if names is None else {"names": dict(enumerate(names))})}


def _tensor(name: str, spec: TensorSpec, **more: Any) -> Message:
    dims = _dims([_length(n) for n in spec.shape[1:]])
    return {"name": name, "data_type": _type(name, spec.dtype), **dims, **more}


def _dims(lengths: Sequence[int]) -> Message:
    """Return the lengths of a tensor behind the batch. Triton has no tensor of the batch alone: of those it makes one.

    https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html#reshape
    """
    return {"dims": lengths} if lengths else {"dims": [1], "reshape": {"shape": []}}


def _length(length: Length) -> int:
    return length if isinstance(length, int) else -1


def _type(name: str, dtype: DType) -> Word:
    if dtype.name not in TYPES:
        raise ArgumentError(f"{name!r} is of {dtype.name}, a type that Triton lacks", f"it has: {', '.join(TYPES)}")
    return Word(TYPES[dtype.name])


def _labels(engine: Engine) -> Mapping[str, Any]:
    """Return the file of labels where each number of the one output is the score of a class."""
    classifies = engine.description.get("task") == "classify" and len(engine.outputs) == 1
    return {"label_filename": LABELS} if classifies and class_names(engine.description) else {}


def _parameter(key: str, value: str) -> Message:
    return {"key": key, "value": {"string_value": value}}


def _warm_up(engine: Engine, index: int, batch: Dim, most: int) -> Message:
    profile = engine.profiles[index]
    inputs = []
    for name, spec in engine.inputs.items():
        dims = list(lengths_in(profile, spec.shape, "opt")[1:]) or [1]
        inputs.append({"key": name, "value": {"data_type": _type(name, spec.dtype), "dims": dims, "random_data": True}})
    return {"name": f"profile {index}", "batch_size": min(profile[batch.name].opt, most), "inputs": inputs}


def _in_words(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} {spec}" for name, spec in specs.items())
