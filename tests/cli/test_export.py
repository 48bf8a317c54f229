"""``trtnn export``, and ``trtnn detect --triton`` on what it wrote."""

import json
import shlex

import pytest

import trtnn
from tests.engine.tiny import loaded_net
from tests.helpers import ONE_TARGET
from tests.triton.stub import Model, serve_http
from trtnn import Dim, models
from trtnn.examples.digits import PICTURE, WEIGHTS


@pytest.fixture(scope="module")
def network():
    model = models.from_state_dict(trtnn.load(WEIGHTS))
    return model.trace({"images": (Dim("batch", 1, 1, 2), 3, 160, 160)})


@pytest.fixture
def file(network, tmp_path):
    return network.build(**ONE_TARGET, optimization_level=0).save(tmp_path / "digits.engine")


def test_an_exported_engine_detects_what_its_network_does(run, file, network, tmp_path):
    result = run("export", "triton", file, tmp_path / "models", "--name", "digits", "--with-detector")
    assert result.code == 0, result.err
    is_told = "this plan is TensorRT-RTX's: build it with the server's TensorRT" in result.err
    assert is_told == (trtnn.get_backend().name == "tensorrt_rtx")
    assert f"{tmp_path / 'models' / 'digits-detector'}\n" in result.out
    assert "trtnn detect photos/ --triton http://localhost:8000/digits" in result.out
    server = serve_http(Model(tmp_path / "models" / "digits", network))
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/digits"
        result = run("detect", PICTURE, "--triton", url, "-o", tmp_path / "remote")
    finally:
        server.shutdown()
        server.server_close()
    assert result.code == 0, result.err
    result = run("detect", PICTURE, "--weights", WEIGHTS, "--reference", "--size", 160, "-o", tmp_path / "here")
    assert result.code == 0, result.err
    found, expected = (
        [item["detections"] for item in json.loads((tmp_path / place / "detections.json").read_text()).values()]
        for place in ("remote", "here")
    )
    assert len(found[0]) == len(expected[0]) > 3
    for one, other in zip(found[0], expected[0], strict=True):
        assert one["box"] == pytest.approx(other["box"], abs=1e-3)
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert one["class"] == other["class"]


def test_a_repository_that_has_the_model(run, file, tmp_path):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    result = run("export", "triton", file, tmp_path / "models", "--name", "mine")
    assert result.code == 1
    assert "mine is there already" in result.err.replace("\n", " ")
    assert run("export", "triton", file, tmp_path / "models", "--name", "mine", "--force").code == 0


def test_a_line_that_is_shown_is_one_of_the_shell(run, file, tmp_path):
    result = run("export", "triton", file, tmp_path / "my models é")
    assert result.code == 0
    (line,) = (line for line in result.out.splitlines() if "tritonserver" in line)
    assert shlex.split(line)[2:] == ["tritonserver", f"--model-repository={tmp_path / 'my models é'}"]


def test_an_engine_of_one_batch(run, tmp_path):
    file = loaded_net().compile(**ONE_TARGET).save(tmp_path / "tiny.engine")
    result = run("export", "triton", file, tmp_path / "models")
    assert result.code == 1
    assert "no profile of batches" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--triton", "localhost"), "'localhost' is no address of a Triton model"),
        (("--triton", "http://h/m", "--engine", "a.engine"), "detect takes one of --engine, --weights and --triton"),
        (("--triton", "http://h/m", "--fp16"), "--fp16 would change nothing here"),
        (("--triton", "http://h/m", "--reference"), "--reference takes --weights"),
    ],
)
def test_options_that_do_not_go_together(run, options, words):
    result = run("detect", PICTURE, *options)
    assert result.code == 1
    assert words in result.err
