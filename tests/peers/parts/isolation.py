"""Nothing of account B reaches account A: a row of checks for each surface.

Accounts are what the receiver's credentials map to. A is `acme`, an attacker with a valid token of its own; B is
`bravo-victim`, whose texts, ids and names are canaries. Every answer that A gets is searched for them, and after each
row the vault's index says which account each request was stored for. Time as a side channel is left out.
"""
import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import otlp_json  # noqa: E402
from decode import parse  # noqa: E402
from harness import BINARY, Gateway, Sink, check, figure, files, finish, http as fetch, keygen, outlet, read, say, tool, until, workdir  # noqa: E402

A, B = "acme", "bravo-victim"
# names that are allowed and look like B's, like a part of another name or like one of the vault's own folders
NEIGHBOURS = ["bravo-victi", "bravo-victim.", "bravo-victim-1", "Bravo-Victim", "..bravo-victim", "acme.bravo-victim", "index", "keys", "chain",
              "packed", "sessions", "account", "default", "h-bravo", "v1", "n" * 64]
CANARIES = [b"bravo-victim", b"canary-of-b", b"b-tenant", b"b-shown", b"b-feature", b"b-session", b"b_tool", b"token-of-b"]
JSON = "application/json"


def token(account):
    return {A: "token-of-a-0123456789", B: "token-of-b-0123456789"}.get(account, f"token-{account}-0123456789")


def bearer(account):
    return f"Bearer {token(account)}"


def spans(trace, session, text, more=None, resource=None, response=None, error=None):
    """One model call; the trace id is how the index tells requests apart."""
    pairs = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
             "gen_ai.response.model": "claude-sonnet-4-5", "gen_ai.response.id": response or f"msg_{trace}", "gen_ai.conversation.id": session,
             "gen_ai.usage.input_tokens": 1_000_000, "gen_ai.usage.output_tokens": 0,
             "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}]), **(more or {})}
    span = otlp_json.span(trace, int(trace[16:], 16), None, "chat", time.time_ns() - 10**9, 1, pairs, error)
    about = otlp_json.attributes({"service.name": "isolation", **(resource or {})})
    return {"resourceSpans": [{"resource": {"attributes": about}, "scopeSpans": [{"spans": [span]}]}]}


def dump(document):
    return json.dumps(document).encode()


def protobuf(document):
    return parse("traces", dump(document), "json").SerializeToString()


class World:
    def __init__(self, work):
        self.work, self.back = work, Sink(os.path.join(work, "sink"))
        self.heard, self.number, self.index = [], 0, {}
        def change(config):
            config["receivers"]["otlp"]["auth"] = {"tokens": {name: [token(name)] for name in (A, B, *NEIGHBOURS)}}
            fast = {"requests_per_second": 100_000, "bytes_per_second": "1GiB"}
            config["limits"] = {"accounts": {name: fast for name in (A, B)}}
            # an auditor of A alone
            self.limited = os.path.join(work, "limited.key")
            key = keygen(self.limited)
            config["processors"]["vault"]["recipients"].append({"key": key, "accounts": [A]})

        self.gateway = Gateway(work, outlet(self.back), change=change, log="info").start()

    def trace(self):
        self.number += 1
        return f"{0xa110_0000_0000 + self.number:032x}"

    def a_heard(self, answer):
        self.heard.append(answer)
        return answer

    def post(self, account, document, kind=JSON, headers=None, path="/v1/traces"):
        body = document if isinstance(document, bytes) else dump(document)
        status, about, answer = fetch(f"http://127.0.0.1:{self.gateway.http}{path}", body, {"content-type": kind, "authorization": bearer(account), **(headers or {})})
        if account == A:
            self.a_heard(str(about).encode() + answer)
        return status

    def send(self, account, session, text, **more):
        trace = more.pop("trace", None) or self.trace()
        status = self.post(account, spans(trace, session, text, **more))
        if status != 200:
            raise AssertionError(f"{account}: {status}")
        return trace

    def rows(self, accounts=(A, B)):
        """Index lines of everything that the accounts sent so far: a request behind it is in the index, too."""
        last = {self.send(account, "marker", "marker") for account in accounts}

        def read():
            for path in set(files("index/v1/**/*.ndjson.zst", self.gateway.store)) - set(self.index):
                self.index[path] = [json.loads(line) for line in tool("zstd", "-dc", path).splitlines()]
            rows = [row for one in self.index.values() for row in one]
            return rows if last <= {row.get("trace_id") for row in rows} else None
        return until("the index has it", read, 60, 0.2)

    def accounts_of(self, traces, accounts=(A, B)):
        """{trace: accounts that the index has it for}"""
        out = {trace: set() for trace in traces}
        for row in self.rows(accounts):
            if row.get("trace_id") in out:
                out[row["trace_id"]].add(row["account"])
        return out

    def delivered(self, traces):
        """[span] of these traces, as the back end got them."""
        def got():
            found = [item for signal, item in self.back.items() if item["trace_id"] in traces]
            return found if {item["trace_id"] for item in found} == set(traces) else None
        return until("delivered", got, 30, 0.2)

    def clean(self, what, answers):
        """None of B's canaries is in what A got."""
        found = {word.decode() for word in CANARIES for one in answers if word in one.lower()}
        check(f"{what}: no answer to A holds anything of B ({len(answers)} answers)", answers and not found, str(found))

    def command(self, *arguments, code=(0,)):
        done = subprocess.run([BINARY, *arguments], capture_output=True, timeout=60)
        if code and done.returncode not in code:
            raise AssertionError(f"{arguments}: {done.returncode} {done.stderr[-300:]}")
        return done.returncode, done.stdout + done.stderr


# ---- names ---------------------------------------------------------------------------------------------------------

def names(world):
    say("account names")
    traces = {name: world.send(name, "s1", f"hello of {name}") for name in NEIGHBOURS}
    stored = world.accounts_of(traces.values(), NEIGHBOURS)
    wrong = {name: stored[trace] for name, trace in traces.items() if stored[trace] != {name}}
    check(f"{len(NEIGHBOURS)} names that look like B's or like a folder of the vault are accounts of their own", not wrong, str(wrong))


# ---- credentials over HTTP -----------------------------------------------------------------------------------------

def raw(port, data, wait=3, quiet=0.1):
    """What a server answers to bytes; the answer ends with the connection, or when nothing came for a moment."""
    out = b""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as s:
        try:
            s.sendall(data)
            while chunk := s.recv(65536):
                out += chunk
                s.settimeout(quiet)
        except OSError:
            pass
    return out


def at_once(world, tries, **options):
    """Answers to (port, bytes), several connections at a time; A hears them."""
    with ThreadPoolExecutor(6) as pool:
        return [world.a_heard(answer) for answer in pool.map(lambda one: raw(*one, **options), tries)]


def head(*headers, length=None, path="/v1/traces", method="POST", version="HTTP/1.1", host="h"):
    lines = [f"{method} {path} {version}".encode(), f"host: {host}".encode(), b"content-type: application/json"]
    lines += [h.encode("latin-1") if isinstance(h, str) else h for h in headers]
    if length is not None:
        lines.append(f"content-length: {length}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def a_is(value):
    return f"authorization: {value}"


CLAIMS = ["tollgate-account: {b}", "x-tollgate-account: {b}", "account: {b}", "x-account: {b}", "x-scope-orgid: {b}", "x-tenant: {b}", "x-tenant-id: {b}",
          "tenant: {b}", "x-forwarded-for: 127.0.0.1", "x-forwarded-user: {b}", "x-forwarded-host: {b}", "forwarded: for={b};by={b};host={b}", "via: 1.1 {b}",
          "x-real-ip: 127.0.0.1", "x-remote-user: {b}", "remote-user: {b}", "x-auth-request-user: {b}", "proxy-authorization: {bt}", "x-authorization: {bt}",
          "authorization2: {bt}", "cookie: authorization={bt}; account={b}", "x-original-url: /v1/traces?account={b}", "x-rewrite-url: /{b}/v1/traces",
          "x-http-method-override: GET", "x-ssl-client-s-dn: CN={b}", "x-forwarded-client-cert: Subject=\"CN={b}\";URI=spiffe://{b};DNS={b}", "ssl-client-cert: {b}",
          "x-honeycomb-team: {bt}", "signoz-ingestion-key: {bt}", "x-langfuse-public-key: {b}", "baggage: account={b}", "traceparent: 00-{b}-01",
          "grpc-metadata-authorization: {bt}", "x-envoy-original-path: /{b}", "connection: authorization", "te: trailers", "expect: 100-continue",
          "from: {b}", "origin: https://{b}", "referer: https://{b}/", "user-agent: {b}"]


def claims():
    """(name, headers, statuses): what else A may send beside or in place of its token."""
    for line in CLAIMS:
        filled = line.format(b=B, bt=bearer(B))
        yield line, [a_is(bearer(A)), filled], (200,)
        yield f"first {line}", [filled, a_is(bearer(A))], (200,)
    mixed = [
        ("two tokens", [a_is(bearer(A)), a_is(bearer(B))]), ("two tokens, B's first", [a_is(bearer(B)), a_is(bearer(A))]),
        ("A's token twice", [a_is(bearer(A))] * 2), ("joined by a comma", [a_is(f"{bearer(A)}, {bearer(B)}")]), ("joined by a blank", [a_is(f"{bearer(A)} {token(B)}")]),
        ("in another case", [a_is(bearer(A).replace("token-of-a", "TOKEN-OF-A"))]), ("a prefix of B's token", [a_is(bearer(B)[:-1])]),
        ("B's token and one more character", [a_is(bearer(B) + "x")]), ("B's name as the token", [a_is(f"Bearer {B}")]), ("an empty token", [a_is("Bearer ")]),
        ("B's token without a scheme", [a_is(token(B))]), ("B's name as Basic", [a_is("Basic " + base64.b64encode(f"{B}:{token(A)}".encode()).decode())]),
        ("B's token as a password", [a_is("Basic " + base64.b64encode(f"x:{token(B)}".encode()).decode())]), ("B's token as Digest", [a_is(f"Digest {token(B)}")]),
        ("percent-encoded", [a_is("Bearer " + token(B).replace("-", "%2d"))]), ("NUL within", [a_is(f"Bearer {token(A)}\0{token(B)}")]),
        ("blank before the colon", [f"authorization : {bearer(B)}"]), ("folded", [f"x: y\r\n {a_is(bearer(B))}"]), ("folded token", [f"authorization: Bearer\r\n {token(A)}"]),
        ("underscore", [f"authorization_: {bearer(B)}"]), ("lone CR", [f"x: y\rauthorization: {bearer(B)}"]), ("NEL", [b"x: y\x85authorization: " + bearer(B).encode()]),
        ("no token", []),
    ]
    for name, headers in mixed:
        yield name, headers, None
    # a bare LF ends a line for many parsers: it is then a header like any other, and two of them are refused
    yield "lone LF and a second token", [a_is(bearer(A)), f"x: y\nauthorization: {bearer(B)}"], None


PATHS = ["/v1/traces?account={b}", "/v1/traces?authorization={t}", "/v1/traces?access_token={t}", "/v1/traces#{b}", "/{b}/v1/traces", "//v1/traces", "/v1/traces/", "/v1//traces",
         "/v1/./traces", "/x/../v1/traces", "/v1/traces;account={b}", "/v1/%74races", "/api/public/otel/v1/traces", "http://{b}/v1/traces", "http://u:{t}@h/v1/traces",
         "/v1/traces/../../{b}", "/v1/traces%2f..%2f{b}", "/v1/traces%00{b}", "/V1/TRACES", "*"]


def credentials(world):
    say("OTLP/HTTP: headers, paths, methods")
    traces, wrong, statuses = {}, [], {}

    tries = []

    def attempt(name, data, allowed, trace):
        traces[trace] = name
        # with another's whole and sole token A is that account: no request here has only that
        tries.append((name, data, allowed or (400, 401)))

    for name, headers, allowed in claims():
        trace = world.trace()
        body = dump(spans(trace, "s1", "from a"))
        attempt(name, head(*headers, "connection: close", length=len(body)) + body, allowed, trace)
    for path in PATHS:
        trace = world.trace()
        body = dump(spans(trace, "s1", "from a"))
        attempt(path, head(a_is(bearer(A)), "connection: close", length=len(body), path=path.format(b=B, t=token(B))) + body, (200, 400, 404), trace)
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PATCH", "PROPFIND"):
        trace = world.trace()
        body = dump(spans(trace, "s1", "from a"))
        attempt(method, head(a_is(bearer(A)), "connection: close", length=len(body), method=method) + body, (200, 204, 400, 404, 405), trace)
    for (name, _, allowed), answer in zip(tries, at_once(world, [(world.gateway.http, data) for _, data, _ in tries], wait=10, quiet=10)):
        final = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        status = int(final.split()[1]) if final.startswith(b"HTTP/") else 0
        statuses[status] = statuses.get(status, 0) + 1
        if status not in allowed:
            wrong.append((name, status))
    check(f"{len(traces)} requests have the status that their own credential earns ({statuses})", not wrong, str(wrong))
    stored = world.accounts_of(traces)
    foreign = {traces[trace]: found for trace, found in stored.items() if found - {A}}
    check(f"none is stored for another account, {sum(map(bool, stored.values()))} for A", not foreign and any(stored.values()), str(foreign))


# ---- smuggling -----------------------------------------------------------------------------------------------------

def smuggling(world):
    say("requests within requests")
    traces = {}

    def inner(*headers):
        trace = world.trace()
        body = dump(spans(trace, "s1", "smuggled"))
        traces[trace] = tuple(headers)
        return head(*headers, length=len(body)) + body

    def outer():
        return dump(spans(world.trace(), "s1", "outer"))

    mine = a_is(bearer(A))
    body = outer()
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    both = "transfer-encoding: chunked"
    tries = {
        "CL.TE": lambda x: head(mine, both, length=len(chunk) + len(x)) + chunk + x,
        "TE.CL": lambda x: head(mine, f"content-length: {len(chunk)}", both) + chunk + x,
        "CL short of the body": lambda x: head(mine, length=len(body)) + body + x,
        "two CL, the first longer": lambda x: head(mine, f"content-length: {len(body) + len(x)}", length=len(body)) + body + x,
        "two CL in one line": lambda x: head(mine, f"content-length: {len(body)}, {len(body) + len(x)}") + body + x,
        "CL in hex": lambda x: head(mine, f"content-length: {len(body):#x}") + body + x,
        "CL -1": lambda x: head(mine, length=-1) + x,
        "TE xchunked": lambda x: head(mine, "transfer-encoding: xchunked", length=len(body)) + body + x,
        "TE twice": lambda x: head(mine, both, "transfer-encoding: x") + chunk + x,
        "TE folded": lambda x: head(mine, "transfer-encoding:\r\n chunked", length=len(body)) + body + x,
        "chunk size of 17 digits": lambda x: head(mine, both) + b"1%016x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + x,
        "chunk extension with LF": lambda x: head(mine, both) + b"%x;a\n%s\r\n0\r\n\r\n" % (len(body), body) + x,
        "trailers with B's token": lambda x: head(mine, both, "trailer: authorization") + b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, a_is(bearer(B)).encode()) + x,
        "upgrade to h2c": lambda x: head(mine, "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk", length=len(body)) + body + x,
        "no token, then a token in the body": lambda x: head(length=len(x)) + x,
    }
    sent = [(name, made(inner(*headers))) for name, made in tries.items() for headers in ((), (f"tollgate-account: {B}",), (mine,))]
    answers = at_once(world, [(world.gateway.http, data) for _, data in sent], wait=0.7, quiet=0.3)
    served = [(name, answer.count(b"HTTP/1.1 200")) for (name, _), answer in zip(sent, answers)]
    stored = world.accounts_of(traces)
    # what is pipelined with A's own token is A's; without one nothing is stored, whatever came before on the connection
    foreign = [headers for trace, headers in traces.items() if stored[trace] - ({A} if mine in headers else set())]
    check(f"{len(tries)} ways to hide a request: one without a token is never served by that of the request before", not foreign, str(foreign))
    ambiguous = [one for one in served if one[0] in ("CL.TE", "two CL, the first longer", "two CL in one line", "TE twice", "TE xchunked", "CL in hex", "CL -1") and one[1] > 1]
    check("an ambiguous length never gives two answers of 200", not ambiguous, str(ambiguous))


# ---- gRPC ----------------------------------------------------------------------------------------------------------

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def call(channel, metadata, body):
    """(code, all that the client is told)"""
    export = channel.unary_unary(EXPORT, request_serializer=None, response_deserializer=None)
    try:
        answer, about = export.with_call(body, metadata=metadata, timeout=20)
        return grpc.StatusCode.OK, answer + str(about.trailing_metadata()).encode() + str(about.initial_metadata()).encode()
    except grpc.RpcError as error:
        return error.code(), (str(error.details()) + str(error.trailing_metadata()) + str(error.initial_metadata())).encode()


def grpc_rows(world):
    say("OTLP/gRPC")
    want, wrong = {}, []
    with grpc.insecure_channel(f"127.0.0.1:{world.gateway.grpc}") as channel:
        tries = [([("authorization", bearer(A)), (key.partition(":")[0], key.partition(": ")[2].format(b=B, bt=bearer(B)))], grpc.StatusCode.OK) for key in CLAIMS
                 if key.partition(":")[0] not in ("connection", "te", "expect", "user-agent", "origin")]
        tries += [([("authorization", bearer(A)), ("authorization", bearer(B))], grpc.StatusCode.UNAUTHENTICATED),
                  ([("authorization", bearer(B)), ("authorization", bearer(A))], grpc.StatusCode.UNAUTHENTICATED), ([], grpc.StatusCode.UNAUTHENTICATED),
                  ([("authorization-bin", bearer(B).encode())], grpc.StatusCode.UNAUTHENTICATED),
                  ([("authorization", bearer(A)), ("authorization-bin", bearer(B).encode())], grpc.StatusCode.OK),
                  ([("authorization", bearer(A)), ("grpc-tags-bin", B.encode())], grpc.StatusCode.OK)]
        for n, (metadata, code) in enumerate(tries):
            trace = world.trace()
            got, told = call(channel, metadata, protobuf(spans(trace, "s1", "over grpc")))
            world.a_heard(told)
            want[trace] = {A} if code == grpc.StatusCode.OK else set()
            if got != code:
                wrong.append((metadata[-1:], got))
            # B's calls go over the same connection
            trace = world.trace()
            got, _ = call(channel, [("authorization", bearer(B))], protobuf(spans(trace, "s1", f"canary-of-b {n}")))
            want[trace] = {B} if got == grpc.StatusCode.OK else {"none"}
    check(f"{len(tries)} sorts of metadata, B's calls on the same connection: the code that its own token earns", not wrong, str(wrong))

    stored = world.accounts_of(want)
    foreign = [(trace, stored[trace], want[trace]) for trace in want if stored[trace] != want[trace]]
    check("each is stored for its own token's account, or not at all", not foreign, str(foreign[:3]))


# ---- what telemetry claims -----------------------------------------------------------------------------------------

def attributes(world):
    say("attributes that claim another account, and references to another's objects")
    victim = world.send(B, "b-session", "canary-of-b: the secret of B", more={"gen_ai.tool.name": "b_tool"}, resource={"tenant.id": "b-tenant", "feature": "b-feature"})
    row = next(row for row in world.rows() if row.get("trace_id") == victim and row.get("object_key"))
    uri = f"file://{os.path.join(world.gateway.store, row['object_key'])}"
    claimed = {key: value for key, value in {
        "tollgate.account": B, "account": B, "account.id": B, "tollgate.tenant": B, "tollgate.run.id": victim, "tollgate.run.turn": "1", "tollgate.cost.usd": "9999",
        "tollgate.vault.account": B, "gen_ai.payload.s3_uri": uri, "gen_ai.payload.range": f"bytes={row['off']}-{row['off'] + row['len'] - 1}",
        "gen_ai.payload.leaf": f"{row.get('writer')}/{row.get('epoch')}/{row.get('leaf', 0)}", "gen_ai.payload.key_id": row["key_id"], "gen_ai.input.messages_ref": uri,
        "gen_ai.output.messages_ref": uri, "gen_ai.system_instructions_ref": uri, "gen_ai.tool.call.arguments_ref": uri, "gen_ai.tool.call.result_ref": uri}.items()}
    traces = [world.send(A, "s1", "claims", more=claimed), world.send(A, "s1", "claims", resource=claimed),
              world.send(A, "s1", "claims", more={f"gen_ai.x.{n}": uri for n in range(3)})]
    sessions = ["../b-session", f"../../{B}/b-tenant/b-session", f"{B}/b-session", "b-session%2f..", "b-session\0", "..", ".", "b\u2011session", "s" * 5000, f"/{B}", "\\..\\", "=quarantine"]
    for n, session in enumerate(sessions):
        traces.append(world.send(A, session, f"session {n}", resource={"tenant.id": sessions[-n - 1], "account": B}))
    rows = [one for one in world.rows() if one.get("trace_id") in traces]
    stored = {trace: {one["account"] for one in rows if one["trace_id"] == trace} for trace in traces}
    check(f"{len(traces)} requests with claims, and ids that are paths: all are A's", all(found == {A} for found in stored.values()), str(stored))
    outside = [one["object_key"] for one in rows if one.get("object_key") and not one["object_key"].startswith((f"{A}/", f"packed/{A}/"))]
    check("their objects are in A's folder", rows and not outside, str(outside[:3]))
    object_name, references = os.path.basename(row["object_key"]), set()
    for item in world.delivered(traces):
        for key, value in {**item["resource"], **item["attributes"]}.items():
            text = json.dumps(value)
            is_ours = not key.startswith("tollgate.reported.") and (key.startswith(("gen_ai.payload.", "tollgate.")) or key.endswith("_ref"))
            if is_ours and (object_name in text or row["key_id"] in text or ("9999" in text and "cost" in key) or (key == "tollgate.run.id" and victim in text)):
                references.add(key)
    check("no stamp or reference of the gateway's name leads to B's object, key, run or a false price", not references, str(references))


# ---- equal ids -----------------------------------------------------------------------------------------------------

def equal(world):
    say("the same bytes, ids and sessions from A and B")
    trace = world.trace()
    sums = api(world, "/api/sums")["by_account"]
    paid = {name: float(account_sum(sums, name)) for name in (A, B)}
    quote = "the quick brown otter never signs the seventh amendment of the harbour treaty without a lamp"
    body = dump(spans(trace, "s1", quote, response="msg_same"))
    said = [world.post(account, body) for account in (A, B, A, B)]
    packed = protobuf(spans(trace, "s1", quote, response="msg_same"))
    with grpc.insecure_channel(f"127.0.0.1:{world.gateway.grpc}") as channel:
        for account in (A, B):
            call(channel, [("authorization", bearer(account))], packed)
    check("all are accepted", said == [200] * 4, str(said))
    rows = [row for row in world.rows() if row.get("trace_id") == trace and row.get("object_key")]
    mine, theirs = [[row for row in rows if row["account"] == account] for account in (A, B)]
    check("both are stored", mine and theirs and {row["account"] for row in rows} == {A, B}, str(len(rows)))
    for what in ("key_id", "object_key", "fragment"):
        check(f"no {what} in common", not {row[what] for row in mine} & {row[what] for row in theirs})
    commitments = [{json.dumps(row[key]) for row in side for key in row if "commit" in key and row[key]} for side in (mine, theirs)]
    check("commitments to equal content differ", not commitments[0] & commitments[1], str(commitments))
    stock = world.gateway.vault_opened()
    own, opens = stock.session_key(mine[0]["key_id"]), []
    for row in (mine[0], theirs[0]):
        sealed = read(os.path.join(world.gateway.store, row["object_key"]), "rb")[row["off"]:row["off"] + row["len"]]
        opens.append(subprocess.run(["age", "-d", "-i", own], input=sealed, capture_output=True).returncode == 0)
    check("A's session key opens its content, and not B's", opens == [True, False], str(opens))

    def billed():
        now = api(world, "/api/sums")["by_account"]
        return {name: round(float(account_sum(now, name)) - paid[name], 6) for name in (A, B)}
    until("billed", lambda: all(billed().values()), 10)
    cost = billed()
    check("a response id that both report is billed to each, once", cost[A] == cost[B] > 0, str(cost))
    runs = [run for run in api(world, "/api/runs?limit=1000")["runs"] if run["trace_id"] == trace]
    check("each has a run of its own", sorted(run["account"] for run in runs) == sorted((A, B)), str([run["account"] for run in runs]))

    # text that quotes A's content is an echo for A only: B would learn from `[CONTENT]` that A said it
    echoes = {account: world.send(account, "s1", f"question of {account}", error=f"failed on {quote}") for account in (A, B)}
    control = world.send(A, "s1", "plain", error="failed on something that nobody ever put into a prompt of this test")
    # B said it too, in the same session: a third account did not
    third = world.send("v1", "s1", "question", error=f"failed on {quote}")
    said = {item["trace_id"]: item["status"]["message"] for item in world.delivered([*echoes.values(), control, third])}
    check("control: a message that quotes nothing is forwarded", "nobody ever put" in said[control])
    check("A's content quoted by A becomes a placeholder", "brown otter" not in said[echoes[A]])
    check("quoted by an account that never sent it, it is ordinary text", "brown otter" in said[third])


def api(world, path):
    return world.gateway.ask(path)


def account_sum(by_account, name):
    one = by_account.get(name, {})
    return (one.get("all") or one).get("cost_usd") or 0


# ---- limits --------------------------------------------------------------------------------------------------------

def limits(world):
    say("limits: A floods")
    def tight(config):
        tokens = {A: [token(A)], B: [token(B)]}
        config["receivers"]["otlp"]["auth"] = {"tokens": tokens}
        config["limits"] = {"per_account": {"requests_per_second": 4, "bytes_per_second": "1MiB"}}
    work = os.path.join(world.work, "limits")
    os.makedirs(work)
    gateway = Gateway(work, outlet(world.back), change=tight, log="info").start()
    got, told, stop = {A: {}, B: {}}, [], threading.Event()

    def flood():
        while not stop.is_set():
            status, about, answer = fetch(f"http://127.0.0.1:{gateway.http}/v1/traces", dump(spans(world.trace(), "s1", "x" * 1000)), {"content-type": JSON, "authorization": bearer(A)})
            got[A][status] = got[A].get(status, 0) + 1
            told.append(str(about).encode() + answer)

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for one in threads:
        one.start()
    # B keeps to the same limit; a machine with much else to do sends few requests a second for A
    for _ in range(10):
        status, _, _ = fetch(f"http://127.0.0.1:{gateway.http}/v1/traces", dump(spans(world.trace(), "s1", "canary-of-b")), {"content-type": JSON, "authorization": bearer(B)})
        got[B][status] = got[B].get(status, 0) + 1
        time.sleep(0.3)
    stop.set()
    for one in threads:
        one.join()
    check("A is refused with 429", got[A].get(429, 0) > 5, str(got))
    check("B is never refused meanwhile", set(got[B]) == {200}, str(got))
    limited = {name: gateway.series("tollgate_account_limited_requests_total", account=name) for name in (A, B)}
    check("/metrics counts the refusals for A, none for B", sum(limited[A]) > 5 and not sum(limited[B]), str(limited))
    world.heard += told
    gateway.stop()


# ---- pages, API and metrics ----------------------------------------------------------------------------------------

def pages(world):
    say("page, API and metrics by account")
    traces = [world.send(B, "b-session", f"canary-of-b {n}", resource={"tenant.id": "b-shown", "feature": "b-feature"}) for n in range(3)]
    world.send(A, "s1", "mine", resource={"tenant.id": "a-tenant"})
    until("runs", lambda: len([run for run in api(world, "/api/runs?limit=1000")["runs"] if run["trace_id"] in traces]) == 3, 10)
    until("the page has them", lambda: b"b-shown" in fetch(f"http://127.0.0.1:{world.gateway.admin}/runs?account={B}&limit=1000")[2], 15)
    shown = []
    for path in ("/runs?account={}&limit=1000", "/runs?account={}&session=b-session", f"/api/runs/{traces[0]}?account={{}}", f"/api/runs/{traces[0]}/budget?account={{}}"):
        for name in (A, "acme%00", "%2e%2e/bravo-victim", "bravo-victi", "Bravo-Victim", "br%D0%B0vo-victim", "*", "acme,bravo-victim"):
            status, _, body = fetch(f"http://127.0.0.1:{world.gateway.admin}{path.format(name)}", headers={"accept": JSON})
            found = [one for one in (*traces, "b-shown") if one not in path and one.encode() in body]
            if found or (traces[0] in path and status == 200):
                shown.append((path.format(name), status, found))
    check("with another account's name, or a name that only looks like B's, no row of B is shown", not shown, str(shown[:4]))
    for path in (f"/runs/{traces[0]}?account={B}", f"/api/runs/{traces[0]}?account={B}"):
        check(f"control: {path.split('/')[1]} shows it for B", fetch(f"http://127.0.0.1:{world.gateway.admin}{path}", headers={"accept": JSON})[0] == 200)
    # runs are summed up once a second
    until("B's sums", lambda: "b-shown" in json.dumps(api(world, "/api/sums")["by_account"].get(B)), 30)
    sums = api(world, "/api/sums")["by_account"]
    check("the sums of A have no tenant or feature of B", "b-shown" in json.dumps(sums[B]) and not any(word in json.dumps(sums.get(A, {})) for word in ("b-shown", "b-feature")))
    lines = [line for line in world.gateway.metrics() if f'account="{A}"' in line and any(word.decode() in line for word in CANARIES)]
    check("no series of A carries a label of B", not lines, str(lines[:3]))
    # A's token is no credential of the admin port, and the receivers' ports serve nothing to read
    answers = []
    for port in (world.gateway.http, world.gateway.grpc):
        for path in ("/", "/runs", "/api/runs", "/metrics", f"/vault/{B}", "/../api/runs", "/v1/traces"):
            answers.append(raw(port, head(a_is(bearer(A)), "connection: close", method="GET", path=path)))
    check("the receivers' ports serve nothing to read", all(not one.startswith(b"HTTP/1.1 200") for one in answers), str([one[:60] for one in answers if one.startswith(b"HTTP/1.1 200")]))
    world.heard += [one for one in answers if one]


# ---- the vault -----------------------------------------------------------------------------------------------------

TRICKS = ["acm", "acme*", "../bravo-victim", "acme/../bravo-victim", "%2e%2e/bravo-victim", "bravo-victi", "Bravo-Victim ", "br\u0430vo-victim", "*", "a" * 5000]


def vault(world):
    say("the vault's names and commands")
    trace = world.send(B, "s1", "canary-of-b in s1", resource={"tenant.id": "b-tenant"})
    rows = world.rows()
    store, identity = world.gateway.store, world.gateway.identity
    own = {row["account"] for row in rows}
    folders = {}
    for row in rows:
        if row.get("object_key"):
            folders.setdefault(row["account"], set()).add(row["object_key"].split("/")[0] + "/")
    clash = [(x, y) for x in folders for y in folders if x != y and any(a.startswith(b) for a in folders[x] for b in folders[y])]
    check(f"{len(folders)} accounts, among them folders' names of the vault: no folder of one is a prefix of another's", len(folders) > 15 and not clash, str(clash))
    misplaced = [row["object_key"] for row in rows if row.get("object_key") and row["account"] in (A, B) and not row["object_key"].startswith(row["account"] + "/")]
    check("every object of A and B is in its own folder", not misplaced, str(misplaced[:3]))
    by_key = {}
    for row in rows:
        if row.get("key_id"):
            by_key.setdefault(row["key_id"], set()).add(row["account"])
    check(f"{len(by_key)} session keys, each of one account", by_key and all(len(one) == 1 for one in by_key.values()))
    common = ["--store", store]
    opening = [*common, "--identity", identity, "--log", "none"]

    def find(*arguments):
        code, out = world.command("vault", "find", *common, "--json", *arguments, code=None)
        return [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    check("find --account A has only A's lines", {row["account"] for row in find("--account", A)} == {A})
    check("find --account B has them (control)", {row["account"] for row in find("--account", B)} == {B} and own >= {A, B})
    check("find --account A with B's session, trace or tenant has none", not find("--account", A, "--session", "b-session") and not find("--account", A, "--trace", trace) and not find("--account", A, "--tenant", "b-tenant"))
    foreign = [name[:30] for name in TRICKS if any(row["account"] == B for row in find("--account", name))]
    check(f"{len(TRICKS)} names that are paths, patterns or look-alikes have none of B's lines", not foreign, str(foreign))
    reading = (("replay", "s1"), ("replay", "b-session"), ("get", "--trace", trace), ("export", "s1", "--format", "messages"))
    leaks = [(name, command) for name in (A, *TRICKS[2:4]) for command in reading
             if b"canary-of-b" in world.command("vault", *command, *opening, "--account", name, code=None)[1]]
    check("replay, get and export for another account print nothing of B", not leaks, str(leaks))
    controls = {command[0]: b"canary-of-b" in world.command("vault", *command, *opening, "--account", B)[1] for command in (("replay", "s1"), ("get", "--trace", trace), ("export", "s1", "--format", "messages"))}
    check("control: for B they do", all(controls.values()), str(controls))
    theirs = [*common, "--identity", world.limited, "--log", "none"]
    world.send(A, "s1", "mine alone")
    world.rows()
    said = {account: world.command("vault", "replay", "s1", *theirs, "--account", account, code=None) for account in (A, B)}
    check("the key of an auditor of A opens A's session", b"mine alone" in said[A][1], str(said[A][0]))
    got = world.command("vault", "get", "--trace", trace, *theirs, code=None)
    check("but nothing of B", all(code != 0 and b"canary-of-b" not in out for code, out in (said[B], got)), f"{said[B][0]} {got[0]}")
    code, out = world.command("vault", "replay", "s1", *opening, code=None)
    check("a session of several accounts is not shown without --account", code != 0 and b"canary-of-b" not in out, str(code))


# ---- mutated requests ----------------------------------------------------------------------------------------------


ROWS = {"names": names, "http": credentials, "smuggling": smuggling, "grpc": grpc_rows, "attributes": attributes, "equal": equal, "limits": limits,
        "pages": pages, "vault": vault}


def main():
    work = workdir("isolation")
    world = World(work)
    for name in sys.argv[1:] or ROWS:
        began, world.heard = time.monotonic(), []
        ROWS[name](world)
        if world.heard:
            world.clean(name, world.heard)
        figure(name, f"{time.monotonic() - began:.1f}", "s")
    leaks = [word for word in ("canary-of-b", token(B), token(A)) if word in world.gateway.log()]
    check("no token and no content is logged", not leaks, str(leaks))
    world.gateway.stop()
    finish(work)


if __name__ == "__main__":
    main()
