"""What compare.py tells of its pairs: the table, the differences, and what went wrongly over the wire."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Marks = tuple[str, str]
SINGLE = "<!-- compare.py writes from here -->", "<!-- to here -->"
TOGETHER = "<!-- compare.py --together writes from here -->", "<!-- together to here -->"
SHOWN = 400  # characters of a value in a difference


def cell(pair: Any) -> str:
    text = "; ".join(pair.failures) if pair.failures else f"ok ({pair.passed})"
    return f"{text} ⇄" if pair.bridged else text


def table(found: list[Any]) -> str:
    return render({(pair.client, pair.kind): cell(pair) for pair in found})


def render(cells: dict[tuple[str, str], str]) -> str:
    clients, kinds = (list(dict.fromkeys(where[part] for where in cells)) for part in (0, 1))
    lines = [f"| client | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    lines += [f"| {client} | {' | '.join(cells.get((client, kind), '') for kind in kinds)} |" for client in clients]
    return "\n".join(lines)


def write(document: Path, text: str, part: bool, marks: Marks = SINGLE) -> None:
    """A run of a part of the pairs renews their cells alone."""
    before, inside, after = parts(document, marks)
    if part and inside.strip():
        text = render(cells(inside) | cells(text))
    document.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")


def as_expected(document: Path, text: str, marks: Marks = SINGLE) -> bool:
    """Whether the document has the table of this run; a run of a part of the pairs is compared by its cells."""
    told, measured = cells(parts(document, marks)[1]), cells(text)
    wrong = [(where, told.get(where), now) for where, now in measured.items() if told.get(where) != now]
    for (client, kind), before, now in wrong:
        print(f"- {client} with {kind}: {document.name} has `{before}`, this run `{now}`")
    if wrong:
        print(f"\nthe table is not that of {document}: a cell is worse, or `--table {document}` has not been run")
    return not wrong


def parts(document: Path, marks: Marks) -> tuple[str, str, str]:
    before, begin, rest = document.read_text().partition(marks[0])
    inside, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise SystemExit(f"{document} has no place for the table, between {marks[0]} and {marks[1]}")
    return before, inside, after


def cells(text: str) -> dict[tuple[str, str], str]:
    rows = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in text.strip().splitlines()]
    header, _rule, *rest = rows
    return {(row[0], kind): one for row in rest for kind, one in zip(header[1:], row[1:]) if one}


def failures(found: list[Any]) -> None:
    for pair in found:
        if not pair.failures:
            continue
        print(f"\n## {pair.client} with {pair.kind}" + (f", compared with {pair.twin}" if pair.bridged else ""))
        for check, lines in pair.failures.items():
            print(f"\n- {check}")
            for line in lines[:12]:
                print(f"    {line}")
            if len(lines) > 12:
                print(f"    … and {len(lines) - 12} more")
        for way, text in pair.stderr.items():
            if text.strip() and (way != "direct" or len(pair.stderr) == 1):
                print(f"\n  stderr ({way}), its end:\n" + "\n".join(f"    {line}" for line in text.splitlines()[-12:]))


def worse(parts: list[Any]) -> None:
    """Of clients that ran together: what came out worse than directly."""
    for part in parts:
        if not part.differences:
            continue
        print(f"\n## {part.client} with {part.kind}")
        for check, lines in part.differences.items():
            print(f"\n- {check}" + (" (as the era of the caller has it)" if check in part.by_era else ""))
            for line in lines[:8]:
                print(f"    {line}")
            if len(lines) > 8:
                print(f"    … and {len(lines) - 8} more")
        if part.stderr.strip():
            print("\n  stderr, its end:\n" + "\n".join(f"    {line}" for line in part.stderr.splitlines()[-6:]))


def wire(found: list[Any], violations: Path) -> None:
    """How many lines were judged; those that were invalid, all of them, into a file."""
    lines, peers = (sum(getattr(pair.wire, key) for pair in found) for key in ("lines", "peers"))
    wrong = [f"{pair.name}: {one}" for pair in found for one in pair.wire.violations]
    violations.unlink(missing_ok=True)
    if lines:
        print(f"\n{lines} lines that mcpool sent: {peers} with a peer's own flaw, {len(wrong)} that mcpool made invalid")
    if wrong:
        violations.parent.mkdir(parents=True, exist_ok=True)
        violations.write_text("\n".join(wrong) + "\n")
        print(f"all of them in {violations}")


def differences(direct: Any, through: Any, at: str = "") -> Iterator[str]:
    """The places where two JSON values differ, as lines to read."""
    if isinstance(direct, dict) and isinstance(through, dict):
        for key in direct | through:
            yield from differences(direct.get(key, "<absent>"), through.get(key, "<absent>"), f"{at}/{key}")
    elif isinstance(direct, list) and isinstance(through, list) and len(direct) == len(through):
        for index, (one, other) in enumerate(zip(direct, through)):
            yield from differences(one, other, f"{at}/{index}")
    elif direct != through or type(direct) is not type(through):
        yield f"{at or '/'}\n      direct:  {shown(direct)}\n      through: {shown(through)}"


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
