"""What watches a fit: the epoch log, and the checkpoint that a resumed run goes on from."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import keras
import numpy as np

from kt_transfer.errors import UserError, named
from kt_transfer.files.writing import replacing
from kt_transfer.training.diverging import require_finite_weights


class EpochLog(keras.callbacks.Callback):
    """Writes ``history.csv``, a row an epoch, as it happens.

    Args:
        path: The file; of a resumed fit, it keeps the rows of the epochs that are done.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = Path(path)
        self.rows = read_history(self.path)

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time; rows of later epochs are of before an interruption."""
        self.rows = self.rows[:epoch]
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write the row of this epoch."""
        seconds = round(time.perf_counter() - self._began, 4)
        self.rows.append({"epoch": epoch, "seconds": seconds, **_numbers(logs)})
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        if "val_loss" not in names:  # a column of every history; empty where nothing is held out
            names.append("val_loss")
        with replacing(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a ``history.csv``; none if there is no such file."""
    if not Path(path).is_file():
        return []
    try:
        with open(path, newline="") as file:
            return [
                {name: _number(value) for name, value in row.items() if value not in ("", None)}
                for row in csv.DictReader(file)
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(
            given=path,
            expected="a row of numbers for each epoch",
            but=f"it is damaged ({_in_a_line(error)})",
            remedy=f"remove it, or start the run again with {named('overwrite')}",
        ) from error


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keeps the epoch with the best loss, and stops when none is better for long.

    It watches the validation loss (or another metric), or the training loss of a fit
    without validation.

    Args:
        patience: Epochs without a better value before it stops; ``None`` never stops, and
            still ends with the weights of the best epoch.
        monitor: The watched value.
    """

    def __init__(self, patience: int | None, monitor: str = "val_loss"):
        super().__init__(
            monitor=monitor, patience=patience or 10**9, restore_best_weights=True, mode="min"
        )


class Checkpoint(keras.callbacks.Callback):
    """Saves everything that the fit needs to go on, at most every few seconds.

    Weights, optimizer and random states as one file, the state of the other callbacks
    beside it, each checkpoint complete before it takes the place of the last. With the
    order of examples a pure function of seed and epoch, a resumed fit continues exactly.

    Args:
        folder: Where checkpoints lie.
        every_seconds: Least time between two checkpoints.
        writes: Whether this process writes; of several workers only the chief does, but all
            of them have to read the variables at the same epochs.
    """

    def __init__(self, folder: Path, every_seconds: float = 10.0, writes: bool = True):
        super().__init__()
        self.folder, self.writes, self.every_seconds = Path(folder), writes, every_seconds
        self.watch(None)
        self._last = time.monotonic()

    def watch(self, network: keras.Model | None, callbacks=(), begins: int = 0) -> None:
        """What the next fit saves.

        Args:
            network: The model whose variables are saved, beside the optimizer's (``None``: the
                one that is fitted).
            callbacks: Callbacks whose progress is saved (early stopping, plateau decay).
            begins: Epoch with which this fit begins, where it is a later stage of one fit. Of a
                checkpoint made at the end of the stage before it takes the weights alone.
        """
        self._network, self.begins = network, begins
        self.others = [callback for callback in callbacks if _progress_of(callback)]

    @property
    def network(self) -> keras.Model:
        """The model whose variables are saved."""
        return self.model if self._network is None else self._network

    @property
    def first_epoch(self) -> int:
        """Epoch that the fit starts with: the one after the last checkpoint, or its first."""
        latest = self._latest()
        return max(int(latest.name), self.begins) if latest else self.begins

    def on_train_begin(self, logs=None):
        """Take up the last checkpoint, if there is one of this stage or the one before."""
        latest = self._latest()
        if not latest or int(latest.name) < self.begins:
            return
        try:
            if int(latest.name) == self.begins:
                self._take_up(latest, self.network.variables)
            else:
                self._take_up(latest, self._variables())
                self._take_up_callbacks(latest)
        # A damaged archive raises what zipfile, zlib, NumPy and JSON each know.
        except Exception as error:
            raise UserError(
                setting="resume",
                given=True,
                expected="a checkpoint as it was written",
                but=f"{latest} is damaged ({_in_a_line(error)})",
                remedy="remove it, and the training begins anew",
            ) from error

    def _take_up(self, checkpoint: Path, variables) -> None:
        with np.load(checkpoint / "variables.npz", allow_pickle=False) as saved:
            values = [saved[f"v{number}"] for number in range(len(variables))]
        for variable, value in zip(variables, values, strict=True):
            if value.shape != tuple(variable.shape) or value.dtype.kind in "OSU":
                raise ValueError(
                    f"{variable.path} has the shape {tuple(variable.shape)}, there {value.shape}"
                )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _take_up_callbacks(self, checkpoint: Path) -> None:
        with np.load(checkpoint / "variables.npz") as saved:
            for number, callback in enumerate(self.others):
                best = [name for name in saved.files if name.startswith(f"best{number}_")]
                if best:
                    callback.best_weights = [saved[f"best{number}_{i}"] for i in range(len(best))]
        states = json.loads((checkpoint / "callbacks.json").read_text())
        if [set(state) for state in states] != [set(_progress_of(c)) for c in self.others]:
            raise ValueError("callbacks.json is not of these callbacks")
        for callback, state in zip(self.others, states, strict=True):
            for name, value in state.items():
                setattr(callback, name, value)

    def on_epoch_end(self, epoch, logs=None):
        """Save, if the last time is long enough ago."""
        if time.monotonic() - self._last >= self.every_seconds:
            require_finite_weights(self.network, epoch, self.model.optimizer)
            self._save(epoch + 1)
            self._last = time.monotonic()

    def _variables(self):
        return [*self.network.variables, *self.model.optimizer.variables]

    def _save(self, epoch: int) -> None:
        arrays = {f"v{n}": variable.numpy() for n, variable in enumerate(self._variables())}
        for number, callback in enumerate(self.others):
            for i, value in enumerate(getattr(callback, "best_weights", None) or []):
                arrays[f"best{number}_{i}"] = value
        if not self.writes:
            return
        older = self._latest()
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        np.savez(unfinished / "variables.npz", **arrays)
        states = [_progress_of(callback) for callback in self.others]
        (unfinished / "callbacks.json").write_text(json.dumps(states))
        unfinished.rename(self.folder / str(epoch))
        if older:
            shutil.rmtree(older)

    def _latest(self) -> Path | None:
        found = [path for path in self.folder.glob("*") if path.name.isdigit()]
        return max(found, key=lambda path: int(path.name), default=None)


def _in_a_line(error: Exception) -> str:
    """What an error says, without the advice to load what may be a program."""
    said = str(error).strip().strip("'\"").split("\n")[0].rstrip(".")
    return "it holds no numbers" if "pickle" in said else said or type(error).__name__


def _progress_of(callback) -> dict:
    names = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
    state = {name: getattr(callback, name) for name in names if hasattr(callback, name)}
    return {name: None if value is None else float(value) for name, value in state.items()}


def _numbers(logs: dict | None) -> dict[str, float]:
    return {name: float(value) for name, value in (logs or {}).items()}


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and "." not in text else value
