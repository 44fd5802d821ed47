"""An adapter in memory, and what is recorded of it. Nothing here loads torch."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ia3_speech
from ia3_speech.model.architectures import IA3Config

if TYPE_CHECKING:
    import torch

    from ia3_speech.model.ia3 import TargetModule

SCHEMA = 1  # of ia3_speech.json


@dataclass
class Metadata:
    """The contents of `ia3_speech.json`: what an adapter is, without opening its tensors.

    Args:
        base: the base's name: mini, a folder's full path, a hub id; "" where it was not known
        fingerprint: see `model.fingerprint.fingerprint`
        config: placements, layers, train_head
        labels: speaker, accent, domain, language, …
        training: what the trainer records (data, seed, epochs, seconds, dev WER, command)
        scores: one entry a test set, see `card.read_score_summary`; rates as fractions
        version: of ia3-speech, which wrote it
        created: when it was written, in UTC: 2026-01-31T12:00:00Z
        schema: of the file
    """

    base: str
    fingerprint: dict[str, Any]
    config: dict[str, Any]
    labels: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)
    version: str = ia3_speech.__version__
    created: str = ""
    schema: int = SCHEMA


@dataclass
class Adapter:
    """An adapter in memory, not attached to a model.

    Attributes:
        name: how it was asked for, for messages.
        config: placements, layers, train_head.
        vectors: target module → l, (d,), fp32.
        head: the trained head's parameters by their names in the model (`lm_head.weight`), or nothing.
        metadata: the record beside its tensors; None where another tool wrote the adapter.
    """

    name: str
    config: IA3Config
    vectors: "dict[TargetModule, torch.Tensor]"
    head: "dict[str, torch.Tensor]" = field(default_factory=dict)
    metadata: Metadata | None = None

    @property
    def tensors(self) -> "dict[str, torch.Tensor]":
        """All trained parameters, by their names in the model."""
        return {target.vector_path: tensor for target, tensor in self.vectors.items()} | self.head
