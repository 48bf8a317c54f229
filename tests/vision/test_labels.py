from trtnn.vision import COCO


def test_coco_has_its_80_classes_in_order():
    assert len(COCO) == len(set(COCO)) == 80
    known = {0: "person", 2: "car", 5: "bus", 9: "traffic light", 16: "dog", 27: "tie", 39: "bottle", 56: "chair"}
    known |= {62: "tv", 63: "laptop", 67: "cell phone", 73: "book", 79: "toothbrush"}
    assert {index: COCO[index] for index in known} == known
