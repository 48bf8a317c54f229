"""Processes that read files of images: what they give, word for word and pixel for pixel, and what is left of them."""

import contextlib
import errno
import functools
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import trtnn.threads
import trtnn.vision.ahead
import trtnn.vision.frames
import trtnn.vision.reader_child
import trtnn.vision.readers
from trtnn.errors import ArgumentError, ImageError
from trtnn.threads import processors
from trtnn.vision import write_image
from trtnn.vision.frames import read_frames
from trtnn.vision.images import encode_image
from trtnn.vision.reader_process import GROUP_BYTES, MOST_FILES, Shared, Slots, connected, read_each, receive, send
from trtnn.vision.readers import MOST_PROCESSES, Groups, Readers, can_share, most_readers
from trtnn.vision.sources import Frame, Source, file_source, find_sources

pytestmark = pytest.mark.skipif(not can_share(), reason="processes share images on Linux")

MOST = 1 << 24  # pixels
COUNT = 2


@pytest.fixture(scope="module")
def shared():
    with Readers(COUNT, True) as readers:
        readers.wait_until_ready()
        yield readers


@pytest.fixture
def readers(shared, monkeypatch):
    """Two processes, beside which no thread reads."""

    def fail(paths, max_pixels):
        raise AssertionError("a thread reads")

    monkeypatch.setattr(trtnn.vision.readers, "read_each", fail)
    return shared


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of all kinds and of different sizes."""
    folder = tmp_path_factory.mktemp("images")
    for index, suffix in enumerate((".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".jpeg")):
        write_image(folder / f"{index}{suffix}", noise(40 + 7 * index, 90 - 9 * index, index))
    grey = noise(50, 60, 8)
    cv2.imwrite(str(folder / "grey.png"), grey[..., 0])
    cv2.imwrite(str(folder / "deep.png"), grey.astype(np.uint16) * 200)
    cv2.imwrite(str(folder / "clear.png"), np.concatenate([grey, grey[..., :1]], 2))
    lying = encode_image("a.jpg", grey)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
    (folder / "lying.jpg").write_bytes(lying[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + lying[2:])
    return folder


def expected(path):
    """What OpenCV reads by itself."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def taken(sources, **options):
    """What comes of sources, in order: names with images, or with the words of errors."""
    seen = []
    for source, frame in read_frames(
        sources, lambda s, e: seen.append((s.name, str(e))), **{"max_pixels": MOST, **options}
    ):
        seen.append((source.name, frame.image))
    return seen


def unreadable(sources):
    """Sources that only processes read, by their paths."""

    def fail(max_pixels):
        raise AssertionError("read where it is taken")

    return [replace(source, read=fail) for source in sources]


def check_same(seen, others):
    assert [name for name, _ in seen] == [name for name, _ in others]
    for (name, one), (_, other) in zip(seen, others, strict=True):
        if isinstance(other, str):
            assert one == other
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


# -- what comes -------------------------------------------------------------------------------------------------------


def test_images_are_opencvs_and_threads(readers, folder):
    sources = find_sources(str(folder)) * 9
    assert len(sources) == 99
    seen = taken(unreadable(sources), processes=readers)
    for (_, image), source in zip(seen, sources, strict=True):
        np.testing.assert_array_equal(image, expected(source.path), err_msg=source.name)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert image.flags.writeable
    assert seen[sources.index(next(s for s in sources if s.path.name == "lying.jpg"))][1].shape == (60, 50, 3)
    check_same(seen, taken(sources, processes=0))


def test_images_are_apart(readers, folder):
    """What is written to one is seen in no other, and not in the next one there."""
    path = str(folder / "0.jpg")
    for _ in range(3):
        images = readers.read([path] * 4, MOST)
        images[1][...] = 7
        for index in (0, 2, 3):
            np.testing.assert_array_equal(images[index], expected(path))
        del images


def wrong(folder):
    """Files that are none, in all ways."""
    folder.mkdir()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "none.jpg").write_bytes(b"none")
    (folder / "gif.jpg").write_bytes(b"GIF89a" + bytes(100))
    (folder / "cut.png").write_bytes(encode_image("a.png", noise(30, 30))[:300])
    (folder / "link.jpg").symlink_to(folder / "nowhere")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "large.png").write_bytes(encode_image("a.png", np.zeros((4100, 4100, 3), np.uint8)))
    with open(folder / "long.jpg", "wb") as file:
        file.truncate((16 << 24) + 1)
    names = [
        "empty.jpg",
        "none.jpg",
        "gif.jpg",
        "cut.png",
        "link.jpg",
        "folder.jpg",
        "pipe.jpg",
        "large.png",
        "long.jpg",
    ]
    return [
        folder / name for name in [*names, "away.jpg", "a\0b.jpg", "\udc80ä\n.jpg", "x" * 300, "ä/" * 1200 + "a.jpg"]
    ]


def test_errors_are_those_of_threads_word_for_word(readers, folder, tmp_path):
    paths = [path for one in wrong(tmp_path / "wrong") for path in (one, folder / "1.png")]
    sources = [file_source(path) for path in paths] * 3
    seen = taken(unreadable(sources), processes=readers)
    check_same(seen, taken(sources, processes=0))
    errors = {name.rpartition("/")[2]: said for name, said in seen if isinstance(said, str)}
    assert len(errors) == 14
    assert "too large: 4,100×4,100 pixels" in errors["large.png"]
    assert "it is no regular file" in errors["pipe.jpg"]
    assert "a link to what is not there" in errors["link.jpg"]
    assert "embedded null" in errors["a\0b.jpg"]
    assert "268,435,457 bytes are more than" in errors["long.jpg"]


@pytest.mark.parametrize("count", [0, 2.5, True, "9"])
def test_max_pixels_are_checked_as_by_threads(readers, folder, count):
    with pytest.raises(ArgumentError, match="max_pixels is a positive int, not "):
        taken([file_source(folder / "0.jpg")] * 3, max_pixels=count, processes=readers)


def test_a_path_is_seen_from_where_this_process_is(readers, folder, tmp_path, monkeypatch):
    for name, seed in (("here", 1), ("there", 2)):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", noise(9, 9, seed))
    for name, seed in (("here", 1), ("there", 2), ("here", 1)):
        monkeypatch.chdir(tmp_path / name)
        ((_, image),) = taken(unreadable([file_source(Path("a.png"))]), processes=readers)
        np.testing.assert_array_equal(image, noise(9, 9, seed))
        (error,) = readers.read(["b.png"], MOST)
        assert str(error) == "no picture at b.png: the file does not exist"


def test_sources_that_are_no_files_of_images_are_read_as_ever(readers, folder):
    def fail(most):
        raise ImageError("no such line")
        yield

    ones = [Source(str(index), lambda most: iter([Frame(noise(5, 5, 1))]), folder / "a.png") for index in range(3)]
    sources = [file_source(folder / "0.jpg"), ones[0], Source("line", fail, folder / "away.jpg"), *ones[1:]]
    seen = taken(sources, processes=readers)
    assert [name for name, _ in seen] == [source.name for source in sources]
    np.testing.assert_array_equal(seen[1][1], noise(5, 5, 1))
    assert seen[2][1] == "no such line"


def test_a_folder_that_is_there_no_more(folder, shared, tmp_path, monkeypatch):
    """Threads say the same."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    numbers = shared.process_ids()
    sources = [file_source(Path("a.png")), file_source(folder / "0.jpg"), file_source(Path("b.png"))]
    check_same(taken(sources, processes=shared), taken(sources, processes=0))
    assert shared.process_ids() == numbers


def test_large_images_are_read_alone(readers, tmp_path):
    """One with which a group had too many bytes is read where it is taken; the small ones of its group are read."""
    large = np.zeros((2400, 2400, 3), np.uint8)
    large[::7] = 200
    write_image(tmp_path / "0.png", noise(20, 20))
    write_image(tmp_path / "1.png", large)
    paths = [str(tmp_path / f"{index}.png") for index in (0, 1, 0, 1)]
    assert 20 * 20 * 3 + large.nbytes > GROUP_BYTES
    read = readers.read(paths, MOST)
    assert [one is None for one in read] == [False, True, False, True]
    np.testing.assert_array_equal(read[2], noise(20, 20))
    np.testing.assert_array_equal(readers.read(paths[1:2], MOST)[0], large)
    for one, path in zip(
        taken([file_source(Path(path)) for path in paths * 5], processes=readers), paths * 5, strict=True
    ):
        np.testing.assert_array_equal(one[1], large if path.endswith("1.png") else noise(20, 20))


def test_what_else_goes_wrong_is_left_to_who_takes_it(monkeypatch, folder):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(trtnn.vision.reader_process, "decode_image", fail)
    (one, error) = read_each([str(folder / "0.jpg"), "away.jpg"], MOST)
    assert one is None
    assert "does not exist" in str(error)


# -- groups -----------------------------------------------------------------------------------------------------------


def sizes_of(groups, count):
    return [len(next(groups)) for _ in range(count)]


def image_of(nbytes):
    return np.empty(int(nbytes), np.uint8)


class Giving:
    """Readers that give what they are told, of whatever paths."""

    has_processes = True

    def __init__(self, count):
        self.count, self.asked = count, []

    def read(self, paths, max_pixels):
        self.asked.append((paths, max_pixels))
        return self.given


def noting(groups, images):
    """Have a group read, which has these images."""
    groups._readers.given = images
    assert groups.read([0] * len(images), MOST) is images


def test_groups_have_as_many_files_as_images_are_small():
    groups = Groups(range(2000), str, Giving(2))
    note = functools.partial(noting, groups)
    each = iter(groups)
    assert sizes_of(each, 5) == [1] * 5  # nobody knows yet
    note([image_of(GROUP_BYTES // 3)])
    assert sizes_of(each, 3) == [3] * 3
    note([image_of(99), ImageError("a"), image_of(99)])
    assert sizes_of(each, 1) == [3]
    note([image_of(99)] * 200)
    assert sizes_of(each, 3) == [MOST_FILES] * 3
    note([image_of(99), None])
    assert sizes_of(each, 3) == [1] * 3
    note([image_of(99)] * 200)
    rest = [*each]
    assert [item for group in rest for item in group] == [*range(2000)][-sum(map(len, rest)) :]
    assert len(rest[0]) == MOST_FILES
    assert [len(group) for group in rest[-12:]] == [1] * 12 or [len(group) for group in rest[-4:]] == [1] * 4
    assert sorted(map(len, rest), reverse=True) == [*map(len, rest)]


def test_what_is_no_file_is_alone():
    readers = Giving(1)
    groups = Groups(
        [1, 2, "a", "b", *range(40)], lambda item: f"{item}.jpg" if isinstance(item, int) else None, readers
    )
    noting(groups, [image_of(1)])
    assert [*groups][:4] == [[1, 2], ["a"], ["b"], [*range(8)]]
    assert [*Groups([], str, readers)] == []
    assert groups.read(["a"], 5) is None
    readers.given = [image_of(1), None]
    assert groups.read([1, 2], 5) is readers.given
    assert readers.asked[1:] == [(["1.jpg", "2.jpg"], 5)]


def test_without_processes_all_is_alone():
    readers = Giving(1)
    groups = Groups(range(40), str, readers)
    noting(groups, [image_of(1)])
    readers.has_processes = False
    assert [*groups] == [[index] for index in range(40)]
    assert groups.read([1], MOST) is None
    assert len(readers.asked) == 1


# -- memory -----------------------------------------------------------------------------------------------------------


def slots(readers):
    return sum(len(child._slots) for child in readers._children)


def test_slots_are_used_again(folder):
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        for index in range(200):
            (image,) = readers.read([str(folder / f"{index % 2}.{['jpg', 'png'][index % 2]}")], MOST)
            assert image.shape == (40 + 7 * (index % 2), 90 - 9 * (index % 2), 3)
        assert slots(readers) == 2  # one is taken while the other is still here
        kept = [readers.read([str(folder / "0.jpg")], MOST)[0] for _ in range(30)]
        assert slots(readers) == 31
        del kept, image
        readers.read([str(folder / "0.jpg")], MOST)
        assert slots(readers) == 31


def test_what_was_taken_is_not_held(folder, readers):
    sources = unreadable([file_source(folder / "0.jpg")] * 100)
    gone = []
    gc.disable()
    try:
        for _, frame in read_frames(sources, print, processes=readers):
            assert not gone or gone[-1]() is None
            gone.append(weakref.ref(frame.image))
            del frame
    finally:
        gc.enable()
    assert len(gone) == 100


def test_memory_of_a_huge_image_is_given_back(folder, tmp_path):
    write_image(tmp_path / "huge.png", np.ones((4900, 4900, 3), np.uint8))  # 72 MB
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        (image,) = readers.read([str(tmp_path / "huge.png")], 1 << 25)
        assert image.min() == image.max() == 1
        held = [status(number, "RssShmem") for number in (os.getpid(), *readers.process_ids())]
        del image
        readers.read([str(folder / "0.jpg")], MOST)
        after = [status(number, "RssShmem") for number in (os.getpid(), *readers.process_ids())]
        assert np.all(np.array(held) - after > 60_000), (held, after)
        assert slots(readers) == 1


def status(process_id, name):
    """Return what the system says of a process, in KiB."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def test_memory_of_many_small_images_stays(folder, readers):
    sources = unreadable([file_source(folder / "1.png")] * 500)
    used = []
    for _ in range(3):
        for _source, _frame in read_frames(sources, print, processes=readers):
            pass
        used.append([status(number, "VmRSS") for number in (*readers.process_ids(), os.getpid())])
    assert np.all(np.array(used[2]) - used[1] < 4096), used


def test_images_that_are_kept_stay_and_take_no_descriptors(folder):
    before = len(os.listdir("/proc/self/fd"))
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        paths = [str(path) for path in folder.iterdir()]
        images = [image for _ in range(60) for image in readers.read(paths[:5], MOST)]
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert len(os.listdir(f"/proc/{readers.process_ids()[0]}/fd")) < 10
    assert len(os.listdir("/proc/self/fd")) == before
    for index, image in enumerate(images):
        np.testing.assert_array_equal(image, expected(paths[index % 5]))
        image[...] = 1  # it may be written


@pytest.mark.parametrize("error", [OSError("no more mappings"), MemoryError()])
def test_where_no_more_memory_can_be_shared_images_are_read_where_they_are_taken(folder, monkeypatch, error):
    def fail(*_):
        raise error

    paths = [folder / "0.jpg", folder / "1.png", folder / "none.jpg"]
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        before = set(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(trtnn.vision.reader_child, "Shared", fail)
        read = readers.read([*map(str, paths)], MOST)
        assert set(os.listdir("/proc/self/fd")) <= before
        assert read[:2] == [None, None]
        assert "does not exist" in str(read[2])
        check_same(taken([*map(file_source, paths)], processes=readers), taken([*map(file_source, paths)], processes=0))
        monkeypatch.undo()
        np.testing.assert_array_equal(readers.read([str(paths[0])], MOST)[0], expected(paths[0]))
        assert slots(readers) == 1


def test_the_last_view_of_an_image_keeps_it(folder, readers):
    path = str(folder / "0.jpg")
    view = readers.read([path], MOST)[0][3:, ::2].reshape(-1, 5)
    other = memoryview(readers.read([path], MOST)[0])
    for _ in range(20):
        readers.read([str(folder / "1.png")] * 5, MOST)
    np.testing.assert_array_equal(view, expected(path)[3:, ::2].reshape(-1, 5))
    np.testing.assert_array_equal(other, expected(path))


def in_threads(readers, count, work):
    """Have as many of the threads do something with 0, 1, ... each; returns what they return."""
    return [future.result() for future in [readers.threads.submit(work, index) for index in range(count)]]


def test_images_go_in_any_order_and_in_any_thread(readers, tmp_path):
    """Each thread is given its own, two at a process; some go in circles, which the garbage collector finds anywhere.

    Slots have 1 MB, 2 MB and 4 MB.
    """
    right = [noise(*size, seed) for seed, size in enumerate([(9, 8), (50, 70), (600, 900), (1000, 1100), (80, 3)])]
    paths = [str(tmp_path / f"{index}.bmp") for index in range(len(right))]
    for path, image in zip(paths, right, strict=True):
        write_image(path, image)

    def work(seed):
        random, kept = np.random.default_rng(seed), []
        for _ in range(40):
            asked = [*random.integers(len(paths), size=random.integers(1, 5)), len(paths)]
            *images, error = readers.read([[*paths, str(tmp_path / f"away{seed}")][index] for index in asked], MOST)
            assert f"away{seed}" in str(error)
            for index, image in zip(asked, images, strict=False):
                holder = [index, image]
                holder.append(holder)
                kept.append(holder)
            random.shuffle(kept)
            for index, image, _circle in kept:
                np.testing.assert_array_equal(image, right[index])
            del kept[: len(kept) // 2]
            if not random.integers(4):
                gc.collect()
        return seed

    assert in_threads(readers, 2 * COUNT, work) == [*range(2 * COUNT)]
    assert [child._sent == child._answered > 0 for child in readers._children] == [True] * COUNT
    gc.collect()


def test_the_memory_of_a_slow_consumer_is_bounded(folder, readers, monkeypatch):
    """Twice as many groups as there are processes, beside the one that is taken and what comes back with the next."""
    monkeypatch.setattr(trtnn.vision.ahead, "MOST_BYTES", 0)
    readers.read([str(folder / "0.jpg")], MOST)
    lent, most = [], 0
    made = trtnn.vision.reader_child._Lent

    class Lent(made):
        def __init__(self, *args):
            super().__init__(*args)
            lent.append(1)

        def __del__(self):
            lent.pop()
            super().__del__()

    monkeypatch.setattr(trtnn.vision.reader_child, "_Lent", Lent)
    sources = unreadable([file_source(folder / "0.jpg"), file_source(folder / "1.png")] * 1000)
    for index, (source, _) in enumerate(read_frames(sources, print, processes=readers)):
        assert source.name == sources[index].name
        most = max(most, len(lent))
        if index % 100 == 0:
            time.sleep(0.02)  # for them to read as much as they do
    assert MOST_FILES < most <= (2 * COUNT + 1) * MOST_FILES + 1
    del _, source
    assert not lent


def test_slots_fit_and_free_ones_are_bounded():
    slots, small, large = Slots(), np.ones((100, 100, 3), np.uint8), np.ones((800, 800, 3), np.uint8)
    first, second, third = slots.put(small), slots.put(large), slots.put(small)
    assert [size for _, size, _ in slots.made] == [1 << 20, 2 << 20, 1 << 20]
    slots.take_back([first, second], [third])
    assert (slots.put(large), slots.put(small)) == (second, first)
    assert slots.put(small) == 3  # one that is gone is never used again
    slots.take_back([first, second, 3], [])
    assert (slots.put(small), slots.put(small), slots.put(small)) == (first, 3, second)  # the smallest that is enough
    huge = slots.put(np.ones((5000, 5000, 3), np.uint8))
    slots.take_back([huge, first], [])
    assert slots.dropped == [huge]
    assert slots.put(small) == first
    many = [slots.put(large) for _ in range(40)]
    slots.take_back(many, [])
    assert slots.dropped == [huge, *sorted(many[32:], reverse=True)] or len(slots.dropped) == 9
    for _, _, descriptor in slots.made:
        os.close(descriptor)


def test_messages_of_any_length_and_descriptors():
    mine, its = connected()
    words = ["\udc80ä\0" * 100_000, None, [1, 2]]
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 1 << 20)
    sender = threading.Thread(target=send, args=(its, words, [descriptor]))
    sender.start()
    (came, (copy,)) = receive(mine)
    sender.join()
    assert came == words
    first, second = Shared(descriptor, 1 << 20), Shared(copy, 1 << 20)
    os.close(descriptor), os.close(copy)
    first.array((3, 4))[1, 2] = 9
    array = second.array((2, 6))
    del first, second
    assert array.tolist() == [[0] * 6, [9, *[0] * 5]]
    its.close()
    with pytest.raises(EOFError):
        receive(mine)
    mine.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Shared(descriptor, 1 << 20)


@pytest.mark.parametrize("error", [EOFError, MemoryError])
def test_of_a_message_that_is_not_whole_no_descriptor_is_left(monkeypatch, error):
    def fail(data):
        raise error

    mine, its = connected()
    with contextlib.closing(mine), open(os.devnull) as file:
        if error is EOFError:
            its.sendmsg([b"\xff\0\0\0["], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, file.fileno().to_bytes(4, "little"))])
        else:
            send(its, [1], [file.fileno()])
            monkeypatch.setattr(json, "loads", fail)
        its.close()
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(error):
            receive(mine)
        assert set(os.listdir("/proc/self/fd")) <= before


# -- two groups at a process ------------------------------------------------------------------------------------------


def wait_until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def all_sent(readers, groups):
    """Submit groups, each once the one before it is sent, to processes that do nothing meanwhile."""
    before = sum(child._sent for child in readers._children)
    numbers, futures = readers.process_ids(), []
    for number in numbers:
        os.kill(number, signal.SIGSTOP)
    for index, group in enumerate(groups, 1):
        futures.append(readers.threads.submit(readers.read, group, MOST))
        wait_until(lambda index=index: sum(child._sent for child in readers._children) == before + index)
    return futures, [functools.partial(os.kill, number, signal.SIGCONT) for number in numbers]


def test_groups_go_to_all_processes_before_any_has_two(readers, folder):
    for count, each in ((1, [0, 1]), (2, [1, 1]), (3, [1, 2]), (4, [2, 2])):
        before = [child._sent for child in readers._children]
        futures, go_on = all_sent(readers, [[str(folder / "0.jpg")]] * count)
        assert sorted(child._sent - n for child, n in zip(readers._children, before, strict=True)) == each
        for go, child, n in zip(go_on, readers._children, before, strict=True):
            go()
            wait_until(lambda child=child: readers._free.count(child) == 2)
            assert child._answered == child._sent >= n
        assert {*[*readers._free][:COUNT]} == {*readers._children}
        for future in futures:
            np.testing.assert_array_equal(future.result()[0], expected(folder / "0.jpg"))


@pytest.mark.parametrize(("processes", "at_once"), [(True, 2), (False, 1)])
def test_a_process_has_two_threads(processes, at_once):
    with Readers(3, processes) as readers:
        begun, may_end = [], threading.Event()

        def make(item):
            begun.append(item)
            assert may_end.wait(60)

        ahead = readers.ahead(range(50), make, lambda made: 0)
        wait_until(lambda: len(begun) >= 3 * at_once)
        assert len(ahead._begun) == 2 * 3
        time.sleep(0.2)
        assert len(begun) == 3 * at_once
        may_end.set()
        ahead.close()


def test_no_more_threads_read_by_themselves_than_there_are_processes(monkeypatch):
    monkeypatch.setattr(trtnn.vision.reader_child.Child, "is_ready", lambda self, wait=False: False)
    together, most = [], []

    def each(paths, max_pixels):
        together.append(1)
        most.append(len(together))
        time.sleep(0.01)
        together.pop()
        return paths

    monkeypatch.setattr(trtnn.vision.readers, "read_each", each)
    with Readers(2, True) as readers:
        assert in_threads(readers, 20, lambda index: readers.read([f"/{index}"], MOST)) == [
            [f"/{i}"] for i in range(20)
        ]
    assert max(most) == 2


def test_long_messages_both_ways(readers):
    """Each is longer than what a connection holds."""
    path = "/" + "\udc80" * 4000

    def work(index):
        asked = [f"{path}{index}{other}" for other in range(MOST_FILES)]
        assert len(json.dumps(asked)) > 1 << 17
        for _ in range(5):
            told = [(error.summary, *error.details) for error in readers.read(asked, MOST)]
            assert told == [(error.summary, *error.details) for error in read_each(asked, MOST)]
        return True

    assert all(in_threads(readers, 2 * COUNT, work))


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
@pytest.mark.parametrize("is_long", [False, True])
def test_who_can_take_no_answer_leaves_it_to_nobody(folder, monkeypatch, error, is_long):
    """Else the next one would take it for its own; and no file is to blame.

    A process whose long answer nobody takes would not take the next request either. It is not waited for.
    """
    taken, take = [], receive
    paths = [[str(folder / name)] for name in ("0.jpg", "1.png")]
    if is_long:
        for group in paths:
            group += [f"/{chr(0xDC80) * 4000}{index}" for index in range(3 * MOST_FILES)]

    def fail_once(connection):
        taken.append(1)
        if len(taken) == 1:
            wait_until(lambda: child._sent == 2)
            child._page.array((1,))[0] = 0  # it has a file, of the next group as well
            raise error
        return take(connection)

    monkeypatch.setattr(trtnn.vision.readers, "_END_S", 1e6)
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        (child,) = readers._children
        monkeypatch.setattr(trtnn.vision.reader_child, "receive", fail_once)
        futures = []
        for count, group in enumerate(paths):
            futures.append(readers.threads.submit(readers.read, group, MOST))
            wait_until(lambda count=count: len(taken) > 0 and child._sent > count)
        try:
            for future, group in zip(futures, paths, strict=True):
                image, *errors = future.result(60)
                np.testing.assert_array_equal(image, expected(group[0]))
                assert [str(error) for error in errors] == [str(error) for error in read_each(group[1:], MOST)]
        finally:
            child.kill()
        assert [*readers._free] == readers._children * 2
        assert child not in readers._children


@pytest.mark.parametrize("error", [OSError(errno.ENOBUFS, "No buffer space available"), MemoryError()])
def test_a_request_that_cannot_be_sent_is_read_and_so_is_the_one_before(folder, monkeypatch, error):
    tried, sent = [], send

    def fail_second(connection, message):
        tried.append(1)
        if len(tried) == 2:
            raise error
        sent(connection, message)

    with Readers(1, True) as readers:
        readers.wait_until_ready()
        (number,) = readers.process_ids()
        monkeypatch.setattr(trtnn.vision.reader_child, "send", fail_second)
        paths = [[str(folder / name)] for name in ("0.jpg", "1.png")]
        futures, (go,) = all_sent(readers, paths)
        go()
        for future, (path,) in zip(futures, paths, strict=True):
            np.testing.assert_array_equal(future.result()[0], expected(path))
        assert readers.process_ids() != [number]


# -- processes that end -----------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """Processes whose OpenCV ends them at images 13 wide (killed), 14 wide (by an error of its own), 15 (by a code)."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "cv2.py").write_text(
        textwrap.dedent(
            """
            import os, signal, sys
            sys.path.remove(os.path.dirname(__file__))
            del sys.modules["cv2"]
            import cv2
            real = cv2.imdecode
            def imdecode(data, how):
                image = real(data, how)
                width = image.shape[1]
                if width in (13, 14):
                    os.kill(os.getpid(), {13: signal.SIGKILL, 14: signal.SIGUSR1}[width])
                if width == 15:
                    os._exit(3)
                return image
            cv2.imdecode = imdecode
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path / "module")
    for width in range(10, 20):
        write_image(tmp_path / f"{width}.png", noise(9, width, width))
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        yield readers


def test_of_a_group_only_the_file_that_ends_a_process_is_an_error(faulty, tmp_path):
    before = faulty.process_ids()
    widths = [10, 13, 11, 12, 14, 15, 16, 13]
    paths = [str(tmp_path / f"{width}.png") for width in widths]
    read = faulty.read(paths, MOST)
    why = {
        13: "it was killed, as the system does where there is no memory left",
        14: f"it ended by User defined signal 1, signal {int(signal.SIGUSR1)}",
        15: "it ended with the code 3; what it said stands above, on standard error",
    }
    for width, path, one in zip(widths, paths, read, strict=True):
        if width in why:
            assert isinstance(one, ImageError)
            assert one.summary == f"cannot read the picture {path}: the process that read it has ended"
            assert one.details == (why[width],)
        else:
            np.testing.assert_array_equal(one, noise(9, width, width))
    (after,) = faulty.process_ids()
    assert after not in before
    assert not Path(f"/proc/{before[0]}").exists()
    np.testing.assert_array_equal(faulty.read([paths[0]], MOST)[0], noise(9, 10, 10))
    assert faulty.process_ids() == [after]


def test_a_process_has_the_second_group_before_the_answer_for_the_first_is_taken(faulty, tmp_path, monkeypatch):
    """It ends at a file of the second."""
    may_take, take = threading.Event(), receive

    def late(connection):
        assert may_take.wait(60)
        return take(connection)

    monkeypatch.setattr(trtnn.vision.reader_child, "receive", late)
    (child,) = faulty._children
    (first, second), (go,) = all_sent(faulty, [[str(tmp_path / "10.png")], [str(tmp_path / "15.png")]])
    go()
    assert child._process.wait(60) == 3
    assert not first.done()
    may_take.set()
    np.testing.assert_array_equal(first.result()[0], noise(9, 10, 10))
    assert isinstance(second.result()[0], ImageError)


def test_of_two_groups_only_the_file_that_ends_a_process_is_an_error(faulty, tmp_path, monkeypatch):
    """Wherever it is, and in both; one process takes the place of one."""

    def fail(paths, max_pixels):
        raise AssertionError("a thread reads")

    monkeypatch.setattr(trtnn.vision.readers, "read_each", fail)
    begun, start = [], faulty._start
    monkeypatch.setattr(faulty, "_start", lambda: begun.append(1) or start())
    good = [[10, 11, 12], [16, 17, 18]]
    places = [(group, index) for group in range(2) for index in range(3)]
    for ends in [*([place] for place in places), [(0, 1), (1, 0)]]:
        widths = [list(group) for group in good]
        for group, index in ends:
            widths[group][index] = 13
        futures, (go,) = all_sent(faulty, [[str(tmp_path / f"{width}.png") for width in group] for group in widths])
        begun.clear()
        go()
        for future, group in zip(futures, widths, strict=True):
            for width, one in zip(group, future.result(), strict=True):
                if width == 13:
                    assert one.summary.startswith(f"cannot read the picture {tmp_path / '13.png'}: the process that")
                    assert one.details == ("it was killed, as the system does where there is no memory left",)
                else:
                    np.testing.assert_array_equal(one, noise(9, width, width))
        assert len(begun) == len(ends)
        assert len(faulty.process_ids()) == 1
        assert [*faulty._free] == faulty._children * 2


def test_images_of_a_process_that_has_ended_stay(faulty, tmp_path):
    images = [faulty.read([str(tmp_path / f"{width}.png")], MOST)[0] for width in (10, 11, 12)]
    faulty.read([str(tmp_path / "13.png")], MOST)
    more = [faulty.read([str(tmp_path / f"{width}.png")], MOST)[0] for width in (16, 17, 18, 19)]
    del images[0]
    more += [faulty.read([str(tmp_path / f"{width}.png")], MOST)[0] for width in (16, 17)]
    for image in images + more:
        np.testing.assert_array_equal(image, noise(9, image.shape[1], image.shape[1]))


def test_one_that_ends_while_it_waits_is_replaced_without_an_error(folder):
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        (number,) = readers.process_ids()
        paths = [str(folder / "0.jpg"), str(folder / "1.png")]
        readers.read(paths, MOST)
        os.kill(number, signal.SIGKILL)
        for _ in range(2):
            for image, path in zip(readers.read(paths, MOST), paths, strict=True):
                np.testing.assert_array_equal(image, expected(path))
        assert readers.process_ids() != [number]
        os.kill(*readers.process_ids(), signal.SIGKILL)
        for images in in_threads(readers, 2, lambda index: readers.read(paths, MOST)):
            for image, path in zip(images, paths, strict=True):
                np.testing.assert_array_equal(image, expected(path))
        assert len(readers.process_ids()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_come_to_all_end_no_process_that_reads(readers, folder, number):
    before = readers.process_ids()
    for process_id in before:
        os.kill(process_id, number)
    for _ in range(2):
        np.testing.assert_array_equal(readers.read([str(folder / "0.jpg")], MOST)[0], expected(folder / "0.jpg"))
    assert readers.process_ids() == before


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python", ""])
def test_where_no_process_can_be_started_threads_read(folder, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        readers = Readers(3, True)
        readers.wait_until_ready()
    (one,) = told
    assert str(one.message).startswith("a process that reads pictures cannot be started, so that threads read: ")
    sources = [file_source(path) for path in sorted(folder.iterdir())] * 4
    with readers:
        check_same(taken(sources, processes=readers), taken(sources, processes=0))
        assert readers.process_ids() == []


def test_where_nothing_more_can_be_open_no_descriptor_is_left(folder, monkeypatch):
    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", fail)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.warns(UserWarning, match="so that threads read: .*Too many open files"), Readers(2, True):
        assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("entry", ["/nowhere\0else", "\ud800", 7, Path("/nowhere"), b"/nowhere"])
def test_what_no_program_can_be_told_is_left_out_of_the_path(folder, monkeypatch, entry):
    monkeypatch.setattr(sys, "path", [entry, *sys.path])
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        assert len(readers.process_ids()) == 1
        np.testing.assert_array_equal(readers.read([str(folder / "0.jpg")], MOST)[0], expected(folder / "0.jpg"))


CLOSED = """
import os, sys
closed = [*map(int, sys.argv[1])]
list(map(os.close, closed))
import numpy as np
from trtnn.vision.readers import Readers
with Readers(1, True) as readers:
    readers.wait_until_ready()
    assert len(readers.process_ids()) == 1
    images = readers.read(sys.argv[3:], 1 << 24)
np.savez(sys.argv[2], *images)
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_without_standard_input_output_or_errors(tmp_path, closed):
    """libjpeg says on standard error that there are bytes too many: an image's memory may not have its number."""
    paths = [tmp_path / f"{index}.jpg" for index in range(3)]
    for index, path in enumerate(paths):
        data = encode_image("a.jpg", np.full((32, 32, 3), 60 * index + 30, np.uint8))
        path.write_bytes(data[:-2] + bytes(30) + data[-2:])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLOSED, closed, tmp_path / "read.npz", *paths],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    with np.load(tmp_path / "read.npz") as read:
        for index, path in enumerate(paths):
            np.testing.assert_array_equal(read[f"arr_{index}"], expected(path))


def test_threads_read_until_processes_have_begun(folder, monkeypatch):
    is_ready = trtnn.vision.reader_child.Child.is_ready
    monkeypatch.setattr(
        trtnn.vision.reader_child.Child, "is_ready", lambda self, wait=False: wait and is_ready(self, wait)
    )
    read, each = [], trtnn.vision.readers.read_each
    monkeypatch.setattr(trtnn.vision.readers, "read_each", lambda paths, most: read.extend(paths) or each(paths, most))
    sources = [file_source(path) for path in sorted(folder.iterdir())]
    with Readers(2, True) as readers:
        check_same(taken(sources, processes=readers), taken(sources, processes=0))
        assert len(read) == len(sources)
        readers.wait_until_ready()
        check_same(taken(sources, processes=readers), taken(sources, processes=0))
        assert len(read) == len(sources)


def test_a_connection_is_open_as_long_as_a_thread_has_it(folder):
    """Else what is opened next may have its number, and a thread reads from there."""
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        (child,) = readers._children
        connection, taken, has_ended = child._connection, [], threading.Event()

        def late(connection):
            assert has_ended.wait(60)
            taken.append(connection.fileno())
            return receive(connection)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trtnn.vision.reader_child, "receive", late)
            (future,), _ = all_sent(readers, [[str(folder / "0.jpg")]])
            child.kill()
            child.end(60)
            has_ended.set()
        np.testing.assert_array_equal(future.result()[0], expected(folder / "0.jpg"))
        assert taken[0] >= 0
        assert child not in readers._children
        del child
        assert connection.fileno() == -1


# -- what is left -----------------------------------------------------------------------------------------------------


def has_ended(process_id):
    """Whether a process is gone, but for its entry that nobody may have taken."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for_ends(process_ids):
    process_ids = [*process_ids]
    end = time.monotonic() + 60
    while not all(map(has_ended, process_ids)):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_who_closes_early_leaves_nothing(folder, monkeypatch):
    numbers, make = [], trtnn.vision.readers.Child

    def begin():
        child = make()
        numbers.append(child.process_id)
        return child

    monkeypatch.setattr(trtnn.vision.readers, "Child", begin)
    before = set(os.listdir("/proc/self/fd"))
    frames = read_frames([file_source(folder / "0.jpg")] * 500, print, processes=2)
    next(frames)
    assert len(numbers) == 2
    assert not any(map(has_ended, numbers))
    frames.close()
    assert not any(Path(f"/proc/{number}").exists() for number in numbers)
    assert set(os.listdir("/proc/self/fd")) <= before


def shared_memory():
    """How many pieces of memory this process shares with those that read."""
    return Path("/proc/self/maps").read_text().count("memfd:trtnn-")


def test_once_closed_it_holds_no_memory_but_of_images_that_are_kept(folder):
    before = shared_memory()
    readers = Readers(2, True)
    readers.wait_until_ready()
    images = readers.read([str(folder / "0.jpg")] * 4, MOST)
    del images[1:]
    readers.close()
    gc.collect()
    assert shared_memory() == before + 1
    np.testing.assert_array_equal(images[0], expected(folder / "0.jpg"))
    images.clear()
    assert shared_memory() == before


def test_it_may_be_closed_while_it_reads(tmp_path):
    """Whoever waits for a process is told that it read nothing."""
    image = np.zeros((3000, 3000, 3), np.uint8)
    write_image(tmp_path / "a.png", image)
    readers = Readers(1, True)
    readers.wait_until_ready()
    (number,) = readers.process_ids()
    os.kill(number, signal.SIGSTOP)
    futures = [readers.threads.submit(readers.read, [str(tmp_path / "a.png")], MOST) for _ in range(2)]
    wait_until(lambda: readers._children[0]._sent == 2)
    readers.close()
    assert [future.result() for future in futures] == [[None]] * 2
    assert readers.read([str(tmp_path / "a.png")], MOST) == [None]
    assert not Path(f"/proc/{number}").exists()


def test_it_ends_with_the_last_who_has_it():
    readers = Readers(1, True)
    numbers = readers.process_ids()
    del readers
    gc.collect()
    assert all(map(has_ended, numbers))


RUN = """
import gc, os, signal, sys
import numpy as np
from trtnn.vision.readers import Readers
paths = sys.argv[1:]
readers = Readers(2, True)
readers.wait_until_ready()
images = readers.read(paths, 1 << 24)
"""


def run(more, *paths):
    """Run a script of its own that has read images; returns it, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN + textwrap.dedent(more), *map(str, paths)],
        stdout=subprocess.PIPE, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done, done.stdout.split()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("sys.exit(5)", 5),
        ("os._exit(6)", 6),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("globals().clear()", 0),
    ],
)
def test_processes_end_with_the_one_that_began_them(folder, end, code):
    done, numbers = run(f"print(*readers.process_ids(), flush=True)\n{end}", folder / "0.jpg")
    assert done.returncode == code
    assert len(numbers) == 2
    wait_for_ends(map(int, numbers))


def test_a_fork_sees_the_images_that_it_had_and_ends_no_process(folder):
    """The slots of those are not used again here, and who is forked has none of the processes."""
    done, said = run(
        """
        import time
        right, numbers = [image.copy() for image in images], readers.process_ids()
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(go[1])
            os.read(go[0], 1)  # until the other process has read many
            same = all(np.array_equal(*pair) for pair in zip(images, right))
            assert readers.process_ids() == []
            assert all(np.array_equal(*pair) for pair in zip(readers.read(paths, 1 << 24), right))
            readers.close()
            print("same" if same else "other", flush=True)
            sys.exit(0)
        del images
        for _ in range(30):
            more = readers.read(paths[::-1], 1 << 24)
        os.write(go[1], b"!")
        print(os.waitpid(child, 0)[1], flush=True)
        more = readers.read(paths, 1 << 24)
        print(all(np.array_equal(*pair) for pair in zip(more, right)), readers.process_ids() == numbers)
        print(*numbers, flush=True)
        """,
        folder / "0.jpg", folder / "1.png", folder / "grey.png",
    )  # fmt: skip
    assert done.returncode == 0
    assert said[:4] == ["same", "0", "True", "True"]
    wait_for_ends(map(int, said[4:]))


@pytest.mark.parametrize("processes", [True, False])
def test_a_fork_reads_by_threads_of_its_own(folder, processes):
    script = f"""
        import faulthandler
        from pathlib import Path
        from trtnn.vision.frames import read_frames
        from trtnn.vision.sources import file_source
        readers.close()
        readers = Readers(2, {processes})
        readers.wait_until_ready()
        def read():
            sources = [file_source(Path(path)) for path in paths]
            return [frame.image.tobytes() for _, frame in read_frames(sources, print, processes=readers)]
        before = read()
        number = os.fork()
        if not number:
            faulthandler.dump_traceback_later(60, exit=True)
            print(read() == before, readers.process_ids(), sep="", flush=True)
            os._exit(0)
        os.waitpid(number, 0)
        print(read() == before, len(readers.process_ids()), sep="")
    """
    done, printed = run(script, *sorted(folder.iterdir()))
    assert (done.returncode, printed) == (0, ["True[]", f"True{2 * processes}"])


def test_what_is_forked_while_a_process_begins_has_no_connection_to_it(folder, monkeypatch):
    """Else neither would see the other one end."""
    begin, threads, came = subprocess.Popen, [], []

    def sockets():
        with os.scandir("/proc/self/fd") as entries:
            return {os.readlink(entry) for entry in entries if os.path.exists(entry)}

    def fork():
        reads, writes = os.pipe()
        if not (number := os.fork()):
            os.write(writes, " ".join(sockets()).encode())
            os._exit(0)
        os.waitpid(number, 0)
        came.append(os.read(reads, 1 << 16).decode().split())
        os.close(reads), os.close(writes)

    def begin_and_fork(*args, **options):
        threads.append(threading.Thread(target=fork))
        threads[0].start()
        threads[0].join(0.3)
        return begin(*args, **options)

    monkeypatch.setattr(trtnn.vision.reader_child.subprocess, "Popen", begin_and_fork)
    before = sockets()
    with Readers(1, True) as readers:
        threads[0].join()
        readers.wait_until_ready()
        np.testing.assert_array_equal(readers.read([str(folder / "0.jpg")], MOST)[0], expected(folder / "0.jpg"))
    ((*said,),) = came
    assert not [link for link in said if link.startswith("socket:") and link not in before]


def test_what_was_forked_does_not_keep_processes(folder):
    done, (child, *numbers) = run(
        """
        child = os.fork()
        if child == 0:
            os.close(1)
            signal.pause()
        print(child, *readers.process_ids(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        folder / "0.jpg",
    )
    assert done.returncode == -signal.SIGKILL
    try:
        wait_for_ends(map(int, numbers))
        assert not has_ended(child)
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_no_module_of_the_current_folder_is_imported(folder, tmp_path, monkeypatch):
    """Pictures may come with others."""
    for name in ("trtnn", "cv2", "numpy", "json", "signal"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    with Readers(1, True) as readers:
        readers.wait_until_ready()
        np.testing.assert_array_equal(readers.read([str(folder / "0.jpg")], MOST)[0], expected(folder / "0.jpg"))
    assert not (tmp_path / "imported").exists()


# -- who reads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "files", "options", "who"),
    [
        (8, 5000, {}, (7, True)),
        (64, 5000, {}, (56, True)),
        (128, 5000, {}, (MOST_PROCESSES, True)),
        (64, 5000, {"threads": 3}, (3, True)),
        (64, 5000, {"processes": 5}, (5, True)),
        (2, 1, {"processes": 5, "threads": 3}, (5, True)),
        (64, 5000, {"processes": 0}, (16, False)),
        (64, 5000, {"processes": 0, "threads": 3}, (3, False)),
        (64, 5000, {"by_gpu": True}, (16, False)),
        (64, 4999, {}, (16, False)),
        (7, 5000, {}, (7, False)),
        (7, 5000, {"threads": 20}, (20, False)),
    ],
)
def test_who_reads_by_default(folder, monkeypatch, here, files, options, who):
    asked = []

    class Asked(Readers):
        def __init__(self, count, processes):
            asked.append((count, processes))
            super().__init__(1, False)

    monkeypatch.setattr(trtnn.vision.frames, "processors", lambda: here)
    monkeypatch.setattr(trtnn.vision.frames, "Readers", Asked)
    sources = [file_source(folder / "0.jpg")] * files + [Source("a", lambda most: iter([]), folder / "a.png")] * 500
    with contextlib.closing(read_frames(sources, print, **options)) as frames:
        next(frames)
    assert asked == [who]


def test_where_processes_cannot_share_threads_read(folder, monkeypatch):
    monkeypatch.setattr(trtnn.vision.frames, "processors", lambda: 64)
    monkeypatch.setattr(trtnn.vision.readers, "can_share", lambda: False)
    monkeypatch.setattr(trtnn.vision.frames, "can_share", lambda: False)
    monkeypatch.setattr(trtnn.vision.frames, "FEWEST_FILES", 500)
    monkeypatch.setattr(trtnn.vision.readers, "Child", None)
    for options in ({}, {"processes": 3}):
        ((_, image), *_) = taken([file_source(folder / "0.jpg")] * 500, **options)
        np.testing.assert_array_equal(image, expected(folder / "0.jpg"))


def test_an_eighth_of_the_processors_is_left():
    assert [most_readers(count) for count in (1, 4, 8, 32, 1000)] == [1, 4, 7, 28, MOST_PROCESSES]


@pytest.mark.parametrize(
    ("told", "count"),
    [
        ("max 100000\n", 12),
        ("300000 100000\n", 3),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 12),
        (None, 12),
        ("", 12),
    ],
)
def test_processors_are_those_that_this_process_may_use(monkeypatch, told, count):
    def read(path, encoding):
        assert (str(path), encoding) == ("/sys/fs/cgroup/cpu.max", "ascii")
        if told is None:
            raise FileNotFoundError
        return told

    monkeypatch.setattr(trtnn.threads.os, "sched_getaffinity", lambda process: set(range(12)))
    monkeypatch.setattr(trtnn.threads.Path, "read_text", read)
    assert processors() == count
