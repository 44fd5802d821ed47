"""Whisper's encoder, built into a plain `Wav2Vec2ForCTC` by arithmetic alone: no training, no new code.

    model = transplant("openai/whisper-tiny.en", waves)      # waves: some 30 utterances for one ridge fit

Both encoders make one frame each 20 ms and share the pre-norm transformer layer. Whisper takes 80 log-mel
bands and adds sinusoids; Wav2Vec2 takes the waveform through four convolutions, each with a layer norm and a
GELU, and learns positions by convolution. So the spectrogram and the sinusoids are written out as weights:

    waveform, zero mean, unit variance
      │  conv 0   400 taps, stride 160: Hann-windowed cosines and sines of 201 bins, each with both signs
      │  GELU     GELU(a) + GELU(−a) = a·erf(a/√2): ~a² when small, |a| when large; a rectifier
      │  conv 1   1 tap: M_b, the rectified bins under mel filter b, compared with six thresholds t
      │  GELU     GELU((M_b − t)/(t/2)): hinges, of which a logarithm is a weighted sum (ridge fit)
      │  conv 2   3 taps: Whisper's first convolution times that fit
      │  conv 3   3 taps, stride 2: Whisper's own
      │  feature projection: undoes its layer norm, takes the mean off, adds the offset −D
      ├──────► positional convolution: Σ of (sinusoid's increments / −D) · (−D) = the sinusoid ; bias +D
      ▼   +  ◄─┘
    transformer layers and the final norm, copied

**Transparent layer norm.** y = (z − mean)/std · w + b. Extra channels hold constants ±C so large that they
alone make the std, and the real channels sum to zero (by signs in conv 0, by balance channels, −Σz,
elsewhere): with w = C·√(n/N) for the real channels (n constants, N channels) and 0 for the others, y = z.
Every stored number stays under 60,000, so that fp16 holds it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, WhisperFeatureExtractor, WhisperModel

FFT, HOP = 400, 160  # samples at 16 kHz: Whisper's window and hop
BINS, BANDS = 201, 80
HINGES = 6  # thresholds of a mel band
WHISPER_GAIN = 0.1  # level of the normalised waveform in Whisper
RECTIFIER_GAIN = 3.0  # puts the floor, 60 dB under a loud vowel, at the rectifier's bend
FLOOR = 6.0  # log10 power below the utterance's maximum
CONSTANT = 50_000.0  # C, under fp16's 65,504
POSITIONS = 1536  # taps of the positional convolution: half of them, at 20 ms, is as far as positions reach
OFFSET = 16.0  # D: the larger, the less the speech leaks into the positions; Whisper's channels are ~1


@dataclass(frozen=True)
class Whisper:
    """The parts of Whisper that the transplant reads. `log_mel` follows openai/whisper's audio.py."""

    encoder: nn.Module
    mel: np.ndarray  # (201, 80), power weights

    @classmethod
    def load(cls, name: str) -> "Whisper":
        encoder = WhisperModel.from_pretrained(name).encoder.float().eval()
        return cls(encoder, np.asarray(WhisperFeatureExtractor.from_pretrained(name).mel_filters))

    def log_mel(self, wave: np.ndarray) -> np.ndarray:
        """(samples,) at unit variance → (frames, 80), as Whisper scales it; frame f is centred at 160·f."""
        window = torch.hann_window(FFT)
        audio = torch.from_numpy(wave * WHISPER_GAIN)
        power = torch.stft(audio, FFT, HOP, window=window, return_complex=True)[:, :-1].abs() ** 2
        log = np.log10(np.maximum(power.numpy().T @ self.mel, 1e-10))
        return ((np.maximum(log, log.max() - FLOOR) + 4) / 4).astype(np.float32)


def transplant(name: str, waves: list[np.ndarray]) -> Wav2Vec2ForCTC:
    """Build the model: `waves` (samples,) float32 16 kHz at zero mean and unit variance, for the ridge fit.

    The head (transformers' adapter of two gated convolutions, and lm_head) starts at random.
    """
    whisper = Whisper.load(name)
    model = Wav2Vec2ForCTC(configuration(whisper.encoder.config)).eval()
    body = model.wav2vec2
    with torch.no_grad():
        write_rectified_spectrum(body.feature_extractor.conv_layers[0])
        write_log_mel(body.feature_extractor.conv_layers, whisper, waves)
        write_projection(body.feature_projection)
        write_positions(body.encoder.pos_conv_embed, whisper.encoder.embed_positions.weight)
        body.masked_spec_embed.fill_(-OFFSET)
        copy_layers(body.encoder, whisper.encoder)
    return model


def configuration(whisper) -> Wav2Vec2Config:
    """The configuration, without dropout: the mini base is small, and a training run sets its own.

    In each of the four convolutions 16 channels hold constants; in all but the first another 16 balance the
    sum.
    """
    width = whisper.d_model
    dropouts = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")
    return Wav2Vec2Config(
        vocab_size=29, pad_token_id=0, bos_token_id=None, eos_token_id=None,
        hidden_size=width, num_hidden_layers=whisper.encoder_layers,
        num_attention_heads=whisper.encoder_attention_heads, intermediate_size=whisper.encoder_ffn_dim,
        do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True,
        conv_dim=(4 * BINS + 16, HINGES * BANDS + 32, width + 32, width + 32),
        conv_kernel=(FFT, 1, 3, 3), conv_stride=(HOP, 1, 1, 2),
        num_conv_pos_embeddings=POSITIONS, num_conv_pos_embedding_groups=width,
        add_adapter=True, num_adapter_layers=2, adapter_kernel_size=3, adapter_stride=1,
        **dict.fromkeys((*dropouts, "final_dropout", "layerdrop"), 0.0),
        mask_time_prob=0.05, ctc_loss_reduction="mean", ctc_zero_infinity=True,
    )  # fmt: skip


def write_rectified_spectrum(layer: nn.Module) -> None:
    """Conv 0: channels [cos, sin, −cos, −sin] of 201 bins, then the constants."""
    n = np.arange(FFT)
    angle = 2 * np.pi * np.outer(np.arange(BINS), n) / FFT
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / FFT)
    waves = np.concatenate([np.cos(angle), np.sin(angle)]) * hann * RECTIFIER_GAIN
    channels = layer.conv.out_channels
    weight = np.zeros((channels, 1, FFT))
    weight[: 2 * BINS, 0], weight[2 * BINS : 4 * BINS, 0] = waves, -waves
    write_transparent(layer, weight, np.zeros(channels), real=4 * BINS, balance=0)


def write_transparent(
    layer: nn.Module, weight: np.ndarray, bias: np.ndarray, real: int, balance: int
) -> None:
    """Fill a convolution (out, in, taps) and its norm so that the first `real` channels come out as computed.

    The next `balance` channels share minus their sum, the rest hold ±C.
    """
    channels = len(weight)
    constants = channels - real - balance
    if balance:
        weight[real : real + balance] = -weight[:real].sum(0) / balance
        bias[real : real + balance] = -bias[:real].sum() / balance
    gain = CONSTANT * np.sqrt(constants / channels)
    scale = min(1.0, 50_000 / np.abs(weight[: real + balance]).max(), 50_000 / max(np.abs(bias).max(), 1e-9))
    bias *= scale
    bias[real + balance :: 2], bias[real + balance + 1 :: 2] = CONSTANT, -CONSTANT
    norm = np.zeros(channels)
    norm[:real] = gain / scale
    assert constants % 2 == 0 and norm.max() < 60_000, (constants, norm.max())
    layer.conv.weight.copy_(torch.from_numpy(weight * scale))
    layer.conv.bias.copy_(torch.from_numpy(bias))
    layer.layer_norm.weight.copy_(torch.from_numpy(norm))
    layer.layer_norm.bias.zero_()


def write_log_mel(convs: nn.ModuleList, whisper: Whisper, waves: list[np.ndarray]) -> None:
    """Conv 1: hinges on the mel sums. Conv 2, 3: Whisper's, the first times the fit log-mel ≈ A·hinges+c."""
    sums, targets = [], []
    for wave in waves:  # M: the rectified bins under each mel filter (amplitudes, not powers)
        rectified = convs[0](torch.from_numpy(wave)[None, None])[0, : 4 * BINS].reshape(4, BINS, -1).sum(0)
        sums.append(rectified.T.numpy() @ np.sqrt(whisper.mel))
        # Whisper's log-mel on the frames of conv 0, whose frame j is centred at 160·j + 200 (FFT / 2): cut so
        # that Whisper's frame 1 is centred there too; its frame 0 looks into a reflection.
        padded = np.concatenate([np.zeros(HOP, np.float32), wave, np.zeros(FFT, np.float32)])
        targets.append(whisper.log_mel(padded[FFT // 2 :])[1 : (len(wave) - FFT) // HOP + 2])
    sums, targets = np.concatenate(sums), np.concatenate(targets)
    top = np.quantile(sums, 0.999, axis=0)
    bottom = np.maximum(np.quantile(sums, 0.02, axis=0), top / 300)
    thresholds = bottom * (top / bottom) ** (np.arange(HINGES)[:, None] / HINGES)  # (6, 80)

    real = HINGES * BANDS
    weight, bias = zeros(convs[1])
    under_filter = np.tile(np.sqrt(whisper.mel), (4, 1))  # both signs, cosines and sines: (804, 80)
    for h, t in enumerate(thresholds):
        weight[h * BANDS : (h + 1) * BANDS, : 4 * BINS, 0] = (under_filter / (t / 2)).T
        bias[h * BANDS : (h + 1) * BANDS] = -2
    write_transparent(convs[1], weight, bias, real, balance=16)

    x = torch.from_numpy((sums[:, None] - thresholds) / (thresholds / 2)).reshape(len(sums), real)
    x = torch.cat([nn.functional.gelu(x), torch.ones(len(x), 1, dtype=x.dtype)], 1)
    ridge = torch.eye(real + 1, dtype=x.dtype) * 1e-6 * len(x)
    fit = torch.linalg.solve(x.T @ x + ridge, x.T @ torch.from_numpy(targets).to(x.dtype))
    slope, intercept = fit[:-1].numpy(), fit[-1].numpy()  # (480, 80), (80,)

    conv1, conv2 = whisper.encoder.conv1, whisper.encoder.conv2
    w1 = conv1.weight.double().numpy()  # (d, 80, 3)
    d = len(w1)
    weight, bias = zeros(convs[2])
    weight[:d, :real] = np.einsum("dbk,hb->dhk", w1, slope)
    bias[:d] = conv1.bias.double().numpy() + np.einsum("dbk,b->d", w1, intercept)
    write_transparent(convs[2], weight, bias, d, balance=16)

    weight, bias = zeros(convs[3])
    weight[:d, :d], bias[:d] = conv2.weight.double().numpy(), conv2.bias.double().numpy()
    write_transparent(convs[3], weight, bias, d, balance=16)
    # After this GELU nothing can be negative, so the feature projection finds its constants as 0 and +C.
    convs[3].layer_norm.bias[-8:] = CONSTANT


def zeros(layer: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Weight (out, in, taps) and bias (out,) of a convolution, all zero."""
    return np.zeros(tuple(layer.conv.weight.shape)), np.zeros(layer.conv.out_channels)


def write_projection(projection: nn.Module) -> None:
    """Undo the norm over [d real, 24 zeros, 8 constants C], take the mean over channels off, add −D.

    The norm shifts all channels by one mean; without the mean over the real channels that shift is gone too.
    """
    channels, d = projection.projection.in_features, projection.projection.out_features
    share = 8 / channels
    std = CONSTANT * np.sqrt(share * (1 - share))
    gain = np.sqrt(std)  # half of the way in the norm's weight, half in the projection's: both fit fp16
    projection.layer_norm.weight.fill_(gain)
    projection.layer_norm.bias.zero_()
    mean_free = np.eye(d) - 1 / d
    weight = np.zeros((d, channels))
    weight[:, :d] = mean_free * std / gain
    projection.projection.weight.copy_(torch.from_numpy(weight))
    projection.projection.bias.fill_(-OFFSET)


def write_positions(positional: nn.Module, sinusoid: torch.Tensor) -> None:
    """A depthwise convolution that integrates: Σ_{τ ≤ t} increment(τ) = sinusoid(t), each times −D / −D.

    transformers holds the kernel as weight norm over the tap axis: g (1, 1, taps), v (d, 1, taps).
    Beyond the last tap, positions stand still.
    """
    conv = positional.conv
    d, _, taps = conv.weight.shape
    reach = taps // 2
    increments = torch.diff(
        sinusoid[: reach + 1].double(), dim=0, prepend=torch.zeros(1, d, dtype=torch.float64)
    )
    kernel = torch.zeros(d, 1, taps, dtype=torch.float64)
    kernel[:, 0, : reach + 1] = (-increments / OFFSET).flip(0).T  # tap k looks back reach − k frames
    size = kernel.norm(dim=(0, 1), keepdim=True)
    direction = torch.where(size > 0, kernel / size.clamp(min=1e-12), torch.ones_like(kernel) / d**0.5)
    conv.parametrizations.weight.original0.copy_(size)
    conv.parametrizations.weight.original1.copy_(direction)
    conv.bias.fill_(OFFSET)  # GELU(D + sinusoid) is linear, and cancels the offset


class Sinusoid(nn.Module):
    """The output of the positional convolution from a table, which saves a third of the training time."""

    def __init__(self, table: torch.Tensor):
        super().__init__()
        self.register_buffer("table", table + OFFSET)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        frames = torch.arange(hidden.shape[1]).clamp(max=len(self.table) - 1)  # then positions stand still
        return self.table[frames].expand_as(hidden)


def sinusoid_of(positional: nn.Module) -> torch.Tensor:
    """(taps/2 + 1, d): the running sum of the kernel's past taps, times −D."""
    kernel = positional.conv.weight.detach().double()[:, 0, :]
    reach = kernel.shape[1] // 2
    return (-OFFSET * kernel[:, : reach + 1].flip(1).cumsum(1)).T.float()


def copy_layers(encoder: nn.Module, whisper: nn.Module) -> None:
    """The same pre-norm layer under other names; Whisper's key projection has no bias."""
    projections = {f"attention.{name}_proj": f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")}
    names = projections | {
        "layer_norm": "self_attn_layer_norm", "final_layer_norm": "final_layer_norm",
        "feed_forward.intermediate_dense": "fc1", "feed_forward.output_dense": "fc2",
    }  # fmt: skip
    pairs = [(encoder.layer_norm, whisper.layer_norm)]
    for ours, theirs in zip(encoder.layers, whisper.layers, strict=True):
        pairs += [(ours.get_submodule(name), theirs.get_submodule(other)) for name, other in names.items()]
    for ours, theirs in pairs:
        ours.weight.copy_(theirs.weight)
        ours.bias.zero_() if theirs.bias is None else ours.bias.copy_(theirs.bias)
