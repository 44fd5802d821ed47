"""What a test set has in common with the sets that training uses: speakers, sentences, utterances.

ia3-speech datadir overlap data/train data/dev data/test
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ia3_speech.data.kaldi.directory import DataDirectory
from ia3_speech.data.kaldi.table_file import DataError
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance
from ia3_speech.formatting import plural


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What a test set has in common with training. Texts are normalised first.

    Attributes:
        training: the data directories of training.
        speakers: of the test set.
        common_speakers: those of them that speak in training.
        sentences: different ones of the test set; by speaker those of each speaker count.
        common_sentences: those of them that occur in training.
        utterances: of the test set.
        unseen: the ids of those of them whose sentence does not occur in training.
        by_speaker: each utterance is compared with what its speaker's adapter was trained on alone; that the
            speaker is the same is no warning.
    """

    training: list[str]
    speakers: int
    common_speakers: int
    sentences: int
    common_sentences: int
    utterances: int
    unseen: frozenset[str]
    by_speaker: bool = False

    @property
    def warnings(self) -> list[str]:
        """What a reader of the test set's scores must know; empty where nothing is common."""
        found: list[str] = []
        place, unseen = training_in_words(self.by_speaker), len(self.unseen)
        if self.common_sentences and not unseen:
            found.append(
                f"every sentence of the test set occurs in {place}: the scores hold for these sentences only"
            )
        elif self.common_sentences:
            found.append(
                f"{self.common_sentences} of {plural(self.sentences, 'sentence')} of the test set occur in "
                f"{place}: the {plural(unseen, 'utterance')} with other sentences "
                f"{'is' if unseen == 1 else 'are'} scored separately too"
            )
        if self.by_speaker:
            return found
        if self.common_speakers == self.speakers:
            found.append(
                "every speaker of the test set speaks in training: the scores hold for these speakers only"
            )
        elif self.common_speakers:
            whole = plural(self.speakers, "speaker")
            found.append(f"{self.common_speakers} of {whole} of the test set speak in training")
        return found

    def record(self) -> dict[str, Any]:
        """As score.json holds it: a number of unseen utterances in place of their ids, and the warnings."""
        fields = {name: value for name, value in vars(self).items() if name != "unseen"}
        return fields | {"unseen_utterances": len(self.unseen), "warnings": self.warnings}


def training_in_words(by_speaker: bool) -> str:
    """What the sentences of a test set are compared with."""
    return "the same speaker's adaptation utterances" if by_speaker else "training"


def find_overlap(training: Sequence[DataDirectory], test: DataDirectory) -> Overlap:
    """What `test` has in common with any of the sets of training."""
    known = set().union(*map(sentences_of, training))
    speakers, sentences = set(test.speakers), sentences_of(test)
    return Overlap(
        training=[str(one.path) for one in training],
        speakers=len(speakers),
        common_speakers=len(speakers & set().union(*(one.speakers for one in training))),
        sentences=len(sentences),
        common_sentences=len(sentences & known),
        utterances=len(test),
        unseen=frozenset(one.id for one in test if sentence_of(one) not in known),
    )


def find_overlap_by_speaker(adapted_on: Mapping[str, Collection[str]], data: DataDirectory) -> Overlap:
    """What each utterance has in common with those that its speaker's adapter was trained on.

    Args:
        adapted_on: id of a tested utterance → ids of the utterances that train its adapter or are held out.
        data: both, the utterances that are tested and those.
    """
    sentences = {one.id: (one.speaker, sentence_of(one)) for one in data}
    seen = {
        id for id, own in sentences.items()
        if own[1] and own in {sentences.get(other) for other in adapted_on.get(id, ())}
    }  # fmt: skip
    return Overlap(
        training=[str(data.path)],
        speakers=len(data.speakers),
        common_speakers=len(data.speakers),
        sentences=len({own for own in sentences.values() if own[1]}),
        common_sentences=len({sentences[id] for id in seen}),
        utterances=len(data),
        unseen=frozenset(sentences.keys() - seen),
        by_speaker=True,
    )


def describe_overlap(data: DataDirectory, test: DataDirectory) -> str:
    """`test and train share 2 of 24 speakers and 0 of 240 sentences`. Texts are normalised first.

    Raises:
        DataError: an utterance, by its id or its audio, is in both.
    """
    refuse_common_utterances(data, test)
    found = find_overlap([data], test)
    return (
        f"{test.path.name} and {data.path.name} share {found.common_speakers} of {found.speakers} speakers "
        f"and {found.common_sentences} of {found.sentences} sentences"
    )


def refuse_common_utterances(data: DataDirectory, test: DataDirectory) -> None:
    ids = {utterance.id for utterance in data}
    audio = {audio_of(utterance) for utterance in data if utterance.source}
    for utterance in test:
        if utterance.id in ids or audio_of(utterance) in audio:
            raise DataError(
                f"{test.path}: utterance {utterance.id} is also in {data.path}: a test set must not hold "
                f"anything that training uses (remove it from one of them)"
            )


def sentences_of(data: DataDirectory) -> set[str]:
    return set(map(sentence_of, data)) - {""}


def sentence_of(utterance: Utterance) -> str:
    return normalize(utterance.text or "")


def audio_of(utterance: Utterance) -> tuple[str, float | None, float | None]:
    return utterance.source, utterance.start, utterance.end
