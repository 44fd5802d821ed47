"""Hot words: files, spotting against an exhaustive search, merging, and what is learned from errors."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import PIECE_TOKENIZERS

from ia3_speech.common.errors import UserError
from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.hotword_learning import learn_forms
from ia3_speech.decoding.hotword_search import (
    Hotword,
    HotwordSearch,
    force_terms,
    parse_line,
    read_hotwords,
    spellings,
)
from ia3_speech.decoding.hotword_spotting import Spelling, Spotter
from ia3_speech.decoding.word_times import word_times
from ia3_speech.model.hypotheses import GreedySearch, collapse

CHARACTERS = ["<pad>", "|", "'", *"abcdefghijklmnopqrstuvwxyz"]
LETTERS = Vocabulary({c: n for n, c in enumerate(CHARACTERS)}, 0, "|", "lower", frozenset({"<pad>"}))
AB = Vocabulary({"<pad>": 0, "|": 1, "a": 2, "b": 3}, 0, "|", "lower", frozenset({"<pad>"}))


def spoken(text: str, vocabulary: Vocabulary = LETTERS, **confused: str) -> np.ndarray:
    """Logits whose best path writes `text`, two frames a symbol and a blank after it; in the frames of a
    letter that `confused` names, that letter is worse than another by 2 nats: spoken("cet", t="d")."""
    symbols = [s for c in vocabulary.encode(text) for s in (c, c, 0)]
    logits = np.full((len(symbols) + 2, len(vocabulary.tokens)), -2.0, np.float32)
    for frame, symbol in enumerate([0, *symbols, 0]):
        logits[frame, symbol] = 4.0
        for letter, other in confused.items():
            if symbol == vocabulary.letters[letter]:
                logits[frame, vocabulary.letters[other]] = 5.0
    return logits


def search_with(*lines: str, weight: float = 1.0, vocabulary: Vocabulary = LETTERS, search=None):
    """A search of (frames, vocabulary) logits with the terms of a file of these lines → `Hypothesis`."""
    hotwords = [parse_line(line, Path("terms"), 0) for line in lines]
    return HotwordSearch(hotwords, weight, vocabulary, search or GreedySearch(vocabulary))


def test_a_file_and_its_exact_text(tmp_path):
    file = tmp_path / "terms.txt"
    file.write_bytes(
        "\ufeff# drugs\natrial  fibrillation\r\n\nDeximet\t1.5\tdexa medi\tdixie met\nX-ray\t\tex ray\n"
        "O'Brien\to brian\nDeximet\t1.5\tdexa medi\tdeck see met\n".encode()
    )
    terms = read_hotwords(file)
    assert terms == [
        Hotword("atrial fibrillation", 1.0, (), file, 2),
        Hotword("Deximet", 1.5, ("dexa medi", "dixie met", "deck see met"), file, 4),
        Hotword("X-ray", 1.0, ("ex ray",), file, 5),
        Hotword("O'Brien", 1.0, ("o brian",), file, 6),
    ]
    assert [term.row() for term in terms] == [
        *("atrial fibrillation", "Deximet\t1.5\tdexa medi\tdixie met\tdeck see met"),
        *("X-ray\t\tex ray", "O'Brien\t\to brian"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\t-1\n", r"terms:1: the weight of 'a' is -1"),
        ("fever\n漢\n", r"terms:2: the base cannot write 漢"),
        ("Ray\nray\n", r"terms:2: 'ray' is also a spelling of 'Ray' in line 1"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("terms").write_text(text)
    with pytest.raises(UserError, match=message):
        spellings(read_hotwords(Path("terms")), LETTERS, 1.0)


def test_terms_are_spelled_as_the_base_writes_them():
    def written(*terms: Hotword, vocabulary=LETTERS):
        found = spellings(terms, vocabulary, 2.0)
        return [(one.term, vocabulary.decode(one.symbols), one.bonus) for one in found]

    assert written(Hotword("X-ray", 1, ("ex ray",)), Hotword("O’Brien", 0.5), Hotword("COVID-19")) == [
        (0, "x ray", 2.0), (0, "xray", 1.6), (0, "ex ray", 4.0), (1, "o'brien", 3.0),
        (2, "covid nineteen", 20.0), (2, "covidnineteen", 18.0),
    ]  # fmt: skip
    capitals = {c.upper(): n for c, n in LETTERS.tokens.items()}
    upper = Vocabulary(capitals, 0, "|", "upper", frozenset({"<PAD>"}))
    assert written(Hotword("McKay"), vocabulary=upper) == [(0, "mckay", 2.0)]


def best_cover(logits: np.ndarray, words: list[str], weight: float) -> float:
    """The largest sum of scores of terms without overlap, by trying every path in every span of frames."""
    losses = logits - logits.max(axis=1, keepdims=True)
    frames, best = len(logits), 0.0
    spans: dict[tuple[int, int], float] = {}
    for first in range(frames):
        for end in range(first + 1, frames + 1):
            around = 2 * sum(losses[f, 1] for f in (first - 1, end) if 0 <= f < frames)
            for path in itertools.product((0, 1, 2, 3), repeat=end - first):
                text = AB.decode(collapse(list(path), 0))
                if text in words and path[0] != 1 and path[-1] != 1:
                    cost = sum(losses[f, s] for f, s in zip(range(first, end), path, strict=True)) + around
                    score = weight * len(AB.encode(text)) + cost
                    spans[first, end] = max(spans.get((first, end), -9e9), float(score))

    def cover(start: int) -> float:
        later = [(end, score) for (first, end), score in spans.items() if first >= start and score > 0]
        return max([0.0, *(cover(end + 1) + score for end, score in later)])

    return max(best, cover(0))


@pytest.mark.parametrize("seed", range(10))
def test_it_finds_the_terms_with_the_largest_sum_of_scores(seed, monkeypatch):
    monkeypatch.setattr("ia3_speech.decoding.hotword_spotting.SLACK", 100.0)  # no path is given up
    logits = (2 * np.random.default_rng(seed).standard_normal((6, 4))).astype(np.float32)
    words = [["a", "ab", "b a"], ["aa", "b"], ["ba", "bb", "abb"]][seed % 3]
    terms = [Spelling(n, tuple(AB.encode(word)), 1.5 * len(word)) for n, word in enumerate(words)]
    spotted = Spotter(terms, AB).spot(logits)
    assert sum(term.score for term in spotted) == pytest.approx(best_cover(logits, words, 1.5), abs=1e-4)
    force_terms(logits, spotted)
    rest = f" {AB.decode(collapse(logits.argmax(1).tolist(), 0))} "
    for term in spotted:  # in their order, as whole words
        _, word, rest = rest.partition(f" {words[term.spelling.term]} ")
        assert word
        rest = f" {rest}"


def test_a_term_replaces_what_sounds_like_it_and_appears_as_its_file_writes_it():
    logits = spoken("he has crial fibrilation", c="t")  # "trial fibrilation", with c in reach
    assert search_with("atrial fibrillation", weight=0.5)(logits).text == "he has trial fibrilation"
    assert search_with("Atrial Fibrillation", weight=2.0)(logits).text == "he has Atrial Fibrillation"
    assert search_with("Crial fibrilation")(logits).text == "he has Crial fibrilation"
    assert search_with("AF\t\ttrial fibrilation")(logits).text == "he has AF"


def test_terms_are_whole_words_and_the_longest_wins():
    logits = spoken("placebo and space")
    assert search_with("ACE")(logits).text == "placebo and space"
    assert search_with("Space", "and space")(logits).text == "placebo and space"
    assert search_with("PLACEBO")(logits).text == "PLACEBO and space"


@pytest.mark.parametrize("kind", PIECE_TOKENIZERS)
def test_word_pieces(kind):
    """A base of word pieces: the term's pieces, at the beginnings and ends of words."""
    vocabulary = Vocabulary.from_tokenizer(PIECE_TOKENIZERS[kind]())
    ids = vocabulary.encode("the cat sat")
    logits = np.full((3 * len(ids) + 1, max(vocabulary.tokens.values()) + 1), -8.0, np.float32)
    logits[:, vocabulary.blank] = 4.0
    for n, symbol in enumerate(ids):
        logits[3 * n + 1 : 3 * n + 3, symbol] = 8.0
    assert search_with("Cat", vocabulary=vocabulary)(logits).text == "the Cat sat"
    assert search_with("ca", vocabulary=vocabulary)(logits).text == "the cat sat"


def test_terms_that_are_written_unlike_they_sound_have_the_times_and_confidence_of_what_was_heard():
    """The base has no digits: an alignment finds neither "B12" nor "500" in these logits."""
    logits = torch.from_numpy(spoken("take b twelve five hundred now"))
    hypothesis = search_with("B12 500", weight=1.0)(logits)
    assert hypothesis.text == "take B12 500 now"
    words = word_times(logits, hypothesis, LETTERS, 0.02)
    plain = word_times(logits, GreedySearch(LETTERS)(logits), LETTERS, 0.02)
    assert [word.text for word in words] == ["take", "B12", "500", "now"]
    assert words[1].start == pytest.approx(plain[1].start) and words[2].end == pytest.approx(plain[4].end)
    assert words[0].end <= words[1].start < words[1].end <= words[2].start <= words[3].start
    assert (words[3].start, words[3].end) == pytest.approx((plain[5].start, plain[5].end))
    score = len("b twelve five hundred") - 4  # the bonus; nothing is lost to the best path
    assert words[1].confidence == words[2].confidence == pytest.approx(1 / (1 + math.exp(-score)))


def test_only_specific_forms_are_learned():
    pairs = [
        ("he takes deximet", "he takes dexa medi"),
        ("deximet again", "dexa medi again"),
        ("a loin pain", "a line pain"),
        ("the line is busy", "the line is busy"),
        ("asthma", "as ma"),
    ]
    utterances = [(reference.split(), hypothesis.split()) for reference, hypothesis in pairs]
    terms = [Hotword("Deximet", 2.0, ("dixie met",)), Hotword("loin"), Hotword("Asthma")]
    found = learn_forms(terms, utterances)
    assert [one.heard_as for one in found.terms] == [("dixie met", "dexa medi"), (), ("as ma",)]
    found = learn_forms(terms, utterances, text=[["as", "ma"]])
    assert [form.text for form in found.forms if form.is_specific] == ["dexa medi"]
