"""Well-known networks written once, against a namespace ``nn`` with functions ``F``: torch's or trtnn's.

Each is written for these tests from its paper, with the names of torchvision's state dicts.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any


def _make_divisible(channels: float, by: int = 8) -> int:
    """Round to a multiple, but not down by more than a tenth (https://arxiv.org/abs/1801.04381)."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def networks(nn: Any, F: Any, cat: Any) -> SimpleNamespace:
    """Return the networks' classes over a namespace."""

    # -- ResNet (https://arxiv.org/abs/1512.03385) ----------------------------------------------------------------

    class Bottleneck(nn.Module):
        def __init__(self, channels: int, width: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * width)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride != 1 or channels != 4 * width:
                shortcut = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

        def forward(self, x: Any) -> Any:
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.relu(self.bn2(self.conv2(out)))
            out = self.bn3(self.conv3(out))
            return self.relu(out + (x if self.downsample is None else self.downsample(x)))

    class ResNet50(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            channels = 64
            for i, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
                blocks = []
                for j in range(count):
                    blocks.append(Bottleneck(channels, width, 2 if i and not j else 1))
                    channels = 4 * width
                setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(2048, 1000)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(self.avgpool(x).flatten(1))

    # -- MobileNetV3 (https://arxiv.org/abs/1905.02244) and EfficientNet (https://arxiv.org/abs/1905.11946) -----------

    def conv_norm(channels: int, out: int, kernel: int, stride: int, groups: int, eps: float, act: Any) -> Any:
        conv = nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out, eps=eps), *([act()] if act else []))

    class SqueezeExcitation(nn.Module):
        def __init__(self, channels: int, squeezed: int, activation: Any, gate: Any) -> None:
            super().__init__()
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc1 = nn.Conv2d(channels, squeezed, 1)
            self.fc2 = nn.Conv2d(squeezed, channels, 1)
            self.activation, self.scale_activation = activation(), gate()

        def forward(self, x: Any) -> Any:
            scale = self.activation(self.fc1(self.avgpool(x)))
            return self.scale_activation(self.fc2(scale)) * x

    class InvertedResidual(nn.Module):
        def __init__(
            self, channels: int, kernel: int, expanded: int, out: int, squeezed: int, act: Any, stride: int, gate: Any,
            eps: float,
        ) -> None:  # fmt: skip
            super().__init__()
            self.residual = stride == 1 and channels == out
            parts = []
            if expanded != channels:
                parts.append(conv_norm(channels, expanded, 1, 1, 1, eps, act))
            parts.append(conv_norm(expanded, expanded, kernel, stride, expanded, eps, act))
            if squeezed:
                parts.append(SqueezeExcitation(expanded, squeezed, *gate))
            parts.append(conv_norm(expanded, out, 1, 1, 1, eps, None))
            self.block = nn.Sequential(*parts)

        def forward(self, x: Any) -> Any:
            return x + self.block(x) if self.residual else self.block(x)

    class MobileNetV3Small(nn.Module):
        ROWS = (  # kernel, expanded, out, squeeze and excite, hard swish, stride
            (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2),
            (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1),
            (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1),
        )  # fmt: skip

        def __init__(self) -> None:
            super().__init__()
            eps, channels = 1e-3, 16
            features = [conv_norm(3, 16, 3, 2, 1, eps, nn.Hardswish)]
            for kernel, expanded, out, squeeze, hard, stride in self.ROWS:
                squeezed = _make_divisible(expanded / 4) if squeeze else 0
                act, gate = nn.Hardswish if hard else nn.ReLU, (nn.ReLU, nn.Hardsigmoid)
                features.append(InvertedResidual(channels, kernel, expanded, out, squeezed, act, stride, gate, eps))
                channels = out
            features.append(conv_norm(96, 576, 1, 1, 1, eps, nn.Hardswish))
            self.features = nn.Sequential(*features)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(
                nn.Linear(576, 1024), nn.Hardswish(inplace=True), nn.Dropout(0.2, inplace=True), nn.Linear(1024, 1000)
            )

        def forward(self, x: Any) -> Any:
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    class MBConv(InvertedResidual):
        def __init__(self, channels: int, kernel: int, ratio: int, out: int, stride: int) -> None:
            gate = (nn.SiLU, nn.Sigmoid)
            squeezed = max(1, channels // 4)
            super().__init__(channels, kernel, channels * ratio, out, squeezed, nn.SiLU, stride, gate, 1e-5)

    class EfficientNetB0(nn.Module):
        ROWS = (  # ratio, kernel, stride, out, count
            (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
        )  # fmt: skip

        def __init__(self) -> None:
            super().__init__()
            features, channels = [conv_norm(3, 32, 3, 2, 1, 1e-5, nn.SiLU)], 32
            for ratio, kernel, stride, out, count in self.ROWS:
                stage = []
                for i in range(count):
                    stage.append(MBConv(channels, kernel, ratio, out, 1 if i else stride))
                    channels = out
                features.append(nn.Sequential(*stage))
            features.append(conv_norm(320, 1280, 1, 1, 1, 1e-5, nn.SiLU))
            self.features = nn.Sequential(*features)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(1280, 1000))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    # -- ConvNeXt (https://arxiv.org/abs/2201.03545) --------------------------------------------------------------

    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x: Any) -> Any:
            x = x.permute(0, 2, 3, 1)
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)

    class Permute(nn.Module):
        def __init__(self, *dims: int) -> None:
            super().__init__()
            self.dims = dims

        def forward(self, x: Any) -> Any:
            return x.permute(self.dims)

    class CNBlock(nn.Module):
        def __init__(self, width: int, parameter: Any) -> None:
            super().__init__()
            self.block = nn.Sequential(
                nn.Conv2d(width, width, 7, padding=3, groups=width),
                Permute(0, 2, 3, 1),
                nn.LayerNorm(width, eps=1e-6),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
                Permute(0, 3, 1, 2),
            )
            self.layer_scale = parameter(width, 1, 1)

        def forward(self, x: Any) -> Any:
            return self.block(x) * self.layer_scale + x

    class ConvNeXtTiny(nn.Module):
        def __init__(self, parameter: Any) -> None:
            super().__init__()
            widths = (96, 192, 384, 768)
            features = [nn.Sequential(nn.Conv2d(3, 96, 4, 4), LayerNorm2d(96, eps=1e-6))]
            for i, (width, count) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
                features.append(nn.Sequential(*(CNBlock(width, parameter) for _ in range(count))))
                if i < 3:
                    down = nn.Conv2d(width, widths[i + 1], 2, 2)
                    features.append(nn.Sequential(LayerNorm2d(width, eps=1e-6), down))
            self.features = nn.Sequential(*features)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(LayerNorm2d(768, eps=1e-6), nn.Flatten(1), nn.Linear(768, 1000))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.avgpool(self.features(x)))

    # -- Vision transformer (https://arxiv.org/abs/2010.11929) ----------------------------------------------------

    class EncoderBlock(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.ln_1 = nn.LayerNorm(width, eps=1e-6)
            self.self_attention = nn.MultiheadAttention(width, heads, dropout=0.0, batch_first=True)
            self.ln_2 = nn.LayerNorm(width, eps=1e-6)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.0), nn.Linear(4 * width, width), nn.Dropout(0.0)
            )

        def forward(self, input: Any) -> Any:
            x = self.ln_1(input)
            x, _ = self.self_attention(x, x, x, need_weights=False)
            x = x + input
            return x + self.mlp(self.ln_2(x))

    class ViTB16(nn.Module):
        def __init__(self, parameter: Any, size: int = 32, depth: int = 12) -> None:
            super().__init__()
            width = 768
            self.conv_proj = nn.Conv2d(3, width, 16, 16)
            self.class_token = parameter(1, 1, width)
            self.pos_embedding = parameter(1, (size // 16) ** 2 + 1, width)
            self.layers = nn.Sequential(*(EncoderBlock(width, 12) for _ in range(depth)))
            self.ln = nn.LayerNorm(width, eps=1e-6)
            self.head = nn.Linear(width, 1000)

        def forward(self, x: Any) -> Any:
            x = self.conv_proj(x)
            batch, width, *_ = x.shape
            x = x.reshape(batch, width, -1).permute(0, 2, 1)
            x = cat([self.class_token.expand(batch, -1, -1), x], 1) + self.pos_embedding
            return self.head(self.ln(self.layers(x))[:, 0])

    # -- U-Net (https://arxiv.org/abs/1505.04597) -----------------------------------------------------------------

    class UNet(nn.Module):
        def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 64)) -> None:
            super().__init__()

            def double(channels: int, out: int) -> Any:
                pairs = [(channels, out), (out, out)]
                return nn.Sequential(
                    *(part for a, b in pairs for part in (nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.Mish()))
                )

            sides = list(itertools.pairwise(widths))
            self.first = double(3, widths[0])
            self.down = nn.ModuleList(double(a, b) for a, b in sides)
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in sides)
            self.join = nn.ModuleList(double(2 * a, a) for a, _ in sides)
            self.last = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x: Any) -> Any:
            kept = [self.first(x)]
            for part in self.down:
                kept.append(part(F.max_pool2d(kept[-1], 2)))
            x = kept.pop()
            for up, join in zip(list(self.up)[::-1], list(self.join)[::-1], strict=True):
                x, side = up(x), kept.pop()
                lack = [side.shape[i] - x.shape[i] for i in (2, 3)]
                x = F.pad(x, (lack[1] // 2, lack[1] - lack[1] // 2, lack[0] // 2, lack[0] - lack[0] // 2))
                x = join(cat((side, x), 1))
            mask = F.interpolate(self.last(x), scale_factor=2, mode="bilinear", align_corners=False)
            return mask, mask.argmax(1), mask.softmax(1)[:, 1] > 0.5

    # -- A small language model: embeddings, causal attention with rotary places, RMSNorm, a gated network ------------

    class Rotary(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.half = width // 2

        def forward(self, x: Any, angles: Any) -> Any:
            a, b = x[..., : self.half], x[..., self.half :]
            sin, cos = angles.sin(), angles.cos()
            return cat([a * cos - b * sin, a * sin + b * cos], -1)

    class LanguageModel(nn.Module):
        def __init__(self, words: int = 50, width: int = 32, heads: int = 4) -> None:
            super().__init__()
            self.heads = heads
            self.embed = nn.Embedding(words, width)
            self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.rotary = Rotary(width // heads)
            self.out = nn.Linear(width, width, bias=False)
            self.gate, self.value = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
            self.project = nn.Linear(2 * width, width)

        def forward(self, tokens: Any, angles: Any) -> Any:
            x = self.embed(tokens)
            q, k, v = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, -1)
            )
            q, k = self.rotary(q, angles), self.rotary(k, angles)
            x += self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            y = self.norms[1](x)
            x += self.project(F.silu(self.gate(y)) * self.value(y))
            scores = self.norms[2](x) @ self.embed.weight.T / math.sqrt(x.shape[-1])
            return scores, scores[:, -1].topk(5).values

    return SimpleNamespace(
        ResNet50=ResNet50, MobileNetV3Small=MobileNetV3Small, EfficientNetB0=EfficientNetB0, ConvNeXtTiny=ConvNeXtTiny,
        ViTB16=ViTB16, UNet=UNet, LanguageModel=LanguageModel,
    )  # fmt: skip
