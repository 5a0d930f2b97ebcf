"""Before timing: every framework, variant, precision and mode is proven on the tiny networks.

One process proves all networks of a variant, while the next one imports its framework. What has been proven is not proven
again before anything changes that it depends on. What it does not know: what becomes of a cell that is not equal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workloads
from frameworks import Cell
from harness import host, kept, proof
from harness.launcher import Launch, Worker, WorkerFailed, log_tail
from harness.oracle import Oracle
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

    def prove(self, cells: Sequence[Cell], anew: bool = False) -> Iterator[tuple[Cell, Proof | Failed]]:
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
        workers: dict[Any, Worker | None] = {}
        try:
            for place, (key, networks) in enumerate(wanted.items()):
                self.watch.stage(f"proving equal work: {key[0]} {key[1]}")
                for coming in list(wanted)[place : place + SIDE_BY_SIDE]:  # while one is proven the next imports its framework
                    if coming not in workers:
                        workers[coming] = self._begin(next(iter(self._tiny_cells(coming, wanted[coming]).values())))
                for name, outcome in self._prove_process(self._tiny_cells(key, networks), workers[key]):
                    for cell in networks[name]:
                        yield cell, outcome
                self.watch.advance(PROOF_SECONDS * len(networks))
        finally:
            for worker in workers.values():
                if worker is not None:
                    worker.end()

    def _tiny_cells(self, key: tuple[Any, ...], networks: dict[str, list[Cell]]) -> dict[str, Cell]:
        """The cells to prove, by network, with as many threads as will be timed at most."""
        framework, variant, device, precision, mode = key
        threads = max(cell.threads for cells in networks.values() for cell in cells)
        known = workloads.discover()
        return {name: Cell(name, framework, variant, device, threads, known[name].mini_batch, precision, mode) for name in networks}

    def _file(self, tiny: Cell) -> Path | None:
        """Where its proof is kept; None where it must not be."""
        return self.oracle.place("tiny", self.launch(tiny))

    def _known(self, tiny: Cell) -> Proof | None:
        """Its proof, if there is one that still holds."""
        file = self._file(tiny)
        found = kept.get(file, Proof.of) if file else None
        return found if found is not None and found.equal else None

    def _begin(self, cell: Cell) -> Worker | None:
        """A worker that imports its framework; None if it cannot even start, which its proof will say."""
        how = self.launch(cell)
        try:
            worker = Worker(how, self._log(cell))
        except WorkerFailed:
            return None
        worker.send(how.message(host.layout(cell.threads)))
        return worker

    def _log(self, cell: Cell) -> Path:
        return self.logs / f"proof-{cell.framework}-{cell.variant}.log"

    def _prove_process(self, cells: dict[str, Cell], begun: Worker | None) -> Iterator[tuple[str, Proof | Failed]]:
        """One worker for all networks, which is building the first; a new one for the rest after one that failed."""
        worker = begun
        try:
            for name, cell in cells.items():
                try:
                    if worker is None:
                        self._log(cell).unlink(missing_ok=True)
                        worker = Worker(self.launch(cell), self._log(cell))
                    elif begun is not None:
                        worker.receive()
                    begun = None
                    found = proof.prove_tiny(worker, self.launch(cell), workloads.discover()[name])
                    file = self._file(cell)
                    if file and found.equal:
                        kept.put(file, plain(found))
                    elif file:
                        file.unlink(missing_ok=True)  # it was equal once
                    yield name, found
                except WorkerFailed as failure:
                    if worker is not None:
                        worker.end()
                    worker = begun = None
                    yield name, Failed(failure, log_tail(self._log(cell)))
        finally:
            if worker is not None:
                worker.end()
