"""`hotwords learn` and `check`, and `--hotwords` of decode and transcribe."""

import json

import numpy as np
import pytest
import soundfile

from ia3_speech import hotwords
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance
from ia3_speech.decode import main as decode
from ia3_speech.decoding.decode_directory import decode_utterances
from ia3_speech.loading import SearchOptions, load
from ia3_speech.scoring.alignment import count_errors
from ia3_speech.transcribe import main as transcribe


@pytest.fixture
def run(capsys):
    """A function that runs a command: exit code, stdout, stderr."""

    def outcome(main, *argv):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            words = [str(word) for word in argv]
            main(words) if main is hotwords.main else command(main, words)
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return outcome


@pytest.fixture
def directory(tmp_path):
    """A data directory of two noises with texts, and a decode directory with what "was heard"."""
    utterances = []
    for n, text in enumerate(["he takes deximet", "deximet for COVID 19"]):
        source = tmp_path / f"s-{n}.wav"
        wave = np.random.default_rng(n).normal(0, 0.1, SAMPLE_RATE // 2).astype(np.float32)
        soundfile.write(source, wave, SAMPLE_RATE)
        utterances.append(Utterance(f"s-{n}", "s", f"s-{n}", str(source), text=text))
    write_data_directory(tmp_path / "data", utterances)
    (tmp_path / "heard").mkdir()
    (tmp_path / "heard/text").write_text("s-0 he takes dexa medi\ns-1 dexa medi for covid nighteen\n")
    return tmp_path


def test_learned_forms_are_checked_and_used(run, directory, tiny_folder):
    terms, out = directory / "terms.txt", directory / "learned.txt"
    terms.write_text("Deximet\nCOVID-19\t2\n")
    data = (directory / "data", directory / "heard")
    code, printed, err = run(hotwords.main, "learn", *data, "--terms", terms, "--out", out)
    assert (code, err) == (0, "")
    assert printed.splitlines() == [
        "heard as        hits  false alarms  term",
        "dexa medi          2             0  Deximet",
        "covid nighteen     1             0  COVID-19",
        "3 occurrences of terms, 0 of them recognised; 2 heard-as forms kept, 0 left out",
        f"{out}: 2 terms",
    ]
    assert out.read_text().splitlines()[1:] == ["Deximet\t\tdexa medi", "COVID-19\t2\tcovid nighteen"]
    code, printed, _ = run(hotwords.main, "check", out, "--base", tiny_folder)
    assert code == 0
    expected = f"{out}: 2 terms, 2 heard-as forms, 5 spellings; {tiny_folder} can write them\n"
    assert printed == expected
    common = ("--hotwords", out, "--base", tiny_folder, "--search", "greedy")
    code, _, err = run(decode, directory / "data", directory / "none", *common, "--hotword-weight", 0.001)
    assert code == 0 and err == f"{out}: none of its 2 terms was found in this audio\n"
    record = json.loads((directory / "none/decode.json").read_text())
    assert (record["hotwords"], record["hotword_weight"], record["terms"]) == (str(out), 0.001, 2)
    code, printed, err = run(transcribe, directory / "s-0.wav", *common, "--hotword-weight", 50)
    assert (code, err) == (0, "") and {"Deximet", "COVID-19"} & set(printed.split())
    out.write_text("Deximet\n")  # another list: decoded again
    run(decode, directory / "data", directory / "none", *common, "--hotword-weight", 0.001)
    assert json.loads((directory / "none/decode.json").read_text())["terms"] == 1


def test_errors_are_one_line_and_come_before_the_base(run, directory):
    terms = directory / "terms.txt"
    terms.write_text("fever\nasthma\t-2\n")
    code, _, err = run(transcribe, directory / "s-0.wav", "--hotwords", terms, "--base", "no/base")
    assert code == 1 and err.startswith(f"error: {terms}:2: the weight of 'asthma' is -2")
    data = (directory / "data", directory / "heard")
    terms.write_text("fever\n")
    for words, message in [
        (("--dev", directory / "data"), "--dev and --dev-decode belong together"),
        (("--minimum-count", 0), "--minimum-count has to be at least 1"),
    ]:
        out = directory / "out.txt"
        code, _, err = run(hotwords.main, "learn", *data, "--terms", terms, "--out", out, *words)
        assert code == 1 and message in err and err.count("\n") == 1 and not out.exists()
    gone = directory / "gone.txt"
    lacking = f"error: {gone}: cannot be read: No such file or directory"
    for words, hint in [
        ((hotwords.main, "learn", *data, "--terms", gone, "--out", out), "give a file with a term a line"),
        (
            (hotwords.main, "learn", *data, "--terms", terms, "--out", out, "--text", gone),
            "--text takes text",
        ),
        ((hotwords.main, "check", gone), "give a file with a term a line"),
        ((transcribe, directory / "s-0.wav", "--hotwords", gone, "--base", "no/base"), "give a file with a"),
    ]:
        code, _, err = run(*words)
        assert code == 1 and err.startswith(f"{lacking} ({hint}") and err.count("\n") == 1
    code, _, err = run(hotwords.main, "learn", *data, "--terms", terms, "--out", out)
    assert code == 0 and err.count("none of the terms of") == 1 and out.read_text().endswith("fever\n")
    (directory / "heard/text").write_text("s-0 he takes\n")
    code, _, err = run(hotwords.main, "learn", *data, "--terms", terms, "--out", out)
    assert code == 1 and "has no utterance s-1" in err


def test_terms_that_are_not_said_cost_no_words_of_real_speech(base_folder, shared_data, tmp_path):
    """And one that is said, and misheard, is found."""
    utterances = read_data_directory(shared_data / "read_english/dev", spk_sort=False).utterances[::10]
    terms = "Metformin\nhypertension\natrial fibrillation\ncappuccino\nalmond milk\noverdraft\nbradycardia\n"
    (tmp_path / "terms").write_text(terms)
    errors = []
    for options in (SearchOptions("greedy"), SearchOptions("greedy", hotwords=tmp_path / "terms")):
        recognizer = load(base_folder, search=options).recognizer
        found = decode_utterances(recognizer, utterances, progress=False).texts
        pairs = [(normalize(one.text).split(), normalize(found[one.id]).split()) for one in utterances]
        errors.append(sum(count_errors(*pair).total for pair in pairs))
    assert errors[1] <= errors[0]
