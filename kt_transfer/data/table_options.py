"""What the columns of a table are, where their content does not tell."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kt_transfer.data.schema import Schema, require_known, short
from kt_transfer.errors import UserError, named

if TYPE_CHECKING:  # arrow takes a moment to import, and flags are checked without it
    from kt_transfer.data.table_files import Table


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What the columns of a table are, where their content does not tell.

    Attributes:
        label_column: The column with the labels; without one nothing is labelled.
        ignore: Columns that are left out.
        id_column: The column that names the rows; not an input.
        group_column: The column that says which rows belong together (such as those of one
            patient), so that no split separates them; not an input.
        categorical: Columns whose values are words, even if they look like numbers or all differ.
        numeric: Columns whose values are numbers; any other value in them is an error.
    """

    label_column: str | None = None
    ignore: tuple[str, ...] = ()
    id_column: str | None = None
    group_column: str | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()

    def __post_init__(self):
        # In Python a list is at hand, and one name is easily given alone.
        for name in ("ignore", "categorical", "numeric"):
            value = getattr(self, name)
            names = (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(self, name, names)

    def given(self) -> dict[str, object]:
        """The settings that are not the defaults, by name.

        Example:
            >>> TableOptions(ignore=("name",)).given()
            {'ignore': ('name',)}
        """
        return {name: value for name, value in vars(self).items() if value}


def checked_options(table: Table, options: TableOptions, schema: Schema | None) -> TableOptions:
    """The options, all of whose columns exist; those of a model's own where it has a schema."""
    known = [*table.columns]
    if schema is not None:
        # What is an input, and of which kind, is the model's to say.
        options = dataclasses.replace(options, ignore=(), categorical=(), numeric=())
        label = options.label_column or schema.label_column
        if label == schema.label_column and label not in table.columns:
            label = None
        options = dataclasses.replace(options, label_column=label)
    roles: dict[str, str] = {}
    for setting, value in options.given().items():
        names = value if isinstance(value, tuple) else (value,)
        require_known(names, known, setting=setting, given=value)
        for name in names:
            # One column may both name the rows and say which belong together.
            both = {roles.get(name), setting} == {"id_column", "group_column"}
            if name in roles and roles[name] != setting and not both:
                raise UserError(
                    setting=setting,
                    given=value,
                    when=f"with {short(name)} as {named(roles[name])} too",
                    expected="a column in one of these alone",
                    remedy="leave it out of one",
                )
            roles[name] = setting
    return options
