"""A session: a base in memory, and all that its recognisers share. It connects the core and the extras.

    asr = load("mini", adapter="speaker42", hotwords="terms.txt")      a façade for most callers
    asr.transcribe("audio.wav").text

    session = Session(load_base("mini"))
    session.recognizer(parse_adapter("accent:0.7+medical")).texts([wave])

In: a base, options of the search (search.py), and an `AdapterSpec` for each request. Out: a `Recognizer`, or
by `load` a `Transcriber`. IA³ adapters are rows of the session's bank; an adapter of another method is in the
model for all requests.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import other_method
from ia3_speech.adapters.record import GATE, GUARD, SEARCH_FILES, STORED_LM_WEIGHTS
from ia3_speech.adapters.spec import AUTO, BASE_ALONE, AdapterSpec, parse_adapter
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.formats import parse_formats
from ia3_speech.decoding.options import DictationOptions, LoadOptions, changed_fields
from ia3_speech.decoding.recognizer import Compute, Recognizer
from ia3_speech.decoding.search import BEAM_NUMBERS, SearchOptions, make_search
from ia3_speech.decoding.segments import PostProcessor
from ia3_speech.decoding.transcription import Transcriber
from ia3_speech.decoding.vad import choose_method

if TYPE_CHECKING:
    from ia3_speech.decoding.hotword_search import Hotword
    from ia3_speech.model.base import Base
    from ia3_speech.model.hypotheses import Search
    from ia3_speech.routing.router import Gates

logger = logging.getLogger(__name__)

MAX_INPUT = 60.0  # seconds, for a base without a maximum: 0.4 GB of attention weights a layer
MAX_SEARCHES = 8  # in memory, of adapters with language models
MAX_GATES = 16  # in memory, for different sets of adapters
# For engine onnx, of `LoadOptions` and `SearchOptions`
GRAPH_OPTIONS = ("batch_seconds", "max_seconds", "vad", "scaling", "search", "lm", *BEAM_NUMBERS)


class Session:
    """A base in memory, and what its recognisers share. Any number of threads may use it.

    Args:
        base: without vectors in its model, unless `attached` is in it.
        search: takes precedence over the search that is registered with an adapter.
        options: of these `batch_seconds`, `max_seconds`, `vad` and `scaling`.
        test_time: as for `load`.
        attached: an adapter of another method than IA³, which is in the base's model.
    """

    def __init__(
        self,
        base: "Base",
        search: SearchOptions = SearchOptions(),  # noqa: B008  (immutable)
        options: LoadOptions = LoadOptions(),  # noqa: B008
        *,
        test_time: Literal["suta"] | None = None,
        attached: AdapterSpec | None = None,
    ):
        from ia3_speech.adapters.bank import Bank
        from ia3_speech.adapters.cache import AdapterCache

        self.base, self.search_options, self.attached = base, search, attached
        self.scaling, self.batch_seconds = options.scaling, options.batch_seconds or base.batch_seconds
        self.cache = AdapterCache(Bank(base)) if attached is None else None
        seconds = options.max_seconds or base.maximum_seconds or MAX_INPUT
        self.max_seconds, self.vad = None if isinf(seconds) else seconds, choose_method(options.vad)
        self.test_time = None
        if test_time:
            from ia3_speech.decoding.suta import Suta

            self.test_time = Suta(self.cache)
        # A changed file makes a new search or gate: the last argument holds the modification times.
        self.stored_search = lru_cache(MAX_SEARCHES)(lambda f, _: make_search(search.complete(f), base))
        self.cached_gates: dict[tuple[AdapterSpec, tuple[int, ...]], Gates] = {}

    def recognizer(
        self,
        spec: AdapterSpec = BASE_ALONE,
        *,
        compute: Compute | None = None,
        hotwords: "Sequence[Hotword]" = (),
        language: str | None = None,
    ) -> Recognizer:
        """The recogniser of a request. Its adapters are loaded on first use, and again if their files have
        changed.

        Args:
            compute: computes the logits, and loads the adapters, in place of this session.
            hotwords: of this request, in addition to those of its search.
            language: of this request, for a Whisper base.

        Raises:
            UserError: an adapter can't be loaded or chosen, or is of another base; or another adapter is in
                the model for all requests.
        """
        from ia3_speech.decoding.calibrations import find_scaling

        if self.attached and spec.terms != self.attached.terms:
            raise UserError(
                f"{spec or 'the base'}: {self.attached} was loaded for all requests (its method has no bank; "
                f"leave it out of load)"
            )
        if not (spec.choice and spec.guard is None):  # then an adapter's own rule decides, piece by piece
            spec = replace(spec, guard=is_guarded(spec, self.test_time))
        if spec.choice or spec.guard:
            return self.routed_recognizer(spec, compute, hotwords, language)
        for folder in spec.folders:
            registry.note_use(folder)
        external = compute is not None
        if not external and self.cache:
            compute = self.cache.logits
            for each in (spec, *(of_channel for _, of_channel in spec.channels)):
                self.cache.row(each.terms)
        search, record = self.search(spec)
        scaling = self.scaling
        if not (scaling or self.test_time or spec.channels):
            with suppress(UserError) if external else nullcontext():  # a damaged one fails no request
                scaling = find_scaling(self.base, spec, record)
        terms = [term.text for term in hotwords]
        if prompted := self.base.prompted(search, terms, language, spec.setting("language")):
            search, record = prompted, record | {"language": prompted.language}
        elif hotwords:
            from ia3_speech.decoding.hotword_search import HotwordSearch

            search = HotwordSearch(hotwords, self.search_options.hotword_weight, self.base.vocabulary, search)
            scaling = None  # it was fitted for another search
        return Recognizer(
            self.base, spec, search, record, scaling, compute=compute, test_time=self.test_time,
            batch_seconds=self.batch_seconds, max_seconds=self.max_seconds, vad=self.vad,
        )  # fmt: skip

    def routed_recognizer(
        self, spec: AdapterSpec, compute: Compute | None, hotwords: "Sequence[Hotword]", language: str | None
    ) -> Recognizer:
        """The recogniser that chooses among the base and the adapters of `spec` for each piece of audio."""
        from ia3_speech.routing.router import Router

        def recognizer_of(chosen: AdapterSpec) -> Recognizer:
            return self.recognizer(chosen, compute=compute, hotwords=hotwords, language=language)

        gates = self.gates(spec)
        if compute is None:
            usable = []
            for term in gates.spec.terms:  # errors are reported before any audio is recognised
                try:
                    recognizer_of(AdapterSpec((term,)))
                    usable.append(term)
                except UserError as error:
                    if not spec.all_registered:
                        raise
                    logger.warning("%s: is not chosen: %s", term.name, error)
            if len(usable) < len(gates.spec.terms):
                gates = self.gates(replace(spec, terms=tuple(usable)))
        router, base = Router(self.base, gates, recognizer_of), recognizer_of(BASE_ALONE)
        seconds = base.batch_seconds / router.rows
        return replace(base, spec=gates.spec, router=router, batch_seconds=seconds)

    def search(self, spec: AdapterSpec) -> "tuple[Search, dict[str, Any]]":
        """The search of an adapter, whatever its weight, and the search's record for decode.json. The
        session's options take precedence over the files that are registered with the adapter. Sums and
        channels have the base's search."""
        folder = spec.terms[0].folder if len(spec.terms) == 1 else None
        files = [file for name in SEARCH_FILES if folder and (file := folder / name).is_file()]
        if not files:
            return self.default_search
        return self.stored_search(folder, tuple(file.stat().st_mtime_ns for file in files))

    @cached_property
    def default_search(self) -> "tuple[Search, dict[str, Any]]":
        """The search of the base, and of adapters without a registered search."""
        return make_search(self.search_options, self.base)

    def gates(self, spec: AdapterSpec) -> "Gates":
        """As `routing.router.make_gates`, which is called again when the file of an adapter's gate or guard
        has changed."""
        from ia3_speech.routing.router import make_gates

        files = [term.folder / name for term in spec.terms for name in (GATE, GUARD)]
        stamps = tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)
        if (gates := self.cached_gates.get((spec, stamps))) is None:
            if len(self.cached_gates) >= MAX_GATES:
                self.cached_gates.clear()
            gates = self.cached_gates[spec, stamps] = make_gates(spec, self.base)
        return gates


def load(
    base: str | Path | None = None,
    *,
    adapter: str | Path | AdapterSpec | None = None,
    guard: bool | None = None,
    device: str | None = None,
    precision: Literal["no", "bf16", "int8", "auto"] = "no",
    language: str | None = None,
    engine: Literal["torch", "onnx"] = "torch",
    lm: str | Path | None = None,
    hotwords: str | Path | None = None,
    search: SearchOptions | Literal["greedy", "beam"] | None = None,
    channels: Literal["mix", "split"] = "mix",
    post_process: PostProcessor | None = None,
    test_time: Literal["suta"] | None = None,
    options: LoadOptions = LoadOptions(),  # noqa: B008  (immutable)
) -> Transcriber:
    """A transcriber of a base, with an adapter or many.

    Args:
        base: mini, a folder or a hub id; None: the adapter's recorded base, else mini.
        adapter: a registered name, a path or a sum such as accent:0.7+medical:0.5; None: the base alone, or
            an adapter with each request; left=agent,right=caller: an adapter for each channel; auto: for each
            recording a registered adapter or none, by its audio; auto:accent,medical: one of these or none.
        guard: use the base's text where it is surer than the adapter's; None: for an adapter whose training
            has fitted a rule (guard.json); True: for any single adapter, and auto, or an error.
        device: a torch device; None: CUDA if there is one.
        precision: bf16: compute the encoder's layers in bfloat16; int8: compute a Whisper's linear layers in
            int8, on a CPU; auto: bf16 if it is faster here; no: compute everything in `options.dtype`.
        language: that a multilingual Whisper writes: a code, or auto; None: the adapter's, else en.
        engine: onnx: `base` is the folder of a graph, which ONNX Runtime computes; torch is not loaded.
        lm: file of a language model, as in `SearchOptions`; it takes precedence over that in `search`.
        hotwords: file of terms, likewise.
        search: options of the search; None: those registered with the adapter, else defaults.
        channels: mix averages the channels of a recording; split transcribes each separately, and merges the
            texts by time.
        post_process: turns the recognised words into written text, as dictation does.
        test_time: adapt each request's vectors to its audio, see `decoding.suta`; confidences are then
            not calibrated.
        options: lengths of the input, number formats, and other options that few callers need.

    Raises:
        UserError: an adapter or the base does not exist, or they don't fit together; no such device.
    """
    if test_time not in (None, "suta"):
        raise UserError(f"`test_time` is {test_time!r}, and must be suta")
    files = {name: Path(file) for name, file in (("lm", lm), ("hotwords", hotwords)) if file is not None}
    search = SearchOptions(search) if isinstance(search, str) else search
    search, split = replace(search or SearchOptions(), **files), channels == "split"
    spec = parse_adapter(adapter, split=split, guard=guard)
    if spec.choice and test_time:
        raise UserError(f"{spec} chooses among adapters as they are (leave out `test_time`)")
    if engine == "onnx":
        torch_only = {"device": device, "language": language, "test_time": test_time}
        torch_only |= {"precision": precision != "no"}
        refuse_for_graph(search, options, torch_only)
        from ia3_speech.onnx.session import load as load_graph

        return load_graph(base, spec, options, search, post_process=post_process, split=split)
    warn_of_unused_searches(spec, search)
    from ia3_speech.adapters.load import base_of
    from ia3_speech.adapters.methods import add_user_method, load_any
    from ia3_speech.model.precision import choose_precision

    add_user_method(options.method)
    loaded = base_of(spec, base, dtype=options.dtype, device=device)
    loaded.configure(window=options.window, language=language, task=options.task)
    loaded.precision, loaded.precision_reason = choose_precision(
        precision, loaded.model, loaded.dtype, loaded.precisions
    )
    logger.debug("precision %s: %s", loaded.precision, loaded.precision_reason)
    attached = None
    if spec.is_single and not test_time and other_method(spec.terms[0].record):
        attached = spec
        load_any(loaded, spec)
    session = Session(loaded, search, options, test_time=test_time, attached=attached)
    return Transcriber(session.recognizer(spec), post_process, split, session, guard)


def refuse_for_graph(search: SearchOptions, options: LoadOptions, torch_only: dict[str, Any]) -> None:
    """Raises UserError for an option that differs from its default and needs PyTorch: all except
    `GRAPH_OPTIONS`."""
    changed = [*(name for name, value in torch_only.items() if value), *changed_fields(options, search)]
    if name := next((name for name in changed if name not in GRAPH_OPTIONS), None):
        raise UserError(f"`{name}` needs PyTorch, and has no effect with `engine=onnx` (leave it out)")


def is_guarded(spec: AdapterSpec, test_time: Any = None) -> bool:
    """Whether a request is guarded: if its adapter has a rule, guard.json, or its user asks for it. Raises
    UserError if the user asks for a guard that is impossible."""
    if spec.guard is False or not spec.folders:
        return False
    terms = () if spec.choice else spec.terms
    names = (GATE,) if spec.guard else (GATE, GUARD)
    missing = next((f for term in terms for name in names if not (f := term.folder / name).is_file()), None)
    reason = missing and f"{missing} is missing (ia3-speech adapters gate writes it)"
    if not (spec.is_single or spec.choice == AUTO):
        reason = "a guard chooses between the base and one adapter of weight 1, or by auto, without channels"
    elif test_time:
        reason = "`test_time` adapts the base, too"
    elif any(other_method(term.record) for term in terms):
        reason = "its method is not IA³"
    if reason and spec.guard:
        raise UserError(f"`guard`: {spec} can't be guarded: {reason}")
    return reason is None


def warn_of_unused_searches(spec: AdapterSpec, options: SearchOptions) -> None:
    """Warn that sums and channels don't use the searches of their adapters."""
    measured = [folder.name for folder in spec.folders if (folder / STORED_LM_WEIGHTS).is_file()]
    several = spec.channels or (len(spec.terms) > 1 and not spec.choice)
    if several and measured and options.search is None and options.lm is None:
        logger.warning(
            "sums and channels have the search of the base, with its language model if it has one, not the "
            "registered search of %s (`lm`, `hotwords` and `search` choose another)",
            " and ".join(measured),
        )


def make_post_process(options: DictationOptions, formats: str) -> PostProcessor | None:
    """Dictation, if it is asked for, or if `dictation` is among the formats."""
    if not options.dictation and "dictation" not in parse_formats(formats):
        if options.dictation_rules or options.dictation_off:
            raise UserError("`dictation_rules` and `dictation_off` need `dictation`, or `format=dictation`")
        return None
    from ia3_speech.dictation import make_dictation

    return make_dictation(options.dictation_rules, options.dictation_off)
