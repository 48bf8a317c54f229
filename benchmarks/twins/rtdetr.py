"""RT-DETR and RT-DETRv2 on a ResNet in torch, with transformers' state-dict names: the tests' oracle.

Written from the papers (Zhao et al., 2023, arXiv:2304.08069; Lv et al., 2024, arXiv:2407.17140; Zhu et al., 2020,
arXiv:2010.04159) and the names and shapes of transformers' state dicts, without what is for training. All is computed
as they say it: two convolutions in each RepVGG block, boxes of all places, a logarithm for the inverse of a sigmoid.
``tests/models/test_rtdetr.py`` holds it against transformers.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# By size: the kernels of a block and the one that halves a map, channels out for those within, blocks by stage;
# channels of the encoder, those of its feed-forward network, those within a fusion; layers of the decoder.
SIZES = {
    "r18": ((3, 3), 0, 1, (2, 2, 2, 2), 256, 1024, 128, 3),
    "r34": ((3, 3), 0, 1, (3, 4, 6, 3), 256, 1024, 128, 4),
    "r50": ((1, 3, 1), 1, 4, (3, 4, 6, 3), 256, 1024, 256, 6),
    "r101": ((1, 3, 1), 1, 4, (3, 4, 23, 3), 384, 2048, 384, 6),
}


def convolution(names: tuple[str, str], c_in: int, c_out: int, k: int, s: int = 1, act=None) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, k, s, k // 2, bias=False)
    layers = nn.Sequential()
    for name, module in zip(names, (conv, nn.BatchNorm2d(c_out)), strict=True):
        layers.add_module(name, module)
    if act:
        layers.add_module("activation", act())
    return layers


def backbone_convolution(*args, **options) -> nn.Sequential:
    return convolution(("convolution", "normalization"), *args, **options)


def encoder_convolution(*args, act=nn.SiLU) -> nn.Sequential:
    return convolution(("conv", "norm"), *args, act=act)


class Residual(nn.Module):
    def __init__(self, kernels: tuple[int, ...], halving: int, expansion: int, c_in: int, c: int, stride: int, first):
        super().__init__()
        c_out, layers = c * expansion, []
        for i, k in enumerate(kernels):
            last = i == len(kernels) - 1
            channels = (c_in if i == 0 else c, c_out if last else c)
            act = None if last else nn.ReLU
            layers.append(backbone_convolution(*channels, k, stride if i == halving else 1, act=act))
        self.layer = nn.Sequential(*layers)
        if first:
            short = backbone_convolution(c_in, c_out, 1)
            self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), short) if stride == 2 else short

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x) + (self.shortcut(x) if hasattr(self, "shortcut") else x)).relu()


class Backbone(nn.Module):
    def __init__(self, kernels, halving, expansion, repeats):
        super().__init__()
        stem = (backbone_convolution(*c, act=nn.ReLU) for c in ((3, 32, 3, 2), (32, 32, 3), (32, 64, 3)))
        self.embedder = nn.ModuleDict({"embedder": nn.Sequential(*stem)})
        stages, c_in = nn.ModuleList(), 64
        for i, n in enumerate(repeats):
            blocks = nn.Sequential()
            for j in range(n):
                stride = 2 if i and not j else 1
                blocks.append(Residual(kernels, halving, expansion, c_in, 64 << i, stride, not j))
                c_in = (64 << i) * expansion
            stages.append(nn.ModuleDict({"layers": blocks}))
        self.encoder = nn.ModuleDict({"stages": stages})

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = F.max_pool2d(self.embedder["embedder"](images), 3, 2, 1), []
        for stage in self.encoder["stages"]:
            x = stage["layers"](x)
            maps.append(x)
        return maps[1:]


class RepVGG(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.conv1, self.conv2 = encoder_convolution(c, c, 3, act=None), encoder_convolution(c, c, 1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv1(x) + self.conv2(x))


class Fusion(nn.Module):
    def __init__(self, c: int, inner: int):
        super().__init__()
        self.conv1, self.conv2 = encoder_convolution(2 * c, inner, 1), encoder_convolution(2 * c, inner, 1)
        self.bottlenecks = nn.Sequential(*(RepVGG(inner) for _ in range(3)))
        if inner != c:
            self.conv3 = encoder_convolution(inner, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bottlenecks(self.conv1(x)) + self.conv2(x)
        return self.conv3(y) if hasattr(self, "conv3") else y


class SelfAttention(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        for name in "kvqo":
            self.add_module(f"{name}_proj", nn.Linear(c, c))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        batch, length, c = x.shape
        q, k, v = (
            project(y).view(batch, length, 8, c // 8).transpose(1, 2)
            for project, y in ((self.q_proj, x + positions), (self.k_proj, x + positions), (self.v_proj, x))
        )
        return self.o_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, c))


class FeedForward(nn.Module):
    def __init__(self, c: int, inner: int, act):
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(c, inner), nn.Linear(inner, c), act

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Kept:
    """What a function makes of sizes, as tensors on the device and in the type of another, made once.

    So none is made in a CUDA graph or in what is compiled, and an exported network holds them as constants.
    """

    def __init__(self, function):
        self.function, self.tensors = function, {}

    def __call__(self, like: Tensor, *sizes) -> tuple[Tensor, ...]:
        key = (*sizes, like.device, like.dtype)
        if key not in self.tensors:
            self.tensors[key] = tuple(torch.from_numpy(x.numpy()).to(like) for x in self.function(*sizes))
        return self.tensors[key]


def positions_of(rows: int, columns: int, c: int) -> tuple[Tensor]:
    omega = 1 / 1e4 ** (torch.arange(c // 4, dtype=torch.float64) / (c // 4))
    y, x = (torch.arange(n, dtype=torch.float64)[:, None] * omega for n in (rows, columns))
    y, x = y[:, None].expand(-1, columns, -1), x.expand(rows, -1, -1)
    return (torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], 2).reshape(-1, c),)


class EncoderLayer(nn.Module):
    def __init__(self, c: int, inner: int):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = SelfAttention(c), nn.LayerNorm(c)
        self.mlp, self.final_layer_norm = FeedForward(c, inner, F.gelu), nn.LayerNorm(c)
        self.positions = Kept(positions_of)

    def forward(self, x: Tensor) -> Tensor:
        batch, c, rows, columns = x.shape
        (positions,) = self.positions(x, int(rows), int(columns), int(c))
        x = x.flatten(2).transpose(1, 2)
        x = self.self_attn_layer_norm(x + self.self_attn(x, positions))
        x = self.final_layer_norm(x + self.mlp(x))
        return x.transpose(1, 2).reshape(batch, c, rows, columns)


class Encoder(nn.Module):
    def __init__(self, c: int, inner: int, within: int):
        super().__init__()
        self.aifi = nn.ModuleList([nn.ModuleDict({"layers": nn.Sequential(EncoderLayer(c, inner))})])
        self.lateral_convs = nn.ModuleList(encoder_convolution(c, c, 1) for _ in range(2))
        self.fpn_blocks = nn.ModuleList(Fusion(c, within) for _ in range(2))
        self.downsample_convs = nn.ModuleList(encoder_convolution(c, c, 3, 2) for _ in range(2))
        self.pan_blocks = nn.ModuleList(Fusion(c, within) for _ in range(2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        s8, s16, s32 = maps
        s32 = self.lateral_convs[0](self.aifi[0]["layers"](s32))
        s16 = self.fpn_blocks[0](torch.cat([F.interpolate(s32, scale_factor=2.0), s16], 1))
        s16 = self.lateral_convs[1](s16)
        s8 = self.fpn_blocks[1](torch.cat([F.interpolate(s16, scale_factor=2.0), s8], 1))
        s16 = self.pan_blocks[0](torch.cat([self.downsample_convs[0](s8), s16], 1))
        s32 = self.pan_blocks[1](torch.cat([self.downsample_convs[1](s16), s32], 1))
        return [s8, s16, s32]


class DeformableAttention(nn.Module):
    def __init__(self, version: int):
        super().__init__()
        self.sampling_offsets, self.attention_weights = nn.Linear(256, 192), nn.Linear(256, 96)
        self.value_proj, self.output_proj = nn.Linear(256, 256), nn.Linear(256, 256)
        scale = torch.full((12,), 0.25)
        self.register_buffer("n_points_scale", scale, persistent=version == 2)

    def forward(self, x: Tensor, memory: Tensor, sizes: list[tuple[int, int]], boxes: Tensor) -> Tensor:
        batch, queries, _ = x.shape
        values = self.value_proj(memory).view(batch, -1, 8, 32).permute(0, 2, 3, 1).flatten(0, 1)
        offsets = self.sampling_offsets(x).view(batch, queries, 8, 12, 2) * self.n_points_scale[:, None]
        places = boxes[:, :, None, None, :2] + offsets * boxes[:, :, None, None, 2:] * 0.5
        grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)
        samples = []
        for value, level, (rows, columns) in zip(
            values.split([r * c for r, c in sizes], 2), grid.split(4, 2), sizes, strict=True
        ):
            images = value.reshape(batch * 8, 32, rows, columns)
            samples.append(F.grid_sample(images, level, align_corners=False))
        weights = self.attention_weights(x).view(batch, queries, 8, 12).softmax(3)
        weights = weights.transpose(1, 2).reshape(batch * 8, 1, queries, 12)
        mean = (torch.cat(samples, 3) * weights).sum(3)
        return self.output_proj(mean.view(batch, 256, queries).transpose(1, 2))


class DecoderLayer(nn.Module):
    def __init__(self, version: int):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = SelfAttention(256), nn.LayerNorm(256)
        self.encoder_attn, self.encoder_attn_layer_norm = DeformableAttention(version), nn.LayerNorm(256)
        self.mlp, self.final_layer_norm = FeedForward(256, 1024, F.relu), nn.LayerNorm(256)

    def forward(self, x: Tensor, positions: Tensor, *seen) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, positions))
        x = self.encoder_attn_layer_norm(x + self.encoder_attn(x + positions, *seen))
        return self.final_layer_norm(x + self.mlp(x))


class Perceptron(nn.Module):
    def __init__(self, *channels: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(channels))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def projection(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))


def logits_of(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5))


def anchors_of(*sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    levels = []
    for level, (rows, columns) in enumerate(sizes):
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        side = torch.full((rows, columns), 0.05 * 2**level)
        levels.append(torch.stack([x / columns, y / rows, side, side], 2).view(-1, 4))
    anchors = torch.cat(levels)
    inside = ((anchors > 0.01) & (anchors < 0.99)).all(1, keepdim=True)
    return torch.where(inside, torch.log(anchors / (1 - anchors)), torch.finfo(torch.float32).max), inside


class RTDETR(nn.Module):
    """The detector; ``output`` is ``"decoded"`` or ``"raw"``, as our ``head``."""

    def __init__(self, name: str, classes: int = 80, output: str = "decoded", queries: int = 300):
        super().__init__()
        *block, repeats, width, inner, within, layers = SIZES[name.rpartition("_")[2]]
        version = 2 if "_v2_" in name else 1
        self.output, self.queries, self.anchors = output, queries, Kept(anchors_of)
        channels = [128 * block[2], 256 * block[2], 512 * block[2]]
        self.model = nn.ModuleDict(
            {
                "backbone": nn.ModuleDict({"model": Backbone(*block, repeats)}),
                "encoder_input_proj": nn.ModuleList(projection(c, width) for c in channels),
                "encoder": Encoder(width, inner, within),
                "enc_output": nn.Sequential(nn.Linear(256, 256), nn.LayerNorm(256)),
                "enc_score_head": nn.Linear(256, classes),
                "enc_bbox_head": Perceptron(256, 256, 256, 4),
                "decoder_input_proj": nn.ModuleList(projection(width, 256) for _ in channels),
                "decoder": nn.ModuleDict(
                    {
                        "layers": nn.ModuleList(DecoderLayer(version) for _ in range(layers)),
                        "query_pos_head": Perceptron(4, 512, 256),
                        "bbox_embed": nn.ModuleList(Perceptron(256, 256, 256, 4) for _ in range(layers)),
                        "class_embed": nn.ModuleList(nn.Linear(256, classes) for _ in range(layers)),
                    }
                ),
            }
        )

    def memory(self, images: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """The places of all maps, (batch, places, 256), and the maps' sizes."""
        maps = [project(x) for project, x in self.paired("encoder_input_proj", self.model["backbone"]["model"](images))]
        maps = [project(x) for project, x in self.paired("decoder_input_proj", self.model["encoder"](maps))]
        sizes = [(int(x.shape[2]), int(x.shape[3])) for x in maps]
        return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1), sizes

    def paired(self, name: str, maps: list[Tensor]):
        return zip(self.model[name], maps, strict=True)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        memory, sizes = self.memory(images)
        anchors, inside = self.anchors(memory, *sizes)
        features = self.model["enc_output"](inside * memory)
        best = self.model["enc_score_head"](features).amax(2).topk(self.queries, 1).indices[:, :, None]
        boxes = self.model["enc_bbox_head"](features) + anchors
        boxes = boxes.gather(1, best.expand(-1, -1, 4)).sigmoid()
        x = features.gather(1, best.expand(-1, -1, 256))
        decoder = self.model["decoder"]
        for layer, refine in zip(decoder["layers"], decoder["bbox_embed"], strict=True):
            x = layer(x, decoder["query_pos_head"](boxes), memory, sizes, boxes)
            boxes = (refine(x) + logits_of(boxes)).sigmoid()
        logits = decoder["class_embed"][-1](x)
        if self.output == "raw":
            return {"logits": logits, "pred_boxes": boxes}
        return {"boxes": boxes, "scores": logits.sigmoid()}


@torch.no_grad()
def well_scaled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give random weights, under which features, scores and boxes differ from place to place.

    It takes any module with these names, transformers' as well, D-FINE among them. Offsets reach beyond the image from
    boxes at its edges.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or name.endswith(("_points_scale", "decoder.up", "reg_scale")):
            continue
        drawn = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            drawn *= tensor[0].numel() ** -0.5
        elif name.endswith("running_var"):
            drawn = 0.6 + 0.2 * drawn.abs()
        elif name.endswith(("weight", "scale")):
            drawn = 1 + 0.2 * drawn
        elif "sampling_offsets" not in name:
            drawn *= 0.2
        if name.endswith("layers.2.weight"):  # the last of those that move a box
            drawn *= 0.5
        tensor.copy_(drawn)
    return model.eval()


def make(name: str, classes: int = 80, output: str = "decoded", queries: int = 300) -> RTDETR:
    """A twin with weights of :func:`well_scaled`."""
    return well_scaled(RTDETR(name, classes, output, queries))
