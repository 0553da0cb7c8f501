"""Data of earlier releases (tests/cases/upgrade) under today's binary: spool, vault, history and checkpoint of the release open, with the
release's own configuration. (Newer data under today's binary is in the Rust tests of spool, checkpoint and history.)

    upgrade.py [VERSION …]      some releases only
"""
import glob
import os
import shutil
import subprocess
import sys
import time

PEERS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [PEERS, os.path.join(PEERS, "upgrade")]
from harness import BINARY, Sink, Stock, check, figure, finish, free_port, read_json, say, until, workdir  # noqa: E402
from load import canary, request  # noqa: E402
from make import CASES, Upgraded, facts, unpack  # noqa: E402


def clock(written):
    """The environment of a process whose wall clock stands a minute after the case was written: its runs are 48 hours old only later."""
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
    return {"LD_PRELOAD": library, "FAKETIME": f"{written + 60 - int(time.time()):+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Case:
    """A release's data, copied for each check."""

    def __init__(self, version, work):
        self.folder, self.work, self.count = os.path.join(CASES, version), work, 0
        self.expected = read_json(os.path.join(self.folder, "expected.json"))

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
    gateway.send("traces", body)
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
    costs = {run["id"]: run["cost_usd"] for run in gateway.ask("/runs")["runs"]}
    wanted = {run["id"]: run["cost_usd"] for run in case.expected["runs"] if run["id"] in case.expected["history"]}
    check("the history alone has its runs and their costs", costs == wanted and wanted, f"{costs} instead of {wanted}")
    check("a clean end", gateway.stop() == 0)


def main():
    versions = sys.argv[1:] or sorted(os.listdir(CASES))
    versions = [name for name in versions if os.path.isdir(os.path.join(CASES, name))]
    work = workdir("upgrade")
    check("there are cases", bool(versions))
    for version in versions:
        say(f"upgrade: data of {version}")
        for number, part in enumerate((upgrade, history_alone)):
            case = Case(version, os.path.join(work, f"{version}-{number}"))
            part(case, Sink(os.path.join(case.work, "sink")))
    figure("releases", len(versions))
    finish(work)


if __name__ == "__main__":
    main()
