"""Refits: new weights in a running engine, each by a second session that takes the place of the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from trtnn.backend import get_backend
from trtnn.cuda import is_capturing, wait_for_all
from trtnn.digest import digest
from trtnn.engine.memory import device_memory
from trtnn.engine.refitting import (
    Key,
    Refittable,
    build_options,
    check_may_change,
    check_same_anchors,
    check_takes_its_place,
    digests_of,
    exchange,
    find_changed,
    inputs_of,
    own_copy,
    shown,
    written,
)
from trtnn.engine.session import Session
from trtnn.errors import ArgumentError, EngineError, check_switches
from trtnn.signals import held_signals

if TYPE_CHECKING:
    from concurrent.futures import Future

    from trtnn.engine.engine import Engine


class Refits:
    """The refits of one engine, one after another, and what has to outlive each.

    It is given the engine by each call and holds it not: an engine goes, with its memory, when nobody holds it.
    """

    def __init__(self) -> None:
        self._turns = Turns()
        self._retired: Session | None = None  # of before the last refit, for calls that it interrupted
        self._before: tuple[memoryview, Any] | None = None  # the plan before the last refit, and what it says of it

    def refit(
        self, engine: Engine, weights: Any, *, rebuild: bool, background: bool, progress: bool | None
    ) -> list[str] | Future[list[str]]:
        """Give an engine new weights, see :meth:`trtnn.engine.engine.Engine.refit`."""
        check_switches(rebuild=rebuild, background=background)
        check_switches(or_none=True, progress=progress)
        if not rebuild and "refittable" not in engine.description:
            raise EngineError(
                "this engine was not built to take new weights",
                "build it so: model.compile(..., refittable=True)",
                "or have it built again with them, while it runs: engine.refit(weights, rebuild=True)",
            )
        if not background:
            with self._turns.of(self._turns.take()):
                return self._refit(engine, weights, rebuild, progress)
        return self._turns.in_background(partial(self._refit, engine, own_copy(weights), rebuild, bool(progress)))

    def forget(self) -> Session | None:
        """Return the session that calls may still run on, to be closed with the engine; the engine's lock is held."""
        session, self._retired = self._retired, None
        return session

    def _refit(self, engine: Engine, weights: Any, rebuild: bool, progress: bool | None) -> list[str]:
        engine._check_is_open()
        options = build_options(engine.description, get_backend()) if rebuild else {}
        with _traced(engine, weights) as network:
            network.graph.free_arrays_with_it()
            check_same_anchors(engine.description, network.metadata)
            if rebuild:
                names = list(map(shown, network.refittable_arrays()))
                self._rebuild(engine, network, {**options, **engine.caches, "progress": progress})
                return names
            fresh = network.refittable()
            changed = find_changed(engine.description["refittable"], fresh)
            check_may_change(engine.description["refittable"], changed)
            if changed:
                self._exchange(engine, changed, fresh)
            return list(map(shown, changed))

    def _rebuild(self, engine: Engine, network: Any, options: Mapping[str, Any]) -> None:
        """Build the engine again of a network, with options of BuildConfig, and put that in its place."""
        if engine._session is not None:
            _check_captures_nothing()
        built = network.build(**options)
        check_takes_its_place(engine.description, built.description)
        with engine._lock:  # nobody may open the old plan meanwhile; who has it open goes on
            session = None
            if engine._session is not None:
                session = Session(engine.check_runnable(), built.plan, engine._described())
                _warm_up(engine, session)
            self._replace(engine, session, built.plan, built.description)

    def _exchange(self, engine: Engine, changed: list[Key], fresh: Refittable) -> None:
        """Give the Refitter a second session of the plan, and put that in the place of the first."""
        backend, shapes = engine.check_runnable(), engine._described()
        engine._open()  # it says so where the engine was closed, and checks the plan
        _check_captures_nothing()
        own = engine.plan, engine.description["refittable"]
        session = Session(backend, engine.plan, shapes)
        if self._before is not None and not session.engine.refittable:  # TensorRT wrote it so that it takes no more
            own = self._before
            session, changed = Session(backend, own[0], shapes), find_changed(own[1], fresh)
        exchange(backend, session.engine, changed, fresh.arrays, own[1].get("names"))
        _warm_up(engine, session)
        with held_signals():
            plan = written(backend, session.engine)
        if plan is None:
            raise EngineError("TensorRT could not write the engine with its new weights", *backend.logger.take())
        plan = memoryview(bytes(plan))
        refittable = {**engine.description["refittable"], "arrays": digests_of(fresh.arrays)}
        said: dict[str, Any] = {"plan_bytes": plan.nbytes, "plan_digest": digest(plan), "refittable": refittable}
        if isinstance(lock := engine.description.get("lock"), dict):  # the tactics are as they were, and not the plan
            said["lock"] = {key: value for key, value in lock.items() if key in ("digest", "tactics")}
        with engine._lock:
            self._replace(engine, session, plan, said, None if backend.capabilities.include_refit else own)

    def _replace(
        self,
        engine: Engine,
        session: Session | None,
        plan: memoryview,
        said: Mapping[str, Any],
        before: tuple[memoryview, Any] | None = None,
    ) -> None:
        """Put a plan in the place of an engine's, with its session where the engine's is open; the lock is held.

        Args:
            session: of the plan.
            plan: with new weights.
            said: what a description says of it.
            before: the plan that the next refit begins with, and what it says of that; None where it is this one.
        """
        if engine._closed and session is not None:
            session.close()
        engine._check_is_open()
        if session is not None:
            wait_for_all()  # who still holds the session of the refit before may have work there
        self._retired, self._before = engine._take(session, plan, said), before


@contextmanager
def _traced(engine: Engine, weights: Any) -> Iterator[Any]:
    """Yield the network of an engine with other weights."""
    if engine.retracer is not None:
        with engine.retracer.traced(weights) as network:
            yield network
        return
    if not callable(getattr(weights, "trace", None)):
        raise ArgumentError(
            "an engine that was read from a file, or built of a Network, does not know its model",
            "give the model: model.load_state_dict(weights); engine.refit(model, ...)",
        )
    shapes, d = engine._described(), engine.description
    inputs = {name: inputs_of(spec, shapes.profiles) for name, spec in shapes.inputs.items()}
    yield weights.trace(
        inputs,
        fp16=d.get("precision") == "float16",
        fp32_modules=d.get("fp32_modules", ()),
        fp16_attention=d.get("fp16_attention", False),
        outputs=d.get("inner_outputs", ()),
    )


def _check_captures_nothing() -> None:
    if is_capturing(device_memory().current_handle()):
        raise EngineError(
            "an engine takes no new weights while this thread captures a CUDA graph", "refit it before, or after"
        )


def _warm_up(engine: Engine, session: Session) -> None:
    """Run a session that is to take the place of another: it has to run, and calls need not wait for kernels."""
    for shapes in engine._described().at_opt():
        session.warm_up(shapes)


class Turns:
    """Pieces of work in several threads, one after another in the order in which their turns were taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: list[object] = []

    def take(self) -> object:
        """Return a ticket for :meth:`of`, behind all that were taken before."""
        ticket = object()
        with self._changed:
            self._tickets.append(ticket)
        return ticket

    @contextmanager
    def of(self, ticket: object) -> Iterator[None]:
        """Wait for the turn of a ticket, and have it for the block."""
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._tickets[0] is ticket)
            yield
        finally:
            self._leave(ticket)

    def _leave(self, ticket: object) -> None:
        with self._changed:
            self._tickets.remove(ticket)
            self._changed.notify_all()

    def in_background(self, work: Callable[[], Any]) -> Future[Any]:
        """Do work in a thread of its own when its turn has come; until then the Future can be cancelled."""
        from concurrent.futures import Future  # not for who only imports trtnn: 10 ms

        future, ticket = Future(), self.take()

        def run() -> None:
            try:
                with self.of(ticket):
                    if not future.set_running_or_notify_cancel():
                        return
                    result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)  # the turn is over: who waits for it may refit again

        try:
            threading.Thread(target=run, name="trtnn refit").start()
        except BaseException:
            self._leave(ticket)
            raise
        return future
