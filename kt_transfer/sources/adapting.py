"""Adapt raw examples to the inputs that a network expects: size, channels, scaling."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
from keras import layers, ops

from kt_transfer.data import Dataset
from kt_transfer.data.ranges import Range, is_by_column
from kt_transfer.data.schema import Schema
from kt_transfer.data.table_features import VALUE, Feature, Layout
from kt_transfer.errors import listed
from kt_transfer.models.preprocessing import as_image, scaled
from kt_transfer.models.table_features import table_features

# One value for all channels, or one per channel.
Value = float | tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Expected:
    """The input that a network expects.

    Attributes:
        shape: Shape of its input: ``(features,)``, or that of an image.
        image: For a flat input, the shape of the images it was flattened from, if any.
        values: The values that the smallest and the largest raw value become, common or per
            channel; ``None`` for unscaled raw values.
        reversed_channels: Whether the order of channels is blue, green, red.
        by_column: Whether each column of a table was scaled by its own range.
        features: What its features are, where it was trained on a table with named columns.
    """

    shape: tuple[int, ...]
    image: tuple[int, ...] | None = None
    values: tuple[Value, Value] | None = (-1.0, 1.0)
    reversed_channels: bool = False
    by_column: bool = False
    features: tuple[Feature, ...] | None = None

    def to_note(self) -> dict:
        """A JSON-compatible dictionary, for ``run.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_note(cls, note: dict) -> Expected:
        """The inverse of :meth:`to_note`."""
        expected = cls(**{name: _as_tuples(value) for name, value in note.items()})
        if expected.features is None:
            return expected
        return dataclasses.replace(
            expected, features=tuple(Feature(*feature) for feature in expected.features)
        )

    @classmethod
    def of(cls, data: Dataset) -> Expected:
        """What a flat network expects that is trained on these examples."""
        image = data.input_shape if as_image(data.input_shape) else None
        features = None if data.layout is None else data.layout.features
        by_column = is_by_column(data.scaling_range)
        return cls((data.num_features,), image, by_column=by_column, features=features)


def why_incompatible(
    input_shape: tuple[int, ...], expected: Expected, schema: Schema | None = None
) -> str | None:
    """Why examples cannot be adapted to a network; ``None`` if they can.

    Args:
        input_shape: Shape of one raw example.
        expected: The input of the network.
        schema: The columns of a table.

    Example:
        >>> why_incompatible((30,), Expected((64,)))
        'a row of 30 values cannot become 64 values'
    """
    if expected.features is not None or schema is not None:
        return _why_other_columns(expected, schema)
    if not _changes_image(input_shape, expected):
        return None
    have, want = as_image(input_shape), _wanted_image(expected)
    if have is None or want is None:
        return f"{_named(input_shape)} cannot become {_wanted(expected)}"
    if have[2] != want[2] and 1 not in (have[2], want[2]):
        return f"{have[2]} channels cannot become {want[2]}"
    return None


def adapting_model(
    input_shape: tuple[int, ...],
    value_range: Range,
    dtype: str,
    expected: Expected,
    *,
    schema: Schema | None = None,
) -> keras.Model:
    """A model of stock layers from raw examples to the input of a network.

    Images are resized (bilinear, after average pooling if they shrink to half or less); grey
    images are repeated along channels, colour images averaged to one channel. Examples with as
    many values as a flat input are only scaled and flattened, as by
    :func:`~kt_transfer.models.preprocessing.preprocessing_model`.

    Args:
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value, or the ranges of the columns.
        dtype: Type of the raw values.
        expected: The input of the network, for which :func:`why_incompatible` is ``None``.
        schema: The columns of a table; those that the network was trained on are found by name, and
            one that is not there counts as missing.

    Returns:
        A functional model, ``(batch, *input_shape)`` to ``(batch, *expected.shape)``.

    Example:
        >>> adapt = adapting_model((28, 28), (0.0, 255.0), "uint8", Expected((32, 32, 3)))
        >>> adapt.output_shape
        (None, 32, 32, 3)
    """
    values = expected.values
    by_channel = values is not None and isinstance(values[0], tuple)
    raw = keras.Input(input_shape, dtype=str(dtype), name="raw")
    if values is None:
        exact = "float64" if raw.dtype == "float64" else "float32"
        x = layers.Rescaling(1.0, name="as_floats", dtype=exact)(raw)
    else:
        wanted = (0.0, 1.0) if by_channel else values
        x = scaled(raw, value_range, wanted, has_missing=schema is not None)
    if schema is not None:
        features = table_features(raw, x, Layout(expected.features, schema))
        return keras.Model(raw, features, name="preprocessing")
    if _changes_image(input_shape, expected):
        x = _as_wanted(x, as_image(input_shape), _wanted_image(expected))
    if expected.reversed_channels:
        x = ops.flip(x, axis=-1)
    if by_channel:
        low, high = values
        scale = [b - a for a, b in zip(low, high, strict=True)]
        x = layers.Rescaling(scale, offset=list(low), name="scale_channels")(x)
    if tuple(x.shape[1:]) != expected.shape:
        x = layers.Reshape(expected.shape, name="flatten")(x)
    return keras.Model(raw, x, name="preprocessing")


def with_own_features(expected: Expected, data: Dataset) -> Expected:
    """What a model of unknown origin expects of a table: its features, if there are as many."""
    if data.layout is None or expected.shape != (data.num_features,):
        return expected
    return dataclasses.replace(expected, features=data.layout.features, by_column=True)


def adapted(data: Dataset, expected: Expected) -> keras.Model:
    """:func:`adapting_model` for the examples of a data set."""
    return adapting_model(*data.raw_for(expected.by_column), expected, schema=data.schema)


def describe_for(data: Dataset, expected: Expected, who: str = "source") -> str:
    """:func:`describe` for a data set; of a table, which columns there are on one side alone."""
    if data.schema is None:
        return describe(data.input_shape, data.range_for(expected.by_column), expected, who)
    theirs = list(dict.fromkeys(feature.column for feature in expected.features))
    ours = [column.name for column in data.schema.columns]
    absent = [name for name in theirs if name not in ours]
    unknown = [name for name in ours if name not in theirs]
    there = "all" if not absent else f"{len(theirs) - len(absent)} of them"
    notes = [f"{there} in {data.spec}"]
    notes += [f"{listed(absent, 5)} count as missing"] * bool(absent)
    notes += [f"{listed(unknown, 5)} of it are left out"] * bool(unknown)
    return f"{who} expects {len(theirs)} columns: {', '.join(notes)}"


def describe(
    input_shape: tuple[int, ...],
    value_range: Range,
    expected: Expected,
    who: str = "source",
) -> str:
    """Describe :func:`adapting_model` in one line.

    Example:
        >>> describe((28, 28, 1), (0.0, 255.0), Expected((32, 32, 3)))
        'source expects 32x32x3 in [-1, 1]: examples 28x28x1 in [0, 255] are resized, repeated
        to 3 channels, scaled'
    """
    steps = []
    if _changes_image(input_shape, expected):
        have, want = as_image(input_shape), _wanted_image(expected)
        steps += ["resized"] * (have[:2] != want[:2])
        if have[2] != want[2]:
            steps.append("averaged to 1 channel" if want[2] == 1 else _repeated(want[2]))
    steps += ["reversed in their channels"] * expected.reversed_channels
    steps.append(_how_scaled(value_range, expected))
    return (
        f"{who} expects {_wanted(expected)} {_range(expected.values)}: examples "
        f"{_size(input_shape)} {_range(value_range)} are {', '.join(steps)}"
    )


def _why_other_columns(expected: Expected, schema: Schema | None) -> str | None:
    """Why the columns of a table cannot become the features of a network."""
    if expected.features is None:
        return f"its columns cannot become the {_wanted(expected)} of unknown meaning"
    theirs = list(dict.fromkeys(feature.column for feature in expected.features))
    if schema is None:
        return f"it takes the columns of a table ({listed(theirs, 3)})"
    kinds = {column.name: column.kind for column in schema.columns}
    if not any(name in kinds for name in theirs):
        return f"it has none of the columns {listed(theirs, 3)}"
    numbers = {feature.column for feature in expected.features if feature.kind == VALUE}
    for name in theirs:
        if name in kinds and (name in numbers) == (kinds[name] == "category"):
            there = "a number" if name in numbers else "a category"
            return f"the column {name} is {there} for it, and a {kinds[name]} here"
    return None


def _changes_image(input_shape, expected: Expected) -> bool:
    """Whether more has to change than scaling and flattening."""
    if tuple(input_shape) == expected.shape:
        return False
    if len(expected.shape) == 1:
        return math.prod(input_shape) != expected.shape[0]
    return as_image(input_shape) is None or as_image(input_shape) != as_image(expected.shape)


def _wanted_image(expected: Expected) -> tuple[int, int, int] | None:
    return as_image(expected.image or expected.shape)


def _how_scaled(value_range: Range, expected: Expected) -> str:
    if expected.values is None:
        return "not scaled"
    return "scaled column by column" if is_by_column(value_range) else "scaled"


def _as_wanted(x, have: tuple[int, int, int], want: tuple[int, int, int]):
    """Convert images to another size and number of channels."""
    if tuple(x.shape[1:]) != have:
        x = layers.Reshape(have, name="image")(x)
    if want[2] == 1 and have[2] > 1:
        x = ops.mean(x, axis=-1, keepdims=True)
    # Pooling instead of Resizing's antialias, which XLA cannot compile.
    shrink = tuple(max(1, have[axis] // want[axis]) for axis in (0, 1))
    if shrink != (1, 1):
        x = layers.AveragePooling2D(shrink, padding="same", name="shrink")(x)
    if tuple(x.shape[1:3]) != want[:2]:
        x = layers.Resizing(*want[:2], name="resize")(x)
    if have[2] == 1 and want[2] > 1:
        x = layers.Concatenate(name="repeat_channels")([x] * want[2])
    return x


def _named(shape) -> str:
    if len(shape) == 1:
        return f"a row of {shape[0]} values"
    return f"an example of {_size(shape)}"


def _wanted(expected: Expected) -> str:
    if len(expected.shape) > 1:
        return _size(expected.shape)
    made_from = f" of images {_size(expected.image)}" if expected.image else ""
    return f"{expected.shape[0]} values{made_from}"


def _repeated(channels: int) -> str:
    return f"repeated to {channels} channels"


def _size(shape) -> str:
    return "x".join(map(str, shape))


def _range(values) -> str:
    if values is None:
        return "in raw values"
    low, high = (np.ravel(value) for value in values)
    return f"in [{min(low):.4g}, {max(high):.4g}]"


def _as_tuples(value):
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
