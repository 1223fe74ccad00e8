"""Writes the README's example output from a real run: ``python tests/write_readme.py``."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- quickstart: written by tests/write_readme.py -->", "<!-- end -->"


def printed_by_quickstart() -> str:
    """What the main job prints, run in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kt_transfer", "quickstart", "--out", "runs/first"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def shown_in_readme() -> str:
    """What the README shows of it."""
    text = README.read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip().strip("`").strip()


def without_numbers(text: str) -> list[str]:
    """The words of every line, which do not depend on the machine."""
    return [" ".join(re.sub(r"[\d.,]+", "N", line).split()) for line in text.splitlines()]


if __name__ == "__main__":
    text = README.read_text()
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    README.write_text(f"{before}{BEGIN}\n```\n{printed_by_quickstart()}\n```\n{after}")
