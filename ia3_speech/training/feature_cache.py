"""What the frozen part of a base computes, once for each utterance and speed.

In: utterances and the base. Out: tensors (frames, channels), from which `Base.forward` goes on. Nothing below
the lowest vector gets a gradient, so nothing there changes while vectors are trained: with SpecAugment, which
masks the encoder's input, the convolutions' frames are kept (or the processor's features, where a base takes
those); without it (and without dropout below) all that stands below the lowest adapted layer. Where vectors
stand between the convolutions, only the normalised waveform is.
"""

from dataclasses import dataclass, field

import torch

from ia3_speech.data.audio import change_speed
from ia3_speech.data.utterance import Utterance
from ia3_speech.data.utterance_audio import load_utterance
from ia3_speech.model import ia3
from ia3_speech.model.base import WAVEFORM, Base


def frozen_depth(base: Base) -> int | None:
    """How far up the frozen part goes: None (the convolutions), the lowest layer that has a vector, or
    WAVEFORM (nowhere)."""
    places = [v.place for v in ia3.vectors(base.model).values()]
    if any(place.placement == "conv" for place in places):
        return WAVEFORM
    if not base.architecture.resumes:
        return None
    config = base.model.config
    masks = getattr(config, "apply_spec_augment", True) and (
        config.mask_time_prob > 0 or config.mask_feature_prob > 0
    )
    if masks or not places:
        return None
    lowest = min(place.layer for place in places)
    drops = [config.feat_proj_dropout, config.hidden_dropout]
    if lowest > 0:
        drops += [config.attention_dropout, config.activation_dropout]
    return None if any(drops) else lowest


@dataclass
class FeatureCache:
    """Features of utterances at given speeds, kept in memory up to a limit and computed again beyond it.

    A feature is the same whether it was kept or not: the frozen part always runs utterance by utterance.
    """

    base: Base
    depth: int | None
    limit_bytes: float
    allow_pipes: bool = False
    held: dict[tuple, torch.Tensor] = field(default_factory=dict, repr=False)
    held_bytes: int = 0

    def get(self, utterance: Utterance, speed: float = 1.0) -> torch.Tensor:
        """(frames, channels) on the base's device; kept on the CPU. Raises AudioError."""
        key = (utterance.source, utterance.start, utterance.end, speed)  # ids of train and dev may coincide
        if key not in self.held:
            wave = load_utterance(utterance, allow_pipes=self.allow_pipes)
            features = self.base.front_end(change_speed(wave, speed) if speed != 1.0 else wave, self.depth)
            size = features.numel() * features.element_size()
            if self.held_bytes + size > self.limit_bytes:
                return features
            self.held[key] = features.contiguous().cpu()
            self.held_bytes += size
        return self.held[key].to(self.base.device)
