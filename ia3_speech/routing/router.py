"""A gate put to use: `--adapter auto`, from what a user names to the recogniser of each waveform.

    terms, gate = make_gate("auto", auto_terms("auto"), base)
    route = Router("auto", terms, gate, recognizer_of)             # see `loading.load`
    route(features)           [(a recogniser with medical, Choice("medical", 0.98)), …]

In: adapters with their gates, and a base with its own, general speech. Out: for each waveform the recogniser
that adapter would have by name, with its search and the scaling of its confidences; of the base for none.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.adapters.card import is_biometric, other_method
from ia3_speech.adapters.expressions import AUTO, AUTO_SUM, Term, format_terms, parse_terms
from ia3_speech.adapters.record import read_summary, same_base
from ia3_speech.adapters.registry import adapters_dir, registered_names
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.transcript import Choice
from ia3_speech.errors import UnknownAdapter, UserError
from ia3_speech.routing.gate import GaussianGate, channels_of, read_gate, utterance_point

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.adapters.bank import Bank, ChooseNames
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

LEAST_WEIGHT = 0.02  # of an adapter in a sum: of a smaller one nothing is heard
# Terms, and what they are called → the recogniser of a request with them; with no terms, the base's.
RecognizerOf = Callable[[Sequence[Term], str | None], Recognizer]


class Router:
    """Chooses among adapters for each waveform.

    Args:
        adapter: `auto`, or `auto:mandarin,medical`, for one adapter or the base; `auto-sum` for a sum whose
            weights are the gate's probabilities.
        terms, gate: of `make_gate`.
        recognizer_of: makes the recognisers, each when it is first chosen.
    """

    def __init__(
        self, adapter: str | Path, terms: Sequence[Term], gate: GaussianGate, recognizer_of: RecognizerOf
    ):
        self.sums = str(adapter).partition(":")[0] == AUTO_SUM
        self.terms, self.gate, self.recognizer_of = terms, gate, recognizer_of
        self.single: dict[int, Recognizer] = {}  # 0: the base's

    def __call__(self, features: "Sequence[Tensor]") -> list[tuple[Recognizer, Choice]]:
        """What the base's front end makes of waveforms, (frames, channels) each → of each the recogniser, and
        what was chosen."""
        points = [utterance_point(one) for one in features]
        return [self.choose(row) for row in self.gate.probabilities(np.stack(points))] if points else []

    def choose(self, probabilities: np.ndarray) -> tuple[Recognizer, Choice]:
        """The recogniser for the probabilities of one waveform, (1 + adapters,), and what was chosen."""
        best = int(probabilities.argmax())
        if not self.sums:
            if best not in self.single:
                term = self.terms[best - 1] if best else None
                self.single[best] = self.recognizer_of([term] if term else [], term and term.name)
            recognizer = self.single[best]
            return recognizer, Choice(recognizer.name, float(probabilities[best]))
        weights = [round(float(weight), 2) for weight in probabilities[1:]]
        terms = [replace(t, weight=w) for t, w in zip(self.terms, weights, strict=True) if w >= LEAST_WEIGHT]
        name = format_terms(terms) or None
        return self.recognizer_of(terms, name), Choice(name, float(probabilities[best]))


def choose_names(adapter: str, bank: "Bank") -> "ChooseNames":
    """What chooses the rows of a bank: `bank.logits(waves, choose_names("auto:accent,medical", bank))`.

    Args:
        adapter: as for `Router`.
        bank: gets the adapters that may be chosen, under their names, where it has none called so.

    Raises:
        UserError: as `auto_terms`, `make_gate` and `Bank.add`.
    """
    terms, gate = make_gate(adapter, auto_terms(adapter), bank.base)
    for term in terms:
        if term.name not in bank:
            bank.add(term.name, term.folder)
    route = Router(adapter, terms, gate, lambda chosen, name: Recognizer(bank.base, chosen, name))
    return lambda features: [format_terms(chosen.adapter) or None for chosen, _ in route(features)]


def make_gate(adapter: str | Path, terms: Sequence[Term], base: "Base") -> tuple[list[Term], GaussianGate]:
    """A gate, and what it chooses from: `terms`; where no adapter was named, those of the base with a gate.

    Raises:
        UserError: there is none to choose from; one that is named, or the base, has no gate, or one of
            another base.
    """
    every, channels, chosen, speech = ":" not in str(adapter), channels_of(base), [], []
    for term in terms:
        if every and not is_for(term.folder, base):
            continue
        refuse_other_method(term.name, term.folder)
        missing = (
            f"{term.name}: has no gate, so auto can't choose it (ia3-speech adapters gate {term.name} "
            f"--data DIR adds it, best from what the adapter was trained on)"
        )
        try:
            speech.append(read_gate(term.folder, base.fingerprint, missing, channels))
        except UserError as error:
            if not every:
                raise
            logger.warning("%s", error)
            continue
        chosen.append(term)
    if not chosen:
        raise UserError(f"{adapter}: no IA³ adapter of the base {base.name} with a gate is registered")
    missing = (
        f"{base.name}: has no gate of general speech, by which auto knows that no adapter is called for "
        f"(ia3-speech adapters gate FOLDER_OF_THE_BASE --data DIR adds it, from many people's)"
    )
    general = read_gate(Path(base.model.config.name_or_path), base.fingerprint, missing, channels)
    return chosen, GaussianGate(general, speech)


def auto_terms(adapter: str | Path) -> list[Term]:
    """What a gate may choose from: the adapters that are named; of `auto` alone all that are registered, but
    for those of one person, which are that person's, and earlier ones (NAME@1).

    Raises:
        UnknownAdapter: one that is named is not there, or none is registered.
    """
    _, given, named = str(adapter).partition(":")
    if given:
        terms = [parse_terms(name.strip()) for name in named.split(",") if name.strip()]
        if not terms or any(len(each) > 1 for each in terms):
            raise UserError(f"{adapter}: names no adapter to choose, or a sum ({AUTO}:accent,medical)")
        return [term for (term,) in terms]
    names = [name for name in registered_names() if "@" not in name]
    terms = [Term(name, adapters_dir() / name) for name in names]
    terms = [term for term in terms if not is_one_persons(term.folder)]
    if not terms:
        raise UnknownAdapter(
            f"{adapter}: no adapter to choose from is registered in {adapters_dir()} "
            f"(ia3-speech adapters register FOLDER NAME; one person's are never chosen unless they are "
            f"named, as in {AUTO}:speaker42)"
        )
    return terms


def is_one_persons(folder: Path) -> bool:
    return is_biometric(read_summary(folder))


def refuse_other_method(adapter: str, folder: Path) -> None:
    if method := other_method(read_summary(folder)):
        raise UserError(f"{adapter}: its method is {method}, and auto chooses among IA³'s adapters alone")


def is_for(folder: Path, base: "Base") -> bool:
    """Whether an adapter is IA³'s, and of this base."""
    summary = read_summary(folder)
    return other_method(summary) is None and same_base(summary.get("fingerprint", {}), base.fingerprint)
