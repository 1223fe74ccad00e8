"""A page in headless Chromium that is used as people use it: looked at, clicked, drawn on."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import subprocess
import time
from pathlib import Path

from browser import CHROMIUM, FLAGS

# Boards are drawn by WebGL, which software does where there is no graphics card.
_FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-pipe"]


class Tab:
    """One page, by Chromium's own protocol through a pair of pipes: no port, no package.

    Attributes:
        requests: The URLs that the page asked for.
        messages: What its console said, and errors of its scripts.
    """

    def __init__(self, reader: int, writer: int):
        self._reader, self._writer = reader, writer
        self._buffer, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.messages: list[str] = []

    def call(self, method: str, **parameters) -> dict:
        """Ask the browser for something, and wait for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while True:
            answer = self._read(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, url: str, *, width: int, height: int, dark: bool) -> None:
        """Load a page in a window of that size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)

    def js(self, expression: str):
        """The value of an expression of the page."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 30):
        """Wait until an expression is true, and return its value."""
        until = time.monotonic() + seconds
        while not (value := self.js(expression)):
            assert time.monotonic() < until, (expression, self.js("document.body.innerText"))
            time.sleep(0.05)
        return value

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element, which is scrolled to."""
        return self.wait(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return;"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]; })()"
        )

    def drag(self, points) -> None:
        """Press the mouse at the first point, move it along the others, and let go."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        self._mouse("mouseMoved", *points[0], 0)
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            self._mouse(kind, x, y, 1)

    def click(self, selector: str) -> None:
        """Click on an element."""
        left, top, width, height = self.place(selector)
        self.drag([(left + width / 2, top + height / 2)])

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        self.click(selector)
        self.js(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file."""
        self.place(selector)
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """What it looks like, as a PNG file."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End the browser with all of its processes, which write to its folder until then."""
        self._number += 1
        os.write(self._writer, json.dumps({"id": self._number, "method": "Browser.close"}).encode())
        os.write(self._writer, b"\0")

    def _mouse(self, kind: str, x: float, y: float, buttons: int) -> None:
        given = {"button": "left" if buttons else "none", "buttons": buttons, "clickCount": buttons}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **given)

    def _read(self, until: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            piece = os.read(self._reader, 2**16)
            assert piece, "the browser has ended"
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        answer = json.loads(message)
        if answer.get("method") == "Network.requestWillBeSent":
            self.requests.append(answer["params"]["request"]["url"])
        elif answer.get("method") == "Runtime.consoleAPICalled":
            self.messages += [str(one.get("value")) for one in answer["params"]["args"]]
        elif answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.messages.append(json.dumps(answer["params"])[:500])
        return answer


@contextlib.contextmanager
def opened(url: str, folder: Path, *, width: int = 1200, height: int = 900, dark: bool = False):
    """A page in a browser of its own, which is ended afterwards; a :class:`Tab`."""
    pipes = [os.pipe(), os.pipe()]
    (theirs, writer), (reader, theirs_too) = pipes

    def take() -> None:
        # The browser reads from 3 and writes to 4, which may be in use for each other.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 50) for one in (theirs, theirs_too)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=take,
    )
    os.close(theirs)
    os.close(theirs_too)
    tab = Tab(reader, writer)
    try:
        tab.open(url, width=width, height=height, dark=dark)
        yield tab
    finally:
        tab.close()
        process.wait(30)
        os.close(reader)
        os.close(writer)
