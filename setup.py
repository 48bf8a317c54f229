"""The package's metadata, and the mapping of the folders beside ``trtnn/`` into the package.

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
    name="trtnn",
    version="0.1.0",
    description="TensorRT networks written as PyTorch-like modules",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=packages,
    package_dir=package_dir,
    py_modules=["trtnn_start"],
    package_data={
        "trtnn": ["py.typed"],
        "trtnn.graph": ["*.pyi"],
        "trtnn.examples.digits": ["*.safetensors", "*.png", "*.jpg", "*.json"],
        "trtnn.plugins.dcnv2": ["csrc/*"],
    },
    install_requires=[
        "numpy>=1.24",
        "filelock>=3.12",
        "rich>=13",
        "typer>=0.12",
        "opencv-python-headless>=4.8",
        "pyyaml>=6",
    ],
    extras_require={
        "torch": ["torch>=2.4"],
        "rtx": ["tensorrt-rtx-cu13>=1.7"],
        "tensorrt": ["tensorrt>=8.6"],
        "pycuda": ["pycuda"],
        "digits": ["torch>=2.4", "scikit-learn", "scikit-image"],
        "coverage": ["torchvision", "timm", "transformers"],
        "test": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "expecttest",
            "onnx",
            "ruff",
            "safetensors",
            "scikit-learn",
            "scikit-image",
            "pycocotools",
        ],
    },
    entry_points={"console_scripts": ["trtnn=trtnn_start:main"]},
)
