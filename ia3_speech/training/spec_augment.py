"""What is random in a base while it trains: dropout, and SpecAugment's masks (Park et al. 2019).

In: a base. Out: whether it has either; a context in which masks are drawn where there is room for them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.base import Base


@contextmanager
def masks_that_fit(base: Base) -> Iterator[None]:
    """Within the context a batch that is shorter than a mask, 0.2 s as a rule, is not masked in time.

    transformers raises a ValueError there. Of a longer batch it leaves the short rows unmasked by itself.
    """
    body = base.model.base_model
    if not hasattr(body, "_mask_hidden_states"):  # the kind has no SpecAugment
        yield
        return
    body._mask_hidden_states = partial(mask_if_it_fits, body.config, body._mask_hidden_states)
    try:
        yield
    finally:
        del body._mask_hidden_states


def mask_if_it_fits(
    config: Any, mask: Callable[..., torch.Tensor], hidden: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    """What `mask` makes of the encoder's input (batch, frames, channels)."""
    probability = config.mask_time_prob
    if hidden.shape[1] < config.mask_time_length:
        config.mask_time_prob = 0.0
    try:
        return mask(hidden, *args, **kwargs)
    finally:
        config.mask_time_prob = probability


def has_masks(base: Base) -> bool:
    """Whether training masks a part of the encoder's input."""
    config = base.model.config
    probabilities = (getattr(config, f"mask_{axis}_prob", 0) for axis in ("time", "feature"))
    return getattr(config, "apply_spec_augment", True) and any(p > 0 for p in probabilities)


def has_dropout(base: Base) -> bool:
    """Whether training drops a part of what the encoder's layers or its front end pass on."""
    options = encoder_config(base.model.config).to_dict() | base.model.config.to_dict()
    rates = (value for name, value in options.items() if "dropout" in name)
    return any(isinstance(rate, int | float) and rate > 0 for rate in rates)
