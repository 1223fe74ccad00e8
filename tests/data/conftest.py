"""What tests of data share: tables that are written and read."""

import pytest

from kt_transfer import load_data
from kt_transfer.data import TableOptions


@pytest.fixture
def write(tmp_path):
    """Writes a file, and says how it is given as data."""

    def written(content, name="t.csv", kind="csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"{kind}:{path}"

    return written


@pytest.fixture
def load(write):
    """Loads the text of a CSV file."""

    def load_text(content, like=None, **options):
        return load_data(write(content), table=TableOptions(**options), like=like)

    return load_text
