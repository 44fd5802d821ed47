"""Which search turns logits into text: the options that `transcribe`, `decode` and `tune-lm` share.

In: options and a base. Out: a function from the logits of one utterance to its text. Without options a base
that comes with a language model (`lm.arpa.gz` in its folder, with weights chosen on dev in `lm.json`) is
searched by beam search with it, any other by greedy search. A hot-word file works with both.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

from ia3_speech.cli import UserError
from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.beam_search import BEAM_SIZE, LM_WEIGHT, UNKNOWN_WORD_SCORE, WORD_SCORE, BeamSearch
from ia3_speech.decoding.ctc_search import greedy, greedy_words
from ia3_speech.lm.hotword_list import HOTWORD_WEIGHT, read_hotwords
from ia3_speech.lm.hotword_search import HotwordSearch

BASE_LM, BASE_LM_WEIGHTS = "lm.arpa.gz", "lm.json"  # in a base's folder
Search = Callable[[Any], str]  # the logits of one utterance, (frames, vocabulary), to its text
WEIGHTS = {
    "lm_weight": LM_WEIGHT,
    "word_score": WORD_SCORE,
    "unknown_word_score": UNKNOWN_WORD_SCORE,
    "beam_size": BEAM_SIZE,
}
# The smallest value of each number. A negative weight would prefer what the model finds unlikely; scores of
# words may have either sign.
LEAST = {"lm_weight": 0, "word_score": -inf, "unknown_word_score": -inf, "beam_size": 1, "hotword_weight": 0}


@dataclass(frozen=True)
class SearchOptions:
    """Search

    None: as the language model's own weights say, else the defaults of `BeamSearch`.

    Args:
        search: greedy takes the likeliest symbol of each frame; beam weighs whole texts with a language
            model, which makes fewer errors (default: beam where there is one, else greedy)
        lm: a language model, ARPA (perhaps .gz) or KenLM binary; ia3-speech lm makes one of text (default:
            the base's own, if it has one)
        lm_weight: what the language model counts beside the audio; ia3-speech tune-lm chooses it on a dev set
            (default: the base's, else 0.5)
        word_score: added for each word: a higher one makes more and shorter words (default: the base's, else
            1.5)
        unknown_word_score: added for each word that the language model lacks: a lower one makes fewer of them
            (default: the base's, else -10)
        beam_size: hypotheses that are kept after each frame; more of them take longer (default: 50)
        hotwords: a file of terms to recognise, one a line; after TABs a factor of --hotword-weight, and forms
            in which the term is heard (ia3-speech hotwords learn finds them)
        hotword_weight: nats of evidence that each character of a term beyond the fourth may lack: a higher
            one finds more of the terms, also where they were not spoken (default: 2.0)
    """

    search: Literal["greedy", "beam"] | None = None
    lm: Path | None = None
    lm_weight: float | None = None
    word_score: float | None = None
    unknown_word_score: float | None = None
    beam_size: int | None = None
    hotwords: Path | None = None
    hotword_weight: float | None = None

    def check(self) -> None:
        """Raises UserError for options that do not fit one another or can't be meant."""
        given = [name for name in ("lm", *WEIGHTS) if getattr(self, name) is not None]
        if self.search == "greedy" and given:
            flag = "--" + given[0].replace("_", "-")
            raise UserError(f"{flag} has no effect on greedy search (leave out --search greedy, or {flag})")
        if self.lm is not None and not self.lm.is_file():
            raise UserError(f"--lm {self.lm}: no such file (ia3-speech lm makes one of text)")
        for name in LEAST:
            check_number(name, getattr(self, name))
        if self.hotword_weight is not None and self.hotwords is None:
            raise UserError("--hotword-weight needs --hotwords FILE")
        if self.hotwords is not None:
            read_hotwords(self.hotwords)  # its faults are reported before a base is loaded

    def files(self, base_folder: Path | None) -> list[Path]:
        """The language model that `make_search` will use, or the base's own and its weights."""
        if self.search == "greedy" or self.lm is not None or base_folder is None:
            return [self.lm] if self.lm else []
        own = [base_folder / name for name in (BASE_LM, BASE_LM_WEIGHTS)]
        return [path for path in own if path.is_file()]


def check_number(name: str, value: float | None, flag: str | None = None) -> None:
    """Raises UserError for a number that is infinite, NaN or below `LEAST`, or a fraction of a hypothesis.

    Args:
        name: of a field of `SearchOptions`.
        flag: what the user typed, if not the flag of that field.
    """
    if value is None:
        return
    if value < LEAST[name]:
        needed = f"at least {LEAST[name]}"
    elif not isfinite(value):
        needed = "a finite number"
    elif name == "beam_size" and value != int(value):
        needed = "a whole number"
    else:
        return
    flag = flag or "--" + name.replace("_", "-")
    raise UserError(f"{flag} is {value:g}, and has to be {needed}")


def make_search(
    options: SearchOptions, vocabulary: Vocabulary, base_folder: Path
) -> tuple[Search, dict[str, Any]]:
    """The search, and its record for decode.json: the method, of a beam search its model and weights, and the
    hot words.

    Args:
        vocabulary: of the base.
        base_folder: where the base was loaded from; a language model may lie beside it.

    Raises:
        UserError: the options do not fit; LanguageModelError: the model cannot be used.
    """
    options.check()
    search, record = make_plain_search(options, vocabulary, base_folder)
    if options.hotwords is None:
        return search, record
    weight = HOTWORD_WEIGHT if options.hotword_weight is None else options.hotword_weight
    words = search.words if isinstance(search, BeamSearch) else partial(greedy_words, vocabulary=vocabulary)
    hotwords = read_hotwords(options.hotwords)
    record |= {"hotwords": str(options.hotwords), "hotword_weight": weight, "terms": len(hotwords)}
    return HotwordSearch(hotwords, weight, vocabulary, words), record


def make_plain_search(
    options: SearchOptions, vocabulary: Vocabulary, base_folder: Path
) -> tuple[Search, dict[str, Any]]:
    """`make_search` without hot words."""
    lm, weights = options.lm, {}
    if lm is None and options.search != "greedy" and (base_folder / BASE_LM).is_file():
        lm = base_folder / BASE_LM
        if (base_folder / BASE_LM_WEIGHTS).is_file():
            weights = json.loads((base_folder / BASE_LM_WEIGHTS).read_text("utf-8"))
    if options.search == "greedy" or (options.search is None and lm is None):
        return partial(greedy, vocabulary=vocabulary), {"search": "greedy"}
    chosen = {name: getattr(options, name) for name in WEIGHTS}
    used = {n: weights.get(n, default) if chosen[n] is None else chosen[n] for n, default in WEIGHTS.items()}
    return BeamSearch(vocabulary, lm, **used), {"search": "beam", "lm": lm and str(lm), **used}


def unused_hotwords(search: Search) -> str | None:
    """What is said at the end of a run with hot words of which none was ever found."""
    return search.unused() if isinstance(search, HotwordSearch) else None
