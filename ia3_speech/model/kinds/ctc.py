"""CTC: an encoder and a linear head over symbols and a blank (Graves et al. 2006); and a classifier, which is
the same encoder under another head.

In: waveforms, float32 (samples,), 16 kHz mono. Out: a tensor of logits for each, as long as its frames.

Why not simply `model(batch)`: (1) if the front end normalises over time (`feat_extract_norm="group"`, as in
wav2vec2-base and HuBERT-base), padding changes every frame, so the front end runs utterance by utterance;
(2) some convolutions above it (`Architecture.padding_sensitive`: transformers' `add_adapter`, data2vec's
positional convolutions, a Wav2Vec2-Conformer's) reach into the padding after a row's end, so the padding is
zeroed, as for a row alone; (3) the encoder always gets an attention mask; (4) SEW squeezes pairs of frames
and would squeeze a last odd frame with padding, so it gets even numbers of frames. If the processor makes
log-mel features (`AudioInput.argument`), they take the place of the front end's frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Self, get_args

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ia3_speech.common.errors import AdapterError, BaseError, TextError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.recordings import leave_undecoded
from ia3_speech.data.text import Vocabulary, required_frames
from ia3_speech.model.architectures import Kernels, output_length, shortest_input
from ia3_speech.model.collate import Collator, FeatureExtraction
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.hypotheses import GreedySearch, Hypothesis, Logits
from ia3_speech.model.ia3 import ROWS, architecture_of, attachment, path_in, using_rows
from ia3_speech.model.kinds import WAVEFORM, Ability, Base
from ia3_speech.model.precision import compute_fast
from ia3_speech.model.sharing import structural_copy

ABSOLUTE_POSITIONS_SECONDS = 5.0  # a longer positional convolution holds absolute positions
SUMMARY_SYMBOLS = 8  # symbols of a frame whose probabilities `summary` has one by one


def likeliest_symbols(logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of (frames, vocabulary): `symbols`, (frames, k), the likeliest token ids, and `probabilities`, (frames,
    k + 1), fp16: of these, and of all others together."""
    probabilities, symbols = logits.float().softmax(-1).topk(min(SUMMARY_SYMBOLS, logits.shape[-1] - 1))
    rest = (1 - probabilities.sum(-1, keepdim=True)).clamp_min(0)
    probabilities = torch.cat([probabilities, rest], -1).half().cpu()
    return {"symbols": symbols.int().cpu(), "probabilities": probabilities}


def divergence_from(
    logits: torch.Tensor, frames: torch.Tensor, summaries: Sequence[Mapping[str, torch.Tensor]]
) -> torch.Tensor:
    """KL(p ‖ q) in nats, the mean over each row's frames, in fp32. Each frame has k + 1 classes: p's k
    likeliest symbols, and all others together.

    Args:
        logits: (batch, frames, vocabulary) of q
        frames: (batch,), the frames of each row, before its padding
        summaries: `likeliest_symbols` of each row of p, whose probabilities are scaled to a sum of 1

    Returns:
        (batch,)
    """
    symbols = pad_sequence([each["symbols"] for each in summaries], batch_first=True)
    probabilities = pad_sequence([each["probabilities"] for each in summaries], batch_first=True)
    symbols, probabilities = symbols.long().to(logits.device), probabilities.float().to(logits.device)
    log_q = logits[:, : symbols.shape[1]].float().log_softmax(-1)
    others = log_q.scatter(-1, symbols, -torch.inf).logsumexp(-1, keepdim=True)
    log_q = torch.cat([log_q.gather(-1, symbols), others], -1)
    p = probabilities / probabilities.sum(-1, keepdim=True).clamp_min(1e-6)
    divergence = (torch.xlogy(p, p) - p * log_q).sum(-1)  # (batch, frames)
    inside = torch.arange(divergence.shape[1], device=frames.device) < frames[:, None]
    return (divergence * inside).sum(1) / frames


class CTC(Base):
    """A CTC base. `kinds.Base` says what each method returns."""

    kind, auto_class = "a CTC model", "AutoModelForCTC"
    abilities = frozenset(get_args(Ability)) - {"choice of windows", "choice of languages"}

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any, name: str) -> Self:
        """The base of a loaded model and its processor. Raises BaseError if they are not a CTC recogniser."""
        architecture = architecture_of(model)
        has_head = hasattr(model, architecture.head) and architecture.input is not None
        if not has_head or not hasattr(processor, "tokenizer"):
            raise BaseError(f"{name} is a {type(model).__name__}, not a CTC model with a tokenizer")
        try:
            vocabulary = Vocabulary.from_tokenizer(processor.tokenizer)
        except TextError as error:
            raise BaseError(f"{name}: {error}") from error
        if (blank := getattr(model.config, "blank_token_id", None)) is not None:  # else the padding token
            vocabulary = replace(vocabulary, blank=blank)
        return cls(name, model.eval().requires_grad_(False), processor, vocabulary, fingerprint(model))

    @cached_property
    def kernels(self) -> Kernels:
        """The steps from samples to `features`."""
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        return self.input.kernels(self.model.config, extractor)

    @cached_property
    def downsampling(self) -> Kernels:
        """The steps from `features` to frames of logits."""
        return self.input.downsampling(self.model.config)

    @property
    def frame_multiple(self) -> int:
        """The number of frames is a multiple of this."""
        return getattr(self.model.config, "squeeze_factor", 1)

    @property
    def stride(self) -> int:
        """Samples from one frame to the next: 320, 20 ms."""
        return int(np.prod([stride for _, stride in self.kernels + self.downsampling]))

    @property
    def minimum_samples(self) -> int:
        """The shortest input that gives one frame; and two log-mel features, to compute a variance from."""
        if self.input.front_end:
            return self.samples(1)
        return max(self.samples(1), shortest_input(2, self.kernels[:1]))

    @property
    def maximum_seconds(self) -> float | None:
        """The maximum input duration, None without a maximum.

        Wav2Vec2's positions are relative, from a convolution over 128 frames, and have no maximum. The mini
        base's convolution adds up absolute positions over its past half, 768 frames: 15.36 s. Beyond that the
        base drops words (of 31 s of read speech it gets 78 % of the words wrong, in pieces 48 %).
        """
        taps = getattr(self.model.config, "num_conv_pos_embeddings", 0)
        seconds = taps // 2 * self.stride / SAMPLE_RATE
        return seconds if seconds > ABSOLUTE_POSITIONS_SECONDS else None

    def frames(self, samples: int) -> int:
        """Frames of logits for an input of that many samples."""
        count = output_length(samples, self.kernels + self.downsampling)
        return count - count % self.frame_multiple

    def samples(self, frames: int) -> int:
        """The fewest samples that give that many frames (or the next multiple of `frame_multiple`)."""
        return shortest_input(frames + -frames % self.frame_multiple, self.kernels + self.downsampling)

    @property
    def extraction(self) -> FeatureExtraction:
        """The step from a waveform to a row of the model's input."""
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        return FeatureExtraction(extractor, self.input, self.kernels, self.frame_multiple, self.model.dtype)

    @property
    def collate(self) -> Collator:
        """A `data_collator` for transformers' Trainer: rows of `audio` and `text`, of a classifier of `audio`
        and `label`, → a batch. Columns of `datasets` are decoded without torchcodec."""
        leave_undecoded()
        return Collator(self.extraction, self.vocabulary)

    @torch.no_grad()
    def features(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        values = self.extraction.extract(wave).to(self.device)
        if depth == WAVEFORM:
            return values
        if depth is None:
            return self.convolve(values)
        return input_of_layer(self.model, values[None], depth, self.precision)[0]

    def convolve(self, values: torch.Tensor) -> torch.Tensor:
        """The processor's output → (frames, channels), with gradients where vectors need them."""
        if not self.input.front_end:
            return values
        front_end = self.model.get_submodule(path_in(self.model, self.input.front_end))
        output = front_end(values[None, None] if self.input.mono else values[None])[0]
        return output.T if self.input.channel_axis == 1 else output

    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (batch, frames, vocabulary), of a classifier (batch, classes), and the rows' frames."""
        if depth == WAVEFORM:
            waves, rows, features, depth = features, ROWS.get() or {}, [], None
            for n, values in enumerate(waves):  # each with its row's vectors
                with using_rows({parameter: of_all[n : n + 1] for parameter, of_all in rows.items()}):
                    features.append(self.convolve(values))
        lengths = [len(f) for f in features]
        model = structural_copy(self.model)
        zero_padding(model, lengths, self.downsampling)
        compute_fast(model, self.precision)
        if self.input.front_end:
            padded = pad_sequence(list(features), batch_first=True)
            samples = torch.tensor([shortest_input(n, self.kernels) for n in lengths])
            mask = (torch.arange(int(samples.max())) < samples[:, None]).long().to(self.device)
            # The model uses only the shape of this waveform, since it gets the features.
            values = torch.zeros(1, 1, device=self.device, dtype=self.model.dtype).expand(mask.shape)
            arguments = {self.input.argument: values, self.input.mask: mask}
            logits = logits_from(model, padded, depth, arguments)
        else:
            logits = model(**self.extraction.batch(features)).logits
        frames = torch.tensor([output_length(n, self.downsampling) for n in lengths])
        return logits, frames.to(self.device)

    def losses(
        self, encoded: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        return ctc_loss(encoded, frames, targets, self.vocabulary.blank)

    def misfit(self, ids: Sequence[int], samples: int, speed: float = 1.0) -> str | None:
        """It needs a frame for each symbol, and one more between two equal ones."""
        needed = required_frames(ids)
        if needed <= (frames := self.frames(int(samples / speed))):
            return None
        audio = f"{samples / SAMPLE_RATE:.2f} s{'' if speed == 1 else f' at {speed:g} times the speed'}"
        return f"{needed} frames are needed for its text, its {audio} have {frames}"

    summary, divergence = staticmethod(likeliest_symbols), staticmethod(divergence_from)

    def greedy(self, row: Logits) -> Hypothesis:
        return GreedySearch(self.vocabulary)(row)


class Classifier(CTC):
    """An encoder under a classifier's head: (classes,) logits for each utterance."""

    kind, auto_class, abilities = "a classifier", "AutoModelForAudioClassification", frozenset()
    downsampling, frame_multiple = [], 1


def ctc_loss(
    logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]], blank: int
) -> torch.Tensor:
    """The CTC loss of each utterance, divided by its number of target symbols, in fp32 (Graves et al. 2006).

    Args:
        logits: (batch, frames, vocabulary)
        frames: (batch,), the frames of each utterance, before its padding
        targets: the token ids of each utterance, at least one
        blank: the token id of CTC's blank

    Returns:
        (batch,); 0 if an utterance has fewer frames than its targets need.
    """
    flat = torch.tensor([token for ids in targets for token in ids], device=logits.device)
    lengths = torch.tensor([len(ids) for ids in targets], device=logits.device)
    log_probabilities = logits.float().log_softmax(-1).transpose(0, 1)  # (frames, batch, vocabulary)
    losses = nn.functional.ctc_loss(
        log_probabilities, flat, frames, lengths, blank=blank, reduction="none", zero_infinity=True
    )
    return losses / lengths


# --- forward passes that begin in the middle or end early ---------------------------------------------------
# Each changes a copy of the model (`structural_copy`) and never the model, which other threads run.


class LayerReached(Exception):
    """Ends a forward pass at a layer, and carries the layer's input, (batch, frames, channels)."""


def input_of_layer(model: nn.Module, values: torch.Tensor, number: int, precision: str) -> torch.Tensor:
    """The hidden states (batch, frames, channels) that encoder layer `number` gets for `values`, (batch,
    samples), computed as `compute_fast` does."""

    def stop(hidden: torch.Tensor, *_args: Any, **_kwargs: Any) -> None:
        raise LayerReached(hidden)

    copy = structural_copy(model)
    compute_fast(copy, precision)
    copy.base_model.encoder.layers[number].forward = stop
    try:
        copy.base_model(values)
    except LayerReached as reached:
        return reached.args[0]
    raise AdapterError(f"{type(model).__name__}: layer {number} was never reached")


def logits_from(
    model: nn.Module, features: torch.Tensor, depth: int | None, arguments: dict[str, torch.Tensor]
) -> torch.Tensor:
    """The logits (batch, frames, vocabulary) of a copy whose forward pass begins with `features` (batch,
    frames, channels) instead of the waveform: the modules below return their input unchanged. Raises
    RuntimeError if the model was compiled, or its `forward` replaced: then another model than the copy runs.

    Args:
        depth: None: `features` are those of the front end; k: they are the input of encoder layer k.
        arguments: of the model, the waveform's shape and the mask.
    """
    audio_input = architecture_of(model).input
    front_end = model.get_submodule(path_in(model, audio_input.front_end))
    output = features.transpose(1, 2) if audio_input.channel_axis == 1 else features
    calls = []
    front_end.forward = lambda *_a, **_k: calls.append(1) or output
    if depth is not None:
        skip_below(model.base_model, features, depth)
    logits = model(**arguments).logits
    if not calls:
        raise RuntimeError(
            f"{type(model).__name__} was compiled, or its forward was replaced by a function that runs "
            f"another model, which can't take features"
        )
    return logits


def skip_below(body: nn.Module, features: torch.Tensor, depth: int) -> None:
    """Let all modules between the front end and encoder layer `depth` return `features`."""

    def pass_through(hidden: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
        return hidden

    encoder = body.encoder
    # Wav2Vec2's feature projection returns (projected, normalised), HuBERT's only the first.
    projected = features if type(body).__name__.startswith("Hubert") else (features, features)
    body.feature_projection.forward = lambda *_a, **_k: projected
    encoder.pos_conv_embed.forward = lambda hidden, *_a, **_k: torch.zeros_like(hidden)
    if not getattr(body.config, "do_stable_layer_norm", False):  # with it the norm is above the layers
        encoder.layer_norm.forward = pass_through
    for layer in encoder.layers[:depth]:
        layer.forward = pass_through


def zero_padding(model: nn.Module, lengths: Sequence[int], downsampling: Kernels) -> None:
    """Let a copy zero the frames beyond each row's end before each convolution that reaches across it, as a
    row alone has zero padding there. `lengths`: the rows' frames below `downsampling`, the convolutions above
    the encoder's layers."""
    for path in architecture_of(model).padding_sensitive if len(lengths) > 1 else ():
        for number, module in enumerate(modules_at(model, path_in(model, path))):
            above = ".adapter." in path
            kernels, added = (downsampling[:number], 0) if above else ([], attachment(model).added_frames)
            frames = torch.tensor([added + output_length(length, kernels) for length in lengths])
            module.forward = partial(forward_within, module.forward, frames)


def forward_within(forward: Callable, frames: torch.Tensor, x: torch.Tensor, *args: Any) -> torch.Tensor:
    """`forward` of x, (batch, channels, frames), with zeros beyond each row's `frames`, (batch,)."""
    inside = torch.arange(x.shape[2], device=x.device) < frames.to(x.device)[:, None]
    return forward(x * inside[:, None].to(x.dtype), *args)


def modules_at(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at a path; a part `*` means each module of a list. Empty if the model has no such path."""
    stack, star, rest = path.partition(".*")
    try:
        module = model.get_submodule(stack)
    except AttributeError:
        return []
    return [layer.get_submodule(rest.removeprefix(".")) for layer in module] if star else [module]
