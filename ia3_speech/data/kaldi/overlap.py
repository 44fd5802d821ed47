"""What a test set has in common with the sets that training uses: speakers, sentences, utterances.

ia3-speech datadir overlap data/train data/dev data/test
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
        sentences: different ones of the test set.
        common_sentences: those of them that occur in training.
        utterances: of the test set.
        unseen_utterances: those of them whose sentence does not occur in training.
    """

    training: list[str]
    speakers: int
    common_speakers: int
    sentences: int
    common_sentences: int
    utterances: int
    unseen_utterances: int

    @property
    def warnings(self) -> list[str]:
        """What a reader of the test set's scores must know; empty where nothing is common."""
        found = []
        if 0 < self.common_sentences == self.sentences:
            found.append(
                "every sentence of the test set occurs in training: the scores hold for these sentences only"
            )
        elif self.common_sentences:
            found.append(
                f"{self.common_sentences} of {plural(self.sentences, 'sentence')} of the test set occur in "
                f"training: the {plural(self.unseen_utterances, 'utterance')} with other sentences "
                f"{'is' if self.unseen_utterances == 1 else 'are'} scored separately too"
            )
        if self.common_speakers == self.speakers:
            found.append(
                "every speaker of the test set speaks in training: the scores hold for these speakers only"
            )
        elif self.common_speakers:
            whole = plural(self.speakers, "speaker")
            found.append(f"{self.common_speakers} of {whole} of the test set speak in training")
        return found


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
        unseen_utterances=len(unseen_utterances(training, test)),
    )


def unseen_utterances(training: Sequence[DataDirectory], test: DataDirectory) -> set[str]:
    """The ids of the test set's utterances whose sentence does not occur in training."""
    known = set().union(*map(sentences_of, training))
    return {utterance.id for utterance in test if normalize(utterance.text or "") not in known}


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
    return {normalize(utterance.text or "") for utterance in data} - {""}


def audio_of(utterance: Utterance) -> tuple[str, float | None, float | None]:
    return utterance.source, utterance.start, utterance.end
