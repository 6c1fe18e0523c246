"""The import-linter contract "rooms", which holds every import to the table in gateway/README.md.

The table is the block between "```rooms" and "```"; each row is a room and the rooms that it may import,
`wire: errors chain`. A row names only rooms of the rows above it, so imports point down; `*` stands for all
of those. Every import counts, also one inside a function or under TYPE_CHECKING. What breaks the contract:
an import that the importer's row does not name; a room or module of the package without a row (a row for a
room yet to come is fine); a faulty table; more than MOST_FLOORS floors; a circle of modules.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

MOST_FLOORS = 9


class RoomsContract(Contract):
    """`table`: the document that has the table, a path from where lint-imports runs."""

    type_name = "rooms"
    table = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        package = self.session_options["root_packages"][0]
        path = Path(self.contract_options["table"])
        known, faults = read_table(path.read_text("utf-8") if path.exists() else "", str(path))
        if not faults:
            faults = [*_strange_imports(graph, package, known, str(path)), *_circles(graph)]
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault, bold=False)


def read_table(document: str, name: str) -> tuple[dict[str, set[str]], list[str]]:
    """What each room may import, and what is wrong with the table of the document called `name`."""
    block = re.search(r"^```rooms\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    if block is None:
        return {}, [
            f'{name} has no table of rooms: a block of rows such as "wire: errors chain" after "```rooms"'
        ]
    known: dict[str, set[str]] = {}
    faults = []
    for row in filter(None, map(str.strip, block[1].splitlines())):
        room, colon, right = row.partition(":")
        if not colon or len(room.split()) != 1:
            faults.append(
                f'row {row!r} of {name} is invalid: expected a room, a colon and rooms, "wire: errors chain"'
            )
            continue
        allowed = set(known) if right.split() == ["*"] else set(right.split())
        faults += [
            f"row {row!r} of {name} names {other}, which has no row above"
            for other in sorted(allowed - set(known))
        ]
        if room in known:
            faults.append(f"{room} has two rows in {name}")
        known[room] = allowed & set(known)
    height = max(floors(known).values(), default=0)
    if height > MOST_FLOORS:
        faults.append(f"{name} has {height} floors: expected at most {MOST_FLOORS}")
    return known, faults


def floors(known: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: 1 above the highest room that it may import, 1 where it may import none."""
    found: dict[str, int] = {}
    for room, allowed in known.items():
        found[room] = 1 + max((found[other] for other in allowed), default=0)
    return found


def _strange_imports(graph: ImportGraph, package: str, known: dict[str, set[str]], table: str) -> list[str]:
    faults = []
    for child in sorted(graph.find_children(package)):
        room = child.removeprefix(f"{package}.")
        if room not in known:
            faults.append(f"{child} has no row in {table}")
            continue
        for importer in sorted({child, *graph.find_descendants(child)}):
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                other = imported.removeprefix(f"{package}.").partition(".")[0]
                if imported.startswith(f"{package}.") and other != room and other not in known[room]:
                    faults.append(f"{importer} imports {imported}: {room} may not import {other}")
    return faults


def _circles(graph: ImportGraph) -> list[str]:
    imports = {
        module: sorted(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' imports '.join(reversed(error.args[1]))}"]
    return []
