"""`--adapter auto`: from a spec to the recogniser of each waveform, by a gate.

    spec, gate = make_gate(parse_adapter("auto"), base)
    route = Router(spec, gate, recognizer_of)                      # see `session.Session`
    route(features)           [(a recogniser with medical, Choice("medical", 0.98)), …]

In: adapters with their gates, and a base with a gate of out-of-domain speech. Out: for each waveform the
recogniser of the chosen adapter, with its search and the scaling of its confidences; if no adapter is chosen,
the base's recogniser.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.adapters.card import other_method
from ia3_speech.adapters.record import read_summary, same_base
from ia3_speech.adapters.spec import AUTO_SUM, AdapterSpec
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.transcript import Choice
from ia3_speech.errors import UserError
from ia3_speech.routing.gate import GaussianGate, channels_of, read_gate, utterance_point

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

MIN_WEIGHT = 0.02  # of an adapter in a sum: a smaller one makes no audible difference


class Router:
    """Chooses an adapter or the base for each waveform; for `auto-sum` a sum of the adapters, whose weights
    are the gate's probabilities.

    Args:
        spec, gate: of `make_gate`.
        recognizer_of: makes the recogniser of a spec when it is first chosen.
    """

    def __init__(
        self, spec: AdapterSpec, gate: GaussianGate, recognizer_of: Callable[[AdapterSpec], Recognizer]
    ):
        self.spec, self.gate, self.recognizer_of = spec, gate, recognizer_of
        self.recognizers: dict[int, Recognizer] = {}  # 0: the base's

    def __call__(self, features: "Sequence[Tensor]") -> list[tuple[Recognizer, Choice]]:
        """The recogniser of each waveform, and the choice, from the front end's outputs, (frames, channels)
        each."""
        points = [utterance_point(frames) for frames in features]
        return [self.choose(row) for row in self.gate.probabilities(np.stack(points))] if points else []

    def choose(self, probabilities: np.ndarray) -> tuple[Recognizer, Choice]:
        """The recogniser and the choice for the probabilities of a waveform, (1 + adapters,)."""
        best = int(probabilities.argmax())
        if self.spec.choice == AUTO_SUM:
            weights = [round(float(weight), 2) for weight in probabilities[1:]]
            pairs = zip(self.spec.terms, weights, strict=True)
            terms = (replace(term, weight=weight) for term, weight in pairs if weight >= MIN_WEIGHT)
            recognizer = self.recognizer_of(AdapterSpec(tuple(terms)))
        else:
            if best not in self.recognizers:
                self.recognizers[best] = self.recognizer_of(AdapterSpec(self.spec.terms[best - 1 : best]))
            recognizer = self.recognizers[best]
        return recognizer, Choice(recognizer.name, float(probabilities[best]))


def make_gate(spec: AdapterSpec, base: "Base") -> tuple[AdapterSpec, GaussianGate]:
    """A gate, and the spec of the adapters that it chooses from: the named adapters; if none are named, the
    registered adapters of this base with a gate.

    Raises:
        UserError: there is no adapter to choose from; a named adapter, or the base, has no gate, or a gate of
            another base.
    """
    channels, terms, speech = channels_of(base), [], []
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
            speech.append(read_gate(term.folder, base.fingerprint, missing, channels))
            terms.append(term)
        except UserError as error:
            if not spec.all_registered:
                raise
            logger.warning("%s", error)
    if not terms:
        raise UserError(f"{spec}: no IA³ adapter of the base {base.name} with a gate is registered")
    missing = (
        f"{base.name}: has no gate of out-of-domain speech, which auto needs to recognise that no adapter "
        f"fits (ia3-speech adapters gate FOLDER_OF_THE_BASE --data DIR adds it, from speech of many people)"
    )
    general = read_gate(Path(base.model.config.name_or_path), base.fingerprint, missing, channels)
    return replace(spec, terms=tuple(terms)), GaussianGate(general, speech)


def refuse_other_method(adapter: str, folder: Path) -> None:
    """Raises UserError unless an adapter's method is IA³."""
    if method := other_method(read_summary(folder)):
        raise UserError(f"{adapter}: its method is {method}, and auto chooses only among IA³ adapters")
