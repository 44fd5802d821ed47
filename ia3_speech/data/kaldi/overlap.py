"""Overlap of data directories, of their normalised texts: a test set and the sets that training uses."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi.directory import DataDirectory
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """The speakers and sentences that a test set shares with training."""

    training: list[str]  # the data directories of training
    speakers: int  # of the test set
    common_speakers: int  # that also speak in training
    sentences: int  # different sentences of the test set; by speaker, of each speaker
    common_sentences: int  # that also occur in training
    utterances: int  # of the test set
    unseen: frozenset[str]  # ids of the utterances whose sentence does not occur in training
    # Whether each utterance is compared only with the training data of its speaker's adapter; a common
    # speaker then raises no warning
    by_speaker: bool = False

    @property
    def warnings(self) -> list[str]:
        """Sentences that a reader of the test set's scores must know; empty where nothing is common."""
        warnings, place, unseen = [], training_in_words(self.by_speaker), len(self.unseen)
        if self.common_sentences and not unseen:
            limit = "the scores hold for these sentences only"
            warnings.append(f"every sentence of the test set occurs in {place}: {limit}")
        elif self.common_sentences:
            shared = f"{self.common_sentences} of {plural(self.sentences, 'sentence')} of the test set"
            others = f"{plural(unseen, 'utterance')} with other sentences {'is' if unseen == 1 else 'are'}"
            warnings.append(f"{shared} occur in {place}: the {others} scored separately too")
        if self.common_speakers == self.speakers and not self.by_speaker:
            limit = "the scores hold for these speakers only"
            warnings.append(f"every speaker of the test set speaks in training: {limit}")
        elif self.common_speakers and not self.by_speaker:
            speakers = plural(self.speakers, "speaker")
            warnings.append(f"{self.common_speakers} of {speakers} of the test set speak in training")
        return warnings

    def record(self) -> dict[str, Any]:
        """The entry of score.json: a number of unseen utterances in place of their ids, and the warnings."""
        fields = {name: value for name, value in vars(self).items() if name != "unseen"}
        return fields | {"unseen_utterances": len(self.unseen), "warnings": self.warnings}


def training_in_words(by_speaker: bool) -> str:
    """The data that the sentences of a test set are compared with."""
    return "the same speaker's adaptation utterances" if by_speaker else "training"


def find_overlap(training: Sequence[DataDirectory], test: DataDirectory) -> Overlap:
    """The speakers and sentences that `test` shares with any of the sets of training."""
    trained = set().union(*map(sentences_of, training))
    speakers, sentences = set(test.speakers), sentences_of(test)
    return Overlap(
        training=[str(data.path) for data in training],
        speakers=len(speakers),
        common_speakers=len(speakers & set().union(*(data.speakers for data in training))),
        sentences=len(sentences),
        common_sentences=len(sentences & trained),
        utterances=len(test),
        unseen=frozenset(u.id for u in test if sentence_of(u) not in trained),
    )


def find_overlap_by_speaker(adapted_on: Mapping[str, Collection[str]], data: DataDirectory) -> Overlap:
    """The sentences that each utterance shares with the training data of its speaker's adapter. `adapted_on`:
    id of a tested utterance → ids of the utterances that train its adapter or are held out; `data` holds the
    utterances of both."""
    sentences = {u.id: (u.speaker, sentence_of(u)) for u in data}
    seen = {
        id
        for id, sentence in sentences.items()
        if sentence[1] and sentence in {sentences.get(other) for other in adapted_on.get(id, ())}
    }
    return Overlap(
        training=[str(data.path)],
        speakers=len(data.speakers),
        common_speakers=len(data.speakers),
        sentences=len({sentence for sentence in sentences.values() if sentence[1]}),
        common_sentences=len({sentences[id] for id in seen}),
        utterances=len(data),
        unseen=frozenset(sentences.keys() - seen),
        by_speaker=True,
    )


def overlap_of_train_and_dev(train: DataDirectory, dev: DataDirectory) -> list[str]:
    """Warnings before training about common utterances and sentences; empty where there are none."""
    if train.path.resolve() == dev.path.resolve():
        hint = "ia3-speech datadir split holds a part of train out for dev"
        return [f"{dev.path} is both train and dev: it cannot tell which epoch is the best ({hint})"]
    warnings = []
    if utterances := common_utterances(train, dev):
        counted = f"{len(utterances)} of {plural(len(dev), 'utterance')} of {dev.path}"
        warnings.append(f"{counted} are also in {train.path}, such as {utterances[0]}: remove them")
    sentences = sentences_of(dev)
    if common := sorted(sentences & sentences_of(train)):
        counted = f"{len(common)} of {plural(len(sentences), 'sentence')} of {dev.path}"
        warnings.append(f"{counted} occur in {train.path}, such as “{common[0]}”: dev says less about others")
    return warnings


def common_utterances(data: DataDirectory, other: DataDirectory) -> list[str]:
    """The ids of the utterances of `other` whose id or audio, the file and the times in it, is in `data`."""
    ids = {u.id for u in data}
    audio = {(u.source, u.start, u.end) for u in data if u.source}
    return [u.id for u in other if u.id in ids or (u.source, u.start, u.end) in audio]


def sentences_of(data: DataDirectory) -> set[str]:
    return set(map(sentence_of, data)) - {""}


def sentence_of(utterance: Utterance) -> str:
    return normalize(utterance.text or "")
