"""Forward passes of a base that begin in the middle, end early, or keep a row's padding silent.

In: a `Base` and what its model is to see. Out: context managers, within which the model's own code does just
that; outside of them it is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from ia3_speech.model.architectures import after
from ia3_speech.model.ia3 import path_in

if TYPE_CHECKING:
    from ia3_speech.model.base import Base


class Caught(Exception):
    """Ends a forward pass at the layer whose input was wanted."""


@contextmanager
def entered(base: Base, features: torch.Tensor, depth: int | None) -> Iterator[None]:
    """Let the forward pass begin with `features` (batch, frames, channels) instead of the waveform.

    The modules that are done already hand on what they get: everything else, masks included, is
    transformers' own code.
    """
    body, front = base.body, base.model.get_submodule(path_in(base.model, base.input.front))
    given = features.transpose(1, 2) if base.input.axis == 1 else features
    stand_ins = {front: lambda *_a, **_k: given}
    if depth is not None:
        encoder = body.encoder
        projected = (features, features) if returns_pair(body) else features
        stand_ins[body.feature_projection] = lambda *_a, **_k: projected
        stand_ins[encoder.pos_conv_embed] = lambda hidden, *_a, **_k: torch.zeros_like(hidden)
        if not getattr(body.config, "do_stable_layer_norm", False):  # there it stands above the layers
            stand_ins[encoder.layer_norm] = lambda hidden, *_a, **_k: hidden
        for layer in encoder.layers[:depth]:
            stand_ins[layer] = lambda hidden, *_a, **_k: hidden
    for module, forward in stand_ins.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in stand_ins:
            del module.forward


def returns_pair(body: nn.Module) -> bool:
    """Wav2Vec2's feature projection returns (projected, normalised); HuBERT's the first alone."""
    return not type(body).__name__.startswith("Hubert")


@contextmanager
def silent_padding(base: Base, lengths: torch.Tensor) -> Iterator[None]:
    """Zero what lies beyond each row's frames before each convolution that looks across a row's end: a row
    alone meets zero padding there.

    lengths: the rows' frames (batch,) below the convolutions that the base has above its layers.
    """

    def silence(lengths: torch.Tensor, _module: nn.Module, args: tuple) -> tuple:
        x = args[0]  # (batch, channels, frames)
        inside = torch.arange(x.shape[2], device=x.device) < lengths.to(x.device)[:, None]
        return (x * inside[:, None].to(x.dtype), *args[1:])

    handles = []
    for path in base.architecture.across if len(lengths) > 1 else ():
        for number, module in enumerate(modules_at(base.model, path_in(base.model, path))):
            steps = base.above[:number] if ".adapter." in path else []
            left = torch.tensor([after(int(n), steps) for n in lengths])
            handles.append(module.register_forward_pre_hook(partial(silence, left)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def modules_at(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at a path of which one part may be `*`, each of a list; none where it leads nowhere."""
    stack, star, rest = path.partition(".*")
    try:
        found = model.get_submodule(stack)
    except AttributeError:
        return []
    return [layer.get_submodule(rest.removeprefix(".")) for layer in found] if star else [found]
