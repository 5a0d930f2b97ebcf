"""Which processors, which cells, which groups."""

import pytest

from frameworks import Cell
from harness.host import Processor, layout, memory_kills, places
from harness.plan import Plan, make_cells, next_part, suites
from harness.problems import BadRequest

TWO_SOCKETS = tuple(Processor(n, (n % 4 // 2, n % 4), n % 4 // 2) for n in range(8))
"""2 sockets x 2 cores x 2 siblings, siblings numbered 4 apart: cores 0 1 | 2 3, siblings 4 5 | 6 7."""


@pytest.mark.parametrize(
    ("threads", "wanted"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3, 4]), (8, list(range(8)))]
)
def test_layout_takes_cores_before_siblings_and_fills_a_node_first(threads, wanted):
    """Physical cores of node 0, of node 1, then siblings."""
    assert layout(threads, TWO_SOCKETS) == wanted


def test_workers_start_on_the_nodes_where_they_are_measured():
    """Memory is first touched on the right node; two threads of node 0 can start on its cores, then on its siblings."""
    assert places(1, TWO_SOCKETS) == [[0], [1], [4], [5]]
    assert places(2, TWO_SOCKETS) == [[0, 1], [4, 5]]
    assert places(4, TWO_SOCKETS) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert places(16, TWO_SOCKETS) == [list(range(8))]


def test_memory_kills_is_a_count():
    """Readable without root on Linux, 0 elsewhere."""
    assert memory_kills() >= 0


def test_quick_suite_is_the_readmes_promise():
    """FCN-5, AlexNet, LSTM-32 x five frameworks x 1 thread and all cores."""
    quick = suites()["quick"]
    cells = make_cells(quick.workloads, [], quick.variants, [1, 2], oversubscribe=True)
    assert len(cells) == 3 * 5 * 2
    assert {cell.framework for cell in cells} == {"numpy", "torch", "tensorflow", "jax", "mxnet"}
    assert {cell.mini_batch for cell in cells} == {64, 16}


@pytest.mark.parametrize(
    ("asked", "laps", "budget"),
    [
        ({}, 2, 570),
        ({"variant_names": ["tuned"], "rounds": 3}, 5, 0),
        ({"precisions": ["bfloat16"], "rounds": 3}, 5, 0),
        ({"workload_names": ["fcn-5"], "budget": 60.0}, 5, 60),
        ({"mode": "infer", "rounds": 3}, 5, 0),
        ({"budget": 60.0}, 5, 60),
    ],
)
def test_a_suite_hurries_only_as_it_is(planned, asked, laps, budget):
    """Whatever is asked for by name takes its time."""
    plan = planned(**asked)
    assert (plan.pace.laps, plan.budget) == (laps, budget)


def test_groups_differ_in_framework_and_variant_only():
    """The others are what a comparison holds fixed."""
    cells = make_cells(["fcn-5-tiny", "fcn-8-tiny"], ["null", "numpy"], ["default", "tuned"], [1])
    groups = Plan(cells, 1).groups()
    assert [[(c.workload, c.framework, c.variant) for c in group] for group in groups] == [
        [(w, f, v) for f in ("null", "numpy") for v in ("default", "tuned")] for w in ("fcn-5-tiny", "fcn-8-tiny")
    ]


def test_a_plan_survives_storage():
    """What --resume reads is what was planned."""
    plan = Plan(make_cells(["fcn-5-tiny"], ["null"], ["default"], [1]), 3, budget=7.0, seed=5, memory=10, pythons={"null": "/x"})
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["fcn-9"], [], None, [1]), "unknown workload 'fcn-9': choose from alexnet"),
        ((["fcn-5"], ["caffe9"], None, [1]), "unknown framework 'caffe9'"),
        ((["fcn-5"], [], ["fastest"], [1]), "unknown variant 'fastest'"),
        ((["fcn-5"], [], None, [0]), "0 threads: at least 1 is needed"),
        ((["fcn-5"], [], None, [4096]), "4096 threads, but"),
        ((["fcn-5"], [], None, [1], "train", 0), "a mini-batch of 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, words):
    """One line that says what to do."""
    with pytest.raises(BadRequest, match=words):
        make_cells(*arguments)


def chosen(sizes, room, link=None):
    """The next part of cells with these sizes, by name."""
    cells = {name: Cell("w", name) for name in sizes}
    part = next_part([cell for cell in cells.values() if cell.framework != link], lambda c: sizes[c.framework], room, cells.get(link))
    return [cell.framework for cell in part]


def test_competitors_that_fit_stand_together():
    """All in one part."""
    assert chosen({"five": 5, "four": 4, "three": 3, "two": 2}, 14) == ["two", "three", "four", "five"]


def test_the_first_part_is_of_the_smallest():
    """One of them is the link of the parts that follow: it must leave room for the others."""
    assert chosen({"five": 5, "four": 4, "three": 3, "two": 2}, 8) == ["two", "three"]
    assert chosen({"five": 5, "four": 4, "three": 3, "two": 2}, 10) == ["two", "three", "four"]


def test_the_link_is_in_every_part_that_it_fits_into():
    """What does not fit beside it stands alone: it will show what happens."""
    assert chosen({"five": 5, "four": 4, "three": 3, "two": 2}, 8, "two") == ["two", "three"]
    assert chosen({"five": 5, "four": 4, "two": 2}, 8, "two") == ["two", "four"]
    assert chosen({"five": 5, "two": 2}, 8, "two") == ["two", "five"]
    assert chosen({"huge": 7, "two": 2}, 8, "two") == ["huge"]


def test_a_cell_larger_than_memory_still_gets_its_try():
    """Alone; whoever fits goes before it."""
    assert chosen({"huge": 100, "small": 1}, 10) == ["small"]
    assert chosen({"huge": 100}, 10) == ["huge"]


def test_a_link_that_is_left_over_has_its_turn_too():
    """Nobody fitted beside it."""
    link = Cell("w", "link")
    assert next_part([link], lambda cell: 1, 10, link) == (link,)
