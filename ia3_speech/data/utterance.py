"""One utterance of a corpus: who speaks, where its audio is, what is said."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance, with all that the tables of a Kaldi data directory say about it.

    Attributes:
        id: unique in its data directory.
        speaker: the speaker's id, in Kaldi a prefix of the utterance's.
        recording: the key of wav.scp; the utterance's own id where there are no segments.
        source: an absolute path, or a shell command that ends in `|`; empty where there is no wav.scp.
        start, end: seconds in the recording, from segments; None for the whole recording.
        text: the transcript, None where there is no `text`.
        duration: seconds, from utt2dur, segments or reco2dur; None where none of them states it.
        labels: `{"accent": "scottish", "gender": "f"}`, from utt2LABEL and spk2LABEL. Where both name a
            label, utt2LABEL takes precedence.
    """

    id: str
    speaker: str
    recording: str
    source: str
    start: float | None = None
    end: float | None = None
    text: str | None = None
    duration: float | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def is_piped(self) -> bool:
        """Whether the audio is the output of a shell command (Kaldi's `sox … |`)."""
        return self.source.endswith("|")
