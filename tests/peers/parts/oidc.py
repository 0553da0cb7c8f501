"""OpenID Connect on the admin port, on the auditors' page and on receivers against Dex: login through Dex's form, roles by groups, bearer tokens, tokens for others and expired ones,
stolen codes, keys that change, a provider that is away."""
import base64
import html
import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, CACHE, Gateway, check, figure, finish, free_port, http as ask, keygen, say, start, status_of, until, workdir, write_json  # noqa: E402

USERS = {"olga": ["ops"], "vera": ["staff"], "nina": ["elsewhere"], "tina": ["staff", "tap"]}
SECRET = "secret of the client"
TOKEN_SECONDS = 30


class Dex:
    def __init__(self, work, redirects):
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}/dex"
        self.path, self.log = os.path.join(work, "dex.json"), os.path.join(work, "dex.log")
        clients = [{"id": name, "name": name, "secret": SECRET, "redirectURIs": redirects} for name in ("tollgate", "else")]
        write_json(self.path, {"issuer": self.issuer, "listen": f"127.0.0.1:{self.port}", "tokenSeconds": TOKEN_SECONDS, "password": "password",
                   "users": USERS, "clients": clients})
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = start([os.path.join(CACHE, "dex"), self.path], stdout=log, stderr=log, cwd=os.path.dirname(self.path))
        until("Dex answers", lambda: status_of(f"{self.issuer}/.well-known/openid-configuration") == 200, 30)
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()

    def exchange(self, client="tollgate", **form):
        login = base64.b64encode(f"{client}:{urllib.parse.quote(SECRET)}".encode()).decode()
        headers = {"authorization": f"Basic {login}", "content-type": "application/x-www-form-urlencoded"}
        status, _, body = ask(f"{self.issuer}/token", urllib.parse.urlencode(form).encode(), headers)
        return status, json.loads(body)

    def token(self, user, client="tollgate"):
        """An ID token by the password grant, as a script would get one."""
        status, answer = self.exchange(client, grant_type="password", scope="openid email groups", username=f"{user}@example.com", password="password")
        assert status == 200, answer
        return answer["id_token"]


class Browser:
    """Cookies and forms, by host and port; redirects are followed while they stay where the caller says."""

    def __init__(self):
        self.cookies = {}

    def ask(self, url, method="GET", form=None, headers=None):
        """(status, location, text)"""
        parts = urllib.parse.urlsplit(url)
        jar = self.cookies.setdefault(parts.netloc, {})
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        sent = {"accept": "text/html", "cookie": "; ".join(f"{name}={value}" for name, value in jar.items()), **(headers or {})}
        body = None
        if form is not None:
            body, sent["content-type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
        connection.request(method, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, sent)
        answer = connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                cookie = value.split(";")[0].split("=", 1)
                jar[cookie[0]] = cookie[1]
                if not cookie[1]:
                    del jar[cookie[0]]
        location = answer.getheader("location")
        text = answer.read().decode()
        connection.close()
        return answer.status, location and urllib.parse.urljoin(url, location), text

    def follow(self, url, stays, form=None):
        """Follows redirects below `stays`; the address that leads elsewhere, or the page where they end."""
        status, location, text = self.ask(url, "POST" if form is not None else "GET", form)
        while location:
            if not location.startswith(stays):
                return location, text
            url = location
            status, location, text = self.ask(url)
        return url, text

    def login(self, page, dex, user, password="password"):
        """From a page of the gateway to its callback's address, through Dex's form."""
        origin = page.split("/", 3)
        there, _ = self.follow(page, "/".join(origin[:3]))
        self.authorization = there
        at, text = self.follow(there, dex.issuer)
        action = html.unescape(re.search(r'<form method="post" action="([^"]+)"', text).group(1))
        return self.follow(urllib.parse.urljoin(at, action), dex.issuer, {"login": f"{user}@example.com", "password": password})


def audit_page(work, dex, page, access):
    """`vault serve --access`: each role may search, only `tapper` may open sessions."""
    say("oidc: the auditors' page")
    store, key, file = (os.path.join(work, name) for name in ("audited", "page.key", "access.json"))
    os.mkdir(store)
    keygen(key)
    write_json(file, access)
    with open(os.path.join(work, "page.log"), "wb") as log:
        process = start([BINARY, "vault", "serve", "--store", store, "--identity", key, "--access", file], stdout=log, stderr=log)
    def asks_for_login():
        try:
            return Browser().ask(f"{page}/verification")[0] == 303
        except OSError:
            return False

    until("the page answers", asks_for_login, 20)
    session = "/session?session=s&account=default"
    for user, search, opened in [("vera", 200, 403), ("olga", 200, 403), ("tina", 200, 404), ("nina", 403, 403)]:
        headers = {"authorization": f"Bearer {dex.token(user)}"}
        got = [ask(page + path, headers=headers)[0] for path in ("/", session)]
        check(f"{user} on the page by token: {search}, {opened}", got == [search, opened], str(got))
    for user, opened in [("vera", 403), ("tina", 404)]:
        browser = Browser()
        callback, _ = browser.login(f"{page}/verification", dex, user)
        status, back, _ = browser.ask(callback)
        got = browser.ask(page + session)[0]
        check(f"{user} on the page by login: {opened}", (status, back, got) == (303, f"{page}/verification", opened), f"{status} {back} {got}")
    with open(f"{key}.openings.jsonl") as log:
        check("each opening is logged, refused ones are none", len(log.readlines()) == 2)
    process.terminate()
    check("the page ends cleanly", process.wait(10) == 0)


def senders(gateway, dex):
    """Tokens of Dex on the receiver: two users with one client that claims the other's address."""
    say("oidc: senders")

    def send(token, session, claimed):
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "session.id": session,
                      "user.email": f"{claimed}@example.com", "user.id": claimed}
        span = {"traceId": base64.b16encode(session.encode() * 4)[:32].decode().lower(), "spanId": "eee19b7ec3c1b174", "name": "chat",
                "startTimeUnixNano": str(time.time_ns() - 10**9), "endTimeUnixNano": str(time.time_ns()),
                "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in attributes.items()]}
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        return ask(f"http://127.0.0.1:{gateway.http}/v1/traces", body, headers)[0]

    olga, vera = dex.token("olga"), dex.token("vera")
    check("both users may send", [send(olga, "s-olga", "vera"), send(vera, "s-vera", "olga")] == [200, 200])
    check("nobody may without a token, or with one for others", [send(None, "s-x", "x"), send(dex.token("olga", client="else"), "s-x", "x")] == [401, 401])
    token = {"authorization": f"Bearer {olga}", "accept": "application/json"}

    def users():
        _, _, body = ask(f"http://127.0.0.1:{gateway.admin}/api/runs", headers=token)
        return {run["session_id"]: run["user"] for run in json.loads(body)["runs"]}

    until("both runs are shown", lambda: set(users()) == {"s-olga", "s-vera"}, 20)
    shown = users()
    check("each run has its own user, as a pseudonym", shown["s-olga"] != shown["s-vera"] and all(user.startswith("h-") for user in shown.values()), str(shown))
    metrics = ask(f"http://127.0.0.1:{gateway.admin}/metrics", headers=token)[2].decode()
    check("the claims are counted", 'tollgate_claimed_identities_total{processor="normalize",kind="user"} 4' in metrics)


def main():
    work = workdir("oidc")
    holder = {}

    def change(config):
        port = int(config["extensions"]["admin"]["endpoint"].rsplit(":", 1)[1])
        url = f"http://127.0.0.1:{port}"
        page = holder["page"] = f"http://127.0.0.1:{free_port()}"
        dex = holder["dex"] = Dex(work, [f"{url}/callback", f"{page}/callback"])
        roles = {"viewer": ["staff"], "operator": ["ops"], "tapper": ["tap"]}
        oidc = {"issuer": dex.issuer, "client_id": "tollgate", "client_secret": SECRET, "roles": roles}
        config["receivers"]["otlp"]["auth"] = {"oidc": {"issuer": dex.issuer, "audience": "tollgate"}, "identity": {"user": "email", "groups": "groups"}}
        config["service"]["pipelines"]["metrics"]["processors"] = ["normalize", "redact"]
        config["extensions"]["admin"].update({"public_url": url, "auth": {"oidc": oidc}})
        holder["access"] = {"endpoint": page.removeprefix("http://"), "public_url": page, "auth": {"oidc": oidc}}

    gateway = Gateway(work, {"debug": {"trust": "internal"}}, change=change)
    dex, url = holder["dex"], f"http://127.0.0.1:{gateway.admin}"

    def api(token, path="/api/runs", method="GET"):
        return ask(f"{url}{path}", b"" if method == "POST" else None, {"authorization": f"Bearer {token}"}, method=method)[0]

    say("oidc: before the provider answers")
    gateway.start()
    check("the gateway starts and is ready without its provider", gateway.alive())
    check("a login says that the provider is away", Browser().ask(f"{url}/login")[0] == 502)
    dex.start()
    time.sleep(2.5)

    say("oidc: logins")
    logins = {}
    for user, expected in [("olga", {"/": 200, "/-/reload": 202, "/api/tap?limit=0": 403}), ("vera", {"/": 200, "/-/reload": 403, "/api/tap?limit=0": 403}),
                           ("tina", {"/": 200, "/-/reload": 403, "/api/tap?limit=0": 200})]:
        browser = logins[user] = Browser()
        callback, _ = browser.login(f"{url}/runs?window=1h", dex, user)
        status, back, _ = browser.ask(callback)
        check(f"{user} comes back to the page that was asked for", (status, back) == (303, f"{url}/runs?window=1h"), f"{status} {back}")
        for path, wanted in expected.items():
            change_headers = {"x-tollgate-csrf": "1", "origin": url} if path == "/-/reload" else {}
            got = browser.ask(url + path, "POST" if path == "/-/reload" else "GET", headers=change_headers)[0]
            check(f"{user} {path}: {wanted}", got == wanted, str(got))
        if user == "olga":
            # a reload ends sessions: they are in memory
            until("the reload is done", lambda: browser.ask(f"{url}/")[1] is not None, 20)
            until("ready", gateway.ready)
    logged_in = time.monotonic()
    browser = logins["vera"]
    check("the request has PKCE", "code_challenge_method=S256" in browser.authorization and "code_challenge=" in browser.authorization)
    nina = Browser()
    callback, _ = nina.login(f"{url}/", dex, "nina")
    check("without a known group there is no session", nina.ask(callback)[0] == 403 and nina.ask(f"{url}/")[0] == 303)
    wrong = Browser()
    at, text = wrong.login(f"{url}/", dex, "olga", "not the password")
    check("a wrong password ends at Dex", at.startswith(dex.issuer) and "Invalid" in text)
    stranger, victim = Browser(), Browser()
    callback, _ = victim.login(f"{url}/", dex, "olga")
    check("another browser can't end a login", stranger.ask(callback)[0] == 400)
    stranger.ask(f"{url}/login")
    check("not even with a login of its own", stranger.ask(callback)[0] == 400)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(callback).query)["code"][0]
    status, _ = dex.exchange(grant_type="authorization_code", code=code, redirect_uri=f"{url}/callback")
    check("a stolen code is worth nothing without the verifier", status in (400, 401), str(status))
    say("oidc: bearer tokens")
    olga, vera, other = dex.token("olga"), dex.token("vera"), dex.token("olga", client="else")
    check("an operator's token reads", api(olga) == 200)
    check("an operator's token changes", api(olga, "/api/alerts/test", "POST") == 404)
    check("a viewer's token reads", api(vera) == 200)
    check("a viewer's token changes nothing", api(vera, "/api/alerts/test", "POST") == 403)
    check("a token for another client is refused", api(other) == 401)
    done = subprocess.run([BINARY, "fleet", "drain", "--admin", url], capture_output=True, text=True, env={**os.environ, "TOLLGATE_ADMIN_TOKEN": olga})
    check("commands take such a token", done.returncode == 1 and "no `kafka` receiver" in done.stderr, done.stderr)

    senders(gateway, dex)
    audit_page(work, dex, holder["page"], holder["access"])

    say("oidc: keys that change")
    dex.stop()
    check("while the provider is away, known keys serve", api(olga) == 200)
    check("so do sessions", logins["tina"].ask(f"{url}/")[0] == 200 or time.monotonic() - logged_in > TOKEN_SECONDS)
    dex.start()   # in memory: with new keys
    began = time.monotonic()
    until("a token of the new key is accepted", lambda: api(dex.token("vera")) == 200, 45, 1)
    figure("seconds until a new key was known", f"{time.monotonic() - began:.0f}")
    check("a token of the withdrawn key is refused", api(vera) == 401)

    say("oidc: the end of tokens")
    check("a session ends with its token", until("the session ends", lambda: logins["tina"].ask(f"{url}/")[0] == 303, TOKEN_SECONDS + 5))
    log = gateway.log()
    check("no token, secret or name is in the log", not any(text in log for text in (olga, vera, SECRET, "olga@", "vera@", "nina@")))
    check("no panic", "panic" not in log)
    check("a clean end", gateway.stop() == 0)
    finish(work)


main()
