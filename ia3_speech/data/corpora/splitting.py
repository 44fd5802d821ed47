"""Divide a corpus into train, dev and test, so that no speaker is in two of them.

Without a split of the corpus's own, a fifth of the speakers is test; of fewer than four speakers, or of
unknown ones, a fifth of the sentences. Without dev, 15 % of train's speakers (sentences) become dev. A hash
of the names decides which ones, so that the same data are always divided alike.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.selection import hash_order
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance

SETS = ("train", "dev", "test")
TEST_SHARE = 0.2
DEV_SHARE = 0.15
MIN_SPEAKERS = 4  # to divide by speaker


def hold_out(names: Iterable[str], share: float = DEV_SHARE) -> set[str]:
    """A share of the names, at least one of two or more; a hash of the names decides which."""
    ordered = sorted(set(names), key=hash_order)
    return set(ordered[: max(1, round(share * len(ordered)))]) if len(ordered) > 1 else set()


def divide(
    utterances: Sequence[Utterance],
    sets: dict[str, str] | None = None,
    *,
    speakers_known: bool = True,
) -> dict[str, list[Utterance]]:
    """The utterances of train, dev and test; prints what was held out.

    Args:
        utterances: in any order.
        sets: utterance id → train, dev or test; dev may be absent. None: divide by speaker or sentence.
        speakers_known: whether the speakers are named. If not, one person may be several of them, and the
            corpus is divided by sentence.

    Raises:
        UserError: some utterances have a set and others have none, or train or test is absent.
    """
    unit, units = unit_of_division(utterances, MIN_SPEAKERS if speakers_known else math.inf)
    if not sets:
        names = set(map(unit, utterances))
        test = hold_out(names, TEST_SHARE)
        sets = {one.id: "test" if unit(one) in test else "train" for one in utterances}
        print(f"test: {len(test)} of {len(names)} {units}, {share_of('test', sets)}")
    elif "" in (given := set(sets.values())) or not {"train", "test"} <= given:
        raise UserError(
            f"the column split says {', '.join(map(repr, sorted(given)))} (each row needs train, dev or "
            f"test, and train and test must occur; or leave the column out)"
        )
    if "dev" not in sets.values():
        train = [one for one in utterances if sets[one.id] == "train"]
        if units == "speakers":
            unit, units = unit_of_division(train, MIN_SPEAKERS - 1)  # one may have become test
        names = set(map(unit, train))
        dev = hold_out(names)
        sets = sets | {one.id: "dev" for one in train if unit(one) in dev}
        print(f"dev: {len(dev)} of the {len(names)} {units} left, {share_of('dev', sets)}")
    return {name: [one for one in utterances if sets[one.id] == name] for name in SETS}


def unit_of_division(
    utterances: Sequence[Utterance], min_speakers: float
) -> tuple[Callable[[Utterance], str], str]:
    """What must not be in two sets: a function of utterances (speaker or sentence), and its name."""
    if len({one.speaker for one in utterances}) >= min_speakers:
        return (lambda one: one.speaker), "speakers"
    return (lambda one: normalize(one.text or "")), "sentences"


def share_of(name: str, sets: dict[str, str]) -> str:
    return f"{list(sets.values()).count(name) / len(sets):.0%} of all recordings"
