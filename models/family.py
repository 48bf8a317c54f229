"""Family: what the networks here have beyond a Module, so that they are found by name and by their weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, cast

from trtnn.checkpoint.state_dict import metadata_of
from trtnn.errors import ArgumentError, StateDictError, check_switches, harmless_text, listed
from trtnn.models import following
from trtnn.models.boxes import AnchorHead, Anchors
from trtnn.models.names import FROM_TORCH, unknown_name
from trtnn.models.registry import by_name, check_is_there_once, describe, identify, other_sizes, own_part
from trtnn.models.strangers import stranger
from trtnn.modules import Module
from trtnn.modules.module import LoadResult
from trtnn.modules.state import check_is_state_dict
from trtnn.shapes.spec import Input

# What a file says of where its weights come from, which goes with them into the engine.
_OF_CHECKPOINT = ("architecture", "version", "imgsz", "anchors", "fused", "taken", "others", "train_args")
_MOST_NAMED = 3  # arrays of other sizes


class Family(Module):
    """Networks of one design in several sizes.

    The constructor takes a name out of ``variants`` first, and calls :meth:`declare`.

    Attributes:
        variants: what makes each size, by its name.
        pipeline: a key of :data:`trtnn.vision.PIPELINES`, which says how images become inputs and outputs become
            detections.
        task: ``"detect"``, ``"segment"``, ``"pose"``, ``"obb"`` or ``"classify"``.
        heads: what the option ``head`` may be.
        sources: for each layer of ``model`` the number of the layer, or the numbers, that it takes, where the project
            that trains them numbers them so.
        fused: whether BatchNorm is folded into the convolutions.
    """

    variants: ClassVar[Mapping[str, Any]]
    pipeline: str
    task: str = "detect"
    heads: tuple[str, ...] = ("decoded", "raw")
    sources: Sequence[int | list[int]] = ()
    fused: bool = False
    _names_of_file: list[str] | None = None  # those in ``metadata`` that the last state dict brought
    _followed: Sequence[following.Change] = ()  # what else it brought

    def declare(
        self,
        name: str,
        classes: int,
        head: str,
        names: Sequence[str] | Mapping[int, str] | None,
        size: int,
        strides: Sequence[int] = (),
        stride: int | None = None,
    ) -> None:
        """Check the options that every family has, and set ``name``, ``classes``, ``strides``, ``inputs`` and
        ``metadata``.

        Args:
            name: of the variant.
            classes: how many.
            head: one of ``heads``.
            names: of the classes, for the engine file: a list, or a dict by index.
            size: the usual height and width of images.
            strides: pixels between the cells of each level of the head, the finest first; none for a classifier.
            stride: what height and width are multiples of, where it is not the last of ``strides``.

        Raises:
            ArgumentError: one of them is not what it may be.
        """
        if name not in self.variants:
            raise unknown_name(name, self.variants)
        if head not in self.heads:
            raise ArgumentError(f"{type(self).__name__} head {head!r}", f"known: {', '.join(map(repr, self.heads))}")
        if isinstance(classes, bool) or not isinstance(classes, Integral) or classes < 1:
            raise ArgumentError(f"classes is a positive int, not {classes!r}")
        names = None if names is None else _names_by_index(names)
        if names is not None and len(names) != classes:
            raise ArgumentError(f"{len(names)} names for {classes} classes")
        self.name, self.classes, self.strides = name, classes, tuple(strides)
        self.inputs = {"images": Input((1, 3, size, size))}
        self.metadata = {
            "model": name,
            "task": self.task,
            "pipeline": self.pipeline,
            "classes": classes,
            **({"stride": stride or strides[-1], "strides": list(strides)} if strides else {}),
            **({"names": names} if names is not None else {}),
        }

    @classmethod
    def task_of(cls, name: str) -> str:
        """Return the task of a variant."""
        return cls.task

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the constructor's arguments, ``"name"`` first, that a state dict's names and sizes tell of, or None.

        The names may be all that :meth:`canonical` knows; arrays may be flat, as ``.wts`` has them.
        """
        raise NotImplementedError(f"{cls.__name__} defines no identify")

    @classmethod
    def check_told(cls, state_dict: Mapping[str, Any]) -> None:
        """Check that what :meth:`identify` returns of a state dict is told by it, and not one reading of several.

        Raises:
            StateDictError: it is one of several, with all.
        """

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict under this family's own names, where another project's are known; else as it is.

        Raises:
            StateDictError: its names are those of a form that is known, and its arrays are not.
        """
        return state_dict

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> LoadResult:
        """Take arrays from a state dict, under any names that :meth:`canonical` knows; see :class:`trtnn.Module`.

        What :func:`trtnn.load` read beside the arrays is taken as well: the names of classes go into ``metadata``, the
        size of images into ``inputs``, activations and their like are made what the file says, and where the weights
        come from is kept as ``metadata["checkpoint"]``, which goes into the engine file. All of it is so until the next
        state dict is loaded: what that says nothing of is again as the model was constructed, or as somebody set it.

        Raises:
            ArgumentError: it is no state dict.
            StateDictError: as there, the file says that it is of another network than this, with the same names, or it
                holds this network twice, such as a teacher and a student.
        """
        check_switches(strict=strict, assign=assign)
        check_is_state_dict(self._state(), state_dict)
        part = own_part(type(self).identify, state_dict)
        check_is_there_once(part, state_dict)
        said: dict[str, Any] = metadata_of(part)
        if "names" in said:
            said = {**said, "names": _names_by_index(said["names"])}
        self.check(part, said)
        own = self.canonical(part)
        state = self._state()
        wanted = {name: member for name, member in state.items() if not member.optional}
        if strict and not all(name in own and math.prod(own[name].shape) == wanted[name].numel() for name in wanted):
            self._load(state, own, strict)  # which says what is missing, and what is of another size
        undone = [change for change in reversed(self._followed) if change.undo()]
        try:
            followed = following.changes(self, said.get("modules", {}), part, own)
            followed += self._adopted(said, own)
            optional = [member for name, member in state.items() if member.optional and name in own]
            before = [member.data for member in optional]
            result = self._load(state, own, strict)
        except BaseException:
            for change in reversed(undone):
                change.make()
            raise
        for change in followed:
            change.make()
        loaded = zip(optional, before, strict=True)
        self._followed = followed + [following.Change(member, "data", member.data, data) for member, data in loaded]
        self.adopt(said)
        if "anchors" not in said and self.comes_with_anchors(part):
            self._warn_of_anchors(own)
        return result

    @classmethod
    def comes_with_anchors(cls, state_dict: Mapping[str, Any]) -> bool:
        """Whether a whole state dict under names like these has the anchors of a head that has some."""
        return True

    def check_anchors(self, anchors: Anchors) -> None:
        """Check that anchors which were given are those that this model has, with its weights.

        Args:
            anchors: as the constructor takes them; ``"usual"`` are any.

        Raises:
            ArgumentError: the weights brought others.
        """
        for head in self.modules():
            if isinstance(head, AnchorHead) and not head.has_anchors(anchors):
                first = ", ".join(f"{width:g}×{height:g}" for width, height in head.anchors_px(0))
                raise ArgumentError(
                    f"the weights come with anchors of their own, {first}, ... pixels, and others were given",
                    "leave anchors out; they are for weights without any",
                )

    def _warn_of_anchors(self, own: Mapping[str, Any]) -> None:
        """Warn of anchors that nothing tells of, neither who made the model nor the file of the head's weights."""
        for path, head in self.named_modules():
            if not isinstance(head, AnchorHead) or not head.are_usual or f"{path}.anchors" in own:
                continue
            if any(name.startswith(f"{path}.") for name in own):
                first = ", ".join(f"{width:g}×{height:g}" for width, height in head.anchors_px(0))
                warnings.warn(
                    f"the weights come without {path}.anchors, and boxes are made with the usual ones, {first}, ... "
                    "pixels: they have wrong sizes where the network was trained with others; say which: "
                    "anchors=[...], on the command line --anchors",
                    stacklevel=3,
                )

    def check(self, state_dict: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """Check that what a file says of its network is true of this one.

        Args:
            state_dict: what it holds.
            said: its metadata.

        Raises:
            StateDictError: it is not; with both.
        """
        if "names" in said and not self._has_own_names and "classes" in self.metadata:
            said = {**said, "names of classes": len(said["names"])}
        expected = {key: self.metadata[key] for key in ("task", "classes", "strides") if key in self.metadata}
        expected["names of classes"] = self.metadata.get("classes")
        for key, mine in expected.items():
            if key in said and said[key] != mine:
                hints = ["or give names of your own: names=[...]"] if key == "names of classes" else []
                self._contradict(key, said[key], mine, *hints)
        for number, mine in enumerate(self.sources):
            theirs = said.get("modules", {}).get(f"model.{number}", {}).get("f", mine)
            if _absolute(theirs, number) != mine:
                self._contradict(f"layer {number} takes what layer", _absolute(theirs, number), mine)

    @property
    def _has_own_names(self) -> bool:
        """Whether somebody named the classes, and not a file that was loaded before."""
        names = self.metadata.get("names")
        return names is not None and names is not self._names_of_file

    def _contradict(self, what: str, theirs: Any, ours: Any, *hints: str) -> None:
        name, theirs = self.metadata.get("model"), harmless_text(str(theirs))
        raise StateDictError(
            f"the checkpoint does not fit {name}: {what}: {theirs} in the file, {ours} here; nothing was loaded",
            "if you know better, give the arrays alone: model.load_state_dict(dict(state_dict))",
            *hints,
        )

    def adopt(self, said: Mapping[str, Any]) -> None:
        """Take into ``metadata`` what a file says beside its arrays, which are in the model now."""
        self.metadata.pop("checkpoint", None)
        if told := {key: said[key] for key in _OF_CHECKPOINT if key in said}:
            self.metadata["checkpoint"] = told
        if not self._has_own_names:
            self.metadata.pop("names", None)
            self._names_of_file = said.get("names")
            if self._names_of_file is not None:
                self.metadata["names"] = self._names_of_file

    def _adopted(self, said: Mapping[str, Any], own: Mapping[str, Any]) -> list[following.Change]:
        """Return the anchors and the inputs that a file says, as changes.

        Raises:
            ArgumentError: the anchors are not as many as the model has.
        """
        adopted: list[following.Change] = []
        for path, head in self.named_modules() if "anchors" in said else ():
            if isinstance(head, AnchorHead) and f"{path}.anchors" not in own:
                adopted.append(following.Change(head.anchors, "data", head.in_cells(said["anchors"])))
        if "imgsz" in said:
            length: int | list[int] = said["imgsz"]
            size = length if isinstance(length, list) else [length, length]
            step = self.metadata.get("stride", 1)
            images = Input((1, 3, *(-(-side // step) * step for side in size)))
            adopted.append(following.Change(self.inputs, "images", images))
        return adopted

    def explain_state_dict(self, state_dict: Mapping[str, Any]) -> str:
        """Say which model of any family a state dict looks like."""
        described = describe(state_dict)
        if described is None:
            named = stranger(state_dict)
            more = f": it looks like {named}" if named else ""
            return f"this does not look like a {type(self).__name__}, nor like another model of trtnn{more}"
        arguments = identify(state_dict) or {}
        lines = [f"this looks like {described}"]
        if differing := other_sizes(state_dict):
            lines = [
                f"of the models here {described} is nearest, and {listed(differing, _MOST_NAMED)} are of other sizes: "
                "this has another width, depth or head",
                FROM_TORCH,
            ]
        elif arguments["name"] not in self.variants:
            lines.append("trtnn.models.from_state_dict(state_dict) makes that model")
        task = by_name()[arguments["name"]].task_of(arguments["name"])
        if task != self.metadata.get("task", task):
            lines.append(f"its task is {task}, that of {self.metadata['model']} is {self.metadata['task']}")
        elif arguments.get("fused", False) != self.fused:
            folded, how = ("is", "with") if arguments.get("fused") else ("is not", "without")
            lines.append(f"BatchNorm {folded} folded into its convolutions: create the model {how} fused=True")
        return "\n  ".join(lines)


def _absolute(source: following.Plain, number: int) -> Any:
    """Return the number of a layer that another takes, where it may be counted back from that."""
    if isinstance(source, list):
        return [_absolute(layer, number) for layer in source]
    return number + source if isinstance(source, int) and source < 0 and number else source


def _names_by_index(names: Any) -> list[str]:
    """Return the names of classes as a list: Ultralytics' models and data.yaml have dicts by index.

    Raises:
        ArgumentError: they are neither a list of text, nor a dict whose keys are 0, 1, 2, ...
    """
    listed: list[Any] = [None]
    received = f"received {harmless_text(repr(names)):.200}"
    if isinstance(names, Mapping):
        by_index = {str(index): name for index, name in cast("Mapping[Any, Any]", names).items()}
        listed = [by_index.get(str(index)) for index in range(len(by_index))]
    elif isinstance(names, Sequence) and not isinstance(names, str):
        listed = list(cast("Sequence[Any]", names))
    if not all(isinstance(name, str) for name in listed):
        raise ArgumentError(
            "names of classes are a list of text, or a dict of it by index, from 0 on",
            received,
        )
    return listed
