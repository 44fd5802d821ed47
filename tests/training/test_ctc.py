"""Training: the loss against torch's own, the schedule's corners."""

import pytest
import torch
from torch import nn

from ia3_speech.model.kinds.ctc import ctc_loss
from ia3_speech.training.steps import learning_rate_factor


def test_the_loss_of_each_utterance_is_that_of_it_alone_a_target_symbol():
    torch.manual_seed(0)
    logits, frames = torch.randn(3, 20, 8), torch.tensor([20, 12, 9])
    targets = [[3, 3, 5], [1, 2, 7, 7], [4]]
    losses = ctc_loss(logits, frames, targets, blank=0)
    for row, n, ids, loss in zip(logits, frames.tolist(), targets, losses, strict=True):
        alone = nn.functional.ctc_loss(
            row[:n].log_softmax(-1), torch.tensor(ids), [n], [len(ids)], blank=0, reduction="sum"
        )
        assert float(loss) == pytest.approx(float(alone) / len(ids), rel=1e-5)
    too_long = ctc_loss(torch.zeros(1, 3, 5), torch.tensor([3]), [[1, 1, 1]], blank=0)
    assert too_long.tolist() == [0.0]


@pytest.mark.parametrize(
    ("total", "warmup", "wanted"),
    [
        (8, 0.5, [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]),
        (4, 0.0, [1.0, 0.75, 0.5, 0.25]),
        (5, 0.5, [0.4, 0.8, 1.0, 0.8, 0.4]),  # a rise of two and a half steps never exceeds the peak
    ],
)
def test_the_rate_rises_and_falls_linearly(total, warmup, wanted):
    factors = [learning_rate_factor(step, total, warmup) for step in range(total)]
    assert factors == pytest.approx(wanted)
