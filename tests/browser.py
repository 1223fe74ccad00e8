"""A page in headless Chromium: what it looks like, and what it says of itself."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--allow-file-access-from-files"),
]
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"
)
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="axe-core is not installed (npm install --no-save axe-core)"
)
# Ends up in the page that frames it, as JSON.
_MEASURE = """
const tell = found => parent.postMessage(JSON.stringify(found), "*");
const wide = [...document.querySelectorAll("body *")].filter(element => {
  const ends = element.getBoundingClientRect().right;
  return ends > innerWidth + 0.5 && !element.closest(".box");
});
const found = {
  width: innerWidth,
  scrolls: document.documentElement.scrollWidth,
  beyond: wide.map(element => element.outerHTML.slice(0, 80)),
  background: getComputedStyle(document.body).backgroundColor,
  images: [...document.images].map(image => image.naturalWidth),
  headings: [...document.querySelectorAll("h1, h2, h3")].map(h => h.textContent),
};
if (!window.axe) tell(found);
else axe.run().then(({violations}) => tell({...found, violations: violations.map(
  one => [one.id, ...one.nodes.map(node => node.html.slice(0, 120) + " " + node.failureSummary)]
)}));
"""
_FRAME = """<!doctype html><body style="margin:0"><pre id="found"></pre>
<script>onmessage = event => document.getElementById("found").textContent = event.data</script>
<iframe src="{source}" width="{width}" height="800" style="border:0"></iframe>"""


def measure(page: Path, folder: Path, *, width: int, dark: bool = False, axe: bool = False) -> dict:
    """What the page is like in a window of that width; with axe, what it finds amiss."""
    text = page.read_text()
    scripts = f"<script>{AXE.read_text()}</script>" if axe else ""
    # The page lets no script run: a copy without that rule is measured.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    text = text.replace("</body>", f"{scripts}<script>{_MEASURE}</script></body>")
    (folder / "measured.html").write_text(text.replace("<details", "<details open"))
    frame = folder / "frame.html"
    frame.write_text(_FRAME.format(source="measured.html", width=width))
    dom = _chromium(frame, folder, dark, "--dump-dom", "--virtual-time-budget=20000").stdout
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)[1]))


def console(page: Path, folder: Path) -> list[str]:
    """What the browser has to say about the page as it is."""
    said = _chromium(page, folder, False, "--dump-dom", "--enable-logging=stderr").stderr
    return [line for line in said.splitlines() if "CONSOLE" in line]


def _chromium(page: Path, folder: Path, dark: bool, *options: str):
    return subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--window-size=1200,900",
            *options,
            page.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
