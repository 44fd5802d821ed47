"""The options of `transcribe`, `live` and `decode`, in the groups that `--help` shows; `search.py` has
those of the search. Their docstrings are the help. `LoadOptions` are those of `ia3_speech.load` that few
callers need. Options are checked when they are made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ia3_speech.adapters.spec import AdapterSpec, parse_adapter
from ia3_speech.common.errors import UserError
from ia3_speech.data.recordings import STDIN
from ia3_speech.decoding.segments import PAUSE_SECONDS
from ia3_speech.decoding.vad import VadMethod, choose_method
from ia3_speech.decoding.word_times import Scaling

PAUSE_LIMITS = (0.1, 10.0)  # seconds without speech that may end a line of live input
MIN_INPUT = 1.0  # seconds of a batch, and of a piece of a long recording: shorter ones contain no word


def changed_fields(*groups: Any) -> Iterator[str]:
    """The names of the fields that differ from their defaults."""
    for group in groups:
        defaults = type(group)()
        yield from (field.name for field in fields(group)
                    if getattr(group, field.name) != getattr(defaults, field.name))  # fmt: skip


@dataclass(frozen=True)
class LoadOptions:
    """The less usual options of `ia3_speech.load`. Raises UserError for a value out of range.

    Args:
        batch_seconds: padded seconds of audio that go through the model at once; None: 40, a Whisper 240.
        max_seconds: cut longer recordings at pauses; None: the base's maximum input duration, else 60;
            infinite: never.
        dtype: number format of the base's weights: float32, float16, bfloat16, or int8 on a CPU.
        vad: method to find speech when longer recordings are cut: off, energy or silero; None: silero if it
            is installed, else energy.
        scaling: calibrates the words' confidences; None: the scaling that `calibrate` stored for this search
            with the adapter, or, without an adapter, with the base; if there is none, no calibration.
        window: of a Whisper base's input, for adapters that record none: 30s (default), or short.
        task: of a multilingual Whisper: transcribe (default), or translate into English.
        method: FILE.py:NAME, your method with which the adapter was trained.
    """

    batch_seconds: float | None = None
    max_seconds: float | None = None
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    vad: VadMethod | None = None
    scaling: Scaling | None = None
    window: Literal["30s", "short"] | None = None
    task: Literal["transcribe", "translate"] | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_seconds", "max_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds >= MIN_INPUT:
                raise UserError(f"`{name}` is {seconds:g}, and must be at least {MIN_INPUT:g} seconds")
        choose_method(self.vad)
        for name, allowed in (("window", ("30s", "short")), ("task", ("transcribe", "translate"))):
            if (value := getattr(self, name)) not in (None, *allowed):
                raise UserError(f"`{name}` is {value!r}, and must be {' or '.join(allowed)}")


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

    def check(self, files: Sequence[str] = (), *, live: bool) -> None:
        """Raises UserError for options that contradict each other, the files, or other input."""
        if self.mic_device is not None and not self.mic:
            raise UserError("`mic_device` is for `mic`")
        for name in ("partials", "pause"):
            if not live and getattr(self, name) != getattr(LiveOptions, name):
                raise UserError(f"`{name}` is for live input (give `mic` or `live`)")
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
            batch (batches are the same in each run); int8: compute a Whisper's linear layers in int8 (on a
            CPU), with some more errors; auto: bf16 if it is faster on this processor or GPU, which is
            measured once
        batch_seconds: seconds of padded audio that go through the model at once; fewer need less memory
            (default: 40, for a Whisper base 240)
        method: FILE.py:NAME, if the adapter was trained with this method of your own
        window: input of a Whisper base: 30s, as Whisper was trained, or short, the utterance and a second of
            silence, for which an adapter must be trained (default: the adapter's, else 30s)
        language: language of a multilingual Whisper base: a code such as de; auto detects it for each
            recording, or piece of it (default: the adapter's, else en)
        task: task of a multilingual Whisper base: transcribe, or translate into English (default: transcribe)
        engine: onnx: ONNX Runtime, which starts in a second; --base is then the folder of a graph
            (ia3-speech export --format onnx), and without --lm the search is greedy
    """

    adapter: str | None = None
    base: str | None = None
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    precision: Literal["no", "bf16", "int8", "auto"] = "no"
    batch_seconds: float | None = None
    method: str | None = None
    window: Literal["30s", "short"] | None = None
    language: str | None = None
    task: Literal["transcribe", "translate"] | None = None
    engine: Literal["torch", "onnx"] = "torch"

    def for_loading(self, **options: Any) -> dict[str, Any]:
        """The arguments of `session.load`; `options` are further fields of its `LoadOptions`."""
        values = vars(self) | options
        names = values.keys() & {field.name for field in fields(LoadOptions)}
        grouped = LoadOptions(**{name: values.pop(name) for name in names})
        return values | {"options": grouped}


@dataclass(frozen=True)
class GuardOptions:
    """Guard

    Args:
        guard: on: use the base's text where it is likelier to be right than the adapter's, so that an adapter
            costs little on other speech: docs/adaptation.md (default: on for an adapter for which train has
            fitted a rule, guard.json, also if auto chose it)
    """

    guard: Literal["on", "off"] | None = None

    def spec(self, adapter: str | None, *, split: bool = False) -> AdapterSpec:
        """The adapter with its guard. Raises UserError as `parse_adapter`, or if a guard is asked for without
        an adapter."""
        if self.guard == "on" and not adapter:
            raise UserError("`guard=on` needs an adapter to guard (give `adapter`)")
        return parse_adapter(adapter, split=split, guard=self.guard and self.guard == "on")


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
