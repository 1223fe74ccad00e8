import pytest

from kt_transfer import UserError, load_data


@pytest.mark.parametrize(
    "spec", ["", "digit", "digits:all", "npz:", "idx:", "tfds:", "csv:", "parquet"]
)
def test_an_unknown_spec_is_refused(spec):
    with pytest.raises(UserError, match=f"data={spec} was given, expected digits, tfds:"):
        load_data(spec)
