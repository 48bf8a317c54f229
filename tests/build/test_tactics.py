"""The tactics of two builds, side by side: rows as TensorRT's inspector writes them, of 8.6 and of 10."""

from trtnn.build.tactics import differences, tactics_of

OF_8 = {
    "Name": "0.conv + 0.act",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "input", "Location": "Device", "Format/Datatype": "Row major linear FP32"}],
    "Outputs": [{"Name": "0:0", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    "Weights": {"Type": "Half", "Count": 432},
    "TacticName": "sm80_xmma_fprop_implicit_gemm",
    "TacticValue": "0x0f47434ace2a7d18",
}
OF_10 = {
    "Name": "__myl_Conv_myl0_1",
    "LayerType": "gemm",
    "Inputs": [{"Name": "a", "Format": "Row major", "Datatype": "Half"}],
    "Outputs": [],
    "TacticName": "__myl_Conv_0xabc",
    "StreamId": 0,
    "Metadata": "[ONNX Layer: 0.conv]",
}


def test_what_is_kept_of_a_layer():
    assert tactics_of([OF_8, OF_10, "a name alone"]) == [
        {
            "layer": "0.conv + 0.act",
            "type": "CaskConvolution",
            "tactic": "sm80_xmma_fprop_implicit_gemm",
            "value": "0x0f47434ace2a7d18",
            "reads": ["Row major linear FP32"],
            "gives": ["Channel major FP16 format where channel % 8 == 0"],
        },
        {"layer": "__myl_Conv_myl0_1", "type": "gemm", "tactic": "__myl_Conv_0xabc", "reads": ["Row major, Half"]},
        {"layer": "a name alone"},
    ]


def test_what_differs_is_told_then_and_now():
    then = tactics_of([OF_8])
    faster = {**OF_8, "TacticName": "sm90_faster", "TacticValue": "0x2"}
    assert differences(then, tactics_of([faster])) == [
        "0.conv + 0.act: tactic sm80_xmma_fprop_implicit_gemm, value 0x0f47434ace2a7d18 in the lock, "
        "tactic sm90_faster, value 0x2 in this build"
    ]
    whole = {**OF_8, "Outputs": [{"Name": "0:0", "Format/Datatype": "Row major linear FP32"}], "LayerType": "Gemm"}
    assert differences(then, tactics_of([whole])) == [
        "0.conv + 0.act: type CaskConvolution, gives Channel major FP16 format where channel % 8 == 0 in the lock, "
        "type Gemm, gives Row major linear FP32 in this build"
    ]
    assert differences(then, tactics_of([{**OF_8, "TacticValue": ""}]))[0].endswith("value not told in this build")


def test_layers_that_only_one_has():
    apart = [{"Name": "0.conv", "TacticName": "a"}, {"Name": "0.act", "LayerType": "PointWise"}]
    assert differences(tactics_of([OF_8]), tactics_of(apart)) == [
        "0.conv + 0.act: only in the lock, type CaskConvolution, tactic sm80_xmma_fprop_implicit_gemm, "
        "value 0x0f47434ace2a7d18",
        "0.conv: only in this build, type not told, tactic a, value not told",
        "0.act: only in this build, type PointWise, tactic not told, value not told",
    ]


def test_the_same_is_no_difference_in_any_order():
    rows = [OF_8, OF_10, {"Name": "reformat", "TacticName": "a"}, {"Name": "reformat", "TacticName": "b"}]
    assert differences(tactics_of(rows), tactics_of(rows)) == []
    assert differences(tactics_of(rows), tactics_of([rows[1], rows[0], *rows[2:]])) == []
    (line,) = differences(tactics_of(rows), tactics_of([*rows[:3], {"Name": "reformat", "TacticName": "c"}]))
    assert line == "reformat: tactic b in the lock, tactic c in this build"
    assert len(differences(tactics_of(rows), tactics_of(rows[:3]))) == 1
    assert len(differences(tactics_of(rows[:3]), tactics_of(rows))) == 1


def test_what_new_weights_may_change_does_not_count():
    trained = {**OF_8, "Weights": {"Type": "Half", "Count": 432, "Values": [1]}, "Metadata": "other"}
    assert differences(tactics_of([OF_8]), tactics_of([trained])) == []
