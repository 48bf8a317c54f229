"""The command line: ``trtnn build | bench | compare | ...``, a file for each command."""

from trtnn.cli import (
    bench,
    build,
    classify,
    compare,
    convert,
    demo,
    detect,
    export,
    fp16,
    from_torch,
    inspect,
    models,
    profile,
    quantize,
    val,
    view,
)
from trtnn.cli.program import app, main

__all__ = [
    "app",
    "bench",
    "build",
    "classify",
    "compare",
    "convert",
    "demo",
    "detect",
    "export",
    "fp16",
    "from_torch",
    "inspect",
    "main",
    "models",
    "profile",
    "quantize",
    "val",
    "view",
]
