"""Any number of threads use one base, recogniser or bank: none gets another's result."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import attach_random, tiny, tiny_processor

from ia3_speech import Bank, load, load_base, save_adapter
from ia3_speech.adapters.record import Adapter
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.base import make_base
from ia3_speech.model.ia3 import target_modules, vector_size

READ_ENGLISH = Path(__file__).parents[3] / "shared/data/librispeech_237"
CALLS, THREADS = 200, 4
NAMES = ["a", None, "b"]


@pytest.fixture
def one_thread_each():
    """torch's own threads would make 200 calls slow, and no difference."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def banked(base) -> Bank:
    """A bank of two adapters, with vectors between the convolutions and a head, of random numbers."""
    bank = Bank(base)
    for seed, (name, placements, head) in enumerate((("a", ("key", "ffn"), False), ("b", ("conv",), True))):
        config, generator = IA3Config(placements, train_head=head), torch.Generator().manual_seed(seed)
        numbers = {
            target: torch.rand(vector_size(base.model, target), generator=generator) + 0.5
            for target in target_modules(base.model, config)
        }
        heads = dict(base.model.lm_head.named_parameters("lm_head")) if head else {}
        heads = {key: p.detach() * 1.5 for key, p in heads.items()}
        bank.add(name, Adapter(name, config, numbers, heads))
    return bank


def wrong_results(base, waves, recognizer: Recognizer | None = None) -> int:
    """How many of 200 calls, of three sorts and on batches of every size, differ from the call alone."""
    bank, recognizer = banked(base), recognizer or Recognizer(base)
    batches = [[waves[i] for i in order] for order in ([0], [1, 2], [3, 4, 5], [5, 0], [2], [4, 1, 3])]

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


def test_four_threads_each_with_its_requests_adapter(tiny_folder, tmp_path, one_thread_each):
    names = [None, *(str(tmp_path / name) for name in ("a", "b")), f"{tmp_path / 'a'}:0.5"]
    for seed, name in enumerate(names[1:3], 1):
        save_adapter(
            attach_random(load_base(tiny_folder).model, "key", "ffn", seed=seed, low=-20, high=20), name
        )
    asr, wave = load(tiny_folder), noise()[1]
    alone = [load(tiny_folder, adapter=name).transcribe(wave).text for name in names]
    assert len(set(alone)) > 2
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda n: asr.transcribe(wave, adapter=names[n % 4]).text, range(CALLS)))
    assert together == [alone[n % 4] for n in range(CALLS)]


def noise() -> list[np.ndarray]:
    lengths = (4_000, 9_000, 6_500, 5_000, 8_000, 7_000)
    return [np.random.default_rng(n).standard_normal(n).astype("float32") for n in lengths]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("kind", "norm"), [("wav2vec2", "group"), ("hubert", "layer"), ("data2vec-audio", "layer")]
)
def test_four_threads(tiny_base, one_thread_each, kind, norm, train):
    base = tiny_base(kind, norm=norm)
    base.model.train(train)  # as a Trainer leaves it
    assert wrong_results(base, noise()) == 0
    assert base.model.training is train


def test_four_threads_on_positions_that_a_model_keeps(processor, one_thread_each):
    """A rotary Conformer stores the positions of its last batch."""
    name = "conformer-rotary"
    base = make_base(tiny(name), tiny_processor(name, processor.tokenizer), name)
    assert wrong_results(base, noise()) == 0
