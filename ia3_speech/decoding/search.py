"""Search, from a base's logits to text: greedy or beam search, with a language model and hot words.

    options = SearchOptions(lm=Path("my.arpa.gz"), hotwords=Path("terms.txt"))
    search, record = make_search(options, base)        # logits → Hypothesis

In: the options that `transcribe`, `decode`, `live`, `serve` and `tune-lm` share, and files in the folder of a
base or an adapter. Out: a `Search`, and its record for decode.json. Without options, a base with a language
model (`lm.arpa.gz` in its folder, with weights chosen on dev in `lm.json`) gets beam search with it, and any
other base greedy search; hot words (hotword_search.py) work with both. An adapter may be registered with
files of the same names and `hotwords.txt`, which take precedence over the base's.
"""

import json
import logging
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ia3_speech.adapters.record import STORED_HOTWORDS, STORED_LM, STORED_LM_WEIGHTS, read_json
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.beam_search import BeamSearch
from ia3_speech.model.hypotheses import Search

if TYPE_CHECKING:
    from ia3_speech.decoding.hotword_search import Hotword
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

NO_LM = Path("none")
BEAM_NUMBERS = ("lm_weight", "word_score", "unknown_word_score", "beam_size")  # fields of `BeamSearch`
# The smallest value of each number. A negative weight would prefer texts that the model finds unlikely;
# scores of words may have either sign.
MIN_VALUES = {"lm_weight": 0, "beam_size": 1, "hotword_weight": 0}


class StoredSearch(TypedDict, total=False):
    """lm.json: measured values of `SearchOptions`."""

    search: str
    lm_weight: float
    word_score: float
    unknown_word_score: float
    beam_size: int | None
    hotword_weight: float


@dataclass(frozen=True)
class SearchOptions:
    """Search

    None: as it is registered with the adapter, else as the base's language model says, else the defaults of
    `BeamSearch`.

    Args:
        search: greedy takes the likeliest symbol of each frame and uses nothing that is registered with the
            adapter; beam weighs whole texts with a language model, which makes fewer errors (default: beam if
            there is a language model, else greedy)
        lm: language model, an ARPA file (also gzipped, .gz) or KenLM binary; ia3-speech lm estimates one from
            text; none: no language model (default: the adapter's own, else the base's, if they have one)
        lm_weight: weight of the language model relative to the audio; ia3-speech tune-lm chooses it on a dev
            set (default: as stored with the language model, else 0.5)
        word_score: score added for each word: a higher one gives more and shorter words (default: as stored
            with the language model, else 1.5)
        unknown_word_score: score added for each word that the language model lacks: a lower one gives fewer
            of them (default: as stored with the language model, else -10)
        beam_size: number of hypotheses kept after each frame; more of them take longer (default: 50)
        hotwords: file of terms to recognise, one per line; optional further fields, separated by TABs, are a
            weight (it multiplies --hotword-weight) and the forms in which the term is heard (ia3-speech
            hotwords learn finds them; default: the adapter's own)
        hotword_weight: bonus in nats for each character of a term beyond the fourth: a higher one finds more
            of the terms, also where they were not spoken (default: 2.0)
    """

    search: Literal["greedy", "beam"] | None = None
    lm: Path | None = None
    lm_weight: float | None = None
    word_score: float | None = None
    unknown_word_score: float | None = None
    beam_size: int | None = None
    hotwords: Path | None = None
    hotword_weight: float | None = None

    def __post_init__(self) -> None:
        """Raises UserError for options that contradict each other, and for values out of range."""
        if self.search not in (None, "greedy", "beam"):
            raise UserError(f"`search` is {self.search!r}, and must be greedy or beam")
        given = [name for name in ("lm", *BEAM_NUMBERS) if getattr(self, name) not in (None, NO_LM)]
        if self.search == "greedy" and given:
            name = f"`{given[0]}`"
            raise UserError(f"{name} has no effect on greedy search (leave out `search=greedy`, or {name})")
        if self.lm == NO_LM and (self.lm_weight, self.word_score, self.unknown_word_score) != 3 * (None,):
            raise UserError("`lm_weight`, `word_score` and `unknown_word_score` need a language model")
        if self.lm not in (None, NO_LM) and not self.lm.is_file():
            raise UserError(f"`lm={self.lm}`: no such file (ia3-speech lm estimates a model; none: no model)")
        for name in (*BEAM_NUMBERS, "hotword_weight"):
            value, minimum = getattr(self, name), MIN_VALUES.get(name, -inf)
            if value is not None and not (isfinite(value) and value >= minimum):
                needed = f"at least {minimum}" if value < minimum else "a finite number"
                raise UserError(f"`{name}` is {value:g}, and must be {needed}")
        if self.hotword_weight is not None and self.hotwords is None:
            raise UserError("`hotword_weight` needs `hotwords`, a file")
        if self.hotwords is not None:
            hotwords_of(self)  # raises for a file that can't be read

    def complete(self, folder: Path) -> "SearchOptions":
        """These options; open ones get the values in the folder of an adapter or a base."""
        if self.search == "greedy":
            return self
        weights = folder / STORED_LM_WEIGHTS
        numbers = read_json(weights, StoredSearch) if weights.is_file() else {}
        stored = {name: numbers[name] for name in ("search", *BEAM_NUMBERS) if name in numbers}
        if (folder / STORED_LM).is_file():
            stored["lm"] = folder / STORED_LM
        given = any(getattr(self, name) is not None for name in ("search", *BEAM_NUMBERS))
        if self.lm is not None or (given and stored.get("search") == "greedy"):
            stored = {}  # of another language model, or of none
        if self.hotwords is None and (folder / STORED_HOTWORDS).is_file():
            stored |= {"hotwords": folder / STORED_HOTWORDS, "hotword_weight": numbers.get("hotword_weight")}
        return replace(self, **{name: value for name, value in stored.items() if getattr(self, name) is None})

    def stored(self) -> dict[str, bytes]:
        """File name → contents, for `complete`, of files in an adapter's folder; empty if all is open."""
        if self.lm == NO_LM:
            raise UserError("`lm=none` cannot be registered (`search=greedy` can: it uses no language model)")
        given = {name: value for name, value in vars(self).items() if value is not None}
        files = {STORED_LM: given.pop("lm", None), STORED_HOTWORDS: given.pop("hotwords", None)}
        contents = {name: file.read_bytes() for name, file in files.items() if file}
        if contents or given:
            contents[STORED_LM_WEIGHTS] = f"{json.dumps(given)}\n".encode()
        return contents

    def files(self, base_folder: Path | None) -> list[Path]:
        """The language model that `make_search` will use, or the base's own and its weights."""
        if self.search == "greedy" or self.lm is not None or base_folder is None:
            return [self.lm] if self.lm else []
        paths = [base_folder / name for name in (STORED_LM, STORED_LM_WEIGHTS)]
        return [path for path in paths if path.is_file()]


def hotwords_of(options: SearchOptions) -> "list[Hotword]":
    """The terms of the options' file."""
    if options.hotwords is None:
        return []
    from ia3_speech.decoding.hotword_search import read_hotwords

    return read_hotwords(options.hotwords)


def make_search(options: SearchOptions, base: "Base") -> tuple[Search, dict[str, Any]]:
    """The search, and its record for decode.json: method, model and weights of a beam search, hot words. The
    language model may be in the base's folder. Raises UserError if the language model cannot be used."""
    hotwords = hotwords_of(options)
    beam_size = options.beam_size or (5 if options.search == "beam" else 1)
    if own := base.own_search(beam_size, [term.text for term in hotwords]):
        weights = (options.lm_weight, options.word_score, options.unknown_word_score)
        if options.lm not in (None, NO_LM) or weights != (None, None, None):
            base.require("a language model")
        return own
    if hotwords:
        base.require("hot words")
    terms = {"hotwords": options.hotwords, "hotword_weight": options.hotword_weight}  # a base has none
    options = replace(options.complete(base.folder), **terms)
    lm = None if options.lm == NO_LM else options.lm
    if options.search == "greedy" or (options.search is None and lm is None):
        search, record = base.greedy, {"search": "greedy"}
        if name := next((name for name in BEAM_NUMBERS if getattr(options, name) is not None), None):
            logger.warning("`%s` has no effect: without `lm` the search is greedy", name)
    else:
        numbers = {name: value for name in BEAM_NUMBERS if (value := getattr(options, name)) is not None}
        search = BeamSearch(base.vocabulary, lm, **numbers)
        record = {"search": "beam", "lm": lm and str(lm)}
        record |= {name: getattr(search, name) for name in BEAM_NUMBERS}
    if not hotwords:
        return search, record
    from ia3_speech.decoding.hotword_search import HotwordSearch

    search = HotwordSearch(hotwords, options.hotword_weight, base.vocabulary, search)
    record |= {"hotwords": str(options.hotwords), "hotword_weight": search.weight, "terms": len(hotwords)}
    return search, record
