"""What a recipe concludes: the best system, whether its adapter takes its name, and the lines at the end."""

import json
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard
from records import change, made, rates, score, terms, write
from safetensors.numpy import save_file

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.results.conclusion import best, register, summary
from ia3_speech.search import SearchOptions

GREEDY = "ia3_plus_seed1/decode_greedy_test/score.json"


def compared(wer: float, baseline: float, improvement: float = 0.9, by_label=None) -> dict:
    """A score.json; Kaldi's bootstrap gives the system this probability to be the better one."""
    found = score(wer, baseline, by_label)
    return found | {"wer_bootci": found["wer_bootci"] | {"improvement": improvement}}


@pytest.fixture
def exp(tmp_path):
    """A base with 40 errors, and with a language model 20; ia3_plus, and its adapter."""
    folder = tmp_path / "exp/notes"
    (folder / "ia3_plus_seed1/adapter").mkdir(parents=True)
    save_file({"a.ia3_key": np.full(4, 1.5)}, folder / "ia3_plus_seed1/adapter/ia3_speech.safetensors")
    write(folder / "ia3_plus_seed1/adapter/ia3_speech.json", {"base": "mini"})
    write(
        folder / "ia3_plus_seed1/train.json",
        {"audio_seconds": 90.0, "dev_wer": 0.3, "seed": 1, "seconds": 180},
    )
    write(folder / "ia3_plus_seed1/inputs.json", made(seconds=120))  # of its last part
    write(folder / "ia3_plus_seed1/lm_search.yaml.inputs.json", made(seconds=60))
    (folder / "ia3_plus_seed1/config.yaml").write_text("learning_rate: 0.02\n")
    (folder / "lm.arpa.gz").write_bytes(b"some n-grams")
    chosen = f"search: beam\nlm: {folder}/lm.arpa.gz\nlm_weight: 0.8\nword_score: 0.0\n"
    (folder / "ia3_plus_seed1/lm_search.yaml").write_text(chosen)
    (folder / "ia3_plus_seed1/hotwords.txt").write_text("metformin\tmet form in\n")
    write(folder / "base/decode_greedy_test/score.json", score(0.4))
    write(folder / "base/decode_lm_test/score.json", score(0.2, 0.4))
    write(folder / GREEDY, compared(0.3, 0.4))
    return folder


def decoded(exp, search: str, scored: dict, on: str = "test") -> None:
    """What the adapter, as it is, was decoded to."""
    folder = exp / f"ia3_plus_seed1/decode_{search}_{on}"
    write(folder / "score.json", scored)
    write(folder / "decode.json", {"adapter": {"sha256": weights_sha256(exp / "ia3_plus_seed1/adapter")}})


def registered(exp, name: str = "notes", **options) -> dict:
    """What registered.json says of an adapter that is registered."""
    register(exp / "ia3_plus_seed1/adapter", name, score=[exp / GREEDY], **options)
    return json.loads((exp / "registered.json").read_text())[name]


def test_the_best_system_is_registered_as_one_thing(exp, capsys):
    decoded(exp, "lm", compared(0.1, 0.2))
    decoded(exp, "hotwords", score(0.08, 0.1, baseline_dir="exp/notes/ia3_plus_seed1/decode_lm_test"))
    for search, wer in (("greedy", 0.3), ("lm", 0.2), ("hotwords", 0.1)):
        decoded(exp, search, score(wer), on="dev")
    entry = registered(exp)
    assert (entry["search"], entry["chosen_on"], entry["measured"]) == ("hotwords", "dev", 3)
    place = registry.adapters_dir() / "notes"
    found = SearchOptions().complete(place)
    assert found == SearchOptions("beam", place / "lm.arpa.gz", 0.8, 0.0, hotwords=place / "hotwords.txt")
    assert found.lm.read_bytes() == b"some n-grams"
    best(exp / "ia3_plus_seed1", "test")
    assert capsys.readouterr().out.splitlines()[-1] == "decode_hotwords_test"


def test_the_card_has_the_wer_of_the_published_files(exp):
    """Greedy search for the Hub; the registered search beside it, and what chose it. No earlier scores."""
    of_test = {"data": "data/notes/test"}
    hotwords = score(0.08, 0.1, baseline_dir="exp/notes/ia3_plus_seed1/decode_lm_test", **of_test)
    write(exp / GREEDY, compared(0.3, 0.4) | of_test)
    decoded(exp, "lm", compared(0.1, 0.2) | of_test)
    decoded(exp, "greedy", score(0.2), on="dev")
    decoded(exp, "lm", score(0.1), on="dev")
    assert registered(exp)["search"] == "lm"
    decoded(exp, "hotwords", hotwords)
    decoded(exp, "hotwords", score(0.05), on="dev")
    registered(exp)
    scores = read_record(registry.adapters_dir() / "notes")["scores"]
    assert [(one["set"], one.get("search")) for one in scores] == [
        ("notes/test", None), ("notes/test", "LM + hot words"),
    ]  # fmt: skip
    card = registry.adapters_dir() / "notes/README.md"
    rates = [(one.metric_type, one.metric_value) for one in ModelCard.load(card).data.eval_results]
    assert rates == [("wer", 30.0), ("cer", 7.5)]
    text = card.read_text()
    assert "| notes/test | 30.0% | 25.0%–35.0% | 40.0% |" in text
    assert r"with LM + hot words | 8.0% | 3.0%–13.0% | 10.0% (ia3\_plus\_seed1 + LM) |" in text
    assert "> notes/test, with LM + hot words: " in text and "not published" in text


@pytest.mark.parametrize(
    ("rates_of_lm", "on_dev", "search"),
    [(0.32, None, "lm"), (0.1, None, "lm"), (0.1, (0.2, 0.25), "greedy"), (0.32, (0.3, 0.25), "lm")],
)
def test_what_the_best_is(exp, rates_of_lm, on_dev, search):
    """By dev; without it the base's way, with the language model. Test has no say."""
    decoded(exp, "lm", compared(rates_of_lm, 0.4))
    for name, wer in zip(("greedy", "lm"), on_dev or (), strict=False):
        decoded(exp, name, score(wer), on="dev")
    entry = registered(exp)
    assert (entry["search"], entry["chosen_on"]) == (search, on_dev and "dev")
    if search == "greedy":  # also where the base has a language model
        assert SearchOptions().complete(registry.adapters_dir() / "notes") == SearchOptions("greedy")


def test_a_search_is_chosen_by_dev_of_this_adapter(exp):
    decoded(exp, "lm", compared(0.1, 0.2))
    for name, wer in (("greedy", 0.2), ("lm", 0.25)):
        write(exp / f"ia3_plus_seed1/decode_{name}_dev/score.json", score(wer))
        write(exp / f"ia3_plus_seed1/decode_{name}_dev/decode.json", {"adapter": {"sha256": "another"}})
    assert (registered(exp)["search"], registered(exp)["chosen_on"]) == ("lm", None)


def test_whose_decoding_counts(exp):
    """Not another adapter's; that of the folds, where the base's own language model is not the adapter's."""
    decoded(exp, "lm", compared(0.1, 0.2))
    (exp / "ia3_plus_seed1/lm_search.yaml").write_text("search: beam\n")
    for used, measured in (({"sha256": "another"}, 1), ({"path": str(exp / "ia3_plus_seed1")}, 2)):
        write(exp / "ia3_plus_seed1/decode_lm_test/decode.json", {"adapter": used})
        assert registered(exp)["measured"] == measured
        assert SearchOptions().complete(registry.adapters_dir() / "notes") == SearchOptions()


LITTLE = "it is trained on 1.5 minutes: more recordings are the likeliest cure"


@pytest.mark.parametrize(
    ("search", "rates", "fault"),
    [
        ("greedy", (0.5, 0.4, 0.1), "it is worse than the base on test, with 50 errors where that makes 40"),
        ("greedy", (0.4, 0.4, 0), "it is no better than the base on test, with 40 errors where that makes "
         "40"),
        ("greedy", (0.39, 0.4, 0.6), "it makes 39 errors on test and the base 40, which may be chance: it is "
         "the better one in 60 % of the draws, and 80 % are needed"),
        ("lm", (0.25, 0.2, 0.2), "with the language model it is worse than the base with it on test, with 25 "
         "errors where that makes 20"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_help_takes_no_name(exp, search, rates, fault, capsys):
    decoded(exp, search, compared(*rates))
    entry = registered(exp)
    assert entry["refused"] == (
        f"notes is not registered: {fault} ({LITTLE}; --register-anyway true registers it)"
    )
    assert capsys.readouterr().out == f"note: {entry['refused']}\n" and not registry.registered_names()
    assert registered(exp, anyway=True)["refused"] is None and registry.registered_names() == ["notes"]


def test_the_cure_that_fits(exp):
    write(exp / GREEDY, compared(0.4, 0.4, 0))
    suspicious = {"swapped": "a.wav, list.csv:5", "noise": "b.wav"}
    write(exp / "ia3_plus_seed1/train.json", {"selected_epoch": 2, "suspicious": suspicious})
    refused = registered(exp)["refused"]
    assert "check the texts" in refused and "swapped (a.wav, list.csv:5), noise (b.wav);" in refused
    write(exp / "ia3_plus_seed1/train.json", {"selected_epoch": 0, "dev_wer": 0.3, "seed": 1})
    lower = "try a lower learning rate, such as --train-opts '--learning-rate 0.005';"
    assert lower in registered(exp)["refused"]


def test_the_earlier_adapter_of_this_corpus_is_kept(exp, tmp_path):
    registered(exp)
    for number, value in ((1, 1.4), (2, 1.3)):
        save_file({"a.ia3_key": np.full(4, value)}, exp / "ia3_plus_seed1/adapter/ia3_speech.safetensors")
        registered(exp), registered(exp)  # the second time nothing is new
        assert registry.registered_names() == ["notes", *(f"notes@{n}" for n in range(1, number + 1))]
    assert weights_sha256(registry.resolve_adapter("notes")) == weights_sha256(exp / "ia3_plus_seed1/adapter")
    shutil.copytree(exp, tmp_path / "exp/calls")
    save_file(
        {"a.ia3_key": np.full(4, 1.1)}, tmp_path / "exp/calls/ia3_plus_seed1/adapter/ia3_speech.safetensors"
    )
    with pytest.raises(registry.NameTaken):
        registered(tmp_path / "exp/calls")


def test_an_adapter_that_has_learnt_from_corrections_stays(exp, capsys):
    registered(exp)
    learnt, adapter = read_record(registry.adapters_dir() / "notes"), exp / "ia3_plus_seed1/adapter"
    write_record(registry.adapters_dir() / "notes", learnt | {"training": {"corrections": {"a": 1}}})
    save_file({"a.ia3_key": np.full(4, 1.4)}, adapter / "ia3_speech.safetensors")
    before = weights_sha256(registry.adapters_dir() / "notes")
    assert registered(exp)["refused"] is None
    assert (
        f"notes: stays, since it has learnt from corrections (ia3-speech adapters register --keep {adapter}"
        in (capsys.readouterr().out)
    )
    assert weights_sha256(registry.adapters_dir() / "notes") == before


def test_a_speaker_s_adapter_is_judged_by_that_speaker(exp):
    speakers = {"ann": rates(0.3, 0.4), "bob": rates(0.39, 0.4)}
    speakers["bob"]["changes"] = {"wer": change(0.39, 0.4, half=0.2)}
    write(exp / GREEDY, compared(0.3, 0.4, by_label={"speaker": speakers}))
    for speaker in speakers:
        adapter = exp / f"ia3_plus_seed1/{speaker}/fold1/adapter"
        shutil.copytree(exp / "ia3_plus_seed1/adapter", adapter)
        register(adapter, speaker, score=[exp / GREEDY])
    entries = json.loads((exp / "registered.json").read_text())
    assert registry.registered_names() == ["ann"] and entries["ann"]["refused"] is None
    fault = "it makes 39 errors on test of bob and the base 40, which may be chance: "
    assert fault in entries["bob"]["refused"]
    save_file({"a.ia3_key": np.ones(4)}, adapter / "ia3_speech.safetensors")
    register(adapter, "bob", score=[exp / GREEDY])
    entries = json.loads((exp / "registered.json").read_text())
    assert "such as --adapt-opts '--learning-rate 0.005';" in entries["bob"]["refused"]


def test_summary(exp, capsys):
    for place, wer, baseline in (("base", 0.2, None), ("ia3_plus_seed1", 0.3, 0.2)):
        write(exp / place / "decode_greedy_out_of_domain/score.json", score(wer, baseline))
    decoded(exp, "lm", compared(0.1, 0.2))
    write(exp / "base/decode_greedy_test/score.json", score(0.4, term_error_rate=0.5))
    decoded(exp, "hotwords", score(0.08, 0.1, term_error_rate=0.05, terms=terms(0.05)))
    (exp / "ia3_plus_seed1/config.yaml").write_text(f"learning_rate: 0.02\nbase: {exp}\n")
    points = [{"utterances": k, "seed": 1, "wer": wer} for k, wer in ((5, 0.36), (10, 0.3))]
    write(exp / "learning_curve.json", {"base": {"wer": 0.4}, "points": points})
    (exp / "report_test.html").touch()
    for search, wer in (("greedy", 0.3), ("lm", 0.2), ("hotwords", 0.1)):
        decoded(exp, search, score(wer), on="dev")
    registered(exp, "ward 3")
    capsys.readouterr()
    summary(str(exp), sample="my audio.wav")
    assert capsys.readouterr().out == (
        "test: WER 8.0 [3.0, 13.0] % with ia3_plus + LM + hot words, base 40.0 %, base + LM 20.0 %, "
        "ia3_plus + LM 10.0 %; the adapter makes 50.0 % fewer errors (95 % interval 40.0 to 60.0) than base + LM; "  # noqa: E501
        "the hot words, 20.0 % fewer errors (95 % interval 10.0 to 30.0) than without them; term errors 50.0 "
        "% → 5.0 % (base → ia3_plus + LM + hot words, of 40 occurrences). Of the adapter's 3 searches "
        "this is the best on dev.\n"
        "  With this base others made 10.0 % fewer errors after 5 utterances of their own, 25.0 % after 10.\n"
        "  Other speech: 20.0 % of base become 30.0 %. Name it for its own kind of speech only.\n"
        f"Training took 3 minutes, all 4 minutes. Tables: {exp}/RESULTS.md. Reports: {exp}/report_test.html\n"
        "Next: ia3-speech transcribe --adapter 'ward 3' 'my audio.wav'\n"
    )


def test_summary_of_an_adapter_that_does_not_help(exp, capsys):
    decoded(exp, "lm", compared(0.25, 0.2, 0.2))
    refused = registered(exp)["refused"]
    capsys.readouterr()
    summary(str(exp))
    lines = capsys.readouterr().out.splitlines()
    assert "the adapter makes 25.0 % more errors (95 % interval 15.0 to 35.0) than base + LM." in lines[0]
    assert lines[1].startswith("  With this base 85 Mandarin speakers of English made ")  # with mini
    assert lines[2] == f"  {refused}."
    assert lines[-1] == f"Next: ia3-speech transcribe --config {exp}/base/lm_search.yaml audio.wav"


def test_a_set_on_which_only_the_base_was_scored_is_not_spoken_of(exp, capsys):
    registered(exp)
    write(exp / "base/decode_greedy_ward/score.json", score(0.5))
    summary(str(exp))
    told = capsys.readouterr().out
    assert "test: WER 30.0" in told and "ward" not in told
