"""Made-up checkpoints of every format: mostly sound in form, and odd in what they say.

A generator takes a :class:`random.Random` and returns the bytes of the file under ``""``, and of files beside it under
their names. The same seed gives the same bytes. Mutations of sound files are in :mod:`tests.fuzz.mutations`; these
come to places where no sound file would ever lead.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

Files = dict[str, bytes]

INTEGERS = [0, 1, 2, 3, 8, 255, 256, 65536, 2**31 - 1, 2**31, 2**53, 2**60, 2**62, 2**63 - 1, 2**64, -1, -(2**31)]
WORDS = [
    *("model", "ema", "state_dict", "model_ema", "state_dict_ema", "optimizer", "epoch", "meta", "names", "yaml", "nc"),
    *("train_args", "opt", "args", "imgsz", "task", "stride", "anchors", "version", "_modules", "_parameters"),
    *(
        "_buffers",
        "_non_persistent_buffers_set",
        "module",
        "_orig_mod",
        "weight",
        "weight_g",
        "weight_v",
        "weight_orig",
    ),
    *(
        "weight_u",
        "weight_mask",
        "bias",
        "bn",
        "act",
        "forward",
        "f",
        "add",
        "d",
        "eps",
        "message_hub",
        "",
        "\x1b[2J",
        "a.b",
    ),
    *("ünïcode", "x" * 300, "__class__", "left_out", "0", "model.22.cv3.0.2.bias", "model.0.conv.weight"),
]
CLASSES = [
    *("collections OrderedDict", "collections defaultdict", "collections Counter", "builtins set", "builtins dict"),
    *("builtins frozenset", "builtins list", "builtins range", "builtins getattr", "builtins slice", "torch Size"),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter"),
    *(
        "torch._tensor _rebuild_from_type_v2",
        "torch FloatStorage",
        "torch BFloat16Storage",
        "torch ComplexFloatStorage",
    ),
    *("torch.nn.modules.conv Conv2d", "torch.nn.modules.activation LeakyReLU", "torch.nn.modules.container Sequential"),
    *("models.yolo DetectionModel", "ultralytics.nn.tasks DetectionModel", "pathlib PosixPath", "argparse Namespace"),
    *("easydict EasyDict", "mmengine.logging.history_buffer HistoryBuffer", "numpy._core.multiarray _reconstruct"),
    *("numpy dtype", "__main__ Net", "torch.fx.graph_module reduce_graph_module", "functools partial", "enum Enum"),
]
HARMFUL = ["os system", "builtins eval", "posix system", "subprocess Popen", "torch.hub load", "a.b system"]


# -- pickles ----------------------------------------------------------------------------------------------------------


class Pickle:
    """Writes the instructions of a pickle for a value that is drawn as it goes, with aliases of what was written."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.parts: list[bytes] = [b"\x80\x04"]
        self.memo = 0
        self.used: set[str] = set()
        self.left = random.choice([20, 60, 200])

    def text(self, value: str) -> None:
        data = value.encode()
        self.parts.append(b"X" + struct.pack("<I", len(data)) + data)

    def integer(self, value: int) -> None:
        self.parts.append(pickle.dumps(value, 2)[2:-1])

    def name(self) -> None:
        module, _, name = self.random.choice(CLASSES if self.random.random() < 0.995 else HARMFUL).partition(" ")
        if self.random.random() < 0.5:
            self.parts.append(f"c{module}\n{name}\n".encode())
        else:
            self.text(module)
            self.text(name)
            self.parts.append(b"\x93")

    def put(self) -> None:
        if self.random.random() < 0.3:
            self.parts.append(b"\x94")
            self.memo += 1

    def key(self, word: str) -> None:
        draw = self.random.random()
        if draw < 0.9:
            self.text(word)
        elif draw < 0.98:
            self.integer(self.random.choice(INTEGERS))
        else:
            self.value(3)

    def items(self, depth: int) -> None:
        self.parts.append(b"(")
        for word in self.random.sample(WORDS, self.random.randrange(6)):
            self.key(word)
            self.value(depth + 1)
        self.parts.append(b"u")

    def tensor(self, depth: int) -> None:
        random = self.random
        self.parts.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.text("storage")
        self.parts.append(
            b"ctorch\n%sStorage\n" % random.choice([b"Float", b"Float", b"Half", b"BFloat16", b"ComplexFloat", b"Odd"])
        )
        self.used.add(key := random.choice(["0", "1", "2"]))
        self.text(key)
        self.text("cpu")
        self.integer(random.choice([4, 4, 4, 4, 4, 16, *INTEGERS[:6]]))
        self.parts.append(b"tQ")
        shape = [random.choice([1, 2, 2]) for _ in range(random.randrange(3))]
        strides = [random.choice([1, 1, 2, 0]) for _ in shape]
        self.integer(random.choice([0] * 99 + INTEGERS))
        for lengths in (shape, strides):
            self.parts.append(b"(")
            for length in lengths:
                self.integer(length)
            self.parts.append(b"t")
        self.parts.append(b"\x89NtR")

    def module(self, depth: int) -> None:
        module, _, name = self.random.choice(CLASSES[19:24]).partition(" ")
        self.parts.append(f"c{module}\n{name}\n)\x81}}(".encode("latin-1"))
        for registry in ("_parameters", "_buffers", "_modules"):
            self.text(registry)
            self.parts.append(b"}(")
            for word in self.random.sample(WORDS[-24:], self.random.randrange(3)):
                self.text(word)
                self.module(depth + 1) if registry == "_modules" and depth < 5 else self.tensor(depth)
            self.parts.append(b"u")
        for word in self.random.sample(WORDS[:16], self.random.randrange(4)):
            self.key(word)
            self.value(depth + 1)
        self.parts.append(b"ub")

    def value(self, depth: int = 0) -> None:
        random = self.random
        self.left -= 1
        simple: list[Callable[[], Any]] = [
            lambda: self.text(random.choice(WORDS)),
            lambda: self.integer(random.choice(INTEGERS)),
            lambda: self.parts.append(random.choice([b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f"])),
            lambda: self.parts.append(b"G" + struct.pack(">d", random.choice([0.1, 1e-3, float("nan"), float("inf")]))),
            lambda: self.parts.append(b"h%c" % random.randrange(self.memo) if 0 < self.memo < 256 else b"N"),
        ]
        nested: list[Callable[[], Any]] = [
            lambda: (self.parts.append(b"}"), self.put(), self.items(depth)),
            lambda: (
                self.parts.append(b"](") or [self.value(depth + 1) for _ in range(random.randrange(5))],
                self.parts.append(b"e"),
            ),
            lambda: (
                self.parts.append(b"(") or [self.value(depth + 1) for _ in range(random.randrange(4))],
                self.parts.append(b"t"),
            ),
            lambda: (self.name(), self.parts.append(b"("), self.value(depth + 1), self.parts.append(b"tR")),
            lambda: (self.name(), self.parts.append(b")\x81"), self.value(depth + 1), self.parts.append(b"b")),
            lambda: (self.name(), self.parts.append(b")\x81"), self.items(depth)),
            lambda: self.tensor(depth),
            lambda: self.tensor(depth),
            lambda: self.module(depth),
        ]
        random.choice(simple if depth > 6 or self.left < 0 or random.random() < 0.3 else nested)()
        self.put()

    def made(self) -> bytes:
        draw = self.random.random()
        if draw < 0.5:
            self.parts.append(b"}")
            self.items(0)
        elif draw < 0.8:
            self.module(0)
        else:
            self.value()
        return b"".join([*self.parts, b"."])


def torch_zip(random: Random) -> Files:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), Pickle(random).made())
        for key in "012"[: random.choice([1, 2, 3, 3, 3, 3])]:
            archive.writestr(
                zipfile.ZipInfo(f"a/data/{key}"), random.randbytes(random.choice([0, 3, 16, 64, 64, 64, 64, 64]))
            )
        for name, content in (("version", b"3\n"), ("byteorder", random.choice([b"little"] * 18 + [b"big", b""]))):
            archive.writestr(zipfile.ZipInfo(f"a/{name}"), content)
    return {"": buffer.getvalue()}


def torch_legacy(random: Random) -> Files:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    made = Pickle(random)
    content = made.made()
    keys = sorted(made.used) if random.random() < 0.9 else random.choice([[], ["0"], "0", [0]])
    counts = [random.choice([4] * 9 + INTEGERS[:12]) for _ in keys]
    storages = b"".join(struct.pack("<q", n) + random.randbytes(4 * max(0, min(n, 50))) for n in counts)
    return {"": b"".join(pickle.dumps(part, 2) for part in head) + content + pickle.dumps(keys, 2) + storages}


# -- the others -------------------------------------------------------------------------------------------------------


def _json(random: Random, depth: int = 0) -> Any:
    if depth > 3 or random.random() < 0.4:
        return random.choice([*INTEGERS, *WORDS, None, True, 1.5, float("nan"), float("inf")])
    if random.random() < 0.5:
        return [_json(random, depth + 1) for _ in range(random.randrange(4))]
    return {random.choice(WORDS): _json(random, depth + 1) for _ in range(random.randrange(4))}


def safetensors(random: Random) -> Files:
    header: dict[str, Any] = {}
    end = 0
    for _ in range(random.randrange(5)):
        dtype, size = random.choice(
            [("F32", 4), ("F16", 2), ("BF16", 2), ("F8_E4M3", 1), ("I64", 8), ("C64", 8), ("BOOL", 1)]
        )
        shape = [random.choice([0, 1, 2, 3]) for _ in range(random.randrange(4))]
        length = size * int(np.prod(shape, dtype=int))
        wrong = random.choice([0] * 12 + [1, -1, 2**62])
        name = random.choice(WORDS)
        if name not in header:
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + length + wrong]}
            end += length
    own = {random.choice(["names", "imgsz", "strides", "modules", "classes", *WORDS]): _json(random) for _ in range(3)}
    metadata = {
        "trtnn": json.dumps(own),
        random.choice(WORDS): random.choice(WORDS),
        "a": random.choice(["weight", "bias"]),
    }
    if random.random() < 0.6:
        header["__metadata__"] = metadata if random.random() < 0.8 else _json(random)
    text = json.dumps(header).encode()
    text += b" " * random.choice([0, 0, -len(text) % 8])
    return {"": struct.pack("<Q", len(text)) + text + random.randbytes(max(0, end + random.choice([0] * 9 + [1, -1])))}


def npz(random: Random) -> Files:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for number in range(random.randrange(5)):
            shape = tuple(random.choice([0, 1, 2, 3]) for _ in range(random.randrange(4)))
            dtype = random.choice(["<f4", ">f4", "<f2", "|b1", "<i8", "<f8"])
            written = random.choice([shape] * 9 + [(2**62,), (-1,), (1,) * 40, (2**32, 2**32)])
            head = repr(
                {
                    "descr": random.choice([dtype] * 9 + ["|O", "<U9", "<c8"]),
                    "fortran_order": bool(number % 2),
                    "shape": written,
                }
            )
            text = head.encode() + b" " * (-(len(head) + 11) % 64) + b"\n"
            data = random.randbytes(int(np.dtype(dtype).itemsize * np.prod(shape, dtype=int)))
            version = random.choice([b"\x01\x00"] * 9 + [b"\x02\x00", b"\x03\x00"])
            archive.writestr(
                zipfile.ZipInfo(f"{number}.npy"), b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data
            )
    return {"": buffer.getvalue()}


def wts(random: Random) -> Files:
    lines = []
    for number in range(random.randrange(5)):
        count = random.choice([0, 1, 2, 9])
        words = [
            random.choice(["3f800000", "0", "7fc00000", "ffffffff", "1"])
            for _ in range(count + random.choice([0] * 9 + [1, -1]))
        ]
        name = random.choice([f"a.{number}", *WORDS]) or "b"
        lines.append(random.choice([" ", " ", "  "]).join([name, str(random.choice([count] * 9 + INTEGERS)), *words]))
    count = random.choice([len(lines)] * 9 + INTEGERS)
    return {"": "\n".join([str(count), *lines, ""]).encode()}


def darknet(random: Random) -> Files:
    version = random.choice([(0, 1, 0), (0, 2, 5), (0, 0, 0), (0, 3, 0), (0, 2, -1), (2**31 - 1, 0, 0)])
    data = struct.pack("<3i", *version) + random.randbytes(random.choice([4, 8, 12, 108, 109]))
    lines = ["[net]", f"width={random.choice([416, 0, -1, 'x', 2**70])}", f"height={random.choice([416, 320])}"]
    for _ in range(random.randrange(4)):
        numbers = [
            random.choice([10, 13, 0.5, "", "x", 1e400]) if random.random() < 0.1 else 10
            for _ in range(random.choice([6, 12, 7]))
        ]
        lines += [
            "[yolo]",
            f"anchors = {', '.join(map(str, numbers))}",
            f"classes={random.choice([80, 80, 3, 'many'])}",
        ]
        lines += [
            f"mask = {random.choice(['0,1,2', '3,4,5', '-1', '99', ''])}",
            random.choice(["", "scale_x_y=1.05", "[[", "="]),
        ]
    cfg = "\n".join(lines).encode() if random.random() < 0.8 else random.randbytes(60)
    return {"": data, "made.cfg": cfg}


def index(random: Random) -> Files:
    shard = safetensors(random)[""]
    held = [*json.loads(shard[8 : 8 + struct.unpack("<Q", shard[:8])[0]]), "gone"]
    places = {
        random.choice(held): random.choice(
            ["s.safetensors"] * 20 + ["../s.safetensors", "", "gone.pt", "s.index.json", 3]
        )
        for _ in range(3)
    }
    return {
        "": json.dumps(random.choice([{"weight_map": places}] * 5 + [_json(random)])).encode(),
        "s.safetensors": shard,
    }


GENERATORS: dict[str, Callable[[Random], Files]] = {
    ".pt": torch_zip,
    ".pth": torch_legacy,
    ".safetensors": safetensors,
    ".npz": npz,
    ".wts": wts,
    ".weights": darknet,
    ".index.json": index,
}
