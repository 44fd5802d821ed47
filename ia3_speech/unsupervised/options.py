"""The options of `self-train`. The description of an attribute is its help."""

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
        teacher_base: base that recognises the recordings: mini, a folder or a hub id (default: the base that
            teacher_adapter records, else `base`)
        teacher_adapter: adapter with which it does, which may be of another base than `base` (default:
            init_adapter, if there is no teacher_base)
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
    teacher_base: str | None = None
    teacher_adapter: str | None = None
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
