"""`lm`, `tune-lm` and `hotwords`, and what `decode` and `transcribe` make of their files."""

import gzip
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from corpus_files import sound_directory

from ia3_speech.decoding.search import SearchOptions, make_search
from ia3_speech.lm.arpa import read_arpa
from ia3_speech.session import load

TEXT = "the patient has a fever\nthe patient has no cough\na fever of three days\n"


def noises(folder: Path, texts: list[str]) -> Path:
    """A data directory of noises, folder/s-0.wav …, with texts."""
    texts = {f"s-{n}": text for n, text in enumerate(texts)}
    waves = {id: np.random.default_rng(n).normal(0, 0.1, 8_000) for n, id in enumerate(texts)}
    return sound_directory(folder / "data", waves, texts)


@pytest.fixture
def directory(tmp_path):
    return noises(tmp_path, 2 * TEXT.splitlines())


def test_a_model_of_files_and_directories(run_command, tmp_path, directory):
    (tmp_path / "notes.txt").write_text("A fever, no cough!\n\n  The PATIENT   has a cough. \n")
    out = tmp_path / "a.arpa.gz"
    estimated = run_command("lm", tmp_path / "notes.txt", directory, "--out", out, "--order", 2)
    assert (estimated.code, estimated.err) == (0, "")
    model = read_arpa(out)
    assert estimated.out == f"{out}: 13 1-grams, {model.counts()[1]} 2-grams, 0.0 MB\n"
    words = {"a", "cough", "days", "fever", "has", "no", "of", "patient", "the", "three"}
    assert set(model.vocabulary[3:]) == words
    assert gzip.decompress(out.read_bytes()).startswith(b"\\data\\\nngram 1=13\n")


def test_a_mixture_with_a_text_and_the_base_s_own_model(run_command, tmp_path, tiny_folder):
    """Weights by dev and perplexity go into the summary; the second time nothing is estimated."""
    (tmp_path / "own.txt").write_text(TEXT + "38.5 degrees\n")
    (tmp_path / "leaflet.txt").write_text("metformin for a fever\n")
    (tmp_path / "general.txt").write_text("a day at the sea\n")
    (tmp_path / "dev.txt").write_text("metformin at sea\n")
    run_command("lm", tmp_path / "general.txt", "--out", tiny_folder / "lm.arpa.gz")
    lm = ("lm", tmp_path / "own.txt", "--mix", tmp_path / "leaflet.txt", "--base", tiny_folder)
    lm += ("--dev", tmp_path / "dev.txt", "--out", tmp_path / "m.arpa", "--summary", tmp_path / "m.json")
    estimated = run_command(*lm)
    assert estimated.code == 0 and "1 number was written in words" in estimated.err
    summary = json.loads((tmp_path / "m.json").read_text())
    names = [tmp_path / "own.txt", tmp_path / "leaflet.txt", tiny_folder / "lm.arpa.gz"]
    assert list(summary["weights"]) == list(map(str, names))
    assert sum(summary["weights"].values()) == pytest.approx(1)
    assert summary["dev"]["words"] == 3 and summary["dev"]["unknown_words"] == 0
    model = read_arpa(tmp_path / "m.arpa")
    assert summary["ngrams"] == model.counts()
    assert {"metformin", "sea", "thirty", "eight"} <= set(model.vocabulary) and "38" not in model.vocabulary
    assert run_command(*lm).out == f"{tmp_path / 'm.arpa'}: up to date\n"
    (tmp_path / "leaflet.txt").write_text("another leaflet\n")
    assert "(changed: mix)" in run_command(*lm).err
    assert "another" in read_arpa(tmp_path / "m.arpa").vocabulary


def test_tuned_weights_are_what_decode_then_uses(run_command, tmp_path, directory, tiny_folder):
    run_command("lm", directory, "--out", tmp_path / "own.arpa.gz")
    tune = ("tune-lm", directory, "--lm", tmp_path / "own.arpa.gz", "--base", tiny_folder, "--out",
            tmp_path / "search.yaml", "--lm-weights", 0.5, 1, "--word-scores", 0, 2)  # fmt: skip
    table = run_command(*tune).out.splitlines()
    rates = [float(rate) for line in table[2:4] for rate in line.split()[1:]]
    rates = dict(zip(product((0.5, 1.0), (0.0, 2.0)), rates, strict=True))
    chosen = yaml.safe_load((tmp_path / "search.yaml").read_text())
    assert rates[chosen["lm_weight"], chosen["word_score"]] == min(rates.values())
    assert chosen["search"] == "beam" and chosen["lm"] == str(tmp_path / "own.arpa.gz")
    assert run_command(*tune).out == f"{tmp_path / 'search.yaml'}: up to date\n"
    config = ("--config", tmp_path / "search.yaml", "--base", tiny_folder)

    def decode(*words) -> dict:
        run_command("decode", directory, tmp_path / "decoded", *config, *words)
        return json.loads((tmp_path / "decoded/decode.json").read_text())

    assert decode().items() >= (chosen | {"beam_size": 50}).items()
    run_command("calibrate", directory, *config, "--store")  # a recipe's way: the same --config for all three
    assert decode()["confidence_scaling"]
    record = decode("--lm-weight", 3)
    assert record["lm_weight"] == 3 and record["confidence_scaling"] is None


def test_a_base_with_a_model_of_its_own_is_searched_with_it(run_command, tmp_path, directory, tiny_folder):
    run_command("lm", directory, "--out", tiny_folder / "lm.arpa.gz")
    (tiny_folder / "lm.json").write_text(json.dumps({"lm_weight": 0.7, "word_score": 0.25}))
    recognizer = load(tiny_folder).recognizer
    assert recognizer.search_record == {
        "search": "beam", "lm": str(tiny_folder / "lm.arpa.gz"), "lm_weight": 0.7, "word_score": 0.25,
        "unknown_word_score": -10.0, "beam_size": 50,
    }  # fmt: skip
    files = [tiny_folder / "lm.arpa.gz", tiny_folder / "lm.json"]
    assert SearchOptions().files(tiny_folder) == files
    assert SearchOptions(lm=files[0]).files(tiny_folder) == files[:1]
    transcribe = ("transcribe", "--base", tiny_folder, tmp_path / "s-0.wav")
    beam, greedy = (run_command(*transcribe, *words).out for words in ((), ("--search", "greedy")))
    assert beam != greedy and all(word.isalpha() for word in beam.split())
    assert make_search(SearchOptions(lm_weight=0.1), recognizer.base)[1]["lm_weight"] == 0.1


def test_what_is_registered_with_an_adapter_is_what_it_is_searched_with(
    run_command, tmp_path, directory, tiny_folder, speaker42, caplog
):
    """All of it, also of a part of the adapter, and without what is given or left out; of a sum nothing."""
    for out in (tmp_path / "own.arpa.gz", tiny_folder / "lm.arpa.gz"):
        run_command("lm", directory, "--out", out)
    (tmp_path / "terms.txt").write_text("cough\n")
    stored = ("--lm", tmp_path / "own.arpa.gz", "--lm-weight", 0.75, "--hotwords", tmp_path / "terms.txt")
    run_command("adapters", "register", tiny_folder.parent / "adapter", "clinic", *stored)
    place, own = speaker42.parent / "clinic", {"lm_weight": 0.75, "terms": 1}

    def search(adapter: str = "clinic", **options) -> dict:
        return load(tiny_folder, adapter=adapter, search=SearchOptions(**options)).recognizer.search_record

    assert search().items() >= (own | {"lm": f"{place}/lm.arpa.gz"}).items()
    assert search("speaker42")["lm"] == f"{tiny_folder}/lm.arpa.gz"  # which nothing is registered with
    other = search(lm=tmp_path / "own.arpa.gz")  # whose weights are not those of another model
    assert (other["lm"], other["lm_weight"], other["terms"]) == (f"{tmp_path}/own.arpa.gz", 0.5, 1)
    assert search(lm=Path("none")).keys() >= {"hotwords"} and search(lm=Path("none"))["search"] == "greedy"
    assert search(search="greedy") == {"search": "greedy"} and search("clinic:0.5") == search()
    assert search("clinic:0.5+speaker42:0.5")["lm"] == f"{tiny_folder}/lm.arpa.gz"
    assert "not the registered search of clinic" in caplog.text
    decode = ("decode", directory, tmp_path / "decoded", "--base", tiny_folder, "--adapter", "clinic")
    run_command(*decode)
    assert json.loads((tmp_path / "decoded/decode.json").read_text()).items() >= own.items()
    (place / "hotwords.txt").write_text("fever\n")
    assert "changed: hotwords" in run_command(*decode).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("transcribe", "--search", "greedy", "--lm-weight", "1"), "--lm-weight has no effect on greedy"),
        (("transcribe", "--word-score=-inf"), "--word-score is -inf"),
        (("transcribe", "--hotwords", "bad"), "bad:2: the weight of 'asthma' is -2"),
        (("tune-lm", "--lm", "none"), "give --lm FILE"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_base_is_loaded(
    run_command, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    Path("bad").write_text("fever\nasthma\t-2\n")
    refused = run_command(*words, "--base", "no such base", "a.wav")
    assert refused.code in (1, 2) and message in refused.err and refused.err.count("\n") == 1


@pytest.fixture
def heard(tmp_path):
    """A data directory, and beside it what was heard, and where learned terms go."""
    noises(tmp_path, ["he takes deximet 3 times", "deximet for COVID 19"])
    (tmp_path / "heard").mkdir()
    heard = "s-0 he takes dexa medi three times\ns-1 dexa medi for covid nighteen\n"
    (tmp_path / "heard/text").write_text(heard)
    (tmp_path / "terms").write_text("Deximet\nCOVID-19\t2\n")
    return ("hotwords", "learn", tmp_path / "data", tmp_path / "heard", "--out", tmp_path / "out", "--terms")


def test_learned_forms_are_checked_and_used(run_command, tmp_path, heard, tiny_folder):
    out = tmp_path / "out"
    run_command(*heard, tmp_path / "terms")
    written = f"# forms learned from {tmp_path}/data and {tmp_path}/heard\n"
    written += "Deximet\t\tdexa medi\nCOVID-19\t2\tcovid nighteen\n"
    assert out.read_text() == written
    assert run_command("hotwords", "check", out, "--base", tiny_folder).out.startswith(f"{out}: 2 terms, ")
    common = ("--hotwords", out, "--base", tiny_folder, "--search", "greedy", "--hotword-weight")
    transcribed = run_command("transcribe", tmp_path / "s-0.wav", *common, 50)
    assert {"Deximet", "COVID-19"} & set(transcribed.out.split())
    decode, record = ("decode", tmp_path / "data", tmp_path / "decoded"), tmp_path / "decoded/decode.json"
    note = f"{out}: none of its 2 terms was recognised in this audio\n"
    assert run_command(*decode, *common, 0.001).err == note
    expected = {"hotwords": str(out), "hotword_weight": 0.001, "terms": 2}
    assert json.loads(record.read_text()).items() >= expected.items()
