"""How far long work is: a bar on a terminal, a line every so often into a file."""

from __future__ import annotations

import contextlib
import sys
import time

import keras

# Between two lines where there is no terminal; work that takes less says nothing.
_SECONDS_BETWEEN = 30.0


class Progress(keras.callbacks.Callback):
    """How many epochs are done, what the loss is, and the time left.

    Args:
        epochs: Epochs of the whole fit.
        title: What is being done.
        seconds: Between two lines where there is no terminal.
    """

    def __init__(self, epochs: int, title: str, seconds: float = _SECONDS_BETWEEN):
        super().__init__()
        self.epochs, self.title, self.seconds = epochs, title, seconds

    def on_train_begin(self, logs=None):
        """Show the bar."""
        self.bar = _bar(self.title, self.epochs, 0, self.seconds)
        self.bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        """Show where a resumed fit goes on."""
        self.bar.goes_on(epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Move the bar."""
        watched = {k: v for k, v in (logs or {}).items() if k in ("loss", "val_loss")}
        self.bar.at(epoch + 1, "  ".join(f"{name} {value:.4g}" for name, value in watched.items()))

    def on_train_end(self, logs=None):
        """Take the bar away."""
        self.bar.stop()

    def __del__(self):
        # An interrupted fit never ends: without this the terminal would keep its cursor hidden.
        if hasattr(self, "bar"):
            self.bar.stop()


@contextlib.contextmanager
def progress_bar(title: str, total: int, done: int = 0, quiet: bool = False):
    """The same over work of any kind, as a context.

    Args:
        title: What is being done.
        total: Pieces of work.
        done: Of these, how many are done already.
        quiet: Whether to show nothing.

    Yields:
        Function that moves the bar by one piece; its argument says which that was.
    """
    if quiet:
        yield lambda text="": None
        return
    bar, moved = _bar(title, total, done, _SECONDS_BETWEEN), [done]

    def advance(text=""):
        moved[0] += 1
        bar.at(moved[0], text)

    bar.start()
    try:
        yield advance
    finally:
        bar.stop()


def _bar(title: str, total: int, done: int, seconds: float):
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        return _Bar(console, title, total, done)
    return _Lines(title, total, done, seconds)


class _Bar:
    """On a terminal."""

    def __init__(self, console, title: str, total: int, done: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._bar = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "{task.fields[text]}",
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, text="")

    def start(self) -> None:
        self._bar.start()

    def goes_on(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def at(self, done: int, text: str = "") -> None:
        self._bar.update(self._task, completed=done, text=text)

    def stop(self) -> None:
        self._bar.stop()


class _Lines:
    """Into a file or a pipe."""

    def __init__(self, title: str, total: int, done: int, seconds: float):
        self._title, self._total, self._first, self._seconds = title, total, done, seconds
        self._is_begun = False

    def start(self) -> None:
        self._began = self._last = time.perf_counter()

    def goes_on(self, done: int) -> None:
        if not self._is_begun:  # what was done before has not taken any of this time
            self._first, self._is_begun = done, True

    def at(self, done: int, text: str = "") -> None:
        now = time.perf_counter()
        if done >= self._total or now - self._last < self._seconds:
            return
        self._last = now
        left = (now - self._began) / (done - self._first) * (self._total - done)
        said = [f"{done} of {self._total}", *([text] if text else []), f"{_in_words(left)} left"]
        print(f"{self._title}: {', '.join(said)}", file=sys.stderr)

    def stop(self) -> None:
        pass


def _in_words(seconds: float) -> str:
    """A time that is not known exactly."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
