"""New weights in engines that run: by the Refitter, by a second build, under load."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from tests.engine.refitted import Twin, loaded, state
from tests.helpers import load_random, message_of
from trtnn import Dim, Engine, Input, get_backend
from trtnn.errors import EngineError

OPTIONS = {"optimization_level": 1, "progress": False}
SECONDS = 120


def images(seed: int = 3, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 3, 8, 8)).astype(np.float32)


def expected(seed: int, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_random(Twin(), seed)(torch.from_numpy(x)).numpy()


def assert_has_weights(call, seed: int, fp16: bool = False, batch: int = 1) -> None:
    bound = 2e-2 if fp16 else 2e-3  # of outputs of about 1; fp32 by TF32
    np.testing.assert_allclose(call(images(batch=batch)), expected(seed, images(batch=batch)), rtol=bound, atol=bound)


@pytest.fixture(params=["refit", "rebuild"])
def how(request):
    """Return the options of compile and of refit, by the Refitter and by a second build."""
    return {"refit": ({"refittable": True}, {}), "rebuild": ({}, {"rebuild": True})}[request.param]


@pytest.mark.parametrize("fp16", [False, True])
def test_new_weights_several_times(how, fp16, tmp_path):
    """Of an engine that was built here; then of what it wrote."""
    built, again = how
    with loaded(0).compile(fp16=fp16, **OPTIONS, **built) as engine:
        graphed = engine.cuda_graph()
        assert_has_weights(engine, 0, fp16)
        assert_has_weights(graphed, 0, fp16)
        for seed in (1, 2, 0, 1):
            engine.refit(state(seed), **again)
            assert_has_weights(engine, seed, fp16)
            assert_has_weights(graphed, seed, fp16)
        engine.save(tmp_path / "a.engine")
    with Engine.load(tmp_path / "a.engine") as read:
        assert_has_weights(read, 1, fp16)
        read.refit(loaded(2), **again)
        assert_has_weights(read, 2, fp16)


def test_it_gives_what_a_fresh_build_does(how):
    built, again = how
    with loaded(0).compile(**OPTIONS, **built) as engine, loaded(1).compile(**OPTIONS, **built) as fresh:
        engine.refit(state(1), **again)
        np.testing.assert_allclose(engine(images()), fresh(images()), rtol=1e-3, atol=1e-3)


def test_of_any_batch(how):
    built, again = how
    shapes = {"x": [Input((Dim("n", 1, 2, 4), 3, 8, 8)), Input((Dim("n", 8, 8, 9), 3, 8, 8))]}
    with loaded(0).compile(shapes, **OPTIONS, **built) as engine:
        for batch in (1, 3, 9):
            assert_has_weights(engine, 0, batch=batch)
        engine.refit(state(1), **again)
        for batch in (1, 3, 9):
            assert_has_weights(engine, 1, batch=batch)


def test_a_part_of_the_weights():
    with loaded(0).compile(refittable=True, **OPTIONS) as engine:
        engine(images())
        engine.refit({"body.1.running_var": state(1)["body.1.running_var"], "head.bias": state(2)["head.bias"]})
        with torch.no_grad():
            twin = load_random(Twin(), 0)
            twin.body[1].running_var.copy_(torch.from_numpy(state(1)["body.1.running_var"]))
            twin.head.bias.copy_(torch.from_numpy(state(2)["head.bias"]))
            result = twin(torch.from_numpy(images())).numpy()
        np.testing.assert_allclose(engine(images()), result, rtol=2e-3, atol=2e-3)


@pytest.mark.skipif(not get_backend().capabilities.refit_individual, reason="TensorRT 8.6 lets all change or none")
def test_the_weights_of_some_modules_alone():
    with loaded(0).compile(refittable=["head"], **OPTIONS) as engine:
        engine.refit({name: array for name, array in state(1).items() if name.startswith("head")})
        net = loaded(0)
        net.load_state_dict({n: a for n, a in state(1).items() if n.startswith("head")}, strict=False)
        np.testing.assert_allclose(engine(images()), net.trace().run(images()), rtol=2e-3, atol=2e-3)
        assert "takes new weights of head alone" in message_of(EngineError, engine.refit, state(1))


def test_threads_go_on(how):
    """In graphs and without; results are of the old weights or the new, and none is old after a new one."""
    built, again = how
    stop, errors, seen = threading.Event(), [], [[] for _ in range(4)]
    with loaded(0).compile(**OPTIONS, **built) as engine:
        results = [expected(seed, images()) for seed in range(6)]

        def call(place: int) -> None:
            try:
                run = engine.cuda_graph() if place % 2 else engine
                while not stop.is_set():
                    result = run(images())
                    seen[place].append(int(np.argmin([np.abs(result - other).max() for other in results])))
                    np.testing.assert_allclose(result, results[seen[place][-1]], rtol=2e-3, atol=2e-3)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=call, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        futures = [engine.refit(state(seed), background=True, **again) for seed in range(1, 6)]
        for future in futures:
            assert future.result(SECONDS)
        assert_has_weights(engine, 5)
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    for places in seen:
        assert places == sorted(places)
        assert places
    assert engine.refits == 5


def test_one_that_is_closed_while_it_is_built_again():
    engine = loaded(0).compile(**OPTIONS)
    engine(images())
    future = engine.refit(state(1), rebuild=True, background=True)
    engine.close()
    assert "was closed" in str(future.exception(SECONDS))
