"""Any number of threads use one base, recogniser or bank: none gets another's result."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import noise_waves, tiny, tiny_processor

from ia3_speech import Bank
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import make_base
from tests.adapters.test_bank import random_adapter

CALLS, THREADS = 72, 4
NAMES = ["a", None, "b"]
WAVES = noise_waves(0.25, 0.56, 0.41, 0.31, 0.5, 0.44)


def banked(base) -> Bank:
    """A bank of two adapters, with vectors between the convolutions and a head, of random numbers."""
    bank = Bank(base)
    bank.add("a", random_adapter(base.model, 1, ("key", "ffn")))
    bank.add("b", random_adapter(base.model, 2, ("conv",), head=True))
    return bank


def wrong_results(base) -> int:
    """How many of 72 calls, of three sorts and on batches of every size, differ from the call alone."""
    bank, recognizer = banked(base), Recognizer(base)
    batches = [[WAVES[i] for i in order] for order in ([0], [1, 2], [3, 4, 5], [5, 0], [2], [4, 1, 3])]

    def call(number: int):
        batch = batches[number % len(batches)]
        names = [NAMES[(number + n) % 3] for n in range(len(batch))]
        kind = number // len(batches) % 3
        if kind == 1:
            return recognizer.texts(batch)
        return base.logits(batch) if kind == 0 else bank.logits(batch, names)

    alone = [call(number) for number in range(18)]  # all that there is
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(call, range(CALLS)))

    def equal(a, b) -> bool:
        return a == b if isinstance(a[0], str) else all(map(torch.equal, a, b))

    return sum(not equal(result, alone[number % 18]) for number, result in enumerate(together))


@pytest.mark.parametrize(("name", "train"), [("wav2vec2", False), ("conformer-rotary", True)])
def test_four_threads(processor, name, train):
    """A rotary Conformer stores the positions of its last batch."""
    base = make_base(tiny(name), tiny_processor(name, processor.tokenizer), name)
    base.model.train(train)  # as a Trainer leaves it
    assert wrong_results(base) == 0
    assert base.model.training is train
