"""Vision on the CPU: images to network inputs, network outputs to detections, and what people look at.

An image is a uint8 array (height, width, 3) in RGB everywhere in memory. A box is (x1, y1, x2, y2) in pixels, the
origin at the top left corner of the top left pixel. A rotated box is its centre, width, height and an angle in radians,
clockwise. A size is (height, width), as in a network's input shape. OpenCV reads, writes, resizes and draws.
"""

from trtnn.vision.boxes import box_iou
from trtnn.vision.detections import Detection, Detections
from trtnn.vision.drawing import draw
from trtnn.vision.evaluate import MeanAveragePrecision, mean_average_precision
from trtnn.vision.images import SUFFIXES, find_images, read_image, write_image
from trtnn.vision.labels import COCO, COCO_91, COCO_KEYPOINTS, COCO_LIMBS
from trtnn.vision.masks import Masks
from trtnn.vision.pipelines import PIPELINES, Pipeline, pipeline_of
from trtnn.vision.postprocessing import non_max_suppression, postprocess
from trtnn.vision.preprocessing import Placement, Preprocessing, letterbox, preprocess
from trtnn.vision.recognition import recognise
from trtnn.vision.rotated import corners_of, prob_iou

__all__ = [
    "COCO",
    "COCO_91",
    "COCO_KEYPOINTS",
    "COCO_LIMBS",
    "PIPELINES",
    "SUFFIXES",
    "Detection",
    "Detections",
    "Masks",
    "MeanAveragePrecision",
    "Pipeline",
    "Placement",
    "Preprocessing",
    "box_iou",
    "corners_of",
    "draw",
    "find_images",
    "letterbox",
    "mean_average_precision",
    "non_max_suppression",
    "pipeline_of",
    "postprocess",
    "preprocess",
    "prob_iou",
    "read_image",
    "recognise",
    "write_image",
]
