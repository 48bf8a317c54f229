"""Engine: a plan with its description, to save, load, look at and call."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from trtnn.backend import INSTALL, Backend, get_backend
from trtnn.cuda import gpu_memory, gpu_name, gpus
from trtnn.engine import file as engine_file
from trtnn.engine.calls import Call
from trtnn.engine.inspector import EngineLayer, inspect_engine, inspect_layers, quantized_as
from trtnn.engine.memory import device_memory
from trtnn.engine.plan import deserialize, read_bindings
from trtnn.engine.preflight import NO_GPU, Place, Preflight, check_place, describe_gpus
from trtnn.engine.refits import Refits
from trtnn.engine.session import AttachedWorker, GraphWorker, Session
from trtnn.engine.timing import EngineTiming, make_recorder
from trtnn.errors import ArgumentError, BackendError, EngineError, UnsupportedError, harmless_text
from trtnn.files import atomic_write, check_writable
from trtnn.moved import warn_renamed
from trtnn.plugins import load_plugins
from trtnn.shapes.call import CallShapes, Shapes, check_arrays, check_numpy_has, name_arguments
from trtnn.shapes.profiles import Ranges, lengths_in
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import Length
from trtnn.structure import unflatten
from trtnn.table import cell, render_html

if TYPE_CHECKING:
    from concurrent.futures import Future

    from trtnn.viewer.facts import Facts

TIMING_WARM_UP = 5  # runs that are not measured: the clocks rise, and TensorRT finishes its set-up in the first


def check_gpu() -> None:
    """Check, before the work of building, that an engine built here can run here.

    Raises:
        EngineError: there is no GPU, or none that TensorRT builds for, or no way to its memory.
    """
    backend, here = get_backend(), gpus()[:1]
    cpu = "the network itself runs on the CPU: network.run(...), or trtnn detect --reference"
    if not here:
        raise EngineError("no GPU was found here, and an engine needs one to run", cpu)
    if backend.capabilities.targets and here[0] not in backend.targets:
        targets = f"it builds for {', '.join(backend.targets)}"
        raise EngineError(f"{backend} does not build for the GPU here, which is {here[0]}", targets, cpu)
    device_memory()


class Engine:
    """A built network.

    Args:
        plan: TensorRT's serialised engine, any buffer of bytes.
        description: what :func:`trtnn.build.describe.describe` says of it. Where it is not that, as of a bare plan or
            another tool's, TensorRT is asked what the engine takes and gives when that is needed first, on a GPU.

    Attributes:
        description: the JSON values of the file: versions, targets, precision, inputs, outputs and the model's own.
        retracer: what traces the model that it was built of with other weights, None where it was read from a file.
        caches: what it was built with of ``cache_dir``, ``timing_cache`` and ``lock`` of :class:`trtnn.BuildConfig`,
            for when :meth:`refit` builds it again; empty where it was read from a file.
        refits: how often :meth:`refit` changed it; who holds a worker or a graph of it takes a new one then.
    """

    def __init__(self, plan: Any, description: Mapping[str, Any]) -> None:
        self.plan = memoryview(plan)
        self.description = dict(description)
        self._shapes = engine_file.read_shapes(description) if engine_file.is_described(description) else None
        self._file: Path | None = None  # that it was read from
        self._session: Session | None = None
        self._closed = self._checked = False
        self._lock = threading.RLock()
        self.retracer: Any = None
        self.caches: dict[str, Any] = {}
        self.refits = 0
        self._refits = Refits()

    def _described(self) -> Shapes:
        """Return the inputs and the outputs, of which TensorRT is asked where the description is not ours."""
        if self._shapes is not None:
            return self._shapes
        with self._lock:
            if self._shapes is None:
                backend = self.check_runnable()
                engine_file.check_file(self.plan, self.description)
                device_memory()  # it makes a CUDA context current, which TensorRT needs
                _runtime, engine = deserialize(backend, self.plan)
                inputs, outputs = read_bindings(engine, backend.trt)
                names = sorted(outputs)
                structure = names[0] if len(names) == 1 else {"tuple": names}
                here = gpus()[:1]  # it would not have loaded on another, or in another version
                self.description |= engine_file.describe_plan(backend, here, inputs, outputs, structure, self.plan)
                self._shapes = engine_file.read_shapes(self.description)
            return self._shapes

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """The inputs by name.

        Raises:
            EngineError: only TensorRT can tell them, and it or the GPU is not here.
        """
        return self._described().inputs

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """The outputs by name; raises as :attr:`inputs` does."""
        return self._described().outputs

    @property
    def profiles(self) -> tuple[Ranges, ...]:
        """What the dimensions of dynamic inputs may be, by name; none where every shape is static."""
        return self._described().profiles

    @property
    def path(self) -> Path | None:
        """The file that it was read from, None for one that was built here."""
        return self._file

    @property
    def targets(self) -> tuple[str, ...]:
        """The GPUs it is for, by compute capability; empty where nothing tells."""
        return tuple(self.description.get("targets", ()))

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise UnsupportedError(
            "an Engine holds a GPU's memory, which cannot be copied or pickled",
            "each process loads its own: engine.save(path) and trtnn.Engine.load(path)",
        )

    def __repr__(self) -> str:
        d, size = self.description, f"{self.plan.nbytes / 1e6:.1f} MB"
        if self._shapes is None:
            return f"Engine({harmless_text(str(d.get('description', 'a bare plan')))}, {size}: not loaded yet)"
        precision = [d["precision"]] if "precision" in d else []
        built = f"{d['backend']} {d['tensorrt']} for {', '.join(self.targets)}"
        return (
            f"Engine({', '.join(harmless_text(str(v)) for v in (d.get('model', 'network'), *precision, built, size))}: "
            f"{', '.join(f'{n} {s}' for n, s in self.inputs.items())} -> "
            f"{', '.join(f'{n} {s}' for n, s in self.outputs.items())})"
        )

    def _repr_html_(self) -> str:
        d, shapes = self.description, self._shapes
        rows = [(key.replace("_", " "), cell(d[key])) for key in engine_file.SHOWN if d.get(key)]
        if shapes is None:
            rows.append(("inputs and outputs", "not known until it is loaded"))
        else:
            rows += [(f"input {name}", str(spec)) for name, spec in shapes.inputs.items()]
            rows += [(f"output {name}", str(spec)) for name, spec in shapes.outputs.items()]
            for index, profile in enumerate(shapes.profiles):
                ranges = (f"{dim.describe()}, fastest at {dim.opt}" for dim in profile.values())
                rows.append((f"profile {index}", "; ".join(ranges)))
        return render_html("Engine", ("", ""), [*rows, ("plan", f"{self.plan.nbytes / 1e6:.1f} MB")], left=2)

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the engine to a file, whole or not at all, and return its path.

        Raises:
            ArgumentError: the path cannot be written, or the description has what no file can hold.
            FileError: the system refused, as when the disk is full.
            EngineError: only TensorRT can tell what the engine is, and it or the GPU is not here.
        """
        self._described()
        engine_file.check_file(self.plan, self.description)
        engine_file.write(path, self.description, self.plan)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Engine:
        """Read an engine file of trtnn's or Ultralytics', or a bare plan. This works on any machine.

        Raises:
            EngineError: there is no such file, it is of no such kind, or it is damaged.
        """
        description, plan = engine_file.read(path)
        engine = cls(plan, description)
        engine._file = Path(path)
        return engine

    def check_plan(self) -> None:
        """Check, once, that the plan is what was written; without trtnn's description there is nothing to check it by.

        Raises:
            EngineError: it is not, or its file was written to after it was read.
        """
        engine_file.check_file(self.plan, self.description)
        if self._shapes is not None and not self._checked:
            engine_file.check_plan(self.plan, self.description, self._file)
        self._checked = True

    # -- running ------------------------------------------------------------------------------------------------------

    def check_runnable(self) -> Backend:
        """Return the TensorRT that can run this engine here.

        Raises:
            EngineError: what the engine needs is not what is here; both are said.
        """
        d = self.description
        is_described = self._shapes is not None
        if is_described:
            needs = f"it needs {d['backend']} {d['tensorrt']} and a GPU {describe_gpus(d)}"
            install = f"install it: {INSTALL[d['backend']]}=={d['tensorrt']}"
        else:
            needs = "a plan without trtnn's description tells nothing until the TensorRT and the GPU it is for are here"
        try:
            backend = get_backend()
        except BackendError as error:
            raise EngineError(
                "this engine cannot run here: no TensorRT", needs, install if is_described else error.summary
            ) from error
        here = Place("here", (*gpus(), "")[0], backend.name, backend.version)
        found = check_place(d, 0, here) if is_described else _check_bare(here)
        if not found:
            raise EngineError(
                f"this engine, of {d.get('model', 'a network')}, cannot run here", needs, *found.problems, *found.build
            )
        return backend

    def can_run(self, there: str | None = None) -> Preflight:
        """Tell, without loading the plan, whether this engine will run here, or on another machine.

        >>> engine.can_run("sm86,driver=550,tensorrt=10.13")
        >>> if not (found := engine.can_run()):
        ...     print(found)

        Plans run in the very version of TensorRT that built them. What neither the description nor ``there`` tells is
        in ``unknown``, and does not count.

        Args:
            there: what is known of a machine: the GPU's compute capability, ``driver``, ``tensorrt`` or
                ``tensorrt_rtx`` with its version or the beginning of one, ``memory`` of the GPU, such as ``8GB``. None
                for this one.

        Returns:
            What is true where nothing speaks against it, with what does, what is not known, and what to build.

        Raises:
            ArgumentError: a part of ``there`` tells nothing of a machine.
        """
        place = self._here() if there is None else Place.parse(there)
        if self._shapes is None:
            return _check_bare(place)
        found = check_place(self.description, self.plan.nbytes, place)
        if found and there is None and self.description.get("plugins"):
            try:
                load_plugins(self.description["plugins"])
            except (BackendError, EngineError) as error:
                return Preflight((error.summary, *error.details), found.unknown, found.build)
            return Preflight((), tuple(line for line in found.unknown if "plugins" not in line), ())
        return found

    def _here(self) -> Place:
        gpu, memory = (*gpus(), "")[0], gpu_memory()
        free = None if memory is None else memory[0]
        try:
            backend = get_backend()
        except BackendError:
            return Place("here", gpu, "no TensorRT", "", memory_bytes=free)
        return Place("here", gpu, backend.name, backend.version, memory_bytes=free)

    def _check_gpu_name(self) -> None:
        """Warn where the GPU here is of the right capability and another model, which TensorRT runs engines on."""
        built, here = harmless_text(str(self.description.get("gpu") or "")), gpu_name()
        compatible = "hardware_compatible" in self.description
        if built and here and built != here and not compatible:
            warnings.warn(
                f"this engine was built on {built}, and this is {here}: TensorRT chose its kernels for the other; "
                "build it again if it is slow or fails",
                stacklevel=2,
            )

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the engine; threads may call it at once.

        NumPy arrays and CPU tensors are copied to the GPU, fastest from page-locked memory (see :meth:`pinned_inputs`),
        and the call returns when the result is there. CUDA tensors are read where they lie, contiguous and of the
        declared type; the work goes on torch's current stream, which the caller waits for, and the results are tensors
        on the GPU.

        Where shapes are dynamic, the first profile that holds those of the call is used. Each thread has an execution
        context for each stream and profile that it uses.

        Args:
            *args, **kwargs: the inputs, all of them arrays or all tensors, by position or name.
            out: arrays or tensors to write into: one where there is one output, else a dict by output name.

        Returns:
            What ``forward`` returned, in NumPy arrays, or in tensors on the inputs' device where the
            first was one.

        Raises:
            EngineError: it cannot run here, was closed, or the GPU reported an error.
            ArgumentError, ShapeError, DTypeError: an input or ``out`` is missing or does not fit.
        """
        return self._result(self.run_flat(*args, out=out, **kwargs))

    def run_flat(self, *args: Any, out: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Run the engine and return its outputs by name, and not as ``forward`` does; see :meth:`__call__`."""
        call = self._call(args, kwargs, out)
        session = self._open()  # held to the end of the call: a refit may put another in its place
        return call.run(session.worker(call.shapes.profile))

    def pinned_inputs(self, profile: int = 0) -> dict[str, np.ndarray]:
        """Return uninitialised arrays in page-locked memory for the inputs, by name, as large as a profile takes.

        They travel to the GPU faster than arrays of elsewhere, which the driver copies on the host before.
        Results lie in such memory as well: as ``out`` or as another engine's input they travel so too.

        >>> inputs = engine.pinned_inputs()
        >>> inputs["images"][:] = images
        >>> detections = engine(**inputs)

        Args:
            profile: the index of the optimisation profile, where shapes are dynamic.

        Raises:
            ArgumentError: there is no such profile.
            DTypeError: NumPy has no type for an input.
            EngineError: the engine cannot run here, was closed, or the host has no more memory to lock.
        """
        shapes, session = self._described(), self._open()
        profiles = shapes.profiles or ({},)
        if profile not in range(len(profiles)):
            raise ArgumentError(f"there is no profile {profile}", f"profiles 0 to {len(profiles) - 1} are there")
        check_numpy_has(shapes.inputs, "give inputs as torch tensors on the GPU")
        largest = {name: lengths_in(profiles[profile], spec.shape, "max") for name, spec in shapes.inputs.items()}
        return {name: session.pinned(shapes.inputs[name].with_shape(shape)) for name, shape in largest.items()}

    def bare(self, *args: Any, **kwargs: Any) -> Callable[[], None]:
        """Return TensorRT's execution alone, on buffers of the engine's own and torch's current stream, for timing.

        Args:
            *args, **kwargs: inputs as for a call; only their shapes count.
        """
        shapes = self._shapes_of(args, kwargs)
        return self._open().worker(shapes.profile).bare(shapes)

    def attach(self, shape: Sequence[int], stream: int) -> tuple[CallShapes, AttachedWorker]:
        """Return a worker for the lone input at a shape, whose work stands between other work on a stream.

        Args:
            shape: of the input.
            stream: the handle of the stream.

        Raises:
            ShapeError: no profile holds the shape.
            EngineError: the engine cannot run here, or was closed.
        """
        (spec,) = self.inputs.values()
        shapes = self._shapes_of((np.broadcast_to(np.zeros((), spec.dtype.numpy), tuple(shape)),), {})
        return shapes, self._open().attach(shapes, stream)

    def _shapes_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> CallShapes:
        shapes = self._described()
        return check_arrays(shapes, name_arguments(shapes.names, args, kwargs))

    def cuda_graph(self) -> GraphedEngine:
        """Return a callable that runs this engine as one CUDA graph: the kernels are launched all at once.

        This pays where launching takes longer than computing, mostly at small batches. The work is captured at the
        first call, and where shapes are dynamic at the first call of each.
        """
        return GraphedEngine(self)

    def layers(self) -> list[EngineLayer]:
        """Return the layers that TensorRT made of the network, in the order in which they run.

        Raises:
            EngineError: the engine cannot be loaded here.
        """
        session = self._open()
        return inspect_layers(session.engine, session.backend.trt)

    def save_layer_info(self, path: str | os.PathLike[str]) -> Path:
        """Write what TensorRT's inspector says of the layers, as ``trtexec --exportLayerInfo`` does, for other tools.

        It is JSON, ``{"Layers": [...], "Bindings": [...]}``; control characters in it are written as JSON has them.

        Returns:
            The file's path.

        Raises:
            ArgumentError: the path cannot be written.
            EngineError: the engine cannot be loaded here.
        """
        check_writable(path)
        session = self._open()
        with atomic_write(path) as file:
            file.write(json.dumps(inspect_engine(session.engine, session.backend.trt), indent=2).encode() + b"\n")
        return Path(path)

    def facts(
        self,
        timing: EngineTiming | None = None,
        network: Any = None,
        reports: Sequence[Any] = (),
        layer_info: str | os.PathLike[str] | None = None,
    ) -> Facts:
        """Return what a page shows of the engine, see :meth:`view`, as plain values; ``to_json()`` gives all of it."""
        from trtnn.engine.viewing import engine_facts, read_layer_info
        from trtnn.viewer.errors import with_errors
        from trtnn.viewer.page import facts_of
        from trtnn.viewer.roofline import gpu_roofline

        shapes, layers, notes = self._shapes, None, []
        try:
            if layer_info is not None:
                layers = read_layer_info(layer_info)
            else:
                session = self._open()
                shapes, layers = self._described(), inspect_engine(session.engine, session.backend.trt)["Layers"]
        except EngineError as error:
            if layer_info is not None or self._closed:
                raise
            shown = "Layers" if timing is None else "More of layers than their times"
            notes = [f"{shown} cannot be shown here: " + ": ".join([error.summary, "; ".join(error.details)])]
        described = [*facts_of(network), None][0]
        facts = engine_facts(self.description, shapes, self.plan.nbytes, layers, timing, described, notes)
        here = gpus()[:1]
        return with_errors(facts, reports, gpu_roofline() if here and here[0] in self.targets else None)

    def view(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        timing: EngineTiming | None = None,
        network: Any = None,
        reports: Sequence[Any] = (),
        layer_info: str | os.PathLike[str] | None = None,
        against: Any = None,
        open: bool = False,
    ) -> Path:
        """Write a page that shows the engine: a map, a graph and a table of its layers, with their times.

        >>> engine.view("yolov5s.html", timing=engine.timing(images), network=model.trace(fp16=True))

        It is one file of HTML that needs nothing else. Where the engine cannot be loaded here, the page shows what its
        file says, and why there is no more. See :meth:`trtnn.Network.view` for that of a network.

        Args:
            path: of the page; where None it goes to a temporary folder, and a browser is opened.
            timing: what :meth:`timing` returned, or :meth:`EngineTiming.load` read.
            network: the Network that it was built from, which tells FLOPs, weights and the user's lines; or its facts.
            reports: of errors by module: an Fp16Report, a Comparison.
            layer_info: a file of :meth:`save_layer_info` or ``trtexec --exportLayerInfo``, for an engine that cannot be
                loaded here.
            against: another Engine or Network, or the ``facts`` of one, to show beside this one.
            open: open the page in a browser.

        Returns:
            The page's path.

        Raises:
            ArgumentError: the path cannot be written, the network is another one, or there is no browser to open.
            BackendError: what the page is made of is not installed: ``pip install "trtnn[view]"``.
            EngineError: the times are of another engine, or ``layer_info`` cannot be read.
        """
        from trtnn.viewer.page import facts_of, write_page

        return write_page(path, lambda: [self.facts(timing, network, reports, layer_info), *facts_of(against)], open)

    def quantized_as(self) -> dict[str, str]:
        """Return what TensorRT made of each quantised module that multiplies, by path: the type that its kernel reads.

        It is ``"int8"`` or ``"float8_e4m3fn"``, another type where TensorRT built it otherwise, and empty where the
        engine does not tell.

        >>> {path: dtype for path, dtype in engine.quantized_as().items() if dtype not in ("int8", "float8_e4m3fn")}

        Raises:
            EngineError: the engine cannot be loaded here.
        """
        return quantized_as(self.layers(), self.description.get("quantized", {}))

    def profile(self, *args: Any, **kwargs: Any) -> EngineTiming:
        """Call :meth:`timing` under the name that it had before."""
        warn_renamed("trtnn.Engine.profile", "trtnn.Engine.timing")
        return self.timing(*args, **kwargs)

    def timing(self, *args: Any, runs: int = 20, **kwargs: Any) -> EngineTiming:
        """Measure the time of each layer.

        >>> timing = engine.timing(images)
        >>> print(timing)
        >>> timing.by_module(depth=2)

        It runs in a context of its own, so that other calls are not slowed.

        Args:
            *args, **kwargs: the inputs, as for a call.
            runs: how many to measure, after a few that are not.

        Raises:
            ArgumentError: ``runs`` is not positive, or an input is missing or does not fit.
            EngineError: it cannot run here, or runs on several streams, where TensorRT 8.6 tells no times:
                build it with ``max_aux_streams=0``.
        """
        if not isinstance(runs, int) or runs < 1:
            raise ArgumentError(f"runs is a positive number, not {runs!r}")
        session = self._open()
        recorder = make_recorder(session.backend.trt)
        worker = session.add_recorded(recorder, self._shapes_of(args, kwargs).profile)
        try:
            times = []
            for _ in range(TIMING_WARM_UP + runs):
                self._call(args, kwargs).run(worker)
                times.append(recorder.take())
        finally:
            worker.close()
        if session.aux_streams and not any(times):
            raise EngineError(
                f"TensorRT told no layer's time: the engine runs on {1 + session.aux_streams} streams",
                "build it with max_aux_streams=0, trtnn build --aux-streams 0, to time it",
            )
        return EngineTiming.of_runs(times[TIMING_WARM_UP:], self.layers())

    # -- new weights --------------------------------------------------------------------------------------------------

    @overload
    def refit(
        self,
        weights: Any,
        *,
        rebuild: bool = False,
        background: Literal[False] = False,
        progress: bool | None = None,
    ) -> list[str]: ...

    @overload
    def refit(
        self, weights: Any, *, rebuild: bool = False, background: Literal[True], progress: bool | None = None
    ) -> Future[list[str]]: ...

    def refit(
        self, weights: Any, *, rebuild: bool = False, background: bool = False, progress: bool | None = None
    ) -> list[str] | Future[list[str]]:
        """Give the engine new weights: all of them, or on any error none.

        >>> engine = model.compile(refittable=True)
        >>> engine.refit(trtnn.load("newer.pt"))
        >>> engine.refit({"model.24.m.0.bias": bias})

        The model is traced again with the weights, and TensorRT is given the arrays of the network that changed, such
        as a convolution's into which a BatchNorm is folded. An engine that was not built refittable is built again,
        with its own options and from the timing cache, and takes the new plan when that is done:

        >>> engine = model.compile()
        >>> future = engine.refit(trtnn.load("newer.pt"), rebuild=True, background=True)
        >>> future.result()

        Other threads may call the engine meanwhile: calls that have begun end on the old weights, and later ones have
        the new. While it works the GPU holds the engine twice. CUDA graphs of :meth:`cuda_graph` and of Detectors are
        captured again at their next call; graphs that were captured otherwise keep the old weights. ``save`` writes the
        new ones. Of several refits each begins when the one before has ended, in the order of the calls.

        Args:
            weights: a state dict by the model's own names, of which what is not there stays; or a model that has one.
                An engine that was not built refittable does not keep the weights, so that all Parameters have to be
                there. One that was read from a file takes the model, a trtnn Module with all of its weights.
            rebuild: build it again, which any engine can be.
            background: do it in a thread, and return a Future at once; what it raises, the Future does. The weights are
                copied before, so that they may change. The thread is waited for when the interpreter ends.
            progress: of a build, show a bar; where None, if standard error is a terminal, and in the background not.

        Returns:
            The arrays of the network that changed, by layer and role: ``"model.0.conv KERNEL"``. Where it was built
            again, all that the network has.

        Raises:
            EngineError: it was not built refittable and ``rebuild`` is False, cannot run here, was closed, or TensorRT
                does not exchange an array; or the calling thread captures a CUDA graph; or with the weights the network
                is another.
            BuildError: TensorRT could not build it again.
            StateDictError: a name or a shape is not the model's; all are listed.
            DTypeError: a weight does not fit in fp16.
            ArgumentError: it is no state dict and no model.
        """
        return self._refits.refit(self, weights, rebuild=rebuild, background=background, progress=progress)

    def _take(self, session: Session | None, plan: memoryview, said: Mapping[str, Any]) -> Session | None:
        """Put a plan in the place of the engine's, which a refit does; the lock is held, and the engine not closed.

        Args:
            session: of the plan, None where the engine has none open.
            plan: with new weights.
            said: what a description says of it.

        Returns:
            The session that was there.
        """
        before, self._session = self._session, session
        self.plan, self._file = plan, None
        self.description.pop("lock", None)
        new = ("plan_bytes", "plan_digest", "refittable", "gpu", "lock")
        self.description |= {key: said[key] for key in new if key in said}
        self.refits += 1
        return before

    def close(self) -> None:
        """Free what the engine holds on the GPU, in every thread; it cannot be called after that."""
        with self._lock:
            sessions, self._closed = (self._session, self._refits.forget()), True
            self._session = None
        for session in filter(None, sessions):
            session.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_is_open(self) -> None:
        if self._closed:
            raise EngineError("this engine was closed", "load it again")

    def _open(self) -> Session:
        session = self._session
        if session is None:
            with self._lock:
                self._check_is_open()
                session = self._session
                if session is None:
                    backend, shapes = self.check_runnable(), self._described()
                    self._check_gpu_name()
                    self.check_plan()
                    load_plugins(self.description.get("plugins", ()))
                    session = self._session = Session(backend, self.plan, shapes)
        return session

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any = None) -> Call:
        """Return a checked call; what does not fit is told before anything is done on the GPU."""
        return Call(self._described(), args, kwargs, out)

    def _result(self, outputs: dict[str, Any]) -> Any:
        """Return the outputs of a call as ``forward`` returned them."""
        return unflatten(self.description["structure"], outputs)


def _check_bare(place: Place) -> Preflight:
    """Tell whether a plan that nothing describes will run."""
    what = "what a plan without trtnn's description needs: TensorRT tells where it can load it"
    return Preflight((NO_GPU,) if place.gpu == "" else (), (what,), ())


class GraphedEngine:
    """An engine captured in CUDA graphs, made by :meth:`Engine.cuda_graph`. It is called as the engine is.

    There is one graph for each set of input shapes that it is called with, and each has an execution context and
    buffers of its own: inputs are copied in and results out, on the GPU. One thread at a time may call it.

    Attributes:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._workers: dict[tuple[tuple[Length, ...], ...], GraphWorker] = {}
        self._refits = engine.refits

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the graph; see :meth:`Engine.__call__`."""
        call = self.engine._call(args, kwargs, out)
        return self.engine._result(call.run(self._worker(call.shapes)))

    def bare(self, *args: Any, **kwargs: Any) -> Callable[[], None]:
        """Return the launch of the graph alone; see :meth:`Engine.bare`."""
        shapes = self.engine._shapes_of(args, kwargs)
        return self._worker(shapes).bare(shapes)

    def _worker(self, shapes: CallShapes) -> GraphWorker:
        refits = self.engine.refits  # before the session, so that a refit between the two is seen the next time
        session = self.engine._open()  # it says so where the engine was closed, which freed the workers as well
        if refits != self._refits:
            self._workers.clear()
            self._refits = refits
        key = tuple(spec.shape for spec in shapes.inputs.values())
        if key not in self._workers:
            self._workers[key] = session.capture(shapes)
        return self._workers[key]
