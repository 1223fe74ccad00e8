"""Writes the README's example output from real runs: ``python tests/write_readme.py``."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = {"quickstart": "runs/first", "compare": "runs/compared"}
END = "<!-- end -->"


def printed_by(command: str) -> str:
    """What a command with no flag prints, run in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "kt_transfer", command, "--out", EXAMPLES[command]]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.replace(str(Path(folder).resolve()), "$PWD").strip()


def shown_in_readme(command: str) -> str:
    """What the README shows of it."""
    _, shown, _ = _parts(README.read_text(), command)
    return shown.strip().strip("`").strip()


def without_numbers(text: str) -> list[str]:
    """The words of every line, which do not depend on the machine."""
    return [" ".join(re.sub(r"[\d.,]+", "N", line).split()) for line in text.splitlines()]


def _parts(text: str, command: str) -> tuple[str, str, str]:
    """The text before what is shown, what is shown, and the text after."""
    begin = f"<!-- {command}: written by tests/write_readme.py -->"
    start = text.index(begin) + len(begin)
    end = text.index(END, start)
    return text[:start], text[start:end], text[end:]


if __name__ == "__main__":
    for command in sys.argv[1:] or EXAMPLES:
        before, _, after = _parts(README.read_text(), command)
        README.write_text(f"{before}\n```\n{printed_by(command)}\n```\n{after}")
