"""What is installed, and where from: the folders beside ``trtnn/`` are mapped into the package.

``models/``, ``plugins/`` and ``examples/`` stand at the top level of the repository and install as ``trtnn.models``,
``trtnn.plugins`` and ``trtnn.examples``: no top-level name but ``trtnn`` is taken (a YOLOv5 checkout has a ``models``).
Beside it is ``trtnn_start``, which catches Ctrl-C while the package is being imported.
"""

from pathlib import Path

from setuptools import find_packages, setup

MAPPED = ("models", "plugins", "examples")

packages = find_packages(include=["trtnn", "trtnn.*"])
package_dir = {}
for folder in MAPPED:
    if Path(folder, "__init__.py").is_file():
        package_dir[f"trtnn.{folder}"] = folder
        packages += [f"trtnn.{folder}", *(f"trtnn.{folder}.{name}" for name in find_packages(folder))]

setup(
    packages=packages,
    package_dir=package_dir,
    py_modules=["trtnn_start"],
    include_package_data=False,  # package_data names it all; the rest would take folders of sources for packages
    package_data={
        "trtnn": ["py.typed", "*.pyi"],
        "trtnn.graph": ["*.pyi"],
        "trtnn.kernels": ["csrc/*"],
        "trtnn.viewer": ["static/*"],
        "trtnn.examples.digits": ["*.safetensors", "*.png", "*.jpg", "*.json"],
        "trtnn.plugins.dcnv2": ["csrc/*"],
    },
)
