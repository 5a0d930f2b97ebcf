"""Before timing: every framework, variant, precision and mode is proven on the tiny networks.

One process proves all networks of a variant, and two are at work side by side: most of it is importing and compiling, which
keeps one processor busy. What has been proven is not proven again before anything changes that it depends on. What it does not
know: what becomes of a cell that is not equal.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import workloads
from frameworks import Cell
from harness import host, kept, proof
from harness.launcher import Launch, Worker
from harness.oracle import Oracle
from harness.pipe import WorkerFailed, log_tail
from harness.records import Proof, plain
from harness.turns import SIDE_BY_SIDE
from harness.watch import Watch

PROOF_SECONDS = 3.0
"""For the progress bar: one tiny network in one framework."""


@dataclass
class Failed:
    """A proof that could not be carried out."""

    failure: WorkerFailed
    log: list[str]


@dataclass
class TinyProofs:
    """Of one session. `launch` tells how a cell's worker is started."""

    launch: Callable[[Cell], Launch]
    logs: Path
    watch: Watch
    oracle: Oracle
    running: list[Worker] = field(default_factory=list, init=False)
    over: Event = field(default_factory=Event, init=False)
    """Nobody waits for further proofs."""

    def prove(self, cells: Sequence[Cell], anew: bool = False) -> Generator[tuple[Cell, Proof | Failed], None, None]:
        """Proves every framework, variant, precision and mode of some cells on the tiny networks; `anew`: whatever is kept."""
        wanted: dict[tuple[Any, ...], dict[str, list[Cell]]] = {}
        for cell in cells:
            workload = workloads.discover()[cell.workload]
            name = workload.tiny.name if workload.tiny else workload.name
            key = (cell.framework, cell.variant, cell.device, cell.precision, cell.mode)
            wanted.setdefault(key, {}).setdefault(name, []).append(cell)
        for key, networks in list(wanted.items()):
            for name, tiny in self._tiny_cells(key, networks).items():
                known = None if anew else self._known(tiny)
                if known is not None:
                    for cell in networks.pop(name):
                        yield cell, known
            if not networks:
                del wanted[key]
        with self._side_by_side() as pool:
            places: SimpleQueue[int] = SimpleQueue()
            for place in range(SIDE_BY_SIDE):
                places.put(place)
            coming = {key: pool.submit(self._prove_process, self._tiny_cells(key, networks), places) for key, networks in wanted.items()}
            for key, networks in wanted.items():
                self.watch.stage(f"proving equal work: {key[0]} {key[1]}")
                for name, outcome in coming[key].result():
                    for cell in networks[name]:
                        yield cell, outcome
                self.watch.advance(PROOF_SECONDS * len(networks))

    @contextmanager
    def _side_by_side(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that wait for workers; those that still run when it is left are killed, and no others are started."""
        self.over.clear()
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            try:
                yield pool
            finally:
                self.over.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in list(self.running):
                    worker.kill()

    def _tiny_cells(self, key: tuple[Any, ...], networks: dict[str, list[Cell]]) -> dict[str, Cell]:
        """The cells to prove, by network, with as many threads as will be timed at most."""
        framework, variant, device, precision, mode = key
        threads = max(cell.threads for cells in networks.values() for cell in cells)
        cell = Cell("", framework, variant, device, threads, 1, precision, mode)
        return {name: cell._replace(workload=name, mini_batch=self._samples(name, len(cell.devices))) for name in networks}

    @staticmethod
    def _samples(name: str, devices: int) -> int:
        """The mini-batch of a tiny network, or the next larger one of which each device has the same share."""
        return devices * math.ceil(workloads.discover()[name].mini_batch / devices)

    def _file(self, tiny: Cell) -> Path | None:
        """Where its proof is kept; None where it must not be."""
        return self.oracle.place("tiny", self.launch(tiny))

    def _known(self, tiny: Cell) -> Proof | None:
        """Its proof, if there is one that still holds."""
        file = self._file(tiny)
        found = kept.get(file, Proof.of) if file else None
        return found if found is not None and found.equal else None

    def _log(self, cell: Cell) -> Path:
        return self.logs / f"proof-{cell.framework}-{cell.variant}-{cell.device}-{cell.precision}-{cell.mode}.log"

    def _prove_process(self, cells: dict[str, Cell], places: "SimpleQueue[int]") -> list[tuple[str, Proof | Failed]]:
        """One worker for all networks; a new one for the rest after one that failed. It is on one of the places, if there are
        processors for two of its kind, while it is at work."""
        found: list[tuple[str, Proof | Failed]] = []
        place, worker = places.get(), None
        try:
            for name, cell in cells.items():
                if self.over.is_set():
                    break
                near = host.places(cell.processors)
                try:
                    if worker is None:
                        self._log(cell).unlink(missing_ok=True)
                        worker = self._start(cell)
                    workload = workloads.discover()[name]._replace(mini_batch=cell.mini_batch)
                    proof_ = proof.prove_tiny(worker, self.launch(cell), workload, near[place % len(near)])
                    self._keep(cell, proof_)
                    found.append((name, proof_))
                except WorkerFailed as failure:
                    self._end(worker)
                    worker = None
                    found.append((name, Failed(failure, log_tail(self._log(cell)))))
            return found
        finally:
            self._end(worker)
            places.put(place)

    def _keep(self, cell: Cell, found: Proof) -> None:
        """For the next run, if it may be; what is no longer equal was once."""
        file = self._file(cell)
        if file and found.equal:
            kept.put(file, plain(found))
        elif file:
            file.unlink(missing_ok=True)

    def _start(self, cell: Cell) -> Worker:
        worker = Worker(self.launch(cell), self._log(cell))
        self.running.append(worker)
        if self.over.is_set():  # since it was looked at
            worker.kill()
        return worker

    def _end(self, worker: Worker | None) -> None:
        if worker is not None:
            self.running.remove(worker)
            worker.end()
