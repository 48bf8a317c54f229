"""YOLOv5 in torch, which is the digits example's, and random weights for it."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.twins.scaling import drawing
from trtnn.examples.digits.network import YOLOv5

__all__ = ["YOLOv5", "well_scaled"]


@torch.no_grad()
def well_scaled(model: YOLOv5, size: int | tuple[int, int], seed: int = 0) -> YOLOv5:
    """Give ``model`` random weights that neither drown nor amplify, and return it in eval mode.

    Convolutions are normal with variance 1/fan-in, and BatchNorm's statistics are those of one train-mode batch of
    noise images of ``size`` pixels (a side, or rows and columns). BatchNorm's shifts lie about 1.5, where SiLU is
    nearly straight: with shifts about 0 its curvature makes a chaotic network, which amplifies rounding a hundred
    times and more. The last convolutions give logits that spread by about 1.5 about 0: boxes, objectness and classes
    all vary.
    """
    generator = torch.Generator().manual_seed(seed)
    normal_ = drawing(generator)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            normal_(module.weight, 0.0, module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                module.bias.zero_()
    for norm in norms:
        normal_(norm.weight, 0.8, 0.15)
        normal_(norm.bias, 1.5, 0.2)
        norm.momentum = 1.0  # this batch's statistics, not a moving mean of them
    rows, columns = (size, size) if isinstance(size, int) else size
    channels = next(module for module in model.modules() if isinstance(module, nn.Conv2d)).in_channels
    channels //= 4 if model.version == "5.0" else 1
    raw = model.train()(torch.rand(4, channels, rows, columns, generator=generator))
    for norm in norms:
        norm.momentum = 0.03
    for conv, logits in zip(model.detect.m, raw, strict=True):
        spread, mean = torch.std_mean(logits, dim=(0, 2, 3))
        conv.weight.mul_((1.5 / spread).view(-1, 1, 1, 1))
        normal_(conv.bias, 0.0, 0.5)
        conv.bias.sub_(mean * 1.5 / spread)
    return model.eval()
