"""A model that a Triton Inference Server runs, as something that can be called like a network here."""

from __future__ import annotations

import ast
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from trtnn.dtypes import as_dtype
from trtnn.engine.file import MAX_DESCRIPTION_BYTES
from trtnn.engine.metadata import told
from trtnn.errors import ArgumentError, BackendError, EngineError, TrtnnError
from trtnn.shapes.profiles import Ranges
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import Dim, Length
from trtnn.triton.config import METADATA, TYPES

PORTS = {"http": 8000, "https": 443, "grpc": 8001, "grpcs": 443}
#: Seconds before each further try where the server says that it is busy.
WAITS_S = (0.5, 1.0, 2.0)
_DTYPES = {triton.removeprefix("TYPE_"): name for name, triton in TYPES.items() if as_dtype(name).numpy is not None}
_BUSY = ("503", "429", "StatusCode.UNAVAILABLE", "StatusCode.RESOURCE_EXHAUSTED")


class Address(NamedTuple):
    """Where a model is served.

    Attributes:
        scheme: http, https, grpc or grpcs.
        host: with the port.
        model: the name.
        version: empty for the server's choice.
    """

    scheme: str
    host: str
    model: str
    version: str

    def __str__(self) -> str:
        version = f"/{self.version}" if self.version else ""
        return f"{self.scheme}://{self.host}/{self.model}{version}"


class TritonModel:
    """A model of a Triton Inference Server, by HTTP or gRPC.

    >>> detector = trtnn.Detector(TritonModel("http://localhost:8000/yolov5s"))

    Images are prepared and boxes picked here, and the network runs there; what the model says of itself it has from
    trtnn's or Ultralytics' exporter. Needs ``pip install "trtnn[triton]"``.

    Args:
        url: ``http://host:8000/model``, ``https``, ``grpc://host:8001/model`` or ``grpcs``, with ``/version`` behind
            where it is not the server's choice.
        timeout_s: seconds to wait for each answer, whole, and for a connection before it.

    Attributes:
        inputs, outputs: their shapes and types by name; the first dimension is the batch.
        profiles: how large a batch may be.
        metadata: what the model says of itself.

    Raises:
        ArgumentError: the address is none.
        BackendError: tritonclient is not installed.
        EngineError: nobody answers there, or something else than a server of KServe's protocol, or there is no such
            model, or none that takes batches of images.
    """

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        self.address = address = read_address(url)
        self._timeout_s = timeout_s
        self._module = _client_module(address.scheme)
        self._clients = threading.local()  # a client of its own for each thread: those of HTTP are for one
        config, metadata = self._ask(self._config), self._ask(self._metadata)
        with self._understood():
            self.metadata = _said(config)
            most = int(config.get("max_batch_size", 0))
            batch: Length = Dim("batch", 1, most, most) if most > 1 else 1
            sizes = self._sizes()
            self.inputs = self._specs(metadata["inputs"], most, batch, sizes)
            self.outputs = self._specs(metadata["outputs"], most, batch, {})
        self.profiles: tuple[Ranges, ...] = ({"batch": batch},) if isinstance(batch, Dim) else ()

    def __repr__(self) -> str:
        return f"TritonModel({str(self.address)!r})"

    def run_flat(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """Run the model on arrays, by position or name, and return its outputs by name.

        Raises:
            ArgumentError: an input is missing, or there is none of that name.
            EngineError: the server failed, did not answer in time, or answered with another shape.
        """
        arrays = {**dict(zip(self.inputs, args, strict=False)), **kwargs}
        if arrays.keys() != self.inputs.keys() or len(args) > len(self.inputs):
            raise ArgumentError(f"{self.address.model} takes {', '.join(self.inputs)}", f"received {', '.join(arrays)}")
        given = []
        for name, spec in self.inputs.items():
            array = np.ascontiguousarray(arrays[name], spec.dtype.numpy)
            tensor = self._module.InferInput(name, list(array.shape), TYPES[spec.dtype.name].removeprefix("TYPE_"))
            tensor.set_data_from_numpy(array)
            given.append(tensor)
        wanted = [self._module.InferRequestedOutput(name) for name in self.outputs]
        result = self._ask(lambda client, more: client.infer(
            self.address.model, given, self.address.version, outputs=wanted, **more
        ))  # fmt: skip
        count = len(next(iter(arrays.values())))
        return {name: self._checked(name, result, count) for name in self.outputs}

    # -- the server ---------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Any, dict[str, Any]], Any]) -> Any:
        """Return what the server answers; where it says that it is busy, ask again a few times."""
        for wait in (*WAITS_S, None):
            try:
                with self._within_time():
                    return question(self._client(), self._limits())
            except Exception as error:
                status = _status(error)
                if wait is None or status not in _BUSY or _unreached(error):
                    raise self._failed(error, status) from error
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _client(self) -> Any:
        """Return this thread's client."""
        client = getattr(self._clients, "client", None)
        if client is None:
            secure = {"ssl": True} if self.address.scheme in ("https", "grpcs") else {}
            if self._is_http:
                secure |= {"connection_timeout": self._timeout_s, "network_timeout": self._timeout_s}
            client = self._clients.client = self._module.InferenceServerClient(self.address.host, **secure)
        return client

    @contextlib.contextmanager
    def _within_time(self) -> Iterator[None]:
        """Raise a TimeoutError once an answer by HTTP takes too long: its client's limit is for each piece of it."""
        if not self._is_http:
            yield
            return
        import gevent

        with gevent.Timeout(self._timeout_s, TimeoutError("timed out")):
            yield

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Tell of an answer that is not as the protocol has it."""
        try:
            yield
        except TrtnnError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._stranger(f"it does not describe a model: {type(error).__name__}: {error}") from error

    def _stranger(self, words: str) -> EngineError:
        return EngineError(
            f"what answers at {self.address.host} is no server of KServe's protocol, or broke off", words, self._start
        )

    @property
    def _start(self) -> str:
        return f"start it: tritonserver --model-repository=REPOSITORY, with {self.address.model} in it"

    @property
    def _is_http(self) -> bool:
        return self.address.scheme.startswith("http")

    def _limits(self) -> dict[str, Any]:
        """Return how long a call may take: HTTP's client was told when it was made."""
        return {} if self._is_http else {"client_timeout": self._timeout_s}

    def _config(self, client: Any, more: dict[str, Any]) -> dict[str, Any]:
        more = more if self._is_http else {**more, "as_json": True}
        config = client.get_model_config(self.address.model, self.address.version, **more)
        return config if self._is_http else config["config"]

    def _metadata(self, client: Any, more: dict[str, Any]) -> dict[str, Any]:
        more = more if self._is_http else {**more, "as_json": True}
        return client.get_model_metadata(self.address.model, self.address.version, **more)

    def _failed(self, error: Exception, status: str) -> EngineError:
        """Return the error for what went wrong, with the address and what to do."""
        words, where = str(error) or type(error).__name__, f"at {self.address.host}"
        late = (
            isinstance(error, TimeoutError) or "timed out" in words.lower() or status == "StatusCode.DEADLINE_EXCEEDED"
        )
        if late:
            return EngineError(f"no answer from the server {where} within {self._timeout_s:g} s", words, self._start)
        if _unreached(error):
            return EngineError(f"nobody answers {where}", words, self._start)
        if not status:
            return self._stranger(words)
        if status in ("404", "400", "StatusCode.NOT_FOUND") and "unknown model" in words.lower():
            return EngineError(f"the server {where} has no model {self.address.model!r}", words)
        if status in _BUSY:
            tries = f"tried {len(WAITS_S) + 1} times"
            return EngineError(f"the server {where} is busy, or {self.address.model} is not ready: {tries}", words)
        return EngineError(f"the server {where} could not run {self.address.model}", words)

    # -- shapes -------------------------------------------------------------------------------------------------------

    def _sizes(self) -> dict[int, int]:
        """Return height and width of images, by dimension, where the model says them and not its shape."""
        size = told(self.metadata, "imgsz")
        sides = [size, size] if isinstance(size, int) else size
        if isinstance(sides, Sequence) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
            return {2: sides[0], 3: sides[1]}
        return {}

    def _specs(
        self, tensors: Sequence[Mapping[str, Any]], most: int, batch: Length, sizes: Mapping[int, int]
    ) -> dict[str, TensorSpec]:
        specs = {}
        for tensor in tensors:
            name, datatype = tensor["name"], tensor["datatype"]
            if datatype not in _DTYPES:
                raise EngineError(
                    f"{self.address.model} is no network of numbers that NumPy has: {name!r} is of {datatype}",
                    "give the model that holds the plan: a detector of its own answers other clients",
                )
            lengths = [int(length) for length in tensor["shape"]]
            shape: list[Length] = []
            for place, length in enumerate(lengths):
                if place == 0 and (most > 0 or length == -1):
                    shape.append(batch)
                elif length >= 1:
                    shape.append(length)
                else:
                    shape.append(sizes.get(place) or Dim(f"{name}_{place}", 1, 1, 1 << 20))
            specs[name] = TensorSpec(tuple(shape), as_dtype(_DTYPES[datatype]))
        return specs

    def _checked(self, name: str, result: Any, count: int) -> np.ndarray:
        """Return an output of an answer, once it has the shape that the model says."""
        try:
            array: np.ndarray | None = result.as_numpy(name)
        except ValueError as error:  # of fewer or more numbers than its shape has
            raise EngineError(
                f"the server sent {name!r} of {self.address.model} with another shape than it has numbers", str(error)
            ) from error
        expected = self.outputs[name]
        if array is None:
            raise EngineError(f"the server did not send {name!r} of {self.address.model}")
        lengths = [count if place == 0 else length for place, length in enumerate(expected.shape)]
        fits = array.ndim == len(lengths) and all(
            isinstance(length, Dim) or length == here for length, here in zip(lengths, array.shape, strict=True)
        )
        if not fits or array.dtype != expected.dtype.numpy:
            raise EngineError(
                f"the server sent another {name!r} than {self.address.model} says",
                f"expected {expected}, for {count} images",
                f"received {array.dtype}{list(array.shape)}",
            )
        return array


def read_address(url: str) -> Address:
    """Return the parts of an address.

    Raises:
        ArgumentError: it is none of a model.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # of a port that is none
        parts, port = urlsplit(""), None
    path = re.fullmatch(r"/([^/]+)(?:/([0-9]+))?/?", parts.path)
    if parts.scheme not in PORTS or not parts.hostname or path is None or parts.query or parts.fragment:
        raise ArgumentError(
            f"{url!r} is no address of a Triton model",
            "such as http://localhost:8000/yolov5s, or grpc://localhost:8001/yolov5s",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(parts.scheme, f"{host}:{port or PORTS[parts.scheme]}", path[1], path[2] or "")


def _client_module(scheme: str) -> Any:
    try:
        if scheme.startswith("http"):
            import tritonclient.http as module
        else:
            import tritonclient.grpc as module
    except ImportError as error:
        raise BackendError(
            "tritonclient is not installed, which talks to Triton", 'pip install "trtnn[triton]"'
        ) from error
    return module


def _said(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model's config holds under the parameter ``metadata``: a dict in Python's notation."""
    parameter = config.get("parameters", {}).get(METADATA, {})
    text = parameter.get("string_value", "") if isinstance(parameter, Mapping) else ""
    if not isinstance(text, str) or len(text) > MAX_DESCRIPTION_BYTES:
        return {}
    try:
        said = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return {str(key): value for key, value in said.items()} if isinstance(said, Mapping) else {}


def _status(error: Exception) -> str:
    status = getattr(error, "status", None)
    return str(status() if callable(status) else status or "")


def _unreached(error: Exception) -> bool:
    """Whether there was no server to answer: gRPC says the same of a busy one and of none."""
    if isinstance(error, OSError) and not isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return True
    return any(sign in str(error).lower() for sign in ("failed to connect", "connection refused", "errors resolving"))
