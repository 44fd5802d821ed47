"""The grammar of the dictation: read `dictation.grammar` and its word lists, draw sentences.

    Grammar(folder).draw(120, seed=1)                 # sentences without the held-out terms and wordings

In: dictation.grammar (its head says how it is written), drugs.tsv, conditions.tsv and, for the wording of
these, simple-icd-10-cm. Out: sentences of a-z, apostrophe and blanks. Choices come from shuffled decks, so
that each is used before any is repeated: a few hundred sentences contain every drug.

Held out are every third term (drug, condition, procedure) and every eighth sentence pattern, by a hash of the
term or the pattern itself, so that a longer list holds out the same ones.
"""

import hashlib
import random
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from wording import number, spoken, with_articles

from ia3_speech.data.numbers_in_words import verbalize_numbers

TERM_SECTIONS = ("drug", "chronic", "acute", "cancer", "injury", "procedure")
OF_DRUGS = {
    "drug dose": "{name} {dose}", "drug for": "{name} for {indication}", "drug to": "{name} to {dose}",
    "medication": "{name} {dose} {route} {frequency}",
}  # fmt: skip
MAX_WORDS = 20  # words; at a dictation's pace some ten seconds


class Drug(NamedTuple):
    name: str
    doses: list[str]
    route: str
    frequency: str
    indication: str


class Sentence(NamedTuple):
    text: str
    pattern: str
    new_terms: tuple[str, ...]  # its held-out terms
    new_wording: bool  # its pattern is held out


def held_out(item: str, one_in: int) -> bool:
    return int(hashlib.sha256(item.encode()).hexdigest(), 16) % one_in == 0


def read_sections(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Section → choices, and section → key that it shares its choice with; "sentence" are whole sentences."""
    sections: dict[str, list[str]] = {}
    keys: dict[str, str] = {}
    name = ""
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if header := re.fullmatch(r"\[([a-z ]+)(?:: ([a-z]+))?\]", line):
            name = "sentence" if header[1].startswith("sentence") else header[1]
            keys |= {name: header[2]} if header[2] else {}
        elif line and line[0] != "#":
            if not name:
                raise SystemExit(f"{path}:{line_number}: a line before the first [section]")
            sections.setdefault(name, []).append(line)
    return sections, keys


class Grammar:
    """A grammar file with the drugs and the conditions."""

    def __init__(self, folder: Path) -> None:
        import simple_icd_10_cm

        self.sections, self.keys = read_sections(folder / "dictation.grammar")
        self.patterns = self.sections.pop("sentence")
        self.impossible = [re.compile(pattern) for pattern in self.sections.pop("impossible", [])]
        self.drugs = {drug.name: drug for drug in read_drugs(folder / "drugs.tsv")}
        kinds: dict[str, list[str]] = {}  # chronic, acute, … → spoken wordings, each once
        for code, kind in rows(folder / "conditions.tsv"):
            kinds.setdefault(kind, []).append(spoken(simple_icd_10_cm.get_description(code)))
        self.sections |= {kind: [*dict.fromkeys(texts)] for kind, texts in kinds.items()}
        self.sections["drug"] = [*self.drugs]
        terms = {term for name in TERM_SECTIONS for term in self.sections[name]}
        self.new_terms = [term for term in sorted(terms) if held_out(term, 3)]
        words = "|".join(sorted(map(re.escape, self.new_terms), key=len, reverse=True))
        self._new = re.compile(rf"\b({words})\b")

    def draw(
        self, count: int, *, seed: int, test: bool = False, avoid: Collection[str] = ()
    ) -> list[Sentence]:
        """`count` different sentences, none in `avoid`; with held-out terms and patterns only if `test`."""
        rng, drawn, used = random.Random(seed), [], set(avoid)
        decks: dict[str, list[str]] = {}
        allowed = {
            name: choices if test else [choice for choice in choices if not self._new.search(choice)]
            for name, choices in self.sections.items()
        }
        allowed["sentence"] = [each for each in self.patterns if test or not held_out(each, 8)]

        def deal(name: str) -> str:
            if not decks.get(name):
                decks[name] = rng.sample(allowed[name], len(allowed[name]))
            return decks[name].pop()

        for _ in range(100 * count + 1000):
            pattern = deal("sentence")
            text = with_articles(self.expand(pattern, allowed, deal, rng))
            new_terms = tuple(self._new.findall(text))
            if (
                text not in used
                and (test or not new_terms)
                and 3 <= len(text.split()) <= MAX_WORDS
                and not any(rule.search(text) for rule in self.impossible)
            ):
                used.add(text)
                drawn.append(Sentence(text, pattern, new_terms, held_out(pattern, 8)))
                if len(drawn) == count:
                    return drawn
        raise SystemExit(f"the grammar has no {count} different sentences: add patterns, or ask for fewer")

    def expand(self, text: str, allowed: dict[str, list[str]], deal: Callable, rng: random.Random) -> str:
        """Replace {slots} and (alternatives) until none is left."""
        agreed: dict[str, int] = {}  # key → the choice of all sections that have it
        chosen: set[str] = set()

        def fresh(name: str) -> str:
            """The next choice of a section that this sentence does not contain yet."""
            for _ in range(10):
                choice = deal(name)
                if choice not in chosen:
                    break
            chosen.add(choice)
            return choice

        def slot(name: str) -> str:
            if numbers := re.fullmatch(r"([\d.]+)\.\.([\d.]+)(?:/(\d+))?", name):
                low, high, step = numbers.groups()
                if "." in low:
                    return number(f"{rng.randint(round(10 * float(low)), round(10 * float(high))) / 10}")
                return number(rng.randrange(int(low), int(high) + 1, int(step or 1)))
            if name in OF_DRUGS:
                drug = self.drugs[fresh("drug")]
                return OF_DRUGS[name].format(**drug._asdict(), dose=verbalize_numbers(rng.choice(drug.doses)))
            if name not in allowed:
                raise SystemExit(f"dictation.grammar: there is no section [{name}]")
            if key := self.keys.get(name):
                choices = allowed[name]
                return choices[agreed.setdefault(key, rng.randrange(len(choices))) % len(choices)]
            return fresh(name)

        while match := re.search(r"\{([^{}]*)\}|\(([^(){}]*)\)", text):
            value = slot(match[1]) if match[1] is not None else rng.choice(match[2].split("|"))
            text = text[: match.start()] + value + text[match.end() :]
        return " ".join(text.split())


def rows(path: Path) -> Iterator[list[str]]:
    """The fields of each line of a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return (line.split("\t") for line in lines if line and line[0] != "#")


def read_drugs(path: Path) -> list[Drug]:
    return [Drug(name, doses.split("|"), *others) for name, doses, *others in rows(path)]
