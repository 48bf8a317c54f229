"""The facts of a network, beside what torch counts of the same."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers import numbers, trace
from tests.viewer.engines import DYNAMIC, Net, loaded
from trtnn import Dim, Input, Module, functional, modules
from trtnn.dtypes import float16, float32
from trtnn.errors import ArgumentError
from trtnn.quantization import quantize
from trtnn.viewer.facts import Facts, RowFacts, TensorFacts
from trtnn.viewer.network import BINS, bytes_each, weight_facts


class Twin(nn.Module):
    """Net in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self.block(3, 2)
        self.body = nn.Sequential(self.block(8, 1), self.block(8, 1))
        self.head = nn.Linear(8, 5)

    def block(self, inputs: int, stride: int) -> nn.Module:
        layers = {"conv": nn.Conv2d(inputs, 8, 3, stride, 1, bias=False), "bn": nn.BatchNorm2d(8), "act": nn.ReLU()}
        made = nn.Sequential()
        for name, layer in layers.items():
            made.add_module(name, layer)
        return made.eval()

    def forward(self, images: Any) -> Any:
        x = self.stem(images)
        x = self.body(x) + x
        return self.head(x.mean((2, 3)))


def outputs_of(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what each module of a torch model gives, by its path."""
    seen: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda module, args, result, path=path: seen.update({path: result}))
    with torch.no_grad():
        model(images)
    return seen


@pytest.fixture(scope="module")
def facts(network):
    return network.facts()


def rows_of(facts: Facts, path: str) -> list[RowFacts]:
    return [row for row in facts.rows if row.module is not None and f"{row.module}.".startswith(f"{path}.")]


def tensor(facts: Facts, name: str) -> TensorFacts:
    (found,) = [one for one in facts.tensors if one.name == name]
    return found


def test_flops_are_torchs(facts):
    twin = Twin()
    with FlopCounterMode(display=False, depth=3) as counter:
        twin(torch.zeros(1, 3, 32, 32))
    assert sum(row.flops for row in facts.rows) == counter.get_total_flops()
    counts = counter.get_flop_counts()
    for path in ("stem", "body", "body.1", "head", "stem.conv"):
        assert sum(row.flops for row in rows_of(facts, path)) == sum(counts[f"Twin.{path}"].values())


def test_parameters_are_the_state_dicts_with_a_bias_for_each_folded_norm(facts):
    state = Twin().state_dict()
    for path in ("stem.conv", "body.0.conv"):
        assert sum(row.parameters for row in rows_of(facts, path)) == state[f"{path}.weight"].numel() + 8
    assert sum(row.parameters for row in rows_of(facts, "head")) == 8 * 5 + 5


def test_shapes_and_bytes_are_those_of_torchs_outputs(facts):
    seen = outputs_of(Twin(), torch.zeros(1, 3, 32, 32))
    for path in ("stem.conv", "stem.act", "body.1.act"):
        (row,) = [row for row in facts.rows if row.module == path]
        shown = tensor(facts, row.outputs[0])
        assert tuple(shown.shape) == tuple(seen[path].shape)
        assert shown.dtype == "float32"
        assert row.activation_bytes == seen[path].numel() * 4
    (conv,) = [row for row in facts.rows if row.module == "stem.conv"]
    assert conv.moved_bytes == 4 * (3 * 32 * 32 + seen["stem.conv"].numel() + 8 * 3 * 9 + 8)
    assert tensor(facts, "output").shape == list(seen[""].shape)


def test_half_precision_takes_half(network, half_network):
    single, half = ({row.name: row for row in one.facts().rows} for one in (network, half_network))
    for name in ("stem.conv", "body.0.conv"):
        assert half[name].activation_bytes * 2 == single[name].activation_bytes
        assert half[name].moved_bytes * 2 == single[name].moved_bytes
        assert (single[name].asked, half[name].asked) == ("float32", "float16")


def test_weights_in_fp32_of_what_was_traced_in_fp16_count_as_fp16():
    """TensorRT 8.6's definitions are in fp32 throughout."""
    array = np.zeros(3, np.float32)
    assert [bytes_each(array, asked) for asked in (float16, float32, None)] == [2, 4, 4]
    assert bytes_each(np.zeros(3, np.int8), float16) == 1


def test_dynamic_shapes_are_torchs_at_the_ends_of_the_profile():
    facts = loaded().trace(DYNAMIC).facts()
    shown = {row.module: tensor(facts, row.outputs[0]) for row in facts.rows}
    ends = {"min": 1, "opt": 2, "max": 4}
    for which, batch in ends.items():
        seen = outputs_of(Twin(), torch.zeros(batch, 3, 32, 32))
        for path in ("stem.act", "body.0.conv"):
            assert shown[path].ranges[0][which] == list(seen[path].shape)
    assert shown["stem.act"].shape == ["batch", 8, 16, 16]
    assert facts.profiles == [{"batch": "batch is 1 to 4, fastest at 2"}]
    static = {row.name: row for row in Net_facts(batch=2).rows}
    for row in facts.rows:
        assert (row.flops, row.moved_bytes) == (static[row.name].flops, static[row.name].moved_bytes)


def Net_facts(batch: int) -> Facts:
    return loaded().trace({"images": (batch, 3, 32, 32)}).facts()


def test_two_profiles_are_both_shown():
    sizes = [Dim("size", 4, 8, 16), Dim("size", 20, 30, 40)]
    facts = trace(functional.relu, [Input((1, size)) for size in sizes]).facts()
    assert [one["max"] for one in facts.tensors[0].ranges] == [[1, 16], [1, 40]]


def test_a_loop_is_counted_by_its_trips():
    rnn = modules.RNN(4, 6)
    rnn.load_state_dict({name: numbers(*p.shape) for name, p in rnn.named_parameters()})
    facts = [rnn.trace({"input": (length, 1, 4)}).facts() for length in (3, 6)]
    inside = [
        sum(row.moved_bytes for row in one.rows if row.kind == "matrix_multiply" and row.name.endswith("_2"))
        for one in facts
    ]
    assert inside[1] == 2 * inside[0] > 0


def test_weights_are_those_of_the_network(facts, network):
    """Their range and histogram are torch's, of the kernel that the norm was folded into."""
    state = {name: torch.from_numpy(np.asarray(p)) for name, p in loaded().state_dict().items()}
    factor = state["stem.bn.weight"] / (state["stem.bn.running_var"] + 1e-5).sqrt()
    kernel = state["stem.conv.weight"] * factor.reshape(-1, 1, 1, 1)
    (row,) = [row for row in facts.rows if row.module == "stem.conv"]
    shown = {weight.name: weight for weight in row.weights}
    assert shown["kernel"].shape == (8, 3, 3, 3)
    assert shown["kernel"].dtype == "float32"
    assert shown["kernel"].least == pytest.approx(float(kernel.min()), rel=1e-6)
    assert shown["kernel"].largest == pytest.approx(float(kernel.max()), rel=1e-6)
    expected = torch.histc(kernel, BINS, float(kernel.min()), float(kernel.max()))
    assert sum(shown["kernel"].counts) == kernel.numel()
    assert np.abs(np.array(shown["kernel"].counts) - expected.numpy()).max() <= 1  # on an edge it may round either way
    assert shown["bias"].shape == (8,)


def test_shapes_of_kernels_are_torchs():
    for ours, theirs in (
        (modules.ConvTranspose2d(6, 4, 3, groups=2), nn.ConvTranspose2d(6, 4, 3, groups=2)),
        (modules.Conv2d(6, 4, (3, 5), groups=2), nn.Conv2d(6, 4, (3, 5), groups=2)),
    ):
        ours.load_state_dict(theirs.state_dict())
        facts = ours.trace({"input": (1, 6, 8, 8)}).facts()
        kernels = [weight for row in facts.rows for weight in row.weights if weight.name == "kernel"]
        assert [weight.shape for weight in kernels] == [tuple(theirs.weight.shape)]


def test_weights_that_are_not_finite_are_counted_apart():
    shown = weight_facts("kernel", np.array([1, 2, np.inf, np.nan], np.float32), (4,))
    assert (shown.least, shown.largest, sum(shown.counts), shown.not_finite) == (1, 2, 2, 2)
    none = weight_facts("kernel", np.array([np.nan], np.float16), (1,))
    assert (none.least, none.largest, none.counts, none.not_finite) == (None, None, [], 1)
    same = weight_facts("kernel", np.full(3, 5.0, np.float32), (3,))
    assert (same.least, same.largest, same.counts) == (5, 5, [])  # a range of one number has no parts
    whole = weight_facts("weights", np.array([-3, 4], np.int32), (2,))
    assert (whole.least, whole.largest, whole.dtype) == (-3, 4, "int32")


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, np.nextafter(np.float32(1), np.float32(2)), 1], np.float32),
        np.array([0, 1e-45], np.float32),
        np.array([-LARGEST, 0, 1e38, LARGEST], np.float32),
        np.array([6e4, -6e4, 0, 3], np.float16),
        np.array([True, False, True]),
        np.array([-(2**63), 2**62, 2**63 - 1], np.int64),
        numbers(70_000),  # of more than one block
    ],
    ids=["neighbours", "subnormal", "all of fp32", "fp16", "bool", "int64", "many"],
)
@pytest.mark.filterwarnings("error")
def test_a_histogram_of_any_range(array):
    """As NumPy counts in a type that is wide enough for all of them."""
    shown = weight_facts("weights", array, array.shape)
    expected, edges = np.histogram(array.astype(np.longdouble), BINS)
    assert (shown.least, shown.largest) == (float(edges[0]), float(edges[-1]))
    assert shown.counts == expected.tolist()


@pytest.mark.parametrize("number", [np.float32(-LARGEST), np.float32(1e-45), np.int64(2**63 - 1), np.bool_(True)])
def test_weights_of_one_number_alone_have_no_histogram(number):
    shown = weight_facts("weights", np.full(3, number), (3,))
    assert (shown.least, shown.largest, shown.counts) == (float(number), float(number), [])


def test_a_mask_that_is_filled_with_the_least_number_is_shown():
    def forward(x, mask):
        return functional.softmax(functional.masked_fill(x, mask, -LARGEST), -1)

    network = trace(forward, (2, 4), Input((2, 4), "bool"))
    least = {weight.least for row in network.facts().rows for weight in row.weights}
    assert -LARGEST in least


def test_lines_are_the_users():
    def forward(x):
        y = functional.relu(x)
        return functional.softmax(y, 1)

    facts = trace(forward, (2, 3)).facts()
    lines, first = inspect.getsourcelines(forward)
    told = [row.line for row in facts.rows]
    assert len(told) == 2
    for line, text in zip(told, ("relu", "softmax"), strict=True):
        file, _, number = line.rpartition(":")
        assert file.endswith("test_network_facts.py")
        assert text in lines[int(number) - first]


def test_lines_of_a_convolution_that_was_added_late_are_those_of_its_call(facts):
    (conv,) = [row for row in facts.rows if row.module == "stem.conv"]
    file, _, number = conv.line.rpartition(":")
    assert file.endswith("engines.py")
    with open(file, encoding="utf-8") as source:
        assert "self.conv(x)" in source.read().splitlines()[int(number) - 1]


def test_a_layer_of_no_line_of_the_users_has_none(half_network):
    """The input's cast is made before forward runs, and who asked for the facts made none of it."""
    (cast, *_) = half_network.facts().rows
    assert (cast.name, cast.line) == ("/cast", None)


def test_lines_of_trtnns_models_are_lines_of_theirs():
    from trtnn.cli.sources import fill_empty
    from trtnn.models import create

    facts = fill_empty(create("resnet18")).trace({"images": (1, 3, 32, 32)}).facts(weights=False)
    assert {row.line.rpartition(":")[0].rpartition("/")[2] for row in facts.rows if row.line} <= {
        "resnet.py",
        "blocks.py",
    }


def test_modules_have_their_class_and_where_it_is(facts):
    by_path = {module.path: module for module in facts.modules}
    assert {path: by_path[path].kind for path in ("", "stem", "stem.bn", "body", "head")} == {
        "": "Net",
        "stem": "Block",
        "stem.bn": "BatchNorm2d",
        "body": "Sequential",
        "head": "Linear",
    }
    file, _, number = by_path[""].defined.rpartition(":")
    assert file.endswith("engines.py")
    assert int(number) == inspect.getsourcelines(Net)[1]


def test_a_network_that_is_not_written_twice_the_same_has_no_lines():
    calls = []

    def forward(x):
        calls.append(x)
        return x.relu() if len(calls) == 1 else x.relu().sigmoid()

    facts = trace(forward, (2, 3)).facts()
    assert [row.line for row in facts.rows] == [None]


def test_stand_ins_for_weights_are_not_shown(network):
    facts = network.facts(weights=False)
    assert not any(row.weights for row in facts.rows)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_errors_of_fp16_are_the_reports(network):
    report = network.fp16_report([numbers(1, 3, 32, 32)])
    facts = network.facts([report])
    told = {module.path: module.errors for module in facts.modules if module.errors}
    assert told == {row.path: {"fp16": row.error} for row in report.modules}


def test_a_quantised_network():
    """It is written twice, and its kernels are what layers of quantisation give."""
    samples = [numbers(1, 3, 32, 32)]
    network = quantize(loaded(), samples, skip=["head"]).trace(fp16=True)
    report = network.precision_report(samples)
    facts = network.facts([report])
    assert [row.flops for row in facts.rows] == [row.flops for row in network.layers()]
    convolutions = [row for row in facts.rows if row.kind == "convolution"]
    assert [(row.asked, [weight.name for weight in row.weights]) for row in convolutions] == [("int8", ["bias"])] * 3
    assert {row.asked for row in facts.rows if row.module == "head" and row.kind == "matrix_multiply"} == {"float16"}
    assert all(row.line.rpartition(":")[0].endswith("engines.py") for row in facts.rows if row.module)
    kinds = [row.kind for row in facts.rows if row.module == "stem.conv"]
    assert kinds.count("quantize") == kinds.count("dequantize") == 2
    told = {module.path: module.errors for module in facts.modules if module.errors}
    assert told == {row.path: {"int8": row.error} for row in report.modules}


def test_a_quantised_network_moves_what_an_engine_would():
    """An engine has quantised weights, and reads quantised numbers where a Dequantize stands before a layer."""
    facts = quantize(loaded(), [numbers(1, 3, 32, 32)], skip=["head"]).trace(fp16=True).facts()
    (conv,) = [row for row in facts.rows if (row.module, row.kind) == ("stem.conv", "convolution")]
    assert conv.moved_bytes == 3 * 32 * 32 + 8 * 3 * 9 + 2 * 8 + 2 * 8 * 16 * 16  # in int8, and in fp16
    own = {row.name.rpartition("/")[2]: row for row in facts.rows if row.module == "stem.conv"}
    assert own["quantize"].moved_bytes == (2 + 1) * 3 * 32 * 32 + 4  # and the scale
    for name in ("weight", "quantize_2", "dequantize", "dequantize_2"):
        assert (own[name].moved_bytes, own[name].activation_bytes) == (0, 0), name
    plain = loaded().trace().facts()
    assert sum(row.moved_bytes for row in facts.rows) < sum(row.moved_bytes for row in plain.rows)
    assert facts.about["quantised"] == "int8: 3 modules"
    assert "quantised" not in plain.about


def test_what_is_dequantised_for_an_output_is_written():
    class Both(Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = modules.Conv2d(3, 8, 1), modules.SiLU()
            self.inputs = {"x": Input((1, 3, 4, 4))}

        def forward(self, x):
            return self.act(y := self.conv(x)), y

    model, declared = Both(), Both()
    model.load_state_dict({name: numbers(*p.shape) for name, p in model.named_parameters()})
    state = quantize(model, [numbers(1, 3, 4, 4)]).state_dict()
    declared.load_state_dict({**state, "conv.output_scale": np.array([0.05], np.float32)})
    rows = declared.trace().facts().rows
    (last,) = [row for row in rows if row.outputs == ["output_1"]]
    written = 4 * 8 * 4 * 4
    assert (last.kind, last.moved_bytes, last.activation_bytes) == ("dequantize", 8 * 4 * 4 + 4 + written, written)
    assert [row.moved_bytes for row in rows if row.inputs == ["output_1"]] == [2 * written]


class Report:
    measures = "int8"

    def __init__(self, errors):
        self.module_errors = errors


def test_reports_that_do_not_belong_are_refused(network):
    with pytest.raises(ArgumentError, match="the report of int8 is of another network\n  it has such as other"):
        network.facts([Report({"other": 0.1})])
    with pytest.raises(ArgumentError, match="two reports measure the same: int8, int8"):
        network.facts([Report({"stem": 0.1}), Report({"stem": 0.2})])
    with pytest.raises(ArgumentError, match=r"reports is a list of them, not a Report\n  of one: reports=\[report\]"):
        network.facts(Report({"stem": 0.1}))


# -- as JSON ----------------------------------------------------------------------------------------------------------


def test_facts_are_json_whatever_they_hold(network):
    facts = network.facts([Report({"stem": math.inf, "head": 0.5})])
    values = json.loads(json.dumps(facts.to_json(), allow_nan=False))
    assert next(m for m in values["modules"] if m["path"] == "stem")["errors"] == {"int8": "inf"}
    assert len(values["rows"]) == len(network.layers())


def test_text_from_elsewhere_cannot_steer_who_shows_it():
    values = Facts("a\x1b[31mb", "engine", {"gpu\x00": "x\u202e"}).to_json()
    assert values["title"] == "a\\x1b[31mb"
    assert values["about"] == {"gpu\\x00": "x\\u202e"}
