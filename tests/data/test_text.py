"""Normalisation, vocabulary and coverage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import PIECE_TOKENIZERS
from transformers import Wav2Vec2CTCTokenizer

from ia3_speech.common.errors import TextError
from ia3_speech.data.text import Vocabulary, normalize

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYMBOLS = {"<pad>": 0, "|": 1, "'": 2} | {letter: number for number, letter in enumerate(LETTERS, 3)}
MINI = Vocabulary(SYMBOLS, blank=0, special=frozenset({"<pad>"}))


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("FEVERS WITH HEADACHES", "fevers with headaches"),
        ("Re-check: it’s 5 %!", "re check it's 5 %"),
        ("  two\tspaces \u00a0 here\n", "two spaces here"),
        ("‘Don’t go,’ he said — ‘now’.", "don't go he said now"),
        ("’Tis the dogs’ bone", "'tis the dogs' bone"),
        ("o`clock o´clock oʼclock o＇clock", "o'clock o'clock o'clock o'clock"),
        ("``Hello'' there ' x", "hello there x"),
        ("x–ray x—ray x‑ray x_ray x/ray", "x ray x ray x ray x ray x ray"),
        ("1,250,000 or 3,5 or 3.5", "1250000 or 3 5 or 3 5"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("ﬁne ＡＢＣ e\u0301te\u0301 Straße", "fine abc été straße"),
        ("¿Qué? «oui» “yes” …", "qué oui yes"),
        ("R&D [noise] <unk> $5 #1 @home 20°", "r&d [noise] <unk> $5 #1 @home 20°"),
        ("…—!", ""),
        ("", ""),
    ],
)
def test_ctc(given_text, expected):
    assert normalize(given_text) == expected


@given(st.text())
def test_ctc_twice_is_once(text):
    once = normalize(text)
    assert normalize(once) == once
    assert once == " ".join(once.split())


def test_the_other_modes():
    assert normalize("Mr. Smith’s twenty one dogs, um, don't!", "english") == "mister smith is 21 dogs do not"
    assert normalize(" As it’s, 5 %", "none") == " As it’s, 5 %"


@given(st.text(alphabet=LETTERS + "' ", max_size=60))
def test_decoding_inverts_encoding(text):
    edges = [0, 1, *MINI.encode(text), 1, 0]  # blanks and delimiters there say nothing
    assert MINI.decode(edges) == " ".join(text.split())


def test_characters_outside_of_the_vocabulary():
    with pytest.raises(TextError, match=r'"% of café": the base cannot write % é .*`drop_chars`'):
        MINI.encode("% of café")
    with pytest.raises(TextError, match=r'"5 % of café": the base cannot write % 5 é .*in words') as caught:
        MINI.encode("5 % of café")
    assert "drop_chars" not in str(caught.value)  # a spoken number would be lost
    assert MINI.decode(MINI.encode("5 % of café", drop_unknown=True)) == "of caf"
    assert [*MINI.missing(["café 5", "55 é", "fine"]).items()] == [("5", 3), ("é", 2)]  # most frequent first
    assert MINI.missing(["a|b <pad>"]) == {"|": 1, "<": 1, ">": 1}


def test_from_a_tokenizer_of_capitals(tmp_path):
    """The layout of facebook/wav2vec2-base-960h."""
    tokens = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    tokens |= {letter: number for number, letter in enumerate("ETAONIHSRDLUMWCFGYPBVK'XJQZ", 5)}
    (tmp_path / "vocab.json").write_text(json.dumps(tokens))
    hf_tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    vocabulary = Vocabulary.from_tokenizer(hf_tokenizer)
    assert (vocabulary.blank, vocabulary.delimiter, vocabulary.cased) == (0, "|", "upper")
    assert vocabulary.encode("it's me") == hf_tokenizer("IT'S ME").input_ids
    assert vocabulary.decode([1, 3, *vocabulary.encode("me"), 2]) == "me"


@pytest.mark.parametrize("kind", PIECE_TOKENIZERS)
def test_a_tokenizer_of_word_pieces(kind):
    piece_tokenizer = PIECE_TOKENIZERS[kind]()
    vocabulary = Vocabulary.from_tokenizer(piece_tokenizer)
    ids = vocabulary.encode("The chest is stable")
    assert piece_tokenizer.convert_ids_to_tokens(ids) == ["▁the", "▁chest", "▁is", "▁st", "able"]
    assert vocabulary.decode(ids) == "the chest is stable"
    blank, the = vocabulary.blank, ids[0]
    assert vocabulary.decode([blank, the, blank, the]) == "the the"
    assert vocabulary.decode([*ids, 10_000]) == "the chest is stable"  # a head padded for speed
    assert vocabulary.missing(["the 5 cats", "5"]) == {"5": 2}
    with pytest.raises(TextError, match="the base cannot write 5"):
        vocabulary.encode("the 5 cats")
    assert vocabulary.decode(vocabulary.encode("the 5 cats", drop_unknown=True)) == "the cats"
