"""``python -m kt_transfer.quickstart``: the whole chain as one command.

pretrain → finetune → distill → evaluate → export, each step a run folder of its own inside
this run's.
"""

from __future__ import annotations

if __name__ == "__main__":  # answers --help and reports errors before TensorFlow is imported
    import sys

    from kt_transfer.shell.entry import main

    sys.exit(main(["quickstart", *sys.argv[1:]]))

import contextlib
import dataclasses
import io
from pathlib import Path

from kt_transfer import distill, evaluate, export, finetune, pretrain
from kt_transfer.errors import counted
from kt_transfer.reporting.terminal import format_table
from kt_transfer.runs import folder as runs
from kt_transfer.runs import session
from kt_transfer.runs.folder import Run
from kt_transfer.settings import QuickstartConfig
from kt_transfer.settings.calling import takes

STUDENT_UNITS = (64,)


@takes(QuickstartConfig)
def run(config: QuickstartConfig) -> Run:
    """The command as a function; its settings are the fields of :class:`QuickstartConfig`.

    Example:
        >>> from kt_transfer import quickstart
        >>> quickstart.run(data="digits", labels=200, epochs=2, out="runs/chain", quiet=True)
        Run('runs/chain')
    """
    return execute(config)


def execute(config: QuickstartConfig) -> Run:
    """Run every step with the same data, seed and strategy."""
    with session.start_run("quickstart", config) as run:
        shared = {
            name: getattr(config, name)
            for name in (
                *("data", "data_dir", "seed", "epochs", "batch_size"),
                *("image_size", "strict", "strategy", "num_devices", "jit_compile", "quiet"),
                *session.OF_TABLES,
            )
        }
        if config.learning_rate is not None:
            shared["learning_rate"] = config.learning_rate
        source = _step(pretrain, run.path / "pretrain", **shared)
        config = _with_labels_there(config, source)
        labels = {**shared, "labels": config.labels, "source": str(source.path)}
        teacher = _step(finetune, run.path / "finetune", **labels)
        student = _step(
            distill,
            run.path / "distill",
            **shared,
            teacher=(teacher.path,),
            student_units=STUDENT_UNITS,
        )
        results = evaluate.run(run=student.path, data_dir=config.data_dir, quiet=True)
        version = export.run(
            run=student.path,
            name=config.name,
            export_dir=config.export_dir,
            data_dir=config.data_dir,
            quiet=True,
        )
        metrics = {
            "test": {name: results[name] for name in ("accuracy", "loss", "calibration_error")},
            "pretrain": source.read_json("metrics.json"),
            "finetune": teacher.read_json("metrics.json"),
            "distill": student.read_json("metrics.json"),
            "exported": str(version),
        }
        run.write_json("metrics.json", metrics)
    _report(config, run, metrics, version)
    return run


def _with_labels_there(config: QuickstartConfig, source: Run) -> QuickstartConfig:
    """All labels where there are fewer than the default, which nobody asked for."""
    there = source.read_json("run.json")["data"].get("labelled")
    if config.labels != QuickstartConfig.labels or there is None or there >= config.labels:
        return config
    return dataclasses.replace(config, labels=None)


def _step(command, path: Path, **settings) -> Run:
    """Run one step of the chain; a complete one is kept, an interrupted one resumed."""
    if path.exists() and runs.Run(path).read_json("run.json")["status"] == "complete":
        return runs.open_run(path)
    # Shows the progress bar but not the printed advice on the next command.
    with contextlib.redirect_stdout(io.StringIO()):
        return command.run(**settings, out=path, resume=path.exists())


def _report(config: QuickstartConfig, run: Run, metrics: dict, version: Path) -> None:
    rows = [
        [
            step,
            metrics[step]["test"].get("mse"),
            metrics[step]["test"].get("accuracy"),
            metrics[step]["num_parameters"],
            f"{runs.Run(run.path / step).read_json('run.json')['wall_seconds']:.1f}",
        ]
        for step in ("pretrain", "finetune", "distill")
    ]
    labels = counted(config.labels, "label") if config.labels else "all labels"
    say = session.say(config)
    session.say_notes_of(config, runs.Run(run.path / "pretrain"))
    say(f"the whole chain on {config.data} with {labels}:\n")
    say(format_table(["step", "test mse", "test accuracy", "parameters", "seconds"], rows))
    say(f"\nruns {run.path}   served model {version}: {export.checked(version)}")
    for line in export.how_to_serve(version):
        say(line)
    say(f"next: {export.asking(version)}")
