"""What docs/from_torch_side_by_side.md shows: classes of others' models, and what is written of them.

python -m tests.from_torch.side_by_side        # writes the links and the sources of the page anew
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.zoo.torchvision_models import import_torchvision
from tests.helpers import load_random
from trtnn.from_torch.convert import Conversion

PAGE = Path(__file__).parents[2] / "docs" / "from_torch_side_by_side.md"
# A class of a package, at its tag and lines, and what is written of it.
SHOWN = re.compile(r"\[([\w.]+)\]\((https://github\.com/[^)]+)\)\n\n```python\n(.*?)```", re.DOTALL)
REPOSITORIES = {
    "torchvision": "https://github.com/pytorch/vision/blob/v{version}/torchvision/",
    "timm": "https://github.com/huggingface/pytorch-image-models/blob/v{version}/timm/",
    "transformers": "https://github.com/huggingface/transformers/blob/v{version}/src/transformers/",
}


def resnet50() -> Any:
    return import_torchvision().models.resnet50(), torch.rand(1, 3, 224, 224)


def vit_tiny() -> Any:
    import_torchvision()
    import timm

    return timm.create_model("vit_tiny_patch16_224"), torch.rand(1, 3, 224, 224)


def rt_detr() -> Any:
    """RT-DETR, small: its code is the same, and its numbers and repeats are fewer."""
    if importlib.util.find_spec("torchvision"):
        import_torchvision()  # transformers imports it by itself, where it may not load
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    stages = ["stage2", "stage3", "stage4"]
    backbone = RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], out_features=stages
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        **{"encoder_in_channels": [32, 48, 64], "encoder_hidden_dim": 32, "encoder_ffn_dim": 64, "d_model": 32},
        **{"decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 64, "decoder_layers": 2, "num_queries": 20},
        **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_labels": 5},
    )
    return RTDetrForObjectDetection(config), torch.rand(1, 3, 64, 64)


MODELS: dict[str, Callable[[], Any]] = {"torchvision": resnet50, "timm": vit_tiny, "transformers": rt_detr}


def convert(package: str) -> Conversion:
    """Return the conversion of a package's model, with random weights that tell one thing from another."""
    torch.manual_seed(0)
    module, example = MODELS[package]()
    return Conversion(load_random(module), (example,), {})


def is_installed(package: str) -> bool:
    """Return whether a package is there in the version whose files the page links to."""
    versions = [re.search(r"/blob/v([\d.]+)/", link) for name, link, _ in SHOWN.findall(read()) if of(name) == package]
    try:
        return {match[1] for match in versions if match} == {importlib.metadata.version(package)}
    except importlib.metadata.PackageNotFoundError:
        return False


def read() -> str:
    return PAGE.read_text(encoding="utf-8")


def of(name: str) -> str:
    """Return the package of a class's dotted name."""
    return name.partition(".")[0]


def written(package: str, text: str) -> str:
    """Return the page with a package's links and sources written anew."""
    conversion = convert(package)

    def shown(match: re.Match[str]) -> str:
        name = match[1]
        if of(name) != package:
            return match[0]
        return f"[{name}]({link(name)})\n\n```python\n{classes_of(conversion, name)}```"

    return SHOWN.sub(shown, text)


def link(name: str) -> str:
    """Return where a class stands in its repository."""
    module, _, short = name.rpartition(".")
    kind = getattr(importlib.import_module(module), short)
    lines, first = inspect.getsourcelines(kind)
    place = REPOSITORIES[of(name)].format(version=importlib.metadata.version(of(name)))
    file = "/".join(module.split(".")[1:])
    return f"{place}{file}.py#L{first}-L{first + len(lines) - 1}"


def classes_of(conversion: Conversion, name: str) -> str:
    """Return the text of the classes that a torch class became."""
    kinds = [type(group.drafts[0].module) for group in conversion.classes.groups]
    wanted = [i for i, kind in enumerate(kinds) if f"{kind.__module__}.{kind.__qualname__}" == name]
    parts = conversion.source.text.rstrip("\n").split("\n\n\n")[1:]
    return "\n\n\n".join(parts[i] for i in wanted) + "\n"


def main() -> None:
    text = read()
    for package in MODELS:
        text = written(package, text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
