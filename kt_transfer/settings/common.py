"""What several commands understand."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import docstring_parser
import tyro

from kt_transfer.methods.bounds import AtLeastOne, NotNegative, Positive, require_bounds
from kt_transfer.methods.steps import Steps


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command understands."""

    data_dir: Path | None = None
    """TensorFlow Datasets directory (default: TFDS_DATA_DIR, then ~/tensorflow_datasets)."""

    overwrite: bool = False
    """Replace the output if it exists; the old one is kept until the new one is complete."""

    quiet: bool = False
    """Print nothing but errors."""

    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self) -> None:
        require_bounds(self)

    def to_settings(self) -> dict:
        """Every setting as what ``json.dump`` takes."""
        from kt_transfer.settings.json import to_settings

        return to_settings(self)


@dataclass(frozen=True, kw_only=True)
class Reading(Common):
    """What every command that reads data understands; how a table is read comes from the run that
    a command starts from, where it is not given."""

    label_column: str | None = None
    """The column of a table (csv:, parquet:) that holds the classes; an empty cell is no label."""

    ignore: tuple[str, ...] = ()
    """Columns of a table to leave out."""

    id: str | None = None
    """The column of a table that names its rows, such as a customer number; not an input."""

    group: str | None = None
    """The column of a table whose equal values belong together, such as a patient: no split
    separates them; not an input."""

    categorical: tuple[str, ...] = ()
    """Columns of a table to take as categories, though they look like numbers."""

    numeric: tuple[str, ...] = ()
    """Columns of a table to take as numbers; a cell that holds none is a mistake."""

    strict: bool = False
    """End with an error where a picture cannot be read, rather than leave it out and say so."""


@dataclass(frozen=True, kw_only=True)
class OnDevices(Reading):
    """What every command understands whose work several devices or workers can share."""

    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    """tf.distribute strategy; auto is multi_worker where TF_CONFIG or a Slurm step names several
    workers, else mirrored where there are several devices."""

    num_devices: AtLeastOne | None = None
    """Split the CPU into this many logical devices, to try a strategy without GPUs."""


@dataclass(frozen=True, kw_only=True)
class Training(OnDevices):
    """What every command that trains understands."""

    out: Path | None = None
    """Run folder to write (default: runs/COMMAND-TIME)."""

    seed: NotNegative = 0
    """Seed of the initial weights, the order of examples and the draw of labels."""

    epochs: AtLeastOne = 20
    """Passes over the training examples."""

    batch_size: AtLeastOne = 64
    """Examples per step, over all devices together."""

    learning_rate: Positive = 1e-3
    """Initial learning rate of Adam."""

    image_size: AtLeastOne | tuple[AtLeastOne, AtLeastOne] | None = None
    """Pictures of images:DIR are scaled down to so many pixels on their longer side if they have
    more, or resized to a height and a width (default: 32; as the run's own for what starts from a
    run, and 128 for what starts from FILE.keras or an application)."""

    jit_compile: Literal["auto", "yes", "no"] = "auto"
    """Compile training with XLA; auto compiles where the run is long enough to pay for it."""

    resume: bool = False
    """Continue the interrupted run in --out, with its own settings."""

    from_run: Path | None = None
    """Take the settings of this run as defaults."""


def with_settings_of(*methods):
    """Class decorator: a field for each setting of the methods that a command's settings lack.

    The field has the type and the text of the method's, and the default ``None``, which stands for
    the method's own. ``settings_of_methods`` names the method of each. To be applied before
    ``dataclass``.
    """
    # What every method has, the command declares itself.
    common = {field.name for field in dataclasses.fields(Steps)}

    def decorate(config_class):
        config_class.settings_of_methods = {}
        for method in methods:
            hints = get_type_hints(method, include_extras=True)
            documented = docstring_parser.parse(method.__doc__).params
            texts = {parameter.arg_name: parameter.description for parameter in documented}
            for field in dataclasses.fields(method):
                name = field.name
                if name in common or name in config_class.__annotations__:
                    continue
                text = " ".join(texts[name].split()).replace("``", "")
                owners = [m.name for m in methods if hasattr(m, name)]
                help_text = f"{text} (--method {', '.join(owners)})"
                kind = Annotated[hints[name] | None, tyro.conf.arg(help=help_text)]
                config_class.__annotations__[name] = kind
                setattr(config_class, name, None)
                config_class.settings_of_methods[name] = method.name
        return config_class

    return decorate


def narrow(config, narrower, *without: str):
    """The fields of ``config`` that the dataclass ``narrower`` has, as one of it.

    Args:
        config: Settings of a command.
        narrower: Settings of a command within it, or a method; what the command cannot set keeps
            its default.
        *without: Fields to leave at their default.
    """
    names = {field.name for field in dataclasses.fields(narrower)} - set(without)
    return narrower(**{name: getattr(config, name) for name in names if hasattr(config, name)})
