"""Put IA³ vectors into a model, prove that each has an effect, take them out.

    model = attach(model, IA3Config(placements=("key", "value", "ffn"), layers="0-11"))
    …train…
    detach(model)

In: a transformers CTC model, classifier or bare encoder. Out: the same model with vectors in its target
modules; everything else is frozen. The proof matters because the commonest complaint about adapters is that
they silently have no effect.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn

from ia3_speech.common.errors import AdapterError
from ia3_speech.model import ia3
from ia3_speech.model.architectures import ARCHITECTURES, IA3Config

MASKING = "_mask_hidden_states"  # transformers' method that draws SpecAugment's masks


@torch.inference_mode(False)
def attach(model: nn.Module, config: IA3Config | None = None, *, check: bool = True) -> nn.Module:
    """Freeze `model`, put vectors of ones into it, return it. Its logits stay the same, bit for bit.

    Only the vectors require gradients, with `train_head` the head too, and always the head of a classifier
    (`Wav2Vec2ForSequenceClassification`), which checkpoints of encoders lack, as with PEFT's task types.
    LayerDrop is switched off, since it leaves vectors without a gradient. Gradient checkpointing works, as
    transformers enables it (not re-entrant). Batch norms keep their running statistics even after
    `model.train()`. A batch shorter than a mask of SpecAugment is not masked in time. WavLM's attention is
    replaced by an implementation that calls its projections: equal bit for bit on a single row, within
    rounding on several.

    Args:
        model: a transformers model for CTC or classification, or a bare encoder; changed in place.
        check: prove by a forward and a backward pass that every vector has an effect (once for each base and
            set of target modules in a process).

    Raises:
        AdapterError: vectors are attached already, the model's architecture is unknown, a layer does not
            exist, there is no head to train, or a vector has no effect.
    """
    config = config or IA3Config()
    if is_attached(model):
        raise AdapterError("the model has IA³ vectors already (call detach(model) first)")
    if (head := ia3.head_parameters(model)) and not ia3.is_recogniser(model):
        config = replace(config, train_head=True)
    if config.train_head and not head:
        raise AdapterError(f"{type(model).__name__} has no head to train (leave out `train_head`)")
    insert_vectors(model, ia3.target_modules(model, config), config)
    if check:
        try:
            check_liveness(model)
        except AdapterError:
            detach(model)
            raise
    return model


def insert_vectors(model: nn.Module, targets: list[ia3.TargetModule], config: IA3Config) -> None:
    """Put a vector of ones into each target module, freeze all else, unfreeze the head if it is trained."""
    refuse_merged(model)
    state = ia3.attachment(model)
    state.unfrozen = freeze(model)
    for target in targets:
        parent = model.get_submodule(target.module.rpartition(".")[0])
        for method, replacement in ia3.architecture_of(model).replaced_methods.items():
            if hasattr(parent, method):  # attention that does not call its projections
                setattr(parent, method, MethodType(replacement, parent))
        module = model.get_submodule(target.module)
        name = ia3.PREFIX + target.placement
        module.add_module(name, ia3.IA3Vector(ia3.vector_size(model, target), target, module.weight.device))
        if target.side == "in":
            module.register_forward_pre_hook(partial(scale_input, name))
        else:
            module.register_forward_hook(partial(scale_output, name))
    state.config = config
    if config.train_head:
        head = ia3.head_parameters(model)
        state.base_head = {name: p.detach().clone() for name, p in head.items()}
        for p in head.values():
            p.requires_grad_(True)


def detach(model: nn.Module) -> nn.Module:
    """Take the vectors out and put the base's head back. The model is the base again, with its LayerDrop; the
    parameters that required gradients require them again."""
    refuse_merged(model)
    replaced = {MASKING}.union(*(each.replaced_methods for each in ARCHITECTURES.values()))
    for module in model.modules():
        inside = [name for name, child in module.named_children() if isinstance(child, ia3.IA3Vector)]
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if getattr(hook, "func", hook) in HOOKS:
                    del hooks[key]
        for name in [*inside, *(replaced & vars(module).keys())]:
            delattr(module, name)
    state = ia3.attachment(model)
    for name, tensor in (state.base_head or {}).items():
        model.get_parameter(name).requires_grad_(False).copy_(tensor)
    for owner, name, value in state.unfrozen:
        setattr(owner, name, value)
    state.config, state.base_head, state.unfrozen = None, None, []
    return model


def is_attached(model: nn.Module) -> bool:
    return ia3.attachment(model).config is not None


def is_merged(model: nn.Module) -> bool:
    return ia3.attachment(model).merged is not None


def refuse_merged(model: nn.Module) -> None:
    """Raises AdapterError while an adapter is merged into the weights."""
    if is_merged(model):
        raise AdapterError("an adapter is merged into the model's weights (unmerge(model) comes first)")


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters for an optimiser: of the vectors, then of a trained head; or of another method."""
    state = ia3.attachment(model)
    if state.inserted:
        yield from state.inserted.parameters.items()
    for name, vector in ia3.vectors(model).items():
        yield name, vector.l
    if state.base_head:
        yield from ia3.head_parameters(model).items()


def freeze(model: nn.Module) -> list[tuple[Any, str, Any]]:
    """Switch off the gradient of every weight and of the convolutional front end (transformers asks for one
    in training), LayerDrop, the running statistics of batch norms, and masks that are longer than a batch.
    Vectors between the convolutions still get gradients. Returns the changes, as `Attachment.unfrozen`."""
    before: list[tuple[Any, str, Any]] = [
        (p, "requires_grad", True) for p in model.parameters() if p.requires_grad
    ]
    model.requires_grad_(False)
    for module in model.modules():
        if getattr(module, "_requires_grad", False) is True:  # the convolutional feature encoder
            before.append((module, "_requires_grad", True))
            module._requires_grad = False
        for owner in (module, getattr(module, "config", None)):
            if value := getattr(owner, "layerdrop", 0):
                before.append((owner, "layerdrop", value))
                owner.layerdrop = 0.0
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(keep_in_eval_mode)
    if hasattr(model.base_model, MASKING):
        setattr(model.base_model, MASKING, MethodType(mask_if_it_fits, model.base_model))
    return before


def keep_in_eval_mode(module: nn.Module, _args: tuple) -> None:
    """A hook: a frozen batch norm uses its running statistics, even after `model.train()`."""
    module.eval()


def scale_input(name: str, module: nn.Module, args: tuple) -> tuple:
    """A hook: scale by the vector of this name in `module`, which may be a copy's."""
    return (getattr(module, name).scale(args[0]), *args[1:])


def scale_output(name: str, module: nn.Module, _args: tuple, output: torch.Tensor) -> torch.Tensor:
    return getattr(module, name).scale(output)


def mask_if_it_fits(
    self: nn.Module,
    hidden: torch.Tensor,
    mask_time_indices: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Replaces `_mask_hidden_states` of the encoder's input, (batch, frames, channels): a batch shorter than
    a mask in time, usually 0.2 s, is not masked; transformers raises a ValueError."""
    config, frames = self.config, hidden.shape[1]
    is_drawn = mask_time_indices is None and self.training and config.mask_time_prob > 0
    if is_drawn and frames < config.mask_time_length:
        mask_time_indices = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    return type(self)._mask_hidden_states(self, hidden, mask_time_indices, attention_mask)


HOOKS = (keep_in_eval_mode, scale_input, scale_output)


def check_liveness(model: nn.Module) -> None:
    """Prove that every vector changes the logits and gets a gradient; the model is unchanged afterwards.

    Vectors are drawn from [0.5, 1.5]. The proof runs once for each model and set of target modules, which the
    model remembers. Raises AdapterError, which names the vectors without an effect.
    """
    parameters = {name: vector.l for name, vector in ia3.vectors(model).items()}
    key = tuple(sorted(parameters))
    proven = ia3.attachment(model).proven
    if not parameters or key in proven:
        return
    if dead := without_effect(model, parameters, lambda _, random: random + 0.5):
        raise AdapterError(
            f"{len(dead)} of {len(parameters)} IA³ vectors have no effect on "
            f"{type(model).__name__}: {', '.join(dead[:8])} (this base does not call "
            f"these modules; leave these placements out, or report the model)"
        )
    proven.add(key)


def without_effect(model: nn.Module, parameters: dict[str, nn.Parameter], draw: Callable) -> list[str]:
    """The names of the parameters that get no gradient at random values; all names, if these values don't
    change the logits. The architecture's probe (for speech a second of noise) goes forward and backward; the
    model is unchanged afterwards. `draw`: (a parameter, numbers of its shape from [0, 1)) → values to try."""
    before = [(p, p.detach().clone(), p.requires_grad) for p in parameters.values()]
    was_training = model.training
    gradients, generator = [None] * len(parameters), torch.Generator().manual_seed(0)
    model.eval()
    try:
        inputs = probe_input(model)
        with torch.no_grad():
            plain = model(**inputs)[0]  # logits; of a bare encoder the output of its last layer
            for parameter in parameters.values():
                random = torch.rand(parameter.shape, generator=generator).to(parameter.device)
                parameter.copy_(draw(parameter, random))
                parameter.requires_grad_(True)
        with torch.enable_grad():
            output = model(**inputs)[0]
            mean_square = output.float().square().mean()
        if mean_square.requires_grad:
            gradients = torch.autograd.grad(mean_square, parameters.values(), allow_unused=True)
    finally:
        with torch.no_grad():
            for parameter, values, required in before:
                parameter.copy_(values)
                parameter.requires_grad_(required)
        model.train(was_training)
    dead = [n for n, g in zip(parameters, gradients, strict=True) if g is None or not bool(g.any())]
    return dead or (list(parameters) if torch.equal(output, plain) else [])


def probe_input(model: nn.Module) -> dict[str, torch.Tensor]:
    """The architecture's probe, on the model's device; floating-point inputs in the model's type."""
    first, probe = next(model.parameters()), ia3.architecture_of(model).probe(model.config)
    return {n: x.to(first.device, first.dtype if x.is_floating_point() else None) for n, x in probe.items()}
