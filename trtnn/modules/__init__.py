"""The building blocks, under torch.nn's names."""

from trtnn.modules.activation import Hardswish, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax
from trtnn.modules.container import ModuleDict, ModuleList, Sequential
from trtnn.modules.conv import Conv2d, ConvTranspose2d
from trtnn.modules.linear import Linear
from trtnn.modules.module import Module
from trtnn.modules.norm import BatchNorm2d
from trtnn.modules.pooling import MaxPool2d
from trtnn.modules.upsampling import Upsample

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Hardswish",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Upsample",
]
