"""The options of `ia3-speech self-train`. The text below a field is its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ia3_speech.training.config import SharedOptions


@dataclass(frozen=True, kw_only=True)
class SelfTrainingOptions(SharedOptions):
    """Self-training"""

    NOT_COMPARED = SharedOptions.NOT_COMPARED | {"data"}

    data: Path
    """recordings: a data directory, whose text is not read, or a folder that is searched for audio"""

    out: Path
    """experiment folder; an interrupted run in it is resumed"""

    rounds: int = 1
    """largest number of rounds; each labels the recordings with the adapter of the previous one (a second
    round was no better on the dev set on which it was tried)"""

    min_confidence: float = 0.5
    """smallest confidence of a word to learn from; the word must also be recognised at 0.9 and 1.1 times the
    speed; 0: learn from everything that was recognised"""

    replay: str | None = "shipped"
    """other speech on which divergence from the base is penalised, as in `train --replay`; none: no replay"""

    placements: list[str] = field(
        default_factory=lambda: ["key", "value", "ffn", "ffn_output", "attention_output"]
    )
    learning_rate: float = 2e-2
    """peak rate of AdamW"""

    epochs: int = 4
    on_error: Literal["fail", "skip"] = "skip"
    """skip leaves out bad audio and names it; fail stops at it"""

    precision: Literal["no", "bf16", "auto"] = "auto"
