"""/v1/adapters: a stored adapter is proven to fit, is used by the next request, and can be removed."""

import copy
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from ia3_speech.adapters import registry
from ia3_speech.adapters.hub import copy_publishable
from ia3_speech.adapters.record import GATE, METADATA, read_record, write_record
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import load_audio
from ia3_speech.routing.gate import measure_speech, write_gate
from ia3_speech.serve.access import Access
from ia3_speech.voices import voice
from tests.routing.test_routing import damage_gate
from tests.serve.conftest import FILES


def test_stored_used_replaced_shown_and_removed(running, adapters, recordings, offline):
    def text(model: str) -> str:
        return running.transcribe(recordings[0], model).json()["text"]

    def loaded() -> list[str]:
        return [stored.name for stored in running.server.engine.cache.loaded]

    done = running.upload("ward", adapters["medical"])
    assert done.status_code == 201 and done.json()["labels"] == {"domain": "medical"}
    assert "/" not in json.dumps({k: v for k, v in done.json().items() if k != "created"}), "no path is shown"
    expected = {name: offline(recordings[0], name).text for name in ("medical", "accent")}
    assert text("ward") == expected["medical"] != expected["accent"]
    assert running.upload("ward", adapters["medical"]).status_code == 201, "the same again changes nothing"
    taken = running.upload("ward", adapters["accent"])
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "name_taken")
    assert running.upload("ward", adapters["accent"], replace="true").status_code == 201
    assert text("ward") == expected["accent"]
    listed = running.send("GET", "adapters").json()["data"]
    assert [adapter["id"] for adapter in listed] == ["accent", "medical", "speaker42", "ward"]
    assert running.send("GET", "adapters/speaker42").json()["biometric"]
    assert running.send("DELETE", "adapters/ward").json()["deleted"]
    for method in ("DELETE", "GET"):
        assert running.send(method, "adapters/ward").status_code == 404
    assert "ward" not in registry.registered_names() and "ward" not in loaded()


def test_files_that_are_no_adapter_of_this_base_are_refused_and_leave_nothing(running, adapters):
    folder, before = adapters["accent"], registry.registered_names()
    config, weights, record = ((name, (folder / name).read_bytes()) for name in FILES)
    other = json.loads(record[1]) | {"fingerprint": {"architecture": "Other", "sha256": "0"}}
    cut = (weights[0], weights[1][: len(weights[1]) // 2])
    lying = (weights[0], (2**62).to_bytes(8, "little") + weights[1][8:])
    wrong = [
        *([], [config, record], [weights], [config, cut, record], [config, lying, record]),
        [config, weights, (record[0], json.dumps(other).encode())],
        *([config, weights, (record[0], content)] for content in (b"[]", b"[" * 100_000)),
        [config, weights, (record[0], record[1].replace(b'"medical"', b"NaN").replace(b'"accent"', b"NaN"))],
        [config, ("adapter_model.bin", weights[1])],
        [config, weights, record, ("gate.safetensors", b"xx")],
        *([config, weights, (name, b"{}")] for name in ("../../evil.json", "/etc/evil", "store.json")),
    ]
    for files in wrong:
        done = running.send("POST", "adapters", name="new", files=files)
        assert done.status_code == 400, files
        assert str(Path.home()) not in done.text and "/tmp" not in done.text
    for name in ("", "..", "a/b", "../up", "x" * 65, "a\nb", "-x", "mini"):
        assert running.upload(name, folder).status_code in (400, 403), name
    assert registry.registered_names() == before and not list(registry.adapters_dir().glob("*evil*"))
    assert not (registry.home() / "up").exists()


ONE, TWO = "key-number-one-0001", "key-number-two-0002"
KEYS = f"""
- {{name: a, key: {ONE}, adapters: [medical], manage: ['dr-*']}}
- {{name: b, key: {TWO}, adapters: ['*']}}
"""


def test_who_may_store_and_change(serving, adapters):
    accent, medical = adapters["accent"], registry.adapters_dir() / "medical"
    with serving(keys=KEYS) as running:
        assert running.upload("dr-who", accent, ONE).status_code == 201
        refused = [running.upload(name, accent, ONE, replace="true") for name in ("accent", "medical")]
        assert "if they are free: dr-*." in refused[0].text
        refused += [running.upload("dr-no", accent, TWO), running.begin("medical", ONE)]
        assert [answer.status_code for answer in refused] == [403] * 4
        assert running.models(ONE) == ["mini", "dr-who", "medical"]
        for key, name, status in ((TWO, "dr-who", 403), (ONE, "accent", 404), (ONE, "medical", 403)):
            assert running.send("DELETE", f"adapters/{name}", key).status_code == status
        assert running.send("DELETE", "adapters/dr-who", ONE).status_code == 200
        assert registry.file_contents(medical) == registry.file_contents(adapters["medical"])
    with serving(upload_adapters=False) as running:
        assert running.upload("new", accent).status_code == 403
        assert running.send("DELETE", "adapters/accent").status_code == 403


def test_pages_of_other_sites_may_not_use_a_server_without_keys(serving, adapters):
    with serving() as running:
        here = running.url.removeprefix("http://")
        for origin, host, status in (
            ("https://elsewhere.example", here, 403),
            ("http://elsewhere.example:8000", "elsewhere.example:8000", 403),  # whose name leads here
            ("http://[x", "[x", 403),
            (running.url, here, 200),
        ):
            headers = {"Origin": origin, "Host": host}
            assert httpx.get(f"{running.url}/v1/adapters", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- {name: a, key: sixteen-letters-, more: 1}", ""),
        ("- {name: a, key: sixteen-letters-}\n- {name: b, key: sixteen-letters-}", "the same key"),
        ("- {name: a, key: sixteen-letters-}\n- {name: b\n- {name: c}\n", "keys.yaml:3: "),
    ],
)
def test_the_error_of_a_file_of_keys_names_the_line_and_no_key(tmp_path, content, message):
    file = tmp_path / "keys.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"keys\.yaml:(\d+:)? ") as caught:
        Access(file, 0)
    assert message in str(caught.value) and "sixteen-letters" not in str(caught.value)


def test_a_download_is_whole_while_the_adapter_is_replaced(running, adapters, tmp_path):
    versions = []
    for name in ("accent", "medical"):
        (tmp_path / name).mkdir()
        copy_publishable(adapters[name], tmp_path / name, "ward")
        versions.append(registry.file_contents(tmp_path / name))
    registry.register(adapters["accent"], "ward")

    def replace_often() -> None:
        for number in range(30):
            registry.register(adapters["medical" if number % 2 else "accent"], "ward", force=True)

    writer = threading.Thread(target=replace_often)
    writer.start()
    try:
        while writer.is_alive():
            archive = zipfile.ZipFile(io.BytesIO(running.send("GET", "adapters/ward/download").content))
            assert {name.removeprefix("ward/"): archive.read(name) for name in archive.namelist()} in versions
    finally:
        writer.join()


ODD = [5, "x", [], {}, None, float("nan"), True, {"a": [{"b": [None, {"c": {}}]}]}, 10**400, "\ud800"]
SCORE = {"set": "ward/test", "wer": 0.1, "wer_ci": [0.1, 0.2], "words": 9, "relative_ci": [-0.1, 0.1]}
SCORE |= {"unseen_sentences": {"utterances": 3, "wer": 0.1}, "warnings": ["w"], "pooled_speakers": 2}
TRAINING = {"data": "data/train", "trained_on": ["a-1"], "audio": ["0a1b"], "corrections": {"a-1": 1}}
TRAINING |= {"seed": 1, "dev_wer": 0.1, "audio_seconds": 60.0, "selected_epoch": 0, "classes": ["on/off"]}
MORE = {"scores": [SCORE], "training": TRAINING, "gate": {"utterances": 24}}
MORE |= {"confidence": {"greedy": {"slope": 1.0, "bias": 0.0}}, "labels": {"speaker": "42"}}


def mutants(value: dict | list) -> Iterator[dict | list]:
    """The value with each of its entries, at any depth, in turn replaced by each of ODD."""
    for key in value if isinstance(value, dict) else range(len(value)):
        deeper = mutants(value[key]) if isinstance(value[key], dict | list) else ()
        for entry in (*ODD, *deeper):
            changed = copy.copy(value)
            changed[key] = entry
            yield changed


def test_odd_types_in_a_record_are_refused_or_do_no_harm(serving, adapters, tmp_path, caplog):
    folder = shutil.copytree(adapters["medical"], tmp_path / "odd")
    soundfile.write(tmp_path / "short.wav", np.zeros(4000), 16_000)
    with serving() as running:
        for number, mutant in enumerate(islice(mutants(read_record(folder) | MORE), 0, None, 100)):
            (folder / METADATA).write_text(json.dumps(mutant))
            registry.register(folder, "here", force=True)
            assert running.upload("sent", folder, replace="true").status_code in (201, 400), mutant
            for path in ("adapters", "adapters/here", "adapters/here/download", "adapters/sent"):
                assert running.send("GET", path).status_code < 500, mutant
            model = ("here", "sent", "auto")[number % 3]
            assert running.transcribe(tmp_path / "short.wav", model).status_code < 500, mutant
    assert "defect" not in caplog.text


def test_an_unusable_gate_stops_neither_the_server_nor_auto(serving, session, adapters, recordings, caplog):
    base = session.base
    for name, files in (("accent", recordings[:3]), ("medical", recordings[3:6])):
        statistics = measure_speech(base, map(load_audio, files))
        write_gate(registry.adapters_dir() / name, statistics, base.fingerprint)
    with serving() as running:
        assert running.transcribe(recordings[0], "auto").status_code == 200
        damage_gate(registry.adapters_dir() / "accent", "beyond 1")  # a running server notices it
        assert running.transcribe(recordings[0], "auto").status_code == 200
        assert "accent/gate.safetensors: " in caplog.text
        assert running.transcribe(recordings[0], "auto:accent").status_code == 400
        for fault in ("channels", "too wide"):
            shutil.copy(registry.adapters_dir() / "medical" / GATE, adapters["accent"])
            damage_gate(adapters["accent"], fault)
            refused = running.upload("new", adapters["accent"], files=(*FILES, GATE))
            (adapters["accent"] / GATE).unlink()
            assert refused.status_code == 400 and "gate.safetensors" in refused.text, fault


ANNA, BANK = "key-of-anna-000001", "key-of-bank-000002"
ATTACK = f"""
- {{name: anna, key: {ANNA}, adapters: [anna], manage: [anna]}}
- {{name: bank, key: {BANK}, adapters: ['bank*'], manage: ["bank*"]}}
"""


def test_no_record_makes_the_server_train_on_another_keys_recordings(serving, adapters, recordings, tmp_path):
    folder = shutil.copytree(adapters["medical"], tmp_path / "evil")
    data = str(registry.home() / "corrections/anna/data")
    training = {"data": data, "trained_on": ["a"], "audio": ["0"], "corrections": {"a": 1}, "seed": 1}
    write_record(folder, read_record(folder) | {"training": training, "base": str(tmp_path / "no_base")})
    with serving(keys=ATTACK) as running:
        assert running.upload("bank1", folder, BANK).status_code == 201
        stored = read_record(registry.adapters_dir() / "bank1")
        assert (stored["base"], stored["training"]) == ("mini", {"dataset": "data", "seed": 1})
        registry.register(folder, "bank2")
        shutil.copy(folder / METADATA, registry.adapters_dir() / "bank2")  # from before uploads were cleaned
        for name, key in (("anna", ANNA), ("bank2", BANK)):
            running.begin(name, key)
            assert running.record(name, recordings[0], "short", key).status_code == 201
        mine = registry.adapters_dir() / "bank2"
        assert voice.trained_on_without(voice.read_store("bank2"), mine) == []
