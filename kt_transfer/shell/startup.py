"""Importing TensorFlow quickly, and without the notes that it writes past Python."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile

# TensorFlow (for TFLite) and Keras (for its wrappers, galleries and data frames) import these where
# they are installed. They need none of them, nor does any command before it asks itself: 0.9 of
# 2.2 seconds.
LOOKED_FOR_IN_VAIN = ("jax", "matplotlib", "pandas", "sklearn")


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without the start-up notes that it writes past Python.

    They come from native code before its log level is read, name nothing that a user can act
    on, and can be kept out only at the file descriptor. If the import fails, they are shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Of each process that is started it would say that it does not handle the fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    with _native_stderr_held(), _no_garbage_collection(), _not_found(LOOKED_FOR_IN_VAIN):
        import keras  # noqa: F401
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _not_found(names: tuple[str, ...]):
    """Modules that are not there to be imported for a while, unless they have been already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _no_garbage_collection():
    """Hundreds of thousands of objects that stay for good are not searched for garbage.

    Neither while they are made, nor at the end of the process: 3 seconds of a command.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@contextlib.contextmanager
def _native_stderr_held():
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # rather than an interruption, which they say nothing about
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
