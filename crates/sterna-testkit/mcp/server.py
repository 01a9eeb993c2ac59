#!/usr/bin/env python3
"""An MCP server for tests, written by hand from the protocol's pages and without any SDK.

It speaks over its standard streams, or with `--http` on a free port of 127.0.0.1 (it prints the port first).
What it does wrong on purpose is chosen by switches, and by the tools that are called.
"""

import argparse
import base64
import hashlib
import http.server
import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.parse

parser = argparse.ArgumentParser()
parser.add_argument("--http", action="store_true")
parser.add_argument("--json", action="store_true", help="answer POSTs with plain JSON, not with an event stream")
parser.add_argument("--modern", action="store_true", help="speak 2026-07-28 only: no handshake")
parser.add_argument("--tools", type=int, default=0, help="as many tools more, named tool_000 and so on")
parser.add_argument("--page", type=int, default=0, help="tools on a page of the list")
parser.add_argument("--endless", action="store_true", help="a list of tools that never ends")
parser.add_argument("--shadow", action="store_true", help="also tools that are named like built-in ones")
parser.add_argument("--noise", action="store_true", help="say a lot before every answer, some of it no JSON")
parser.add_argument("--chatter", action="store_true", help="log without end, on both streams")
parser.add_argument("--mute", action="store_true", help="never answer anything")
parser.add_argument("--mute-unknown", action="store_true", help="do not answer methods that are not known")
parser.add_argument("--mute-ping", action="store_true", help="do not answer pings")
parser.add_argument("--slow", help="answer nothing before this file is there")
parser.add_argument("--crash", action="store_true", help="end with some last words before the first answer")
parser.add_argument("--word", default="first", help="part of the description of the tool `echo`")
parser.add_argument("--starts", help="a file that gets a line for each start")
parser.add_argument("--auth", action="store_true", help="want a login; be the authorization server too")
parser.add_argument("--short", action="store_true", help="logins last a second")
options = parser.parse_args()

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
word = options.word
logging = threading.Lock()
added = []
pending = {}
ids = iter(range(1, 1_000_000))
lock = threading.Lock()

if options.starts:
    with open(options.starts, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


def tool(name, description="", properties=None, required=(), **hints):
    schema = {"type": "object", "properties": properties or {}, "required": list(required)}
    made = {"name": name, "description": description, "inputSchema": schema}
    if hints:
        made["annotations"] = hints
    return made


def tools():
    text = {"type": "string"}
    made = [
        tool("echo", f"Says it back ({word}).", {"text": text}, ["text"], readOnlyHint=True),
        tool("put", "Writes a line to a file.", {"path": text, "text": text}, ["path", "text"], idempotentHint=True),
        tool("die", "Ends the server."),
        tool("hang", "Never answers."),
        tool("slow", "Answers after some progress.", {"steps": {"type": "integer"}, "pause": {"type": "number"}}),
        tool("late", "Answers after a while.", {"seconds": {"type": "number"}}),
        tool("flood", "Sends one endless line."),
        tool("ask", "Asks the person for a name and an age."),
        tool("page", "Asks the person to open a page."),
        tool("roots", "Says where the workspace is."),
        tool("sample", "Wants a model call."),
        tool("change", "Changes what `echo` is, and adds a tool.", {"word": text, "adds": text}, []),
        tool("env", "Shows the environment."),
        tool("child", "Starts a process of its own and tells both ids."),
        tool("fail", "Fails."),
        tool("refuse", "Answers with an error of the protocol."),
        tool("strange name!", "Has a name that providers do not take."),
    ]
    made += [tool(name, "Came later.", {"how": text}) for name in added]
    if options.shadow:
        made += [tool("shell", "Not the one you know.", {"x": text}, ["x"]), tool("x", "", {"y": text}, ["y"])]
    for number in range(options.tools):
        about = f"Works on the thing with the number {number}: reads it, changes it and puts it back in its place."
        made.append(tool(f"tool_{number:03}", about, {"value": {"type": "string", "description": "What to do with it"}}))
    return made


def text_result(text, **more):
    return {"content": [{"type": "text", "text": text}], **more}


class Refusal(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.code, self.data = code, data


class NoAnswer(Exception):
    pass


def complete(result):
    return {"resultType": "complete", **result} if options.modern else result


def info():
    offers = {"tools": {"listChanged": True}, "resources": {}, "prompts": {}}
    own = {"name": "testkit", "version": "1.0"}
    return offers, own


def answer(method, params, out, request_id=None):
    offers, own = info()
    if options.mute:
        raise NoAnswer
    if method == "initialize":
        if options.modern:
            raise Refusal(-32601, "no handshake here")
        return {"protocolVersion": LEGACY, "capabilities": offers, "serverInfo": own, "instructions": "Be kind."}
    if method == "server/discover" and options.modern:
        meta = {"io.modelcontextprotocol/serverInfo": own}
        return complete({"supportedVersions": [MODERN], "capabilities": offers, "serverInfo": own, "_meta": meta,
                         "ttlMs": 0, "cacheScope": "private"})
    if method == "ping" and not options.modern:
        if options.mute_ping:
            raise NoAnswer
        return {}
    if method == "tools/list":
        every = tools()
        start = int(params.get("cursor") or 0)
        if options.endless:
            return complete({"tools": [tool(f"t{start}")], "nextCursor": str(start + 1)})
        if options.page:
            result = {"tools": every[start:start + options.page]}
            if start + options.page < len(every):
                result["nextCursor"] = str(start + options.page)
        else:
            result = {"tools": every}
        return complete({**result, "ttlMs": 0, "cacheScope": "private"} if options.modern else result)
    if method == "tools/call":
        return complete(call(params, out, request_id))
    if method == "resources/list":
        listed = {"resources": [{"uri": "test://one", "name": "one", "description": "The first"}]}
        return complete({**listed, "ttlMs": 0, "cacheScope": "private"} if options.modern else listed)
    if method == "resources/templates/list":
        listed = {"resourceTemplates": [{"uriTemplate": "test://{name}", "name": "any"}]}
        return complete({**listed, "ttlMs": 0, "cacheScope": "private"} if options.modern else listed)
    if method == "resources/read":
        if params["uri"] == "test://blob":
            return complete({"contents": [{"uri": "test://blob", "mimeType": "image/png", "blob": "QUJDRA=="}]})
        if params["uri"] != "test://one":
            raise Refusal(-32002, "no such resource")
        read = {"contents": [{"uri": "test://one", "text": "what is in one"}]}
        return complete({**read, "ttlMs": 0, "cacheScope": "private"} if options.modern else read)
    if method == "prompts/list":
        listed = {"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": True}]}]}
        return complete({**listed, "ttlMs": 0, "cacheScope": "private"} if options.modern else listed)
    if method == "prompts/get":
        who = params.get("arguments", {}).get("who")
        return complete({"messages": [{"role": "user", "content": {"type": "text", "text": f"Greet {who}."}}]})
    if options.mute_unknown:
        raise NoAnswer
    raise Refusal(-32601, f"unknown method {method}")


FORM = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}


def call(params, out, request_id):
    global word
    name, args = params["name"], params.get("arguments") or {}
    if name == "echo":
        return text_result(args["text"])
    if name == "put":
        with open(args["path"], "a", encoding="utf-8") as file:
            file.write(args["text"] + "\n")
        return text_result("written")
    if name == "die":
        # Nothing that chatters comes after them.
        with logging:
            sys.stderr.write("these are my last words\n")
            sys.stderr.flush()
            os._exit(3)
    if name == "hang":
        raise NoAnswer
    if name == "slow":
        token = params.get("_meta", {}).get("progressToken")
        for step in range(args.get("steps", 3)):
            time.sleep(args.get("pause", 0.05))
            out({"jsonrpc": "2.0", "method": "notifications/progress",
                 "params": {"progressToken": token, "progress": step + 1, "message": f"step {step + 1}"}})
        return text_result("done slowly")
    if name == "late":
        time.sleep(args.get("seconds", 1))
        return text_result("late")
    if name == "flood":
        out(None, raw=b"x" * (17 << 20))
        raise NoAnswer
    if name in ("ask", "page"):
        asked = ({"mode": "form", "message": "Who are you?", "requestedSchema": FORM} if name == "ask" else
                 {"mode": "url", "message": "Please", "url": "https://page.invalid/1", "elicitationId": "e1"})
        if options.modern:
            given = params.get("inputResponses")
            if given is None:
                return {"resultType": "input_required", "requestState": "s1",
                        "inputRequests": {"who": {"method": "elicitation/create", "params": asked}}}
            return text_result(json.dumps([params.get("requestState"), given["who"]], sort_keys=True))
        return text_result(json.dumps(request(out, "elicitation/create", asked), sort_keys=True))
    if name == "roots":
        return text_result(json.dumps(request(out, "roots/list", {})))
    if name == "sample":
        wanted = {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 5}
        return text_result(json.dumps(request(out, "sampling/createMessage", wanted)))
    if name == "change":
        word = args.get("word", word)
        if "adds" in args:
            added.append(args["adds"])
        out({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        return text_result("changed")
    if name == "env":
        return text_result(json.dumps(dict(os.environ)))
    if name == "child":
        child = subprocess.Popen(["setsid", "sleep", "300"])
        return text_result(json.dumps([os.getpid(), child.pid]))
    if name == "fail":
        return text_result("it went wrong", isError=True)
    if name == "refuse":
        raise Refusal(-32000, "not today")
    return text_result(f"{name} was called")


def request(out, method, params):
    """Asks the client, and waits for its answer."""
    own = f"s{next(ids)}"
    answers = pending[own] = queue.Queue()
    out({"jsonrpc": "2.0", "id": own, "method": method, "params": params})
    got = answers.get(timeout=60)
    return got.get("result", got.get("error"))


def handle(message, out):
    """Handles one message. `out` sends something that belongs to it."""
    if "method" not in message:
        answers = pending.get(message.get("id"))
        if answers:
            answers.put(message)
        return
    if "id" not in message:
        return
    while options.slow and not os.path.exists(options.slow):
        time.sleep(0.02)
    if options.crash:
        sys.stderr.write("I cannot go on\n")
        sys.stderr.flush()
        os._exit(9)
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    try:
        if options.noise:
            out(None, raw=b"Server listening on nothing at all\n\n{not json\n")
            for number in range(200):
                out({"jsonrpc": "2.0", "method": "notifications/message",
                     "params": {"level": "info", "data": f"line {number}"}})
            if message["method"].startswith("tools/"):
                out({"jsonrpc": "2.0", "id": 987654, "result": {}})
        reply["result"] = answer(message["method"], message.get("params") or {}, out, message["id"])
    except NoAnswer:
        return
    except Refusal as refusal:
        reply["error"] = {"code": refusal.code, "message": str(refusal)}
        if refusal.data:
            reply["error"]["data"] = refusal.data
    out(reply)


def serve_streams():
    def out(message, raw=None):
        data = raw if raw is not None else json.dumps(message).encode() + b"\n"
        with lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def chatter(number):
        while True:
            line = f"line {number} {'x' * 1_000}"
            with logging:
                sys.stderr.write(line + "\n")
            out({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": line}})
            number += 1

    if options.chatter:
        threading.Thread(target=chatter, args=(0,), daemon=True).start()
    for line in sys.stdin.buffer:
        threading.Thread(target=handle, args=(json.loads(line), out), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    codes, tokens = {}, {}

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def base(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        if url.path.startswith("/.well-known/oauth-protected-resource") and options.auth:
            found = {"resource": f"{self.base()}/mcp", "authorization_servers": [self.base()],
                     "scopes_supported": ["tools"]}
            return self.send(200, json.dumps(found).encode())
        if url.path.startswith("/.well-known/oauth-authorization-server") and options.auth:
            base = self.base()
            found = {"issuer": base, "authorization_endpoint": f"{base}/authorize",
                     "token_endpoint": f"{base}/token", "registration_endpoint": f"{base}/register",
                     "response_types_supported": ["code"], "grant_types_supported": ["authorization_code", "refresh_token"],
                     "code_challenge_methods_supported": ["S256"], "scopes_supported": ["tools"],
                     "token_endpoint_auth_methods_supported": ["none"]}
            return self.send(200, json.dumps(found).encode())
        if url.path == "/authorize" and options.auth:
            asked = dict(urllib.parse.parse_qsl(url.query))
            code = base64.urlsafe_b64encode(os.urandom(12)).decode()
            self.codes[code] = asked["code_challenge"]
            back = urllib.parse.urlencode({"code": code, "state": asked["state"], "iss": self.base()})
            return self.send(302, location=f"{asked['redirect_uri']}?{back}")
        return self.send(405)

    def do_DELETE(self):
        self.send(200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/register":
            asked = json.loads(body)
            return self.send(201, json.dumps({**asked, "client_id": "client-1"}).encode())
        if self.path == "/token":
            asked = dict(urllib.parse.parse_qsl(body.decode()))
            if asked["grant_type"] == "authorization_code":
                digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
                challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                fits = self.codes.pop(asked["code"], None) == challenge
            else:
                fits = asked.get("refresh_token", "") in self.tokens
            if not fits:
                return self.send(400, b'{"error": "invalid_grant"}')
            token = f"access-{len(self.tokens)}"
            refresh = f"refresh-{len(self.tokens)}"
            seconds = 1 if options.short and not self.tokens else 3600
            self.tokens[refresh] = token
            self.tokens[token] = time.time() + seconds
            given = {"access_token": token, "token_type": "Bearer", "expires_in": seconds,
                     "refresh_token": refresh, "scope": "tools"}
            return self.send(200, json.dumps(given).encode())
        if options.auth:
            bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
            until = self.tokens.get(bearer, 0)
            if not isinstance(until, float) or until < time.time():
                where = f'Bearer resource_metadata="{self.base()}/.well-known/oauth-protected-resource"'
                return self.send(401, b"{}", WWW_Authenticate=where)
        message = json.loads(body)
        if "id" not in message or "method" not in message:
            handle(message, lambda *_: None)
            return self.send(202)
        if options.json:
            sent = []
            handle(message, lambda one, raw=None: sent.append(one))
            replies = [one for one in sent if one and one.get("id") == message["id"]]
            return self.send(200, json.dumps(replies[-1]).encode()) if replies else time.sleep(3600)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

        def out(one, raw=None):
            data = b"data: " + raw if raw is not None else f"event: message\ndata: {json.dumps(one)}\n\n".encode()
            with lock:
                self.wfile.write(data)
                self.wfile.flush()

        try:
            handle(message, out)
        except OSError:
            pass
        self.close_connection = True


if options.http:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
else:
    serve_streams()
