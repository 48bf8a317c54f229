"""A YOLOv5n that finds handwritten digits on photographs: its data, its training, its weights and its figures."""

from pathlib import Path

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "yolov5n-digits.safetensors"
PICTURE = FOLDER / "picture.jpg"
CLASSES = 10
SIZE_PX = 320
