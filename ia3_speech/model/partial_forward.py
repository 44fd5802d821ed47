"""Forward passes of a CTC model that begin in the middle, end early, or keep a row's padding at zero.

In: a copy of a model (see `structural_copy`), and what it is to compute. Out: the copy, whose own code now
does just that, or the input of one layer. The model itself is never changed, so that any number of threads
can run it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ia3_speech.errors import AdapterError
from ia3_speech.model.architectures import Kernels, output_length
from ia3_speech.model.ia3 import architecture_of, path_in
from ia3_speech.model.precision import compute_fast
from ia3_speech.model.sharing import structural_copy

PROMPT_FRAMES = "prompt_frames"  # the attribute of a model that puts frames before each row in its encoder


class LayerReached(Exception):
    """Ends a forward pass at the layer whose input, (batch, frames, channels), was asked for."""


def input_of_layer(model: nn.Module, values: torch.Tensor, number: int, precision: str) -> torch.Tensor:
    """The hidden states (batch, frames, channels) that encoder layer `number` gets for `values`, (batch,
    samples), computed as `compute_fast` does."""

    def stop(hidden: torch.Tensor, *_args: Any, **_kwargs: Any) -> None:
        raise LayerReached(hidden)

    copy = structural_copy(model)
    compute_fast(copy, precision)
    copy.base_model.encoder.layers[number].forward = stop
    try:
        copy.base_model(values)
    except LayerReached as reached:
        return reached.args[0]
    raise AdapterError(f"{type(model).__name__}: layer {number} was never reached")


def pass_through(hidden: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
    return hidden


def logits_from(
    model: nn.Module, features: torch.Tensor, depth: int | None, arguments: dict[str, torch.Tensor]
) -> torch.Tensor:
    """The logits (batch, frames, vocabulary) of a copy whose forward pass begins with `features` (batch,
    frames, channels) instead of the waveform: the modules below return their input unchanged. Raises
    RuntimeError where the model's `forward` was replaced by one that runs another model than the copy.

    Args:
        depth: None: `features` are those of the front end; k: they are the input of encoder layer k.
        arguments: of the model, the waveform's shape and the mask.
    """
    audio_input = architecture_of(model).input
    front_end = model.get_submodule(path_in(model, audio_input.front_end))
    output = features.transpose(1, 2) if audio_input.channel_axis == 1 else features
    calls = []
    front_end.forward = lambda *_a, **_k: calls.append(1) or output
    if depth is not None:
        skip_below(model.base_model, features, depth)
    logits = model(**arguments).logits
    if not calls:
        raise RuntimeError(
            f"{type(model).__name__}.forward was replaced by a function that runs another model, so that "
            f"features can't be given to it (compile the model instead: torch.compile(model))"
        )
    return logits


def skip_below(body: nn.Module, features: torch.Tensor, depth: int) -> None:
    """Let all that stands between the front end and encoder layer `depth` return `features`."""
    encoder = body.encoder
    # Wav2Vec2's feature projection returns (projected, normalised); HuBERT's the first alone.
    projected = features if type(body).__name__.startswith("Hubert") else (features, features)
    body.feature_projection.forward = lambda *_a, **_k: projected
    encoder.pos_conv_embed.forward = lambda hidden, *_a, **_k: torch.zeros_like(hidden)
    if not getattr(body.config, "do_stable_layer_norm", False):  # there it stands above the layers
        encoder.layer_norm.forward = pass_through
    for layer in encoder.layers[:depth]:
        layer.forward = pass_through


def zero_padding(model: nn.Module, lengths: Sequence[int], downsampling: Kernels) -> None:
    """Let a copy zero what lies beyond each row's frames before each convolution that looks across a row's
    end, as zero padding stands there for a row alone. `lengths`: the rows' frames below `downsampling`, the
    convolutions that the model has above its encoder's layers."""
    for path in architecture_of(model).padding_sensitive if len(lengths) > 1 else ():
        for number, module in enumerate(modules_at(model, path_in(model, path))):
            above = ".adapter." in path
            kernels, prompt = (downsampling[:number], 0) if above else ([], getattr(model, PROMPT_FRAMES, 0))
            frames = torch.tensor([prompt + output_length(length, kernels) for length in lengths])
            module.forward = partial(forward_within, module.forward, frames)


def forward_within(forward: Callable, frames: torch.Tensor, x: torch.Tensor, *args: Any) -> torch.Tensor:
    """`forward` of x, (batch, channels, frames), without what lies beyond each row's own frames, (batch,)."""
    inside = torch.arange(x.shape[2], device=x.device) < frames.to(x.device)[:, None]
    return forward(x * inside[:, None].to(x.dtype), *args)


def modules_at(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at a path of which one part may be `*`, each of a list; none where the model has no such
    path."""
    stack, star, rest = path.partition(".*")
    try:
        module = model.get_submodule(stack)
    except AttributeError:
        return []
    return [layer.get_submodule(rest.removeprefix(".")) for layer in module] if star else [module]
