"""The guard: an adapter can stay on, since each piece of audio gets the base's text where that is surer.

    rule_of(folder, base).log_odds(inputs_of(gate, base_confidences, adapter_confidences))   > 0: the adapter

In: a piece that the base and the adapter have recognised, and the gate's view of its audio. Out: the log-odds
that the adapter's text has fewer errors, a logistic rule of a few numbers (`INPUTS`). The gate knows voices
and microphones, and confidences know subjects; neither is enough alone (egs/routing/RESULTS.md). Two whole
models were chosen from by confidence in arXiv 2306.15824.

`mini` has a rule, fitted over the adapters of the recipes by egs/routing. `train` fits an adapter's rule to
its dev set and to the general speech of the package; the prior, the rule of the base or else of `mini`, lets
few utterances change little. Where the gate is sure, no rule is asked, and one recognition is enough; the
limits are so wide that on dev the gate is never sure and wrong. guard.json holds numbers alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ia3_speech.adapters.record import GUARD, is_number, same_base
from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.common.progress import Progress
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.location import MINI
from ia3_speech.routing.gate import GaussianGate, general_gate, points_of, read_gate
from ia3_speech.scoring.error_rates import text_errors

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

SCHEMA = 1
# Of the adapter minus the base: mean confidence, mean log confidence
INPUTS = ("gate", "confidence", "log_confidence")
MAX_BYTES = 64_000  # of guard.json, which has some hundred
MAX_WEIGHT = 1e3  # of an input
LIMITS = (-5.0, 3.0)  # of a gate's log-odds, beyond which it is sure; chosen on dev (egs/routing)
MIN_CONFIDENCE = 1e-3  # of a word, before the logarithm
MAX_UTTERANCES = 60  # of a set that a rule is fitted to, evenly spaced
STEPS = 50  # of the fit: some ten are enough
FOLDS = 5  # of the estimate of its errors


@dataclass(frozen=True)
class Rule:
    """A logistic rule: the log-odds that an adapter's text has fewer errors than the base's.

    Attributes:
        weights: (1 + inputs,), of a constant and of each input.
        deviations: (1 + inputs,), the standard deviations of a Gaussian prior on the weights of an adapter's
            rule; None for an adapter.
        limits: of the gate's log-odds: below the first the base's text is used, from the second on the
            adapter's.
    """

    weights: np.ndarray
    deviations: np.ndarray | None = None
    limits: tuple[float, float] = LIMITS

    def log_odds(self, inputs: np.ndarray) -> np.ndarray:
        """(…, inputs) → (…,)."""
        return self.weights[0] + inputs @ self.weights[1:]

    def takes_adapter(self, inputs: np.ndarray) -> np.ndarray:
        """(utterances, inputs) → (utterances,): whether the adapter's text is used."""
        gate = inputs[:, INPUTS.index("gate")]
        return (gate >= self.limits[1]) | ((gate >= self.limits[0]) & (self.log_odds(inputs) > 0))


@dataclass(frozen=True)
class Guard:
    """What guards an adapter: its rule, and a gate that compares its speech with general speech alone."""

    rule: Rule
    gate: GaussianGate


def inputs_of(gate: float, base: Sequence[float], adapter: Sequence[float]) -> np.ndarray:
    """(inputs,): see INPUTS.

    Args:
        gate: the gate's log-odds, by `GaussianGate.log_odds`.
        base, adapter: the confidences, not calibrated, of the words of each text; no words are a word of
            confidence 0.
    """
    words = [np.array(confidences or [0.0]) for confidences in (base, adapter)]
    means, logs = zip(*((c.mean(), np.log(c.clip(MIN_CONFIDENCE)).mean()) for c in words), strict=True)
    return np.array([gate, means[1] - means[0], logs[1] - logs[0]])


def write_rule(folder: Path, rule: Rule, fingerprint: dict[str, Any]) -> None:
    """Write guard.json into the folder of an adapter or of a base."""
    record = {"schema": SCHEMA, "fingerprint": fingerprint, "inputs": [*INPUTS]}
    record["weights"] = [round(float(weight), 6) for weight in rule.weights]
    record["limits"] = [float(limit) for limit in rule.limits]
    if rule.deviations is not None:
        record["deviations"] = [round(float(deviation), 6) for deviation in rule.deviations]
    write_json(folder / GUARD, record)


def read_rule(folder: Path, fingerprint: dict[str, Any] | None = None) -> Rule:
    """The rule in the folder of an adapter or a base. Raises UserError if it is damaged, or of another base
    than `fingerprint` describes (None: any)."""
    file = folder / GUARD
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES // 1000} kB")
        record = json.loads(file.read_text("utf-8"))
        if record["schema"] != SCHEMA or record["inputs"] != [*INPUTS]:
            raise ValueError("written by another version of ia3-speech")
        if fingerprint and not same_base(dict(record["fingerprint"]), fingerprint):
            raise ValueError("of another base")
        rows = [record["weights"], record.get("deviations", [1.0] * (1 + len(INPUTS)))]
        for row, least in zip(rows, (-MAX_WEIGHT, 0), strict=True):
            if len(row) != 1 + len(INPUTS) or not all(is_number(n) and least <= n <= MAX_WEIGHT for n in row):
                raise ValueError("holds no weights")
        limits = record.get("limits", LIMITS)
        if not all(is_number(n) and abs(n) <= MAX_WEIGHT for n in limits) or not limits[0] < limits[1]:
            raise ValueError("holds no limits")
        low, high = limits
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: {error} (delete it: the base's rule takes its place)") from None
    weights, deviations = map(np.array, rows)
    return Rule(weights, deviations if "deviations" in record else None, (low, high))


def rule_of(folder: Path, base: "Base") -> Rule:
    """The rule of an adapter, or `base_rule`. Raises UserError as `read_rule`."""
    return read_rule(folder, base.fingerprint) if (folder / GUARD).is_file() else base_rule(base)


def base_rule(base: "Base") -> Rule:
    """The rule in the base's folder; for a base without one, mini's. Raises UserError as `read_rule`."""
    folder = base.folder
    return read_rule(folder, base.fingerprint) if (folder / GUARD).is_file() else read_rule(MINI)


@dataclass(frozen=True)
class Observations:
    """Utterances that a base and an adapter have recognised.

    Attributes:
        inputs: (utterances, inputs).
        errors: (utterances, 2), word errors of the base and with the adapter.
    """

    inputs: np.ndarray
    errors: np.ndarray

    def rows(self, rows: np.ndarray) -> "Observations":
        return Observations(self.inputs[rows], self.errors[rows])


def fit_rule(sets: Sequence[Observations], prior: Rule) -> Rule:
    """The rule of the highest posterior probability. Each utterance counts by how many errors the choice
    changes; of several sets (the adapter's speech, general speech) each counts as much as the others.

    Args:
        prior: a base's rule.
    """
    gains = [each.errors[:, 0] - each.errors[:, 1] for each in sets]
    counts = [np.abs(gain).sum() for gain in gains]
    mass = sum(counts) / len(sets)
    pairs = zip(gains, counts, strict=True)
    weights = np.concatenate([np.abs(gain) * mass / max(count, 1) for gain, count in pairs])
    better = np.concatenate(gains) > 0
    x = np.concatenate([np.insert(each.inputs, 0, 1.0, axis=1) for each in sets])
    precision, w = prior.deviations**-2.0, prior.weights.copy()
    for _ in range(STEPS):  # Newton's method, with steps of at most 1
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (weights * (better - p)) - precision * (w - prior.weights)
        information = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(precision)
        step = np.linalg.solve(information, gradient)
        w += step / max(1.0, np.abs(step).max())
    return Rule(w.clip(-MAX_WEIGHT, MAX_WEIGHT))


def fit_limits(speech: Observations, general: Observations) -> tuple[float, float]:
    """Widens LIMITS until the gate never overrides the better text on dev: neither the adapter's, in its own
    speech, nor the base's, in general speech."""
    gates = [each.inputs[:, INPUTS.index("gate")] for each in (speech, general)]
    better = [each.errors[:, 0] - each.errors[:, 1] for each in (speech, general)]
    low = gates[0][better[0] > 0].min(initial=LIMITS[0])
    above = np.nextafter(gates[1][better[1] < 0], np.inf)
    return float(low), float(above.max(initial=LIMITS[1]))


def fit_adapter_rule(sets: Sequence[Observations], prior: Rule) -> Rule:
    """The rule of an adapter, of observations of its speech and of general speech."""
    return replace(fit_rule(sets, prior), limits=fit_limits(*sets))


def observe(
    recognizers: Sequence[Recognizer], gate: GaussianGate, utterances: Sequence[Utterance]
) -> Observations:
    """Recognise utterances, without damaged audio, with the base and with an adapter.

    Args:
        recognizers: of the base, and of the adapter.
        gate: of the adapter, as a guard has it.
    """
    base = recognizers[0].base
    chosen = utterances[:: -(-len(utterances) // MAX_UTTERANCES)]
    loaded = load_utterances(chosen, on_error="skip", minimum_samples=base.minimum_samples)
    chosen, waves = zip(*loaded, strict=True)
    with Progress(len(recognizers) * len(waves), "fitting the guard") as progress:
        results = [
            replace(recognizer, scaling=None).recognize(
                waves, lambda finished, _: progress.update(finished), with_words=True
            )
            for recognizer in recognizers
        ]
    pairs = [*zip(*results, strict=True)]
    confidences = [[[word.confidence for word in each.words] for each in pair] for pair in pairs]
    log_odds = gate.log_odds(points_of(base, waves))
    inputs = [inputs_of(*row) for row in zip(log_odds, *zip(*confidences, strict=True), strict=True)]
    mode, rows = base.scoring_mode("ctc"), zip((u.text for u in chosen), pairs, strict=True)
    errors = [[text_errors(text, each.text, mode).total for each in pair] for text, pair in rows]
    return Observations(np.array(inputs), np.array(errors))


def add_guard(folder: Path, recognizers: Sequence[Recognizer], sets: Sequence[Sequence[Utterance]]) -> str:
    """Fit the rule of an adapter and write it. Returns a sentence with its errors, by cross-validation.

    Args:
        folder: the adapter's, with its gate.
        recognizers: as for `observe`.
        sets: a dev set of the adapter's speech, and general speech, with their texts.
    """
    base = recognizers[0].base
    prior = base_rule(base)
    gate = GaussianGate(general_gate(base), [read_gate(folder, base.fingerprint)])
    observed = [observe(recognizers, gate, each) for each in sets]
    write_rule(folder, fit_adapter_rule(observed, prior), base.fingerprint)
    (base_errors, adapter_errors), (before, after) = (each.errors.sum(0) for each in observed)
    chosen = np.zeros(2)
    for fold in range(FOLDS):
        inside = [np.arange(len(each.errors)) % FOLDS == fold for each in observed]
        pairs = [*zip(observed, inside, strict=True)]
        rule = fit_adapter_rule([each.rows(~rows) for each, rows in pairs], prior)
        held_out = [each.rows(rows) for each, rows in pairs]
        chosen += [np.where(rule.takes_adapter(o.inputs), *o.errors.T[::-1]).sum() for o in held_out]
    return (
        f"guard: {chosen[0]:.0f} word errors on dev (base {base_errors}, adapter {adapter_errors}), "
        f"{chosen[1]:.0f} on general speech (base {before}, adapter {after})"
    )
