"""Where steps become steady: known courses, and how often noise alone is taken for one."""

import numpy
import pytest

from harness.steady import FEWEST, SHAPES, course, segments

NOISE = 0.02


def made(levels, n, seed=0, noise=NOISE):
    """Steps whose logarithms are these levels (a function of the step's number), with normal noise."""
    random = numpy.random.RandomState(seed)
    return numpy.exp([levels(i) + noise * random.standard_normal() for i in range(n)]).tolist()


@pytest.mark.parametrize("n", [12, 40, 200])
@pytest.mark.parametrize(
    ("levels", "shape", "begin"),
    [
        (lambda i, n: 0.0, "flat", 0),
        (lambda i, n: 0.3 if i < n // 4 else 0.0, "warm-up", 0.25),
        (lambda i, n: -0.3 if i < n // 2 else 0.0, "slow-down", 0.5),
        (lambda i, n: [0.4, -0.2, 0.0, 0.0][4 * i // n], "slow-down", 0.5),
    ],
)
def test_known_courses(levels, shape, begin, n):
    """The end of the warm-up is found to the step, but for one that noise may shift."""
    for seed in range(20):
        found = course(made(lambda i: levels(i, n), n, seed))
        assert found.shape == shape
        assert abs(found.warm_up_steps - begin * n) <= 1


@pytest.mark.parametrize(
    "levels",
    [
        lambda i: 0.3 * (i // 5 % 2),  # bimodal
        lambda i: 0.02 * i,  # a leak
        lambda i: 0.3 if i > 56 else 0.0,  # something new at the end
    ],
)
def test_what_never_settles(levels):
    """60 steps: its last level is too short to be its own."""
    assert [course(made(levels, 60, seed)).shape for seed in range(20)] == ["never steady"] * 20


def test_outliers_are_no_levels():
    """One step in ten takes twice as long, as on a shared machine: the process is flat in 90 of 100 cases and more."""
    random = numpy.random.RandomState(1)
    shapes = [
        course(numpy.exp(NOISE * random.standard_normal(40) + 0.7 * (random.random_sample(40) < 0.1)).tolist()).shape for _ in range(200)
    ]
    assert shapes.count("flat") >= 180


@pytest.mark.parametrize("n", [FEWEST, 20, 100])
def test_noise_alone_is_flat(n):
    """In 99 of 100 cases, whatever its size."""
    shapes = [course(made(lambda i: 0.0, n, seed, noise)).shape for seed in range(300) for noise in (0.001, 0.1)]
    assert shapes.count("flat") >= 594


def test_few_steps_tell_nothing():
    """All of them count."""
    assert course([2.0, 1.0, 1.0, 1.0]) == course([1.0]) == type(course([1.0]))("too few", 0)
    assert set(SHAPES) >= {"too few"}


def test_a_moment_tells_nothing():
    """A hundred steps of a millisecond, the second half twice as slow: a neighbour's doing as likely as not; of 10 ms each, it counts."""
    levels = [1.0] * 50 + [2.0] * 50
    assert course([0.001 * level for level in levels]).shape == "too few"
    assert course([0.01 * level for level in levels]).shape == "slow-down"


def test_levels():
    """Where they begin and end, and their lower quartiles."""
    found = segments([2.0] * 10 + [1.0] * 20)
    places = [(0, 9, pytest.approx(2.0)), (9, 30, pytest.approx(1.0))]  # the running low end of five steps is one ahead of a fall
    assert [(level.begin, level.end, level.seconds) for level in found] == places


@pytest.mark.parametrize("steps", [[], [0.0, 1.0]])
def test_no_course(steps):
    """Of nothing, or of steps that took no time."""
    with pytest.raises(ValueError, match="a course needs steps"):
        course(steps)
