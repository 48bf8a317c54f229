"""Arguments that are True or False: no string and no number stands for them in trtnn's own functions."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET, message_of
from trtnn import models, modules, ray, triton, vision
from trtnn.engine.timing import EngineTiming
from trtnn.errors import ArgumentError, check_switches
from trtnn.ray.job import Job

MODULES = (
    "trtnn", "trtnn.checkpoint", "trtnn.from_torch.saving", "trtnn.models.family", "trtnn.quantization", "trtnn.ray",
    "trtnn.ray.job", "trtnn.triton", "trtnn.vision",
)  # fmt: skip
NOT_PUBLIC = ("check_free", "check_switches")
OF_OPERATIONS = ("Buffer", "Parameter")  # whose methods have a door of their own, ops/calling.py
IS_SWITCH = re.compile(r"bool( \| None)?|bool \| Sequence\[str\]")


class Net(trtnn.Module):
    def __init__(self):
        super().__init__()
        self.conv = modules.Conv2d(3, 4, 1)
        self.inputs = {"x": trtnn.Input((1, 3, 8, 8))}
        for parameter in self.parameters():
            parameter.data = np.ones(parameter.shape, np.float32)

    def forward(self, x):
        return self.conv(x)


def quantize(**switch: Any) -> Any:
    return trtnn.quantize(Net(), [np.ones((1, 3, 8, 8), np.float32)], **switch)


def of_network(name: str, *args: Any) -> Callable[..., Any]:
    return lambda **switch: getattr(Net().trace(), name)(*args, **switch)


def of_engine(name: str, *args: Any) -> Callable[..., Any]:
    return lambda **switch: getattr(Net().compile(**ONE_TARGET), name)(*args, **switch)


def of_module(name: str, *args: Any) -> Callable[..., Any]:
    return lambda **switch: getattr(Net(), name)(*args, **switch)


TIMING = EngineTiming.of_means([], 1, {})
CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("Buffer", "__init__"): lambda **switch: trtnn.Buffer(3, **switch),
    ("BuildConfig", "__init__"): trtnn.BuildConfig,
    ("Detect", "__init__"): lambda **switch: ray.Detect("a.pt", **switch),
    ("Detector", "from_weights"): lambda **switch: trtnn.Detector.from_weights("a.pt", **switch),
    ("Engine", "refit"): of_engine("refit", {}),
    ("Engine", "view"): of_engine("view"),
    ("EngineTiming", "module_table"): TIMING.module_table,
    ("EngineTiming", "table"): TIMING.table,
    ("Family", "load_state_dict"): lambda **switch: models.create("yolov5n").load_state_dict({}, **switch),
    ("Job", "open"): lambda **switch: Job.open(None, **switch),  # type: ignore[arg-type]  # before it looks
    **{
        ("Module", name): of_module(name)
        for name in (
            "buffers",
            "modules",
            "named_buffers",
            "named_modules",
            "named_parameters",
            "parameters",
            "requires_grad_",
            "state_dict",
        )
    },
    ("Module", "compile"): of_module("compile"),
    ("Module", "load_state_dict"): of_module("load_state_dict", {}),
    ("Module", "register_buffer"): of_module("register_buffer", "name", np.ones(3)),
    ("Module", "trace"): of_module("trace"),
    ("Module", "train"): of_module("train"),
    ("Network", "facts"): of_network("facts"),
    ("Network", "fp16_report"): of_network("fp16_report", []),
    ("Network", "view"): of_network("view"),
    ("Pipeline", "__init__"): lambda **switch: vision.Pipeline(vision.Preprocessing(), None, **switch),
    ("", "convert"): lambda **switch: trtnn.checkpoint.convert("a.pt", "b.npz", **switch),
    ("", "find_images"): lambda **switch: vision.find_images(".", **switch),
    ("", "from_torch"): lambda **switch: trtnn.from_torch(None, **switch),
    ("", "non_max_suppression"): lambda **switch: vision.non_max_suppression(np.zeros((1, 3, 7)), **switch),
    ("", "quantize"): quantize,
    ("", "save_source"): lambda **switch: trtnn.save_source(trtnn.from_torch, "a.py", **switch),
    ("", "write_repository"): lambda **switch: triton.write_repository(None, "a", **switch),  # type: ignore[arg-type]
}
CALLS |= {
    (family.__name__, "__init__"): lambda family=family, **switch: family(next(iter(family.variants)), **switch)
    for family in models.families()
    if "fused" in inspect.signature(family).parameters
}


def switches() -> set[tuple[str, str, str]]:
    """The class, or none, the function and the argument of all that is public and declared as a bool."""
    found: set[tuple[str, str, str]] = set()
    for module in map(importlib.import_module, MODULES):
        public = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
        for thing in (getattr(module, name) for name in public):
            if inspect.isclass(thing) and thing.__module__.startswith("trtnn") and thing is not trtnn.Tensor:
                members = {"__init__": thing.__init__} | {
                    name: member for name, member in vars(thing).items() if not name.startswith("_")
                }
                found |= {
                    (thing.__name__, name, switch) for name, member in members.items() for switch in switches_of(member)
                }
            elif inspect.isfunction(thing) and thing.__name__ not in NOT_PUBLIC:
                found |= {("", thing.__name__, switch) for switch in switches_of(thing)}
    found |= {("", "from_torch", switch) for switch in switches_of(type(trtnn.from_torch).__call__)}
    found |= {(family.__name__, "__init__", s) for family in models.families() for s in switches_of(family.__init__)}
    return {each for each in found if each[0] not in OF_OPERATIONS or each[1] == "__init__"}


def switches_of(function: Any) -> list[str]:
    function = getattr(function, "__func__", function)
    if not callable(function):
        return []
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if IS_SWITCH.fullmatch(str(each.annotation))]


def test_all_that_is_public_is_looked_at():
    found = {each[:2] for each in switches()}
    assert found == set(CALLS)


@pytest.mark.parametrize(("owner", "function", "switch"), sorted(switches()))
def test_no_string_and_no_number_is_a_switch(owner, function, switch, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    wrong: list[Any] = ["yes", "False", "", 0, 1, 2.0]
    if switch == "refittable":
        wrong = ["yes", 0, 1, 2.0]
    for value in wrong:
        message = message_of(ArgumentError, CALLS[owner, function], **{switch: value})
        taken = f"{function} takes True or False as {switch}" if owner == "Module" else ""
        assert message.startswith((f"{switch} is True", f"{owner} takes True or False as {switch}", f"Net.{taken}"))
        assert not list(tmp_path.iterdir())


def test_what_is_one():
    check_switches(a=True, b=False, c=np.True_)
    check_switches(or_none=True, a=None, b=True)
    assert message_of(ArgumentError, check_switches, a=None) == "a is True or False, not None"
    assert message_of(ArgumentError, check_switches, or_none=True, a=1) == "a is True, False or None, not 1"
    assert trtnn.BuildConfig(tf32=np.False_, progress=np.True_) == trtnn.BuildConfig(tf32=False, progress=True)
    assert type(trtnn.BuildConfig(tf32=np.False_).tf32) is bool
