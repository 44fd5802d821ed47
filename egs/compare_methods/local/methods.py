"""Methods that PEFT does not have, for `--method FILE.py:NAME` of train, decode and transcribe.

    cd egs/compare_methods
    ia3-speech train --method local/methods.py:bitfit --config conf/bitfit.yaml --train data/train …

Each function takes a frozen model and the adapter's configuration, and returns the parameters that train, by
their names in the model. The papers are named in conf/METHOD.yaml.
"""

import copy
from typing import Any

import torch
from torch import nn

from ia3_speech.adapters.methods import Config, Parameters, is_chosen
from ia3_speech.model.attach import probe_input
from ia3_speech.model.ia3 import architecture_of, attachment, layers_of


def full(model: nn.Module, config: Config, *, prefix: str = "", suffix: str = "") -> Parameters:
    """The parameters of the chosen layers, and with all layers those above. The embedding of masked frames is
    left out, since recognition never uses it."""
    named = {n: p for n, p in model.named_parameters() if not n.endswith("masked_spec_embed")}
    return {
        name: parameter.requires_grad_(True)
        for name, parameter in named.items()
        if name.startswith(prefix) and name.endswith(suffix) and is_chosen(model, config, name)
    }


def bitfit(model: nn.Module, config: Config) -> Parameters:
    """Every bias."""
    return full(model, config, suffix="bias")


def head(model: nn.Module, config: Config) -> Parameters:
    """The head alone."""
    return full(model, config, prefix=f"{architecture_of(model).head}.")


def bottleneck(model: nn.Module, config: Config, adapter_attn_dim: int = 64) -> Parameters:
    """transformers' bottleneck adapters above each layer's feed-forward network. Their last projection starts
    at zero, so the model starts as the base."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2AttnAdapterLayer

    settings = copy.copy(model.config)
    settings.adapter_attn_dim = adapter_attn_dim
    path, layers = layers_of(model)
    for number, layer in enumerate(layers):
        if getattr(layer, "adapter_layer", layer) is not None:
            hint = "those of Wav2Vec2, HuBERT and UniSpeech do, with do_stable_layer_norm"
            raise ValueError(f"its layers take no adapter ({hint})")
        if is_chosen(model, config, f"{path}.{number}."):
            layer.adapter_layer = Wav2Vec2AttnAdapterLayer(settings).to(model.device, model.dtype)
            nn.init.zeros_(layer.adapter_layer.linear_2.weight)
            nn.init.zeros_(layer.adapter_layer.linear_2.bias)
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def prompt(model: nn.Module, config: Config, frames: int = 16) -> Parameters:
    """Learned frames before the encoder's input, whose output is dropped. They start at the input's mean:
    zeros are far from any input of the mini base, which contains a constant that counts positions."""
    architecture = architecture_of(model)
    if architecture.kind != "ctc" or not architecture.layers.startswith("{body}.encoder."):
        raise ValueError("its encoder takes no frames, so no prompt can precede them")
    path = layers_of(model)[0].rpartition(".")[0]
    encoder = model.get_submodule(path)
    inputs: list[torch.Tensor] = []
    hook = encoder.register_forward_pre_hook(lambda _encoder, args: inputs.append(args[0]))
    with torch.no_grad():
        model(**probe_input(model))
    hook.remove()
    noise = torch.randn(frames, model.config.hidden_size).to(inputs[0])
    start = inputs[0].mean((0, 1)) + model.config.initializer_range * noise
    encoder.register_parameter("prompt", nn.Parameter(start))
    encoder.register_forward_pre_hook(put_prompt_before, with_kwargs=True)
    encoder.register_forward_hook(drop_prompt)
    attachment(model).added_frames = frames
    return {f"{path}.prompt": encoder.prompt}


def put_prompt_before(encoder: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """A hook: hidden states (batch, frames, channels) and mask (batch, frames), after the prompt's frames."""
    hidden, *others = args
    if (mask := kwargs.get("attention_mask")) is not None:
        visible = mask.new_ones(len(mask), len(encoder.prompt))
        kwargs = kwargs | {"attention_mask": torch.cat([visible, mask], 1)}
    prompt = encoder.prompt.to(hidden.dtype).expand(len(hidden), -1, -1)
    return (torch.cat([prompt, hidden], 1), *others), kwargs


def drop_prompt(encoder: nn.Module, _args: tuple, output: Any) -> Any:
    """A hook: the encoder's output without the prompt's frames."""
    output.last_hidden_state = output.last_hidden_state[:, len(encoder.prompt) :]
    return output
