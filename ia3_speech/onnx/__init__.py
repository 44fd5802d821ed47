"""A base as an ONNX graph whose inputs are an adapter's vectors: for small devices, without torch.

ia3-speech export --format onnx --base mini --out DIR         (extra ia3-speech[onnx]; see `export`)

asr = ia3_speech.onnx.load(DIR)                               numpy and onnxruntime alone
asr.transcribe("audio.wav", adapter="speaker42").text         a name, a folder, a sum; None: the base
asr.recognizer.base.logits(waves, [{}, {name: array}])        arrays for each row of a batch
"""

from ia3_speech.onnx.session import load

__all__ = ["load"]
