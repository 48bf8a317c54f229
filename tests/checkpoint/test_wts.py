"""The .wts text format against hand-written files and Python's own struct."""

import struct

import numpy as np
import pytest

from trtnn.checkpoint import load, save
from trtnn.errors import CheckpointError


def load_text(tmp_path, text: str | bytes) -> dict[str, np.ndarray]:
    (tmp_path / "a.wts").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(tmp_path / "a.wts")


def test_reads_blanks_of_any_number_and_words_of_any_length(tmp_path):
    got = load_text(
        tmp_path,
        "5\n"
        "two.blanks 3  3f800000 bf800000 40000000\n"
        "one.blank 2 3f800000 BF800000\n"
        "short 5  0 3f800000 00000001 1 7fc00000\r\n"
        "many.blanks 2 3f800000  f800000 \n"
        "empty 0\n"
        "\n",
    )
    assert list(got) == ["two.blanks", "one.blank", "short", "many.blanks", "empty"]
    np.testing.assert_array_equal(got["two.blanks"], np.array([1, -1, 2], np.float32))
    np.testing.assert_array_equal(got["one.blank"], np.array([1, -1], np.float32))
    np.testing.assert_array_equal(got["short"].view(np.uint32), [0, 0x3F800000, 1, 1, 0x7FC00000])
    np.testing.assert_array_equal(got["many.blanks"].view(np.uint32), [0x3F800000, 0x0F800000])
    assert got["empty"].shape == (0,)
    assert all(array.dtype == np.float32 and array.ndim == 1 for array in got.values())


def test_reads_what_struct_packs(tmp_path):
    values = [float(value) for value in np.random.default_rng(0).standard_normal(1000).astype(np.float32)]
    for pad in (8, 1):
        words = [f"{struct.unpack('>I', struct.pack('>f', value))[0]:0{pad}x}" for value in [0.0, *values]]
        got = load_text(tmp_path, f"1\nconv.weight {len(words)} {' '.join(words)}\n")
        np.testing.assert_array_equal(got["conv.weight"], np.array([0.0, *values], np.float32))


def test_long_lines_of_short_words(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**32, 100_000) >> np.random.default_rng(1).integers(0, 32, 100_000)
    got = load_text(tmp_path, f"1\na {len(values)} {' '.join(f'{value:x}' for value in values)}\n")
    np.testing.assert_array_equal(got["a"].view(np.uint32), values)


def test_the_last_newline_may_be_missing(tmp_path):
    assert load_text(tmp_path, "1\na 2 0 3f800000")["a"].tolist() == [0, 1]


def test_writes_the_format(tmp_path):
    save({"a": np.array([[1, -2]], np.float16), "n": np.array(3), "e": np.zeros((0, 2))}, tmp_path / "a.wts")
    assert (tmp_path / "a.wts").read_text() == "3\na 2 3f800000 c0000000\nn 1 40400000\ne 0\n"


def test_every_bit_survives(tmp_path):
    words = np.array([0x7F800001, 0xFFC12345, 0x80000000, 0x00000001, 0x7F800000], np.uint32)
    save({"a": words.view(np.float32)}, tmp_path / "a.wts")
    np.testing.assert_array_equal(load(tmp_path / "a.wts")["a"].view(np.uint32), words)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("conv 1 3f800000\n", "its first line is not the number of its tensors"),
        ("-1\n", "its first line is not the number of its tensors"),
        ("2\na 1 3f800000\n", "has 1 tensors where its first line promises 2"),
        ("1\na 1 3f800000\nb 1 3f800000\n", "has 2 tensors where its first line promises 1"),
        ("2\na 1 3f800000\na 1 3f800000\n", "line 3\n  a occurs a second time"),
        ("1\na 3 3f800000 3f800000\n", "line 2\n  a has 2 values where 3 are promised"),
        ("1\na 1 3f800000 3f800000\n", "line 2\n  a has 2 values where 1 are promised"),
        ("1\na 99999999999999 3f800000\n", "a has 1 values where 99,999,999,999,999 are promised"),
        ("1\na 2 3f800000\n", "a has 1 values where 2 are promised"),
        (
            "1\na 2 3f 80 00 3f800000 00\n",
            "a has 5 values where 2 are promised",
        ),  # 8 bytes, and a blank at each ninth place
        ("1\na\0\x1b[2J 2 3f800000\n", r"a\\x00\\x1b\[2J has 1 values where 2"),
        ("1\na\x1b[2J 1 3f800000\n", r"has a tensor called 'a\\x1b\[2J'\n  the names of a state dict are printable"),
        ("1\na 0 3f800000\n", "a has 1 values where 0 are promised"),
        ("1\na 0 nonsense and more\n", "not hexadecimal|of more than 8"),
        ("1\na 0\nb 0\n", "has 2 tensors where its first line promises 1"),
        ("9000000\na 0\n", "it promises 9,000,000 tensors"),
        ("1\na 1 3f80000g\n", "a has a value that is not hexadecimal"),
        ("1\na 1 0x3f8000\n", "a has a value that is not hexadecimal"),
        ("1\na 1 -1\n", "a has a value that is not hexadecimal"),
        ("1\na 1 3f80٣\n", "a has a value that is not hexadecimal|of more than 8"),
        ("1\na 1 3f8000000\n", "a has a value of more than 8 hexadecimal digits"),
        ("1\na 2 3f8000 3f80000000\n", "a has a value of more than 8 hexadecimal digits"),
        ("1\na 1 3f80", "a ends the file with a value that may be cut short"),
        ("1\na 2 3f800000 0", "a ends the file with a value that may be cut short"),
        ("1\na\n", "does not begin with a name and a number of elements"),
        ("1\na x 3f800000\n", "does not begin with a name and a number of elements"),
        (b"1\n\xff\xfe 1 3f800000\n", "line 2\n  'utf-8' codec can't decode"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, text, problem):
    with pytest.raises(CheckpointError, match=problem) as caught:
        load_text(tmp_path, text)
    assert "a.wts" in caught.value.summary
    assert "download it again" in str(caught.value) or "printable" in str(caught.value)


def test_values_beyond_float32_are_not_silently_infinite(tmp_path):
    save({"a": np.array([np.inf, 1e38])}, tmp_path / "a.wts")
    with pytest.raises(CheckpointError, match=r"a does not fit a \.wts file: it has values beyond float32"):
        save({"a": np.array([1e39])}, tmp_path / "a.wts")
