"""The page to try a model on, in Gradio: what is given to the model, and where its answer stands.

Gradio is an extra, so that it is imported only when a page is made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kt_transfer.data import cells
from kt_transfer.data.schema import Column
from kt_transfer.errors import UserError
from kt_transfer.reporting import trying
from kt_transfer.reporting.plots import as_picture
from kt_transfer.serving import pictures_given
from kt_transfer.serving.trial import Trial, answer, real_row, typical_row

# Pixels of the longer side of the board, and of the smallest picture in the gallery.
_BOARD, _SMALLEST = 320, 160
# Half the width of a stroke, which becomes as wide as those of digits.
_STROKES_PER_BOARD = 22
_OFF_LINE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "form-action 'self'; base-uri 'self'"
)


def demo_page(trial: Trial):
    """The page to try a model on.

    Args:
        trial: The model.

    Returns:
        An ASGI application, whose page asks no other host for anything.
    """
    import gradio as gr
    from fastapi import FastAPI

    with gr.Blocks(title=f"{trial.name}, {trial.called}", analytics_enabled=False) as page:
        gr.HTML(trying.heading(trial.metadata, trial.name, trial.called))
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                given = _pictures if trial.columns is None else _fields
                connect = given(gr, trial)
            with gr.Column(scale=6, min_width=300):
                out = gr.HTML(trying.nothing(_invitation(trial)), elem_id="answer")
        connect(page, out)
    page.queue(default_concurrency_limit=1)
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        theme=_theme(gr),
        css=trying.style(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        enable_monitoring=False,
        max_file_size="30mb",
    )
    # A page that Gradio launches itself takes no files but those that were uploaded to it; with one
    # that is mounted it would take any file of the machine that a client names, and there is no
    # setting for it. (launch() has no place for our socket, signals and middleware.)
    page.has_launched = True
    app.add_middleware(_NoAddresses)
    app.add_middleware(_OffLine)
    return app


class _OffLine:
    """Tells the browser to fetch nothing from anywhere else, whatever Gradio may link to."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _OFF_LINE.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        await self.app(scope, receive, send_with_policy)


class _NoAddresses:
    """Refuses what would make Gradio fetch a web address: it takes one wherever it takes a file."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = "://" in scope["path"]
        # Files are uploaded in forms, which name none.
        if not refused and scope["method"] == "POST" and not _is_form(scope):
            body, receive = await _read(receive)
            refused = _names_address(body)
        if refused:
            from starlette.responses import PlainTextResponse

            told = PlainTextResponse("This page fetches nothing from an address.", 403)
            await told(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_form(scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return len(kinds) == 1 and kinds[0].startswith(b"multipart/form-data")


async def _read(receive) -> tuple[bytes, Callable]:
    """The body of a request, and what gives it to the next one who asks."""
    parts, is_first = [], True
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            message = {"type": "http.request", "body": b"".join(parts)}
            break

    async def again():
        nonlocal is_first
        if is_first:
            is_first = False
            return message
        return await receive()

    return b"".join(parts), again


def _names_address(body: bytes) -> bool:
    """Whether any file in a question is one at an address."""
    paths = []
    try:
        json.loads(body, object_hook=lambda one: paths.append(one.get("path")))
    except (ValueError, RecursionError):  # which Gradio cannot read either
        return False
    return any("://" in path for path in paths if isinstance(path, str))


def _theme(gr):
    """Fonts of the machine, since others would be fetched."""
    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=fonts,
        font_mono=["ui-monospace", "monospace"],
    )


def _invitation(trial: Trial) -> str:
    if trial.columns is not None:
        return "Fill in a row, or take a real one."
    drawing = "Draw on the board, drop" if pictures_given.can_be_drawn(trial) else "Drop"
    real = ", or click one of the real examples" if len(trial.examples) else ""
    return f"{drawing} a picture{real}: the answer appears here."


def _shown(ask: Callable[..., str]) -> Callable[..., str]:
    """A handler whose mistakes are sentences of the page."""

    def handle(*given):
        try:
            return ask(*given)
        except UserError as error:
            sentence = str(error)
        # Whatever a model or a file may raise: the page goes on, and its owner is told.
        except Exception as error:
            sentence = f"the model cannot answer ({type(error).__name__})"
            print(f"{sentence}: {error}", file=sys.stderr)
        return trying.nothing(sentence[:1].upper() + sentence[1:], is_mistake=True)

    return handle


# -- Pictures --------------------------------------------------------------------------------------


def _pictures(gr, trial: Trial) -> Callable:
    """A board to draw on, a place to drop a picture, and the real examples."""
    drawing = None
    if pictures_given.can_be_drawn(trial):
        with gr.Tab("Draw"):
            moved = ", moved and scaled to where they have theirs"
            drawing = [_board(gr, trial), *_match(gr, trial, moved)]
        with gr.Tab("Picture file"):
            file = [_file(gr), *_match(gr, trial)]
    else:
        file = [_file(gr), *_match(gr, trial)]
    gallery = _real_pictures(gr, trial)

    def of_drawing(drawing, is_matched=True):
        if drawing is None or drawing["composite"] is None:
            return trying.nothing(_invitation(trial))
        given = pictures_given.drawn(trial, drawing["composite"], is_matched)
        return picture_answered(trial, given)

    def of_file(path, is_matched=True):
        if path is None:
            return trying.nothing(_invitation(trial))
        return picture_answered(trial, pictures_given.dropped(trial, Path(path), is_matched))

    def of_example(number=0):
        example = trial.examples[number]
        given = pictures_given.Given(example, None, ["a real example, as it is"])
        return picture_answered(trial, given)

    def connect(page, out) -> None:
        if drawing is not None:
            page.load(None, None, None, js=_TAKE_BRUSH)
            drawing[0].clear(None, None, None, js=_TAKE_BRUSH)
            gr.on([one.change for one in drawing], _shown(of_drawing), drawing, out, **_QUIETLY)
        gr.on([one.change for one in file], _shown(of_file), file, out, **_QUIETLY)
        if gallery is not None:

            def of_click(chosen):
                return _shown(of_example)(int(chosen.index))

            # What was clicked is given to an argument of this type.
            of_click.__annotations__ = {"chosen": gr.SelectData}
            gallery.select(of_click, None, out, **_QUIETLY)
            page.load(_shown(of_example), None, out, **_QUIETLY)

    return connect


# A board begins with no tool in hand, and puts the brush away when it is cleared. With the brush in
# hand it offers its size.
_TAKE_BRUSH = """() => {
  let times = 0;
  const take = () => {
    const brush = document.querySelector('#board button[aria-label="Brush"]');
    const taken = document.querySelector('#board button[aria-label="Brush Size"]');
    if (brush && !taken) brush.click();
    if (++times < 20) setTimeout(take, 50);
  };
  take();
}"""
_QUIETLY = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}


def _board(gr, trial: Trial):
    height, width = trial.shape[:2]
    scale = _BOARD / max(height, width)
    size = (round(scale * width), round(scale * height))
    return gr.Sketchpad(
        type="numpy",
        image_mode="L",
        canvas_size=size,
        fixed_canvas=True,
        height=size[1] + 80,
        layers=False,
        transforms=(),
        brush=gr.Brush(
            default_size=_BOARD // _STROKES_PER_BOARD, colors=["#000000"], color_mode="fixed"
        ),
        show_label=False,
        elem_id="board",
    )


def _match(gr, trial: Trial, also: str = "") -> list:
    """Whether to make what is given like the training pictures, where these have a ground."""
    ground = pictures_given.ground_of(trial)
    if ground is None:
        return []
    strokes = "light on dark" if ground == "dark" else "dark on light"
    about = {"label": "Like the training pictures", "info": f"{strokes}{also}"}
    return [gr.Checkbox(True, elem_id="match" if also else "match-file", **about)]


def _file(gr):
    file = gr.Image(
        type="filepath",
        sources=["upload", "clipboard"],
        show_label=False,
        height=300,
        elem_id="file",
        buttons=[],
    )
    # The file as it is: Gradio would open it first, and fail in words of its own.
    file.preprocess = lambda given: None if given is None else given.path
    return file


def _real_pictures(gr, trial: Trial):
    if not len(trial.examples):
        return None
    gr.HTML(trying.eyebrow("Real examples"))
    low_high = np.array(trial.value_range)
    pictures = [_enlarged(as_picture(one.astype(float), low_high)) for one in trial.examples]
    return gr.Gallery(
        pictures,
        show_label=False,
        columns=len(pictures),
        allow_preview=False,
        object_fit="contain",
        height="auto",
        elem_id="real",
        elem_classes="kt-real",
        interactive=False,
        buttons=[],
        format="png",
    )


def _enlarged(shares: np.ndarray) -> np.ndarray:
    """A small picture so large that no browser blurs it much."""
    times = max(_SMALLEST // max(shares.shape[:2]), 1)
    pixels = np.round(255 * shares).astype(np.uint8)
    pixels = np.repeat(np.repeat(pixels, times, axis=0), times, axis=1)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)


def picture_answered(trial: Trial, given: pictures_given.Given) -> str:
    """What the page shows for a picture.

    Args:
        trial: The model.
        given: The picture, as from :func:`~kt_transfer.serving.pictures_given.drawn`.
    """
    said = answer(trial, given.example, given.content)
    shown = [trying.picture(said.example, trial.value_range, "what the model sees")]
    if said.reconstruction is not None:
        caption = "as its autoencoder reconstructs it"
        shown.append(trying.picture(said.reconstruction, trial.value_range, caption))
    shown.append(
        trying.carried_by_pixels(
            said.example, trial.value_range, said.carried, "what carries the answer"
        )
    )
    squares = "pixel" if said.square == 1 else f"square of {said.square} × {said.square} pixels"
    filling = "the mean of the real examples" if len(trial.examples) > 1 else "a middle grey"
    signature = "serving_default" if given.content is None else "serving_image_bytes"
    return trying.answered(
        trial.labels,
        said.probabilities,
        asked=_asked(trial, signature),
        usual=_usual(trial, said),
        pictures=shown,
        carried=f"What the log-odds of the answer lose with each {squares} replaced by {filling}.",
        done=given.done,
    )


def _asked(trial: Trial, signature: str) -> str:
    formats = {
        "litert": "LiteRT model",
        "litert_int8": "LiteRT model of 8 bits",
        "onnx": "ONNX model",
    }
    kind = trial.metadata.get("format", "saved_model")
    if kind in formats:
        return f"The probabilities are what the {formats[kind]} gives."
    return f"The probabilities are what the SavedModel gives, by its signature {signature}."


def _usual(trial: Trial, said) -> trying.Usual:
    note = trial.metadata.get("reconstruction_error")
    quantiles = note.get("quantiles") if isinstance(note, dict) else None
    return trying.Usual(said.error, quantiles or {}, said.unusual)


# -- Rows ------------------------------------------------------------------------------------------


def _fields(gr, trial: Trial) -> Callable:
    """A field for each column, the first of very many, and buttons for the real rows."""
    columns = trial.columns.columns[: trial.num_explained]
    first = typical_row(trial)
    row = gr.State(first)
    buttons = []
    if len(trial.examples):
        gr.HTML(trying.eyebrow("Real rows"))
        with gr.Row(elem_classes="kt-rows"):
            buttons = [
                gr.Button(str(number), size="sm", min_width=30, elem_id=f"row{number}")
                for number in range(1, len(trial.examples) + 1)
            ]
    about = list(enumerate(zip(columns, first, strict=False)))
    with gr.Row(elem_classes="kt-fields"):
        fields = [_field(gr, trial, number, *one) for number, one in about[:FIELDS_SHOWN]]
    if folded := about[FIELDS_SHOWN:]:
        with (
            gr.Accordion(f"{len(folded)} further columns", open=False),
            gr.Row(elem_classes="kt-fields"),
        ):
            fields += [_field(gr, trial, number, *one) for number, one in folded]
    if (rest := len(trial.columns) - len(columns)) > 0:
        gr.HTML(
            trying.eyebrow(
                f"{rest:,} further columns keep the values of the row that was taken last, and it "
                "is not asked what they carry."
            )
        )

    def of_fields(base, *values):
        return row_answered(trial, row_of(trial, base, values))

    def taken(number: int) -> Callable:
        def take():
            example = real_row(trial, number)
            texts = [field_value(c, v) for c, v in zip(columns, example, strict=False)]
            return [example, *texts, _shown(row_answered)(trial, example)]

        return take

    def connect(page, out) -> None:
        # Not "input", which Gradio knows of keys alone: what is pasted or deleted counts, too. One
        # event of all fields, so that a row which changes all of them asks once or twice.
        changes = [field.change for field in fields]
        gr.on(changes, _shown(of_fields), [row, *fields], out, **_QUIETLY)
        for number, button in enumerate(buttons):
            button.click(taken(number), None, [row, *fields, out], **_QUIETLY)
        page.load(_shown(of_fields), [row, *fields], out, **_QUIETLY)

    return connect


# Fields that are not folded away; and the least change of a probability that is worth a word.
FIELDS_SHOWN, _FELT = 40, 0.01


def _field(gr, trial: Trial, number: int, column: Column, value: float):
    given = {"label": column.name, "value": field_value(column, value), "min_width": 100}
    given |= {"elem_id": f"field{number}"}
    if column.words:
        names = [(word, str(code)) for code, word in enumerate(column.words)]
        return gr.Dropdown([*names, ("missing", "")], interactive=True, **given)
    # The ranges of rows without a schema leave some out, and are not told.
    info = None if trial.model.schema is None else _span(column)
    return gr.Textbox(info=info, max_lines=1, interactive=True, **given)


def _span(column: Column) -> str | None:
    """What its values were in training, in words of numbers alone."""
    if column.low is None or column.high is None:
        return None
    if column.kind == "date":
        low, high = (field_value(column, end)[:10] for end in (column.low, column.high))
    else:
        low, high = f"{column.low:.4g}", f"{column.high:.4g}"
    return f"{low} to {high}"


def field_value(column: Column, value: float) -> str:
    """What stands in the field of a column, from which :func:`row_of` reads the same value.

    Example:
        >>> field_value(Column(name="age", kind="number"), 31.0)
        '31'
        >>> field_value(Column(name="pet", kind="category", vocabulary=("cat", "dog")), 1.0)
        '1'
        >>> field_value(Column(name="born", kind="date"), 1.5)
        '1970-01-02T12:00:00'
    """
    if np.isnan(value):
        return ""
    if column.words:
        return str(int(value))
    if column.kind == "date":
        seconds = np.datetime64(round(value * 86_400), "s")
        return str(seconds).removesuffix("T00:00:00")
    return repr(float(value)).removesuffix(".0")


def row_of(trial: Trial, base: np.ndarray, values) -> np.ndarray:
    """A row from the fields of a page.

    Args:
        trial: The model.
        base: The row whose values columns without a field keep.
        values: What stands in each field; of words their code.

    Raises:
        UserError: If one is not of its column's kind.
    """
    row = np.array(base, np.float64)
    for place, (column, value) in enumerate(zip(trial.columns, values, strict=False)):
        text = "" if value is None else str(value)
        try:
            if column.words:
                row[place] = _code(column, text)
            else:
                row[place] = cells.matrix((column,), {column.name: [text]})[0, 0]
        except cells.BadCell as bad:
            raise UserError(
                f"{column.name} holds {bad.value!r}, expected {bad.expected}: correct it, or leave "
                "it empty where it is missing."
            ) from bad
    return row


def _code(column: Column, text: str) -> float:
    if not text:
        return np.nan
    known = {str(code): float(code) for code in range(len(column.words))}
    if text not in known:
        raise cells.BadCell(0, text, "one of its words", column.name)
    return known[text]


def row_answered(trial: Trial, row: np.ndarray) -> str:
    """What the page shows for a row.

    Args:
        trial: The model.
        row: Shape ``(columns,)``.
    """
    said = answer(trial, row)
    count = trial.num_explained
    texts = trial.columns.texts_of(row[None])[0][:count]
    made = said.reconstruction or [""] * count
    changes = [None] * count if said.carried is None else said.carried.tolist()
    names = trial.columns.names[:count]
    found = zip(names, texts, made[:count], changes, strict=True)
    others = "the real rows" if len(trial.examples) > 1 else "a typical row"
    carried = ""
    if said.carried is not None:
        carried = f"How many points less probable the answer is with a column from {others}, on "
        carried += "average."
        if np.abs(said.carried).max() < _FELT:
            carried += " No column alone changes it by a point."
    return trying.answered(
        trial.labels,
        said.probabilities,
        asked=_asked(trial, "serving_default"),
        usual=_usual(trial, said),
        cells=[trying.Cell(*one) for one in found],
        carried=carried,
    )
