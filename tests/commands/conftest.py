import shutil

import pytest


@pytest.fixture
def copied(chain, tmp_path):
    """Copies a run of the chain to where a test may change it."""
    return lambda name, to=None: shutil.copytree(getattr(chain, name), tmp_path / (to or name))
