#!/usr/bin/env python3
"""Classify audio files with the adapter of a classifier (keywords, intents): a label and its confidence.

    local/classify.py --adapter keywords clip.wav             PATH<TAB>label<TAB>confidence of each file
    local/classify.py --adapter keywords --format json clips/ {"path", "label", "confidence"}

Each file is a clip, and is not cut. The confidence is the softmax probability. Clips that are silent or can't
be used are listed on stderr; the others are classified, and the exit code is 1.
"""

import json
import os
import sys
from math import fsum, isclose
from pathlib import Path
from typing import Literal

from ia3_speech.adapters.load import attach_adapter, read_sum
from ia3_speech.adapters.spec import parse_sum
from ia3_speech.common.cli import command
from ia3_speech.common.errors import AdapterError, BaseError, UserError
from ia3_speech.data.recordings import find_recordings
from ia3_speech.data.utterance import is_silent, load_checked
from ia3_speech.model.base import Base, load_classifier


def main(
    *files: str,
    adapter: str,
    base: str | None = None,
    format: Literal["text", "json"] = "text",
    device: str | None = None,
) -> int:
    """Classify audio files.

    Args:
        files: audio files, and folders to search for them
        adapter: adapter of a classifier: a registered name, a folder, or a sum of these
        base: mini, a folder or a hub id (default: the adapter's recorded base)
        format: text: PATH<TAB>label<TAB>confidence; json: an object with the same
        device: cpu, cuda, … (default: cuda where there is one)
    """
    if not files:
        raise UserError("no files were given (--help shows how to use it)")
    sources, bad = find_recordings(files)
    classifier = load_adapted(adapter, base, device=device)
    classes = classifier.model.config.id2label
    for source in sources:
        wave, problem = load_checked(source.load, source.path, classifier.minimum_samples)
        path = os.fsencode(source.path).decode("utf-8", "replace")  # a file's name need not be UTF-8
        if problem and (problem.fatal or is_silent(wave)):
            bad.append(f"{path}: {problem.reason}")
            continue
        if problem:
            print(f"{path}: {problem.reason}", file=sys.stderr)
        try:
            confidences = classifier.logits([wave])[0].softmax(0)
        except BaseError:
            bad.append(f"{path}: longer than {classifier.maximum_seconds:g} s, the base's limit (cut it)")
            continue
        label, confidence = classes[int(confidences.argmax())], round(float(confidences.max()), 4)
        result = {"path": path, "label": label, "confidence": confidence}
        if format == "json":
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            print(*result.values(), sep="\t", flush=True)
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


def load_adapted(adapter: str | Path, base: str | None = None, *, device: str | None = None) -> Base:
    """A classifier with its adapter, or a sum of adapters with the same classes."""
    spec = parse_sum(adapter)
    classes, *others = [term.record.get("training", {}).get("classes") for term in spec.terms]
    if not classes or any(other != classes for other in others):
        raise AdapterError(
            f"{spec}: records no classes, or different classes (take the adapter of a classifier)"
        )
    if not isclose(fsum(term.weight for term in spec.terms), 1):  # the rest would be the new head's
        raise AdapterError(f"{spec}: the weights of classifiers have to add up to 1")
    classifier = load_classifier(spec.base(base), classes, device=device)
    attach_adapter(classifier.model, read_sum(classifier.model, spec))
    return classifier


if __name__ == "__main__":
    command(main)
