"""Lists and tables in Markdown."""

from __future__ import annotations


def as_list(lines: list[str]) -> str:
    """A line for each item.

    Example:
        >>> print(as_list(["one", "two"]))
        - one
        - two
    """
    return "\n".join(f"- {line}" for line in lines)


def as_table(head: list[str], rows: list[list]) -> str:
    """A table, its cells as text; empty without rows.

    Example:
        >>> print(as_table(["name", "size"], [["a|b", 3]]))
        | name | size |
        | --- | --- |
        | a\\|b | 3 |
    """
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
