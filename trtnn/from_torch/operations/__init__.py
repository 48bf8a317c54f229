"""What torch's functions and modules are in trtnn: the dictionary, which people may add to."""

from trtnn.from_torch.operations import aten  # noqa: F401  whoever asks, ATen's operations are registered
