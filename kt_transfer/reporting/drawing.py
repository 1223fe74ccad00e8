"""Drawing is the last thing a command does, and never what it fails of."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from kt_transfer.errors import UserError


@contextlib.contextmanager
def drawing(path: Path) -> Iterator[None]:
    """What cannot be drawn is said, and costs nothing else; a full disk is an error as ever.

    Args:
        path: The file to be written.

    Example:
        >>> import contextlib, sys
        >>> with contextlib.redirect_stderr(sys.stdout), drawing(Path("loss.png")):
        ...     raise ValueError("no glyph")
        loss.png could not be drawn (ValueError: no glyph); all else is complete
    """
    import matplotlib

    try:
        # Names are drawn as they are: a dollar sign begins no formula.
        with matplotlib.rc_context({"text.parse_math": False}):
            yield
    except (UserError, OSError):
        raise
    except Exception as error:  # whatever a font, a colour or a size may raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{path} could not be drawn ({reason}); all else is complete", file=sys.stderr)


def drawn(function: Callable) -> Callable:
    """Decorator of a function that draws to its argument ``path``, by :func:`drawing`.

    It returns what the function does, and ``None`` where that could not draw.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def draw(*args, **kwargs):
        with drawing(signature.bind(*args, **kwargs).arguments["path"]):
            return function(*args, **kwargs)

    return draw
