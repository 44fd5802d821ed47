"""Ray Serve, two replicas: the same API; requests go where their adapter is; a killed replica loses none."""

import socket
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ray", reason="ray is not installed (pip install -e '.[ray]')")

import httpx
import ray
from openai import OpenAI
from ray import serve
from ray.serve._private import api
from ray.serve.schema import ServeDeploySchema

from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import load_audio
from ia3_speech.serve.ray_app import app
from tests.serve.conftest import NAMES
from tests.serve.test_realtime import TRANSCRIPTION, append, pcm, session, until

MANIFEST = Path(__file__).parents[2] / "scripts/deploy/rayservice.yaml"
PATIENT = {
    f"RAY_SERVE_{name}_S": "120"  # the machine may be busy
    for name in (
        "PROXY_READY_CHECK_TIMEOUT",
        "PROXY_HEALTH_CHECK_TIMEOUT",
        "QUEUE_LENGTH_RESPONSE_DEADLINE",
        "MAX_QUEUE_LENGTH_RESPONSE_DEADLINE",
        "MULTIPLEXED_MODEL_ID_MATCHING_TIMEOUT",
    )
}
ALONE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # no network, no token in ~


@pytest.fixture
def url(adapters, monkeypatch):
    """The address of a cluster on this machine, with two replicas."""
    for name, value in {**PATIENT, **ALONE}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(api, "HTTP_PROXY_TIMEOUT", 600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(num_cpus=4, include_dashboard=False, logging_level="warning", object_store_memory=2**28)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app({"search": "greedy", "training": "false", "min_replicas": "2", "max_replicas": 2}))
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def test_two_replicas(url, recordings, offline):
    expected = {name: offline(recordings[0], name).text for name in ("mini", *NAMES)}

    def answer(name: str) -> httpx.Response:
        file = {"file": recordings[0].read_bytes()}
        return httpx.post(f"{url}/v1/audio/transcriptions", data={"model": name}, files=file, timeout=600)

    # Each adapter is at one replica, and both have some.
    for name in [*expected] * 2:
        assert answer(name).json()["text"] == expected[name]
    replicas = serve.get_deployment_handle("Replica", serve.status().applications.popitem()[0])
    loaded = {
        name: replicas.options(multiplexed_model_id=f"{name}:1.0").loaded.remote().result() for name in NAMES
    }
    assert all(name in loaded[name] for name in NAMES)
    assert sorted(name for names in {*map(tuple, loaded.values())} for name in names) == sorted(NAMES)

    # One of them is killed, with requests under way at both.
    actors = [a for a in ray.util.list_named_actors(all_namespaces=True) if "#Replica#" in a["name"]]
    assert len(actors) == 2
    with ThreadPoolExecutor(12) as clients:
        answers = {clients.submit(answer, name): name for name in [*expected] * 6}
        next(as_completed(answers))
        ray.kill(ray.get_actor(**actors[0]))
        for future, name in answers.items():
            assert future.result().status_code in (200, 503), future.result().text
            assert future.result().status_code == 503 or future.result().json()["text"] == expected[name]

    # What is not a plain request.
    client = OpenAI(api_key="none-is-needed", base_url=f"{url}/v1", timeout=600)
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(session=session(turn_detection=None, transcription={"model": "accent"}))
        append(connection, pcm(load_audio(recordings[0])))
        connection.input_audio_buffer.commit()
        assert until(connection, f"{TRANSCRIPTION}.completed")[-1].transcript


def test_the_manifest_and_options():
    """Ray Serve and the application accept the manifest for Kubernetes."""
    *_, manifest = yaml.safe_load_all(MANIFEST.read_text("utf-8"))
    config = ServeDeploySchema(**yaml.safe_load(manifest["spec"]["serveConfigV2"])).applications[0]
    assert config.import_path == f"{app.__module__}:{app.__name__}"
    with pytest.raises(UserError, match=r"/keys/keys\.yaml`: no such file"):
        app(config.args)  # all others are right
    assert {deployment.name for deployment in config.deployments} <= {"Frontend", "Replica"}
    for wrong, message in (({"gpu": "1"}, "gpu: Unexpected"), ({"gpus": "x"}, "gpus: ")):
        with pytest.raises(UserError, match=message):
            app(wrong)
