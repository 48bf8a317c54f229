"""A network as a user writes it: checked in strict mode, and never run."""

import numpy as np

import trtnn
from trtnn import functional as F
from trtnn.modules import BatchNorm2d, Conv2d, Linear, Module


class Block(Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = BatchNorm2d(channels)

    def forward(self, x: trtnn.Tensor) -> trtnn.Tensor:
        return x + F.silu(self.bn(self.conv(x)))


class Net(Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2d(3, 16, 3, 2, 1)
        self.block = Block(16)
        self.fc = Linear(16, 10)

    def forward(self, images: trtnn.Tensor) -> trtnn.Tensor:
        x = self.block(self.stem(images))
        return self.fc(x.mean((2, 3))).softmax(-1)


net = Net()
net.load_state_dict(trtnn.load("net.safetensors"))
engine = net.compile({"images": (1, 3, 64, 64)}, fp16=True)
scores = engine(np.zeros((1, 3, 64, 64), np.float32))
