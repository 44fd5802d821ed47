"""Dictation of recordings and of live input: what a pause divides is written once, in each format, in Python,
and in calls."""

import json

import numpy as np
import pytest
import soundfile

from ia3_speech.data.audio import SAMPLE_RATE, resample
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.dictation import make_dictation
from ia3_speech.search import SearchOptions
from ia3_speech.session import load

HEARD = ["no fever", "full stop the dose is five hundred", "milligrams"]  # between pauses of 0.8 s
RAW = ["no fever full stop", "the dose is five hundred milligrams"]
WRITTEN = ["No fever.", "The dose is 500 mg"]
TERMS = "milligrams\t1\tmiligram's\tmile graham's\nthe dose\t1\tthe doc\tthe dos\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.wav; call.wav, whose right channel says it 0.4 s later; terms.txt, with which mini hears it."""
    pytest.importorskip("espeakng_loader")
    from ia3_speech.data.corpora.espeak import ESPEAK_SAMPLE_RATE, Espeak

    espeak, parts = Espeak(), [np.zeros(SAMPLE_RATE // 2, np.float32)]
    for text in HEARD:
        wave = resample(espeak.speak(text, "en-us", 150), ESPEAK_SAMPLE_RATE, SAMPLE_RATE)
        parts += [0.6 * wave / np.abs(wave).max(), np.zeros(round(0.8 * SAMPLE_RATE), np.float32)]
    wave = np.concatenate(parts)
    wave += np.random.default_rng(0).normal(0, 1e-3, len(wave))
    path = tmp_path_factory.mktemp("dictation")
    soundfile.write(path / "a.wav", wave, SAMPLE_RATE, subtype="FLOAT")
    later = round(0.4 * SAMPLE_RATE)
    call = np.stack([np.pad(wave, (0, later)), np.pad(wave, (later, 0))], axis=1)
    soundfile.write(path / "call.wav", call, SAMPLE_RATE, subtype="FLOAT")
    (path / "terms.txt").write_text(TERMS)
    return path


@pytest.fixture(scope="module")
def asr(folder, base_folder):
    search = SearchOptions(search="greedy", hotwords=folder / "terms.txt")
    asr = load(base_folder, search=search, post_process=make_dictation())
    transcript = Transcriber(asr.recognizer).transcribe(folder / "a.wav", word_timestamps=True)
    assert [segment.text for segment in transcript.segments] == HEARD, "the base hears something else"
    return asr


def test_files(folder, asr, base_folder, tmp_path, run_command):
    def run(*flags) -> str:
        terms = ("--search", "greedy", "--hotwords", folder / "terms.txt")
        done = run_command(
            "transcribe", "--base", base_folder, *terms, "--dictation", *flags, folder / "a.wav"
        )
        assert done.code == 0
        return done.out

    run("--format", "txt,json,srt,ctm", "--output-dir", tmp_path)
    outputs = {name: (tmp_path / f"a.{name}").read_text() for name in ("txt", "json", "srt", "ctm")}
    assert outputs["txt"].splitlines() == WRITTEN == run("--format", "txt").splitlines()
    record = json.loads(outputs["json"])
    assert (record["text"], record["raw_text"]) == (" ".join(WRITTEN), " ".join(HEARD))
    assert [(item["text"], item["raw_text"]) for item in record["segments"]] == [
        *zip(WRITTEN, RAW, strict=True)
    ]
    assert [block.splitlines()[-1] for block in outputs["srt"].strip().split("\n\n")[-2:]] == WRITTEN
    assert [line.split()[4] for line in outputs["ctm"].splitlines()] == " ".join(HEARD).split()


def test_live_input_is_written_as_the_recording_is(folder, asr, base_folder, run_command):
    """Pieces that end at pauses are recognised one by one; the grammar sees all of them."""
    samples = (soundfile.read(folder / "a.wav", dtype="float32")[0] * 32767).astype("<i2").tobytes()

    def run(*flags) -> str:
        search = ("--search", "greedy", "--hotwords", folder / "terms.txt")
        raw = ("--base", base_folder, "--raw", SAMPLE_RATE)
        done = run_command("transcribe", *raw, *search, *flags, stdin=samples)
        assert done.code == 0
        return done.out

    lines = "".join(f"{text}\n" for text in WRITTEN)
    assert run("--dictation") == run("--format", "dictation") == lines
    records = [json.loads(line) for line in run("--dictation", "--format", "json").splitlines()]
    assert [(item["text"], item["raw_text"]) for item in records] == [*zip(WRITTEN, RAW, strict=True)]
    recorded = asr.transcribe(folder / "a.wav", word_timestamps=True).segments
    assert [*asr.stream(folder / "a.wav")] == [*recorded]
    for record, segment in zip(records, recorded, strict=True):
        times = pytest.approx((segment.start, segment.end), abs=0.1)
        assert (record["start"], record["end"]) == times
