"""The grammar of the dictation: read `dictation.grammar` and its word lists, draw sentences.

    Grammar(folder).draw(120, seed=1)                 # sentences without the held-out terms and wordings

In: dictation.grammar (its head says how it is written), drugs.tsv, conditions.tsv and, for the wording of
these, simple-icd-10-cm. Out: sentences of a-z, apostrophe and blanks. Choices come off shuffled decks, so
that each is used before any comes again: a few hundred sentences hear every drug.

Held out are every third term (drug, condition, procedure) and every eighth sentence pattern, by a hash of the
term or the pattern itself, so that a longer list holds out the same ones.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wording import dose, number, spoken, with_articles

TERM_SECTIONS = ("drug", "chronic", "acute", "cancer", "injury", "procedure")
LONGEST = 20  # words; at a dictation's pace some ten seconds


@dataclass(frozen=True)
class Drug:
    name: str
    doses: list[str]
    route: str
    frequency: str
    indication: str


@dataclass(frozen=True)
class Sentence:
    text: str
    pattern: str
    new_terms: tuple[str, ...]  # held-out terms that it holds
    new_wording: bool  # its pattern is held out


def held_out(item: str, one_in: int) -> bool:
    return int(hashlib.sha256(item.encode()).hexdigest(), 16) % one_in == 0


@dataclass
class Sections:
    """What a grammar file says."""

    sections: dict[str, list[str]]  # name → choices
    keys: dict[str, str]  # name → key that it shares its choice with
    patterns: list[str]  # of whole sentences


def read_sections(path: Path) -> Sections:
    """Read a grammar file; its head says how it is written."""
    found = Sections({}, {}, [])
    choices: list[str] | None = None
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if header := re.fullmatch(r"\[([a-z ]+)(?:: ([a-z]+))?\]", line):
            name, key = header.groups()
            choices = found.patterns if name.startswith("sentence") else found.sections.setdefault(name, [])
            if key:
                found.keys[name] = key
        elif choices is None:
            raise SystemExit(f"{path}:{line_number}: a line before the first [section]")
        else:
            choices.append(line)
    return found


class Grammar:
    """A grammar file with the drugs and the conditions."""

    def __init__(self, folder: Path) -> None:
        written = read_sections(folder / "dictation.grammar")
        self.keys, self.patterns = written.keys, written.patterns
        self.impossible = [re.compile(pattern) for pattern in written.sections.pop("impossible", [])]
        self.drugs = {drug.name: drug for drug in read_drugs(folder / "drugs.tsv")}
        self.sections = (
            written.sections | read_conditions(folder / "conditions.tsv") | {"drug": list(self.drugs)}
        )
        self.terms = sorted({term for name in TERM_SECTIONS for term in self.sections[name]})
        self.new_terms = [term for term in self.terms if held_out(term, 3)]
        words = "|".join(sorted(map(re.escape, self.new_terms), key=len, reverse=True))
        self._new = re.compile(rf"\b({words})\b")

    def draw(
        self, count: int, *, seed: int, test: bool = False, avoid: frozenset[str] | set[str] = frozenset()
    ) -> list[Sentence]:
        """`count` different sentences, none in `avoid`; with held-out terms and patterns only if `test`."""
        return list(self._sentences(count, random.Random(seed), test, set(avoid)))

    def _sentences(self, count: int, rng: random.Random, test: bool, used: set[str]) -> Iterator[Sentence]:
        decks: dict[str, list[str]] = {}

        def deal(name: str, cards: list[str]) -> str:
            if not decks.get(name):
                decks[name] = rng.sample(cards, len(cards))
            return decks[name].pop()

        patterns = [pattern for pattern in self.patterns if test or not held_out(pattern, 8)]
        allowed = {
            name: choices if test else [one for one in choices if not self._new.search(one)]
            for name, choices in self.sections.items()
        }
        made = tries = 0
        while made < count:
            tries += 1
            if tries > 100 * count + 1000:
                raise SystemExit(
                    f"the grammar has no {count} different sentences: add patterns, or ask for fewer"
                )
            pattern = deal("sentence", patterns)
            text = with_articles(Expansion(self, allowed, deal, rng).expand(pattern))
            new_terms = tuple(self._new.findall(text))
            if (
                text in used
                or (new_terms and not test)
                or not 3 <= len(text.split()) <= LONGEST
                or any(one.search(text) for one in self.impossible)
            ):
                continue
            used.add(text)
            made += 1
            yield Sentence(text, pattern, new_terms, held_out(pattern, 8))


@dataclass
class Expansion:
    """One sentence on its way: its choices for sections that must agree, and the drugs it has named."""

    grammar: Grammar
    allowed: dict[str, list[str]]
    deal: Callable[[str, list[str]], str]
    rng: random.Random

    def __post_init__(self) -> None:
        self.agreed: dict[str, int] = {}
        self.said: set[str] = set()

    def expand(self, text: str) -> str:
        """Replace {slots} and (alternatives) until none is left."""
        while match := re.search(r"\{([^{}]*)\}|\(([^(){}]*)\)", text):
            value = self.slot(match[1]) if match[1] is not None else self.rng.choice(match[2].split("|"))
            text = text[: match.start()] + value + text[match.end() :]
        return " ".join(text.split())

    def slot(self, name: str) -> str:
        if numbers := re.fullmatch(r"([\d.]+)\.\.([\d.]+)(?:/(\d+))?", name):
            low, high, step = numbers.groups()
            if "." in low:
                return number(f"{self.rng.randint(round(10 * float(low)), round(10 * float(high))) / 10}")
            return number(self.rng.randrange(int(low), int(high) + 1, int(step or 1)))
        if name in ("drug dose", "drug for", "drug to", "medication"):
            drug = self.grammar.drugs[self.fresh("drug")]
            amount = dose(self.rng.choice(drug.doses))
            return {
                "drug dose": f"{drug.name} {amount}",
                "drug for": f"{drug.name} for {drug.indication}",
                "drug to": f"{drug.name} to {amount}",
                "medication": f"{drug.name} {amount} {drug.route} {drug.frequency}",
            }[name]
        if name not in self.allowed:
            raise SystemExit(f"dictation.grammar: there is no section [{name}]")
        if key := self.grammar.keys.get(name):
            choices = self.allowed[name]
            return choices[self.agreed.setdefault(key, self.rng.randrange(len(choices))) % len(choices)]
        return self.fresh(name)

    def fresh(self, name: str) -> str:
        """The next choice of a section that this sentence has not said yet."""
        for _ in range(10):
            choice = self.deal(name, self.allowed[name])
            if choice not in self.said:
                break
        self.said.add(choice)
        return choice


def rows(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def read_drugs(path: Path) -> list[Drug]:
    return [
        Drug(name, doses.split("|"), route, frequency, use)
        for name, doses, route, frequency, use in rows(path)
    ]


def read_conditions(path: Path) -> dict[str, list[str]]:
    """Kind (chronic, acute, …) → spoken wordings, each once."""
    import simple_icd_10_cm

    kinds: dict[str, list[str]] = {}
    for code, kind in rows(path):
        text = spoken(simple_icd_10_cm.get_description(code))
        if text not in kinds.setdefault(kind, []):
            kinds[kind].append(text)
    return kinds
