"""Exported programs: their graphs are ATen's, and what comes of them is torch.nn's again where that can be told."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtnn
from tests.from_torch.models import OPERATIONS, OneMemory, Operation, images, make
from tests.helpers import assert_close
from trtnn.errors import UnsupportedError, VerificationError

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*:FutureWarning")  # of torch's own export

# Of the others torch exports no dataclasses and no names that are not Python's; ATen has an LSTM in one piece, and
# takes parts of tensors that are written to in other ways.
NAMES = ("residual", "transformer", "dense", "encoder", "tied", "shared", "passes", "wrapped", "names")


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_torch_does(name):
    model, args, kwargs = make(name)
    converted = trtnn.from_torch(torch.export.export(model, args, kwargs), *args, **kwargs)
    with torch.no_grad():
        expected = model(*args, **kwargs)
    assert_close(converted.trace().run(*(tensor.numpy() for tensor in args)), expected, 1e-5)
    theirs = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    assert {key for key, member in converted._state().items() if not member.optional} <= theirs


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_aten_has_otherwise(name):
    x, model = images(2, 3, 7, 6), Operation(name)
    network = trtnn.from_torch(torch.export.export(model.eval(), (x,)), x).trace()
    other = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(3))
    assert_close(network.run(other.numpy()), model(other), 1e-5)


class Pools(torch.nn.Module):
    """One pool, which keeps the rows of what it is called with."""

    def __init__(self):
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d((None, 1))

    def forward(self, x):
        return self.pool(x), self.pool(x[:, :, 1:])


def test_a_pool_of_several_sizes():
    x = images(2, 3, 4, 5)
    model = Pools().eval()
    network = trtnn.from_torch(torch.export.export(model, (x,)), x, verify=False).trace()
    assert_close(network.run(x.numpy()), model(x), 1e-5)


def test_windows_that_aten_does_not_say():
    def unpooled(x):
        y, places = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
        return torch.nn.functional.max_unpool2d(y, places, 2)

    class Unpools(torch.nn.Module):
        def forward(self, x):
            return unpooled(x)

    x = images(1, 2, 4, 4)
    with pytest.raises(UnsupportedError, match="max_unpool of a graph, which does not hold its windows"):
        trtnn.from_torch(torch.export.export(Unpools().eval(), (x,)), x, verify=False)


def test_modules_are_torch_nns_again():
    model, args, _ = make("residual")
    source = trtnn.from_torch(torch.export.export(model, args), *args).source
    assert "self.stem = Conv2d(3, 8, 3, stride=2, padding=1)" in source
    assert "self.relu = ReLU(inplace=True)" in source
    assert "self.layer1 = Sequential(*(Block(8) for _ in range(3)))" in source
    assert "class Block(Module):" in source


class Core(torch.nn.Module):
    """What torch's table of decompositions has under names of its own."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1, groups=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.up = torch.nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, padding=1)
        self.last = torch.nn.LayerNorm(6)

    def forward(self, x):
        x = self.up(self.norm(self.conv(x)).relu())
        x = self.last(x.permute(0, 2, 3, 1))
        return x.softmax(-1), torch.nn.functional.log_softmax(x, 1)


@pytest.mark.parametrize("full", [True, False])
def test_what_decompositions_leave(full):
    torch.manual_seed(0)
    model, x = Core().eval(), images(2, 3, 8, 8)
    model.norm.running_mean.uniform_(-1, 1)
    model.norm.running_var.uniform_(0.5, 2)
    program = torch.export.export(model, (x,))
    converted = trtnn.from_torch(program.run_decompositions(*([] if full else [{}])), x)
    assert "self.conv = Conv2d(3, 4, 3, stride=2, padding=1)" in converted.source
    other = images(2, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        assert_close(converted.trace().run(other.numpy()), model(other), 1e-5)


class Picks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x, places):
        rows = torch.arange(x.shape[0])
        return x[:, self.order], x[rows, places], x[:, :, places], x[self.order, :, self.order + 1]


def test_places_that_are_picked():
    model = Picks().eval()
    args = torch.rand(3, 4, 5), torch.tensor([3, 0, 1])
    converted = trtnn.from_torch(torch.export.export(model, args), *args)
    assert "[:, self.order]" in converted.source
    x, places = torch.rand(3, 4, 5), torch.tensor([1, 2, 0])
    for ours, theirs in zip(converted.trace().run(x.numpy(), places.numpy()), model(x, places), strict=True):
        assert_close(ours, theirs, 1e-6)


# As users hand programs on: each operation gives a tensor of its own, and as torch's compilers read them (Core ATen).
DECOMPOSED = {"functional": lambda program: program.run_decompositions({}), "core": lambda p: p.run_decompositions()}


class Decomposed(nn.Module):
    """What Core ATen has under other names, or in other arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 8, 3, (1, 2), 1, groups=1), nn.BatchNorm2d(8), nn.PReLU(), nn.InstanceNorm2d(8, affine=True),
            nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, 2, dilation=2), nn.GroupNorm(3, 6), nn.MaxPool2d(2), nn.Dropout(),
        )  # fmt: skip
        self.line, self.norm = nn.Conv1d(6, 4, 3, padding=2, dilation=2, bias=False), nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        y = self.convolutions(x)
        padded = F.pad(
            F.pad(F.pad(y, (1, 2, 0, 1), value=0.5), (1, 1, 2, 0), mode="reflect"), (2, 1, 0, 0), mode="replicate"
        )
        rows = self.norm(self.line(y.flatten(2)).transpose(1, 2))
        attended, weights = self.attention(rows, rows, rows)
        moved = F.grid_sample(padded, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False)
        spectrum = torch.fft.rfft(y, dim=-1, norm="ortho")
        back = torch.fft.irfft(spectrum, n=y.shape[-1], norm="ortho")
        whole = torch.view_as_real(torch.fft.fft2(y))
        averages = (
            whole,
            F.adaptive_avg_pool2d(padded, (2, 3)),
            F.selu(y),
            F.celu(y, 0.7),
            torch.cdist(rows, rows[:, :3]),
        )
        return padded, attended, F.log_softmax(weights, -1), moved, back + torch.full_like(y, 2), *averages


@pytest.mark.parametrize("how", DECOMPOSED)
def test_programs_after_decompositions(how):
    torch.manual_seed(2)
    model = Decomposed().eval()
    for norm in (module for module in model.modules() if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d))):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    model.convolutions[1].running_mean.normal_()
    model.convolutions[1].running_var.uniform_(0.5, 2)
    x, other = images(1, 3, 9, 12), torch.randn(1, 3, 9, 12)
    program = DECOMPOSED[how](torch.export.export(model, (x,)))
    with torch.no_grad():
        expected = model(other)
    assert_close(trtnn.from_torch(program, x).trace().run(other.numpy()), expected, 1e-5)


@pytest.mark.parametrize("how", DECOMPOSED)
@pytest.mark.parametrize("name", sorted({*OPERATIONS} - {"windows"}))  # which Core ATen folds by places that add up
def test_operations_after_decompositions(name, how):
    x, model = images(2, 3, 7, 6), Operation(name).eval()
    network = trtnn.from_torch(DECOMPOSED[how](torch.export.export(model, (x,))), x).trace()
    other = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(3))
    assert_close(network.run(other.numpy()), model(other), 1e-5)


class Bags(nn.Module):
    """Bags of one length, which are exported as offsets, weighed and padded; of several, whose offsets are a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleList(nn.EmbeddingBag(9, 4, mode=mode, padding_idx=2) for mode in ("sum", "mean", "max"))
        self.weighed = nn.EmbeddingBag(9, 4, mode="sum")
        self.register_buffer("starts", torch.tensor([0, 1, 4]))

    def forward(self, x, weights):
        together = F.embedding_bag(x.flatten(), self.weighed.weight, self.starts, mode="mean")
        return *(bag(x) for bag in self.rows), self.weighed(x, per_sample_weights=weights), together


@pytest.mark.parametrize("how", [*DECOMPOSED, "as exported"])
def test_bags_of_embeddings(how):
    model, generator = Bags().eval(), torch.Generator().manual_seed(3)
    args, others = ((torch.randint(0, 9, (2, 3), generator=generator), torch.rand(2, 3)) for _ in range(2))
    program = DECOMPOSED.get(how, lambda same: same)(torch.export.export(model, args))
    with torch.no_grad():
        expected = model(*others)
    assert_close(trtnn.from_torch(program, *args).trace().run(*(t.numpy() for t in others)), expected, 1e-5)


class Counted(nn.Module):
    """Bags that begin at numbers that are counted, of which the last is longer."""

    def __init__(self, *begin):
        super().__init__()
        self.weight, self.begin = nn.Parameter(torch.randn(9, 4)), begin

    def forward(self, x):
        return F.embedding_bag(x, self.weight, torch.arange(*self.begin), mode="sum")


@pytest.mark.parametrize("begin", [(0, 4), (0, 9, 2)])
def test_bags_of_several_lengths_are_refused(begin):
    x = torch.randint(0, 9, (9,))
    with pytest.raises(UnsupportedError, match="embedding_bag of bags that are not known while tracing"):
        trtnn.from_torch(torch.export.export(Counted(*begin).eval(), (x,)), x)


class Heads(nn.Module):
    """A detector's: lists of modules that are called in turns, and rows that are changed in place behind a permute."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes, self.scores = (nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(2)) for _ in range(2))

    def forward(self, x):
        levels = x, F.max_pool2d(x, 2)
        pairs = zip(self.boxes, self.scores, levels, strict=True)
        maps = [torch.cat([box(y), score(y).sigmoid()], 1) for box, score, y in pairs]
        joined = torch.cat([y.flatten(2) for y in maps], 2).permute(0, 2, 1)
        joined[..., :2] = joined[..., :2] * 8 + torch.arange(joined.shape[1]).view(1, -1, 1).type(x.dtype)
        joined[..., 2:3] = joined[..., 2:3].exp()
        return joined


@pytest.mark.parametrize("how", [*DECOMPOSED, "as exported"])
def test_modules_that_are_called_in_turns(how):
    model, x, other = Heads().eval(), torch.rand(1, 3, 8, 6), torch.rand(1, 3, 8, 6)
    program = DECOMPOSED.get(how, lambda same: same)(torch.export.export(model, (x,)))
    converted = trtnn.from_torch(program, x)
    with torch.no_grad():
        expected = model(other)
    assert_close(converted.trace().run(other.numpy()), expected, 1e-5)
    assert {key for key, _ in converted.named_parameters()} == {*model.state_dict()}


class WritesToParts(nn.Module):
    """Parts of tensors that are written to, through views of views, and read before and behind."""

    def forward(self, x):
        table = x.new_full((x.shape[0], 5, 6), 0.5)
        table[:, :3, :4] = x[:, :3, :4] * 2
        table[:, :-1, -1] += x[:, 1:, 0]
        rows = table[:, 1]
        rows[:, 2:4] *= x[:, 0, 2:4]
        before = table.sum(-1)
        table[:, -1, :-1].copy_(x[:, 4, 1:])
        table.select(1, 0).sub_(1)
        zero = x.new_tensor(0)
        return table, before, rows + torch.where(x[:, 0] > 0, x[:, 0], zero)


@pytest.mark.parametrize("how", [*DECOMPOSED, "as exported"])
def test_programs_that_write_to_parts_of_tensors(how):
    x, other = (torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    program = torch.export.export(WritesToParts(), (x,))
    assert any(node.target is torch.ops.aten.copy_.default for node in program.graph.nodes)
    program = DECOMPOSED.get(how, lambda same: same)(program)
    assert_close(trtnn.from_torch(program, x).trace().run(other.numpy()), WritesToParts()(other), 1e-6)


class PicksForNothing(nn.Module):
    """What a mask picks, which nothing reads but torch's own checks of how much that is."""

    def forward(self, x):
        nearest = torch.full_like(x, 9)
        for step in range(3):
            mask = x * step < nearest
            nearest[mask] = (x * step)[mask]
            if step == 1:
                result = nearest.clone()
        return result


@pytest.mark.parametrize("how", [*DECOMPOSED, "as exported"])
def test_what_a_mask_picks_for_checks_alone_is_left_out(how):
    x, other = (torch.randn(2, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    program = DECOMPOSED.get(how, lambda same: same)(torch.export.export(PicksForNothing(), (x,)))
    assert_close(trtnn.from_torch(program, x).trace().run(other.numpy()), PicksForNothing()(other), 1e-6)


def test_batch_norm_of_a_batch_after_decompositions_is_refused():
    class Training(nn.Module):
        def forward(self, x):
            return F.batch_norm(x, None, None, training=True)

    x = torch.randn(2, 3, 4, 4)
    program = torch.export.export(Training(), (x,)).run_decompositions()
    with pytest.raises(UnsupportedError, match="batch_norm of a batch's own statistics: once"):
        trtnn.from_torch(program, x)


class Checks(torch.nn.Module):
    """Numbers that others would be an error for, of which a graph keeps assertions."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 3)

    def forward(self, x):
        torch._check(x.max().item() <= 2)
        count = (x > 1).sum().item()
        torch._check(count >= 0)
        torch._check(count <= x.shape[0] * 6 // 2)
        return torch.special.logit(self.fc(x).sigmoid(), 1e-6)


def test_assertions_of_numbers_are_left_out():
    model, x = Checks().eval(), images(4, 6)
    program = torch.export.export(model, (x,))
    assert "_assert_scalar" in str(program.graph)
    network = trtnn.from_torch(program, x).trace()
    with torch.no_grad():
        others = x * 3
        assert_close(network.run(others.numpy()), model.fc(others).clamp(-12, 12), 1e-4)
        with pytest.raises(RuntimeError):
            model(others + 2)


class Grouped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(2, 16, 8))

    def forward(self, x):
        first = (x[:, 0] > 0.5).sum()
        ends = torch.stack([first, torch.full_like(first, x.shape[0])]).to(torch.int32)
        return torch.nn.functional.grouped_mm(x, self.weight, offs=ends)


@pytest.mark.skipif(not hasattr(torch.nn.functional, "grouped_mm"), reason="torch has no grouped_mm")
def test_weights_of_experts_for_groups_of_rows():
    model, x = Grouped().eval(), images(4, 16)
    network = trtnn.from_torch(model, x).trace()
    for count in (0, 1, 2, 4):
        other = x.clone()
        other[:, 0] = (torch.arange(4) < count).float()
        with torch.no_grad():
            assert_close(network.run(other.numpy()), model(other), 1e-5)


@pytest.mark.skipif(not hasattr(torch.ops.aten, "_grouped_mm"), reason="torch has no grouped_mm")
def test_groups_of_rows_in_a_program():
    """torch exports them in bfloat16 alone, and it computes these in other order."""
    model, x = Grouped().eval().bfloat16(), images(4, 16).bfloat16()
    network = trtnn.from_torch(torch.export.export(model, (x,)), x).trace()
    with torch.no_grad():
        assert_close(torch.as_tensor(network.run(x)).float().numpy(), model(x).float(), 2e-2)


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(8, 8)

    def forward(self, x, factor):
        return self.fc(x) * factor


class Around(torch.nn.Module):
    """Does nothing itself: its calls differ by what the module within does."""

    def __init__(self):
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x, factor):
        return self.scaled(x, factor)


class CalledTwice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.around = Around()
        self.ffn = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.LayerNorm(4))

    def forward(self, x, y):
        x, y = self.around(x, 2.0), self.around(y, 3.0)
        return self.ffn(x), self.ffn(y)


@pytest.mark.parametrize("decomposed", [None, {}, "core"])
@pytest.mark.parametrize("lengths", [(5, 7), (5, 5)])
def test_calls_of_a_module_that_differ_in_what_it_calls(decomposed, lengths):
    """torch.export.unflatten takes them for the same: it gives other numbers, or fails where shapes differ."""
    model, x, y = CalledTwice().eval(), *(images(2, length, 8) for length in lengths)
    program = torch.export.export(model, (x, y))
    if decomposed is not None:
        program = program.run_decompositions(*([] if decomposed == "core" else [decomposed]))
    network = trtnn.from_torch(program, x, y).trace()
    with torch.no_grad():
        x, y = x * 2 + 1, y - 1
        assert_close(network.run(x.numpy(), y.numpy()), model(x, y), 1e-5)


def test_a_program_is_compared_with_what_torch_runs(monkeypatch):
    """Where modules are put together wrongly, what they give is no measure."""
    x, original = images(2, 8), torch.export.unflatten
    model = nn.Linear(8, 8).eval()
    right, wrong = (
        torch.export.export(nn.Sequential(model), (x,)),
        torch.export.export(nn.Sequential(model, model), (x,)),
    )
    monkeypatch.setattr(torch.export, "unflatten", lambda program: original(wrong))
    with pytest.raises(VerificationError, match="the example"):
        trtnn.from_torch(right, x)


class Folded(nn.Module):
    def __init__(self, *how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return F.fold(x, *self.how)


FOLDS = [
    ((2, 18, 9), (6, 6), 3, 1, 1, 2),
    ((2, 12, 12), (6, 8), 2, 1, 0, 2),
    ((1, 12, 12), (5, 6), (2, 3), (2, 1), 0, 1),
    ((1, 8, 6), (5, 7), (2, 4), 1, (1, 0), (2, 3)),
    ((1, 6, 7), (1, 9), (1, 3), 1, 0, 1),
]


@pytest.mark.parametrize(("shape", "size", "kernel", "dilation", "padding", "stride"), FOLDS)
def test_fold_that_is_decomposed_into_places(shape, size, kernel, dilation, padding, stride):
    model, x = Folded(size, kernel, dilation, padding, stride).eval(), images(*shape)
    program = torch.export.export(model, (x,)).run_decompositions()
    assert "index_put" in str(program.graph)
    converted = trtnn.from_torch(program, x)
    assert "F.fold(" in converted.source
    assert_close(converted.trace().run((x + 1).numpy()), model(x + 1), 1e-5)


class Added(nn.Module):
    """Adds at places that are no windows, or are a buffer's, by which other weights are added elsewhere."""

    def __init__(self, is_buffer=False):
        super().__init__()
        rows = torch.tensor([[0, 2, 4], [1, 3, 5]]) if is_buffer else torch.tensor([[0, 2, 2], [1, 3, 5]])
        self.register_buffer("rows", rows[:, :, None, None])
        self.is_buffer = is_buffer

    def forward(self, x):
        rows = self.rows if self.is_buffer else (torch.arange(3) ** 2 + torch.arange(2)[:, None])[:, :, None, None]
        columns = torch.arange(0, 4, 2) + torch.arange(3)[:, None]
        image = torch.zeros(2, 2, 6, 5)
        return torch.ops.aten.index_put(image, [None, None, rows, columns], x, True)


@pytest.mark.parametrize("is_buffer", [False, True])
def test_what_is_added_at_places_that_are_no_windows(is_buffer):
    model, x = Added(is_buffer).eval(), images(2, 2, 2, 3, 3, 2)
    converted = trtnn.from_torch(model, x)
    assert "fold" not in converted.source
    assert_close(converted.trace().run((x + 1).numpy()), model(x + 1), 1e-5)


class AddedWithin(nn.Module):
    def forward(self, x, values):
        rows = torch.tensor([[0, 2], [2, 0]])
        return torch.ops.aten.index_put(x, [None, rows], values, True)


def test_what_is_added_at_places_of_a_dimension_between_others():
    model, x, values = AddedWithin().eval(), images(2, 3, 4), images(2, 2, 2, 4)
    network = trtnn.from_torch(torch.export.export(model, (x, values)), x, values).trace()
    assert_close(network.run((x + 1).numpy(), values.numpy()), model(x + 1, values), 1e-5)


def test_tensors_that_lie_in_one_place():
    """They are one in torch's own unflatten."""
    model, x = OneMemory().eval(), images(2, 4)
    network = trtnn.from_torch(torch.export.export(model, (x,)), x).trace()
    assert_close([*network.run((x - 1).numpy())], [*model(x - 1)], 1e-6)


class Spectrogram(nn.Module):
    def __init__(self, center):
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))
        self.center, self.conv = center, nn.Conv1d(1, 4, 4, padding="same", dilation=2)
        self.kernel = nn.Parameter(torch.randn(3, 1, 5))

    def forward(self, x):
        spectrum = torch.stft(x, 32, 8, window=self.window, center=self.center, return_complex=True)
        x = x[:, None]
        return spectrum.abs(), self.conv(x), F.conv1d(x, self.kernel, None, 2, "valid", 3)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("graph", [lambda m, x: torch.export.export(m, (x,)), lambda m, x: torch.jit.trace(m, (x,))])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.filterwarnings("ignore:.*is deprecated. Please switch to:DeprecationWarning")
def test_spectrograms_and_padding_by_a_word(center, graph):
    model, x = Spectrogram(center).eval(), images(2, 128)
    converted = trtnn.from_torch(graph(model, x), x)
    assert 'Conv1d(1, 4, 4, padding="same", dilation=2)' in converted.source
    with torch.no_grad():
        assert_close([*converted.trace().run((x + 1).numpy())], [*model(x + 1)], 1e-5)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_spectrograms_of_decomposed_programs(center):
    model, x = Spectrogram(center).eval(), images(2, 128)
    network = trtnn.from_torch(torch.export.export(model, (x,)).run_decompositions(), x).trace()
    with torch.no_grad():
        assert_close([*network.run((x + 1).numpy())], [*model(x + 1)], 1e-5)
