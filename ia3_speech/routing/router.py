"""From a spec to the recogniser of each piece of audio: `--adapter auto`, and adapters with a guard.

    spec, gate = make_gate(parse_adapter("auto"), base)
    router = Router(spec, gate, recognizer_of)                      # see `session.Session`
    router(features)           candidates of each piece: a recogniser with medical, Choice("medical", 0.98)

In: adapters with their gates, and a base with a gate of out-of-domain speech. Out: for each piece its
candidates, which are recognisers with their searches and scalings. The gate alone chooses one of them, by the
audio. With guards each is recognised, and the rules choose, by how sure the texts are (see `guard`); the gate
then only leaves out who is unlikely, and chooses where it is sure.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.adapters.card import other_method
from ia3_speech.adapters.record import read_summary, same_base
from ia3_speech.adapters.spec import AUTO_SUM, AdapterSpec
from ia3_speech.decoding.recognizer import Candidates, Memory, Recognition, Recognizer
from ia3_speech.decoding.transcript import Choice
from ia3_speech.errors import UserError
from ia3_speech.routing.gate import GaussianGate, channels_of, read_gate, utterance_point
from ia3_speech.routing.guard import Guard, inputs_of, rule_of

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

MIN_WEIGHT = 0.02  # of an adapter in a sum: a smaller one makes no audible difference
MAX_ADAPTERS = 3  # with guards, that recognise a piece beside the base
SURE = 0.999  # a gate's probability from which on no rule is asked
STAY = 0.9  # probability that the next piece of a recording needs the same adapter


class Router:
    """Chooses an adapter or the base for each piece of audio; for `auto-sum` a sum of the adapters, whose
    weights are the gate's probabilities.

    Args:
        spec, gate: of `make_gate`; with guards no gate is needed.
        recognizer_of: makes the recogniser of a spec when it is first a candidate.
        guards: of the adapters of `spec`, in their order; empty: the gate alone chooses.
    """

    def __init__(
        self,
        spec: AdapterSpec,
        gate: GaussianGate | None,
        recognizer_of: Callable[[AdapterSpec], Recognizer],
        guards: Sequence[Guard] = (),
    ):
        self.spec, self.gate, self.recognizer_of, self.guards = spec, gate, recognizer_of, guards
        self.recognizers: dict[int, Recognizer] = {}  # 0: the base's

    def __call__(self, features: "Sequence[Tensor]") -> list[Candidates]:
        """The candidates of each piece, from the front end's outputs, (frames, channels) each."""
        points = np.stack([utterance_point(frames) for frames in features])
        if not self.guards:
            return [self.chosen_by_gate(row) for row in self.gate.probabilities(points)]
        log_odds = np.stack([guard.gate.log_odds(points) for guard in self.guards], 1)
        return [self.guarded(row) for row in log_odds]

    @property
    def rows(self) -> int:
        """The largest number of candidates of a piece."""
        return 1 + min(MAX_ADAPTERS, len(self.guards))

    def likely(self, memory: Memory) -> Recognizer:
        """The recogniser that is likely to be chosen for the next piece of a recording: the last choice, at
        first the base, or the adapter that was named."""
        first = 0 if self.spec.choice else 1
        return self.recognizer(max(memory, key=memory.get) if memory else first)

    def recognizer(self, number: int) -> Recognizer:
        """The recogniser of the base (0), or of an adapter."""
        if number not in self.recognizers:
            terms = self.spec.terms[number - 1 : number]
            self.recognizers[number] = self.recognizer_of(AdapterSpec(terms))
        return self.recognizers[number]

    def chosen_by_gate(self, probabilities: np.ndarray) -> Candidates:
        """A single candidate, for the probabilities of a piece, (1 + adapters,)."""
        best = int(probabilities.argmax())
        recognizer = self.recognizer(best)
        if self.spec.choice == AUTO_SUM:
            weights = [round(float(weight), 2) for weight in probabilities[1:]]
            pairs = zip(self.spec.terms, weights, strict=True)
            terms = (replace(term, weight=weight) for term, weight in pairs if weight >= MIN_WEIGHT)
            recognizer = self.recognizer_of(AdapterSpec(tuple(terms)))
        choice = Choice(recognizer.name, float(probabilities[best]))

        def choose(_: Sequence[Recognition], memory: Memory) -> tuple[int, Choice]:
            memory.update(dict.fromkeys(range(len(probabilities)), 0.0) | {best: 1.0})
            return 0, choice

        return Candidates([recognizer], choose)

    def guarded(self, log_odds: np.ndarray) -> Candidates:
        """The base and the likeliest adapters, or a single candidate where the gate is sure, for the gates'
        log-odds of a piece, (adapters,)."""
        probabilities = softmax(np.insert(log_odds, 0, 0.0))
        best = int(probabilities.argmax())
        likeliest = sorted(1 + np.argsort(-log_odds)[:MAX_ADAPTERS])
        numbers = [best] if probabilities[best] >= SURE else [0, *map(int, likeliest)]
        choose = partial(self.choose, log_odds, numbers)
        return Candidates([self.recognizer(number) for number in numbers], choose)

    def choose(
        self,
        log_odds: np.ndarray,
        numbers: Sequence[int],
        recognitions: Sequence[Recognition],
        memory: Memory,
    ) -> tuple[int, Choice]:
        """The best of the candidates `numbers`, by the scores of a piece and by what the recording's earlier
        pieces say on the next: the filter of a hidden Markov model whose states are base and adapters."""
        scores = np.insert(log_odds, 0, 0.0)
        if len(numbers) > 1:
            scores[:] = -np.inf
            scores[0], (base, *adapters) = 0.0, recognitions
            for number, adapter in zip(numbers[1:], adapters, strict=True):
                inputs = inputs_of(log_odds[number - 1], base.confidences, adapter.confidences)
                scores[number] = self.guards[number - 1].rule.log_odds(inputs)
        before = np.array([memory.get(number, 1 / len(scores)) for number in range(len(scores))])
        probabilities = softmax(scores + np.log(STAY * before + (1 - STAY) / len(scores)))
        memory.update(enumerate(probabilities.tolist()))
        best = max(range(len(numbers)), key=lambda n: probabilities[numbers[n]])
        probability = float(probabilities[numbers[best]])
        return best, Choice(self.recognizer(numbers[best]).name, probability)


def softmax(scores: np.ndarray) -> np.ndarray:
    """(…,) → (…,), a sum of 1."""
    scores = np.exp(scores - scores.max())
    return scores / scores.sum()


def make_gate(spec: AdapterSpec, base: "Base") -> tuple[AdapterSpec, GaussianGate | None, list[Guard]]:
    """The spec of the adapters to choose from: the named adapters; if none are named, the registered adapters
    of this base with a gate. And their gate, or a guard of each.

    Raises:
        UserError: there is no adapter to choose from; a named adapter, or the base, has no gate (or, with
            guards, no rule), or a damaged one, or one of another base.
    """
    channels, usable = channels_of(base), []
    for term in spec.terms:
        summary = read_summary(term.folder)
        is_of_base = same_base(summary.get("fingerprint", {}), base.fingerprint)
        if spec.all_registered and (other_method(summary) or not is_of_base):
            continue
        refuse_other_method(term.name, term.folder)
        missing = (
            f"{term.name}: has no gate, so auto can't choose it (ia3-speech adapters gate {term.name} "
            f"--data DIR adds it, best from its training data)"
        )
        try:
            speech = read_gate(term.folder, base.fingerprint, missing, channels)
            usable.append((term, speech, rule_of(term.folder, base) if spec.guard else None))
        except UserError as error:
            if not spec.all_registered:
                raise
            logger.warning("%s", error)
    if not usable:
        raise UserError(f"{spec}: no IA³ adapter of the base {base.name} with a gate is registered")
    missing = (
        f"{base.name}: has no gate of out-of-domain speech, which auto needs to recognise that no adapter "
        f"fits (ia3-speech adapters gate FOLDER_OF_THE_BASE --data DIR adds it, from speech of many people)"
    )
    general = read_gate(Path(base.model.config.name_or_path), base.fingerprint, missing, channels)
    terms, speech, rules = zip(*usable, strict=True)
    spec = replace(spec, terms=terms)
    if not spec.guard:
        return spec, GaussianGate(general, speech), []
    pairs = zip(rules, speech, strict=True)
    return spec, None, [Guard(rule, GaussianGate(general, [each])) for rule, each in pairs]


def refuse_other_method(adapter: str, folder: Path) -> None:
    """Raises UserError unless an adapter's method is IA³."""
    if method := other_method(read_summary(folder)):
        raise UserError(f"{adapter}: its method is {method}, and auto chooses only among IA³ adapters")
