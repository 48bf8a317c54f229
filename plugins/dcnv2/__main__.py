"""Builds the DCNv2 kernel and its TensorRT plugin.

examples:
  python -m trtnn.plugins.dcnv2 build                                    # for the GPU and TensorRT of this machine
  python -m trtnn.plugins.dcnv2 build --tensorrt-include TensorRT/include --arch sm_90a
  python -m trtnn.plugins.dcnv2 build --kernel-only                      # needs no TensorRT: for tests and timings
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trtnn.errors import TrtnnError
from trtnn.plugins.dcnv2.building import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the path of the library is all it prints to standard output."""
    parser = argparse.ArgumentParser(
        "python -m trtnn.plugins.dcnv2", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="build")
    command = commands.add_parser(
        "build",
        help="compile the library with nvcc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--tensorrt-include", metavar="DIR", help="TensorRT's C++ headers (default: usual places)")
    command.add_argument("--arch", metavar="SM", help="the GPU, such as sm_90a (default: the one of this machine)")
    command.add_argument("--output", metavar="DIR", help="the folder for the library (default: trtnn's cache folder)")
    command.add_argument("--kernel-only", action="store_true", help="the kernel without TensorRT's plugin")
    command.add_argument("--force", action="store_true", help="build again what is there")
    options = parser.parse_args(arguments)
    try:
        path = build(options.tensorrt_include, options.arch, options.output, options.kernel_only, options.force)
    except TrtnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
