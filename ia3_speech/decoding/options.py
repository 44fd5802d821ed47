"""The options of `transcribe`, `live` and `decode`, in the groups that `--help` shows; `search.py` has
those of the search. Their docstrings are the help.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ia3_speech.common.errors import UserError
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
        channels: mix averages the channels of a recording; split transcribes each channel by itself (left and
            right of a call) and merges the texts by time, and --adapter may then name one adapter per
            channel, such as left=agent,right=caller
        max_seconds: cut longer recordings at pauses, and join their texts (default: the base's maximum input
            duration, 15.36 s for mini, else 60; inf: never cut)
        vad: how to find the speech where longer recordings are cut: silero by a neural network, energy by its
            level, both leaving out the silence between; off cuts at the quietest places and leaves nothing
            out (default: silero if the extra ia3-speech[vad] is installed, else energy)
    """

    channels: Literal["mix", "split"] = "mix"
    max_seconds: float | None = None
    vad: VadMethod | None = None


@dataclass(frozen=True)
class LiveOptions:
    """Live input

    Args:
        mic: transcribe the microphone until Ctrl-C (extra ia3-speech[mic]); --dictation writes punctuation
            and doses here too
        mic_device: number of the microphone, or a part of its name (default: the system's)
        live: transcribe WAV audio from stdin while it is being written, of known or unknown length
        raw: like --live, for raw 16-bit little-endian samples of one channel without a header; RAW is their
            rate in Hz, such as 16000
        partials: with --format json, also print unfinished text, as objects of type partial (a terminal
            always shows such text in place)
        pause: seconds without speech after which a line ends and its text is final
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
        """Raises UserError for options that contradict each other, the files, or other input."""
        if self.mic_device is not None and not self.mic:
            raise UserError("`mic_device` is for `mic`")
        if self.partials and not live:
            raise UserError("`partials` is for live input (give `mic` or `live`)")
        if self.pause != PAUSE_SECONDS and not live:
            raise UserError("`pause` is for live input (give `mic` or `live`)")
        if self.mic and (self.live or self.raw is not None):
            raise UserError("`mic` and stdin (`live`, `raw`) are two inputs (choose one)")
        if live and (files not in ((), (STDIN,)) or (self.mic and files)):
            name = "`mic`" if self.mic else "`live`" if self.raw is None else "`raw`"
            raise UserError(f"{files[0]}: {name} takes no files (leave out {name} to transcribe them)")
        lowest, highest = PAUSE_LIMITS
        if not lowest <= self.pause <= highest:
            raise UserError(f"`pause` is {self.pause:g}, and must be from {lowest:g} to {highest:g} seconds")


@dataclass(frozen=True)
class ModelOptions:
    """Model

    Args:
        adapter: adapts the base to a speaker or domain: a registered name, an adapter's folder, or a sum such
            as accent:0.7+medical:0.5. auto chooses by the audio, for each recording, one of the registered
            adapters or none; auto:accent,medical chooses among these only (default: the base
            alone)
        base: the pretrained recogniser (Whisper's --model): mini, a folder or a hub id such as
            facebook/wav2vec2-base-960h (default: the adapter's recorded base, else mini)
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: number format of the base's weights: 16 bits need half the memory, int8 (on a CPU) a quarter
        precision: no: compute everything in --dtype; bf16: compute the encoder's layers in bfloat16; some
            texts then differ from those that the same recordings give alone, because they depend on the
            batch (batches are the same in each run); auto: bf16 if it is faster on this
            processor or GPU, which is measured once
        batch_seconds: seconds of padded audio that go through the model at once; fewer need less memory
        method: FILE.py:NAME, if the adapter was trained with this method of your own
        window: input of a Whisper base: 30s, as Whisper was trained, or short, the utterance and a second of
            silence, for which an adapter must be trained (default: the adapter's, else 30s)
        language: language of a multilingual Whisper base: a code such as de; auto detects it for each
            recording, or piece of it (default: the adapter's, else en)
        task: task of a multilingual Whisper base: transcribe, or translate into English (default: transcribe)
        engine: onnx: ONNX Runtime, which starts in a second; --base is then the folder of a graph
            (ia3-speech export --format onnx), and the search is greedy
    """

    adapter: str | None = None  # or an `AdapterSpec`, once it is parsed
    base: str | None = None
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    precision: Literal["no", "bf16", "auto"] = "no"
    batch_seconds: float = BATCH_SECONDS
    method: str | None = None
    window: Literal["30s", "short"] | None = None
    language: str | None = None
    task: Literal["transcribe", "translate"] | None = None
    engine: Literal["torch", "onnx"] = "torch"


@dataclass(frozen=True)
class GuardOptions:
    """Guard

    Args:
        guard: on: use the base's text where it is likelier to be right than the adapter's, so that an adapter
            costs little on other speech: docs/adaptation.md (default: on for a registered adapter for which
            train has fitted a rule, guard.json, also if auto chose it; off in decode)
    """

    guard: Literal["on", "off"] | None = None

    @property
    def wish(self) -> bool | None:
        """As `AdapterSpec.guard`."""
        return self.guard and self.guard == "on"

    def check(self, adapter: object) -> None:
        """Raises UserError if a guard is asked for without an `adapter`."""
        if self.wish and not adapter:
            raise UserError("`guard=on` needs an adapter to guard (give `adapter`)")


@dataclass(frozen=True)
class TestTimeOptions:
    """Adaptation without transcripts

    Args:
        test_time: adapt the vectors to the audio before it is transcribed: suta, to each piece of at most
            15 s separately, which takes some eight times as long: docs/adaptation.md (default: no adaptation)
    """

    test_time: Literal["suta"] | None = None


@dataclass(frozen=True)
class OutputOptions:
    """Output

    Args:
        format: text: the text of a single recording (if longer than a minute, one line per segment, as soon
            as it is done), or PATH<TAB>text for each of several; dictation: text with --dictation; as in
            Whisper, txt (one line per segment), json (one object per recording), srt, vtt and tsv; jsonl: one
            object per segment; csv: one row per word; ctm, stm: Kaldi's words and NIST's segments, with
            times; textgrid: Praat's format; all. Several formats, separated by commas, need --output-dir
        output_dir: write one file per recording and format into this folder (a.wav → a.srt) and nothing to
            stdout; its failed.txt lists the recordings that failed
        skip_existing: skip recordings whose files are already in --output-dir, to continue an interrupted run
        part: such as 3/8: transcribe only the third of eight parts of the recordings (one part for each job
            of a cluster)
        review_below: mark words with a lower confidence than this for review: [word?] in text and txt, yes in
            csv's column review
        word_timestamps: list the words, with times and confidences, in json and jsonl; ctm and textgrid
            always have them
        alternatives: also list this many alternatives, the likeliest first, of each word of which the
            recogniser is unsure, in json and jsonl; of beam search alone
        max_line_width: largest number of characters in a subtitle's line (default: each segment is one line)
        max_line_count: largest number of lines in a subtitle; with --max-line-width, subtitles are filled
            across segments (default: as many as a segment needs)
        highlight_words: underline each word of a subtitle while it is spoken
        plot: also draw a single recording into this file (.svg; .pdf and .png need CairoSVG): its
            spectrogram, and the words where they were recognised, the paler the less certain
    """

    format: str = "text"
    output_dir: Path | None = None
    skip_existing: bool = False
    part: str | None = None
    review_below: float | None = None
    word_timestamps: bool = False
    alternatives: int = 0
    max_line_width: int | None = None
    max_line_count: int | None = None
    highlight_words: bool = False
    plot: Path | None = None

    def __post_init__(self) -> None:
        if self.alternatives:
            object.__setattr__(self, "word_timestamps", True)

    @property
    def full_json(self) -> bool:
        """Whether an object has segments: in a .json file always, on stdout if words are asked for."""
        return self.output_dir is not None or self.word_timestamps


@dataclass(frozen=True)
class ConfidenceOptions:
    """Confidences

    Args:
        confidence_slope: factor for the log-odds of the words' confidences (default: what ia3-speech
            calibrate has stored with the adapter or the base; 1 if only the bias is given)
        confidence_bias: added to these log-odds (default: what ia3-speech calibrate has stored; 0 if only the
            slope is given)
    """

    confidence_slope: float | None = None
    confidence_bias: float | None = None

    @property
    def scaling(self) -> Scaling | None:
        """None if neither option is given. Raises UserError for a slope that is not positive."""
        given = {"slope": self.confidence_slope, "bias": self.confidence_bias}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return Scaling(**given) if given else None
        except ValueError as error:
            name, _, fault = str(error).partition(" ")
            raise UserError(f"`confidence_{name}` {fault}") from None


@dataclass(frozen=True)
class DictationOptions:
    """Dictation

    Args:
        dictation: write spoken punctuation, doses, blood pressures and capitals as in written text, in any
            format: "five hundred milligrams full stop" → "500 mg."; ambiguous phrases stay in words
        dictation_rules: YAML file with rules, names, units and commands of your own (docs/dictation.md)
        dictation_off: parts (commands, numbers, names) or single commands to switch off, such as
            "numbers,full stop"
    """

    dictation: bool = False
    dictation_rules: Path | None = None
    dictation_off: str = ""  # a list would take the files after it too
