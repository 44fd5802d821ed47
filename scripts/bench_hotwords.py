"""What hot words are worth: term recall, false insertions, WER and time, greedy and with a language model.

    python scripts/bench_hotwords.py --out scripts/bench_hotwords.md
    python scripts/bench_hotwords.py --base exp/new_base --work exp/bench_hotwords

In: the corpora whose recipes list terms (medical_notes, barista_orders, minds14), read_english/dev as
out-of-domain speech, a base, ICD-10-CM's wording. Out: Markdown tables. The hot words of a corpus are the
terms of its test set; `with others` adds as many of ICD-10-CM as make 1,000. Heard-as forms are learned on
the corpus's train and dev from greedy search, with read_english/train's texts as ordinary text; test is only
searched. The logits of each set are computed once.
"""

import copy
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from statistics import mean, median
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from bench_page import ROOT, made_by

from ia3_speech.adapters.record import STORED_LM
from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance
from ia3_speech.decoding.decode_directory import decode_utterances, dev_logits
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.lm.hotword_learning import learn_forms
from ia3_speech.lm.hotword_search import HOTWORD_WEIGHT, Hotword, HotwordSearch
from ia3_speech.loading import load
from ia3_speech.model.hypotheses import Search
from ia3_speech.scoring.alignment import align, count_errors
from ia3_speech.scoring.term_errors import FALSE, MISSED, REFERENCE, count_terms, make_term_list
from ia3_speech.search import SearchOptions, make_search

if TYPE_CHECKING:
    from torch import Tensor

JOINTS = re.compile(r"[,;:()\[\]]| (?:with|without|due to|in|and|or|of) ")
OTHERS = 1000  # terms of a list with others, and of the list that is timed
LISTS = 3  # of each length, on out-of-domain speech
TIMED_EVERY = 5  # utterances of out-of-domain speech
# Recipe → corpus in ../shared/data.
CORPORA = {"medical_dictation": "medical_notes", "barista_orders": "barista_orders", "minds14": "minds14"}


@dataclass
class Options:
    """Options of one run.

    Args:
        base: a base with a vocabulary of English letters
        data: where the corpora lie
        work: prepared corpora are kept there
        minutes: of each test set at most; of a longer one every second, third … utterance is taken
        train_minutes: the same of what heard-as forms are learned on
        weights: of --hotword-weight
        decoder_weights: of the hot words of ctc-beam-decoder, which are compared
        out: where the Markdown goes; it is printed in any case
    """

    base: str = "mini"
    data: Path = ROOT.parent / "shared/data"
    work: Path = ROOT / "exp/bench_hotwords"
    minutes: float = 13.0
    train_minutes: float = 25.0
    weights: list[float] = field(default_factory=lambda: [0.5, 1.0, 1.5, 2.0])
    decoder_weights: list[float] = field(default_factory=lambda: [2.0, 5.0, 10.0])
    out: Path | None = None


@dataclass
class Set:
    """A set's references and logits.

    Attributes:
        references: normalised words of each utterance.
        logits: of each utterance its pieces, (frames, vocabulary).
        seconds: of audio.
    """

    references: list[list[str]]
    logits: "list[list[Tensor]]"
    seconds: float

    def texts(self, search: Search) -> list[list[str]]:
        """The normalised words of each utterance."""
        rows = ([search(piece.float()) for piece in pieces] for pieces in self.logits)
        return [normalize(" ".join(one.text for one in hypotheses)).split() for hypotheses in rows]


@dataclass
class Rates:
    """Word errors, and those of the terms: REFERENCE, MISSED, FALSE."""

    errors: int
    words: int
    terms: np.ndarray
    hours: float

    def cells(self) -> str:
        recall = 100 * (1 - self.terms[MISSED] / self.terms[REFERENCE]) if self.terms[REFERENCE] else np.nan
        return f"{recall:.1f} | {self.terms[FALSE] / self.hours:.1f} | {100 * self.errors / self.words:.1f}"


def main(options: Options) -> None:
    """Measure and write the tables."""
    recognizer = load(options.base, precision="auto", search=SearchOptions("greedy"), vad="off").recognizer
    bench = Bench(options, recognizer)
    tables = [bench.heading, bench.out_of_domain]
    tables += [partial(bench.corpus, recipe, name) for recipe, name in CORPORA.items()]
    parts: list[str] = []
    for table in [*tables, bench.time]:
        if part := table():
            parts.append(part)
            print(part, end="\n\n", flush=True)
            if options.out:  # so far
                write_text(options.out, "\n\n".join(parts) + "\n")


class Bench:
    """What all tables share: the base, its searches, the sets."""

    def __init__(self, options: Options, recognizer: Recognizer):
        self.options, self.recognizer = options, recognizer
        self.vocabulary = recognizer.base.vocabulary
        folder = Path(recognizer.base.model.config.name_or_path)
        kinds = ["greedy"] + ["beam"] * (folder / STORED_LM).is_file()
        self.searches = {kind: make_search(SearchOptions(kind), recognizer.base)[0] for kind in kinds}
        self.others = icd_terms()
        self.mix_in = random.Random(0).sample(self.others, OTHERS)

    def heading(self) -> str:
        base = self.recognizer.base
        return (
            f"# Hot words\n\n{made_by()}: base {base.name} ({base.fingerprint['sha256'][:12]}). "
            f"The default weight is {HOTWORD_WEIGHT:g}. Recall: terms of the references that are recognised "
            f"in full; false: terms that are written and were not said, per hour. The terms are those of the "
            f"recipe's list, which test's references hold; a list that is written without test has more "
            f"terms that are never said (`with others`)."
        )

    def search(self, kind: str, terms: Sequence[Hotword] = (), weight: float = HOTWORD_WEIGHT) -> Search:
        """greedy or beam, with terms if there are any; as `make_search` does, but with one language model."""
        search = self.searches[kind]
        if not terms:
            return search
        return HotwordSearch(terms, weight, self.vocabulary, search)

    def read(self, name: str, data: Path, minutes: float) -> Set:
        """A set, of at most so many minutes, with its logits."""
        part = self.options.work / f"{name}-{minutes:g}-minutes"
        write_data_directory(part, part_of(data, minutes))
        references, logits = dev_logits(self.recognizer, part)
        base, frames = self.recognizer.base, sum(len(piece) for pieces in logits.values() for piece in pieces)
        return Set([*references.values()], [*logits.values()], frames * base.stride / SAMPLE_RATE)

    def rates(self, part: Set, search: Search, terms: Sequence[str]) -> Rates:
        """Word errors and term errors of a search."""
        listed = make_term_list({normalize(term): () for term in terms})  # without terms: word errors alone
        errors, counts = 0, np.zeros(3, np.int64)
        for reference, heard in zip(part.references, part.texts(search), strict=True):
            errors += count_errors(reference, heard).total
            counts += count_terms(align(reference, heard), listed)[0]
        return Rates(errors, sum(map(len, part.references)), counts, part.seconds / 3600)

    def corpus(self, recipe: str, name: str) -> str:
        """The table of a corpus; "" where its recipe or the corpus is not there."""
        local, source = ROOT / "egs" / recipe / "local", self.options.data / name
        if not (local / "terms.py").is_file() or not source.is_dir():
            print(f"left out: {name} (no {local / 'terms.py'}, or no {source})", file=sys.stderr)
            return ""
        if not (source / "test").is_dir():
            prepared = self.options.work / name
            if not (prepared / "test").is_dir():
                run_script(local / "prepare.py", source, prepared)
            source = prepared
        file = self.options.work / f"{name}.terms"
        run_script(local / "terms.py", source / "test", file, "--train", source / "train")
        terms = [line.split("\t")[0] for line in file.read_text("utf-8").splitlines()]
        plain = [Hotword(term) for term in terms]
        learned = self.learn(name, source, plain)
        mixed = plain + [Hotword(t) for t in self.mix_in[: OTHERS - len(plain)] if t not in terms]
        test = self.read(f"{name}-test", source / "test", self.options.minutes)
        forms = sum(len(term.heard_as) for term in learned)
        rows = [
            f"## {name}\n\n{len(test.references)} utterances of test, {test.seconds / 60:.0f} minutes; "
            f"{len(terms)} terms; {forms} heard-as forms, learned on train and dev.\n",
            "| search | hot words | weight | recall % | false / h | WER % |",
            "|---|---|---:|---:|---:|---:|",
        ]
        runs = [("terms", plain, weight) for weight in self.options.weights]
        runs += [("terms, heard-as", learned, HOTWORD_WEIGHT), ("with others", mixed, HOTWORD_WEIGHT)]
        searches = []  # with the first cells of their rows
        for kind in self.searches:
            searches.append((f"{kind} | none | –", self.search(kind)))
            for label, hotwords, weight in runs:
                searches.append((f"{kind} | {label} | {weight:g}", self.search(kind, hotwords, weight)))
        for weight in self.options.decoder_weights if "beam" in self.searches else ():
            cells = f"beam | terms, by ctc-beam-decoder | {weight:g}"
            searches.append((cells, self.decoder_search(terms, weight)))
        for cells, search in searches:
            rows.append(f"| {cells} | {self.rates(test, search, terms).cells()} |")
            print(rows[-1], file=sys.stderr, flush=True)
        return "\n".join(rows)

    def decoder_search(self, terms: Sequence[str], weight: float) -> Search:
        """Beam search with the hot words of ctc-beam-decoder, in place of ours."""
        beam = self.search("beam")
        words = [normalize(term) for term in terms]
        decode = partial(beam.decoder.decode_beams, hotwords=words, hotword_weight=weight)
        searched = copy.copy(beam)
        searched.decoder = SimpleNamespace(decode_beams=decode)
        return searched

    def learn(self, name: str, source: Path, terms: list[Hotword]) -> list[Hotword]:
        """The terms with heard-as forms of train and dev."""
        pairs = []
        for side in ("train", "dev"):
            if (source / side).is_dir():
                part = self.read(f"{name}-{side}", source / side, self.options.train_minutes)
                pairs += zip(part.references, part.texts(self.search("greedy")), strict=True)
        text = read_data_directory(self.options.data / "read_english/train", wav=False, spk_sort=False)
        return learn_forms(terms, pairs, text=(normalize(one.text or "").split() for one in text)).terms

    def out_of_domain(self) -> str:
        """A table of lists without any term that is said: what they add to the word errors."""
        self.general = self.read("general", self.options.data / "read_english/dev", self.options.minutes)
        spoken = f" {' | '.join(' '.join(words) for words in self.general.references)} "
        never = [term for term in self.others if f" {term} " not in spoken]
        rows = [
            f"## Out-of-domain speech\n\nread_english/dev, {len(self.general.references)} utterances; "
            f"{LISTS} lists of ICD-10-CM's terms of which none is said, drawn at random, and their mean.\n",
            "| search | terms | weight | false / h | word errors | of each list | WER % |",
            "|---|---:|---:|---:|---:|---|---:|",
        ]
        for kind in self.searches:
            for count in (0, 100, OTHERS):
                lists = [random.Random(count + n).sample(never, count) for n in range(LISTS if count else 1)]
                for weight in self.options.weights if count else (0.0,):
                    each = [
                        self.rates(self.general, self.search(kind, [*map(Hotword, terms)], weight), terms)
                        for terms in lists
                    ]
                    false = f"{mean(one.terms[FALSE] / one.hours for one in each):.1f}"
                    errors = mean(one.errors for one in each)
                    own = ", ".join(str(one.errors) for one in each)
                    share = f"{100 * errors / each[0].words:.2f}"
                    cells = (kind, str(count), f"{weight:g}", false, f"{errors:.1f}", own, share)
                    rows.append(f"| {' | '.join(cells)} |")
                    print(rows[-1], file=sys.stderr, flush=True)
        return "\n".join(rows)

    def time(self) -> str:
        """What 1,000 terms and the beam cost, in processor time, of the transcription of some utterances."""
        data = self.options.data / "read_english/dev"
        utterances = read_data_directory(data, spk_sort=False).utterances[::TIMED_EVERY]
        terms = [Hotword(term) for term in self.mix_in]
        searches = {"greedy search": self.search("greedy")}
        searches[f"with {OTHERS:,} terms"] = self.search("greedy", terms)
        if "beam" in self.searches:
            searches["beam search with the language model"] = self.search("beam")
            searches[f"beam search with {OTHERS:,} terms"] = self.search("beam", terms)
        spent: dict[str, list[float]] = {name: [] for name in searches}
        for _ in range(3):
            for name, search in searches.items():
                self.recognizer.search = search
                start = time.process_time()
                found = decode_utterances(self.recognizer, utterances)
                spent[name].append(time.process_time() - start)
        plain, *others = ((name, median(own)) for name, own in spent.items())
        told = [f"{name} {own:.2f} s ({100 * (own / plain[1] - 1):+.1f} %)" for name, own in others]
        return (
            f"## Time\n\n{found.audio_seconds:.0f} seconds of read_english/dev, --precision auto, processor "
            f"time, median of three: greedy search {plain[1]:.2f} s, {', '.join(told)}."
        )


def part_of(data: Path, minutes: float) -> list[Utterance]:
    """Every k-th utterance, so that they are at most so many minutes."""
    utterances = read_data_directory(data, spk_sort=False).utterances
    seconds = sum(one.duration for one in utterances)
    return utterances[:: ceil(seconds / 60 / minutes)]


def run_script(script: Path, *words: object) -> None:
    """Run a recipe's script, which imports from its own folder and the repository."""
    line = [sys.executable, str(script), *map(str, words)]
    subprocess.run(line, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=sys.stderr)


def icd_terms() -> list[str]:
    """Words and phrases of ICD-10-CM's descriptions (public domain), of letters alone, sorted."""
    import simple_icd_10_cm as icd

    parts: set[str] = set()
    for code in icd.get_all_codes():
        for part in JOINTS.split(icd.get_description(code)):
            words = normalize(part).split()
            if 1 <= len(words) <= 3 and re.fullmatch("[a-z ]{5,}", " ".join(words)):
                parts.add(" ".join(words))
    return sorted(parts)


if __name__ == "__main__":
    command(main)
