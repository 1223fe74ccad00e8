"""The page without its server: what its fields hold, and what it says of what is given."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kt_transfer import UserError
from kt_transfer.data.schema import Column
from kt_transfer.serving import pictures_given
from kt_transfer.serving.demo_page import (
    demo_page,
    field_value,
    picture_answered,
    row_answered,
    row_of,
)
from kt_transfer.serving.trial import open_trial


@pytest.fixture(scope="module")
def digits(chain):
    return open_trial(chain.exported)


@pytest.fixture(scope="module")
def wines(of_table):
    return open_trial(of_table.version)


def words(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_fields_hold_the_row_to_the_last_digit(wines, of_table):
    rows = wines.columns.matrix(pd.read_csv(of_table.data))
    assert np.isnan(rows).any()
    for row in rows:
        values = [field_value(*one) for one in zip(wines.columns, row, strict=True)]
        np.testing.assert_array_equal(row_of(wines, np.zeros(len(row)), values), row)


def test_columns_without_a_field_keep_their_values(wines):
    base = wines.examples[0]
    np.testing.assert_array_equal(row_of(wines, base, ["12.5"])[1:], base[1:])
    assert row_of(wines, base, ["12.5"])[0] == 12.5


@pytest.mark.parametrize(
    "column, text, told",
    [
        ("alcohol", "strong", "alcohol holds 'strong', expected a number"),
        ("filled", "yesterday", "filled holds 'yesterday', expected a date"),
        ("colour intensity", "99", "colour intensity holds '99', expected one of its words"),
    ],
)
def test_what_is_not_of_a_columns_kind_is_a_sentence(wines, column, text, told):
    values = [field_value(*one) for one in zip(wines.columns, wines.examples[0], strict=True)]
    values[wines.columns.names.index(column)] = text
    with pytest.raises(UserError, match=re.escape(told)):
        row_of(wines, wines.examples[0], values)


def test_an_answer_to_a_row_says_every_column(wines):
    told = words(row_answered(wines, wines.examples[0]))
    label = wines.labels[wines.model(wines.examples[:1])[0].argmax()]
    assert told.startswith(f"Answer {label}")
    for name in wines.columns.names:
        assert name in told
    assert "what the SavedModel gives, by its signature serving_default" in told


def test_an_answer_to_a_picture_shows_three(digits):
    given = pictures_given.Given(digits.examples[0], None, ["as it is"])
    html = picture_answered(digits, given)
    assert html.count('<img src="data:image/png;base64,') == 3
    assert "each pixel replaced by the mean of the real examples" in html
    assert re.search(r"(Usual|Unusual):", words(html))


def test_a_picture_that_is_too_large_is_not_called_damaged(digits, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(UserError, match="too many pixels to read"):
        pictures_given.dropped(digits, tmp_path / "huge.png", True)


def test_dates_and_numbers_are_as_in_a_file():
    born = Column(name="born", kind="date")
    assert field_value(born, 19723.0) == "2024-01-01"
    assert field_value(born, np.nan) == ""
    assert field_value(Column(name="n", kind="number"), 0.1 + 0.2) == "0.30000000000000004"


def test_a_page_of_many_columns_can_be_made(of_table, monkeypatch):
    pytest.importorskip("gradio", reason="gradio is not installed (kt-transfer[demo])")
    from kt_transfer.serving import demo_page as pages

    trial = open_trial(of_table.version)
    monkeypatch.setattr(pages, "FIELDS_SHOWN", 2)
    assert demo_page(trial)


@pytest.mark.parametrize("address", ["http://203.0.113.1/x.png", "https://huggingface.co/x.png"])
def test_no_address_is_fetched_that_a_client_names(digits, tmp_path, monkeypatch, address):
    pytest.importorskip("gradio", reason="gradio is not installed (kt-transfer[demo])")
    import safehttpx
    from starlette.testclient import TestClient

    asked = []

    async def noted(url, *_, **__):
        asked.append(url)
        raise OSError("no network in tests")

    monkeypatch.setattr(safehttpx, "get", noted)
    monkeypatch.setattr(safehttpx, "async_validate_url", noted)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    file = {"path": address, "meta": {"_type": "gradio.FileData"}}
    drawing = {"background": None, "layers": [], "composite": file}
    with TestClient(demo_page(digits), raise_server_exceptions=False) as client:
        events = client.get("/config").json()["dependencies"]
        events = [one["id"] for one in events if one["targets"][0][1] == "change"]
        assert len(events) == 2
        for event, given in zip(events, (drawing, file), strict=True):
            question = {"fn_index": event, "data": [given, True], "session_hash": "mine"}
            for path in ("run/predict", "queue/join"):
                said = client.post(f"/gradio_api/{path}", json=question)
                assert (said.status_code, "fetches nothing" in said.text) == (403, True)
        assert client.get(f"/gradio_api/file={address}").status_code == 403
    assert not asked
