"""A base's forward pass in training: its frozen part computes once for each utterance and speed.

In: utterances and the base. Out: logits, losses, hypotheses. With SpecAugment, which masks the encoder's
input, the frames of the convolutions are stored (or the processor's features, if the base takes those);
without it, and without dropout below, the input of the lowest adapted layer. If parameters train between the
convolutions, only the normalised waveform is stored.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ia3_speech.common.atomic import replacing
from ia3_speech.data.audio import change_speed
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.model import ia3
from ia3_speech.model.architectures import encoder_config
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import WAVEFORM, Base
from ia3_speech.model.hypotheses import Search, search_rows
from ia3_speech.training.augmentation import Augmentation, read_augmentation
from ia3_speech.training.config import SharedOptions
from ia3_speech.training.data import Example

Draw = tuple[float, np.random.Generator | None]  # a speed, and the generator of an augmentation


def has_masks(base: Base) -> bool:
    """Whether training masks a part of the encoder's input: SpecAugment (Park et al. 2019)."""
    config = base.model.config
    probabilities = (getattr(config, f"mask_{axis}_prob", 0) for axis in ("time", "feature"))
    return getattr(config, "apply_spec_augment", True) and any(p > 0 for p in probabilities)


def has_dropout(base: Base) -> bool:
    """Whether training drops values in the encoder's layers or its front end."""
    return any(rate > 0 for config in configurations(base) for rate in dropout_rates(config).values())


def switch_off_dropout(base: Base) -> None:
    """Set the rates of dropout to 0, in the configuration and in the modules."""
    for config in configurations(base):
        for name in dropout_rates(config):
            setattr(config, name, 0.0)
    for module in base.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in dropout_rates(module):  # of attention
            setattr(module, name, 0.0)


def configurations(base: Base) -> list[Any]:
    return [base.model.config, encoder_config(base.model.config)]


def dropout_rates(owner: Any) -> dict[str, float]:
    return {name: v for name, v in vars(owner).items() if "dropout" in name and isinstance(v, int | float)}


def frozen_depth(base: Base) -> int | None:
    """The depth of the frozen part: None (the convolutions), the index of the lowest layer with a trained
    parameter, or WAVEFORM (nothing is frozen)."""
    head = f"{base.architecture.head}."
    names = [name for name, _ in trainable(base.model) if not name.startswith(head)]
    front_end, layers = ia3.path_in(base.model, base.input.front_end), ia3.layers_of(base.model)[0]
    if any(name.startswith(f"{front_end}.") for name in names):
        return WAVEFORM
    if not base.architecture.skips_layers or has_masks(base) or not names:
        return None
    if not all(name.startswith(f"{layers}.") for name in names):  # between the convolutions and the layers
        return None
    config = base.model.config
    lowest = min(int(name.removeprefix(f"{layers}.").partition(".")[0]) for name in names)
    dropout = [config.feat_proj_dropout, config.hidden_dropout]
    if lowest > 0:
        dropout += [config.attention_dropout, config.activation_dropout]
    return None if any(dropout) else lowest


def cache_for(base: Base, options: SharedOptions) -> "FeatureCache":
    """An empty cache, for the parameters of the base that train now, with the augmentation of the options."""
    depth = frozen_depth(base)
    folder = None if depth == WAVEFORM else options.cache_dir  # the audio is a file already
    limit_bytes, augmentation = options.cache_gb * 2**30, read_augmentation(options)
    return FeatureCache(base, depth, limit_bytes, folder, augmentation)


@dataclass
class FeatureCache:
    """Features of utterances at given speeds, stored in memory up to a limit, and beyond it in files of
    `folder`, which later runs read, or computed again. Augmented ones are always computed anew.

    A feature is the same whether it was stored or not: the frozen part always runs utterance by utterance.
    It is stored in float32: 512 channels at 50 frames a second are 0.37 GB an hour, at each speed. float16
    would halve that, but the mini base's convolutions reach 49,984 of its 65,504, and a logit moves by 0.06.
    """

    base: Base
    depth: int | None  # of the frozen part, by `frozen_depth`
    limit_bytes: float
    folder: Path | None = None
    augmentation: Augmentation | None = None
    # Features by audio file, segment and speed, on the CPU; and the files of others
    stored: dict[tuple, torch.Tensor] = field(default_factory=dict, repr=False)
    files: dict[tuple, Path] = field(default_factory=dict, repr=False)
    stored_bytes: int = 0

    def get(
        self, utterance: Utterance, speed: float = 1.0, rng: np.random.Generator | None = None
    ) -> torch.Tensor:
        """(frames, channels) on the base's device, augmented by draws of `rng`. Raises AudioError."""
        if rng and self.augmentation:
            wave = self.augmentation.apply(self.wave(utterance, speed), rng)
            return self.base.features(wave, self.depth).contiguous()
        key = (utterance.source, utterance.start, utterance.end, speed)  # ids of train and dev may coincide
        if key in self.stored:
            return self.stored[key].to(self.base.device)
        if key not in self.files:
            wave = self.wave(utterance, speed)
            file = self.folder and self.folder / self.name_of(wave)
            if not (file and file.is_file()):
                features = self.base.features(wave, self.depth).contiguous()
                if self.stored_bytes + features.nbytes <= self.limit_bytes:
                    self.stored[key] = features.cpu()
                    self.stored_bytes += features.nbytes
                elif file:
                    with replacing(file) as new:
                        save_file({"features": features.cpu()}, new)
                return features
            self.files[key] = file
        return load_file(self.files[key])["features"].to(self.base.device)

    def wave(self, utterance: Utterance, speed: float) -> np.ndarray:
        """(samples,) at 16 kHz."""
        return change_speed(load_utterance(utterance), speed)

    def name_of(self, wave: np.ndarray) -> str:
        """The name of a file: a digest of the samples and of the frozen part."""
        base = self.base
        part = (base.fingerprint["sha256"], self.depth, str(base.dtype), base.precision, base.device.type)
        digest = hashlib.sha256(repr(part).encode() + wave.tobytes()).hexdigest()
        return f"{digest[:2]}/{digest[2:34]}.safetensors"

    def logits(
        self, utterances: Sequence[Utterance], draws: Sequence[Draw] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, frames, vocabulary) and (batch,): the logits, and how many frames of each row are valid.
        `draws`: of each utterance, its speed and the generator of its augmentation."""
        draws = draws or [(1.0, None)] * len(utterances)
        features = [self.get(u, *draw) for u, draw in zip(utterances, draws, strict=True)]
        return self.base.forward(features, self.depth)

    def losses(self, examples: Sequence[Example], draws: Sequence[Draw] = ()) -> torch.Tensor:
        """(batch,): the loss of each example."""
        logits, frames = self.logits([e.utterance for e in examples], draws)
        return self.base.losses(logits, frames, [e.ids for e in examples])

    @torch.no_grad()
    def texts(self, utterances: Sequence[Utterance], search: Search) -> list[str]:
        rows = self.base.rows_of(*self.logits(utterances))
        return [hypothesis.text for hypothesis in search_rows(search, rows)]
