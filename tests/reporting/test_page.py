import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import console, measure, needs_axe, needs_chromium
from sklearn.datasets import load_digits

from kt_transfer.reporting.page import comparison_page

DIGITS = load_digits().images[:200]
TABLE = np.random.default_rng(0).normal(size=(200, 30))
COMMAND = "python -m kt_transfer.compare --data digits --labels 50 200 1000"


@pytest.fixture(scope="session")
def write(tmp_path_factory, simulated, simulated_answers, simulated_explanation):
    def _write(examples=DIGITS, names="0123456789", value_range=(0, 16), **options):
        comparison, scores, curve = simulated(**options.pop("simulated", {}))
        page = comparison_page(
            options.pop("comparison", comparison),
            scores,
            curve=curve,
            answers=simulated_answers(examples, list(names), value_range),
            why=simulated_explanation(
                examples, list(names), value_range, options.pop("part", "test")
            ),
            reconstructions=options.pop("reconstructions", (examples, 0.9 * examples)),
            worth=["at 100 labels, the transfer is worth about 140 labels"],
            sure=["each interval has a confidence of 95 %"],
            then=["with about 7 repeats linear would probably be told from scratch"],
            again=options.pop("command", COMMAND),
            commands=[("Its answers", "python -m kt_transfer.predict")],
            settings={"data": "digits", "seed": 7} | options.pop("settings", {}),
            environment={"finished": "24 November 2026", "keras": "3.15.1"},
        )
        assert not options
        path = tmp_path_factory.mktemp("page") / "report.html"
        path.write_text(page)
        return path

    return _write


@pytest.fixture(scope="session")
def page(write):
    return write()


@pytest.fixture(scope="session")
def pages(write, page, simulated, with_shift_and_calibration):
    """Images; a table of numbers with awkward names; many classes, no source."""
    awkward = ["<b>cat</b> & $dog$", "a class with a name that goes on and on without an end"]
    sources = ("runs/" + "x" * 60 + "<i>", "runs/mnist-conv")
    return {
        "images": page,
        "table": write(
            TABLE,
            [*awkward, "c"],
            (-3, 3),
            simulated={"metric": "log_loss", "budgets": (100,), "sources": sources},
        ),
        "classes": write(
            np.random.default_rng(0).integers(0, 256, (200, 9, 9, 3), dtype=np.uint8),
            [f"class {number}" for number in range(40)],
            (0, 255),
            simulated={"sources": ()},
            reconstructions=None,
        ),
        "shift": write(comparison=with_shift_and_calibration(simulated()[0])),
    }


class Tags(HTMLParser):
    """Tags with their attributes, and the text that is seen."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != "style":
            self.text += data

    def named(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.mark.parametrize("kind", ["images", "table", "classes", "shift"])
def test_nothing_is_fetched_and_nothing_runs(pages, kind):
    text = pages[kind].read_text()
    tags = Tags(text)
    assert not tags.named("script", "link", "iframe", "object", "form")
    for attributes in (attributes for _, attributes in tags.tags):
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.findall(r"url\((?!#)|@import", text)


def test_the_verdict_stands_on_top(page):
    tags = Tags(page.read_text())
    assert len(tags.named("h1")) == 1
    first = page.read_text().split("<h1>")[1].split("</h1>")[0]
    assert "with 1,000 labels" in first
    assert page.read_text().index("<h1>") < page.read_text().index("<h2>")


def test_every_verdict_is_told(page, simulated):
    comparison, *_ = simulated()
    rows = re.findall(r"<tr.*?</tr>", page.read_text(), re.S)
    for verdict in comparison["verdicts"]:
        mean = f">{100 * verdict['mean']:.1f} %<"
        gain = f">{100 * verdict['difference']:+.1f} points".replace("-", "−")
        own = [row for row in rows if mean in row and gain in row]
        assert len(own) == 1
        assert f">{verdict['method']}<" in own[0]
        assert verdict["verdict"] in own[0]
        assert ">3.1 points<" in own[0]


def test_changed_examples_are_shown_with_words_and_marks(
    pages, page, simulated, with_shift_and_calibration
):
    assert "Does it generalize?" not in page.read_text()
    text = pages["shift"].read_text()
    assert "npz:&lt;i&gt;.npz" in text
    table = text.split('<table class="shift">')[1].split("</table>")[0]
    rows = with_shift_and_calibration(simulated()[0])["shift"]["rows"]
    assert table.count("<td") == len(rows)
    for row in rows:
        assert f">{100 * row['mean']:.1f} %<" in table
        if "verdict" in row:
            mark = {"better": "▲ ", "worse": "▼ ", "no difference": ""}[row["verdict"]]
            assert f">{mark}{100 * row['difference']:+.1f}<".replace("-", "−") in table
    assert table.split("<tbody>")[1].count("▲") == sum(
        row.get("verdict") == "better" for row in rows
    )
    assert "−10.0 to clean" in table


def test_the_calibration_is_told_and_shown(pages, page, simulated, with_shift_and_calibration):
    assert "Can its confidence be trusted?" not in page.read_text()
    text = pages["shift"].read_text().split("Can its confidence be trusted?")[1]
    found = with_shift_and_calibration(simulated()[0])["calibration"]
    for name in ("before", "after"):
        assert f">{100 * found[name]['calibration_error']:.1f} %<" in text
    assert f"--calibrate exports it with one of {found['temperature']:.2f}" in text
    assert "<title>Accuracy by confidence" in text


def test_names_of_the_users_are_text_not_markup(pages):
    text = pages["table"].read_text()
    assert "<b>cat" not in text
    assert "&lt;b&gt;cat&lt;/b&gt; &amp; $dog$" in text
    assert "xxx<i>" not in text


def test_settings_and_command_are_escaped(write):
    page = write(command="compare --data '</code><script>'", settings={"data": "<script>"})
    assert "<script>" not in page.read_text()


def test_what_a_screen_reader_needs(pages):
    for path in pages.values():
        tags = Tags(path.read_text())
        assert tags.named("html") == [{"lang": "en"}]
        assert len(tags.named("caption")) == len(tags.named("table")) > 4
        assert all(th.get("scope") for th in tags.named("th"))
        assert all(image["alt"] for image in tags.named("img"))
        svgs = [svg for svg in tags.named("svg") if svg.get("aria-hidden") != "true"]
        assert svgs
        assert all(svg["role"] == "img" for svg in svgs)
        assert len(tags.named("desc")) == len(svgs)
        identities = [a["id"] for _, a in tags.tags if "id" in a]
        assert len(identities) == len(set(identities))


def test_what_the_winner_gets_wrong_is_shown_with_both_classes(page):
    alts = [image["alt"] for image in Tags(page.read_text()).named("img")]
    wrong = [alt for alt in alts if re.match(r"Test example .*predicted", alt)]
    assert len(wrong) == 12
    for alt in wrong:
        true, taken_for = re.search(r": (\d), predicted (\d)$", alt).groups()
        assert true != taken_for


def test_examples_that_are_no_images_are_tables(pages):
    tags = Tags(pages["table"].read_text())
    assert not tags.named("img")
    assert "the first 12 of 30" in tags.text


def test_what_pixels_say_stands_beside_the_picture(page):
    text = page.read_text()
    section = text.split("<h2>Why the winner says so</h2>")[1].split("<h2>")[0]
    tags = Tags(section)
    alts = [image["alt"] for image in tags.named("img")]
    assert len(alts) == 2 * 6
    assert alts[:2] == ["Example in row 0: 0", "Which of its pixels speak for and against 0"]
    assert alts[4:6] == [
        "Example in row 14: 0, predicted 1",
        "Which of its pixels speak for and against 1",
    ]
    headings = re.findall(r"<h3>(.*?)</h3>", section)
    assert headings == ["Right and most confident", "Wrong and most confident", "Least sure"]
    assert "among test examples" in tags.text


def test_what_columns_say_is_a_table_of_bars_with_deviations(pages):
    text = pages["table"].read_text()
    section = text.split("<h2>Why the winner says so</h2>")[1].split("<h2>")[0]
    assert "the first 15 of 30 columns" in section
    assert "30.0 ± 2.0 points" in section
    assert "<i>column" not in section
    assert "&lt;i&gt;column" in section
    left, width = map(float, re.search(r"left: ([\d.]+)%; width: ([\d.]+)%", section).groups())
    assert (left, width) == (0.0, pytest.approx(100 * 0.3 / 0.32, abs=0.1))


def test_examples_that_the_winner_has_learned_are_told(write):
    assert "no test example has a label" in Tags(write(part="train").read_text()).text


def test_an_explanation_that_was_left_out_is_told(page, simulated, simulated_answers):
    comparison, scores, curve = simulated()
    text = comparison_page(
        comparison,
        scores,
        curve=curve,
        answers=simulated_answers(DIGITS, list("0123456789"), (0, 16)),
        reconstructions=None,
        worth=[],
        again=COMMAND,
        commands=[],
        settings={"data": "digits"},
        environment={"finished": "today"},
    )
    assert "Left out: with so many columns" in text
    assert "Left out: with so many columns" not in page.read_text()


def test_a_guess_beside_what_was_found(pages):
    text = Tags(pages["table"].read_text()).text
    assert "With 100 labels LogME picks runs/xxx" in text
    assert "Transferability estimates before" not in Tags(pages["classes"].read_text()).text


def test_many_classes_are_told_by_their_confusions(pages):
    text = Tags(pages["classes"].read_text()).text
    assert "The most frequent errors by class" in text
    assert "the shade is the share" not in text
    assert "the shade is the share" in Tags(pages["images"].read_text()).text


@needs_chromium
@pytest.mark.parametrize("kind", ["images", "table", "classes", "shift"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_overflows(pages, kind, width, tmp_path):
    found = measure(pages[kind], tmp_path, width=width)
    assert found["width"] == width
    assert found["beyond"] == []
    assert found["scrolls"] == width
    assert all(found["images"])


@needs_chromium
def test_the_browser_has_nothing_to_complain_of(page, tmp_path):
    assert console(page, tmp_path) == []
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</main>", "<script>undefined()</script></main>"))
    assert console(broken, tmp_path)


@needs_chromium
def test_light_and_dark(page, tmp_path):
    light, dark = (measure(page, tmp_path, width=800, dark=dark) for dark in (False, True))
    assert min(map(int, re.findall(r"\d+", light["background"]))) > 240
    assert max(map(int, re.findall(r"\d+", dark["background"]))) < 40


@needs_chromium
@needs_axe
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", ["images", "table"])
def test_axe_finds_nothing_amiss(pages, kind, dark, tmp_path):
    assert measure(pages[kind], tmp_path, width=700, dark=dark, axe=True)["violations"] == []


def test_the_questions_stand_in_the_order_in_which_they_are_asked(pages):
    headings = re.findall("<h2>(.*?)</h2>", pages["shift"].read_text())
    asked = [
        "Is transferring worth it?",
        "How sure is that?",
        "What does it cost?",
        "Where does the winner fail?",
        "Does it generalize?",
        "Can its confidence be trusted?",
        "Why the winner says so",
        "What next?",
        "How to serve it",
        "How to do it again",
    ]
    assert [heading for heading in headings if heading in asked] == asked


def test_what_more_labels_bring_and_what_stands_beside_the_metric(write, simulated):
    comparison, _, _ = simulated()
    own = {"method": "scratch", "source": "", "labels": 1050, "more": 50, "gain": 0.01}
    comparison["forecast"] = {
        "more_labels": [own | {"interval": [0.005, 0.02], "score": 0.9, "at_hand": False}],
        "verdicts": [],
    }
    keys = ("method", "source", "labels")
    rows = [{key: row[key] for key in keys} | {"mean": 0.4321} for row in comparison["verdicts"]]
    rows += [
        {"method": "scratch", "source": "", "labels": row["labels"], "mean": 0.4321}
        for row in comparison["scratch"]
    ]
    comparison["beside"] = {"metric": "balanced_accuracy", "means": rows}
    text = write(comparison=comparison).read_text()
    assert "1,050 labels" in text
    assert "90.0 %<small>+1.0 points (+0.5 to +2.0 points)</small>" in text
    assert text.count("43.2 %") == len(rows)


def test_a_verdict_that_is_open_says_how_probable_what_is(write, simulated):
    comparison, _, _ = simulated()
    entry = comparison["verdicts"][0]
    entry |= {"verdict": "no difference", "practically_equal": True}
    text = write(comparison=comparison).read_text()
    assert "≈ practically equal" in text
    assert "better 70 %, practically equal 20 %, worse 10 %" in text
