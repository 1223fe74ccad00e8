"""Whether a change of the code changes results: runs every command, records what came out.

    python benchmarks/recorded_runs.py record before.json --checkout ../before
    python benchmarks/recorded_runs.py record after.json
    python benchmarks/recorded_runs.py compare before.json after.json

Records the metrics and every weight of each run, to the last bit, and the tables of comparisons
and searches; times are left out. Two records of one checkout on one machine are equal.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parent.parent

# Each in the same folder, in this order: name of the run folder, and the words of the command.
RUNS = {
    "dense": "pretrain --hidden-units 32 --latent-dim 16 --epochs 4",
    "wide": "pretrain --epochs 2",
    "sparse": "pretrain --model sparse --hidden-units 32 --latent-dim 16 --epochs 4",
    "kl": "pretrain --model sparse --sparsity kl --hidden-units 32 --latent-dim 16 --epochs 4",
    "k_sparse": "pretrain --model sparse --sparsity k_sparse --hidden-units 32 --latent-dim 16 "
    "--epochs 4",
    "conv": "pretrain --model conv --filters 4 8 --latent-dim 16 --epochs 2",
    "semi": "pretrain --hidden-units 32 --latent-dim 16 --labels 100 --epochs 4 --patience 2",
    "classes": "pretrain --objective classification --hidden-units 32 --latent-dim 16 --epochs 4",
    "parameters": "finetune --source dense --labels 200 --epochs 20",
    "frozen": "finetune --source dense --labels 200 --freeze 1 --epochs 20 --dropout 0.5",
    "stages": "finetune --source dense --labels 200 --unfreeze-every 3 --layer-decay 0.5 "
    "--epochs 12 --lr-decay cosine --warmup-epochs 2",
    "features": "finetune --source dense --labels 200 --method features",
    "dense_head": "finetune --source dense --labels 200 --method features --head dense --epochs 9",
    "from_conv": "finetune --source conv --labels 200 --epochs 8 --patience 3",
    "scratch": "finetune --source scratch --labels 200 --hidden-units 32 --epochs 20",
    "student": "distill --teacher parameters --student-units 16 --epochs 10",
    "two_teachers": "distill --teacher parameters features --student-units 16 --epochs 5 "
    "--loss cross_entropy",
    "decoupled": "distill --teacher parameters --student-units 16 --epochs 5 --loss decoupled "
    "--augment shift:1",
    "hinted": "distill --teacher parameters --student-units 16 --epochs 6 --hint encoder "
    "--hint-epochs 2",
    "mirrored": "pretrain --hidden-units 32 --latent-dim 16 --epochs 2 --strategy mirrored "
    "--num-devices 2",
    "compared": "compare --labels 50 100 --folds 3 --repeats 2 --epochs 20 --pretrain-epochs 4 "
    "--hidden-units 32 --latent-dim 16",
    "compared_sources": "compare --labels 60 --folds 2 --repeats 2 --epochs 20 --source conv "
    "dense --pretrain-epochs 4 --methods scratch parameters features",
    "tuned": "tune finetune --source dense --labels 200 --epochs 5 --max-trials 3",
    "evaluated": "evaluate --run student --out evaluated",
    "predicted": "predict --run student --out predicted.csv",
    "chain": "quickstart --epochs 5",
}
# What depends on the clock, the machine or the folder.
NOT_COMPARED = ("seconds", "latency", "time", "run", "exported", "fingerprint", "throughput")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="run every command and write what came out")
    record.add_argument("file", type=Path)
    record.add_argument("--checkout", type=Path, default=ROOT, help="whose code is run")
    record.add_argument("--only", nargs="+", choices=RUNS, help="these runs, and none else")
    compare = commands.add_parser("compare", help="list what differs between two records")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "record":
        given.file.write_text(json.dumps(recorded(given.checkout, given.only or RUNS), indent=1))
        return
    records = (json.loads(path.read_text()) for path in (given.before, given.after))
    differences = list(told_differences(*records))
    print("\n".join(differences) or "the same results, to the last bit")
    raise SystemExit(bool(differences))


def recorded(checkout: Path, names) -> dict[str, dict]:
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            words = RUNS[name].split()
            if "--out" not in words:
                words += ["--out", name]
            done = subprocess.run(
                [sys.executable, "-m", "kt_transfer", *words],
                cwd=scratch,
                env=environment,
                capture_output=True,
                text=True,
            )
            results[name] = {"exit code": done.returncode}
            if done.returncode:
                results[name]["said"] = done.stderr.strip()[-500:]
            for path in sorted(Path(scratch).glob(f"{name}*/**/*")) + [Path(scratch, words[-1])]:
                if path.is_file():
                    results[name] |= _of_file(path, str(path.relative_to(scratch)))
            print(f"{name}: exit code {done.returncode}", flush=True)
    return results


def _of_file(path: Path, shown: str) -> dict:
    if path.suffix == ".keras":
        return {f"{shown} weights": _weights(path)}
    if path.name in ("metrics.json", "evaluation.json", "comparison.json"):
        return dict(_leaves(json.loads(path.read_text()), shown))
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        kept = [{k: v for k, v in row.items() if _is_compared(k)} for row in rows]
        return {shown: hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]}
    return {}


def _leaves(value, name: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if _is_compared(key):
                yield from _leaves(inner, f"{name} {key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name} {number}")
    else:
        yield name, value


def _is_compared(key: str) -> bool:
    return not any(word in key for word in NOT_COMPARED)


def _weights(path: Path) -> str:
    """A hash of every array in a Keras file, by its place in the file."""
    digest = hashlib.sha256()

    def add(name: str, found) -> None:
        if isinstance(found, h5py.Dataset):
            digest.update(name.encode())
            digest.update(np.asarray(found).tobytes())

    with zipfile.ZipFile(path) as file:
        content = io.BytesIO(file.read("model.weights.h5"))
    with h5py.File(content) as weights:
        weights.visititems(add)
    return digest.hexdigest()[:16]


def told_differences(before: dict, after: dict) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, {}), after.get(name, {})
        for key in dict.fromkeys([*one, *other]):
            values = one.get(key), other.get(key)
            both_nan = all(isinstance(v, float) and math.isnan(v) for v in values)
            if values[0] != values[1] and not both_nan:
                yield f"{name}: {key}: {values[0]} -> {values[1]}"


if __name__ == "__main__":
    main()
