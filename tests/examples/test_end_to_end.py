"""The digits detector as YOLO26: which cells learn which boxes, the loss, and that weights make the network."""

import numpy as np
import pytest
import torch

from benchmarks.twins.scaling import pictures, well_scaled
from tests.models.checks import assert_best_close
from trtnn.examples.digits import SIZE_PX, train
from trtnn.examples.digits.end_to_end_loss import (
    CELLS,
    SHARE_OF_MANY,
    WEIGHTS,
    Truth,
    assign,
    by_picture,
    end_to_end_loss,
    expect_little,
    loss_of_set,
    pairwise_iou,
)
from trtnn.examples.digits.evaluate import detections_of
from trtnn.examples.digits.predictors import BATCH, load_twin, network_predictor, torch_predictor
from trtnn.examples.digits.yolo26 import MANY, ONE, YOLO26
from trtnn.vision import box_iou


def boxes_of(generator, *shape, low=4.0, high=60.0):
    corner = torch.rand(*shape, 2, generator=generator) * 100
    return torch.cat((corner, corner + low + torch.rand(*shape, 2, generator=generator) * (high - low)), -1)


def test_boxes_are_sorted_by_picture():
    targets = torch.tensor([[2, 7, 40, 30, 20, 10], [0, 1, 5, 6, 2, 4], [2, 3, 8, 8, 4, 4]], dtype=torch.float32)
    truth = by_picture(targets, 3)
    assert truth.there.tolist() == [[True, False], [False, False], [True, True]]
    assert truth.labels[truth.there].tolist() == [1, 7, 3]
    assert truth.corners[truth.there].tolist() == [[4, 4, 6, 8], [30, 25, 50, 35], [6, 6, 10, 10]]
    assert by_picture(targets[:0], 2).there.tolist() == [[False], [False]]


def test_overlap_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    a, b = boxes_of(generator, 2, 5), boxes_of(generator, 2, 7)
    expected = np.stack([box_iou(one.numpy(), other.numpy()) for one, other in zip(a, b, strict=True)])
    np.testing.assert_allclose(pairwise_iou(a, b), expected, atol=1e-6)


@pytest.mark.parametrize("cells", [10, 1])
def test_cells_are_assigned_as_the_papers_say(cells):
    """Cell by cell and box by box."""
    generator = torch.Generator().manual_seed(cells)
    middles = torch.stack(torch.meshgrid(torch.arange(18.0), torch.arange(18.0), indexing="xy"), -1).view(-1, 2) * 8 + 4
    scores = torch.rand(2, len(middles), 4, generator=generator)
    boxes = torch.cat((middles - 12, middles + 12), -1) + torch.randn(2, len(middles), 4, generator=generator) * 6
    truth = Truth(
        boxes_of(generator, 2, 6),
        torch.randint(4, (2, 6), generator=generator),
        torch.rand(2, 6, generator=generator) < 0.8,
    )
    truth.corners[0, 0] = torch.tensor([50.0, 40, 53, 70])  # so narrow that no cell's middle is within
    truth.there[0, 0] = True
    learnt = assign(scores, boxes, middles, truth, cells)
    for picture in range(2):
        overlap = box_iou(truth.corners[picture].numpy(), boxes[picture].numpy())
        claims = {}
        for box in np.flatnonzero(truth.there[picture]):
            x1, y1, x2, y2 = truth.corners[picture, box].tolist()
            half_x, half_y = max(x2 - x1, 16) / 2, max(y2 - y1, 16) / 2
            within = [
                cell
                for cell, (x, y) in enumerate(middles.tolist())
                if abs(x - (x1 + x2) / 2) < half_x and abs(y - (y1 + y2) / 2) < half_y
            ]
            metric = {
                c: float(scores[picture, c, truth.labels[picture, box]]) ** 0.5 * overlap[box, c] ** 6 for c in within
            }
            assert within
            for cell in sorted(within, key=metric.get)[-cells:]:
                claims.setdefault(cell, []).append((overlap[box, cell], box, metric[cell]))
        winners = {cell: max(claim) for cell, claim in claims.items()}
        expected = np.zeros(len(middles))
        for cell, (_, box, metric) in winners.items():
            own = [claim for claim in winners.values() if claim[1] == box]
            expected[cell] = (metric + 1e-9) / (max(m for *_, m in own) + 1e-9) * max(u for u, *_ in own)
            assert learnt.box[picture, cell] == box
        np.testing.assert_allclose(learnt.share[picture], expected, rtol=1e-3, atol=1e-6)


def test_what_is_right_costs_nothing():
    """Maps whose boxes are the true ones, and whose scores are what their cells learn."""
    torch.manual_seed(0)
    model = YOLO26("yolo26n", classes=3)
    truth = by_picture(torch.tensor([[0, 2, 48.0, 40.0, 32.0, 24.0]]), 1)
    maps = [torch.zeros(1, 7, 96 // stride, 96 // stride) for stride in model.detect.strides_px]
    for stride, level in zip(model.detect.strides_px, maps, strict=True):
        y, x = torch.meshgrid(*(torch.arange(96 // stride) * stride + stride / 2 for _ in range(2)), indexing="ij")
        level[0, :4] = torch.stack((x - 32, y - 28, 64 - x, 52 - y)) / stride
        level[0, 4:] = -20
    parts = loss_of_set(model.detect, maps, truth, 10)
    assert parts["box"].item() == pytest.approx(0, abs=1e-5)
    assert parts["side"].item() == pytest.approx(0, abs=1e-5)
    for level in maps:
        level[0, 0] += 1  # the left side, by a cell: the best box is of the finest level, 40 pixels wide in place of 32
    wrong = loss_of_set(model.detect, maps, truth, 1)
    assert wrong["side"].item() == pytest.approx(0.8 * (1 / 4) / (28 / 8), rel=1e-3)  # IoU, a side of four, mean side


def test_the_second_set_counts_more_and_more():
    torch.manual_seed(0)
    model = YOLO26("yolo26n", classes=10).train()
    expect_little(model)
    maps = model(torch.rand(1, 3, 64, 64))
    targets = torch.tensor([[0, 2, 30.0, 30.0, 20.0, 24.0]])
    truth = by_picture(targets, 1)
    for done, many in ((0.0, SHARE_OF_MANY[0]), (1.0, SHARE_OF_MANY[1]), (0.5, sum(SHARE_OF_MANY) / 2)):
        parts = end_to_end_loss(model.detect, maps, targets, done)
        for name, words, share in ((MANY, "many", many), (ONE, "one", 1 - many)):
            for part, value in loss_of_set(model.detect, maps[name], truth, CELLS[name]).items():
                assert parts[f"{part} of {words}"].item() == pytest.approx(
                    share * WEIGHTS[part] * value.item(), rel=1e-5
                )


@pytest.mark.usefixtures("one_thread")
def test_loss_falls_on_one_batch():
    torch.manual_seed(0)
    recipe = train.recipe_of("yolo26n")
    model = recipe.make("yolo26n", classes=10)
    recipe.start(model)
    images, targets = next(iter(train.SceneStream(batch=1, seed=0)))
    pixels = images.permute(0, 3, 1, 2).float() / 255
    optimizer = train.optimizer_for(model)
    totals = []
    for _ in range(20):  # it begins to fall when the sets no longer take other places at each step
        loss = sum(recipe.loss(model, model(pixels), targets, 0.5).values())
        totals.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert totals[-1] < 0.6 * totals[0]


def test_a_picture_without_boxes_has_a_loss():
    model = YOLO26("yolo26n", classes=10).train()
    parts = end_to_end_loss(model.detect, model(torch.rand(1, 3, 64, 64)), torch.zeros(0, 6), 0.0)
    assert all(value.isfinite() for value in parts.values())
    sum(parts.values()).backward()


def test_weights_make_the_network(tmp_path):
    model = YOLO26("yolo26n", classes=10)
    last = [m for m in model.detect.modules() if isinstance(m, torch.nn.Conv2d) and m.bias is not None]
    train.save(well_scaled(model, last, pictures(2, 64, 64)), tmp_path / "weights.safetensors")
    again = load_twin(tmp_path / "weights.safetensors")
    assert again.name == "yolo26n"
    images = pictures(BATCH, SIZE_PX, SIZE_PX).numpy()
    expected = torch_predictor(again)(images)
    result = network_predictor(False, tmp_path / "weights.safetensors")(images)
    assert_best_close(result, expected, 1e-3, [0.1] * 4 + [1e-3, 0.5])


def test_boxes_are_taken_as_they_are():
    rows = np.array([[[0, 0, 9, 9, 0.9, 3], [1, 0, 9, 9, 0.8, 3]]], np.float32)  # either would suppress the other
    (found,) = detections_of(rows)
    assert (found.scores.tolist(), found.classes.tolist()) == (pytest.approx([0.9, 0.8]), [3, 3])
    assert found.boxes.tolist() == rows[0, :, :4].tolist()
