"""Pictures: the data of their marks against numbers worked out by hand, their words, and the SVG that a page holds."""

import io
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.image import imread

import frameworks
from frameworks import Cell
from harness.cli.reporting import KINDS
from harness.nights.lines import Line
from harness.records import PROTOCOL, Conditions, Limits, Result, Round, Turn
from harness.statistics import Estimate
from harness.store import Run
from reports import compare, plots
from reports.plots import memory, nights, ranking, roofline, scaling, start, steps, tuning
from reports.plots.style import INK
from reports.sides import Source, side
from workloads import files

ELEMENTS = {"svg", "g", "path", "text", "use", "defs", "clipPath", "rect", "pattern"}
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
HOSTILE = ("<script>alert(1)</script>", "$x^$", "a" * 200, "two\nlines", "nul\x00 and \ud800 surrogate", 'id="b" url(#c)')


def result(framework, threads, rounds, variant="default", workload="fcn-5", mini_batch=64, precision="float32", mode="train", **fields):
    """A cell whose rounds took these seconds per step: four steps in two turns, each of the second one 10 % slower."""
    made = tuple(
        Round(
            number=n,
            part=0,
            started_at="2026-01-01T00:00:00+00:00",
            cpus=[0],
            load_seconds=1.0,
            build_seconds=0.5 * n,
            first_step_seconds=3.0 * n,
            check=None,
            peak_memory_bytes=n * 2**30,
            turns=[Turn(lap, lap, s, [own, own], 3, 2.1, own, own, own, own, 0.0, 0, 0, 0, QUIET) for lap, own in enumerate((s, 1.1 * s))],
            shape="flat",
        )
        for n, s in enumerate(rounds, start=1)
    )
    cell = Cell(workload, framework, variant, "cpu", threads, mini_batch, precision, mode)
    known = {"status": "ok", "limits": Limits(100e9 * threads, 20e9), "rounds": made}
    return Result(cell, **{**known, **fields})


NOTHING = [result("torch", 1, [0.5, 0.5], status="unstable"), result("jax", 1, [], status="crashed", reason="SIGKILL")]
ONE = [result("torch", 1, [0.700, 0.702, 0.698])]
SCALING = [*ONE, result("torch", 2, [0.350, 0.351, 0.349])]
TUNING = [
    result("torch", 1, [0.70, 0.77, 0.63]),
    result("torch", 1, [0.352, 0.385, 0.313], "tuned"),
    result("torch", 1, [0.77, 0.70, 0.63], "compile"),
]
MANY = [
    result(framework, threads, [s, 1.02 * s, 0.99 * s], variant, workload)
    for workload in ("fcn-5", "fcn-8", "alexnet", "resnet", "lstm-32", "lstm-64")
    for i, framework in enumerate(("jax", "torch"))
    for variant in ("default", "tuned")
    for threads in (1, 2, 4)[: 3 if workload == "fcn-5" else 2]
    for s in [(0.5 + 0.1 * i) / threads**0.8]
]
FEW = MANY[:12]
BAD = [
    result(name, threads, [0.5 / threads, 0.52 / threads, 0.51 / threads], variant)
    for name in HOSTILE
    for variant in ("default", "tuned")
    for threads in (1, 2)
]


def use(kind, results):
    """What a picture can draw of these."""
    if kind == "devices":
        results = [several(r) if isinstance(r, Result) else r for r in results]
    return results[:1] if kind == "steps" else results


def several(found):
    """The same on so many CPU devices as it has threads."""
    cell, numbers = found.cell, map(str, range(found.cell.threads))
    return found.but(cell=cell._replace(device="cpu" if cell.threads == 1 else f"cpu:{'+'.join(numbers)}", threads=1))


def marks(ax):
    """Places and values of all lines and markers that a panel has, in the order of their drawing."""
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in ax.lines]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def rows(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_kinds():
    """Each has its line of help, and its functions."""
    assert list(plots.KINDS) == list(KINDS) == ["ranking", "scaling", "devices", "roofline", "tuning", "memory", "start", "steps"]
    for module in plots.KINDS.values():
        assert "\n" not in module.ABOUT
        assert callable(module.draw)
        assert callable(module.alt)


def test_importing_loads_no_plotting_library():
    """matplotlib takes a second."""
    code = "import sys, reports.plots; print({'matplotlib', 'seaborn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_drawing_leaves_no_figure_and_no_setting_behind():
    """Neither with pyplot nor in the settings of whoever else draws."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    for kind, module in plots.KINDS.items():
        plots.svg(module.draw(use(kind, FEW)), kind)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("kind", plots.KINDS)
def test_nothing_to_show(kind):
    """Said in a line, by the picture and by its words."""
    for of in (plots.KINDS[kind].draw, plots.KINDS[kind].alt):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
            of([] if kind == "steps" else NOTHING)
        assert str(error.value) == {
            "tuning": "tuning needs default and tuned variants of the same cell",
            "steps": "steps draws one cell: name it",
        }.get(kind, "no cell of this run has a number to show")


@pytest.mark.parametrize(
    ("kind", "results", "words"),
    [
        ("scaling", [*ONE, result("torch", 2, [0.3], status="unstable")], "scaling needs a cell measured with several thread counts"),
        ("roofline", [ONE[0].but(limits=Limits())], "roofline needs the machine's limits"),
        ("tuning", ONE, "tuning needs default and tuned variants of the same cell"),
        ("tuning", [*ONE, result("torch", 2, [0.3], "tuned")], "tuning needs default and tuned variants of the same cell"),
        ("steps", SCALING, "steps draws one cell: name it"),
        ("steps", NOTHING[1:], "jax/default/cpu/1t/b64/float32/train has no step to show"),
    ],
)
def test_what_is_missing(kind, results, words):
    """A picture that needs more than a number says what."""
    for of in (plots.KINDS[kind].draw, plots.KINDS[kind].alt):
        with pytest.raises(ValueError, match=re.escape(words)):
            of(results)


# Colours


def test_listed_frameworks_have_colours_of_their_own():
    """By name or by title, none of them black; published ones and the user's own never take one of these."""
    listed = [name for name, module in frameworks.discover().items() if module.framework.listed]
    found = {name: plots.colour(name) for name in listed}
    assert len(set(found.values())) == len(listed) == 5
    assert plots.colour("PyTorch") == found["torch"]
    others = [plots.colour(name) for name in ("Caffe", "CNTK", "Torch", "Theano")]
    assert others == ["#AA4499", "#999933", "#8C8C8C", "#56B4E9"]
    assert not {"#000000", INK} & {*others, *found.values()}


def test_a_framework_of_ones_own_changes_no_colour(tmp_path, monkeypatch):
    """Its own is the same before and after it is known."""
    before = {name: plots.colour(name) for name in ("aaa", "jax", "torch")}
    file = tmp_path / "aaa.py"
    file.write_text("from frameworks import Framework\nframework = Framework('A', (), '', (), {})\ndef build(*_): ...\n")
    monkeypatch.setattr(files, "named", [str(file)])
    assert "aaa" in frameworks.discover()
    assert {name: plots.colour(name) for name in before} == before


# Names


def test_rows_say_what_differs():
    """Precision, mode and mini-batch, where cells of one workload differ in them; a workload with others does not matter."""
    kinds = [
        result("torch", 1, [0.5]),
        result("torch", 1, [0.4], precision="bfloat16"),
        result("torch", 1, [0.2], mode="infer"),
        result("torch", 1, [0.3], mini_batch=32),
        result("torch", 1, [0.3], workload="alexnet", mini_batch=16),
    ]
    assert rows(ranking.draw(kinds).axes[0]) == [
        "PyTorch, float32, train, mini-batch 64",
        "PyTorch, bfloat16, train, mini-batch 64",
        "PyTorch, float32, infer, mini-batch 64",
        "PyTorch, float32, train, mini-batch 32",
        "PyTorch",
    ]


def test_frameworks_that_share_a_title_have_rows_of_their_own(tmp_path, monkeypatch):
    """A copy of an adapter, whose title nobody changed."""
    file = tmp_path / "mine.py"
    file.write_text("from frameworks import Framework\nframework = Framework('PyTorch', (), '', (), {})\ndef build(*_): ...\n")
    monkeypatch.setattr(files, "named", [str(file)])
    assert rows(ranking.draw([*ONE, result("mine", 1, [0.5], "tuned")]).axes[0]) == ["PyTorch", "PyTorch (mine), tuned"]


# Ranking


def test_ranking():
    """Geometric mean of three rounds, and the interval: t(2) x sd / sqrt(3), .71 %, and .42 % more above; no number, no dot."""
    figure = ranking.draw([*SCALING, result("jax", 1, [0.5]), *NOTHING[:1]])
    (ax,) = figure.axes
    (bar, _), (dot, place), _, (two, below), (once, _) = marks(ax)
    assert bar == pytest.approx([0.7 * (1 - 0.0071), 0.7 * (1 + 0.0113)], rel=1e-4)
    assert dot == pytest.approx([0.7], rel=1e-5)
    assert two == pytest.approx([0.35], rel=1e-5)
    assert once == [0.5]
    assert place[0] < 0 < below[0]
    assert rows(ax) == ["PyTorch", "JAX"]
    assert legend(figure) == ["1 thread", "2 threads"]
    assert [line.get_marker() for line in ax.lines if line.get_marker() != "None"] == ["o", "s", "o"]
    assert ax.get_xlim()[0] == 0


def test_ranking_in_words():
    """The lowest of each workload."""
    found = ranking.alt([*SCALING, result("jax", 1, [0.5], workload="alexnet")])
    assert found == (
        "Seconds per mini-batch of 3 cells, with 95 % intervals. The lowest: FCN-5 0.350 (PyTorch, 2 threads, 0.348 to 0.354);"
        " AlexNet 0.500 (JAX, 1 thread)."
    )


def test_six_workloads_stand_in_two_rows():
    """Three beside each other."""
    boxes = [ax.get_subplotspec() for ax in ranking.draw(MANY).axes]
    assert [(box.rowspan.start, box.colspan.start) for box in boxes] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_five_hundred_cells():
    """As many rows, and thread counts, as there are."""
    cells = [result(f"kit{i}", t, [0.5, 0.6], workload=w) for w in ("fcn-5", "alexnet") for i in range(25) for t in range(1, 11)]
    figure = ranking.draw(cells)
    assert [len(ax.lines) for ax in figure.axes] == [500, 500]
    assert figure.get_figheight() > 25


# Scaling


@pytest.mark.parametrize(
    ("threads", "speedups", "found"),
    [
        ([1, 2, 4, 8], [1, 2, 4, 8], None),  # never bends
        ([1, 2, 4, 8], [1, 1.4, 3, 6], 1),  # at once
        ([1, 2, 4, 8], [1, 1.5, 2.5, 4.4], 4),  # gains .5, .5, .475 a thread
        ([1, 2, 4, 8], [1, 1.9, 1.2, 8], 2),  # what comes after does not matter
        ([4, 8, 16], [1, 1.6, 2.5], 8),  # .6, .45 of the four that it began with
        ([2, 3], [10, 12.5], None),  # relative to the first: .25 for half as many more
        ([1], [1], None),
    ],
)
def test_knee(threads, speedups, found):
    """The last count before threads are worth less than half; that this is so must be shown."""
    assert scaling.knee(threads, [Estimate(s, s, s) for s in speedups]) == found
    assert scaling.knee(threads, [Estimate(s, 0.1 * s, 10 * s) for s in speedups]) is None
    assert scaling.knee(threads, [Estimate(s, None, None) for s in speedups]) is None


def test_scaling():
    """Two threads are twice as fast, within t(4) x .002327 = 1.303 % at 99.5 %, since of two one is shown; JAX gains nothing, and its knee
    is at once."""
    figure = scaling.draw([*SCALING, result("jax", 1, [0.5, 0.5]), result("jax", 2, [0.5, 0.5])])
    upper, lower = figure.axes
    beside = 2 ** (0.2 / 6 / 2)
    ideal, torch, interval, jax, surely, at_once = marks(upper)
    assert ideal == ([1, 2], [1, 2])
    assert torch[0] == pytest.approx([1 / beside, 2 / beside])
    assert torch[1] == pytest.approx([1, 2], rel=1e-5)
    assert interval[1] == pytest.approx([2 / 1.01311, 2 * 1.01311], rel=1e-4)
    assert jax[1] == surely[1] == [1, 1]
    assert at_once == ([pytest.approx(beside)], [1])
    assert upper.lines[0].get_linestyle() == "--"
    assert marks(lower)[1][1] == pytest.approx([1, 1], rel=1e-5)
    assert marks(lower)[2][1] == pytest.approx([1 / 1.01311, 1.01311], rel=1e-4)
    assert marks(lower)[3][1] == pytest.approx([1, 0.5])
    assert legend(figure) == ["PyTorch", "JAX", "ideal", "knee: from here on an added thread is shown to do less than half of one's work"]


def test_scaling_tells_lines_apart_without_colours():
    """Frameworks by marker, variants by line style."""
    (upper, *_) = scaling.draw(MANY).axes
    lines = {line.get_label(): line for line in upper.lines if not line.get_label().startswith("_")}
    looks = {name: (line.get_marker(), line.get_linestyle(), line.get_fillstyle()) for name, line in lines.items()}
    assert looks == {
        "JAX": ("o", "-", "full"),
        "JAX, tuned": ("o", "--", "none"),
        "PyTorch": ("s", "-", "full"),
        "PyTorch, tuned": ("s", "--", "none"),
    }


def test_scaling_is_relative_to_the_fewest_threads_with_a_number():
    """Of each cell; and one with a single thread count is left out."""
    cells = [result("torch", 1, [1.0], status="crashed"), result("torch", 2, [0.6]), result("torch", 4, [0.4]), result("jax", 2, [0.5])]
    upper, lower = scaling.draw(cells).axes
    assert marks(upper)[1] == ([2, 4], [1, pytest.approx(1.5)])
    assert marks(lower)[1] == ([2, 4], [1, pytest.approx(0.75)])


def test_scaling_in_words():
    """The worst, the best, and the knees."""
    found = scaling.alt([*SCALING, result("jax", 1, [0.5, 0.5]), result("jax", 2, [0.5, 0.5])])
    assert found == (
        "Speed-up against threads of 2 cells: from 1 times as fast with 2 threads as with 1 (JAX, FCN-5, 1 to 1) to 2 times as fast with 2"
        " threads as with 1 (PyTorch, FCN-5, 1.97 to 2.03). For 1 of them an added thread is shown to do less than half of one's work"
        " (1 on)."
    )
    assert scaling.alt(SCALING).endswith(" For none of them an added thread is shown to do less than half of one's work.")


# Roofline


def test_roofline():
    """38.2856 GFLOP and 1.44966 GB in .7 s: 54.69 GFLOP/s at 26.41 FLOP/byte; the roof bends at 100 GFLOP/s / 20 GB/s = 5 FLOP/byte."""
    (ax,) = roofline.draw(ONE).axes
    roof, bar, dot = marks(ax)
    assert dot == ([pytest.approx(26.41, rel=1e-4)], [pytest.approx(54.694e9, rel=1e-4)])
    assert bar[1] == pytest.approx([54.694e9 / 1.0113, 54.694e9 / 0.9929], rel=1e-4)
    left, right = ax.get_xlim()
    assert roof == ([left, pytest.approx(5), right], [pytest.approx(20e9 * left), 100e9, 100e9])
    assert [text.get_text() for text in ax.texts] == ["1 thread", "PyTorch", "FCN-5"]


def test_roofs():
    """One for each thread count and precision, which is said; cells without limits are left out."""
    halved = result("torch", 1, [0.5], precision="bfloat16", limits=Limits(200e9, 20e9))
    unknown = result("jax", 1, [0.5], limits=Limits(100e9, None))
    (ax,) = roofline.draw([*SCALING, halved, unknown]).axes
    assert [text.get_text() for text in ax.texts] == ["2 threads, float32; 1 thread, bfloat16", "1 thread, float32", "PyTorch", "FCN-5"]
    (ax,) = roofline.draw([*SCALING, halved.but(limits=Limits(400e9, 20e9))]).axes
    assert [text.get_text() for text in ax.texts][:3] == ["1 thread, bfloat16", "2 threads, float32", "1 thread, float32"]


def test_a_panel_for_each_framework():
    """All with the same axes; a marker for each thread count, filled or hollow by variant."""
    figure = roofline.draw(MANY)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    assert [ax.texts[3].get_text() for ax in figure.axes] == ["JAX", "PyTorch"]
    assert legend(figure) == ["1 thread", "2 threads", "4 threads", "default", "tuned"]


def test_apart():
    """Neighbours that are too near move equally far; all others stay."""
    assert roofline.apart([1, 1, 100], 0.2) == pytest.approx([10**-0.1, 10**0.1, 100])
    assert roofline.apart([1, 10], 0.5) == pytest.approx([1, 10])
    assert roofline.apart([5], 1) == pytest.approx([5])


def test_roofline_in_words():
    """The highest roof, the farthest below its own and the nearest: .3829 / .7 s, .3829 / .5 s."""
    assert roofline.alt([*ONE, result("jax", 1, [0.5, 0.5])]) == (
        "FLOP/s achieved by 2 cells against arithmetic intensity, under the machine's measured limits: 100 GFLOP/s and 20.0 GB/s with 1"
        " thread. Of these limits they reach from 55 % (PyTorch, FCN-5, 1 thread: 54.7 GFLOP/s) to 77 % (JAX, FCN-5, 1 thread: 76.6"
        " GFLOP/s)."
    )


# Tuning


def test_tuning():
    """Twice as fast in the mean of three rounds; the same in the mean, with the interval that `compare` gives for it. Hollow: not shown."""
    figure = tuning.draw(TUNING)
    (ax,) = figure.axes
    surely, twice, wide, same, one = marks(ax)
    assert twice[0] == pytest.approx([2], rel=1e-3)
    assert surely[0][0] > 1.8
    assert same[0] == pytest.approx([1])
    run = Source("run 1", TUNING, Run(1, "2026-01-01T00:00:00+00:00", None, PROTOCOL, {}, {}))
    (pair,) = compare.compare(side("compile", run), side("default", run)).pairs
    assert wide[0] == pytest.approx([pair.ratio.low, pair.ratio.high])
    assert wide[0][0] < 0.7
    assert one[0] == [1, 1]
    assert [ax.lines[i].get_fillstyle() for i in (1, 3)] == ["full", "none"]
    assert rows(ax) == ["PyTorch, tuned", "PyTorch, compile"]
    assert legend(figure) == ["a difference is shown", "none is shown"]


def test_one_round_shows_no_gain():
    """It has no interval: hollow."""
    (ax,) = tuning.draw([result("torch", 1, [0.7]), result("torch", 1, [0.35], "tuned")]).axes
    assert marks(ax)[0][0] == pytest.approx([2])
    assert ax.lines[0].get_fillstyle() == "none"


def test_tuning_in_words():
    """How many gain, and how much the best one does."""
    assert tuning.alt(TUNING) == (
        "Of 2 variants' cells, 1 are shown to be faster than default, 0 slower, 1 neither."
        " The largest ratio is 2 (PyTorch, tuned, FCN-5, 1 thread, 1.9 to 2.11)."
    )


# Memory, start


def test_memory():
    """The most of all rounds: 1 to 3 GiB."""
    (ax,) = memory.draw([*ONE, result("jax", 1, [0.5])]).axes
    assert [dot[0] for dot in marks(ax)] == [[3.0], [1.0]]
    assert ax.get_xlim()[0] == 0
    found = memory.alt([*ONE, result("jax", 1, [0.5])])
    assert found == "Peak resident memory of 2 cells: from 1 GiB (JAX, FCN-5, 1 thread) to 3 GiB (PyTorch, FCN-5, 1 thread)."
    assert memory.alt(ONE) == "Peak resident memory of 1 cell: 3 GiB (PyTorch, FCN-5, 1 thread)."


def test_start():
    """Medians of three rounds: 1 s of build and, beside it, 6 s of the first step; with the fewest threads only."""
    figure = start.draw([*SCALING, result("jax", 2, [0.5])])
    (ax,) = figure.axes
    assert ax.get_title() == "FCN-5, 1 thread"
    assert [(p.get_x(), p.get_width()) for p in ax.patches] == [(0, 1.0), (0, 1.0), (1.0, 6.0)]
    assert ax.patches[1].get_hatch()
    assert [text.get_text() for text in ax.texts] == ["7.00"]
    assert rows(ax) == ["PyTorch"]
    assert legend(figure) == ["build", "first step"]
    found = start.alt([*ONE, result("jax", 1, [0.5])])
    assert found == (
        "Time until the first step is done, of 2 cells: from 3.50 s (JAX, FCN-5, 1 thread; build 0.500 s)"
        " to 7.00 s (PyTorch, FCN-5, 1 thread; build 1.00 s)."
    )


# Steps


def test_steps():
    """Every step in its order, the turns' border, the number, the warm-up; also of a cell without a number."""
    from dataclasses import replace

    found = result("torch", 1, [0.5, 0.6], status="unstable")
    first, second = found.rounds
    warm = replace(first, warm_up_steps=2, shape="warm-up", disturbance="busy")
    figure = steps.draw([found.but(rounds=(warm, replace(second, shape="never steady")))])
    left, right = figure.axes
    assert marks(left)[0] == ([1, 2, 3, 4], [0.5, 0.5, 0.55, 0.55])
    assert marks(left)[1][1] == [0.5, 0.5]  # its number
    assert marks(left)[2][0] == [2.5, 2.5]  # between the turns
    assert (left.patches[0].get_x(), left.patches[0].get_width()) == (0.5, 2.0)
    assert [len(ax.lines) for ax in figure.axes] == [3, 2]
    assert [ax.get_title() for ax in figure.axes] == ["round 1: warm-up, thrown out", "round 2: never steady"]
    assert figure.get_suptitle() == "FCN-5, PyTorch, 1 thread"
    assert not right.patches


def test_steps_in_words():
    """How many, how long, how they went."""
    assert steps.alt([result("torch", 2, [0.5, 0.6], "tuned")]) == (
        "8 measured steps of FCN-5, PyTorch, tuned, 2 threads, in 2 processes: 0.500 to 0.660 s. How they went: 2 flat; none thrown out."
    )


# Files and pages


@pytest.mark.parametrize("kind", plots.KINDS)
@pytest.mark.parametrize("results", [MANY, BAD], ids=["many", "hostile names"])
def test_nothing_is_cut_or_covered(kind, results):
    """Panels with their labels, the legend and other texts lie within the figure, and none under another one."""
    figure = plots.KINDS[kind].draw(use(kind, results))
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    panels = [ax.get_tightbbox(renderer) for ax in figure.axes if ax.get_visible()]
    boxes = [*panels, *(made.get_window_extent(renderer) for made in (*figure.legends, *figure.texts))]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.padded(-1).overlaps(b.padded(-1))]


@pytest.mark.parametrize("kind", plots.KINDS)
def test_svg(kind):
    """A part of a page: no prolog, nothing from elsewhere, ids of its own, the page's ink, the same every time."""
    figure = plots.KINDS[kind].draw(use(kind, FEW))
    text = plots.svg(figure, "run-7")
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ')
    assert text.count("http") == 1
    assert not re.search(r"<\?xml|<!|<style|metadata|xlink|matplotlib", text)
    root = ElementTree.fromstring(text)
    assert not {"width", "height"} & set(root.attrib)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    used = set(re.findall(r"url\(#([^)]*)\)", text)) | set(re.findall(r'href="#([^"]*)"', text))
    assert all(name.startswith("run-7-") for name in ids)
    assert len(ids) == len(set(ids))
    assert used <= set(ids)
    assert "fill: currentColor" in text
    assert "stroke: currentColor; stroke-opacity: 0.15" in text
    assert INK not in text
    assert "#000000" not in text
    assert "#ffffff" not in text
    again = plots.svg(plots.KINDS[kind].draw(use(kind, FEW)), "other")
    assert again.replace("other-", "run-7-") == text


@pytest.mark.parametrize("kind", plots.KINDS)
def test_hostile_names(kind):
    """They are text and nothing else: no element, no formula, one line, not long; and what is said of them holds none of it either."""
    root = ElementTree.fromstring(plots.svg(plots.KINDS[kind].draw(use(kind, BAD)), "bad"))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= ELEMENTS
    shown = ("<script>alert(1)</script>", "$x^$", "aaaaaaaa…aaaaaaaa", "two lines", "nul and surrogate", 'id="b" url(#c)')
    for name in use(kind, shown):
        assert name in "\n".join(texts)
    assert plots.KINDS[kind].alt(use(kind, BAD)).isprintable()
    assert max(map(len, texts)) < 90


@pytest.mark.parametrize("workload", HOSTILE)
def test_hostile_workloads(workload):
    """Networks that are no longer there have their name for a title."""
    found = plots.svg(ranking.draw([result("torch", 1, [0.5], workload=workload)]), "bad")
    (title,) = [
        element.text for element in ElementTree.fromstring(found).iter() if element.attrib.get("style", "").count("font-size: 11px")
    ]
    assert title.isprintable()
    assert len(title) <= 30


def test_a_file_is_dark_on_white():
    """Whoever saves a figure gets a picture that needs no page."""
    made = io.BytesIO()
    ranking.draw(SCALING).savefig(made, format="png")
    made.seek(0)
    pixels = imread(made)
    assert pixels[0, 0].tolist() == [1, 1, 1, 1]
    assert pixels[..., :3].sum(axis=2).min() < 0.5


def test_a_finding_and_its_night_are_drawn_as_they_are_told(historian):
    """The last night by its fresh rounds, the finding with its interval, whole within the panel; other nights by their first rounds."""
    slow = historian.cells[0]
    for _ in range(4):
        historian.night()
    judged = historian.night({slow: 1.2}, fresh={slow: 1.3})
    line = Line("cell", slow.key)
    (shift,) = (f.look.shift for f in judged.verdict.findings if f.look.line == line)
    (tonight,) = (look.shift for look in judged.verdict.looks if look.line == line)
    track = judged.nights.detector().track(line)
    ((ax, *_),) = [nights.draw(judged, [line]).axes]
    ends = [segment[:, 1] for lines in ax.collections if isinstance(lines, LineCollection) for segment in lines.get_segments()]
    *before, last, found = ends
    assert list(last) == pytest.approx([100 * (tonight.low - 1), 100 * (tonight.high - 1)])
    assert list(found) == pytest.approx([100 * (shift.estimate - 1)] * 2)
    assert shift.estimate == pytest.approx(1.3, abs=0.05)
    assert [sum(one) / 2 for one in before] == pytest.approx(100 * track.values[:-1], abs=0.2)
    least, most = ax.get_ylim()
    assert least < 0
    assert most > 100 * (shift.high - 1)


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("FCN-5, all frameworks", ["FCN-5, all frameworks"]),
        ("LSTM-32, TensorFlow tuned, 2 threads", ["LSTM-32,", "TensorFlow tuned, 2 threads"]),
        (f"{'x' * 60}, all frameworks", [f"{'x' * 39}…", "all frameworks"]),
        (f"{'x' * 60}, {'y' * 60}", [f"{'x' * 39}…", f"{'y' * 39}…"]),
        ("x" * 60, [f"{'x' * 39}…"]),
    ],
)
def test_a_panels_title_is_as_wide_as_the_panel(title, lines):
    assert nights._broken(title) == lines
