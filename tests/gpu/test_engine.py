"""Engines on a GPU: results against torch, every way of calling, graphs, threads, and what they leave behind."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import trtnn
import trtnn.engine.memory
from tests.helpers import assert_close, load_random, message_of, numbers
from trtnn.backend import get_backend
from trtnn.errors import ArgumentError, BuildError, DTypeError, EngineError, ShapeError

SHAPE = (2, 3, 16, 16)


class Small(trtnn.Module):
    """Two outputs in a dict, so that the structure is proved as well."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"images": SHAPE}
        self.conv = trtnn.modules.Conv2d(3, 8, 3, padding=1)
        self.norm = trtnn.modules.BatchNorm2d(8)
        self.head = trtnn.modules.Linear(8 * 16 * 16, 5)

    def forward(self, images):
        x = trtnn.functional.silu(self.norm(self.conv(images)))
        return {"features": x, "scores": self.head(x.flatten(1)).softmax(1)}


class Twin(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8 * 16 * 16, 5)

    def forward(self, images):
        x = torch.nn.functional.silu(self.norm(self.conv(images)))
        return {"features": x, "scores": self.head(x.flatten(1)).softmax(1)}


@pytest.fixture(scope="module")
def twin():
    return load_random(Twin())


@pytest.fixture(scope="module")
def model(twin):
    model = Small()
    model.load_state_dict(twin.state_dict())
    return model


@pytest.fixture(scope="module")
def engine(model):
    return model.compile(optimization_level=0)


@pytest.fixture(scope="module")
def images():
    return numbers(*SHAPE)


@pytest.fixture(scope="module")
def expected(twin, images):
    with torch.no_grad():
        return twin(torch.from_numpy(images))


TF32 = 2e-3  # on this generation of GPUs TensorRT computes fp32 convolutions in TF32


def test_numpy_in_numpy_out(engine, images, expected):
    result = engine(images)
    assert_close(result, expected, TF32)
    assert isinstance(result["scores"], np.ndarray)


def test_by_name_and_again(engine, images, expected):
    first, second = engine(images=images), engine(images=images * 2)
    assert_close(first, expected, TF32)
    assert np.abs(first["features"] - second["features"]).max() > 0.1


def test_a_strided_array(engine, images, expected):
    strided = np.asfortranarray(images)
    assert not strided.flags.c_contiguous
    assert_close(engine(strided), expected, TF32)


def test_cpu_tensor_in_cpu_tensor_out(engine, images, expected):
    result = engine(torch.from_numpy(images))
    assert result["scores"].device.type == "cpu"
    assert_close({k: v.numpy() for k, v in result.items()}, expected, TF32)


def test_cuda_tensor_in_cuda_tensor_out(engine, images, expected):
    result = engine(torch.from_numpy(images).cuda())
    assert result["features"].is_cuda
    assert_close({k: v.cpu().numpy() for k, v in result.items()}, expected, TF32)


def test_fp16_is_close(model, images, expected):
    engine = model.compile(fp16=True, optimization_level=0)
    assert_close(engine(images), expected, 5e-3)


def test_without_tf32_fp32_is_fp32(model, images, expected):
    assert_close(model.compile(tf32=False, optimization_level=0)(images), expected, 1e-5)


class Branches(trtnn.modules.ModuleList):
    """Chains of convolutions side by side."""

    def __init__(self) -> None:
        layers = trtnn.modules
        super().__init__(layers.Sequential(*(layers.Conv2d(16, 16, 3, padding=1) for _ in range(4))) for _ in range(4))

    def forward(self, x):
        return trtnn.functional.cat([chain(x) for chain in self], 1)


def test_layers_on_several_streams():
    nn = torch.nn
    twin = nn.ModuleList(nn.Sequential(*(nn.Conv2d(16, 16, 3, padding=1) for _ in range(4))) for _ in range(4))
    model = Branches()
    model.load_state_dict(load_random(twin).state_dict())
    x = torch.from_numpy(numbers(2, 16, 64, 64))
    with torch.no_grad():
        expected = torch.cat([chain(x) for chain in twin], 1)
    engine = model.compile({"x": tuple(x.shape)}, max_aux_streams=3, optimization_level=1)
    assert engine._open().aux_streams > 0
    if get_backend().version.startswith("8.6"):
        assert "max_aux_streams=0" in message_of(EngineError, engine.timing, x.cuda())
    for call in (engine, engine.cuda_graph()):
        for _ in range(20):  # what is not waited for shows now and then
            assert_close(call(x.cuda()).cpu().numpy(), expected, TF32)
    # Streams of TensorRT's own would forbid the default stream to all other threads while one captures.
    stop = threading.Event()

    def use_the_default_stream():
        results = []
        while not stop.is_set() or len(results) < 20:
            results.append(engine(x.cuda()).cpu().numpy())
        return results

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(use_the_default_stream) for _ in range(2)]
        try:
            for _ in range(20):
                assert_close(engine.cuda_graph()(x.cuda()).cpu().numpy(), expected, TF32)
        finally:
            stop.set()
        for other in others:
            for result in other.result():
                assert_close(result, expected, TF32)


def test_out_takes_arrays_and_tensors(engine, images, expected):
    arrays = {"features": np.zeros((2, 8, 16, 16), np.float32), "scores": np.zeros((2, 5), np.float32)}
    result = engine(images, out=arrays)
    assert result["scores"] is arrays["scores"]
    assert_close(arrays, expected, TF32)
    tensors = {name: torch.zeros(array.shape, device="cuda") for name, array in arrays.items()}
    assert engine(torch.from_numpy(images).cuda(), out=tensors)["scores"] is tensors["scores"]
    assert_close({k: v.cpu().numpy() for k, v in tensors.items()}, expected, TF32)


def test_arrays_in_any_memory(engine, images, expected):
    pinned = engine.pinned_inputs()["images"]
    assert torch.from_numpy(pinned).is_pinned()
    pinned[:] = images
    read_only = images.copy()
    read_only.flags.writeable = False
    in_pieces = np.stack([images, images], -1)[..., 0]
    for given in (pinned, images, read_only, in_pieces):
        results = engine(given)
        assert_close(results, expected, TF32)
    assert all(torch.from_numpy(array).is_pinned() for array in results.values())
    elsewhere = {name: np.zeros_like(array) for name, array in results.items()}
    apart = {name: np.zeros((*array.shape, 2), array.dtype)[..., 0] for name, array in results.items()}
    for out in (results, elsewhere, apart):
        for array in out.values():
            array[:] = 0
        engine(images, out=out)
        assert_close(out, expected, TF32)


def test_work_goes_on_the_current_stream(engine, images, expected):
    on_gpu = torch.from_numpy(images).cuda()
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in range(4)]
    results = []
    for stream in streams * 25:
        with torch.cuda.stream(stream):
            results.append(engine(on_gpu))
    torch.cuda.synchronize()
    for result in results:
        assert_close({k: v.cpu().numpy() for k, v in result.items()}, expected, TF32)


def test_a_cuda_graph_gives_the_same(engine, images, expected):
    graphed = engine.cuda_graph()
    on_gpu = torch.from_numpy(images).cuda()
    for _ in range(3):
        assert_close({k: v.cpu().numpy() for k, v in graphed(on_gpu).items()}, expected, TF32)
    assert_close(graphed(images), expected, TF32)
    doubled = graphed(on_gpu * 2)
    again = engine(on_gpu * 2)
    assert_close({k: v.cpu().numpy() for k, v in doubled.items()}, {k: v.cpu() for k, v in again.items()}, 1e-6)


def test_eight_threads_at_once(engine):
    inputs = [numbers(*SHAPE, seed=i) for i in range(8)]
    alone = [engine(array) for array in inputs]
    start = threading.Barrier(8)

    def work(index):
        start.wait()
        return [engine(inputs[index]) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for index, results in enumerate(pool.map(work, range(8))):
            for result in results:
                np.testing.assert_array_equal(result["features"], alone[index]["features"])


def test_two_hundred_rounds_leave_memory_where_it_was(engine, images, tmp_path):
    path = engine.save(tmp_path / "small.engine")

    def round_(index):
        loaded = trtnn.Engine.load(path)
        loaded(images)
        loaded.cuda_graph()(images)
        if index % 2:
            loaded.close()  # the others are left to garbage collection

    def used():  # on the whole GPU: what others do there meanwhile, such as workers of pytest-xdist, is counted too
        gc.collect()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return total - free

    for index in range(10):
        round_(index)
    before = used()
    for index in range(200):
        round_(index)
    assert used() - before <= 8 << 20


def test_a_closed_engine_says_so(model, images):
    with model.compile(optimization_level=0) as engine:
        engine(images)
    assert "was closed" in message_of(EngineError, engine, images)


def test_bad_inputs_say_what_to_do_and_the_engine_lives_on(engine, images, expected):
    on_gpu = torch.from_numpy(images).cuda()
    assert ".contiguous()" in message_of(ArgumentError, engine, on_gpu.permute(0, 1, 3, 2))
    assert ".to(torch.float32)" in message_of(DTypeError, engine, on_gpu.half())
    assert "received (1, 3, 16, 16)" in message_of(ShapeError, engine, on_gpu[:1])
    out = {"features": images, "scores": images.copy()}
    assert "on the host" in message_of(ArgumentError, engine, on_gpu, out=out)
    assert "the outputs are" in message_of(ArgumentError, engine, images, out=images)
    assert_close(engine(images), expected, TF32)


def test_an_engine_for_another_gpu_is_told_before_tensorrt_is_asked(engine, images):
    other = trtnn.Engine(engine.plan, {**engine.description, "targets": ["sm75"]})
    message = message_of(EngineError, other, images)
    assert "a GPU of sm75" in message
    assert "the GPU here is" in message


def test_a_corrupt_plan_is_an_error(engine, images):
    broken = bytearray(engine.plan)
    broken[len(broken) // 2 :] = bytes(len(broken) - len(broken) // 2)
    assert "is damaged" in message_of(EngineError, trtnn.Engine(bytes(broken), engine.description), images)
    assert "could not load" in message_of(EngineError, trtnn.Engine(bytes(broken), {}), images)
    assert engine(images)


def test_a_graph_of_a_closed_engine_says_so(model, images):
    engine = model.compile(optimization_level=0)
    graphed = engine.cuda_graph()
    engine.close()
    assert "was closed" in message_of(EngineError, graphed, images)


# -- plans of other tools ---------------------------------------------------------------------------------------------


def test_a_bare_plan_runs_and_is_described(engine, images, expected, tmp_path):
    (tmp_path / "bare.plan").write_bytes(engine.plan)
    bare = trtnn.Engine.load(tmp_path / "bare.plan")
    assert (bare.inputs, bare.outputs) == (engine.inputs, engine.outputs)
    assert_close(bare(images), (expected["features"], expected["scores"]), TF32)  # by the names of the outputs
    known = ("backend", "tensorrt", "targets", "inputs", "outputs", "plan_bytes", "plan_digest")
    assert {key: bare.description[key] for key in known} == {key: engine.description[key] for key in known}
    again = trtnn.Engine.load(bare.save(tmp_path / "own.engine"))
    assert_close(again(images), (expected["features"], expected["scores"]), TF32)


# -- precision --------------------------------------------------------------------------------------------------------


class Boxes(trtnn.Module):
    """Half a pixel beyond 2048 is lost in fp16, so that its forward computes on in fp32."""

    def forward(self, x):
        return x.relu().float().view(-1, 4)[:, :2] * 4096 + np.float32([0.5, 1.5])


@pytest.mark.parametrize("options", [{}, {"fp32_modules": ("*",)}])
def test_what_is_asked_to_stay_in_fp32_does(options):
    x = numbers(1, 8, 16, 16)
    engine = Boxes().compile({"x": x.shape}, fp16=True, optimization_level=3, **options)
    wanted = np.maximum(x, 0).reshape(-1, 4)[:, :2] * np.float32(4096) + np.float32([0.5, 1.5])
    np.testing.assert_allclose(engine(x), wanted, rtol=1e-6)


class Recurrent(trtnn.Module):
    """A loop that stays in fp32 between layers in fp16: the sums of its states leave fp16's range."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rnn = trtnn.modules.Linear(4, 4), trtnn.modules.RNN(4, 8, nonlinearity="relu")

    def forward(self, x):
        states, _ = self.rnn(self.first(x))
        return states


def test_a_loop_stays_in_fp32():
    twin = torch.nn.ModuleDict({"first": torch.nn.Linear(4, 4), "rnn": torch.nn.RNN(4, 8, nonlinearity="relu")})
    twin.load_state_dict({name: tensor.abs() * 4 for name, tensor in load_random(twin).state_dict().items()})
    x = np.abs(numbers(5, 2, 4))
    with torch.no_grad():
        wanted = twin["rnn"](twin["first"](torch.from_numpy(x)))[0].numpy()
    assert wanted.max() > 1e5
    model = Recurrent()
    model.load_state_dict(twin.state_dict())
    network = model.trace({"x": x.shape}, fp16=True, fp32_modules=("rnn",))
    assert_close(network.run(x), wanted, 5e-3)
    if not trtnn.get_backend().capabilities.strongly_typed:
        assert "does not keep a loop in fp32" in message_of(BuildError, network.build)
        network = model.trace({"x": x.shape})
    with network.build(optimization_level=0, progress=False) as engine:
        assert_close(engine(x), wanted, 5e-3)


@pytest.mark.parametrize("fp16", [False, True])
def test_fp16_inputs(model, images, expected, fp16):
    engine = model.compile({"images": trtnn.Input(SHAPE, "float16")}, fp16=fp16, optimization_level=0)
    bare = trtnn.Engine(engine.plan, {})
    assert bare.inputs == engine.inputs == {"images": trtnn.Input(SHAPE, "float16")}  # as TensorRT has it
    assert_close(engine(images.astype(np.float16)), expected, 5e-3)


# -- memory -----------------------------------------------------------------------------------------------------------


def test_too_little_memory_is_told_with_its_numbers(engine, images):
    free, _ = torch.cuda.mem_get_info()
    held = [torch.empty(free - (256 << 20), dtype=torch.uint8, device="cuda")]
    try:
        huge = trtnn.Input((1, 1, 1 << 14, 1 << 14))  # 1 GiB
        memory = trtnn.engine.memory.device_memory()
        message = message_of(EngineError, memory.empty, huge)
    finally:
        held.clear()
        torch.cuda.empty_cache()
    assert "the GPU could not allocate a buffer" in message
    assert "wanted: 1,024.0 MiB" in message
    assert "MiB free of" in message
    assert engine(images)
