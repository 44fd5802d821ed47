"""Heard-as forms of terms, from a system's own errors.

In: references and hypotheses of the same utterances, and terms. Out: what the system writes where a term was
spoken ("dexa medi" for "Deximet"), how often it does so, and how often it writes the same elsewhere.

References and hypotheses are aligned by characters, because a term is often heard as more or fewer words
than it has. A word of the hypothesis belongs to a term where more than half of its letters are aligned with
the term's. A form is specific where it seldom stands for anything but its term: false alarms are its
occurrences in hypotheses without the term, in references (somebody may really say it) and in ordinary text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ia3_speech.data.numbers_in_words import verbalize_numbers
from ia3_speech.data.text import normalize
from ia3_speech.lm.hotword_list import Hotword
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.term_errors import TermList, find_terms, make_term_list

Words = Sequence[str]
MINIMUM_LETTERS = 4  # of a form: a shorter one is part of too many other words
MINIMUM_PRECISION = 0.75  # share of a form's occurrences that were its term


@dataclass(frozen=True)
class HeardForm:
    """What a system wrote for a term.

    Attributes:
        term: number of the term.
        text: what it wrote.
        hits: how often where the term was spoken.
        false_alarms: how often elsewhere, in all the texts that were looked at.
    """

    term: int
    text: str
    hits: int
    false_alarms: int

    @property
    def precision(self) -> float:
        """Share of the occurrences that were the term."""
        return self.hits / (self.hits + self.false_alarms)


@dataclass
class Learned:
    """What was learned.

    Attributes:
        terms: the terms, with the forms that are specific.
        kept, dropped: forms, the most frequent first.
        spoken: occurrences of the terms in the references.
        recognized: those of them that the hypotheses have in full.
    """

    terms: list[Hotword]
    kept: list[HeardForm] = field(default_factory=list)
    dropped: list[HeardForm] = field(default_factory=list)
    spoken: int = 0
    recognized: int = 0


def learn_forms(
    terms: Sequence[Hotword],
    utterances: Sequence[tuple[Words, Words]],
    dev: Sequence[tuple[Words, Words]] = (),
    text: Iterable[Words] = (),
    *,
    minimum_count: int = 1,
    minimum_precision: float = MINIMUM_PRECISION,
) -> Learned:
    """Learn from utterances how terms are heard.

    Args:
        terms: of which the text and the forms that are known already count.
        utterances: (reference, hypothesis) of each, normalised words.
        dev: others, of which only false alarms are taken.
        text: sentences that are unlikely to hold what a form stands for.
        minimum_count: hits that a form needs.
        minimum_precision: share of its occurrences that have to be its term.
    """
    number_of = {spoken_words(term.text): number for number, term in enumerate(terms)}
    listed = make_term_list({" ".join(words): () for words in number_of})
    result = Learned(list(terms))
    hits: Counter[tuple[int, str]] = Counter()
    for reference, hypothesis in utterances:
        for term, form in heard_forms(reference, hypothesis, listed):
            result.spoken += 1
            result.recognized += form == " ".join(term)
            hits[number_of[term], form] += 1
    known = {" ".join(spoken_words(form)) for term in terms for form in (term.text, *term.heard_as)}
    wanted = {pair: count for pair, count in hits.items() if is_form(pair[1]) and pair[1] not in known}
    occurrences = count_forms({form for _, form in wanted}, [*utterances, *dev], text)
    for (number, form), count in sorted(wanted.items(), key=lambda item: (-item[1], item[0])):
        found = HeardForm(number, form, count, max(0, occurrences[form] - count))
        specific = found.hits >= minimum_count and found.precision >= minimum_precision
        (result.kept if specific else result.dropped).append(found)
    for number, term in enumerate(terms):
        forms = [form.text for form in result.kept if form.term == number]
        result.terms[number] = replace(term, heard_as=tuple(dict.fromkeys([*term.heard_as, *forms])))
    return result


def spoken_words(text: str) -> tuple[str, ...]:
    """A term or form as normalised words, numbers in words."""
    return tuple(normalize(verbalize_numbers(text)).split())


def is_form(form: str) -> bool:
    """Whether a form is long enough to be looked for."""
    return len(form.replace(" ", "")) >= MINIMUM_LETTERS


def heard_forms(reference: Words, hypothesis: Words, terms: TermList) -> Iterator[tuple[Words, str]]:
    """Each occurrence of a term in a reference, and what the hypothesis has there: "" where it has nothing,
    or where less than half of the term's letters are aligned with letters."""
    found = find_terms(reference, terms)
    if not found:
        return
    owner = [n for n, word in enumerate(reference) for _ in word]  # of each letter, its word
    word_of = [n for n, word in enumerate(hypothesis) for _ in word]
    aligned: list[tuple[int, int]] = []  # (word of the reference, word of the hypothesis) of aligned letters
    r = h = 0
    for one, other in align("".join(reference), "".join(hypothesis)):
        if one is not None and other is not None:
            aligned.append((owner[r], word_of[h]))
        r, h = r + (one is not None), h + (other is not None)
    for first, term in found:
        letters = Counter(h for r, h in aligned if first <= r < first + len(term))
        own = [word for word, count in letters.items() if 2 * count > len(hypothesis[word])]
        covered = sum(letters[word] for word in own)
        if own and 2 * covered > sum(map(len, term)):
            yield term, " ".join(hypothesis[min(own) : max(own) + 1])
        else:
            yield term, ""


def count_forms(
    forms: set[str], utterances: Iterable[tuple[Words, Words]], text: Iterable[Words]
) -> Counter[str]:
    """How often each form occurs: in each utterance where it occurs more often, reference or hypothesis."""
    listed: dict[str, list[tuple[str, ...]]] = {}
    for form in forms:
        words = tuple(form.split())
        listed.setdefault(words[0], []).append(words)

    def occurrences(words: Words) -> Counter[str]:
        counts: Counter[str] = Counter()
        for place, word in enumerate(words):
            for form in listed.get(word, ()):
                counts[" ".join(form)] += tuple(words[place : place + len(form)]) == form
        return counts

    total: Counter[str] = Counter()
    for reference, hypothesis in utterances:
        total += occurrences(reference) | occurrences(hypothesis)
    for words in text:
        total += occurrences(words)
    return total


def format_learned(learned: Learned, limit: int = 20) -> str:
    """A table for people:

    heard as          hits  false alarms  term
    dexa medi            3             0  Deximet
    line                 1             4  loin            left out
    12 occurrences of 2 terms, 3 of them recognised; 1 form kept, 1 left out
    """
    forms = [(form, "") for form in learned.kept] + [(form, "  left out") for form in learned.dropped]
    width = max([len(form.text) for form, _ in forms[:limit]] + [8])
    lines = [f"{'heard as':<{width}}  hits  false alarms  term"]
    for form, note in forms[:limit]:
        term = learned.terms[form.term].text
        lines.append(f"{form.text:<{width}}  {form.hits:>4}  {form.false_alarms:>12}  {term}{note}")
    if len(forms) > limit:
        lines.append(f"… and {len(forms) - limit} more")
    lines.append(
        f"{learned.spoken:,} occurrences of terms, {learned.recognized:,} of them recognised; "
        f"{len(learned.kept)} heard-as forms kept, {len(learned.dropped)} left out"
    )
    return "\n".join(lines)
