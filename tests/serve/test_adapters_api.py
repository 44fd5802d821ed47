"""/v1/adapters: what is stored is proven to fit, is used by the next request, and leaves without a trace."""

import copy
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile

from ia3_speech.adapters import registry
from ia3_speech.adapters.cache import find_stored
from ia3_speech.adapters.card import score_line, update_card
from ia3_speech.adapters.hub import copy_publishable
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.record import GATE, METADATA, read_record, recorded_base, write_record
from ia3_speech.corrections import voice
from ia3_speech.data.audio import load_audio
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import UserError
from ia3_speech.routing.gate import measure_speech, write_gate
from ia3_speech.serve.access import Access
from ia3_speech.serve.adapters_api import zipped
from ia3_speech.serve.jobs import read_job
from ia3_speech.training.few_minutes import heard_by
from tests.routing.test_routing import FAULTS, damage_gate
from tests.serve.conftest import FILES, begin, call, eventually


def upload(running, name, folder: Path, files=FILES, key="none", **fields) -> httpx.Response:
    parts = [("files", (file, (folder / file).read_bytes())) for file in files]
    return send(running, name, parts, key, **fields)


def send(running, name, parts, key="none", **fields) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    data = {"name": name, **fields}
    return httpx.post(f"{running.url}/v1/adapters", data=data, files=parts, headers=headers, timeout=60)


def text(running, model: str, file: Path) -> str:
    return running.client().audio.transcriptions.create(model=model, file=file).text


def test_stored_used_replaced_shown_and_removed(running, adapters, recordings, offline):
    done = upload(running, "ward", adapters["medical"])
    assert done.status_code == 201 and done.json()["labels"] == {"domain": "medical"}
    assert "/" not in json.dumps({k: v for k, v in done.json().items() if k != "created"}), "no path is told"
    expected = {name: offline(recordings[0], name).text for name in ("medical", "accent")}
    assert text(running, "ward", recordings[0]) == expected["medical"] != expected["accent"]
    assert upload(running, "ward", adapters["medical"]).status_code == 201, "the same again changes nothing"
    taken = upload(running, "ward", adapters["accent"])
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "name_taken")
    assert upload(running, "ward", adapters["accent"], replace="true").status_code == 201
    assert text(running, "ward", recordings[0]) == expected["accent"]
    listed = httpx.get(f"{running.url}/v1/adapters").json()["data"]
    assert [one["id"] for one in listed] == ["accent", "medical", "speaker42", "ward"]
    shown = httpx.get(f"{running.url}/v1/adapters/speaker42").json()
    assert shown["biometric"] and shown["card"].startswith("---") and shown["parameters"] == 18_432
    url = f"{running.url}/v1/adapters/ward"
    assert httpx.delete(url).json() == {"id": "ward", "object": "adapter", "deleted": True}
    assert httpx.delete(url).status_code == httpx.get(url).status_code == 404
    assert "ward" not in registry.registered_names()
    assert "ward" not in [stored.name for stored in running.server.cache.loaded]
    text(running, "medical", recordings[0])
    registry.remove("medical")  # by another process
    eventually(lambda: "medical" not in [stored.name for stored in running.server.cache.loaded])


def test_what_is_no_adapter_of_this_base_is_refused_and_leaves_nothing(running, adapters):
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
        done = send(running, "new", [("files", file) for file in files] or None)
        assert done.status_code == 400, files
        assert str(Path.home()) not in done.text and "/tmp" not in done.text
    for name in ("", "..", "a/b", "../up", "x" * 65, "a\nb", "-x", "mini", "nearest"):
        assert upload(running, name, folder).status_code in (400, 403), name
    assert registry.registered_names() == before and not list(registry.adapters_dir().glob("*evil*"))
    assert not (registry.home() / "up").exists()


KEYS = """
- {name: a, key: key-number-one-0001, manage: ['dr-*']}
- {name: b, key: key-number-two-0002, adapters: ['*']}
"""


def test_who_may_store(serving, adapters):
    with serving(keys=KEYS) as running:
        folder, one, two = adapters["accent"], "key-number-one-0001", "key-number-two-0002"
        assert upload(running, "dr-who", folder, key=one).status_code == 201
        refused = upload(running, "accent", folder, key=one, replace="true")
        assert refused.status_code == 403 and "if they are free: dr-*." in refused.text
        assert upload(running, "dr-no", folder, key=two).status_code == 403
        for key, name, status in ((two, "dr-who", 403), (one, "medical", 404), (one, "dr-who", 200)):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.delete(f"{running.url}/v1/adapters/{name}", headers=headers).status_code == status
    with serving(upload_adapters=False) as running:
        assert upload(running, "new", folder).status_code == 403
        assert httpx.delete(f"{running.url}/v1/adapters/accent").status_code == 403
    with serving() as running:  # no page of another site may use a server without keys
        headers = {"Origin": "https://elsewhere.example"}
        assert httpx.delete(f"{running.url}/v1/adapters/accent", headers=headers).status_code == 403
        for host in ("elsewhere.example:8000", "[x"):  # nor one whose name leads here
            headers = {"Origin": f"http://{host}", "Host": host}
            assert httpx.get(f"{running.url}/v1/adapters", headers=headers).status_code == 403
        headers = {"Origin": running.url}
        assert httpx.get(f"{running.url}/v1/adapters", headers=headers).status_code == 200


def test_who_uses_a_shared_adapter_may_not_change_it(serving, adapters, recordings):
    key = "key-of-a-physician"
    with serving(keys=f"- {{name: dr, key: {key}, adapters: [medical], manage: [dr-01]}}") as running:
        headers = {"Authorization": f"Bearer {key}"}
        assert upload(running, "dr-01", adapters["accent"], key=key).status_code == 201
        answers = [upload(running, "medical", adapters["accent"], key=key, replace="true")]
        answers.append(httpx.delete(f"{running.url}/v1/adapters/medical", headers=headers))
        form = {"name": (None, "medical"), "consent": (None, "true")}
        answers.append(httpx.post(f"{running.url}/v1/voices", files=form, headers=headers))
        assert [answer.status_code for answer in answers] == [403] * 3
        assert registry.file_contents(registry.adapters_dir() / "medical") == registry.file_contents(
            adapters["medical"]
        )
        assert {m.id for m in running.client(key).models.list()} == {"mini", "medical", "dr-01"}
        assert httpx.delete(f"{running.url}/v1/adapters/dr-01", headers=headers).status_code == 200


WRONG_KEYS = ["- 1", "{}", "- {name: a}", "- {name: a, key: k, adapters: []}", "["]
WRONG_KEYS += ["- {name: a, key: sixteen-letters-, more: 1}", "- {name: a, key: 'sha256:0123456789abcdef'}"]


@pytest.mark.parametrize("content", WRONG_KEYS)
def test_a_file_of_keys_that_is_wrong_is_named_and_no_key_is_told(tmp_path, content):
    file = tmp_path / "keys.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"keys\.yaml:(1:)? ") as caught:
        Access(file, 0)
    assert "sixteen-letters" not in str(caught.value)


def test_of_a_file_of_keys_the_line_is_told_or_that_it_cannot_be_read(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text("- {name: a, key: key-number-one-0001}\n- {name: b\n- {name: c}\n")
    with pytest.raises(UserError, match=r"keys\.yaml:3: is not a list of keys"):
        Access(file, 0)
    file.write_text(
        "- {name: a, key: key-number-one-0001}\n- name: b\n  key: key-number-two-0002\n  manage: true\n"
    )
    with pytest.raises(UserError, match=r"keys\.yaml:4: manage: .*such as manage: \[dr-01"):  # of 0.1.0
        Access(file, 0)
    with pytest.raises(UserError, match=r": Is a directory"):
        Access(tmp_path, 0)


def test_a_download_is_whole_while_the_adapter_is_replaced(adapters, tmp_path):
    versions = []
    for name in ("accent", "medical"):
        (tmp_path / name).mkdir()
        copy_publishable(adapters[name], tmp_path / name, "ward")
        versions.append(registry.file_contents(tmp_path / name))
    registry.register(adapters["accent"], "ward")
    stored = find_stored("ward")

    def replace_often() -> None:
        for number in range(30):
            registry.register(adapters["medical" if number % 2 else "accent"], "ward", force=True)

    writer = threading.Thread(target=replace_often)
    writer.start()
    try:
        while writer.is_alive():
            archive = zipfile.ZipFile(io.BytesIO(zipped(stored)))
            assert {name.removeprefix("ward/"): archive.read(name) for name in archive.namelist()} in versions
    finally:
        writer.join()


# ---- what a record from elsewhere says

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


def use_record(folder: Path, copies: Path) -> None:
    """Call what reads an adapter's record, but for the server."""
    recorded_base(folder), registry.training_data(folder), heard_by(folder)
    assert isinstance(voice.speaker_of(folder), str)
    voice.new_to(folder, [Utterance("a-1", "a", "a-1", "a.wav", text="no")])
    [*map(score_line, read_record(folder)["scores"])], labels_of_trained(str(folder), {})
    copy_publishable(folder, copies, "me/a"), update_card(folder, overwrite=True)


def test_odd_types_in_a_record_are_refused_or_do_no_harm(serving, adapters, tmp_path, caplog):
    folder, copies = shutil.copytree(adapters["medical"], tmp_path / "odd"), tmp_path / "copies"
    copies.mkdir()
    whole, taken = read_record(folder) | MORE, []
    for mutant in mutants(whole):
        (folder / METADATA).write_text(json.dumps(mutant))
        with suppress(UserError):
            use_record(folder, copies)
            taken.append(mutant)
    assert len(taken) > 100, "that of further entries, such as labels, which may be anything"
    soundfile.write(tmp_path / "short.wav", np.zeros(4000), 16_000)
    with serving() as running, httpx.Client(base_url=f"{running.url}/v1") as client:
        for number, mutant in enumerate([*taken[::8], *islice(mutants(whole), 0, None, 15)]):
            (folder / METADATA).write_text(json.dumps(mutant))
            registry.register(folder, "here", force=True)  # as it may have lain there before
            answer = upload(running, "sent", folder, replace="true")
            assert answer.status_code in (201, 400), mutant
            for path in ("adapters", "adapters/here", "adapters/here/download", "adapters/sent"):
                assert client.get(path).status_code < 500, mutant
            for model in ("here", "sent", "auto")[number % 3 :][:1]:
                files = {"file": (tmp_path / "short.wav").read_bytes()}
                done = client.post("audio/transcriptions", data={"model": model}, files=files)
                assert done.status_code < 500, mutant
    assert "defect" not in caplog.text


def test_a_gate_that_is_unusable_stops_neither_the_server_nor_auto(
    serving, recognizer, adapters, recordings, caplog
):
    base = recognizer.base
    for name, files in (("accent", recordings[:3]), ("medical", recordings[3:6])):
        write_gate(registry.adapters_dir() / name, measure_speech(base, map(load_audio, files)))
    with serving() as running:
        assert text(running, "auto", recordings[0])
        damage_gate(registry.adapters_dir() / "accent", "beyond 1")  # which a running server notices
        assert text(running, "auto", recordings[0]) and "accent/gate.safetensors: " in caplog.text
        with pytest.raises(openai.BadRequestError):
            text(running, "auto:accent", recordings[0])
        for fault in FAULTS:
            shutil.copy(registry.adapters_dir() / "medical" / GATE, adapters["accent"])
            damage_gate(adapters["accent"], fault)
            refused = upload(running, "new", adapters["accent"], (*FILES, GATE))
            (adapters["accent"] / GATE).unlink()
            assert refused.status_code == 400 and "gate.safetensors" in refused.text, fault


ATTACK = """
- {name: anna, key: key-of-anna-000001, adapters: [anna], manage: [anna]}
- {name: bank, key: key-of-bank-000002, adapters: ['bank*'], manage: ["bank*"]}
"""


@pytest.mark.parametrize("already_there", [False, True])
def test_no_record_makes_the_server_train_on_somebody_elses_recordings(
    serving, adapters, recordings, tmp_path, already_there
):
    """By the real job, which with anna's recordings would have enough to train, and by the server's base."""
    folder, anna, bank = tmp_path / "evil", "key-of-anna-000001", "key-of-bank-000002"
    shutil.copytree(adapters["medical"], folder)
    data = str(voice.store_of("anna") / "data")
    training = {"data": data, "trained_on": ["a"], "audio": ["0"], "corrections": {"a": 1}, "seed": 1}
    write_record(folder, read_record(folder) | {"training": training, "base": str(tmp_path / "no_base")})
    with serving(keys=ATTACK) as running:
        for name, key, files in (("anna", anna, recordings[:6]), ("bank1", bank, recordings[6:9])):
            if name == "bank1" and already_there:  # from before uploads were cleaned
                registry.register(folder, "bank1")
                shutil.copy(folder / METADATA, registry.adapters_dir() / "bank1")
            elif name == "bank1":
                assert upload(running, "bank1", folder, key=key).status_code == 201
                stored = read_record(registry.adapters_dir() / "bank1")
                assert (stored["base"], stored["training"]) == ("mini", {"dataset": "data", "seed": 1})
            begin(running, name, key)
            for number, file in enumerate(files):
                fields = {"file": file, "text": f"{'very ' * number}short"}
                assert call(running, "POST", f"/{name}/recordings", key, **fields).status_code == 201
        assert call(running, "POST", "/bank1/learn", bank, epochs=1).status_code == 202
        eventually(lambda: read_job("bank1")["state"] not in ("queued", "running"))
        assert "bank1: 3 utterances can't be divided" in read_job("bank1")["result"]["reason"]
        headers = {"Authorization": f"Bearer {bank}"}
        download = httpx.get(f"{running.url}/v1/adapters/bank1/download", headers=headers).content
        with zipfile.ZipFile(io.BytesIO(download)) as archive:
            assert not any(str(tmp_path).encode() in archive.read(name) for name in archive.namelist())
