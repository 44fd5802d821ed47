"""Chromium without a window, through ChromeDriver's protocol (W3C WebDriver) and the standard library."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

SEARCHED = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
         "disable-background-networking", "disable-component-update", "mute-audio",
         "autoplay-policy=no-user-gesture-required")  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's key of an element's id


# The paths of the two programs; None for a missing program.
FOUND = {name: next(filter(None, map(shutil.which, names)), None) for name, names in SEARCHED.items()}
needs_browser = pytest.mark.skipif(
    not all(FOUND.values()),
    reason=f"no {' and no '.join(name for name, path in FOUND.items() if not path)} on this machine "
    "(Debian: apt-get install chromium chromium-driver)",
)


class Browser:
    """A ChromeDriver with a session; `stop` ends both."""

    def __init__(self, folder: Path, *flags: str):
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.driver = subprocess.Popen(
            [FOUND["chromedriver"], f"--port={self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        options = {
            "binary": FOUND["chromium"],
            "args": [f"--user-data-dir={folder}", *(f"--{flag}" for flag in (*FLAGS, *flags))],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        try:
            self.wait_until_ready()
            started = self.call("/session", capabilities={"alwaysMatch": wanted})
        except BaseException:
            self.stop()
            raise
        self.session = f"/session/{started['sessionId']}"

    def wait_until_ready(self) -> None:
        for _ in range(300):
            try:
                if self.call("/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver did not start")

    def call(self, path: str, method: str = "", **body: Any) -> Any:
        """One command; POST with a body, else GET. Raises RuntimeError with ChromeDriver's words."""
        method = method or ("POST" if body else "GET")
        data = json.dumps(body).encode() if method == "POST" else None
        url = f"http://127.0.0.1:{self.port}{self.session}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, page: Path | str) -> None:
        """A file, or a URL."""
        self.call("/url", url=page.absolute().as_uri() if isinstance(page, Path) else page)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.call("/execute/sync", script=script, args=list(arguments))

    def wait(self, script: str, *arguments: Any) -> Any:
        """What the script hands to `done`."""
        script = f"const done = arguments[arguments.length - 1]; {script}"
        return self.call("/execute/async", script=script, args=list(arguments))

    def find(self, css: str) -> str:
        return self.call("/element", using="css selector", value=css)[ELEMENT]

    def click(self, css: str) -> None:
        """Also if the page replaces the element in that moment."""
        while True:
            element = self.find(css)
            try:
                self.run("arguments[0].scrollIntoView({block: 'center'})", {ELEMENT: element})
                self.call(f"/element/{element}/click", method="POST")
                return
            except RuntimeError as error:
                if "stale element" not in str(error):
                    raise

    def type(self, css: str, text: str) -> None:
        self.call(f"/element/{self.find(css)}/value", text=text)

    def choose(self, css: str, value: str) -> None:
        self.click(f'{css} option[value="{value}"]')

    def complaints(self) -> list[str]:
        """What the page wrote to the console: errors, and refusals by the policy."""
        return [entry["message"] for entry in self.call("/se/log", type="browser")]

    def stop(self) -> None:
        if self.session:
            self.call("", method="DELETE")
        self.driver.terminate()
        self.driver.wait()
