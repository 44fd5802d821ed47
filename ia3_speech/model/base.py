"""A frozen CTC base: found by name, fingerprinted, and run so that a row alone equals a row in a batch.

    base = load_base("mini")                      # shipped; or a folder, or a hub id
    logits = base.logits([wave])                  # [(frames, vocabulary)], fp32

In: waveforms, float32 (samples,), 16 kHz mono. Out: one tensor of logits each, as long as its own frames.

Why not simply `model(batch)`: (1) where the front end normalises over time (`feat_extract_norm="group"`,
the wav2vec2-base and HuBERT-base kind) padding changes every frame, so the front end runs utterance by
utterance; (2) some convolutions above it (`Architecture.across`: transformers' `add_adapter`, data2vec's positional
ones, a Wav2Vec2-Conformer's) look across a row's end into the padding, so that is zeroed, as it is for a row
alone; (3) the encoder always gets an attention mask; (4) SEW squeezes two frames into one and would squeeze a
last odd frame with padding, so it gets even numbers of frames.

Three kinds take log-mel features of their processor (`Input.argument`): there nothing stands below the layers
that a batch could change, and an utterance's features take the place of the front end's frames.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.audio_cells import to_waveform
from ia3_speech.data.text import TextError, Vocabulary, normalize
from ia3_speech.model import int8
from ia3_speech.model.architectures import Architecture, Input, Kernels, after, fewest
from ia3_speech.model.fingerprint import describe as describe
from ia3_speech.model.fingerprint import fingerprint
from ia3_speech.model.fingerprint import same_base as same_base
from ia3_speech.model.ia3 import PREFIX, AdapterError, architecture_of, layers_of, path_in, vectors
from ia3_speech.model.partial_forward import Caught, entered, silent_padding

MINI = Path(__file__).parent.parent / "mini"
WAVEFORM = -1  # the depth below which nothing is: what `Base.prepare` gives
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES["int8"] = torch.float32  # what it is loaded in


class BaseError(UserError):
    """A base that can't be found, loaded or used."""


@dataclass
class Base:
    """A transformers CTC model with all that is needed to run it. The model is in eval mode and frozen."""

    name: str
    model: nn.Module
    processor: Any
    vocabulary: Vocabulary
    fingerprint: dict[str, Any]
    kernels: Kernels = field(repr=False)  # from samples up to what is kept of an utterance: frames, features
    above: Kernels = field(default_factory=list, repr=False)  # from there to frames of logits
    multiple: int = 1  # frames come in multiples of this

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def body(self) -> nn.Module:
        """The encoder under the head: wav2vec2, hubert, …"""
        return self.model.base_model

    @property
    def architecture(self) -> Architecture:
        return architecture_of(self.model)

    @property
    def input(self) -> Input:
        return self.architecture.input

    @property
    def stride(self) -> int:
        """Samples from one frame to the next: 320, 20 ms."""
        return int(np.prod([stride for _, stride in self.kernels + self.above]))

    @property
    def minimum_samples(self) -> int:
        """The shortest input that gives one frame; and two log-mel features, whose variance is taken."""
        return self.samples(1) if self.input.front else max(self.samples(1), fewest(2, self.kernels[:1]))

    def frames(self, samples: int) -> int:
        """Frames of logits for an input of that many samples."""
        count = after(samples, self.kernels + self.above)
        return count - count % self.multiple

    def samples(self, frames: int) -> int:
        """The fewest samples that give that many frames (or, where they come in multiples, the next)."""
        return fewest(frames + -frames % self.multiple, self.kernels + self.above)

    def prepare(self, wave: np.ndarray) -> torch.Tensor:
        """(samples,) → what the base's processor makes of it: (samples,) normalised, or (frames, mels)."""
        return self.processed(wave).to(self.device)

    def processed(self, wave: np.ndarray) -> torch.Tensor:
        """The same on the CPU, so that a data loader's processes may do it."""
        extractor = self.processor.feature_extractor
        made = extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        values = made[self.input.argument][0]
        if self.input.front:
            values = values.reshape(-1)
            if after(len(values), self.kernels) % self.multiple:
                values = values[: fewest(self.frames(len(values)) + 1, self.kernels) - 1]
        elif "attention_mask" in made:
            values = values[made["attention_mask"][0].bool()]
        return values.to(self.model.dtype)

    def batch(self, rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """What `prepare` gave, row by row → the model's arguments: padded with zeros, and the mask."""
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        values, mask = pad(rows), pad([torch.ones(len(row), dtype=torch.long) for row in rows])
        if self.input.mono:
            values = values[:, None]
        return {self.input.argument: values, self.input.mask: mask.to(values.device)}

    def convolve(self, values: torch.Tensor) -> torch.Tensor:
        """(samples,) as prepared → (frames, channels), with gradients where they are wanted."""
        if not self.input.front:
            return values
        front = self.model.get_submodule(path_in(self.model, self.input.front))
        output = front(values[None, None] if self.input.mono else values[None])[0]
        return output.T if self.input.axis == 1 else output

    @torch.no_grad()
    def front_end(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        """(samples,) → (frames, channels): what the frozen part makes of one utterance.

        depth: None for the convolutions alone; k for all that stands below encoder layer k; WAVEFORM for
        nothing, since the convolutions hold vectors: (samples,).
        """
        values = self.prepare(wave)
        if depth == WAVEFORM:
            return values
        if depth is None:
            return self.convolve(values)
        caught: list[torch.Tensor] = []

        def catch(_module: nn.Module, args: tuple) -> None:
            caught.append(args[0])
            raise Caught

        handle = self.body.encoder.layers[depth].register_forward_pre_hook(catch)
        try:
            self.body(values[None])
        except Caught:
            return caught[0][0]
        finally:
            handle.remove()
        raise BaseError(f"{self.name}: layer {depth} was never reached")

    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From what `front_end` gave to logits, with gradients where they are wanted.

        Args:
            features: one tensor (frames, channels) a row.
            depth: as it was for `front_end`.

        Returns:
            logits (batch, frames, vocabulary), and the rows' frames (batch,). Beyond a row's own frames its
            logits mean nothing.
        """
        if depth == WAVEFORM:
            features, depth = self.convolve_rows(features), None
        lengths = torch.tensor([len(f) for f in features])
        with silent_padding(self, lengths):
            if self.input.front:
                padded = nn.utils.rnn.pad_sequence(list(features), batch_first=True)
                samples = torch.tensor([fewest(int(n), self.kernels) for n in lengths])
                mask = (torch.arange(int(samples.max())) < samples[:, None]).long().to(self.device)
                # Only the shape of the waveform is looked at: its features are there already.
                values = torch.zeros(1, 1, device=self.device, dtype=self.model.dtype).expand(mask.shape)
                with entered(self, padded, depth):
                    logits = self.model(values, **{self.input.mask: mask}).logits
            else:
                logits = self.model(**self.batch(features)).logits
        frames = torch.tensor([after(int(n), self.above) for n in lengths])
        return logits, frames.to(self.device)

    def convolve_rows(self, rows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """`convolve`, utterance by utterance, each with its own row's vectors where they differ by row."""
        between = [v for v in vectors(self.model).values() if v.place.placement == "conv"]
        mixed = [v for v in between if v.rows is not None]
        kept, features = [v.rows for v in mixed], []
        try:
            for number, values in enumerate(rows):
                for vector, all_rows in zip(mixed, kept, strict=True):
                    vector.rows = all_rows[number : number + 1]
                features.append(self.convolve(values))
        finally:
            for vector, all_rows in zip(mixed, kept, strict=True):
                vector.rows = all_rows
        return features

    @torch.no_grad()
    def logits(self, waves: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """One (frames, vocabulary) tensor a wave, fp32 on the CPU, each equal to that wave alone.

        Without dropout and masks, also where a Trainer has left the model in train mode.
        """
        if not len(waves):
            return []
        if trained := self.model.training:
            self.model.eval()
        try:
            logits, lengths = self.forward([self.prepare(wave) for wave in waves], WAVEFORM)
        finally:
            if trained:
                self.model.train()
        return [row[:n].float().cpu() for row, n in zip(logits, lengths.tolist(), strict=True)]

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A `data_collator` for transformers' Trainer (with `remove_unused_columns=False`).

        rows: `audio`, (samples,) at 16 kHz or what `datasets` decodes, whose rate may be any, and `text`,
        which is normalised as in our own training. Gives the model's input and mask (input_values and
        attention_mask (batch, samples), say), and labels (batch, characters) padded with −100. Raises
        VocabularyError for a character the base can't write.
        """
        values = [self.processed(to_waveform(row["audio"])) for row in rows]
        written = [self.vocabulary.encode(normalize(row["text"])) for row in rows]
        labels = [torch.tensor(ids, dtype=torch.long) for ids in written]
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        return self.batch(values) | {"labels": pad(labels, padding_value=-100)}


@torch.inference_mode(False)
def load_base(name: str | Path = "mini", *, dtype: str = "float32", device: str | None = None) -> Base:
    """Load a CTC base by name: `mini`, a folder, or a hub id.

    Args:
        dtype: float32, float16, bfloat16; or int8, on a CPU, for the encoder's linear modules (see `int8`).
        device: a torch device; None takes CUDA where there is one.

    Raises:
        BaseError: not found (with the places looked at), not a CTC model, without a tokenizer, or a weight is
            missing, which transformers would draw at random (the head of a base that was never fine-tuned).
    """
    from transformers import AutoModelForCTC, AutoProcessor, Wav2Vec2Processor
    from transformers.utils import logging as transformers_logging

    source = str(MINI) if str(name) == "mini" else str(name)
    if source == str(MINI) and not (MINI / "model.safetensors").exists():
        raise BaseError("the mini base is not in this installation (reinstall, or pass --base FOLDER)")
    if dtype not in DTYPES:
        raise BaseError(f"dtype is {dtype!r}, not one of {', '.join(DTYPES)}")
    in_int8 = dtype == "int8"
    local = Path(source).is_dir()
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # the load report of unused weights is no news for a CTC base
    transformers_logging.disable_progress_bar()
    try:
        options = {"local_files_only": local, "dtype": DTYPES[dtype], "use_safetensors": True}
        model, report = AutoModelForCTC.from_pretrained(source, output_loading_info=True, **options)
        try:
            processor = AutoProcessor.from_pretrained(source, local_files_only=local)
        except ImportError:  # with a language model, for which pyctcdecode is wanted; search is greedy here
            processor = Wav2Vec2Processor.from_pretrained(source, local_files_only=local)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BaseError(cannot_load(name, source, error)) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    no_base(report["unexpected_keys"], name)
    complete(model, report["missing_keys"], name)
    device = device or ("cuda" if torch.cuda.is_available() and not in_int8 else "cpu")
    # A folder is recorded by its full path, so that an adapter finds it from anywhere.
    name = str(Path(source).resolve()) if local and source != str(MINI) else str(name)
    made = make_base(model.to(device), processor, name)
    if in_int8:
        int8.quantize(made.model, layers_of(made.model)[1])
        made.fingerprint = fingerprint(made.model)
    return made


def no_base(unexpected: Iterable[str], name: str | Path) -> None:
    """Raises BaseError for a checkpoint of an attached or a rounded model: only a part of it would load."""
    if any(f".{PREFIX}" in key for key in unexpected):
        raise BaseError(
            f"{name}: holds IA³ vectors beside its weights, which transformers would leave out in silence "
            f"(save_adapter writes them by themselves, python -m ia3_speech.adapters export both as one)"
        )
    if any(key.endswith(".scale") for key in unexpected):
        raise BaseError(f"{name}: its weights are rounded to int8 (save the base in float32)")


def complete(model: nn.Module, missing: Iterable[str], name: str | Path) -> None:
    """Many published CTC checkpoints lack the vector that masked frames get in training: it is drawn with one
    seed, so that a run that goes on has the same. Raises BaseError where another weight is missing."""
    masks = {key for key in missing if key.rpartition(".")[2] == "masked_spec_embed"}
    if lost := sorted(set(missing) - masks):
        raise BaseError(
            f"{name}: the checkpoint lacks {', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}, so it is no "
            f"recogniser (take one that was fine-tuned with CTC)"
        )
    for key in masks:
        mask = model.get_parameter(key)
        drawn = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            mask.copy_(drawn)


def cannot_load(name: str | Path, source: str, error: Exception) -> str:
    reason = str(error).strip().split("\n")[0]
    if Path(source).is_dir():
        return f"{source} holds no CTC model that transformers can load: {reason}"
    return (
        f"no base {str(name)!r}: it is not mini, no folder {Path(source).absolute()}, and as a hub id it "
        f"can't be had: {reason}"
    )


def make_base(model: nn.Module, processor: Any, name: str) -> Base:
    """Wrap a loaded model. Raises BaseError where it is no CTC recogniser of a kind that we know."""
    try:
        architecture = architecture_of(model)
    except AdapterError as error:
        raise BaseError(f"{name}: {error}") from error
    if (
        not hasattr(model, architecture.head)
        or not hasattr(processor, "tokenizer")
        or architecture.input is None
    ):
        raise BaseError(f"{name} is a {type(model).__name__}, not a CTC model with a tokenizer")
    config = model.config
    kernels = architecture.input.kernels(config, processor.feature_extractor)
    model.eval().requires_grad_(False)
    try:
        vocabulary = Vocabulary.from_tokenizer(processor.tokenizer)
    except TextError as error:
        raise BaseError(f"{name}: {error}") from error
    if getattr(config, "blank_token_id", None) is not None:  # else the blank is the padding token
        vocabulary = replace(vocabulary, blank=config.blank_token_id)
    made = fingerprint(model)
    multiple = getattr(config, "squeeze_factor", 1)
    return Base(name, model, processor, vocabulary, made, kernels, architecture.input.above(config), multiple)


def read_json(path: Path) -> Any:
    """JSON of a file that a person may have touched. Raises BaseError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseError(f"{path}: {error}") from error
