"""A comparison whose folds are trained by several processes of this machine.

Each process is given one fold after the other by its standard input, trains all candidates on it
and says by its standard output what is done, in lines of JSON. What it finds lies in a folder of
its own, from which it is taken into the table after every fold. If it is lost, another goes on from
there.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kt_transfer.comparison.table import Table
from kt_transfer.engine import local
from kt_transfer.errors import TrainingFailed, UserError

# So many processes may be lost at one fold before it is given up.
_MOST_LOSSES = 3
_GIVEN = "given.pickle"

Fold = tuple[int, int]


class _Worker:
    """A process that trains folds; it ends with this one, whatever ends this one.

    Args:
        folder: Where what it finds lies.
        given: A file with what it is to compare.
        share: How many such processes share the machine.
        events: Gets itself with each message, and with none at the end of its output.

    Attributes:
        fold: What it is at; ``None`` for nothing.
    """

    def __init__(self, folder: Path, given: Path, share: int, events: queue.Queue):
        self.folder, self.fold = folder, None
        self._events = events
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "stderr.txt", "w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, given, folder],
                env=local.environment_of_share(share),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C is answered by the parent alone
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        try:
            for line in self._process.stdout:
                self._events.put((self, json.loads(line)))
        finally:  # even if its last line is half of one
            self._events.put((self, None))

    def begin(self, fold: Fold | None) -> None:
        """Give it a fold; with none it has nothing more to do."""
        self.fold = fold
        if fold is not None:
            with contextlib.suppress(OSError):  # one that is lost is found by its output
                self._process.stdin.write(json.dumps(fold) + "\n")
                self._process.stdin.flush()

    def last_words(self) -> str:
        """How it ended."""
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else local.last_line(self.folder / "stderr.txt")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._listener.join()
        with contextlib.suppress(OSError), self._process:
            pass  # waits for it, and closes what leads to it


def train_by_workers(
    config,
    methods: Mapping,
    run_folder: Path,
    waiting: list[Fold],
    take: Callable[[Path], None],
    advance: Callable[[str], None],
) -> None:
    """Train folds by ``config.workers`` processes.

    Args:
        config: The settings of ``compare``.
        methods: The candidates by name.
        run_folder: The run, whose table holds what is trained already.
        waiting: Pairs of repeat and fold, in the order in which they are begun.
        take: Called with the folder of a process whenever it is done with a fold.
        advance: Called with a name of each cell that is done.

    Raises:
        UserError: If a candidate cannot be sent to another process, or a process finds a mistake.
        RuntimeError: If a fold cannot be trained.
    """
    folder, count = folder_of(run_folder), min(config.workers, len(waiting))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write(folder / _GIVEN, config, methods, run_folder)
    events: queue.Queue = queue.Queue()
    waiting, losses = list(waiting), {}

    def start(number: int, fold: Fold) -> _Worker:
        worker = _Worker(folder / str(number), folder / _GIVEN, count, events)
        stack.callback(worker.end)
        worker.begin(fold)
        return worker

    with contextlib.ExitStack() as stack:
        workers = [start(number, waiting.pop(0)) for number in range(count)]
        while any(worker.fold for worker in workers):
            worker, said = events.get()
            if said is None:
                if worker.fold:
                    losses[worker.fold] = losses.get(worker.fold, 0) + 1
                    _require_hope(worker, losses[worker.fold])
                    number = workers.index(worker)
                    workers[number] = start(number, worker.fold)
            elif "cell" in said:
                advance(said["cell"])
            elif "failed" in said:
                raise (TrainingFailed if said["in_training"] else UserError)(said["failed"])
            else:
                take(worker.folder)
                worker.begin(waiting.pop(0) if waiting else None)
    shutil.rmtree(folder, ignore_errors=True)


def take_what_is_left(run_folder: Path, take: Callable[[Path], None]) -> None:
    """Take what processes have found that an interruption has ended."""
    for folder in sorted(folder_of(run_folder).glob("[0-9]*")):
        take(folder)


def folder_of(run_folder: Path) -> Path:
    """Where the processes write."""
    return Path(run_folder) / "checkpoint" / "workers"


def _require_hope(worker: _Worker, losses: int) -> None:
    if losses == _MOST_LOSSES:
        repeat, fold = worker.fold
        raise RuntimeError(
            f"fold {fold} of repeat {repeat} could not be trained: {losses} processes have ended "
            f"at it, the last one with: {worker.last_words()}"
        )


def _write(path: Path, config, methods: Mapping, run_folder: Path) -> None:
    try:
        given = pickle.dumps((config, dict(methods), Path(run_folder)))
    except Exception as error:
        raise UserError(
            setting="workers",
            given=config.workers,
            expected="candidates that another process can be given",
            but=f"one of them cannot be pickled ({type(error).__name__}: {error})",
            remedy="define it in a module that can be imported, or leave this out",
        ) from error
    path.write_bytes(given)


# -- The process -----------------------------------------------------------------------------------


def main() -> None:
    """Train the folds that standard input names, until it ends."""
    given, folder = map(Path, sys.argv[1:])
    # What libraries print is no message.
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**said) -> None:
        print(json.dumps(said), file=messages, flush=True)

    try:
        measure = _measuring(*pickle.loads(given.read_bytes()), folder)
        for repeat, fold in _folds():
            for cell in measure(repeat, fold):
                tell(cell=f"{cell.method}, {cell.labels} labels")
            tell(fold=[repeat, fold])
    except UserError as error:
        tell(failed=str(error), in_training=isinstance(error, TrainingFailed))


def _folds() -> Iterator[Fold]:
    """The folds of standard input; at its end, the process ends, whatever it is at."""
    folds: queue.Queue = queue.Queue()

    def read():
        for line in sys.stdin:
            folds.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield tuple(folds.get())


def _measuring(config, methods: dict, run_folder: Path, folder: Path) -> Callable:
    """A function that trains the cells of a fold which are not trained yet, one by one."""
    import dataclasses

    import keras

    from kt_transfer.comparison.comparing import comparison_of
    from kt_transfer.comparison.shifting import shift_of
    from kt_transfer.engine.strategy import choose_strategy
    from kt_transfer.runs import session
    from kt_transfer.runs.folder import Run

    config = dataclasses.replace(config, quiet=True)
    strategy = choose_strategy(config.strategy, config.num_devices)
    keras.utils.set_random_seed(config.seed)
    data = session.load_data(config, config.data)
    known, table = Table(run_folder), Table(folder)
    with strategy.scope():
        comparison = comparison_of(config, methods, data, Run(run_folder))
        comparison.shift = shift_of(config, data, folder)
    cells = list(comparison.cells(config.repeats))

    def measure(repeat: int, fold: int):
        with strategy.scope():
            for cell, part in cells:
                if (cell.repeat, cell.fold) != (repeat, fold) or cell in known or cell in table:
                    continue
                comparison.measure(table, cell, part)
                yield cell

    return measure


if __name__ == "__main__":
    main()
