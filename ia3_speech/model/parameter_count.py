"""How many parameters train, by placement, and the table that is shown before training."""

from dataclasses import dataclass

from torch import nn

from ia3_speech.formatting import in_columns
from ia3_speech.model.architectures import PLACEMENTS
from ia3_speech.model.attach import trainable
from ia3_speech.model.ia3 import is_head, vectors
from ia3_speech.model.ia3_config import format_layers


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters are trained, and how many the base has.

    Attributes:
        placements: placement → parameters of its vectors, in all layers together.
        layers: the encoder layers that have vectors, ascending.
        head: parameters of the CTC head, if it is trained; else 0.
        base: parameters of the base, its head included.
    """

    placements: dict[str, int]
    layers: list[int]
    head: int
    base: int

    @property
    def trained(self) -> int:
        """Vectors and head."""
        return sum(self.placements.values()) + self.head

    def table(self) -> str:
        """The table shown before training:

        placement  layers  parameters  share of the base
        key        0-1             64  0.2896%
        conv                       48  0.2172%
        head                      957  4.3301%
        all                     1,069  4.8369% of 22,101
        """
        layers = format_layers(self.layers)
        rows = [("placement", "layers", "parameters", "share of the base")]
        rows += [
            (p, "" if p == "conv" else layers, f"{n:,}", f"{n / self.base:.4%}")
            for p, n in self.placements.items()
        ]
        if self.head:
            rows.append(("head", "", f"{self.head:,}", f"{self.head / self.base:.4%}"))
        rows.append(("all", "", f"{self.trained:,}", f"{self.trained / self.base:.4%} of {self.base:,}"))
        return "\n".join(in_columns(rows, left=(0, 1, 3)))


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count what is attached to `model`."""
    counts: dict[str, int] = {}
    layers = set()
    for vector in vectors(model).values():
        placement = vector.target.placement
        counts[placement] = counts.get(placement, 0) + vector.l.numel()
        if placement != "conv":
            layers.add(vector.target.layer)
    head = sum(p.numel() for n, p in trainable(model) if is_head(n))
    base = sum(p.numel() for p in model.parameters()) - sum(counts.values())
    return ParameterCount({p: counts[p] for p in PLACEMENTS if p in counts}, sorted(layers), head, base)
