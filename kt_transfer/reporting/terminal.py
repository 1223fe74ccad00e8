"""Tables on the terminal."""

from __future__ import annotations


def format_table(header: list[str], rows: list[list[object]]) -> str:
    """Align rows under a header, text to the left and numbers to the right.

    Example:
        >>> print(format_table(["class", "recall"], [["cat", 0.5]]))
        class  recall
        cat    0.5000
    """
    cells = [header, *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    numeric = [
        all(isinstance(row[column], (int, float)) for row in rows) for column in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    )


def accuracy(metrics: dict) -> str:
    """Format the accuracy, which is unknown without test labels."""
    return f"{metrics['accuracy']:.4f}" if "accuracy" in metrics else "unknown (no test labels)"


def short_value(value: object) -> str:
    """A setting in a table: three digits of a number, a dash for none.

    Example:
        >>> short_value(0.00123456), short_value(None), short_value("cosine")
        ('0.00123', '–', 'cosine')
    """
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)
