"""What becomes of a result with one more round: its status, by rules that never look at who is faster."""

import math
from dataclasses import replace
from typing import Any

from harness.conditions import THROWN_OUT
from harness.records import Result, Round, Status
from harness.statistics import CONFIDENCE, UNSTABLE_RATIO

NEVER_STEADY, PROCESSES = 0.5, 3
"""A cell of which more than this share of the processes, of so many at least, never became steady has no number."""


def after(result: Result, outcome: Any) -> Result:
    """A result after one more round: the round added, or the reason why there is none."""
    if not isinstance(outcome, Round):
        failure = outcome.failure
        unequal = failure.status == "unequal" and result.proof is not None
        proven = replace(result.proof, equal=False, reason=failure.reason) if result.proof and unequal else result.proof
        return result.but(status=failure.status, reason=failure.reason, log=tuple(outcome.log), proof=proven)
    proven = result.proof.with_full_size(outcome.check) if result.proof and outcome.check else result.proof
    result = result.but(rounds=(*result.rounds, outcome), proof=proven)
    status, reason = judged(result)
    return result.but(status=status, reason=reason)


def rounds_to_stand(result: Result) -> int:
    """How many more, if all of them stand, until so few of its rounds are thrown out that it can have a number."""
    thrown_out = len(result.rounds) - len(result.standing)
    return max(0, math.ceil(round(thrown_out / THROWN_OUT, 6)) - len(result.rounds))


def judged(result: Result) -> tuple[Status, str]:
    """Whether the rounds of a result make a number; if not, why, and what to do."""
    rounds, standing = result.rounds, result.standing
    thrown_out = len(rounds) - len(standing)
    if rounds_to_stand(result):
        why = next(r.disturbance for r in reversed(rounds) if r.disturbance)
        return "inconclusive", f"{thrown_out} of {len(rounds)} rounds thrown out: {why}; run it when nothing else runs here"
    unsteady = sum(r.shape == "never steady" for r in standing)
    if unsteady > NEVER_STEADY * len(standing) and len(standing) >= PROCESSES:
        look = f"stepbench plot steps {result.cell.key} -o steps.svg"
        return "unstable", f"its steps never became steady in {unsteady} of {len(standing)} processes: look at them with `{look}`"
    found = result.over_rounds.interval(CONFIDENCE)
    if found.low is not None and found.high is not None and found.high / found.low > UNSTABLE_RATIO:
        spread = f"{found.low:.3g} to {found.high:.3g} s"
        return "unstable", f"interval {spread} after {len(result.seconds_by_round)} rounds: run it on a quieter machine"
    return "ok", ""
