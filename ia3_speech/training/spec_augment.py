"""What is random in a base while it trains: dropout, and SpecAugment's masks (Park et al. 2019).

In: a base. Out: whether it has either.
"""

from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.base import Base


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
