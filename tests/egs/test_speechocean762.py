"""egs/speechocean762: the corpus is fetched from its publisher, and prepared."""

import corpus_files
import pytest
from corpus_files import content

RECIPE = "speechocean762"
MODULES = ("speechocean762",)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_files.speechocean762(tmp_path_factory.mktemp("corpus") / "speechocean762")


@pytest.fixture(scope="module")
def prepared(local, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    local.speechocean762.prepare(corpus, out)
    return out


def test_the_sets_to_the_byte(prepared, corpus):
    assert {path.name for path in prepared.iterdir() if path.name[0] != "."} == {
        *("train", "dev", "test_adults", "test_children", "prepare.log")
    }
    ogg = corpus.resolve() / "WAVE/SPEAKER1030"
    assert content(prepared / "test_adults") == {
        "spk2age": ["1030 27"],
        "spk2agegroup": ["1030 19-up"],
        "spk2gender": ["1030 m"],
        "spk2utt": ["1030 1030-010300000 1030-010300001"],
        "text": ["1030-010300000 WE CALL IT BEAR", "1030-010300001 IT'S A LADDER H"],
        "utt2dur": ["1030-010300000 1.5", "1030-010300001 1.5"],
        "utt2sentence": ["1030-010300000 also-in-train", "1030-010300001 new"],
        "utt2spk": ["1030-010300000 1030", "1030-010300001 1030"],
        "wav.scp": [f"1030-01030000{number} {ogg}/01030000{number}.ogg" for number in (0, 1)],
    }
    assert content(prepared / "test_children")["spk2agegroup"] == ["0024 11-15"]
    speakers = [line.split("-")[0] for line in content(prepared / "train")["text"]]
    assert speakers == ["0001", "0001", "0006", "0006", "1029", "1029", "1033", "1033"]
    assert (prepared / "prepare.log").read_text() == (
        "train: 6 of 6 speakers have audio\ntest: 2 of 2 speakers have audio\n"
        "2 of 4 test utterances have a sentence of train or dev (label sentence)\n"
    )
