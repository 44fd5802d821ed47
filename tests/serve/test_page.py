"""The page in a real browser, whose microphone plays real recordings."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from ia3_speech.adapters import registry
from ia3_speech.data.audio import load_audio
from ia3_speech.session import load
from ia3_speech.voices import voice
from tests.report.webdriver import Browser, needs_browser
from tests.serve.conftest import GREEDY
from tests.tiny_models import random_adapter

pytestmark = needs_browser

AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
PATIENCE = 600  # seconds for a training beside other work


@pytest.fixture
def microphone(tmp_path) -> Path:
    """The file that the browser's microphone plays from its beginning whenever it is opened."""
    return tmp_path / "microphone.wav"


@pytest.fixture
def browser(tmp_path, microphone):
    flags = ("use-fake-ui-for-media-stream", "use-fake-device-for-media-stream", "hide-scrollbars", "lang=en")
    browser = Browser(tmp_path / "profile", *flags, f"use-file-for-fake-audio-capture={microphone}%noloop")
    yield browser
    browser.stop()


def eventually(browser: Browser, script: str, patience: float = 60):
    """The value of a script as soon as it is true."""
    end = time.monotonic() + patience
    while not (value := browser.run(f"return {script}")):
        faults = browser.run(
            "return [...document.querySelectorAll('.fault')].map((f) => f.textContent).join()"
        )
        assert time.monotonic() < end, (script, faults)
        time.sleep(0.1)
    return value


def open_page(browser: Browser, address: str) -> None:
    browser.open(address)
    eventually(browser, "document.body.dataset.ready")


def read_aloud(browser: Browser, microphone: Path, recording: Path, button: str) -> None:
    """Record the microphone's sound."""
    wave = np.pad(soxr.resample(load_audio(recording), 16_000, 48_000), (48_000, 24_000))
    soundfile.write(microphone, wave, 48_000, subtype="PCM_16")
    browser.click(button)
    eventually(browser, f"document.querySelector('{button}').dataset.recording === 'true'")
    eventually(browser, f"document.querySelector('{button}').dataset.seconds > {len(wave) / 48_000}")
    skip = browser.run("return document.querySelector('#read-skip').disabled")
    assert skip or button != "#read-record", "the sentence that is being recorded stays"
    browser.click(button)


def check_accessibility(browser: Browser) -> None:
    """Nothing is wider than the window, and axe, if it is installed, finds nothing, in light and dark."""
    for width, theme in ((320, "dark"), (768, "dark"), (1440, "light")):
        command(browser, "Emulation.setDeviceMetricsOverride", width=width, height=900,
                deviceScaleFactor=1, mobile=False)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": theme}]
        command(browser, "Emulation.setEmulatedMedia", features=features)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        if AXE.is_file() and width != 768:
            browser.run(f"if (!window.axe) {{ {AXE.read_text('utf-8')} }}")
            script = "axe.run().then((r) => done(r.violations.map((v) => [v.id, v.nodes[0].html])))"
            assert browser.wait(script) == [], (width, theme)


def command(browser: Browser, name: str, **parameters) -> None:
    browser.call("/goog/cdp/execute", cmd=name, params=parameters)


def test_record_learn_transcribe_correct_delete(
    serving, browser, microphone, recordings, texts, tmp_path, save_base, quick_jobs
):
    base = save_base(tmp_path / "base", seed=2, sharpness=50, delimiter=8)
    adapter = random_adapter(base, tmp_path / "adapter", 42, low=0.5, high=1.5)
    sentences = [texts[file.stem] for file in recordings[:7]]
    card = "document.querySelector('#made .voice')"
    with serving(load(base, search=GREEDY).session) as running:
        open_page(browser, f"{running.url}/")
        browser.click("a[href='#make']")
        check_accessibility(browser)
        browser.click("#consent-given")
        browser.type("#voice-name", "anna")
        browser.click("#consent button")
        eventually(browser, "document.querySelector('#reading:not([hidden]) .voice')")
        browser.click("#reading details summary")
        browser.type("#pasted", "\n".join(sentences[5:6]))
        browser.click("#paste")
        for file, sentence in zip(recordings[:5], sentences[:5], strict=True):
            assert running.record("anna", file, sentence).status_code == 201
        read_aloud(browser, microphone, recordings[5], "#read-record")
        eventually(browser, "document.activeElement.id === 'read-keep'")
        browser.click("#read-keep")
        eventually(browser, f"{card}.textContent.startsWith('anna6 recordings')")
        stored = {u.text: u for u in voice.read_store("anna")}
        assert sorted(stored) == sorted(sentences[:6])
        assert stored[sentences[5]].duration > len(load_audio(recordings[5])) / 16_000

        browser.run(f"{card}.querySelector('.epochs').value = 1")
        browser.run(f"{card}.querySelector('.learn').click()")
        eventually(browser, f"{card}.querySelector('progress ~ p')?.textContent")
        eventually(browser, f"['done', 'failed'].includes({card}.dataset.state)", PATIENCE)
        assert "unseen sentences" in browser.run(f"return {card}.querySelector('.status').textContent")
        check_accessibility(browser)
        registry.register(adapter, "anna", force=True)

        browser.open(f"{running.url}/#voices")
        browser.call("/refresh", method="POST")
        eventually(browser, "document.querySelector('#voice-list .use')")
        browser.click("#voice-list .use")
        eventually(browser, "!document.querySelector('#try').hidden")
        read_aloud(browser, microphone, recordings[6], "#record")
        eventually(browser, "document.querySelectorAll('#columns .card').length === 2")
        eventually(browser, "document.querySelectorAll('#wave-words span').length")
        check_accessibility(browser)
        browser.run("document.querySelector('#correct-text').value = arguments[0]", sentences[6])
        browser.click("#correct-consent")
        browser.click("#correct button")
        eventually(browser, "document.querySelector('#correct-status').textContent.startsWith('Saved: 7')")

        browser.click("a[href='#voices']")
        eventually(browser, "document.querySelector('#voice-list .voice .learn')")
        browser.click("#voice-list .delete")
        browser.call("/alert/accept", method="POST")
        eventually(browser, "!document.querySelector('#voice-list .voice')")
        assert [path for path in registry.home().rglob("*") if "anna" in str(path)] == []
    assert browser.complaints() == []


def test_a_voice_chosen_during_a_recognition_is_used(running, browser):
    open_page(browser, f"{running.url}/")
    with running.server.engine.computing:
        browser.click("#sample")
        eventually(browser, "document.querySelector('#try-status').textContent === 'Transcribing …'")
        browser.choose("#first", "medical")
    columns = "[...document.querySelectorAll('#columns h3')].map((h) => h.textContent)"
    eventually(browser, "!document.querySelector('#results').hidden")
    assert browser.run(f"return {columns}") == ["Standard recognition", "medical"]
    eventually(browser, "document.querySelector('#transcribe:enabled')")
    assert browser.complaints() == []


def test_the_adapter_and_the_recordings_are_deleted_separately(running, browser, recordings, no_process):
    """The adapter was registered by the command line, so that deleting its corrections keeps it."""
    for name in ("accent", "medical"):
        running.begin(name)
        running.record(name, recordings[0])
    registry.register(registry.adapters_dir() / "accent", "accent@1")
    open_page(browser, f"{running.url}/#voices")
    card = "document.querySelector('.voice[data-name={}] {}')".format
    for name, button in (("accent", ".forget"), ("medical", ".delete")):
        eventually(browser, card(name, button))
        assert browser.run(f"return {card(name, '.delete')}.textContent") == "Delete the recordings"
        browser.click(f".voice[data-name={name}] {button}")
        browser.call("/alert/accept", method="POST")
        eventually(browser, f"!{card(name, button)}")
    assert registry.registered_names() == ["medical", "speaker42"]
    assert (len(voice.read_store("accent")), len(voice.read_store("medical"))) == (1, 0)
    assert browser.run(f"return {card('accent', '.delete')}.textContent") == "Delete everything"


def test_a_read_only_page_and_one_that_asks_for_a_key(serving, browser, adapters):
    with serving(training=False) as running:
        open_page(browser, f"{running.url}/#make")
        shown = browser.run("return [...document.querySelectorAll('nav a, section')].filter((e) => !e.hidden)"
                            ".map((e) => e.id || e.hash)")  # fmt: skip
        assert shown == ["#try", "#dictate", "try"]
    with serving(keys="- {name: a, key: key-number-one-0001, adapters: [medical]}") as running:
        browser.open(f"{running.url}/")
        eventually(browser, "!document.querySelector('#key-form').hidden")
        check_accessibility(browser)
        for key, ready in (("key-of-nobody-000", "document.querySelector('#key-fault').textContent"),
                           ("key-number-one-0001", "document.body.dataset.ready")):  # fmt: skip
            browser.type("#key", key)
            browser.click("#key-form button")
            eventually(browser, ready)
        options = browser.run("return [...document.querySelectorAll('#first option')].map((o) => o.value)")
        assert options == ["", "medical"]
        browser.choose("#language", "de")
        assert browser.run("return document.querySelector('#record').textContent") == "Aufnehmen"
        browser.click("#sign-out")
        eventually(browser, "!document.querySelector('#key-form').hidden && !sessionStorage.getItem('key')")


def test_an_alternative_replaces_an_unsure_word_of_a_dictation(
    serving, browser, microphone, recordings, adapters
):
    text = "document.querySelector('#dictate-text')"
    button = "document.querySelector('#dictate-unsure button')"
    with serving(load("mini").session) as running:
        open_page(browser, f"{running.url}/#dictate")
        browser.choose("#dictate-voice", "medical")
        read_aloud(browser, microphone, recordings[2], "#dictate-record")
        eventually(browser, "document.querySelector('#dictate-status').textContent.endsWith(' words.')")
        dictated = browser.run(f"return {text}.value")
        assert dictated[0].isupper(), "as dictation writes it"
        word = browser.run(f"{button}.focus(); {button}.click(); return {button}.textContent")
        check_accessibility(browser)
        choice = browser.run("return document.activeElement.textContent")
        browser.run("document.activeElement.click()")
        corrected = browser.run(f"return {text}.value").lower()
        assert corrected == dictated.lower().replace(word, choice, 1) != dictated.lower()
        assert running.server.active == 0 and not [*registry.home().rglob("*.flac")]
    assert browser.complaints() == []
