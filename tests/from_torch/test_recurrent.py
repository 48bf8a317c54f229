"""Recurrent networks: torch.nn's modules in graphs are its own again, and sequences of several lengths are packed."""

from __future__ import annotations

import io
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import rnn

import trtnn
from tests.from_torch.models import images
from tests.helpers import ONE_TARGET, assert_close, message_of
from trtnn.errors import ArgumentError, TrtnnError, UnsupportedError, VerificationError
from trtnn.from_torch.graphs import exported, recurrent, torchscript
from trtnn.from_torch.recording.packing import padded_in_full

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*treespec.*:FutureWarning",
    "ignore::DeprecationWarning",
    "ignore::torch.jit.TracerWarning",
    "ignore:LSTM with projections",
    "ignore:The tensor attributes .*_flat_weights",
    "ignore:dropout option adds dropout",
    "ignore:pad_packed_sequence gives as many steps",
)

BATCH = trtnn.Dim("batch", 1, 2, 8)
FORMS = ("eager", "exported", "strict", "decomposed", "traced")


def in_form(form: str, model: nn.Module, args: tuple[Any, ...], dynamic: Any = None) -> Any:
    """Return a model as it is, or as a graph of torch's."""
    if form == "eager":
        return model
    if form == "traced":
        return torch.jit.trace(model, args)
    if form == "loaded":
        file = io.BytesIO()
        torch.jit.save(torch.jit.trace(model, args), file)
        file.seek(0)
        return torch.jit.load(file)
    program = torch.export.export(model, args, strict=form == "strict", dynamic_shapes=dynamic)
    return program.run_decompositions({}) if form == "decomposed" else program


def check(model: nn.Module, form: str, args: Any, *others: Any, dynamic: Any = None, exports: Any = None) -> str:
    """Convert a model in a form, compare it with torch on other inputs, and return the source."""
    converted = trtnn.from_torch(in_form(form, model, args, exports), *args, dynamic=dynamic)
    network = converted.trace()
    for inputs in (args, *others):
        with torch.no_grad():
            expected = model(*inputs)
        assert_close(network.run(*(tensor.numpy() for tensor in inputs)), expected, 1e-5)
    return converted.source


# -- torch.nn's modules -----------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """Layers that are given a state or none, and of which some results are used."""

    def __init__(self, kind: str, states: int, used: tuple[int, ...], **options: Any) -> None:
        super().__init__()
        self.inner = getattr(nn, kind)(4, 5, **options)
        self.states, self.used = states, used

    def forward(self, x, h=None, c=None):
        state = (h, c if self.states == 2 else h) if "LSTM" in type(self.inner).__name__ else h
        result = self.inner(x) if not self.states else self.inner(x, state)
        if isinstance(result, torch.Tensor):
            return result
        output, state = result
        parts = [output, *state] if isinstance(state, tuple) else [output, state]
        return tuple(parts[i] for i in self.used)


ROWS = {
    "LSTM": ({"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.3}, 0, (0,)),
    "LSTM with a state": ({"num_layers": 2}, 2, (2, 0)),
    "LSTM with one state for both": ({"bias": False}, 1, (1,)),
    "LSTM with projections": ({"proj_size": 3, "bidirectional": True}, 0, (0, 1, 2)),
    "GRU": ({"num_layers": 3, "bidirectional": True, "dropout": 0.1}, 0, (0, 1)),
    "GRU with a state": ({"bias": False, "batch_first": True}, 1, (1, 0)),
    "RNN": ({"nonlinearity": "relu", "num_layers": 2}, 0, (1,)),
    "RNN with a state": ({"bidirectional": True}, 1, (0,)),
    "LSTMCell": ({}, 0, (1,)),
    "LSTMCell with a state": ({"bias": False}, 2, (0, 1)),
    "LSTMCell with one state for both": ({}, 1, (1, 0)),
    "GRUCell": ({"bias": False}, 0, (0,)),
    "GRUCell with a state": ({}, 1, (0,)),
    "RNNCell": ({"nonlinearity": "relu"}, 1, (0,)),
    "RNNCell without one": ({"bias": False}, 0, (0,)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("name", ROWS)
def test_modules_of_torch_nn_are_its_own(name, form, batched):
    kind, (options, states, used) = name.split()[0], ROWS[name]
    torch.manual_seed(0)
    model = Layers(kind, states, used, **options).eval()
    batch = (2,) if batched else ()
    if kind.endswith("Cell"):
        shapes = [(*batch, 4), (*batch, 5), (*batch, 5)]
    else:
        count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
        first = (2, 6) if options.get("batch_first") else (6, 2)
        shapes = [
            ((*first, 4) if batched else (6, 4)),
            (count, *batch, options.get("proj_size", 5)),
            (count, *batch, 5),
        ]
    args = tuple(images(*shape) - i for i, shape in enumerate(shapes[: 1 + states]))
    source = check(model, form, args, [tensor * 2 - 1 for tensor in args])
    declared = [f"self.inner = {kind}(4, 5", *([", bias=False"] if not options.get("bias", True) else [])]
    assert all(text in source for text in declared)
    assert "F." not in source


class Twice(nn.Module):
    """One module that is called several times, by itself and in a list."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell = nn.LSTM(4, 4, batch_first=True), nn.GRUCell(4, 4)
        self.rows = nn.ModuleList(nn.LSTM(4, 4, batch_first=True) for _ in range(3))

    def forward(self, x):
        y, state = self.lstm(x)
        y, state = self.lstm(y, state)
        for row in self.rows:
            y = y + row(y)[0]
        h = self.cell(y[:, 0])
        return y, state[1], self.cell(y[:, 1], h)


@pytest.mark.parametrize("form", FORMS)
def test_a_module_that_is_called_twice(form):
    torch.manual_seed(0)
    source = check(Twice().eval(), form, (images(2, 5, 4),), (images(2, 5, 4) * 2 - 1,))
    assert form not in ("eager", "traced") or "LSTM(4, 4, batch_first=True) for _ in range(3)" in source
    assert source.count("= LSTM(4, 4, batch_first=True)") <= 4
    assert source.count("GRUCell(4, 4)") == 1
    assert "@" not in source


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("model", "args"),
    [
        (nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), (images(2, 5, 3),)),
        (nn.GRU(3, 4), (images(5, 2, 3), images(1, 2, 4))),
    ],
    ids=["LSTM", "GRU"],
)
def test_the_model_is_one_of_them(model, args, form):
    check(model.eval(), form, args, [tensor * 2 - 1 for tensor in args])


def test_a_program_is_compared_as_it_was(monkeypatch):
    """Not with the module that was put into it."""
    monkeypatch.setattr(recurrent, "_place", lambda operation, number: (0,))
    model, args = Layers("GRU", 0, (1,)).eval(), (images(1, 1, 4),)
    with pytest.raises(VerificationError, match="on the example"):
        trtnn.from_torch(in_form("exported", Layers("GRU", 0, (1,), bidirectional=True).eval(), args), *args)
    assert exported.as_module(in_form("exported", model, args)) is not None


class Subclass(nn.LSTM):
    """Torch's own under another name, with a result of its own."""

    def forward(self, x):
        return super().forward(x)[0]


@pytest.mark.parametrize("norm", [None, nn.utils.parametrizations.weight_norm])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, Subclass])
def test_weights_of_ones_own(kind, norm):
    """They are torch.lstm's of the weights, where nothing says that they are a module's."""
    torch.manual_seed(0)
    inner = kind(4, 5)
    model = nn.Sequential(inner if norm is None else norm(inner, "weight_hh_l0")).eval()
    source = check(model, "eager", (images(6, 2, 4),), (images(6, 2, 4) * 2 - 1,))
    assert norm is None or f"F.{'gru' if kind is nn.GRU else 'lstm'}(" in source


class Steps(nn.Module):
    """Zeros of a batch that is known when the network runs, and a cell that goes over time."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell = nn.LSTM(3, 4, 2, batch_first=True), nn.LSTMCell(4, 4)

    def forward(self, x):
        h = torch.zeros(2, x.size(0), 4)
        y, _ = self.lstm(x, (h, h))
        h = c = torch.zeros(x.size(0), 4)
        for step in y.split(1, dim=1):
            h, c = self.cell(step.squeeze(1), (h, c))
        return y, h, c


@pytest.mark.parametrize("form", FORMS)
def test_states_of_a_dynamic_batch(form):
    torch.manual_seed(0)
    exports = {"x": {0: torch.export.Dim("batch", min=1, max=8)}}
    others = (images(5, 4, 3) * 2, images(1, 4, 3))
    check(Steps().eval(), form, (images(2, 4, 3),), *[(x,) for x in others], dynamic=BATCH, exports=exports)


# -- users' models ----------------------------------------------------------------------------------------------------


class CRNN(nn.Module):
    """Text in pictures: convolutions, two LSTMs in both directions, and logits for CTC."""

    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d((2, 1)), nn.Conv2d(8, 16, (4, 1)), nn.ReLU(),
        )  # fmt: skip
        self.rnn1 = nn.LSTM(16, 12, bidirectional=True)
        self.embedding = nn.Linear(24, 12)
        self.rnn2 = nn.LSTM(12, 12, bidirectional=True)
        self.fc = nn.Linear(24, 11)

    def forward(self, x):
        features = self.cnn(x).squeeze(2).permute(2, 0, 1)
        output, _ = self.rnn1(features)
        output, _ = self.rnn2(self.embedding(output))
        return F.log_softmax(self.fc(output), dim=2)


class Speech(nn.Module):
    """Spectrograms: convolutions that leave out steps, and a GRU."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(20, 16, 3, stride=2, padding=1), nn.GELU())
        self.gru = nn.GRU(16, 12, num_layers=3, batch_first=True, bidirectional=True, dropout=0.1)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 9)

    def forward(self, mel):
        x, _ = self.gru(self.conv(mel).transpose(1, 2))
        return self.head(self.norm(x))


class Forecaster(nn.Module):
    """Time series: the last hidden state and the last output."""

    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(5, 16, 2, batch_first=True, dropout=0.2), nn.Linear(16, 4)

    def forward(self, x):
        h = torch.zeros(2, x.size(0), 16, device=x.device)
        output, (h, _) = self.lstm(x, (h, torch.zeros_like(h)))
        return self.fc(h[-1]) + self.fc(output[:, -1, :])


class Residual(nn.Module):
    """LSTMs upon one another with sums around them, one of them with projections."""

    def __init__(self):
        super().__init__()
        self.lstms = nn.ModuleList(nn.LSTM(10, 10, batch_first=True) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(10) for _ in range(3))
        self.last = nn.LSTM(10, 12, proj_size=10, batch_first=True)

    def forward(self, x):
        for lstm, norm in zip(self.lstms, self.norms, strict=True):
            x = x + lstm(norm(x))[0]
        return self.last(x)[0].mean(1)


USERS = {
    "CRNN": (CRNN, (2, 1, 16, 24), (5, 1, 16, 24)),
    "speech": (Speech, (2, 20, 32), (4, 20, 32)),
    "forecaster": (Forecaster, (3, 7, 5), (5, 7, 5)),
    "residual": (Residual, (2, 5, 10), (3, 5, 10)),
}


@pytest.mark.parametrize("form", ["eager", "exported", "traced"])
@pytest.mark.parametrize("name", USERS)
def test_models_of_users(name, form):
    torch.manual_seed(0)
    kind, shape, other = USERS[name]
    model = kind().eval()
    argument = "mel" if name == "speech" else "x"
    exports = {argument: {0: torch.export.Dim("batch", min=1, max=8)}}
    check(model, form, (images(*shape),), (images(*other) - 0.5,), dynamic=BATCH, exports=exports)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", USERS)
def test_engines_of_models_of_users(name, fp16):
    kind, shape, _ = USERS[name]
    network = trtnn.from_torch(kind().eval(), images(*shape), dynamic=BATCH, verify=False).trace(fp16=fp16)
    assert network.build(**ONE_TARGET).plan.nbytes > 0


class Language(nn.Module):
    """Words to the next: embeddings that are the decoder's weights, and a state that is handed on."""

    def __init__(self):
        super().__init__()
        self.drop, self.encoder = nn.Dropout(0.3), nn.Embedding(50, 12)
        self.rnn, self.decoder = nn.LSTM(12, 12, 2, dropout=0.3), nn.Linear(12, 50)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids, h, c):
        output, (h, c) = self.rnn(self.drop(self.encoder(ids)), (h, c))
        return F.log_softmax(self.decoder(self.drop(output)), -1), h, c


@pytest.mark.parametrize("form", ["eager", "exported", "traced"])
def test_a_state_that_is_handed_on(form):
    torch.manual_seed(0)
    ids = torch.randint(50, (6, 2))
    args, other = (ids, images(2, 2, 12), images(2, 2, 12) - 1), (ids.flip(0), images(2, 2, 12) - 1, images(2, 2, 12))
    source = check(Language().eval(), form, args, other)
    assert "LSTM(12, 12, num_layers=2, dropout=0.3)" in source
    if form != "exported":
        assert "output, states = self.rnn(" in source
        assert "h, c = states\n" in source


# -- sequences of several lengths -------------------------------------------------------------------------------------


class Packs(nn.Module):
    """The encoder of a translator: packs, goes through layers, and pads again."""

    def __init__(self, is_sorted: bool = False, total: bool = False, first: bool = True, kind: str = "GRU") -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.rnn = getattr(nn, kind)(8, 6, 2, bidirectional=True, batch_first=first)
        self.more = nn.GRU(12, 5, batch_first=first)
        self.is_sorted, self.total, self.first = is_sorted, total, first

    def forward(self, ids, lengths):
        x = self.embedding(ids)
        packed = rnn.pack_padded_sequence(x, lengths.cpu(), self.first, enforce_sorted=self.is_sorted)
        packed, states = self.rnn(packed)
        packed, last = self.more(packed)
        total = ids.size(1 if self.first else 0) if self.total else None
        output, counts = rnn.pad_packed_sequence(packed, self.first, padding_value=-1.0, total_length=total)
        return output, counts, last, (states[1] if isinstance(states, tuple) else states)


IDS = torch.randint(1, 30, (3, 7), generator=torch.Generator().manual_seed(0))
PACKED = [
    {"kind": "LSTM"},
    {"is_sorted": True},
    {"first": False, "kind": "RNN"},
    {"is_sorted": True, "total": True, "first": False},
    {"total": True, "kind": "LSTM"},
]


@pytest.mark.parametrize("form", ["eager", "traced", "loaded"])
@pytest.mark.parametrize("options", PACKED, ids=str)
def test_sequences_of_several_lengths(options, form):
    torch.manual_seed(0)
    model = Packs(**options).eval()
    ids = IDS if options.get("first", True) else IDS.T.contiguous()
    lengths = [(4, 7, 2), (7, 1, 1), (3, 5, 7), (7, 7, 7), *([(5, 3, 1)] if options.get("total") else [])]
    if options.get("is_sorted"):
        lengths = [tuple(sorted(each, reverse=True)) for each in lengths]
    first, *others = [(ids, torch.tensor(each)) for each in lengths]
    source = check(model, form, first, *others)
    given = "" if options.get("is_sorted") else "enforce_sorted=False"
    assert "F.pack_padded_sequence(" in source
    assert given in source
    assert "sort(" not in source
    assert f"self.rnn = {options.get('kind', 'GRU')}(8, 6, num_layers=2" in source


@pytest.mark.parametrize("form", ["eager", "traced"])
def test_sequences_of_a_dynamic_batch_and_length(form):
    torch.manual_seed(0)
    model, length = Packs(total=True).eval(), trtnn.Dim("length", 1, 7, 12)
    shapes = {"ids": (BATCH, length), "lengths": (BATCH,)}
    other = torch.randint(30, (5, 9)), torch.tensor([4, 9, 1, 2, 8])
    check(model, form, (IDS, torch.tensor([4, 7, 2])), other, (other[0][:1, :1], torch.tensor([1])), dynamic=shapes)


def test_what_is_computed_where_the_longest_is_shorter():
    """As many steps as the padded batch has, with padding behind; a warning says so, but not where torch does it."""
    torch.manual_seed(0)
    model, args = Packs().eval(), (IDS, torch.tensor([4, 5, 2]))
    with pytest.warns(UserWarning, match="as many as the padded batch has") as told:
        converted = trtnn.from_torch(model, *args)
    assert "total_length=x.size(1), with batch_first" in str(told[0].message)
    assert "test_recurrent.py" in str(told[0].message)
    output, *others = converted.trace().run(*(tensor.numpy() for tensor in args))
    with torch.no_grad():
        expected, *rest = model(*args)
    assert output.shape == (3, 7, 5)
    assert_close([output[:, :5], *others], [expected, *rest], 1e-5)
    assert (output[:, 5:] == -1).all()
    model.total = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trtnn.from_torch(model, *args)


class Lengths(nn.Module):
    """Lengths that Python knows."""

    def __init__(self, lengths: Any) -> None:
        super().__init__()
        self.rnn, self.lengths = nn.LSTM(5, 6, bidirectional=True), lengths

    def forward(self, x):
        lengths = self.lengths or [x.size(1)] * x.size(0)
        packed, (h, _) = self.rnn(rnn.pack_padded_sequence(x, lengths, batch_first=True))
        return rnn.pad_packed_sequence(packed, batch_first=True)[0], h


@pytest.mark.parametrize("form", ["eager", "traced"])
@pytest.mark.parametrize("lengths", [None, [6, 4, 1]])
def test_lengths_that_python_knows(lengths, form):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "pad_packed_sequence gives")
        source = check(Lengths(lengths).eval(), form, (images(3, 7, 5),), (images(3, 7, 5) * 2 - 1,))
    of_shapes = "[x.shape[1], x.shape[1], x.shape[1]]" if form == "eager" else "[7, 7, 7]"
    assert (of_shapes if lengths is None else "[6, 4, 1]") in source


class Held(nn.Module):
    """Lengths in a tensor that holds the same in each call, or in one that a state dict may change."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.rnn, self.how = nn.GRU(5, 6, batch_first=True), how
        lengths = torch.tensor([4, 2, 1])
        if how in ("saved", "of saved"):
            self.register_buffer("lengths", lengths)
        elif how == "not saved":
            self.register_buffer("lengths", lengths, persistent=False)
        else:
            self.lengths = lengths.numpy() if how == "array" else lengths

    def forward(self, x, n):
        lengths = torch.tensor([4, 2, 1]) if self.how == "made" else self.lengths
        if self.how == "computed":
            lengths = (lengths * 2 - lengths).cpu()
        if self.how == "of saved":
            lengths = lengths.clamp(max=9)
        if self.how == "of lengths":
            lengths = torch.full((3,), x.size(1) - 1)
        y, h = self.rnn(rnn.pack_padded_sequence(x, lengths, True))
        z, _ = self.rnn(rnn.pack_padded_sequence(x, n, True, False))
        return rnn.pad_packed_sequence(y, True)[0], h, rnn.pad_packed_sequence(z, True, total_length=5)[0]


@pytest.mark.parametrize("how", ["attribute", "made", "computed", "not saved", "array"])
def test_a_tensor_of_lengths_that_holds_the_same_in_each_call(how):
    torch.manual_seed(0)
    args = images(3, 5, 5), torch.tensor([2, 5, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = check(Held(how).eval(), "eager", args, (args[0] * 2 - 1, args[1].flip(0)))
    assert "F.pack_padded_sequence(x, [4, 2, 1], batch_first=True)" in source


@pytest.mark.parametrize("how", ["saved", "of saved", "of lengths"])
def test_a_tensor_of_lengths_that_may_change(how):
    """It stays a tensor, of which a network cannot know the longest."""
    torch.manual_seed(0)
    model, args = Held(how).eval(), (images(3, 5, 5), torch.tensor([2, 5, 3]))
    with pytest.warns(UserWarning, match="as many as the padded batch has"):
        converted = trtnn.from_torch(model, *args)
    assert "[4, 2, 1]" not in converted.source
    with torch.no_grad():
        padded, *expected = model(*args)
    output, *others = converted.trace().run(*(tensor.numpy() for tensor in args))
    assert_close([output[:, :4], *others], [padded, *expected], 1e-5)
    assert output.shape == (3, 5, 6)


class OfIds(nn.Module):
    """Lengths that are counted, in a module that is handed a packed sequence."""

    def __init__(self):
        super().__init__()
        self.embedding, self.inner = nn.Embedding(9, 5, padding_idx=0), Inner()

    def forward(self, ids):
        lengths = (ids != 0).sum(1)
        return self.inner(rnn.pack_padded_sequence(self.embedding(ids), lengths, True, enforce_sorted=False))


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTM(5, 6, bidirectional=True), nn.GRU(12, 4)

    def forward(self, packed):
        packed, _ = self.first(packed)
        return self.second(packed)[1]


def test_lengths_that_are_counted():
    torch.manual_seed(0)
    ids = torch.tensor([[4, 5, 6, 0], [1, 2, 3, 4], [7, 0, 0, 0]])
    source = check(OfIds().eval(), "eager", (ids,), (ids.flip(0),), (ids[1:],), dynamic=BATCH)
    assert "packed, _ = self.first(packed)" in source


def test_a_trace_that_sorts_is_compared_with_itself(monkeypatch):
    """What was read of it would not tell that its lengths were read wrongly."""
    monkeypatch.setattr(torchscript, "_packed", lambda node: tuple(node.inputs())[:2])
    args = IDS, torch.tensor([4, 7, 2])
    with pytest.raises((VerificationError, TrtnnError)):
        trtnn.from_torch(in_form("traced", Packs(total=True).eval(), args), *args)


class PackedAndPadded(nn.Module):
    """One module for a packed sequence and a padded batch; of the former no graph says where the batch stands."""

    def __init__(self, kind: str, is_packed_first: bool) -> None:
        super().__init__()
        self.rnn, self.is_packed_first = getattr(nn, kind)(4, 4, batch_first=True), is_packed_first

    def forward(self, x, n):
        if not self.is_packed_first:
            x = self.rnn(x)[0]
        states = self.rnn(rnn.pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False))[1]
        return states[0], self.rnn(x)[0]


@pytest.mark.parametrize("form", ["eager", "traced"])
@pytest.mark.parametrize("is_packed_first", [True, False])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_a_module_that_is_called_with_a_packed_sequence_and_with_a_padded_batch(kind, is_packed_first, form):
    torch.manual_seed(0)
    model, args = PackedAndPadded(kind, is_packed_first).eval(), (images(3, 5, 4), torch.tensor([2, 5, 3]))
    network = trtnn.from_torch(in_form(form, model, args), *args, verify=False).trace()
    with torch.no_grad():
        expected = model(*args)
    assert_close(network.run(*(tensor.numpy() for tensor in args)), expected, 1e-5)


class UsedOnce(nn.Module):
    """A module that is called with packed sequences, of which one call's results nothing takes."""

    def __init__(self, kind: Any = nn.GRU) -> None:
        super().__init__()
        self.rnn = kind(4, 4)

    def forward(self, x, n):
        packed = rnn.pack_padded_sequence(x, n, enforce_sorted=False)
        self.rnn(packed)
        output = self.rnn(packed, x[:1] * 2)
        return rnn.pad_packed_sequence(output[0] if isinstance(output, tuple) else output, total_length=5)[0]


@pytest.mark.parametrize("form", ["eager", "traced"])
def test_a_packed_call_whose_result_nothing_takes(form):
    torch.manual_seed(0)
    args = images(5, 3, 4), torch.tensor([2, 5, 3])
    check(UsedOnce().eval(), form, args, (args[0] * 2 - 1, args[1].flip(0)))


class SubclassOfGRU(nn.GRU):
    """Torch's own under another name."""


def test_a_packed_sequence_in_a_trace_of_another_module():
    args = images(5, 3, 4), torch.tensor([2, 5, 3])
    trace = in_form("traced", UsedOnce(SubclassOfGRU).eval(), args)
    message = message_of(ArgumentError, trtnn.from_torch, trace, *args)
    assert "aten::gru of a packed sequence in rnn, which a trace does not say the module of" in message
    assert "give the nn.Module that it was made of" in message


X, N = images(7, 3, 5), torch.tensor([4, 7, 2])


def of_data(x, n):
    packed = rnn.pack_padded_sequence(x, n, enforce_sorted=False)
    packed = rnn.PackedSequence(packed.data.relu(), packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return rnn.pad_packed_sequence(packed)[0]


def of_sizes(x, n):
    return x * rnn.pack_padded_sequence(x, n, enforce_sorted=False).batch_sizes[:, None, None]


def returned(x, n):
    return rnn.pack_padded_sequence(x, n, enforce_sorted=False)


def of_list(x, n):
    return rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, n.tolist(), enforce_sorted=False))[0]


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (of_data, (X, N), "relu of what a packed sequence is made of: once, in the model's own forward: a network has"),
        (of_sizes, (X, N), "__getitem__ of what a packed sequence is made of"),
        (returned, (X, N), "of packed sequences pad_packed_sequence(x)[0]"),
        (of_list, (X, N), "pack_padded_sequence takes lengths that are known later as the tensor that they are"),
        (
            lambda packed: rnn.pad_packed_sequence(packed)[0],
            (rnn.pack_padded_sequence(X, N, enforce_sorted=False),),
            "give it the padded batch and the lengths, and pack_padded_sequence in forward",
        ),
    ],
)
def test_what_is_refused_of_packed_sequences(function, args, words):
    assert words in message_of((UnsupportedError, ArgumentError), trtnn.from_torch, function, *args)


def test_torchs_functions_are_as_they_were():
    codes = rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__
    with pytest.raises(TrtnnError):
        trtnn.from_torch(of_data, X, N)
    assert (rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__) == codes
    assert not any("trtnn" in name for name in vars(rnn))


def test_other_threads_have_torchs_functions():
    """Those in which nothing is recorded pad to the longest sequence, and check the order."""
    lengths, found = torch.tensor([2, 3, 1]), []

    def other() -> None:
        padded, counts = rnn.pad_packed_sequence(rnn.pack_padded_sequence(X, lengths, enforce_sorted=False))
        found.extend([padded, counts, message_of(RuntimeError, rnn.pack_padded_sequence, X, lengths)])

    with padded_in_full():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert rnn.pad_packed_sequence(rnn.pack_padded_sequence(X, lengths))[0].shape == (7, 3, 5)
    padded, counts, message = found
    expected = X[:3] * (torch.arange(3)[:, None] < lengths)[..., None]
    assert torch.equal(padded, expected)
    assert torch.equal(counts, lengths)
    assert "enforce_sorted" in message
