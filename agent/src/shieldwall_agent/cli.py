"""The command line: enrol, run, status, release, unrestrict, vault."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shieldwall_agent import __version__
from shieldwall_agent.config import DEFAULT_STATE, NotEnrolled, State
from shieldwall_agent.events import Sink

E_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed (the reason is on standard error), 2 wrong use."""
    options = _parser().parse_args(arguments)
    only = Path(options.only_under).resolve() if options.only_under else None
    state = State(Path(options.state).absolute(), options.isolate_netns, only)
    try:
        code: int = options.call(state, options)
    except (NotEnrolled, ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"shieldwall-agent: {error}\n")
        return 1
    return code


def _enrol(state: State, options: argparse.Namespace) -> int:
    # Loaded here because `run` needs none of it, and what the supervisor loads every process holds.
    from shieldwall_agent import enrolment

    token = options.token or (sys.stdin.readline().strip() if not sys.stdin.isatty() else "")
    if not token:
        sys.stderr.write("shieldwall-agent: give the enrolment token with --token or on standard input\n")
        return E_USAGE
    if options.ca:
        authority = Path(options.ca).read_text()
    else:
        authority = enrolment.authority_by_fingerprint(options.server, options.ca_fingerprint, options.proxy)
    made = enrolment.enrol(state, options.server, token, authority, options.proxy)
    sys.stdout.write(f"Enrolled with {made.server} as device {made.device_id}\n")
    return 0


def _run(state: State, options: argparse.Namespace) -> int:
    from shieldwall_agent.agent import run

    return run(state, ephemeral=options.ephemeral, log_level=options.log_level)


def _status(state: State, options: argparse.Namespace) -> int:
    from shieldwall_agent import status

    found = status.collect(state)
    if options.json:
        text = json.dumps(found, indent=2)
    elif options.brief:
        text = status.brief(found)
    else:
        text = status.render(found)
    sys.stdout.write(text + "\n")
    return 0 if found["running"] and (not options.brief or found["ready"]) else 1


def _release(state: State, options: argparse.Namespace) -> int:
    from shieldwall_agent.enforcement.isolation import release_local

    with _sink(state) as sink:
        released = release_local(state.folder, sink, state.isolate_netns)
    sys.stdout.write("The isolation has ended.\n" if released else "The device was not isolated.\n")
    return 0


def _unrestrict(state: State, options: argparse.Namespace) -> int:
    from shieldwall_agent.enforcement import restriction

    lifted = restriction.lift(state.folder)  # the gate looks every half second
    if lifted:
        with _sink(state) as sink:
            sink.emit(
                {
                    "Table": "DeviceEvents",
                    "ActionType": "AppExecutionUnrestricted",
                    "AdditionalFields": {"Detail": "local administrator"},
                }
            )
    sys.stdout.write("Everything may run again.\n" if lifted else "Execution was not restricted.\n")
    return 0


@contextmanager
def _sink(state: State) -> Iterator[Sink]:
    """Where this command's events go: to the running agent, else into the spool itself."""
    from shieldwall_agent import ipc
    from shieldwall_agent.remote_sink import RemoteSink
    from shieldwall_agent.spool import SpoolWriter

    try:
        ipc.connect(state.folder, ipc.EVENTS).close()
    except OSError:
        writer = SpoolWriter(state.spool)
        yield writer
        writer.close()
    else:
        sink = RemoteSink(state.folder, "command line")
        yield sink
        sink.flush(2.0)


def _vault_list(state: State, options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from shieldwall_agent.responses.vault import Vault

    items = Vault(state.folder / "vault").items()
    if options.json:
        sys.stdout.write(json.dumps([asdict(item) for item in items], indent=2, default=str) + "\n")
        return 0
    for item in items:
        sys.stdout.write(f"{item.id}  {item.quarantined}  {item.size:>10}  {item.path}\n")
    if not items:
        sys.stdout.write("The vault is empty.\n")
    return 0


def _vault_restore(state: State, options: argparse.Namespace) -> int:
    from shieldwall_agent.responses.quarantine import Quarantine, RunningImages
    from shieldwall_agent.responses.vault import Vault

    with _sink(state) as sink:
        path = Quarantine(Vault(state.folder / "vault"), RunningImages(), sink).restore(options.id)
    sys.stdout.write(f"Restored {path}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shieldwall-agent",
        description="The Shieldwall endpoint agent for Linux.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example:\n  shieldwall-agent status",
    )
    parser.add_argument("--version", action="version", version=f"shieldwall-agent {__version__}")
    default = os.environ.get("SHIELDWALL_AGENT_STATE", str(DEFAULT_STATE))
    parser.add_argument("--state", default=default, help=f"state folder (default: {default})")
    parser.add_argument(
        "--isolate-netns",
        metavar="NAME",
        help="let isolation cut off this network namespace instead of the machine; for trials",
    )
    parser.add_argument(
        "--only-under",
        metavar="FOLDER",
        help="scan, and restrict executions in, this folder only; for trials",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enrol = _command(
        commands,
        "enrol",
        _enrol,
        "make this machine a device of a server",
        "echo TOKEN | shieldwall-agent enrol --server https://edr.example.org:8443 --ca ca.pem\n"
        "  shieldwall-agent enrol --server https://edr.example.org --token TOKEN --ca-fingerprint 9f86d0...",
    )
    enrol.add_argument("--server", required=True, help="https://host[:port]")
    enrol.add_argument("--token", default="", help="enrolment token; read from standard input when not given")
    pinned = enrol.add_mutually_exclusive_group(required=True)
    pinned.add_argument("--ca", help="PEM file of the server's CA, which is pinned")
    pinned.add_argument("--ca-fingerprint", help="SHA-256 of a certificate in its chain, which is pinned")
    enrol.add_argument(
        "--proxy", default="", help="host:port of an HTTP proxy, for all of the agent's requests"
    )

    run = _command(
        commands,
        "run",
        _run,
        "watch this machine until stopped",
        "shieldwall-agent --state ./state run --ephemeral",
    )
    run.add_argument(
        "--ephemeral", action="store_true", help="at the end undo everything, isolation of the device too"
    )
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])

    status = _command(
        commands,
        "status",
        _status,
        "tell which sensors run, what they miss and what has been lost",
        "shieldwall-agent status --json | jq .sensors",
    )
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all of it, as JSON")
    form.add_argument("--brief", action="store_true", help="one line; fails until the sensors have started")

    release = _command(
        commands,
        "release",
        _release,
        "end the isolation of this device without the server (break glass)",
        "sudo shieldwall-agent release --local",
    )
    release.add_argument(
        "--local", action="store_true", required=True, help="say that you mean this device, now, yourself"
    )

    unrestrict = _command(
        commands,
        "unrestrict",
        _unrestrict,
        "let everything run again on this device without the server (break glass)",
        "sudo shieldwall-agent unrestrict --local",
    )
    unrestrict.add_argument(
        "--local", action="store_true", required=True, help="say that you mean this device, now, yourself"
    )

    example = "sudo shieldwall-agent vault list\n  sudo shieldwall-agent vault restore 3f2a..."
    vault = _command(commands, "vault", None, "see and restore what was quarantined", example)
    actions = vault.add_subparsers(required=True, metavar="ACTION")
    listed = _command(
        actions, "list", _vault_list, "list the quarantined files", "sudo shieldwall-agent vault list"
    )
    listed.add_argument("--json", action="store_true", help="all that is known of each")
    restored = _command(actions, "restore", _vault_restore, "put a file back where it was", example)
    restored.add_argument("id", help="as `vault list` shows it")
    return parser


def _command(commands: Any, name: str, call: Any, description: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=description,
        description=description[0].upper() + description[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Example:\n  {example}",
    )
    parser.add_argument("--state", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(call=call)
    return parser
