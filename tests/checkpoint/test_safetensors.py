"""The safetensors format against its own library, and what a header may not say."""

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from trtnn.checkpoint import StateDict, load, save
from trtnn.errors import CheckpointError


def write_raw(path, header, data: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def entry(begin=0, end=8, dtype="F32", shape=(2,)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_reads_what_the_library_writes(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "half": random.standard_normal((3, 5, 1)).astype(np.float16),
        "bytes": np.arange(3, dtype=np.uint8),
        "single": random.standard_normal((4, 4)).astype(np.float32),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((2, 0), np.float32),
        "flags": np.array([True, False]),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", metadata={"format": "pt"})
    got = load(tmp_path / "a.safetensors")
    assert set(got) == set(arrays)
    for name, array in arrays.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(got[name], array)


def test_the_library_reads_what_save_writes(tmp_path):
    arrays = {"b": np.arange(3, dtype=np.int8), "a": np.arange(6.0).reshape(2, 3), "s": np.array(True), "é": np.ones(1)}
    save(arrays, tmp_path / "a.safetensors")
    got = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert set(got) == set(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


def test_save_aligns_every_tensor(tmp_path):
    save(
        {"i": np.ones(3, np.int8), "h": np.ones(1, np.float16), "d": np.ones(1), "s": np.ones(1, "f4")},
        tmp_path / "a.safetensors",
    )
    content = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    offsets = {name: fields["data_offsets"] for name, fields in json.loads(content[8 : 8 + length]).items()}
    assert length % 8 == 0
    assert offsets == {"i": [14, 17], "h": [12, 14], "d": [0, 8], "s": [8, 12]}


def test_bfloat16_becomes_float32(tmp_path):
    tensors = {"a": torch.randn(3, 4).bfloat16(), "scalar": torch.tensor(1.5).bfloat16(), "none": torch.zeros(0, 2)}
    tensors["none"] = tensors["none"].bfloat16()
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    for name, array in load(tmp_path / "a.safetensors").items():
        assert type(array) is np.ndarray
        assert array.dtype == np.float32
        assert array.shape == tensors[name].shape
        np.testing.assert_array_equal(array, tensors[name].float().numpy())


def test_misaligned_data_is_copied_into_place(tmp_path):
    values = np.arange(3, dtype="<f4")
    write_raw(
        tmp_path / "a.safetensors",
        {"one": entry(0, 1, "U8", [1]), "three": entry(1, 13, "F32", [3])},
        b"\x05" + values.tobytes(),
    )
    got = load(tmp_path / "a.safetensors")
    assert got["three"].flags.aligned
    np.testing.assert_array_equal(got["three"], values)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_loading_reads_nothing_until_touched(tmp_path):
    big = np.ones(60 * 2**20 // 2, np.float16)
    save({"a": big, "b": np.ones(3, np.float32)}, tmp_path / "big.safetensors")
    torch.save({"a": torch.from_numpy(big)}, tmp_path / "big.pt")
    code = (
        "import re, sys\n"
        "from trtnn.checkpoint import load\n"
        "peak_kib = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = peak_kib()\n"
        "arrays = load(sys.argv[1])\n"
        "loaded = peak_kib()\n"
        "total = float(arrays['a'].sum(dtype='f4'))\n"
        "print(loaded - before, peak_kib() - before, total)\n"
    )
    for name in ("big.safetensors", "big.pt"):
        result = subprocess.run(
            [sys.executable, "-c", code, tmp_path / name], check=True, capture_output=True, text=True
        )
        loaded_kib, touched_kib, total = map(float, result.stdout.split())
        assert loaded_kib < 4 * 1024, name
        assert touched_kib > 50 * 1024, "the measure itself works"
        assert total == big.size


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"{", "not sound JSON"),
        (b"\xff\xfe", "not sound JSON"),
        (b"[" * 100_000, "not sound JSON"),
        (b"[]", "it is a list, not an object"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}', "it has 'a' twice"),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,NaN]}}', "it has NaN, which JSON has not"),
        (b'{"__metadata__":{"a":"b"},"a":Infinity}', "it has Infinity, which JSON has not"),
        (b'{"a":1e999}', "it has 1e999, which JSON has not"),
        (b'{"__metadata__":{"a":"\\ud800"}}', "it has half a character"),
        (b'{"\\udc00":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', "it has half a character"),
        (b'{"__metadata__":{"a":3}}', "its __metadata__ is no object of texts"),
        (b'{"__metadata__":{"a":null}}', "its __metadata__ is no object of texts"),
        (b'{"__metadata__":[]}', "its __metadata__ is no object of texts"),
        (
            b'{"__metadata__":{"trtnn":"["},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            "trtnn's text in it is not sound",
        ),
        (
            b'{"__metadata__":{"trtnn":"[]"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            "trtnn's text in it is not sound: it is a list",
        ),
        ({"a": 5}, "entry for 'a' is malformed"),
        ({"a": entry(shape=[-2])}, "entry for 'a' is malformed"),
        ({"a": entry(shape=[2.0])}, "entry for 'a' is malformed"),
        ({"a": entry(shape=[True, 2])}, "entry for 'a' is malformed"),
        ({"a": entry(shape=[2**70])}, "entry for 'a' is malformed"),
        ({"a": entry(shape=[0, 2**40, 2**40], end=0)}, "entry for 'a' is malformed"),
        ({"a": entry(shape=[1] * 33)}, "entry for 'a' is malformed"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "entry for 'a' is malformed"),
        ({"a": {**entry(), "data_offsets": [0, 4, 8]}}, "entry for 'a' is malformed"),
        ({"a": entry(dtype=["F32"])}, "entry for 'a' is malformed"),
        ({"a": entry(dtype="F9", end=2)}, "a has the type F9, which NumPy lacks\n  known: BOOL, .*BF16"),
        ({"a": entry(shape=[3])}, r"a is F32 \(3,\), 12 bytes, but lies at 0 to 8"),
        ({"a": entry(8, 0)}, r"8 bytes, but lies at 8 to 0"),
        ({"a": entry(), "b": entry()}, "b begins at byte 0 of the data, not 8"),
        ({"a": entry(4, 12)}, "a begins at byte 4 of the data, not 0"),
        ({"a": entry(2**40, 2**40 + 8)}, "a begins at byte 1099511627776 of the data, not 0"),
        ({"a": entry(), "b": entry(8, 16)}, r"where its header promises"),
        ({}, r"has 18 bytes where its header promises 10"),
    ],
)
def test_header_is_checked(tmp_path, header, problem):
    write_raw(tmp_path / "a.safetensors", header, bytes(8))
    with pytest.raises(CheckpointError, match=problem) as caught:
        load(tmp_path / "a.safetensors")
    assert "a.safetensors" in caught.value.summary


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 200_000_000, 100])
def test_header_length_is_checked(tmp_path, length):
    write_raw(tmp_path / "a.safetensors", {"a": entry()}, bytes(8), length)
    with pytest.raises(CheckpointError, match=r"its header would have [\d,]+ of [\d,]+ bytes\n  .*download it again"):
        load(tmp_path / "a.safetensors")


def test_truncated(tmp_path):
    save({"a": np.ones(1000, np.float32)}, path := tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(
        CheckpointError, match=r"has 2,000 bytes where its header promises 4,\d+\n  .*download it again"
    ):
        load(path)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"lr": float("nan")}, "metadata['lr'] is nan, which JSON has not"),
        ({"lr": np.float32(1)}, "metadata['lr'] is a numpy.float32, no JSON value"),
        ({"who": object()}, "metadata['who'] is a object, no JSON value"),
        ({"names": {0: "a"}}, "names is {'0': 'a'}"),  # which load takes from no file
        ({"classes": 0}, "classes is 0"),
        ({"x": "\ud800"}, "metadata['x'] has half a character"),
    ],
)
def test_metadata_that_load_would_refuse_are_not_written(tmp_path, metadata, words):
    path = tmp_path / "a.safetensors"
    save({"a": np.ones(1)}, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        save(StateDict({"a": np.ones(2)}, metadata), path)
    assert str(caught.value).startswith(f"no .safetensors file can hold these metadata: {words}")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_tensor_cannot_take_the_metadata_s_name(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be called __metadata__"):
        save({"__metadata__": np.ones(1)}, tmp_path / "a.safetensors")
