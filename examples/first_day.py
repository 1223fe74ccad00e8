"""A newcomer's first day, from a folder of photographs to a served model and a Python session.

    python examples/first_day.py FOLDER [COUNT]

Makes COUNT photographs (600) by photographs.py, some of them broken, and does what she would: each
step is a command in a process of its own, and goes on with the command that the last one proposed.
Each ends in the right result or in one sentence, which is checked; what it took is said.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from photographs import make_photographs, spoil

BROKEN = {"flower/empty.jpg", "flower/page.png", "temple/cut off.jpg"}


class Day:
    """Commands in a folder, what they took, and what the last of them proposed."""

    def __init__(self, folder: Path):
        self.folder, self.seconds = folder, 0.0

    def does(
        self, *words: object, code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run a command; its end is the expected one, and a mistake is one sentence."""
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "kt_transfer", *map(str, words)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), **environment},
        )
        took = time.perf_counter() - began
        self.seconds += took
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        if code:
            assert len(done.stderr.splitlines()) == 1, done.stderr
        print(f"{took:6.1f} s  {shlex.join(map(str, words))}" + f"  → exit {code}" * bool(code))
        return done

    def goes_on(self, after: subprocess.CompletedProcess, *more: object, **placeholders: str):
        """Run what was proposed, as it was printed."""
        (line,) = [line for line in after.stdout.splitlines() if line.startswith("next: ")]
        python, _, module, *words = shlex.split(line.removeprefix("next: "))
        assert python == "python"
        words = [placeholders.get(word, word) for word in words]
        return self.does(module.removeprefix("kt_transfer."), *words, *more)


def photographs(day: Day) -> dict:
    """Her own photographs, from the first look to predictions of new ones."""
    data = "images:mine"
    looked = day.does("inspect", "--data", data)
    assert "skipped 3 that cannot be read" in looked.stdout
    refused = day.does("pretrain", "--data", data, "--strict", code=2)
    assert all(name in refused.stderr for name in BROKEN)
    size = ("--image-size", 24, 32)
    pretrained = day.does("pretrain", "--data", data, *size, "--epochs", 20, "--out", "my runs/s")
    about = json.loads((day.folder / "my runs/s/run.json").read_text())["data"]
    assert {file["file"] for file in about["left_out"]} >= BROKEN
    teacher = day.goes_on(pretrained, "--out", "my runs/teacher")
    student = day.goes_on(teacher, "--out", "my runs/student")
    exported = day.goes_on(student, NAME="mine")
    day.goes_on(exported, SPEC="images:new", **{"FILE.csv": "new.csv"})
    return json.loads((day.folder / "my runs/student/metrics.json").read_text())["test"]


def right_on_new_ones(folder: Path) -> float:
    """The share of the new photographs, whose names say what they are, that is answered right."""
    answers = pd.read_csv(folder / "new.csv")
    names = np.array(sorted(path.name for path in (folder / "new").iterdir()))
    assert len(answers) == len(names)
    return float(
        np.mean(
            [names[row].startswith(c) for row, c in zip(answers.row, answers.label, strict=True)]
        )
    )


def mistakes(day: Day) -> None:
    """What goes wrong in one sentence, and what only sounds as if it would."""
    day.does("pretrain", "--data", "images:mine", "--out", ".", code=2)
    day.does("finetune", "--source", "my runs/s", "--labels", 5000, code=2)
    day.does("pretrain", "--data", "images:mine", "--out", "my runs/s", code=2)
    x = np.zeros((40, 3, 32, 32), np.uint8)
    np.savez(day.folder / "first.npz", x=x, y=np.arange(40) % 2)
    day.does("pretrain", "--data", "npz:first.npz", code=2)
    np.savez(day.folder / "more.npz", x=x[:, 0], y=np.arange(40) % 2, x_unlabelled=x[:, 0])
    day.does("pretrain", "--data", "npz:more.npz", code=2)
    # Names that are formulas somewhere, and a class that only the test part has.
    for name, other in (("flower", "5 $\\frac$"), ("temple", "=cmd|'"), ("portrait", "<b>&")):
        for part, files in (("train", slice(10)), ("test", slice(10, 14))):
            target = day.folder / "odd" / part / other
            target.mkdir(parents=True)
            for path in sorted((day.folder / "mine" / name).glob("IMG*.[jp][pn]g"))[files]:
                (target / path.name).symlink_to(path.resolve())
    extra = day.folder / "odd" / "test" / "rose"
    extra.mkdir()
    (extra / "one.jpg").symlink_to(next((day.folder / "new").glob("flower*.jpg")).resolve())
    odd = ("--data", "images:odd", "--epochs", 3)
    done = day.does("finetune", "--source", "scratch", *odd, "--out", "my runs/odd")
    assert "no training example of rose" in done.stdout
    done = day.does("evaluate", "--run", "my runs/odd")
    assert "5 $\\frac$" in done.stdout
    assert done.stderr == ""
    assert (day.folder / "my runs/odd/plots/confusion_matrix.png").is_file()


SESSION = """
import numpy as np, pandas as pd, tensorflow as tf
from sklearn.datasets import load_digits, load_wine
from kt_transfer import UserError, compare, distill, evaluate, finetune, pretrain
X, y = load_digits(return_X_y=True)
quick = {"quiet": True, "epochs": 20}
source = pretrain.run(data=X, hidden_units=64, latent_dim=32, out="session/source", **quick)
teacher = finetune.run(source=source, data=(X, y), labels=200, out="session/teacher", **quick)
student = distill.run(teacher=teacher, out="session/student", **quick)
assert evaluate.run(run=student, quiet=True)["accuracy"] > 0.8
frame = load_wine(as_frame=True).frame
few = {"methods": ["scratch", "linear"], "folds": 2, "repeats": 1, **quick}
table = compare.run(data=frame, label_column="target", labels=50, out="session/wine", **few)
assert table.groupby("method")["accuracy"].mean()["linear"] > 0.9
pairs = tf.data.Dataset.from_tensor_slices((X, y)).batch(64)
finetune.run(source="scratch", data=pairs, labels=100, out="session/pairs", **quick)
try:
    finetune.run(sorce=source)
except UserError as error:
    assert "did you mean source?" in str(error)
"""


def main(folder: Path, count: int) -> None:
    """The whole day, and what it came to."""
    make_photographs(folder, count)
    spoil(folder)
    day = Day(folder)
    measured = photographs(day)
    served, new = day.seconds, right_on_new_ones(folder)
    mistakes(day)
    began = time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", SESSION], cwd=folder, env=environment, check=True)
    print(f"{time.perf_counter() - began:6.1f} s  a session in Python")
    print(
        f"\n{count} photographs to a served model and answers to new ones: {served:.0f} s; "
        f"accuracy {measured['accuracy']:.3f} on test photographs, {new:.3f} on new ones"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 600)
