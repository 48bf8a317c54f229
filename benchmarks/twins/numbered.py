"""A network whose layers are numbered, each with the numbers of those that it takes, as Ultralytics number theirs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.twins.scaling import pictures, well_scaled, without_weights


class Numbered(nn.Module):
    """A list of layers, the head last; ``head`` is ``"decoded"`` or ``"raw"``, which train mode always gives."""

    def __init__(self, head: str = "decoded") -> None:
        super().__init__()
        self.head, self.model, self.sources = head, nn.ModuleList(), []

    def add(self, layer: nn.Module, *sources: int) -> None:
        """Append a layer that takes those of the numbers ``sources``; -1 is the one before, or the images."""
        self.model.append(layer)
        self.sources.append(sources or (-1,))

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        seen = [images]  # so that -1 is the one before
        for layer, sources in zip(self.model, self.sources, strict=True):
            seen.append(layer(*(seen[-1] if source == -1 else seen[source + 1] for source in sources)))
        return seen[-1] if self.training or self.head == "raw" else self.model[-1].decode(seen[-1])


def make(network: Callable[..., Numbered], name: str, classes: int, size: int = 64) -> Numbered:
    """Return a network with YOLOv8's head and well-scaled weights, which fit images of ``size`` pixels."""
    model = without_weights(network, name, classes)
    last = [branch[2] for branch in (*model.model[-1].cv2, *model.model[-1].cv3)]
    return well_scaled(model, last, pictures(4, size, size, 0))
