"""Is one cell faster than another? Verdicts that do not cry wolf, for all comparisons of a table together.

A difference is told from the logarithms of paired ratios, one a round (`statistics.ratio`), by Student's t. With few rounds a ratio's
own spread is hardly known, but those of a table are much alike: each is drawn towards what they have in common, as far as they have
it (`squeeze`). Over a table it is decided by Benjamini and Hochberg's procedure, so that of all differences shown at most a share of
1 - CERTAINTY is none. Each interval has the level at which its comparison was decided (Benjamini and Yekutieli 2005, "False discovery
rate-adjusted multiple confidence intervals"): an interval that holds 1 and a verdict of FASTER or SLOWER never stand side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy
from scipy.special import chdtri, digamma, nctdtrinc, polygamma, stdtr  # scipy.stats has the same, and takes twenty times as long

from harness.statistics import LARGEST, Contrast, Estimate, of_logs, quantile

Verdict = Literal["FASTER", "SLOWER", "EQUIVALENT", "INCONCLUSIVE"]

CERTAINTY = 0.99
"""Of the differences that a table shows, so many are there, on average."""
MARGIN = 0.02
"""Times that differ by less are as good as equal, to anybody who chooses."""
POWER = 0.9
"""With which a difference of the smallest effect would be found."""
DIFFERENCE = 0.05
"""A run adds rounds while a comparison might miss one of this size: who chooses would want to know of it."""


@dataclass(frozen=True)
class Comparison:
    """What is known of how many times as long one cell takes as another."""

    verdict: Verdict
    """EQUIVALENT: the whole interval lies within the margin, whether or not it holds 1. FASTER: it takes less. INCONCLUSIVE: none of
    these is shown."""
    ratio: Estimate
    """With the interval at the level of the decision; without one after a single round."""
    p: float | None
    """Chance of a difference like this, or a larger one, between equal cells; None after a single round."""
    smallest_effect: float | None
    """The difference (0.05: 5 %) that would have been found with a chance of 90 %; None after a single round."""
    rounds: int
    """That both took part in; the smaller number of the two where they never met."""


def compare(
    contrasts: Sequence[Contrast], margin: float = MARGIN, independent: float | None = None, besides: Sequence[Contrast] = ()
) -> list[Comparison]:
    """The comparisons of one table, decided together with others `besides` that could have been asked for; `independent` degrees of
    freedom are in all of them, if these have cells in common."""
    everyone = [*contrasts, *besides]
    errors, freedoms = _squeezed(everyone, independent)
    ps = _ps(numpy.array([c.log for c in everyone], float), errors, freedoms)
    decided = numpy.sort(ps[~numpy.isnan(ps)])
    found = numpy.flatnonzero(decided <= numpy.arange(1, len(decided) + 1) / max(1, len(decided)) * (1 - CERTAINTY))
    level = 1 - (1 - CERTAINTY) * (int(found[-1]) + 1 if len(found) else 1) / max(1, len(decided))
    known = _with(contrasts, errors, freedoms)
    return [_decide(contrast, p, level, margin) for contrast, p in zip(known, ps.tolist(), strict=False)]


ROUNDING = 1e-12
"""Of logarithms of ratios: what is less is the arithmetic's; no timing is as exact."""
HELD = 0.5
"""Of the common variance's degrees of freedom: pairs that share a cell look more alike than they are. Equal cells of very
different spreads are called different in 1.0 % of tables with none of them, 1.2 to 1.3 % with half (1,500 simulated tables each)."""


def squeeze(contrasts: Sequence[Contrast], independent: float | None = None) -> list[Contrast]:
    """The same with errors that know of each other: variances drawn towards their common one, with its degrees of freedom added.

    (Smyth 2004, "Linear models and empirical Bayes methods", section 6.2: variances as from a scaled inverse chi-squared
    distribution, its two parameters by the moments of their logarithms. Where they differ much, hardly anything is drawn.)
    """
    return _with(contrasts, *_squeezed(contrasts, independent))


def _with(contrasts: Sequence[Contrast], errors: numpy.ndarray, freedoms: numpy.ndarray) -> list[Contrast]:
    """The first of these errors and degrees of freedom are theirs; an error that is not known stays so."""
    found = zip(contrasts, errors.tolist(), freedoms.tolist(), strict=False)
    return [c if c.error is None else Contrast(c.log, error, freedom, c.rounds) for c, error, freedom in found]


def _squeezed(contrasts: Sequence[Contrast], independent: float | None) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What squeezing makes of their errors, not a number where one is not known, and of their degrees of freedom."""
    errors = numpy.array([numpy.nan if c.error is None else c.error for c in contrasts], float)
    freedoms = numpy.array([c.freedom for c in contrasts], float)
    spread = errors > ROUNDING
    if spread.sum() < 2:
        return errors, freedoms
    own, rounds = freedoms[spread], numpy.array([c.rounds for c in contrasts], float)[spread]
    variances = errors[spread] ** 2 * rounds
    logs = numpy.log(variances) - digamma(own / 2) + numpy.log(own / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, own / 2).mean())
    if excess > 0:
        prior = 2 * _trigamma_inverse(excess)
        common = math.exp(float(logs.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
    else:
        prior, common = math.inf, math.exp(float(logs.mean()))
    total = own.sum() if independent is None else independent
    added = HELD * numpy.minimum(prior, numpy.maximum(0.0, total - own))
    errors[spread] = numpy.sqrt((added * common + own * variances) / (added + own) / rounds)
    freedoms[spread] = added + own
    return errors, freedoms


def _trigamma_inverse(value: float) -> float:
    """Where the trigamma function has this positive value (Smyth 2004, appendix: Newton's method, from below, on its reciprocal)."""
    found, change = 0.5 + 1 / value, 1.0
    while abs(change) > 1e-8 * found:
        now = float(polygamma(1, found))
        change = now * (1 - now / value) / float(polygamma(2, found))
        found += change
    return found


def _ps(logs: numpy.ndarray, errors: numpy.ndarray, freedoms: numpy.ndarray) -> numpy.ndarray:
    """Two-sided, each of no difference; not a number where the error is not known."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        found = 2 * stdtr(freedoms, -abs(logs) / errors)
    return numpy.where(errors <= ROUNDING, numpy.where(abs(logs) <= ROUNDING, 1.0, 0.0), found)


@lru_cache(1000)
def needed(level: float, freedom: float) -> float:
    """How large an effect must be, in standard errors, that an interval at this level leaves it out with a chance of POWER (by the
    noncentral t; where so few rounds give so wide an interval that only its own length matters, by that)."""
    width = quantile(level, freedom)
    if width > WIDE:
        return width * math.sqrt(float(chdtri(freedom, 1 - POWER)) / freedom)
    return float(nctdtrinc(freedom, 1 - POWER, width))


WIDE = 100.0
"""Standard errors; there the two ways agree within 1 %."""


def would_find(contrast: Contrast) -> float:
    """The smallest difference (0.05: 5 %) that this comparison would find with a chance of 90 %, were it the only one of its table;
    infinite after a single round. It tells how precise it is, and nothing of who is faster."""
    if contrast.error is None:
        return math.inf
    return math.expm1(min(LARGEST, contrast.error * needed(CERTAINTY, contrast.freedom)))


def shortfall(numbers: Sequence[Contrast], pairs: Sequence[Contrast], target: float) -> float:
    """By how much the cells of a contest are known less well than is asked for: what half-widths of their intervals are above the
    target, and the differences that their comparisons would find above DIFFERENCE, of each cell with the others on average. What is
    not known at all counts nearly as 1, and the less the wider, so that a round is always worth something. A run that has no shortfall
    may end."""
    wide = sum(max(0.0, _share(number.number.half_width) - _share(target)) for number in numbers)
    blind = sum(max(0.0, _share(would_find(pair)) - _share(DIFFERENCE)) for pair in pairs)
    return wide + blind / max(1, len(numbers) - 1)


def _share(width: float) -> float:
    """From 0 to infinity to 0 to 1."""
    return 1.0 if math.isinf(width) else width / (1 + width)


def of_rounds(rounds: Sequence[Sequence[float]]) -> tuple[list[Contrast], int]:
    """All comparisons of competitors that were in the same rounds, from the logarithms of their numbers, round by round; the first is
    of the first two. And how many independent degrees of freedom are in them."""
    competitors = range(len(rounds[0]))
    pairs = [of_logs([logs[a] - logs[b] for logs in rounds]) for a, b in combinations(competitors, 2)]
    return pairs, (len(competitors) - 1) * (len(rounds) - 1)


def _decide(contrast: Contrast, p: float, level: float, margin: float) -> Comparison:
    ratio = contrast.interval(level)
    if contrast.error is None or ratio.low is None or ratio.high is None:
        return Comparison("INCONCLUSIVE", ratio, None, None, contrast.rounds)
    effect = contrast.error * needed(level, contrast.freedom)
    verdict: Verdict = "INCONCLUSIVE"
    if 1 / (1 + margin) <= ratio.low and ratio.high <= 1 + margin:
        verdict = "EQUIVALENT"
    elif ratio.high < 1:
        verdict = "FASTER"
    elif ratio.low > 1:
        verdict = "SLOWER"
    return Comparison(verdict, ratio, p, math.expm1(min(effect, LARGEST)), contrast.rounds)
