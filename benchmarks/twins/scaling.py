"""Random weights for a torch twin that neither drown nor amplify."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn


def without_weights(make, *args, **kwargs) -> nn.Module:
    """Make a module without torch's own random weights, which take seconds, for nothing."""
    with mock.patch.object(nn.Conv2d, "reset_parameters"):
        return make(*args, **kwargs)


def drawing(generator: torch.Generator) -> Callable[[Tensor, float, float], None]:
    """Return what fills a tensor with normal numbers of a mean and a standard deviation."""

    def normal_(tensor: Tensor, mean: float, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std + mean)

    return normal_


@torch.no_grad()
def well_scaled(model: nn.Module, last: Iterable[nn.Conv2d], images: Tensor, seed: int = 0) -> nn.Module:
    """Give ``model`` random weights and return it in eval mode.

    Convolutions are normal with variance 1/fan-in, and BatchNorm's statistics are those of one train-mode batch. Its
    shifts lie about 1.5, where SiLU and LeakyReLU are nearly straight: about 0 rounding is amplified a hundred times.
    The ``last`` convolutions give logits that spread by 1.5 about 0.
    """
    normal_ = drawing(torch.Generator().manual_seed(seed))
    last, norms = list(last), [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            normal_(module.weight, 0.0, module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                normal_(module.bias, 0.0, 0.1)
    for norm in norms:
        normal_(norm.weight, 0.8, 0.15)
        normal_(norm.bias, 1.5, 0.2)
        norm.momentum = 1.0  # this batch's statistics, not a moving mean of them
    logits: dict[nn.Module, Tensor] = {}
    hooks = [conv.register_forward_hook(lambda conv, _, output: logits.update({conv: output})) for conv in last]
    model.train()(images)
    for hook in hooks:
        hook.remove()
    for conv in last:
        spread, mean = torch.std_mean(logits[conv], dim=(0, 2, 3))
        conv.weight.mul_((1.5 / spread).view(-1, 1, 1, 1))
        normal_(conv.bias, 0.0, 0.5)
        conv.bias.sub_(mean * 1.5 / spread)
    return model.eval()


def pictures(batch: int, rows: int, columns: int, seed: int = 1) -> Tensor:
    """Return noise in 0..1."""
    return torch.rand(batch, 3, rows, columns, generator=torch.Generator().manual_seed(seed))


def cells_of(like: Tensor) -> Tensor:
    """Return column and row of each cell of a map, (rows, columns, 2); an exported network holds them as a constant."""
    rows, columns = (int(length) for length in like.shape[2:])
    return torch.from_numpy(np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32))
