"""``--help`` of every command: it answers, and imports nothing that takes seconds."""

import subprocess
import sys

import pytest

from kt_transfer.shell.main import COMMANDS

TUNED = ["tune pretrain", "tune finetune", "tune distill"]


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), *map(str.split, TUNED)])
def test_help_answers(tmp_path, words):
    form = ["kt_transfer"] if not words else [f"kt_transfer.{words[0]}", *words[1:]]
    done = subprocess.run(
        [sys.executable, "-m", *form, "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "usage" in done.stdout
    assert done.stderr == ""


HELP = """
import sys
from kt_transfer.__main__ import main
for words in {words}:
    try:
        main([*words, "--help"])
    except SystemExit as leaving:
        assert leaving.code == 0, words
heavy = {{"tensorflow", "keras", "keras_tuner", "sklearn", "pandas"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""


def test_help_imports_nothing_heavy(tmp_path):
    words = [[name] for name in COMMANDS] + [name.split() for name in TUNED]
    script = HELP.format(words=words)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
