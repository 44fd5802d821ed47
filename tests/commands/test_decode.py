"""decode: a data directory in, Kaldi's and sclite's files out, whatever the audio is like."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.adapters.weights import weights_sha256
from ia3_speech.data.audio import SAMPLE_RATE, load_audio
from ia3_speech.data.kaldi.directory import write_data_directory
from ia3_speech.data.utterance import BadAudio, Utterance
from ia3_speech.decoding.decode_directory import Decoding, write_decode_directory
from ia3_speech.decoding.formats import read_words
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.transcript import Word
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.session import load
from tests.live.test_streaming import babble as noise


@pytest.fixture
def data(tmp_path):
    """A function that writes a data directory: utterance → wave, text (a file's content), path or pipe."""

    def make(entries: dict) -> Path:
        utterances = []
        for name, content in entries.items():
            source = tmp_path / f"{name}.wav"
            if isinstance(content, np.ndarray):
                soundfile.write(source, content, SAMPLE_RATE, subtype="FLOAT")
            elif isinstance(content, bytes):
                source.write_bytes(content)
            else:
                source = content
            utterances.append(Utterance(name, name.partition("-")[0], name, str(source)))
        write_data_directory(tmp_path / "data", utterances)
        return tmp_path / "data"

    return make


@pytest.fixture
def run(run_command):
    """A function that runs the command: exit code, stderr."""
    return lambda *words: run_command("decode", *words)[::2]


def record(folder: Path) -> dict:
    return json.loads((folder / "decode.json").read_text())


def test_every_file_to_the_byte(tmp_path):
    utterances = [Utterance(name, name[:2], "", "") for name in ("s1-a", "s1-b", "s2-c")]
    bad = [BadAudio("s1-b", "sox a.wav\t-t wav - |", "failed:\nno such file"),
           BadAudio("s2-c", "c.wav", "clipped", left_out=False)]  # fmt: skip
    words = {"s1-a": (Word("hello", 0.26, 0.5, 0.98), Word("world", 0.5, 1.0, 2.4e-5)), "s1-b": ()}
    result = Decoding({"s1-a": "hello world", "s1-b": "", "s2-c": "é"}, bad, words)
    out = tmp_path / "out"
    write_decode_directory(result, utterances, out, {"schema": 1, "adapter": None})
    assert {file.name: file.read_bytes().decode() for file in out.iterdir()} == {
        "text": "s1-a hello world\ns1-b\ns2-c é\n",
        "hyp.trn": "hello world (s1-s1-a)\n(s1-s1-b)\né (s2-s2-c)\n",
        "hyp.ctm": "s1-a 1 0.26 0.24 hello 0.980000\ns1-a 1 0.50 0.50 world 0.000024\n",
        "bad_audio": "s1-b\tsox a.wav -t wav - |\tfailed: no such file\ns2-c\tc.wav\tclipped\n",
        "decode.json": '{\n  "schema": 1,\n  "adapter": null\n}\n',
    }
    (out / "score.json").write_text("{}")
    write_decode_directory(Decoding({u.id: "x" for u in utterances}), utterances, out, {})
    # These were of other texts.
    assert not (out / "hyp.ctm").exists() and not (out / "score.json").exists()


def confidences_of(decode_dir):
    words = read_words(decode_dir / "hyp.ctm")
    return {name: [(word.text, word.confidence) for word in row] for name, row in words.items()}


def test_confidences_are_those_of_the_recogniser(run, data, tiny_folder, tmp_path):
    folder = data({"s-a": noise(5), "s-b": noise(1, 1), "s-c": b""})
    flags = ("--base", tiny_folder, "--max-seconds", "2", "--confidence-slope", "2", folder)
    assert run(*flags, tmp_path / "out")[0] == 1
    recognizer = load(
        tiny_folder, options=LoadOptions(max_seconds=2.0, vad="off", scaling=Scaling(2.0))
    ).recognizer
    found = recognizer.recognize([load_audio(tmp_path / f"s-{name}.wav") for name in "ab"], with_words=True)
    assert confidences_of(tmp_path / "out") == {
        name: [(word.text, pytest.approx(word.confidence, abs=5e-7)) for word in recognition.words]
        for name, recognition in zip(("s-a", "s-b"), found, strict=True)
    }
    assert record(tmp_path / "out")["confidence_scaling"] == {"slope": 2.0, "bias": 0.0}


def test_parts_put_together_are_the_whole(run, data, tiny_folder, tmp_path):
    folder = data({f"s-{name}": noise(1 + n / 4, n) for n, name in enumerate("abcd")} | {"s-e": b""})
    flags = ("--base", tiny_folder, "--precision", "no", folder)
    assert run(*flags, tmp_path / "whole")[0] == 1
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run("--part", "2/2", *flags, out)[0] == 0
    missing = f"error: {out}: part 1/2 is not decoded (or delete {out}/parts)\n"
    assert run(*flags, out) == (1, missing)
    assert run("--part", "1/2", *flags, out)[0] == 0 and run(*flags, out) == (1, "")
    assert not (out / "parts").exists()
    again = f"{out}: 1 utterance without output ({out / 'bad_audio'} lists them); --force decodes again\n"
    assert run(*flags, out) == (1, again) and run("--part", "1/2", *flags, out)[0] == 0
    for name in ("text", "hyp.trn", "bad_audio"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    words, resumed = (confidences_of(place) for place in (whole, out))
    assert resumed == {
        id: [(word, pytest.approx(sure, abs=1e-5)) for word, sure in said] for id, said in words.items()
    }
    assert run("--part", "3/2", *flags, out)[1].startswith("error: --part 3/2")


def test_an_adapter_by_its_name_its_path_or_one_a_speaker(run, data, tiny_folder, speaker42, tmp_path):
    folder = data({"s1-a": noise(2), "s1-b": noise(1, 1)})
    run("--base", tiny_folder, folder, tmp_path / "base")
    assert run("--adapter", "speaker42", folder, tmp_path / "adapted") == (0, "")  # its base is recorded
    texts = (tmp_path / "adapted/text").read_text()
    assert (tmp_path / "base/text").read_text() != texts
    found = record(tmp_path / "adapted")
    assert found["adapter"] == {
        "name": "speaker42", "path": str(speaker42), "sha256": weights_sha256(speaker42),
    }  # fmt: skip
    assert found["base"] == record(tmp_path / "base")["base"]
    flags = ("--adapter-per-speaker", tmp_path / "speakers", folder, tmp_path / "own")
    for speaker in ("s1", "s2"):
        place = tmp_path / f"speakers/{speaker}/all/adapter"
        place.parent.mkdir(parents=True)
        place.symlink_to(speaker42)
    assert run(*flags) == (0, "") and (tmp_path / "own/text").read_text() == texts
