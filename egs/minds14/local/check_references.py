#!/usr/bin/env python3
"""Where a recogniser's texts and the references differ: do two other recognisers agree with one of them?

    local/check_references.py DATA/test exp/minds14/base/decode_greedy_test/text MINI/text SPHINX/text

In: texts of the recogniser, and of two others that have learnt from other data, lines `UTTERANCE words`. Out:
the places where both others write the same, and counts.
"""

import random
from collections import Counter
from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.error_rates import normalized_words


def read_texts(file: Path) -> dict[str, list[str]]:
    lines = [line.partition(" ") for line in file.read_text("utf-8").splitlines()]
    return {name: normalized_words(text, "english") for name, _, text in lines}


def written(reference: list[str], hypothesis: list[str]) -> list[str]:
    """What a hypothesis has in place of each reference word; words between two belong to the first."""
    places: list[list[str]] = [[]]
    for expected, found in align(reference, hypothesis):
        places += [[]] if expected else []
        places[-1] += [found] if found else []
    return [" ".join(place) or "(nothing)" for place in places[1:]]


def main(data: Path, recognizer: Path, second: Path, third: Path, *, utterances: int = 60) -> None:
    """Count the places. `utterances` with errors are drawn, with seed 1."""
    calls = {each.id: normalized_words(each.text or "", "english") for each in read_data_directory(data)}
    texts = [read_texts(file) for file in (recognizer, second, third)]
    wrong = [name for name in sorted(calls) if calls[name] != texts[0].get(name, [])]
    drawn, counts = random.Random(1).sample(wrong, min(utterances, len(wrong))), Counter()
    for name in drawn:
        reference = calls[name]
        for expected, found, *others in zip(
            reference, *(written(reference, each.get(name, [])) for each in texts), strict=True
        ):
            if found == expected:
                continue
            side = {expected: "the reference", found: "the recogniser"}.get(others[0], "neither")
            counts[side if others[0] == others[1] else "differ"] += 1
            if others[0] == others[1]:
                print(f"{name}: reference {expected}, recogniser {found}, both others {others[0]}")
    places = ", ".join(f"{side} {count}" for side, count in counts.most_common())
    print(f"{len(drawn)} of {len(wrong)} utterances with errors; both others agree with: {places}")


if __name__ == "__main__":
    command(main)
