"""CSV files that a spreadsheet opens without running what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# What begins a formula. A program to be started may stand in one: =cmd|'/C calc'!A0.
_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, with an apostrophe before each text that a spreadsheet would compute.

    Numbers stay as they are, also those that are written as text.

    Example:
        >>> import pandas as pd
        >>> without_formulas(pd.DataFrame({"label": ["cat", "=1+1", "-2"]}))["label"].tolist()
        ['cat', "'=1+1", '-2']
    """
    safe = table.rename(columns=harmless)
    for place, kind in enumerate(safe.dtypes):
        if kind.kind not in "iufb":
            safe.isetitem(place, safe.iloc[:, place].map(harmless))
    return safe


def harmless(text):
    """A text with an apostrophe before it if a spreadsheet would compute it; numbers stay."""
    if not isinstance(text, str) or not text.startswith(_BEGIN_FORMULAS):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
