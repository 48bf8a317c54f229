"""What notebooks show of objects: HTML with their numbers, in which no text of a file is markup."""

from __future__ import annotations

import base64
import gc
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import trtnn
from tests.helpers import numbers
from tests.viewer.engines import DYNAMIC, loaded
from trtnn import Engine, compare
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.models import from_state_dict
from trtnn.quantization import quantize
from trtnn.table import MOST_IN_NOTEBOOK, render_html
from trtnn.vision import Detections, draw, read_image
from trtnn.vision.images import decode_image

IMAGES = numbers(1, 3, 32, 32)


class Tables(HTMLParser):
    """Reads the cells of tables, and checks that tags are closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.images: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs)["src"])
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_network(network):
    rows = Tables(network._repr_html_()).rows
    assert rows[0] == ["module", "layer", "output", "parameters", "FLOPs"]
    assert rows[-1][-1] == f"{network.flops:,}"
    assert [row[0] for row in rows[1:-1]] == ["stem.conv", "stem.act", "body.0", "body.1", "(forward)", "head"]


def test_an_engine(built):
    assert dict(Tables(built._repr_html_()).rows[1:])["input images"] == "float32[1, 3, 32, 32]"
    assert dict(Tables(built._repr_html_()).rows[1:])["precision"] == "float16"
    bare = dict(Tables(Engine(built.plan, {})._repr_html_()).rows[1:])
    assert bare == {"inputs and outputs": "not known until it is loaded", "plan": f"{built.plan.nbytes / 1e6:.1f} MB"}


def test_an_engine_of_dynamic_shapes():
    from tests.helpers import ONE_TARGET

    rows = dict(Tables(loaded().compile(DYNAMIC, **ONE_TARGET)._repr_html_()).rows[1:])
    assert rows["profile 0"] == "batch is 1 to 4, fastest at 2"


def test_a_timing_shows_the_slowest_first(engine):
    timing = engine.timing(IMAGES, runs=1)
    rows = Tables(timing._repr_html_()).rows
    assert [float(row[4]) for row in rows[1:-1]] == sorted((row.milliseconds for row in timing.layers), reverse=True)


def test_a_report_of_fp16(network):
    report = network.fp16_report([IMAGES])
    rows = Tables(report._repr_html_()).rows
    assert [row[0] for row in rows[1:-1]] == [row.path or "(forward)" for row in report.modules]
    assert rows[-1][0].startswith("all in fp16, on 1 sample: error of output ")


def test_a_report_of_quantisation():
    report = quantize(loaded(), [IMAGES]).trace().precision_report([IMAGES])
    rows = Tables(report._repr_html_()).rows
    assert [row[:2] for row in rows[1:-1]] == [[row.path, "int8"] for row in report.modules]
    assert rows[-1][0].startswith("all of them, on 1 sample: error of output ")


def test_a_comparison(half_network, engine):
    comparison = compare(half_network, IMAGES, engine=engine)
    rows = Tables(comparison._repr_html_()).rows
    assert rows[1][:3] == ["(forward)", "output", "0.0e+00"]
    assert rows[-1] == ["all within 0.01: the largest error is 0.0e+00"]


def test_a_long_table_says_how_many_more():
    rows = [(f"row {index}", "1") for index in range(MOST_IN_NOTEBOOK + 5)]
    read = Tables(render_html("many", ("name", "n"), rows, 1, limit=MOST_IN_NOTEBOOK)).rows
    assert read[-1] == ["... and 5 more"]
    assert len(read) == 1 + MOST_IN_NOTEBOOK + 1


def test_text_of_files_is_no_markup(built):
    hostile = "<script>alert(1)</script>\x1b[31m"
    text = Engine(built.plan, {**built.description, "model": hostile})._repr_html_()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    Tables(render_html(hostile, (hostile, "b"), [(hostile, "1")], 1, hostile))


# -- detections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def found():
    return Detections([[10, 20, 60, 70], [30, 5, 50, 40]], [0.5, 0.9], [0, 1])


def test_detections_are_a_table_with_the_best_first(found):
    read = Tables(found._repr_html_())
    assert read.rows[1:] == [["1", "0.90", "30", "5", "50", "40"], ["0", "0.50", "10", "20", "60", "70"]]
    assert read.images == []
    assert "keep it" not in found._repr_html_()  # there never was one


def test_detections_are_drawn_into_their_image(found):
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    assert found.found_in(image, ["cat", "dog"]) is found
    read = Tables(found._repr_html_())
    assert read.rows[1][0] == "dog"
    (source,) = read.images
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    shown = decode_image(base64.b64decode(data), "shown.png")
    np.testing.assert_array_equal(shown, draw(image, found, ["cat", "dog"]))


def test_a_large_image_is_shown_smaller(found):
    image = np.zeros((500, 1600, 3), np.uint8)
    (source,) = Tables(found.found_in(image)._repr_html_()).images
    assert decode_image(base64.b64decode(source.partition(",")[2]), "x.png").shape == (250, 800, 3)


def test_detections_keep_no_image_alive(found):
    image = np.zeros((80, 100, 3), np.uint8)
    found.found_in(image)
    del image
    gc.collect()
    text = found[:1]._repr_html_()
    assert Tables(text).images == []
    assert "1 detection; to see them in their image, keep it in a variable<" in text


def test_a_detector_tells_where_it_found_them():
    network = from_state_dict(trtnn.load(WEIGHTS)).trace({"images": (1, 3, 128, 128)})
    image = read_image(PICTURE)
    (found,) = trtnn.Detector(network)([image])
    text = found._repr_html_()
    assert len(Tables(text).images) == 1
    assert re.search(r"<caption[^>]*>\d+ detections?</caption>", text)
