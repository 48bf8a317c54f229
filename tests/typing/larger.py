"""A larger network of containers, parameters, methods, operators and dynamic lengths; see ``net.py``."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

import trtnn
from trtnn import Buffer, Dim, Input, Parameter, Tensor
from trtnn import functional as F
from trtnn import modules as nn
from trtnn.models.yolov5 import YOLOv5


class Scaled(nn.Module):
    """A module with parameters, a buffer, and what is not there."""

    def __init__(self, channels: int, shift: bool = True) -> None:
        super().__init__()
        self.scale = Parameter(channels)
        self.mean = Buffer(channels, data=np.zeros(channels, np.float32))
        self.shift = Parameter(channels, 1, 1) if shift else None
        self.register_buffer("steps", np.arange(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean.view(1, -1, 1, 1)) * self.scale.reshape(1, -1, 1, 1)
        return x if self.shift is None else x + self.shift


class Pyramid(nn.Module):
    """Containers, walked, indexed and called."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(inplace=True), Scaled(b))
            for a, b in zip((3, *widths), widths, strict=False)
        )
        self.stages.append(nn.Identity())
        self.heads = nn.ModuleDict({"scores": nn.Linear(widths[-1], 10), "boxes": nn.Linear(widths[-1], 4)})
        self.named = nn.Sequential(OrderedDict([("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten())]))
        self.temperatures = nn.ParameterList([Parameter(1), Parameter(1)])
        self.gains = nn.ParameterDict({"scores": Parameter(10)})
        self.lstm = nn.LSTM(widths[-1], widths[-1], batch_first=True, bidirectional=True)
        self.inputs = {"images": Input((Dim("batch", 1, 2, 8), 3, 64, 64))}
        self.metadata = {"names": ["a", "b"]}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps: list[Tensor] = []
        x = images.float() / 255
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        batch, channels, rows, columns = x.shape
        tokens = x.view(batch, channels, rows * columns).permute(0, 2, 1)
        tokens, (hidden, _) = self.lstm(tokens)
        tokens = tokens[..., :channels] + tokens[:, :, channels:]
        pooled = self.named(x) + tokens.mean(1) + hidden[-1]
        pooled = F.dropout(pooled, 0.1, training=False)
        scores = self.heads["scores"](pooled) * self.gains["scores"] / self.temperatures[0]
        boxes = self.heads["boxes"](pooled).sigmoid() * F.tensor([columns, rows, columns, rows])
        best, index = scores.topk(3, dim=-1)
        first = self.stages[0]
        assert isinstance(first, nn.Sequential)
        masked = F.where(scores > 0.5, scores, -scores).clamp(min=0.0)
        masked[:, 0] = 0.0
        joined = F.cat([maps[0].flatten(1).mean(-1, keepdim=True), best.sum(-1, keepdim=True)], dim=1)
        return {"scores": masked.softmax(-1), "boxes": boxes, "index": index.int(), "joined": joined.to(trtnn.float16)}


model = Pyramid([16, 32]).eval()
model.load_state_dict(torch.load("pyramid.pt"), strict=False)
result = model.load_state_dict(trtnn.load("pyramid.safetensors"), strict=False)
print(result.missing_keys, [name for name, parameter in model.named_parameters() if parameter.ndim == 1])
for path, module in model.named_modules():
    if isinstance(module, nn.Conv2d):
        print(path, module.weight.shape, module.kernel_size, module.out_channels)

network = model.trace({"images": (Dim("batch", 1, 2, 8), 3, 64, 64)}, fp16=True, fp32_modules=["heads.*"])
print(network.summary())
numbers = network.run(np.zeros((2, 3, 64, 64), np.float32))
engine = network.build(trtnn.BuildConfig(workspace_bytes=1 << 30))
engine.save("pyramid.engine")
outputs = trtnn.Engine.load("pyramid.engine")(images=torch.zeros(2, 3, 64, 64))
print(outputs["scores"], trtnn.compare(network, np.zeros((2, 3, 64, 64), np.float32)))

yolo = YOLOv5("yolov5s", classes=80)
yolo.load_state_dict(trtnn.load("yolov5s.pt"))
for detections in trtnn.Detector(yolo.compile(fp16=True))([np.zeros((480, 640, 3), np.uint8)]):
    print(detections.boxes, detections.scores)
