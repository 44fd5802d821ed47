"""Corrections without recordings: hot words from the texts that a person edited.

    ia3-speech corrections add anna --heard "drugalogies" --meant "drug allergies"

In: recognised texts, and what was meant. Out: where they differ, hot words with heard-as forms for the
adapter's hot words, and the meant texts, beside the recordings, for a language model. No adapter is trained.
A hot word that makes more errors in the person's stored recordings is left out.
"""

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np

from ia3_speech import atomic
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import STORED_HOTWORDS, STORED_LM_WEIGHTS, recorded_base
from ia3_speech.adapters.spec import AdapterSpec, term_at
from ia3_speech.corrections.store import only_writer, store_of
from ia3_speech.corrections.voice import read_store, registered
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import load_utterances
from ia3_speech.errors import UserError
from ia3_speech.lm.hotword_search import Hotword, read_hotwords, spellings
from ia3_speech.scoring.error_rates import text_errors

TEXTS = "meant.txt"  # in the store: the meant texts, a line each
MAX_WORDS = 4  # of a difference: a longer one is another sentence, and no term


def differences(heard: Sequence[str], meant: Sequence[str]) -> dict[str, list[str]]:
    """What was meant → what was recognised in its place, where lines differ. Raises UserError if nothing
    differs, or the numbers of lines do."""
    if len(heard) != len(meant):
        raise UserError(f"`heard` has {len(heard)} lines, and `meant` {len(meant)} (keep the lines)")
    terms: dict[str, list[str]] = {}
    for before, after in zip(heard, meant, strict=True):
        old, new = before.split(), after.split()
        plain = [[normalize(word) for word in words] for words in (old, new)]
        for _, a, b, c, d in SequenceMatcher(None, *plain, False).get_opcodes():
            if a < b <= a + MAX_WORDS and c < d <= c + MAX_WORDS and plain[0][a:b] != plain[1][c:d]:
                terms.setdefault(" ".join(new[c:d]).strip(".,;:!?"), []).append(" ".join(plain[0][a:b]))
    if not terms:
        raise UserError("`heard` and `meant` differ in no word that could be a hot word")
    return terms


def add_terms(name: str, heard: Sequence[str], meant: Sequence[str]) -> tuple[list[Hotword], dict[str, str]]:
    """Add hot words to a registered adapter, and store the meant texts; returns the new hot words, and the
    terms that were left out, each with the reason. Raises UserError as `differences`."""
    from ia3_speech.model.base import load_base
    from ia3_speech.session import Session

    adapter, terms = registered(name), differences(heard, meant)
    with only_writer(name):
        session = Session(load_base(recorded_base(adapter) or "mini", device="cpu"))
        session.base.require("hot words")
        file = adapter / STORED_HOTWORDS
        known = {term.text: term for term in (read_hotwords(file) if file.is_file() else [])}
        spec = AdapterSpec((term_at(name, adapter),))
        plain, texts = session.recognizer(spec), [utterance.text for utterance in read_store(name)]
        rows = [np.asarray(plain.logits([wave])[0]) for _, wave in load_utterances(read_store(name))]

        def errors(*hotwords: Hotword) -> int:
            search = session.recognizer(spec, hotwords=hotwords).search
            return sum(text_errors(t, search(row).text).total for t, row in zip(texts, rows, strict=True))

        before, added, refused = errors(), [], {}
        for text, forms in terms.items():
            earlier = known.get(text, Hotword(text))
            term = replace(earlier, heard_as=tuple(dict.fromkeys((*earlier.heard_as, *forms))))
            try:
                spellings([*(known | {text: term}).values()], session.base.vocabulary, 1.0)
                if (after := errors(term)) > before:
                    raise UserError(f"{name}: {before} → {after} errors in its recordings")
                known[text] = term
                added.append(term)
            except UserError as error:
                refused[text] = str(error).partition(": ")[2]  # without its file and line
        if added:
            with registry.without_writers():
                atomic.write_text(file, "".join(f"{term.row()}\n" for term in known.values()))
                if not (adapter / STORED_LM_WEIGHTS).is_file():
                    atomic.write_text(adapter / STORED_LM_WEIGHTS, "{}\n")
        stored = store_of(name) / TEXTS
        lines = stored.read_text("utf-8").splitlines() if stored.is_file() else []
        new = (normalize(line) for line in meant)
        atomic.write_text(stored, "".join(f"{line}\n" for line in dict.fromkeys([*lines, *new]) if line))
    return added, refused
