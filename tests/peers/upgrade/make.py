"""Writes the data that a release leaves behind: tests/cases/upgrade/VERSION, which every later binary must open.

    TOLLGATE_BIN=…/tollgate target/peers/venv/bin/python tests/peers/upgrade/make.py

The binary names the version. Its folder must not exist yet: the data of a release is written once, and stays.
"""
import collections
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, Gateway, RECORDINGS, REPO, Sink, Stock, keygen, read, say, stop_all, until, workdir, write  # noqa: E402
from load import request  # noqa: E402

CASES = os.path.join(REPO, "tests", "cases", "upgrade")
SESSION = ("claude-code", "plain")
# the port that the case's back end had: later tests name it in `moved_from`
SINK_PORT = 4399
# 32 bytes each, in base64: plain text, so that nobody takes them for keys
SPOOL_KEY = "dG9sbGdhdGUgdXBncmFkZSB0ZXN0OiBubyBzZWNyZXQ="
PSEUDONYM_KEY = "dG9sbGdhdGUgdXBncmFkZSB0ZXN0OiBhbHNvIG5vbmU="
CONFIG = """\
# The configuration that wrote this folder; later binaries read it as it is.
receivers:
  otlp: {{ protocols: {{ http: {{ endpoint: "127.0.0.1:${{env:UPGRADE_HTTP}}" }} }} }}
processors:
  normalize: {{}}
  cost: {{}}
  runs: {{ idle_timeout: 5s, settle: 2s }}
  vault:
    recipients: [{recipient}]
    store: {{ directory: "${{env:UPGRADE_DATA}}/vault" }}
    writer: upgrade
    signing_key: "${{env:UPGRADE_DATA}}/signing.key"
    object_age: "${{env:UPGRADE_OBJECT_AGE}}"
    index_interval: 1s
  redact: {{}}
exporters:
  otlp_http: {{ endpoint: "http://127.0.0.1:${{env:UPGRADE_SINK}}", moved_from: ["127.0.0.1:{sink}"] }}
extensions: {{ admin: {{ endpoint: "127.0.0.1:${{env:UPGRADE_ADMIN}}" }} }}
spool:
  directory: "${{env:UPGRADE_DATA}}/spool"
  keys: ["{spool_key}"]
pseudonyms: {{ key: "{pseudonym_key}" }}
service:
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], processors: [normalize, cost, runs, vault, redact], exporters: [otlp_http] }}
    logs: {{ receivers: [otlp], processors: [normalize, cost, runs, vault, redact], exporters: [otlp_http] }}
    metrics: {{ receivers: [otlp], processors: [redact], exporters: [otlp_http] }}
"""


class Upgraded(Gateway):
    """A gateway over a case's folder, with the case's own configuration."""

    def __init__(self, data, sink, ports, object_age="1s", extra=None):
        self.data, self.http, self.admin = data, *ports
        self.config_path = os.path.join(data, "tollgate.yaml")
        self.env = {**os.environ, "UPGRADE_DATA": data, "UPGRADE_SINK": str(sink), "UPGRADE_HTTP": str(self.http),
                    "UPGRADE_ADMIN": str(self.admin), "UPGRADE_OBJECT_AGE": object_age, **(extra or {})}
        self.log_path = os.path.join(os.path.dirname(data), os.path.basename(data) + ".log")
        self.process = None

    def run(self, *arguments):
        """A command of the binary with the case's configuration: (exit code, output)."""
        done = subprocess.run([BINARY, *arguments, "--config", self.config_path], env=self.env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def start(self, wait=True, env=None):
        return super().start(wait, env or self.env)

    def runs(self):
        return self.ask("/api/runs?limit=100")["runs"]

    def pending(self):
        """{consumer: records that wait}, without the tracker's own."""
        waiting = collections.Counter()
        for name, count in self.metrics().items():
            if name.startswith("tollgate_spool_pending_records{") and '"checkpoint"' not in name:
                waiting[name.split('"')[1]] += int(count)
        return dict(waiting)


def facts(run):
    """The figures of a run that must survive an upgrade."""
    totals = run["totals"]
    return {"id": run["id"], "session_id": run["session_id"], **{key: totals[key] for key in ("cost_usd", "model_calls", "tool_calls", "tokens")}}


def history(data):
    """Ids of the runs in the history file."""
    with sqlite3.connect(os.path.join(data, "history.sqlite")) as db:
        rows = db.execute("SELECT key FROM runs ORDER BY key").fetchall()
    db.close()
    return [key.partition("\0")[2] for key, in rows]


def unpack(case, folder):
    """Puts a case's data into a folder; returns its path."""
    subprocess.run(["tar", "--zstd", "-xf", os.path.join(case, "data.tar.zst"), "-C", folder], check=True)
    return os.path.join(folder, "data")


def main():
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    case = os.path.join(CASES, version)
    if os.path.exists(case):
        sys.exit(f"make.py: {case} exists: the data of a release is written once")
    work = workdir("upgrade-make")
    data = os.path.join(work, "data")
    os.makedirs(os.path.join(data, "vault"))
    recipient = keygen(os.path.join(data, "auditor.key"))
    public = subprocess.run([BINARY, "vault", "keygen", "--signing", "--name", "upgrade.example", "--output", os.path.join(data, "signing.key")],
                            capture_output=True, text=True, check=True).stdout.strip()
    write(os.path.join(data, "tollgate.yaml"), CONFIG.format(recipient=recipient, sink=SINK_PORT, spool_key=SPOOL_KEY, pseudonym_key=PSEUDONYM_KEY))
    sink = Sink(os.path.join(work, "sink"), "--http", str(SINK_PORT))

    # 1. A session goes through whole, and a clean stop writes checkpoint and history.
    gateway = Upgraded(data, sink.http, (4398, 4397)).start()
    folder = os.path.join(RECORDINGS, *SESSION)
    for name in sorted(os.listdir(folder)):
        if name.endswith(".pb"):
            gateway.send(name.split("-")[1].split(".")[0], read(os.path.join(folder, name), "rb"))
    # the recording is older than the history's 48 hours, these runs are not
    gateway.send("traces", request("traces", ["upgrade-before"]).SerializeToString())
    until("everything delivered and stored", lambda: not any(gateway.pending().values()), 60)
    until("the runs are over", lambda: all(run["state"] != "live" for run in gateway.runs()), 30)
    assert gateway.stop() == 0

    # 2. With the back end away and objects still open, the process is killed: forward copies and fragments wait.
    sink.tell("status=503")
    gateway = Upgraded(data, sink.http, (4398, 4397), object_age="1h").start()
    waiting = [f"upgrade-{signal}-{n}" for signal in ("traces", "logs") for n in range(3)]
    for signal in ("traces", "logs"):
        gateway.send(signal, request(signal, [one for one in waiting if signal in one]).SerializeToString())
    delivered = len(sink.rows())
    until("what waits is counted", lambda: gateway.pending().get("otlp_http") and gateway.pending().get("vault"), 30)
    until("the runs are over", lambda: all(run["state"] != "live" for run in gateway.runs()), 30)
    time.sleep(3)  # the history is written every two seconds
    runs = gateway.runs()
    pending = gateway.pending()
    gateway.kill()
    assert len(sink.rows()) == delivered, "the back end accepted nothing more"
    expected = {"version": version, "written": int(time.time()), "signer": public, "waiting": waiting, "pending": pending,
                "runs": [facts(run) for run in runs], "history": history(data),
                "rows": len(Stock(os.path.join(data, "vault"), os.path.join(data, "auditor.key")).rows())}
    with open(os.path.join(data, "expected.json"), "w") as f:
        json.dump(expected, f, indent=1)
        f.write("\n")
    stop_all()
    os.makedirs(case)
    for name in ("expected.json", "tollgate.yaml"):
        shutil.copy(os.path.join(data, name), case)
    # the spool's file of 64 MiB is nearly empty: packed, the folder has 50 KB
    subprocess.run(["tar", "--zstd", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-cf", os.path.join(case, "data.tar.zst"),
                    "-C", work, "data"], check=True)
    say(f"{case}: {sum(os.path.getsize(os.path.join(case, name)) for name in os.listdir(case))} bytes")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
