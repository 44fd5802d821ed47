"""Heard-as forms of terms, from the errors of a system: its texts for a spoken term ("dexa medi": Deximet).

References and hypotheses are aligned by characters, because a system often writes a term as more or fewer
words. A word of the hypothesis belongs to a term if more than half of its letters are aligned with the
term's. A form is specific if it seldom means anything else: false alarms are its occurrences in hypotheses
without the term, in references (a speaker may really say it) and in ordinary text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import in_columns
from ia3_speech.decoding.hotword_search import Hotword
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.error_rates import normalized_words
from ia3_speech.scoring.term_errors import TermList, find_terms, make_term_list

Words = Sequence[str]
MIN_LETTERS = 4  # of a form: a shorter one is part of too many other words
MIN_PRECISION = 0.75  # share of a form's occurrences in which its term was spoken
SHOWN_FORMS = 20  # in the table


@dataclass(frozen=True)
class HeardForm:
    """A text that a system wrote for a term."""

    term: int  # number of the term
    text: str
    hits: int  # occurrences where the term was spoken
    false_alarms: int  # occurrences elsewhere, in all texts

    @property
    def is_specific(self) -> bool:
        return self.hits >= MIN_PRECISION * (self.hits + self.false_alarms)


@dataclass(frozen=True)
class LearnedForms:
    terms: list[Hotword]  # with the specific forms
    forms: list[HeardForm]  # specific forms first, then by frequency
    spoken: int  # occurrences of the terms in the references
    recognized: int  # occurrences that the hypotheses contain in full


def learn_forms(
    terms: Sequence[Hotword], utterances: Sequence[tuple[Words, Words]], text: Iterable[Words] = ()
) -> LearnedForms:
    """Learn the forms in which a system writes `terms`, which have the known forms. `utterances` are
    (reference, hypothesis), both normalised words; `text` are sentences that are unlikely to contain a
    term."""
    number_of: dict[tuple[str, ...], int] = {}
    for number, term in enumerate(terms):
        if not (words := tuple(normalized_words(term.text, "ctc"))):
            raise UserError(f"{term.path}:{term.line}: nothing is left of {term.text!r} once normalised")
        number_of[words] = number
    term_list = make_term_list({" ".join(words): () for words in number_of})
    occurrences = [pair for utterance in utterances for pair in heard_forms(*utterance, term_list)]
    listed = [form for term in terms for form in (term.text, *term.heard_as)]
    known = {" ".join(normalized_words(form, "ctc")) for form in listed}
    hits = Counter(
        (number_of[term], form)
        for term, form in occurrences
        if form not in known and len(form.replace(" ", "")) >= MIN_LETTERS
    )
    counts = count_forms({form for _, form in hits}, utterances, text)
    forms = [HeardForm(term, form, n, max(0, counts[form] - n)) for (term, form), n in hits.items()]
    forms.sort(key=lambda form: (not form.is_specific, -form.hits, form.term, form.text))
    learned = list(terms)
    for form in forms:
        if form.is_specific:
            term = learned[form.term]
            learned[form.term] = replace(term, heard_as=(*term.heard_as, form.text))
    recognized = sum(form == " ".join(term) for term, form in occurrences)
    return LearnedForms(learned, forms, len(occurrences), recognized)


def heard_forms(reference: Words, hypothesis: Words, terms: TermList) -> Iterator[tuple[Words, str]]:
    """Each occurrence of a term in a reference, with the hypothesis there; "" if little is aligned."""
    occurrences = find_terms(reference, terms)
    if not occurrences:
        return
    reference_word = [n for n, word in enumerate(reference) for _ in word]  # of each letter, its word
    hypothesis_word = [n for n, word in enumerate(hypothesis) for _ in word]
    aligned: list[tuple[int, int]] = []  # (word of the reference, word of the hypothesis) of aligned letters
    r = h = 0
    for reference_letter, hypothesis_letter in align("".join(reference), "".join(hypothesis)):
        if reference_letter is not None and hypothesis_letter is not None:
            aligned.append((reference_word[r], hypothesis_word[h]))
        r, h = r + (reference_letter is not None), h + (hypothesis_letter is not None)
    for first, term in occurrences:
        letters = Counter(h for r, h in aligned if first <= r < first + len(term))
        words = [word for word, count in letters.items() if 2 * count > len(hypothesis[word])]
        if words and 2 * sum(letters[word] for word in words) > sum(map(len, term)):
            yield term, " ".join(hypothesis[min(words) : max(words) + 1])
        else:
            yield term, ""


def count_forms(
    forms: set[str], utterances: Iterable[tuple[Words, Words]], text: Iterable[Words]
) -> Counter[str]:
    """The number of occurrences of each form; an utterance counts the maximum of reference and hypothesis."""
    lengths = {len(form.split()) for form in forms}

    def occurrences(words: Words) -> Counter[str]:
        phrases = (" ".join(words[i : i + n]) for n in lengths for i in range(len(words) - n + 1))
        return Counter(phrase for phrase in phrases if phrase in forms)

    total: Counter[str] = Counter()
    for reference, hypothesis in (*utterances, *((words, ()) for words in text)):
        total += occurrences(reference) | occurrences(hypothesis)
    return total


def format_learned(learned: LearnedForms) -> str:
    """A table for people:

    heard as          hits  false alarms  term
    dexa medi            3             0  Deximet
    line                 1             4  loin            left out
    12 occurrences of terms, 3 of them recognised; 1 heard-as forms learned, 1 left out
    """
    rows = [("heard as", "hits", "false alarms", "term")]
    for form in learned.forms[:SHOWN_FORMS]:
        term = learned.terms[form.term].text + ("" if form.is_specific else "  left out")
        rows.append((form.text, str(form.hits), str(form.false_alarms), term))
    lines = in_columns(rows, left=(0, 3))
    if len(learned.forms) > SHOWN_FORMS:
        lines.append(f"… and {len(learned.forms) - SHOWN_FORMS} more")
    specific = sum(form.is_specific for form in learned.forms)
    lines.append(
        f"{learned.spoken:,} occurrences of terms, {learned.recognized:,} of them recognised; "
        f"{specific} heard-as forms learned, {len(learned.forms) - specific} left out"
    )
    return "\n".join(lines)
