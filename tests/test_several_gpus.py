"""Batches over several processes, each with a network on the CPU, held against a Detector in this one."""

import contextlib
import gc
import os
import re
import signal
import threading
import warnings
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing import Pipe, resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import trtnn.gpu_worker
from tests.helpers import ONE_TARGET, message_of
from tests.vision.test_forks import in_fork
from trtnn import Detector, models
from trtnn.errors import ArgumentError, EngineError, TrtnnError
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.several_gpus import UNDER_WAY, VISIBLE, Place, SeveralGpus, _Slot, _Warnings
from trtnn.threads import Here
from trtnn.vision import Detections, read_image
from trtnn.vision.stream import call, stream

INPUTS = {"images": (2, 3, 96, 96)}
MAKE = {"weights": str(WEIGHTS), "reference": True, "inputs": INPUTS, "confidence": 0.1}


@pytest.fixture(scope="module")
def images():
    image = read_image(PICTURE)
    return [np.ascontiguousarray(image[start : start + 300, :: 1 + start % 2]) for start in range(0, 9)] + [image[::2]]


@pytest.fixture(scope="module")
def expected(images):
    detector = Detector(models.from_state_dict(trtnn.load(WEIGHTS)).trace(INPUTS), confidence=0.1)
    return detector(images)


@pytest.fixture(scope="module")
def way():
    return SeveralGpus(MAKE, [0, 1], 2)


def check(found, expected):
    assert len(found) == len(expected)
    assert sum(len(one) for one in expected) > len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_all_find_the_same_in_order(way, images, expected):
    check(call(way, images), expected)
    check(list(stream(way, iter(images * 3))), expected * 3)
    assert way.in_flight == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on Windows")
@pytest.mark.parametrize("act", ["call", "stream", "compute", "finish"])
def test_a_fork_is_refused_and_leaves_alone_what_is_here(images, expected, act):
    ways = [SeveralGpus(MAKE, [0, 1], 2)]  # the only thing that holds it, so that it ends in the fork as well
    check(call(ways[0], images), expected)
    batches = [ways[0].prepare(images[:2], 0)]
    if act == "finish":
        ways[0].compute(batches[0])
    acts = {
        "call": lambda: call(ways[0], images),
        "stream": lambda: list(stream(ways[0], iter(images))),
        "compute": lambda: ways[0].compute(batches[0]),
        "finish": lambda: ways[0].finish(batches[0]),
    }

    def in_the_fork():
        try:
            return acts[act]()
        except TrtnnError as error:
            said = str(error)
        batches.clear()
        for worker in ways[0]._workers:
            worker._end()  # as where Python ends
        ways.clear()
        return f"{os.getpid()} {said}"

    said, status = in_fork(in_the_fork)
    assert status == 0, "it hangs"
    words = re.fullmatch(
        r"(\d+) this detection on several GPUs began in process (\d+), of .*, (\d+), was forked\n.*", said
    )
    assert words, said
    child, parent, again = words.groups()
    assert parent == str(os.getpid())
    assert child == again != parent
    if act != "finish":
        ways[0].compute(batches[0])
    check(ways[0].finish(batches[0]), expected[:2])
    check(call(ways[0], images), expected)


def test_no_module_of_the_current_folder_is_imported(images, expected, tmp_path, monkeypatch):
    resource_tracker.ensure_running()  # Python's own, of all shared memory, which does import from there
    for name in ("trtnn", "numpy", "json", "signal", "multiprocessing"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    check(call(SeveralGpus(MAKE, [0], 2), images), expected)
    assert not (tmp_path / "imported").exists()


def test_memory_is_given_back_once_what_was_found_is_read(way, images, expected, monkeypatch):
    give_back = trtnn.several_gpus._Worker.give_back

    def wiped(worker, slot, copies):
        slot.memory.buf[:] = bytes(slot.memory.size)
        give_back(worker, slot, copies)

    monkeypatch.setattr(trtnn.several_gpus._Worker, "give_back", wiped)
    check(list(stream(way, iter(images * 3))), expected * 3)


def test_memory_of_batches_that_nobody_waits_for_is_used_again(way, images, expected):
    for _ in range(8):
        found = stream(way, iter(images * 3))
        next(found)
        found.close()
        way.compute(way.prepare(images[:1], 0))  # sent
        with pytest.raises(trtnn.errors.ShapeError):
            way.prepare([images[0], images[0][0]], 0)
        way.prepare(images[:1], 0)  # not sent
    assert max(len(worker._slots) for worker in way._workers) <= 3 * UNDER_WAY
    check(list(stream(way, iter(images * 3))), expected * 3)


def test_memory_is_not_used_again_while_it_is_copied_to(images):
    copiers, may_end = ThreadPoolExecutor(1), threading.Event()
    worker = SimpleNamespace(_idle=[], _here=Here(), give_back=None, shares=lambda: 2)
    slot = _Slot(0, copiers)
    worker.slot = lambda: slot
    worker.give_back = lambda *given: trtnn.several_gpus._Worker.give_back(worker, *given)
    copiers.submit(may_end.wait, 30)
    batch = trtnn.several_gpus._Batch(worker, images[:3])
    copies = batch._copies
    threading.Thread(target=lambda: (not worker._idle) and may_end.set()).start()
    del batch
    assert worker._idle == [slot]
    assert all(copy.done() for copy in copies)
    slot.close()


def test_memory_that_could_not_be_had_is_asked_for_again(way, images, expected, monkeypatch):
    def fail(slot, images, shares):
        raise OSError("no space left on device")

    for _ in way._workers:  # so that there is some
        way.finish(way.compute(way.prepare(images[:1], 0)))
    count = sum(len(worker._slots) for worker in way._workers)
    with monkeypatch.context() as patch:
        patch.setattr(_Slot, "fill", fail)
        for _ in range(5):
            with pytest.raises(OSError, match="no space left"):
                way.prepare(images[:1], 0)
    assert sum(len(worker._slots) for worker in way._workers) == count
    check(list(stream(way, iter(images))), expected)


def test_an_error_that_is_forgotten_holds_no_way(images):
    worker = SimpleNamespace(_idle=[], warnings=_Warnings(), give_back=lambda *given: None, shares=lambda: 1)
    worker.slot = lambda: _Slot(0, ThreadPoolExecutor(1))
    gc.disable()
    try:
        batch = trtnn.several_gpus._Batch(worker, images[:1])
        wait(batch._copies)
        trtnn.several_gpus._answer(batch, trtnn.errors.EngineError("it failed"))
        with contextlib.suppress(trtnn.errors.EngineError):
            batch.receive()
        gone = weakref.ref(batch)
        batch._slot.close()
        del batch
        assert gone() is None
    finally:
        gc.enable()


def test_a_process_that_ends_between_two_messages_is_told_as_ended():
    """The thread that listens may have answered the batch before to send it fails."""
    sent = deque()

    def send(message):
        sent.clear()
        raise BrokenPipeError

    worker = SimpleNamespace(_connection=SimpleNamespace(send=send), _lock=threading.Lock(), _sent=sent, device=3)
    said = message_of(EngineError, trtnn.several_gpus._Worker.send, worker, object(), (0, "", []))
    assert "the process for GPU 3 has ended" in said


@pytest.mark.parametrize(("error", "kind"), [(EOFError(), EngineError), (MemoryError("no more"), MemoryError)])
def test_whatever_ends_the_listening_is_told_to_all_that_wait(error, kind):
    def receive():
        raise error

    waiting = [SimpleNamespace(answered=threading.Event()) for _ in range(2)]
    trtnn.several_gpus._listen(SimpleNamespace(recv=receive), deque(waiting), 0)
    assert all(one.answered.is_set() and isinstance(one.answer, kind) for one in waiting)


def test_batches_go_to_the_processes_in_turn(way, images, expected):
    sent = [way.prepare(images[start : start + 2], start) for start in range(0, 8, 2)]
    assert [batch._worker.device for batch in sent] in ([0, 1, 0, 1], [1, 0, 1, 0])
    check([one for batch in sent for one in way.finish(way.compute(batch))], expected[:8])


def test_what_is_no_image_is_told_here(way, images, expected):
    with pytest.raises(trtnn.errors.DTypeError, match="image 7 of those given"):
        way.prepare([images[0], images[0].astype(np.float32)], 6)
    check(call(way, images), expected)  # and the next batch goes on


def test_an_error_of_one_batch_is_told_at_that_batch(monkeypatch, images):
    """What runs in a process, run here in a thread, with steps that fail in every way."""

    class Unsendable(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    class Steps:
        def prepare(self, images, first):
            if len(images) == 1:
                raise ArgumentError("not this one", "give two")
            return images

        def compute(self, images):
            return images

        def finish(self, images):
            if len(images) == 3:
                raise Unsendable(1, 2)
            return [Detections([[0, 0, width, height]], [1], [0]) for height, width, _ in map(np.shape, images)]

    monkeypatch.setattr(trtnn.gpu_worker, "make_detector", lambda **_: SimpleNamespace(_steps=Steps()))
    here, there = Pipe()
    thread = threading.Thread(target=trtnn.gpu_worker.serve, args=(there,))
    thread.start()
    slot = _Slot(0, ThreadPoolExecutor(1))
    try:
        here.send({})
        assert here.recv() == (None, [])
        answers = []
        for count in (2, 1, 3, 2):
            message, copies = slot.fill(images[:count], 1)
            wait(copies)
            here.send(message)
            answer, _ = here.recv()
            answers.append(answer if isinstance(answer, Exception) else slot.found(answer))
    finally:
        here.close()
        thread.join()
        slot.close()
    sizes = [image.shape[:2] for image in images[:2]]
    for found in answers[0], answers[3]:
        assert [one.boxes.tolist() for one in found] == [[[0, 0, width, height]] for height, width in sizes]
    assert isinstance(answers[1], ArgumentError)
    assert "not this one" in str(answers[1])
    assert isinstance(answers[2], EngineError)
    assert "Unsendable: 1 and 2" in str(answers[2])


def test_what_is_found_comes_through_the_memory_of_the_images_as_far_as_there_is_room(monkeypatch):
    """Also where another batch's images lie there again before anybody looks at it."""
    rng = np.random.default_rng(0)
    counts, steps = [40, 0, 7], SimpleNamespace(prepare=lambda images, first: images, compute=lambda images: images)
    found = [Detections(rng.random((n, 4)), rng.random(n), rng.integers(0, 9, n)) for n in counts]
    steps.finish = lambda images: found
    monkeypatch.setattr(trtnn.several_gpus, "_GRAIN_BYTES", 1)
    for size, there in ((4096, ["boxes", "scores", "classes"]), (900, ["boxes"]), (300, ["scores"]), (1, [])):
        slot, way = _Slot(0, ThreadPoolExecutor(1)), trtnn.gpu_worker._Messages(steps)
        try:
            message, copies = slot.fill([np.zeros((1400, 1, 3), np.uint8)] * 3, 2)
            wait(copies)
            cut = Cut(slot.memory, size)
            monkeypatch.setattr(trtnn.gpu_worker, "_attached", lambda name, cut=cut: cut)
            (answer,) = way.finish(way.compute(way.prepare([message], 0)))
            assert [name for name, column in answer[1].items() if isinstance(column, Place)] == there
            back = slot.found(answer)
            slot.memory.buf[:] = bytes(slot.memory.size)
            check(back, found)
        finally:
            way._views._memories.clear()
            slot.close()


class Cut:
    """The beginning of shared memory."""

    def __init__(self, memory, size):
        self.buf, self.name, self.size = memory.buf, memory.name, size


@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_every_image_of_a_batch_is_copied(shares, monkeypatch):
    """Of any sizes and strides, into memory that grows."""
    monkeypatch.setattr(trtnn.several_gpus, "_GRAIN_BYTES", 1)
    rng = np.random.default_rng(shares)
    slot = _Slot(0, ThreadPoolExecutor(2))
    try:
        for count in (1, 3, 4, 5, 9, 2, 33):
            sent = [rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), np.uint8) for _ in range(count)]
            sent = [image[:: rng.choice([-1, 1]), :, :: rng.choice([-1, 1])] for image in sent]
            (_, _, places), copies = slot.fill(sent, shares)
            assert len(copies) <= min(shares, count)
            for copy in copies:
                copy.result()
            assert [shape for _, shape in places] == [image.shape for image in sent]
            there = [np.ndarray(shape, np.uint8, slot.memory.buf, start).copy() for start, shape in places]
            for one, other in zip(there, sent, strict=True):
                np.testing.assert_array_equal(one, other)
    finally:
        slot.close()


def test_threads_have_as_many_bytes_to_copy():
    cuts = []
    copiers = SimpleNamespace(submit=lambda copy, first, last: cuts.append((first, last)))
    slot = _Slot(0, copiers)
    try:
        for sides, expected in (
            ([128] * 8, [(0, 2), (2, 4), (4, 6), (6, 8)]),
            ([256, 128, 128, 128, 128], [(0, 1), (1, 3), (3, 5)]),  # the first has half of all
            ([100], [(0, 1)]),
        ):
            cuts.clear()
            slot.fill([np.zeros((side, side, 3), np.uint8) for side in sides], 4)
            assert cuts == expected
    finally:
        slot.close()


def test_batches_under_way_have_the_threads_between_them(images):
    way = SeveralGpus(MAKE, [0], 2)
    (worker,) = way._workers
    given = []
    for _ in range(5):
        given.append((worker.slot(), worker.shares())[1])
    assert given == [8, 4, 2, 2, 1]
    for slot in worker._slots:
        worker.give_back(slot, ())
    worker.slot()
    assert worker.shares() == 8


def test_a_warning_of_several_processes_is_told_once_and_here(tmp_path, images, capfd):
    """Each process meets scores that are no numbers, at its own number of them."""
    weights = trtnn.load(WEIGHTS)
    name, bias = next((name, value) for name, value in weights.items() if name.endswith("m.0.bias"))
    weights[name] = np.where(np.arange(bias.size) % 15 == 7, np.float32(np.nan), bias)
    path = tmp_path / "broken.safetensors"
    trtnn.save(weights, path)
    for _ in range(2):  # another Detector tells it again
        way = SeveralGpus({**MAKE, "weights": str(path)}, [0, 1], 2)
        with pytest.warns(UserWarning, match=r"of \d+ scores are nan or inf") as caught:
            list(stream(way, iter(images)))
        assert len(caught) == 1
        assert caught[0].filename.endswith("heads.py")
        del way
    assert "nan or inf" not in capfd.readouterr().err


def test_warnings_that_differ_in_their_numbers_alone_are_one():
    told = _Warnings()
    texts = ("3 of 9 scores are nan", "4 of 18 scores are nan", "4 of 18 visibilities are nan", "3 of 9 scores are nan")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for text in texts:
            told.tell([(text, RuntimeWarning, "heads.py", 3)])
    assert [str(one.message) for one in caught] == [texts[0], texts[2]]
    assert {(one.category, one.filename, one.lineno) for one in caught} == {(RuntimeWarning, "heads.py", 3)}


def test_a_warning_that_is_an_error_is_the_batch_s(images, expected):
    way = SeveralGpus(MAKE, [0], 2)
    batch = way.compute(way.prepare(images[:2], 0))
    batch.answered.wait()
    batch.told = [("7 of 9 scores are nan", UserWarning, "heads.py", 3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="7 of 9"):
            way.finish(batch)
    check(call(way, images), expected)  # and the next goes on


def test_an_interruption_is_the_first_process_s_own_affair(way, images, expected):
    for worker in way._workers:
        worker._process.send_signal(signal.SIGINT)
    check(call(way, images), expected)


def test_a_process_that_ends(images):
    way = SeveralGpus(MAKE, [0], 2)
    process = way._workers[0]._process
    assert len(way.finish(way.compute(way.prepare(images[:2], 0)))) == 2
    process.kill()
    process.wait()
    for _ in range(2):  # once sent to it, and once known before
        assert "the process for GPU 0 has ended" in message_of(EngineError, lambda: call(way, images))


def test_a_process_that_cannot_begin(tmp_path):
    make = {"weights": str(tmp_path / "none.safetensors"), "reference": True}
    message = message_of(trtnn.errors.TrtnnError, SeveralGpus, make, [0], 2)
    assert "none.safetensors" in message


def test_memory_that_was_too_small_is_let_go_of(images):
    way = SeveralGpus(MAKE, [0], 1)
    maps = Path(f"/proc/{way._workers[0]._process.pid}/maps")
    for side in (100, 1300, 2600, 3900):
        call(way, [np.zeros((side, side, 3), np.uint8)])
    name = way._workers[0]._slots[0].memory.name.lstrip("/")
    mapped = {line.split("/")[-1] for line in maps.read_text().splitlines() if "/psm_" in line}
    assert mapped == {name}


def test_processes_and_memory_go_with_the_way(images):
    way = SeveralGpus(MAKE, [0], 2)
    call(way, images[:2])
    worker = way._workers[0]
    process, name = worker._process, worker._slots[0].memory.name
    del way, worker
    gc.collect()
    assert process.poll() is not None
    with pytest.raises(FileNotFoundError):
        SharedMemory(name)


@pytest.mark.parametrize("devices", [[], [0, 0], [-1]])
def test_devices_that_are_none(devices):
    assert f"each once, not {devices}" in message_of(ArgumentError, SeveralGpus, MAKE, devices, 2)


def test_a_gpu_that_is_not_shown(monkeypatch):
    monkeypatch.setenv(VISIBLE, "3")
    assert f"{VISIBLE}=3 shows 1" in message_of(ArgumentError, SeveralGpus, MAKE, [1], 2)


@pytest.mark.parametrize("devices", [[], [0, 0], [-1], ["0"], [0.5], [True], 0, "01"], ids=repr)
def test_devices_that_are_no_indices(devices):
    message = message_of(ArgumentError, SeveralGpus, MAKE, devices, 2)
    assert message == f"devices are a list of the indices of GPUs, each once, not {devices!r}"


def test_a_detector_of_a_file_and_of_devices(tmp_path, monkeypatch):
    model = models.from_state_dict(trtnn.load(WEIGHTS))
    engine = model.trace(INPUTS).build(**ONE_TARGET, optimization_level=0)
    file = engine.save(tmp_path / "digits.engine")
    assert Detector(file, device="cpu").batch == 2
    assert "needs an Engine" in message_of(ArgumentError, Detector, model.trace(INPUTS), devices=[0, 1])
    made = []

    class Noted:
        def __init__(self, *arguments):
            (make, *_) = arguments
            made.append((*arguments, trtnn.Engine.load(make["engine"]).path))

    monkeypatch.setattr(trtnn.several_gpus, "SeveralGpus", type("Noting", (Noted, SeveralGpus), {}))
    assert engine.path is None
    for source, devices in ((file, [0, 1]), (engine, [1])):
        Detector(source, devices=devices, confidence=0.5)
    (first, devices, batch, path), (second, *_, written) = made
    assert (first["engine"], first["confidence"], devices, batch, path) == (str(file), 0.5, [0, 1], 2, file)
    assert second["engine"] == str(written) != str(file)
