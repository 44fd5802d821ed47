"""Loading: a base, adapters and a search put together. The one place where the core and its extras meet.

    asr = load("mini", adapter="speaker42", hotwords="terms.txt")
    asr.transcribe("audio.wav").text

In: names, folders, and the options of the search that `transcribe`, `decode`, `live` and `tune-lm` share.
Out: a `Transcriber`. Without options a base that comes with a language model (`lm.arpa.gz` in its folder,
with weights chosen on dev in `lm.json`) is searched by beam search with it, any other by greedy search. A
hot-word file works with both. An adapter may be registered with files of the same names and `hotwords.txt`,
as it was measured: these come before the base's.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, isfinite, isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ia3_speech.adapters.expressions import AUTO, AUTO_SUM, Term, is_auto, is_single_adapter, parse_terms
from ia3_speech.cli import UserError
from ia3_speech.decoding.beam_search import BeamSearch
from ia3_speech.decoding.ctc_search import GreedySearch, Search
from ia3_speech.decoding.options import DictationOptions
from ia3_speech.decoding.recognizer import BATCH_SECONDS, Recognizer
from ia3_speech.decoding.segments import PostProcessor
from ia3_speech.decoding.transcription import Transcriber, parse_adapter
from ia3_speech.decoding.vad import VadMethod, choose_method
from ia3_speech.decoding.word_times import Scaling

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

BASE_LM, BASE_LM_WEIGHTS = "lm.arpa.gz", "lm.json"  # in a base's folder, or an adapter's
STORED_HOTWORDS = "hotwords.txt"  # in an adapter's folder
SEARCH_FILES = (BASE_LM, BASE_LM_WEIGHTS, STORED_HOTWORDS)  # all that may be registered with an adapter
NO_LM = Path("none")
MOST_SEARCHES = 8  # of requests with adapters of their own language models, which are kept in memory
BEAM_NUMBERS = ("lm_weight", "word_score", "unknown_word_score", "beam_size")  # fields of `BeamSearch`
# The smallest value of each number. A negative weight would prefer what the model finds unlikely; scores of
# words may have either sign.
LEAST = {"lm_weight": 0, "word_score": -inf, "unknown_word_score": -inf, "beam_size": 1, "hotword_weight": 0}


@dataclass(frozen=True)
class SearchOptions:
    """Search

    None: as it is registered with the adapter, else as the base's language model says, else the defaults of
    `BeamSearch`.

    Args:
        search: greedy takes the likeliest symbol of each frame, and nothing that is registered with the
            adapter; beam weighs whole texts with a language model, which makes fewer errors (default: beam
            where there is one, else greedy)
        lm: a language model, ARPA (perhaps .gz) or KenLM binary; ia3-speech lm makes one of text; none: no
            language model (default: the adapter's own, else the base's, if they have one)
        lm_weight: what the language model counts beside the audio; ia3-speech tune-lm chooses it on a dev set
            (default: as its language model has it, else 0.5)
        word_score: added for each word: a higher one makes more and shorter words (default: as its language
            model has it, else 1.5)
        unknown_word_score: added for each word that the language model lacks: a lower one makes fewer of them
            (default: as its language model has it, else -10)
        beam_size: hypotheses that are kept after each frame; more of them take longer (default: 50)
        hotwords: a file of terms to recognise, one a line; after TABs a factor of --hotword-weight, and forms
            in which the term is heard (ia3-speech hotwords learn finds them; default: the adapter's own)
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
        given = [name for name in ("lm", *BEAM_NUMBERS) if getattr(self, name) is not None]
        if self.search == "greedy" and given:
            flag = "--" + given[0].replace("_", "-")
            raise UserError(f"{flag} has no effect on greedy search (leave out --search greedy, or {flag})")
        if self.lm not in (None, NO_LM) and not self.lm.is_file():
            raise UserError(f"--lm {self.lm}: no such file (ia3-speech lm makes one of text; none: no model)")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value >= least):
                needed = f"at least {least}" if value < least else "a finite number"
                raise UserError(f"--{name.replace('_', '-')} is {value:g}, and has to be {needed}")
        if self.hotword_weight is not None and self.hotwords is None:
            raise UserError("--hotword-weight needs --hotwords FILE")
        if self.hotwords is not None:
            from ia3_speech.lm.hotword_search import read_hotwords

            read_hotwords(self.hotwords)  # its faults are reported before a base is loaded

    def complete(self, folder: Path) -> "SearchOptions":
        """These options; what they leave open is as it is stored in the folder of an adapter or a base."""
        if self.search == "greedy":
            return self
        weights = folder / BASE_LM_WEIGHTS
        numbers = json.loads(weights.read_text("utf-8")) if weights.is_file() else {}
        stored = {name: numbers[name] for name in ("search", *BEAM_NUMBERS) if name in numbers}
        if (folder / BASE_LM).is_file():
            stored["lm"] = folder / BASE_LM
        given = any(getattr(self, name) is not None for name in ("search", *BEAM_NUMBERS))
        if self.lm is not None or (given and stored.get("search") == "greedy"):
            stored = {}  # it belongs to another language model, or to none
        if self.hotwords is None and (folder / STORED_HOTWORDS).is_file():
            stored |= {"hotwords": folder / STORED_HOTWORDS, "hotword_weight": numbers.get("hotword_weight")}
        return replace(self, **{name: value for name, value in stored.items() if getattr(self, name) is None})

    def stored(self) -> dict[str, bytes]:
        """File name → contents that an adapter's folder holds for `complete`; nothing where all is open."""
        numbers = {name: value for name, value in vars(self).items() if name not in ("lm", "hotwords")}
        numbers = {name: value for name, value in numbers.items() if value is not None}
        files = {BASE_LM: self.lm, STORED_HOTWORDS: self.hotwords}
        contents = {name: file.read_bytes() for name, file in files.items() if file}
        if contents or numbers:
            contents[BASE_LM_WEIGHTS] = f"{json.dumps(numbers)}\n".encode()
        return contents

    def files(self, base_folder: Path | None) -> list[Path]:
        """The language model that `make_search` will use, or the base's own and its weights."""
        if self.search == "greedy" or self.lm is not None or base_folder is None:
            return [self.lm] if self.lm else []
        paths = [base_folder / name for name in (BASE_LM, BASE_LM_WEIGHTS)]
        return [path for path in paths if path.is_file()]


# Longest input, in seconds, of a base without a maximum of its own: 0.4 GB of attention weights a layer.
LONGEST_INPUT = 60.0
SHORTEST_INPUT = 1.0  # of a batch, and of a piece of a long recording: shorter ones hold no word


def make_search(options: SearchOptions, base: "Base") -> tuple[Search, dict[str, Any]]:
    """The search, and its record for decode.json: the method, of a beam search its model and weights, and the
    hot words.

    Args:
        base: as it was loaded; a language model may lie in its folder.

    Raises:
        UserError: the options do not fit; LanguageModelError: the model cannot be used.
    """
    options.check()
    hotwords = options.hotwords  # a base has none of its own
    options = replace(options.complete(Path(base.model.config.name_or_path)), hotwords=hotwords)
    lm = None if options.lm == NO_LM else options.lm
    if options.search == "greedy" or (options.search is None and lm is None):
        search, record = GreedySearch(base.vocabulary), {"search": "greedy"}
    else:
        numbers = {name: getattr(options, name) for name in BEAM_NUMBERS}
        search = BeamSearch(
            base.vocabulary, lm, **{name: value for name, value in numbers.items() if value is not None}
        )
        record = {"search": "beam", "lm": lm and str(lm)}
        record |= {name: getattr(search, name) for name in BEAM_NUMBERS}
    if options.hotwords is None:
        return search, record
    from ia3_speech.lm.hotword_search import HOTWORD_WEIGHT, HotwordSearch, read_hotwords

    weight = HOTWORD_WEIGHT if options.hotword_weight is None else options.hotword_weight
    hotwords = read_hotwords(options.hotwords)
    record |= {"hotwords": str(options.hotwords), "hotword_weight": weight, "terms": len(hotwords.terms)}
    return HotwordSearch(hotwords, weight, base.vocabulary, search), record


def with_stored_search(options: SearchOptions, terms: Sequence[Term]) -> SearchOptions:
    """The options, completed with what is registered with one adapter; of a sum nothing is taken, it says."""
    if is_single_adapter([*terms]):
        return options.complete(terms[0].folder)
    measured = [term.name for term in terms if (term.folder / BASE_LM_WEIGHTS).is_file()]
    if measured and options.search is None and options.lm is None:
        logger.warning(
            "several adapters are searched as the base is, with its language model if it has one, and not as "
            "%s was measured (--lm, --hotwords and --search choose)",
            " and ".join(measured),
        )
    return options


class RequestSearches:
    """Terms → the search of a request with this adapter, and its record: of what is registered with it,
    loaded on first use, where `options` do not say otherwise; else `shared`, which `options` make.
    """

    def __init__(self, options: SearchOptions, base: "Base", shared: tuple[Search, dict[str, Any]]):
        self.options, self.base, self.shared = options, base, shared
        self.cached = lru_cache(MOST_SEARCHES)(self.make)

    def __call__(self, terms: Sequence[Term]) -> tuple[Search, dict[str, Any]]:
        weights = terms[0].folder / BASE_LM_WEIGHTS if is_single_adapter([*terms]) else None
        if weights is None or not weights.is_file():
            return self.shared
        return self.cached(terms[0].folder, weights.stat().st_mtime_ns)

    def make(self, folder: Path, modified: int) -> tuple[Search, dict[str, Any]]:
        return make_search(self.options.complete(folder), self.base)


def make_post_process(options: DictationOptions, formats: str) -> PostProcessor | None:
    """Dictation, where it is asked for, or where `dictation` is among the formats."""
    if not options.dictation and "dictation" not in formats.split(","):
        return None
    from ia3_speech.dictation import make_dictation

    return make_dictation(options.dictation_rules, options.dictation_off)


def load(
    base: str | Path | None = None,
    *,
    adapter: str | Path | None = None,
    bank: Mapping[str, Path] | None = None,
    device: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32",
    precision: Literal["no", "bf16", "auto"] = "no",
    batch_seconds: float = BATCH_SECONDS,
    max_seconds: float | None = None,
    lm: str | Path | None = None,
    hotwords: str | Path | None = None,
    search: SearchOptions | None = None,
    vad: VadMethod | None = None,
    scaling: Scaling | None = None,
    channels: Literal["mix", "split"] = "mix",
    post_process: PostProcessor | None = None,
) -> Transcriber:
    """Load a base, and an adapter or many, to transcribe with.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone;
            left=agent,right=caller: one for each channel; auto, or auto:accent,medical: for each recording
            the one that its audio calls for, or none.
        bank: names and folders of many adapters, in place of one adapter, for `Recognizer.texts`.
        device: a torch device; None takes CUDA where there is one.
        dtype: of the base: float32, float16, bfloat16, or int8 on a CPU.
        precision: bf16: the encoder's layers compute in bfloat16; auto: where the device has instructions for
            it; no: all in `dtype`.
        batch_seconds: padded seconds of audio that go through the model at once.
        max_seconds: cut longer recordings at pauses; None: the base's maximum input duration, else 60;
            infinite: never.
        lm, hotwords: files of a language model and of terms, as in `SearchOptions`, before those of `search`.
        search: how logits become text; None: as it is registered with the adapter, else see `SearchOptions`.
        vad: how speech is found where longer recordings are cut: off, energy or silero; None: silero where it
            is installed, else energy.
        scaling: of the words' confidences; None: what `calibrate` stored with the adapter, or with the base
            where there is no adapter, for this search; else none.
        channels: mix averages those of a recording; split transcribes them one by one, merged by time.
        post_process: writes the text of the recognised words, such as dictation.

    Raises:
        UserError: an adapter or the base is not there, or they don't belong together; no such device.
    """
    for flag, seconds in (("--batch-seconds", batch_seconds), ("--max-seconds", max_seconds)):
        if seconds is not None and not seconds >= SHORTEST_INPUT:
            raise UserError(f"{flag} is {seconds:g}, and has to be at least {SHORTEST_INPUT:g} seconds")
    vad = choose_method(vad)
    files = {name: Path(file) for name, file in (("lm", lm), ("hotwords", hotwords)) if file is not None}
    options = replace(search or SearchOptions(), **files)
    options.check()
    split = channels == "split"
    terms, by_channel = parse_adapter(adapter, split)
    auto: list[Term] = []
    if is_auto(adapter):  # of which each has what is registered with it
        from ia3_speech.routing.router import auto_terms

        auto = auto_terms(adapter)
    options = with_stored_search(options, terms)
    if by_channel:
        terms, bank = [], {term.name: term.folder for term in terms}
    import torch

    try:  # after what may fail without torch
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--device {device}: {reason} (take cpu, cuda, cuda:1, mps)") from None
    from ia3_speech.adapters.bank import Bank
    from ia3_speech.adapters.load import base_of
    from ia3_speech.confidence.storage import find_scaling
    from ia3_speech.model.precision import choose_precision
    from ia3_speech.training.methods import load_any

    first = [Term(name, folder) for name, folder in [*(bank or {}).items()][:1]]
    first = first if adapter in (AUTO, AUTO_SUM) else first or auto  # whose base it is, where none is given
    loaded = base_of(terms or first, base, dtype=dtype, device=device)
    loaded.precision = choose_precision(precision, loaded.device, loaded.dtype)
    if terms:
        load_any(loaded, terms)
    if max_seconds is None:
        max_seconds = loaded.maximum_seconds or LONGEST_INPUT
    search, record = make_search(options, loaded)
    recognizer = Recognizer(
        loaded,
        terms,
        None if adapter is None or auto else str(adapter),
        batch_seconds,
        None if isinf(max_seconds) else max_seconds,
        search=search,
        search_record=record,
        vad=vad,
        scaling=scaling,
    )
    if bank:
        recognizer.bank = Bank(loaded)
        for name, folder in bank.items():
            recognizer.bank.add(name, folder)
        return Transcriber(recognizer, post_process, split, by_channel)
    if scaling is None:
        recognizer.scaling = find_scaling(loaded, terms, record)
    if terms:
        return Transcriber(recognizer, post_process, split)
    from ia3_speech.adapters.cache import AdapterCache, stored_adapter

    cache, searches = AdapterCache(Bank(loaded)), RequestSearches(options, loaded, (search, record))

    def with_terms(terms: Sequence[Term], name: str | None) -> Recognizer:
        """The recogniser with these adapters; of none, the base's."""
        if not terms:
            return recognizer
        row = cache.row(tuple((stored_adapter(term.name, term.folder), term.weight) for term in terms))
        found, its_record = searches(terms)
        return replace(
            recognizer, adapter=terms, name=name, bank=cache.bank, row=row, search=found,
            search_record=its_record, scaling=scaling or find_scaling(loaded, terms, its_record),
        )  # fmt: skip

    def adapt(adapter: str | Path) -> Recognizer:
        """The recogniser of one request."""
        if not is_auto(adapter):
            return with_terms(parse_terms(adapter), str(adapter))
        from ia3_speech.routing.router import Router

        gate = Router(adapter, loaded, with_terms)
        return replace(recognizer, adapter=gate.terms, name=str(adapter), bank=cache.bank, gate=gate)

    transcriber = Transcriber(recognizer, post_process, split, adapt=adapt)
    return transcriber.with_adapter(adapter) if auto else transcriber
