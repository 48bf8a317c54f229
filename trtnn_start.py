"""What the command ``trtnn`` starts with: Ctrl-C while the package is being imported ends it in a line, as later.

It stands beside the package, since whatever is in it is imported after the package itself.
"""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from trtnn.cli import main as run

        run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
