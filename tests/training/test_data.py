"""train --check: can the base write these texts, and is there audio enough for them?"""

from pathlib import Path

import pytest
from corpus_files import sound_directory
from tiny_models import noise_waves

from ia3_speech.common.errors import UserError
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.data import check_data


@pytest.fixture
def letters(tmp_path) -> Path:
    """Data directories train and test whose texts any base can write."""
    for name in ("train", "test"):
        ids = [f"{name}{number % 2:02d}-{number:03d}" for number in range(6)]
        sound_directory(tmp_path / name, dict(zip(ids, noise_waves(*6 * [0.5]), strict=True)), "a text")
    return tmp_path


def options(folder, base, **more) -> TrainingOptions:
    return TrainingOptions(
        train=folder / "train", dev=folder / "test", out=folder / "exp", base=str(base), **more
    )


def test_characters_that_the_base_lacks_are_counted(letters, base_folder, capsys):
    text = letters / "train/text"
    text.write_text(text.read_text().replace("a text", "naïve & naïve", 1))
    with pytest.raises(UserError, match=r"'ï' × 2 \(as in train00-000\), '&' × 1 .*drop_chars"):
        check_data(options(letters, base_folder))
    check_data(options(letters, base_folder, drop_chars=True))
    assert "train: 6 utterances can be trained on\n" in capsys.readouterr().out


def test_unusable_utterances_are_named_at_once_or_left_out(letters, base_folder, capsys):
    """A text too long for its audio, one of punctuation, no audio, a segment beyond its recording's end."""
    lines = (letters / "train/text").read_text().splitlines(keepends=True)
    long, punctuation = f"train00-000 {'far too much ' * 20}\n", "train00-002 … — !\n"
    (letters / "train/text").write_text("".join([long, punctuation, *lines[2:]]))
    (letters / "train00-004.wav").write_bytes(b"no audio")
    ends = {line.split()[0]: 9.5 if line.startswith("train01-001") else 0.5 for line in lines}
    (letters / "train/segments").write_text("".join(f"{id} {id} 0 {end}\n" for id, end in ends.items()))
    with pytest.raises(UserError, match=r"train: 4 utterances can't be trained on:") as caught:
        check_data(options(letters, base_folder))
    for id in ("train00-000", "train00-002", "train00-004", "train01-001"):
        assert f"{id}: " in str(caught.value)
    check_data(options(letters, base_folder, on_error="skip"), [letters / "train"])
    assert f"{letters}/train: 2 utterances can be trained on\n" in capsys.readouterr().out
