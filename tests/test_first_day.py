"""A newcomer's first day with her own photographs, as the example does it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "first_day.py"


@pytest.mark.slow
def test_the_first_day(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "day", "240"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(r"accuracy ([\d.]+) on test .*, ([\d.]+) on new ones", done.stdout)
    # A third of the answers would be right by chance.
    assert min(map(float, said.groups())) > 0.5
