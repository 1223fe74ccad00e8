"""A worker that is lost once: ``losing.py VICTIM SIGNAL MOMENT COMMAND FLAGS ...``.

It sends itself the signal, at a moment that no watcher from outside would hit. The epoch that each
start begins with is appended to ``fromN``, N being the worker.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

victim, how, moment, *words = sys.argv[1:]
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]


def lose() -> None:
    try:
        os.close(os.open("lost", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), getattr(signal, how))


def at(owner, name: str, happens) -> None:
    """Call ``happens`` with the arguments of a function, before it does its work."""
    function = getattr(owner, name)

    def instead(*args, **kwargs):
        happens(*args, **kwargs)
        return function(*args, **kwargs)

    setattr(owner, name, instead)


def hook() -> None:
    from kt_transfer.engine.cluster import Cluster
    from kt_transfer.runs import recording
    from kt_transfer.training import callbacks

    def note(checkpoint, logs=None):
        with open(f"from{index}", "a") as file:
            file.write(f"{checkpoint.first_epoch}\n")

    at(callbacks.Checkpoint, "on_train_begin", note)
    if index != int(victim):
        return
    if moment == "start":  # all have met; TensorFlow's servers are looking for one another
        at(recording, "choose_strategy", lambda *_: lose())
    elif moment == "before":
        at(callbacks.Checkpoint, "on_train_begin", lambda *_: lose())
    elif moment == "within":

        def soon(log, epoch, logs=None):
            if epoch == 2:
                threading.Timer(0.02, lose).start()

        at(callbacks.EpochLog, "on_epoch_begin", soon)
    elif moment == "checkpoint":  # its numbers are written, and it is not yet in its place

        def written(path, target):
            if path.name == "unfinished" and Path(target).name == "3":
                lose()

        at(Path, "rename", written)
    elif moment == "end":
        at(Cluster, "agree", lambda *_, last=False, **__: lose() if last else None)


if __name__ == "__main__":
    from kt_transfer.shell.entry import main

    if how != "none":
        hook()
    main(words)
