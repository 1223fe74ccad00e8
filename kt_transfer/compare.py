"""``python -m kt_transfer.compare``: is transferring worth it, and which way?

Every method learns the same labelled examples and is judged by the same held-out ones; the
winner learns them all, is measured once on the test split, and is exported.
"""

from __future__ import annotations

if __name__ == "__main__":  # --help and mistakes are answered before TensorFlow loads
    import sys

    from kt_transfer.shell.main import main

    sys.exit(main(["compare", *sys.argv[1:]]))

from collections.abc import Mapping

from kt_transfer import export
from kt_transfer.comparison import comparing, pacing
from kt_transfer.comparison.report import write_report
from kt_transfer.comparison.table import Table
from kt_transfer.errors import UserError, named
from kt_transfer.methods.candidates import chosen_methods, read_candidates, require_candidates
from kt_transfer.runs import recording, session
from kt_transfer.settings import CompareConfig


def run(candidates=None, **settings):
    """The command as a function; ``settings`` are the fields of :class:`CompareConfig`.

    Args:
        candidates: A JSON file, or methods by name, such as ``{"frozen": Parameters(freeze=1)}``
            of :mod:`kt_transfer.methods`, which are compared beside ``methods``.
        **settings: The fields.

    Returns:
        The table as a pandas data frame, a row a training. Its ``attrs`` hold ``run`` (the run
        folder's path), ``verdicts``, ``winner`` and ``plots`` (paths of PNG files);
        ``report.html`` is in the run folder.

    Example:
        >>> from kt_transfer import compare
        >>> settings = {"folds": 2, "repeats": 1, "methods": ("scratch", "linear"), "quiet": True}
        >>> table = compare.run(data="digits", labels=(50,), **settings)
        >>> sorted(table["method"].unique())
        ['linear', 'scratch']
    """
    for name in ("source", "labels", "methods"):
        if name in settings:
            settings[name] = tuple(settings[name])
    if not isinstance(candidates, Mapping):
        return execute(CompareConfig(**settings, candidates=candidates))
    return execute(CompareConfig(**settings), require_candidates(candidates))


def execute(config: CompareConfig, candidates: Mapping | None = None):
    """Strategy, data, every cell, verdicts; the winner refitted, measured once and exported."""
    began = pacing.now()
    methods = _methods(config, candidates)
    with session.start_run("compare", config) as run:
        strategy = recording.begin(run, config)
        data = session.load_data(config, config.data)
        data.require_labels()
        recording.check_data(session.say(config), data, config.folds)
        recording.note_data(run, data)
        table = Table(run.path)
        with strategy.scope():
            comparison = comparing.fill(config, methods, run, data, table, began)
            found = comparing.summarize(config, comparison, table)
            winner = found["winner"]
            found["test"], answers = comparing.save_winner(config, run, data, comparison, winner)
        version = export.write_version(run, config.name, config.export_dir)
        found["exported"] = str(version)
        run.write_json("comparison.json", found)
        then = comparing.commands_after(config, version)
        write_report(config, run, data, comparison, found, table.rows.values(), answers, then)
    comparing.tell(config, run, found, version)
    frame = table.frame()
    frame.attrs.update(
        run=str(run.path),
        verdicts=found["verdicts"],
        winner=found["winner"],
        plots=[str(path) for path in sorted((run.path / "plots").glob("*.png"))],
    )
    return frame


def _methods(config: CompareConfig, candidates: Mapping | None) -> dict:
    """The methods with the settings of the command, then the further candidates."""
    settings = {name: getattr(config, name) for name in ("epochs", "batch_size", "student_units")}
    if config.learning_rate is not None:
        settings["learning_rate"] = config.learning_rate
    methods = chosen_methods(config.methods, **settings)
    further = read_candidates(config.candidates) if config.candidates else candidates or {}
    if twice := sorted(set(methods) & set(further)):
        raise UserError(
            setting="candidates",
            given=config.candidates or list(further),
            expected=f"names that are not among {named('methods')}",
            but=f"{twice[0]} is",
            remedy="give it another name, or leave the method out",
        )
    return methods | further
