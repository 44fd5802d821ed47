"""The options of `self-train` and `adapters migrate`. The description of an attribute is its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ia3_speech.training.config import SharedOptions


@dataclass(frozen=True, kw_only=True)
class SelfTrainingOptions(SharedOptions):
    """Self-training

    Attributes:
        data: recordings: a data directory, whose text is not read, or a folder with audio at any depth
        out: experiment folder; an interrupted run in it is resumed
        rounds: largest number of rounds; each labels the recordings with the adapter of the previous one (a
            second round was no better on the dev set on which it was tried)
        min_confidence: smallest confidence of a word to learn from; the word must also be recognised at 0.9
            and 1.1 times the speed; 0: learn from all recognised words
        replay: other speech on which divergence from the base is penalised, as in `train --replay`; none: no
            replay
        learning_rate: peak rate of AdamW
        on_error: skip leaves out bad audio and names it; fail stops at it
    """

    NOT_COMPARED = SharedOptions.NOT_COMPARED | {"data"}

    data: Path
    out: Path
    rounds: int = 1
    min_confidence: float = 0.5
    replay: str | None = "shipped"
    placements: list[str] = field(
        default_factory=lambda: ["key", "value", "ffn", "ffn_output", "attention_output"]
    )
    learning_rate: float = 2e-2
    epochs: int = 4
    on_error: Literal["fail", "skip"] = "skip"
    precision: Literal["no", "bf16", "auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class MigrationOptions:
    """Migration

    Attributes:
        base: the new base: mini, a folder or a hub id
        out: experiment folder: the texts, the training, the new adapter; an interrupted run in it is resumed
        data: speech of the adapter's kind: a data directory, whose text is not read, or a folder with audio
            at any depth (default: ten minutes of 28 readers, which come with the package)
        name: register the new adapter under this name if it is better than the new base; another adapter of
            this name becomes NAME@1
        old_base: the adapter's base: mini, a folder or a hub id (default: as the adapter records)
        language: of the speech, for a multilingual Whisper base (default: as the adapter records, else en)
        min_confidence: smallest confidence of a word to learn from; the word must also be recognised at 0.9
            and 1.1 times the speed; 0: learn from all recognised words
        allow_pipes: run shell commands in wav.scp
        force: delete what `out` holds, and begin again
    """

    base: str
    out: Path
    data: Path | None = None
    name: str | None = None
    old_base: str | None = None
    language: str | None = None
    min_confidence: float = 0.5
    allow_pipes: bool = False
    force: bool = False
