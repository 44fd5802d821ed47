"""SpecAugment's masks are drawn where there is room for them."""

from pathlib import Path

import pytest
import torch
from tiny_models import TINY, tiny, tiny_processor

from ia3_speech.model.attach import attach, detach
from ia3_speech.model.base import make_base
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.feature_cache import has_dropout
from ia3_speech.training.run import prepare_base

MASKS = {"mask_time_prob": 0.6, "mask_time_length": 10, "mask_feature_prob": 0.0, "mask_time_min_masks": 1}


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm", "hubert", "conformer", "bert"])
def test_a_batch_shorter_than_a_mask_is_not_masked(kind):
    model = tiny(kind, **MASKS).train()
    short, long = torch.ones(2, 9, 32), torch.ones(2, 30, 32)

    @torch.no_grad()
    def masked(hidden):
        return model.base_model._mask_hidden_states(hidden.clone())

    with pytest.raises(ValueError, match="mask_length"):
        masked(short)
    attach(model, check=False)
    assert torch.equal(masked(short), short) and not torch.equal(masked(long), long)
    assert "_mask_hidden_states" not in vars(detach(model).base_model)


@pytest.mark.parametrize("kind", TINY)
def test_without_dropout_training_computes_the_logits_of_recognition(kind, processor):
    base = make_base(tiny(kind), tiny_processor(kind, processor.tokenizer), "tiny")
    base.model.config.apply_spec_augment = False
    assert has_dropout(base)
    prepare_base(base, TrainingOptions(train=Path(), out=Path(), dropout="off"))
    assert not has_dropout(base)
    wave = torch.rand(6_000).numpy()
    recognised = base.logits([wave])[0]
    base.model.train()
    logits, frames = base.forward([base.features(wave, None)], None)
    torch.testing.assert_close(logits[0, : int(frames[0])], recognised, rtol=1e-4, atol=1e-4)
