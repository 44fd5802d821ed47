"""recipes/utils: a corpus of Kaldi directories is taken, split, and checked before training."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import Utterance, read, write


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
        write(folder / name, utterances)
    return folder


@pytest.mark.parametrize(("label", "groups"), [("consultation", 3), (None, 2)])
def test_dev_is_split_from_train_by_consultation_or_speaker(utils, tmp_path, label, groups):
    source = corpus(tmp_path / "corpus", label=label)
    utils.kaldi_corpus.take(source, tmp_path / "out")
    train, dev, test = (read(tmp_path / "out" / name) for name in ("train", "dev", "test"))
    assert len(train) + len(dev) == 40
    assert len(test) == 40

    def group(utterance):
        return utterance.labels["consultation"] if label else utterance.speaker

    in_dev = {group(utterance) for utterance in dev}
    assert len(in_dev) == groups
    assert not in_dev & {group(utterance) for utterance in train}
    utils.kaldi_corpus.take(source, tmp_path / "again")
    assert [u.id for u in read(tmp_path / "again/dev")] == [u.id for u in dev]


def test_a_dev_set_of_the_corpus_is_taken(utils, tmp_path):
    source = corpus(tmp_path / "corpus", sets=("train", "dev", "test"))
    utils.kaldi_corpus.take(source, tmp_path / "out")
    assert [len(read(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == [40, 40, 40]


def test_small_takes_a_part(utils, tmp_path):
    source = corpus(tmp_path / "corpus", each=8)
    utils.kaldi_corpus.take(source, tmp_path / "out", "small")
    assert [len(read(tmp_path / "out" / name)) for name in ("train", "dev", "test")] == [48, 12, 24]
    assert len(read(tmp_path / "out/train").speakers) == 8  # of the 8 that dev has left, all


def test_a_corpus_of_another_shape_is_described(utils, tmp_path):
    with pytest.raises(
        UserError, match=r"train: no Kaldi directory \(a corpus is a folder with train/ and test/"
    ):
        utils.kaldi_corpus.take(tmp_path, tmp_path / "out")


def test_an_utterance_on_both_sides_is_refused(utils, tmp_path):
    source = corpus(tmp_path / "corpus", sets=("train", "dev"))
    first = read(source / "train").utterances[0]
    write(source / "test", [Utterance("x-1", "x", "x-1", first.source, text="text")])
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
    assert read(tmp_path / "out/train", allow_pipes=True).utterances[0].source.endswith(".wav |")
