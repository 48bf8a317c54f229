"""Ray: detection in data sets that several GPUs, or several machines, share. Needs ``pip install "trtnn[ray]"``.

https://docs.ray.io/en/latest/data/data.html
"""

from trtnn.ray.detect import Detect
from trtnn.ray.job import Job, Progress

__all__ = ["Detect", "Job", "Progress"]
