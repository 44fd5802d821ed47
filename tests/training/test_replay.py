"""Replay: the divergence's arithmetic; what is replayed is held to the base."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ia3_speech import load_base
from ia3_speech.model.kinds.ctc import divergence_from
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.feature_cache import FeatureCache
from ia3_speech.training.replay import read_replay, replay_losses
from ia3_speech.training.run import train
from tests.commands.test_train import options_of, record, same, tensors
from tests.training.test_methods import place

__all__ = ["place"]  # a fixture


def test_the_divergence_equals_torchs_with_all_symbols_and_is_smaller_with_fewer():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 3, 7, 6, generator=generator)
    frames, divergences = torch.tensor([7, 4, 1]), []
    for k in (5, 2):
        probabilities, symbols = p.softmax(-1).topk(k)
        rest = 1 - probabilities.sum(-1, keepdim=True)
        pairs = zip(symbols, torch.cat([probabilities, rest], -1), strict=True)
        summaries = [{"symbols": s, "probabilities": p} for s, p in pairs]
        divergences.append(divergence_from(q, frames, summaries))
    for row, n in enumerate(frames):
        log_p, log_q = p[row, :n].log_softmax(-1), q[row, :n].log_softmax(-1)
        expected = nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum") / n
        torch.testing.assert_close(divergences[0][row], expected, atol=1e-5, rtol=1e-5)
        assert 0 < divergences[1][row] < expected


def replay_options(place: Path, out: str, **changes) -> TrainingOptions:
    standard = {"replay": place / "other", "learning_rate": 0.2, "spec_augment": "off"}
    return options_of(place, out, **(standard | changes))


@pytest.fixture
def other(place) -> Path:
    """Other speech without transcripts, of which one piece is too long for a step."""
    folder = record(place / "other", 7, seed=2, shortest=16_000)
    (folder / "text").unlink()
    return folder


def test_replay_keeps_the_output_near_the_base(place, other):
    methods = Path(__file__).parents[2] / "egs/compare_methods/local/methods.py"
    head = {"method": f"{methods}:head", "learning_rate": 0.1}
    options = replay_options(place, "held", **head)
    base = load_base(options.base)
    replay = read_replay(base, options)

    def divergence() -> float:
        with torch.no_grad():
            return float(replay_losses(FeatureCache(base, None, 0), replay).mean())

    assert abs(divergence()) < 1e-4  # what is kept is fp16
    losses = []
    for out, weight in (("held", 30.0), ("free", 0.0)):
        train(replay_options(place, out, replay_weight=weight, **head))
        base.model.load_state_dict(tensors(place, out), strict=False)
        losses.append(divergence())
    assert 0 < losses[0] < 0.5 * losses[1]
    train(replay_options(place, "without", replay=None, **head))
    assert same(tensors(place, "free"), tensors(place, "without"))
