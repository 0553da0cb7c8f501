"""The audit page (`vault serve`) in a real browser: Debian's Chromium, with and without script, narrow and wide, light and dark, axe-core."""
import http.client
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, CACHE, HERE, Gateway, Sink, check, figure, finish, outlet, say, start, workdir  # noqa: E402


def hosts(port):
    """Names under which it must not answer, whatever a resolver says."""
    for host, wanted in ((f"127.0.0.1:{port}", 403), (f"localhost:{port}", 403), (f"evil.example:{port}", 421), ("127.0.0.1", 421), ("", 421)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        check(f"Host {host or 'empty'}: {wanted}", answer.status in ((wanted, 400) if not host else (wanted,)), answer.status)
        connection.close()


def main():
    subprocess.run([os.path.join(HERE, "npm_install.sh"), os.path.join(HERE, "browser")], check=True, capture_output=True)
    work = workdir("browser")
    gateway = Gateway(work, outlet(Sink(os.path.join(work, "sink"))), log="info").start()
    session = gateway.replay_client("claude-code")["plain"]
    gateway.ends()
    openings = os.path.join(work, "openings.jsonl")
    serve = start([BINARY, "vault", "serve", "--port", "0", "--store", gateway.store, "--identity", gateway.identity, "--log", openings,
                   "--key", os.path.join(gateway.data, "signing.key")], stdout=subprocess.PIPE, text=True)
    url = serve.stdout.readline().strip()
    port = int(url.split(":")[2].split("/")[0])
    with open(openings) as f:
        check("that verification opens every fragment is noted before it does", "every fragment" in f.readline())
    hosts(port)
    with open("/proc/net/tcp") as f:
        listening = {line.split()[1] for line in f.readlines()[1:] if line.split()[3] == "0A"}
    check("it listens on loopback only", {one for one in listening if one.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"})
    shots = os.path.join(work, "shots")
    os.makedirs(shots)
    done = subprocess.run(["node", os.path.join(CACHE, "browser", "audit.mjs"), url, session["session_ids"][0], session["canaries"]["prompt"]["value"], shots],
                          capture_output=True, text=True, timeout=240)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    check("the browser did all it should", done.returncode == 0 and len(rows) > 100, f"{len(rows)} checks; {done.stderr[-800:]}")
    for row in rows:
        if not row["holds"]:
            check(row["check"], False, row["detail"])
    figure("checks in the browser", len(rows))
    with open(openings) as f:
        check("each opening was noted", sum(session["session_ids"][0] in line for line in f) >= 8)
    serve.terminate()
    check("it ends when it is told to", serve.wait(10) == 0)
    finish(work)


if __name__ == "__main__":
    say("browser: the audit page in Chromium")
    main()
