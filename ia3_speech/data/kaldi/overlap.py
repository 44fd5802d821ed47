"""What a test set has in common with the sets that training uses: speakers, sentences, utterances.

ia3-speech datadir overlap data/train data/dev data/test
"""

from ia3_speech.data.kaldi.directory import DataDirectory
from ia3_speech.data.kaldi.table_file import DataError
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance


def describe_overlap(data: DataDirectory, test: DataDirectory) -> str:
    """`test and train share 2 of 24 speakers and 0 of 240 sentences`. Texts are normalised first.

    Raises:
        DataError: an utterance, by its id or its audio, is in both.
    """
    refuse_common_utterances(data, test)
    speakers, sentences = set(test.speakers), sentences_of(test)
    common_speakers, common_sentences = speakers & set(data.speakers), sentences & sentences_of(data)
    return (
        f"{test.path.name} and {data.path.name} share {len(common_speakers)} of {len(speakers)} speakers "
        f"and {len(common_sentences)} of {len(sentences)} sentences"
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
    return {normalize(utterance.text or "") for utterance in data}


def audio_of(utterance: Utterance) -> tuple[str, float | None, float | None]:
    return utterance.source, utterance.start, utterance.end
