"""One cell's record in plain words, with every round: where its number comes from, and how to run it again."""

import shlex

import frameworks
from harness.records import Result
from harness.steady import SHAPES
from reports.cells import energy, marks, spread, versions
from reports.contests import trusted
from reports.naming import describe, seconds
from reports.sheet import printable


def record(result: Result, by_hand: bool = True, every_round: bool = True) -> str:
    """One cell in plain words, with every round; and the command that runs it by hand, which holds paths of its machine."""
    cell = result.cell
    lines = [cell.key, f"status       {result.status}" + (f": {result.reason}" if result.reason else "")]
    if result.proof:
        word = "equal" if result.proof.equal else f"UNEQUAL: {result.proof.reason}"
        lines.append(f"equal work   {word}")
        for size, check in (("tiny network", result.proof.tiny), ("full size", result.proof.full_size)):
            if check is not None:
                lines.append(
                    f"  {size:12} largest error {check.error:.1e} ({check.where}); {check.share_of_bound:.2f} of its bound at most"
                )
    module = frameworks.discover().get(cell.framework)
    if module and cell.variant in module.framework.variants:
        lines.append(f"variant      {describe(module.framework, cell.variant)}")
    if result.environment:
        digest, build, python = (result.environment.get(key) for key in ("digest", "build", "python_version"))
        lines.append(f"environment  {digest}, {build}, Python {python}")
        held = [f"{name} {version}" for name, version in versions(result).items() if name != "python"]
        lines += [f"packages     {', '.join(held)}"] if held else []
    if trusted(result):
        found = result.number
        interval = f" ({seconds(found.low)} to {seconds(found.high)})" if found.low is not None and found.high is not None else ""
        lines.append(f"estimate     {seconds(found.estimate)} s per mini-batch{interval}")
        if spent := energy(result):
            lines.append(
                f"energy       {seconds(spent['joules_per_step'])} J a step, {seconds(spent['joules_per_sample'])} J a sample,"
                f" {spent['watts']:.0f} W ({spent['of']})"
            )
        lines += [f"mark         {mark}" for mark in marks(result)]
    if result.rounds and not every_round:
        lines.append(f"rounds       {len(result.rounds)}: stepbench show {shlex.quote(cell.key)}")
    elif result.rounds:
        for what, share in (spread(result) or {}).items():
            if share is not None:
                lines.append(f"spread       {100 * share:.2g} % {what.replace('_', ' ')}")
        lines.append("round  s / step  steps  warm-up  first step s  build s  busy processors  peak MB  last step's loss")
        for r in result.rounds:
            if not r.turns:
                lines.append(f"{r.number:5}  {result.seconds_of(r):8.4f}  its steps were pruned (stepbench history prune)")
                continue
            last = r.turns[-1]
            shown = "" if last.loss is None else f"{last.loss:.6g} in step {last.last_step}"
            lines.append(
                f"{r.number:5}  {result.seconds_of(r):8.4f}  {len(r.steps):5}  {r.warm_up_steps:7}  {r.first_step_seconds:12.3f}"
                f"  {r.build_seconds:7.2f}  {r.cpu_per_wall:15.2f}  {r.peak_memory_bytes / 1e6:7.0f}  {shown}"
            )
            lines += [f"       its steps: {SHAPES[r.shape]}"] if r.shape not in ("too few", "flat") else []
            lines += [f"       thrown out: {r.disturbance}"] if r.disturbance else []
    if result.log:
        lines += ["last lines of its log:", *(f"  {line}" for line in result.log)]
    if result.command and by_hand:
        lines += ["by hand:", f"  {result.command}"]
    return "\n".join(map(printable, lines)) + "\n"
