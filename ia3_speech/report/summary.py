"""What the numbers mean, in plain words, and what a reader must know before believing them.

In: report data. Out: the top of the page: sentences, and warnings.

    On 600 utterances of 20 speakers the adapter lowers the word error rate from 70.8 % (base) to 41.5 %
    (relative −41.4 %, 95 % interval −45.0 to −37.1). In 100 words that is 42 errors (wrong, missing or extra
    words) instead of 71. On out-of-domain speech (30 utterances of 6 speakers) it raises the word error rate
    from 28.0 % (base) to 30.1 % (relative +7.5 %, 95 % interval +2.0 to +13.0): name it only for the speech
    that it was trained for.
"""

from collections.abc import Iterator
from pathlib import Path

from ia3_speech.experiments.curve_files import Json
from ia3_speech.formatting import percent, plural
from ia3_speech.report.markup import Markup, element
from ia3_speech.report.report_data import OUT_OF_DOMAIN, ReportData
from ia3_speech.report.result_tables import few_clusters
from ia3_speech.report.table import Bounds, true_minus


def summary_box(report: ReportData) -> Markup:
    """The sentences as a paragraph, then each warning."""
    parts = [element("p", " ".join(summary_sentences(report)))]
    for text in summary_warnings(report):
        parts.append(
            element("p", element("b", "Warning. "), f"{text[0].upper()}{text[1:]}.", class_="warning")
        )
    return element("div", parts, class_="summary", role="group", aria_label="Summary")


# ---- sentences


def summary_sentences(report: ReportData) -> Iterator[str]:
    """What happens on the test set, to its terms, on sentences that are not in training, on other speech."""
    score, baseline = report.system.score, report.baseline
    subject = subject_of(report)
    if not baseline:
        yield f"On {size_of(score)} {subject} has a word error rate of {percent(score['wer'])} %."
        yield f"{in_100_words(score['wer'])}."
        return
    change = change_in_words(score, subject, baseline.name)
    yield f"On {size_of(score)} {change}."
    before = score["changes"]["wer"]["baseline"]
    if before is not None and f"{100 * before:.0f}" != f"{100 * score['wer']:.0f}":
        yield f"{in_100_words(score['wer'])} instead of {100 * before:.0f}."
    if (terms := score["terms"]) and (known := score["baseline"]["terms"]) and terms["reference"]:
        spoken = plural(terms["reference"], "spoken term")
        yield f"Of {spoken} it misses {terms['missed']:,}; {baseline.name} misses {known['missed']:,}."
    if unseen := score.get("unseen_sentences"):
        what = f"On {plural(unseen['utterances'], 'utterance')} with sentences that are not in training"
        yield f"{what} {change_in_words(unseen, 'it', baseline.name)}."
    if report.out_of_domain:
        yield out_of_domain_sentence(report.out_of_domain)
    elif report.system.folder.name != OUT_OF_DOMAIN:
        yield f"What {subject} does to out-of-domain speech was not measured."


def subject_of(report: ReportData) -> str:
    """`the adapter`, or the system's name where it is not known to be one."""
    return "the adapter" if report.vectors or report.system.decoding.get("adapter") else report.system.name


def size_of(score: Json) -> str:
    """`600 utterances of 20 speakers`; without speakers where they are not known apart from utterances."""
    utterances = plural(score["utterances"], "utterance")
    speakers = len(score["by_label"]["speaker"])
    unknown = score["ci_unit"] == "utterance" or speakers == score["utterances"] > 1
    return utterances if unknown else f"{utterances} of {plural(speakers, 'speaker')}"


def change_in_words(score: Json, subject: str, baseline: str) -> str:
    """`the adapter lowers the word error rate from 70.8 % (base) to 41.5 % (relative −41.4 %, …)`."""
    change = score["changes"]["wer"]
    before, after = percent(change["baseline"]), percent(score["wer"])
    if before == after:
        return f"{subject} leaves the word error rate at {after} %"
    verb = "lowers" if score["wer"] < (change["baseline"] or 0) else "raises"
    text = f"{subject} {verb} the word error rate from {before} % ({baseline}) to {after} %"
    if change["relative"] is None:
        return text
    bounds = change["relative_ci"]
    between = f", 95 % interval {signed(bounds[0])} to {signed(bounds[1])}" if bounds else ""
    return f"{text} (relative {signed(change['relative'])} %{between})"


def in_100_words(rate: float) -> str:
    return f"In 100 words that is {plural(round(100 * rate), 'error')} (wrong, missing or extra words)"


def out_of_domain_sentence(score: Json) -> str:
    """What out-of-domain speech costs, and what follows from it."""
    where = f"On out-of-domain speech ({size_of(score)})"
    if not score["changes"].get("wer"):
        return f"{where} its word error rate is {percent(score['wer'])} %."
    text = change_in_words(score, "it", Path(score["baseline_dir"]).parent.name)
    bounds = score["changes"]["wer"]["relative_ci"]
    if bounds and bounds[0] > 0:
        text += ": name it only for the speech that it was trained for"
    return f"{where} {text}."


def signed(fraction: float) -> str:
    return true_minus(percent(fraction, signed=True))


# ---- warnings


def summary_warnings(report: ReportData) -> Iterator[str]:
    """Sentences without a full stop: overlap with training, training without effect, too small test sets."""
    score = report.system.score
    yield from report.overlap or ()
    if report.training and report.training[-1].selected == 0:
        yield "no epoch of the training improved on its start, so the adapter is as it started"
    yield from size_warnings(score, "the test set")
    if report.out_of_domain:
        yield from size_warnings(report.out_of_domain, "the out-of-domain set")


def size_warnings(score: Json, name: str) -> Iterator[str]:
    """Whether a test set is too small to say anything, or to trust its interval."""
    change = score["changes"].get("wer")
    bounds: Bounds = change["relative_ci"] if change else score["wer_ci"]
    units = plural(score["ci_clusters"], score["ci_unit"])
    if not bounds:
        yield f"{name} is too small for an interval ({units})"
        return
    if change and bounds[0] <= 0 <= bounds[1]:
        yield (
            f"{name} is too small to tell the change from chance: its interval, {signed(bounds[0])} to "
            f"{signed(bounds[1])} %, includes 0"
        )
    if few_clusters(score):
        yield f"{name} has {units} only, so that the true interval is wider than the one given"
