"""A picture of an utterance, SVG: its log-mel spectrogram, and below it the recognised words in time.

    ia3-speech transcribe audio.wav --plot audio.svg

In: 16 kHz audio, and rows of words with times and confidences. Out: an `<svg>` element, for a file or the
HTML report, with a strip for each LINE_SECONDS of audio. A paler word is less certain; a wrong word is red.
The picture needs no other file: the spectrogram is a PNG image in a `data:` address.
"""

import base64
import logging
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ia3_speech.common.errors import AudioError
from ia3_speech.common.formatting import percent, plural
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.formats import CONFIDENCES, read_words
from ia3_speech.decoding.transcript import Transcript, Word
from ia3_speech.report.charts import element, picture, write_picture
from ia3_speech.report.data import DecodedSystem, ReportData
from ia3_speech.scoring.error_rates import normalized_words

logger = logging.getLogger("ia3_speech.report")

MAX_PICTURES = 6  # utterances of a report
MELS, HOP, WINDOW = 64, 160, 512  # bands; samples from frame to frame, and in a window: 10 and 32 ms
FLOOR = 70.0  # dB below the loudest point: the quietest level that is visible
LINE_SECONDS = 10.0  # of a strip
PIXELS = 120.0  # a second
LEFT, GAP, ROW, TICKS = 120, 14, 26, 16  # pixels: for names, between strips, of a row, of the time axis
HEIGHT = 2 * MELS  # of a spectrogram
INK, WRONG = "#1b2430", "#b2182b"


Plotted = Sequence[tuple[Word, bool]]  # words in order of time, and whether each is wrong


def draw_spectrogram(wave: np.ndarray, rows: Mapping[str, Plotted], title: str) -> Markup:
    """The picture of (samples,) 16 kHz audio; `rows`: name → words, from top to bottom."""
    image = mel_image(wave)
    seconds = len(wave) / SAMPLE_RATE
    strip_height = HEIGHT + TICKS + len(rows) * ROW
    shapes: list[Markup] = []
    starts = np.arange(0, max(seconds, 0.01), LINE_SECONDS).tolist()
    for number, start in enumerate(starts):
        top = GAP + number * (strip_height + GAP)
        shapes += strip(image, rows, top, start, min(start + LINE_SECONDS, seconds))
    width = LEFT + PIXELS * min(LINE_SECONDS, seconds) + GAP
    return picture(shapes, width, GAP + len(starts) * (strip_height + GAP), title)


def plot_transcript(path: Path, wave: np.ndarray, transcript: Transcript) -> None:
    """Draw a transcript with words into a file, in the format of its suffix."""
    rows = {transcript.adapter or transcript.base: [(word, False) for word in transcript.words]}
    write_picture(path, draw_spectrogram(wave, rows, f"Spectrogram and words of {transcript.id}"))


def strip(
    image: np.ndarray, rows: Mapping[str, Plotted], top: float, start: float, end: float
) -> Iterator[Markup]:
    """The spectrogram of a stretch of audio, its time axis, and the words that begin in it."""
    part = image[:, round(start * SAMPLE_RATE / HOP) : max(round(end * SAMPLE_RATE / HOP), 1)]
    size = {"x": LEFT, "y": top, "width": PIXELS * (end - start), "height": HEIGHT}
    address = f"data:image/png;base64,{base64.b64encode(png(part)).decode()}"
    yield element("image", **size, href=address, preserveAspectRatio="none")
    for second in range(int(np.ceil(start)), int(end) + 1):
        x = LEFT + PIXELS * (second - start)
        place = {"x": x, "y": top + HEIGHT + 12, "text_anchor": "middle"}
        yield element("text", f"{second} s", **place, fill=INK, font_size=10)
    for number, (name, words) in enumerate(rows.items()):
        y = top + HEIGHT + TICKS + number * ROW
        size = font_size(name, LEFT - 12)
        yield element("text", name, x=LEFT - 8, y=y + 16, text_anchor="end", fill=INK, font_size=size)
        for word, is_wrong in words:
            if start <= word.start < end:
                yield draw_word(word, LEFT + PIXELS * (word.start - start), y, WRONG if is_wrong else INK)


def draw_word(word: Word, left: float, top: float, colour: str) -> Markup:
    """A box from the word's start to its end, with the word; the tooltip has times and confidence."""
    width = max(PIXELS * (word.end - word.start), 4.0)
    times = f"{word.start:.2f} to {word.end:.2f} s, confidence {percent(word.confidence, 0)} %"
    opacity = 0.3 + 0.7 * word.confidence
    box = {"x": left, "y": top + 2, "width": width, "height": ROW - 6, "rx": 3, "fill": colour}
    return element(
        "g",
        element("title", f"{word.text}: {times}"),
        element("rect", **box, fill_opacity=0.08, stroke=colour, stroke_opacity=opacity / 2),
        element("text", word.text, x=left + 2, y=top + 16, fill=colour, fill_opacity=opacity,
                font_size=font_size(word.text, width - 3)),
    )  # fmt: skip


def font_size(text: str, width: float) -> float:
    """The size, at most 12, at which a text fits into a width, both in pixels."""
    return max(3.0, min(12.0, 12 * width / (7 * max(len(text), 1))))


def mel_image(wave: np.ndarray) -> np.ndarray:
    """(bands, frames) of 0 (loud) to 255 (FLOOR dB below the loudest point), the highest band first."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=np.asarray(wave, dtype=np.float32), sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS
    )
    decibels = librosa.power_to_db(power, ref=np.max, top_db=FLOOR)
    return np.round(-decibels[::-1] / FLOOR * 255).clip(0, 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """(rows, columns) of 0 to 255, black to white, as a PNG file (ISO/IEC 15948)."""
    rows, columns = image.shape
    pixels = b"".join(b"\0" + row.tobytes() for row in image)  # filter type 0 before each row

    def chunk(content: bytes) -> bytes:  # of which the first four bytes are its kind
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)  # 8 bits, greyscale
    chunks = map(chunk, (b"IHDR" + header, b"IDAT" + zlib.compress(pixels, 9), b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def draw_largest_changes(report: ReportData) -> Iterator[dict[str, Any]]:
    """Pictures (id, caption, reference, picture) of the utterances whose words have times and whose errors
    changed most, from the base alone (else the baseline) to the system, with the words of both. Utterances
    whose audio can't be read are left out."""
    before, after = report.start or report.baseline, report.system
    if not before:
        return
    files = [side.folder / CONFIDENCES for side in (before, after)]
    timed = [read_words(file) if file.is_file() else {} for file in files]
    errors = {u.id: (before.errors(u.id), after.errors(u.id)) for u in report.utterances}
    changes = {name: abs(last - first) for name, (first, last) in errors.items()}
    ordered = sorted(report.utterances, key=lambda utterance: (-changes[utterance.id], utterance.id))
    for utterance in [utterance for utterance in ordered if changes[utterance.id]][:MAX_PICTURES]:
        id = utterance.id
        sides = zip((before, after), timed, strict=True)
        rows = {side.name: plotted(side, id, words.get(id, ())) for side, words in sides}
        if not any(rows.values()):
            continue
        try:
            wave = load_utterance(utterance)
        except AudioError as error:
            logger.warning("%s: no spectrogram", error)
            continue
        caption = " → ".join(plural(count, "error") for count in errors[id])
        picture = draw_spectrogram(wave, rows, f"Spectrogram of {id}")
        yield {"id": id, "caption": caption, "reference": after.references[id], "picture": picture}


def plotted(system: DecodedSystem, utterance: str, words: Sequence[Word]) -> Plotted:
    """The words of a hypothesis; a word is wrong if the alignment has another reference word, or none."""
    mode = system.result.record["normalize"]
    aligned = [(word, reference) for reference, word in system.alignments[utterance] if word is not None]
    rows, place = [], 0
    for word in words:
        parts = normalized_words(word.text, mode)
        pairs = aligned[place : place + len(parts)]
        rows.append((word, any(hypothesis != reference for hypothesis, reference in pairs)))
        place += len(parts)
    return rows
