"""The page in a real browser: with the mouse, with the keyboard alone, narrow, dark, and two side by side."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import numbers, trace
from tests.viewer.engines import DYNAMIC, loaded
from trtnn.viewer.facts import Facts, ModuleFacts, Roofline, RowFacts, TensorFacts
from trtnn.viewer.network import BINS

IMAGES = np.zeros((1, 3, 32, 32), np.float32)
FUSED = "stem.conv + stem.act"
ROOFLINE = Roofline("NVIDIA H200", {"float32": 494e12, "float16": 989e12}, 4.8e12)


@pytest.fixture
def timed(engine, half_network):
    """An engine's facts, with its times and its network's own."""
    facts = engine.facts(engine.timing(IMAGES, runs=1), half_network)
    return dataclasses.replace(facts, roofline=ROOFLINE)


def title(page):
    return page.inner_text("#details-title")


def detail(page, name):
    """Return what the panel says under a name."""
    return (
        page.locator("#details-body dt", has_text=re.compile(f"^{name}$"))
        .locator("xpath=following-sibling::dd[1]")
        .inner_text()
    )


def selected_rows(page):
    return [line.split("\t")[0] for line in page.locator("#table tr[aria-selected=true]").all_inner_texts()]


def search(page, text):
    page.fill("#search", text)
    page.press("#search", "Enter")


def area(page, label):
    """Return the place of an area's label on the map."""
    return page.locator("#map-panes svg text", has_text=re.compile(f"^{re.escape(label)}")).first.bounding_box()


def marked_area(page):
    """Return the box of what is marked on the map; that of the drawn line would have the line's width too."""
    (d,) = [one.get_attribute("d") for one in page.locator("#map-panes svg path[stroke-dasharray]").all()]
    x, y, width, height = map(float, re.match(r"M([\d.]+),([\d.]+)h([\d.]+)v([\d.]+)", d).groups())
    corner = page.locator("#map-panes svg").bounding_box()
    return {"x": corner["x"] + x, "y": corner["y"] + y, "width": width, "height": height}


def holds(box, inner):
    across = box["x"] <= inner["x"] + 1 and inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
    return across and box["y"] <= inner["y"] + 1 and inner["y"] + inner["height"] <= box["y"] + box["height"] + 1


def chosen_nodes(page):
    return page.locator("#graph .node.chosen .first").all_text_contents()


# -- selecting in one selects in all ----------------------------------------------------------------------------------


def test_a_search_selects_everywhere(open_page, network):
    page = open_page(network.facts())
    search(page, "body.1.conv")
    assert title(page) == "body.1.conv"
    assert [network.layers()[int(number) - 1].path for number in selected_rows(page)] == ["body.1.conv"]
    assert chosen_nodes(page) == ["body"]
    assert holds(marked_area(page), area(page, "1"))
    assert page.url.endswith("#body.1.conv")
    assert page.inner_text("#said").startswith("body.1.conv, Conv2d, FLOPs 295 k")


def test_a_search_shows_what_it_finds_first(open_page, network):
    page = open_page(network.facts())
    page.type("#search", "stem")
    found = page.locator("#found li").all_inner_texts()
    assert found[0] == "stem Block"
    assert "stem.conv Conv2d" in found
    assert page.get_attribute("#search", "aria-expanded") == "true"
    page.press("#search", "ArrowDown")
    assert page.get_attribute("#search", "aria-activedescendant") == "found-1"
    page.press("#search", "Enter")
    assert title(page) == found[1].split()[0]
    page.fill("#search", "linear")
    assert page.locator("#found li").first.inner_text() == "head Linear"  # by its class
    page.fill("#search", "nothing")
    assert page.is_hidden("#found")
    assert page.inner_text("#said") == "Nothing is called nothing"


def test_a_click_on_the_map_selects(open_page, network):
    page = open_page(network.facts())
    box = area(page, "stem")
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    assert title(page).startswith("stem")
    assert chosen_nodes(page) == ["stem"]


def test_a_click_on_a_line_of_the_table_selects(open_page, timed):
    page = open_page(timed)
    page.locator("#table tbody tr", has_text="stem.conv + stem.act").click()
    assert title(page) == FUSED
    assert chosen_nodes(page) == ["stem"]
    assert holds(marked_area(page), area(page, "conv + act"))


def test_a_click_on_the_graph_selects(open_page, network):
    page = open_page(network.facts())
    page.locator("#graph .node", has_text="head").first.click()
    assert title(page) == "head"
    rows = [network.layers()[int(number) - 1].path for number in selected_rows(page)]
    assert set(rows) == {"head"}


def test_an_address_leads_to_what_it_names(open_page, network):
    page = open_page(network.facts())
    page.goto(page.url.split("#")[0] + "#body.0")
    assert title(page) == "body.0"
    page.reload()
    assert title(page) == "body.0"


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_facts_of_a_layer(open_page, timed):
    page = open_page(timed)
    search(page, FUSED)
    (row,) = [row for row in timed.rows if row.name == FUSED]
    assert detail(page, "Module") == "stem"
    assert detail(page, "Class") == "Block"
    assert detail(page, "Line") == row.line
    assert detail(page, "Precision asked") == "float16"
    assert detail(page, "Precision built") == "float16"
    assert detail(page, "Time") == f"{row.milliseconds:.2f} ms, {100 * row.share:.1f} % of all"
    assert detail(page, "Parameters").startswith("224, ")
    assert detail(page, "FLOPs per byte") == f"{row.flops / row.moved_bytes:.1f}"
    assert detail(page, "On this GPU") == "bound by memory: the ridge is at 206 FLOPs per byte"
    most = row.flops / row.moved_bytes * ROOFLINE.bytes_per_second
    reached = float(detail(page, "Of the roofline").removesuffix(" %"))
    assert reached == pytest.approx(100 * row.flops / (row.milliseconds / 1000) / most, rel=0.005)
    assert "Fused of 2 modules" in page.locator("#details h3").all_inner_texts()
    assert page.locator("#details-body dd", has_text="8×3×3×3 float").count() == 1
    counts = page.locator("#details .bins").first.get_attribute("aria-label")
    assert counts == f"Histogram of kernel: {', '.join(map(str, row.weights[0].counts))}"
    page.locator("#details button", has_text=re.compile("^stem.act$")).click()
    assert title(page) == "stem.act"
    assert "It has no layers of its own" in page.inner_text("#details-body")


def test_shapes_at_the_ends_of_a_profile(open_page):
    page = open_page(loaded().trace(DYNAMIC).facts())
    page.locator("#table tbody tr", has_text="stem.conv").first.click()
    lines = page.locator("#details table tr").all_inner_texts()
    assert lines[0].split("\t")[1:] == ["Tensor", "Shape", "min", "opt", "max"]
    assert lines[1].split("\t") == ["input", "images", "batch×3×32×32 float32", "1×3×32×32", "2×3×32×32", "4×3×32×32"]


def test_edges_have_shapes_and_types(open_page, network):
    page = open_page(network.facts())
    nodes = page.locator("#graph .node .first").all_text_contents()
    assert {"stem", "body", "head", "input images", "output output"} <= set(nodes)
    labels = page.locator("#graph .edge text").all_text_contents()
    assert labels.count("1×8×16×16 float32") == 4  # stem to body and to the sum, body to the sum, the sum to the mean
    assert "1×3×32×32 float32" in labels
    page.check("#every")
    assert page.locator("#graph .node.row").count() == len(network.layers())


def test_a_module_is_opened_and_left(open_page, network):
    page = open_page(network.facts())
    page.locator("#graph .node", has_text="body").first.dblclick()
    assert page.inner_text("#graph-title") == "Graph of body"
    assert {"body.0", "body.1"} <= set(page.locator("#graph .node .first").all_text_contents())
    assert page.locator("#graph .node.outside .first").all_text_contents() == ["from stem.act", "to /elementwise"]
    assert page.inner_text("#trail") == "small\n›\nbody"
    page.check("#inside")
    assert page.inner_text("#count") == f"4 of {len(network.layers())} layers"
    page.locator("#trail button", has_text="small").click()
    assert page.inner_text("#graph-title") == "Graph of small"
    assert page.inner_text("#count").startswith(f"{len(network.layers())} of ")


def test_what_is_selected_outside_the_open_module_opens_what_holds_it(open_page, network):
    page = open_page(network.facts())
    page.locator("#graph .node", has_text="body").first.dblclick()
    search(page, "body.1.act")
    assert page.inner_text("#graph-title") == "Graph of body"
    search(page, "stem.conv")
    assert page.inner_text("#graph-title") == "Graph of stem"
    assert chosen_nodes(page) == ["stem.conv"]


def test_what_is_not_known_is_said_and_no_zero(open_page, timed):
    rows = [dataclasses.replace(row, flops=None) if row.module == "body.0" else row for row in timed.rows]
    facts = dataclasses.replace(timed, rows=rows)
    page = open_page(facts, timed)
    search(page, "body")
    known = sum(row.flops for row in rows if row.module == "body.1")
    assert detail(page, "FLOPs") == f"{known / 1000:.0f} k and 1 layer unknown"
    search(page, "body.0")
    assert detail(page, "FLOPs") == "unknown"
    assert page.locator("#details-body dt", has_text="FLOPs per byte").count() == 0
    page.select_option("#size", label="FLOPs")
    line = page.locator("#difference-table tbody tr", has_text="body.0").inner_text().split("\t")
    assert (line[1], line[3]) == ("unknown", "unknown")


def test_the_table_is_sorted_and_filtered(open_page, timed):
    page = open_page(timed)
    names = [row.name for row in timed.rows]

    def column():
        lines = page.evaluate("[...document.querySelectorAll('#table tbody tr')].map((line) => line.innerText)")
        return [int(line.split("\t")[0]) for line in lines]

    assert column() == [index + 1 for index in range(len(names))]
    page.click("#table th button:has-text('Time')")
    assert column() == [index + 1 for index in reversed(range(len(names)))]
    assert page.locator("#table th", has_text="Time").get_attribute("aria-sort") == "descending"
    page.click("#table th button:has-text('Time')")
    assert column() == [index + 1 for index in range(len(names))]
    page.fill("#filter", "CASK stem")
    assert [names[number - 1] for number in column()] == [FUSED]
    page.fill("#filter", "")
    page.click("#table th button:has-text('FLOPs')")
    unknown = {index + 1 for index, row in enumerate(timed.rows) if row.flops is None}
    assert set(column()[len(names) - len(unknown) :]) == unknown  # what is unknown is no 0: it stands at the end


def test_sizes_and_colours_are_chosen(open_page, timed):
    errors = [dataclasses.replace(m, errors={"fp16": 1e-4} if m.path == "stem" else {}) for m in timed.modules]
    page = open_page(dataclasses.replace(timed, modules=errors))
    sizes = page.locator("#size option").all_inner_texts()
    assert sizes == ["Time", "FLOPs", "Parameters", "Activations", "Bytes moved"]
    kinds = page.locator("#color option").all_inner_texts()
    assert kinds == ["Time", "Precision", "Error of fp16", "Intensity / roofline's ridge"]
    for size in sizes:
        page.select_option("#size", label=size)
        for kind in kinds:
            page.select_option("#color", label=kind)
            keys = page.locator("#legend li").all_inner_texts()
            assert ("float16" in keys) == (kind == "Precision")
            said = page.inner_text("#legend")  # no leaf of the map may have the error that was measured of a module
            assert page.locator("#legend svg").count() == (len(keys) or "nothing to colour by" not in said)
    page.select_option("#size", label="Parameters")
    page.select_option("#color", label="Error of fp16")
    search(page, "stem")
    assert detail(page, "Error of fp16") == "1.0e-4"
    assert "Not on the map: " in page.inner_text("#map-panes")  # some have no parameters


def test_areas_are_as_large_as_what_they_stand_for(open_page, timed):
    page = open_page(timed)
    page.select_option("#depth", label="1")
    label = lambda name: page.locator("#map-panes svg text", has_text=re.compile(f"^{name}$")).first  # noqa: E731
    sums = {}
    for path in ("stem", "body"):
        box = area(page, path)
        page.mouse.click(box["x"] + 3, box["y"] + 3)
        assert title(page).startswith(path)
        found = marked_area(page)
        sums[path] = found["width"] * found["height"]
        assert label(path).is_visible()
    times = {p: sum(r.milliseconds for r in timed.rows if r.module and r.module.startswith(p)) for p in sums}
    assert sums["body"] / sums["stem"] == pytest.approx(times["body"] / times["stem"], rel=0.15)


def test_a_sum_with_something_unknown_is_told_as_the_least_that_it_can_be(open_page):
    rows = [
        RowFacts("a", "m", ["m"], "conv", outputs=["x"], flops=2000),
        RowFacts("b", "m", ["m"], "relu", ["x"], ["y"], flops=0),
        RowFacts("c", "m", ["m"], "fused", ["y"], ["z"]),
        RowFacts("d", "n", ["n"], "conv", ["z"], ["o"], flops=1000),
    ]
    page = open_page(Facts("net", "engine", {}, rows=rows))
    texts = page.locator("#map-panes svg text").all_text_contents()
    assert {"net: ≥ 3.00 k, none", "m: ≥ 2.00 k, none", "1.00 k, none"} <= set(texts)
    assert "Not on the map: 1 layer without FLOPs, 1 layer of unknown FLOPs." in page.inner_text("#map-panes")
    second = page.locator("#graph .node.module .second").all_text_contents()
    assert second == ["module, 3 layers ≥ 2.00 k", "module, 1 layer 1.00 k"]
    page.select_option("#depth", label="1")  # of the areas one holds what is unknown
    assert page.inner_text("#map-panes").strip().endswith("Not on the map: 1 layer of unknown FLOPs.")


def test_three_digits_are_not_written_with_an_exponent(open_page):
    """What three digits round up to the next unit is told in it."""
    rows = [
        RowFacts("a", "a", ["a"], "conv", ["x"], ["y"], flops=999_600, moved_bytes=100, parameters=999),
        RowFacts("b", "b", ["b"], "conv", ["y"], ["z"], flops=999_400, moved_bytes=999_999_999, milliseconds=1234.4),
    ]
    page = open_page(Facts("net", "engine", {}, rows=rows))
    page.locator("#table tbody tr").first.click()
    assert detail(page, "FLOPs") == "1.00 M, 50.0 % of all"
    assert detail(page, "FLOPs per byte") == "9996"
    assert detail(page, "Parameters") == "999, 100.0 % of all that is known"
    page.locator("#table tbody tr").last.click()
    assert detail(page, "FLOPs") == "999 k, 50.0 % of all"
    assert detail(page, "Bytes moved") == "1.00 GB, 100.0 % of all"
    assert detail(page, "Time") == "1234 ms, 100.0 % of all that is known"
    assert detail(page, "Parameters") == "unknown"


def test_weights_of_one_number_are_told_without_a_histogram(open_page):
    """A histogram has a range; where a single number lies in it nothing could tell."""
    facts = trace(lambda x: x * 3 + numbers(1, 64), (2, 64)).facts()
    page = open_page(facts)
    told = {}
    for index, row in enumerate(facts.rows):
        if not row.weights:
            continue
        page.locator(f"#table tr[data-key='row:{index}']").click()
        told[len(row.weights[0].counts)] = detail(page, "Range"), page.locator("#details .bins").count()
    assert told[0] == ("3.00 alone", 0)
    assert told[BINS][1] == 1


# -- many layers ------------------------------------------------------------------------------------------------------


def chain(count, module=lambda index: ""):
    """Return the facts of layers one behind another, every third without FLOPs; layer i gives t{i + 1}."""
    rows = [
        RowFacts(
            f"layer{i}", module(i), [module(i)], "conv", [f"t{i}"], [f"t{i + 1}"],
            flops=0 if i % 3 == 0 else i, parameters=i % 7, activation_bytes=4, moved_bytes=8 + i, asked="float16",
        )
        for i in range(count)
    ]  # fmt: skip
    tensors = [TensorFacts(f"t{i}", "float16", [1, i]) for i in range(count + 1)]
    return Facts("chain", "network", {}, ["t0"], [f"t{count}"], tensors=tensors, rows=rows)


def test_of_thousands_of_layers_those_in_sight_are_in_the_table(open_page):
    page = open_page(chain(3000))
    lines = page.locator("#table tbody tr[data-key]")
    assert 20 < lines.count() < 120
    assert page.get_attribute("#table", "aria-rowcount") == "3001"
    assert page.inner_text("#count") == "3000 of 3000 layers"
    page.locator("#tables .scrolls").evaluate("(box) => { box.scrollTop = 1500 * 25; }")
    page.wait_for_selector("#table tr[data-key='row:1500']")
    in_sight = page.locator("#table tr[data-key='row:1500']").bounding_box()
    box = page.locator("#tables .scrolls").bounding_box()
    assert box["y"] <= in_sight["y"] <= box["y"] + 60  # below the head, where its number of 25 px lines puts it
    assert lines.count() < 120


def test_keys_go_through_thousands_of_layers(open_page):
    page = open_page(chain(3000))
    page.focus("#table tr[tabindex='0']")
    for key, number in [("End", 2999), ("ArrowUp", 2998), ("Home", 0), ("PageDown", 20), ("ArrowDown", 21)]:
        page.keyboard.press(key)
        assert title(page) == f"layer{number}"
        assert page.evaluate("document.activeElement.dataset.key") == f"row:{number}"
        line = page.locator(f"#table tr[data-key='row:{number}']").bounding_box()
        box, head = page.locator("#tables .scrolls").bounding_box(), page.locator("#table thead").bounding_box()
        assert head["y"] + head["height"] <= line["y"] + 1
        assert line["y"] + line["height"] <= box["y"] + box["height"] + 1
    page.locator("#tables .scrolls").evaluate("(box) => { box.scrollTop = 40000; }")
    page.wait_for_selector("#table tr[data-key='row:1600']")
    assert page.evaluate("document.activeElement.dataset.key") == "row:21"  # what has the focus stays in the page


def test_thousands_of_layers_are_sorted_by_their_numbers_and_filtered(open_page):
    page = open_page(chain(3000))
    page.click("#table th button:has-text('FLOPs') >> nth=0")
    first = page.locator("#table tbody tr[data-key]").first
    assert first.inner_text().split("\t")[0] == "3000"
    page.fill("#filter", "layer29 conv")
    assert page.inner_text("#count") == "111 of 3000 layers"  # layer29, layer290 to layer299, layer2900 to layer2999
    search(page, "layer1234")
    assert page.locator("#table tr[aria-selected=true]").count() == 0  # it is filtered away
    page.fill("#filter", "")
    assert selected_rows(page) == ["1235"]
    page.click("#table th button:has-text('#')")
    assert [line.split("\t")[0] for line in page.locator("#table tbody tr[data-key]").all_inner_texts()][-1] != "3000"


def test_a_graph_of_too_many_layers_is_shown_in_parts(open_page):
    page = open_page(chain(3000))
    nodes = page.locator("#graph .node")
    assert page.inner_text("#part") == "1 to 150 of 3000"
    assert page.locator("#graph .node.row").count() == 150
    assert page.locator("#graph .node.outside .first").all_text_contents() == ["input t0", "to layer150"]
    assert page.is_disabled("#earlier")
    page.click("#later")
    assert page.inner_text("#part") == "151 to 300 of 3000"
    assert page.locator("#graph .node.outside .first").all_text_contents() == ["from layer149", "to layer300"]
    search(page, "layer2999")
    assert page.inner_text("#part") == "2851 to 3000 of 3000"
    assert chosen_nodes(page) == ["layer2999"]
    assert page.is_disabled("#later")
    page.focus("#graph .node[aria-label^='from layer2849']")
    page.keyboard.press("Enter")  # what lies outside leads on, and the keyboard goes with it
    assert page.inner_text("#part") == "2701 to 2850 of 3000"
    assert page.evaluate("document.activeElement.dataset.key") == "row:2849"
    assert nodes.count() == 152


def test_a_graph_of_few_layers_is_whole(open_page):
    page = open_page(chain(300))
    assert page.is_hidden("#parts")
    assert page.locator("#graph .node.row").count() == 300
    assert page.locator("#graph .edge path").count() == 301


def test_all_who_read_a_tensor_outside_are_in_the_graph(open_page):
    rows = [
        RowFacts("give", "a", ["a"], "conv", ["x"], ["y"], flops=1),
        RowFacts("own", "a", ["a"], "conv", ["y"], ["z"], flops=1),
        *(RowFacts(f"read{i}", "b", ["b"], "conv", ["y"], [f"r{i}"], flops=1) for i in range(3)),
    ]
    page = open_page(Facts("net", "network", {}, ["x"], ["y", "z"], rows=rows))
    page.locator("#graph .node.module", has_text="a").first.dblclick()
    outside = page.locator("#graph .node.outside .first").all_text_contents()
    assert sorted(outside) == ["input x", "output y", "output z", "to read0", "to read1", "to read2"]
    search(page, "read1")
    assert page.inner_text("#graph-title") == "Graph of b"
    assert page.locator("#graph .node.outside .first").all_text_contents() == ["from give"]


def test_a_network_without_flops_is_sized_by_what_it_has(open_page):
    rows = [RowFacts(f"r{i}", "", [""], "relu", flops=0, parameters=0, moved_bytes=8) for i in range(4)]
    page = open_page(Facts("net", "network", {}, rows=rows))
    assert page.input_value("#size") == "moved_bytes"
    assert page.input_value("#color") == "precision"
    assert page.locator(".map").count() == 1
    page.select_option("#size", label="FLOPs")
    assert page.inner_text("#map-panes").strip() == "FLOPs: 0 of all that is known of what is open."
    assert page.locator("#legend svg").count() == 0
    page.select_option("#size", label="Bytes moved")
    page.select_option("#color", label="FLOPs per byte")
    assert page.inner_text("#legend").endswith("FLOPs per byte: nothing to colour by.")


# -- the keyboard alone -----------------------------------------------------------------------------------------------


def test_tab_reaches_all_that_can_be_used(open_page, network):
    page = open_page(network.facts())
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                    const at = document.activeElement;
                    const around = at.closest('thead') ?? at.closest('tr, .map, #trail') ?? at;
                    return at.closest('svg') ? 'node' : at.id || around.tagName;
                }"""
            )
        )
    told = list(dict.fromkeys(reached))
    expected = ["search", "size", "color", "depth", "theme", "NAV", "DIV", "every", "smaller", "larger", "node"]
    assert told[: len(expected)] == expected
    rest = told[len(expected) :]
    assert [name for name in rest if name in ("filter", "inside", "THEAD", "TR")] == ["filter", "inside", "THEAD", "TR"]
    assert reached.count("node") == 1  # arrows go on from there
    assert reached.count("TR") == 1


def test_keys_on_the_map(open_page, network):
    page = open_page(network.facts())
    page.focus(".map")
    page.keyboard.press("ArrowRight")
    assert title(page) == "small"
    page.keyboard.press("ArrowDown")
    assert title(page) == "body"  # the largest
    page.keyboard.press("ArrowRight")
    assert title(page) == "stem"
    page.keyboard.press("ArrowLeft")
    assert title(page) == "body"
    page.keyboard.press("ArrowDown")
    assert title(page).startswith("body.")
    page.keyboard.press("ArrowUp")
    assert title(page) == "body"
    page.keyboard.press("Enter")
    assert page.inner_text("#graph-title") == "Graph of body"
    assert page.evaluate("document.activeElement.className") == "map"
    page.keyboard.press("Escape")
    assert page.inner_text("#graph-title") == "Graph of small"
    assert page.evaluate("document.activeElement.className") == "map"


def test_keys_on_the_graph(open_page, network):
    page = open_page(network.facts())
    page.focus("#graph .node[aria-label^='input images']")
    page.keyboard.press("ArrowDown")
    assert title(page) == "stem"
    page.keyboard.press("ArrowDown")
    assert title(page) == "body"
    page.keyboard.press("ArrowUp")
    assert title(page) == "stem"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#graph-title") == "Graph of body"
    page.keyboard.press("Escape")
    assert page.inner_text("#graph-title") == "Graph of small"
    assert page.evaluate("document.activeElement.dataset.key") == "module:body"  # what was left


def test_keys_on_the_table(open_page, network):
    page = open_page(network.facts())
    page.focus("#table tr[tabindex='0']")
    first = network.layers()[0].path
    page.keyboard.press("Enter")
    assert title(page).startswith(first)
    page.keyboard.press("ArrowDown")
    assert selected_rows(page) == ["2"]
    page.keyboard.press("End")
    assert selected_rows(page) == [str(len(network.layers()))]
    page.keyboard.press("Home")
    assert selected_rows(page) == ["1"]
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


# -- narrow, dark, without colour -------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_and_is_readable(open_page, timed, width, theme):
    page = open_page(timed, width=width, theme=theme)
    search(page, FUSED)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for place in ("body", ".hint", "#details dt", "#details dd", "#table td", "thead th", "#graph .node text"):
        assert contrast(page, place) >= 4.5, place
    page.fill("#search", "conv")
    faint = (Path(__file__).parents[2] / "website/contrast.js").read_text(encoding="utf-8")  # of all text but SVG's
    assert page.evaluate(faint, [4.5, 3.0]) == []
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("L")
    histogram = np.array(picture.histogram()) / (picture.width * picture.height)
    lightest = histogram[200:].sum()
    assert lightest > 0.5 if theme == "light" else lightest < 0.3
    assert (histogram > 1e-4).sum() > 20  # something is drawn


def contrast(page, place):
    """Return the contrast of a text with what is behind it, by WCAG 2.1."""
    colors = page.locator(place).first.evaluate(
        """(one) => {
            const style = getComputedStyle(one), ink = one.namespaceURI.includes('svg') ? style.fill : style.color;
            let at = one.closest('.node')?.querySelector('rect') ?? one, ground;
            do {
                const own = getComputedStyle(at);
                ground = at.tagName === 'rect' ? own.fill : own.backgroundColor;
                at = at.parentElement;
            } while (at && /rgba\\(.*, 0\\)|transparent/.test(ground));
            return [ink, ground];
        }"""
    )
    lights = []
    for color in colors:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    low, high = sorted(lights)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_the_map_is_readable_on_each_precision(open_page, theme):
    """On the colour itself, and on the lines of its pattern."""
    names = ["float32", "float16", "bfloat16", "int8", "float8_e4m3fn", "int32", "int64", "bool"]
    rows = [RowFacts(f"r{i}", f"m{i}", [f"m{i}"], "conv", flops=9, asked=name) for i, name in enumerate(names)]
    rows += [RowFacts(f"s{i}", "mixed", ["mixed"], "conv", flops=4, asked=name) for i, name in enumerate(names[:2])]
    rows.append(RowFacts("n", "none", ["none"], "conv", flops=9))
    page = open_page(Facts("net", "network", {}, rows=rows), theme=theme)
    page.select_option("#color", label="Precision")
    page.select_option("#depth", label="1")
    fill_of = "(all) => all.map((one) => one.getAttribute('fill'))"
    fills = set(page.eval_on_selector_all("#map-panes .mark-rect path", fill_of))
    inks = set(page.eval_on_selector_all("#map-panes .mark-text text", fill_of))
    grounds = {fill for fill in fills if re.fullmatch(r"#[0-9a-f]{6}", fill)} - {"#ffffff", "#14161a"}  # of the page
    assert len(grounds) == len(names) + 2
    assert inks - {"#16181d", "#e8eaee"} == {"#000"}
    darkened = float(
        re.search(r"rgba\(0,0,0,([.\d]+)\)", page.locator("#patterns path").first.get_attribute("stroke"))[1]
    )
    for ground in grounds:
        parts = [int(ground[i : i + 2], 16) * (1 - darkened) for i in (1, 3, 5)]
        assert (luminance(parts) + 0.05) / 0.05 >= 4.5, ground


def luminance(parts):
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def test_the_legend_of_errors_tells_them_apart(open_page, network):
    errors = {"stem": 0.0018, "body": 0.0025}
    modules = [
        dataclasses.replace(m, errors={"int8": errors[p]} if (p := m.path) in errors else {})
        for m in network.facts().modules
    ]
    page = open_page(dataclasses.replace(network.facts(), modules=modules))
    page.select_option("#color", label="Error of int8")
    page.select_option("#depth", label="1")
    ticks = [text for text in page.locator("#legend svg text").all_text_contents() if "e-" in text]
    assert len(ticks) >= 2
    assert len(set(ticks)) == len(ticks)


def test_the_legend_shows_the_patterns(open_page, timed):
    page = open_page(timed)
    page.select_option("#color", label="Precision")
    shown = page.locator("#legend li", has_text="float16").locator("rect").last.get_attribute("fill")
    assert shown == "url(#pattern-float16)"


def test_a_legend_shows_the_whole_of_its_numbers(open_page):
    """A number at its end is wider than the place where it is: 10, where the least is 9.9."""
    rows = [
        RowFacts(f"r{i}", f"m{i}", [f"m{i}"], "conv", flops=flops, moved_bytes=1000)
        for i, flops in enumerate((9900, 300_000))
    ]
    page = open_page(Facts("net", "network", {}, rows=rows))
    page.select_option("#color", label="FLOPs per byte")
    box = page.locator("#legend svg").bounding_box()
    places = {text.text_content(): text.bounding_box() for text in page.locator("#legend svg text").all()}
    assert {"10", "300"} <= places.keys()
    assert all(box["x"] <= place["x"] for place in places.values())
    assert all(place["x"] + place["width"] <= box["x"] + box["width"] for place in places.values())


def test_the_theme_is_chosen(open_page, network):
    page = open_page(network.facts())
    dark = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    before = dark()
    page.select_option("#theme", label="dark")
    assert dark() != before
    page.select_option("#theme", label="system")
    assert dark() == before
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"getComputedStyle(document.body).backgroundColor !== '{before}'")


def test_precisions_are_told_apart_without_colour(open_page, timed):
    rows = [dataclasses.replace(row, built="float32") if row.module == "head" else row for row in timed.rows]
    page = open_page(dataclasses.replace(timed, rows=rows))
    page.select_option("#color", label="Precision")
    fills = page.eval_on_selector_all("#map-panes svg path", "(all) => all.map((one) => one.getAttribute('fill'))")
    assert {"url(#pattern-float16)", "url(#pattern-float32)"} <= set(fills)
    assert page.locator("#pattern-float16 path").get_attribute("d") != page.locator(
        "#pattern-float32 path"
    ).get_attribute("d")
    texts = " ".join(page.locator("#map-panes svg text").all_text_contents())
    assert "float16" in texts


# -- two side by side -------------------------------------------------------------------------------------------------


def compared(page):
    """Return what the table of differences has of the first, by module."""
    lines = page.locator("#difference-table tbody tr").all_inner_texts()
    return {line.split("\t")[0]: line.split("\t")[1] for line in lines}


def test_where_two_engines_part(open_page, timed):
    slower = [
        dataclasses.replace(row, milliseconds=row.milliseconds * (3 if row.module and "body" in row.module else 1))
        for row in timed.rows
    ]
    page = open_page(timed, dataclasses.replace(timed, title="other", rows=slower))
    assert page.locator(".map").count() == 2
    page.select_option("#depth", label="1")
    first = page.locator("#difference-table tbody tr").first.inner_text().split("\t")
    own = sum(row.milliseconds for row in timed.rows if row.module and row.module.startswith("body"))
    assert [first[0], first[4]] == ["body", "3.00"]
    assert (own, first[1:4]) == (9, ["9.00 ms", "27.0 ms", "+18.0 ms"])
    page.select_option("#depth", label="2")
    deeper = [line.split("\t")[0] for line in page.locator("#difference-table tbody tr").all_inner_texts()]
    assert "(forward)" in deeper
    assert "body" not in deeper  # it has no layers beside those of its modules
    page.select_option("#depth", label="1")
    page.locator("#difference-table button", has_text="body").first.click()
    assert title(page) == "body"
    assert page.locator("#map-panes svg path[stroke-dasharray]").count() == 2  # it is marked in both
    page.select_option("#graph-side", label="B: other")
    assert chosen_nodes(page) == ["body"]
    page.select_option("#table-side", label="B: other")
    page.locator("#table tbody tr", has_text="head").first.click()
    assert title(page).startswith("head")


def test_what_a_module_has_beside_its_modules_is_told_from_all_of_it(open_page):
    rows = [
        RowFacts("a", "block.conv", ["block.conv"], "conv", milliseconds=3.0),
        RowFacts("b", "block", ["block"], "add", milliseconds=1.0),
        RowFacts("c", "head", ["head"], "conv", milliseconds=2.0),
    ]
    page = open_page(*(Facts(title, "engine", {}, rows=rows) for title in "ab"))
    told = compared(page)
    assert told == {"block.conv": "3.00 ms", "block, its own layers": "1.00 ms", "head": "2.00 ms"}
    page.select_option("#depth", label="1")
    told = compared(page)
    assert told == {"block": "4.00 ms", "head": "2.00 ms"}


def fused_and_apart():
    """Return an engine in which a layer is of two blocks, and one that has a layer for each module."""
    fused = [
        RowFacts("a", "net.a", ["net.a.conv", "net.a.act"], "conv", milliseconds=3.0),
        RowFacts("b", "net", ["net.b.conv", "net.c"], "conv", milliseconds=2.0),
        RowFacts("d", "net.d", ["net.d"], "conv", milliseconds=1.0),
    ]
    names = {"a.conv": 2.0, "a.act": 2.0, "b.conv": 1.0, "b.act": 4.0, "c": 2.0, "d": 1.0}
    apart = [RowFacts(n, f"net.{n}", [f"net.{n}"], "conv", milliseconds=time) for n, time in names.items()]
    return Facts("fused", "engine", {}, rows=fused), Facts("apart", "engine", {}, rows=apart)


def test_what_one_has_fused_is_compared_with_all_that_it_is_of(open_page):
    page = open_page(*fused_and_apart())
    page.select_option("#depth", label="2")

    def told():
        lines = [line.split("\t") for line in page.locator("#difference-table tbody tr").all_inner_texts()]
        return {line[0]: tuple(line[1:4]) for line in lines}

    assert told() == {
        "net.a.conv + net.a.act": ("3.00 ms", "4.00 ms", "+1.00 ms"),
        "net.b.conv + net.c": ("2.00 ms", "3.00 ms", "+1.00 ms"),
        "net.b.act": ("not there", "4.00 ms", "+4.00 ms"),
        "net.d": ("1.00 ms", "1.00 ms", "0.00 ms"),
    }
    page.locator("#difference-table button", has_text="net.b.conv + net.c").click()
    assert title(page) == "net"
    search(page, "net.b")
    page.locator("#details button", has_text="Open it").click()
    assert told() == {
        "net.b.conv": ("unknown", "1.00 ms", "unknown"),  # it is in a layer that is not of net.b alone
        "net.b.act": ("not there", "4.00 ms", "+4.00 ms"),
    }
    page.locator("#trail button", has_text="fused").click()
    page.select_option("#depth", label="1")
    page.locator("#trail button", has_text="net").click()
    assert told() == {
        "net.a": ("3.00 ms", "4.00 ms", "+1.00 ms"),
        "net.b + net.c": ("2.00 ms", "7.00 ms", "+5.00 ms"),
        "net.d": ("1.00 ms", "1.00 ms", "0.00 ms"),
    }


def test_two_are_first_sized_by_what_is_known_of_both(open_page, network):
    facts = network.facts()
    engine = dataclasses.replace(facts, kind="engine", rows=[dataclasses.replace(r, flops=None) for r in facts.rows])
    page = open_page(engine, facts)
    assert page.input_value("#size") == "moved_bytes"
    assert page.locator(".map").count() == 2


def test_what_one_lacks_is_not_compared_with_all_of_it(open_page, network):
    """What is open in the one and not in the other has nothing there, and not the other's whole network."""
    facts = network.facts()
    other = dataclasses.replace(
        facts,
        title="other",
        rows=[row for row in facts.rows if row.module.startswith("head")],
        modules=[module for module in facts.modules if module.path in ("", "head")],
    )
    page = open_page(facts, other)
    assert page.inner_text("#graph-title") == "Graph of small"
    search(page, "body.1.conv")
    page.locator("#graph .node", has_text="body").first.dblclick()
    told = {
        cells[0]: cells[2]
        for cells in (line.split("\t") for line in page.locator("#difference-table tbody tr").all_inner_texts())
    }
    assert told.keys() == {"body.0.conv", "body.0.act", "body.1.conv", "body.1.act"}
    assert set(told.values()) == {"not there"}
    search(page, "head")
    assert {line.split("\t")[0] for line in page.locator("#difference-table tbody tr").all_inner_texts()} >= {"head"}


def test_a_module_that_one_alone_has_is_told_of_the_other(open_page):
    a = chain(4, lambda index: "a.x" if index < 2 else "a.y")
    b = dataclasses.replace(chain(4, lambda index: "b"), title="other")
    page = open_page(a, b)
    assert page.inner_text("#map-panes .pane >> nth=1").startswith("B: other, FLOPs 3")
    search(page, "a.x")
    page.locator("#details button", has_text="Open it").click()
    assert page.inner_text("#map-panes .pane >> nth=1").strip().endswith("It has no module a.x.")
    page.select_option("#graph-side", label="B: other")
    assert page.inner_text("#graph") == "It has no module a.x."
    search(page, "b")
    assert page.locator(".map").count() == 2


def test_a_module_of_one_alone_is_said_so(open_page, network):
    facts = network.facts()
    fewer = dataclasses.replace(facts, rows=[row for row in facts.rows if row.module != "head"])
    page = open_page(facts, fewer)
    page.select_option("#depth", label="1")
    line = page.locator("#difference-table tbody tr", has_text="head").inner_text().split("\t")
    assert line[2] == "not there"


def test_nothing_is_said_of_an_engine_that_cannot_be_looked_into(open_page, network):
    """How many layers it has, and what they cost, nobody knows: it is not 0, and they are not missing in it."""
    facts = network.facts()
    engine = Facts("engine", "engine", {}, modules=facts.modules, notes=["Layers cannot be shown here: no GPU."])
    page = open_page(engine, facts)
    told = page.locator("#about dt", has_text="Layers").locator("xpath=following-sibling::dd[1]").all_inner_texts()
    assert told == ["unknown", str(len(network.layers()))]
    assert page.inner_text("#count") == "layers unknown"
    page.select_option("#depth", label="1")
    lines = [line.split("\t") for line in page.locator("#difference-table tbody tr").all_inner_texts()]
    assert {line[0] for line in lines} >= {"stem", "body", "head"}
    assert {(line[1], line[3], line[4].strip()) for line in lines} == {("unknown", "unknown", "")}
    assert page.inner_text("#difference-chart") == "No known FLOPs parts them."
    search(page, "head")
    assert detail(page, "Layers") == "unknown"
    assert "It has no layers of its own" not in page.inner_text("#details-body")


# -- odd facts --------------------------------------------------------------------------------------------------------

HOSTILE = "</script><script>console.error('run')</script><img src=x onerror=\"console.error('run')\">"


def test_text_is_never_run(open_page):
    rows = [
        RowFacts(
            HOSTILE, HOSTILE, [HOSTILE], HOSTILE, [HOSTILE], ["b"], flops=5, moved_bytes=2, details={HOSTILE: HOSTILE}
        ),
        RowFacts("b", "m", ["m"], "conv", ["b"], ["c"], flops=3, moved_bytes=2),
    ]
    facts = Facts(
        f"{HOSTILE}!", "engine", {HOSTILE: HOSTILE}, [HOSTILE], ["c"], [{HOSTILE: HOSTILE}],
        [ModuleFacts("m", HOSTILE, HOSTILE, {HOSTILE: 0.5})],
        [TensorFacts(HOSTILE, HOSTILE, [HOSTILE, -1]), TensorFacts("b", "int8", [1])], rows, [HOSTILE],
    )  # fmt: skip
    page = open_page(facts, facts)
    search(page, HOSTILE)
    assert detail(page, "Module") == HOSTILE
    assert page.locator("img").count() == 0
    assert page.title() == f"{HOSTILE}! and {HOSTILE}!"


def test_an_engine_of_elsewhere(open_page, built):
    from tests.viewer.test_engine_facts import elsewhere

    page = open_page(elsewhere(built).facts())
    assert "cannot run here" in page.inner_text(".notes")
    assert page.inner_text("#count") == "layers unknown"
    assert "There are no layers to show" in page.inner_text("#map-panes")
    assert "images: 1×3×32×32 float32" in page.inner_text("#about")


def test_rows_in_a_circle_are_drawn(open_page):
    rows = [
        RowFacts("a", "m", ["m"], "recurrence", ["y"], ["x"], flops=1),
        RowFacts("b", "m", ["m"], "conv", ["x"], ["y"], flops=1),
        RowFacts("c", None, [], "Reformat", ["y"], ["z"], milliseconds=1.0),
    ]
    page = open_page(Facts("loop", "engine", {}, ["in"], ["z"], rows=rows))
    page.check("#every")
    assert page.locator("#graph .node.row").count() == 3
    search(page, "(TensorRT)")
    assert title(page) == "(TensorRT)"
    assert detail(page, "Time") == "1.00 ms, 100.0 % of all that is known"


def test_a_layer_without_flops_is_on_the_roofline_by_its_bytes(open_page):
    row = RowFacts("copy", "m", ["m"], "copy", flops=0, moved_bytes=48_000_000, built="float16", milliseconds=0.02)
    page = open_page(Facts("net", "engine", {}, rows=[row], roofline=ROOFLINE))
    search(page, "copy")
    assert detail(page, "On this GPU").startswith("bound by memory")
    assert detail(page, "Of the roofline") == "50.0 %"  # 48 MB at 4.8 TB/s are 0.01 ms


def test_what_a_screen_reader_is_told_has_no_share_of_what_is_unknown(open_page, timed):
    rows = [dataclasses.replace(row, milliseconds=None) if row.name == FUSED else row for row in timed.rows]
    page = open_page(dataclasses.replace(timed, rows=rows))
    search(page, FUSED)
    assert page.inner_text("#said") == f"{FUSED}, CaskConvolution, Time unknown, float16"


def test_the_address_tells_a_layer_from_its_module(open_page, network):
    page = open_page(network.facts())
    page.locator("#table tbody tr", has_text="stem.conv").first.click()
    assert page.url.endswith("#layer%3Astem.conv")
    page.reload()
    assert detail(page, "Layer") == "convolution"
    page.goto(page.url.split("#")[0] + "#100%")  # no address of ours, and no error
    page.goto(page.url.split("#")[0] + "#small")
    page.reload()
    assert title(page) == "small"


def test_values_that_are_not_finite(open_page, network):
    facts = network.facts()
    errors = {"stem": math.inf, "body": 2e-4, "body.1.conv": 0.0, "head": 1e-4}
    modules = [
        dataclasses.replace(m, errors={"fp16": errors[p]} if (p := m.path) in errors else {}) for m in facts.modules
    ]
    page = open_page(dataclasses.replace(facts, modules=modules))
    page.select_option("#color", label="Error of fp16")
    page.select_option("#depth", label="1")
    search(page, "body.1.conv")
    assert detail(page, "Error of fp16") == "0"
    search(page, "stem")
    assert detail(page, "Error of fp16") == "infinite"

    def color(label):
        place = area(page, label)
        return page.evaluate(
            "([x, y]) => document.elementsFromPoint(x, y).find((one) => one.tagName === 'path').getAttribute('fill')",
            [place["x"] + 1, place["y"] + place["height"] + 20],
        )

    page.select_option("#size", label="Parameters")
    assert color("stem") == color("body") != color("head")  # there is no larger one


def test_only_what_is_open_is_in_the_table_of_one_that_lacks_it(open_page):
    a = chain(4, lambda index: "a.x" if index < 2 else "a.y")
    b = dataclasses.replace(chain(4, lambda index: "b"), title="other")
    page = open_page(a, b)
    search(page, "a.x")
    page.locator("#details button", has_text="Open it").click()
    page.check("#inside")
    assert page.inner_text("#count") == "2 of 4 layers"
    page.select_option("#table-side", label="B: other")
    assert page.inner_text("#count") == "0 of 4 layers"
    assert page.locator("#table tbody tr[data-key]").count() == 0


def test_the_address_tells_a_network_from_a_module_of_its_name(open_page):
    facts = dataclasses.replace(chain(4, lambda index: "chain" if index < 2 else "other"), title="chain")
    page = open_page(facts)
    page.focus(".map")
    page.keyboard.press("ArrowDown")
    assert detail(page, "Module") == "(forward)"
    page.reload()
    assert (detail(page, "Module"), detail(page, "Layers")) == ("(forward)", "4")
    page.goto(page.url.split("#")[0] + "#chain")
    assert (detail(page, "Module"), detail(page, "Layers")) == ("chain", "2")


# -- many areas, paper, and no scripts --------------------------------------------------------------------------------


def test_an_area_without_room_for_what_is_in_it_stands_for_all_of_it(open_page):
    rows = [
        RowFacts(f"l{i}", f"b{i // 2}.{i % 2}", [f"b{i // 2}.{i % 2}"], "conv", flops=9 + i % 2, asked="float16")
        for i in range(2000)
    ]
    page = open_page(Facts("net", "network", {}, rows=rows))
    page.select_option("#color", label="Precision")
    areas = page.eval_on_selector_all(
        "#map-panes svg path[fill='#eedd88']",
        "(all) => all.map((one) => one.getBBox()).map((box) => box.width * box.height)",
    )
    whole = page.locator(".map").bounding_box()
    assert len(areas) == 1000
    assert min(areas) > 0
    assert sum(areas) > 0.6 * whole["width"] * whole["height"]
    search(page, "b7")
    page.locator("#details button", has_text="Open it").click()
    texts = page.locator("#map-panes svg text").all_text_contents()
    assert {"b7: 19, float16", "0 conv", "1 conv"} <= set(texts)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_nothing_is_cut_off_or_lies_above_other_things(open_page, theme):
    page = open_page(chain(120, lambda index: f"m{index // 2}"), width=1600, theme=theme)
    search(page, "m7")
    page.set_viewport_size({"width": 760, "height": 1000})
    page.emulate_media(media="print", color_scheme=theme)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate("document.documentElement.scrollWidth") <= 760
    ends = [page.locator(place).bounding_box() for place in ("#maps", "#graphs", "#details", "#tables")]
    for above, below in itertools.pairwise(ends):
        assert above["y"] + above["height"] <= below["y"]
    for place, box in (("#graph svg", "#graphs"), (".map svg", "#maps"), ("#table", "#tables")):
        inner, outer = page.locator(place).first.bounding_box(), page.locator(box).bounding_box()
        assert holds(outer, inner), place
    assert page.locator("#table tbody tr[data-key]").count() == 120
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == theme


def test_on_paper_the_graph_is_pictures_that_a_page_holds(open_page):
    """One that is longer leaves the page before it empty; together they are the graph, and no layer is cut."""
    page = open_page(chain(60, lambda index: f"m{index}"), width=1600)
    (whole,) = boxes_of(page)
    page.set_viewport_size({"width": 700, "height": 960})  # of A4 and letter paper within margins of a centimetre
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    parts = boxes_of(page)
    assert len(parts) > 3
    heights = [box["height"] for box in page.locator("#graph svg").evaluate_all(MEASURE)]
    assert max(heights) <= 0.88 * 960
    assert min(heights[:-1]) > 300
    for above, below in itertools.pairwise(parts):
        assert below[1] == pytest.approx(above[1] + above[3])
    assert parts[0][1] == pytest.approx(whole[1])
    assert parts[-1][1] + parts[-1][3] == pytest.approx(whole[1] + whole[3])
    for left, _, width, _ in parts:
        assert (left, width) == pytest.approx((whole[0], whole[2]))
    rows = (
        page.locator("#graph svg")
        .first.locator(".node rect")
        .evaluate_all("rects => rects.map((rect) => rect.getBBox()).map((box) => [box.y, box.y + box.height])")
    )
    assert len(rows) >= 60
    for top, bottom in rows:
        assert sum(y <= top and bottom <= y + height for _, y, _, height in parts) == 1
    for place in ("#controls", "#map-keys", "#details", ".tools"):  # of no use on paper
        assert not page.locator(place).first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert boxes_of(page) == [whole]


MEASURE = "pictures => pictures.map((one) => one.getBoundingClientRect())"


def boxes_of(page) -> list[list[float]]:
    """The part of the graph that each of its pictures shows: left, top, width, height."""
    texts = page.locator("#graph svg").evaluate_all("pictures => pictures.map((one) => one.getAttribute('viewBox'))")
    return [[float(number) for number in text.split()] for text in texts]


def test_without_scripts_the_page_says_why_it_is_empty(chromium, network, tmp_path):
    path = network.view(tmp_path / "page.html")
    context = chromium.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.inner_text("noscript") == "JavaScript draws this page, and it is switched off here."
    context.close()


def test_long_names_fit_a_telephone(open_page):
    name = "x" * 300
    rows = [RowFacts(name, name, [name], "conv", ["a"], ["b"], flops=5), RowFacts("b", "m", ["m"], "conv", flops=3)]
    page = open_page(Facts("net", "network", {}, rows=rows), width=390)
    search(page, name)
    assert page.locator("#details button").count() == 2
    page.locator("#details button", has_text="Open it").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for button in page.locator("#details button, #trail button").all():
        assert button.evaluate("(one) => one.scrollWidth <= one.clientWidth")
