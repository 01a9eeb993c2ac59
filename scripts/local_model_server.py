#!/usr/bin/env python3
"""Serves one GGUF model over HTTP on 127.0.0.1, for `sterna run --model local`.

The server itself is llama.cpp's own (`xllamacpp.Server`); this file chooses
its settings and ties its life to whoever started it.

Contract with the caller
  * stdout carries exactly one line of JSON, then stays silent:
      {"ready":true,"port":N,"model":"NAME","ctx":N,"threads":N,"pid":N}
    or, where the model could not be served, and then the exit status is 1:
      {"ready":false,"error":"..."}
    Everything else (llama.cpp's log too) goes to stderr.
  * It ends as soon as its stdin reaches EOF, so that it cannot outlive a caller
    who was killed; `--detach` turns that off. With `--parent-pid N` it ends
    when process N is gone. SIGTERM and SIGINT end it at once.
  * STERNA_LOCAL_MODEL_API_KEY, if set, must be sent by clients as a bearer token.

Run it with the Python of the environment that `local-model install` made.
"""

import argparse
import json
import os
import select
import signal
import socket
import time
import urllib.error
import urllib.request

HEALTH_SECONDS = 30.0
PARENT_POLL_SECONDS = 0.5


def parse_args():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(
        description="Serve one GGUF model on 127.0.0.1 over an OpenAI-compatible API."
    )
    parser.add_argument("--model", required=True, metavar="FILE", help="the GGUF file")
    parser.add_argument("--port", type=int, default=0, metavar="N",
                        help="0 (the default) takes a free port")
    parser.add_argument("--threads", type=int, default=0, metavar="N",
                        help="0 (the default) chooses by the machine's cores")
    parser.add_argument("--ctx", type=int, default=8192, metavar="N",
                        help="context window in tokens (default 8192)")
    parser.add_argument("--parent-pid", type=int, default=0, metavar="PID",
                        help="end when this process is gone")
    parser.add_argument("--template", metavar="FILE",
                        default=os.path.join(here, "local_model_template.jinja"),
                        help="the chat template; 'builtin' takes the model's own")
    parser.add_argument("--detach", action="store_true",
                        help="do not end when stdin reaches EOF or the terminal hangs up")
    args = parser.parse_args()
    if not 0 <= args.port <= 65535:
        parser.error("--port must be between 0 and 65535")
    if args.ctx < 512:
        parser.error("--ctx must be 512 or more")
    if args.threads < 0:
        parser.error("--threads must not be negative")
    return args


def default_threads():
    """llama.cpp's threads wait for one another at every layer: one thread too
    many beside other work costs far more than it brings. So half the cores."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(8, cores // 2))


def start_time(pid):
    """When the kernel started a process; None where that cannot be read, or
    where the process is dead and merely not yet collected by its own parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rsplit(b")", 1)[1].split()
        return None if fields[0] in (b"Z", b"X") else fields[19]
    except (OSError, IndexError):
        return None


def is_alive(pid, born):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # The same number with another start time is another process.
    return born is None or start_time(pid) == born


def start_guard(read_stdin, parent):
    """Forks a small process that ends this one when the caller is gone.

    It cannot be a thread: llama.cpp holds the interpreter for as long as the
    model loads, and a caller who dies meanwhile should not leave us behind.
    """
    alive, _ = os.pipe()  # reaches EOF when this process ends, however it ends
    us = os.getpid()
    born = start_time(parent) if parent else None
    if os.fork():
        os.close(alive)
        return
    try:
        os.close(1)
        # The caller must not wait on a descriptor that only the guard holds.
        os.closerange(3, alive)
        os.closerange(alive + 1, 1024)
        reason = guard(alive, read_stdin, parent, born)
        if reason and os.getppid() == us:
            os.write(2, f"local-model: {reason}; stopping\n".encode())
            os.kill(us, signal.SIGTERM)
    finally:
        os._exit(0)


def guard(alive, read_stdin, parent, born):
    sources = [alive] + ([0] if read_stdin else [])
    while True:
        readable, _, _ = select.select(sources, [], [], PARENT_POLL_SECONDS if parent else None)
        if alive in readable:
            return None
        if 0 in readable:
            try:
                data = os.read(0, 4096)
            except OSError:
                data = b""
            if not data:
                return "stdin was closed"
        if parent and not is_alive(parent, born):
            return f"process {parent} is gone"


def wait_healthy(url, key):
    # No proxy from the environment may come between us and our own loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url + "/health")
    if key:
        request.add_header("Authorization", "Bearer " + key)
    deadline = time.monotonic() + HEALTH_SECONDS
    while True:
        try:
            with opener.open(request, timeout=5) as answer:
                if answer.status == 200:
                    return
                problem = f"status {answer.status}"
        except (urllib.error.URLError, OSError) as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server did not become healthy: {problem}")
        time.sleep(0.1)


def check(args):
    """What can be told before the slow part; returns the chat template."""
    if not os.path.isfile(args.model):
        raise RuntimeError(f"no model file at {args.model}; run `local-model install`")
    if args.port:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", args.port))
            except OSError as error:
                raise RuntimeError(f"port {args.port} cannot be used: {error}") from error
    if args.template == "builtin":
        return ""
    with open(args.template, encoding="utf-8") as file:
        return file.read()


def start(args, template):
    try:
        import xllamacpp
    except ImportError as error:
        raise RuntimeError(
            f"{error}; run this with the Python that `local-model install` set up"
        ) from error

    threads = args.threads or default_threads()
    name = os.path.basename(args.model)
    name = name[: -len(".gguf")] if name.lower().endswith(".gguf") else name
    key = os.environ.pop("STERNA_LOCAL_MODEL_API_KEY", "")

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = {name}  # or the API would answer with the file's path
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_ctx = args.ctx
    params.n_parallel = 1  # one session's prefix stays cached; others queue
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.use_jinja = True
    if template:
        params.chat_template = template
    params.cache_ram_mib = 512
    params.offline = True
    params.ui = False
    params.warmup = False
    params.endpoint_slots = False  # it would show one client's prompt to others
    params.cors_origins = "http://127.0.0.1"  # no web page may read our answers
    if key:
        params.api_keys = [key]

    try:
        server = xllamacpp.Server(params)
    except Exception as error:
        raise RuntimeError(f"llama.cpp could not load the model: {error} (its log is on stderr)") from error
    url = server.listening_address
    wait_healthy(url, key)
    ready = {
        "ready": True,
        "port": int(url.rsplit(":", 1)[1]),
        "model": name,
        "ctx": args.ctx,
        "threads": threads,
        "pid": os.getpid(),
    }
    return server, ready


def main():
    args = parse_args()

    # The one line on stdout is ours alone: whatever a library prints to
    # descriptor 1 goes to stderr from here on.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        template = check(args)
        if args.detach:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if args.parent_pid or not args.detach:
            start_guard(not args.detach, args.parent_pid)
        server, ready = start(args, template)
    except Exception as error:  # one line for the caller instead of a traceback
        print(json.dumps({"ready": False, "error": str(error)}), file=answer, flush=True)
        # Not exit(): llama.cpp's own threads may still run.
        os._exit(1)

    # A library may have put handlers of its own in the place of these.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print(json.dumps(ready, separators=(",", ":")), file=answer, flush=True)
    answer.close()
    while server is not None:
        time.sleep(3600)


if __name__ == "__main__":
    main()
