"""Put adapters beside the page, and take the vectors' defaults out of its graph.

    python local/voices.py SITE [ADAPTER …]

In: SITE/graph of `ia3-speech export`, names or folders of adapters. Out: SITE/voices/NAME with an adapter's
tensors, SITE/voices.json; onnxruntime-web refuses an input that has a default, so the graph loses
these. An adapter of another base is refused, by name, and the others go on.
"""

import json
import shutil
import sys
from pathlib import Path

import onnx

from ia3_speech.adapters.spec import parse_sum, short_name
from ia3_speech.adapters.weights import weights_file
from ia3_speech.common.errors import UserError
from ia3_speech.onnx.session import MODEL, OnnxBase


def main(site: Path, adapters: list[str]) -> int:
    base, voices, faults = OnnxBase.load(site / "graph"), [], 0
    graph = onnx.load(site / "graph" / MODEL)
    inputs = {value.name for value in graph.graph.input}
    weights = [tensor for tensor in graph.graph.initializer if tensor.name not in inputs]
    if len(weights) < len(graph.graph.initializer):
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(weights)
        onnx.save(graph, site / "graph" / MODEL)
    shutil.rmtree(site / "voices", ignore_errors=True)  # a voice that is left out is no longer to be had
    for adapter in adapters:
        try:
            spec = parse_sum(adapter)
            (term,) = spec.terms
            base.vectors(spec)
            if short_name(term) in voices:
                raise UserError(f"{adapter}: another voice is called {short_name(term)} too")
        except (UserError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            faults = 1
            continue
        (site / "voices").mkdir(exist_ok=True)
        shutil.copy(weights_file(term.folder), site / "voices" / f"{short_name(term)}.safetensors")
        voices.append(short_name(term))
    (site / "voices.json").write_text(json.dumps(voices), "utf-8")
    print(f"{site}: {base.name} with {', '.join(voices) or 'no voice'}")
    return faults


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
