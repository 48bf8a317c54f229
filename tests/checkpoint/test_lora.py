"""merge_lora against torch: a layer with merged weights gives what the layer and its two factors give together."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

import trtnn
from trtnn import merge_lora
from trtnn.errors import ArgumentError, CheckpointError, DTypeError, StateDictError

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 6}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def write(folder, tensors, **config):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(named, folder / "adapter_model.safetensors")
    return folder


def linear(path: str, outer: int, inner: int, rank: int = 4) -> dict[str, torch.Tensor]:
    return {
        f"{path}.lora_A.weight": random(rank, inner, seed=1),
        f"{path}.lora_B.weight": random(outer, rank, seed=2),
    }


def assert_close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.5, -2])
@pytest.mark.parametrize("is_stabilised", [False, True])
def test_a_linear_layer(tmp_path, scale, is_stabilised):
    factors = linear("a.fc", 5, 7)
    state = {"a.fc.weight": random(5, 7), "a.fc.bias": random(5), "b.weight": random(3)}
    merged = merge_lora(state, write(tmp_path, factors, use_rslora=is_stabilised), scale)
    x = random(2, 7, seed=3)
    scaling = 6 / (2 if is_stabilised else 4)
    inner = functional.linear(functional.linear(x, factors["a.fc.lora_A.weight"]), factors["a.fc.lora_B.weight"])
    expected = functional.linear(x, state["a.fc.weight"], state["a.fc.bias"]) + scale * scaling * inner
    assert_close(functional.linear(x, torch.from_numpy(merged["a.fc.weight"]), state["a.fc.bias"]), expected)
    assert list(merged) == list(state)
    np.testing.assert_array_equal(merged["b.weight"], state["b.weight"])
    np.testing.assert_array_equal(state["a.fc.weight"], random(5, 7))  # the caller's own stay


@pytest.mark.parametrize("kernel", [(1,), (3,), (1, 1), (3, 2), (2, 1, 3)])
def test_a_convolution(tmp_path, kernel):
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(kernel) - 1]
    a, b = random(4, 3, *kernel, seed=1), random(6, 4, *(1 for _ in kernel), seed=2)
    weight, x = random(6, 3, *kernel), random(2, 3, *(5 for _ in kernel), seed=4)
    folder = write(tmp_path, {"conv.lora_A.weight": a, "conv.lora_B.weight": b})
    merged = merge_lora({"conv.weight": weight}, folder)["conv.weight"]
    expected = convolve(x, weight, stride=2) + 6 / 4 * convolve(convolve(x, a, stride=2), b)
    assert_close(convolve(x, torch.from_numpy(merged), stride=2), expected)


def test_an_embedding(tmp_path):
    a, b = random(4, 9, seed=1), random(5, 4, seed=2)
    folder = write(tmp_path, {"wte.lora_embedding_A": a, "wte.lora_embedding_B": b})
    weight, ids = random(9, 5), torch.tensor([0, 8, 3])
    merged = merge_lora({"wte.weight": weight}, folder)["wte.weight"]
    expected = functional.embedding(ids, weight) + 6 / 4 * functional.embedding(ids, a.T) @ b.T
    assert_close(functional.embedding(ids, torch.from_numpy(merged)), expected)


@pytest.mark.parametrize("outer", [5, 7])  # the square one is told by the adapter alone
@pytest.mark.parametrize("lies_across", [False, True])
def test_weights_that_lie_across(tmp_path, outer, lies_across):
    factors = linear("c_attn", outer, 7)
    folder = write(tmp_path, factors, fan_in_fan_out=lies_across)
    weight = random(7, outer) if lies_across else random(outer, 7)
    merged = torch.from_numpy(merge_lora({"c_attn.weight": weight}, folder)["c_attn.weight"])
    x = random(2, 7, seed=3)
    inner = x @ factors["c_attn.lora_A.weight"].T @ factors["c_attn.lora_B.weight"].T
    of = (lambda w: x @ w) if lies_across else (lambda w: x @ w.T)
    assert_close(of(merged), of(weight) + 6 / 4 * inner)


def test_shapes_that_contradict_the_adapter_leave_square_ones_open(tmp_path):
    folder = write(tmp_path, {**linear("head", 5, 7), **linear("proj", 7, 7)}, fan_in_fan_out=True)
    state = {"head.weight": random(5, 7), "proj.weight": random(7, 7)}
    with pytest.raises(StateDictError, match=r"the other way: head\n.*square, which could be either: proj"):
        merge_lora(state, folder)
    only = write(tmp_path / "only", linear("head", 5, 7), fan_in_fan_out=True)  # of this PEFT takes the other flag, too
    factors = linear("head", 5, 7)
    expected = state["head.weight"] + 6 / 4 * factors["head.lora_B.weight"] @ factors["head.lora_A.weight"]
    assert_close(merge_lora(state, only)["head.weight"], expected)


def test_square_layers_of_a_model_that_has_linear_and_conv1d(tmp_path):
    """PEFT finds out for each layer how its weights lie, and writes down that of the last one it came to."""
    state = {
        **{"fc.weight": random(5, 7), "fc.bias": random(5), "c_fc.weight": random(7, 5), "c_fc.bias": random(5)},
        **{
            "a.weight": random(7, 7),
            "b.weight": random(7, 7, seed=1),
            "norm.weight": random(7),
            "norm.bias": random(7),
        },
    }
    both = write(tmp_path / "both", {**linear("a", 7, 7), **linear("b", 7, 7)})
    with pytest.raises(StateDictError, match=r"has Linear layers and Conv1D's.*\n.*either: a\n.*either: b\n.*unload"):
        merge_lora(state, both)
    for left_out in ("fc", "c_fc"):  # of one kind alone, none lies the other way
        some = {name: value for name, value in state.items() if name.partition(".")[0] != left_out}
        assert not np.array_equal(merge_lora(some, both)["a.weight"], state["a.weight"])
    single = write(tmp_path / "single", linear("a", 7, 7))  # which is the last
    factors = linear("a", 7, 7)
    expected = state["a.weight"] + 6 / 4 * factors["a.lora_B.weight"] @ factors["a.lora_A.weight"]
    assert_close(merge_lora(state, single)["a.weight"], expected)


def test_ranks_and_alphas_by_layer(tmp_path):
    factors = {**linear("x.q", 5, 7, rank=2), **linear("x.k", 5, 7), **linear("xq", 5, 7)}
    state = {f"{name}.weight": torch.zeros(5, 7) for name in ("x.q", "x.k", "xq")}
    merged = merge_lora(state, write(tmp_path, factors, rank_pattern={"q": 2}, alpha_pattern={"q": 10, "^x.k": 1}))
    for name, scaling in (("x.q", 10 / 2), ("x.k", 1 / 4), ("xq", 6 / 4)):  # "q" is a whole part of a path
        product = factors[f"{name}.lora_B.weight"] @ factors[f"{name}.lora_A.weight"]
        assert_close(merged[f"{name}.weight"], scaling * product)


def test_names_that_peft_leaves_wrapped(tmp_path):
    bias = random(5, seed=4)
    wrapped = {
        "fc.base_layer.bias": bias,
        "head.weight": random(3, 5),
        "head.modules_to_save.weight": random(3, 5),
        "head.original_module.weight": random(3, 5, seed=9),
    }
    state = {"fc.weight": random(5, 7), "fc.bias": random(5), "head.weight": torch.zeros(3, 5)}
    merged = merge_lora(state, write(tmp_path, {**linear("fc", 5, 7), **wrapped}, bias="all"))
    np.testing.assert_array_equal(merged["fc.bias"], bias)
    np.testing.assert_array_equal(merged["head.weight"], random(3, 5))
    wrapped["head.weight"] = random(3, 5) + 1
    with pytest.raises(CheckpointError, match=r"holds head\.weight twice"):
        merge_lora(state, write(tmp_path, wrapped))


def test_whole_tensors_and_biases(tmp_path):
    bias, head = random(5, seed=4), random(3, 5, seed=5)
    folder = write(tmp_path, {**linear("fc", 5, 7), "fc.lora_B.bias": bias, "head.weight": head, "fc.bias": bias + 1})
    state = {"fc.weight": random(5, 7), "fc.bias": random(5), "head.weight": random(3, 5)}
    merged = merge_lora(state, folder)
    np.testing.assert_array_equal(merged["head.weight"], head)
    assert_close(merged["fc.bias"], bias + 1 + 1.5 * bias)
    with pytest.raises(ArgumentError, match=r"whole tensors[\s\S]*head.weight[\s\S]*scale=1 takes them"):
        merge_lora(state, folder, 0.5)


def test_tied_weights_stay_one(tmp_path):
    folder = write(tmp_path, linear("wte", 9, 5))
    weight = random(9, 5)
    merged = merge_lora({"wte.weight": weight, "lm_head.weight": weight, "other": weight.clone()}, folder)
    assert merged["lm_head.weight"] is merged["wte.weight"]
    np.testing.assert_array_equal(merged["other"], weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("of_file", [False, True])
def test_tied_tensors_of_torch_stay_one_in_any_type(tmp_path, dtype, of_file):
    factors = linear("wte", 9, 5)
    folder, weight = write(tmp_path, factors), random(9, 5).to(dtype)
    state = {"wte.weight": weight, "lm_head.weight": weight, "other": weight.clone()}
    if of_file:
        torch.save(state, tmp_path / "model.pt")
        state = trtnn.load(tmp_path / "model.pt")
    merged = merge_lora(state, folder)
    assert merged["lm_head.weight"] is merged["wte.weight"]
    expected = weight.float() + 1.5 * factors["wte.lora_B.weight"] @ factors["wte.lora_A.weight"]
    tolerance = 2e-3 if dtype is torch.float16 else 1e-5
    np.testing.assert_allclose(merged["lm_head.weight"], expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(merged["other"], weight.float())


def test_two_adapters_and_one_taken_away(tmp_path):
    one, two = write(tmp_path / "one", linear("fc", 5, 7)), write(tmp_path / "two", linear("fc", 5, 7), lora_alpha=1)
    state = {"fc.weight": random(5, 7)}
    both = merge_lora(merge_lora(state, one), two)
    assert not np.allclose(both["fc.weight"], state["fc.weight"], atol=0.1)
    assert_close(merge_lora(merge_lora(both, one, -1), two, -1)["fc.weight"], state["fc.weight"])


def test_types_stay_and_metadata_too(tmp_path):
    folder = write(tmp_path, {name: tensor.bfloat16() for name, tensor in linear("fc", 5, 7).items()})
    path = tmp_path / "model.safetensors"
    weight = random(5, 7).half()
    trtnn.save(trtnn.checkpoint.StateDict({"fc.weight": weight.numpy()}, {"task": "detect"}), path)
    merged = merge_lora(trtnn.load(path), folder / "adapter_model.safetensors")
    assert merged.metadata["task"] == "detect"
    factors = {name: tensor.bfloat16().float() for name, tensor in linear("fc", 5, 7).items()}
    expected = weight.float() + 1.5 * factors["fc.lora_B.weight"] @ factors["fc.lora_A.weight"]
    assert merged["fc.weight"].dtype == np.float16
    np.testing.assert_allclose(merged["fc.weight"], expected.half(), rtol=1e-3, atol=1e-3)
    doubles = merge_lora({"fc.weight": weight.double()}, folder)["fc.weight"]
    assert doubles.dtype == np.float64


def test_an_adapter_for_another_model(tmp_path):
    factors = {**linear("model.q_proj", 5, 7), **linear("model.k_proj", 5, 7), **linear("fc", 5, 7)}
    folder = write(tmp_path, factors, base_model_name_or_path="someone/llama\x1b[2J")
    state = {"layer.q_proj.weight": random(5, 7), "fc.weight": random(5, 8)}
    with pytest.raises(StateDictError) as caught:
        merge_lora(state, folder)
    text = str(caught.value)
    assert "of its 3 layers and tensors 2 are not in the state dict, and 1 are of other shapes" in text
    assert "not there: model.q_proj.weight" in text
    assert "not there: model.k_proj.weight" in text
    assert "fc.weight (5, 8) does not fit factors of (4, 7) and (5, 4)" in text
    assert "it was trained for someone/llama\\x1b[2J" in text


def test_whole_tensors_and_biases_of_other_shapes(tmp_path):
    more = {"fc.lora_B.bias": random(5), "head.weight": random(3, 5)}
    state = {"fc.weight": random(5, 7), "fc.bias": random(1), "head.weight": random(1, 5)}
    with pytest.raises(StateDictError) as caught:
        merge_lora(state, write(tmp_path, {**linear("fc", 5, 7), **more}))
    text = str(caught.value)
    assert "of its 2 layers and tensors 0 are not in the state dict, and 2 are of other shapes" in text
    assert "fc.bias (1,) does not fit a bias of (5,)" in text
    assert "head.weight (1, 5) does not fit one of (3, 5)" in text


def test_a_convolution_in_groups_is_no_sum(tmp_path):
    folder = write(tmp_path, {"c.lora_A.weight": random(4, 6, 3, 3), "c.lora_B.weight": random(6, 2, 1, 1)})
    with pytest.raises(StateDictError, match=r"c.weight \(6, 3, 3, 3\) does not fit factors"):
        merge_lora({"c.weight": random(6, 3, 3, 3)}, folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "use_dora: DoRA divides each row"),
        ({"alora_invocation_tokens": [1]}, "counts from certain tokens on"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights=pissa_niter_4, which may change"),
        ({"peft_type": "LOHA"}, "of the kind LOHA"),
        ({"r": 3}, r"fc has factors of \(4, 7\) and \(5, 4\), and the ranks there are 3"),
        ({"r": True}, "a rank that is no positive whole number"),
        ({"lora_alpha": "8"}, "lora_alpha that is no number"),
        ({"lora_alpha": 10**400}, "lora_alpha that is no number"),
        ({"use_rslora": "yes"}, "neither true nor false"),
        ({"alpha_pattern": {"(a+)+b": 2}}, "expressions that repeat something"),
        ({"alpha_pattern": {"(": 2}}, "no expression"),
        ({"alpha_pattern": [1]}, "no object"),
    ],
)
def test_what_is_no_sum_of_two_factors(tmp_path, config, message):
    folder = write(tmp_path, linear("fc", 5, 7), **config)
    with pytest.raises(CheckpointError, match=message):
        merge_lora({"fc.weight": random(5, 7)}, folder)


def test_files_that_are_no_adapters(tmp_path):
    state = {"fc.weight": random(5, 7)}
    with pytest.raises(CheckpointError, match=r"x.pt is no .safetensors file"):
        merge_lora(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        merge_lora(state, tmp_path / "x.safetensors")
    folder = write(tmp_path / "one", {"fc.lora_A.weight": random(4, 7)})
    with pytest.raises(CheckpointError, match=r"one factor alone, or more than two, of fc: lora_A.weight"):
        merge_lora(state, folder)
    folder = write(tmp_path / "dora", {**linear("fc", 5, 7), "fc.lora_magnitude_vector": random(5)})
    with pytest.raises(CheckpointError, match="lora_magnitude_vector, which is no factor"):
        merge_lora(state, folder)
    folder = write(tmp_path / "attention", linear("attn.base_layer.out_proj", 7, 7))
    with pytest.raises(CheckpointError, match="of a MultiheadAttention"):
        merge_lora(state, folder)
    folder = write(tmp_path / "ints", {"fc.lora_A.weight": torch.ones(4, 7, dtype=torch.int8)})
    with pytest.raises(CheckpointError, match="of int8, and adapters are floating"):
        merge_lora(state, folder)
    for odd in (float("nan"), float("-inf")):
        factors = linear("fc", 5, 7)
        factors["fc.lora_B.weight"][2, 1] = odd
        broken = write(tmp_path / f"odd{odd}", factors)
        with pytest.raises(CheckpointError, match=r"holds base_model.model.fc.lora_B.weight with NaN or infinity"):
            merge_lora(state, broken)
    with pytest.raises(CheckpointError, match="holds nothing that could be merged"):
        merge_lora(state, write(tmp_path / "nothing", {}))
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not sound JSON"):
        merge_lora(state, folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"there is no .*adapter_config.json"):
        merge_lora(state, folder)
    safetensors.torch.save_file({"lora_unet_fc.lora_down.weight": random(4, 7)}, tmp_path / "kohya.safetensors")
    write(tmp_path, {})
    with pytest.raises(CheckpointError, match=r"does not begin with base_model.model"):
        merge_lora(state, tmp_path / "kohya.safetensors")


def test_sums_that_do_not_fit_the_type(tmp_path):
    folder = write(tmp_path, {name: 200 * tensor for name, tensor in linear("fc", 5, 7).items()})
    with pytest.raises(DTypeError, match=r"fc.weight becomes infinite in float16[\s\S]*ends at 65504"):
        merge_lora({"fc.weight": random(5, 7).half()}, folder)
    half_zero = {**linear("fc", 5, 7), "fc.lora_B.weight": torch.zeros(5, 4)}  # 0 times infinity is NaN
    folder = write(tmp_path, half_zero, lora_alpha=1e300)
    with pytest.raises(DTypeError, match=r"fc.weight becomes infinite in float32\n  the largest is 0, float32 ends"):
        merge_lora({"fc.weight": random(5, 7)}, folder)
    with pytest.raises(DTypeError, match=r"fc\.weight is of int8"):
        merge_lora({"fc.weight": torch.ones(5, 7, dtype=torch.int8)}, folder)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "1", True, None])
def test_a_scale_that_is_none(tmp_path, scale):
    with pytest.raises(ArgumentError, match="scale is a finite number"):
        merge_lora({}, tmp_path, scale)


def test_the_first_of_what_no_array_holds_is_named_and_the_others_counted(tmp_path):
    names = [f"{index:02}" for index in range(12)]
    for count in (10, 12):
        tensors = {name: torch.zeros(2, dtype=torch.complex64) for name in names[:count]}
        with pytest.raises(CheckpointError) as info:
            merge_lora({"a.weight": np.zeros((2, 2), np.float32)}, write(tmp_path, tensors))
        summary, *lines = str(info.value).splitlines()
        assert summary.endswith("adapter_model.safetensors holds what no array does")
        expected = [f"  base_model.model.{name}: of the type C64" for name in names[:10]]
        assert lines == expected + (["  ... and 2 more"] if count == 12 else [])
