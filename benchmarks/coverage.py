"""Which models of torchvision, timm and transformers `trtnn.from_torch` converts, with random weights on the CPU.

Each model runs in a process of its own: it is built, its constant initialisations made random so that nothing hides
behind them, converted, and compared with torch on its example and on a second input. Results go to a file of JSON lines
as they come, so that a run that was stopped goes on; `--report` writes the table.

examples:
  python benchmarks/coverage.py                            # all, the small ones first
  python benchmarks/coverage.py timm --most 100 --build
  python benchmarks/coverage.py --again wrong failed
  python benchmarks/coverage.py --report docs/coverage.md
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import json
import multiprocessing
import platform
import random
import re
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

RESULTS = Path("build/coverage.jsonl")
TIMEOUT_S = 600
SOURCES = ("torchvision", "timm", "transformers")
# Operators of torchvision that are compiled, which PyPI's wheel has for CUDA's torch alone; nothing here calls them.
_COMPILED = (
    "nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d", "_roi_align_backward",
    "_roi_pool_backward", "_ps_roi_align_backward", "_ps_roi_pool_backward", "_deform_conv2d_backward",
)  # fmt: skip


def import_torchvision() -> Any:
    """Import torchvision, beside a torch that its compiled operators do not load with."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _COMPILED:
            library.define(f"{name}(Tensor x) -> Tensor")
        import_torchvision.library = library  # type: ignore[attr-defined]  # which lives as long as its operators
        import torchvision
    return torchvision


# -- models -----------------------------------------------------------------------------------------------------------


def names(source: str) -> list[str]:
    """Return the names of a source's models, with the source in front."""
    if source == "torchvision":
        models = import_torchvision().models
        parts = {"": models, "segmentation.": models.segmentation, "detection.": models.detection}
        parts |= {"optical_flow.": models.optical_flow, "video.": models.video}
        found = [f"{part}{name}" for part, module in parts.items() for name in models.list_models(module=module)]
        found = [name for name in found if not name.startswith("quantized_")]
        # What is behind the heads of a detector picks boxes by their scores, which is no network; its parts are.
        found += [f"{name}.backbone" for name in found if name.startswith("detection.")]
    elif source == "timm":
        import_torchvision()
        import timm

        found = timm.list_models()
    else:
        found = list(TRANSFORMERS)
    return [f"{source}:{name}" for name in found]


def make(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a model in evaluation and an example for it."""
    import torch

    torch.manual_seed(0)
    source, _, name = name.partition(":")
    args, kwargs = {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}[source](name)
    model, *args = args
    return randomised(model.eval()), tuple(args), kwargs


def _torchvision(name: str) -> Any:
    import torch

    models = import_torchvision().models
    whole = name.removesuffix(".backbone")
    part, _, short = whole.rpartition(".")
    options: dict[str, Any] = {"weights": None}
    if part in ("segmentation", "detection"):
        options["weights_backbone"] = None
    if short in ("inception_v3", "googlenet"):
        options["init_weights"] = False
    model = models.get_model(short, **options)
    if whole != name:
        return (model.backbone, torch.rand(1, 3, 320, 320)), {}
    if part == "detection":
        return (model, [torch.rand(3, 320, 320)]), {}
    if part == "optical_flow":
        return (model, torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)), {}
    if part == "video":
        frames, side = (16, 224) if short.startswith(("mvit", "s3d")) else (8, 112)
        return (model, torch.rand(1, 3, frames, side, side)), {}
    side = 299 if short == "inception_v3" else 224
    return (model, torch.rand(1, 3, side, side)), {}


def _timm(name: str) -> Any:
    import_torchvision()
    import timm
    import torch

    model = timm.create_model(name, pretrained=False)
    size = model.default_cfg.get("input_size", (3, 224, 224))
    return (model, torch.rand(1, *size)), {}


def _images(side: int = 64) -> dict[str, Any]:
    import torch

    return {"pixel_values": torch.rand(1, 3, side, side)}


def _waves(samples: int = 3200) -> dict[str, Any]:
    import torch

    return {"input_values": torch.randn(1, samples)}


def _spectra(bins: int, frames: int, name: str = "input_features") -> dict[str, Any]:
    import torch

    shape = (1, bins, frames) if name == "input_features" else (1, frames, bins)
    return {name: torch.randn(shape)}


def _tokens(length: int = 12) -> dict[str, Any]:
    import torch

    return {"input_ids": torch.randint(3, 90, (1, length))}


_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_LANGUAGE = {**_SMALL, "vocab_size": 100}
_DECODER = {**_LANGUAGE, "num_key_value_heads": 2, "use_cache": False, "max_position_embeddings": 64}
_PATCHES = {**_SMALL, "image_size": 64, "patch_size": 16}
# By name: the class of the model, that of its configuration, what that is given, and the example.
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any], Any]] = {
    "vit": ("ViTModel", "ViTConfig", _PATCHES, _images),
    "deit": ("DeiTModel", "DeiTConfig", _PATCHES, _images),
    "beit": ("BeitModel", "BeitConfig", _PATCHES, _images),
    "dinov2": ("Dinov2Model", "Dinov2Config", _PATCHES, _images),
    "dinov2-registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", _PATCHES, _images),
    "clip-vision": ("CLIPVisionModel", "CLIPVisionConfig", _PATCHES, _images),
    "clip-text": ("CLIPTextModel", "CLIPTextConfig", {**_LANGUAGE, "max_position_embeddings": 16}, _tokens),
    "siglip-vision": ("SiglipVisionModel", "SiglipVisionConfig", _PATCHES, _images),
    "swin": ("SwinModel", "SwinConfig", {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4]},
             _images),
    "convnext": ("ConvNextModel", "ConvNextConfig", {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
                 _images),
    "resnet": ("ResNetModel", "ResNetConfig", {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64]}, _images),
    "mobilevit": ("MobileViTModel", "MobileViTConfig", {"image_size": 64}, _images),
    "segformer": ("SegformerForSemanticSegmentation", "SegformerConfig", {"hidden_sizes": [16, 32, 48, 64]}, _images),
    "depth-anything": ("DepthAnythingForDepthEstimation", "DepthAnythingConfig", {}, lambda: _images(70)),
    "dpt": ("DPTForDepthEstimation", "DPTConfig", {**_PATCHES, "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [16] * 4, "fusion_hidden_size": 16}, _images),
    "bert": ("BertModel", "BertConfig", _LANGUAGE, _tokens),
    "roberta": ("RobertaModel", "RobertaConfig", _LANGUAGE, _tokens),
    "distilbert": ("DistilBertModel", "DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64,
                   "vocab_size": 100}, _tokens),
    "llama": ("LlamaModel", "LlamaConfig", _DECODER, _tokens),
    "qwen2": ("Qwen2Model", "Qwen2Config", _DECODER, _tokens),
    "mistral": ("MistralModel", "MistralConfig", _DECODER, _tokens),
    "swinv2": ("Swinv2Model", "Swinv2Config", {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4],
               "window_size": 4}, _images),
    "convnextv2": ("ConvNextV2Model", "ConvNextV2Config", {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
                   _images),
    "poolformer": ("PoolFormerModel", "PoolFormerConfig", {"hidden_sizes": [16, 32, 48, 64], "depths": [1] * 4},
                   _images),
    "pvt": ("PvtModel", "PvtConfig", {"image_size": 64, "hidden_sizes": [16, 32, 48, 64], "depths": [1] * 4,
            "num_attention_heads": [1, 2, 3, 4]}, _images),
    "regnet": ("RegNetModel", "RegNetConfig", {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64],
               "depths": [1] * 4, "groups_width": 8}, _images),
    "levit": ("LevitModel", "LevitConfig", {"image_size": 64}, _images),
    "mobilenet_v2": ("MobileNetV2Model", "MobileNetV2Config", {"depth_multiplier": 0.35}, _images),
    "efficientnet": ("EfficientNetModel", "EfficientNetConfig", {"width_coefficient": 0.5, "depth_coefficient": 0.5,
                     "hidden_dim": 640}, _images),
    "vit-mae": ("ViTMAEModel", "ViTMAEConfig", {**_PATCHES, "mask_ratio": 0.0}, _images),
    "yolos": ("YolosModel", "YolosConfig", {**_PATCHES, "image_size": [64, 64], "num_detection_tokens": 4}, _images),
    "hiera": ("HieraModel", "HieraConfig", {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 2, 1]}, _images),
    "sam-encoder": ("SamVisionModel", "SamVisionConfig", {"hidden_size": 32, "num_hidden_layers": 2, "image_size": 64,
                    "num_attention_heads": 4, "mlp_dim": 64, "output_channels": 16, "window_size": 2,
                    "global_attn_indexes": [1]}, _images),
    "rt-detr-backbone": ("RTDetrResNetBackbone", "RTDetrResNetConfig", {"embedding_size": 16,
                         "hidden_sizes": [16, 32, 48, 64], "depths": [1] * 4}, _images),
    "whisper-encoder": ("WhisperEncoder", "WhisperConfig", {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
                        "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "num_mel_bins": 16,
                        "max_source_positions": 50}, lambda: _spectra(16, 100)),
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config", {**_SMALL, "num_conv_pos_embeddings": 8,
                 "num_conv_pos_embedding_groups": 4}, _waves),
    "hubert": ("HubertModel", "HubertConfig", {**_SMALL, "num_conv_pos_embeddings": 8,
               "num_conv_pos_embedding_groups": 4}, _waves),
    "ast": ("ASTModel", "ASTConfig", {**_SMALL, "max_length": 64, "num_mel_bins": 32},
            lambda: _spectra(32, 64, "input_values")),
    "electra": ("ElectraModel", "ElectraConfig", {**_LANGUAGE, "embedding_size": 32}, _tokens),
    "albert": ("AlbertModel", "AlbertConfig", {**_LANGUAGE, "embedding_size": 16}, _tokens),
    "mpnet": ("MPNetModel", "MPNetConfig", _LANGUAGE, _tokens),
    "deberta-v2": ("DebertaV2Model", "DebertaV2Config", _LANGUAGE, _tokens),
    "t5-encoder": ("T5EncoderModel", "T5Config", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
                   "vocab_size": 100}, _tokens),
    "gemma": ("GemmaModel", "GemmaConfig", {**_DECODER, "head_dim": 8}, _tokens),
    "qwen3": ("Qwen3Model", "Qwen3Config", {**_DECODER, "head_dim": 8}, _tokens),
    "phi": ("PhiModel", "PhiConfig", _DECODER, _tokens),
    "gpt-neox": ("GPTNeoXModel", "GPTNeoXConfig", {**_LANGUAGE, "use_cache": False}, _tokens),
    "gpt2": ("GPT2Model", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100,
             "use_cache": False}, _tokens),
}  # fmt: skip


def _transformers(name: str) -> Any:
    import_torchvision()  # transformers imports it by itself, where it may not load
    import transformers

    kind, configuration, options, example = TRANSFORMERS[name]
    configured = getattr(transformers, configuration)(**options)
    made = getattr(transformers, kind, None)
    if made is None:  # a part of a model is where the model is
        made = getattr(importlib.import_module(type(configured).__module__.replace("configuration", "modeling")), kind)
    return (made(configured),), example()


def randomised(model: Any) -> Any:
    """Give what initialisation leaves constant random values, so that nothing hides behind zeros and ones."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Any) -> Any:
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for tensor in model.parameters():
            if not tensor.numel() or not tensor.is_floating_point() or not bool((tensor == tensor.flatten()[0]).all()):
                continue
            value = float(tensor.flatten()[0])
            if value == 0:
                tensor.copy_(drawn(tensor) * 0.02)
            else:
                tensor.copy_((0.15 if abs(value) < 0.05 else value) * (1 + 0.1 * drawn(tensor)))
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.copy_(drawn(tensor) * 0.1)
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + drawn(tensor).abs())
    return model


# -- one model --------------------------------------------------------------------------------------------------------


def convert(name: str, build: bool) -> dict[str, Any]:
    """Convert one model; return what came of it."""
    import torch

    from trtnn.errors import TrtnnError, UnsupportedError, VerificationError
    from trtnn.from_torch.convert import Conversion

    torch.set_num_threads(1)
    row: dict[str, Any] = {"model": name}
    try:
        model, args, kwargs = make(name)
        row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    except Exception as error:
        return {**row, "outcome": "not made", "why": f"{type(error).__name__}: {error}"[:500]}
    try:
        begun = time.perf_counter()
        conversion = Conversion(model, args, kwargs)
        converted = conversion.trial()
        row["seconds"] = round(time.perf_counter() - begun, 2)
        row["lines"] = conversion.source.text.count("\n")
        row["classes"] = len(conversion.source.classes)
        row["difference"] = conversion.verify()
        row["layers"] = len(conversion.network.graph.layer_paths)
        row["outcome"] = "equal"
        for precision in ("fp32", "fp16") if build else ():
            row[precision] = _build(converted, precision == "fp16")
    except VerificationError as error:
        unclear = "nothing can be compared" in str(error)
        row.update(outcome="unclear" if unclear else "wrong", why=str(error)[:1000])
    except UnsupportedError as error:
        row.update(outcome="refused", why=str(error)[:1000])
    except TrtnnError as error:
        row.update(outcome="refused", why=f"{type(error).__name__}: {error}"[:1000])
    except Exception as error:
        row.update(outcome="failed", why=f"{type(error).__name__}: {error}"[:1000])
    return row


def _build(model: Any, fp16: bool) -> str:
    try:
        model.trace(fp16=fp16).build(targets=("sm86",), optimization_level=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "built"


# -- all of them ------------------------------------------------------------------------------------------------------


def run(wanted: list[str], results: Path, build: bool, timeout_s: float) -> None:
    """Run models one after another, each in its own process, and write a line for each as it ends."""
    results.parent.mkdir(parents=True, exist_ok=True)
    processes = multiprocessing.get_context("fork")  # what was imported here is there
    for number, name in enumerate(wanted, 1):
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=_send, args=(theirs, name, build))
        begun = time.perf_counter()
        process.start()
        theirs.close()
        row: dict[str, Any] = {"outcome": "failed", "why": f"took more than {timeout_s:.0f} s"}
        if ours.poll(timeout_s):
            try:
                row = ours.recv()
            except EOFError:
                row["why"] = "the process ended, perhaps for lack of memory"
        process.kill()
        process.join()
        row = {"model": name, **row, "wall": round(time.perf_counter() - begun, 1)}
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        why = row.get("why", "").replace("\n", " ")[:150]
        print(f"{number}/{len(wanted)} {name}: {row['outcome']} {row.get('difference', '')} {why}", flush=True)


def _send(connection: Any, name: str, build: bool) -> None:
    connection.send(convert(name, build))


def read(results: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each model."""
    if not results.exists():
        return {}
    rows = map(json.loads, results.read_text().splitlines())
    return {row["model"]: row for row in rows}


def report(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    versions = []
    for package in ("torch", "torchvision", "timm", "transformers", "trtnn"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    made = {name: row for name, row in rows.items() if row["outcome"] != "not made"}
    text = [
        "# What `from_torch` converts",
        "",
        f"{datetime.date.today()}, {', '.join(versions)}, Python {platform.python_version()}.",
        "Written by `python benchmarks/coverage.py --report`. Weights are random; `equal` is within 1e-3 of the",
        "largest magnitude of every output, on the example and on a second input. Seconds are of one CPU core, without",
        "the comparison. Of the detectors the backbones are listed beside the whole.",
        "`unclear`: with random weights torch's own fp32 is off its fp64 by a tenth, so that nothing can be compared.",
        "",
        "| source | models | equal | wrong | unclear | refused | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for source in SOURCES:
        outcomes = Counter(row["outcome"] for name, row in made.items() if name.startswith(f"{source}:"))
        total = sum(outcomes.values())
        if total:
            share = f"{outcomes['equal']} ({outcomes['equal'] / total:.1%})"
            others = " | ".join(str(outcomes[outcome]) for outcome in ("wrong", "unclear", "refused", "failed"))
            text.append(f"| {source} | {total} | {share} | {others} |")
    built = {p: Counter(row[p] == "built" for row in made.values() if p in row) for p in ("fp32", "fp16")}
    for precision, counts in built.items():
        if counts:
            text += ["", f"Built in {precision} by TensorRT-RTX: {counts[True]} of {sum(counts.values())}."]
    text += ["", "## What is not converted", ""]
    for name, row in sorted(made.items()):
        if row["outcome"] != "equal":
            why = re.sub(r" /\S+.*", "", " ".join(row.get("why", "").split()))  # the lines of who ran it
            text.append(f"- `{name}`: {row['outcome']}: {why[:240]}")
    text += ["", "## Models", "", "| model | lines | classes | layers | difference | s |", "|---|---|---|---|---|---|"]
    for name, row in sorted(made.items()):
        if row["outcome"] == "equal":
            text.append(
                f"| {name} | {row['lines']} | {row['classes']} | {row['layers']} | {row['difference']:.0e} | "
                f"{row['seconds']} |"
            )
    return "\n".join(text) + "\n"


def _size(name: str) -> tuple[int, str]:
    """Return how large a model probably is by its name, so that the small ones come first."""
    short = name.partition(":")[2]
    small = ("test_", "atto", "femto", "pico", "nano", "tiny", "small", "mini", "18", "_0", "b0", "xs", "050", "002")
    large = ("giant", "huge", "large", "so400m", "xxl", "enormous", "gigantic", "7b", "1b", "2b", "3b", "_h_", "_g_")
    rank = 0 if any(word in short for word in small) else 1
    return (2 if any(word in short for word in large) else rank), name


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", default=SOURCES, help="torchvision, timm, transformers, or model names")
    parser.add_argument("--most", type=int, help="how many of each source, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", action="store_true", help="build engines in fp32 and fp16 as well")
    parser.add_argument("--again", nargs="*", default=[], help="run what came out so once more")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", type=Path, help="write the table, and run nothing")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = read(options.results)
    if options.report:
        options.report.write_text(report(rows))
        return
    wanted: list[str] = []
    for source in options.sources:
        found = names(source) if source in SOURCES else [source]  # which imports what it is of
        found = [name for name in found if name not in rows or rows[name]["outcome"] in options.again]
        if options.most:
            found = random.Random(options.seed).sample(sorted(found), min(options.most, len(found)))
        wanted += found
    run(sorted(wanted, key=_size), options.results, options.build, options.timeout)


if __name__ == "__main__":
    main()
