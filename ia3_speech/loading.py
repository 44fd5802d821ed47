"""Loading: a base, adapters and a search put together. The one place where the core and its extras meet.

    asr = load("mini", adapter="speaker42", hotwords="terms.txt")
    asr.transcribe("audio.wav").text

In: names, folders, and the options of the search (search.py). Out: a `Transcriber`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isinf
from pathlib import Path
from typing import Literal

from ia3_speech.adapters.expressions import AUTO, AUTO_SUM, Term, is_auto, parse_terms
from ia3_speech.decoding.formats import parse_formats
from ia3_speech.decoding.options import DictationOptions
from ia3_speech.decoding.recognizer import BATCH_SECONDS, Recognizer
from ia3_speech.decoding.segments import PostProcessor
from ia3_speech.decoding.transcription import Transcriber, parse_adapter
from ia3_speech.decoding.vad import VadMethod, choose_method
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.errors import UserError
from ia3_speech.search import BEAM_NUMBERS, RequestSearches, SearchOptions, make_search, with_stored_search

logger = logging.getLogger(__name__)

# Longest input, in seconds, of a base without a maximum of its own: 0.4 GB of attention weights a layer.
LONGEST_INPUT = 60.0
SHORTEST_INPUT = 1.0  # of a batch, and of a piece of a long recording: shorter ones hold no word


def make_post_process(options: DictationOptions, formats: str) -> PostProcessor | None:
    """Dictation, where it is asked for, or where `dictation` is among the formats."""
    if not options.dictation and "dictation" not in parse_formats(formats):
        if options.dictation_rules or options.dictation_off:
            raise UserError("--dictation-rules and --dictation-off need --dictation, or --format dictation")
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
    method: str | None = None,
    max_seconds: float | None = None,
    lm: str | Path | None = None,
    hotwords: str | Path | None = None,
    search: SearchOptions | Literal["greedy", "beam"] | None = None,
    vad: VadMethod | None = None,
    scaling: Scaling | None = None,
    channels: Literal["mix", "split"] = "mix",
    post_process: PostProcessor | None = None,
    test_time: Literal["suta", "dsuta"] | None = None,
) -> Transcriber:
    """Load a base, and one adapter or many, to transcribe with.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone, or
            an adapter with each request; left=agent,right=caller: one per channel; auto: for each recording
            one of the registered adapters or none, by its audio; auto:accent,medical: one of these or none.
        bank: names and folders of many adapters, in place of one adapter, for `Recognizer.texts`.
        device: a torch device; None takes CUDA where there is one.
        dtype: number format of the base's weights: float32, float16, bfloat16, or int8 on a CPU.
        precision: bf16: compute the encoder's layers in bfloat16; auto: bf16 if that is faster here; no:
            compute everything in `dtype`.
        batch_seconds: padded seconds of audio that go through the model at once.
        method: FILE.py:NAME, a method of your own, by which the adapter was trained.
        max_seconds: cut longer recordings at pauses; None: the base's maximum input duration, else 60;
            infinite: never.
        lm, hotwords: files of a language model and of terms, as in `SearchOptions`, before those of `search`.
        search: how logits become text; None: as registered with the adapter, else as `SearchOptions` says.
        vad: how to find the speech where longer recordings are cut: off, energy or silero; None: silero if it
            is installed, else energy.
        scaling: calibrates the words' confidences; None: what `calibrate` stored for this search with the
            adapter, or, if there is no adapter, with the base; nothing stored: no calibration.
        channels: mix averages the channels of a recording; split transcribes each by itself, and merges the
            texts by time.
        post_process: turns the recognised words into written text, as dictation does.
        test_time: adapt each request's vectors to its audio, see `unsupervised.suta`; confidences are then
            not calibrated.

    Raises:
        UserError: an adapter or the base is not there, or they don't belong together; no such device.
    """
    for flag, seconds in (("--batch-seconds", batch_seconds), ("--max-seconds", max_seconds)):
        if seconds is not None and not seconds >= SHORTEST_INPUT:
            raise UserError(f"{flag} is {seconds:g}, and has to be at least {SHORTEST_INPUT:g} seconds")
    vad = choose_method(vad)
    files = {name: Path(file) for name, file in (("lm", lm), ("hotwords", hotwords)) if file is not None}
    search = SearchOptions(search) if isinstance(search, str) else search
    options = replace(search or SearchOptions(), **files)
    options.check()
    if test_time not in (None, "suta", "dsuta"):
        raise UserError(f"test_time is {test_time!r}, and has to be suta or dsuta")
    split = channels == "split"
    terms, by_channel = parse_adapter(adapter, split)
    if split and test_time == "dsuta":
        raise UserError("--test-time dsuta follows one person, --channels split has several (take suta)")
    auto: list[Term] = []
    if is_auto(adapter):  # of which each has what is registered with it
        from ia3_speech.routing.router import auto_terms

        if test_time:
            raise UserError(f"{adapter} chooses among adapters as they are (leave out --test-time)")
        auto = auto_terms(adapter)
    options = with_stored_search(options, terms, by_channel=bool(by_channel))
    if by_channel:
        terms, bank = [], {term.name: term.folder for term in terms}
    from ia3_speech.adapters.bank import Bank
    from ia3_speech.adapters.load import base_of
    from ia3_speech.adapters.methods import add_own_method, load_any
    from ia3_speech.confidence.storage import find_scaling
    from ia3_speech.model.precision import choose_precision

    add_own_method(method)
    named = [] if adapter in (AUTO, AUTO_SUM) else auto  # which may say whose base it is, as the bank's first
    first = [Term(name, folder) for name, folder in [*(bank or {}).items()][:1]]
    loaded = base_of(terms or first or named, base, dtype=dtype, device=device)
    chosen = choose_precision(precision, loaded.model, loaded.dtype)
    loaded.precision, loaded.precision_reason = chosen
    if precision == "auto":
        logger.info("precision %s: %s", *chosen)
    if terms and not test_time:
        load_any(loaded, terms)
    if max_seconds is None:
        max_seconds = loaded.maximum_seconds or LONGEST_INPUT
    given = [name for name in BEAM_NUMBERS if getattr(options, name) is not None]
    search, record = make_search(options, loaded)
    if given and record["search"] == "greedy" and not auto:
        flag = "--" + given[0].replace("_", "-")
        logger.warning("%s: without a language model (--lm) the search is greedy, and does not use it", flag)
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
    if test_time:
        from ia3_speech.unsupervised.suta import Suta, add_start

        recognizer.test_time, recognizer.bank = Suta(test_time), Bank(loaded)
        recognizer.row = add_start(recognizer.bank)
    if bank:
        recognizer.bank = recognizer.bank or Bank(loaded)
        for name, folder in bank.items():
            recognizer.bank.add(name, folder)
        return Transcriber(recognizer, post_process, split, by_channel)
    if scaling is None and not test_time:
        recognizer.scaling = find_scaling(loaded, terms, record)
    if terms and not test_time:
        return Transcriber(recognizer, post_process, split)
    from ia3_speech.adapters.cache import AdapterCache, stored_adapter

    cache = AdapterCache(recognizer.bank or Bank(loaded))
    searches = RequestSearches(options, loaded, (search, record))

    def with_terms(terms: Sequence[Term], name: str | None) -> Recognizer:
        """The recogniser with these adapters; of none, the base's."""
        if not terms:
            return recognizer
        row = cache.row(tuple((stored_adapter(term.name, term.folder), term.weight) for term in terms))
        found, its_record = searches(terms)
        return replace(
            recognizer, adapter=terms, name=name, bank=cache.bank, row=row, search=found,
            search_record=its_record,
            scaling=scaling or (None if test_time else find_scaling(loaded, terms, its_record)),
        )  # fmt: skip

    def adapt(adapter: str | Path) -> Recognizer:
        """The recogniser of one request."""
        if not is_auto(adapter):
            return with_terms(parse_terms(adapter), str(adapter))
        from ia3_speech.routing.router import Router, auto_terms, make_gate

        terms, gate = make_gate(adapter, auto_terms(adapter), loaded)
        usable = []
        for term in terms:  # what can't be loaded is told before anything is heard
            try:
                with_terms([term], term.name)
                usable.append(term)
            except UserError as error:
                if adapter not in (AUTO, AUTO_SUM):
                    raise
                logger.warning("%s: is not chosen: %s", term.name, error)
        if usable != terms:
            terms, gate = make_gate(adapter, usable, loaded)
        route = Router(adapter, terms, gate, with_terms)
        return replace(recognizer, adapter=terms, name=str(adapter), bank=cache.bank, gate=route)

    transcriber = Transcriber(recognizer, post_process, split, adapt=adapt)
    return transcriber.with_adapter(adapter) if auto or terms else transcriber
