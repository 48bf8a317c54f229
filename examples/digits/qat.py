"""Trains the digits detector on with its numbers rounded to int8, so that the weights get used to it.

Scales are measured first, by trtnn.quantize on training scenes. torch then rounds what convolutions read, and their
weights with the BatchNorm behind folded in, by these scales; gradients pass as if nothing was rounded
(straight-through, https://arxiv.org/abs/1308.3432). BatchNorm stays as it is. What is written has the weights and the
scales, and loads as any other checkpoint.

examples:
  python -m trtnn.examples.digits.qat --steps 300 --out yolov5n-digits-int8.safetensors
  trtnn val yolov5n-digits-int8.safetensors --data pictures/ --reference
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import trtnn
from trtnn.examples.digits import SIZE_PX, WEIGHTS
from trtnn.examples.digits.loss import detection_loss
from trtnn.examples.digits.network import YOLOv5
from trtnn.examples.digits.predictors import load_twin
from trtnn.examples.digits.train import LARGEST_GRADIENT, SceneStream
from trtnn.models import from_state_dict

PEAK_RATE = 1e-4
LOW, HIGH = -128, 127


def rounded(x: Tensor, scale: float) -> Tensor:
    """Numbers as int8 says them, with gradients."""
    return torch.fake_quantize_per_tensor_affine(x, scale, 0, LOW, HIGH)


class RoundedWeight(nn.Module):
    """The weight of a convolution as int8 says it once a BatchNorm is folded in.

    Args:
        scale: (out_channels,), of the folded weight.
        factor: (out_channels,), what the BatchNorm multiplies each output channel by.
    """

    def __init__(self, scale: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("factor", factor[:, None, None, None], persistent=False)
        self.register_buffer("zero", torch.zeros(len(scale), dtype=torch.int32), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        folded = weight * self.factor
        return torch.fake_quantize_per_channel_affine(folded, self.scale, self.zero, 0, LOW, HIGH) / self.factor


def measure_scales(state: Mapping[str, np.ndarray], scenes: SceneStream, batches: int) -> dict[str, np.ndarray]:
    """The scales of a detector by name, measured on training scenes."""
    model = from_state_dict(state)
    model.inputs = {"images": trtnn.Input((scenes.batch, 3, SIZE_PX, SIZE_PX))}
    pictures = (images for images, _ in itertools.islice(scenes, batches))
    trtnn.quantize(model, (np.ascontiguousarray(p.permute(0, 3, 1, 2).numpy(), np.float32) / 255 for p in pictures))
    return {name: array for name, array in model.state_dict().items() if name not in state}


def round_while_training(model: YOLOv5, scales: Mapping[str, np.ndarray]) -> None:
    """Let a torch detector round as the quantised network does."""
    modules = dict(model.named_modules())
    for name, scale in scales.items():
        path, _, what = name.rpartition(".")
        module, holder = modules[path], modules[path.rpartition(".")[0]]
        if what == "input_scale":
            module.register_forward_pre_hook(lambda _, args, scale=float(scale): (rounded(args[0], scale),))
        elif what == "output_scale":
            module.register_forward_hook(lambda _, args, result, scale=float(scale): rounded(result, scale))
        elif what == "weight_scale":
            norm = getattr(holder, "bn", None)
            factor = torch.ones(len(scale)) if norm is None else norm.weight / (norm.running_var + norm.eps).sqrt()
            rounding = RoundedWeight(torch.from_numpy(scale), factor.detach().clone())
            parametrize.register_parametrization(module, "weight", rounding)


def train(steps: int, batch: int, seed: int, out: Path, weights: Path = WEIGHTS, batches: int = 16) -> YOLOv5:
    """Trains a detector on, rounded, and returns it; its weights and scales go into ``out``.

    Args:
        steps: how many.
        batch: pictures per step.
        seed: of the scenes.
        out: the file to write.
        weights: to begin with.
        batches: of 4 pictures, that the scales are measured on.
    """
    torch.manual_seed(seed)
    scenes, state = SceneStream(batch, seed), trtnn.load(weights)
    scales = measure_scales(
        state, SceneStream(min(batch, 4), seed + 1), max(1, 64 // min(batch, 4)) if steps > 5 else 1
    )
    model = load_twin(weights)
    model.train()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.eval().requires_grad_(False)  # the scales of weights are of what it multiplies them by
    round_while_training(model, scales)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], PEAK_RATE, weight_decay=0.0)
    for step, (images, targets) in enumerate(itertools.islice(scenes, steps)):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        parts = detection_loss(model.detect, model(images.permute(0, 3, 1, 2).float() / 255), targets)
        sum(parts.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0:
            losses = (f"{part} {float(value.detach()):.4f}" for part, value in parts.items())
            print(f"step {step}", *losses, sep="  ", flush=True)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    model.eval()
    trained = {n: t.detach().numpy() for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    trtnn.save({**trained, **scales}, out)
    return model


def main() -> None:
    summary, examples = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="pictures per step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: 0)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="to begin with (default: the example's own)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
