"""A frozen base: found by name, fingerprinted, and run so that a row alone equals a row in a batch.

    base = load_base("mini")                      # shipped; or a folder, or a hub id
    logits = base.logits([wave])                  # [(frames, vocabulary)], fp32

In: waveforms, float32 (samples,), 16 kHz mono. Out: one tensor of logits each, as long as its own frames; of
a classifier (`classify.load_classifier`) a logit a class.

Why not simply `model(batch)`: (1) where the front end normalises over time (`feat_extract_norm="group"`, as
in wav2vec2-base and HuBERT-base) padding changes every frame, so the front end runs utterance by utterance;
(2) some convolutions above it (`Architecture.padding_sensitive`: transformers' `add_adapter`, data2vec's
positional ones, a Wav2Vec2-Conformer's) look across a row's end into the padding, so the padding is zeroed,
as it is for a row alone; (3) the encoder always gets an attention mask; (4) SEW squeezes two frames into one
and would squeeze a last odd frame with padding, so it gets even numbers of frames. Where the processor makes
log-mel features (`AudioInput.argument`), these are used as the front end's frames are elsewhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Vocabulary
from ia3_speech.errors import AdapterError, BaseError, TextError
from ia3_speech.model.architectures import Architecture, AudioInput, Kernels, output_length, shortest_input
from ia3_speech.model.collate import Collator, FeatureExtraction
from ia3_speech.model.fingerprint import fingerprint, remember_weights
from ia3_speech.model.ia3 import PREFIX, ROWS, architecture_of, layers_of, path_in, using_rows
from ia3_speech.model.int8 import dtype_of, is_int8, quantize
from ia3_speech.model.location import base_folder, full_name
from ia3_speech.model.partial_forward import input_of_layer, logits_from, zero_padding
from ia3_speech.model.precision import compute_fast
from ia3_speech.model.sharing import SharedLock, structural_copy

WAVEFORM = -1  # the depth at which nothing is computed yet: what `Base.prepare` returns
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES["int8"] = torch.float32  # of what is not rounded
ABSOLUTE_POSITIONS_SECONDS = 5.0  # a positional convolution over more than that holds absolute positions


@dataclass
class Base:
    """A transformers CTC model with all that is needed to run it. The model is in eval mode and frozen.

    Attributes:
        name: mini, a folder's full path, or a hub id.
        model: the transformers model, `…ForCTC`, or `…ForSequenceClassification`.
        processor: its feature extractor and tokenizer; of a classifier the feature extractor.
        vocabulary: the tokenizer's characters or pieces, and the blank; of a classifier None.
        fingerprint: of the weights before they were cast; see `fingerprint.fingerprint`.
        kernels: the steps from samples to the features that are kept of an utterance.
        downsampling: the steps from there to frames of logits.
        frame_multiple: the number of frames is a multiple of this.
        precision: no, or bf16 for an encoder whose layers compute in bfloat16; see `precision`.
        precision_reason: why.
        lock: held together by all that compute logits, alone by what changes the model's modules.
    """

    name: str
    model: nn.Module
    processor: Any
    vocabulary: Vocabulary | None
    fingerprint: dict[str, Any]
    kernels: Kernels = field(repr=False)
    downsampling: Kernels = field(default_factory=list, repr=False)
    frame_multiple: int = 1
    precision: str = "no"
    precision_reason: str = "as loaded"
    lock: SharedLock = field(default_factory=SharedLock, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def architecture(self) -> Architecture:
        return architecture_of(self.model)

    @property
    def input(self) -> AudioInput:
        return self.architecture.input

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
        """The maximum input duration, None where there is none.

        Wav2Vec2's positions are relative, from a convolution over 128 frames, and have no end. The mini
        base's convolution adds up absolute positions over its past half, 768 frames: 15.36 s. Beyond that it
        drops words (of 31 s of read speech, it gets 78 % of the words wrong whole and 48 % in pieces).
        """
        taps = getattr(self.model.config, "num_conv_pos_embeddings", 0)
        seconds = taps // 2 * self.stride / SAMPLE_RATE
        return seconds if seconds > ABSOLUTE_POSITIONS_SECONDS else None

    @property
    def dtype(self) -> str:
        """In which the model computes: float32, float16, bfloat16 or int8."""
        return dtype_of(self.model)

    def frames(self, samples: int) -> int:
        """Frames of logits for an input of that many samples."""
        count = output_length(samples, self.kernels + self.downsampling)
        return count - count % self.frame_multiple

    def samples(self, frames: int) -> int:
        """The fewest samples that give that many frames (or the next multiple of `frame_multiple`)."""
        return shortest_input(frames + -frames % self.frame_multiple, self.kernels + self.downsampling)

    def prepare(self, wave: np.ndarray) -> torch.Tensor:
        """(samples,) → the processor's output on the device: (samples,) normalised, or (frames, mels)."""
        return self.features.extract(wave).to(self.device)

    def convolve(self, values: torch.Tensor) -> torch.Tensor:
        """(samples,) as prepared → (frames, channels), with gradients where vectors need them."""
        if not self.input.front_end:
            return values
        front_end = self.model.get_submodule(path_in(self.model, self.input.front_end))
        output = front_end(values[None, None] if self.input.mono else values[None])[0]
        return output.T if self.input.channel_axis == 1 else output

    @torch.no_grad()
    def front_end(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        """(samples,) → (frames, channels): what the frozen part computes of one utterance.

        depth: None for the convolutions alone; k for all that stands below encoder layer k; WAVEFORM for
        nothing, since the convolutions hold vectors: (samples,).
        """
        values = self.prepare(wave)
        if depth == WAVEFORM:
            return values
        if depth is None:
            return self.convolve(values)
        return input_of_layer(self.model, values[None], depth, self.precision)[0]

    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From what `front_end` returned to logits, with gradients where vectors need them.

        Args:
            features: one tensor (frames, channels) a row.
            depth: as it was for `front_end`.

        Returns:
            logits (batch, frames, vocabulary), and the rows' frames (batch,). Beyond a row's own frames its
            logits mean nothing. Of a classifier (batch, classes).
        """
        if depth == WAVEFORM:
            features, depth = self.convolve_rows(features), None
        lengths = [len(f) for f in features]
        model = structural_copy(self.model)
        zero_padding(model, lengths, self.downsampling)
        compute_fast(model, self.precision)
        if self.input.front_end:
            padded = nn.utils.rnn.pad_sequence(list(features), batch_first=True)
            samples = torch.tensor([shortest_input(n, self.kernels) for n in lengths])
            mask = (torch.arange(int(samples.max())) < samples[:, None]).long().to(self.device)
            # The model uses only the shape of this waveform: its features are there already.
            values = torch.zeros(1, 1, device=self.device, dtype=self.model.dtype).expand(mask.shape)
            arguments = {self.input.argument: values, self.input.mask: mask}
            logits = logits_from(model, padded, depth, arguments)
        else:
            logits = model(**self.features.batch(features)).logits
        frames = torch.tensor([output_length(n, self.downsampling) for n in lengths])
        return logits, frames.to(self.device)

    def convolve_rows(self, rows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """`convolve`, utterance by utterance, each with its own row's vectors where they differ by row."""
        given, features = ROWS.get() or {}, []
        for n, values in enumerate(rows):
            with using_rows({parameter: of_all[n : n + 1] for parameter, of_all in given.items()}):
                features.append(self.convolve(values))
        return features

    @torch.no_grad()
    def logits(
        self,
        waves: Sequence[np.ndarray],
        *,
        any_length: bool = False,
        features: Sequence[torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """One (frames, vocabulary) tensor a wave, of a classifier (classes,), fp32 on the CPU, each equal to
        that wave alone.

        Without dropout and masks, also where a Trainer has left the model in train mode. Any number of
        threads may call it. In int8, rows run one by one: the last bit of a float, which depends on the
        batch's shape, decides how an activation is rounded to int8.

        Args:
            any_length: compute also what exceeds the base's maximum input duration.
            features: what `front_end` returned of each wave, where that is there already.

        Raises:
            BaseError: a wave is longer than that.
        """
        if not len(waves):
            return []
        longest, limit = max(map(len, waves)) / SAMPLE_RATE, self.maximum_seconds
        if limit and longest > limit and not any_length:
            raise BaseError(
                f"{longest:.1f} s of audio, and {self.name} drops words beyond {limit:.1f} s "
                f"(load(…).transcribe(wave) cuts at pauses; any_length=True computes it as it is)"
            )
        with self.lock.shared():
            base = self
            if self.model.training:
                base = replace(self, model=structural_copy(self.model).eval())
            alone = is_int8(self.model) and ROWS.get() is None  # rows of a bank are those of one batch
            rows, depth, found = features, None, []
            if rows is None:
                rows, depth = [base.prepare(wave) for wave in waves], WAVEFORM
            for batch in [[row] for row in rows] if alone else [rows]:
                logits, lengths = base.forward(batch, depth)
                ends = len(batch) * [None] if self.vocabulary is None else lengths.tolist()
                found += [row[:end].float().cpu() for row, end in zip(logits, ends, strict=True)]
            return found

    @property
    def features(self) -> FeatureExtraction:
        """What turns a waveform into a row of the model's input."""
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        return FeatureExtraction(extractor, self.input, self.kernels, self.frame_multiple, self.model.dtype)

    @property
    def collate(self) -> Collator:
        """A `data_collator` for transformers' Trainer: rows of `audio` and `text`, of a classifier of `audio`
        and `label`, → a batch."""
        return Collator(self.features, self.vocabulary)


@torch.inference_mode(False)
def load_base(name: str | Path = "mini", *, dtype: str = "float32", device: str | None = None) -> Base:
    """Load a CTC base by name: `mini`, a folder, or a hub id.

    Args:
        dtype: float32, float16, bfloat16; or int8, on a CPU, for the encoder's linear modules (see `int8`).
        device: a torch device; None takes CUDA where there is one.

    Raises:
        BaseError: there is no such device; the base is not found (the message says where it was looked for),
            not a CTC model, without a tokenizer, or a weight is missing, which transformers would draw at
            random (the head of a base that was never fine-tuned).
    """
    if dtype not in DTYPES:
        raise BaseError(f"dtype is {dtype!r}, not one of {', '.join(DTYPES)}")
    device = usable_device(device, dtype)
    model, processor = read_pretrained(name)
    base = make_base(model, processor, full_name(name))
    model.to(device, DTYPES[dtype])
    if dtype == "int8":
        quantize(model, layers_of(model)[1])
    remember_weights(model, base.fingerprint)
    return base


def usable_device(device: str | None, dtype: str = "float32") -> str:
    """The device asked for, else CUDA where there is one; int8 is for a CPU. Raises BaseError where torch has
    no such device here."""
    if device is None:
        return "cuda" if torch.cuda.is_available() and dtype != "int8" else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseError(f"device {device}: {reason} (take cpu, cuda, cuda:1, mps)") from None
    return device


def make_base(model: nn.Module, processor: Any, name: str) -> Base:
    """Wrap a loaded model. Raises BaseError where it is not a CTC recogniser of a known architecture."""
    try:
        architecture = architecture_of(model)
    except AdapterError as error:
        raise BaseError(f"{name}: {error}") from error
    has_head = hasattr(model, architecture.head) and architecture.input is not None
    if not has_head or not hasattr(processor, "tokenizer"):
        raise BaseError(f"{name} is a {type(model).__name__}, not a CTC model with a tokenizer")
    config = model.config
    model.eval().requires_grad_(False)
    try:
        vocabulary = Vocabulary.from_tokenizer(processor.tokenizer)
    except TextError as error:
        raise BaseError(f"{name}: {error}") from error
    if getattr(config, "blank_token_id", None) is not None:  # else the blank is the padding token
        vocabulary = replace(vocabulary, blank=config.blank_token_id)
    kernels = architecture.input.kernels(config, processor.feature_extractor)
    downsampling, multiple = architecture.input.downsampling(config), getattr(config, "squeeze_factor", 1)
    return Base(name, model, processor, vocabulary, fingerprint(model), kernels, downsampling, multiple)


def read_pretrained(name: str | Path) -> tuple[nn.Module, Any]:
    """The model of a base in float32, which holds every type, and its processor. Raises BaseError where it
    can't be loaded, or a weight is missing or left over."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCTC, AutoProcessor, Wav2Vec2Processor

    folder = base_folder(str(name))
    source, is_folder = str(folder or name), folder is not None
    options = {"local_files_only": is_folder, "dtype": torch.float32, "use_safetensors": True}
    try:
        with quiet_transformers():
            model, report = AutoModelForCTC.from_pretrained(source, output_loading_info=True, **options)
            try:
                processor = AutoProcessor.from_pretrained(source, local_files_only=is_folder)
            except ImportError:  # one with a language model needs pyctcdecode; search is greedy here
                processor = Wav2Vec2Processor.from_pretrained(source, local_files_only=is_folder)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        if is_folder:
            raise BaseError(f"{folder} holds no CTC model that transformers can load: {reason}") from error
        raise BaseError(
            f"no base {str(name)!r}: it is not mini, there is no folder {Path(name).absolute()}, and the "
            f"Hub does not provide it: {reason}"
        ) from error
    refuse_unexpected_weights(report["unexpected_keys"], name)
    fill_missing_weights(model, report["missing_keys"], name)
    return model, processor


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without progress bars, and warnings such as that weights of a CTC base's pretraining are unused."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def refuse_unexpected_weights(unexpected: Iterable[str], name: str | Path) -> None:
    """Raises BaseError for a checkpoint of a model with vectors, or of one in int8: only part of it would
    load."""
    if any(f".{PREFIX}" in key for key in unexpected):
        raise BaseError(
            f"{name}: holds IA³ vectors beside its weights, which transformers would ignore silently "
            f"(load_adapter reads a Trainer's checkpoint that AdapterCallback has stored them in; "
            f"save_adapter writes the vectors, ia3-speech adapters export both as one)"
        )
    if any(key.endswith(".scale") for key in unexpected):
        raise BaseError(f"{name}: its weights are rounded to int8 (save the base in float32)")


def fill_missing_weights(model: nn.Module, missing: Iterable[str], name: str | Path) -> None:
    """Draw the embedding of masked frames, which many published CTC checkpoints lack, with a fixed seed, so
    that a resumed run has the same. Raises BaseError where another weight is missing."""
    masks = {key for key in missing if key.rpartition(".")[2] == "masked_spec_embed"}
    if lost := sorted(set(missing) - masks):
        raise BaseError(
            f"{name}: the checkpoint lacks {', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}, so it is no "
            f"recogniser (take one that was fine-tuned with CTC)"
        )
    for key in masks:
        mask = model.get_parameter(key)
        with torch.no_grad():
            mask.copy_(torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)))
