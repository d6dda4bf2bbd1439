"""The command line's root: a table of commands, each imported only when it is used, and the one place where errors end.

`paragone --help` reads nothing but this table, so it answers in a fraction of a second. Every `ParagoneError` becomes
one line on stderr and its own exit code; results go to stdout, progress and logs to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from paragone.data.errors import ParagoneError

COMMANDS = {
    "demo": ("paragone.cli.demo:demo", "Run the whole loop on real digits, offline: train, measure, judge, rank."),
    "metrics": (
        "paragone.cli.metrics:metrics",
        "Compare generated images or clips with a reference: FD, KID, FVD, precision, recall …",
    ),
    "compare": (
        "paragone.cli.compare:compare",
        "Compare two results files, or two generated sets against one reference.",
    ),
    "check": (
        "paragone.cli.check:check",
        "Say whether a new checkpoint is worse than the blessed one, and exit accordingly.",
    ),
    "plan": ("paragone.cli.plan:plan", "Say how many samples or votes it takes to detect an effect."),
    "stats": ("paragone.cli.stats:stats", "Make, merge and show feature statistics files."),
    "rate": ("paragone.cli.rate:rate", "Turn a file of pairwise votes into ratings with intervals."),
    "leaderboard": ("paragone.cli.leaderboard:leaderboard", "Print the leaderboard of a project folder."),
    "generate": (
        "paragone.cli.generate:generate",
        "Let generators answer prompts; samples and how every request ended go into a project.",
    ),
    "judge": (
        "paragone.cli.judge:judge",
        "Let judges decide battles of a project folder, and audit a judge before its votes count.",
    ),
    "agreement": (
        "paragone.cli.agreement:agreement",
        "Say how well people and judges agree, with each other and with themselves.",
    ),
    "provenance": (
        "paragone.cli.provenance:provenance",
        "Say where pictures and clips come from, by their C2PA manifest, metadata and watermark.",
    ),
    "safety": (
        "paragone.cli.safety:safety",
        "Flag unsafe samples with a classifier, and count what models refuse.",
    ),
    "serve": ("paragone.cli.serve:serve", "Open the web UI: battle, leaderboard, gallery."),
    "import": (
        "paragone.cli.import_:import_",
        "Add an exported arena, a file of votes, or a model's results of metrics, to an arena.",
    ),
    "export": ("paragone.cli.export:export", "Write an arena to a new folder or zip, or its votes to a file."),
    "doctor": (
        "paragone.cli.doctor:doctor",
        "Check that an arena is whole: database, votes, kept ratings, files.",
    ),
    "weights": ("paragone.cli.weights:weights", "List the pretrained weights that paragone knows, and verify them."),
    "plugins": (
        "paragone.cli.plugins:plugins",
        "List generators, extractors, metrics and judges, built in or installed.",
    ),
}
INTERNAL_ERROR = 5
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="paragone", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Which generative model is better, how sure are we, and why.

    Start with `paragone demo`: it trains, measures, judges and ranks nine models on real digits, offline.
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 2 usage or bad input, 5 a defect of paragone or its surroundings, 130 Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    try:
        result = cli.main(args=arguments, prog_name="paragone", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except ParagoneError as error:
        code = _report(str(error), error.exit_code, debug=debug)
    except click.ClickException as error:
        hint = f" (see: {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        code = _report(error.format_message() + hint, 2, debug=debug)
    except (KeyboardInterrupt, click.Abort):
        code = _report("interrupted; what was finished is kept, the same command goes on from there", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {error} (run with `paragone --debug …` and report it)"
        code = _report(message, INTERNAL_ERROR, debug=debug)
    sys.exit(code)


def _report(message: str, code: int, *, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"paragone: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
