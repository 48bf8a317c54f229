"""timm's architectures: by default a choice that holds each of its files of models, the small variants first."""

from __future__ import annotations

import importlib
import random
import re
from typing import Any

from benchmarks.zoo.torchvision_models import import_torchvision

# What says in a name how large a model is.
_SMALL = ("test_", "atto", "femto", "pico", "nano", "tiny", "small", "mini", "18", "_0", "b0", "xs", "050", "002")
_LARGE = ("giant", "huge", "large", "so400m", "xxl", "enormous", "gigantic", "7b", "5b", "1b", "2b", "3b", "_h_", "_g_")


def load() -> None:
    """Import what the models are of."""
    import_torchvision()
    importlib.import_module("timm")


def names() -> list[str]:
    """Return the names of all architectures."""
    load()
    import timm

    return timm.list_models()


def chosen(most: int, seed: int) -> list[str]:
    """Return architectures from all of timm's files in turn: of each first the variants that are small by their names.

    Args:
        most: how many.
        seed: of the order of those that are as large as each other.
    """
    load()
    import timm

    order = random.Random(seed)
    files = []
    for module in sorted(timm.list_modules()):
        variants = sorted(timm.list_models(module=module))
        order.shuffle(variants)
        files.append(sorted(variants, key=size))
    rounds = range(max(map(len, files)))
    return [variants[i] for i in rounds for variants in files if i < len(variants)][:most]


def is_large(name: str) -> bool:
    """Return whether a model is one of the largest, by its name: ``vit_412m`` has 412 million parameters."""
    return any(word in name for word in _LARGE) or bool(re.search(r"(?<!\d)(1[5-9]|[2-9]\d)\dm(_|$)", name))


def size(name: str) -> int:
    """Return how large a model is by its name: 0 of small ones, 2 of the largest, 1 of all others."""
    return 2 if is_large(name) else 0 if any(word in name for word in _SMALL) else 1


def make(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a model, and an example of the size that it is made for."""
    load()
    import timm
    import torch

    model = timm.create_model(name, pretrained=False)
    shape = model.default_cfg.get("input_size", (3, 224, 224))
    return model, (torch.rand(1, *shape),), {}
