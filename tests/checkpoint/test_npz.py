"""NumPy's format against NumPy."""

import io
import zipfile

import numpy as np
import pytest

from trtnn.checkpoint import load, save
from trtnn.errors import CheckpointError


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, savez):
    arrays = {"a.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.array(3), "c": np.ones((0, 2), ">f8")}
    savez(tmp_path / "a.npz", **arrays)
    got = load(tmp_path / "a.npz")
    assert list(got) == list(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype.newbyteorder("=")
        assert got[name].shape == array.shape
        np.testing.assert_array_equal(got[name], array)


def test_numpy_reads_what_save_writes(tmp_path):
    save({"a": np.arange(3), "x.npy": np.ones(2, np.float16)}, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(3))
        assert archive["x.npy.npy"].dtype == np.float16
    assert list(load(tmp_path / "a.npz")) == ["a", "x.npy"]


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}, None], dtype=object))
    with pytest.raises(CheckpointError, match=r"a\.npz: a has the type object, which is no tensor's"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("array", [np.array(["text"]), np.ones(2, np.complex64), np.zeros(2, [("x", "f4")])])
def test_types_that_no_tensor_has(tmp_path, array):
    np.savez(tmp_path / "a.npz", weight=array)
    with pytest.raises(CheckpointError, match=r"a\.npz: weight has the type .*, which is no tensor's"):
        load(tmp_path / "a.npz")


def npy(header: str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", data: bytes = bytes(8)) -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (npy(data=bytes(4)), r"a is float32 \(2,\), which does not fit the 4 bytes it has"),
        (npy(data=bytes(12)), r"a is float32 \(2,\), which does not fit the 12 bytes it has"),
        (npy().replace(b"\x01\x00", b"\x03\x00", 1), "a in it is of version .* of NumPy's format"),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1" + "0" * 30 + ",), }"),
            "which does not fit the 8 bytes",
        ),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }"),
            "which does not fit the 8 bytes",
        ),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }"), "which does not fit the 8 bytes"),
        (npy("{'descr': '<U1000000', 'fortran_order': False, 'shape': (1,), }"), "which is no tensor's"),
        (npy("((((("), "NumPy says: "),
        (b"plain text", "a in it is not an array"),
    ],
)
def test_damaged_entries(tmp_path, content, problem):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(CheckpointError, match=problem):
        load(tmp_path / "a.npz")


def test_a_small_file_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(30 * 2**20, np.uint8))
    assert load(path)["a"].nbytes == 30 * 2**20
    np.savez_compressed(path, a=np.zeros(100 * 2**20, np.uint8))
    with pytest.raises(
        CheckpointError, match=r"but claims tensors of 104,\d*,\d*: refused\n  .*save it with numpy.savez"
    ):
        load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", npy())
    with pytest.raises(CheckpointError, match="compressed in a way that NumPy does not know"):
        load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.npy", "a"])
def test_a_name_twice(tmp_path, second):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy())
        archive.writestr(second, npy())
    with pytest.raises(CheckpointError, match="a name occurs twice"):
        load(tmp_path / "a.npz")


def test_truncated(tmp_path):
    np.savez(buffer := io.BytesIO(), a=np.ones(1000))
    (tmp_path / "a.npz").write_bytes(buffer.getvalue()[:4000])
    with pytest.raises(CheckpointError, match=r"not a sound \.npz file(.|\n)*download it again"):
        load(tmp_path / "a.npz")
