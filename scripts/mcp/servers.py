#!/usr/bin/env python3
"""Official MCP servers as a person would use them: added, tested, and called by a turn, over both transports.

    servers.py STERNA BIN     BIN: the folder with the servers' programs

Prints a line for each expectation, and exits 1 when one does not hold. Servers that speak over their streams only are reached
over HTTP through supergateway.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

STERNA, BIN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
PROTOCOL = "2025-11-25"
# In seconds: a program of Node.js on a busy machine.
PATIENCE = 60

wrong = []


def expect(what, found, wanted):
    holds = wanted(found) if callable(wanted) else found == wanted
    print(f"  {'ok' if holds else 'WRONG'}  {what}" + ("" if holds else f": {found!r}"), flush=True)
    if not holds:
        wrong.append(what)


def has(part):
    return lambda found: part in (found or "")


def servers(work):
    """Name, arguments, environment, how many tools, and calls: tool, arguments, what the answer holds."""
    made = str(work / "made.txt")
    ann = [{"name": "Ann", "entityType": "person", "observations": ["reads"]}]
    return {
        "everything": (["stdio"], {}, 16, [
            ("echo", {"message": "hi"}, "Echo: hi"),
            ("get-sum", {"a": 2, "b": 3}, "The sum of 2 and 3 is 5."),
            ("trigger-long-running-operation", {"duration": 1, "steps": 4}, "Long running operation completed"),
            ("get-structured-content", {"location": "New York"}, "temperature"),
        ]),
        "filesystem": ([str(work)], {}, 14, [
            ("write_file", {"path": made, "content": "made by a server"}, "Successfully wrote"),
            ("read_text_file", {"path": made}, "made by a server"),
            ("list_directory", {"path": str(work)}, "[FILE] made.txt"),
            ("read_text_file", {"path": "/etc/passwd"}, None),
        ]),
        "memory": ([], {"MEMORY_FILE_PATH": str(work / "memory.jsonl")}, 9, [
            ("create_entities", {"entities": ann}, "Ann"),
            ("search_nodes", {"query": "reads"}, "Ann"),
            ("delete_entities", {"entityNames": ["Ann"]}, "deleted"),
            ("read_graph", {}, '"entities": []'),
        ]),
    }


class World:
    def __init__(self, folder):
        self.work = folder / "work"
        self.work.mkdir()
        self.env = {**os.environ, "STERNA_HOME": str(folder / "home")}
        self.bridges = []

    def sterna(self, *args):
        return subprocess.run([STERNA, *args], cwd=self.work, env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE * 2)

    def bridge(self, name, args, env, port):
        """The server over HTTP on this port."""
        program = f"mcp-server-{name}"
        if name == "everything":
            command = [BIN / program, "streamableHttp"]
        else:
            spoken = " ".join([str(BIN / program), *args])
            command = [BIN / "supergateway", "--stdio", spoken, "--outputTransport", "streamableHttp", "--stateful",
                       "--port", str(port), "--logLevel", "none"]
        log = open(self.work.parent / f"{name}.log", "w", encoding="utf-8")
        child = subprocess.Popen(command, env={**self.env, **env, "PORT": str(port)}, cwd=self.work, stdout=log,
                                 stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.bridges.append(child)
        return lambda: until(lambda: has_ended(child) or reachable(port))

    def turn(self, calls):
        """Has a turn make these calls, one a step; gives the status and the answer of each."""
        steps = [{"calls": [{"name": name, "arguments": arguments}]} for name, arguments in calls]
        script = self.work.parent / "script.jsonl"
        script.write_text("".join(json.dumps(step) + "\n" for step in [*steps, {"text": "done"}]))
        run = self.sterna("run", "-m", f"scripted:{script}", "--allow", "mcp__*", "--allow", "mcp_resources", "--json", "go")
        events = [json.loads(line) for line in run.stdout.splitlines()]
        ended = [(event["status"], event.get("output", "")) for event in events if event["type"] == "tool.ended"]
        return run, ended

    def end(self):
        for bridge in self.bridges:
            tell(bridge, signal.SIGTERM)
        gone = until(lambda: all(map(has_ended, self.bridges)))
        expect("the bridges end when they are told to", gone, True)


def tell(bridge, what):
    """Sends a signal to a bridge and what it started, also where the bridge itself has ended. It is not reaped yet: its number
    is nobody else's."""
    os.killpg(bridge.pid, what)


def has_ended(bridge):
    """Whether it has, without reaping it."""
    return os.waitid(os.P_PID, bridge.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def reachable(port):
    with socket.socket() as to:
        return to.connect_ex(("127.0.0.1", port)) == 0


def until(holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def running(folder):
    """Command lines of processes that have to do with the folder."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line or (str(BIN) in line and "servers.py" not in line):
            found.append(line)
    return found


def check(world, folder):
    all_servers = servers(world.work)
    waits = []
    for name, (args, env, _, _) in all_servers.items():
        own = [word for pair in env.items() for word in ("--env", "=".join(pair))]
        world.sterna("mcp", "add", name, *own, "--", str(BIN / f"mcp-server-{name}"), *args)
        port = free_port()
        waits.append(world.bridge(name, args, env, port))
        world.sterna("mcp", "add", f"{name}-http", "--url", f"http://127.0.0.1:{port}/mcp")
    for wait in waits:
        wait()
    tested = world.sterna("mcp", "test", "--json")
    rows = {row["name"]: row for row in map(json.loads, tested.stdout.splitlines())}
    print(f"mcp test ({len(rows)} servers)")
    expect("exit", (tested.returncode, tested.stderr if tested.returncode else ""), (0, ""))
    for name, (_, _, tools, calls) in all_servers.items():
        for over in (name, f"{name}-http"):
            print(over)
            row = rows.get(over, {})
            found = (row.get("state"), row.get("protocol"), row.get("tools"), row.get("error"))
            expect("connected, with its tools", found, ("connected", PROTOCOL, tools, None))
            run, ended = world.turn([(f"mcp__{over}__{tool}", arguments) for tool, arguments, _ in calls])
            expect("the turn's exit", (run.returncode, run.stderr if run.returncode else ""), (0, ""))
            expect("answers", len(ended), len(calls))
            for (tool, _, wanted), (status, said) in zip(calls, ended):
                if wanted is None:
                    expect(f"{tool} is refused", (status, said), lambda found: found[0] != "ok" and "denied" in found[1])
                else:
                    expect(tool, said if status == "ok" else f"{status}: {said}", has(wanted))
    print("resources and prompts")
    _, ended = world.turn([("mcp_resources", {"server": "everything"}),
                           ("mcp_resources", {"server": "everything-http",
                                              "uri": "demo://resource/static/document/features.md"})])
    expect("a list", ended[0] if ended else None, lambda found: found and found[0] == "ok" and "demo://" in found[1])
    expect("a document", ended[1:], lambda found: found and found[0][0] == "ok" and "#" in found[0][1])
    prompts = world.sterna("mcp", "prompt", "everything-http")
    expect("prompts", (prompts.returncode, len(prompts.stdout.splitlines())), (0, 4))
    filled = world.sterna("mcp", "prompt", "everything", "args-prompt", "city=Paris")
    expect("a prompt is filled in", filled.stdout, has("Paris"))
    world.end()
    expect("nothing is left running", until(lambda: not running(folder)) or running(folder), True)


with tempfile.TemporaryDirectory(prefix="mcp-servers-", dir=BIN.parents[1]) as held:
    made = World(pathlib.Path(held))
    try:
        check(made, held)
    finally:
        for child in made.bridges:
            tell(child, signal.SIGKILL)
            child.wait()
if wrong:
    sys.exit(f"{len(wrong)} expectations do not hold")
