"""N-gram models: against arithmetic by hand, against their own sums, and against KenLM."""

from pathlib import Path

import numpy as np
import pytest

from ia3_speech.common.errors import UserError
from ia3_speech.lm.arpa import read_arpa, write_arpa
from ia3_speech.lm.ngram import START, UNKNOWN, estimate, mix, prune

WORDS = [f"w{n}" for n in range(40)]

FIXTURES = Path(__file__).parent / "fixtures"


def sentences(seed: int, number: int = 600) -> list[list[str]]:
    """Random sentences in which some words like to follow others."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(number):
        word, words = int(rng.integers(40)), []
        for _ in range(int(rng.integers(1, 12))):
            words.append(WORDS[word])
            word = (word * 3 + int(rng.geometric(0.4))) % 40
        result.append(words)
    return result


@pytest.fixture(scope="module")
def model():
    return estimate(sentences(0), 3)


@pytest.mark.parametrize(
    "history", [[], ["w1"], ["w1", "w4"], ["w39", "w0"], ["<s>"], ["<s>", "w7"], ["w2", "<unk>"]]
)
def test_probabilities_after_a_history_sum_to_one(model, history):
    other = estimate([["w1", "ship"], ["a", "w2"], ["the", "w1", "w4", "sea"]], 2)  # knows few of its words
    mixtures = mix([model, estimate(sentences(1, 50), 2)], [0.7, 0.3]), mix([model, other], [0.5, 0.5])
    for any_model in (model, prune(model, 1e-4), *mixtures):
        before = [any_model.ids.get(word, UNKNOWN) for word in history]
        rows = np.array([[*before, word] for word in range(len(any_model.vocabulary)) if word != START])
        assert (10 ** any_model.score(rows)).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["a.arpa", "a.arpa.gz"])
def test_arpa_there_and_back(tmp_path, model, name):
    file, dev = tmp_path / name, sentences(2, 40)
    write_arpa(model, file, digits=6)
    back, written = read_arpa(file), file.read_bytes()
    assert back.counts() == model.counts()
    assert back.perplexity(dev) == pytest.approx(model.perplexity(dev), rel=1e-4)
    write_arpa(model, file, digits=6)
    assert file.read_bytes() == written and [*tmp_path.iterdir()] == [file]


def test_an_arpa_file_is_written_as_kenlm_reads_it(tmp_path):
    file = tmp_path / "two.arpa"
    write_arpa(estimate([["a", "b"], ["a", "c"]], 2), file, digits=2)
    assert file.read_text() == (
        "\\data\\\nngram 1=6\nngram 2=5\n\n\\1-grams:\n"
        "-1\t<unk>\t0\n-99\t<s>\t-0.3\n-0.52\t</s>\n-0.7\ta\t-0.3\n"
        "-0.7\tb\t-0.3\n-0.7\tc\t-0.3\n\n\\2-grams:\n-0.22\t<s> a\n-0.46\ta b\n-0.46\ta c\n"
        "-0.19\tb </s>\n-0.19\tc </s>\n"
        "\n\\end\\\n"
    )
    perplexity = read_arpa(file).perplexity([["a", "b"]])
    file.write_text(file.read_text().replace("\t", "  "))  # as some tools separate them
    assert read_arpa(file).perplexity([["a", "b"]]) == perplexity


def test_pruning_takes_what_changes_least_and_leaves_each_ngram_its_history_and_suffix(model):
    smaller = prune(model, 1e-4)
    assert smaller.counts()[0] == model.counts()[0]
    assert 0 < smaller.counts()[2] < 0.8 * model.counts()[2]
    before, after = (m.perplexity(sentences(3, 60)) for m in (model, smaller))
    assert after < 1.1 * before
    longest = smaller.ngrams(3)
    assert (smaller.index(longest[:, :-1]) >= 0).all() and (smaller.index(longest[:, 1:]) >= 0).all()
    assert prune(model, 0) is model
    bare = prune(model, 10.0)  # no n-gram of three words is left
    assert bare.counts()[2] == 0 and np.isfinite(bare.perplexity(sentences(3, 5)))


def test_a_mixture_is_the_weighted_sum(model):
    other = estimate(sentences(9, 300), 3)
    mixed = mix([model, other], [0.25, 0.75])
    rows = mixed.ngrams(3)
    theirs = np.array([other.ids[word] for word in mixed.vocabulary])
    wanted = 0.25 * 10 ** model.score(rows) + 0.75 * 10 ** other.score(theirs[rows])
    assert 10 ** mixed.score(rows) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello\n", "is not an ARPA file"),
        ("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta\n", "ends before its line"),
        ("\\data\\\n\n\\1-grams:\nminus\ta\n\n\\end\\\n", ":4: is not an n-gram: 'minus"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    (tmp_path / "bad.arpa").write_text(content)
    with pytest.raises(UserError, match=f"bad.arpa.*{message}"):
        read_arpa(tmp_path / "bad.arpa")


def test_lmplz_makes_the_same_model(model):
    """fixtures/lmplz.arpa.gz is what KenLM's lmplz (of kenlm-ex 0.2.1) made of the same sentences by
    `lmplz -o 3 --discount_fallback 0.5 1 1.5`, without its comments."""
    theirs = read_arpa(FIXTURES / "lmplz.arpa.gz")
    assert theirs.counts() == model.counts()
    for length in (1, 2, 3):
        rows = model.ngrams(length)
        same = np.array([theirs.ids[word] for word in model.vocabulary])[rows]
        keep = rows[:, -1] != START
        assert model.score(rows)[keep] == pytest.approx(theirs.score(same)[keep], abs=2e-6)
