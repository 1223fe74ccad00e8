"""Every example in a docstring runs, with the real library, and says what it is said to say."""

import doctest
import importlib
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import kt_transfer

PACKAGE = Path(kt_transfer.__file__).parent
NAMES = {"np": np, "keras": keras}  # as every reader of a docstring knows them


def examples():
    """The modules that have examples, and how many."""
    counts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        count = sum(line.lstrip().startswith(">>> ") for line in path.read_text().splitlines())
        if count:
            words = path.relative_to(PACKAGE.parent).with_suffix("").parts
            counts[".".join(words).removesuffix(".__init__")] = count
    return counts


EXAMPLES = examples()


@pytest.fixture
def runs(chain, tmp_path, monkeypatch):
    """The folder of a user who has made a chain on digits."""
    monkeypatch.chdir(tmp_path)
    for name in ("source", "teacher", "student"):
        shutil.copytree(getattr(chain, name), tmp_path / "runs" / f"digits-{name}")
    shutil.copytree(chain.exported, tmp_path / "saved_models" / "digits" / "1")


# These train for seconds; tests of their own run them, too.
SLOW = {f"kt_transfer.{name}" for name in ("compare", "distill", "finetune", "quickstart", "tune")}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in EXAMPLES],
)
def test_examples_run(name, runs, unchecked_exports, capsys):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=NAMES):
        runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out
    assert runner.tries == EXAMPLES[name]


def test_every_public_name_has_a_docstring():
    for name in kt_transfer.__all__:
        assert name == "__version__" or getattr(kt_transfer, name).__doc__, name
