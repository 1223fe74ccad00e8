"""Random views of the examples, which every method that takes steps can learn from."""

from __future__ import annotations

import math
from collections.abc import Callable

from kt_transfer.errors import UserError
from kt_transfer.methods.bounds import require

# Of affine views: several times as strong as any picture stands, and no shear reaches 90 degrees.
MOST_AFFINE = 10.0
# What "auto" is for images; for the columns of a table it is none.
AUTO_OF_IMAGES = "affine"
# Of a row of a table, where views are needed, so many values are replaced.
RESAMPLED_SHARE = 0.2
AUTO_VIEWS = (
    "networks see each picture turned, stretched, slanted and shifted a little, at random: "
    "--augment none trains without"
)


def augmentation_of(spec: str | None) -> tuple[str, float] | None:
    """The kind and strength that ``--augment`` names; ``None`` for none, and for ``"auto"``.

    Raises:
        UserError: If it names none.

    Example:
        >>> augmentation_of("shift:2"), augmentation_of("affine")
        (('shift', 2.0), ('affine', 1.0))
    """
    if spec in (None, "none", "auto"):
        return None
    kind, given, number = spec.partition(":")
    try:
        strength = float(number) if given or kind != "affine" else 1.0
    except ValueError:
        strength = math.nan
    fits = {
        "affine": strength <= MOST_AFFINE,
        "shift": strength.is_integer(),
        "resample": strength <= 1,
        "noise": strength < math.inf,
    }
    require(
        strength > 0 and fits.get(kind, False),
        "augment",
        spec,
        "auto, none, affine or affine:STRENGTH up to 10, shift:PIXELS with a whole number, "
        "resample:SHARE up to 1, or noise:DEVIATION",
    )
    return kind, strength


def views_of(spec: str | None, input_shape: tuple[int, ...], value_range) -> Callable | None:
    """What makes the views that ``--augment`` names; ``None`` for none.

    Args:
        spec: As for :func:`augmentation_of`; ``"auto"`` is ``"affine"`` for images, else none.
        input_shape: Shape of one raw example.
        value_range: Smallest and largest raw value, or the ranges of the columns.

    Returns:
        A function ``(x, seed)`` from raw examples to raw examples, see
        :func:`~kt_transfer.training.augmentation.augmentation`.

    Raises:
        UserError: If images are needed and the examples are none, or the other way round.
    """
    from kt_transfer.models.preprocessing import as_image
    from kt_transfer.training.augmentation import augmentation

    are_images = as_image(input_shape) is not None
    if spec == "auto" and are_images:
        spec = AUTO_OF_IMAGES
    chosen = augmentation_of(spec)
    if chosen is None:
        return None
    needs = {"affine": "images", "shift": "images", "resample": "rows of a table"}.get(chosen[0])
    if needs == ("rows of a table" if are_images else "images"):
        instead = AUTO_OF_IMAGES if are_images else f"resample:{RESAMPLED_SHARE}"
        raise UserError(
            setting="augment",
            given=spec,
            expected=needs,
            but=f"an example has the shape {tuple(input_shape)}",
            remedy=f"give {instead}, or noise:DEVIATION",
        )
    return augmentation(*chosen, value_range)
