"""What `compare.py --together` found worse than directly, as docs/compatibility.md tells it: each loss with its reason. Neither may
have one that the other has not.

A row is `| check | servers | clients | why |`, for every pair of its servers and clients.
"""

import re
from pathlib import Path

import report

Loss = tuple[str, str, str]  # check, server, client
MARKS = "<!-- compare.py --together writes its losses from here; the reasons are yours -->", "<!-- the losses to here -->"
UNKNOWN = "?"


def told(document: Path) -> dict[Loss, str]:
    """Every loss in the document, and its reason."""
    found: dict[Loss, str] = {}
    for line in report.parts(document, MARKS)[1].strip().splitlines()[2:]:
        check, kinds, clients, why = re.split(r"\s*\|\s*", line.strip().strip("|").strip(), maxsplit=3)
        found |= {(check, kind, client): why for kind in kinds.split(", ") for client in clients.split(", ")}
    return found


def write(document: Path, lost: set[Loss], ran: set[tuple[str, str]]) -> None:
    """Puts the found losses into the document; reasons stay, a loss without one gets a `?`, which no run accepts."""
    before = told(document)
    kept = {loss: why for loss, why in before.items() if loss[1:] not in ran}
    before_section, _, after_section = report.parts(document, MARKS)
    now = kept | {loss: before.get(loss, UNKNOWN) for loss in sorted(lost)}
    text = "\n".join(["| check | servers | clients | why |", "|---|---|---|---|", *rows(now)])
    document.write_text(f"{before_section}{MARKS[0]}\n{text}\n{MARKS[1]}{after_section}")


def rows(losses: dict[Loss, str]) -> list[str]:
    clients: dict[tuple[str, str, str], list[str]] = {}
    for (check, kind, client), why in losses.items():
        clients.setdefault((check, why, kind), []).append(client)
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for (check, why, kind), some in clients.items():
        kinds.setdefault((check, why, ", ".join(sorted(some))), []).append(kind)
    return sorted(f"| {check} | {', '.join(sorted(some))} | {who} | {why} |" for (check, why, who), some in kinds.items())


def as_told(document: Path, lost: set[Loss], ran: set[tuple[str, str]]) -> bool:
    before = {loss: why for loss, why in told(document).items() if loss[1:] in ran}
    wrong = [f"{name(loss)} is worse, which {document.name} does not say" for loss in sorted(lost - before.keys())]
    wrong += [f"{name(loss)} is no longer worse, as {document.name} says" for loss in sorted(before.keys() - lost)]
    wrong += [f"{name(loss)} has no reason in {document.name}" for loss in sorted(lost & before.keys()) if before[loss] == UNKNOWN]
    for line in wrong:
        print(f"- {line}")
    return not wrong


def name(loss: Loss) -> str:
    check, kind, client = loss
    return f"`{check}` of {client} with {kind}"
