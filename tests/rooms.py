"""The import-linter contract "rooms": one table, a row for each room and what it may import.

A row reads `room room: known known`. A row may name only rooms of the rows above it, so that
arrows point down and rooms of one row know nothing of each other; `*` stands for all of them.
Every import is judged, also those inside functions and under TYPE_CHECKING. A module of the
package that stands on no row breaks the contract; a row for a module yet to come does not.
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class RoomsContract(Contract):
    """See the module; `rooms` is the table."""

    type_name = "rooms"
    rooms = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        package = self.session_options["root_packages"][0]
        known, faults = read_table(self.contract_options["rooms"])
        for child in sorted(graph.find_children(package)):
            room = child.removeprefix(f"{package}.")
            if room not in known:
                faults.append(f"{child} stands on no row: give it one in .importlinter")
                continue
            for importer in sorted({child, *graph.find_descendants(child)}):
                for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                    other = imported.removeprefix(f"{package}.").partition(".")[0]
                    if imported.startswith(f"{package}.") and other != room and other not in known[room]:
                        faults.append(f"{importer} imports {imported}: {room} may not know {other}")
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault, bold=False)


def read_table(rows: list[str]) -> tuple[dict[str, set[str]], list[str]]:
    """What each room may know, and what is wrong with the table itself."""
    known: dict[str, set[str]] = {}
    faults = []
    for row in rows:
        left, _, right = row.partition(":")
        allowed = set(known) if right.split() == ["*"] else set(right.split())
        faults += [f"row {row!r} names {name}, which stands on no row above" for name in allowed - set(known)]
        for room in left.split():
            if room in known:
                faults.append(f"{room} stands on two rows")
        known |= dict.fromkeys(left.split(), allowed)
    return known, faults
