"""Weight-normalised convolutions that can be pickled.

In: a model with torch's weight norm (`torch.nn.utils.parametrizations.weight_norm`), which transformers puts
on the positional convolution of wav2vec2, HuBERT, WavLM and others. Out: the same model, which `pickle`,
`torch.save(model)` and the spawned workers of a `DataLoader` accept.

torch makes a class for each parametrised module, whose `__getstate__` refuses: such a class has no name to
import. Here that class is told to pickle itself as the ordinary class and the attributes; unpickling
parametrises an ordinary module again and gives it these attributes. Modules, names of parameters and values
stay torch's own.
"""

from typing import Any

from torch import nn
from torch.nn.utils import parametrizations, parametrize

# What is pickled: the class before it was parametrised → a small module of it, to be filled.
EMPTY = {nn.Conv1d: lambda: nn.Conv1d(1, 1, 1)}


def allow_pickling(model: nn.Module) -> nn.Module:
    """Let the weight-normalised convolutions of `model` be pickled; returns the model."""
    for module in model.modules():
        if is_weight_normed(module):
            type(module).__reduce_ex__ = reduce_weight_normed  # torch made the class for this module alone
    return model


def is_weight_normed(module: nn.Module) -> bool:
    """Whether torch's weight norm, and nothing else, is on the weight of a convolution."""
    if not parametrize.is_parametrized(module, "weight") or len(module.parametrizations) > 1:
        return False
    names = [type(one).__name__ for one in module.parametrizations.weight]
    return names == ["_WeightNorm"] and parametrize.type_before_parametrizations(module) in EMPTY


def reduce_weight_normed(module: nn.Module, _protocol: int) -> tuple[Any, ...]:
    """As `object.__reduce_ex__`: how pickle stores the module."""
    attributes = vars(module).copy()
    # Of weight_norm: a local function, which can't be pickled. The module that is made again has its own.
    del attributes["_load_state_dict_pre_hooks"]
    return weight_normed, (parametrize.type_before_parametrizations(module),), attributes


def weight_normed(kind: type[nn.Module]) -> nn.Module:
    """A small module of that class with a weight norm, whose attributes pickle then replaces."""
    return allow_pickling(parametrizations.weight_norm(EMPTY[kind]()))
