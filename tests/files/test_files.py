"""Writing files: whole or not at all, and told beforehand where it cannot be."""

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers import message_of
from trtnn.errors import ArgumentError, FileError
from trtnn.files import atomic_write, check_writable, make_folder, open_regular

not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def write(path, data):
    with atomic_write(path) as file:
        file.write(data)


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a name with spaces [1].bin"
    write(path, b"one")
    write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_shows_until_it_is_complete(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
@pytest.mark.parametrize("before", [b"old", None])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def interrupted():
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_write_that_the_disk_ends_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write(path, b"new")
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_at_once_leave_the_umask(tmp_path, monkeypatch):
    """It can only be read by setting another one, which is the whole process's for that time."""
    real, before = os.umask, os.umask(0o027)

    def slow(mask):
        old = real(mask)
        time.sleep(0.01)  # for the other threads to come between
        return old

    def write(index):
        with atomic_write(tmp_path / f"{index}") as file:
            file.write(b"x")

    try:
        monkeypatch.setattr(os, "umask", slow)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(write, range(8)))
    finally:
        monkeypatch.undo()
        after = os.umask(before)
    assert after == 0o027
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_that_is_replaced_opens_to_nobody(tmp_path, umask, mode):
    path = tmp_path / "file"
    before = os.umask(umask)
    try:
        for old in (0o600, 0o660, 0o666, 0o755, 0o644, 0o604):
            path.write_bytes(b"old")
            path.chmod(old)
            with atomic_write(path) as file:
                file.write(b"new")
            assert path.read_bytes() == b"new"
            assert stat.S_IMODE(path.stat().st_mode) == old & mode
    finally:
        os.umask(before)


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "my weights"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda place, mode: place != path)
    for write in (check_writable, lambda place: atomic_write(place).__enter__()):
        message = message_of(ArgumentError, write, path)
        assert message == f"cannot write {path}: it is there, and may not be written\n  chmod u+w '{path}'"
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_umask_says_who_may_read(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write(tmp_path / "file", b"")
    finally:
        assert os.umask(before) == umask
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_where_no_file_can_be_written(tmp_path, monkeypatch):
    message = message_of(ArgumentError, check_writable, tmp_path)
    assert message == f"cannot write {tmp_path}: it is a folder\n  give the path of a file"
    path = tmp_path / "no" / "file"
    message = message_of(ArgumentError, check_writable, path)
    assert message == f"cannot write {path}: the folder {path.parent} does not exist\n  mkdir -p {path.parent}"
    path = tmp_path / "two words" / "file"
    assert f"\n  mkdir -p '{path.parent}'" in message_of(ArgumentError, check_writable, path)
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    for place, what in ("file", "a file"), ("gone", "a link to what is not there"):  # mkdir -p would fail
        for inner in (tmp_path / place / "inner", tmp_path / place / "no" / "inner"):
            expected = f"cannot write {inner}: {tmp_path / place} is {what}\n  give the path of a file in a folder"
            assert message_of(ArgumentError, check_writable, inner) == expected
    assert "does not exist" in message_of(ArgumentError, write, path, b"")
    assert check_writable(str(tmp_path / "file")) == tmp_path / "file"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    message = message_of(ArgumentError, check_writable, tmp_path / "file")
    assert message == f"cannot write {tmp_path / 'file'}: no permission to write in {tmp_path}"


@not_root
def test_a_closed_folder(tmp_path):
    tmp_path.chmod(0o500)
    assert "no permission to write" in message_of(ArgumentError, write, tmp_path / "file", b"")
    assert "no permission to write" in message_of(ArgumentError, make_folder, tmp_path)
    assert "Permission denied" in message_of(ArgumentError, make_folder, tmp_path / "new")


def test_a_file_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("file", b"here")
    assert (tmp_path / "file").read_bytes() == b"here"


def test_folders_are_made(tmp_path):
    path = tmp_path / "a b" / "c"
    assert make_folder(str(path)) == path
    assert path.is_dir()
    assert make_folder(path) == path


def test_an_error_of_another_file_stays_its_own(tmp_path):
    def copy():
        with atomic_write(tmp_path / "file"):
            (tmp_path / "missing").read_bytes()

    with pytest.raises(FileNotFoundError, match="missing"):
        copy()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc here")
def test_a_folder_that_takes_no_files_is_told_without_the_hidden_name():
    message = message_of(ArgumentError, check_writable, "/proc/a.engine")  # before the work begins
    assert message.startswith("cannot write /proc/a.engine: /proc takes no files: ")
    assert ".tmp" not in message


def test_a_folder_that_is_gone_meanwhile_is_told_without_the_hidden_name(tmp_path, monkeypatch):
    monkeypatch.setattr("trtnn.files.check_writable", lambda path: path)
    message = message_of(FileError, write, tmp_path / "gone" / "a.engine", b"")
    assert message == f"cannot write {tmp_path / 'gone' / 'a.engine'}: No such file or directory"


@pytest.mark.parametrize(("name", "words"), [("a" * 300, "File name too long"), ("a\0b", "embedded null")])
def test_names_that_no_file_can_have(tmp_path, name, words):
    for call, what in ((check_writable, "cannot write"), (make_folder, "cannot keep files in")):
        message = message_of(ArgumentError, call, tmp_path / name)
        assert message.startswith(f"{what} {tmp_path / name}: ")
        assert words in message


def test_a_long_name_is_written(tmp_path):
    for name in ("a" * 250 + ".bin", "é" * 120):
        write(tmp_path / name, b"one")
        assert (tmp_path / name).read_bytes() == b"one"


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_what_is_no_file_is_not_replaced(pipe):
    assert f"cannot write {pipe}: it is a pipe" in message_of(ArgumentError, write, pipe, b"")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert "cannot write /dev/null: it is a device" in message_of(ArgumentError, check_writable, "/dev/null")


def test_only_regular_files_are_read(tmp_path, pipe):
    (tmp_path / "file").write_bytes(b"here")
    with open_regular(str(tmp_path / "file")) as file:
        assert file.read() == b"here"
    for path, words in ((pipe, "it is a pipe"), ("/dev/zero", "it is a device"), (tmp_path, "Is a directory")):
        with pytest.raises(OSError, match=words) as caught:
            open_regular(path)
        assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")
