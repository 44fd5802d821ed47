"""The options of `ia3-speech speakers`. The description of an attribute is its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ia3_speech.data.recordings import Part
from ia3_speech.training.config import SharedOptions


@dataclass(frozen=True, kw_only=True)
class SpeakerOptions(SharedOptions):
    """Options of `ia3-speech speakers`.

    Attributes:
        data: data directory; an adapter is trained for each of its speakers
        out: folder of the adapters
        decode_dir: folder for the hypotheses of all folds (default: decode, in the folder `out`)
        part: such as 3/8: adapt only to the third of eight shares of the speakers; a final run without part
            collects the results
        folds: parts into which a speaker's utterances are divided; 0: train on all utterances, decode nothing
        k: train on at most this many utterances of each speaker (default: all outside of the fold)
        learning_rate: peak rate of AdamW
    """

    NOT_COMPARED = SharedOptions.NOT_COMPARED | {"data", "decode_dir", "part"}

    data: Path
    out: Path
    decode_dir: Path | None = None
    part: str | None = None
    folds: int = 0
    k: int | None = None
    learning_rate: float = 5e-3
    warmup: float = 0.1
    speeds: list[float] = field(default_factory=lambda: [1.0])
    spec_augment: Literal["base", "off"] = "off"

    def faults(self) -> dict[str, str]:
        Part.parse(self.part)
        without_conv = "without conv, which speakers side by side can't have (use ia3-speech train)"
        return super().faults() | ({"placements": without_conv} if "conv" in self.placements else {})
