"""The report's page: what it says, and that it works in a real browser, from disk, by keyboard and for a screen reader."""

import math
import random
import re
import shutil
from itertools import product

import pytest

import workloads
from frameworks import Cell
from harness.comparison import Comparison
from harness.records import Check, Conditions, Limits, Proof, Result, Round, Turn
from harness.statistics import Estimate
from reports import page, published, table
from reports.contests import Contest, contests

CHECK = Check(1e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
FACTS = {"processor": "Test <b>", "physical_cores": 4, "memory_bytes": 2**33, "kernel": "6"}
SECONDS = {"torch": 1.0, "jax": 1.001, "tensorflow": 1.2, "mxnet": 1.5, "numpy": 2.0}
HOSTILE = "<script>alert(1)</script>"


def cells(names, threads, variants=("default", "tuned"), rounds=6, seed=1):
    """Plausible results of every combination: equal seeds give equal times."""
    noise, found = random.Random(seed), []
    for workload, count, framework, variant in product(names, threads, SECONDS, variants):
        known = workloads.discover().get(workload)
        base = SECONDS[framework] / count**0.8 * (0.9 if variant == "tuned" else 1.0)
        made = []
        for n in range(1, rounds + 1):
            s = base * math.exp(noise.gauss(0, 0.002))
            turns = [Turn(i, 0, s, [s, s * 1.01, s], 4, 2.1, 3 * s, 3 * s, 3 * s, 3 * s, 0.0, 0, 0, 0, QUIET) for i in range(3)]
            made.append(Round(n, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 3 * s, CHECK, 10**9, turns, "flat", 3, ""))
        found.append(
            Result(
                Cell(workload, framework, variant, "cpu", count, known.mini_batch if known else 1),
                "ok",
                "",
                tuple(made),
                Proof(True, "", CHECK, 1, CHECK),
                {"digest": "abc", "build": "wheel", "packages": {framework: "1.2"}, "python_version": "3.11"},
                "python worker.py",
                Limits(6e10 * count, 2e10),
            )
        )
    return found


def make(results, theirs=()):
    return page.make(results, "Measured on Test.", FACTS, 7, "2026-01-02T03:04:05+00:00", theirs)


@pytest.fixture(scope="module")
def results():
    found = cells(["fcn-5", "lstm-32"], [1, 2, 4])
    failed = Result(Cell("fcn-5", HOSTILE, "default", "cpu", 1, 64), "crashed", f"said {HOSTILE}", log=(HOSTILE,))
    return [*found, failed]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=[*quiet, "--disable-component-update"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def file(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "theirs.csv").write_text(
        "workload,framework,platform,threads,gpu,seconds_per_minibatch,mini_batch\n"
        f"FCN-5,{HOSTILE},box,1,,4.0,64\nFCN-5,{HOSTILE},box,2,,3.0,64\n"
    )
    (folder / "report.html").write_text(make(results, [published.read(str(folder / "theirs.csv"))]), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(browser, file):
    """The page, with whatever it asks for and complains of; in the end there is nothing of either."""
    view = browser.new_page(viewport={"width": 1440, "height": 900})
    asked, complaints = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.goto(file.as_uri())
    yield view
    view.close()
    assert asked == [file.as_uri()]
    assert complaints == []


def test_the_verdict_is_in_plain_words(results):
    """Of each framework the fastest variant: who ties, and how many times as long the others take."""
    words = page.plain_words(contests(results[:10])[0])
    where, first, *others = re.split(r", (?=PyTorch)|; | and (?=NumPy)|, (?=MXNet)", words)
    assert where == "On this machine, for networks like FCN-5 with 1 thread"
    assert first == "PyTorch (tuned) and JAX (tuned) tie"
    assert [re.sub(r"\d\.\d\d", "#", other) for other in others[:2]] == [
        "TensorFlow (tuned) takes #x (#-#)",
        "MXNet (tuned) takes #x (#-#)",
    ]
    assert "TensorFlow (tuned) takes 1.20x" in words
    assert words.count("NumPy") == 1
    assert words.endswith(").")


def test_one_verdict_a_workload_stands_on_top(results):
    """That with the most threads; the others are there too."""
    first, others = page.verdicts(contests(results))
    assert [re.search("like (.*?) with (.*?),", verdict).groups() for verdict in first] == [
        ("FCN-5", "4 threads"),
        ("LSTM-32", "4 threads"),
    ]
    assert len(others) == 4


def test_it_holds_every_number_every_view_and_every_record(results):
    """As the table has them, with samples per second, the interval, and a link to the record."""
    text = make(results)
    made = table.make(results)
    assert len(re.findall(r'<td data-seconds="', text)) == sum(e.value is not None for _, _, entries in made.rows for e in entries) == 60
    assert text.count("<details id=") == 61
    assert "stepbench reproduce fcn-5/torch/default/cpu/1t/b64/float32/train --run 7" in text
    assert "Of the cells, 1 is crashed: its process failed." in text
    assert HOSTILE not in text
    assert "packages     torch 1.2" in text
    assert "python worker.py" not in text  # it holds paths of its machine
    assert text.count("<script") == 1
    number = re.search(r'<td data-seconds="([\d.]+)".*?title="(95 % interval .*?)">', text)
    assert float(number[1]) == pytest.approx(1.0, rel=0.01)
    assert re.fullmatch(r"95 % interval [\d.]+ to [\d.]+ s, 6 rounds", number[2])


def test_no_request_no_complaint_and_works_at_every_width(opened):
    """Loaded from disk; nothing is wider than the window but what scrolls by itself."""
    for width in (1440, 768, 390):
        opened.set_viewport_size({"width": width, "height": 900})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.locator("figure svg").count() >= 7
    opened.emulate_media(media="print")
    assert not opened.locator(".controls").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser, file, scheme):
    """Contrast, names, roles, order of headings: in light and in dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    view = browser.new_page(color_scheme=scheme)
    view.goto(file.as_uri())
    view.evaluate("document.querySelectorAll('details').forEach((one, at) => { one.open = at < 3 })")
    found = axe.Axe().run(view).response["violations"]
    view.close()
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


def visible_rows(view):
    return view.locator("#timings tbody tr:visible").count()


def test_filter_and_variants(opened):
    """Words that all must fit; default and tuned apart; published rows stay with both."""
    assert visible_rows(opened) == 22
    opened.fill("#filter", "lstm pyt")
    assert visible_rows(opened) == 2
    assert opened.locator("#status").inner_text() == "2 of 22 rows"
    opened.check("input[name=variant][value=tuned]")
    assert visible_rows(opened) == 1
    opened.fill("#filter", "")
    assert visible_rows(opened) == 11
    opened.fill("#filter", "nothing like it")
    assert visible_rows(opened) == 0


def test_views(opened):
    """Seconds, samples per second, share of the limit; intervals on and off."""
    number = opened.locator("#timings tbody td").first
    assert re.fullmatch(r"1\.00 ±[\d.]+%.*|0\.99\d ±[\d.]+%.*", number.inner_text())
    opened.check("input[name=view][value=samples]")
    assert number.inner_text() in ("63.9", "64.0", "64.1")
    opened.check("input[name=view][value=share]")
    assert re.fullmatch(r"6\d% mul", number.inner_text())
    opened.check("input[name=view][value=seconds]")
    opened.uncheck("#intervals")
    assert "±" not in number.inner_text()


def test_sorting_by_keyboard(opened):
    """A heading's button: ascending, descending, as it was; what has no number stands last either way."""

    def column():
        return opened.evaluate("[...document.querySelectorAll('#timings tbody tr')].map((row) => row.cells[2].dataset.seconds ?? null)")

    before = column()
    button = opened.locator("#timings thead button").nth(2)
    for direction, wanted in (("ascending", False), ("descending", True)):
        button.focus()
        opened.keyboard.press("Enter")
        assert opened.locator("#timings thead th[aria-sort]").nth(2).get_attribute("aria-sort") == direction
        numbers = [float(value) for value in column() if value is not None]
        assert numbers == sorted(numbers, reverse=wanted)
        assert len(numbers) == 20
        assert column()[20:] == [None, None]
    opened.keyboard.press("Enter")
    assert column() == before


def test_sorting_goes_by_what_is_shown(opened):
    """More samples a second is less time: switching the view sorts anew."""
    opened.locator("#timings thead button").nth(2).click()
    opened.check("input[name=view][value=samples]")
    shown = opened.locator("#timings tbody td:nth-of-type(1) .samples:visible").all_inner_texts()
    numbers = [float(text.replace(",", "")) for text in shown]
    assert numbers == sorted(numbers)
    assert len(numbers) == 20


def test_a_number_leads_to_its_record(opened):
    """One click: the record opens, with the proof and the command."""
    opened.locator("#timings tbody td a").first.click()
    record = opened.locator("details[open]").first
    assert "equal work   equal" in record.inner_text()
    assert "stepbench reproduce fcn-5/torch/default/cpu/1t" in record.inner_text()


def test_then_and_now_are_on_the_page(opened):
    """The best then, 3 s on two threads, beside the best now; the name that would run stays text."""
    assert opened.locator("#then-1 + div tbody td").nth(1).inner_text() == "3.0"
    assert opened.evaluate("document.body.innerHTML").count("alert(1)") >= 1
    assert opened.evaluate("[...document.scripts].filter((one) => one.textContent.includes('alert')).length") == 0


def test_500_cells_are_less_than_three_megabytes():
    """Six networks, five frameworks, default and tuned, eight thread counts: 480 cells of eight rounds."""
    text = make(cells(("fcn-5", "fcn-8", "alexnet", "resnet", "lstm-32", "lstm-64"), (1, 2, 4, 8, 12, 16, 24, 32), rounds=8))
    assert text.count("<details id=") == 480
    assert len(text.encode()) < 3e6


def test_a_run_without_numbers_is_a_page_too():
    """What failed is said; no picture, no verdict."""
    text = make([Result(Cell("fcn-5", "torch", "default", "cpu", 1, 64), "timeout", "no answer in 600 s")])
    assert "Of the cells, 1 is timeout" in text
    assert "<svg" not in text
    assert "Where each number comes from" in text


def test_an_interval_that_leaves_out_1_does_not_seem_to_hold_it():
    """More digits where two would hide on which side it ends, as in the table."""
    ratio = Estimate(1.013, 1.0012, 1.026)
    first, other = cells(["fcn-5"], [1], ["default"])[:2]
    contest = Contest(first.cell.contest, first, [(other, Comparison("SLOWER", ratio, 0.001, 0.02, 6))])
    assert "takes 1.01x (1.001-1.03)" in page.plain_words(contest)


def test_variants_of_one_framework_are_told_where_there_is_no_other():
    """`stepbench run -f torch`: who is compared is said, not that nobody was."""
    own = [r for r in cells(["fcn-5"], [1]) if r.cell.framework == "torch"]
    words = page.plain_words(contests(own)[0])
    assert re.fullmatch(r"On this machine, .*, PyTorch \(tuned\) is fastest; PyTorch takes 1.11x \(1.11-1.1\d\).", words)


def test_who_is_not_told_apart_is_named_whichever_variant_it_is():
    """A framework's best variant may be behind, and another of its variants may not: nobody is called the fastest then."""
    first, default, tuned = (
        r.but(cell=r.cell._replace(framework=name, variant=variant))
        for r, name, variant in zip(
            cells(["fcn-5"], [1], ["default"])[:3], ("torch", "jax", "jax"), ("default", "default", "tuned"), strict=True
        )
    )
    behind = Comparison("SLOWER", Estimate(1.2, 1.1, 1.3), 0.001, 0.02, 6)
    open_ = Comparison("INCONCLUSIVE", Estimate(1.25, 0.6, 2.7), 0.3, 0.5, 6)
    words = page.plain_words(Contest(first.cell.contest, first, [(default, behind), (tuned, open_)]))
    assert words.endswith("PyTorch leads; JAX (tuned) is not told apart from it.")


def test_large_pages_leave_out_what_nobody_reads(monkeypatch):
    """Every round of more than so many cells, and pictures of more; unstable cells come first among those whose steps are drawn."""
    many = cells(["fcn-5"], [1, 2])
    monkeypatch.setattr(page, "MOST_ROUNDS", len(many) - 1)
    monkeypatch.setattr(page, "MOST_DRAWN", 4)
    text = make(many)
    assert "rounds       6: stepbench show" in text
    assert "first step s  build s" not in text
    assert "the first 4 cells; others: stepbench plot." in text
    unsteady = many[7].but(status="unstable")
    assert page.worth_a_look([*many[:7], unsteady])[0] is unsteady


def test_every_number_changes_its_measure(opened):
    """Published ones too, the heading, and the legend of what is no longer shown."""
    assert opened.locator("#what").inner_text() == "Seconds per mini-batch"
    opened.check("input[value=samples]")
    assert opened.locator("#what").inner_text() == "Samples per second"
    assert opened.locator(".legend .of-interval").first.is_hidden()
    assert opened.locator("#timings .seconds:visible").all_inner_texts() == ["-"]  # of what has no number


def test_a_number_leads_to_its_record_a_second_time(opened):
    """After it has been closed again."""
    link = opened.locator("#timings td a").first
    record = opened.locator(link.get_attribute("href"))
    for _ in range(2):
        link.click()
        assert record.get_attribute("open") is not None
        record.locator("summary").click()


def test_commands_are_set_as_such():
    """What stands between backticks; a name with some is escaped as ever."""
    text = page.make(cells(["fcn-5"], [1]), f"Not calibrated: `stepbench calibrate`, `{HOSTILE}`", FACTS, 1, "2026-01-02T03:04:05+00:00")
    assert "<code>stepbench calibrate</code>" in text
    assert HOSTILE not in text
    assert "<code>&lt;script&gt;" in text
