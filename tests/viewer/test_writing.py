"""Pages and pictures as files: by the methods, by the command, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import trtnn
import trtnn.viewer.page
from tests import ROOT
from tests.cli.conftest import run  # noqa: F401  a fixture
from tests.helpers import ONE_TARGET, RUNS_HERE, message_of, numbers, trace
from tests.standin import stand_in
from tests.viewer.engines import inspected, loaded, times_of
from trtnn import Dim, functional
from trtnn.errors import ArgumentError, BackendError
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.models import from_state_dict
from trtnn.quantization import quantize

IMAGES = np.zeros((1, 3, 32, 32), np.float32)


def data_of(path: Path) -> list[dict]:
    """Return the facts that stand in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture
def browser(monkeypatch):
    """The browser: what it was asked to open, and whether there is one."""
    state = SimpleNamespace(opened=[], there=True)
    monkeypatch.setattr(webbrowser, "open", lambda uri: state.opened.append(uri) or state.there)
    return state


# -- the methods ------------------------------------------------------------------------------------------------------


def test_a_network_writes_its_page(network, tmp_path, browser):
    path = network.view(tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    assert data_of(path) == [json.loads(json.dumps(network.facts().to_json()))]
    assert path.stat().st_size < 1_000_000
    assert browser.opened == []


def test_an_engine_writes_its_page_with_another_beside_it(engine, half_network, tmp_path, browser):
    timing = engine.timing(IMAGES, runs=1)
    path = engine.view(tmp_path / "page.html", timing=timing, network=half_network, against=half_network, open=True)
    first, second = data_of(path)
    assert (first["kind"], second["kind"]) == ("engine", "network")
    assert sum(row["milliseconds"] for row in first["rows"]) == pytest.approx(timing.milliseconds)
    assert browser.opened == [path.as_uri()]


def test_facts_can_stand_beside(network, tmp_path):
    assert len(data_of(network.view(tmp_path / "page.html", against=network.facts()))) == 2
    message = message_of(ArgumentError, network.view, tmp_path / "page.html", against=3)
    assert message == "against is a Network, an Engine, or the facts of one, not a int"


def test_without_a_path_a_browser_is_opened(network, browser):
    path = network.view()
    assert browser.opened == [path.as_uri()]
    assert len(data_of(path)) == 1


def test_without_a_browser_the_path_is_told(network, browser, tmp_path):
    browser.there = False
    message = message_of(ArgumentError, network.view, tmp_path / "page.html", open=True)
    assert message == f"there is no browser to open the page with\n  the page is written: {tmp_path / 'page.html'}"
    assert len(data_of(tmp_path / "page.html")) == 1


def test_without_the_libraries_it_says_what_to_install(network, monkeypatch, tmp_path):
    monkeypatch.setattr(trtnn.viewer.page, "_libraries", trtnn.viewer.page._libraries.__wrapped__)
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "netron" else there(name))
    message = message_of(BackendError, network.view, tmp_path / "page.html")
    assert message == 'a page needs libraries that are not installed here\n  pip install "trtnn[view]"'
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "x.py")))
    (tmp_path / "dagre.js").write_text("export const other = 1;")
    message = message_of(BackendError, network.view, tmp_path / "page.html")
    assert message.startswith("this version of Netron has no dagre that the page can use\n  pip install")
    assert not (tmp_path / "page.html").exists()


def test_the_work_begins_once_a_file_can_be_written(network, monkeypatch, tmp_path):
    monkeypatch.setattr(type(network), "facts", lambda self: pytest.fail("it was looked at"))
    assert "cannot write" in message_of(ArgumentError, network.view, tmp_path)


def test_the_page_allows_itself_nothing_from_elsewhere(network, tmp_path):
    text = network.view(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", text)
    assert re.search("@[A-Z]+@", text.split('<script type="application/json"')[0]) is None


# -- a picture for Netron -----------------------------------------------------------------------------------------


def test_an_onnx_picture_of_a_network(network, tmp_path):
    model = onnx.load(network.to_onnx_graph(tmp_path / "a.onnx"))
    layers = network.layers()
    assert [node.op_type for node in model.graph.node] == [layer.kind.lower() for layer in layers]
    assert [next((a.s.decode() for a in node.attribute if a.name == "module"), "") for node in model.graph.node] == [
        layer.path for layer in layers
    ]
    made = {name for node in model.graph.node for name in node.output} | {value.name for value in model.graph.input}
    assert {name for node in model.graph.node for name in node.input} <= made
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]
    }
    for node, layer in zip(model.graph.node, layers, strict=True):
        assert shapes[node.output[0]] == list(layer.output.shape)
    assert (shapes["images"], shapes["output"]) == ([1, 3, 32, 32], [1, 5])
    assert not model.graph.initializer
    (flops,) = [a.i for a in model.graph.node[0].attribute if a.name == "flops"]
    assert flops == layers[0].flops
    assert "cannot be run" in model.graph.doc_string


def test_an_onnx_picture_has_symbolic_lengths(tmp_path):
    made = trace(functional.relu, (Dim("batch", 1, 2, 4), 3))
    model = onnx.load(made.to_onnx_graph(tmp_path / "a.onnx"))
    (value,) = model.graph.input
    assert [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] == ["batch", 3]


@pytest.mark.parametrize(("dtype", "kind"), [("int8", onnx.TensorProto.INT8), ("fp8", onnx.TensorProto.FLOAT8E4M3FN)])
def test_an_onnx_picture_has_the_types_that_are_quantised_to(dtype, kind, tmp_path):
    made = quantize(loaded(), [IMAGES + 1], dtype=dtype).trace()
    model = onnx.load(made.to_onnx_graph(tmp_path / "a.onnx"))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    rounded = [node.output[0] for node in model.graph.node if node.op_type == "quantize"]
    assert {kinds[name] for name in rounded} == {kind}
    assert onnx.TensorProto.UNDEFINED not in kinds.values()


def test_without_onnx_it_says_what_to_install(network, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'pip install "trtnn[onnx]"' in message_of(BackendError, network.to_onnx_graph, tmp_path / "a.onnx")


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return from_state_dict(trtnn.load(WEIGHTS)).trace({"images": (1, 3, 32, 32)}, fp16=True)


@pytest.fixture(scope="module")
def saved(digits, tmp_path_factory):
    return digits.build(**ONE_TARGET).save(tmp_path_factory.mktemp("engines") / "digits.engine")


def test_a_model_by_its_name(run, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    result = run("view", "resnet18", "--size", 32)
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(r"resnet18\.html, 0\.\d MB\n", result.out)
    (facts,) = data_of(tmp_path / "resnet18.html")
    assert facts["notes"] == ["No weights were loaded, so that nothing is shown of them."]
    assert not any(row["weights"] for row in facts["rows"])


def test_a_checkpoint_with_the_errors_of_fp16(run, tmp_path):  # noqa: F811
    page = tmp_path / "p.html"
    result = run("view", WEIGHTS, "-o", page, "--size", 32, "--samples", PICTURE)
    assert (result.code, result.err) == (0, "")
    (facts,) = data_of(page)
    assert any("fp16" in module["errors"] for module in facts["modules"])
    assert any(row["weights"] for row in facts["rows"])


def test_an_engine_that_runs_is_timed(run, saved, digits, monkeypatch, tmp_path):  # noqa: F811
    rows = inspected(digits)
    stand_in(monkeypatch, digits, lambda run: times_of(rows), rows)
    page = tmp_path / "p.html"
    result = run("view", saved, "-o", page, "--network", WEIGHTS, "--runs", 1, "--against", saved)
    assert (result.code, result.err) == (0, "")
    first, second = data_of(page)
    assert [row["milliseconds"] for row in first["rows"]] == [time for _, time in times_of(rows)]
    assert sum(row["flops"] or 0 for row in first["rows"]) == digits.flops
    assert all(row["flops"] is None for row in second["rows"])  # --network is of the first
    assert first["about"]["from"] == second["about"]["from"] == str(saved)


def test_the_weights_of_an_engines_network(run, saved, digits, monkeypatch, tmp_path):  # noqa: F811
    """Of a model by its name, as of a class in a file, ``--weights`` says what the engine was built of."""
    rows = inspected(digits)
    stand_in(monkeypatch, digits, lambda run: times_of(rows), rows)
    page = tmp_path / "p.html"

    def shown(*given):
        result = run("view", saved, "-o", page, "--runs", 1, "--network", *given)
        assert (result.code, result.err) == (0, "")
        (facts,) = data_of(page)
        return [row["weights"] for row in facts["rows"]]

    assert any(of_checkpoint := shown(WEIGHTS))
    assert shown("yolov5n", "--weights", WEIGHTS) == of_checkpoint


@pytest.mark.skipif(RUNS_HERE, reason="there is a GPU here")
def test_an_engine_that_cannot_run_here(run, saved, tmp_path):  # noqa: F811
    page = tmp_path / "p.html"
    result = run("view", saved, "-o", page)
    assert (result.code, result.err) == (0, "")
    (facts,) = data_of(page)
    assert facts["rows"] == []
    assert facts["notes"][0].startswith("Layers cannot be shown here: ")


def test_an_engine_with_files_of_trtexec(run, saved, digits, tmp_path):  # noqa: F811
    rows = inspected(digits)
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": rows, "Bindings": []}))
    times = [{"count": 1}] + [
        {"name": name, "timeMs": time, "averageMs": time, "medianMs": time, "percentage": 1}
        for name, time in times_of(rows)
    ]
    (tmp_path / "times.json").write_text(json.dumps(times))
    page = tmp_path / "p.html"
    files = ["--layer-info", tmp_path / "layers.json", "--times", tmp_path / "times.json"]
    result = run("view", saved, "-o", page, *files, "--network", WEIGHTS)
    assert (result.code, result.err) == (0, "")
    (facts,) = data_of(page)
    assert [row["milliseconds"] for row in facts["rows"]] == [time for _, time in times_of(rows)]
    (tmp_path / "times.json").write_text('[{"count": 1}]')
    result = run("view", saved, "-o", page, *files)
    assert result.code == 1
    assert result.err == f"error: {tmp_path / 'times.json'} holds no layer's time, so there is nothing to show of it\n"


def test_a_network_beside_an_engine_is_of_the_size_that_is_asked(run, saved, tmp_path):  # noqa: F811
    page = tmp_path / "p.html"
    result = run("view", saved, "-o", page, "--against", WEIGHTS, "--size", 64, "--batch", 2, "--fp16")
    assert (result.code, result.err) == (0, "")
    _, second = data_of(page)
    assert second["about"]["precision"] == "float16"
    assert [tensor["shape"] for tensor in second["tensors"] if tensor["name"] == "images"] == [[2, 3, 64, 64]]


def test_a_page_is_opened(run, browser, tmp_path, monkeypatch):  # noqa: F811
    page = tmp_path / "p.html"
    assert run("view", "resnet18", "-o", page, "--size", 32, "--open").code == 0
    assert browser.opened == [page.as_uri()]
    browser.there = False
    result = run("view", "resnet18", "-o", page, "--size", 32, "--open")
    assert result.code == 1
    assert result.err == f"error: there is no browser to open the page with\n  the page is written: {page}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["resnet18", "--network", "resnet18"], "--network would change nothing here\n  resnet18 is no engine"),
        (["a.engine", "--fp16"], "--fp16 would change nothing here\n  a.engine is an engine"),
        (
            ["a.engine", "--size", "32", "--against", "b.engine"],
            "--size would change nothing here\n  a.engine is an engine",
        ),
        (["a.engine", "--weights", "a.pt"], "--weights would change nothing here\n  a.engine is an engine"),
        (["resnet18", "--samples", str(PICTURE)], "--samples is for a model with weights"),
        (["resnet19"], "there is no file resnet19, and no model of that name"),
        (["missing.engine"], "cannot read the engine file missing.engine"),
        (["resnet18", "-o", "missing/p.html"], "cannot write missing/p.html: the folder missing does not exist"),
    ],
)
def test_what_is_refused(run, args, message, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    result = run("view", *args)
    assert result.code == 1
    assert result.err.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_the_documentation_runs(engine, half_network, network, monkeypatch, tmp_path):
    text = (ROOT / "docs" / "viewer.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    model = SimpleNamespace(trace=lambda: network)
    names = {"model": model, "engine": engine, "samples": [numbers(1, 3, 32, 32)]}
    exec(compile(code, "docs/viewer.md", "exec"), names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine.html", "network.html", "network.onnx"]
