"""The table of element types, against NumPy, torch and TensorRT."""

import copy
import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from trtnn import dtypes, get_backend
from trtnn.dtypes import ALL, as_dtype, result_type
from trtnn.errors import DTypeError

OF_NUMPY = [dtype for dtype in ALL if dtype.numpy is not None]


@pytest.mark.parametrize("dtype", ALL)
def test_every_name_of_a_type_finds_it(dtype):
    assert as_dtype(dtype) is dtype
    assert as_dtype(dtype.name) is dtype
    assert as_dtype(getattr(torch, dtype.name)) is dtype
    assert repr(dtype) == f"trtnn.{dtype.name}"
    assert dtype.itemsize == getattr(torch, dtype.name).itemsize
    assert dtype.is_floating_point == getattr(torch, dtype.name).is_floating_point


@pytest.mark.parametrize("dtype", ALL)
def test_there_is_one_of_each(dtype):
    assert copy.deepcopy(dtype) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype


@pytest.mark.parametrize("dtype", OF_NUMPY)
def test_numpys_names(dtype):
    for value in (dtype.numpy, dtype.numpy.type, dtype.numpy.str):
        assert as_dtype(value) is dtype
    assert torch.from_numpy(np.zeros(1, dtype.numpy)).dtype == getattr(torch, dtype.name)


@pytest.mark.parametrize("dtype", ALL)
def test_tensorrts_names(dtype):
    backend = get_backend()
    if dtype.tensorrt not in backend.trt.DataType.__members__:
        assert f"{backend} has no {dtype.name}" in message_of(DTypeError, backend.data_type, dtype)
        return
    member = backend.data_type(dtype)
    assert member.name == dtype.tensorrt
    assert as_dtype(member) is dtype


def test_python_types():
    assert as_dtype(bool) is dtypes.bool_
    assert as_dtype(np.float32) is dtypes.float32


@pytest.mark.parametrize(
    "value", ["float8", "float64", np.uint16, torch.complex64, None, 3, SimpleNamespace(dtype="x"), object(), "", float]
)
def test_an_unknown_type_lists_the_known(value):
    message = message_of(DTypeError, as_dtype, value)
    assert f"no element type {value!r}" in message
    assert "known: float32, float16, bfloat16, int64, int32, int8, uint8, bool" in message


@pytest.mark.parametrize(("a", "b"), list(itertools.product(ALL, ALL)))
def test_types_promote_as_in_torch(a, b):
    expected = torch.promote_types(getattr(torch, a.name), getattr(torch, b.name))
    if expected == torch.int16:  # of int8 with uint8: TensorRT has none
        assert "promote to int16" in message_of(DTypeError, result_type, a, b)
    else:
        assert result_type(a, b) is as_dtype(expected)
