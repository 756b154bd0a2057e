"""Objects and their history in SQLite: one write is one transaction.

Durability: a write-ahead log with `synchronous=NORMAL`. A committed write survives the death of
the process at any moment (kill -9); the last ones before a power failure may be lost, the
database stays consistent. This spares a disk flush per write, so a burst of writes does not
stall the event loop that makes them.

Every write takes the next resourceVersion and leaves one row of history under that number, so
the current version is the last row's, and the window of history is a matter of subtraction.
"""

from __future__ import annotations

import heapq
import os
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.local.api.errors import StoreLockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.local.api.definitions import GroupResource

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (
  version INTEGER PRIMARY KEY, resource TEXT NOT NULL, type TEXT NOT NULL,
  namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, previous BLOB
);
CREATE INDEX IF NOT EXISTS history_of_resource ON history (resource, version);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO facts VALUES ('compacted', '0');
INSERT OR IGNORE INTO facts VALUES ('created', strftime('%Y-%m-%dT%H:%M:%SZ', 'now'));
"""


class ChangeType(StrEnum):
    """What a write did, in the words of a watch."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the object after it (of a deletion: the last state) and before it."""

    version: int
    resource: GroupResource
    type: ChangeType
    namespace: str
    name: str
    body: bytes
    previous: bytes | None


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """An object as stored, in the order of lists."""

    namespace: str
    name: str
    body: bytes


class Database:
    """The tables. Not safe for several threads or processes; one owner holds it open.

    `history_limit` is the number of writes whose history is kept at least.
    Raises `StoreLockedError` if another process has the file open.
    """

    def __init__(self, path: Path | str, *, history_limit: int) -> None:
        self._history_limit = history_limit
        if str(path) != ":memory:":
            # Objects carry environment variables, hence secrets: for the owner's eyes only.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise
        self.compacted = int(self._fact("compacted"))
        newest = self._value("SELECT MAX(version) FROM history")
        self.current = max(self.compacted, newest or 0)

    def _open(self) -> None:
        try:
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StoreLockedError("the store is open in another process") from error
            raise

    def close(self) -> None:
        self._connection.close()

    @property
    def created(self) -> str:
        """When the store was created (RFC 3339)."""
        return self._fact("created")

    def read(self, resource: GroupResource, namespace: str, name: str) -> bytes | None:
        found: bytes | None = self._value(
            "SELECT body FROM objects WHERE resource=? AND namespace=? AND name=?",
            (str(resource), namespace, name),
        )
        return found

    def commit(self, change: Change) -> None:
        """Store one write; its version must be `current + 1`."""
        assert change.version == self.current + 1
        slack = max(1, self._history_limit // 10)
        target = change.version - self._history_limit
        compacts = target - self.compacted >= slack
        with self._transaction():
            self._store(change)
            self._remember(change)
            if compacts:
                self._forget(target)
        self.current = change.version
        if compacts:
            self.compacted = target

    def compact(self, version: int) -> None:
        """Forget the history up to and including `version`."""
        if self.compacted < version <= self.current:
            with self._transaction():
                self._forget(version)
            self.compacted = version

    def changes(self, resource: GroupResource, since: int, limit: int) -> list[Change]:
        """At most `limit` writes to a resource after version `since`, in their order."""
        rows = self._connection.execute(
            "SELECT version, type, namespace, name, body, previous FROM history"
            " WHERE resource=? AND version>? ORDER BY version LIMIT ?",
            (str(resource), since, limit),
        )
        return [
            Change(version, resource, ChangeType(kind), namespace, name, body, previous)
            for version, kind, namespace, name, body, previous in rows
        ]

    def rows(
        self, resource: GroupResource, namespace: str, after: tuple[str, str], version: int
    ) -> Iterator[Row]:
        """Objects behind the key `after` as they were at `version`, by namespace and name.

        An empty namespace means all. The history after `version` must still be there.
        """
        undone = self._undo(resource, namespace, version)
        present = (
            row for row in self._present(resource, namespace, after) if _key(row) not in undone
        )
        past = sorted(
            Row(*key, body) for key, body in undone.items() if body is not None and key > after
        )
        return heapq.merge(present, past)

    def _present(
        self, resource: GroupResource, namespace: str, after: tuple[str, str]
    ) -> Iterator[Row]:
        cursor = self._connection.execute(
            "SELECT namespace, name, body FROM objects"
            " WHERE resource=? AND (namespace, name) > (?, ?) AND (?='' OR namespace=?)"
            " ORDER BY namespace, name",
            (str(resource), *after, namespace, namespace),
        )
        return (Row(*row) for row in cursor)

    def _undo(
        self, resource: GroupResource, namespace: str, version: int
    ) -> dict[tuple[str, str], bytes | None]:
        """What the objects written after `version` were before (None: not there)."""
        cursor = self._connection.execute(
            "SELECT namespace, name, previous FROM history"
            " WHERE resource=? AND version>? AND (?='' OR namespace=?) ORDER BY version DESC",
            (str(resource), version, namespace, namespace),
        )
        return {(row[0], row[1]): row[2] for row in cursor}

    def namespaces(self) -> list[str]:
        """The namespaces that hold objects."""
        return [
            row[0] for row in self._connection.execute("SELECT DISTINCT namespace FROM objects")
        ]

    def _store(self, change: Change) -> None:
        key = (str(change.resource), change.namespace, change.name)
        if change.type is ChangeType.DELETED:
            self._connection.execute(
                "DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", key
            )
        else:
            self._connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET body=excluded.body",
                (*key, change.body),
            )

    def _remember(self, change: Change) -> None:
        self._connection.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                change.version,
                str(change.resource),
                change.type.value,
                change.namespace,
                change.name,
                change.body,
                change.previous,
            ),
        )

    def _forget(self, version: int) -> None:
        self._connection.execute("DELETE FROM history WHERE version<=?", (version,))
        self._connection.execute("UPDATE facts SET value=? WHERE name='compacted'", (str(version),))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # SQLite has already rolled back on its own after some errors (disk full).
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _fact(self, name: str) -> str:
        return str(self._value("SELECT value FROM facts WHERE name=?", (name,)))

    def _value(self, query: str, parameters: tuple[str, ...] = ()) -> Any:
        row = self._connection.execute(query, parameters).fetchone()
        return row[0] if row else None


def _key(row: Row) -> tuple[str, str]:
    return row.namespace, row.name
