"""A network of one convolution and three outputs, for tests of what engines say of themselves."""

from __future__ import annotations

from typing import Any

from tests.helpers import numbers
from trtnn.modules import Conv2d


class TinyNet(Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        self.inputs = {"images": (1, 3, 8, 8)}
        self.metadata = {"model": "tiny", "names": ["cat", "dog"], "task": "detect"}

    def forward(self, images: Any) -> Any:
        y = super().forward(images)
        return {"a": y, "b": [y.relu(), y.sigmoid()]}


def loaded_net() -> TinyNet:
    net = TinyNet()
    net.load_state_dict({name: numbers(*p.shape) for name, p in net.named_parameters()})
    return net
