"""Proxies that ask tollgate's budgets before each call: the files of deploy/proxies, with the real Envoy and the real LiteLLM proxy in front of the
mock model. Below the limit a call passes; above it the client gets 403 and the sentence, and the model nothing. A client that names another
user changes nothing, and what a gateway that is away or hangs does to calls is as docs/how-to/budgets-proxies.md says.

`latency` instead: how long answers take, 200 questions and 50 hooks a second beside 1,000 spans a second. Figures, no checks of time.
"""
import base64
import hashlib
import hmac
import http.client
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import threading
import time
from http.server import ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import load  # noqa: E402
import mock_model  # noqa: E402
from decode import REQUESTS  # noqa: E402
from harness import (CACHE, HERE, REPO, Gateway, Sink, check, figure, finish, free_port, http as ask_http, outlet, read, say, start, status_of, tollgate,  # noqa: E402
                     until, workdir, write, write_json)

PROXIES = os.path.join(REPO, "deploy", "proxies")
VENV = os.path.join(CACHE, "venv-budgets", "bin")
MODEL = "claude-sonnet-4-5"
# of two accounts: who sends telemetry, and who asks
SENDERS = {account: f"{account}-sender-0123456789" for account in ("acme", "other")}
ASKERS = {account: f"{account}-budget-0123456789" for account in ("acme", "other")}
VENDOR_KEY = "vendor-key-0123456789"
SECRET = b"a secret of the identity provider"
# Seconds in which a proxy must give up on tollgate; most of it is for a busy machine, since the proxies wait a second at most.
SOON = 15
# 15 USD a million tokens
TOKENS_OF_A_DOLLAR = 66_667
SESSIONS = ("11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000")


# ---- the gateway ---------------------------------------------------------------------------------------------------

def gateway_for(work):
    """A gateway with a budget for each user and one for each session, and the port on which it answers questions."""
    folder = os.path.join(work, "gateway")
    sink, port = Sink(os.path.join(folder, "sink")), free_port()

    def with_budgets(config):
        senders = {account: [token] for account, token in SENDERS.items()}
        config["receivers"]["otlp"]["auth"] = {"tokens": senders}
        config["receivers"]["claude_code_hooks"] = {"endpoint": f"127.0.0.1:{port}", "auth": {"tokens": senders}, 
                                                      "budget_tokens": {account: [token] for account, token in ASKERS.items()}}
        config["service"]["pipelines"]["traces"]["receivers"].append("claude_code_hooks")
        config["processors"]["runs"]["budgets"] = {
            "dev-daily": {"scope": "user", "period": "day", "amount": "10 USD", "warn_at": ["80%"], "action": "deny", "contact": "#platform"},
            "one-session": {"scope": "session", "amount": "5 USD", "action": "deny"}}

    gateway = Gateway(folder, outlet(sink), change=with_budgets)
    gateway.asked = port
    return gateway.start(), sink


def decision(gateway, account="acme", body=None, **names):
    """(status, decision) of a question by the account's token."""
    status, _, answer = ask_http(f"http://127.0.0.1:{gateway.asked}/v1/budget", body or json.dumps(names).encode(),
                                 {"authorization": f"Bearer {ASKERS[account]}", "content-type": "application/json"})
    return status, json.loads(answer).get("decision") if answer else None


def spend(gateway, user, dollars, account="acme", session=None):
    """A model call of so much by a user, and what was spent is known."""
    out, now = REQUESTS["traces"](), time.time_ns()
    resource = out.resource_spans.add()
    load.add(resource.resource.attributes, service__name="agent")
    span = resource.scope_spans.add().spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name=f"chat {MODEL}", kind=3,
                                                start_time_unix_nano=now - 10**9, end_time_unix_nano=now)
    named = {"gen_ai__conversation__id": session} if session else {}
    load.add(span.attributes, user__id=user, gen_ai__operation__name="chat", gen_ai__provider__name="anthropic", gen_ai__request__model=MODEL,
             gen_ai__response__id=f"msg_{os.urandom(8).hex()}", gen_ai__usage__input_tokens=0,
             gen_ai__usage__output_tokens=int(dollars * TOKENS_OF_A_DOLLAR), **named)
    gateway.send("traces", out.SerializeToString(), authorization=f"Bearer {SENDERS[account]}")


def known(gateway, wanted, **names):
    until(f"the answer {wanted}", lambda: decision(gateway, **names) == (200, wanted), 20, 0.1)


# ---- the model -----------------------------------------------------------------------------------------------------

class Model:
    """The mock model, and the headers of what it was asked."""

    def __init__(self):
        self.mock = mock_model.Mock("budgets", {"dear": {"marker": "dear", "bare": True, "anywhere": True, "steps": [
            {"say": "done", "usage": {"in": 10, "out": 6 * TOKENS_OF_A_DOLLAR, "read": 0, "w5": 0, "w1": 0}} for _ in range(9)]}})
        self.headers = headers = []

        class Handler(mock_model.handler(self.mock)):
            def do_POST(self):
                headers.append({name.lower(): value for name, value in self.headers.items()})
                super().do_POST()

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.port = server.server_address[1]

    def calls(self):
        return len(self.headers)


def call(port, token, path="/v1/messages", say="hello", headers=None, **more):
    """(status, headers, body as JSON or text, seconds) of a model call through a proxy."""
    body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": say}], **more}
    if path == "/v1/responses":
        body["input"] = body.pop("messages")
    began = time.monotonic()
    status, answered, text = ask_http(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(),
                                      {"content-type": "application/json", "authorization": f"Bearer {token}", **(headers or {})})
    try:
        text = json.loads(text)
    except ValueError:
        text = text.decode(errors="replace")
    return status, answered, text, time.monotonic() - began


def message(text):
    """The message of an error, where SDKs look for it."""
    return text.get("error", {}).get("message", "") if isinstance(text, dict) else ""


def stopped(what, model, before, answer, sentence="$10.50 of $10.00 today (budget dev-daily)"):
    status, _, text, _ = answer
    check(f"{what}: 403, the sentence, and the model is not asked", status == 403 and sentence in message(text) and model.calls() == before,
          f"{status} {str(text)[:300]}, {model.calls() - before} calls")


def passed(what, model, before, answer, most=None):
    status, _, text, seconds = answer
    check(f"{what}: the model answers", status == 200 and model.calls() == before + 1, f"{status} {str(text)[:300]}, {model.calls() - before} calls")
    if most:
        check(f"{what}: within {most} s", seconds < most, f"{seconds:.2f} s")


# ---- Envoy ---------------------------------------------------------------------------------------------------------

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def jwt(user, **claims):
    """A token of the identity provider."""
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "one"},
             {"iss": "https://id.corp.example", "aud": "models", "exp": int(time.time()) + 600, "email": f"{user}@corp.example", "org": "corp", **claims}]
    signed = b".".join(base64url(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + base64url(hmac.new(SECRET, signed, hashlib.sha256).digest())).decode()


class Envoy:
    """The file of deploy/proxies with the addresses and keys of this test, and `failure_mode_allow` as wanted."""

    def __init__(self, work, gateway, model, fails_open):
        self.port, self.admin = free_port(), free_port()
        config = json.loads(subprocess.run([f"{VENV}/python", "-c", "import json,sys,yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"],
                                           input=read(f"{PROXIES}/envoy.yaml"), capture_output=True, text=True, check=True).stdout)
        listener = config["static_resources"]["listeners"][0]
        address(listener, self.port)
        filters = {one["name"]: one["typed_config"] for one in listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]}
        filters["budget"]["failure_mode_allow"] = fails_open
        company = filters["token"]["providers"]["company"]
        del company["remote_jwks"]
        keys = {"keys": [{"kty": "oct", "alg": "HS256", "kid": "one", "k": base64url(SECRET).decode()}]}
        company["local_jwks"] = {"inline_string": json.dumps(keys)}
        clusters = {one["name"]: one for one in config["static_resources"]["clusters"]}
        config["static_resources"]["clusters"] = [clusters["tollgate"], clusters["model"]]
        del clusters["model"]["transport_socket"]
        for name, port in (("tollgate", gateway.asked), ("model", model.port)):
            address(clusters[name]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"], port)
        config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}}
        path = os.path.join(work, f"envoy-{self.port}.json")
        write_json(path, config)
        self.command = [f"{VENV}/envoy", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
        with open(f"{path}.log", "wb") as log:
            start([*self.command, "-c", path], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                  env={**os.environ, "TOLLGATE_BUDGET_TOKEN": ASKERS["acme"], "ANTHROPIC_API_KEY": VENDOR_KEY})
        until("Envoy", lambda: status_of(f"http://127.0.0.1:{self.admin}/ready") == 200, 30)

    def counted(self, name):
        """A counter of Envoy."""
        lines = ask_http(f"http://127.0.0.1:{self.admin}/stats?filter={name}")[2].decode().splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines)


def address(where, port):
    where["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def envoy(work, gateway, model):
    """Questions of Envoy, with tollgate there."""
    proxy = Envoy(work, gateway, model, True)
    done = subprocess.run([f"{VENV}/envoy", "--mode", "validate", "-c", f"{PROXIES}/envoy.yaml"], capture_output=True, text=True)
    check("Envoy: the file is valid as it is, and uses nothing that is marked as work in progress",
          done.returncode == 0 and "work-in-progress" not in done.stderr, done.stderr[-400:])
    before = model.calls()
    for what, token in (("no token", ""), ("a token of tollgate's", ASKERS["other"]), ("a token of another provider", jwt("joe", iss="https://else.example"))):
        check(f"Envoy: {what}: 401, and the model is not asked", call(proxy.port, token)[0] == 401 and model.calls() == before)
    passed("Envoy: a user below the limit", model, before, call(proxy.port, jwt("joe"), headers={"x-tollgate-user": "jane@corp.example"}))
    got = model.headers[-1]
    check("Envoy: the model gets the vendor's key, and neither names nor tokens", got["x-api-key"] == VENDOR_KEY and "authorization" not in got
          and not [name for name in got if name.startswith("x-tollgate")], str(sorted(got)))
    note = call(proxy.port, jwt("ann"))[1].get("x-tollgate-budget-note") or ""
    check("Envoy: above a warning the client gets a note", "$8.50 of $10.00 today" in note, note)
    before = model.calls()
    stopped("Envoy: above the limit", model, before, call(proxy.port, jwt("jane")))
    for forged in ({"x-tollgate-user": "joe@corp.example"}, {"X-Tollgate-User": "joe@corp.example", "x-tollgate-tenant": "x"}):
        stopped(f"Envoy: {len(forged)} forged headers", model, before, call(proxy.port, jwt("jane"), headers=forged))
    stopped("Envoy: the SDK's header for keys", model, before, call(proxy.port, "", headers={"authorization": "", "x-api-key": jwt("jane")}))
    header = "x-claude-code-session-id"
    stopped("Envoy: a session above its limit", model, before, call(proxy.port, jwt("joe"), headers={header: SESSIONS[0]}),
            "This session has used $6.00 of $5.00 (budget one-session)")
    passed("Envoy: another session", model, before, call(proxy.port, jwt("joe"), headers={header: SESSIONS[1]}))
    before = model.calls()
    passed("Envoy: a session that only tollgate's header names", model, before, call(proxy.port, jwt("joe"), headers={"x-tollgate-session": SESSIONS[0]}))
    return proxy, Envoy(work, gateway, model, False)


def envoy_alone(what, model, opened, closed):
    """Calls while tollgate gives no answer."""
    before = model.calls()
    passed(f"Envoy, tollgate {what}, failure_mode_allow", model, before, call(opened.port, jwt("joe")), SOON)
    check(f"Envoy, tollgate {what}: counts such calls", opened.counted("ext_authz.failure_mode_allowed") > 0)
    before, answer = model.calls(), call(closed.port, jwt("joe"))
    check(f"Envoy, tollgate {what}, without it: 503 within {SOON} s, and the model is not asked", answer[0] == 503 and answer[3] < SOON and model.calls() == before,
          f"{answer[0]}, {answer[3]:.2f} s")


# ---- LiteLLM -------------------------------------------------------------------------------------------------------

ROUTES = ("/v1/messages", "/v1/chat/completions", "/v1/responses")


class LiteLLM:
    """The files of deploy/proxies with the address of the model and keys without a database."""

    def __init__(self, work, gateway, model, on_failure):
        self.folder, self.port = os.path.join(work, f"litellm-{on_failure}"), free_port()
        os.makedirs(self.folder)
        for path in (f"{PROXIES}/tollgate_budget.py", f"{HERE}/budgets/keys.py"):
            write(os.path.join(self.folder, os.path.basename(path)), read(path))
        key = "      api_key: os.environ/ANTHROPIC_API_KEY\n"
        config = read(f"{PROXIES}/litellm.yaml")
        assert key in config
        config = config.replace(key, f"{key}      api_base: http://127.0.0.1:{model.port}\n") + "general_settings: { custom_auth: keys.of }\n"
        write(os.path.join(self.folder, "config.yaml"), config)
        self.env = {**os.environ, "TOLLGATE_BUDGET_TOKEN": ASKERS["acme"], "TOLLGATE_BUDGET_URL": f"http://127.0.0.1:{gateway.asked}/v1/budget",
                    "TOLLGATE_BUDGET_ON_FAILURE": on_failure, "ANTHROPIC_API_KEY": VENDOR_KEY, "LITELLM_MASTER_KEY": f"sk-master-{os.urandom(16).hex()}",
                    "LITELLM_LOCAL_MODEL_COST_MAP": "True", **dict(re.findall(r"^#   (\w+)=(\S+)$", config, re.M)),
                    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{gateway.http}", "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SENDERS['acme']}"}

    def start(self):
        command = [f"{VENV}/litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(self.port), "--telemetry", "False"]
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = start(command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def up(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"LiteLLM ended: {read(os.path.join(self.folder, 'log'))[-1500:]}")
        return status_of(f"http://127.0.0.1:{self.port}/health/liveliness") == 200


def key_of(user):
    return f"sk-{user}-0123456789"


def litellm(gateway, model, proxy):
    """Questions of LiteLLM, with tollgate there."""
    for route in ROUTES:
        before = model.calls()
        passed(f"LiteLLM {route}: a user below the limit", model, before, call(proxy.port, key_of("joe"), route))
        before = model.calls()
        stopped(f"LiteLLM {route}: above the limit", model, before, call(proxy.port, key_of("jane"), route))
        stopped(f"LiteLLM {route}: who names another user", model, before,
                call(proxy.port, key_of("jane"), route, user="joe@corp.example", stream=True, headers={"x-tollgate-user": "joe@corp.example"}))
    stopped("LiteLLM: a session above its limit", model, before, call(proxy.port, key_of("joe"), headers={"x-claude-code-session-id": SESSIONS[0]}),
            "This session has used $6.00 of $5.00 (budget one-session)")
    # names that tollgate refuses: no way round the question
    for what, headers, more in (("long", {"x-litellm-session-id": "x" * 2000}, {}), ("huge", {}, {"litellm_session_id": "x" * 70_000}),
                                ("broken", {}, {"litellm_session_id": "\ud800"}), ("wrong", {}, {"litellm_session_id": [1]})):
        before, answer = model.calls(), call(proxy.port, key_of("jane"), headers=headers, **more)
        check(f"LiteLLM: a {what} session: 400 or 403, and the model is not asked", answer[0] in (400, 403) and model.calls() == before, f"{answer[0]} {str(answer[2])[:200]}")
    stopped("LiteLLM: a user whom an application names", model, before, call(proxy.port, key_of("app"), "/v1/chat/completions", user="jane@corp.example"))


def reported(gateway, model, proxy):
    """LiteLLM reports its own calls, and these stop its users: whoever names another user in the body spends all the same."""
    for route, user, more in (("/v1/messages", "may", {"metadata": {"user_id": "joe@corp.example"}}), ("/v1/chat/completions", "kim", {"user": "joe@corp.example"}),
                              ("/v1/responses", "lee", {"user": "joe@corp.example"})):
        for _ in range(2):
            before = model.calls()
            passed(f"LiteLLM {route}: a call of six dollars", model, before, call(proxy.port, key_of(user), route, "dear", **more))
        known(gateway, "deny", user=f"{user}@corp.example")
        before = model.calls()
        stopped(f"LiteLLM {route}: the third one", model, before, call(proxy.port, key_of(user), route, "dear", **more), "$12.00 of $10.00 today")
    check("LiteLLM: the user that they named has spent nothing", decision(gateway, user="joe@corp.example") == (200, "allow"))


def litellm_alone(what, model, opened, closed):
    before = model.calls()
    passed(f"LiteLLM, tollgate {what}, on failure allow", model, before, call(opened.port, key_of("joe")), SOON)
    before, answer = model.calls(), call(closed.port, key_of("joe"))
    check(f"LiteLLM, tollgate {what}, on failure deny: 503 within {SOON} s, and the model is not asked", answer[0] == 503 and answer[3] < SOON and model.calls() == before,
          f"{answer[0]}, {answer[3]:.2f} s")


# ---- answers, without a proxy --------------------------------------------------------------------------------------

def admin_token(gateway):
    """The file with the token of the admin port, which tollgate made."""
    return next(os.path.join(folder, "admin.token") for folder, _, names in os.walk(gateway.data) if "admin.token" in names)


def granted(gateway, model, envoy, litellm):
    """More for one user, for a time."""
    code, _, why = tollgate("budgets", "grant", "jane@corp.example", "--account", "acme", "--amount", "5USD", "--for", "1h", "--reason", "the release",
                            "--admin", f"http://127.0.0.1:{gateway.admin}", "--admin-token-file", admin_token(gateway))
    check("a grant is taken", code == 0, why)
    known(gateway, "allow", user="jane@corp.example")
    before = model.calls()
    passed("Envoy: after a grant", model, before, call(envoy.port, jwt("jane")))
    passed("LiteLLM: after a grant", model, before + 1, call(litellm.port, key_of("jane")))


def questions(gateway):
    check("a question without a token is refused", ask_http(f"http://127.0.0.1:{gateway.asked}/v1/budget", b"{}")[0] == 401)
    check("the same user in another account has spent nothing", decision(gateway, "other", user="jane@corp.example") == (200, "allow"))
    check("a body can't name an account", decision(gateway, "other", body=b'{"account": "acme"}')[0] == 400)
    check("what is no JSON is refused", decision(gateway, body=b"{")[0] == 400)
    check("10 MB are refused", decision(gateway, body=b'{"user": "' + b"x" * 10_000_000 + b'"}')[0] == 413)
    check("a token for questions sends no telemetry",
          gateway.post("traces", b"", authorization=f"Bearer {ASKERS['acme']}")[0] == 401)


def proxies():
    work, model = workdir("budgets"), Model()
    gateway, _ = gateway_for(work)
    opened, closed = [LiteLLM(work, gateway, model, word).start() for word in ("allow", "deny")]
    for user, dollars in (("jane", 10.5), ("ann", 8.5), ("joe", 0.1)):
        spend(gateway, f"{user}@corp.example", dollars)
    spend(gateway, "nobody", 6, session=SESSIONS[0])
    known(gateway, "deny", user="jane@corp.example")
    known(gateway, "deny", session=SESSIONS[0])
    questions(gateway)
    envoys = envoy(work, gateway, model)
    until("LiteLLM", lambda: opened.up() and closed.up(), 120, 0.2)
    litellm(gateway, model, opened)
    reported(gateway, model, opened)
    with gateway.frozen():
        envoy_alone("hangs", model, *envoys)
        litellm_alone("hangs", model, opened, closed)
    gateway.kill()
    envoy_alone("is away", model, *envoys)
    litellm_alone("is away", model, opened, closed)
    gateway.start()
    before = model.calls()
    stopped("Envoy: after a kill of tollgate", model, before, call(envoys[0].port, jwt("jane")))
    stopped("LiteLLM: after a kill of tollgate", model, before, call(opened.port, key_of("jane")))
    granted(gateway, model, envoys[0], opened)
    gateway.ends("budgets")
    rows = [row for row in gateway.vault_opened().rows() if row.get("kind") == "decision"]
    figure("decisions in the vault's index", len(rows))
    stops = {row["budget"]["name"] for row in rows if row["budget"]["answer"] == "deny"}
    check("the vault's index has decisions of each budget that stopped calls", stops == {"dev-daily", "one-session"}, str(stops))
    finish(work)


# ---- latency -------------------------------------------------------------------------------------------------------

def timed(results, port, path, bodies, token, per_second, seconds):
    """Asks so often a second, each at its time, over eight connections; what is put: [(seconds, status, body)]."""
    out, lock, began = [], threading.Lock(), time.monotonic() + 0.2
    numbers = iter(range(int(per_second * seconds)))

    def asks():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            due = began + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            body = bodies(number)
            sent = time.monotonic()
            connection.request("POST", path, body, {"content-type": "application/json", "authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            text = answer.read()
            out.append((time.monotonic() - sent, answer.status, text.decode()))

    threads = [threading.Thread(target=asks) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(out)


def spans(port, token, per_second, seconds):
    """Model calls of many users, ten requests a second."""
    connection, began = http.client.HTTPConnection("127.0.0.1", port, timeout=20), time.monotonic()
    for number in range(seconds * 10):
        time.sleep(max(0.0, began + number / 10 - time.monotonic()))
        ids = [f"latency-{number}-{n}" for n in range(per_second // 10)]
        body = load.request("traces", ids, sessions=20, fill=200, name=f"latency-{number % 50}").SerializeToString()
        connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf", "authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise AssertionError(f"the load: {answer.status}")


def hook(number):
    """What Claude Code posts before a tool call, of one of two hundred sessions."""
    return json.dumps({"hook_event_name": "PreToolUse", "session_id": f"latency-session-{number % 200}", "transcript_path": "/tmp/t.jsonl", "cwd": "/tmp",
                       "permission_mode": "default", "tool_name": "Bash", "tool_use_id": f"toolu_{number}", "tool_input": {"command": "cargo test"}})


def question(number):
    """Every twentieth is of a user above the limit."""
    user = "jane" if number % 20 == 0 else f"user-{random.randrange(500)}"
    return json.dumps({"user": f"{user}@corp.example", "tenant": "corp", "session": f"latency-session-{number % 200}"})


def quantiles(what, times):
    times = sorted(times)
    if times:
        at = lambda share: round(1000 * times[min(len(times) - 1, int(share * len(times)))], 1)
        figure(f"{what}: p50, p99, most of {len(times)}", f"{at(0.5)}, {at(0.99)}, {at(1)}", "ms")


def latency(seconds=20):
    work = workdir("budgets")
    gateway, _ = gateway_for(work)
    spend(gateway, "jane@corp.example", 10.5)
    known(gateway, "deny", user="jane@corp.example")
    asked, hooked = multiprocessing.Queue(), multiprocessing.Queue()
    programs = [multiprocessing.Process(target=spans, args=(gateway.http, SENDERS["acme"], 1000, seconds)),
                multiprocessing.Process(target=timed, args=(asked, gateway.asked, "/v1/budget", question, ASKERS["acme"], 200, seconds)),
                multiprocessing.Process(target=timed, args=(hooked, gateway.asked, "/v1/hooks/claude-code", hook, SENDERS["acme"], 50, seconds))]
    for program in programs:
        program.start()
    answers, hooks = asked.get(), hooked.get()
    for program in programs:
        program.join()
    decided = [(took, json.loads(text).get("decision")) for took, status, text in answers if status == 200]
    for word in ("allow", "deny"):
        quantiles(f"/v1/budget, {word}", [took for took, said in decided if said == word])
    quantiles("hooks", [took for took, status, _ in hooks if status == 200])
    check("each question was answered", len(decided) == len(answers) == 200 * seconds, f"{len(decided)} of {len(answers)}")
    check("each hook was answered", all(status == 200 for _, status, _ in hooks) and len(hooks) == 50 * seconds)
    check("the load was taken", programs[0].exitcode == 0)
    gateway.ends("latency")
    finish(work)


if __name__ == "__main__":
    say("budgets: Envoy and LiteLLM ask before each call of the mock model")
    latency() if "latency" in sys.argv[1:] else proxies()
