"""Data of earlier releases (tests/cases/upgrade) under today's binary, and newer data under it.

    upgrade.py [VERSION …]      some releases only

Upgrade: spool, vault, history and checkpoint of the release open, with the release's own configuration. Downgrade: files whose version
number is one higher are refused or moved aside, with a line that names them, and nothing is deleted.
"""
import glob
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [PEERS, os.path.join(PEERS, "upgrade")]
from harness import BINARY, Sink, Stock, check, figure, finish, free_port, say, until, workdir  # noqa: E402
from load import canary, request  # noqa: E402
from make import CASES, Upgraded, facts, unpack  # noqa: E402

# byte of the version number, in the file's head
SEGMENT_VERSION = PROGRESS_VERSION = 8
CHECKPOINT_VERSION = 7


def clock(written):
    """The environment of a process whose wall clock stands a minute after the case was written: its runs are 48 hours old only later."""
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
    return {"LD_PRELOAD": library, "FAKETIME": f"{written + 60 - int(time.time()):+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def hashes(folder):
    """{path: SHA-256} of the files below a folder."""
    out = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    out[os.path.relpath(path, folder)] = hashlib.file_digest(f, "sha256").hexdigest()
    return out


class Case:
    """A release's data, copied for each check."""

    def __init__(self, version, work):
        self.folder, self.work, self.count = os.path.join(CASES, version), work, 0
        with open(os.path.join(self.folder, "expected.json")) as f:
            self.expected = json.load(f)

    def gateway(self, sink):
        self.count += 1
        place = os.path.join(self.work, f"{self.expected['version']}-{self.count}")
        os.makedirs(place)
        return Upgraded(unpack(self.folder, place), sink.http, (free_port(), free_port()), extra=clock(self.expected["written"]))

    def verified(self, gateway):
        """`vault verify` as an auditor runs it, without a configuration: (exit code, output)."""
        done = subprocess.run([BINARY, "vault", "verify", "--store", os.path.join(gateway.data, "vault"), "--key", self.expected["signer"]],
                              capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


def upgrade(case, sink):
    expected = case.expected
    gateway = case.gateway(sink)
    stock = Stock(os.path.join(gateway.data, "vault"), os.path.join(gateway.data, "auditor.key"))
    code, out = gateway.run("validate")
    check("its configuration is valid", code == 0, out)
    code, out = case.verified(gateway)
    check("its vault verifies before the start", code == 0, out)
    check("its vault opens with the auditor's key", len(stock.rows()) == expected["rows"] and len(stock.documents()) > 0, len(stock.rows()))
    gateway.start()
    until("what waited is delivered", lambda: set(expected["waiting"]) <= set(sink.ids()), 60)
    found = {run["id"]: facts(run) for run in gateway.runs()}
    check("its runs and their costs are there", all(found.get(run["id"]) == run for run in expected["runs"]),
          f"{found} instead of {expected['runs']}")
    until("what waited is stored", lambda: not any(gateway.pending().values()), 60)
    body = request("traces", ["upgrade-new"]).SerializeToString()
    check("it accepts new data", gateway.post("traces", body) == 200)
    until("new data is delivered", lambda: "upgrade-new" in sink.ids() and not any(gateway.pending().values()), 60)
    check("a clean end", gateway.stop() == 0, gateway.log()[-1000:])
    delivered = [one for one in sink.ids() if one in expected["waiting"]]
    check("each waiting item was delivered once", sorted(delivered) == sorted(expected["waiting"]), str(delivered))
    check("nothing was moved aside or unreadable", not glob.glob(f"{gateway.data}/**/*aside*", recursive=True)
          and not glob.glob(f"{gateway.data}/**/*unreadable*", recursive=True))
    wrong = [line for line in gateway.log().splitlines() if '"level":"ERROR"' in line or " ERROR " in line or "checkpoint is damaged" in line
             or "another version" in line]
    check("no errors in the log", not wrong, "\n".join(wrong))
    code, out = case.verified(gateway)
    check("the vault verifies with old and new objects", code == 0, out)
    opened = str(stock.documents())
    check("content that waited is in the vault", all(canary(one) in opened for one in expected["waiting"] + ["upgrade-new"]))


def history_alone(case, sink):
    """Without a spool (and so without a checkpoint), the runs come from the history file."""
    gateway = case.gateway(sink)
    shutil.rmtree(os.path.join(gateway.data, "spool"))
    gateway.start()
    costs = {run["id"]: run["cost_usd"] for run in gateway.page("/runs")["runs"]}
    wanted = {run["id"]: run["cost_usd"] for run in case.expected["runs"] if run["id"] in case.expected["history"]}
    check("the history alone has its runs and their costs", costs == wanted and wanted, f"{costs} instead of {wanted}")
    check("a clean end", gateway.stop() == 0)


def raise_version(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        version = f.read(1)[0]
        f.seek(at)
        f.write(bytes([version + 1]))


def downgrade_spool(case, sink):
    for name, at in (("seg-*.spool", SEGMENT_VERSION), ("progress", PROGRESS_VERSION)):
        gateway = case.gateway(sink)
        path = glob.glob(os.path.join(gateway.data, "spool", name))[0]
        raise_version(path, at)
        before = hashes(gateway.data)
        gateway.start(wait=False)
        code = gateway.process.wait(60)
        said = gateway.log()
        file = os.path.basename(path)
        check(f"a newer {file}: the start is refused", code not in (0, None), code)
        check(f"a newer {file}: the error names file, formats and remedy", file in said and "has format 2, written by a newer tollgate" in said
              and "reads format 1" in said and "run the newer version" in said, said[-800:])
        after = hashes(gateway.data)
        check(f"a newer {file}: every file is as it was", all(after.get(name) == value for name, value in before.items()),
              str([name for name in before if after.get(name) != before[name]]))
        code, out = gateway.run("spool", "list")
        check(f"a newer {file}: `spool list` says the same", code != 0 and "written by a newer tollgate" in out, out)


def downgrade_state(case, sink):
    """A newer checkpoint and history: the gateway starts without them and keeps them."""
    gateway = case.gateway(sink)
    checkpoint, history = os.path.join(gateway.data, "spool", "state", "checkpoint"), os.path.join(gateway.data, "history.sqlite")
    raise_version(checkpoint, CHECKPOINT_VERSION)
    with sqlite3.connect(history) as db:
        # the killed gateway's runs are still in the write-ahead log
        runs = db.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version = {version + 1}")
    db.close()
    kept = hashes(os.path.dirname(checkpoint))["checkpoint"]
    gateway.start()
    sent = gateway.post("traces", request("traces", ["upgrade-older"]).SerializeToString())
    check("a newer checkpoint and history: it starts and accepts data", sent == 200)
    until("its delivery", lambda: "upgrade-older" in sink.ids(), 60)
    check("a newer checkpoint and history: a clean end", gateway.stop() == 0)
    said = gateway.log()
    check("a newer checkpoint: the log names it and its new name", "the checkpoint is damaged" in said and "its key is missing" in said
          and "checkpoint.unreadable" in said, said[-800:])
    check("a newer checkpoint: kept as it was", hashes(os.path.dirname(checkpoint)).get("checkpoint.unreadable") == kept)
    aside = [path for path in glob.glob(history + ".aside-*") if not path.endswith(("-wal", "-shm"))]
    check("a newer history: the log names the file and its new name", "history file was damaged or has another version" in said
          and len(aside) == 1 and aside[0] in said, said[-800:])
    with sqlite3.connect(aside[0]) as db:
        check("a newer history: kept with its runs", db.execute("SELECT COUNT(*) FROM runs").fetchone()[0] == runs > 0, runs)
    db.close()


def downgrade_vault(case, sink):
    """A digest of a newer format: `vault verify` fails and names it; a gateway that only writes is not in the way of it."""
    gateway = case.gateway(sink)
    path = sorted(glob.glob(os.path.join(gateway.data, "vault", "chain", "**", "*.json"), recursive=True))[0]
    with open(path) as f:
        text = f.read()
    check("a digest has a version", '"v":1' in text, text[:200])
    os.chmod(path, 0o600)
    with open(path, "w") as f:
        f.write(text.replace('"v":1', '"v":2'))
    code, out = case.verified(gateway)
    name = os.path.relpath(path, os.path.join(gateway.data, "vault"))
    check("a newer digest: `vault verify` fails and names it", code != 0 and name in out and "unsupported version" in out, out)


def main():
    versions = sys.argv[1:] or sorted(os.listdir(CASES))
    versions = [name for name in versions if os.path.isdir(os.path.join(CASES, name))]
    work = workdir("upgrade")
    check("there are cases", bool(versions))
    for version in versions:
        say(f"upgrade: data of {version}")
        for number, part in enumerate((upgrade, history_alone, downgrade_spool, downgrade_state, downgrade_vault)):
            case = Case(version, os.path.join(work, f"{version}-{number}"))
            part(case, Sink(os.path.join(case.work, "sink")))
    figure("releases", len(versions))
    finish(work)


if __name__ == "__main__":
    main()
