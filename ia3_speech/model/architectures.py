"""Architectures: the modules of each transformers model that IA³ vectors scale; and `IA3Config`, an adapter's
selection of these modules.

To support another architecture, add an entry to ARCHITECTURES under its `config.model_type`: the path of its
layers, for each placement the module inside a layer and its side, and an input with which `attach` can prove
that the vectors have an effect (tests/model/test_architectures.py does it for BERT). A CTC base of speech
also describes its audio input (`AudioInput`). The tests run every entry on a small random model.

torch is loaded only to make such an input: commands that read an adapter's files do without it.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from ia3_speech.common.errors import AdapterError

if TYPE_CHECKING:
    import torch
    from torch import nn

# A module of a layer, by its path in the layer, and the side that is scaled
Target = tuple[str, Literal["in", "out"]]
Kernels = list[tuple[int, int]]  # (kernel, stride) of a series of convolutions

# Placement → the activation that it multiplies, in the order of tables.
PLACEMENTS = {
    "key": "the keys of self-attention, after the bias",
    "value": "the values of self-attention, after the bias",
    "ffn": "the activation between the two linear layers of the feed-forward network (the paper's l_ff)",
    "ffn_output": "the output of the feed-forward network, after the bias",
    "attention_output": "the output of self-attention's last projection, after the bias",
    "conv": "the channels of the convolutional feature encoder, after the norm and before the activation",
    # Other tools (PEFT) write these, so they are read; they were never better than those above.
    "query": "the queries of self-attention (equal to a key vector in plain attention)",
    "ffn_inner": "the feed-forward network's first linear layer, before the activation",
    # Of an encoder-decoder's decoder, in all of its layers
    "decoder_key": "the keys of the decoder's self-attention",
    "decoder_value": "the values of the decoder's self-attention",
    "cross_key": "the keys of cross-attention: the encoder's output for the decoder to choose from",
    "cross_value": "the values of cross-attention",
    "decoder_ffn": "the activation between the two linear layers of the decoder's feed-forward network",
    "decoder_ffn_output": "the output of the decoder's feed-forward network",
    "decoder_attention_output": "the output of the decoder's self-attention",
    "cross_attention_output": "the output of cross-attention",
    "decoder_query": "the queries of the decoder's self-attention",
    "cross_query": "the queries of cross-attention",
    "decoder_ffn_inner": "the first linear layer of the decoder's feed-forward network",
}


def is_in_decoder(placement: str) -> bool:
    return placement.startswith(("decoder_", "cross_"))


def is_in_encoder_layers(placement: str) -> bool:
    """Whether `IA3Config.layers` selects among the placement's modules."""
    return placement != "conv" and not is_in_decoder(placement)


@dataclass(frozen=True)
class AudioInput:
    """The audio input of a CTC base: the part below the layers, as `kinds.Base` uses it."""

    # (configuration, the processor's feature extractor) → the steps from samples to an utterance's features:
    # the front end's frames, or the processor's features
    kernels: Callable[[Any, Any], Kernels]
    # Configuration → the steps from these features to frames of logits
    downsampling: Callable[[Any], Kernels]
    # `input_values`, samples; or `input_features` (frames, channels), which the processor makes
    argument: str = "input_values"
    mask: str = "attention_mask"  # the argument that separates samples, or frames, from padding
    front_end: str = ""  # path of the module that makes frames of samples; "" if the processor makes them
    channel_axis: int = 1  # of that module's output: 1 for (batch, channels, frames), else −1
    mono: bool = False  # whether samples come as (batch, 1, samples)
    epsilon: float = 1e-7  # the processor adds this to the variance of the samples that it normalises


@dataclass(frozen=True)
class Architecture:
    """A type of encoder. In every path, {body} is the model's `base_model_prefix`."""

    layers: str  # path of the list of layers
    targets: Mapping[str, tuple[Target, ...]]  # placement → the modules in a layer that it scales
    probe: "Callable[[Any], dict[str, torch.Tensor]]"  # configuration → an input for the model, batch of one
    head: str = "lm_head"  # path of the CTC head
    kind: str = "ctc"  # of model: an entry of `base.KINDS`
    decoder: str = ""  # path of the list of an encoder-decoder's other layers
    decoder_targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)  # as `targets`
    # Path of the feature encoder's list of modules, each with a `conv` and perhaps a `layer_norm`
    convolutions: str = ""
    # Method of the module with the projections → its replacement while vectors are attached, which computes
    # the same by calls that run hooks
    replaced_methods: Mapping[str, Callable] = field(default_factory=dict)
    input: AudioInput | None = None  # None for a model that is not a speech recogniser
    # Paths of the convolutions that reach across a row's end into the padding (`*`: each module of a list)
    padding_sensitive: tuple[str, ...] = ()
    # Whether a forward pass can begin above the layers that have no vector (`kinds.ctc.logits_from`)
    skips_layers: bool = False

    @property
    def stacks(self) -> dict[str, Mapping[str, tuple[Target, ...]]]:
        """Path of a list of layers → their targets: of the encoder, then of a decoder."""
        return {self.layers: self.targets} | ({self.decoder: self.decoder_targets} if self.decoder else {})


def layer_targets(attention: str, networks: str) -> dict[str, tuple[Target, ...]]:
    """The targets of a layer, by the names of its modules, separated by blanks.

    Args:
        attention: self-attention, then its projections: key, value, query, output.
        networks: the two linear layers of a feed-forward network, then the networks, if they are modules: a
            Conformer has two, whose outputs are scaled before they are halved.
    """
    attention_module, *projections = attention.split()
    key, value, query, output = (((f"{attention_module}.{name}", "out"),) for name in projections)
    inner, outer, *blocks = networks.split()
    blocks = [f"{block}." for block in blocks] or [""]
    return {
        "key": key,
        "value": value,
        "ffn": tuple((f"{block}{outer}", "in") for block in blocks),
        "ffn_output": tuple((f"{block}{outer}", "out") for block in blocks),
        "attention_output": output,
        "query": query,
        "ffn_inner": tuple((f"{block}{inner}", "out") for block in blocks),
    }


def output_length(length: int, kernels: Kernels) -> int:
    """The number of frames that these convolutions make of `length` samples or frames."""
    for kernel, stride in kernels:
        length = (length - kernel) // stride + 1 if length >= kernel else 0
    return length


def shortest_input(length: int, kernels: Kernels) -> int:
    """The smallest number of samples or frames of which these convolutions make `length`."""
    for kernel, stride in reversed(kernels):
        length = (length - 1) * stride + kernel
    return length


def encoder_config(config: Any) -> Any:
    """The part of a model's configuration that describes its encoder: sizes, convolutions."""
    return getattr(config, "encoder_config", None) or getattr(config, "audio_config", None) or config


def noise(*shape: int) -> "torch.Tensor":
    """(1, *shape), always the same."""
    import torch

    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def whisper_probe(config: Any) -> "dict[str, torch.Tensor]":
    """A window of noise as log-mel features of 10 ms, and tokens: the keys of one have no effect."""
    import torch

    tokens = torch.tensor([[config.decoder_start_token_id, 0, 1]])
    mel = noise(config.num_mel_bins, 2 * config.max_source_positions)
    return {"input_features": mel, "decoder_input_ids": tokens}


def feature_encoder_kernels(config: Any, _extractor: Any) -> Kernels:
    config = encoder_config(config)
    return list(zip(config.conv_kernel, config.conv_stride, strict=True))


def adapter_downsampling(config: Any) -> Kernels:
    """transformers' `add_adapter`: convolutions above the layers, padded by one frame at each end."""
    if not getattr(config, "add_adapter", False):
        return []
    return config.num_adapter_layers * [(config.adapter_kernel_size - 2, config.adapter_stride)]


def lasr_subsampling(config: Any) -> Kernels:
    config = encoder_config(config)
    return 2 * [(config.subsampling_conv_kernel_size, config.subsampling_conv_stride)]


def parakeet_subsampling(config: Any) -> Kernels:
    config = encoder_config(config)
    kernel, count = config.subsampling_conv_kernel_size, int(math.log2(config.subsampling_factor))
    return count * [(kernel - 2 * ((kernel - 1) // 2), config.subsampling_conv_stride)]


WAVES = AudioInput(feature_encoder_kernels, adapter_downsampling, front_end="{body}.feature_extractor")
FBANK = AudioInput(  # windows of 25 ms each 10 ms, as Kaldi's, then several of them side by side
    lambda _, extractor: [(400, 160), (extractor.stride, extractor.stride)],
    adapter_downsampling,
    argument="input_features",
)
LASR = replace(
    FBANK,
    kernels=lambda _, extractor: [(extractor.win_length, extractor.hop_length)],
    downsampling=lasr_subsampling,
)
PARAKEET = replace(  # windows that extend beyond both ends: one for each whole hop
    FBANK,
    kernels=lambda _, extractor: [(extractor.hop_length, extractor.hop_length)],
    downsampling=parakeet_subsampling,
)


def wavlm_self_attention(
    self: "nn.Module",
    hidden_states: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    gated_position_bias: "torch.Tensor",
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Replaces `WavLMAttention.torch_multi_head_self_attention` by the same operations in the same order.

    transformers passes the projections' raw weights to `torch.nn.functional.multi_head_attention_forward`: it
    never calls a projection, so no hook on it runs, and IA³ on keys and values has no effect (nor has PEFT's;
    transformers#48773). WavLM: arXiv 2110.13900. The gated position bias is an input.

    Args:
        hidden_states: (batch, time, d); the batch stays the first axis, as a vector for each row needs it.
        attention_mask: (batch, time), 1 for a frame and 0 for padding.
        gated_position_bias: (batch · heads, time, time).

    Returns:
        (batch, time, d), and the weights' mean over heads, (batch, heads, time, time).
    """
    import torch

    batch, time, _ = hidden_states.shape
    heads, width = self.num_heads, self.head_dim

    def split(x: "torch.Tensor") -> "torch.Tensor":
        return x.view(batch, time, heads, width).transpose(1, 2).reshape(batch * heads, time, width)

    query = split(self.q_proj(hidden_states)) * math.sqrt(1.0 / width)
    key, value = split(self.k_proj(hidden_states)), split(self.v_proj(hidden_states))
    bias = gated_position_bias
    if attention_mask is not None:
        padding = torch.zeros(batch, 1, 1, time, dtype=query.dtype, device=query.device)
        padding = padding.masked_fill(attention_mask.ne(1)[:, None, None], float("-inf"))
        bias = bias + padding.expand(-1, heads, -1, -1).reshape(batch * heads, 1, time)
    weights = torch.baddbmm(bias, query, key.transpose(1, 2)).softmax(-1)
    weights = torch.nn.functional.dropout(weights, self.dropout, self.training)
    context = torch.bmm(weights, value).view(batch, heads, time, width).transpose(1, 2)
    mean = weights.view(batch, heads, time, time).mean(1, keepdim=True)
    return self.out_proj(context.reshape(batch, time, heads * width)), mean.expand(-1, heads, -1, -1)


WAV2VEC2 = Architecture(
    layers="{body}.encoder.layers",
    targets=layer_targets(
        "attention k_proj v_proj q_proj out_proj", "intermediate_dense output_dense feed_forward"
    ),
    probe=lambda _: {"input_values": noise(16_000)},
    convolutions="{body}.feature_extractor.conv_layers",
    input=WAVES,
    padding_sensitive=("{body}.adapter.layers.*", "{body}.encoder.pos_conv_embed.layers.*"),
    skips_layers=True,
)

# Rotary positions rotate the input of the projections here; in LASR their output, after the vector.
CONFORMER = replace(
    WAV2VEC2,
    targets=layer_targets(
        "self_attn linear_k linear_v linear_q linear_out", "intermediate_dense output_dense ffn1 ffn2"
    ),
    padding_sensitive=("{body}.adapter.layers.*", "{body}.encoder.layers.*.conv_module.depthwise_conv"),
    skips_layers=False,
)

NEMO = Architecture(
    layers="encoder.layers",
    targets=layer_targets(
        "self_attn k_proj v_proj q_proj o_proj", "linear1 linear2 feed_forward1 feed_forward2"
    ),
    # A second of noise as log-mel features of 10 ms
    probe=lambda config: {"input_features": noise(100, encoder_config(config).num_mel_bins)},
    head="ctc_head",
)

SELF_ATTENTION = layer_targets("self_attn k_proj v_proj q_proj out_proj", "fc1 fc2")
CROSS_ATTENTION = layer_targets("encoder_attn k_proj v_proj q_proj out_proj", "fc1 fc2")
WHISPER = Architecture(
    layers="{body}.encoder.layers",
    targets=SELF_ATTENTION,
    decoder="{body}.decoder.layers",
    decoder_targets={f"decoder_{placement}": targets for placement, targets in SELF_ATTENTION.items()}
    | {f"cross_{p}": CROSS_ATTENTION[p] for p in ("key", "value", "query", "attention_output")},
    probe=whisper_probe,
    head="proj_out",
    kind="whisper",
    input=AudioInput(lambda *_: [], lambda _: [], argument="input_features"),
)

# transformers' config.model_type → its architecture.
ARCHITECTURES: dict[str, Architecture] = {
    "wav2vec2": WAV2VEC2,
    # A batch norm before the positional convolution may make the padding non-zero.
    "hubert": replace(WAV2VEC2, padding_sensitive=("{body}.encoder.pos_conv_embed.conv",)),
    "data2vec-audio": WAV2VEC2,
    "unispeech": WAV2VEC2,
    "unispeech-sat": WAV2VEC2,
    "sew": replace(WAV2VEC2, padding_sensitive=(), skips_layers=False),
    # The first layer computes the position bias of all layers, so none can be skipped.
    "wavlm": replace(
        WAV2VEC2,
        replaced_methods={"torch_multi_head_self_attention": wavlm_self_attention},
        padding_sensitive=("{body}.adapter.layers.*",),
        skips_layers=False,
    ),
    "wav2vec2-conformer": CONFORMER,
    "wav2vec2-bert": replace(
        CONFORMER,
        probe=lambda config: {"input_features": noise(50, config.feature_projection_input_dim)},
        convolutions="",
        input=FBANK,
        padding_sensitive=("{body}.adapter.layers.*.residual_conv", "{body}.adapter.layers.*.self_attn_conv"),
    ),
    "lasr_ctc": replace(NEMO, input=LASR),
    "parakeet_ctc": replace(NEMO, input=PARAKEET),
    "omniasr_ctc": replace(
        WAV2VEC2,
        layers="{body}.audio_tower.layers",
        probe=lambda _: {"input_values": noise(1, 16_000)},
        head="ctc_head",
        convolutions="{body}.audio_tower.subsampling.conv_layers",
        input=replace(
            WAVES,
            front_end="{body}.audio_tower.subsampling",
            channel_axis=-1,
            mask="padding_mask",
            mono=True,
            epsilon=1e-5,
        ),
        padding_sensitive=(),
        skips_layers=False,
    ),
    "whisper": WHISPER,
}


@dataclass(frozen=True)
class IA3Config:
    """The positions of vectors.

    Args:
        placements: keys of `PLACEMENTS`
        layers: of the encoder: "all", or 0-based inclusive ranges such as "0-11" or "0,4-7"; conv is below
            all layers
        train_head: train the CTC head too, and save it with the adapter; a classifier's head always trains
        window: of Whisper's input: 30s or short (see `kinds.whisper`); None: the base's
        language: that a multilingual Whisper was trained to write; None: unknown
    """

    placements: tuple[str, ...] = ("key", "value", "ffn")
    layers: str = "all"
    train_head: bool = False
    window: str | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        unknown = [p for p in self.placements if p not in PLACEMENTS]
        if unknown:
            raise AdapterError(f"no placement {', '.join(unknown)} (there are {', '.join(PLACEMENTS)})")
        # Sorted, so that equal configurations compare and print alike.
        object.__setattr__(self, "placements", tuple(p for p in PLACEMENTS if p in self.placements))
        if not self.placements and not self.train_head:
            raise AdapterError("`placements` is empty and `train_head` is off: nothing would be trained")
        if self.window not in (None, "30s", "short"):
            raise AdapterError(f"`window` is {self.window!r}, and must be 30s or short")

    def layer_numbers(self, count: int) -> list[int]:
        """The layers of a model with `count` layers, ascending. Raises AdapterError outside 0 … count − 1."""
        if self.layers == "all":
            return list(range(count))
        numbers: set[int] = set()
        for part in str(self.layers).split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if not match:
                raise AdapterError(f'`layers` is "{self.layers}": write all, 0-11, or 0,4-7')
            first, last = int(match[1]), int(match[2] or match[1])
            if first > last or last >= count:
                raise AdapterError(f'`layers` is "{self.layers}", and the base has layers 0-{count - 1}')
            numbers.update(range(first, last + 1))
        return sorted(numbers)

    def to_json(self) -> dict[str, Any]:
        """The configuration in JSON's types, for metadata files."""
        config = asdict(self) | {"placements": list(self.placements)}
        return {name: value for name, value in config.items() if value is not None}


def format_layers(numbers: list[int]) -> str:
    """[0, 1, 2, 5] → "0-2,5", as `IA3Config.layers` takes it."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
