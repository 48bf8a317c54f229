"""The engine inspector's JSON, in the form that NVIDIA documents."""

import json
from types import SimpleNamespace

import pytest

from tests.helpers import message_of
from trtnn.build.pinning import PinnedLayer, check_pinned, narrowed
from trtnn.engine.inspector import Part, network_parts
from trtnn.errors import BuildError

LINEAR32 = "Row major linear FP32"
LINEAR16 = "Row major linear FP16 format"
WIDE16 = "Channel major FP16 format where channel % 8 == 0"
PINNED = [PinnedLayer("head", ("head:0",)), PinnedLayer("head/elementwise", ("head/elementwise:0",))]


DYNAMIC = "N/A due to dynamic shapes"


def layer(name, *outputs, kind="CaskConvolution", **more):
    outputs = [
        {"Name": name, "Location": "Device", "Dimensions": [1, 8, 4, 4], "Format/Datatype": text}
        for name, text in outputs
    ]
    described = {"Name": name, "LayerType": kind, "Inputs": [], "Outputs": outputs, "TacticName": "sm80_x"}
    return json.dumps({**described, **more})


WHOLE = [
    ("stem.conv", ["stem.conv"]),
    ("stem.conv + stem.act", ["stem.conv", "stem.act"]),
    ("stem.conv || head.conv", ["stem.conv", "head.conv"]),
    ("PWN(stem.act)", ["stem.act"]),
    ("PWN(PWN(stem.act), stem.act/elementwise)", ["stem.act", "stem.act/elementwise"]),
    ("stem.conv + PWN(PWN(stem.act), stem.act/elementwise)", ["stem.conv", "stem.act", "stem.act/elementwise"]),
]
IN_PART = [
    ("{ForeignNode[a...b]}", ["a", "b"]),
    ("{ForeignNode[a]}", ["a"]),
    ("Reformatting CopyNode for Input Tensor 0 to head", ["head"]),
    ("Reformatting CopyNode for Network Input images", [""]),
    ("head:0 copy", ["head"]),
    ("reshape_before_head", ["head"]),
    ("__myl_ConvSilu_myl0_3", [""]),
]


@pytest.mark.parametrize(
    ("name", "parts", "whole"), [*((*row, True) for row in WHOLE), *((*row, False) for row in IN_PART)]
)
def test_the_layers_that_one_was_made_of(name, parts, whole):
    assert network_parts(name) == [Part(part, whole) for part in parts]


@pytest.mark.parametrize(
    "text",
    [
        layer("head", ("head:0", LINEAR32)),
        layer("head + head/elementwise", ("head/elementwise:0", "Channel major FP32 format where channel % 4 == 0")),
        layer("stem", ("stem:0", WIDE16)),
        layer("stem + stem/elementwise", ("stem:0", LINEAR16)),
        layer("stem || head", ("x", LINEAR16)),
        layer("{ForeignNode[head...head/elementwise]}", ("x", LINEAR16)),  # there may be others between
        layer("stem + head", ("stem:0", LINEAR16)),  # what a layer of both gives for its half may be fp16
        layer("Reformatting CopyNode for Input Tensor 0 to head", ("Reformatted Input Tensor 0 to head", LINEAR16)),
        layer("head", ("head:0", DYNAMIC)),
        layer("head", ("head:0", DYNAMIC), Weights={"Type": "Float", "Count": 108}),
        layer("stem", ("stem:0", DYNAMIC), Weights={"Type": "Half", "Count": 108}),
        layer("head", ("head:0", LINEAR32), Weights={"Type": "Half", "Count": 108}),
        layer("stem + head", ("head:0", DYNAMIC), Weights={"Type": "Half", "Count": 108}),  # they may be the stem's
        layer("head", ("count", "Row major Int32")),
        json.dumps("head"),
        json.dumps({"Name": "head", "LayerType": "NoOp"}),
    ],
)
def test_what_is_right(text):
    assert narrowed([text], PINNED) == []


def test_a_copy_for_layers_in_half_is_no_fault():
    text = layer("Reformatting CopyNode for Output Tensor 0 to head", ("head:0", LINEAR16), kind="Reformat")
    assert narrowed([text], [PinnedLayer("head", ("head:0",), ("head:0",))]) == []
    (line,) = narrowed([text], PINNED)  # a layer in fp32 reads it as well
    assert "Output Tensor 0 to head gives head:0 as" in line
    (line,) = narrowed([layer("head", ("head:0", LINEAR16))], [PinnedLayer("head", ("head:0",), ("head:0",))])
    assert "head gives head:0 as" in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (layer("head", ("head:0", LINEAR16)), f"head gives head:0 as: {LINEAR16}"),
        (layer("head", ("head:0", WIDE16)), f"head gives head:0 as: {WIDE16}"),
        (layer("head", ("Reformatted Output Tensor 0 to head", WIDE16)), "head gives Reformatted Output Tensor 0"),
        (layer("head + head/elementwise", ("x", "Half")), "head + head/elementwise gives x as: Half"),
        (layer("PWN(PWN(head), head/elementwise)", ("x", LINEAR16)), "PWN(PWN(head), head/elementwise) gives x"),
        (layer("stem + head", ("head:0", LINEAR16)), "stem + head gives head:0"),
        (layer("head || head/elementwise", ("x", LINEAR16)), "head || head/elementwise gives x"),
        (layer("{ForeignNode[stem...head]}", ("head:0", LINEAR16)), "{ForeignNode[stem...head]} gives head:0"),
        (layer("head", ("a", LINEAR32), ("b", LINEAR16)), "head gives b"),
        (layer("head", ("head:0", DYNAMIC), Weights={"Type": "Half"}), "head gives head:0 as: weights of type Half"),
    ],
)
def test_what_is_not(text, line):
    (found,) = narrowed([text], PINNED)
    assert line in found


class FakeEngine:
    def __init__(self, *layers):
        self.layers, self.num_layers = layers, len(layers)

    def create_engine_inspector(self):
        return SimpleNamespace(get_layer_information=lambda index, kind: self.layers[index] if kind == "json" else None)


TRT = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json"))


def test_a_build_that_did_otherwise_is_an_error():
    check_pinned(FakeEngine(layer("stem", ("s", LINEAR16)), layer("head", ("head:0", LINEAR32))), TRT, PINNED)
    wrong = [layer("head", (f"o{i}", LINEAR16)) for i in range(7)]
    message = message_of(BuildError, check_pinned, FakeEngine(layer("stem", ("s", LINEAR16)), *wrong), TRT, PINNED)
    assert "TensorRT built 7 outputs in less than the fp32 that was asked for" in message
    assert message.count("head gives o") == 5
    assert "... and 2 more" in message
    assert "fp32_modules=(...)" in message
