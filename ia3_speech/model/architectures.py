"""Which module of which transformers model an IA³ vector scales: one row a kind of base.

To support another kind, add a row to ARCHITECTURES under its `config.model_type`: where its layers are, for each
placement the module inside a layer and its side, and what to feed it so that `liveness` can prove the row.
That is all the core needs (`tests/test_kinds.py` does it for BERT and ViT). A CTC base of speech also says
how audio gets in (`Input`). The same test file runs every row on a small random model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from ia3_speech.model import wavlm

Side = Literal["in", "out"]
Kernels = list[tuple[int, int]]  # (kernel, stride) of one convolution after another

# Placement → what it multiplies, in the order in which tables list them.
PLACEMENTS = {
    "key": "the keys of self-attention, after the bias",
    "value": "the values of self-attention, after the bias",
    "ffn": "the activation between the two linear layers of the feed-forward network (the paper's l_ff)",
    "ffn_output": "the output of the feed-forward network, after the bias",
    "attention_output": "the output of self-attention's last projection, after the bias",
    "conv": "the channels of the convolutional feature encoder, after the norm and before the activation",
    # Written by other tools (PEFT), read by us; never better than the ones above on this kind of encoder.
    "query": "the queries of self-attention (equal to a key vector in plain attention)",
    "ffn_inner": "the feed-forward network's first linear layer, before the activation",
}


@dataclass(frozen=True)
class TargetSpec:
    """One place in a layer: a linear module by its path, and which side of it is scaled."""

    module: str
    side: Side


@dataclass(frozen=True)
class Input:
    """How audio gets into a CTC base: what `base.Base` has to know of the part below the layers.

    Args:
        kernels: (configuration, the processor's feature extractor) → the steps from samples up to what is
            kept of an utterance: the front end's frames, or the processor's features.
        above: configuration → the steps from there to frames of logits.
        argument: `input_values`, samples; or `input_features` (frames, channels), which the processor makes.
        mask: the argument that tells samples, or frames, from padding.
        front: path of the module that makes frames of samples; "" where the processor does.
        axis: of that module's output, the one of channels: 1 for (batch, channels, frames), else −1.
        mono: whether samples come as (batch, 1, samples).
    """

    kernels: Callable[[Any, Any], Kernels]
    above: Callable[[Any], Kernels]
    argument: str = "input_values"
    mask: str = "attention_mask"
    front: str = ""
    axis: int = 1
    mono: bool = False


@dataclass(frozen=True)
class Architecture:
    """A kind of encoder. In every path, {body} is the model's `base_model_prefix`.

    Args:
        layers: path of the list of layers.
        sites: placement → its modules in a layer.
        probe: configuration → an input for the model, batch of one.
        head: path of the CTC head.
        convolutions: path of the feature encoder's list, each with a `conv` and, it may be, a `layer_norm`.
        explicit: method → what stands in for it while vectors are attached to its module's children: the same
            operations, by calls that hooks see.
        input: how audio gets in; None for a model that is no speech recogniser.
        across: convolutions that look across a row's end into a batch's padding (`*`: each of a list).
        resumes: whether the layers under the lowest vector can be skipped (`passes.entered`).
    """

    layers: str
    targets: Mapping[str, tuple[TargetSpec, ...]]
    probe: Callable[[Any], dict[str, torch.Tensor]]
    head: str = "lm_head"
    convolutions: str = ""
    explicit: Mapping[str, Callable] = field(default_factory=dict)
    input: Input | None = None
    across: tuple[str, ...] = ()
    resumes: bool = False


def targets(attention: str, networks: str) -> dict[str, tuple[TargetSpec, ...]]:
    """The sites of a layer, by the names of its modules, each after a blank.

    Args:
        attention: self-attention, then its projections: key, value, query, output.
        networks: the two linear layers of a feed-forward network, then the networks: one, or a Conformer's
            two, whose outputs are scaled before they are halved.
    """
    attend, *projections = attention.split()
    key, value, query, output = ((TargetSpec(f"{attend}.{name}", "out"),) for name in projections)
    inner, outer, *blocks = networks.split()
    return {
        "key": key,
        "value": value,
        "ffn": tuple(TargetSpec(f"{block}.{outer}", "in") for block in blocks),
        "ffn_output": tuple(TargetSpec(f"{block}.{outer}", "out") for block in blocks),
        "attention_output": output,
        "query": query,
        "ffn_inner": tuple(TargetSpec(f"{block}.{inner}", "out") for block in blocks),
    }


def after(count: int, kernels: Kernels) -> int:
    """How many of `count` samples or frames are left after these convolutions."""
    for kernel, stride in kernels:
        count = (count - kernel) // stride + 1 if count >= kernel else 0
    return count


def fewest(count: int, kernels: Kernels) -> int:
    """The fewest that leave `count` after these convolutions."""
    for kernel, stride in reversed(kernels):
        count = (count - 1) * stride + kernel
    return count


# --- what the rows say of audio ---------------------------------------------------------------------------


def encoder_config(config: Any) -> Any:
    """The part of a model's configuration that describes its encoder: sizes, convolutions."""
    return getattr(config, "encoder_config", None) or getattr(config, "audio_config", None) or config


def noise(*shape: int) -> torch.Tensor:
    """(1, *shape), always the same."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def waveform(_config: Any) -> dict[str, torch.Tensor]:
    """A second of noise."""
    return {"input_values": noise(16_000)}


def features(config: Any) -> dict[str, torch.Tensor]:
    """A second of noise as log-mel features of 10 ms."""
    return {"input_features": noise(100, encoder_config(config).num_mel_bins)}


def convolutions(config: Any, _extractor: Any) -> Kernels:
    config = encoder_config(config)
    return list(zip(config.conv_kernel, config.conv_stride, strict=True))


def adapter(config: Any) -> Kernels:
    """transformers' `add_adapter`: convolutions above the layers, padded by one frame at each end."""
    if not getattr(config, "add_adapter", False):
        return []
    return config.num_adapter_layers * [(config.adapter_kernel_size - 2, config.adapter_stride)]


def kaldi_frames(_config: Any, extractor: Any) -> Kernels:
    """Windows of 25 ms each 10 ms, then several of them side by side."""
    return [(400, 160), (extractor.stride, extractor.stride)]


def whole_windows(_config: Any, extractor: Any) -> Kernels:
    return [(extractor.win_length, extractor.hop_length)]


def centred_windows(_config: Any, extractor: Any) -> Kernels:
    """Windows that hang over both ends: one for each whole hop."""
    return [(extractor.hop_length, extractor.hop_length)]


def lasr_subsampling(config: Any) -> Kernels:
    config = encoder_config(config)
    return 2 * [(config.subsampling_conv_kernel_size, config.subsampling_conv_stride)]


def parakeet_subsampling(config: Any) -> Kernels:
    config = encoder_config(config)
    kernel, count = config.subsampling_conv_kernel_size, int(math.log2(config.subsampling_factor))
    return count * [(kernel - 2 * ((kernel - 1) // 2), config.subsampling_conv_stride)]


WAVES = Input(convolutions, adapter, front="{body}.feature_extractor")
FBANK = Input(kaldi_frames, adapter, argument="input_features")

# --- the rows ---------------------------------------------------------------------------------------------

WAV2VEC2 = Architecture(
    layers="{body}.encoder.layers",
    targets=targets(
        "attention k_proj v_proj q_proj out_proj", "intermediate_dense output_dense feed_forward"
    ),
    probe=waveform,
    convolutions="{body}.feature_extractor.conv_layers",
    input=WAVES,
    across=("{body}.adapter.layers.*", "{body}.encoder.pos_conv_embed.layers.*"),
    resumes=True,
)

# Rotary positions turn the projections' input here and their output in LASR: there a vector comes first.
CONFORMER = replace(
    WAV2VEC2,
    targets=targets(
        "self_attn linear_k linear_v linear_q linear_out", "intermediate_dense output_dense ffn1 ffn2"
    ),
    across=("{body}.adapter.layers.*", "{body}.encoder.layers.*.conv_module.depthwise_conv"),
    resumes=False,
)

NEMO = Architecture(
    layers="encoder.layers",
    targets=targets("self_attn k_proj v_proj q_proj o_proj", "linear1 linear2 feed_forward1 feed_forward2"),
    probe=features,
    head="ctc_head",
)

# transformers' config.model_type → kind.
ARCHITECTURES: dict[str, Architecture] = {
    "wav2vec2": WAV2VEC2,
    # A batch norm may stand before the positional convolution and lift the padding off zero.
    "hubert": replace(WAV2VEC2, across=("{body}.encoder.pos_conv_embed.conv",)),
    "data2vec-audio": WAV2VEC2,
    "unispeech": WAV2VEC2,
    "unispeech-sat": WAV2VEC2,
    "sew": replace(WAV2VEC2, across=(), resumes=False),
    # The first layer makes the position bias of all, so that none can be skipped.
    "wavlm": replace(
        WAV2VEC2,
        explicit={"torch_multi_head_self_attention": wavlm.self_attention},
        across=("{body}.adapter.layers.*",),
        resumes=False,
    ),
    "wav2vec2-conformer": CONFORMER,
    "wav2vec2-bert": replace(
        CONFORMER,
        probe=lambda config: {"input_features": noise(50, config.feature_projection_input_dim)},
        convolutions="",
        input=FBANK,
        across=("{body}.adapter.layers.*.residual_conv", "{body}.adapter.layers.*.self_attn_conv"),
    ),
    "lasr_ctc": replace(NEMO, input=replace(FBANK, kernels=whole_windows, above=lasr_subsampling)),
    "parakeet_ctc": replace(NEMO, input=replace(FBANK, kernels=centred_windows, above=parakeet_subsampling)),
    "omniasr_ctc": replace(
        WAV2VEC2,
        layers="model.audio_tower.layers",
        probe=lambda _: {"input_values": noise(1, 16_000)},
        head="ctc_head",
        convolutions="model.audio_tower.subsampling.conv_layers",
        input=replace(WAVES, front="model.audio_tower.subsampling", axis=-1, mask="padding_mask", mono=True),
        across=(),
        resumes=False,
    ),
}
