"""`paragone plugins`: what can be named on the command line, and which package brought it."""

from __future__ import annotations

import importlib

import click

TABLES = (
    "paragone.data.generators.table:GENERATORS",
    "paragone.metrics.extractors.table:EXTRACTORS",
    "paragone.metrics.catalogue:METRICS",
    "paragone.judges.table:JUDGES",
    "paragone.data.safety:CLASSIFIERS",
    "paragone.data.ocr:READERS",
)


@click.command()
@click.option("--check", is_flag=True, help="Import every plug-in; exit 2 when one is broken.")
@click.option("--json", "json_target", metavar="FILE|-", help="Write the table as JSON to FILE, or to stdout with -.")
def plugins(check: bool, json_target: str | None) -> None:
    """List generators, extractors, metrics and judges, built in or installed."""
    from rich.markup import escape
    from rich.table import Table

    from paragone.cli.output import stdout, write_json
    from paragone.data.errors import PluginError

    rows: list[dict[str, str | None]] = []
    broken: list[str] = []
    for path in TABLES:
        module, _, attribute = path.partition(":")
        registry = getattr(importlib.import_module(module), attribute)
        for plugin in registry.plugins().values():
            row = {
                "group": registry.group,
                "name": plugin.name,
                "package": plugin.distribution,
                "target": plugin.target,
            }
            row["target"] = plugin.target
            if check:
                row["error"] = error = plugin.error()
                broken += [error] if error else []
            rows.append(row)
    if json_target:
        write_json({"schema": "paragone.plugins/1", "plugins": rows}, json_target)
    if json_target != "-":
        columns = ("group", "name", "package", *(["error"] if check else []))
        table = Table(*columns, box=None)
        for row in rows:
            table.add_row(*(escape(row[column] or "") for column in columns))
        stdout.print(table)
    if broken:
        raise PluginError("; ".join(broken))
