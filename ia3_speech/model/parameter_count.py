"""How much of a model trains: the numbers by placement, and the table that is shown before training."""

from dataclasses import dataclass

from torch import nn

from ia3_speech.model import ia3
from ia3_speech.model.architectures import PLACEMENTS


@dataclass(frozen=True)
class Size:
    """How many numbers are trained, by placement, and how many the base has."""

    placements: dict[str, int]
    layers: list[int]
    head: int
    base: int

    @property
    def trained(self) -> int:
        return sum(self.placements.values()) + self.head

    def table(self) -> str:
        """The table shown before training."""
        layers = ia3.ranges(self.layers)
        rows = [("placement", "layers", "numbers", "share of the base")]
        rows += [
            (p, "" if p == "conv" else layers, f"{n:,}", f"{n / self.base:.4%}")
            for p, n in self.placements.items()
        ]
        if self.head:
            rows.append(("head", "", f"{self.head:,}", f"{self.head / self.base:.4%}"))
        rows.append(("all", "", f"{self.trained:,}", f"{self.trained / self.base:.4%} of {self.base:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows
        )


def size(model: nn.Module) -> Size:
    """Count what is attached."""
    counts: dict[str, int] = {}
    layers = set()
    for vector in ia3.vectors(model).values():
        placement = vector.place.placement
        counts[placement] = counts.get(placement, 0) + vector.l.numel()
        if placement != "conv":
            layers.add(vector.place.layer)
    head = sum(p.numel() for n, p in ia3.trainable(model) if ia3.is_head(n))
    base = sum(p.numel() for p in model.parameters()) - sum(counts.values())
    order = [p for p in PLACEMENTS if p in counts]
    return Size({p: counts[p] for p in order}, sorted(layers), head, base)
