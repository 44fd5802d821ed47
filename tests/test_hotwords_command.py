"""`hotwords learn` and `check`, and `--hotwords` of decode and transcribe."""

import json

import numpy as np
import pytest
import soundfile

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.utterance import Utterance


@pytest.fixture
def directory(tmp_path):
    """A data directory of two noises with texts, and a decode directory with what "was heard"."""
    utterances = []
    for n, text in enumerate(["he takes deximet 3 times", "deximet for COVID 19"]):
        source = tmp_path / f"s-{n}.wav"
        wave = np.random.default_rng(n).normal(0, 0.1, SAMPLE_RATE // 2).astype(np.float32)
        soundfile.write(source, wave, SAMPLE_RATE)
        utterances.append(Utterance(f"s-{n}", "s", f"s-{n}", str(source), text=text))
    write_data_directory(tmp_path / "data", utterances)
    (tmp_path / "heard").mkdir()
    heard = "s-0 he takes dexa medi three times\ns-1 dexa medi for covid nighteen\n"
    (tmp_path / "heard/text").write_text(heard)
    return tmp_path


def test_learned_forms_are_checked_and_used(run_command, directory, tiny_folder):
    terms, out = directory / "terms.txt", directory / "learned.txt"
    terms.write_text("Deximet\nCOVID-19\t2\n")
    learn = ("hotwords", "learn", directory / "data", directory / "heard", "--terms", terms, "--out", out)
    learned = run_command(*learn)
    assert (learned.code, learned.err) == (0, "")
    assert learned.out.endswith(f"; 2 heard-as forms kept, 0 left out\n{out}: 2 terms\n")
    written = f"# forms learned from {directory}/data and {directory}/heard\n"
    written += "Deximet\t\tdexa medi\nCOVID-19\t2\tcovid nighteen\n"
    assert out.read_text() == written
    heard = directory / "heard/text"  # a digit in one hypothesis changes nothing for the others
    heard.write_text(heard.read_text().replace("three", "3"))
    assert run_command(*learn).out == learned.out and out.read_text() == written
    checked = run_command("hotwords", "check", out, "--base", tiny_folder)
    assert checked.out == f"{out}: 2 terms, 2 heard-as forms, 5 spellings; {tiny_folder} can write them\n"
    common = ("--hotwords", out, "--base", tiny_folder, "--search", "greedy", "--hotword-weight")
    decoded = run_command("decode", directory / "data", directory / "none", *common, 0.001)
    assert decoded.code == 0 and decoded.err == f"{out}: none of its 2 terms was found in this audio\n"
    record = json.loads((directory / "none/decode.json").read_text())
    assert (record["hotwords"], record["hotword_weight"], record["terms"]) == (str(out), 0.001, 2)
    transcribed = run_command("transcribe", directory / "s-0.wav", *common, 50)
    assert (transcribed.code, transcribed.err) == (0, "")
    assert {"Deximet", "COVID-19"} & set(transcribed.out.split())
    out.write_text("Deximet\n")  # another list: decoded again
    run_command("decode", directory / "data", directory / "none", *common, 0.001)
    assert json.loads((directory / "none/decode.json").read_text())["terms"] == 1


def test_errors_are_one_line_and_come_before_the_base(run_command, directory):
    terms, gone, out = (directory / name for name in ("terms.txt", "gone.txt", "out.txt"))
    learn = ("hotwords", "learn", directory / "data", directory / "heard", "--out", out, "--terms")
    transcribe = ("transcribe", directory / "s-0.wav", "--base", "no/base", "--hotwords")
    lacking = f"error: {gone}: cannot be read: No such file or directory"
    (directory / "bad.txt").write_text("fever\nasthma\t-2\n")
    terms.write_text("fever\n")
    for words, message in [
        ((*learn, gone), f"{lacking} (give a file with a term a line"),
        ((*learn, terms, "--text", gone), f"{lacking} (--text takes text"),
        (("hotwords", "check", gone), f"{lacking} (give a file with a term a line"),
        ((*transcribe, gone), f"{lacking} (give a file with a term a line"),
        ((*transcribe, directory / "bad.txt"), f"error: {directory}/bad.txt:2: the weight of 'asthma' is -2"),
        ((*transcribe, terms, "--hotword-weight", -1), "error: --hotword-weight is -1, and has"),
        ((*transcribe[:-1], "--hotword-weight", 1), "error: --hotword-weight needs --hotwords"),
    ]:
        refused = run_command(*words)
        assert refused.code == 1 and refused.err.startswith(message) and refused.err.count("\n") == 1
        assert not out.exists()
    learned = run_command(*learn, terms)
    assert learned.code == 0 and learned.err.count("none of the terms of") == 1
    assert out.read_text().endswith("fever\n")
    (directory / "heard/text").write_text("s-0 he takes\n")
    refused = run_command(*learn, terms)
    assert refused.code == 1 and "has no utterance s-1" in refused.err
