"""Damage to files of every format that trtnn reads: blind damage to bytes, and damage that knows what it breaks.

A mutation takes a :class:`random.Random` and the bytes of a sound file and returns others. The same seed gives the
same bytes, so that what a run finds can be had again.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]

# numbers where sizes, signs and types of integers end
EXTREMES = [
    *(0, 1, -1, 2, 3, 7, 8, 127, 128, 255, 256, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**18, 10**40),
]
_ODD = [b"", b"\0", b"\xff", b"\n", b" ", b'"', b"{", b"[", b".", b"-", b"\x80\x02", b"PK\x03\x04", b"ftrt", b"0" * 64]


# -- of any bytes -----------------------------------------------------------------------------------------------------


def flip_bits(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 5, 40])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content))
    new = random.choice([*_ODD, random.randbytes(random.randint(1, 8))])
    return content[:at] + new + content[at + len(new) :]


def insert(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.choice([*_ODD, random.randbytes(random.randint(1, 300))]) + content[at:]


def remove(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content))
    return content[:at] + content[at + random.choice([1, 1, 2, 4, 8, 64, 1000]) :]


def truncate(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))]


def splice(random: Random, content: bytes) -> bytes:
    """Put one piece of the file over, or into, another place of it."""
    start, at = random.randrange(len(content)), random.randrange(len(content))
    piece = content[start : start + random.choice([1, 4, 16, 64, 256])]
    return content[:at] + piece + content[at + random.choice([0, len(piece)]) :]


def extreme_integer(random: Random, content: bytes) -> bytes:
    """Overwrite bytes, mostly where lengths, counts and offsets stand, with an extreme little-endian integer."""
    width = random.choice([1, 2, 4, 8])
    at = random.choice([0, 4, 8, random.randrange(len(content)), len(content) - random.randint(1, 22)]) % len(content)
    new = (random.choice(EXTREMES) % 256**width).to_bytes(width, "little")
    return content[:at] + new + content[at + width :]


def extreme_number(random: Random, content: bytes) -> bytes:
    """Replace a number in decimal digits."""
    numbers = list(re.finditer(rb"\d+", content))
    if not numbers:
        return extreme_integer(random, content)
    found = random.choice(numbers)
    return content[: found.start()] + str(random.choice(EXTREMES)).encode() + content[found.end() :]


ANY: list[Mutation] = [
    *(flip_bits, overwrite, insert, remove, truncate, splice, extreme_integer, extreme_number),
]


# -- of JSON ----------------------------------------------------------------------------------------------------------


def _nested(random: Random) -> str:
    depth = random.choice([3, 50, 2000, 100_000])
    opened, closed = random.choice([("[", "]"), ('{"a":', "}")])
    return opened * depth + "0" + closed * random.choice([depth, depth, 0])


def json_text(random: Random, text: str) -> str:
    """Return JSON with one value, key or pair of it changed; mostly it is JSON still."""
    value = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(value)
    node, key = random.choice(places)
    how = random.choice(["number", "number", "other", "nested", "remove", "rename", "twice", "swap", "length"])
    mark = f"mark{random.randrange(10**12)}"
    if how == "remove":
        del node[key]
        return json.dumps(value)
    if how == "swap":
        other, place = random.choice(places)
        node[key] = other.get(place) if isinstance(other, dict) else mark
        return json.dumps(value, check_circular=False) if node[key] is not node and _is_tree(value) else text
    if how in ("rename", "twice") and isinstance(node, dict):
        names = [*node, "", "__metadata__", "\x1b[2J", "\ud800", "a" * 2000, "__proto__"]
        pairs = json.dumps({random.choice(names): node[key]})[1:-1]
        if how == "rename":
            del node[key]
        node[mark] = 0
        return json.dumps(value).replace(f'"{mark}": 0', pairs)
    replacements = {
        "number": lambda: str(random.choice([*EXTREMES, -5, 1.5, 1e308, "NaN", "Infinity", "1" + "0" * 5000])),
        "nested": lambda: _nested(random),
        "length": lambda: json.dumps(random.choice(LENGTHS)),
    }
    others = ["null", "true", "[]", "{}", '""', '"\\ud800"', '"F64"', "[1]", '["a"]', "[[]]", '{"a": 1}']
    node[key] = mark
    return json.dumps(value).replace(f'"{mark}"', replacements.get(how, lambda: random.choice(others))())


# texts where a length of a dynamic shape is expected
LENGTHS = [
    *("batch", "batch*2", "batch//0", "batch % 3", "-batch", "2**62", "batch" * 9, "(" * 300, "-" * 9000 + "1", "\0"),
    *("*".join(["(batch+height)"] * 60), "(" * 150 + "batch" + "*7+height)//5" * 150, "9" * 5000, "batch.real", "1_0"),
]


def _is_tree(value: Any, above: tuple[int, ...] = ()) -> bool:
    if id(value) in above:
        return False
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_is_tree(item, (*above, id(value))) for item in inner)


def safetensors_header(random: Random, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    text = json_text(random, content[8 : 8 + length].decode()).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def engine_description(random: Random, content: bytes) -> bytes:
    length = int.from_bytes(content[:4], "little")
    text = json_text(random, content[4 : 4 + length].decode()).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(4, "little") + text + content[4 + length :]


# -- of zip files -----------------------------------------------------------------------------------------------------


def _entries(content: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(entry, archive.read(entry)) for entry in archive.infolist()]


def _zipped(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for entry, data in entries:
            fixed = zipfile.ZipInfo(entry.filename)  # its date is the same at any time
            archive.writestr(fixed, data, entry.compress_type)
    return buffer.getvalue()


def zip_entries(random: Random, content: bytes) -> bytes:
    """Drop, double, rename, exchange, compress or change whole entries; what comes out is a sound zip file."""
    entries = _entries(content)
    at, other = random.randrange(len(entries)), random.randrange(len(entries))
    (entry, data), how = entries[at], random.randrange(7)
    if how == 0:
        del entries[at]
    elif how == 1:
        entries.append(entries[at])
    elif how == 2:
        names = [
            "../../etc/passwd",
            "/a.npy",
            "archive/data.pkl",
            "x/data.pkl",
            "archive/data/0",
            "a",
            "",
            "\x1b[2J.npy",
        ]
        entry.filename = random.choice(names)
    elif how == 3:
        entries[at], entries[other] = (entry, entries[other][1]), (entries[other][0], data)
    elif how == 4:
        entry.compress_type = random.choice(
            [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
        )
    elif how == 5:
        entries[at] = (entry, random.choice(ANY)(random, data) if data else b"x")
    else:
        entries[at] = (entry, extreme_number(random, data) if data else b"x")
    return _zipped(entries)


def zip_fields(random: Random, content: bytes) -> bytes:
    """Set a field of the directory, of its end or of a local header to an extreme number."""
    heads = [(b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22)]
    mark, length = random.choice(heads)
    starts = [found.start() for found in re.finditer(re.escape(mark), content)]
    if not starts:
        return extreme_integer(random, content)
    at = random.choice(starts) + random.randrange(4, length - 1, 2)
    width = random.choice([2, 4])
    new = (random.choice([*EXTREMES, len(content), len(content) - 1]) % 256**width).to_bytes(width, "little")
    return content[:at] + new + content[at + width :]


# -- of pickles -------------------------------------------------------------------------------------------------------

_OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
_PIECES = [
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"cmodels.yolo\nModel\n", b"ctorch._utils\n_rebuild_tensor_v2\n"),
    *(
        b"ccollections\nOrderedDict\n",
        b"cbuiltins\nset\n",
        b")R",
        b"(tR",
        b"}b",
        b"N\x85",
        b"2\x86",
        b"2l",
        b"Q",
        b"\x82\x01",
    ),
    *(b"\x8a\x08" + struct.pack("<q", number) for number in (2**62, -1, 10**18)),
    *(
        b"\x8b\xff\xff\xff\x7f",
        b"\x8e" + b"\xff" * 8,
        b"\x8d" + b"\xff" * 7 + b"\x7f",
        b"r\xff\xff\xff\xff",
        b"j\xff\xff\xff\x7f",
    ),
]


def pickle_instructions(random: Random, pickled: bytes) -> bytes:
    """Remove, double, exchange, replace or add instructions, or change the argument of one."""
    try:
        starts = [position for _, _, position in pickletools.genops(pickled)]
    except Exception:
        return flip_bits(random, pickled) if pickled else b"."
    pieces = [pickled[a:b] for a, b in zip(starts, [*starts[1:], len(pickled)], strict=True)]
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        at, other = random.randrange(len(pieces)), random.randrange(len(pieces))
        how = random.randrange(7)
        if how == 0:
            pieces[at] = b""
        elif how == 1:
            pieces[at] *= random.choice([2, 3, 500])
        elif how == 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif how == 3:
            pieces[at] = random.choice(_OPCODES) + pieces[at][1:]
        elif how == 4:
            pieces[at] = random.choice([*_PIECES, random.choice(_OPCODES) + random.randbytes(random.randint(0, 9))])
        elif how == 5:
            pieces.insert(at, random.choice([*_PIECES, pieces[other]]))
        elif len(pieces[at]) > 1:
            pieces[at] = pieces[at][:1] + extreme_integer(random, pieces[at][1:])
    return b"".join(pieces)


def torch_pickle(random: Random, content: bytes) -> bytes:
    entries = [
        (entry, pickle_instructions(random, data) if entry.filename.endswith("data.pkl") else data)
        for entry, data in _entries(content)
    ]
    return _zipped(entries)


def legacy_pickle(random: Random, content: bytes) -> bytes:
    """Change one of the five pickles that an old torch file begins with."""
    stream, ends = io.BytesIO(content), [0]
    for _ in range(5):
        for _ in pickletools.genops(stream):
            pass
        ends.append(stream.tell())
    which = random.choice([0, 1, 2, 3, 3, 3, 3, 4])
    changed = pickle_instructions(random, content[ends[which] : ends[which + 1]])
    return content[: ends[which]] + changed + content[ends[which + 1] :]


# -- of .wts ----------------------------------------------------------------------------------------------------------


def wts_words(random: Random, content: bytes) -> bytes:
    """Replace, remove, double or exchange words and blanks."""
    parts = re.split(rb"(\s+)", content)
    at, other = random.randrange(len(parts)), random.randrange(len(parts))
    odd = [b"0", b"g", b"-1", b"0x1", b"f" * 9, b"\xff", b"", b" ", b"\t", b"\n", b"\r", b"\0", b"a.b.c", b"0 " * 3000]
    how = random.randrange(4)
    if how == 0:
        parts[at] = random.choice([*odd, str(random.choice(EXTREMES)).encode()])
    elif how == 1:
        parts[at] += parts[at] * random.choice([1, 2, 999])
    elif how == 2:
        parts[at], parts[other] = parts[other], parts[at]
    else:
        del parts[at : other + 1]
    return b"".join(parts) or b"\n"


MUTATIONS: dict[str, list[Mutation]] = {
    ".safetensors": [*ANY, *[safetensors_header] * 8],
    ".npz": [*ANY, *[zip_entries] * 6, *[zip_fields] * 4],
    ".wts": [*ANY, *[wts_words] * 6],
    ".pt": [*ANY, *[torch_pickle] * 8, *[zip_entries] * 3, *[zip_fields] * 4],
    ".pth": [*ANY, *[legacy_pickle] * 8],  # the old format
    ".engine": [*ANY, *[engine_description] * 8],
}
