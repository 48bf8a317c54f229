"""Models of others, with random weights and an example for each: what `benchmarks/coverage.py` converts.

>>> names("torchvision")[0]
'torchvision:alexnet'
>>> model, args, kwargs = make("torchvision:alexnet")
"""

from __future__ import annotations

import contextlib
from typing import Any

_FADING = 0.25  # times 1 / sqrt(inputs): below it signals fade from layer to layer
_UNSET = 1e4  # what no initialisation draws: memory as it was, of a Parameter(torch.empty(...))
SOURCES = ("torchvision", "timm", "transformers", "diffusers")


def names(source: str) -> list[str]:
    """Return the names of a source's models, with the source in front."""
    return [f"{source}:{name}" for name in _module(source).names()]


def load(source: str) -> None:
    """Import what a source's models are of."""
    _module(source).load()


def make(name: str, settled: bool = False) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a model in evaluation, and the arguments of an example for it.

    Args:
        name: the model's, with its source in front.
        settled: whether BatchNorms get the statistics that they meet on the example, and not random ones.

    Raises:
        Exception: whatever its package raises where the model cannot be made.
    """
    import torch

    torch.manual_seed(0)
    source, _, short = name.partition(":")
    model, args, kwargs = _module(source).make(short)
    randomised(model.eval())
    if settled:
        settle(model, args, kwargs)
    return model, args, kwargs


def _module(source: str) -> Any:
    if source == "diffusers":
        from benchmarks.zoo import diffusers_models as module
    elif source == "timm":
        from benchmarks.zoo import timm_models as module
    elif source == "torchvision":
        from benchmarks.zoo import torchvision_models as module
    elif source == "transformers":
        from benchmarks.zoo import transformers_models as module
    else:
        raise ValueError(f"{source!r} is none of {', '.join(SOURCES)}")
    return module


def randomised(model: Any) -> Any:
    """Give what initialisation leaves constant random values, so that nothing hides behind zeros and ones.

    A bias of one number becomes positive: mostly it is that of an only output, such as a depth, and a ReLU may follow.
    Weights under which a signal fades from layer to layer, as those of small models that are drawn with the deviation
    of large ones, get the deviation sqrt(2 / inputs) of https://arxiv.org/abs/1502.01852; else biases alone are left.
    """
    import torch

    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Any) -> Any:
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not tensor.numel() or not tensor.is_floating_point():
                continue
            if not bool((tensor.abs() < _UNSET).all()):
                tensor.copy_(drawn(tensor))
            elif not bool((tensor == tensor.flatten()[0]).all()):
                inputs = tensor[0].numel()
                if tensor.ndim > 1 and float(tensor.std()) * inputs**0.5 < _FADING:
                    tensor.mul_((2 / inputs) ** 0.5 / tensor.std())
                elif tensor.ndim == 1 and name.endswith("weight") and float(tensor.abs().mean()) < _FADING:
                    tensor.add_(1)  # of a normalisation, which some draw around 0
            elif (value := float(tensor.flatten()[0])) == 0:
                tensor.copy_(drawn(tensor) * 0.02 if tensor.numel() > 1 else torch.full_like(tensor, 0.1))
            else:
                tensor.copy_((0.15 if abs(value) < 0.05 else value) * (1 + 0.1 * drawn(tensor)))
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.copy_(drawn(tensor) * 0.1)
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + drawn(tensor).abs())
            elif name.endswith((".embed", ".embed_sum")):  # a codebook, which is zeros until it is trained
                tensor.copy_(drawn(tensor))
    return model


def settle(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Give BatchNorms the statistics that they meet on a few examples, with which signals neither fade nor grow.

    Of inputs that are a batch of one there are four, of other means and deviations: what is alike all over one image
    may be another in the next. Weights are halved, so that what rounding does grows less along residual paths.
    BatchNorms that a call does not reach, or that meet one number for each channel, keep their statistics.
    """
    import torch

    from trtnn.from_torch.verify import mapped

    kind = torch.nn.modules.batchnorm._BatchNorm
    norms = [module for module in model.modules() if isinstance(module, kind) and module.running_var is not None]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
        if norm.weight is not None:
            norm.weight.data.mul_(0.5)
    generator = torch.Generator().manual_seed(0)

    def several(tensor: Any) -> Any:
        if not tensor.ndim or tensor.shape[0] != 1:
            return tensor
        if not tensor.is_floating_point():
            return tensor.repeat(4, *(1,) * (tensor.ndim - 1))
        mean, deviation = tensor.mean(), tensor.std(correction=0)
        drawn = [torch.randn(tensor.shape, generator=generator) for _ in range(3)]
        scaled = zip(drawn, (0.7, 1.0, 1.3), (1.0, 0.7, 1.3), strict=True)
        return torch.cat([tensor, *(mean * shift + deviation * scale * noise for noise, shift, scale in scaled)])

    args, kwargs = mapped((args, kwargs), several)
    with torch.no_grad(), contextlib.suppress(ValueError):  # of one number torch has no deviation
        model(*args, **kwargs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
        norm.running_var.clamp_(min=max(1e-3, 0.1 * float(norm.running_var.mean())))
