"""Sentences about results, the same on the terminal, in RESULTS.md, in the report and at the end of a recipe.

In: results, the baseline of a result among them. Out: sentences, such as

    On 600 utterances of 20 speakers: the adapter lowers the word error rate from 70.8 % (base) to 41.5 %
    (relative −41.4 [−45.0, −37.1] %).

Sentences end in a full stop. Warnings have none and begin with a small letter, since callers put a heading
before them.
"""

from collections.abc import Iterator

from ia3_speech.common.formatting import percent, plural, with_interval
from ia3_speech.data.kaldi.overlap import training_in_words
from ia3_speech.scoring.error_rates import ErrorRates, Json
from ia3_speech.scoring.record import GREEDY, HOTWORDS, Result
from ia3_speech.scoring.significance import FEW_CLUSTERS
from ia3_speech.scoring.table import Bounds, Rate

MARK = "*"  # of a row whose interval is from few clusters
NOT_IMPROVED = "no epoch of the training improved on its start, so the adapter is as it started"


def gain(result: Result, base: Result | None = None, baseline: Result | None = None) -> str:
    """`63.8 → 39.0 % word errors with LM; the adapter lowers the word error rate from …`, without a full
    stop. `base` is the result of the base alone in greedy search, if the system was compared with another
    system, and `baseline` of the system that it was compared with."""
    if not result.has_baseline:
        return f"{subject_of(result)} has a word error rate of {percent(result.all.wer)} %"
    parts = [result]
    if result.search == HOTWORDS and baseline and baseline.has_baseline:
        parts = [baseline, result]  # without hot words, and with them
    texts = [change_in_words(part.all, subject_of(part), part.baseline_label) for part in parts]
    if base and base.label != result.baseline_label:
        search = "" if result.search == GREEDY else f" with {result.search_name}"
        texts.insert(0, f"{percent(base.all.wer)} → {percent(result.all.wer)} % word errors{search}")
    return "; ".join(texts)


def subject_of(result: Result) -> str:
    """The part in which a system differs from its baseline."""
    if result.search == HOTWORDS and result.has_baseline:
        return "adding the hot words"
    return "the adapter" if result.record.get("adapter") else result.label


def change_in_words(rates: ErrorRates, subject: str, baseline: str | None) -> str:
    """`the adapter lowers the word error rate from 70.8 % (base) to 41.5 % (relative −41.4 [−45.0, …] %)`."""
    before, after = percent(rates.before().value), percent(rates.wer)
    if before == after:
        return f"{subject} leaves the word error rate at {after} %"
    verb = "lowers" if (rates.wer or 0) < (rates.before().value or 0) else "raises"
    text = f"{subject} {verb} the word error rate from {before} % ({baseline}) to {after} %"
    change = rates.change()
    return text if change.value is None else f"{text} (relative {true_minus(str(change))} %)"


def unseen_sentence(result: Result) -> str:
    """The change on utterances whose sentence is not in training; empty if these are unknown."""
    rates = result.unseen
    if not rates or "wer" not in rates.changes:
        return ""
    where = f"On {plural(rates.utterances, 'utterance')} with sentences that are not in training"
    return f"{where} {change_in_words(rates, subject_of(result), result.baseline_label)}."


def out_of_domain_sentence(result: Result | None, search: str) -> str:
    """The effect on out-of-domain speech, and a recommendation if it is worse; None: it was not measured.
    `search` is the system's on its test set; out-of-domain speech may be decoded by greedy search alone."""
    if not result:
        return "The effect on out-of-domain speech was not measured."
    where, rates = f"On out-of-domain speech ({size_of(result)})", result.all
    if "wer" not in rates.changes:
        return f"{where} the word error rate is {percent(rates.wer)} %."
    subject = f"{subject_of(result)} alone" if result.search == GREEDY != search else subject_of(result)
    text = change_in_words(rates, subject, result.baseline_label)
    if direction(rates.change()) == "worse":
        text += ": use it only for the speech that it was trained for"
    return f"{where} {text}."


def size_of(result: Result) -> str:
    """`600 utterances of 20 speakers`; without speakers if each utterance has a different speaker."""
    count, speakers = result.all.utterances, len(result.record["by_label"]["speaker"])
    unknown = result.all.ci_unit == "utterance" or speakers == count > 1
    return plural(count, "utterance") + ("" if unknown else f" of {plural(speakers, 'speaker')}")


def true_minus(text: str) -> str:
    """`−13.6` instead of `-13.6`."""
    return text.replace("-", "−")


def direction(change: Rate) -> str:
    """`better` or `worse` if the interval of a change excludes 0, else nothing."""
    if not change.bounds or change.bounds[0] <= 0 <= change.bounds[1]:
        return ""
    return "better" if change.bounds[1] < 0 else "worse"


def size_warnings(result: Result, name: str) -> Iterator[str]:
    """Warnings about a test set that is too small for an interval, a conclusion, or a reliable interval."""
    rates, change = result.all, result.all.change()
    bounds: Bounds = change.bounds if rates.changes else rates.wer_ci
    units = plural(rates.ci_clusters, rates.ci_unit)
    if not bounds:
        yield f"{name} is too small for an interval ({units})"
        return
    if rates.changes and not direction(change):
        interval = true_minus(change.parts[1])
        yield f"{name} is too small to tell the change from chance: its interval {interval} % includes 0"
    if result.few_clusters:
        yield f"{name} has {units} only, so that the intervals are too narrow"


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


def interval_sentence(result: Result) -> str:
    """How the intervals were computed."""
    record = result.record
    units = plural(record["ci_clusters"], record["ci_unit"])
    replicates = plural(record["replications"], "replicate")
    return f"Intervals: bootstrap over {units}, {replicates}, seed {record['seed']}."


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
