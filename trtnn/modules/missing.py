"""The modules of torch.nn that are not here: why, and what to use instead."""

from __future__ import annotations

_LOSS = "a loss, for training"
_TRAIN = "train with torch, and load the state dict"
_LAZY = "it learns its sizes from the first input it sees"
_SIZES = "give the sizes; the state dict has them"
_BASE = "a base class of torch's own"

# By name: why, and what to use instead.
MISSING: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        (
            "AdaptiveLogSoftmaxWithLoss", "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss",
            "CrossEntropyLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
            "LinearCrossEntropyLoss", "MSELoss", "MarginRankingLoss", "MultiLabelMarginLoss",
            "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "NLLLoss2d", "PoissonNLLLoss", "SmoothL1Loss",
            "SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss",
        ),
        (_LOSS, _TRAIN),
    ),
    **dict.fromkeys(
        (
            "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
            "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d",
            "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
        ),
        (_LAZY, _SIZES),
    ),
    "Container": (_BASE, "Module"),
    "RNNBase": (_BASE, "RNN, LSTM or GRU"),
    "RNNCellBase": (_BASE, "RNNCell, LSTMCell or GRUCell"),
    "DataParallel": ("it spreads training over GPUs", "the module itself: the state dict's names begin with `module.`"),
    "FractionalMaxPool2d": ("its windows are drawn at random", "MaxPool2d or AdaptiveMaxPool2d"),
    "FractionalMaxPool3d": ("its windows are drawn at random", "MaxPool3d or AdaptiveMaxPool3d"),
}  # fmt: skip
