"""What is said where the GPU refuses memory or work; torch and pycuda are stood in for."""

import gc
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import trtnn.engine.memory
from tests.helpers import message_of, numbers
from trtnn import Input, get_backend
from trtnn.dtypes import float16
from trtnn.engine.memory import PycudaMemory, TorchMemory, describe_gpu_memory
from trtnn.engine.plan import deserialize, looks_like_a_plan, scratch_bytes
from trtnn.engine.session import Session
from trtnn.errors import EngineError
from trtnn.shapes.call import Shapes

SPEC = Input((16, 3, 512, 1024), "float16")  # 48 MiB
NUMBERS = ["wanted: 48.0 MiB", "memory of the GPU: 24 MiB free of 81,920"]


@pytest.fixture(autouse=True)
def a_full_gpu(monkeypatch):
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: (24 << 20, 80 << 30))


def torch_that_refuses(error):
    def refuse(*args, **kwargs):
        raise error

    memory = TorchMemory.__new__(TorchMemory)
    stream = SimpleNamespace(synchronize=refuse)
    cuda = SimpleNamespace(current_stream=lambda device: stream)
    memory._torch = SimpleNamespace(empty=refuse, float16=torch.float16, cuda=cuda)
    memory._current_handle, memory._streams = lambda device: 7, {7: stream}
    memory._device, memory._of_type = "cuda:0", {float16: SimpleNamespace(new_empty=refuse)}
    return memory


class PycudaError(Exception):
    pass


def pycuda_that_refuses(error):
    def refuse(*args, **kwargs):
        raise error

    memory = PycudaMemory.__new__(PycudaMemory)
    memory._gpuarray = SimpleNamespace(empty=refuse)
    memory._pool = SimpleNamespace(allocate=refuse)
    memory._stream = SimpleNamespace(synchronize=refuse)
    memory._errors = (PycudaError, MemoryError)
    return memory


REFUSING = {
    "torch, out of memory": lambda: torch_that_refuses(torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried ...")),
    "torch, another": lambda: torch_that_refuses(RuntimeError("CUDA out of memory. an illegal address")),
    "pycuda": lambda: pycuda_that_refuses(PycudaError("CUDA out of memory. cuMemAlloc failed")),
    "the host": lambda: pycuda_that_refuses(MemoryError("CUDA out of memory.")),
}


@pytest.mark.parametrize("kind", REFUSING)
def test_buffers(kind):
    memory = REFUSING[kind]()
    for make, words in ((memory.empty, "allocate a buffer"), (memory.pinned, "page-lock a buffer of the host")):
        lines = message_of(EngineError, make, SPEC).splitlines()
        assert lines[0] == f"the GPU could not {words}"
        assert lines[1].startswith("  CUDA out of memory.")
        assert lines[2:] == [f"  {line}" for line in NUMBERS]
    message = message_of(EngineError, memory.synchronize)
    assert message.startswith("the GPU could not finish the work\n  CUDA out of memory.")
    assert "wanted" not in message


def refuse(*args, **kwargs):
    raise RuntimeError("CUDA error: out of memory\nmore lines")


@pytest.mark.parametrize("name", ["init", "empty"])
def test_a_context_that_torch_cannot_make(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "init", refuse if name == "init" else lambda: None)
    monkeypatch.setattr(torch, "empty", refuse)
    message = message_of(EngineError, TorchMemory)
    assert message.splitlines() == [
        "the GPU could not make a CUDA context",
        "  CUDA error: out of memory",
        f"  {NUMBERS[1]}",
    ]


@pytest.mark.filterwarnings("error")  # what is half made goes without a word
def test_a_context_that_pycuda_cannot_make(monkeypatch):
    driver = SimpleNamespace(init=refuse, Error=RuntimeError)
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=driver, gpuarray=None, tools=None))
    monkeypatch.setattr(trtnn.engine.memory, "_of_thread", threading.local())
    message = message_of(EngineError, PycudaMemory)
    assert message.startswith("the GPU could not make a CUDA context\n  CUDA error: out of memory\n")
    gc.collect()


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError):
        torch_that_refuses(KeyError("a mistake of ours")).empty(SPEC)


def test_the_numbers(monkeypatch):
    assert describe_gpu_memory(48 << 20) == NUMBERS
    assert describe_gpu_memory() == NUMBERS[1:]
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: None)
    assert describe_gpu_memory(1 << 19) == ["wanted: 0.5 MiB"]


def backend_that_says(*lines, deserialized=None):
    taken = list(lines)
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: deserialized)
    return SimpleNamespace(
        trt=SimpleNamespace(Runtime=lambda logger: runtime),
        capabilities=get_backend().capabilities,
        logger=SimpleNamespace(take=taken.copy),
    )


def test_a_plan_that_tensorrt_does_not_load():
    message = message_of(EngineError, deserialize, backend_that_says("magic tag does not match"), b"ftrt")
    assert message.splitlines() == [
        "TensorRT could not load this engine",
        "  magic tag does not match",
        f"  {NUMBERS[1]}",
    ]


def test_a_context_that_cannot_be_made(monkeypatch):
    engine = SimpleNamespace(create_execution_context=lambda: None, device_memory_size=48 << 20)
    engine.device_memory_size_v2 = engine.device_memory_size
    engine.num_io_tensors = 0
    backend = backend_that_says("out of memory", deserialized=engine)
    memory = SimpleNamespace(current_handle=lambda: 0)
    monkeypatch.setattr(trtnn.engine.session, "device_memory", lambda: memory)
    message = message_of(EngineError, Session(backend, memoryview(b"ftrt"), Shapes({}, {}, ())).worker, 0)
    assert message.splitlines() == [
        "TensorRT could not make an execution context",
        "  out of memory",
        *(f"  {line}" for line in NUMBERS),
    ]


@pytest.mark.parametrize("second", [False, True])
def test_the_memory_of_a_context(second):
    sizes = {"device_memory_size_v2": 1 << 40} if second else {"device_memory_size": 5}
    backend = SimpleNamespace(capabilities=SimpleNamespace(device_memory_v2=second))
    assert scratch_bytes(backend, SimpleNamespace(**sizes)) == (1 << 40 if second else 5)


def test_pycuda_s_context_leaves_the_stack_with_its_thread(monkeypatch):
    log = []
    context = SimpleNamespace(
        push=lambda: log.append(("push", threading.get_ident())), pop=lambda: log.append(("pop", threading.get_ident()))
    )
    driver = SimpleNamespace(
        init=lambda: None,
        Device=lambda index: SimpleNamespace(retain_primary_context=lambda: context),
        Error=PycudaError,
        Stream=lambda: None,
    )
    tools = SimpleNamespace(PageLockedMemoryPool=lambda: None)
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=driver, gpuarray=None, tools=tools))
    kept = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: kept.extend([PycudaMemory(), PycudaMemory()]))
        thread.start()
        thread.join()
        assert [what for what, _ in log] == ["push", "pop"]  # once a thread, though its memories live on
        assert log[0][1] == log[1][1] != threading.get_ident()
        log.clear()


def test_how_plans_begin():
    assert looks_like_a_plan(b"ftrt\0\0")
    assert looks_like_a_plan(memoryview(b"vtrt"))
    for data in (b"", b"ftr", b"trt\0", b"PK\x03\x04", np.zeros(8, np.uint8).tobytes()):
        assert not looks_like_a_plan(data)


def read_only(array):
    array.flags.writeable = False
    return array


# A pinned buffer of each, and the array that shares its memory. Torch's has no method but this one, so that a copy by
# torch's threads, which may all be waited for, is an error.
PINNED = {
    TorchMemory: lambda array: SimpleNamespace(numpy=lambda: array),
    PycudaMemory: lambda array: array,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", PINNED)
@pytest.mark.parametrize(
    "of",
    [np.copy, lambda a: read_only(a.copy()), np.asfortranarray, lambda a: a[::-1], lambda a: a.repeat(2, 1)[:, ::2]],
)
@pytest.mark.parametrize("shape", [(3, 4), (1, 2**21 + 1), (5, 0)])
def test_arrays_and_pinned_memory(kind, of, shape):
    memory = kind.__new__(kind)
    values = numbers(*shape)
    shared = np.zeros(shape, np.float32)
    pinned = PINNED[kind](shared)
    memory.fill(pinned, of(values))
    assert np.array_equal(shared, of(values))
    into = of(np.zeros_like(values))
    if into.flags.writeable:
        memory.read(pinned, into)
        assert np.array_equal(into, of(values))
    else:
        with pytest.raises(ValueError, match="read-only"):
            memory.read(pinned, into)
        assert not into.any()


def test_what_is_copied_straight():
    """Any array in one piece; torch takes none that is read-only, without a warning."""
    array = np.zeros((4, 6), np.float32)
    for kind, back in ((PycudaMemory, lambda given: given), (TorchMemory, lambda given: given.numpy())):
        memory = kind.__new__(kind)
        memory._torch = torch
        for view in (array, array[1:3], array.reshape(-1)[5:]):
            assert np.shares_memory(back(memory.direct(view)), view)
            assert back(memory.direct(view)).shape == view.shape
        for other in (array[:, 1:], array.T):
            assert memory.direct(other) is None
        for whole in (array[::-1][:1], array[:, 3:4][::-1][:1], np.zeros(4, "f4, i1")["f0"][:1]):
            assert whole.flags.c_contiguous  # whatever the stride of a length of one
            given = memory.direct(whole)  # torch takes none whose stride is negative or no multiple of an element
            assert given is None if kind is TorchMemory else given is whole
    assert memory.direct(read_only(array.copy())) is None


def test_the_stream_that_is_waited_for_is_the_current_one():
    waited, asked = [], []

    def current_stream(device):
        asked.append(handle)
        return SimpleNamespace(synchronize=lambda of=handle: waited.append(of))

    memory = TorchMemory.__new__(TorchMemory)
    memory._torch = SimpleNamespace(cuda=SimpleNamespace(current_stream=current_stream))
    memory._device, memory._streams, memory._current_handle = "cuda:0", {}, lambda device: handle
    for handle in (7, 8, 7, 8):  # noqa: B007 - the functions above read it
        memory.synchronize()
    assert waited == [7, 8, 7, 8]
    assert asked == [7, 8]
