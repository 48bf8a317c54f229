"""From a torch module to trtnn source that a person would have written.

>>> model = trtnn.from_torch(torchvision.models.resnet18().eval(), torch.rand(1, 3, 224, 224))
>>> trtnn.save_source(model, "resnet18.py")  # and its weights, resnet18.safetensors

The module itself is called. It is a namespace as well: ``trtnn.from_torch.converter`` registers what an operation of
one's own is. torch is imported by the first of these calls.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trtnn.errors import check_switches
from trtnn.torch_import import import_with_torch

if TYPE_CHECKING:
    from trtnn.modules.module import Module


class _FromTorch(ModuleType):
    """This module: a function, and a namespace."""

    def __call__(
        self, module: Any, /, *inputs: Any, dynamic: Any = None, verify: bool = True, **named_inputs: Any
    ) -> Module:
        """Convert a torch module to a trtnn module: the source that :func:`trtnn.save_source` writes, executed.

        The module is called once with the example, and what it does is written as classes like its own, with its
        author's names. Its weights are loaded, not copied. Names in the state dict are torch's.

        Args:
            module: a torch.nn.Module in evaluation, or a function of tensors.
            *inputs, **named_inputs: the example that it is called with: tensors, in structures where it takes such.
            dynamic: what is known only when the network runs: a :class:`trtnn.Dim` for the first dimension of every
                input, or shapes with Dims by the names of the inputs.
            verify: whether the result is compared with torch on the example and on a second input, of other values and,
                where they are dynamic, of other lengths.

        Returns:
            A Module. ``source`` is its text; ``inputs`` are declared, so that ``trace()`` and ``compile()`` need none.

        Raises:
            UnsupportedError: the module does what no network can, or what trtnn has not: every such operation, with
                how often, in which modules and at which lines.
            ArgumentError: there is no example, or the module is none.
            VerificationError: the result differs from torch's.
            BackendError: torch is not installed.
        """
        check_switches(verify=verify)
        declared = import_with_torch("trtnn.from_torch.declared", "trtnn.from_torch needs")
        conversion, model = declared.convert(module, inputs, named_inputs, dynamic, verify=verify)
        if conversion.in_forward is not None:
            warnings.warn(f"rounding stays in forward, and fp16 around it: {conversion.in_forward}", stacklevel=2)
        if conversion.int8_sums:
            paths = ", ".join(path or "the model" for path in conversion.int8_sums)
            warnings.warn(
                f"sums read int8 where torch adds floats, in {paths}: "
                "a quantiser on the other side, a TensorQuantizer or a FakeQuantize, has them in torch as well",
                stacklevel=2,
            )
        for note in conversion.notes:
            warnings.warn(note, stacklevel=2)
        return model

    def converter(self, target: Any) -> Callable[[Callable[..., str]], Callable[..., str]]:
        """Register a converter; see :func:`trtnn.from_torch.operations.converters.converter`."""
        name = "trtnn.from_torch.operations.converters"
        return import_with_torch(name, "trtnn.from_torch needs").converter(target)


sys.modules[__name__].__class__ = _FromTorch
