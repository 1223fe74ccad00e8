"""Which workers there are and which of them this is: from ``TF_CONFIG``, or from Slurm."""

from __future__ import annotations

import json
import os
import re
from collections.abc import MutableMapping
from typing import NamedTuple

from kt_transfer.errors import UserError, counted

# Where the ports of a Slurm job begin; jobs that share a machine are to have different ones.
_FIRST_PORT, _NUM_PORTS = 20_000, 10_000
_REMEDY = (
    'set it as in {"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


class Place(NamedTuple):
    """The workers, the chief first, and which of them this process is.

    Example:
        >>> place = Place((("worker 0", "10.0.0.1:2222"), ("worker 1", "10.0.0.2:2222")), 1)
        >>> place.name(), place.is_chief
        ('worker 1 (10.0.0.2:2222)', False)
    """

    workers: tuple[tuple[str, str], ...]
    """Of each its name and its address, ``HOST:PORT``."""

    index: int
    """This one's place in ``workers``."""

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.workers)

    @property
    def is_chief(self) -> bool:
        """Whether this one writes what all share."""
        return self.index == 0

    def name(self, index: int | None = None) -> str:
        """A worker as a message names it (default: this one)."""
        name, address = self.workers[self.index if index is None else index]
        return f"{name} ({address})"

    def address(self, index: int | None = None) -> tuple[str, int]:
        """Host and port of a worker (default: this one)."""
        host, port = self.workers[self.index if index is None else index][1].rsplit(":", 1)
        return host.strip("[]"), int(port)


def place_of_environment(environ: MutableMapping[str, str] = os.environ) -> Place | None:
    """The place that ``TF_CONFIG`` gives this process, or else a job step of Slurm.

    ``TF_CONFIG`` is set from Slurm's variables where a step (``srun``) has several tasks, since
    TensorFlow reads nothing else.

    Args:
        environ: The environment.

    Returns:
        The place; ``None`` where the environment names no workers.

    Raises:
        UserError: If ``TF_CONFIG`` is not as it should be.

    Example:
        >>> cluster = '{"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}'
        >>> task = '{"type": "worker", "index": 1}'
        >>> place_of_environment({"TF_CONFIG": f'{{"cluster": {cluster}, "task": {task}}}'}).index
        1
    """
    if not environ.get("TF_CONFIG") and environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        try:
            environ["TF_CONFIG"] = json.dumps(_from_slurm(environ))
        except (KeyError, ValueError) as error:
            raise UserError(
                given="a job step of Slurm",
                but=f"its variables are not as known here ({type(error).__name__}: {error})",
                remedy="set TF_CONFIG for each task",
            ) from error
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        return _place(json.loads(text))
    except ValueError as error:
        given = f"TF_CONFIG={text if len(text) <= 200 else text[:200] + '...'}"
        if isinstance(error, json.JSONDecodeError):
            raise UserError(
                given=given, expected="JSON", but=f"it is none ({error})", remedy=_REMEDY
            ) from error
        raise UserError(given=given, but=str(error), remedy=_REMEDY) from error


def _place(given) -> Place | None:
    """The place in a ``TF_CONFIG``; a ``ValueError`` says what is wrong with it."""
    if not isinstance(given, dict):
        raise ValueError("it is no object")
    cluster, task = given.get("cluster"), given.get("task")
    if not cluster:
        return None  # one worker, as TensorFlow understands it
    if not isinstance(cluster, dict):
        raise ValueError("its cluster is no object")
    if strange := sorted(set(cluster) - {"chief", "worker"}):
        raise ValueError(f"its cluster has the job {strange[0]!r}, and workers alone are of use")
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
        raise ValueError("it has no task with a type and an index, so which worker is this?")
    workers = []
    for job in ("chief", "worker"):
        addresses = cluster.get(job, [])
        if not isinstance(addresses, list):
            raise ValueError(f"its {job} is no list of addresses")
        workers += [(job if job == "chief" else f"{job} {i}", a) for i, a in enumerate(addresses)]
    if len(cluster.get("chief", [])) > 1:
        raise ValueError("it has more than one chief")
    for name, address in workers:
        found = re.fullmatch(r"(.+):(\d+)", address) if isinstance(address, str) else None
        if not found or not 0 < int(found[2]) < 65536:
            raise ValueError(f"the address of {name}, {address!r}, is not HOST:PORT")
    addresses = [address for _, address in workers]
    if twice := [address for address in addresses if addresses.count(address) > 1]:
        raise ValueError(f"two of its workers have the same address, {twice[0]}")
    job, index = task["type"], task["index"]
    if job not in cluster:
        raise ValueError(f"its task is of type {job!r}, which its cluster does not have")
    count = len(cluster[job])
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        places = counted(count, job) + (f" (0 to {count - 1})" if count else "")
        raise ValueError(f"its task.index is {index!r}, and its cluster has {places}")
    return Place(tuple(workers), index + (job == "worker") * len(cluster.get("chief", [])))


def _from_slurm(environ) -> dict:
    """A ``TF_CONFIG`` for this task of a job step."""
    hosts = expand_hosts(environ["SLURM_STEP_NODELIST"])
    counts = []
    for part in environ["SLURM_STEP_TASKS_PER_NODE"].split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        counts += [int(found[1])] * int(found[2] or 1)
    port = _FIRST_PORT + int(environ.get("SLURM_JOB_ID", "0")) % _NUM_PORTS
    tasks = [(host, i) for host, n in zip(hosts, counts, strict=True) for i in range(n)]
    index = int(environ["SLURM_PROCID"])
    here = int(environ.get("SLURM_NODEID", hosts.index(tasks[index][0])))
    if hosts[here] != tasks[index][0]:
        raise UserError(
            given=f"task {index} of a Slurm step",
            expected=f"it on {tasks[index][0]}",
            but=f"it runs on {hosts[here]}",
            remedy="start the step with srun --distribution=block",
        )
    addresses = [f"{host}:{port + i}" for host, i in tasks]
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}


def expand_hosts(text: str) -> list[str]:
    """The hosts of a list as Slurm writes it.

    Example:
        >>> expand_hosts("login,node[08-10,12]")
        ['login', 'node08', 'node09', 'node10', 'node12']
    """
    names = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        found = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", part)
        if not found:
            names.append(part)
            continue
        for piece in found[2].split(","):
            first, _, last = piece.partition("-")
            for number in range(int(first), int(last or first) + 1):
                names += expand_hosts(f"{found[1]}{number:0{len(first)}d}{found[3]}")
    return names
