"""recipes/utils/coverage.py: which texts can be learnt from is said before anything is decoded."""

import pytest
from corpus_files import kaldi_directories

from ia3_speech.cli import UserError
from ia3_speech.data.corpora import kaldi


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
    folder = kaldi_directories(tmp_path / "corpus", speakers=2, each=2)
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
    kaldi.prepare(with_text(letters, "5 naïve 55"), letters / "out")
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
