"""`shieldwall rules test|create|apply`: rules in files, for detections kept as code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.tree import Tree

from shieldwall.cli.rules_client import PATH, RulesClient
from shieldwall.detection.rules.files import FileProblem, RuleFile, read_folder
from shieldwall.detection.rules.reading import written

AT_ONCE = 100

console = Console(highlight=False, soft_wrap=True)

Where = Annotated[Path, typer.Argument(metavar="PATH", help="A YAML file of rules, or a folder of them.")]


def try_examples(
    path: Where,
    every: Annotated[
        bool, typer.Option("--all", help="Also list the examples that did as they should.")
    ] = False,
) -> None:
    """Try each rule on its own examples: those under `matches` must fire, those under `ignores` must not.

    Runs on an engine of its own; no server is needed. Exits with 1 where anything is not as it should be.

    Example: shieldwall rules test detections/
    """
    from shieldwall.detection.rules.examples import Tried, scratch_store, try_rules

    rules, problems = _read(path)
    tried: list[Tried] = []
    total = sum(len(item.matches) + len(item.ignores) for item in rules)
    with _progress() as progress, scratch_store() as store:
        task = progress.add_task("trying examples", total=total)
        for item in try_rules(store, rules):
            tried.append(item)
            progress.advance(task)
    tree = Tree(f"[bold]{escape(str(path))}[/]")
    for rule in rules:
        _draw(tree, rule, [item for item in tried if item.rule is rule], every)
    for problem in problems:
        tree.add(f"[red]✗ {_plain(str(problem))}[/]")
    console.print(tree)
    bad = sum(not item.good for item in tried)
    console.print(
        f"{len(rules)} rules, {len(tried)} examples: "
        f"{len(tried) - bad} as they should be, {bad} not; {len(problems)} mistakes in files"
    )
    if bad or problems or not rules:
        raise typer.Exit(1)


def create(path: Where) -> None:
    """Create the rules of a file on the server; those that are there already are refused.

    Example: shieldwall rules create detections/netcat.yaml
    """
    rules = _good(path)
    client = RulesClient()
    present = {item["id"] for item in client.get(PATH)["value"]}
    if there := [item for item in rules if item.rule.id in present]:
        raise typer.BadParameter(f"{there[0].rule.name!r} is there already; use `shieldwall rules apply`")
    _send(client, rules)


def apply(
    path: Where,
    prune: Annotated[bool, typer.Option(help="Delete custom rules that no file has.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Read the files and change nothing.")] = False,
) -> None:
    """Bring the server's rules in step with a folder. What a file does not say stays as it was decided.

    Example: shieldwall rules apply detections/ --prune
    """
    rules = _good(path)
    if check:
        console.print(f"{len(rules)} rules can be applied")
        return
    client = RulesClient()
    present = client.get(PATH, source="Custom")["value"]
    _send(client, rules)
    if prune:
        kept = {item.rule.id for item in rules}
        for rule in present:
            if rule["id"] not in kept:
                client.delete(f"{PATH}/{rule['id']}")
                console.print(f"deleted {_plain(rule['name'])}")


def _send(client: RulesClient, rules: list[RuleFile]) -> None:
    """Import rules, and tell what became of each; exits with 1 where one was refused."""
    results: list[dict[str, Any]] = []
    with _progress() as progress:
        task = progress.add_task("sending", total=len(rules))
        for start in range(0, len(rules), AT_ONCE):
            part = rules[start : start + AT_ONCE]
            body = {"rules": [written(item.rule, item.decision) for item in part]}
            results += client.post(f"{PATH}/import", body)["value"]
            progress.advance(task, len(part))
    table = Table("rule", "outcome", "reason")
    for result in results:
        if result["outcome"] != "unchanged":
            table.add_row(_plain(result["name"] or ""), result["outcome"], _plain(result["reason"] or ""))
    if table.row_count:
        console.print(table)
    counts = Counter(result["outcome"] for result in results)
    console.print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    if counts["refused"]:
        raise typer.Exit(1)


def _draw(tree: Tree, rule: RuleFile, tried: list[Any], every: bool) -> None:
    wrong = [item for item in tried if not item.good]
    mark = "[red]✗[/]" if wrong else "[yellow]?[/]" if not (rule.matches and rule.ignores) else "[green]✓[/]"
    note = "" if rule.matches and rule.ignores else " [yellow](has no examples of both kinds)[/]"
    if not wrong and not every and not note:
        return
    branch = tree.add(f"{mark} {_plain(rule.rule.name)} [dim]{_plain(rule.path)}:{rule.line}[/]{note}")
    for item in tried if every else wrong:
        if item.error:
            said = f"[red]could not be tried: {_plain(item.error)}[/]"
        elif item.good:
            said = f"[green]{item.rows} rows[/]"
        else:
            said = "[red]does not fire[/]" if item.kind == "matches" else f"[red]fires ({item.rows} rows)[/]"
        branch.add(f"{item.kind} {item.number}: {said}")


def _read(path: Path) -> tuple[list[RuleFile], list[FileProblem]]:
    if not path.exists():
        raise typer.BadParameter(f"there is no {path}")
    return read_folder(path)


def _good(path: Path) -> list[RuleFile]:
    """The rules of a path, all of which can be read."""
    rules, problems = _read(path)
    for problem in problems:
        console.print(f"[red]{_plain(str(problem))}[/]")
    if problems or not rules:
        console.print(f"{path}: {len(problems)} mistakes, {len(rules)} good rules; nothing was changed")
        raise typer.Exit(1)
    return rules


def _plain(text: str) -> str:
    return escape("".join(letter if letter.isprintable() else "·" for letter in text))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
