"""The modules of torch.nn, and the methods of its Module, that are not here: why, and what to use instead."""

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

_NO_HOOKS = "a network has no hooks"
_OUTPUTS = 'what modules within it return: model.trace(outputs=["path", ...])'
_STATE_HOOKS = "a state dict goes through no hooks"
_CHANGE = "change the dict before load_state_dict, or override load_state_dict"
_NO_EXTRA = "a state dict holds arrays alone"
_ELSEWHERE = "an engine runs on NVIDIA's GPUs"

# Of Module's methods, by name: why, and what to use instead.
METHODS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        (
            "register_backward_hook", "register_forward_hook", "register_forward_pre_hook",
            "register_full_backward_hook", "register_full_backward_pre_hook",
        ),
        (_NO_HOOKS, _OUTPUTS),
    ),
    **dict.fromkeys(
        (
            "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook",
            "register_state_dict_post_hook", "register_state_dict_pre_hook", "_register_load_state_dict_pre_hook",
            "_register_state_dict_hook", "_load_from_state_dict", "_save_to_state_dict",
        ),
        (_STATE_HOOKS, _CHANGE),
    ),
    **dict.fromkeys(("get_extra_state", "set_extra_state"), (_NO_EXTRA, "metadata goes into the engine file")),
    **dict.fromkeys(("ipu", "mtia", "xpu"), (_ELSEWHERE, "leave it out")),
    "set_submodule": ("a module is replaced where it is held", "setattr(model.get_submodule(parent), name, module)"),
    "share_memory": ("a module's arrays are this process's", "share an engine's file"),
    "to_empty": ("parameters are empty until a state dict is loaded", "leave it out"),
    "zero_grad": ("there are no gradients", "leave it out"),
    # of modules that hold parameters
    **dict.fromkeys(("reset_parameters", "reset_running_stats"), ("nothing is learned here", "load a state dict")),
}  # fmt: skip
