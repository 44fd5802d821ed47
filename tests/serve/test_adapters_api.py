"""/v1/adapters: what is stored is proven to fit, is used by the next request, and leaves without a trace."""

import io
import json
import threading
import zipfile
from pathlib import Path

import httpx
import pytest

from ia3_speech.adapters import registry
from ia3_speech.adapters.cache import find_stored
from ia3_speech.cli import UserError
from ia3_speech.serve.access import Access
from ia3_speech.serve.adapters_api import zipped
from tests.serve.conftest import FILES, eventually


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
    for name in ("", "..", "a/b", "../up", "x" * 65, "a\nb", "-x", "mini"):
        assert upload(running, name, folder).status_code in (400, 403), name
    assert registry.registered_names() == before and not list(registry.home().glob("*evil*"))
    assert not (registry.home().parent / "up").exists()


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
        assert registry.file_contents(registry.home() / "medical") == registry.file_contents(
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


def test_a_download_is_whole_while_the_adapter_is_replaced(adapters):
    versions = [registry.file_contents(adapters[name]) for name in ("accent", "medical")]
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
