"""Proof that vectors work: the commonest complaint about adapters is one that is silently not applied.

In: a model with vectors attached. Out: nothing, or an error that names the vectors without an effect.
`ia3.attach` and `load_adapter` run it.
"""

import torch
from torch import nn

from ia3_speech.model.ia3 import AdapterError, IA3Vector, architecture_of, vectors


def check(model: nn.Module) -> None:
    """Prove that every vector reaches the logits and gets a gradient; the model comes out as it went in.

    Vectors are drawn from [0.5, 1.5], the kind's probe (for speech a second of noise) goes forward and
    backward. Runs once for each model object and set of placements: the result is remembered on the model.

    Raises:
        AdapterError: names the vectors that have no effect.
    """
    found = vectors(model)
    key = tuple(sorted(found))
    proven = model.__dict__.setdefault("ia3_proven", set())
    if not found or key in proven:
        return
    kept = {name: v.l.detach().clone() for name, v in found.items()}
    was_training, needs = model.training, {n: v.l.requires_grad for n, v in found.items()}
    model.eval()
    try:
        moved, gradients = shaken(model, found)
    finally:
        with torch.no_grad():
            for name, v in found.items():
                v.l.copy_(kept[name])
                v.l.requires_grad_(needs[name])
        model.train(was_training)
    dead = [n for n, g in zip(found, gradients, strict=True) if g is None or not bool(g.ne(0).any())]
    if dead or not moved:
        raise AdapterError(
            f"{len(dead) or len(found)} of {len(found)} IA³ vectors have no effect on "
            f"{type(model).__name__}: "
            f"{', '.join((dead or list(found))[:8])} (this base computes around these modules; leave these "
            f"placements out, or report the model)"
        )
    proven.add(key)


def shaken(model: nn.Module, found: dict[str, IA3Vector]) -> tuple[bool, list[torch.Tensor | None]]:
    """(whether random vectors move the logits, the gradient of each); the vectors stay random."""
    device = next(model.parameters()).device
    sound, generator = probe(model, device), torch.Generator().manual_seed(0)
    with torch.no_grad():
        plain = model(**sound).logits
        for v in found.values():
            v.l.copy_((torch.rand(v.l.shape, generator=generator) + 0.5).to(device))
    with torch.enable_grad():
        for v in found.values():
            v.l.requires_grad_(True)
        moved = model(**sound).logits
        score, wanted = moved.float().square().mean(), [v.l for v in found.values()]
        reached = score.requires_grad
        gradients = torch.autograd.grad(score, wanted, allow_unused=True) if reached else [None] * len(found)
    return not torch.equal(moved, plain), list(gradients)


def probe(model: nn.Module, device: torch.device) -> dict[str, torch.Tensor]:
    """The kind's input for a trial, on the device and, where it is no index, in the base's type."""
    dtype = next(model.parameters()).dtype
    made = architecture_of(model).probe(model.config)
    return {n: x.to(device, dtype if x.is_floating_point() else None) for n, x in made.items()}
