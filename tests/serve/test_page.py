"""The page from end to end in a real browser, whose microphone plays real recordings: sentences are read, an
adapter is made, it transcribes, is corrected, and everything is deleted."""

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
from tests.tiny_models import attach_random

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


@pytest.fixture
def unscaled(adapter_folders, tmp_path):
    """A base that recognises almost nothing: mini with random vectors in its weights. The vectors of a
    registered adapter, scaling, undo them: as a start it is better than the base, on any machine."""
    from ia3_speech import load_base, save_adapter
    from ia3_speech.adapters.merge import export_terms
    from ia3_speech.adapters.spec import parse_sum
    from ia3_speech.model.ia3 import vectors

    export_terms(parse_sum(adapter_folders["accent"]), tmp_path / "unscaled")
    base = load_base(tmp_path / "unscaled")
    attach_random(base.model, "key", "value", "ffn", seed=0, low=0.4, high=1.6)  # as the adapter accent
    for vector in vectors(base.model).values():
        vector.l.data.reciprocal_()
    save_adapter(base.model, tmp_path / "scaling", base=base)
    registry.register(tmp_path / "scaling", "scaling")
    return load(str(tmp_path / "unscaled"), search=GREEDY).session


def open_page(browser: Browser, address: str) -> None:
    browser.open(address)
    eventually(browser, "document.body.dataset.ready")


def agree(browser: Browser, name: str) -> None:
    """Consent, and begin a voice."""
    browser.click("#consent-given")
    browser.type("#voice-name", name)
    browser.click("#consent button")
    eventually(browser, "document.querySelector('#reading:not([hidden])')")


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


def learn(browser: Browser) -> str:
    """Learn from the adapter scaling, with one epoch, and wait for the result in words."""
    card = "document.querySelector('section:not([hidden]) .voice')"
    for action in (".epochs').value = 1", ".start').value = 'scaling'", ".learn').click()"):
        browser.run(f"{card}.querySelector('{action}")
    eventually(browser, f"['queued', 'running'].includes({card}.dataset.state)", PATIENCE)
    state = eventually(browser, f"['done', 'failed'].find((s) => {card}.dataset.state === s)", PATIENCE)
    text = eventually(browser, f"{card}.querySelector('.status').textContent")
    assert state == "done", text
    return text


def test_record_adapt_transcribe_correct_learn_delete(
    serving, browser, microphone, recordings, texts, unscaled, quick_jobs
):
    sentences = [texts[file.stem] for file in recordings[:7]]
    with serving(unscaled) as running:
        open_page(browser, f"{running.url}/")
        check_accessibility(browser)

        # Make my own: consent, two sentences beside four that were recorded elsewhere, an adapter.
        browser.click("a[href='#make']")
        check_accessibility(browser)
        agree(browser, "anna")
        eventually(browser, "document.querySelector('#reading .voice')")
        browser.click("#reading details summary")
        browser.type("#pasted", "\n".join(sentences[4:6]))
        browser.click("#paste")
        for file, sentence in zip(recordings[:4], sentences[:4], strict=True):
            assert running.record("anna", file, sentence).status_code == 201
        for number, (file, sentence) in enumerate(zip(recordings[4:6], sentences[4:6], strict=True), 5):
            assert browser.run("return document.querySelector('#sentence').textContent") == sentence
            read_aloud(browser, microphone, file, "#read-record")
            eventually(browser, "document.activeElement.id === 'read-keep'")
            browser.click("#read-keep")
            focused = "sentence" if number == 6 else "read-record"
            eventually(browser, f"document.activeElement.id === '{focused}'")
            card = "document.querySelector('#made .voice').textContent"
            eventually(browser, f"{card}.startsWith('anna{number} recordings')")
        check_accessibility(browser)
        stored = {u.text: u for u in voice.read_store("anna")}
        assert sorted(stored) == sorted(sentences[:6])
        for file, sentence in zip(recordings[4:6], sentences[4:6], strict=True):
            assert stored[sentence].duration > len(load_audio(file)) / 16_000
        result = learn(browser)
        assert result.startswith("On unseen sentences, "), result
        kept = result.endswith("Your voice is in use now.")
        assert kept or "it was discarded" in result, result  # by chance: the start can hardly be improved
        assert registry.is_registered("anna") == kept
        check_accessibility(browser)
        if not kept:
            registry.register(registry.adapters_dir() / "scaling", "anna")

        # Try it: another sentence, beside the base; and its correction.
        browser.open(f"{running.url}/#voices")
        browser.call("/refresh", method="POST")
        eventually(browser, "document.querySelector('#voice-list .use')")
        browser.click("#voice-list .use")
        eventually(browser, "!document.querySelector('#try').hidden")
        read_aloud(browser, microphone, recordings[6], "#record")
        eventually(browser, "document.querySelectorAll('#columns .card').length === 2")
        eventually(browser, "document.querySelectorAll('#wave-words span').length")
        heads = browser.run("return [...document.querySelectorAll('#columns h3')].map((h) => h.textContent)")
        assert heads == ["Standard recognition", "anna"]
        check_accessibility(browser)
        browser.run("document.querySelector('#correct-text').value = arguments[0]", sentences[6])
        browser.click("#correct-consent")
        browser.click("#correct button")
        eventually(browser, "document.querySelector('#correct-status').textContent.startsWith('Saved: 7')")

        # After its deletion nothing is left.
        browser.click("a[href='#voices']")
        eventually(browser, "document.querySelector('#voice-list .voice .learn')")
        check_accessibility(browser)
        browser.click("#voice-list .delete")
        browser.call("/alert/accept", method="POST")
        eventually(browser, "!document.querySelector('#voice-list .voice')")
        assert [path for path in registry.home().rglob("*") if "anna" in str(path)] == []
        assert registry.registered_names() == ["scaling"]
    assert browser.complaints() == []


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


def test_dictate_correct_in_place_and_copy(serving, browser, microphone, recordings, adapters):
    text = "document.querySelector('#dictate-text')"
    expected = load("mini", adapter="medical").transcribe(recordings[2]).text.split()
    with serving(load("mini").session) as running:
        open_page(browser, f"{running.url}/")
        browser.click("a[href='#dictate']")
        check_accessibility(browser)
        browser.choose("#dictate-voice", "medical")
        read_aloud(browser, microphone, recordings[2], "#dictate-record")
        eventually(browser, "document.querySelector('#dictate-status').textContent.endsWith(' words.')")
        dictated = browser.run(f"return {text}.value")
        assert dictated[0].isupper(), "as dictation writes it"
        assert len({*dictated.lower().split()} & {*expected}) > len(expected) / 2
        check_accessibility(browser)

        # By keyboard, an alternative replaces an unsure word in the text, and is selected there.
        button = "document.querySelector('#dictate-unsure button')"
        word = browser.run(f"{button}.focus(); {button}.click(); return {button}.textContent")
        group = "document.querySelector('#dictate-choices')"
        assert browser.run(f"return {group}.ariaLabel") == f"Instead of {word}"
        check_accessibility(browser)
        choice = browser.run("return document.activeElement.textContent")
        browser.run("document.activeElement.click()")
        selection = f"{text}.value.slice({text}.selectionStart, {text}.selectionEnd)"
        assert browser.run(f"return document.activeElement === {text} && {selection}").lower() == choice
        corrected = browser.run(f"return {text}.value").lower()
        assert corrected == dictated.lower().replace(word, choice, 1) != dictated.lower()

        # The next dictation is appended to the edited text; leaving the section ends it.
        browser.run(f"{text}.value = 'By hand.'")
        browser.click("#dictate-record")
        eventually(browser, "document.querySelector('#dictate-live').textContent")
        browser.click("a[href='#try']")
        eventually(browser, "document.querySelector('#dictate-status').textContent.endsWith(' words.')")
        browser.click("a[href='#dictate']")
        browser.choose("#language", "de")
        check_accessibility(browser)
        allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        command(browser, "Browser.grantPermissions", permissions=allowed)
        browser.click("#dictate-copy")
        eventually(browser, "document.querySelector('#dictate-status').textContent === 'Kopiert.'")
        copied = browser.wait("navigator.clipboard.readText().then(done)")
        assert copied == browser.run(f"return {text}.value") and copied.startswith("By hand. ")
        assert running.server.active == 0 and not [*registry.home().rglob("*.flac")]
    assert browser.complaints() == []
