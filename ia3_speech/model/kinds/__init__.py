"""A kind of model: what a caller may ask of a base, and of nothing deeper.

    features(wave)       what the frozen part computes of one utterance: a caller may keep it
    forward(features)    the rest, with the vectors: of a batch, with gradients
    losses(…)            of a batch with its target ids
    summary(row)         what the base says of an utterance, to be kept …
    divergence(…)        … and how far the adapted model is from it (replay)
    greedy(row)          the hypothesis of one utterance, by the search that needs nothing else
    abilities            what else the kind can do; `require` raises UserError where it can't

To add a kind, write a subclass of `Base` in a file of this folder, and an entry of KINDS in model/base.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import Vocabulary
from ia3_speech.errors import BaseError, UserError
from ia3_speech.model.architectures import Architecture, AudioInput
from ia3_speech.model.hypotheses import Hypothesis
from ia3_speech.model.ia3 import ROWS, architecture_of
from ia3_speech.model.int8 import dtype_of, is_int8
from ia3_speech.model.sharing import SharedLock, structural_copy

WAVEFORM = -1  # the depth at which nothing is computed yet: the processor's output

Ability = Literal[
    "a language model", "hot words", "live input", "ONNX", "test-time adaptation", "segmentation"
]


@dataclass
class Base(ABC):
    """A transformers model with all that is needed to run it. The model is in eval mode and frozen.

    Attributes:
        name: mini, a folder's full path, or a hub id.
        model: the transformers model, `…ForCTC`, or `…ForSequenceClassification`.
        processor: its feature extractor and tokenizer; of a classifier the feature extractor.
        vocabulary: the tokenizer's characters or pieces; of a classifier None.
        fingerprint: of the weights before they were cast; see `fingerprint.fingerprint`.
        precision: no, or bf16 for an encoder whose layers compute in bfloat16; see `precision`.
        precision_reason: why.
        lock: held together by all that compute logits, alone by what changes the model's modules.

    Each kind has three more: `stride`, samples from one frame to the next; `minimum_samples`, the shortest
    input that gives a frame; `maximum_seconds`, the maximum input duration, None where there is none.
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
    auto_class: ClassVar[str]  # the class of transformers that loads a checkpoint
    abilities: ClassVar[frozenset[Ability]] = frozenset()

    # --- what each kind answers -----------------------------------------------------------------------------

    @abstractmethod
    def features(self, wave: np.ndarray, depth: int | None = None) -> torch.Tensor:
        """(samples,), float32, 16 kHz → (frames, channels): what the frozen part computes of one utterance.

        Args:
            depth: None: all below the encoder; k: all below encoder layer k; WAVEFORM: only the processor's
                output, since something trains in the front end: (samples,), or (frames, mels).
        """

    @abstractmethod
    def forward(
        self, features: Sequence[torch.Tensor], depth: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, frames, …) and the rows' frames (batch,) of a batch of `features`, with gradients where
        parameters need them. Beyond a row's frames the values mean nothing. `depth`: of the features."""

    @abstractmethod
    def losses(
        self, encoded: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """(batch,): the loss of each row of `forward`, with the token ids of its text."""

    @abstractmethod
    def summary(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the base says of an utterance, a row of `logits`: named tensors on the CPU, to be kept."""

    @abstractmethod
    def divergence(
        self, encoded: torch.Tensor, frames: torch.Tensor, summaries: Sequence[Mapping[str, torch.Tensor]]
    ) -> torch.Tensor:
        """(batch,): KL(base ‖ adapted) of each row of `forward`, with its `summary`."""

    @abstractmethod
    def greedy(self, row: torch.Tensor | np.ndarray) -> Hypothesis:
        """The hypothesis of a row of `logits`."""

    # --- what all share -------------------------------------------------------------------------------------

    def require(self, ability: Ability) -> None:
        """Raises UserError where a base of this kind can't do it."""
        if ability not in self.abilities:
            raise UserError(f"{self.name}: {self.kind} has no {ability} (take a CTC base)")

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
        """What `forward` computes of each wave, fp32 on the CPU, equal to that wave alone: of a CTC base
        logits (frames, vocabulary), of a classifier (classes,).

        Without dropout and masks, also where a Trainer has left the model in train mode. Any number of
        threads may call it. In int8, rows run one by one: the last bit of a float, which depends on the
        batch's shape, decides how an activation is rounded to int8.

        Args:
            any_length: compute also what exceeds the base's maximum input duration.
            features: of each wave, at depth None, where a caller has them already.

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
            rows, depth, outputs = features, None, []
            if rows is None:
                rows, depth = [base.features(wave, WAVEFORM) for wave in waves], WAVEFORM
            for batch in [[row] for row in rows] if alone else [rows]:
                encoded, frames = base.forward(batch, depth)
                ends = len(batch) * [None] if self.vocabulary is None else frames.tolist()
                outputs += [row[:end].float().cpu() for row, end in zip(encoded, ends, strict=True)]
            return outputs
