"""Fixtures that many tests share: TensorFlow split into two devices, commands as a user runs them."""

import os
import subprocess
import sys

import pytest

from kt_transfer.cli import import_tensorflow_quietly


def pytest_configure(config):
    # Before TensorFlow is used for anything: afterwards the devices are fixed.
    import_tensorflow_quietly()
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def run_command(*words, cwd, check=True, **environment):
    """``python -m kt_transfer WORDS`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "kt_transfer", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def command(tmp_path):
    """Runs a command in an empty folder."""
    return lambda *words, **options: run_command(*words, cwd=tmp_path, **options)
