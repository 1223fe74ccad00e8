"""Runs the same work several ways, each as a process of its own, and writes what it took.

This process stays small on purpose (no NumPy, no TensorFlow): Linux counts what a parent held
when it started a child towards the child's peak memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import pstats
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
CACHE = FOLDER / "cache"
LIBRARIES = ("tensorflow", "keras", "torch", "jax", "numpy")
MARK = "RESULT "


@dataclasses.dataclass(frozen=True)
class Taken:
    """What one process took, and what it said of its end (its last ``RESULT`` line)."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_anonymous: int
    said: dict


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to do the work: a command for a size of it, and how to read how it ended."""

    name: str
    command: Callable[[int], list[str]]
    ending: Callable[[Taken], float | None] = lambda taken: taken.said.get("val_loss")
    sizes: tuple[int, ...] = ()


def python(*arguments) -> list[str]:
    return [sys.executable, *(str(argument) for argument in arguments)]


def peer(name: str, **flags) -> list[str]:
    """The command of a script in ``peers/``; ``True`` is a bare flag, ``None`` is left out."""
    words = [python(FOLDER / "peers" / f"{name}.py")]
    for flag, value in flags.items():
        if value is not None and value is not False:
            words.append([f"--{flag.replace('_', '-')}", *([] if value is True else [str(value)])])
    return sum(words, [])


def run(command: list[str], seed: int = 0) -> Taken:
    """Run a command to its end; its wall time, peak memory and last word.

    The scripts of ``peers/`` begin with the seed, from the environment.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=_environment(seed), cwd=ROOT
        )
        watch = _Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        texts = [_text(file) for file in (out, err)]
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(texts)}")
    lines = [line for line in texts[0].splitlines() if line.startswith(MARK)]
    said = json.loads(lines[-1][len(MARK) :]) if lines else {}
    cpu = usage.ru_utime + usage.ru_stime
    return Taken(seconds, cpu, usage.ru_maxrss * 1024, watch.peak, said)


class _Watch(threading.Thread):
    """The peak of a process's anonymous memory: what it holds beside mapped files."""

    def __init__(self, pid: int, every: float = 0.05):
        super().__init__(daemon=True)
        self.statm, self.every, self.peak = Path(f"/proc/{pid}/statm"), every, 0
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.done.wait(self.every):
            try:
                _, resident, shared, *_ = map(int, self.statm.read_text().split())
            except (OSError, ValueError):
                return
            self.peak = max(self.peak, (resident - shared) * page)

    def stop(self) -> None:
        self.done.set()
        self.join()


def _environment(seed: int) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **os.environ,
        "PYTHONPATH": path,
        "BENCHMARK_SEED": str(seed),
    }


def _text(file) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


@dataclasses.dataclass
class Measured:
    """Every process that was run: by way, then size, one entry a round."""

    taken: dict[str, dict[int, list[Taken]]]
    endings: dict[str, list[float]]

    def longest(self, name: str) -> list[Taken]:
        """The processes of the largest size, by round."""
        return self.taken[name][max(self.taken[name])]

    def wholes(self, name: str) -> list[float]:
        """Seconds of the whole process at the largest size, by round."""
        return [taken.seconds for taken in self.longest(name)]

    def differences(self, name: str) -> list[float]:
        """Seconds of the largest size beyond those of the smallest, by round."""
        shortest = self.taken[name][min(self.taken[name])]
        pairs = zip(shortest, self.longest(name), strict=True)
        return [long.seconds - short.seconds for short, long in pairs]

    def slopes(self, name: str) -> list[float]:
        """Seconds of one more unit of work, between the smallest and the largest size."""
        units = max(self.taken[name]) - min(self.taken[name])
        return [difference / units for difference in self.differences(name)]

    def peak(self, name: str) -> float:
        """Peak memory in bytes at the largest size."""
        return statistics.median(taken.peak_bytes for taken in self.longest(name))

    def peak_anonymous(self, name: str) -> float:
        """The same without what is mapped from files."""
        return statistics.median(taken.peak_anonymous for taken in self.longest(name))

    def cores(self, name: str) -> float:
        """Cores in use on average, at the largest size."""
        return statistics.median(taken.cpu_seconds / taken.seconds for taken in self.longest(name))


def measure(ways: Iterable[Way], rounds: int, sizes: tuple[int, ...] = ()) -> Measured:
    """Every way at every size in turn, and all of that again in every round."""
    ways = list(ways)
    for way in ways:
        progress(f"warming up: {way.name}")
        run(way.command(min(way.sizes or sizes)))  # files and compilers' caches are there for all
    measured = Measured({}, {})
    for number in range(1, rounds + 1):
        for way in ways:
            by_size = measured.taken.setdefault(way.name, {})
            for size in way.sizes or sizes:
                taken = run(way.command(size), seed=number)
                by_size.setdefault(size, []).append(taken)
                if size == max(way.sizes or sizes) and (ending := way.ending(taken)) is not None:
                    measured.endings.setdefault(way.name, []).append(ending)
                progress(f"round {number}/{rounds}  {way.name} ({size}): {taken.seconds:.2f} s")
    return measured


def gemm_ways() -> list[Way]:
    """The rate of a large matrix product, in each library, as ways of the same measurement."""

    def product(library: str) -> Way:
        return Way(f"GEMM, {library}", lambda _: peer("gemm", library=library), sizes=(1,))

    return [product(library) for library in ("tensorflow", "torch", "jax")]


def gemm_rates(measured: Measured, what: str = "gflops") -> dict[str, float]:
    """FLOP a second in each library: of the large product, or of a step's (``own_gflops``)."""
    return {
        way.name.split(", ")[1]: statistics.median(
            taken.said[what] * 1e9 for taken in measured.longest(way.name)
        )
        for way in gemm_ways()
    }


def metrics(folder: Path) -> dict:
    """What a command of ours wrote of its run."""
    return json.loads((folder / "metrics.json").read_text())


def remembered(path: Path, key: str, find: Callable[[], object]):
    """A result that is looked up in a JSON file, or found and kept there: one can go on."""
    known = json.loads(path.read_text()) if path.exists() else {}
    if key not in known:
        found = find()
        known = json.loads(path.read_text()) if path.exists() else {}
        known[key] = found
        progress(f"{key}: {found}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(known, indent=1))
    return known[key]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ratios(others: list[float], ours: list[float]) -> list[float]:
    """How many times as long as ours, round by round: neighbours in time are compared."""
    return [other / our for other, our in zip(others, ours, strict=True)]


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    low, high = min(values), max(values)
    middle = statistics.median(values)
    if high >= 10:
        digits = min(digits, 1)
    return f"{middle:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def plus_minus(values: list[float], digits: int = 2, signed: bool = False) -> str:
    """Mean and standard deviation; of one value, itself."""
    mean = f"{statistics.mean(values):{'+' if signed else ''}.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def listed(settings: dict) -> str:
    """Settings as ``name=value``, for a sentence."""
    return ", ".join(f"`{name}={value}`" for name, value in settings.items())


def megabytes(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


@dataclasses.dataclass(frozen=True)
class Goal:
    """A ratio that is wanted, and the one that was found."""

    what: str
    found: float
    wanted: float
    at_most: bool = False
    percent: bool = False

    @property
    def reached(self) -> bool:
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted

    def row(self) -> list[str]:
        sign = "≤" if self.at_most else "≥"
        found, wanted = (self._number(value) for value in (self.found, self.wanted))
        return [self.what, found, f"{sign} {wanted}", "PASS" if self.reached else "**missed**"]

    def _number(self, value: float) -> str:
        return f"{value:.0%}" if self.percent else f"{value:.2f}×"


def goals_table(goals: list[Goal]) -> str:
    return table(["against", "found", "wanted", ""], [goal.row() for goal in goals])


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def comparison(measured: Measured, seconds: dict[str, list[float]], ending: str) -> str:
    """One row a way, ours first: its seconds, how many times ours that is, how it ended."""
    ours = next(iter(seconds.values()))
    rows = []
    for number, (name, values) in enumerate(seconds.items()):
        times = spread(ratios(values, ours)) if number else ""
        end = measured.endings.get(name)
        cores, peak = f"{measured.cores(name):.1f}", megabytes(measured.peak(name))
        rows.append([name, spread(values), times, spread(end, 4) if end else "", cores, peak])
    return table(["way", "seconds", "times ours", ending, "cores used", "peak memory"], rows)


def compare_commands(
    name: str,
    title: str,
    text: str,
    ways: tuple[Way, Way],
    args,
    *,
    wanted: float,
    ending: str,
    tried: str = "",
) -> None:
    """Measure and write two commands of E epochs: whole processes, and slopes.

    ``tried`` says what was, for where a goal is missed.
    """
    measured = measure(ways, args.rounds, (args.short, args.long))
    ours, other = (way.name for way in ways)
    wholes = {way.name: measured.wholes(way.name) for way in ways}
    slopes = {way.name: measured.slopes(way.name) for way in ways}
    goals = [
        Goal(f"{other}, {what}", statistics.median(ratios(found[other], found[ours])), wanted)
        for what, found in (("the whole process", wholes), ("an epoch", slopes))
    ]
    write(
        name,
        title,
        f"{text} Median (range) of {args.rounds} alternating rounds.",
        f"The whole process, {args.long} epochs, from start to end:",
        comparison(measured, wholes, ending),
        f"An epoch, as a slope: ({args.long} epochs − {args.short} epochs) / "
        f"{args.long - args.short}. What is computed once is not in it.",
        comparison(measured, slopes, ending),
        goals_table(goals),
        profile_if_missed(goals, ways[0].command(args.long), tried),
    )


def profile_if_missed(goals: list[Goal], command: list[str], tried: str = "") -> str:
    """Where the time of ours goes and what was tried, if a goal was missed."""
    if all(goal.reached for goal in goals):
        return ""
    progress("a goal was missed: profiling")
    parts = ["## Where the time goes", profile(command)]
    if tried:
        parts += ["## What was tried where a goal is missed", tried.strip()]
    return "\n\n".join(parts)


def profile(command: list[str], rows: int = 12) -> str:
    """Own and cumulative times of one run under cProfile, as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "profile")
        run([command[0], "-m", "cProfile", "-o", file, *command[1:]])
        stats = pstats.Stats(file)
    total = stats.total_tt
    entries = [(_where(key), *value[1:4]) for key, value in stats.stats.items()]
    own = sorted(entries, key=lambda entry: -entry[2])[:rows]
    ours = [entry for entry in entries if entry[0].startswith(("kt_transfer/", "benchmarks/"))]
    imports = [entry for entry in entries if entry[0].endswith("(_find_and_load)")]
    through = sorted(imports + ours, key=lambda entry: -entry[3])[: rows + 6]
    head = ["seconds", "share", "calls", "function"]

    def lines(chosen, column):
        return [[f"{e[column]:.2f}", f"{e[column] / total:.0%}", e[1], f"`{e[0]}`"] for e in chosen]

    return (
        f"One run under cProfile (main thread, {total:.1f} s; profiling slows Python down).\n\n"
        f"Own time:\n\n{table(head, lines(own, 2))}\n\n"
        f"With what it calls:\n\n{table(head, lines(through, 3))}\n"
    )


def _where(key: tuple[str, int, str]) -> str:
    path, line, name = key
    for root in (f"{ROOT}/", "site-packages/", f"{os.path.dirname(os.__file__)}/"):
        path = path.split(root)[-1]
    return f"{path}:{line}({name})" if line else name


def arguments(description: str, rounds: int = 5, **defaults: int) -> argparse.Namespace:
    """``--rounds`` and other whole numbers, to try a benchmark at a small size."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return parser.parse_args()


def write(name: str, title: str, *parts: str) -> None:
    """``results/NAME.md``: the tables, and the machine and command they are from."""
    command = " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
    body = [f"# {title}", *(part.strip() for part in parts if part), _machine(command)]
    text = "\n\n".join(body) + "\n"
    path = FOLDER / "results" / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    print(text)
    progress(f"written to {path}")


_LOAD_AT_START = os.getloadavg()[0]


def _machine(command: str) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "\n".join(
        [
            "## Machine",
            "",
            f"- command: `{command}`, {time.strftime('%Y-%m-%d')}, commit {commit()}",
            f"- {_processor()}, {len(os.sched_getaffinity(0))} cores, {memory / 2**30:.0f} GiB",
            f"- {platform.system()} {platform.release()}, Python {platform.python_version()}, "
            + ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
            f"- load when it began: {_LOAD_AT_START:.2f} (an idle machine has 0)",
        ]
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit(checkout: Path = ROOT) -> str:
    """What a checkout holds."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"
