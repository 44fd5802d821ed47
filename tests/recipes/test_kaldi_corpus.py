"""recipes/utils: a corpus of Kaldi directories is taken, split, and checked before training."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance


def corpus(folder: Path, speakers: int = 10, each: int = 4, label: str | None = None, sets=("train", "test")):
    """Kaldi directories with real, short audio files."""
    rng = np.random.default_rng(0)
    for name in sets:
        utterances = []
        for number in range(speakers * each):
            speaker = f"{name}{number % speakers:02d}"
            id = f"{speaker}-{number:03d}"
            path = folder / "audio" / f"{id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(8000).astype(np.float32), 16000)
            labels = {label: f"visit{number % 20:02d}"} if label else {}
            utterances.append(Utterance(id, speaker, id, str(path), text=f"text {number}", labels=labels))
        write_data_directory(folder / name, utterances)
    return folder


@pytest.mark.parametrize(("label", "groups"), [("consultation", 3), (None, 2)])
def test_dev_is_split_from_train_by_consultation_or_speaker(utils, tmp_path, label, groups):
    source = corpus(tmp_path / "corpus", label=label)
    utils.kaldi_corpus.take(source, tmp_path / "out")
    train, dev, test = (read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test"))
    assert len(train) + len(dev) == 40
    assert len(test) == 40

    def group(utterance):
        return utterance.labels["consultation"] if label else utterance.speaker

    in_dev = {group(utterance) for utterance in dev}
    assert len(in_dev) == groups
    assert not in_dev & {group(utterance) for utterance in train}
    utils.kaldi_corpus.take(source, tmp_path / "again")
    assert [u.id for u in read_data_directory(tmp_path / "again/dev")] == [u.id for u in dev]


def test_a_dev_set_of_the_corpus_is_taken(utils, tmp_path):
    source = corpus(tmp_path / "corpus", sets=("train", "dev", "test"))
    utils.kaldi_corpus.take(source, tmp_path / "out")
    assert [len(read_data_directory(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == [
        40,
        40,
        40,
    ]


def test_small_takes_a_part(utils, tmp_path):
    source = corpus(tmp_path / "corpus", each=8)
    utils.kaldi_corpus.take(source, tmp_path / "out", "small")
    assert [len(read_data_directory(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == [
        48,
        12,
        24,
    ]
    assert len(read_data_directory(tmp_path / "out/train").speakers) == 8  # of the 8 that dev has left, all


def test_a_corpus_of_another_shape_is_described(utils, tmp_path):
    with pytest.raises(
        UserError, match=r"train: no Kaldi directory \(a corpus is a folder with train/ and test/"
    ):
        utils.kaldi_corpus.take(tmp_path, tmp_path / "out")


def test_an_utterance_on_both_sides_is_refused(utils, tmp_path):
    source = corpus(tmp_path / "corpus", sets=("train", "dev"))
    first = read_data_directory(source / "train").utterances[0]
    write_data_directory(source / "test", [Utterance("x-1", "x", "x-1", first.source, text="text")])
    with pytest.raises(UserError, match=r"utterance x-1 is also in .*train: a test set must hold nothing"):
        utils.overlap.main(source / "train", source / "dev", source / "test")


def test_pipes_are_taken_only_where_they_are_allowed(utils, tmp_path):
    source = corpus(tmp_path / "corpus")
    wav_scp = source / "train/wav.scp"
    wav_scp.write_text(
        "".join(f"{line.replace(' ', ' cat ', 1)} |\n" for line in wav_scp.read_text().splitlines())
    )
    with pytest.raises(
        UserError, match=r"train/wav\.scp:1: .* is a shell command, one of 40 \(pass --allow-pipes"
    ):
        utils.kaldi_corpus.take(source, tmp_path / "out")
    utils.kaldi_corpus.take(source, tmp_path / "out", allow_pipes=True)
    assert (
        read_data_directory(tmp_path / "out/train", allow_pipes=True).utterances[0].source.endswith(".wav |")
    )


# ---- coverage


def options(utils, folder, base, **more):
    sets = {"train": folder / "train", "dev": folder / "test"}
    return utils.coverage.Asked(**sets, out=folder / "exp", base=str(base), **more)


def with_text(folder, text):
    """The corpus with another text in its first utterance."""
    first, *others = (folder / "train/text").read_text().splitlines(keepends=True)
    (folder / "train/text").write_text(f"{first.split()[0]} {text}\n{''.join(others)}")
    return folder


@pytest.fixture
def letters(tmp_path):
    """A corpus whose texts any base can write."""
    folder = corpus(tmp_path / "corpus", speakers=2, each=2)
    for name in ("train", "test"):
        texts = folder / name / "text"
        texts.write_text("".join(f"{line.split()[0]} a text\n" for line in texts.read_text().splitlines()))
    return folder


def test_coverage_of_a_fitting_corpus(utils, letters, base_folder, capsys):
    utils.coverage.main(options(utils, letters, base_folder))
    assert capsys.readouterr().out == (
        f"{letters}/train: 4 utterances can be learnt from\n{letters}/test: 4 utterances can be learnt from\n"
    )


def test_characters_that_the_base_lacks_are_counted(utils, letters, base_folder, capsys):
    with_text(letters, "5 naïve 55")
    with pytest.raises(
        UserError,
        match=r"text: the base can't write '5' × 3 \(as in train00-000\), 'ï' × 1 .* --train-opts --drop",
    ):
        utils.coverage.main(options(utils, letters, base_folder))
    utils.coverage.main(options(utils, letters, base_folder, drop_chars=True))
    assert "train: 4 utterances can be learnt from\n" in capsys.readouterr().out


def test_characters_of_a_test_set_end_nothing_and_are_named(utils, letters, base_folder, capsys):
    utils.kaldi_corpus.take(with_text(letters, "5 naïve 55"), letters / "out")
    asked = options(utils, letters, base_folder, tests=f"{letters}/test\n{letters}/out/train")
    with_text(letters, "a text")
    utils.coverage.main(asked)
    *_, last = capsys.readouterr().out.splitlines()
    assert last == (
        f"{letters}/out/train/text: the base can't write '5' × 3 (as in train00-000), 'ï' × 1 (as in "
        f"train00-000); words with them will count as errors"
    )


def test_text_too_long_for_its_audio_is_found(utils, letters, base_folder, capsys):
    with_text(letters, "far too much " * 20)
    with pytest.raises(UserError, match=r"train00-000: \d+ frames are needed .*, its 0\.50 s have \d+"):
        utils.coverage.main(options(utils, letters, base_folder))
    utils.coverage.main(options(utils, letters, base_folder, on_error="skip"))
    assert "train: 3 utterances can be learnt from, without train00-000: " in capsys.readouterr().out
