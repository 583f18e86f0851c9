"""`just clients`: do published coding agents get through a tool call on this server?

Each agent is installed from npm at a pinned version, started without a terminal in a folder with a note,
and told to show the note with a shell command. Between it and the real server sits a proxy that keeps the
conversation, and that forces the call where the model is too weak to make it (`--free` leaves the model
alone). An agent passes when each of its requests was answered with 200, the call is valid for the schema that
it sent, its next request carries what the command printed, and it ends with status 0.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import psutil

from tests.clients.agents import AGENTS, CONTEXT, FILE, SECRET, Agent, Place, environment
from tests.clients.between import Between, Exchange
from tests.clients.calls import DIALECTS, Call, is_named, schema_of
from tests.scripted_native import serving
from tests.support import npm, smollm2

LONGEST_S = 900


@dataclass
class Outcome:
    agent: Agent
    status: int | None
    """Of the process; None when it ran too long."""
    seconds: float
    exchanges: list[Exchange]
    said: str
    problems: list[str] = field(default_factory=list[str])

    def line(self) -> str:
        sizes = max((exchange.size for exchange in self.exchanges), default=0)
        path = self.exchanges[0].path if self.exchanges else "-"
        verdict = "; ".join(self.problems) or "passed"
        return (
            f"{self.agent.name:12} {self.agent.version:9} {path:21} {len(self.exchanges)} requests, "
            f"{sizes / 1000:.0f} kB, {self.seconds:.0f} s: {verdict}"
        )


def main() -> None:
    options = arguments()
    # Ends the server and the agents too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    chosen = [agent for agent in AGENTS if not options.only or agent.name in options.only]
    programs = {agent.name: install(agent) for agent in chosen}
    models = options.models or smollm2.models_folder()
    settings = {"AGENTKIT_CONTEXT_LENGTH": str(CONTEXT), "AGENTKIT_NUM_PARALLEL": "1"}
    with smollm2.serving(models, **settings) as server:
        outcomes = [tried(agent, programs[agent.name], server, options) for agent in chosen]
    print("\n".join(outcome.line() for outcome in outcomes))
    sys.exit(any(outcome.problems for outcome in outcomes))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.clients", description=__doc__)
    names = [agent.name for agent in AGENTS]
    parser.add_argument(
        "--only", nargs="*", choices=names, metavar="AGENT", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument(
        "--models", type=Path, help="models folder; without it one with smollm2 in the cache folder"
    )
    parser.add_argument(
        "--free", action="store_true", help="force nothing: the model has to make the call itself"
    )
    parser.add_argument(
        "--show", action="store_true", help="print what the agents printed, and what they were sent"
    )
    return parser.parse_args()


def install(agent: Agent) -> Path:
    """The folder of its programs."""
    package = f"{agent.package}@{agent.version}"
    print(f"{package}: installing takes minutes, the first time", flush=True)
    try:
        return npm.installed(package) / "node_modules" / ".bin"
    except npm.NotInstalled as error:
        raise SystemExit(f"clients: {error}") from None


def tried(agent: Agent, programs: Path, server: str, options: argparse.Namespace) -> Outcome:
    print(f"{agent.name} …", flush=True)
    between = Between(server, None if options.free else agent.tools)
    # Clients leave half-written files behind: those may not keep this from ending.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, serving(between.app) as url:
        home, work = Path(folder) / "home", Path(folder) / "work"
        home.mkdir()
        work.mkdir()
        (work / FILE).write_text(f"The password is {SECRET}.\n")
        started = time.monotonic()
        status, said = run(agent, Place(url, options.model, home, work, programs))
        outcome = Outcome(agent, status, time.monotonic() - started, between.exchanges, said)
    judge(outcome)
    if options.show or outcome.problems:
        show(outcome)
    return outcome


def run(agent: Agent, place: Place) -> tuple[int | None, str]:
    """Exit status, None when it ran too long, and all that was printed. What the agent started is ended."""
    program, *rest = agent.command(place)
    with (place.home / "said").open("w+") as said:
        try:
            status = subprocess.run(
                [place.programs / program, *rest],
                env=environment(agent, place),
                cwd=place.work,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                check=False,
                timeout=LONGEST_S,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(place.home)
        said.seek(0)
        return status, said.read()


def end(home: Path) -> None:
    """Kill every process whose home folder is `home`: daemons do not stay children."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(home):
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def judge(outcome: Outcome) -> None:
    """Say in `problems` what was not as it should be."""
    problems, exchanges = outcome.problems, outcome.exchanges
    refused = [exchange for exchange in exchanges if exchange.status != 200]
    problems += [f"{each.path} answered {each.status}: {bytes(each.answer[:300])!r}" for each in refused]
    calls = [(exchange, call) for exchange in exchanges for call in calls_of(exchange)]
    if not calls:
        problems.append("no tool was called")
    problems += [words for exchange, call in calls if (words := objection(exchange, call))]
    results = [exchange for exchange in exchanges if SECRET in json.dumps(exchange.asked)]
    if calls and not results:
        problems.append("no request carries what the command printed")
    if outcome.status != 0:
        problems.append("ran too long" if outcome.status is None else f"ended with status {outcome.status}")


def calls_of(exchange: Exchange) -> list[Call]:
    dialect = next(each for each in DIALECTS if each.path == exchange.path)
    return dialect.calls(bytes(exchange.answer)) if exchange.status == 200 else []


def objection(exchange: Exchange, call: Call) -> str:
    """What the client's own schema has against `call`."""
    tools = [tool for tool in exchange.asked.get("tools", ()) if is_named(tool, call.name)]
    if not tools:
        return f"{call.name!r} was called, which was not offered"
    try:
        jsonschema.validate(json.loads(call.arguments), schema_of(tools[0]))
    except (jsonschema.ValidationError, ValueError) as error:
        return f"{call.name}({call.arguments}) is not what the client can take: {str(error).splitlines()[0]}"
    return ""


def show(outcome: Outcome) -> None:
    print(f"--- {outcome.agent.name} printed\n{outcome.said[-4000:]}")
    for exchange in outcome.exchanges:
        names = [
            (tool.get("function") or tool).get("name", tool.get("type"))
            for tool in exchange.asked.get("tools") or ()
        ]
        forced = ", forced" if exchange.forced else ""
        print(f"--- {exchange.path}, {exchange.size} bytes, tools {names}{forced}: {exchange.status}")
        print(bytes(exchange.answer[-1500:]).decode("utf-8", "replace"))


if __name__ == "__main__":
    main()
