"""Blocks as research code has them, for lengths that are known only when the network runs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close

BATCH = trtnn.Dim("batch", 1, 2, 4)
HEIGHT, WIDTH = trtnn.Dim("height", 4, 6, 17), trtnn.Dim("width", 4, 5, 17)


class CachedAttention(nn.Module):
    """Causal attention of new tokens to those of a cache and to themselves."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, x, past_k, past_v):
        b, n, d, h = *x.shape, self.heads
        q, k, v = (t.view(b, n, h, d // h).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        k, v = torch.cat((past_k, k), dim=-2), torch.cat((past_v, v), dim=-2)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(q.shape[-1])
        i, j = scores.shape[-2:]
        mask = torch.ones(i, j, dtype=torch.bool, device=x.device).triu(j - i + 1)
        attn = scores.masked_fill(mask, -torch.finfo(scores.dtype).max).softmax(dim=-1)
        return (attn @ v).transpose(1, 2).reshape(b, n, d), k, v


class Outlook(nn.Module):
    """Attention of each place to those around it, by unfold and fold, as of VOLO."""

    def __init__(self, dim: int = 4, kernel: int = 3) -> None:
        super().__init__()
        self.kernel = kernel
        self.v, self.attn = nn.Linear(dim, dim), nn.Linear(dim, kernel**4)

    def forward(self, x):
        B, H, W, C = x.shape
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), self.kernel, padding=1)
        v = v.reshape(B, C, self.kernel**2, H * W).permute(0, 3, 2, 1)
        attn = self.attn(x).reshape(B, H * W, self.kernel**2, self.kernel**2).softmax(dim=-1)
        x = (attn @ v).permute(0, 3, 2, 1).reshape(B, C * self.kernel**2, H * W)
        return F.fold(x, output_size=(H, W), kernel_size=self.kernel, padding=1)


class Warp(nn.Module):
    """What lies where a flow points to, as of networks for optical flow."""

    def forward(self, x, flow):
        B, _, H, W = x.size()
        xx = torch.arange(0, W).view(1, -1).repeat(H, 1).view(1, 1, H, W).repeat(B, 1, 1, 1)
        yy = torch.arange(0, H).view(-1, 1).repeat(1, W).view(1, 1, H, W).repeat(B, 1, 1, 1)
        grid = torch.cat((xx, yy), 1).float() + flow
        grid[:, 0] = 2.0 * grid[:, 0].clone() / max(W - 1, 1) - 1.0
        grid[:, 1] = 2.0 * grid[:, 1].clone() / max(H - 1, 1) - 1.0
        return F.grid_sample(x, grid.permute(0, 2, 3, 1), align_corners=True)


class Sinkhorn(nn.Module):
    """Scores of pairs, normalised along both sides in turn, as of SuperGlue."""

    def __init__(self) -> None:
        super().__init__()
        self.bin = nn.Parameter(torch.tensor(1.0))

    def forward(self, scores):
        b, m, n = scores.shape
        one = scores.new_tensor(1)
        ms, ns = m * one, n * one
        bins = self.bin.expand(b, m, 1), self.bin.expand(b, 1, n), self.bin.expand(b, 1, 1)
        couplings = torch.cat([torch.cat([scores, bins[0]], -1), torch.cat([bins[1], bins[2]], -1)], 1)
        norm = -(ms + ns).log()
        log_mu = torch.cat([norm.expand(m), ns.log()[None] + norm])[None].expand(b, -1)
        log_nu = torch.cat([norm.expand(n), ms.log()[None] + norm])[None].expand(b, -1)
        u, v = torch.zeros_like(log_mu), torch.zeros_like(log_nu)
        for _ in range(3):
            u = log_mu - torch.logsumexp(couplings + v.unsqueeze(1), dim=2)
            v = log_nu - torch.logsumexp(couplings + u.unsqueeze(2), dim=1)
        return couplings + u.unsqueeze(2) + v.unsqueeze(1) - norm


class Restored(nn.Module):
    """An image that is padded to multiples of 4, halved and restored, and a crop of its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, x):
        h, w = x.shape[-2:]
        H, W = math.ceil(h / 4) * 4, int((w + 3) / 4) * 4
        y = self.up(self.down(F.pad(x, (0, W - w, 0, H - h), mode="replicate")))[..., :h, :w]
        top, left = round((h - 3) / 2.0), round((w - 3) / 2)
        return y * float(h) / w, y[..., top : top + 3, left : left + 3]


PAST = trtnn.Dim("past", 1, 4, 9)
IMAGE = (BATCH, 3, HEIGHT, WIDTH)
CASES = {
    "a cache of keys and values": (
        CachedAttention,
        {
            "x": (BATCH, trtnn.Dim("new", 1, 3, 6), 8),
            "past_k": (BATCH, 2, PAST, 4),
            "past_v": (BATCH, 2, PAST, 4),
        },
        ({"batch": 1, "new": 1, "past": 9}, {"batch": 4, "new": 6, "past": 1}),
    ),
    "unfold and fold": (Outlook, {"x": (BATCH, HEIGHT, WIDTH, 4)}, ({"height": 4, "width": 9}, {"batch": 4})),
    "a flow": (Warp, {"x": IMAGE, "flow": (BATCH, 2, HEIGHT, WIDTH)}, ({"height": 17, "width": 4}, {"batch": 1})),
    "two sides": (Sinkhorn, {"scores": (BATCH, HEIGHT, WIDTH)}, ({"height": 9, "width": 4}, {"width": 17})),
    "padding and cropping": (
        Restored,
        {"x": IMAGE},
        ({"height": 7, "width": 8}, {"height": 8, "width": 9}, {"height": 13, "width": 4}, {"height": 12, "width": 11}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_torch_does_for_other_lengths(name):
    make, shapes, others = CASES[name]
    torch.manual_seed(0)
    model = make().eval()

    def inputs(lengths):
        sizes = [
            tuple(lengths.get(dim.name, dim.opt) if isinstance(dim, trtnn.Dim) else dim for dim in shape)
            for shape in shapes.values()
        ]
        return [images(i + 1, *size)[i] for i, size in enumerate(sizes)]

    network = trtnn.from_torch(model, *inputs({}), dynamic=shapes).trace()
    for lengths in ({}, *others):
        with torch.no_grad():
            expected = model(*inputs(lengths))
        assert_close(network.run(*(tensor.numpy() for tensor in inputs(lengths))), expected, 1e-5)
