"""Install the bindings that this Python has wheels for, each in a folder of its own: their modules share one name."""

from __future__ import annotations

import subprocess
import sys

from tests.bindings.versions import VERSIONS

for bindings in VERSIONS:
    if reason := bindings.no_wheel():
        print(f"{reason}: its tests will be skipped")
    elif not bindings.folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        requirement = f"{bindings.package}=={bindings.version}"
        subprocess.run([*pip, "--target", str(bindings.folder), requirement], check=True)
