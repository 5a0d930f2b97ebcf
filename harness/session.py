"""A run from plan to store: environments, proofs, rounds; each round is stored as soon as it ends.

What it does not know: the terminal. It reports through a `Watch`.
"""

import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import workloads
from frameworks import Cell
from harness import environments, gpu, host, limit, plan
from harness.comparison import shortfall, squeeze
from harness.environments import Environment, cache_folder
from harness.fit import Fit, fit
from harness.gate import Gate, most_threads
from harness.grade import TARGETS, grade
from harness.launcher import Launch, launch
from harness.oracle import Oracle
from harness.outcome import after, rounds_to_stand
from harness.pipe import WorkerFailed
from harness.plan import Plan
from harness.problems import BadRequest, EnvironmentProblem
from harness.records import PROTOCOL, Limits, Result, Round, Status, plain
from harness.statistics import ratio
from harness.store import Store
from harness.tiny import Failed, TinyProofs
from harness.turns import run_round, steps_seconds
from harness.watch import Silent, Watch

LATE_ROUNDS = 2
"""At most so many beyond the budget, of a group in which a cell has no number yet for being unstable or disturbed."""


def _environment_of(cell: Cell) -> tuple[str, str]:
    return cell.framework, cell.accelerator


@dataclass
class Session:
    """One plan being carried out."""

    plan: Plan
    watch: Watch = field(default_factory=Silent)
    environments: dict[tuple[str, str], Environment] = field(default_factory=dict)
    """By framework and accelerator."""
    results: dict[Cell, Result] = field(default_factory=dict)
    target: float = TARGETS["B"]
    """Half-width, as a share of the estimate, at which an interval is narrow enough."""
    step_seconds: float = 0.0
    """In which some worker was in a step, so far."""

    def __post_init__(self) -> None:
        for cell in self.plan.cells:
            known = workloads.definition(workloads.discover()[cell.workload])
            before = self.results.setdefault(cell, Result(cell, definition=known))
            if before.rounds and before.definition not in ("", known):
                raise BadRequest(f"{cell.workload} is no longer the network that this run began with: start a new run")
            self.results[cell] = before.but(definition=known)
        self.logs = Path(tempfile.mkdtemp(prefix="stepbench-logs-"))
        self.durations: dict[tuple[Cell, ...], float] = {}
        self.oracle = Oracle(self.logs, self.watch, self.environments)
        self.gate = Gate(self._launch, self.logs, self.oracle, most_threads(self.plan.cells))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        shutil.rmtree(self.logs, ignore_errors=True)

    def prepare(self) -> None:
        """Makes the environments. A framework that cannot be had makes its cells unsupported; raises
        EnvironmentProblem where none can be, or where the user named an interpreter that will not do."""
        problems = []
        for needed in dict.fromkeys(map(_environment_of, self.plan.cells)):
            name, kind = needed
            python = self.plan.pythons.get(name)
            self.watch.stage(f"environment of {name}" + (f" for {kind}" if kind != "cpu" else ""))
            try:
                if needed not in self.environments:
                    self.environments[needed] = environments.of(name, self.watch.say, Path(python) if python else None, kind)
            except EnvironmentProblem as problem:
                if python:
                    raise
                problems.append(str(problem))
                self.watch.say(f"{name}: {problem}")
                self._settle((c for c in self.plan.cells if _environment_of(c) == needed), "unsupported", f"no environment: {problem}")
        if problems and not self.environments:
            raise EnvironmentProblem(problems[0])

    def _settle(self, cells: Any, status: Status, reason: str, **more: Any) -> None:
        for cell in cells:
            if not self.results[cell].settled():
                self.results[cell] = self.results[cell].but(status=status, reason=reason, **more)

    def room(self, cell: Cell) -> int:
        """Bytes that a worker of a cell may take: of its GPUs, or of the machine's memory."""
        if cell.accelerator == "cpu":
            return self.plan.memory or host.available_memory()
        return sum(gpu.gpu(device).memory_bytes for device in cell.devices)

    def _launch(self, cell: Cell) -> Launch:
        return launch(
            cell,
            self.environments[_environment_of(cell)],
            arrays=str(cache_folder() / "arrays"),
            memory_limit=self.room(cell) if cell.accelerator == "cpu" else None,  # CUDA reserves far more than it uses
            timeout=self.plan.timeout,
        )

    def prove(self, anew: bool = False) -> None:
        """Proves every framework, variant and mode on the tiny networks, `anew` or as kept; what fails is not timed."""
        live = [cell for cell in self.plan.cells if not self.results[cell].settled()]
        for cell in live:
            how = self._launch(cell)
            environment = {k: v for k, v in plain(how.environment).items() if k not in ("framework", "folder", "python")}
            known = {"environment": {**environment, "variables": how.variables}, "command": how.command()}
            self.results[cell] = self.results[cell].but(**known)
        with closing(TinyProofs(self._launch, self.logs, self.watch, self.oracle).prove(live, anew)) as proofs:
            for cell, outcome in proofs:
                if isinstance(outcome, Failed):
                    reason = ("" if outcome.failure.status == "unsupported" else "in the proof of equal work: ") + outcome.failure.reason
                    self._settle([cell], outcome.failure.status, reason, log=tuple(outcome.log))
                    continue
                before = self.results[cell].proof  # of a run that is resumed
                self.results[cell] = self.results[cell].but(proof=replace(outcome, full_size=before.full_size if before else None))
                if not outcome.equal:
                    self._settle([cell], "unequal", outcome.reason)

    def fit(self) -> list[Fit]:
        """The largest mini-batch of each cell that fits into memory; nothing is proven or timed."""
        found = []
        for cell in self.plan.cells:
            known = self.results[cell]
            if known.settled():
                found.append(Fit(cell._replace(mini_batch=0), known.status, known.reason))
                continue
            log = self.logs / "fit.log"
            found.append(fit(cell, self.room(cell), lambda sized: replace(self._launch(sized), arrays=None), log, self.watch))
        return found

    def find_limits(self) -> None:
        """Measures what the machine can do at each thread count and precision of the plan, or takes it as kept."""
        found: dict[tuple[str, int, str], Limits] = {}
        for cell in self.plan.cells:
            alike = cell.device, cell.threads, cell.precision
            if alike not in found:
                self.watch.stage(f"the machine's limits, {cell.threads} thread(s), {cell.precision}")
                found[alike] = limit.limits(cell, self.oracle.ways, self.logs / "limit.log")
            self.results[cell] = self.results[cell].but(limits=found[alike])

    def prove_full_size(self) -> None:
        """The full-size networks of what is proven so far, without timing them."""
        for cell in self.plan.cells:
            before = self.results[cell]
            if before.settled() or before.proof is None:
                continue
            self.watch.stage(f"proving equal work at full size: {cell.workload}, {cell.framework} {cell.variant}")
            outcome = self.gate.prove_full_size(cell, before.proof)
            if isinstance(outcome, Failed):
                self._settle([cell], outcome.failure.status, f"at full size: {outcome.failure.reason}", log=tuple(outcome.log))
                continue
            self.results[cell] = before.but(proof=outcome)
            if not outcome.equal:
                self._settle([cell], "unequal", outcome.reason)

    def measure(self, save: Callable[[Sequence[Result]], None], deadline: float) -> None:
        """The rounds; `save` is called with the changed results after each. `deadline` is of time.monotonic()."""

        def another(group: tuple[Cell, ...]) -> None:
            last = max(r.number for c in group for r in self.results[c].rounds)
            interrupted = any(not self.results[c].settled() and not self.results[c].parts(last) for c in group)
            self.round(group, last if interrupted else last + 1, save)

        for number in range(1, self.plan.rounds + 1):
            for group in self.plan.groups():
                self.round(group, number, save)
        while worth := self._most_worth(deadline - time.monotonic()):
            another(worth)
        for group in self.plan.groups() * (LATE_ROUNDS if self.plan.budget else 0):
            if any(self.results[c].status in ("unstable", "inconclusive") for c in group):
                another(group)

    def round(self, group: tuple[Cell, ...], number: int, save: Callable[[Sequence[Result]], None]) -> None:
        """One round of a group, in as many parts as memory asks for; of an interrupted one what is missing."""
        waiting = [cell for cell in group if not self.results[cell].settled() and not self.results[cell].parts(number)]
        if not waiting:
            return
        begin, whole = time.monotonic(), not any(self.results[cell].parts(number) for cell in group)
        try:
            self.oracle.expect(group[0])
        except WorkerFailed as failure:
            self._settle(waiting, failure.status, f"the reference of this network could not be computed: {failure.reason}")
            save([self.results[cell] for cell in waiting])
            return
        alone = group[0].accelerator != "cpu"  # one network at a time on a GPU: paused ones would keep its memory
        if alone:
            random.Random(f"{self.plan.seed}/{number}/{group[0].key}").shuffle(waiting)
        crowded_out: set[Cell] = set()

        def need(cell: Cell) -> float:
            return math.inf if cell in crowded_out else self._need(cell)

        while waiting:
            link = self._link([cell for cell in group if cell not in crowded_out], number)
            room = MEMORY_SHARE * host.available_memory()
            part = (waiting[0],) if alone else plan.next_part(waiting, need, room, link)
            outcome = self._part(part, group, number)
            self.step_seconds += steps_seconds([found for found in outcome.values() if isinstance(found, Round)])
            failed = {cell for cell in part if self._crowded_out(part, outcome[cell])}
            crowded_out |= failed
            for cell in part:
                if cell not in failed:
                    self.results[cell] = after(self.results[cell], outcome[cell])
            save([self.results[cell] for cell in part])
            waiting = [cell for cell in waiting if cell not in part or cell in failed]
        if whole:
            self.durations[group] = time.monotonic() - begin
        self.watch.advance(plan.group_seconds(self.plan, group))

    def _part(self, part: tuple[Cell, ...], group: tuple[Cell, ...], number: int) -> dict[Cell, Any]:
        """Those of a group that take turns together, as `run_round` gives it; on a GPU one after the other, which is one part."""
        first = group[0]
        key = 1 + max((i for cell in group for i in self.results[cell].parts(number)), default=-1) if first.accelerator == "cpu" else 0
        where = f"{first.threads} thread(s)" + (f" on {first.device}" if first.device != "cpu" else "")
        title = f"{workloads.discover()[first.workload].title}, {where}, round {number}"
        whole = first.accelerator != "cpu" or all(self.results[cell].settled() or cell in part for cell in group)
        self.watch.stage(title + ("" if whole else f", part {key + 1}"))
        launches = [self._launch(cell) for cell in sorted(part, key=self._start_seconds, reverse=True)]
        seed = f"{self.plan.seed}/{number}/{key}/{first.key}"
        return run_round(launches, (number, key), self.gate, self.plan.pace, seed, self.logs, self.watch.tick)

    def _start_seconds(self, cell: Cell) -> float:
        """How long the cell's worker took to start, as far as is known: the slowest start first, so that none is waited for."""
        rounds = self.results[cell].rounds
        return rounds[-1].load_seconds + rounds[-1].build_seconds + rounds[-1].first_step_seconds if rounds else 0.0

    def _crowded_out(self, part: Sequence[Cell], outcome: Any) -> bool:
        """Whether a cell may only have lacked the memory that its rivals took: it gets another try alone."""
        failed = not isinstance(outcome, Round) and outcome.failure.status == "out-of-memory"
        own_limit = self.plan.memory is not None and self.plan.memory <= MEMORY_SHARE * host.available_memory()
        return failed and len(part) > 1 and not own_limit

    def _link(self, group: Sequence[Cell], number: int) -> Cell | None:
        """Who has been in most parts of this round, which may have been interrupted, else of those before; the smallest of
        several. None before the first part."""

        def ties(cell: Cell) -> tuple[int, int]:
            result = self.results[cell]
            return len(result.parts(number)), len(result.rounds) - len(result.seconds_by_round)

        live = sorted((cell for cell in group if not self.results[cell].settled()), key=self._need)
        found = max(live, key=ties, default=None)
        return found if found and any(ties(found)) else None

    def _need(self, cell: Cell) -> float:
        """Bytes that the cell's worker will take: as measured, else as estimated from arithmetic and its kin's."""

        def peak(other: Cell) -> int:
            return max((r.peak_memory_bytes for r in self.results[other].rounds), default=0)

        kin = [c for c in self.plan.cells if (c.workload, c.mini_batch, c.mode) == (cell.workload, cell.mini_batch, cell.mode)]
        largest = max(map(peak, kin))
        return peak(cell) or min(plan.memory_need(cell), plan.OTHERS * largest if largest else math.inf)

    def _most_worth(self, seconds: float) -> tuple[Cell, ...] | None:
        """The group in which another round narrows the table most for its time, of those that fit into the seconds that are left;
        None where every cell has a number and no shortfall. It never asks who is faster."""

        def seconds_of(group: tuple[Cell, ...]) -> float:
            return self.durations.get(group, plan.group_seconds(self.plan, group))

        worth = {}
        for group in self.plan.groups():
            live = [r for c in group if (r := self.results[c]).rounds and not r.settled()]
            if live and SPARE_TIME * seconds_of(group) < seconds:
                worth[group] = self._narrowing(live) / seconds_of(group)
        best = max(worth, key=lambda group: worth[group], default=None)
        return best if best and worth[best] > 0 else None

    def _narrowing(self, group: Sequence[Result]) -> float:
        """By how much another round is expected to narrow what is known of a group, down to what is asked for. Who has no number for
        the rounds that were thrown out gets nearer to one: the less, the more of them it takes, so that a hopeless one starves nobody."""
        lost = sum(1 / wanted for r in group if (wanted := rounds_to_stand(r)))
        known = [r for r in group if r.standing]
        if not known:
            return lost
        numbers = [r.over_rounds for r in known]
        met = (ratio(a.times, b.times, [r.times for r in known if r is not a and r is not b]) for a, b in combinations(known, 2))
        pairs = squeeze([pair for pair in met if pair], (len(known) - 1) * (min(n.rounds for n in numbers) - 1))
        then = shortfall([n.after_another() for n in numbers], [p.after_another() for p in pairs], self.target)
        return lost + shortfall(numbers, pairs, self.target) - then


SPARE_TIME = 1.2
"""A round may take so many times as long as the one before it."""

MEMORY_SHARE = 0.9
"""Of what is available, for the workers that stand side by side."""


@dataclass(frozen=True)
class Done:
    """A run that was carried out."""

    run: int
    """Its number in the store."""
    results: list[Result]
    seconds: float
    """Since the environments were there."""
    step_seconds: float
    """Of these, with some worker in a step: measured, or to warm up."""


def execute(plan_: Plan, store: Store, run: int | None, watch: Watch, done: Sequence[Result] = ()) -> Done:
    """Carries out a plan and stores it, as a new run or going on with `run`, of which `done` is stored already.

    A new run is stored once its environments are there: what could not even begin is no run to go on with.
    """
    deadline = time.monotonic() + plan_.budget
    results = {r.cell: r if r.settled() or r.rounds else replace(r, status="unfinished") for r in done}
    watch.expect(plan.expected_seconds(plan_))
    with Session(plan_, watch, results=results) as session:
        session.prepare()
        begin = time.monotonic()
        graded = grade()
        session.target = graded.target
        if run is None:
            run = store.begin(plan_.to_json(), {**host.facts(), "grade": graded.to_json()}, PROTOCOL, plan_.cells)
        session.prove()
        session.find_limits()
        store.save(run, list(session.results.values()))
        session.measure(lambda changed: store.save(run, changed), deadline)
        session.find_limits()  # a cell that seemed too fast may have found a higher one
        store.save(run, list(session.results.values()))
        store.end(run)
        return Done(run, list(session.results.values()), time.monotonic() - begin, session.step_seconds)
