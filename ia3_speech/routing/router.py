"""From a spec to the recogniser of each piece of audio: `--adapter auto`, and adapters with a guard.

    gates = make_gates(parse_adapter("auto"), base)
    router = Router(base, gates, recognizer_of)                           # see `session.Session`
    router(features)           candidates of each piece: a recogniser with medical, Choice("medical", 0.98)

In: adapters with their gates, and a base with a gate of out-of-domain speech. Out: for each piece its
candidates, which are recognisers with their searches and scalings. Without guards the gate chooses (see
`gate`). With guards each candidate is recognised, and the rules choose, by how sure the texts are (see
`guard`); the gate then only leaves out adapters that are unlikely, and chooses where it is sure.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.adapters.card import other_method
from ia3_speech.adapters.io import check_base
from ia3_speech.adapters.record import GATE, GUARD, same_base
from ia3_speech.adapters.registry import MAX_LISTED
from ia3_speech.adapters.spec import AdapterSpec, Term
from ia3_speech.common.errors import UserError
from ia3_speech.decoding.recognizer import Candidates, Memory, Recognition, Recognizer
from ia3_speech.decoding.transcript import Choice
from ia3_speech.routing.gate import (
    GaussianGate,
    channels_of,
    general_gate,
    read_adapters_gate,
    softmax,
    utterance_point,
)
from ia3_speech.routing.guard import Guard, inputs_of, rule_of

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

MAX_ADAPTERS = 3  # with guards, that recognise a piece beside the base
SURE = 0.95  # a gate's probability of an adapter among several, from which on no rule is asked
STAY = 0.9  # probability that the next piece of a recording needs the same adapter


@dataclass(frozen=True)
class Gates:
    """What a router chooses by."""

    spec: AdapterSpec  # of the adapters to choose from
    gate: GaussianGate  # compares the speech of all adapters with general speech
    guards: Sequence[Guard | None]  # of the adapters in order; None: no rule that the request asks for


class Router:
    """Chooses an adapter or the base for each piece of audio, by the gates of `make_gates`, which measure the
    base's front end. `recognizer_of` makes the recogniser of a spec when it is first a candidate."""

    def __init__(self, base: "Base", gates: Gates, recognizer_of: Callable[[AdapterSpec], Recognizer]):
        self.base, self.gate, self.spec, self.guards = base, gates.gate, gates.spec, gates.guards
        self.recognizer_of = recognizer_of
        self.recognizers: dict[int, Recognizer] = {}

    def __call__(self, features: "Sequence[Tensor]") -> list[Candidates]:
        """The candidates of each piece, from its features, (frames, channels)."""
        points = np.stack([utterance_point(self.base, each) for each in features])
        log_odds = np.full((len(points), len(self.guards)), -np.inf)
        for number, guard in enumerate(self.guards):
            if guard:
                log_odds[:, number] = guard.gate.log_odds(points)
        if self.spec.guard:
            return [self.guarded(row) for row in log_odds]
        rows = zip(self.gate.probabilities(points), log_odds, strict=True)
        return [self.chosen_by_gate(*row) for row in rows]

    @property
    def rows(self) -> int:
        """The largest number of candidates of a piece."""
        guarded = sum(guard is not None for guard in self.guards)
        return 1 + min(MAX_ADAPTERS if self.spec.guard else 1, guarded)

    def likely(self, memory: Memory) -> Recognizer:
        """The recogniser that is likely to be chosen for the next piece of a recording: the last choice, at
        first the base, or the adapter that was named."""
        first = 0 if self.spec.choice else 1
        return self.recognizer(max(memory, key=memory.get) if memory else first)

    def recognizer(self, number: int) -> Recognizer:
        """The recogniser of the base (0), or of the adapter that has this number."""
        if number not in self.recognizers:
            terms = self.spec.terms[number - 1 : number] if number else ()
            self.recognizers[number] = self.recognizer_of(AdapterSpec(terms))
        return self.recognizers[number]

    def chosen_by_gate(self, probabilities: np.ndarray, log_odds: np.ndarray) -> Candidates:
        """The candidate of a piece, with the base if its adapter has a rule; from probabilities,
        (1 + adapters,), the base's first, and log-odds, (adapters,)."""
        best = int(probabilities.argmax())
        if best and self.guards[best - 1]:
            return self.candidates(log_odds, [0, best])
        choice = Choice(self.recognizer(best).name, float(probabilities[best]))

        def choose(_: Sequence[Recognition], memory: Memory) -> tuple[int, Choice]:
            memory.clear()
            memory.update(dict.fromkeys(range(1 + len(self.spec.terms)), 0.0) | {best: 1.0})
            return 0, choice

        return Candidates([self.recognizer(best)], choose)

    def guarded(self, log_odds: np.ndarray) -> Candidates:
        """The base and the likeliest adapters, or a single candidate where the gate is sure, for the gates'
        log-odds of a piece, (adapters,)."""
        probabilities = softmax(np.insert(log_odds, 0, 0.0))
        best = int(probabilities.argmax())
        limits = [guard.rule.limits for guard in self.guards]
        if best and probabilities[best] >= SURE and log_odds[best - 1] >= limits[best - 1][1]:
            return self.candidates(log_odds, [best])
        likeliest = [1 + int(n) for n in np.argsort(-log_odds)[:MAX_ADAPTERS] if log_odds[n] >= limits[n][0]]
        return self.candidates(log_odds, [0, *sorted(likeliest)])

    def candidates(self, log_odds: np.ndarray, numbers: Sequence[int]) -> Candidates:
        """The candidates with these numbers, among which `choose` chooses."""
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
        memory.clear()
        memory.update(enumerate(probabilities.tolist()))
        best = max(range(len(numbers)), key=lambda n: probabilities[numbers[n]])
        probability = float(probabilities[numbers[best]])
        return best, Choice(self.recognizer(numbers[best]).name, probability)


def make_gates(spec: AdapterSpec, base: "Base") -> Gates:
    """The gates of the adapters to choose from: the named adapters; if none are named, the registered
    adapters of this base with a gate. Raises UserError if there is none, a named adapter has no gate, or its
    gate or rule, or the base's, is damaged or of another base."""
    general, usable, others = general_gate(base, channels_of(base)), [], []
    for term in spec.terms:
        is_of_base = same_base(term.record.get("fingerprint", {}), base.fingerprint)
        if spec.all_registered and (other_method(term.record) or not is_of_base):
            others += [] if is_of_base else [term.name]
            continue
        term.refuse_damage()
        check_base(term.name, term.record, base.fingerprint)
        refuse_other_method(term)
        try:
            if not (term.folder / GATE).is_file():
                hint = f"ia3-speech adapters gate {term.name} --data DIR adds it, best from its training data"
                raise UserError(f"{term.name}: has no gate, so auto can't choose it ({hint})")
            speech = read_adapters_gate(term.folder, base, general)
            has_rule = spec.guard or (spec.guard is None and (term.folder / GUARD).is_file())
            usable.append((term, speech, rule_of(term.folder, base) if has_rule else None))
        except UserError as error:
            if not spec.all_registered:
                raise
            logger.warning("%s", error)
    if not usable:
        hint = f"; other bases have {', '.join(others[:MAX_LISTED])} (give `base`)" if others else ""
        raise UserError(f"{spec}: no IA³ adapter of the base {base.name} with a gate is registered{hint}")
    gate = GaussianGate(general, [speech for _, speech, _ in usable])
    guards = [rule and Guard(rule, GaussianGate(general, [speech])) for _, speech, rule in usable]
    return Gates(replace(spec, terms=tuple(term for term, _, _ in usable)), gate, guards)


def refuse_other_method(term: Term) -> None:
    """Raises UserError unless an adapter's method is IA³."""
    if method := other_method(term.record):
        raise UserError(f"{term.name}: its method is {method}, and auto chooses only among IA³ adapters")
