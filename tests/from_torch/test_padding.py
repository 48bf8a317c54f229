"""What torch.nn.TransformerEncoder makes of padding, by its fast path and by its layers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.from_torch.convert import Conversion

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


@pytest.fixture(autouse=True)
def fast_path():
    """Torch's default; other tests of this process may have turned it off."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(True)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


class Pooled(nn.Module):
    """An encoder whose padding is read: the mean is of all places."""

    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), **options)

    def forward(self, x, padding=None, mask=None):
        return self.encoder(x, mask=mask, src_key_padding_mask=padding, is_causal=False).mean(1)


X = images(3, 5, 8)
PADDING = torch.arange(5) >= torch.tensor([[5], [2], [3]])


def converted(model, *inputs, **named_inputs):
    """Return what a model becomes, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = trtnn.from_torch(model, *inputs, **named_inputs)
    return result, [str(warning.message) for warning in caught if "zeros" in str(warning.message)]


def test_padding_is_what_the_layers_give_and_a_warning_says_so():
    torch.manual_seed(0)
    model = Pooled().eval()
    result, (told,) = converted(model, X, PADDING)
    assert told.startswith("where src_key_padding_mask is true, torch without gradients gives zeros, in encoder, if")
    assert "enable_nested_tensor=False has torch do so always" in told
    other = PADDING.flip(0)
    with_gradients = model(X, other).detach()
    with torch.no_grad():
        without = model(X, other)
    assert (with_gradients - without).abs().max() > 0.1  # else there is nothing to tell
    assert_close(result.trace().run(X.numpy(), other.numpy()), with_gradients, 1e-5)


def test_no_warning_where_torch_has_one_way():
    torch.manual_seed(0)
    model = Pooled(enable_nested_tensor=False).eval()
    result, told = converted(model, X, PADDING)
    assert not told
    with torch.no_grad():
        assert_close(result.trace().run(X.numpy(), PADDING.numpy()), model(X, PADDING), 1e-5)
    model = Pooled().eval()
    assert not converted(model, X)[1]
    assert not converted(model, X, PADDING, mask=torch.zeros(5, 5, dtype=torch.bool))[1]


@pytest.mark.parametrize("before", [True, False])
def test_the_comparison_is_with_the_layers(before):
    """Also where the second input's padding, which is drawn, is at the end of each row."""
    torch.manual_seed(0)
    model = Pooled().eval()
    conversion = Conversion(model, (X, PADDING), {})
    torch.backends.mha.set_fastpath_enabled(before)
    assert_close(conversion.call([X, PADDING]).numpy(), model(X, PADDING).detach(), 1e-5)
    assert torch.backends.mha.get_fastpath_enabled() is before
