"""Common tasks of all commands: run folder, messages, data."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping

from kt_transfer.errors import UserError, settings_named
from kt_transfer.files import printing
from kt_transfer.files.writing import require_writable
from kt_transfer.runs import folder as runs
from kt_transfer.runs.workers import place_of, sharing_run

# The settings that say how a table is read, as the reader has them.
OF_TABLES = {
    "label_column": "label_column",
    "ignore": "ignore",
    "id": "id_column",
    "group": "group_column",
    "categorical": "categorical",
    "numeric": "numeric",
}


@contextlib.contextmanager
def start_run(command: str, config):
    """Context manager for the run folder of a command.

    With several workers, only the chief writes the run folder; the others use a temporary folder.
    All workers exit together.
    """
    settings = config.to_settings()
    if export_dir := getattr(config, "export_dir", None):
        require_writable(export_dir, "export_dir")  # before hours of training, which come first
    options = {"out": config.out, "overwrite": config.overwrite, "resume": config.resume}
    place = place_of(config)
    if place is None:
        with runs.start(command, settings, **options) as run:
            yield run
        return
    with sharing_run(command, settings, options, config, place) as run:
        yield run


def say(config) -> Callable[..., None]:
    """Prints, or does nothing with ``--quiet`` and on workers but the chief."""
    if config.quiet:
        return lambda *_: None
    place = place_of(config)
    return printing.say if place is None or place.is_chief else lambda *_: None


def with_image_size(config, sources: Mapping[str, runs.Run | None] | None = None):
    """The settings of a command that trains, with the size that pictures are read in.

    Args:
        config: The settings; a size that they give stays.
        sources: What the command starts from, by name: the run, which keeps its size, or ``None``
            for a model of another kind, which was made for larger pictures.
    """
    from kt_transfer.data.images import IMAGE_SIZE, LARGE_IMAGE_SIZE

    specs = (config.data, getattr(config, "source_data", None))
    are_pictures = any(str(spec).startswith("images:") for spec in specs)
    if config.image_size is not None and not are_pictures:
        raise UserError(
            setting="image_size",
            given=config.image_size,
            expected="images:",
            but=f"{config.data} is read as it is",
            remedy="leave it out",
        )
    if config.image_size is not None or not are_pictures:
        return config
    sizes = [
        LARGE_IMAGE_SIZE if run is None else run.image_size for run in (sources or {}).values()
    ]
    size = max(
        sizes, default=IMAGE_SIZE, key=lambda size: size if isinstance(size, int) else max(size)
    )
    return dataclasses.replace(config, image_size=size)


def load_data(config, spec: str, *, flag: str = "--data", like=None):
    """Load a data set and print how it was read.

    Args:
        config: Settings of any command that loads data.
        spec: As for :func:`kt_transfer.load_data`.
        flag: The same.
        like: The same.
    """
    from kt_transfer import data

    given = {"data_dir": config.data_dir, "flag": flag, "like": like, "strict": config.strict}
    # Commands that only read what a model takes have no size of their own.
    if size := getattr(config, "image_size", None):
        given["image_size"] = size
    with settings_named(id_column="id", group_column="group"):
        loaded = data.load_data(spec, table=table_options(vars(config)), **given)
    say_notes(config, spec, loaded.notes)
    return loaded


def table_options(settings: dict):
    """How the settings of a command read a table; those of an old run may lack them."""
    from kt_transfer.data import TableOptions

    given = {
        OF_TABLES[name]: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name in OF_TABLES
    }
    return TableOptions(**given)


def reading_as(run: runs.Run, config):
    """The config with what it does not say of how a table is read: as the run did."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in run.settings.items()
        if name in OF_TABLES and getattr(config, name) == defaults[name]
    }
    return dataclasses.replace(config, **given)


def say_notes(config, spec: str, notes) -> None:
    """Print how a data set was read."""
    for note in notes:
        say(config)(f"{spec}: {note}")


def say_notes_of(config, run: runs.Run) -> None:
    """Print how the data of a quiet run was read."""
    about = run.read_json("run.json")["data"]
    say_notes(config, about["spec"], about.get("notes", ()))


def jit_choice(config) -> bool | str:
    """``--jit-compile`` as an argument of :class:`~kt_transfer.FusedModel`."""
    return {"auto": "auto", "yes": True, "no": False}[config.jit_compile]
