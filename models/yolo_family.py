"""What the YOLO families with the heads of :mod:`trtnn.models.yolo_heads` share: their tasks, and how they are found.

A name says its task by its end, as Ultralytics' do: yolov8n-seg, -pose, -obb, -cls, and nothing for detection.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

from trtnn.checkpoint.state_dict import metadata_of
from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import without_norms
from trtnn.models.family import Family
from trtnn.models.numbered import Source, call
from trtnn.models.panet import sources
from trtnn.models.registry import identify, own_part
from trtnn.models.sizes import expect_multiples
from trtnn.models.yolo_heads import MANY, OBB, ONE, Classify, Detect, Pose, Segment
from trtnn.modules import BatchNorm2d, Module, ModuleList

_OF_WORDS = re.compile(r"(reprta|savpe|lrpc)\.|cv4\.\d+\.(logit_scale|bias|norm)")  # in heads of YOLOE and YOLO-World
_FROM_TORCH = "trtnn.from_torch(module, example) takes the torch module with the head that it has"
KPT_SHAPE = (17, 3)  # COCO's key points, which published checkpoints have


class Task(NamedTuple):
    """What the published checkpoints of a task have: how many classes, and images of what size."""

    name: str
    classes: int
    size: int


TASKS = {
    "": Task("detect", 80, 640),
    "-seg": Task("segment", 80, 640),
    "-pose": Task("pose", 1, 640),
    "-obb": Task("obb", 15, 1024),
    "-cls": Task("classify", 1000, 224),
}


def suffix_of(name: str) -> str:
    """Return the part of a model's name that says its task."""
    return next((suffix for suffix in TASKS if suffix and suffix in name), "")


class Scale(NamedTuple):
    """How deep and wide a model is, and how many channels it has before it is made wide at most."""

    depth: float
    width: float
    most: int

    def channels(self, c: int) -> int:
        """Return how many channels stand for ``c``."""
        return math.ceil(min(c, self.most) * self.width / 8) * 8

    def repeats(self, n: int) -> int:
        """Return how many blocks stand for ``n``."""
        return max(round(n * self.depth), 1)


class Body(NamedTuple):
    """What stands before a head.

    Attributes:
        layers: numbered from 0.
        sources: what each takes, and the head behind them.
        channels: of the maps that the head takes.
    """

    layers: list[Module]
    sources: list[Source]
    channels: Sequence[int]


class YOLO(Family):
    """A family whose networks are a backbone, a PANet and one of these heads.

    Args:
        name: out of ``variants``; ``default_name`` where None.
        classes, head, names, fused, kpt_shape: as :class:`trtnn.models.yolov8.YOLOv8` has them.

    Attributes:
        default_name: of the variant that is made where none is named.
        head_classes: the head of each task.
        end2end: whether heads have a second set of branches, which is trained end to end.
        tops: how many modules stand between the backbone's last block and the way down the pyramid.
        blocks: of layer 4 in the deepest size.
        stem: the side of the first convolution's kernel.
        kpt_shape: how many key points, and how many numbers for each; None where the task has none.
    """

    variants: ClassVar[Mapping[str, Any]]
    default_name: ClassVar[str]
    head_classes: ClassVar[Mapping[str, type[Detect]]] = {
        "detect": Detect,
        "segment": Segment,
        "pose": Pose,
        "obb": OBB,
    }
    end2end: ClassVar[bool] = False
    tops: ClassVar[int] = 1
    blocks: ClassVar[int] = 6
    stem: ClassVar[int] = 3
    kpt_shape: tuple[int, int] | None = None

    def body(self, variant: Any) -> Body:
        """Return what stands before the head of a detector; by default a backbone and a PANet."""
        layers, channels = self.backbone(variant)
        neck, channels = self.neck(variant, channels)
        levels, stages = len(self.strides), int(math.log2(self.strides[-1])) - 1
        return Body([*layers, *neck], sources(levels, narrow=False, tops=self.tops, stages=stages), channels)

    def backbone(self, scale: Scale) -> tuple[list[Module], list[int]]:
        """Return the layers up to the coarsest map, and the channels of the maps that the neck takes, the finest first.

        They are on the head's strides; for a classifier all that is needed is the last.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no backbone")

    def neck(self, scale: Scale, channels: Sequence[int]) -> tuple[list[Module], list[int]]:
        """Return the layers of the PANet behind that, and the channels of the maps that it gives the head."""
        raise NotImplementedError(f"{type(self).__name__} defines no neck")

    def prototypes(self, variant: Any) -> int:
        """Return the channels between those of the prototypes of masks."""
        return variant.channels(256)

    def head_options(self, variant: Any) -> dict[str, Any]:
        """Return the options of this family's :class:`trtnn.models.yolo_heads.Detect`."""
        return {}

    def __init__(
        self,
        name: str | None = None,
        classes: int | None = None,
        head: str | None = None,
        names: Sequence[str] | Mapping[int, str] | None = None,
        fused: bool = False,
        kpt_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        name = self.default_name if name is None else name
        task = TASKS[suffix_of(name)]
        self.task, self.fused = task.name, fused
        classify = task.name == "classify"
        self.heads = ("probabilities", "logits") if classify else type(self).heads
        self.head = head = self.heads[0] if head is None else head
        start, end = ("end2end" if head == "end2end" else "yolov8"), ("" if task.name == "detect" else f"-{task.name}")
        self.pipeline = "yolo-classify" if classify else start + end
        classes = task.classes if classes is None else classes
        strides = () if classify else self.strides_of(name)
        size = 1280 if 64 in strides else task.size  # pixels
        self.declare(name, classes, head, names, size, strides)
        self.kpt_shape = _checked_kpt_shape(name, kpt_shape) if task.name == "pose" or kpt_shape is not None else None
        if self.kpt_shape is not None:
            self.metadata["kpt_shape"] = list(self.kpt_shape)
        variant = self.variants[name]
        if classify:
            layers, channels = self.backbone(variant)
            self.model = ModuleList([*layers, Classify(channels[-1], classes)])
            self.sources = list(range(-1, len(layers)))
            for module in self.modules():
                if isinstance(module, BatchNorm2d):
                    module.eps = 1e-5  # torch's own, which Ultralytics leave to classifiers
        else:
            layers, self.sources, channels = self.body(variant)
            self.model = ModuleList([*layers, self.make_head(variant, channels, classes)])
        if fused:
            self.declare_fused()

    def declare_fused(self) -> None:
        """Declare the parameters of a checkpoint whose BatchNorms are folded into the convolutions."""
        without_norms(self)

    def make_head(self, variant: Any, channels: Sequence[int], classes: int) -> Detect:
        """Return the head of the task."""
        options = self.head_options(variant)
        if self.end2end:  # to fold BatchNorm is to keep only the branches that are used
            options["branches"] = (ONE if self.head == "end2end" else MANY,) if self.fused else (MANY, ONE)
        if self.task == "segment":
            options["prototypes"] = self.prototypes(variant)
        if self.task == "pose":
            options["kpt_shape"] = self.kpt_shape
        head = self.head_classes[self.task](channels, classes, self.strides, **options)
        if self.end2end:  # who trained one set of branches alone has no others
            head.let_lack(MANY if self.head == "end2end" else ONE)
        return head

    def forward(self, images: Tensor) -> Any:
        *layers, head = self.model
        if self.task != "classify":
            expect_multiples(images.shape[2:], self.strides[-1], self.name)
        return head(*call(layers, self.sources, images), head=self.head)

    def explain_state_dict(self, state_dict: Mapping[str, Any]) -> str:
        own = own_part(identify, state_dict)
        sets = [] if self.task == "classify" else _branches(own, f"model.{_last_layer(own)}.")
        told = self._told_of_branches(sets, type(self).identify(own) is not None) if sets else []
        return "\n  ".join([super().explain_state_dict(state_dict), *told])

    def _told_of_branches(self, sets: Sequence[str], is_own: bool) -> list[str]:
        """Return lines that say how a head differs from this one in its sets of branches, and how it is loaded.

        Args:
            sets: of a state dict.
            is_own: whether that is of this family.
        """
        if is_own and self.end2end:
            there = "end2end" if sets == [ONE] else "one-to-many"
            is_there = len(sets) == 2 or (self.head == "end2end") == (there == "end2end")
            line = f'it has the branches of one head alone: create the model with head="{there}"'
            return [] if is_there else [line]
        family = type(self).__name__
        if self.end2end:
            return [] if ONE in sets else [f"its head is not end to end, as that of {family} is"]
        if ONE not in sets:
            return []
        lines = [f"its head is end to end, with branches called {ONE}..., and that of {family} is not"]
        if is_own and MANY in sets:
            lines.append(
                "load_state_dict(state_dict, strict=False) takes its other branches, whose boxes are suppressed"
            )
        return [*lines, _FROM_TORCH] if is_own else lines

    @classmethod
    def task_of(cls, name: str) -> str:
        return TASKS[suffix_of(name)].name

    @classmethod
    def strides_of(cls, name: str) -> tuple[int, ...]:
        """Return the pixels between the cells of each level of a detector, the finest first."""
        return 8, 16, 32

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        """Whether a state dict is of this family, by what stands before its head, whose path begins with ``head``."""
        raise NotImplementedError(f"{cls.__name__} defines no is_own")

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the model that a state dict's names and sizes tell of, or None."""
        head = f"model.{_last_layer(state_dict)}."
        told = _told_of_head(state_dict, head)
        if told is None or not cls.is_own(state_dict, head):
            return None
        if cls.end2end and f"{head}cv3.0.2.bias" in state_dict and f"{head}{ONE}cv3.0.2.bias" not in state_dict:
            told["head"] = "one-to-many"
        suffix = told.pop("suffix")
        names = [name for name in cls.variants if suffix_of(name) == suffix]
        name = cls.nearest(state_dict, head, names) if names else None
        return None if name is None else {"name": name, **told}

    @classmethod
    def nearest(cls, state_dict: Mapping[str, Any], head: str, names: Sequence[str]) -> str | None:
        """Return which of some variants a state dict is of, by the channels of its stem and the blocks of layer 4.

        Args:
            state_dict: of this family.
            head: what the names of its head begin with.
            names: of the variants of its task, one at least.
        """
        stem = state_dict.get("model.0.conv.weight")
        if stem is None:
            return None
        width = math.prod(stem.shape) / (3 * cls.stem**2)
        depth = sum(_has(state_dict, f"model.4.m.{i}.") for i in range(16))
        return min(names, key=lambda name: _distance(cls.variants[name], width, depth, cls.blocks))


def is_named(state_dict: Mapping[str, Any], start: str) -> bool:
    """Whether a state dict's file says that its network has a name with that start."""
    return str(metadata_of(state_dict).get("architecture", "")).lower().startswith(start)


def _distance(scale: Scale, width: float, depth: int, blocks: int) -> float:
    return abs(scale.channels(64) - width) / 64 + abs(scale.repeats(blocks) - depth)


def _has(state_dict: Mapping[str, Any], start: str) -> bool:
    return any(name.startswith(start) for name in state_dict)


def _branches(state_dict: Mapping[str, Any], head: str) -> list[str]:
    """Return what stands before the names of the sets of branches that a head has."""
    return [prefix for prefix in (MANY, ONE) if f"{head}{prefix}cv3.0.2.bias" in state_dict]


def _last_layer(state_dict: Mapping[str, Any]) -> int:
    numbers = (re.match(r"model\.(\d+)\.", name) for name in state_dict)
    return max((int(number[1]) for number in numbers if number), default=-1)


def _told_of_head(state_dict: Mapping[str, Any], head: str) -> dict[str, Any] | None:
    """Return what the names and sizes of a head tell: ``suffix``, the task, and arguments of the constructor.

    None is what a head of another form tells, such as those that compare with words.
    """
    if any(_OF_WORDS.match(name, len(head)) for name in state_dict if name.startswith(head)):
        return None
    fused = {} if any(name.endswith(".bn.weight") for name in state_dict) else {"fused": True}
    linear = state_dict.get(f"{head}linear.bias")
    if linear is not None:
        return {"suffix": "-cls", "classes": math.prod(linear.shape), **fused}
    sets = _branches(state_dict, head)
    if not sets:
        return None
    first = head + sets[0]
    told: dict[str, Any] = {"suffix": "", "classes": math.prod(state_dict[f"{first}cv3.0.2.bias"].shape)}
    more = state_dict.get(f"{first}cv4_kpts.0.bias", state_dict.get(f"{first}cv4.0.2.bias"))
    if f"{head}proto.cv3.conv.weight" in state_dict:
        told["suffix"] = "-seg"
    elif more is not None and math.prod(more.shape) == 1:
        told["suffix"] = "-obb"
    elif more is not None:
        sigma = state_dict.get(f"{first}cv4_sigma.0.bias")
        shape = _told_kpt_shape(state_dict, head, math.prod(more.shape), sigma)
        told |= {"suffix": "-pose"} | ({} if shape == KPT_SHAPE else {"kpt_shape": shape})
    return {**told, **fused}


def _told_kpt_shape(state_dict: Mapping[str, Any], head: str, numbers: int, sigma: Any) -> tuple[int, ...]:
    """Return how many key points, and how many numbers for each; the numbers alone where both 2 and 3 may be."""
    said: Any = metadata_of(state_dict).get("modules", {}).get(head.removesuffix("."), {}).get("kpt_shape")
    if said in [[numbers // each, each] for each in (2, 3)]:
        return numbers // said[1], said[1]
    if sigma is not None:  # which has two numbers for each point
        points = math.prod(sigma.shape) // 2
        return points, numbers // points
    fits = [(numbers // each, each) for each in (2, 3) if numbers % each == 0]
    return fits[0] if len(fits) == 1 else (numbers,)


def _checked_kpt_shape(name: str, kpt_shape: Sequence[int] | None) -> tuple[int, int]:
    """Return the points and numbers of a model for poses.

    Raises:
        ArgumentError: they are not those of points, or the model has none.
    """
    if suffix_of(name) != "-pose":
        raise ArgumentError(f"{name} has no key points", f"received kpt_shape={kpt_shape}")
    given: Any = KPT_SHAPE if kpt_shape is None else kpt_shape
    shape = tuple(cast("Sequence[Any]", given)) if isinstance(given, Sequence) else ()
    if len(shape) == 1 and type(shape[0]) is int and any(shape[0] % each == 0 for each in (2, 3)):
        ways = " or ".join(f"kpt_shape=({shape[0] // each}, {each})" for each in (2, 3) if shape[0] % each == 0)
        raise ArgumentError(
            f"the weights have {shape[0]} numbers for the key points of a box",
            f"say which: {ways}",
            "the checkpoint that Ultralytics wrote says it itself; a class of yours may: --model FILE.py:CLASS",
        )
    if len(shape) != 2 or any(type(n) is not int for n in shape) or shape[0] < 1 or shape[1] not in (2, 3):
        raise ArgumentError(f"kpt_shape is how many key points, and 2 or 3 numbers for each, not {kpt_shape}")
    return shape[0], shape[1]
