"""Export a base as an ONNX graph, for devices without torch: every vector an input, or an adapter merged.

    ia3-speech export --format onnx --base mini --out graph               ia3_speech.onnx.load("graph")
    ia3-speech export --format onnx_adapter --adapter speaker42 --out speaker42.onnx_adapter
    ia3-speech export --format sherpa-onnx --adapter speaker42 --out phone        merged, for another program

Out: a folder (see `onnx.export`), or a file of vectors. `ia3-speech adapters export` writes a checkpoint for
transformers.
"""

from pathlib import Path
from typing import Literal

from ia3_speech.adapters.record import STORED_LM
from ia3_speech.adapters.spec import AdapterSpec, parse_sum
from ia3_speech.common.atomic import replacing, unexpected_file
from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import UserError


def main(
    *,
    format: Literal["onnx", "onnx-asr", "sherpa-onnx", "transformers.js", "onnx_adapter"] = "onnx",
    base: str | None = None,
    adapter: str | None = None,
    out: Path,
    dtype: Literal["float32", "int8"] = "float32",
    force: bool = False,
) -> None:
    """Write a base as an ONNX graph.

    Args:
        format: onnx: every vector is an input; onnx-asr, sherpa-onnx, transformers.js: audio is the only
            input, for these programs; onnx_adapter: an adapter's vectors for ONNX Runtime's own adapters
        base: mini, a folder or a hub id (default: the base that the adapter records, else mini)
        adapter: a name, a path, or a sum such as accent:0.7+medical: it is merged into the graph, or, with
            --format onnx_adapter, written to the file
        out: the folder to write; for onnx_adapter the file
        dtype: type of the encoder's weights; int8 is calibrated on the speech that comes with the package
        force: replace an older export
    """
    if format == "onnx" and adapter:
        raise UserError(
            "--format onnx takes no --adapter: name it in each request (transcribe(…, adapter=…)), or choose "
            "a format that merges it"
        )
    if format == "onnx_adapter" and not adapter:
        raise UserError("--format onnx_adapter needs --adapter NAME")
    if out.exists() and not force:
        raise UserError(f"{out}: exists (replace it with --force, or give another --out)")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise UserError(f"{error} (in the clone: {pip_install('.[onnx]')})") from None
    if format == "onnx_adapter" and dtype != "float32":
        raise UserError(f"--dtype {dtype} has no effect on --format onnx_adapter (leave it out)")
    spec = parse_sum(adapter) if adapter else AdapterSpec()
    from ia3_speech.adapters.load import attach_adapter, base_of, read_sum  # loads torch
    from ia3_speech.adapters.merge import merge
    from ia3_speech.onnx.export import FILES, write_layout, write_onnx_adapter

    loaded = base_of(spec, base, device="cpu")
    if format == "onnx_adapter":
        write_onnx_adapter(read_sum(loaded.model, spec), out)
        print(f"{out}: {spec}, for a graph of {loaded.name}")
        return
    if other := unexpected_file(out, lambda entry: entry.name in FILES):
        raise UserError(f"{out}: holds {other}, which would be lost (give another --out)")
    if spec.terms:
        attach_adapter(loaded.model, read_sum(loaded.model, spec))
        merge(loaded.model)
    with replacing(out) as new:
        graph = write_layout(loaded, new, format, dtype)
        size = graph.stat().st_size / 2**20
    system = f"{loaded.name} with {spec}" if spec.terms else loaded.name
    print(f"{out}: {system}, {dtype}, {size:.0f} MiB")
    if format == "onnx" and (loaded.folder / STORED_LM).is_file():
        cost = ": of a new reader 26.2 instead of 17.4 % WER" * (loaded.name == "mini")
        print(f"the search is greedy, without the base's language model{cost} (docs/onnx.md#language-model)")
