"""All of torchvision: classification, segmentation, detection, optical flow, video."""

from __future__ import annotations

import sys
from typing import Any

# Operators of torchvision that are compiled, which PyPI's wheel has for CUDA's torch alone; nothing here calls them.
_COMPILED = (
    "nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d", "_roi_align_backward",
    "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward", "_deform_conv2d_backward",
)  # fmt: skip


def import_torchvision() -> Any:
    """Import torchvision, beside a torch that its compiled operators do not load with."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _COMPILED:
            library.define(f"{name}(Tensor x) -> Tensor")
        import_torchvision.library = library  # type: ignore[attr-defined]  # which lives as long as its operators
        import torchvision
    return torchvision


load = import_torchvision


def names() -> list[str]:
    """Return the names of all models, and of the backbones of those that pick boxes by their scores."""
    models = import_torchvision().models
    parts = {"": models, "segmentation.": models.segmentation, "detection.": models.detection}
    parts |= {"optical_flow.": models.optical_flow, "video.": models.video}
    found = [f"{part}{name}" for part, module in parts.items() for name in models.list_models(module=module)]
    found = [name for name in found if not name.startswith("quantized_")]
    return found + [f"{name}.backbone" for name in found if name.startswith("detection.")]


def make(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a model, and an example of the size that it is made for, or of one that is quick."""
    import torch

    models = import_torchvision().models
    whole = name.removesuffix(".backbone")
    part, _, short = whole.rpartition(".")
    options: dict[str, Any] = {"weights": None}
    if part in ("segmentation", "detection"):
        options["weights_backbone"] = None
    if short in ("inception_v3", "googlenet"):
        options["init_weights"] = False
    model = models.get_model(short, **options)
    if whole != name:
        return model.backbone, (torch.rand(1, 3, 320, 320),), {}
    if part == "detection":
        return model, ([torch.rand(3, 320, 320)],), {}
    if part == "optical_flow":
        return model, (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)), {}
    if part == "video":
        frames, side = (16, 224) if short.startswith(("mvit", "s3d")) else (8, 112)
        return model, (torch.rand(1, 3, frames, side, side),), {}
    side = 299 if short == "inception_v3" else 224
    return model, (torch.rand(1, 3, side, side),), {}
