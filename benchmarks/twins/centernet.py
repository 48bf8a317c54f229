"""CenterNet in torch, written out step by step: what the network of trtnn is compared with.

The module tree has the names of the project's checkpoints; the deformable convolution is its definition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.twins.scaling import drawing
from trtnn.examples.digits.deformable import sampled_deform_conv2d


class DCN(nn.Conv2d):
    """Deformable 3x3 convolution; its offsets and masks come from a convolution within."""

    def __init__(self, c1, c2):
        super().__init__(c1, c2, 3, padding=1)
        self.conv_offset_mask = nn.Conv2d(c1, 27, 3, padding=1)

    def forward(self, x):
        found = self.conv_offset_mask(x)
        offset, mask = found[:, :18], found[:, 18:].sigmoid()
        return sampled_deform_conv2d(x, offset, self.weight, self.bias, padding=(1, 1), mask=mask)


def conv_bn(c1, c2, k, s=1):
    return [nn.Conv2d(c1, c2, k, s, k // 2, bias=False), nn.BatchNorm2d(c2)]


class Holder(nn.Module):
    """Modules by name."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Block(nn.Module):
    def __init__(self, c1, c2, s=1):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(c1, c2, 3, s)
        self.conv2, self.bn2 = conv_bn(c2, c2, 3)

    def forward(self, x, residual):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + residual)


class Pair(nn.Module):
    """Two blocks and the root over them, and over what else there is."""

    def __init__(self, c1, c2, s, others=0):
        super().__init__()
        self.s, self.tree1, self.tree2 = s, Block(c1, c2, s), Block(c2, c2)
        conv, bn = conv_bn(2 * c2 + others, c2, 1)
        self.root = Holder(conv=conv, bn=bn)
        if c1 != c2:
            self.project = nn.Sequential(*conv_bn(c1, c2, 1))

    def forward(self, x, *others):
        bottom = F.max_pool2d(x, self.s) if self.s > 1 else x
        first = self.tree1(x, self.project(bottom) if hasattr(self, "project") else bottom)
        second = self.tree2(first, first)
        return F.relu(self.root.bn(self.root.conv(torch.cat([second, first, *others], 1))))


def four(c1, c2):
    """Two pairs one after the other, and a projection that nothing uses."""
    return Holder(
        tree1=Pair(c1, c2, 2), tree2=Pair(c2, c2, 1, others=c1 + c2), project=nn.Sequential(*conv_bn(c1, c2, 1))
    )


def run_four(level, x):
    first = level.tree1(x)
    return level.tree2(first, F.max_pool2d(x, 2), first)


def deformed(c1, c2):
    return Holder(actf=nn.Sequential(nn.BatchNorm2d(c2), nn.ReLU()), conv=DCN(c1, c2))


def run_deformed(part, x):
    return part.actf(part.conv(x))


def joints(c, inputs, factors):
    parts = {}
    for i, (c1, f) in enumerate(zip(inputs, factors, strict=True), 1):
        parts[f"proj_{i}"] = deformed(c1, c)
        parts[f"up_{i}"] = nn.ConvTranspose2d(c, c, 2 * f, f, f // 2, groups=c, bias=False)
        parts[f"node_{i}"] = deformed(c, c)
    return Holder(**parts)


def join(part, i, coarse, fine):
    """Bring a coarse map to the size of a fine one and join the two."""
    wide = part.get_submodule(f"up_{i}")(run_deformed(part.get_submodule(f"proj_{i}"), coarse))
    return run_deformed(part.get_submodule(f"node_{i}"), wide + fine)


class Residual(nn.Module):
    """A block of a ResNet: 3x3, 3x3, or 1x1, 3x3, 1x1."""

    def __init__(self, c1, c, deep, s):
        super().__init__()
        self.deep, c2 = deep, 4 * c if deep else c
        self.conv1, self.bn1 = conv_bn(c1, c, 1) if deep else conv_bn(c1, c, 3, s)
        self.conv2, self.bn2 = conv_bn(c, c, 3, s if deep else 1)
        if deep:
            self.conv3, self.bn3 = conv_bn(c, c2, 1)
        if s > 1 or c1 != c2:
            conv, bn = conv_bn(c1, c2, 1, s)
            self.downsample = nn.Sequential(conv, bn)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y = self.bn3(self.conv3(F.relu(y))) if self.deep else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class CenterNet(nn.Module):
    """The detector; in eval mode and with ``head="decoded"`` it returns (batch, detections, 6), else a dict of maps."""

    def __init__(self, name, classes=80, detections=100, head="decoded"):
        super().__init__()
        self.name, self.detections, self.head = name, detections, head
        if name == "centernet_dla34":
            self._dla()
            width, inner = 64, 256
        else:
            repeats = {"50": (3, 4, 6, 3), "18": (2, 2, 2, 2), "101": (3, 4, 23, 3)}[name.strip("centr_sd")]
            width = self._resnet(repeats, deep=not name.endswith("18"), deformable="dcn" in name)
            inner = 64
        for part, outputs in (("hm", classes), ("wh", 2), ("reg", 2)):
            layers = nn.Conv2d(width, inner, 3, 1, 1), nn.ReLU(), nn.Conv2d(inner, outputs, 1)
            self.add_module(part, nn.Sequential(*layers))

    def _dla(self):
        self.base = Holder(
            base_layer=nn.Sequential(*conv_bn(3, 16, 7), nn.ReLU()),
            level0=nn.Sequential(*conv_bn(16, 16, 3), nn.ReLU()),
            level1=nn.Sequential(*conv_bn(16, 32, 3, 2), nn.ReLU()),
            level2=Pair(32, 64, 2),
            level3=four(64, 128),
            level4=four(128, 256),
            level5=Pair(256, 512, 2, others=256),
            fc=nn.Conv2d(512, 1000, 1),
        )
        self.dla_up = Holder(
            ida_0=joints(256, [512], [2]),
            ida_1=joints(128, [256, 256], [2, 2]),
            ida_2=joints(64, [128, 128, 128], [2, 2, 2]),
        )
        self.ida_up = joints(64, [128, 256], [2, 4])

    def _resnet(self, repeats, deep, deformable):
        self.conv1, self.bn1 = conv_bn(3, 64, 7, 2)
        c1 = 64
        for stage, (c, n) in enumerate(zip((64, 128, 256, 512), repeats, strict=True), 1):
            blocks = []
            for i in range(n):
                blocks.append(Residual(c1, c, deep, 2 if i == 0 and stage > 1 else 1))
                c1 = 4 * c if deep else c
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        layers = []
        for c in (256, 128, 64) if deformable else (256, 256, 256):
            if deformable:
                layers += [DCN(c1, c), nn.BatchNorm2d(c), nn.ReLU()]
                c1 = c
            layers += [nn.ConvTranspose2d(c1, c, 4, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
            c1 = c
        self.deconv_layers = nn.Sequential(*layers)
        return c1

    def features(self, images):
        if self.name != "centernet_dla34":
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)
            return self.deconv_layers(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        base, up = self.base, self.dla_up
        p4 = base.level2(base.level1(base.level0(base.base_layer(images))))
        p8 = run_four(base.level3, p4)
        p16 = run_four(base.level4, p8)
        p32 = base.level5(p16, F.max_pool2d(p16, 2))
        a16 = join(up.ida_0, 1, p32, p16)
        b8 = join(up.ida_1, 1, p16, p8)
        b16 = join(up.ida_1, 2, a16, b8)
        c4 = join(up.ida_2, 1, p8, p4)
        c8 = join(up.ida_2, 2, b8, c4)
        c16 = join(up.ida_2, 3, b16, c8)
        return join(self.ida_up, 2, a16, join(self.ida_up, 1, b16, c16))

    def forward(self, images):
        x = self.features(images)
        maps = {"hm": self.hm(x), "wh": self.wh(x), "reg": self.reg(x)}
        return maps if self.training or self.head == "raw" else self.decode(**maps)

    def decode(self, hm, wh, reg):
        """The best of each class, then the best of those: left, top, right, bottom in pixels, score, class."""
        columns = hm.shape[3]
        heat = hm.sigmoid()
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        scores, places = heat.flatten(2).topk(min(self.detections, int(heat[0, 0].numel())))
        kept = scores.shape[2]
        scores, order = scores.flatten(1).topk(self.detections)
        places = places.flatten(1).gather(1, order)
        label = torch.div(order, kept, rounding_mode="floor")
        column, row = places % columns, torch.div(places, columns, rounding_mode="floor")
        at = places.unsqueeze(1).expand(-1, 2, -1)
        wh, reg = (x.flatten(2).gather(2, at) for x in (wh, reg))
        x, y = column + reg[:, 0], row + reg[:, 1]
        box = [x - wh[:, 0] / 2, y - wh[:, 1] / 2, x + wh[:, 0] / 2, y + wh[:, 1] / 2]
        return torch.stack([*(4 * side for side in box), scores, label.to(scores)], 2)


@torch.no_grad()
def well_scaled(model, size=64, seed=0):
    """Give random weights that neither drown nor amplify, offsets of about a pixel, and heat maps with many peaks."""
    generator = torch.Generator().manual_seed(seed)
    normal_ = drawing(generator)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            fan_in = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.weight[:, 0].numel()
            fan_in = fan_in / module.stride[0] ** 2 if isinstance(module, nn.ConvTranspose2d) else fan_in
            if isinstance(module, nn.ConvTranspose2d) and module.groups > 1:
                fan_in /= module.groups
            normal_(module.weight, 0.0, fan_in**-0.5)
            if module.bias is not None:
                normal_(module.bias, 0.0, 0.2)
    for module in model.modules():
        if isinstance(module, DCN):  # were offsets as rough as features, each layer would make rounding much larger
            module.conv_offset_mask.weight.mul_(0.1)
            normal_(module.conv_offset_mask.bias, 0.0, 0.8)
    for norm in norms:
        normal_(norm.weight, 0.8, 0.15)
        normal_(norm.bias, 0.2, 0.2)
        norm.momentum = 1.0
    maps = model.train()(torch.randn(2, 3, size, size, generator=generator))
    for part, spread, mean in (("hm", 1.5, -2.0), ("wh", 2.0, 6.0), ("reg", 0.2, 0.5)):
        std, average = torch.std_mean(maps[part], dim=(0, 2, 3))
        conv = model.get_submodule(part)[2]
        conv.weight.mul_((spread / std).view(-1, 1, 1, 1))
        conv.bias.sub_(average).mul_(spread / std).add_(mean)
    return model.eval()
