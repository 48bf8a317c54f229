"""Triton Inference Server: repositories of models for it, and a client to models that it serves.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
"""

from trtnn.triton.client import TritonModel
from trtnn.triton.repository import write_repository

__all__ = ["TritonModel", "write_repository"]
