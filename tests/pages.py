"""The documentation as data: tables, code blocks, headings, links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Table:
    """Cells as they are written; ``rows`` are below the ``header``."""

    header: list[str]
    rows: list[list[str]]

    def column(self, number: int = 0) -> list[str]:
        return [row[number] for row in self.rows]


def read(name: str) -> str:
    """A page of docs/, or another file by its path from the project's directory."""
    path = DOCS / name
    return (path if path.exists() else ROOT / name).read_text()


def tables(page: str) -> list[Table]:
    """The tables of a page's text, in order."""
    found: list[Table] = []
    lines: list[str] = []
    for line in [*page.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
        elif lines:
            cells = [[cell.strip() for cell in row[1:].rstrip("|").split(" |")] for row in lines]
            found.append(Table(cells[0], cells[2:]))
            lines = []
    return found


def table(page: str, *header: str) -> Table:
    """The one table whose header begins with these cells."""
    found = [one for one in tables(page) if one.header[: len(header)] == list(header)]
    assert len(found) == 1, f"{len(found)} tables with the header {header}"
    return found[0]


def blocks(page: str, language: str) -> list[str]:
    """The contents of the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def code(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def links(page: str) -> list[str]:
    """Targets of the links in a page, code blocks left out."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE))


def anchors(page: str) -> set[str]:
    """What `#...` may point at: the headings, as GitHub names them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
