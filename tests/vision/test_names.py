"""Names of classes out of the files that people have."""

import codecs
import os
import sys
import tracemalloc

import pytest

from trtnn.errors import ArgumentError, BackendError
from trtnn.vision.names import read_names, split_names


def read(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_names(path)


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("data.yaml", "path: ../pets\ntrain: images\nnc: 3\nnames:\n  0: cat\n  1: dog\n  2: emu\n", "cat dog emu"),
        ("data.yaml", "names: {2: emu, 0: cat, 1: dog}  # in any order\n", "cat dog emu"),
        ("data.yml", "nc: 2\nnames: ['cat', \"dog\"]\nval: [names, a]\n", "cat dog"),
        ("data.yaml", "names:\n- cat\n- dog\n", "cat dog"),
        ("data.yaml", "- cat\n- dog\n", "cat dog"),
        ("data.yaml", "0: cat\n1: dog\n", "cat dog"),
        ("data.yaml", "names: [yes, no, on, 1.50, 010, 'null', 2024-01-01]\n", "yes no on 1.50 010 null 2024-01-01"),
        ("data.yaml", "train: !special thing\nnames: [cat]\n", "cat"),
        ("data.yaml", codecs.BOM_UTF8 + b"names: [cat, dog]\r\n", "cat dog"),
        ("a.json", '["cat", "dog"]', "cat dog"),
        ("a.json", '{"names": {"1": "dog", "0": "cat"}, "nc": 2}', "cat dog"),
        ("a.json", '{"0": "cat", "1": "dog"}', "cat dog"),
        ("a.names", "cat\ndog\n", "cat dog"),
        ("a.txt", codecs.BOM_UTF8 + b"cat\r\ndog\r\n\r\n", "cat dog"),
        ("a.txt", "cat\ndog".encode("utf-16"), "cat dog"),
        ("a", "cat, dog\n", "cat dog"),
        ("a.txt", "cat\r dog \r", "cat dog"),
        ("a.txt", "Käse\nパン\n", "Käse パン"),
    ],
)
def test_names_are_read(tmp_path, name, content, names):
    assert read(tmp_path, name, content) == names.split(" ")


def test_names_may_hold_commas_and_spaces(tmp_path):
    assert read(tmp_path, "a.json", '["a, b", "c d"]') == ["a, b", "c d"]
    assert read(tmp_path, "a.txt", "a, b\nc d\n") == ["a, b", "c d"]
    assert split_names(" a b,c ,") == ["a b", "c"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", "", "it is empty"),
        ("a.yaml", "train: images\n", "it has no names"),
        ("a.yaml", "names: cat\n", "it has no list of names"),
        ("a.yaml", "names: [cat, ~, dog]\n", "a name is a list, a dict, or nothing"),
        ("a.yaml", "names: [cat, [dog]]\n", "a name is a list, a dict, or nothing"),
        ("a.yaml", "names: {0: cat, 2: dog}\n", "it has 2 names, and '2' is not one number of 0 to 1"),
        ("a.yaml", "names: {0: cat, 1: dog, 1: emu}\n", "it has 3 names, and '1' is not one number of 0 to 2"),
        ("a.yaml", "names: [cat]\nnames: [dog]\n", "it has names twice"),
        ("a.yaml", "names: [cat\n", "in line 2"),
        ("a.yaml", "names: [cat]\n---\nnames: [dog]\n", "document"),
        ("a.json", "[", "Expecting value"),
        ("a.json", '{"names": ["cat"], "names": ["dog"]}', "it has names twice"),
        ("a.json", '{"nc": 2}', "it has no names"),
        ("a.json", "3", "it has no list of names"),
        ("a.txt", "\n \n", "there are none"),
        ("a.txt", "cat\n\ndog\n", "number 1 is empty, and those behind it would have wrong numbers"),
        ("a.txt", "cat,,dog", "number 1 is empty"),
        ("a.yaml", "[" * 200_000, "recursion"),
        ("a.json", "[" * 200_000, "recursion"),
    ],
)
def test_what_gives_no_names_is_refused_with_the_reason(tmp_path, name, content, words):
    with pytest.raises(ArgumentError) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(f"{tmp_path / name} gives no names of classes: ")
    assert words in str(caught.value)


def test_aliases_of_yaml_do_not_multiply(tmp_path):
    """Ten items, each of ten, and so on ten times over, would be 10¹⁰ names."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert read(tmp_path, "a.yaml", "\n".join([*lines, "names: [cat]"])) == ["cat"]
    with pytest.raises(ArgumentError, match="a name is a list"):
        read(tmp_path, "a.yaml", "\n".join([*lines, "names: *a9"]))
    with pytest.raises(ArgumentError, match="a name is a list"):
        read(tmp_path, "a.yaml", "names: &n [*n, *n]")
    lines = ["a: &a [" + "x, " * 5000 + "]", *(f"b{i}: *a" for i in range(2000)), "names: [cat]"]
    tracemalloc.start()
    assert read(tmp_path, "a.yaml", "\n".join(lines)) == ["cat"]
    assert tracemalloc.get_traced_memory()[1] < 40e6  # the lists would take 80 MB
    tracemalloc.stop()


def test_without_pyyaml_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(BackendError, match="read by PyYAML, which is missing\n  pip install pyyaml"):
        read(tmp_path, "a.yaml", "names: [cat]")
    assert read(tmp_path, "a.txt", "cat") == ["cat"]


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ArgumentError, match=r"pipe\.yaml gives no names of classes: it is no regular file"):
        read_names(tmp_path / "pipe.yaml")
    with pytest.raises(ArgumentError, match=r"gone\.yaml gives no names of classes: No such file or directory"):
        read_names(tmp_path / "gone.yaml")
    for content in (b"\xff\xd8\xff\xe0", b"cat\0dog"):
        with pytest.raises(ArgumentError, match=r"a\.txt is not a text file\n  names of classes are in UTF-8"):
            read(tmp_path, "a.txt", content)
    with pytest.raises(ArgumentError, match="more than 1,048,576 bytes"):
        read(tmp_path, "a.txt", b"a\n" * (1 << 20))
