"""adapters.bank: a row of a mixed batch is that row alone; the base's keep every bit; edits disturb none."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_models import TINY, noise_waves, tiny, tiny_processor

from ia3_speech import Bank, detach, load_base
from ia3_speech.adapters.load import attach_adapter, combine
from ia3_speech.adapters.record import Adapter
from ia3_speech.common.errors import AdapterError, UnknownAdapter
from ia3_speech.model import ia3
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.base import WAVEFORM, make_base

WAVES = noise_waves(0.25, 0.5625, 0.40625, 0.3125, 0.5, 0.4375)


def random_adapter(model, seed: int, placements=("key", "value", "ffn"), layers="all", head=False) -> Adapter:
    """An adapter of random numbers in [0.5, 1.5]; its head is the base's, moved."""
    config, generator = IA3Config(placements, layers, head), torch.Generator().manual_seed(seed)
    values = {
        target: torch.rand(ia3.vector_size(model, target), generator=generator) + 0.5
        for target in ia3.target_modules(model, config)
    }
    own = ia3.head_parameters(model) if head else {}
    moved = {n: p.detach().float() + torch.randn(p.shape, generator=generator) / 3 for n, p in own.items()}
    return Adapter(f"seed {seed}", config, values, moved)


def make_bank(base, names="a") -> Bank:
    """A bank with a random adapter of each name, whose seeds are 1, 2, …"""
    bank = Bank(base)
    for seed, name in enumerate(names, 1):
        bank.add(name, random_adapter(base.model, seed))
    return bank


def run(base, waves) -> list[torch.Tensor]:
    """`Base.logits` without its rounding to fp32."""
    with torch.no_grad():
        logits, lengths = base.forward([base.features(wave, WAVEFORM) for wave in waves], WAVEFORM)
    return [row[:n] for row, n in zip(logits, lengths, strict=True)]


def alone(base, adapter: Adapter | None, wave) -> torch.Tensor:
    """A wave by itself, with one adapter attached as `load_adapter` does it."""
    if adapter:
        attach_adapter(base.model, adapter, check=False)
    (row,) = run(base, [wave])
    detach(base.model)
    return row


def apart(rows, others) -> float:
    """The largest difference, in units of max(1, the largest logit)."""
    pairs = zip(rows, others, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float64) for name in TINY), *((n, torch.float32) for n in ("wav2vec2", "wavlm", "bert"))],
)
def test_a_row_of_a_mixed_batch_is_that_row_alone(name, processor, dtype):
    """PEFT's fault 1: there each row of a batch with `adapter_names` gets the active adapter, silently."""
    base, other = (make_base(tiny(name), tiny_processor(name, processor.tokenizer), name) for _ in "12")
    for model in (base.model, other.model):
        model.to(dtype)
    plain = run(other, WAVES[:5])
    bank = make_bank(base, "ab")
    a, b = (random_adapter(base.model, seed) for seed in (1, 2))
    c = random_adapter(base.model, 3, ("ffn_output", "attention_output"), "1", head=True)
    bank.add("c", c)
    with bank.rows(["a", "c", None, "b", "a:0.7+c:0.5"]):
        together = run(base, WAVES[:5])
    adapters = [a, c, None, b, combine(base.model, [a, c], [0.7, 0.5])]
    singly = [alone(other, adapter, wave) for adapter, wave in zip(adapters, WAVES, strict=False)]
    assert apart(together, singly) <= (1e-10 if dtype == torch.float64 else 1e-5)
    assert apart(together[:1], [alone(other, b, WAVES[0])]) > 1e-3  # and not just any adapter's
    # WavLM's attention is computed by other calls while there are vectors: equal, but for rounding.
    assert torch.equal(together[2], plain[2]) or name.startswith("wavlm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_the_base_keep_every_bit(tiny_base, dtype):
    base = tiny_base()
    base.model.to(dtype)
    before = base.logits(WAVES)
    bank = Bank(base)
    assert all(map(torch.equal, bank.logits(WAVES, [None] * 6), before))
    bank.add("a", random_adapter(base.model, 1))
    bank.add("c", random_adapter(base.model, 3, ("ffn_output", "conv"), "1", head=True))
    for names in (["a", None, "c", None, None, None], ["a:0.5+c", None, "c", None, None, None]):
        rows = bank.logits(WAVES, names)
        assert all(torch.equal(rows[n], before[n]) for n in (1, 3, 4, 5))
        assert not any(torch.equal(rows[n], before[n]) for n in (0, 2))
    assert all(map(torch.equal, base.logits(WAVES), before))  # beside the bank


def test_transformers_own_call(tiny_base):
    base, other = tiny_base(norm="layer"), tiny_base(norm="layer")
    a = random_adapter(base.model, 1, head=True)
    bank = Bank(base)
    bank.add("a", a)
    batch = torch.from_numpy(np.stack([wave[:4_000] for wave in WAVES[:3]]))
    with torch.no_grad():
        plain = other.model(batch).logits
        with bank.rows([None, "a", None]):
            logits = base.model(batch).logits
            again = base.model(input_values=batch).logits
        after = base.model(batch).logits
        with bank.rows(["a"]), pytest.raises(AdapterError, match="a batch of 3 rows came"):
            base.model(batch)
        own = attach_adapter(other.model, a, check=False)(batch).logits
    assert torch.equal(logits[[0, 2]], plain[[0, 2]]) and torch.equal(after, plain)
    assert torch.equal(again, logits)
    torch.testing.assert_close(logits[1], own[1], atol=1e-5, rtol=1e-5)


def test_sums_are_exact_at_weights_1_and_0(tiny_base):
    base = tiny_base()
    bank = make_bank(base, "b")
    bank.add("a", random_adapter(base.model, 2, head=True))
    expected = bank.logits(WAVES[:4], ["a", None, "b", "a"])
    rows = bank.logits(WAVES[:4], ["a:1+b:0", "b:0", "b:0.5+b:0.5", "a:1e+0 + a:-0"])
    assert all(map(torch.equal, rows, expected))


def test_a_batch_in_flight_sees_the_bank_as_it_was(tiny_base):
    base = tiny_base()
    bank = make_bank(base, "b")
    bank.add("a", random_adapter(base.model, 2, head=True))
    names = ["a", "b", "a:0.5+b", None]
    expected = bank.logits(WAVES[:4], names)

    def edits():
        bank.replace("a", random_adapter(base.model, 3))
        bank.drop("b")

    with bank.rows(names), ThreadPoolExecutor(1) as pool:
        pool.submit(edits).result(timeout=120)
        rows = base.logits(WAVES[:4])
    assert all(map(torch.equal, rows, expected))
    with pytest.raises(AdapterError, match="b: no adapter of the bank has this name"):
        bank.logits(WAVES[:1], ["b"])


def test_what_add_takes(tiny_folder, speaker42):
    """A registered name, a folder, a sum; in inference mode too."""
    bank = Bank(load_base(tiny_folder))
    assert bank, "an empty bank is a bank"
    with torch.inference_mode():
        bank.add("speaker42")
    bank.add("folder", speaker42)
    bank.add("half", "speaker42:0.5")
    whole, folder, half, sums = (
        bank.logits(WAVES[:1], [n])[0] for n in ("speaker42", "folder", "half", "folder:0.5")
    )
    assert torch.equal(whole, folder) and torch.equal(half, sums) and not torch.equal(whole, half)
    with pytest.raises(UnknownAdapter, match=r"speaker43: no adapter has this name.*speaker42"):
        bank.add("speaker43")


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8", "bf16"])
def test_a_batch_with_one_adapter_is_bit_for_bit_what_attach_gives(tiny_folder, precision, head):
    """In every precision, so that no hypothesis depends on how an adapter is loaded."""
    bases = [load_base(tiny_folder, dtype="float32" if precision == "bf16" else precision) for _ in "12"]
    for base in bases:
        base.precision = "bf16" if precision == "bf16" else "no"
    adapter = random_adapter(bases[0].model, 1, head=head)
    attach_adapter(bases[0].model, adapter, check=False)
    bank = Bank(bases[1])
    bank.add("a", adapter)
    assert all(map(torch.equal, bank.logits(WAVES, ["a"] * 6), bases[0].logits(WAVES)))


def test_adapters_that_do_not_fit_change_nothing(tiny_base):
    base = tiny_base()
    bank = make_bank(base)
    expected = bank.logits(WAVES[:1], ["a"])
    wide = tiny_base(vocab_size=40).model
    narrow = tiny_base(intermediate_size=40).model
    half = Adapter("b", IA3Config((), train_head=True), {}, {"lm_head.weight": torch.ones(29, 32)})
    broken = random_adapter(base.model, 2)
    next(iter(broken.vectors.values()))[3] = float("inf")
    for adapter, message in (
        (random_adapter(wide, 2, head=True), r"lm_head\.weight has 1280"),
        (random_adapter(narrow, 2), r"\.ia3_ffn has 40 parameters"),
        (broken, "NaN or infinite"),
        (half, r"the head is lm_head\.weight"),
    ):
        with pytest.raises(AdapterError, match=message):
            bank.add("b", adapter)
        with pytest.raises(AdapterError, match=message):
            bank.replace("a", adapter)
    assert bank.names() == ["a"] and torch.equal(bank.logits(WAVES[:1], ["a"])[0], expected[0])
