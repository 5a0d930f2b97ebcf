"""How results and their rounds lie in rows of the store, and how rows are read fast."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql

from frameworks import Cell
from harness.records import Limits, Proof, Result, Round, plain


def of_result(result: Result) -> dict[str, Any]:
    """A result's row, without its rounds."""
    return {
        **result.cell._asdict(),
        "status": result.status,
        "reason": result.reason,
        "proof": plain(result.proof) if result.proof else None,
        "environment": result.environment,
        "command": result.command,
        "limits": plain(result.limits),
        "log": list(result.log),
        "definition": result.definition,
    }


def of_round(made: Round) -> dict[str, Any]:
    """A round's row."""
    record = plain(made)
    turns = record.pop("turns")
    return {"number": made.number, "part": made.part, "record": {**record, **made.numbers}, "turns": json.dumps(turns)}


def result(row: Any, own_rounds: tuple[Round, ...]) -> Result:
    """From its row and its rounds. Raises KeyError, TypeError or ValueError for anything else."""
    if min(row["threads"], row["mini_batch"]) < 1:
        raise ValueError(f"{row['threads']} threads, a mini-batch of {row['mini_batch']}")
    return Result(
        cell=Cell(**{name: row[name] for name in Cell._fields}),
        status=row["status"],
        reason=row["reason"],
        rounds=own_rounds,
        proof=Proof.of(row["proof"]) if row["proof"] else None,
        environment=row["environment"],
        command=row["command"],
        limits=Limits(**row["limits"]),
        log=tuple(row["log"]),
        definition=row["definition"],
    )


def columns(connection: sql.Connection, query: sql.Select[Any]) -> dict[str, Sequence[Any]]:
    """What a query finds, column by column. JSON is taken as it is written, and a whole column parsed as one text: thousands of
    records by themselves take three times as long."""
    chosen = list(query.selected_columns)
    written = [isinstance(column.type, sql.JSON) for column in chosen]
    taken = (sql.cast(column, sql.Text) if is_json else column for column, is_json in zip(chosen, written, strict=True))
    rows = connection.execute(query.with_only_columns(*taken, maintain_column_froms=True)).all()
    found = zip(*rows, strict=True) if rows else [()] * len(chosen)
    return {c.name: _parsed(values) if is_json else values for c, values, is_json in zip(chosen, found, written, strict=True)}


def _parsed(texts: Sequence[str | None]) -> list[Any]:
    return list(json.loads(f"[{','.join(text or 'null' for text in texts)}]"))
