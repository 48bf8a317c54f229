"""Modules under their old names: the same modules, with a warning that says the new one."""

import importlib
import sys

import pytest

import trtnn
from trtnn.moved import NEW_NAMES


@pytest.mark.parametrize("old", NEW_NAMES)
def test_an_old_name_is_the_module_of_now(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {NEW_NAMES[old]}; the old name goes with trtnn 0.3"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(NEW_NAMES[old])


def test_names_of_modules_that_are_packages_now_are_found():
    with pytest.warns(DeprecationWarning, match=r"trtnn.engine.Engine is now trtnn.engine.engine.Engine"):
        from trtnn.engine import Engine
    assert Engine is trtnn.Engine
    with pytest.raises(ImportError, match="nothing"):
        from trtnn.graph import nothing  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("trtnn.nothing")


def test_names_of_timings_are_found():
    with pytest.warns(DeprecationWarning, match=r"trtnn.Profile is now trtnn.EngineTiming; the old name goes"):
        assert trtnn.Profile is trtnn.EngineTiming
    warned = pytest.warns(DeprecationWarning, match=r"trtnn.Engine.profile is now trtnn.Engine.timing")
    with warned as record, pytest.raises(trtnn.errors.ArgumentError, match="runs is a positive number"):
        trtnn.Engine(b"ftrt", {}).profile(runs=0)
    assert record[0].filename == __file__
