"""LibriSpeech's preparation; a tiny corpus in the published layout."""

import pytest
from corpus_files import content, noise

from ia3_speech.data.kaldi.directory import read_data_directory

RECIPE, MODULES = "librispeech", ["prepare"]
SPEAKERS = """\
; ID  |SEX| SUBSET           |MINUTES| NAME
14    | F | dev-clean        | 25.03 | Anna
237   | F | test-clean       | 8.1   | Berta
1089  | M | test-clean       | 8.0   | Carl
"""


def make_corpus(folder, chapters):
    """The published layout. `chapters`: READER-CHAPTER → number of utterances."""
    top = folder / "LibriSpeech"
    for name, count in chapters.items():
        place = top / "test-clean" / name.replace("-", "/")
        ids = [f"{name}-{number:04d}" for number in range(count)]
        for id in ids:
            noise(place / f"{id}.flac", 1.0)
        lines = [f"{id} CHAPTER {'ONE TWO SIX TEN'.split()[n % 4]}" for n, id in enumerate(ids)]  # noqa: SIM905
        (place / f"{name}.trans.txt").write_text("\n".join(lines) + "\n")
    (top / "SPEAKERS.TXT").write_text(SPEAKERS)
    return top


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    chapters = {"237-134500": 9, "1089-2": 2, "1089-10": 3, "1089-134691": 1}
    return make_corpus(tmp_path_factory.mktemp("corpus"), chapters)


def ids(folder):
    return {
        name: [item.id for item in read_data_directory(folder / name)] for name in ("train", "dev", "test")
    }


def test_one_chapter_is_cut_by_the_order_of_its_utterances(corpus, tmp_path, local):
    local.prepare.prepare(corpus, tmp_path / "out", "237")
    result = ids(tmp_path / "out")
    assert {name: [id[-1] for id in set_ids] for name, set_ids in result.items()} == {
        "train": list("01234"), "dev": list("5"), "test": list("678"),
    }  # fmt: skip
    place = corpus.resolve() / "test-clean/237/134500"
    assert content(tmp_path / "out/dev") == {
        "spk2gender": ["237 f"],
        "spk2utt": ["237 237-134500-0005"],
        "text": ["237-134500-0005 CHAPTER TWO"],
        "utt2chapter": ["237-134500-0005 134500"],
        "utt2dur": ["237-134500-0005 1"],
        "utt2spk": ["237-134500-0005 237"],
        "wav.scp": [f"237-134500-0005 {place}/237-134500-0005.flac"],
    }
