"""The options of `transcribe`, `live` and `decode`, in the groups that `--help` shows; `search.py` has
those of the search. Their docstrings are the help.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ia3_speech.cli import UserError
from ia3_speech.data.recordings import STDIN
from ia3_speech.decoding.recognizer import BATCH_SECONDS
from ia3_speech.decoding.segments import PAUSE_SECONDS
from ia3_speech.decoding.vad import VadMethod
from ia3_speech.decoding.word_times import Scaling

PAUSE_LIMITS = (0.1, 10.0)  # seconds without speech that may end a line of live input


@dataclass(frozen=True)
class InputOptions:
    """Input

    Args:
        channels: mix averages the channels of a recording; split transcribes them one by one (left and right
            of a call) and merges them by time; then --adapter may name one for each, such as
            left=agent,right=caller
        max_seconds: longer recordings are cut at pauses, and the texts joined (default: the base's maximum
            input duration, 15.36 s for mini, else 60; inf: never)
        vad: how speech is found where longer recordings are cut; silence between is left out: silero by a
            neural network, energy by its level; off cuts at the quietest places and leaves nothing out
            (default: silero where the extra ia3-speech[vad] is installed, else energy)
    """

    channels: Literal["mix", "split"] = "mix"
    max_seconds: float | None = None
    vad: VadMethod | None = None


@dataclass(frozen=True)
class LiveOptions:
    """Live input

    Args:
        mic: transcribe the microphone, until Ctrl-C (extra ia3-speech[mic]); with --dictation, as it is
            written
        mic_device: number of the microphone, or a part of its name (default: the system's)
        live: transcribe stdin while it is being written: WAV, of known or unknown length
        raw: the same for 16-bit little-endian samples of one channel without a header; their rate in Hz, such
            as 16000
        partials: with --format json, objects of type partial too (a terminal always shows such text in place)
        pause: seconds without speech that end a line, whose text is then final
    """

    mic: bool = False
    mic_device: str | None = None
    live: bool = False
    raw: int | None = None
    partials: bool = False
    pause: float = PAUSE_SECONDS

    @property
    def active(self) -> bool:
        """Whether the input of `transcribe` is live."""
        return self.mic or self.live or self.raw is not None

    def check(self, files: Sequence[str] = (), *, live: bool = True) -> None:
        """Raises UserError for options that do not fit one another, the files, or other input."""
        if self.mic_device is not None and not self.mic:
            raise UserError("--mic-device is for --mic")
        if self.partials and not live:
            raise UserError("--partials is for live input (give --mic or --live)")
        if self.pause != PAUSE_SECONDS and not live:
            raise UserError("--pause is for live input (give --mic or --live)")
        if self.mic and (self.live or self.raw is not None):
            raise UserError("--mic and stdin (--live, --raw) are two inputs (choose one)")
        if live and (files not in ((), (STDIN,)) or (self.mic and files)):
            flag = "--mic" if self.mic else "--live" if self.raw is None else "--raw"
            raise UserError(f"{files[0]}: {flag} takes no files (without {flag} they are transcribed)")
        least, most = PAUSE_LIMITS
        if not least <= self.pause <= most:
            raise UserError(f"--pause is {self.pause:g}, and has to be from {least:g} to {most:g} seconds")


@dataclass(frozen=True)
class ModelOptions:
    """Model

    Args:
        adapter: what adapts the base to a speaker or domain: a registered name, an adapter's folder, or a sum
            such as accent:0.7+medical:0.5; auto: for each recording the registered adapter that its audio
            calls for, or none; auto:accent,medical: of these; auto-sum: their sum, weighted by that (default:
            the base alone)
        base: the pretrained recogniser (Whisper's --model): mini, a folder or a hub id such as
            facebook/wav2vec2-base-960h (default: the adapter's recorded base, else mini)
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: number format of the base's weights: 16 bits need half the memory; int8 a quarter, on a CPU
        precision: bf16: the encoder's layers compute in bfloat16, and about one text in sixteen is another
            than that of the recording alone, since it depends on the batch (batches are the same in each
            run); auto: where the processor or GPU has instructions for it, which make it faster; no: all in
            --dtype
        batch_seconds: seconds of padded audio that go through the model at once; fewer need less memory
    """

    adapter: str | None = None
    base: str | None = None
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    precision: Literal["no", "bf16", "auto"] = "no"
    batch_seconds: float = BATCH_SECONDS


@dataclass(frozen=True)
class TestTimeOptions:
    """Adaptation without transcripts

    Args:
        test_time: let the vectors adapt to the audio before it is transcribed: suta to each piece of at most
            15 s alone; dsuta beside that slowly along all recordings (decode: of a speaker), which are one
            person's; some eight times as slow: docs/adaptation.md (default: no adaptation)
    """

    test_time: Literal["suta", "dsuta"] | None = None


@dataclass(frozen=True)
class OutputOptions:
    """Output

    Args:
        format: text: of one recording its text, of several PATH<TAB>text, of one of more than a minute a line
            a segment, as soon as it is done; dictation: text with --dictation; Whisper's txt (a line a
            segment), json (an object a recording), srt, vtt and tsv; jsonl: an object a segment; csv: a row a
            word; ctm, stm: Kaldi's and NIST's words and segments with times; textgrid: Praat's; all. Several,
            with commas between, need --output-dir
        output_dir: write a file for each recording and format there (a.wav → a.srt), nothing to stdout, and
            what failed to failed.txt there
        skip_existing: leave out recordings whose files are in --output-dir, to go on with a run
        part: 3/8: the third of eight parts of the recordings, each for a job of a cluster
        review_below: mark words of less confidence, for who reads them again: [word?] in text and txt, yes in
            csv's column review
        word_timestamps: list the words, with times and confidences, in json and jsonl; ctm and textgrid
            always have them
        max_line_width: characters of a subtitle's line (default: a segment is one line)
        max_line_count: lines of a subtitle; with --max-line-width, subtitles are filled across segments
            (default: as many as a segment needs)
        highlight_words: underline each word of a subtitle while it is spoken
    """

    format: str = "text"
    output_dir: Path | None = None
    skip_existing: bool = False
    part: str | None = None
    review_below: float | None = None
    word_timestamps: bool = False
    max_line_width: int | None = None
    max_line_count: int | None = None
    highlight_words: bool = False

    @property
    def full_json(self) -> bool:
        """Whether an object has segments: in a .json file always, on stdout where words are asked for."""
        return self.output_dir is not None or self.word_timestamps


@dataclass(frozen=True)
class ConfidenceOptions:
    """Confidences

    Args:
        confidence_slope: multiplies the log-odds of the words' confidences (default: what ia3-speech
            calibrate has stored with the adapter or the base; 1 beside a bias that is given)
        confidence_bias: is added to these log-odds (default: what calibrate has stored; 0
            beside a slope that is given)
    """

    confidence_slope: float | None = None
    confidence_bias: float | None = None

    @property
    def scaling(self) -> Scaling | None:
        """None where none is given. Raises UserError for what is none."""
        given = {"slope": self.confidence_slope, "bias": self.confidence_bias}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return Scaling(**given) if given else None
        except ValueError as error:
            raise UserError(f"--confidence-{error}") from None


@dataclass(frozen=True)
class DictationOptions:
    """Dictation

    Args:
        dictation: write spoken punctuation, doses, blood pressures and capitals, in any format: "five hundred
            milligrams full stop" → "500 mg."; what can be read in two ways stays in words
        dictation_rules: rules, names, units and commands of your own, a YAML file (docs/transcribe.md)
        dictation_off: parts (commands, numbers, names) and commands to leave out, such as "numbers,full
            stop"
    """

    dictation: bool = False
    dictation_rules: Path | None = None
    dictation_off: str = ""  # no list: a list would take the files behind it
