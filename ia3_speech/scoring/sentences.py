"""Sentences about results, for the terminal, RESULTS.md, the report and the end of a recipe.

In: results, the baseline of a result among them. Out: sentences, such as

    On 600 utterances of 20 speakers the adapter lowers the word error rate from 70.8 % (base) to 41.5 %
    (relative −41.4 %, 95 % interval −45.0 to −37.1). In 100 words that is 42 errors (wrong, missing or extra
    words) instead of 71.

Sentences end in a full stop. Warnings have none and begin with a small letter, since callers put a heading
before them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ia3_speech.common.formatting import percent, plural, with_interval
from ia3_speech.data.kaldi.overlap import training_in_words
from ia3_speech.scoring.error_rates import ErrorRates, Json
from ia3_speech.scoring.record import BASE, HOTWORDS, OUT_OF_DOMAIN, Result
from ia3_speech.scoring.significance import FEW_CLUSTERS
from ia3_speech.scoring.table import Bounds

MARK = "*"  # of a row whose interval is from few clusters
NOT_IMPROVED = "no epoch of the training improved on its start, so the adapter is as it started"


def summary_sentences(
    result: Result, baseline: Result | None, start: Result | None = None, out_of_domain: Result | None = None
) -> Iterator[str]:
    """The effect on the test set, its terms, sentences that are not in training, and out-of-domain speech.

    Args:
        result: of the system.
        baseline: of the system that it was scored against.
        start: of the base alone, searched greedily, if the baseline is another system.
        out_of_domain: of the system, or of its adapter searched greedily, on out-of-domain speech.
    """
    rates, subject = result.all, "the adapter" if result.record.get("adapter") else result.label
    in_100_words = f"In 100 words that is {plural(round(100 * (rates.wer or 0)), 'error')}"
    in_100_words += " (wrong, missing or extra words)"
    if not baseline:
        yield f"On {size_of(result)} {subject} has a word error rate of {percent(rates.wer)} %."
        yield f"{in_100_words}."
        return
    before = start.all.wer if start else rates.before().value
    if start:
        both = f"{percent(rates.wer)} %, and {start.label} alone {percent(before)} %"
        yield f"On {size_of(result)} {result.label} has a word error rate of {both}."
    else:
        yield f"On {size_of(result)} {change_in_words(rates, subject, baseline.label)}."
    if before is not None and rates.wer is not None and f"{100 * before:.0f}" != f"{100 * rates.wer:.0f}":
        yield f"{in_100_words} instead of {100 * before:.0f}."
    for part in ([baseline, result] if result.search == HOTWORDS else [result]) if start else ():
        if part.baseline_label:
            part_subject = "Adding the hot words" if part.search == HOTWORDS else "The adapter"
            yield f"{change_in_words(part.all, part_subject, part.baseline_label)}."
    known = result.record["baseline"]["terms"]
    if known and result.all.terms and (terms := result.all.terms).reference:
        missed = f"{terms.missed:,}; {baseline.label} misses {known['missed']:,}"
        yield f"Of {plural(terms.reference, 'spoken term')} it misses {missed}."
    if unseen := result.unseen:
        where = f"On {plural(unseen.utterances, 'utterance')} with sentences that are not in training"
        yield f"{where} {change_in_words(unseen, 'it', baseline.label)}."
    if out_of_domain:
        it = "it" if out_of_domain.search == result.search else "the adapter alone"
        yield out_of_domain_sentence(out_of_domain, it)
    elif result.set != OUT_OF_DOMAIN:
        yield f"The effect of {subject} on out-of-domain speech was not measured."


def out_of_domain_sentence(result: Result, subject: str) -> str:
    """The effect on out-of-domain speech, and a recommendation if it is worse."""
    where, rates = f"On out-of-domain speech ({size_of(result)})", result.all
    if "wer" not in rates.changes:
        return f"{where} its word error rate is {percent(rates.wer)} %."
    text = change_in_words(rates, subject, result.baseline_label or BASE)
    if direction(rates.changes["wer"].relative_ci) == "worse":
        text += ": use it only for the speech that it was trained for"
    return f"{where} {text}."


def change_in_words(rates: ErrorRates, subject: str, baseline: str) -> str:
    """`the adapter lowers the word error rate from 70.8 % (base) to 41.5 % (relative −41.4 %, …)`."""
    change = rates.changes["wer"]
    before, after = percent(change.baseline), percent(rates.wer)
    if before == after:
        return f"{subject} leaves the word error rate at {after} %"
    verb = "lowers" if (rates.wer or 0) < (change.baseline or 0) else "raises"
    text = f"{subject} {verb} the word error rate from {before} % ({baseline}) to {after} %"
    if change.relative is None:
        return text
    bounds = change.relative_ci
    between = f", 95 % interval {signed(bounds[0])} to {signed(bounds[1])}" if bounds else ""
    return f"{text} (relative {signed(change.relative)} %{between})"


def size_of(result: Result) -> str:
    """`600 utterances of 20 speakers`; without speakers if each utterance has a different speaker."""
    count, speakers = result.all.utterances, len(result.record["by_label"]["speaker"])
    unknown = result.all.ci_unit == "utterance" or speakers == count > 1
    return plural(count, "utterance") + ("" if unknown else f" of {plural(speakers, 'speaker')}")


def signed(fraction: float) -> str:
    return true_minus(percent(fraction, signed=True))


def true_minus(text: str) -> str:
    """`−13.6` instead of `-13.6`."""
    return text.replace("-", "−")


def direction(bounds: Bounds) -> str:
    """`better` or `worse` if the interval of a change excludes 0, else nothing."""
    if not bounds or bounds[0] <= 0 <= bounds[1]:
        return ""
    return "better" if bounds[1] < 0 else "worse"


def no_help(rates: ErrorRates, with_lm: bool, place: str, probability: float, minimum: float) -> str:
    """Why an adapter is not known to help, without a full stop; empty if it helps.

    Args:
        rates: of the adapter, with their change from the base.
        with_lm: both were decoded with a language model.
        place: `test`, or `test of ann`.
        probability: of the adapter being better than the base.
        minimum: the required probability.
    """
    subject, base = ("with the language model it", "the base with it") if with_lm else ("it", "the base")
    before = round((rates.before().value or 0.0) * rates.words)
    counts = f"{rates.errors} errors on {place}, {base} {before}"
    if rates.errors >= before:
        how = "worse" if rates.errors > before else "no better"
        return f"{subject} is {how} than the base: it makes {counts}"
    if not probability >= minimum:
        draws = f"{percent(probability, 0)} % of the draws, and {percent(minimum, 0)} % are needed"
        return f"{subject} makes {counts}, which may be chance: it is better in {draws}"
    return ""


def size_warnings(result: Result, name: str) -> Iterator[str]:
    """Warnings about a test set that is too small for an interval, a conclusion, or a reliable interval."""
    rates, change = result.all, result.all.changes.get("wer")
    bounds: Bounds = change.relative_ci if change else rates.wer_ci
    units = plural(rates.ci_clusters, rates.ci_unit)
    if not bounds:
        yield f"{name} is too small for an interval ({units})"
        return
    if change and not direction(bounds):
        yield (
            f"{name} is too small to tell the change from chance: its interval, {signed(bounds[0])} to "
            f"{signed(bounds[1])} %, includes 0"
        )
    if result.few_clusters:
        yield f"{name} has {units} only, so that the true interval is wider than the one given"


def no_overlap_sentence(result: Result) -> str | None:
    """The sentence that no sentence of the test set is in training; None if some are, or it is unknown."""
    if not result.overlap or result.overlap["common_sentences"]:
        return None
    place = training_in_words(result.overlap.get("by_speaker", False))
    return f"No sentence of the test set occurs in {place}."


def missing_sentence(count: int, system: str) -> str:
    """The number of missing hypotheses, and its effect."""
    missing = plural(count, "hypothesis is", "hypotheses are")
    return f"{missing} missing from {system}: all their words count as deleted."


def few_clusters_sentence(unit: str) -> str:
    """The meaning of a row's mark; the bootstrap draws `unit`s."""
    single = "" if unit == "utterance" else f" (for a single {unit}, utterances are drawn)"
    return f"{MARK} fewer than {FEW_CLUSTERS} {unit}s{single}: the interval is too narrow."


def interval_sentences(result: Result) -> Iterator[str]:
    """How the intervals were computed, and whether the clusters are too few."""
    record = result.record
    units = plural(record["ci_clusters"], record["ci_unit"])
    replicates = plural(record["replications"], "replicate")
    yield f"Intervals: bootstrap over {units}, {replicates}, seed {record['seed']}."
    if result.few_clusters:
        yield f"With only {units}, the intervals are too narrow."


def significance_sentence(result: Result, system: str, baseline: str) -> str:
    """The matched pairs test and Kaldi's bootstrap of a system against its baseline; empty without a test."""
    test, bootci = result.record.get("mapsswe"), result.record.get("wer_bootci")
    if not test:
        return ""
    text = f"Matched pairs test (MAPSSWE) of {system} against {baseline}: "
    text += f"{plural(test['segments'], 'segment')}, z = {test['z']:.2f}, p = {test['p']:.2g}."
    sides = [bootci[name] for name in ("baseline", "system")]
    if any(side["margin"] is None for side in sides):
        return text
    before, after = (
        with_interval(side["wer"], [side["wer"] - side["margin"], side["wer"] + side["margin"]])
        for side in sides
    )
    better = f"better in {percent(bootci['improvement'], 2)} % of the draws"
    return f"{text} Kaldi's bootstrap over utterances: {before} and {after}, {better}."


def reliability_sentence(confidences: Json) -> str:
    """`Word confidences: calibration error 3.1 %; the least certain 10 % of the words hold 24 [21, 27] % of
    the errors.`"""
    share = with_interval(confidences["found"], confidences["found_ci"], digits=0)
    return (
        f"Word confidences: calibration error {percent(confidences['calibration_error'])} %; the least "
        f"certain 10 % of the words hold {share} % of the errors."
    )


def score_sentences(score: Mapping[str, Any]) -> Iterator[str]:
    """Sentences, without full stops, that qualify a score (`card.score_summary`) on a model card."""
    name = score["set"] + (f", with {score['search']}" if score.get("search") else "")
    if score.get("search"):
        yield f"{name}: a language model or hot words of the adapter's own are not published with it"
    if speakers := score.get("pooled_speakers"):
        yield (
            f"{score['set']}: pooled over the adapters of {plural(speakers, 'speaker')}, of which this is "
            f"one; each utterance is decoded by an adapter of its speaker that was not trained on it"
        )
    if unseen := score.get("unseen_sentences"):
        compared = score.get("compared_with") or "the base alone"
        base = f", {percent(unseen['base_wer'])} % with {compared}" if unseen.get("base_wer") else ""
        count = plural(unseen["utterances"], "utterance")
        rate = f"WER {percent(unseen['wer'])} % on the {count} whose sentence is not in training"
        yield f"{name}: {rate}{base}"
