"""torch.save's files against torch.load: state dicts, training checkpoints, both containers, damage."""

import collections
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers import message_of
from trtnn.checkpoint import load, save
from trtnn.errors import CheckpointError


def assert_same(got: dict[str, np.ndarray], expected: dict[str, torch.Tensor]) -> None:
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().resolve_neg().numpy()
        assert type(got[name]) is np.ndarray
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert got[name].flags.c_contiguous
        assert got[name].flags.aligned
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        collections.OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), inner=nn.Sequential(nn.Linear(4, 2)))
    )


def tensors_of_every_kind() -> dict[str, torch.Tensor]:
    shared = torch.arange(40.0)
    tagged = nn.Parameter(torch.ones(2))
    tagged.tag = "an attribute"
    buffer = torch.ones(3)
    buffer.tag = "an attribute"
    names = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    names += ["float16", "float32", "float64", "bfloat16"]
    return {
        **{f"typed.{name}": torch.tensor([[0, 1], [1, 0]]).to(getattr(torch, name)) for name in names},
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "channels_last_bfloat16": torch.randn(2, 3, 4, 5).bfloat16().to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).T,
        "sliced": shared[5:30:3],
        "tied": shared.view(5, 8),
        "tied_again": shared.view(8, 5)[2:, 1:4],
        "expanded": torch.tensor([1.5]).expand(3, 4),
        "scalar": torch.tensor(5),
        "scalar_bfloat16": torch.tensor(5.0).bfloat16(),
        "empty": torch.zeros(0, 3),
        "odd_strides": torch.arange(4.0).as_strided((1, 2, 1), (10**12, 1, 10**12)),
        "negated": torch.randn(2, 3, dtype=torch.complex64).conj().imag,
        "negated_scalar_bfloat16": torch._neg_view(torch.tensor(5.0).bfloat16()),
        "parameter": nn.Parameter(torch.randn(2)),
        "tagged_parameter": tagged,
        "tagged_buffer": buffer,
    }


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 3}, {"pickle_protocol": 4}, {"pickle_protocol": 5}])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_kind(tmp_path, options, zipped):
    tensors = tensors_of_every_kind()
    if not zipped:  # torch's own old writer cannot
        tensors = {name: tensor for name, tensor in tensors.items() if name[6:] not in ("uint16", "uint32", "uint64")}
    torch.save(tensors, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped, **options)
    assert_same(load(tmp_path / "a.pt"), torch.load(tmp_path / "a.pt", weights_only=False))


def test_torch_reads_what_save_writes(tmp_path):
    save({"a.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "n": np.array(3)}, tmp_path / "a.pt")
    got = torch.load(tmp_path / "a.pt", weights_only=True)
    assert list(got) == ["a.weight", "n"]
    assert torch.equal(got["a.weight"], torch.arange(6.0).half().view(2, 3))
    assert got["n"].shape == ()
    nn.Linear(2, 3).load_state_dict(
        torch.load(_saved(tmp_path / "b.pt", weight=np.ones((3, 2)), bias=np.ones(3)), weights_only=True)
    )


def _saved(path: Path, **arrays: np.ndarray) -> Path:
    save(arrays, path)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model.state_dict(),
        lambda model: dict(model.state_dict()),
        lambda model: {"state_dict": model.state_dict(), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
        lambda model: {"model": model.state_dict(), "optimizer": torch.optim.Adam(model.parameters()).state_dict()},
        lambda model: {"model_state_dict": model.state_dict(), "loss": torch.tensor(0.5), "where": Path("/x")},
        lambda model: {"ema": model.state_dict(), "model": {"wrong": torch.ones(1)}},
        lambda model: {"ema": None, "model": model.state_dict(), "best": np.float64(0.5), "curve": np.arange(3.0)},
        lambda model: {
            "model": model.state_dict(),
            "counter": collections.Counter({3: 1}),
            "defaults": collections.defaultdict(list, {"a": [1]}),
            "things": (torch.Size([1]), torch.device("cpu"), torch.float16, {1, 2}, frozenset([3]), b"bytes", 2**70),
        },
        lambda model: model,
        nn.DataParallel,
        lambda model: {"model": model, "ema": None},
        lambda model: {**model.state_dict(), "inner._extra_state": {"not": "a tensor"}},
    ],
)
def test_where_the_state_dict_may_be(tmp_path, wrap, zipped):
    model = network()
    torch.save(wrap(model), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert_same(load(tmp_path / "a.pt"), model.state_dict())


def test_adam_s_state_after_a_step_is_no_hindrance(tmp_path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 8, 6)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(content, tmp_path / "a.pt")
    assert_same(load(tmp_path / "a.pt"), model.state_dict())


def test_a_small_file_of_many_tensors_and_an_optimizer(tmp_path):
    """What the reader takes as its cost is more than it is; not so much that a sound file would be refused."""
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(1000)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {"model": model, "ema": model, "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "a.pt")
    assert_same(load(tmp_path / "a.pt"), model.state_dict())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([torch.ones(1)], "holds no state dict but a value of type list"),
        (torch.ones(1), "holds no state dict but a value of type Tensor"),
        ({"epoch": 3}, "under 'epoch' it has a value of type int where a tensor should be"),
        (
            {3: torch.ones(1)},
            "has a tensor under a value of type int as a key\n  the names of a state dict are printable",
        ),
        ({"a": torch.ones(1), 3: torch.ones(1)}, "has a tensor under a value of type int as a key"),
        ({"a": torch.ones(1), "b": torch.ones(1), (1, 2): torch.ones(1)}, "under a value of type tuple as a key"),
        (
            {"model": {"a": torch.ones(1), None: torch.ones(1)}},
            "has a tensor under a value of type NoneType as a key, in model\n",
        ),
        ({"ema": {**dict.fromkeys("abc", torch.ones(1)), 2.5: torch.ones(1)}}, "a value of type float as a key"),
        # not the teacher's, whose names may be the same
        (
            {"model": {0: torch.ones(1), 1: torch.ones(2)}, "teacher": {"a": torch.ones(1)}},
            "has a tensor under a value of type int as a key, in model\n",
        ),
        ({3: 5, "epoch": 3}, "under a value of type int as a key it has a value of type int where a tensor should be"),
        ({"a": np.ones(1)}, r"under 'a' it has an object of numpy\._?core\.multiarray\._reconstruct"),
        ({"a": torch.eye(2).to_sparse()}, r"under 'a' it has an object of torch\._utils\._rebuild_sparse_tensor"),
        ({"a": Path("/x")}, r"under 'a' it has an object of pathlib\.(_local\.)?PosixPath"),
        ({"model": Path("/x")}, r"its content is an object of pathlib\.(_local\.)?PosixPath, no module"),
        (
            {"a": torch.ones(2, dtype=torch.complex64)},
            "has no tensor that NumPy has a type for: a is of the type ComplexFloatStorage",
        ),
    ],
)
def test_what_is_no_state_dict(tmp_path, content, problem):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=problem) as caught:
        load(tmp_path / "a.pt")
    assert "a.pt" in caught.value.summary


@pytest.mark.parametrize(
    ("beside", "others"),
    [
        ({0: 3}, []),
        ({0: torch.ones(1)}, []),  # what is beside the weights' own dict
        ({"momentum": {0: torch.ones(1), 1: torch.ones(2)}}, []),
        ({"optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": [{"params": [0]}]}}, []),
        ({"ema": {0: torch.ones(1), 1: torch.ones(2)}}, ["ema (not read: it has no names)"]),
    ],
)
@pytest.mark.parametrize("where", ["model", "mine"])
def test_tensors_without_names_that_are_no_weights(tmp_path, beside, others, where):
    weights = {"a.weight": torch.rand(2), "a.bias": torch.rand(3), 5: "of no tensor"}
    torch.save({where: weights, **beside}, tmp_path / "a.pt")
    read = load(tmp_path / "a.pt")
    assert_same(read, {name: weights[name] for name in ("a.weight", "a.bias")})
    assert read.metadata == {"taken": where, **({"others": others} if others else {})}


def test_a_model_that_contains_itself(tmp_path):
    model = network()
    model.inner.add_module("outer", model)
    torch.save(model, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds a model without end"):
        load(tmp_path / "a.pt")


def test_a_model_of_two_tensors_of_one_name(tmp_path):
    """As torch lets nobody register them; its own state dict would have the last."""
    model = nn.Linear(2, 3)
    model._buffers["weight"] = torch.ones(3, 2)
    torch.save(model, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt has two tensors called weight"):
        load(tmp_path / "a.pt")


def test_a_model_of_exponentially_many_modules(tmp_path):
    model = nn.Sequential(nn.ReLU())
    for _ in range(40):
        model = nn.Sequential(model, model)
    torch.save(model, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds a model without end"):
        load(tmp_path / "a.pt")


def test_a_tensor_that_claims_more_than_the_file_could_hold(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"bytes but claims tensors of 4,000,000,000,000: refused\n.*contiguous"):
        load(tmp_path / "a.pt")
    torch.save({str(index): torch.ones(2000).expand(2000, 2000).T for index in range(100)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"bytes but claims tensors of 1,600,000,000: refused"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_tied_tensors_whose_arrays_are_copies_are_one_and_count_once(tmp_path, dtype):
    weight = torch.arange(20.0).repeat(100, 4500).to(dtype)  # 9 MB in 8 bits: of more than 8 a second copy is refused
    weight = weight.T if dtype is torch.float32 else weight
    state = {"wte.weight": weight, "lm_head.weight": nn.Parameter(weight, requires_grad=False), "row": weight[0]}
    torch.save(state, tmp_path / "a.pt")
    got = load(tmp_path / "a.pt")
    assert got["lm_head.weight"] is got["wte.weight"]
    for name, tensor in state.items():
        np.testing.assert_array_equal(got[name], tensor.float(), err_msg=name)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"is a TorchScript program, not a checkpoint\n  .*torch\.jit\.load"):
        load(tmp_path / "a.pt")


def rezipped(path: Path, change: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    """Write the zip file again with some entries replaced, or left out where the change is None."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= {f"a/{name}": content for name, content in change.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)


def test_zipped_again_without_alignment(tmp_path):
    model = network()
    torch.save(model.state_dict(), tmp_path / "a.pt")
    rezipped(tmp_path / "a.pt", {"version": b"3\n" * 3})
    assert_same(load(tmp_path / "a.pt"), model.state_dict())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"data/0": None}, "the elements of conv.weight are missing"),
        ({"data/0": bytes(12)}, "conv.weight needs 432 bytes, 12 are there"),
        ({"data.pkl": None}, "is a zip file, but not one that torch.save wrote"),
        ({"data.pkl": b""}, "its pickle cannot be read"),
        ({"data.pkl": b"\x80\x02}"}, "its pickle cannot be read\n  pickle exhausted before seeing STOP"),
        ({"byteorder": b"big"}, "was written on a big-endian machine"),
    ],
)
def test_damaged_archive(tmp_path, change, problem):
    torch.save(network().state_dict(), tmp_path / "a.pt")
    rezipped(tmp_path / "a.pt", change)
    with pytest.raises(CheckpointError, match=problem):
        load(tmp_path / "a.pt")


def test_compressed_archive(tmp_path):
    torch.save(network().state_dict(), tmp_path / "a.pt")
    rezipped(tmp_path / "a.pt", {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"is compressed, which torch\.save never does"):
        load(tmp_path / "a.pt")


def test_a_pickle_that_torch_did_not_write(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"is not a file that torch\.save wrote"):
        load(tmp_path / "a.pt")


def test_other_zip_file(tmp_path):
    np.savez(buffer := io.BytesIO(), a=np.ones(1))
    (tmp_path / "a.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match=r"is a zip file, but not one that torch\.save wrote"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, zipped, part):
    torch.save(network().state_dict(), path := tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(CheckpointError, match=r"a\.pt is damaged: (.|\n)*download it again"):
        load(path)


def test_legacy_file_of_another_machine(tmp_path):
    torch.save({"a": torch.ones(1)}, path := tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    with pytest.raises(CheckpointError, match=r"torch\.save\(torch\.load\(path\), path\)"):
        load(path)


def test_numpy_s_arrays_that_torch_pickled_are_told(tmp_path):
    torch.save({"a": np.ones(3)}, tmp_path / "a.pt")
    message = message_of(CheckpointError, load, tmp_path / "a.pt")
    assert "\n  trtnn.save(state_dict, path) saves NumPy arrays, torch.save pickles them\n" in message
    save({"a": np.ones(3)}, tmp_path / "a.pt")  # as it says
    np.testing.assert_array_equal(load(tmp_path / "a.pt")["a"], np.ones(3))
