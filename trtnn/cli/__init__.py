"""The command line: ``trtnn build | convert | demo | detect | fp16 | inspect``, a file for each."""

from trtnn.cli import build, convert, demo, detect, fp16, inspect
from trtnn.cli.program import app, main

__all__ = ["app", "build", "convert", "demo", "detect", "fp16", "inspect", "main"]
