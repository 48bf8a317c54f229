"""Compile the kernels ahead of their first use, as for an image of a container that has no compiler.

They go to the cache folder, which TRTNN_CACHE_DIR names. No GPU is needed.

examples:
  python -m trtnn.kernels                    # for the GPUs of this machine
  python -m trtnn.kernels sm_86 sm_90        # for others
"""

from __future__ import annotations

import argparse
import sys

from trtnn.cuda import gpus
from trtnn.errors import ArgumentError, TrtnnError
from trtnn.kernels import SOURCES, cache_path, cubin


def main(arguments: list[str] | None = None) -> int:
    """Compile for the architectures of the command line, and return the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m trtnn.kernels", description=__doc__, formatter_class=form)
    parser.add_argument("arch", nargs="*", help="architectures, such as sm_90; by default those of the GPUs here")
    try:
        wanted = parser.parse_args(arguments).arch or sorted({name.replace("sm", "sm_") for name in gpus()})
        if not wanted:
            raise ArgumentError("there is no GPU here", "name architectures: python -m trtnn.kernels sm_90")
        for arch in wanted:
            for source in sorted(SOURCES.glob("*.cu")):
                cubin(source.stem, arch)
                print(cache_path(source.stem, arch))
    except TrtnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
