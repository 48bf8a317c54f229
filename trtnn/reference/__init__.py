"""The reference: a network definition, read back layer by layer and executed on the CPU by torch.

Nothing of what made the network is reused, so it checks the network itself. In half precision every layer's result is
rounded to fp16 and sums are carried in fp32, as the GPU's tensor cores do.
"""

from trtnn.reference.interpreter import Interpreter

__all__ = ["Interpreter"]
