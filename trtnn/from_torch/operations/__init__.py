"""What torch's functions and modules are in trtnn: the dictionary, which people may add to."""

# Whoever asks, ATen's operations are registered.
from trtnn.from_torch.operations import aten, decomposed  # noqa: F401
