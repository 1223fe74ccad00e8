"""Tables that tests write, and how they look at what is read of them."""

import numpy as np
import pandas as pd


def people(n=60):
    """A table with columns of each kind, with missing values, and some that teach nothing."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "id": [f"p{row}" for row in range(n)],
            "age": rng.normal(50, 20, n).round(2),
            "children": rng.integers(0, 5, n),
            "smokes": rng.choice(["yes", "no"], n),
            "work class": rng.choice(["private", "state, local", 'so "called"', "none"], n),
            "joined": pd.Series(
                pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
            ),
            "planet": "earth",
            "target": rng.choice(["ill", "well"], n),
        }
    )
    frame["joined"] = frame["joined"].astype("datetime64[us]")
    frame.loc[rng.choice(n, 7, replace=False), "age"] = np.nan
    frame.loc[rng.choice(n, 5, replace=False), "work class"] = None
    return frame


PEOPLE = people()
INPUTS = ["age", "children", "smokes", "work class", "joined"]


def lines(*rows):
    return "\n".join(rows) + "\n"


def repeated(header, *rows, times=6):
    """Rows that come again and again, each time with another number in front."""
    body = [f"{t * len(rows) + n + 0.5},{row}" for t in range(times) for n, row in enumerate(rows)]
    return lines(f"nr,{header}", *body)


def in_order(data):
    """The rows of both parts in the order of the source."""
    x = np.empty((len(data.x) + len(data.x_test), data.x.shape[1]))
    x[data.rows], x[data.rows_test] = data.x, data.x_test
    return x


def column(data, name):
    return in_order(data)[:, data.schema.names.index(name)]


# A column of numbers, one of fractions and one of words.
COMMON = lines("a,b,c", *[f"{n},{n % 5}.5,{'xyz'[n % 3]}" for n in range(30)])
