"""Workers in a network namespace of their own, where TensorFlow's server reaches nothing else.

TensorFlow's server listens on every interface, so the workers get a network without any.
"""

import json
import shutil
import subprocess
import sys

import pytest


def namespace_works() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    command = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True).returncode == 0


needs_namespace = pytest.mark.skipif(
    not namespace_works(), reason="needs unshare -rn and ip (Debian: util-linux, iproute2)"
)


def in_namespace(words, **options) -> subprocess.CompletedProcess:
    """A command, in a network namespace of its own."""
    script = 'ip link set lo up; exec "$@"'
    words = ["unshare", "-rn", "bash", "-c", script, "-", *map(str, words)]
    options = {"capture_output": True, "text": True, "timeout": 300} | options
    return subprocess.run(words, **options)


def run_workers(*words, count=2):
    """The same command as several workers; their outputs."""
    cluster = {"worker": [f"127.0.0.1:{24501 + index}" for index in range(count)]}
    lines = ["ip link set lo up"]
    for index in range(count):
        setting = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        command = " ".join(str(word).format(index=index) for word in (sys.executable, *words))
        lines.append(f"TF_CONFIG='{setting}' timeout -k 5 300 {command} 2>&1 & pids+=($!)")
    lines.append('for pid in "${pids[@]}"; do wait "$pid" || exit 1; done')
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", "\n".join(lines)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
