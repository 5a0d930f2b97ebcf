"""What several devices gain over one: numbers by hand, in the table, in JSON, in the picture."""

import json
from pathlib import Path

import jsonschema
import pytest

import reports
from frameworks import Cell
from harness.records import Check, Conditions, Limits, Proof, Result, Round, Turn
from reports import choose, page, sheet, table
from reports.cells import objects
from reports.devices import gain, in_words, scalings
from reports.plots import devices as picture
from reports.sides import Refused

CHECK = Check(1e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)


def result(device, rounds, mini_batch=64, framework="torch", **fields):
    """A cell whose rounds took these seconds per step."""
    made = tuple(
        Round(n, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 3 * s, CHECK, 10**9,
              [Turn(0, 0, s, [s, s], 3, 2.1, 2 * s, 2 * s, 2 * s, 2 * s, 0.0, 0, 0, 0, QUIET)], "flat")
        for n, s in enumerate(rounds, start=1)
    )  # fmt: skip
    known = {"status": "ok", "proof": Proof(True, "", CHECK), "limits": Limits(1e12, 2e11), "rounds": made}
    return Result(Cell("fcn-5", framework, "default", device, 1, mini_batch), **{**known, **fields})


def around(seconds):
    """Rounds that differ by a per cent."""
    return [seconds * factor for factor in (0.995, 1.0, 1.005)]


ONE, TWO, WIDE = result("cuda:0", around(0.1)), result("cuda:0+1", around(0.0625)), result("cuda:0+1", around(0.125), 128)


def test_strong_scaling():
    """The same mini-batch in .0625 instead of .1 s: 1.6 times as fast, 80 % of each; with half of it taking .05 s on one device, a fifth
    of a step is something else."""
    (found,) = scalings([ONE, TWO]).values()
    assert (found.kind, found.devices, found.against, found.communication) == ("strong", 2, ONE.cell, None)
    assert found.speedup.estimate == pytest.approx(1.6)
    assert found.efficiency == pytest.approx(0.8)
    assert found.speedup.low < 1.6 < found.speedup.high
    half = result("cuda:0", around(0.05), 32)
    (found,) = scalings([ONE, TWO, half]).values()
    assert found.communication.estimate == pytest.approx(0.2)
    assert found.communication.low < 0.2 < found.communication.high


def test_weak_scaling():
    """Twice the samples in .125 instead of .1 s: 1.6 times the samples a second; a fifth of the step is more than one device takes."""
    (found,) = scalings([ONE, WIDE]).values()
    assert (found.kind, found.against) == ("weak", ONE.cell)
    assert found.speedup.estimate == pytest.approx(1.6)
    assert found.communication.estimate == pytest.approx(0.2)


def test_communication_in_words():
    """A share with its interval; less than nothing is said to be none only where the whole interval is."""
    half = result("cuda:0", around(0.063), 32)
    (found,) = scalings([TWO, half]).values()
    assert "no longer than" not in gain(found)
    assert gain(found).endswith(" %) of a step")
    (found,) = scalings([TWO, result("cuda:0", around(0.08), 32)]).values()
    assert gain(found).endswith("; a step takes no longer than one device's own share by itself")


def test_a_cell_without_a_number_scales_nothing():
    """Nor one that has nothing to be compared with, or differs in more than the devices."""
    assert scalings([ONE, TWO.but(status="unequal")]) == scalings([ONE.but(status="crashed"), TWO]) == scalings([TWO]) == {}
    assert scalings([result("cuda:0", around(0.1), framework="jax"), TWO]) == {}
    assert scalings([result("cuda:1", around(0.1)), TWO]) == {}
    assert len(scalings([result("cpu", around(0.1)), result("cpu:0+1", around(0.1))])) == 1


def test_after_one_round_there_is_no_interval():
    """The ratio is told, and no more."""
    (found,) = scalings([result("cuda:0", [0.1]), result("cuda:0+1", [0.05])]).values()
    assert (found.speedup.estimate, found.speedup.low, found.speedup.high) == (pytest.approx(2.0), None, None)
    assert in_words(found) == (
        "FCN-5, PyTorch, 2 GPUs (cuda:0+1), a mini-batch of 64 shared out: 2.00x the samples a second of one, 100 % of each"
    )


def test_the_table_says_it():
    """Beside the number, and below in words; strong and weak are rows of their own, since the mini-batch differs."""
    made = table.make([ONE, TWO, WIDE])
    assert [(c.group, c.heading) for c in made.columns] == [("GPU", "cuda:0"), ("GPU", "cuda:0+1")]
    text = sheet.to_markdown(table.sheet(made))
    assert "1.60x of 1" in text
    assert "x of 1: so many times the samples a second of one device" in text
    strong, weak = made.verdicts
    assert strong.startswith("FCN-5, PyTorch, 2 GPUs (cuda:0+1), a mini-batch of 64 shared out: 1.60x (1.5")
    assert weak.startswith("FCN-5, PyTorch, 2 GPUs (cuda:0+1), 64 samples each: 1.60x (1.5")
    assert "; communication and waiting: 20 % (" in weak
    on_cpu = table.make([result("cpu", around(0.1)), result("cpu:0+1", around(0.1))])
    assert [(c.group, c.heading) for c in on_cpu.columns] == [("CPU", "1 thread"), ("CPU", "2 x 1 thread")]


def test_json():
    """As the schema has it."""
    schema = json.loads((Path(reports.__file__).parent / "cell.schema.json").read_text())
    found = objects([ONE, TWO, WIDE])
    for one in found:
        jsonschema.validate(one, schema)
    assert found[0]["scaling"] is None
    assert found[1]["scaling"]["kind"] == "strong"
    assert found[2]["scaling"]["communication_share"] == pytest.approx(0.2)
    assert found[2]["scaling"]["against"] == ONE.cell.key


def test_the_picture():
    """A line from one device to two; strong and weak are two lines; a cell on one device alone is none."""
    figure = picture.draw([ONE, TWO, WIDE])
    upper, _ = figure.axes
    ends = [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in upper.lines if len(line.get_xdata()) == 2]
    assert sum(y == pytest.approx([1.0, 1.6]) for _, y in ends) == 2
    assert figure.get_supxlabel() == "devices"
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["PyTorch, cuda:0, strong", "PyTorch, cuda:0, weak"]
    assert "1.6 times as fast with 2 devices as with 1" in picture.alt([ONE, TWO])
    with pytest.raises(ValueError, match="one device and on several"):
        picture.draw([ONE])


def test_a_choice_names_a_device():
    """The CPU's by default, where it was measured; a device that was not there is refused with those that were."""
    rivals = [result(device, around(s), framework=name) for device in ("cpu", "cuda:0") for name, s in (("torch", 0.1), ("jax", 0.2))]
    assert choose.choose(rivals, "fcn-5").cells[0].device == "cpu"
    assert choose.choose(rivals, "fcn-5", device="cuda:0").cells[0].device == "cuda:0"
    assert choose.choose(rivals[2:], "fcn-5").cells[0].device == "cuda:0"
    with pytest.raises(Refused, match=r"nothing like fcn-5 was measured on 'cuda:1' in the run, but on cpu and cuda:0"):
        choose.choose(rivals, "fcn-5", device="cuda:1")


def test_contests_that_differ_in_their_mini_batch_alone_are_told_apart():
    """In the sentences below the table, and in the page's."""
    wide = [WIDE, result("cuda:0+1", around(0.25), 128, "jax")]
    made = table.make([TWO, result("cuda:0+1", around(0.125), framework="jax"), *wide])
    assert [line.partition(":0+1)")[0] for line in made.verdicts[:2]] == [
        "FCN-5, mini-batch 64, 2 GPUs (cuda",
        "FCN-5, mini-batch 128, 2 GPUs (cuda",
    ]
    assert table.make(wide).verdicts[0].startswith("FCN-5, 2 GPUs (cuda:0+1): PyTorch is fastest")
    assert "networks like FCN-5, mini-batch 128, on 2 GPUs (cuda:0+1), " in page.plain_words(made.contests[1])
