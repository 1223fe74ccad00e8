"""Pictures that people draw or drop, as the raw examples that a model takes.

What is done to them is told in a sentence each, since an answer may hang on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from kt_transfer.data import pictures
from kt_transfer.errors import UserError
from kt_transfer.models.preprocessing import image_shape
from kt_transfer.serving.picture_bytes import decode_pictures
from kt_transfer.serving.saved_model import as_png
from kt_transfer.serving.trial import Trial

# Pictures up to so many pixels can be drawn by hand; larger ones are photographs.
LARGEST_DRAWN = 64
# Where on the way from black to white the ground of pictures is dark, or light.
_DARK, _LIGHT = 0.25, 0.75
# How far a stroke is from the ground, of the way from black to white.
_STROKE = 0.2
# The side of a drawing on its way to a small picture, over that of the picture.
_FINER = 16


class Given(NamedTuple):
    """A picture that was drawn or dropped.

    Attributes:
        example: The raw example.
        content: The JPEG or PNG file that the model is asked about; ``None`` if it takes none.
        done: What was done to it, in words.
    """

    example: np.ndarray
    content: bytes | None
    done: list[str]


class Frame(NamedTuple):
    """Where pictures have what they show, as shares of their height and width.

    Attributes:
        middle: Down and across.
        size: Of the longer side, a share of the longer side of the picture.
    """

    middle: tuple[float, float]
    size: float


def can_be_drawn(trial: Trial) -> bool:
    """Whether pictures are grey, and small enough to be drawn by hand."""
    if trial.columns is not None:
        return False
    height, width, channels = image_shape(trial.shape)
    return channels == 1 and max(height, width) <= LARGEST_DRAWN


def ground_of(trial: Trial) -> str | None:
    """Whether what the training pictures show is on ``"dark"`` or on ``"light"``.

    Returns:
        By the median of the edges of the real examples; ``None`` where it is neither, where there
        are none, and for colours.
    """
    if not len(trial.examples) or image_shape(trial.shape)[2] != 1:
        return None
    x = _shares(trial, trial.examples)
    edges = [x[:, 0].ravel(), x[:, -1].ravel(), x[:, :, 0].ravel(), x[:, :, -1].ravel()]
    return _ground(np.median(np.concatenate(edges)))


def frame_of(trial: Trial) -> Frame | None:
    """Where the real examples have what they show; ``None`` where they have no ground."""
    ground = ground_of(trial)
    if ground is None:
        return None
    strokes = [_strokes(one, ground) for one in _shares(trial, trial.examples)]
    boxes = np.array([_box(one) for one in strokes if one.any()], float)
    if not len(boxes):
        return None
    height, width = trial.shape[:2]
    top, bottom, left, right = boxes.T
    longer = np.maximum(bottom - top, right - left) / max(height, width)
    middles = (top + bottom) / 2 / height, (left + right) / 2 / width
    return Frame(tuple(float(one.mean()) for one in middles), float(longer.mean()))


def drawn(trial: Trial, drawing: np.ndarray, match: bool) -> Given:
    """A drawing as a raw example.

    Args:
        trial: What is asked about it.
        drawing: Dark strokes on white, ``uint8`` of shape ``(height, width)``.
        match: Whether to make it like the training pictures: as light or dark, and as large and
            in the same place.

    Raises:
        UserError: If nothing is drawn.
    """
    shares = drawing.astype(np.float64) / 255
    if not _strokes(shares, "light").any():
        raise UserError("nothing is drawn: draw something on the board.")
    height, width, _ = image_shape(trial.shape)
    done = []
    frame = frame_of(trial) if match else None
    if match and ground_of(trial) == "dark":
        done.append("light and dark exchanged, since training pictures are light on dark")
    ink = 1 - shares
    if frame is not None:
        ink = _placed(ink, frame, height, width)
        done.append("moved and scaled to where training pictures have theirs")
    small = _resized(ink, height, width)
    done.append(f"reduced to {height} × {width} pixels")
    shares = small if match and ground_of(trial) == "dark" else 1 - small
    return _as_served(trial, np.round(255 * shares).astype(np.uint8), done)


def dropped(trial: Trial, path: Path, match: bool) -> Given:
    """A picture file as a raw example.

    Args:
        trial: What is asked about it.
        path: The file.
        match: Whether to exchange light and dark where the training pictures have the other
            ground.

    Raises:
        UserError: If it is no picture that can be read, or an enormous one.
    """
    from PIL.Image import DecompressionBombError

    shape = image_shape(trial.shape)
    try:
        header = pictures.read_header(path)
        pixels, flags = pictures.decode(path, shape)
    except DecompressionBombError as error:
        raise UserError("the picture has too many pixels to read: give a smaller one.") from error
    # Pillow and damaged files raise errors of any kind.
    except Exception as error:
        raise UserError(
            "the file cannot be read as a picture: give a PNG, JPEG, WebP, GIF, BMP or TIFF file."
        ) from error
    if header.kind != pictures.BYTES:
        return _wide(trial, pixels, header)
    done = [_told(header, shape)] + [words for flag, words in _FLAGS if flags & flag]
    grounds = {ground_of(trial), _ground(np.median(_edges(pixels)) / 255)}
    if match and grounds == {"dark", "light"}:
        done.append("light and dark exchanged, since training pictures have the other ground")
        return _as_served(trial, 255 - pixels, done)
    content = path.read_bytes()
    if _takes_files(trial) and content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        # As the model itself reads the file.
        example = decode_pictures(np.array([content], object), trial.shape).numpy()[0]
        return Given(example, content, done)
    return _as_served(trial, pixels, done)


_FLAGS = (
    (pictures.ON_WHITE, "put on white where it is transparent"),
    (pictures.ON_BLACK, "put on black where it is transparent"),
    (pictures.TURNED, "turned upright"),
    (pictures.FIRST_FRAME, "the first of several frames"),
)


def _told(header: pictures.Header, shape: tuple[int, int, int]) -> str:
    grey = " and made grey" if shape[2] == 1 and not header.is_grey else ""
    if (header.height, header.width) == shape[:2]:
        return f"{shape[0]} × {shape[1]} pixels as in the file{grey}"
    return f"resized from {header.height} × {header.width} to {shape[0]} × {shape[1]} pixels{grey}"


def _wide(trial: Trial, pixels: np.ndarray, header: pictures.Header) -> Given:
    """A picture of more than 8 bits, whose values have the unit that those of training have."""
    if trial.model.dtype == "uint8":
        raise UserError(
            f"the file is a {header.kind} picture, expected one of 8 bits, as those of training: "
            "save it with 8 bits."
        )
    example = pixels.astype(trial.model.dtype).reshape(trial.shape)
    return Given(example, None, [_told(header, pixels.shape), "values as in the file"])


def _as_served(trial: Trial, pixels: np.ndarray, done: list[str]) -> Given:
    """8-bit pixels as a raw example, and as a file for a model that takes files."""
    low, high = trial.value_range
    pixels = pixels.reshape(trial.shape)
    if (low, high) == (0, 255):
        content = as_png(pixels[None])[0] if _takes_files(trial) else None
        return Given(pixels.astype(trial.model.dtype), content, done)
    values = low + pixels / 255 * (high - low)
    if np.dtype(trial.model.dtype).kind in "iu" or (trial.summary and trial.summary.is_whole):
        values = np.round(values)
    done = [*done, f"values brought to {low:g} to {high:g}"]
    return Given(values.astype(trial.model.dtype), None, done)


def _takes_files(trial: Trial) -> bool:
    return getattr(trial.model, "of_picture_files", None) is not None


def _shares(trial: Trial, x: np.ndarray) -> np.ndarray:
    """Grey pictures on the way from black, 0, to white, 1, without an axis of channels."""
    low, high = trial.value_range
    return (x.reshape(len(x), *x.shape[1:3]).astype(np.float64) - low) / (high - low)


def _ground(share: float) -> str | None:
    return "dark" if share < _DARK else "light" if share > _LIGHT else None


def _edges(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _strokes(shares: np.ndarray, ground: str) -> np.ndarray:
    """Which pixels are no ground."""
    return (shares if ground == "dark" else 1 - shares) > _STROKE


def _box(strokes: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is drawn."""
    rows, columns = (np.flatnonzero(strokes.any(axis=axis)) for axis in (1, 0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def _placed(ink: np.ndarray, frame: Frame, height: int, width: int) -> np.ndarray:
    """What is drawn, as large and where a frame has it, on a board finer than the picture."""
    top, bottom, left, right = _box(ink > _STROKE)
    cut = ink[top:bottom, left:right]
    board = np.zeros((_FINER * height, _FINER * width))
    scale = frame.size * max(board.shape) / max(cut.shape)
    # No further than the board reaches.
    scale = min(scale, board.shape[0] / cut.shape[0], board.shape[1] / cut.shape[1])
    cut = _resized(cut, *(max(round(scale * side), 1) for side in cut.shape))
    begins = [
        int(np.clip(round(middle * side - own / 2), 0, side - own))
        for middle, side, own in zip(frame.middle, board.shape, cut.shape, strict=True)
    ]
    board[begins[0] : begins[0] + cut.shape[0], begins[1] : begins[1] + cut.shape[1]] = cut
    return board


def _resized(shares: np.ndarray, height: int, width: int) -> np.ndarray:
    """By the filter that pictures are read with, which looks at every pixel."""
    from PIL import Image

    image = Image.fromarray(shares.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
