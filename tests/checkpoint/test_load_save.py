"""What all formats share: the road from arrays to a file and back, names, types, and the errors of load and save."""

import errno
import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from trtnn.checkpoint import convert, load, save, torch_file
from trtnn.errors import ArgumentError, CheckpointError, DTypeError

TYPED = [".safetensors", ".npz", ".pt", ".pth", ".ckpt"]
TORCH = [".pt", ".pth", ".ckpt"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES = ["bool", *INTEGERS, "float16", "float32", "float64"]


def arrays_of_every_kind() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {f"typed.{dtype}": random.integers(0, 2, (3, 5)).astype(dtype) for dtype in DTYPES}
    arrays |= {
        "scalar": np.array(3, np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "transposed": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
        "big_endian": np.arange(4, dtype=">f4"),
        "file": np.ones(3, np.float32),
        "ünïcode/with.slash": np.ones(2, np.float16),
        "special": np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32),
    }
    return arrays


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert type(got[name]) is np.ndarray
        assert got[name].shape == array.shape, name
        assert got[name].dtype == array.dtype.newbyteorder("="), name
        assert got[name].flags.c_contiguous
        assert got[name].flags.aligned
        assert got[name].flags.writeable
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize("suffix", TYPED)
def test_round_trip_keeps_types_shapes_and_order(tmp_path, suffix):
    arrays = arrays_of_every_kind()
    save(arrays, tmp_path / f"weights{suffix}")
    assert_same(load(tmp_path / f"weights{suffix}"), arrays)


@pytest.mark.parametrize("source", TYPED[:3])
@pytest.mark.parametrize("target", [*TYPED[:3], ".wts"])
def test_convert(tmp_path, source, target):
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.array([-1.5, 2.5], np.float32)}
    if target == ".wts":
        arrays = {name: array.ravel() for name, array in arrays.items()}
    save(arrays, tmp_path / f"source{source}")
    convert(tmp_path / f"source{source}", tmp_path / f"target{target}")
    assert_same(load(tmp_path / f"target{target}"), arrays)


@pytest.mark.parametrize("suffix", TYPED)
def test_convert_in_place_is_safe_while_the_arrays_are_views_of_the_file(tmp_path, suffix):
    arrays = {"a": np.arange(5000, dtype=np.float32)}
    save(arrays, path := tmp_path / f"weights{suffix}")
    loaded = load(path)
    with pytest.raises(ArgumentError, match="is there already\n  give another name, or overwrite it"):
        convert(path, path)
    convert(path, path, force=True)
    path.unlink()
    assert_same(loaded, arrays)


@pytest.mark.parametrize("suffix", [*TYPED, ".wts"])
def test_writing_to_an_array_leaves_the_file_as_it_is(tmp_path, suffix):
    save({"a": np.ones(3, np.float32)}, path := tmp_path / f"weights{suffix}")
    load(path)["a"][:] = 7
    np.testing.assert_array_equal(load(path)["a"], 1)


@pytest.mark.parametrize("suffix", [*TYPED, ".wts"])
def test_empty_state_dict(tmp_path, suffix):
    save({}, tmp_path / f"weights{suffix}")
    assert load(tmp_path / f"weights{suffix}") == {}


@pytest.mark.parametrize("suffix", [*TYPED, ".wts"])
def test_saves_torch_tensors(tmp_path, suffix):
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    state_dict = {
        "parameter": torch.nn.Parameter(weight),
        "channels_last": weight.to(memory_format=torch.channels_last),
        "bfloat16": weight.bfloat16(),
        "float8": weight.to(torch.float8_e4m3fn),
        "negated": torch._neg_view(weight),
        "scalar": torch.tensor(4),
    }
    save(state_dict, tmp_path / f"weights{suffix}")
    for name, array in load(tmp_path / f"weights{suffix}").items():
        expected = state_dict[name].detach().float().resolve_neg().numpy()
        np.testing.assert_array_equal(array.reshape(expected.shape), expected)
        assert suffix == ".wts" or name not in ("bfloat16", "float8") or array.dtype == np.float32


def test_read_only_arrays_are_saved_without_a_warning(tmp_path, recwarn):
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    save({"a": array}, tmp_path / "weights.pt")
    assert not recwarn


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz", ".wts"])
def test_data_parallel_prefix_is_dropped_when_every_name_has_it(tmp_path, suffix):
    save({"module.a": np.ones(1, np.float32), "module.module.b": np.ones(1, np.float32)}, tmp_path / f"all{suffix}")
    assert list(load(tmp_path / f"all{suffix}")) == ["a", "module.b"]
    save({"module.a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}, tmp_path / f"some{suffix}")
    assert list(load(tmp_path / f"some{suffix}")) == ["module.a", "b"]


def test_suffix_in_capitals(tmp_path):
    save({"a": np.ones(1)}, tmp_path / "WEIGHTS.NPZ")
    assert list(load(tmp_path / "WEIGHTS.NPZ")) == ["a"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path):
    save({"a": np.ones(1)}, path := tmp_path / "weights.wts")
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="cannot be called 'two words'"):
        save({"b": np.ones(1), "two words": np.ones(1)}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_importing_it_brings_neither_torch_nor_safetensors():
    code = "import sys, trtnn.checkpoint; print({'torch', 'safetensors', 'tensorrt'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_torch_files_are_read_without_torch(tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "weights.pt")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from trtnn.checkpoint import load, save\n"
        "from trtnn.errors import CheckpointError\n"
        "state_dict = load('weights.pt')\n"
        "assert state_dict['weight'].shape == (3, 2)\n"
        "save(state_dict, 'weights.npz')\n"
        "try: save(state_dict, 'other.pt')\n"
        "except CheckpointError as error: assert 'pip install torch' in str(error), error\n"
        "else: raise SystemExit('it was written')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert not (tmp_path / "other.pt").exists()


def test_errors_of_load(tmp_path):
    with pytest.raises(CheckpointError, match=r"weights\.onnx has no suffix .*\n  known: .*\.safetensors, .*\.pt"):
        load(tmp_path / "weights.onnx")
    for suffix in [*TYPED, ".wts"]:
        with pytest.raises(CheckpointError, match=rf"cannot read .*missing\{suffix}: No such file"):
            load(tmp_path / f"missing{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(CheckpointError, match=rf"folder\{suffix} is a folder, not a checkpoint"):
            load(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("suffix", [*TYPED, ".wts"])
def test_what_is_not_the_file_is_told_from_its_start(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    for content, advice in [
        (b"\n<!DOCTYPE html><html>Sign in</html>", "begins like a web page: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "run git lfs pull"),
        (b"GGUF\x03\x00\x00\x00" + bytes(50), "download it again"),
        (b"", "download it again"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=advice) as caught:
            load(path)
        assert str(path) in caught.value.summary


@pytest.mark.parametrize(("written", "read"), [(".safetensors", [".safetensors"]), (".pt", TORCH), ("old", TORCH)])
@pytest.mark.parametrize("suffix", [*TYPED, ".wts"])
def test_a_file_of_another_format_than_its_suffix_says_is_told(tmp_path, written, read, suffix):
    """What is advised works: the file under the other name is read."""
    made = tmp_path / f"made{read[0]}"
    if written == ".safetensors":
        save({"a": np.ones(2, np.float32)}, made)
    else:
        torch.save({"a": torch.ones(2)}, made, _use_new_zipfile_serialization=written == ".pt")
    path = made.rename(tmp_path / f"my.weights{suffix}")
    if suffix in read:
        assert list(load(path)) == ["a"]
        return
    message = message_of(CheckpointError, load, path)
    if (written, suffix) == (".pt", ".npz"):  # both are zip files
        assert "is not a sound .npz file" in message
        return
    assert message.rpartition("\n")[2].startswith("  by its first bytes it is of another format (")
    path = path.rename(tmp_path / message.rpartition(": call it ")[2])
    assert list(load(path)) == ["a"]


def test_errors_of_save(tmp_path):
    ones = np.ones(2, np.float32)
    with pytest.raises(CheckpointError, match=r"known: .*\.wts"):
        save({"a": ones}, tmp_path / "weights.onnx")
    with pytest.raises(CheckpointError, match=r"target\.onnx has no suffix"):
        convert(tmp_path / "missing.pt", tmp_path / "target.onnx")
    with pytest.raises(ArgumentError, match=r"not a Linear\n  give model.state_dict\(\)"):
        save(torch.nn.Linear(1, 1), tmp_path / "weights.pt")
    for name in (3, "", "a\nb", "a\0b", "\ud800"):
        with pytest.raises(ArgumentError, match="a tensor cannot be called"):
            save({name: ones}, tmp_path / "weights.npz")
    with pytest.raises(ArgumentError, match=r"the folder .* does not exist"):
        save({"a": ones}, tmp_path / "no" / "weights.npz")
    for value, kind in [
        ([1, 2], "a list"),
        (np.array(["text"]), "an array of <U4"),
        (np.array([object()]), "an array of object"),
        (np.ones(2, np.complex64), "an array of complex64"),
        (torch.ones(2, dtype=torch.complex64), "a torch tensor of complex64, which a checkpoint cannot hold"),
        (torch.ones(2).to_sparse(), "a torch.sparse_coo tensor on cpu"),
        (torch.ones(2, device="meta"), "a torch.strided tensor on meta"),
    ]:
        with pytest.raises(DTypeError, match=f"a.weight is {kind}"):
            save({"a.weight": value}, tmp_path / "weights.npz")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    (tmp_path / "b.pt").symlink_to("/dev/zero")
    (tmp_path / "c.npz").mkdir()
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError, match=rf"cannot read .*{name}: it is no file"):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"c\.npz is a folder"):
        load(tmp_path / "c.npz")


def test_torch_s_writer_hides_no_full_disk():
    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        torch_file.write({"a": np.ones(100_000)}, Full())


@pytest.mark.parametrize("suffix", TYPED)
def test_numpy_s_scalars(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save({"one": np.float16(1.5), "two": np.int64(-3), "three": np.bool_(True)}, path)
    state = load(path)
    assert {name: (array.shape, array.dtype.name, array.item()) for name, array in state.items()} == {
        "one": ((), "float16", 1.5),
        "two": ((), "int64", -3),
        "three": ((), "bool", True),
    }
    message = message_of(DTypeError, save, {"a": 1.5}, path)
    assert "a is a float, which a checkpoint cannot hold\n  give an array or a tensor" in message
