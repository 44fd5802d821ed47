"""Forward passes of a CTC model that begin in the middle, end early, or keep a row's padding at zero.

In: a model, and what it is to compute. Out: context managers, within which the model's own code does just
that, and the input of one layer; afterwards the model is as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from ia3_speech.model.architectures import Kernels, output_length
from ia3_speech.model.ia3 import architecture_of, path_in


class LayerReached(Exception):
    """Ends a forward pass at the layer whose input was asked for."""


def input_of_layer(model: nn.Module, values: torch.Tensor, number: int) -> torch.Tensor | None:
    """The hidden states (batch, frames, channels) that encoder layer `number` gets for `values`, (batch,
    samples); None where the forward pass never reaches it."""
    captured: list[torch.Tensor] = []

    def capture(_module: nn.Module, args: tuple) -> None:
        captured.append(args[0])
        raise LayerReached

    handle = model.base_model.encoder.layers[number].register_forward_pre_hook(capture)
    try:
        model.base_model(values)
    except LayerReached:
        return captured[0]
    finally:
        handle.remove()
    return None


@contextmanager
def start_from(model: nn.Module, features: torch.Tensor, depth: int | None) -> Iterator[None]:
    """Let the forward pass begin with `features` (batch, frames, channels) instead of the waveform.

    The modules below return their input unchanged: all else, masks included, is transformers' own code.

    Args:
        depth: None: `features` are those of the front end; k: they are the input of encoder layer k.
    """
    audio_input, body = architecture_of(model).input, model.base_model
    front_end = model.get_submodule(path_in(model, audio_input.front_end))
    front_end_output = features.transpose(1, 2) if audio_input.channel_axis == 1 else features
    replacements = {front_end: lambda *_a, **_k: front_end_output}
    if depth is not None:
        encoder = body.encoder
        projected = (features, features) if returns_pair(body) else features
        replacements[body.feature_projection] = lambda *_a, **_k: projected
        replacements[encoder.pos_conv_embed] = lambda hidden, *_a, **_k: torch.zeros_like(hidden)
        if not getattr(body.config, "do_stable_layer_norm", False):  # there it stands above the layers
            replacements[encoder.layer_norm] = lambda hidden, *_a, **_k: hidden
        for layer in encoder.layers[:depth]:
            replacements[layer] = lambda hidden, *_a, **_k: hidden
    for module, forward in replacements.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in replacements:
            del module.forward


def returns_pair(body: nn.Module) -> bool:
    """Wav2Vec2's feature projection returns (projected, normalised); HuBERT's the first alone."""
    return not type(body).__name__.startswith("Hubert")


@contextmanager
def zero_padding(model: nn.Module, lengths: Sequence[int], downsampling: Kernels) -> Iterator[None]:
    """Zero what lies beyond each row's frames before each convolution that looks across a row's end, as zero
    padding stands there for a row alone.

    Args:
        lengths: the rows' frames below `downsampling`.
        downsampling: the convolutions that the model has above its encoder's layers.
    """

    def zero_beyond(frames: torch.Tensor, _module: nn.Module, args: tuple) -> tuple:
        x = args[0]  # (batch, channels, frames)
        inside = torch.arange(x.shape[2], device=x.device) < frames.to(x.device)[:, None]
        return (x * inside[:, None].to(x.dtype), *args[1:])

    handles = []
    for path in architecture_of(model).padding_sensitive if len(lengths) > 1 else ():
        for number, module in enumerate(modules_at(model, path_in(model, path))):
            kernels = downsampling[:number] if ".adapter." in path else []
            frames = torch.tensor([output_length(length, kernels) for length in lengths])
            handles.append(module.register_forward_pre_hook(partial(zero_beyond, frames)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def modules_at(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at a path of which one part may be `*`, each of a list; none where the model has no such
    path."""
    stack, star, rest = path.partition(".*")
    try:
        found = model.get_submodule(stack)
    except AttributeError:
        return []
    return [layer.get_submodule(rest.removeprefix(".")) for layer in found] if star else [found]
