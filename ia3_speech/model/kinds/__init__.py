"""A kind of model: the interface of a base, which hides the model's parts from all callers.

    features(wave)       the output of the frozen part for an utterance, which a caller may store
    forward(features)    the output of the rest, with the vectors, for a batch; with gradients
    target(text)         the text that it learns to write; `misfit` tells why it can't
    losses(…)            of a batch with its target ids
    summary(row)         the base's output for an utterance, to be stored …
    divergence(…)        … and the distance of the adapted model from it (replay)
    greedy(row)          the hypothesis of an utterance, by the search that needs nothing else
    timed(row, …)        its words with times and confidences, if the kind finds them in its own way
    own_search(…)        the search of a kind that writes texts by itself, not from logits; else None
    abilities            what else the kind can do; `require` raises UserError for other abilities

To add a kind, write a subclass of `Base` in a file of this folder, and an entry of KINDS in model/base.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from ia3_speech.common.errors import BaseError, UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Mode, Vocabulary, target_text
from ia3_speech.model.architectures import Architecture, AudioInput
from ia3_speech.model.hypotheses import Hypothesis, Search, TimedWord
from ia3_speech.model.ia3 import ROWS, architecture_of
from ia3_speech.model.int8 import dtype_of, is_int8
from ia3_speech.model.precision import Precision
from ia3_speech.model.sharing import SharedLock, structural_copy

WAVEFORM = -1  # the depth at which nothing is computed yet: the processor's output

Ability = Literal[
    "a language model", "hot words", "live input", "ONNX", "test-time adaptation", "segmentation",
    "alternatives", "choice of windows", "choice of languages",
]  # fmt: skip


@dataclass
class Base(ABC):
    """A transformers model and all that runs it. The model is in eval mode and frozen.

    Attributes:
        name: mini, a folder's full path, or a hub id.
        model: the transformers model, `…ForCTC`, or `…ForSequenceClassification`.
        processor: feature extractor and tokenizer; for a classifier the feature extractor.
        vocabulary: the tokenizer's characters or pieces; None for a classifier.
        fingerprint: of the weights before they were cast; see `fingerprint.fingerprint`.
        precision: no; bf16 or int8: the encoder's layers compute in it (Whisper's decoder too, in int8); see
            `precision`.
        precision_reason: the reason for it.
        lock: threads that compute logits hold it together; a thread that changes the modules holds it alone.

    Each kind has five more: `precisions`, those that recognition may take; `batch_seconds`, the padded
    seconds of audio of its batches; `stride`, samples from one frame to the next; `minimum_samples`, the
    shortest input that gives a frame; `maximum_seconds`, the maximum input duration, None without a maximum.
    """

    name: str
    model: nn.Module
    processor: Any
    vocabulary: Vocabulary | None
    fingerprint: dict[str, Any]
    precision: str = "no"
    precision_reason: str = "as loaded"
    lock: SharedLock = field(default_factory=SharedLock, repr=False, compare=False)

    kind: ClassVar[str]  # in messages: "a CTC model"
    precisions: ClassVar[tuple[Precision, ...]] = ("bf16",)
    batch_seconds: ClassVar[float] = 40.0
    auto_class: ClassVar[str]  # the class of transformers that loads a checkpoint
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    scoring: ClassVar[Mode] = "ctc"  # the normalisation of references and hypotheses
    task: ClassVar[str] = "transcribe"
    hallucinates_on_silence: ClassVar[bool] = False  # audio without speech is then left out
    languages: ClassVar[Sequence[str]] = ()  # codes to choose from; none: the base writes one language

    @abstractmethod
    def features(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        """(samples,), float32, 16 kHz → (frames, channels): the output of the frozen part for an utterance.

        Args:
            depth: None: all below the encoder; k: all below encoder layer k; WAVEFORM: only the processor's
                output, (samples,) or (frames, mels), because parameters of the front end train.
        """

    @abstractmethod
    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, frames, …) and the rows' frames (batch,) of a batch of `features`, with gradients if
        parameters need them. Values beyond a row's frames are meaningless. `depth`: of the features."""

    @abstractmethod
    def losses(
        self, encoded: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """(batch,): the loss of each row of `forward`, with the token ids of its text."""

    @abstractmethod
    def misfit(self, ids: Sequence[int], samples: int, speed: float = 1.0) -> str | None:
        """Why the token ids of a text can't be learnt from that many samples of audio, which are played at
        `speed`, or None."""

    @abstractmethod
    def summary(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """The base's output for an utterance, a row of `logits`, as named tensors on the CPU."""

    @abstractmethod
    def divergence(
        self, encoded: torch.Tensor, frames: torch.Tensor, summaries: Sequence[Mapping[str, torch.Tensor]]
    ) -> torch.Tensor:
        """(batch,): KL(base ‖ adapted) of each row of `forward`, with its `summary`."""

    @abstractmethod
    def greedy(self, row: torch.Tensor | np.ndarray) -> Hypothesis:
        """The hypothesis of a row of `logits`."""

    @property
    def quick(self) -> Search:
        """`greedy`, but texts that trip its guards are not decoded again."""
        return self.greedy

    def padded_seconds(self, seconds: float, window: str | None) -> float:
        """Of the model's input for that much audio; `window`: the adapter's."""
        return seconds

    def configure(self, **settings: str | None) -> None:
        """Change settings that only some kinds have (`window`, `language`, `task`); None: unchanged. Raises
        UserError for others."""
        for name, value in settings.items():
            if value is not None:
                self.require("choice of windows" if name == "window" else "choice of languages")
                setattr(self, name, value)

    def adapter_settings(self, window: str, language: str | None) -> dict[str, str | None]:
        """Use a language, and return the settings that an adapter records; a CTC base has none."""
        return {}

    def own_search(self, beam_size: int, terms: Sequence[str]) -> tuple[Search, dict[str, Any]] | None:
        """The search of a kind that writes texts by itself, with terms that may occur, and its record for
        decode.json; None: a search of `decoding` makes texts of the logits."""
        return None

    def prompted(
        self, search: Search, terms: Sequence[str], language: str | None, adapter_language: str | None
    ) -> Search | None:
        """`own_search` for a request, with more terms, in the request's language, else the base's, else the
        adapter's; None: the kind has no such search."""
        return None

    def target(self, text: str, mode: Mode, *, as_is: bool = False) -> str:
        """The text that training writes for a transcript; `mode` normalises it. `as_is`: not in the kind's
        style."""
        return target_text(text, mode, self.vocabulary)

    def front_end(self, features: torch.Tensor) -> torch.Tensor:
        """(frames, channels): what a gate measures of an utterance's `features` at depth None, computed by
        frozen modules."""
        return features

    def scoring_mode(self, mode: Mode) -> Mode:
        """`mode`; instead of the default, which is CTC's, the normalisation of this kind."""
        return self.scoring if mode == "ctc" else mode

    def timed(self, row: torch.Tensor, hypothesis: Hypothesis, seconds: float) -> list[TimedWord] | None:
        """The words of a row's hypothesis with frames and confidences; None: forced alignment of `logits`
        finds them (`decoding.word_times`). `seconds`: of the row's audio."""
        return None

    def require(self, ability: Ability) -> None:
        """Raises UserError unless bases of this kind have the ability."""
        if ability not in self.abilities:
            other = "Whisper" if ability.startswith("choice") else "CTC"
            raise UserError(f"{Path(self.name).name}: {self.kind} has no {ability} (take a {other} base)")

    @property
    def folder(self) -> Path:
        """The base's folder; of a hub id no folder that exists."""
        return Path(self.model.config.name_or_path)

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
    def dtype(self) -> str:
        """The model's number format: float32, float16, bfloat16 or int8."""
        return dtype_of(self.model)

    @torch.no_grad()
    def logits(
        self,
        waves: Sequence[np.ndarray],
        *,
        any_length: bool = False,
        features: Sequence[torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """The output of `forward` for each wave, fp32 on the CPU, equal to that wave alone: logits (frames,
        vocabulary) of a CTC base, (classes,) of a classifier, the encoder's output (frames, channels) of
        Whisper.

        Dropout and masks are off, even if a Trainer has left the model in train mode. Any number of threads
        may call it. In int8, rows run one by one: the last bit of a float depends on the batch's shape and
        decides the rounding of an activation to int8.

        Args:
            any_length: compute also waves that exceed the base's maximum input duration.
            features: of each wave, at depth None, if the caller has them.

        Raises:
            BaseError: a wave exceeds the maximum input duration.
        """
        if not len(waves):
            return []
        longest, limit = max(map(len, waves)) / SAMPLE_RATE, self.maximum_seconds
        if limit and longest > limit and not any_length:
            raise BaseError(
                f"{longest:.1f} s of audio, and {self.name} drops words beyond {limit:.1f} s "
                f"(load(…).transcribe(wave) cuts at pauses; any_length=True computes the whole wave)"
            )
        with self.lock.shared():
            base = self
            if self.model.training:
                base = replace(self, model=structural_copy(self.model).eval())
            alone = is_int8(self.model) and ROWS.get() is None  # rows of a bank are those of one batch
            rows, depth, outputs = features, None, []
            if rows is None:
                rows, depth = [base.features(wave, WAVEFORM) for wave in waves], WAVEFORM
            for batch in [[row] for row in rows] if alone else [rows]:
                outputs += base.rows_of(*base.forward(batch, depth))
            return outputs

    def rows_of(self, encoded: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
        """The rows of `forward` without padding, for searches: fp32 on the CPU. A row of a kind with vectors
        in its decoder keeps them."""
        ends = len(encoded) * [None] if self.vocabulary is None else frames.tolist()
        return [row[:end].float().cpu() for row, end in zip(encoded, ends, strict=True)]
