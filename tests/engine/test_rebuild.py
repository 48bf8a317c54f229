"""New weights by a second build, which takes the place of the first while other threads go on.

What TensorRT is given is held against a fresh build. Where engines run they are stand-ins, with real networks.
"""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch

import trtnn.build.build
import trtnn.build.refitting
import trtnn.engine.engine
import trtnn.engine.refits
import trtnn.engine.session
from tests.engine.refitted import SECONDS, Net, Twin, loaded, stand_in_builds, state
from tests.helpers import ONE_TARGET, load_random, message_of, needs_type
from tests.standin import Context, CudaEngine
from trtnn import Dim, Engine, Input, get_backend, quantize
from trtnn.build.fingerprint import fingerprint
from trtnn.errors import ArgumentError, BuildError, DTypeError, EngineError, StateDictError
from trtnn.modules import Conv2d, Sequential

SHAPE = (1, 3, 8, 8)
fp16 = needs_type("float16")
rtx = pytest.mark.skipif(not ONE_TARGET, reason="this TensorRT builds nothing without a GPU, and times what it builds")


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def quantized(seed: int) -> Net:
    """Return the network with the scales of the first weights, whatever its own are."""
    net = loaded(0)
    quantize(net, [images(i) for i in range(2)], skip=())
    net.load_state_dict({**net.state_dict(), **state(seed)})
    return net


# -- what is built ----------------------------------------------------------------------------------------------------

BATCHES = [Input((Dim("n", 1, 2, 4), 3, 8, 8)), Input((Dim("n", 8, 8, 9), 3, 8, 8))]
OPTIONS = {
    "plain": {},
    "fp16": {"fp16": True},
    "mixed": {"fp16": True, "fp32_modules": ["head"], "outputs": ["body.3"]},
    "attention": {"fp16": True, "fp16_attention": True},
    "level": {"optimization_level": 1, "workspace_bytes": 1 << 26, "max_aux_streams": 0, "tf32": False},
    "profiles": {"inputs": {"x": BATCHES}},
    "targets": {"targets": ("sm86", "sm89")},
    "progress": {"progress": True},
}
SETTINGS = ("flags", "builder_optimization_level", "max_aux_streams", "num_compute_capabilities")


def compiled(net, options) -> Engine:
    return net.compile(**{**ONE_TARGET, **options})


def assert_same(refit, build) -> Engine:
    """Check that TensorRT is given the same by a refit as by a build, and return the engine.

    Plans may differ: TensorRT-RTX names parts of some networks now in this order, now in that.

    Args:
        refit: returns an engine that was refitted.
        build: returns one that was built.
    """
    with pytest.MonkeyPatch.context() as patch:
        given = recorded(patch)
        engine = refit()
        fresh = build()
    assert given[-2] == given[-1]
    assert described(engine) == described(fresh)
    engine.check_plan()
    return engine


def described(engine: Engine) -> dict:
    """Return what an engine says of itself, without the size and digest of its plan."""
    return {key: value for key, value in engine.description.items() if key not in {"plan_bytes", "plan_digest"}}


def recorded(patch) -> list:
    """Keep what each build gives to TensorRT: the network with its weights, lengths and options."""
    given, build = [], trtnn.build.build._build_plan

    def build_plan(graph, settings, *args):
        options = {name: getattr(settings, name) for name in SETTINGS if hasattr(settings, name)}
        workspace = settings.get_memory_pool_limit(graph.trt.MemoryPoolType.WORKSPACE)
        given.append((fingerprint(graph.definition, graph.trt), dict(graph.inputs), options, workspace))
        return build(graph, settings, *args)

    patch.setattr(trtnn.build.build, "_build_plan", build_plan)
    return given


def refitted(engine: Engine, weights) -> Engine:
    before = bytes(engine.plan)
    assert {"body.0 BIAS", "body.3 BIAS"} <= set(engine.refit(weights, rebuild=True))
    assert bytes(engine.plan) != before
    return engine


@rtx
@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_what_a_fresh_build_gives(name):
    options = OPTIONS[name]
    assert_same(lambda: refitted(compiled(loaded(0), options), state(1)), lambda: compiled(loaded(1), options))


@rtx
@pytest.mark.parametrize("name", OPTIONS)
def test_so_it_is_of_an_engine_that_was_read_from_a_file(name, tmp_path):
    """Its description says how it was built."""
    compiled(loaded(0), OPTIONS[name]).save(tmp_path / "old.engine")

    def build() -> Engine:
        return Engine.load(compiled(loaded(1), OPTIONS[name]).save(tmp_path / "fresh.engine"))

    engine = assert_same(lambda: refitted(Engine.load(tmp_path / "old.engine"), loaded(1)), build)
    engine.save(tmp_path / "new.engine")
    again = Engine.load(tmp_path / "new.engine")
    again.check_plan()
    assert (bytes(again.plan), again.description) == (bytes(engine.plan), engine.description)


@rtx
def test_a_quantised_one_keeps_its_scales():
    """A checkpoint of another training has none."""
    twin, options = load_random(Twin(), 1), {"fp16": True}

    def told(make) -> Engine:
        with pytest.warns(
            UserWarning, match=r"go beyond what their scales hold, and are cut off there: body.0 \S+ times"
        ):
            return make()

    engine = assert_same(
        lambda: told(lambda: refitted(compiled(quantized(0), options), twin)),
        lambda: told(lambda: compiled(quantized(1), options)),
    )
    assert engine.description["quantized"]


@rtx
def test_again_and_back():
    def there_and_back() -> Engine:
        engine = compiled(loaded(0), {})
        for seed in (1, 2, 0):
            refitted(engine, state(seed))
        assert engine.refits == 3
        return engine

    assert_same(there_and_back, lambda: compiled(loaded(0), {}))


@rtx
def test_its_folders_are_used_again(tmp_path, monkeypatch):
    engine = compiled(loaded(0), {"cache_dir": tmp_path})
    engine.refit(state(1), rebuild=True)
    monkeypatch.setattr(trtnn.build.build, "_build_plan", lambda *args: pytest.fail("it is in the cache"))
    for seed in (1, 0):
        engine.refit(state(seed), rebuild=True)
        fresh = compiled(loaded(seed), {"cache_dir": tmp_path})
        assert (bytes(engine.plan), engine.description) == (bytes(fresh.plan), fresh.description)


@rtx
def test_other_threads_run_while_tensorrt_builds():
    """Python's lock is let go of: else a build in the background would stop them all."""
    engine, counted, stop = compiled(loaded(0), {}), [0, 0], threading.Event()
    building = threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[building.is_set()] += 1

    build = trtnn.build.build._build_plan

    def watched(*args):
        building.set()
        try:
            return build(*args)
        finally:
            building.clear()

    thread = threading.Thread(target=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trtnn.build.build, "_build_plan", watched)
        thread.start()
        engine.refit(state(1), rebuild=True, background=True).result(SECONDS)
        stop.set()
        thread.join()
    assert counted[True] > 100


def test_an_engine_does_not_keep_what_the_model_learned():
    net = loaded(0)
    arrays = [weakref.ref(array) for array in (net.body[0].weight.data, net.head.weight.data)]
    engine = compiled(net, {})
    state_of_it = engine.retracer._model._state()
    assert {name for name, member in state_of_it.items() if member.data is not None} == {
        "body.1.running_mean", "body.1.running_var"
    }  # fmt: skip
    assert net.body[0].weight.data is not None
    del net
    assert [array() for array in arrays if array() is not None and array().base is None] == []
    if ONE_TARGET:
        engine.refit(state(1), rebuild=True)
        assert all(member.data is None for name, member in state_of_it.items() if "running" not in name)


# -- where it runs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def builder(monkeypatch):
    """Let engines be built and run, whatever the machine."""
    made = stand_in_builds(monkeypatch)
    yield made
    made.may_go_on.set()


def expected(seed: int, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_random(Twin(), seed)(torch.from_numpy(x)).numpy()


def assert_has_weights(engine, seed: int) -> None:
    x = images(3)
    np.testing.assert_allclose(engine(x), expected(seed, x), rtol=1e-4, atol=1e-4)


def held(builder, engine, weights, **options):
    """Begin a build in the background that waits."""
    builder.begun = threading.Semaphore(0)
    builder.may_go_on.clear()
    future = engine.refit(weights, rebuild=True, background=True, **options)
    assert builder.begun.acquire(timeout=SECONDS)
    return future


def test_threads_go_on_with_the_old_weights_until_the_new_are_there(builder):
    engine, x = compiled(loaded(0), {}), images(5)
    old, new = expected(0, x), expected(1, x)
    assert np.abs(old - new).max() > 0.1
    seen: list[list[int]] = [[], [], []]
    errors, stop = [], threading.Event()
    enough = [threading.Event() for _ in seen]

    def call(place: int) -> None:
        try:
            graphed = engine.cuda_graph() if place == 0 else engine
            while not stop.is_set():
                result = graphed(x)
                near = [np.abs(result - weights).max() < 1e-4 for weights in (old, new)]
                assert sum(near) == 1, "it is of neither"
                seen[place].append(near.index(True))
                if seen[place][-1] == expecting[0] and seen[place].count(expecting[0]) >= 5:
                    enough[place].set()
        except BaseException as error:
            errors.append(error)
            enough[place].set()

    expecting = [0]
    threads = [threading.Thread(target=call, args=(place,)) for place in range(3)]
    engine(x)
    future = held(builder, engine, state(1))
    for thread in threads:
        thread.start()
    assert all(event.wait(SECONDS) for event in enough), "they do not go on"
    assert not future.done()
    expecting[0] = 1
    for event in enough:
        event.clear()
    builder.may_go_on.set()
    assert "body.3 KERNEL" in future.result(SECONDS)
    assert_has_weights(engine, 1)
    assert all(event.wait(SECONDS) for event in enough), "they do not come to the new weights"
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    for places in seen:
        assert places == sorted(places), "old weights after new ones"
        assert {*places} == {0, 1}
    assert engine.refits == 1


def test_the_weights_are_those_of_the_call(builder):
    """The caller may train on meanwhile, in torch or NumPy, and load its own model anew."""
    engine = compiled(loaded(0), {})
    first = held(builder, engine, state(1))  # the others wait behind it
    arrays = {name: array.copy() for name, array in state(2).items()}
    of_arrays = engine.refit(arrays, rebuild=True, background=True)
    twin = load_random(Twin(), 3)
    of_torch = engine.refit(twin, rebuild=True, background=True)
    for array in arrays.values():
        array[...] = 7
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(7)
    builder.may_go_on.set()
    for future in (first, of_arrays, of_torch):
        future.result(SECONDS)
    assert_has_weights(engine, 3)
    assert len(builder.networks) == 4
    for plan, seed in zip(builder.networks, (0, 1, 2, 3), strict=True):
        np.testing.assert_allclose(builder.networks[plan].run(images(3)), expected(seed, images(3)), atol=1e-4)


def test_a_model_is_copied_when_it_is_given(builder, tmp_path):
    compiled(loaded(0), {}).save(tmp_path / "a.engine")
    engine, model = Engine.load(tmp_path / "a.engine"), loaded(1)
    first = held(builder, engine, loaded(2))
    second = engine.refit(model, rebuild=True, background=True)
    model.load_state_dict(state(3))
    builder.may_go_on.set()
    assert first.result(SECONDS) == second.result(SECONDS)
    assert_has_weights(engine, 1)


def test_several_come_in_the_order_of_their_calls(builder):
    engine = compiled(loaded(0), {})
    engine(images())
    futures = [held(builder, engine, state(1))]
    futures += [engine.refit(state(seed), rebuild=True, background=True) for seed in (2, 3, 4)]
    assert futures[2].cancel()  # its turn has not come
    assert not futures[0].cancel()
    done = threading.Event()

    def last() -> None:
        engine.refit(state(5), rebuild=True)
        done.set()

    thread = threading.Thread(target=last)
    thread.start()
    assert engine.refits == 0
    builder.may_go_on.set()
    assert done.wait(SECONDS)
    thread.join()
    assert [future.done() for future in futures] == [True] * 4
    assert futures[2].cancelled()
    assert engine.refits == 4
    assert len(builder.networks) == 5  # what was cancelled was not built
    assert_has_weights(engine, 5)


@pytest.mark.parametrize("background", [False, True])
def test_a_build_that_fails_changes_nothing(builder, background):
    engine = compiled(loaded(0), {"refittable": True})  # which keeps its weights, so that a part is enough
    engine(images())
    before = engine._open(), engine.plan, dict(engine.description)
    builder.error = BuildError("no kernel was found")

    def refit(weights):
        result = engine.refit(weights, rebuild=True, background=background)
        return result.result(SECONDS) if background else result

    assert "no kernel was found" in message_of(BuildError, refit, state(1))
    assert (engine._open(), engine.plan, engine.description) == before
    assert engine.refits == 0
    assert_has_weights(engine, 0)
    assert "1 unexpected" in message_of(StateDictError, refit, {"tail": np.zeros(2, np.float32)})
    builder.error = None
    refit({"head.bias": state(2)["head.bias"]})  # nothing of what failed is left
    x = images(3)
    with torch.no_grad():
        twin = load_random(Twin(), 0)
        twin.head.bias.copy_(torch.from_numpy(state(2)["head.bias"]))
        np.testing.assert_allclose(engine(x), twin(torch.from_numpy(x)).numpy(), atol=1e-4)


@fp16
def test_weights_that_overflow(builder):
    engine = compiled(loaded(0), {"fp16": True})
    weights = {**state(1), "body.3.weight": np.full((4, 4, 1, 1), 1e6, np.float32)}
    future = engine.refit(weights, rebuild=True, background=True)
    assert "weights of body.3 do not fit in float16" in str(future.exception(SECONDS))
    assert isinstance(future.exception(), DTypeError)
    assert engine.refits == 0


def test_an_engine_that_is_closed_meanwhile(builder):
    engine = compiled(loaded(0), {})
    engine(images())
    first = held(builder, engine, state(1))
    second = engine.refit(state(2), rebuild=True, background=True)
    engine.close()
    builder.may_go_on.set()
    for future in (first, second):
        assert "was closed" in str(future.exception(SECONDS))
    assert len(builder.networks) == 2  # the second was not begun
    assert len(builder.sessions) == 1
    assert "was closed" in message_of(EngineError, engine, images())
    assert "was closed" in message_of(EngineError, engine.refit, state(1), rebuild=True)


def test_an_engine_that_nobody_holds_any_more(builder):
    engine = compiled(loaded(0), {})
    engine(images())
    future = held(builder, engine, state(1))
    gone = weakref.ref(engine)
    del engine
    builder.may_go_on.set()
    assert future.result(SECONDS)
    for thread in threading.enumerate():
        if thread.name == "trtnn refit":
            thread.join(SECONDS)
    gc.collect()
    assert gone() is None


def test_an_engine_that_is_opened_while_it_is_built(builder):
    engine = compiled(loaded(0), {})
    future = held(builder, engine, state(1))
    assert_has_weights(engine, 0)
    builder.may_go_on.set()
    future.result(SECONDS)
    assert_has_weights(engine, 1)
    assert len(builder.sessions) == 2


def test_an_engine_that_does_not_run_is_not_opened(builder):
    engine = compiled(loaded(0), {})
    engine.refit(state(1), rebuild=True)
    assert builder.sessions == []
    assert_has_weights(engine, 1)


@pytest.mark.parametrize("how", ["refit", "rebuild"])
def test_it_has_run_before_it_takes_the_place(builder, how):
    """So kernels are loaded; and what does not run takes no place. Inputs are zeros, which are good indices."""
    inputs, seen = {"x": BATCHES}, []
    engine = compiled(loaded(0), {"inputs": inputs, "refittable": how == "refit"})
    engine(images())
    run = CudaEngine.create_execution_context

    def watched(made):
        context = run(made)
        execute = context.execute_async_v3

        def execute_and_tell(stream):
            arrays = [made.addresses[address] for name, address in context.addresses.items() if name == "x"]
            seen.append((context.profile, arrays[0].shape[0], np.abs(arrays[0]).max()))
            return execute(stream)

        context.execute_async_v3 = execute_and_tell
        return context

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaEngine, "create_execution_context", watched)
        engine.refit(state(1), rebuild=how == "rebuild")
    assert seen == [(0, 2, 0), (1, 8, 0)]
    gc.collect()
    assert list(engine._open().engine.contexts) == []
    assert_has_weights(engine, 1)
    before = engine._open(), engine.plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "execute_async_v3", lambda self, stream: False)
        message = message_of(EngineError, engine.refit, state(2), rebuild=how == "rebuild")
    assert "TensorRT could not run this engine" in message
    assert (engine._open(), engine.plan) == before
    assert_has_weights(engine, 1)


def test_graphs_are_captured_again(builder):
    engine = compiled(loaded(0), {})
    graphed, x = engine.cuda_graph(), images(3)
    graphed(x)
    (worker,) = graphed._workers.values()
    engine.refit(state(1), rebuild=True)
    np.testing.assert_allclose(graphed(x), expected(1, x), atol=1e-4)
    (other,) = graphed._workers.values()
    assert other is not worker
    worker._enqueue(7)  # a call that had begun ends where it was


def test_progress_is_not_shown_in_the_background(builder):
    engine = compiled(loaded(0), {"progress": True})
    engine.refit(state(1), rebuild=True)
    engine.refit(state(1), rebuild=True, background=True).result(SECONDS)
    engine.refit(state(1), rebuild=True, background=True, progress=True).result(SECONDS)
    assert [config.progress for config in builder.options] == [True, None, False, True]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_parameters_that_are_not_there(builder):
    engine = compiled(loaded(0), {})
    message = message_of(StateDictError, engine.refit, {"head.bias": state(1)["head.bias"]}, rebuild=True)
    assert "missing: head.weight (2, 4)" in message
    assert "missing: body.0.weight (4, 3, 3, 3)" in message
    assert "refit takes a state dict or a model, not a int" in message_of(ArgumentError, engine.refit, 3, rebuild=True)
    future = engine.refit(3, rebuild=True, background=True)
    assert "refit takes a state dict or a model, not a int" in str(future.exception(SECONDS))


def test_an_engine_of_a_file_takes_a_model(builder, tmp_path):
    compiled(loaded(0), {}).save(tmp_path / "a.engine")
    engine = Engine.load(tmp_path / "a.engine")
    message = message_of(ArgumentError, engine.refit, state(1), rebuild=True)
    assert "does not know its model" in message
    assert "model.load_state_dict(weights); engine.refit(model" in message


def test_another_model(builder, tmp_path):
    compiled(loaded(0), {}).save(tmp_path / "a.engine")
    engine = Engine.load(tmp_path / "a.engine")
    net = Sequential(Conv2d(3, 4, 3))
    net.load_state_dict({"0.weight": np.zeros((4, 3, 3, 3), "f"), "0.bias": np.zeros(4, "f")})
    net.forward = lambda x: Sequential.forward(net, x)
    before = bytes(engine.plan)
    message = message_of(EngineError, engine.refit, net, rebuild=True)
    assert "the network is another than the one that this engine was built of; nothing was changed" in message
    assert "outputs: " in message
    assert (bytes(engine.plan), engine.refits) == (before, 0)


def test_an_engine_that_does_not_say_how_it_was_built(builder):
    engine = compiled(loaded(0), {})
    del engine.description["build"]
    assert "does not say how it was built" in message_of(EngineError, engine.refit, state(1), rebuild=True)


def test_an_engine_of_another_tensorrt(builder):
    engine = compiled(loaded(0), {})
    engine.description["tensorrt"] = "8.4.1"
    message = message_of(EngineError, engine.refit, state(1), rebuild=True)
    assert f"this engine is of {get_backend().name} 8.4.1, and {get_backend()} is here" in message


def test_not_while_capturing(builder, monkeypatch):
    engine = compiled(loaded(0), {})
    engine(images())
    monkeypatch.setattr(trtnn.engine.refits, "is_capturing", lambda stream: stream == 7)
    message = message_of(EngineError, engine.refit, state(1), rebuild=True)
    assert "while this thread captures a CUDA graph" in message
    assert len(builder.networks) == 1


def test_a_rebuild_takes_no_look_at_the_rest_of_the_network(builder, monkeypatch):
    """Its digest takes time, and there is none where a layer is of no known class."""
    engine = compiled(loaded(0), {})

    def refuse(*args):
        raise BuildError("two networks with a layer of type STRANGE cannot be compared")

    monkeypatch.setattr(trtnn.build.refitting, "fingerprint", refuse)
    changed = engine.refit(state(1), rebuild=True)
    assert changed == [" ".join(key) for key in loaded(1).trace().refittable_arrays()]
    assert changed[0] == "body.0 KERNEL"
    assert_has_weights(engine, 1)
    assert "STRANGE" in message_of(BuildError, loaded(0).trace().refittable)


def test_a_model_that_cannot_be_copied(builder):
    net = loaded(0)
    object.__setattr__(net, "lock", threading.Lock())
    engine = compiled(net, {})
    assert "does not know its model" in message_of(ArgumentError, engine.refit, state(1), rebuild=True)
    net.load_state_dict(state(1))
    engine.refit(net, rebuild=True)
    assert_has_weights(engine, 1)
    with pytest.raises(TypeError, match="lock"):
        compiled(net, {"refittable": True})


def test_a_thread_that_cannot_be_started(builder, monkeypatch):
    engine = compiled(loaded(0), {})

    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(trtnn.engine.refits.threading, "Thread", Refused)
        assert "can't start" in message_of(RuntimeError, engine.refit, state(1), rebuild=True, background=True)
    engine.refit(state(1), rebuild=True)  # nobody waits for what never began
    assert_has_weights(engine, 1)


def test_ctrl_c_while_it_waits(monkeypatch):
    """Who stops waiting is passed over, and does not let the next begin before its time."""
    turns = trtnn.engine.refits.Turns()
    first, second, third = (turns.take() for _ in range(3))

    def interrupt(predicate):
        assert not predicate()
        raise KeyboardInterrupt

    with turns.of(first):
        with monkeypatch.context() as patch:
            patch.setattr(turns._changed, "wait_for", interrupt)
            with pytest.raises(KeyboardInterrupt):
                turns.of(second).__enter__()
            with pytest.raises(KeyboardInterrupt):
                turns.of(third).__enter__()
        assert turns._tickets == [first]
    assert turns._tickets == []
