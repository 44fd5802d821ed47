"""Out-of-domain speech of several corpora becomes one test set; lengths of utterances."""

from pathlib import Path

import pytest
from corpus_files import noise

import ia3_speech
from ia3_speech.commands.datadir import validate
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance


@pytest.fixture
def mix(tmp_path) -> Path:
    """A Kaldi directory of nine utterances; its speakers' ids stand in front, as Kaldi wants it."""
    utterances = [
        Utterance(f"s{n % 2}-{n}", f"s{n % 2}", f"s{n % 2}-{n}", str(noise(tmp_path / f"sound/{n}.wav", 0.5)),
                  text=f"WORD {n}", labels={"source": "made"})
        for n in range(9)
    ]  # fmt: skip
    write_data_directory(tmp_path / "mix", sorted(utterances, key=lambda item: item.id))
    return tmp_path / "mix"


@pytest.fixture
def reader(tmp_path) -> Path:
    chapter = tmp_path / "reader/LibriSpeech/test-clean/14/2"
    for number in range(2):
        noise(chapter / f"14-2-000{number}.flac", 1.0)
    (chapter / "14-2.trans.txt").write_text("14-2-0000 CHAPTER ONE\n14-2-0001 THE END\n")
    return tmp_path / "reader"


def test_every_nth_utterance_of_a_directory_and_a_reader_to_the_byte(mix, reader, tmp_path, capsys):
    import out_of_domain

    out_of_domain.prepare(f"{mix}:4\n{reader}", tmp_path / "general")
    sound, chapter = tmp_path / "sound", reader / "LibriSpeech/test-clean/14/2"
    assert {path.name: path.read_text() for path in (tmp_path / "general").iterdir()} == {
        "spk2utt": "mix-s0 mix-s0-0 mix-s0-8\nmix-s1 mix-s1-7\nreader-14 reader-14-2-0000 reader-14-2-0001\n",
        "text": "mix-s0-0 WORD 0\nmix-s0-8 WORD 8\nmix-s1-7 WORD 7\nreader-14-2-0000 CHAPTER ONE\n"
                "reader-14-2-0001 THE END\n",
        "utt2corpus": "mix-s0-0 mix\nmix-s0-8 mix\nmix-s1-7 mix\nreader-14-2-0000 reader\n"
                      "reader-14-2-0001 reader\n",
        "utt2dur": "mix-s0-0 0.5\nmix-s0-8 0.5\nmix-s1-7 0.5\nreader-14-2-0000 1\nreader-14-2-0001 1\n",
        "utt2spk": "mix-s0-0 mix-s0\nmix-s0-8 mix-s0\nmix-s1-7 mix-s1\nreader-14-2-0000 reader-14\n"
                   "reader-14-2-0001 reader-14\n",
        "wav.scp": f"mix-s0-0 {sound}/0.wav\nmix-s0-8 {sound}/8.wav\nmix-s1-7 {sound}/7.wav\n"
                   f"reader-14-2-0000 {chapter}/14-2-0000.flac\nreader-14-2-0001 {chapter}/14-2-0001.flac\n",
    }  # fmt: skip
    said = f"{tmp_path}/general: 5 utterances, 3 speakers, 0.1 minutes\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("name", "clips", "readers", "most_bytes"),
    [("librispeech_dev", 5, 6, 1_000_000), ("librispeech_train", 3, 28, 4_000_000)],
)
def test_the_shipped_clips(name, clips, readers, most_bytes):
    """Audio intact, paths relative, with their licence; no reader is in both."""
    shipped = Path(ia3_speech.__file__).parent / "out_of_domain"
    validate(shipped / name, check_audio=True)
    result = read_data_directory(shipped / name)
    assert sorted(len(utterances) for utterances in result.speakers.values()) == [clips] * readers
    assert sum(path.stat().st_size for path in (shipped / name).rglob("*") if path.is_file()) < most_bytes
    assert "CC BY 4.0" in (shipped / "LICENSE").read_text()
    table = (shipped / name / "wav.scp").read_text()
    assert not any(Path(line.split()[1]).is_absolute() for line in table.splitlines())
    other = {"librispeech_dev": "librispeech_train", "librispeech_train": "librispeech_dev"}[name]
    assert not result.speakers.keys() & read_data_directory(shipped / other).speakers.keys()
