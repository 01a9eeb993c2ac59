#!/usr/bin/env python3
"""Servers for the client scenarios of the official MCP conformance suite, written by hand from what the scenarios ask of a
client and from the protocol's pages. Nothing of the suite is needed to run them.

    conformance.py SCENARIO     prints the port of 127.0.0.1 where the MCP server is, at /mcp

The authorization server, where there is one, has a port of its own. `GET /observed` tells what the client did, a JSON object.
"""

import base64
import hashlib
import http.server
import json
import sys
import threading
import time
import urllib.parse

PATH_BASED = "/.well-known/oauth-protected-resource/mcp"
AT_ROOT = "/.well-known/oauth-protected-resource"
OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"

# prm: where the metadata of the resource is. told: the challenge names it. oauth: where the metadata of the authorization
# server is. prefix: the issuer's path. scope: the challenge's. scopes: those that the resource lists. methods: how a client
# proves at the token endpoint who it is. resource: another one than ours. forbids: how tokens are answered. steps: what a call
# needs beyond the challenge's scope. registers: whether anybody may. pages: clients may be named by the address of a page.
# lasts: seconds that a token is good, with one to renew it where a person has logged in. gives: the only scopes that there are
# to be had; more is refused, or left out without a word where narrows says so. breaks: how often the first to ask for more than
# one scope get no answer.
LOGINS = {
    "metadata-default": {},
    "metadata-var1": {"told": False, "oauth": OPENID},
    "metadata-var2": {"prm": AT_ROOT, "told": False, "oauth": OAUTH + "/tenant1", "prefix": "/tenant1"},
    "metadata-var3": {"prm": "/custom/metadata.json", "oauth": "/tenant1" + OPENID, "prefix": "/tenant1"},
    "endpoint-fallback": {"prm": None, "told": False, "oauth": None},
    "scope-from-www-authenticate": {"scope": "mcp:basic"},
    "scope-from-scopes-supported": {"scopes": ["mcp:basic", "mcp:read", "mcp:write"]},
    "scope-omitted-when-undefined": {},
    "scope-retry-limit": {"scope": "mcp:admin", "scopes": ["mcp:admin"], "forbids": True},
    "token-endpoint-auth-basic": {"methods": ["client_secret_basic"]},
    "token-endpoint-auth-post": {"methods": ["client_secret_post"]},
    "token-endpoint-auth-none": {},
    "resource-mismatch": {"resource": "https://evil.example.com/mcp"},
    "scope-step-up": {"scope": "mcp:basic", "steps": "mcp:write"},
    "pre-registration": {"registers": False, "methods": ["client_secret_basic"]},
    "basic-cimd": {"pages": True},
    "client-credentials": {"registers": False, "methods": ["client_secret_basic"]},
    "client-credentials-short": {"registers": False, "methods": ["client_secret_basic"], "lasts": 30},
    "client-credentials-step-up": {"registers": False, "methods": ["client_secret_basic"], "scope": "mcp:basic",
                                   "steps": "mcp:write"},
    "client-credentials-refused": {"registers": False, "methods": ["client_secret_basic"], "scope": "mcp:basic",
                                   "steps": "mcp:write", "gives": ["mcp:basic"]},
    "client-credentials-narrowed": {"registers": False, "methods": ["client_secret_basic"], "scope": "mcp:basic",
                                    "steps": "mcp:write", "gives": ["mcp:basic"], "narrows": True},
    "client-credentials-broken": {"registers": False, "methods": ["client_secret_basic"], "scope": "mcp:basic",
                                  "steps": "mcp:write", "breaks": 1},
    "scope-refused": {"scope": "mcp:basic", "steps": "mcp:write", "gives": ["mcp:basic"]},
    "renewed-with-a-secret": {"methods": ["client_secret_basic"], "lasts": 1},
}
USUAL = {"prm": PATH_BASED, "told": True, "oauth": OAUTH, "prefix": "", "scope": None, "scopes": None,
         "methods": ["none"], "resource": None, "forbids": False, "steps": None, "registers": True, "pages": False,
         "lasts": 3600, "gives": None, "narrows": False, "breaks": 0}
# elicitation-aside: the question comes on the stream that the client opens, which the server is slow to open.
PLAIN = ["initialize", "tools_call", "elicitation-defaults", "elicitation-aside", "sse-retry"]

scenario = sys.argv[1]
if scenario not in PLAIN and scenario not in LOGINS:
    sys.exit(f"there is no scenario {scenario}; there are {', '.join(PLAIN + list(LOGINS))}")
login = {**USUAL, **LOGINS[scenario]} if scenario in LOGINS else None
RETRY_MS = 500

observed = {"requests": [], "authorizations": [], "tokens": [], "calls": [], "reconnects": []}
challenges, tokens, waiting = {}, {}, {}
resource = authority = None


def base(server):
    return f"http://127.0.0.1:{server.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def send(self, status, value=None, **headers):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("mcp-session-id", "session-1")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, **lines):
        self.wfile.write("".join(f"{name}: {text}\n" for name, text in lines.items()).encode() + b"\n")
        self.wfile.flush()

    def message(self, value):
        self.event(event="message", data=json.dumps(value))


class Authority(Handler):
    """The authorization server."""

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query))
        observed["requests"].append(f"GET {url.path}")
        if url.path == login["oauth"]:
            issuer = base(self.server) + login["prefix"]
            told = {"issuer": issuer, "authorization_endpoint": f"{issuer}/authorize",
                    "token_endpoint": f"{issuer}/token", "registration_endpoint": f"{issuer}/register",
                    "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
                    "grant_types_supported": ["authorization_code", "refresh_token"],
                    "token_endpoint_auth_methods_supported": login["methods"]}
            if not login["registers"]:
                del told["registration_endpoint"]
            if login["pages"]:
                told["client_id_metadata_document_supported"] = True
            if OPENID in login["oauth"]:
                told |= {"jwks_uri": f"{issuer}/jwks", "subject_types_supported": ["public"],
                         "id_token_signing_alg_values_supported": ["RS256"]}
            return self.send(200, told)
        if url.path == login["prefix"] + "/authorize":
            challenges["code-1"] = (asked.get("code_challenge"), asked.get("code_challenge_method"))
            observed["authorizations"].append({"scope": asked.get("scope"), "resource": asked.get("resource"),
                                               "client": asked.get("client_id")})
            back = urllib.parse.urlencode({"code": "code-1", "state": asked.get("state", "")})
            return self.send(302, location=f"{asked['redirect_uri']}?{back}")
        return self.send(404)

    def do_POST(self):
        path, body = urllib.parse.urlparse(self.path).path, self.body()
        observed["requests"].append(f"POST {path}")
        if path == login["prefix"] + "/register":
            method = login["methods"][0]
            if refused(json.loads(body).get("scope")):
                return self.send(400, {"error": "invalid_client_metadata", "error_description": "no such scope"})
            made = {**json.loads(body), "client_id": "client-1", "token_endpoint_auth_method": method}
            if method != "none":
                made["client_secret"] = "secret-1"
            return self.send(201, made)
        if path == login["prefix"] + "/token":
            asked = dict(urllib.parse.parse_qsl(body.decode()))
            digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
            verified = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            basic = self.headers.get("authorization", "")
            if basic.startswith("Basic "):
                proof = f"client_secret_basic {base64.b64decode(basic[6:]).decode()}"
            else:
                proof = "client_secret_post" if "client_secret" in asked else "none"
            grant = asked.get("grant_type")
            pkce = challenges.get(asked.get("code")) == (verified, "S256")
            named = {"scope": asked["scope"]} if "scope" in asked else {}
            observed["tokens"].append({"proof": proof, "pkce": pkce, "resource": asked.get("resource"), "grant": grant,
                                       **named})
            alone = login["methods"][0] != "none" and proof.startswith(login["methods"][0])
            renewed = grant == "refresh_token" and asked.get("refresh_token") == "renew-1" and alone
            if not (pkce or renewed or (grant == "client_credentials" and alone)):
                return self.send(400, {"error": "invalid_grant"})
            if refused(asked.get("scope")):
                return self.send(400, {"error": "invalid_scope"})
            if login["breaks"] and " " in asked.get("scope", ""):
                login["breaks"] -= 1
                self.close_connection = True
                return None
            scope = (observed["authorizations"] or [asked])[-1].get("scope") or ""
            if login["narrows"]:
                scope = " ".join(part for part in scope.split() if part in login["gives"])
            token = f"token-{len(tokens)}"
            tokens[token] = (scope.split(), time.monotonic() + login["lasts"])
            renew = {"refresh_token": "renew-1"} if grant != "client_credentials" and login["lasts"] < 3600 else {}
            return self.send(200, {"access_token": token, "token_type": "Bearer", "expires_in": login["lasts"], **renew})
        return self.send(404)


class Resource(Handler):
    """The MCP server."""

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path
        if path == "/observed":
            return self.send(200, observed)
        if path == "/mcp":
            return self.listened() if scenario == "elicitation-aside" else self.reconnected()
        observed["requests"].append(f"GET {path}")
        if login and path == login["prm"]:
            told = {"resource": login["resource"] or base(self.server) + ("" if path == AT_ROOT else "/mcp"),
                    "authorization_servers": [base(authority) + login["prefix"]]}
            if login["scopes"]:
                told["scopes_supported"] = login["scopes"]
            return self.send(200, told)
        if login and not login["prm"] and path == "/authorize":
            # Without any metadata the endpoints are where they always were, on this server.
            return Authority.do_GET(self)
        return self.send(404)

    def reconnected(self):
        if scenario != "sse-retry" or "call" not in waiting:
            return self.send(405)
        observed["reconnects"].append({"after_ms": round((time.monotonic() - waiting["closed"]) * 1_000),
                                       "last_event_id": self.headers.get("last-event-id")})
        self.stream()
        self.event(id="event-2", retry=str(RETRY_MS), data="")
        self.message({"jsonrpc": "2.0", "id": waiting.pop("call"), "result": text("reconnected")})

    def listened(self):
        time.sleep(0.2)
        waiting.update(stream=self, open=threading.Event())
        self.stream()
        waiting["open"].set()
        threading.Event().wait()

    def do_DELETE(self):
        self.send(200)

    def do_POST(self):
        path = urllib.parse.urlparse(self.path).path
        if login and not login["prm"] and path in ("/token", "/register"):
            return Authority.do_POST(self)
        message = json.loads(self.body())
        if login and not self.may(message):
            return
        if "method" not in message:
            waiting["answer"] = message
            waiting["answered"].set()
            return self.send(202)
        if "id" not in message:
            return self.send(202)
        if message["method"] == "tools/call":
            return self.call(message)
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            reply["result"] = answer(message["method"], message.get("params") or {})
        except KeyError:
            reply["error"] = {"code": -32601, "message": "method not found"}
        self.send(200, reply, mcp_session_id="session-1")

    def may(self, message):
        """Whether the login is good for this. If not, it has been told so."""
        open_to_all = login["forbids"] and message.get("method", "").startswith(("initialize", "notifications/"))
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        scopes, until = tokens.get(bearer, ([], 0))
        known, wanted = time.monotonic() < until, login["scope"]
        if login["steps"] and message.get("method") == "tools/call":
            wanted = login["steps"]
        enough = known and not login["forbids"] and (not login["steps"] or wanted in scopes)
        if open_to_all or enough:
            return True
        parts = [f'scope="{wanted}"'] if wanted else []
        if login["told"]:
            parts.append(f'resource_metadata="{base(self.server)}{login["prm"]}"')
        if known:
            parts.insert(0, 'error="insufficient_scope"')
        challenge = "Bearer " + ", ".join(parts)
        self.send(403 if known else 401, {"error": "no"}, www_authenticate=challenge.strip())
        return False

    def call(self, message):
        name, args = message["params"]["name"], message["params"].get("arguments") or {}
        observed["calls"].append({"name": name, "arguments": args})
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if name == "add_numbers":
            return self.send(200, {**reply, "result": text(str(args["a"] + args["b"]))})
        if name == "defaults":
            waiting["answered"] = threading.Event()
            aside = waiting.get("stream")
            if scenario == "elicitation-aside" and not aside:
                return self.send(200, {**reply, "error": {"code": -32603, "message": "nobody listens"}})
            if aside:
                waiting["open"].wait()
            self.stream()
            (aside or self).message({"jsonrpc": "2.0", "id": "asked-1", "method": "elicitation/create", "params": {
                "message": "Accept what is proposed", "requestedSchema": {"type": "object", "properties": DEFAULTS}}})
            waiting["answered"].wait(30)
            said = waiting["answer"].get("result")
            observed["calls"][-1]["answer"] = said
            return self.message({**reply, "result": text(json.dumps(said))})
        if name == "reconnect":
            # The stream ends before the answer has come: the client is to come back for it.
            self.stream()
            self.event(id="event-1", retry=str(RETRY_MS), data="")
            time.sleep(0.05)
            waiting.update(call=message["id"], closed=time.monotonic())
            return None
        return self.send(200, {**reply, "result": text("done")})


def refused(scope):
    """Whether nobody is given so much."""
    return login["gives"] and not login["narrows"] and not set((scope or "").split()) <= set(login["gives"])


DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}


def text(said):
    return {"content": [{"type": "text", "text": said}]}


def answer(method, params):
    observed["requests"].append(method)
    if method == "initialize":
        observed["initialize"] = params
        own = {"name": "conformance", "version": "1.0"}
        version = "2025-03-26" if scenario == "sse-retry" else params["protocolVersion"]
        offers = {} if scenario == "initialize" else {"tools": {}}
        return {"protocolVersion": version, "capabilities": offers, "serverInfo": own}
    if method == "ping":
        return {}
    number = {"type": "number"}
    numbers = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]}
    named = {"tools_call": ("add_numbers", numbers), "elicitation-defaults": ("defaults", {"type": "object"}),
             "elicitation-aside": ("defaults", {"type": "object"}),
             "sse-retry": ("reconnect", {"type": "object"})}
    name, schema = named.get(scenario, ("test-tool", {"type": "object"}))
    return {"tools/list": {"tools": [{"name": name, "inputSchema": schema}]}}[method]


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


authority, resource = serve(Authority), serve(Resource)
print(resource.server_port, flush=True)
threading.Event().wait()
