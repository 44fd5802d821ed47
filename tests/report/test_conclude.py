"""recipes/utils/conclude.py: the best search, and whether the adapter takes its name."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from records import change, made, put, rates, score, write
from safetensors.numpy import save_file

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.decoding.search import SearchOptions

sys.path.append(str(Path(__file__).parents[2] / "recipes/utils"))
from conclude import best_result, register

GREEDY = "ia3_plus_seed1/decode_greedy_test"


def compared(wer: float, baseline: float, improvement: float = 0.9, by_label=None) -> dict:
    """A score.json; Kaldi's bootstrap gives the system this probability to be better."""
    scored = score(wer, baseline, by_label)
    return scored | {"wer_bootci": scored["wer_bootci"] | {"improvement": improvement}}


@pytest.fixture
def exp(tmp_path):
    """A base with 40 errors, and with a language model 20; ia3_plus, and its adapter."""
    folder = tmp_path / "exp/notes"
    system = folder / "ia3_plus_seed1"
    (system / "adapter").mkdir(parents=True)
    save_file({"a.ia3_key": np.full(4, 1.5)}, system / "adapter/ia3_speech.safetensors")
    write(system / "adapter/ia3_speech.json", {"schema": 1, "base": "mini"})
    write(system / "train.json", {"audio_seconds": 90.0, "dev_wer": 0.3, "seed": 1, "seconds": 180})
    write(system / "inputs.json", made(seconds=120))  # of its last part
    write(system / "lm_search.yaml.inputs.json", made(seconds=60))
    (system / "config.yaml").write_text("learning_rate: 0.02\n")
    (folder / "lm.arpa.gz").write_bytes(b"some n-grams")
    chosen = f"search: beam\nlm: {folder}/lm.arpa.gz\nlm_weight: 0.8\nword_score: 0.0\n"
    (system / "lm_search.yaml").write_text(chosen)
    (system / "hotwords.txt").write_text("metformin\tmet form in\n")
    put(folder, "base/decode_greedy_test", score(0.4))
    put(folder, "base/decode_lm_test", score(0.2, 0.4))
    put(folder, GREEDY, compared(0.3, 0.4))
    return folder


def decoded(exp, search: str, scored: dict, on: str = "test", sha256: str | None = None) -> None:
    """The result of the adapter, as it is."""
    adapter = {"sha256": sha256 or weights_sha256(exp / "ia3_plus_seed1/adapter")}
    put(exp, f"ia3_plus_seed1/decode_{search}_{on}", scored, adapter=adapter)


def registered(exp, **options) -> dict:
    """The entry of the adapter in registered.json."""
    register(exp / "ia3_plus_seed1/adapter", "notes", score=[exp / GREEDY / "score.json"], **options)
    return json.loads((exp / "registered.json").read_text())["notes"]


def test_the_best_system_is_registered_as_one_thing(exp):
    """With greedy search for the Hub in its card, the registered search beside it, and no earlier scores."""
    decoded(exp, "lm", compared(0.1, 0.2))
    decoded(exp, "greedy", score(0.3), on="dev")
    decoded(exp, "lm", score(0.2), on="dev")
    assert registered(exp)["search"] == "lm"
    decoded(exp, "hotwords", score(0.08, 0.1))
    decoded(exp, "hotwords", score(0.1), on="dev")
    entry = registered(exp)
    assert (entry["search"], entry["chosen_on"], entry["measured"]) == ("hotwords", "dev", 3)
    place = registry.adapters_dir() / "notes"
    search = SearchOptions().complete(place)
    assert search == SearchOptions("beam", place / "lm.arpa.gz", 0.8, 0.0, hotwords=place / "hotwords.txt")
    assert search.lm.read_bytes() == b"some n-grams"
    assert best_result(exp / "ia3_plus_seed1", "test").folder.name == "decode_hotwords_test"
    scores = read_record(place)["scores"]
    assert [(score["set"], score.get("search")) for score in scores] == [
        ("notes/test", None), ("notes/test", "LM + hot words"),
    ]  # fmt: skip
    eval_results = ModelCard.load(place / "README.md").data.eval_results
    rates = [(result.metric_type, result.metric_value) for result in eval_results]
    assert rates == [("wer", 30.0), ("cer", 7.5)]
    text = (place / "README.md").read_text()
    assert "| notes/test | 30.0 [25.0, 35.0] | base | 40.0 |" in text
    assert "with LM + hot words | 8.0 [3.0, 13.0] | ia3_plus_seed1 + LM | 10.0 |" in text


@pytest.mark.parametrize(
    ("rates_of_lm", "on_dev", "search"),
    [(0.32, None, "lm"), (0.1, None, "lm"), (0.1, (0.2, 0.25), "greedy"), (0.32, (0.3, 0.25), "lm")],
)
def test_the_best_search(exp, rates_of_lm, on_dev, search):
    """By dev; without it the base's way, with the language model. Test has no say."""
    decoded(exp, "lm", compared(rates_of_lm, 0.4))
    for name, wer in zip(("greedy", "lm"), on_dev or (), strict=False):
        decoded(exp, name, score(wer), on="dev")
    entry = registered(exp)
    assert (entry["search"], entry["chosen_on"]) == (search, on_dev and "dev")
    if search == "greedy":  # even if the base has a language model
        assert SearchOptions().complete(registry.adapters_dir() / "notes") == SearchOptions("greedy")


def test_whose_decoding_counts(exp):
    """Not another adapter's, on dev too; that of the folds."""
    decoded(exp, "lm", compared(0.1, 0.2))
    for name, wer in (("greedy", 0.2), ("lm", 0.25)):
        decoded(exp, name, score(wer), on="dev", sha256="another")
    assert (registered(exp)["search"], registered(exp)["chosen_on"]) == ("lm", None)
    (exp / "ia3_plus_seed1/lm_search.yaml").write_text("search: beam\n")
    for used, measured in (({"sha256": "another"}, 1), ({"path": str(exp / "ia3_plus_seed1")}, 2)):
        put(exp, "ia3_plus_seed1/decode_lm_test", compared(0.1, 0.2), adapter=used)
        assert registered(exp)["measured"] == measured
        assert SearchOptions().complete(registry.adapters_dir() / "notes") == SearchOptions()


@pytest.mark.parametrize(
    ("search", "rates", "fault"),
    [
        ("greedy", (0.5, 0.4, 0.1), "it is worse than the base: it makes 50 errors on test, the base 40 ("),
        ("greedy", (0.4, 0.4, 0), "no better than the base"),
        ("greedy", (0.39, 0.4, 0.6), "may be chance"),
        ("lm", (0.25, 0.2, 0.2), "with the language model it is worse than the base: it makes 25 errors"),
    ],
)
def test_an_adapter_that_does_not_help_takes_no_name(exp, search, rates, fault):
    decoded(exp, search, compared(*rates))
    entry = registered(exp)
    assert fault in entry["refused"] and "1.5 minutes" in entry["refused"]
    assert not registry.registered_names()
    assert registered(exp, anyway=True)["refused"] is None and registry.registered_names() == ["notes"]


def test_the_earlier_adapter_of_this_corpus_is_kept(exp):
    registered(exp)
    for number, value in ((1, 1.4), (2, 1.3)):
        save_file({"a.ia3_key": np.full(4, value)}, exp / "ia3_plus_seed1/adapter/ia3_speech.safetensors")
        registered(exp), registered(exp)  # the second time nothing is new
        assert registry.registered_names() == ["notes", *(f"notes@{n}" for n in range(1, number + 1))]
    assert weights_sha256(registry.resolve_adapter("notes")) == weights_sha256(exp / "ia3_plus_seed1/adapter")
    save_file({"a.ia3_key": np.full(4, 1.1)}, exp / "ia3_plus_seed1/adapter/ia3_speech.safetensors")
    put(exp, GREEDY, compared(0.3, 0.4), corpus="calls")
    with pytest.raises(registry.NameTaken):
        registered(exp)


def test_an_adapter_that_has_learned_from_corrections_is_not_replaced(exp, capsys):
    registered(exp)
    place, adapter = registry.adapters_dir() / "notes", exp / "ia3_plus_seed1/adapter"
    write_record(place, read_record(place) | {"training": {"corrections": {"a": 1}}})
    save_file({"a.ia3_key": np.full(4, 1.4)}, adapter / "ia3_speech.safetensors")
    before = weights_sha256(place)
    assert registered(exp)["refused"] is None and weights_sha256(place) == before
    hint = f"includes corrections (ia3-speech adapters register --keep {adapter}"
    assert hint in capsys.readouterr().out


def test_a_speaker_s_adapter_is_evaluated_on_that_speaker(exp):
    speakers = {"ann": rates(0.3, 0.4), "bob": rates(0.39, 0.4)}
    speakers["bob"]["changes"] = {"wer": change(0.39, 0.4, half=0.2)}
    file = put(exp, GREEDY, compared(0.3, 0.4, by_label={"speaker": speakers}))
    for speaker in speakers:
        adapter = exp / f"ia3_plus_seed1/{speaker}/fold1/adapter"
        shutil.copytree(exp / "ia3_plus_seed1/adapter", adapter)
        write(adapter / "ia3_speech.json", {"schema": 1, "base": "mini", "labels": {"speaker": speaker}})
        register(adapter, speaker, score=[file])
    entries = json.loads((exp / "registered.json").read_text())
    assert registry.registered_names() == ["ann"] and entries["ann"]["refused"] is None
    assert "39 errors on test of bob, the base 40, which may be chance: " in entries["bob"]["refused"]
