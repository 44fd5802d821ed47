"""Where IA³ vectors stand: which placements, in which layers. Nothing here loads torch."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from ia3_speech.cli import UserError
from ia3_speech.model.architectures import PLACEMENTS


class AdapterError(UserError):
    """An adapter that does not fit, has no effect, or can't be attached."""


@dataclass(frozen=True)
class IA3Config:
    """Where vectors stand.

    Args:
        placements: any of key, value, ffn, ffn_output, attention_output, conv
        layers: "all", or 0-based inclusive ranges such as "0-11" or "0,4-7"; conv stands below them all
        train_head: the CTC head is trained too, and saved with the adapter
    """

    placements: tuple[str, ...] = ("key", "value", "ffn")
    layers: str = "all"
    train_head: bool = False

    def __post_init__(self) -> None:
        unknown = [p for p in self.placements if p not in PLACEMENTS]
        if unknown:
            raise AdapterError(f"no placement {', '.join(unknown)} (there are {', '.join(PLACEMENTS)})")
        # One order, so that equal configurations compare and print alike.
        object.__setattr__(self, "placements", tuple(p for p in PLACEMENTS if p in self.placements))
        if not self.placements and not self.train_head:
            raise AdapterError("placements is empty and train_head is off: nothing would be trained")

    def layer_numbers(self, count: int) -> list[int]:
        """The layers of a model with `count` layers, ascending. Raises AdapterError outside 0 … count − 1."""
        if self.layers == "all":
            return list(range(count))
        numbers: set[int] = set()
        for part in str(self.layers).split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if not match:
                raise AdapterError(f'layers is "{self.layers}": write all, 0-11, or 0,4-7')
            first, last = int(match[1]), int(match[2] or match[1])
            if first > last or last >= count:
                raise AdapterError(f'layers is "{self.layers}", and the base has layers 0-{count - 1}')
            numbers.update(range(first, last + 1))
        return sorted(numbers)

    def to_json(self) -> dict[str, Any]:
        """The configuration in JSON's types, as metadata files hold it."""
        return asdict(self) | {"placements": list(self.placements)}


def format_layers(numbers: list[int]) -> str:
    """[0, 1, 2, 5] → "0-2,5", as `IA3Config.layers` takes it."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
