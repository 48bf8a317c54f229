"""A sample of torchvision's and timm's models; ``python benchmarks/coverage.py`` runs all of them."""

from __future__ import annotations

import random

import pytest

from benchmarks import zoo
from benchmarks.zoo.torchvision_models import import_torchvision
from tests.helpers import MORE
from trtnn.from_torch.convert import Conversion

SAMPLE = 25
# Small ones, of as many kinds as there are.
TORCHVISION = (
    "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5",
    "regnet_y_400mf", "efficientnet_b0", "densenet121", "googlenet", "segmentation.lraspp_mobilenet_v3_large",
)  # fmt: skip
TIMM = (
    "test_byobnet", "test_convnext", "test_convnext2", "test_convnext3", "test_efficientnet", "test_efficientnet_evos",
    "test_efficientnet_gn", "test_efficientnet_ln", "test_mambaout", "test_nfnet", "test_resnet", "test_vit",
    "test_vit2", "test_vit3", "test_vit4", "convnext_atto", "convnextv2_atto", "deit_tiny_patch16_224",
    "edgenext_xx_small", "efficientformerv2_s0", "efficientvit_b0", "fastvit_t8", "gcresnet33ts", "ghostnet_050",
    "hardcorenas_a", "lcnet_035", "levit_128s", "mixnet_s", "mobilenetv4_conv_small", "mobileone_s0", "mobilevit_xxs",
    "mobilevitv2_050", "pit_ti_224", "poolformer_s12", "pvt_v2_b0", "regnetx_002", "repghostnet_050", "repvit_m0_9",
    "resnet10t", "rexnet_100", "semnasnet_075", "spnasnet_100", "starnet_s1", "swiftformer_xs", "tf_efficientnetv2_b0",
    "tiny_vit_5m_224", "vit_tiny_patch16_224", "xcit_nano_12_p16_224",
)  # fmt: skip
NAMES = [f"torchvision:{name}" for name in TORCHVISION] + [f"timm:{name}" for name in TIMM]


@pytest.fixture(scope="module", autouse=True)
def _packages():
    try:
        import_torchvision()
        import timm  # noqa: F401
    except ImportError:
        pytest.skip("torchvision and timm are not installed here")


@pytest.mark.parametrize("name", random.Random(MORE).sample(NAMES, min(len(NAMES), SAMPLE * MORE)))
def test_it_computes_what_torch_does(name):
    model, args, kwargs = zoo.make(name)
    conversion = Conversion(model, args, kwargs)
    conversion.run(verify=True)
    assert conversion.difference < 1e-4
