"""Which words of the reference each system recognises: the base's accuracy against the adapter's.

In: the aligned utterances of both systems, and the term list that they were scored with. Out: a table, and a
section of the page with a scatter plot and a browsable table, whose rows page.js draws:

    {"systems": ["base", "ia3"],
     "rows": [{"word": "metformin", "count": 9, "correct": [2, 8], "term": "drug", "instead": "met 1",
               "dot": 7}]}

A word is correct where it is aligned with itself (the alignment is Kaldi's per_utt). A term of several words
is a row too: it is correct where all its words are, and nothing stands between them. Insertions are of no
reference word and are not counted here.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ia3_speech.formatting import percent, plural
from ia3_speech.report.browsable_table import browsable_table, select_element
from ia3_speech.report.charts import Axis, Point, Series, draw_chart, tick_labels
from ia3_speech.report.markup import Child, Markup, element
from ia3_speech.report.report_data import ReportData
from ia3_speech.report.table import Rate, Table
from ia3_speech.scoring.alignment import Pair
from ia3_speech.scoring.term_errors import TermList, find_terms, match_terms

MOST_INSTEAD = 3  # different words that are named as recognised instead of one
NAMED = 5  # words that the tooltip of a dot names
TICKS = tick_labels([0, 0.25, 0.5, 0.75, 1], 100)
ENDS = (-0.06, 1.06)  # of the axes, so that dots at 0 and 100 % are whole
SMALLEST, LARGEST = 3.0, 13.0  # radius of a dot, pixels


@dataclass(frozen=True)
class WordAccuracy:
    """A reference word, or a term of several words, and how often each system recognises it.

    Attributes:
        word: the word or the term.
        count: its occurrences in the references.
        correct: occurrences that are recognised, by each system, the baseline first.
        term: None for a word that is in no term; else its categories, or `term` where the list has none.
        instead: by each system what is recognised instead, the most frequent first; "" is a deletion.
    """

    word: str
    count: int
    correct: Sequence[int]
    term: str | None
    instead: Sequence[Sequence[tuple[str, int]]]

    @property
    def gain(self) -> int:
        """Occurrences that the last system recognises and the first does not, less those it loses."""
        return self.correct[-1] - self.correct[0]


def count_words(report: ReportData) -> list[WordAccuracy]:
    """All reference words and the terms of several words; those that gain most first."""
    counts, terms = Counter(), term_words(report)
    correct: dict[str, list[int]] = defaultdict(lambda: [0] * len(report.systems))
    instead: dict[str, list[Counter]] = defaultdict(lambda: [Counter() for _ in report.systems])
    for number, system in enumerate(report.systems):
        for pairs in system.alignments.values():
            for word, hypothesis, is_correct in occurrences(pairs, report.terms):
                counts[word] += number == 0
                correct[word][number] += is_correct
                if hypothesis is not None and not is_correct:
                    instead[word][number][hypothesis] += 1
    found = [
        WordAccuracy(
            word, count, correct[word], terms.get(word), [by_frequency(one) for one in instead[word]]
        )
        for word, count in counts.items()
    ]
    return sorted(found, key=lambda one: (-one.gain, -one.count, one.word))


def occurrences(pairs: Sequence[Pair], terms: TermList | None) -> Iterator[tuple[str, str | None, bool]]:
    """(word, what is recognised instead, whether it is correct) of each reference word, then of each term of
    several words, for which nothing instead is named."""
    for reference, hypothesis in pairs:
        if reference is not None:
            yield reference, hypothesis or "", reference == hypothesis
    for term, hit in match_terms(pairs, terms) if terms else ():
        if len(term) > 1:
            yield " ".join(term), None, hit


def term_words(report: ReportData) -> dict[str, str]:
    """The words that are in a term somewhere in the references, and the terms → their categories."""
    found: dict[str, set[str]] = defaultdict(set)
    for text in report.system.references.values() if report.terms else ():
        for _, term in find_terms(text.split(), report.terms):
            for word in {*term, " ".join(term)}:
                found[word].update(report.terms.categories_of[term])
    return {word: ", ".join(sorted(categories)) or "term" for word, categories in found.items()}


def by_frequency(counts: Counter) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def instead_text(found: Sequence[tuple[str, int]]) -> str:
    """`met 3, (nothing) 1, …`."""
    named = [f"{word or '(nothing)'} {count}" for word, count in found[:MOST_INSTEAD]]
    return ", ".join(named + ["…"] * (len(found) > MOST_INSTEAD))


def words_table(report: ReportData) -> Table:
    names, rows = [one.name for one in report.systems], []
    for one in count_words(report):
        rates = [Rate(correct / one.count) for correct in one.correct]
        gain = [one.gain] if len(names) > 1 else []
        rows.append([one.word, one.count, *rates, *gain, one.term, *map(instead_text, one.instead)])
    head = ["word", "count", *(f"{name} correct %" for name in names), *(["gain"] if len(names) > 1 else [])]
    head += ["term", *(f"{name} instead" for name in names)]
    return Table("words", "Accuracy of each reference word, and what is recognised instead", head, rows)


# ---- the section


def words_section(report: ReportData) -> Iterator[Child]:
    """A scatter plot of the base's accuracy against the adapter's, and the table that page.js draws."""
    names, words = [one.name for one in report.systems], count_words(report)
    several = len(names) > 1
    if not words:
        return
    dots = group_by_accuracy(words)
    if several:
        yield element(
            "div", word_scatter(dots, names), explanation(names, report), class_="charts words-chart"
        )
    columns = {"word": "word", "count": "count"}
    columns |= {f"rate{number}": f"{name} correct %" for number, name in enumerate(names)}
    columns |= {"gain": "gain"} if several else {}
    dot_of = {one.word: number for number, group in enumerate(dots.values()) for one in group}
    data = {"systems": names, "rows": [word_row(one, dot_of[one.word]) for one in words]}
    filters = {"all": "all"} | ({"terms": "terms"} if report.terms else {})
    filters |= {"better": "more often correct", "worse": "less often correct"} if several else {}
    yield from browsable_table(
        "word",
        columns,
        data,
        [select_element("show", filters, id="word-shown")] if len(filters) > 1 else [],
        placeholder="part of a word",
        sorted_by=("gain" if several else "count", "descending"),
        unsorted=[f"instead, {names[-1]}"],
    )


def word_row(one: WordAccuracy, dot: int) -> Mapping[str, Any]:
    return {
        "word": one.word,
        "count": one.count,
        "correct": list(one.correct),
        "term": one.term,
        "instead": instead_text(one.instead[-1]),
        "dot": dot,
    }


def group_by_accuracy(
    words: Sequence[WordAccuracy],
) -> dict[tuple[bool, float, float], list[WordAccuracy]]:
    """Words of one accuracy with the first system and one with the last share a dot; terms have their own."""
    groups = defaultdict(list)
    for one in words:
        accuracies = (correct / one.count for correct in (one.correct[0], one.correct[-1]))
        groups[(one.term is not None, *accuracies)].append(one)
    sizes = {key: sum(one.count for one in group) for key, group in groups.items()}
    return {key: groups[key] for key in sorted(groups, key=lambda key: (key[0], -sizes[key], key))}


def word_scatter(
    dots: Mapping[tuple[bool, float, float], Sequence[WordAccuracy]], names: Sequence[str]
) -> Markup:
    """Accuracy of the first system against that of the last; a dot's area is the number of occurrences."""
    largest = max(sum(one.count for one in group) for group in dots.values())
    points: dict[bool, list[Point]] = {False: [], True: []}
    for number, ((is_term, before, after), group) in enumerate(dots.items()):
        count = sum(one.count for one in group)
        named = ", ".join(one.word for one in group[:NAMED])
        named += f" and {len(group) - NAMED} more" if len(group) > NAMED else ""
        title = f"{named}: {names[0]} {percent(before)} %, {names[-1]} {percent(after)} %, "
        radius = SMALLEST + (LARGEST - SMALLEST) * math.sqrt(count / largest)
        point = Point(before, after, title + plural(count, "occurrence"), radius=radius)
        points[is_term].append(replace(point, attributes={"data_dot": number}))
    series = [
        Series("", [Point(0, 0, ""), Point(1, 1, "")], "guide", dots=False),
        Series("words", points[False], "system", line=False),
        Series("terms", points[True], "third", line=False),
    ]
    words = [one for group in dots.values() for one in group]
    better, worse = sum(one.gain > 0 for one in words), sum(one.gain < 0 for one in words)
    return draw_chart(
        "Accuracy by word",
        f"Of {plural(len(words), 'word')}, {better} are recognised more often, {worse} less often",
        Axis(f"correct with {names[0]}, %", *ENDS, TICKS),
        Axis(f"correct with {names[-1]}, %", *ENDS, TICKS),
        [one for one in series if one.points],
    )


def explanation(names: Sequence[str], report: ReportData) -> Markup:
    """How the plot and the table are to be read."""
    found = [
        "A dot stands for the words that have these accuracies, its area for their occurrences in the "
        f"reference. Above the diagonal {names[-1]} recognises them more often than {names[0]}. Click a dot "
        "for its words, and a word for its utterances.",
        "A word is correct where it is aligned with itself; extra words are not counted here.",
    ]
    if report.terms:
        found.append([
            element("span", "Coloured words", class_="term"),
            " are part of a term; a term of several words is correct where all of them are.",
        ])  # fmt: skip
    return element("div", [element("p", text, class_="note") for text in found])
