"""Every function of torch's that a call runs, under torch's own name: noted on the tape, or refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from trtnn.from_torch.recording.arguments import Arguments
from trtnn.from_torch.recording.casts import cast_of, note_wide
from trtnn.from_torch.recording.frames import caller, only_decides_to_raise, stored_names
from trtnn.from_torch.recording.lengths import plain, with_origin, without_origins
from trtnn.from_torch.recording.picks import Picked, Places, are_same_masks, of_each_element, picked
from trtnn.from_torch.recording.steps import Callee, Value, tensors_in
from trtnn.from_torch.recording.strides import read_by_dimensions
from trtnn.from_torch.recording.sums import added_by_indices
from trtnn.from_torch.recording.tape import Tape

_functorch: Any = torch._C._functorch  # type: ignore[attr-defined]  # of vmap, grad and their like
# What gives Python a tensor's numbers, or a shape that depends on them.
_LEAVES_THE_GRAPH = frozenset((
    "item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "__complex__",
    "__contains__", "is_nonzero", "equal", "allclose", "data_ptr", "__dlpack__", "untyped_storage", "storage",
    "nonzero", "argwhere", "nonzero_static", "unique", "unique_consecutive", "masked_select", "bincount",
))  # fmt: skip
# Of these what gives numbers that know nothing of their tensor.
_GIVES_NUMBERS = frozenset((
    "item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__contains__", "is_nonzero", "equal",
    "allclose",
))  # fmt: skip
# What a tensor is asked for that says nothing of its numbers.
_SAYS_NOTHING = frozenset((
    "dim", "ndimension", "is_contiguous", "is_floating_point", "is_complex", "element_size", "stride", "storage_offset",
    "is_same_size", "get_device", "has_names", "is_signed", "is_inference", "is_conj", "is_neg", "is_pinned",
    "__format__", "__repr__", "__str__", "__hash__", "__len__", "requires_grad_", "result_type", "can_cast",
    "promote_types", "is_tensor", "is_storage", "finfo", "iinfo", "is_grad_enabled", "is_autocast_enabled",
    "broadcast_shapes", "_is_view",
))  # fmt: skip
# What is another operation under a name of Python's.
_PLAINER = {"get:data": "detach", "__deepcopy__": "clone"}
# What takes lengths, of which torch makes numbers where they are tensors; the first of it behind a tensor.
_MAKES_OF_LENGTHS = frozenset(("zeros", "ones", "full", "empty"))
_TAKES_LENGTHS = _MAKES_OF_LENGTHS | {
    "pad", "view", "reshape", "expand", "repeat", "tile", "new_zeros", "new_ones", "new_full", "new_empty",
    "unflatten", "interpolate", "roll", "split", "narrow",
}  # fmt: skip
_INDEXES = {getattr(torch.ops.aten, name): name for name in ("index", "index_put", "index_put_")}
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_PACKED = (
    "a network has the padded sequence: compute it of that, before pack_padded_sequence or behind pad_packed_sequence"
)
_TRANSFORMED = "it calls a function with tensors of its own, which no source can name: write what it computes"
_KNOWN_LATER = "what comes of it depends on numbers that are known only when the network runs"


class FunctionCalls(TorchFunctionMode):
    """Notes the functions that are called while it is entered."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self._picked: dict[int, Picked] = {}  # by the id of what a mask picked
        self.places = Places(tape)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tape = self.tape
        tape.depth += 1
        try:
            index = _INDEXES.get(getattr(func, "overloadpacket", func))
            if index is not None and not args[3:] and not kwargs:  # the fourth is whether values are added
                return self._index(index, *args)
            if index == "index_put" and args[3:] == (True,) and (added := self._added(*args[:3])) is not None:
                return added
            if (
                getattr(func, "__name__", "") == "as_strided"
                and (read := self._strided(*args, **(kwargs or {}))) is not None
            ):
                return read
            return self._followed(func, args, kwargs or {})
        finally:
            tape.depth -= 1

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function, and note what it did."""
        func, args = self._as_networks_have_it(func, args)
        tape, (name, owner) = self.tape, name_of(func)
        self._refuse_transforms(args, kwargs)
        self.places.refuse((args, kwargs))
        args, kwargs = self._with_lengths(name, args, kwargs)
        before = Arguments(tape, args, kwargs)
        first = next(iter((*before.args, *before.kwargs.values())), None)
        if before.depends:
            self._refuse_numbers(name, owner, before.args)
        if name == "__iter__":
            result: Any = args[0].unbind(0)
        else:
            result = func(*without_origins(args), **without_origins(kwargs))
        if name == "__getitem__" and before.depends and _picks_by_a_mask(name, before.args):
            self._picked[id(result)] = picked((result, *args), tape.refusals[-1])
        self.places.note(name, before, args, result)
        self._refuse_parts(name, args, kwargs, result)
        if name in ("get:shape", "size") or (name == "sym_size" and id(args[0]) not in self._picked):
            return self._lengths(first, result, before.args[1:] or tuple(before.kwargs.values()))
        if name in ("numel", "nelement", "get:nbytes", "sym_numel"):
            return with_origin(result, "numel", first, watcher=tape)
        if name in _GIVES_NUMBERS and not before.depends:
            return self._number(name, before, first, result)
        if name == "__len__":
            tape.took_len()
        written = before.written()
        if written is None and not any(True for _ in tensors_in(result)):
            return result
        if name in _SAYS_NOTHING or name in ("get:grad", "__setstate__"):
            return result
        if isinstance(result, torch.Tensor) and written is None and any(result is a for a in args):
            return self._cast(name, before, result)  # itself: a tensor that was contiguous, or in the type asked for
        note_wide(tape.scope, before.args, before.kwargs)
        name = _PLAINER.get(name, name)
        if name in ("clone", "type"):  # which takes names and classes of tensors as well
            before.args, before.kwargs = (first, *([result.dtype] if name == "type" else [])), {}
        writes = None if written is None else tape.written(written, before.depends, name)
        tape.add(Callee("function", func, name, owner), (before.args, before.kwargs), result, writes)
        return iter(result) if name == "__iter__" else result

    def _strided(self, input: Any, size: Any, stride: Any, storage_offset: Any = None) -> torch.Tensor | None:
        """Return what a tensor's memory holds in another order, where that is told by its dimensions; else None."""
        if not self.tape.depends(input) or storage_offset not in (None, input.storage_offset()):
            return None
        run = partial(self._run, kwargs={})
        return read_by_dimensions(input, size, stride, run, is_dynamic=self.tape.is_dynamic)

    def _index(self, name: str, x: torch.Tensor, indices: Any, *values: Any) -> Any:
        """Do what ATen's operation does by an index of Python's, in which a whole dimension is a slice and not None."""
        places = tuple(slice(None) if place is None else place for place in indices)
        index: Any = places[0] if len(places) == 1 else places
        if name == "index":
            return self._run(torch.Tensor.__getitem__, (x, index), {})
        changed = self._run(torch.Tensor.clone, (x,), {}) if name == "index_put" else x
        self._run(torch.Tensor.__setitem__, (changed, index, *values), {})
        return changed

    def _added(self, x: torch.Tensor, indices: Any, values: torch.Tensor) -> torch.Tensor | None:
        """Return what ATen's operation adds up by an index that begins with whole dimensions, or None."""
        if self.tape.is_dynamic:
            return None

        def run(func: Any, args: tuple[Any, ...]) -> Any:
            return self._run(func, args, {})

        def is_known(tensor: torch.Tensor) -> bool:
            return not self.tape.depends(tensor) and not self.tape.is_of_weights(tensor)

        return added_by_indices(x, indices, values, run, is_known)

    def _cast(self, name: str, before: Arguments, result: torch.Tensor) -> torch.Tensor:
        """Return what a call gave that did nothing to a tensor, as another one where it is a cast to be kept."""
        cast = cast_of(self.tape, name, before.args, before.kwargs)
        if cast is None:
            return result
        callee, args = cast
        with torch._C.DisableTorchFunction():
            other = result.view_as(result)
        self.tape.add(callee, (args, {}), other)
        self.tape.value(other).cast_of = args[0].uncast
        return other

    def _refuse_parts(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Refuse what is computed of the tensors of a packed sequence, which a network has not."""
        packed = self.tape.packed if name not in _SAYS_NOTHING else ()
        taken = packed and any(id(part) in packed and part is not result for part in tensors_in((args, kwargs)))
        if taken and not isinstance(result, (torch.device, torch.dtype, torch.layout, bool)):
            self.tape.refuse(f"{name} of what a packed sequence is made of", _PACKED)

    def _refuse_transforms(self, args: Any, kwargs: Any) -> None:
        """Refuse what vmap, grad and their like compute of the inputs: their tensors stand for others."""
        transform = _functorch.peek_interpreter_stack()
        if transform is None:
            return
        for tensor in tensors_in((args, kwargs)):
            inner = tensor
            while _functorch.is_functorch_wrapped_tensor(inner):
                inner = _functorch.get_unwrapped(inner)
            self.tape.value(tensor).depends |= self.tape.depends(inner)
        if any(map(self.tape.depends, tensors_in((args, kwargs)))):
            self.tape.refuse(f"torch.func.{transform.key().name.lower()}", _TRANSFORMED)

    def _refuse_numbers(self, name: str, owner: str, args: Any) -> None:
        """Refuse what asks for numbers that depend on the inputs, or for as many elements as a mask is true for."""
        if name in _LEAVES_THE_GRAPH and not _only_checks(name):
            self.tape.refuse(f"{owner}.{name}", _KNOWN_LATER)
        if name in ("__getitem__", "where") and _picks_by_a_mask(name, args):
            self.tape.refuse(f"{owner}.{name} of a mask", _KNOWN_LATER)

    def _as_networks_have_it(self, func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Return a function and arguments that do the same and that a network has: without masks, by newer names."""
        name = getattr(func, "__name__", "")
        if name == "new" and len(args) > 1 and func is torch.Tensor.new:
            return _newer(args)
        if name == "masked_select" and len(args) == 2 and self._is_constant_mask(args[1]):
            func, name = (torch.Tensor.__getitem__, "__getitem__") if args[0].shape == args[1].shape else (func, name)
        if name in ("__getitem__", "__setitem__"):
            x, index, *value = [*args]
            args = (x, self.places.as_mask(index), *value)
        if name == "__setitem__":
            return func, self._as_picked(self._as_choice(args))
        return func, self._with_places(args) if name == "__getitem__" else args

    def _as_picked(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return ``x[mask] = rows`` as ``x[...] = x.masked_scatter(mask, rows)``, and other arguments as they are.

        That is so where the rows are several: one is for all places.
        """
        x, index, value = args
        is_mask = isinstance(index, torch.Tensor) and index.dtype is torch.bool and self.tape.depends(index)
        if not is_mask or not isinstance(value, torch.Tensor) or not index.ndim:
            return args
        rest = x.shape[index.ndim :]
        if value.ndim != 1 + len(rest) or value.shape[0] == 1:
            return args
        self.tape.requires(value, 0, ">", 1)
        if value.shape[1:] != rest:
            value = self._run(torch.Tensor.expand, (value, (-1, *rest)), {})
        if rest:
            index = self._run(torch.Tensor.__getitem__, (index, (..., *[None] * len(rest))), {})
        return x, ..., self._run(torch.Tensor.masked_scatter, (x, index, value), {})

    def _as_choice(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return ``x[mask] = y[mask]`` as ``x[...] = where(mask, y, x)``, and the arguments of others as they are.

        How many elements the mask picks is no matter then, and what was noted against it is taken back.
        """
        x, index, value = args
        found = self._picked.get(id(value))
        if found is None or not found.is_as_it_was():
            return args
        _, y, mask = found.tensors
        if x.shape != y.shape or not self._are_same(index, mask):
            return args
        self.tape.take_back(found.refusals)
        if mask.ndim < x.ndim:
            mask = self._run(torch.Tensor.__getitem__, (mask, (..., *[None] * (x.ndim - mask.ndim))), {})
        return x, ..., self._run(torch.where, (mask, y, x), {})

    def _are_same(self, index: Any, mask: Any) -> bool:
        if not (isinstance(index, torch.Tensor) and isinstance(mask, torch.Tensor)):
            return index is mask
        return are_same_masks(self.tape.value(index), self.tape.value(mask), self.tape.scope)

    def _followed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function; what it computes of each element that a mask picked, note of all elements as well.

        In place it is called aside: what a mask picked is nowhere else.
        """
        name = name_of(func)[0]
        found = [self._picked[id(value)] for value in args if id(value) in self._picked]
        anew = of_each_element(func, name) if found and "inplace" not in kwargs else None
        tensors = [value for value in tensors_in((args, kwargs)) if value.ndim]
        masks = [each.tensors[2] for each in found]
        is_known = anew is not None and len(tensors) == len(found) and all(each.is_as_it_was() for each in found)
        if not (is_known and all(self._are_same(mask, masks[0]) for mask in masks)):
            return self._run(func, args, kwargs)
        whole = tuple(self._picked[id(v)].tensors[1] if id(v) in self._picked else v for v in args)
        whole = self._run(anew, whole, kwargs)
        if anew is func:
            result = self._run(func, args, kwargs)
        else:
            with torch._C.DisableTorchFunction():
                result = func(*without_origins(args), **without_origins(kwargs))
        refusals = (refusal for each in found for refusal in each.refusals)
        self._picked[id(result)] = picked((result, whole, masks[0]), *refusals)
        return result

    def _is_constant_mask(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.dtype is torch.bool and not self.tape.depends(value)

    def _with_places(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of an indexing with the places that constant masks pick, for a network has no masks."""
        x, index = args
        items = index if isinstance(index, tuple) else (index,)
        if not self.tape.depends(x) or not any(map(self._is_constant_mask, items)):
            return args
        places: list[Any] = []
        for item in items:
            if self._is_constant_mask(item) and item.ndim:
                places += self._run(torch.Tensor.nonzero, (item,), {"as_tuple": True})
                self._name_places(item)
            else:
                places.append(item)
        return x, tuple(places)

    def _name_places(self, mask: torch.Tensor) -> None:
        """Let what the last step has found be called after the mask, and not after what it is to pick."""
        scope = self.tape.scope
        if scope is None:
            return
        step = scope.steps[-1]
        held = [name.rpartition(".")[2] for name in self.tape.held.get(id(mask), ())]
        held += [name for name, value in vars(scope.module).items() if value is mask]
        names = [*held, *step.names.get(id(self.tape.value(mask)), ())]
        step.stored = f"{names[0]}_places" if names else "places"

    def _with_lengths(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments with plain numbers for lengths that are constant tensors: torch makes numbers of them."""
        if name not in _TAKES_LENGTHS:
            return args, kwargs
        first = 0 if name in _MAKES_OF_LENGTHS else 1
        taken = {key: item if key == "input" else self._length(item) for key, item in kwargs.items()}
        return (*args[:first], *map(self._length, args[first:])), taken

    def _length(self, value: Any) -> Any:
        """Return an argument, or the items of one, as torch takes lengths."""
        if type(value) in (tuple, list) and any(isinstance(item, (torch.Tensor, tuple, list)) for item in value):
            return type(value)(map(self._length, value))
        is_number = isinstance(value, torch.Tensor) and value.ndim == 0 and value.dtype in _WHOLE
        if not is_number or self.tape.depends(value):
            return value
        self.tape.took_number()
        with torch._C.DisableTorchFunction():
            return int(value)

    def _number(self, name: str, before: Arguments, first: Any, result: Any) -> Any:
        """Return numbers of what no input decides; one of a parameter's knows that, and others of weights are noted."""
        if name == "item" and self._is_parameter(first):
            return with_origin(result, "item", first, watcher=self.tape)
        self.tape.took_weights((before.args, before.kwargs))
        return result

    def _is_parameter(self, value: Any) -> bool:
        return isinstance(value, Value) and bool(self.tape.held.get(id(value.tensor)))

    def _lengths(self, value: Any, result: Any, dims: tuple[Any, ...]) -> Any:
        """Return the lengths of a tensor as numbers that know it."""
        if not isinstance(value, Value):
            return result
        if isinstance(result, int):
            dim = plain(dims[0])
            return with_origin(result, "shape", value, dim if dim >= 0 else dim + value.tensor.ndim, watcher=self.tape)
        lengths = torch.Size([with_origin(n, "shape", value, i, watcher=self.tape) for i, n in enumerate(result)])
        frame = caller()
        if frame is not None and isinstance(stored_names(frame), list):  # B, C, H, W = x.shape
            self.tape.add(Callee("lengths", None, "shape", "torch.Tensor"), ((value,), {}), tuple(lengths))
        return lengths


def _only_checks(name: str) -> bool:
    """Whether numbers that are asked for decide nothing but whether an error is raised: a network raises none."""
    return name in _GIVES_NUMBERS and only_decides_to_raise()


def _newer(args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return what ``x.new`` is called today: it takes lengths, a size, or numbers."""
    x, *rest = args
    if isinstance(rest[0], torch.Size) or all(isinstance(item, int) for item in rest):
        return torch.Tensor.new_empty, (x, tuple(rest[0]) if isinstance(rest[0], torch.Size) else tuple(rest))
    return torch.Tensor.new_tensor, args


def _picks_by_a_mask(name: str, args: Any) -> bool:
    """Whether an operation picks by a mask of the inputs: how many elements there are depends on their numbers."""
    if name == "where":
        return len(args) == 1 and args[0].depends
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return any(isinstance(v, Value) and v.depends and v.tensor.dtype is torch.bool for v in index)


def name_of(func: Any) -> tuple[str, str]:
    """Return the last name of a function of torch's, and what it is a function of."""
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__"):
        return f"{name[2:5]}:{getattr(func.__self__, '__name__', '?')}", "torch.Tensor"
    if isinstance(func, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        packet = func.overloadpacket if isinstance(func, torch._ops.OpOverload) else func
        namespace, _, short = packet._qualified_op_name.partition("::")
        return short, f"torch.ops.{namespace}"
    if getattr(torch, name, None) is func:  # the table takes torch.mm for torch.spmm, which is the same in C
        return name, "torch"
    full = resolve_name(func) or f"{getattr(func, '__module__', None) or 'torch'}.{name}"
    owner, _, short = full.rpartition(".")
    return short, owner
