"""Trains the digits detector from scratch on scenes made as it goes, on a GPU where there is one.

examples:
  python -m trtnn.examples.digits.train --minutes 8
  python -m trtnn.examples.digits.train --model yolov5s --minutes 20 --out yolov5s-digits.safetensors
  python -m trtnn.examples.digits.train --model yolov5n-dcn --steps 3600 --out yolov5n-dcn-digits.safetensors
  python -m trtnn.examples.digits.train --model yolo26n --minutes 7 --out yolo26n-digits.safetensors
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import trtnn
from trtnn.examples.digits import CLASSES, WEIGHTS, end_to_end_loss
from trtnn.examples.digits.evaluate import measure
from trtnn.examples.digits.loss import detection_loss
from trtnn.examples.digits.network import YOLOv5
from trtnn.examples.digits.predictors import torch_predictor
from trtnn.examples.digits.scenes import make_scene, training_source, validation_set
from trtnn.examples.digits.yolo26 import YOLO26

WARM_UP_STEPS = 300
PEAK_RATE, LAST_RATE = 3e-3, 3e-5
WEIGHT_DECAY = 0.02
LARGEST_GRADIENT = 1.0


class SceneStream(IterableDataset):
    """Endless batches of training scenes, each worker's its own.

    A batch is the pictures, (batch, h, w, 3) uint8, and their boxes, (t, 6) float32: picture, class, centre x, centre
    y, width, height, the last four in pixels.
    """

    def __init__(self, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        cv2.setNumThreads(0)  # the workers fill the cores already
        worker = get_worker_info()
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        source = training_source()
        while True:
            scenes = [make_scene(rng, source) for _ in range(self.batch)]
            rows = []
            for picture, scene in enumerate(scenes):
                low, high = scene.boxes[:, :2], scene.boxes[:, 2:]
                names = np.column_stack((np.full(len(scene.labels), picture), scene.labels))
                rows.append(np.column_stack((names, (low + high) / 2, high - low)).astype(np.float32))
            images = np.stack([scene.image for scene in scenes])
            yield torch.from_numpy(images), torch.from_numpy(np.concatenate(rows))


class Average:
    """The moving average of a model's weights and BatchNorm statistics, which is what is kept."""

    def __init__(self, model: nn.Module, steps: int = 1000) -> None:
        self.model = copy.deepcopy(model).eval()
        self.steps = steps
        self.seen = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.seen += 1
        share = 1 / min(self.steps, 1 + self.seen / 10)  # short at first, to forget the random start
        pairs = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        old, new = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
        torch._foreach_lerp_(list(old), list(new), share)


def expect_little(model: YOLOv5) -> None:
    """Sets the last biases to the odds of an empty picture, so that the first steps don't fight a flood of boxes."""
    for conv in model.detect.m:
        bias = conv.bias.detach().view(-1, 5 + model.classes)
        bias[:, 4] = math.log(0.01)
        bias[:, 5:] = -math.log(model.classes - 1)


class Recipe(NamedTuple):
    """How a family is trained.

    Attributes:
        make: makes a model of a name and a number of classes.
        start: sets its last biases.
        loss: of the model, what it gives in training, the true boxes, and how much of the training is behind.
    """

    make: Callable[..., nn.Module]
    start: Callable[[Any], None]
    loss: Callable[[Any, Any, Tensor, float], dict[str, Tensor]]


def recipe_of(name: str) -> Recipe:
    """The recipe of a model's family."""
    if name.startswith("yolo26"):
        loss = end_to_end_loss.end_to_end_loss
        return Recipe(YOLO26, end_to_end_loss.expect_little, lambda model, *rest: loss(model.detect, *rest))
    return Recipe(YOLOv5, expect_little, lambda model, raw, targets, _: detection_loss(model.detect, raw, targets))


def optimizer_for(model: nn.Module) -> torch.optim.AdamW:
    """AdamW, with which so short a training gets much further than with SGD; only convolutions' weights decay."""
    decaying = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.99))


def save(model: nn.Module, path: Path) -> None:
    """Writes the weights as fp16 safetensors, without the counters of BatchNorm."""
    state = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    halves = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in state.items()}
    for name, t in halves.items():
        if not t.isfinite().all():
            raise FloatingPointError(f"{name} does not fit fp16: up to {state[name].abs().max():g}")
    path.parent.mkdir(parents=True, exist_ok=True)
    trtnn.save(halves, path)


def train(name: str, minutes: float, steps: int | None, batch: int, workers: int, seed: int, out: Path) -> nn.Module:
    """Trains and returns the averaged model, saved to ``out`` as it improves.

    Args:
        name: of the model.
        minutes: of wall-clock time.
        steps: in place of ``minutes``, so that models of different speed see equally many pictures.
        batch: pictures per step.
        workers: processes that draw.
        seed: of the first weights and the scenes.
        out: the file to write.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(seed)
    recipe = recipe_of(name)
    model = recipe.make(name, classes=CLASSES).to(device, memory_format=torch.channels_last)
    recipe.start(model)
    average = Average(model)
    optimizer = optimizer_for(model)
    training_source()  # read once, before the workers fork
    held_out = validation_set(50)
    loader = DataLoader(
        SceneStream(batch, seed), batch_size=None, num_workers=workers, pin_memory=device.type == "cuda"
    )
    start = time.monotonic()
    spoken, checks, sums = start, 1, {}
    for step, (images, targets) in enumerate(loader, 1):
        done = (time.monotonic() - start) / (60 * minutes) if steps is None else (step - 1) / steps
        if done >= 1:
            break
        rate = LAST_RATE + (PEAK_RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * min(step / WARM_UP_STEPS, 1)
        pixels = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255  # channels last as they come
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            raw = model(pixels)
        parts = recipe.loss(model, raw, targets.to(device, non_blocking=True), done)
        sum(parts.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(model)
        sums = {part: sums.get(part, 0) + value.detach() for part, value in parts.items()} | {"n": sums.get("n", 0) + 1}
        if time.monotonic() - spoken > 10:
            spoken = time.monotonic()
            means = "  ".join(f"{part} {float(value) / sums['n']:.4f}" for part, value in sums.items() if part != "n")
            print(f"{spoken - start:5.0f} s  step {step}  {step * batch / (spoken - start):.0f} pictures/s  {means}")
            sums = {}
        if done > checks / 4:
            checks += 1
            save(average.model, out)
            score = measure(torch_predictor(average.model), held_out)
            print(f"{len(held_out)} validation pictures: mAP50 {score.map50:.3f}, mAP50-95 {score.map50_95:.3f}")
    save(average.model, out)
    print(f"{step - 1} steps of {batch} pictures in {time.monotonic() - start:.0f} s; weights in {out}")
    return average.model


def main() -> None:
    summary, examples = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="yolov5n", help="the model to train (default: %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=8, help="how long to train (default: %(default)s)")
    length.add_argument("--steps", type=int, help="how many steps to train, in place of a time")
    parser.add_argument("--batch", type=int, default=128, help="pictures per step (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw (default: all cores)")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the scenes (default: 0)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the file to write (default: the example's own)")
    train(**{"name" if key == "model" else key: value for key, value in vars(parser.parse_args()).items()})


if __name__ == "__main__":
    main()
