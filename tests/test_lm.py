"""`lm` and `tune-lm`, and what `decode` and `transcribe` make of their files."""

import gzip
import json
from math import inf

import numpy as np
import pytest
import soundfile
import yaml

from ia3_speech import tune_lm
from ia3_speech.cli import UserError, command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.decode import main as decode
from ia3_speech.decoding.recognizer import load_recognizer
from ia3_speech.decoding.search import LEAST, SearchOptions, make_search
from ia3_speech.lm import __main__ as lm
from ia3_speech.lm.arpa import read_arpa
from ia3_speech.transcribe import main as transcribe

TEXT = "the patient has a fever\nthe patient has no cough\na fever of three days\n"


@pytest.fixture
def run(capsys):
    """A function that runs a command: exit code, stdout, stderr."""

    def outcome(main, *argv):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            command(main, [str(word) for word in argv])
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return outcome


@pytest.fixture
def directory(tmp_path):
    """A data directory of six noises with texts."""
    folder = tmp_path / "data"
    (tmp_path / "audio").mkdir()
    utterances = []
    for n, text in enumerate(2 * TEXT.splitlines()):
        wave = np.random.default_rng(n).normal(0, 0.1, SAMPLE_RATE // 2).astype(np.float32)
        soundfile.write(tmp_path / f"audio/s-{n}.wav", wave, SAMPLE_RATE)
        source = str(tmp_path / f"audio/s-{n}.wav")
        utterances.append(Utterance(f"s-{n}", "s", f"s-{n}", source, text=text))
    write_data_directory(folder, utterances)
    return folder


def test_a_model_of_files_and_directories(run, tmp_path, directory):
    (tmp_path / "notes.txt").write_text("A fever, no cough!\n\n  The PATIENT   has a cough. \n")
    code, out, err = run(
        lm.main, tmp_path / "notes.txt", directory, "--out", tmp_path / "a.arpa.gz", "--order", 2
    )
    assert (code, err) == (0, "")
    model = read_arpa(tmp_path / "a.arpa.gz")
    assert out == f"{tmp_path / 'a.arpa.gz'}: 13 1-grams, {model.counts()[1]} 2-grams, 0.0 MB\n"
    words = {"a", "cough", "days", "fever", "has", "no", "of", "patient", "the", "three"}
    assert set(model.vocabulary[3:]) == words
    assert gzip.decompress((tmp_path / "a.arpa.gz").read_bytes()).startswith(b"\\data\\\nngram 1=13\n")


def test_numbers_are_in_words_as_in_training(run, tmp_path, caplog):
    (tmp_path / "notes.txt").write_text("Give 2.5 mg, then 2.5 mg\nno number\nThe 2nd day\n")
    files = (tmp_path / "notes.txt", "--out", tmp_path / "a.arpa")
    run(lm.main, *files)
    words = {"give", "two", "point", "five", "milligrams", "then", "no", "number", "the", "second", "day"}
    assert set(read_arpa(tmp_path / "a.arpa").vocabulary[3:]) == words
    assert caplog.messages == [
        f"{tmp_path / 'notes.txt'}: 3 numbers in 2 of 3 texts were written in words, as by a base without "
        "digits: 2.5 mg → two point five milligrams (2 ×), 2nd → second (1 ×) (write them out as they were "
        "spoken, where that differs)"
    ]
    run(lm.main, *files, "--normalize", "english")
    assert set(read_arpa(tmp_path / "a.arpa").vocabulary[3:]) == words
    caplog.clear()
    for words in (("--numbers", "digits"), ("--normalize", "none")):
        run(lm.main, *files, *words)
        assert "2nd" in read_arpa(tmp_path / "a.arpa").vocabulary and not caplog.messages


def test_a_mixture_with_weights_by_dev(run, tmp_path):
    (tmp_path / "own.txt").write_text(TEXT)
    (tmp_path / "general.txt").write_text("a day at the sea\nthe sea is cold\n")
    (tmp_path / "dev.txt").write_text("the patient has a fever\n")
    run(lm.main, tmp_path / "general.txt", "--out", tmp_path / "general.arpa")
    arguments = ("--mix", tmp_path / "general.arpa", "--out", tmp_path / "both.arpa")
    code, out, _ = run(lm.main, tmp_path / "own.txt", *arguments, "--dev", tmp_path / "dev.txt")
    first, second, _, last = out.splitlines()
    weights = [float(line.rpartition(" ")[2]) for line in (first, second)]
    assert code == 0 and first.startswith("weight of the new model: ") and weights[0] > 0.9
    assert second.startswith(f"weight of {tmp_path / 'general.arpa'}: ") and sum(weights) == pytest.approx(1)
    assert last.endswith("; 0 of 5 words are not in the model")
    code, out, _ = run(lm.main, tmp_path / "own.txt", *arguments, "--mix-weights", "0.25")
    assert "weight of the new model: 0.750" in out


def test_a_mixture_with_a_text_and_the_base_s_own_model(run, tmp_path, tiny_folder):
    """Weights and perplexity go into the summary; the second time nothing is estimated."""
    (tmp_path / "own.txt").write_text(TEXT + "38.5 degrees\n")
    (tmp_path / "leaflet.txt").write_text("metformin for a fever\n")
    (tmp_path / "general.txt").write_text("a day at the sea\n")
    (tmp_path / "dev.txt").write_text("metformin at sea\n")
    run(lm.main, tmp_path / "general.txt", "--out", tiny_folder / "lm.arpa.gz")
    arguments = (tmp_path / "own.txt", "--mix", tmp_path / "leaflet.txt", "--base", tiny_folder)
    arguments += (
        "--dev",
        tmp_path / "dev.txt",
        "--out",
        tmp_path / "m.arpa",
        "--summary",
        tmp_path / "m.json",
    )
    code, _, err = run(lm.main, *arguments)
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "m.json").read_text())
    names = [tmp_path / "own.txt", tmp_path / "leaflet.txt", tiny_folder / "lm.arpa.gz"]
    assert list(found["weights"]) == list(map(str, names))
    assert sum(found["weights"].values()) == pytest.approx(1)
    assert found["dev"]["words"] == 3 and found["dev"]["unknown_words"] == 0
    model = read_arpa(tmp_path / "m.arpa")
    assert found["ngrams"] == model.counts()
    assert {"metformin", "sea", "thirty", "eight"} <= set(model.vocabulary) and "38" not in model.vocabulary
    assert run(lm.main, *arguments)[1] == f"{tmp_path / 'm.arpa'}: up to date\n"
    (tmp_path / "leaflet.txt").write_text("another leaflet\n")
    code, _, err = run(lm.main, *arguments)
    assert "another" in read_arpa(tmp_path / "m.arpa").vocabulary and "(changed: mix)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "x.arpa"), "no text was given"),
        (
            ("none.txt", "--out", "x.arpa"),
            "none.txt: cannot be read: No such file or directory (give a text file with a sentence a line, "
            "or a data directory)",
        ),
        (
            ("own.txt", "--out", "x.arpa", "--mix", "none.arpa"),
            "'none.arpa' (ia3-speech lm makes one of text)",
        ),
        (("empty.txt", "--out", "x.arpa"), "the text holds no word"),
        (("latin.txt", "--out", "x.arpa"), "latin.txt:1: not UTF-8 (convert it"),
        (("own.txt", "--out", "x.arpa", "--order", "0"), "--order has to be at least 1"),
        (("own.txt", "--out", "x.arpa", "--mix", "bad.arpa"), "bad.arpa: is no ARPA file"),
        (
            ("own.txt", "--out", "x.arpa", "--mix-weights", "0.5"),
            "--mix-weights takes one weight for each --mix",
        ),
    ],
)
def test_what_makes_no_model_is_named_and_leaves_no_file(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(TEXT)
    (tmp_path / "empty.txt").write_text("...\n")
    (tmp_path / "bad.arpa").write_text(TEXT)
    (tmp_path / "latin.txt").write_bytes("déjà".encode("latin-1"))
    code, _, err = run(lm.main, *arguments)
    assert code == 1 and message in err and err.count("\n") == 1
    assert not (tmp_path / "x.arpa").exists()


def test_tuned_weights_are_what_decode_then_uses(run, tmp_path, directory, tiny_folder):
    run(lm.main, directory, "--out", tmp_path / "own.arpa.gz")
    tuned = ("--lm", tmp_path / "own.arpa.gz", "--base", tiny_folder, "--out", tmp_path / "search.yaml")
    code, out, err = run(tune_lm.main, directory, *tuned, "--lm-weights", 0.5, 1, "--word-scores", 0, 2)
    assert (code, err) == (0, "")
    table = out.splitlines()
    assert table[1].split() == ["LM", "weight", "0", "2"]
    rates = {(w, s): float(rate) for w, line in zip((0.5, 1.0), table[2:4], strict=True)
             for s, rate in zip((0.0, 2.0), line.split()[1:], strict=True)}  # fmt: skip
    found = yaml.safe_load((tmp_path / "search.yaml").read_text())
    assert rates[found["lm_weight"], found["word_score"]] == min(rates.values())
    assert found["search"] == "beam" and found["lm"] == str(tmp_path / "own.arpa.gz")
    assert run(tune_lm.main, directory, *tuned, "--lm-weights", 0.5, 1, "--word-scores", 0, 2)[1] == (
        f"{tmp_path / 'search.yaml'}: up to date\n"
    )
    config = ("--config", tmp_path / "search.yaml", "--base", tiny_folder)
    code, _, err = run(decode, directory, tmp_path / "decoded", *config)
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "decoded/decode.json").read_text())
    assert {name: record[name] for name in ("search", "lm", "lm_weight", "word_score")} == found
    assert record["beam_size"] == 50
    text = (tmp_path / "decoded/text").read_text()
    run(decode, directory, tmp_path / "decoded", *config, "--lm-weight", 3)
    assert json.loads((tmp_path / "decoded/decode.json").read_text())["lm_weight"] == 3
    run(decode, directory, tmp_path / "greedy", "--base", tiny_folder)
    assert json.loads((tmp_path / "greedy/decode.json").read_text())["search"] == "greedy"
    assert (tmp_path / "greedy/text").read_text() != text


def test_references_of_tuning_have_numbers_in_words(run, tmp_path, directory, tiny_folder, caplog):
    run(lm.main, directory, "--out", tmp_path / "own.arpa")
    words = ("--lm", tmp_path / "own.arpa", "--base", tiny_folder, "--lm-weights", 1, "--word-scores", 0)
    texts = directory / "text"
    tables = []
    for spoken in ("three", "3"):
        texts.write_text(texts.read_text().replace("three", spoken))
        tables.append(run(tune_lm.main, directory, *words)[1])
    assert tables[0] == tables[1] != ""
    assert [message.partition(": 3 → three")[0] for message in caplog.messages] == [
        f"{texts}: 2 numbers in 2 of 6 texts were written in words, since the base has no digits"
    ]


def test_a_base_with_a_model_of_its_own_is_searched_with_it(run, tmp_path, directory, tiny_folder):
    run(lm.main, directory, "--out", tiny_folder / "lm.arpa.gz")
    (tiny_folder / "lm.json").write_text(json.dumps({"lm_weight": 0.7, "word_score": 0.25}))
    recognizer = load_recognizer(tiny_folder)
    assert recognizer.search_record == {
        "search": "beam", "lm": str(tiny_folder / "lm.arpa.gz"), "lm_weight": 0.7, "word_score": 0.25,
        "unknown_word_score": -10.0, "beam_size": 50,
    }  # fmt: skip
    own = [tiny_folder / "lm.arpa.gz", tiny_folder / "lm.json"]
    assert (
        SearchOptions().files(tiny_folder) == own and SearchOptions(lm=own[0]).files(tiny_folder) == own[:1]
    )
    assert SearchOptions("greedy").files(tiny_folder) == SearchOptions().files(None) == []
    wave = tmp_path / "audio/s-0.wav"
    beam, greedy = (
        run(transcribe, "--base", tiny_folder, *words, wave)[1] for words in ((), ("--search", "greedy"))
    )
    assert beam != greedy and set(beam.split()) <= {w for w in beam.split() if w.isalpha()}
    vocabulary, folder = recognizer.base.vocabulary, tiny_folder
    assert make_search(SearchOptions("greedy"), vocabulary, folder)[1] == {"search": "greedy"}
    assert make_search(SearchOptions(lm_weight=0.1), vocabulary, folder)[1]["lm_weight"] == 0.1


def test_options_that_cannot_be_meant_are_refused_before_the_base_is_loaded(run, tmp_path):
    for words, message in [
        (("--search", "greedy", "--lm-weight", "1"), "--lm-weight has no effect on greedy search"),
        (("--lm", tmp_path / "none.arpa"), "none.arpa: no such file"),
        (("--beam-size", "0"), "--beam-size is 0, and has to be at least 1"),
        (("--lm-weight", ".nan"), "--lm-weight is nan, and has to be a finite number"),
        (("--lm-weight", "1e999"), "--lm-weight is inf, and has to be a finite number"),
        (("--lm-weight", "-0.5"), "--lm-weight is -0.5, and has to be at least 0"),
        (("--word-score", "-.inf"), "--word-score is -inf, and has to be a finite number"),
        (("--unknown-word-score", ".nan"), "--unknown-word-score is nan, and has to be a finite number"),
    ]:
        code, _, err = run(transcribe, *words, "a.wav")
        assert code == 1 and message in err and err.count("\n") == 1
    tuned = ("--lm", tmp_path / "own.arpa", "--base", "no such base")
    (tmp_path / "own.arpa").touch()
    for words, message in [
        (("--lm-weights=[0.5,-1]",), "--lm-weights is -1, and has to be at least 0"),
        (("--word-scores", "0", ".nan"), "--word-scores is nan, and has to be a finite number"),
    ]:
        code, _, err = run(tune_lm.main, tmp_path, *tuned, *words)
        assert code == 1 and message in err and err.count("\n") == 1
    with pytest.raises(UserError, match="no effect"):
        load_recognizer("no such base", search=SearchOptions("greedy", word_score=1.0))


@pytest.mark.parametrize("name", LEAST)
def test_numbers_of_a_search_are_finite_and_weights_not_negative(name, tmp_path):
    (tmp_path / "terms.txt").write_text("metformin\n")
    hotwords = tmp_path / "terms.txt" if name == "hotword_weight" else None
    refused = [float("nan"), float("inf"), float("-inf"), *([] if LEAST[name] == -inf else [-1])]
    for value in (*refused, *([2.5] if name == "beam_size" else [])):
        with pytest.raises(UserError, match=rf"^--{name.replace('_', '-')} is {value:g}, and has to be "):
            SearchOptions(**{name: value}, hotwords=hotwords).check()
    for value in (1, 2, *([-3.5] if LEAST[name] == -inf else [])):
        SearchOptions(**{name: value}, hotwords=hotwords).check()
