"""The licence of a data set, where its source states one."""

from __future__ import annotations

import os

_DIGITS = (
    "CC BY 4.0 (E. Alpaydin and C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine "
    "Learning Repository)"
)


def licence_of(spec: str, data_dir: str | os.PathLike | None = None) -> str | None:
    """What is known of the licence of a data set, in words; ``None`` where nothing is.

    Args:
        spec: As for :func:`~kt_transfer.load_data`.
        data_dir: TensorFlow Datasets directory, for ``tfds:``.

    Example:
        >>> licence_of("digits")[:9]
        'CC BY 4.0'
        >>> print(licence_of("csv:people.csv"))
        None
    """
    kind, _, name = spec.partition(":")
    if spec == "digits":
        return _DIGITS
    if kind != "tfds":
        return None
    import tensorflow_datasets as tfds

    try:
        info = tfds.builder(name, data_dir=data_dir and os.fspath(data_dir)).info
    except Exception:  # of a set that is not there any more nothing can be said
        return None
    return info.redistribution_info.license or f"not stated there; see {info.homepage}"
