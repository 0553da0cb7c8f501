"""Kills under load: what was acknowledged is delivered and stored, whatever was unfinished when the process died. Every prompt has a
canary: it is in the opened vault and nowhere else. The vault verifies. An exporter that samples by run gets whole requests only: every
failed one, and of the others the stated share, weighted.

    crash.py [--cycles 20]

The sink and the S3 store are processes of their own that are away for a part of most cycles, so that much is unfinished at the kill.
"""
import argparse
import glob
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Gateway, S3Stub, Sink, Stock, check, credentials, figure, files, finish, outlets, read, say, texts, tollgate, until, workdir  # noqa: E402
from leaks import Search, self_check  # noqa: E402
from load import Load, canary  # noqa: E402

UNDELIVERED, NOT_UPLOADED = 100, 10
AWAY_SINK = ("status=503", "reset=1", "status=429&retry_after=1", "delay_ms=3000", "reset=after&signal=traces")
AWAY_STORE = ("status=503", "reset=1", "hang=2")
HEADER = b"age-encryption.org/v1\n"
FAILING, SHARE = 14, 4


class Store(S3Stub):
    """Also knows how many fragments it holds."""

    counted = {}

    def fragments(self):
        for path in files("**/*.agev", self.vault):
            if path not in self.counted:
                self.counted[path] = read(path, "rb").count(HEADER)
        return sum(self.counted.values())


class Follow:
    """Reads what the sink took, as it grows: ids by transport."""

    def __init__(self, sink):
        self.file, self.rest = open(os.path.join(sink.dir, "ids.jsonl")), ""
        self.got, self.twice = {"grpc": set(), "http": set()}, {"grpc": 0, "http": 0}

    def read(self):
        *lines, self.rest = (self.rest + self.file.read()).split("\n")
        for row in (row for row in map(json.loads, lines) if row["test_id"]):
            got = self.got[row["transport"]]
            self.twice[row["transport"]] += row["test_id"] in got
            got.add(row["test_id"])
        return self.got

    def delivered(self):
        """By both exporters."""
        got = self.read()
        return got["grpc"] & got["http"]


def unfinished(load, follow, store):
    """Acknowledged items that not both exporters have delivered; acknowledged fragments that the store has not (at least)."""
    delivered = follow.delivered()
    with load.lock:
        waiting = sum(one not in delivered for one in load.acked)
        fragments = load.batches * load.sessions
    return waiting, fragments - store.fragments()


def cycle(number, gateway, sink, store, load, follow, rng, search):
    """One life, ended by SIGKILL, every fifth by SIGABRT: away in three of four parts of the cycles. Gives what was unfinished at the kill."""
    began = time.monotonic()
    sink.tell("ok=1")
    store.tell("ok=1")
    gateway.start(env=credentials())
    ready = time.monotonic() - began
    load.go()
    # some work while all is well: recovery of the last life and new load at once
    time.sleep(rng.uniform(0.05, 1.2))
    if number % 10 != 9:
        sink.tell(AWAY_SINK[number % len(AWAY_SINK)] if number % 5 != 4 else "status=503")
        store.tell(AWAY_STORE[number % len(AWAY_STORE)])
        until("enough unfinished", lambda: all(have >= want for have, want in zip(unfinished(load, follow, store), (UNDELIVERED, NOT_UPLOADED))), 30)
        time.sleep(rng.uniform(0, 0.4))
    waiting, fragments = unfinished(load, follow, store)
    if number % 5 == 3:
        gateway.process.send_signal(signal.SIGABRT)
        gateway.process.wait()
    else:
        gateway.kill()
    load.go(False)
    if number % 5 == 0:
        search.know(map(canary, load.sent))
        search.tree(gateway.data)
    say(f"  kill {number + 1:>3}  acked {len(load.acked):>7}  undelivered {waiting:>6}  fragments not uploaded {fragments:>5}  ready after {ready:.2f} s")
    return waiting, fragments


def settle(gateway, load, follow):
    """The last life: everything is up, everything goes out."""
    load.go()
    time.sleep(0.5)
    load.go(False)
    load.end()
    began = time.monotonic()
    until("everything delivered and uploaded", gateway.drained, 150, 0.1)
    figure("last recovery", round(time.monotonic() - began, 1), "s")
    check("a clean end", gateway.stop() == 0)
    return follow.read()


def compare(load, got, follow):
    acked = set(load.acked)
    for transport, ids in got.items():
        lost, unknown = acked - ids, ids - load.sent
        check(f"{transport}: 0 acknowledged items lost", not lost, f"{len(lost)}: {sorted(lost)[:5]}")
        check(f"{transport}: nothing that was not sent", not unknown, sorted(unknown)[:5])
        figure(f"{transport} delivered", len(ids))
        figure(f"{transport} delivered more than once", follow.twice[transport])
        figure(f"{transport} delivered, never acknowledged", len(ids - acked))
    figure("acknowledged", len(acked))
    figure("requests without an answer", load.broken)
    figure("requests refused", load.refused)


def priced_once(sink, load):
    """A call that came again because its first answer was lost is priced once: deliveries of one record share its leaf number. Spans are
    what counts in this dialect; its log events are copies of them."""
    priced, records = {}, {}
    for attributes in (item["attributes"] for signal, item in sink.items() if signal != "metrics"):
        one, leaf = attributes["test.case.name"], attributes["gen_ai.payload.leaf"]
        records.setdefault(one, set()).add(leaf)
        if attributes.get("tollgate.cost.status") == "priced":
            priced.setdefault(one, set()).add(leaf)
    wrong = {one: sorted(priced.get(one, ())) for one, signal in load.acked.items() if signal == "traces" and len(priced.get(one, ())) != 1}
    check("each call priced exactly once, over crashes and repeats", not wrong, f"{len(wrong)}: {dict(list(wrong.items())[:3])}")
    figure("calls accepted twice (the first answer was lost)", sum(len(leaves) > 1 for leaves in records.values()))


def sampled_whole(sampled, load):
    """What a sampling exporter got over all kills, by request, each of which is one trace."""
    got, weights = {}, {}
    for signal, item in sampled.items():
        if signal != "metrics":
            request = item["attributes"]["test.case.name"].rpartition("-")[0]
            got.setdefault(request, set()).add(item["attributes"]["test.case.name"])
            weights.setdefault(request, set()).add(item["attributes"].get("SampleRate"))
    acked = {}
    for one, signal in load.acked.items():
        if signal != "metrics":
            acked.setdefault(one.rpartition("-")[0], set()).add(one)
    failed = {request for request in acked if load.fails(int(request.rpartition("-")[2]))}
    share = [request for request in acked.keys() - failed if request in got]
    parts = [request for request in acked if request in got and got[request] != acked[request]]
    check("sampled: no request comes in part", not parts, f"{len(parts)}: {parts[:3]}")
    lost = [request for request in failed if request not in got]
    check("sampled: every failed request comes", failed and not lost, f"{len(lost)} of {len(failed)}: {lost[:3]}")
    wrong = [request for request in acked if request in got and weights[request] != ({None} if request in failed else {SHARE})]
    check("sampled: failed requests have no weight, the others have theirs", not wrong, f"{len(wrong)}: {[(one, weights[one]) for one in wrong[:3]]}")
    others = len(acked) - len(failed)
    bound = 5 * (others * (1 / SHARE) * (1 - 1 / SHARE)) ** 0.5
    check("sampled: the stated share of the others comes", abs(len(share) - others / SHARE) <= bound, f"{len(share)} of {others}")
    figure("requests sampled", f"{len(failed)} failed, {len(share)} of {others} others")


def open_all(gateway, store, load):
    """Every fragment, with stock tools; every acknowledged content; leaves without a gap; bytes of objects all accounted for."""
    stock = Stock(store.vault, gateway.identity, store.keys)
    rows = stock.rows()
    lines = stock.fragments(rows)
    for row in lines.values():
        stock.session_key(row["key_id"])

    def opened(row):
        try:
            return "\n".join(texts(stock.open(row)))
        except AssertionError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(opened, lines.values()))
    bad = [error for error in found if isinstance(error, Exception)]
    check("every fragment opens with stock age and zstd", not bad, f"{len(bad)}: {bad[:2]}")
    figure("fragments opened", len(found) - len(bad))
    check("the index names every fragment in the store", len(lines) == store.fragments(), f"{len(lines)} lines, {store.fragments()} fragments")
    stored = "\n".join(text for text in found if isinstance(text, str))
    have = set()
    for part in stored.split("CANARY-load-")[1:]:
        have.add(part[:16])
    lost = [one for one, signal in load.acked.items() if signal != "metrics" and canary(one)[-16:] not in have]
    check("content of every acknowledged item is in the vault", not lost, f"{len(lost)}: {lost[:5]}")
    logs = {}
    for row in rows:
        logs.setdefault((row["account"], row["writer"], row["epoch"]), []).append(row["leaf"])
    gaps = {key: sorted(set(range(max(leaves) + 1)) - set(leaves))[:5] for key, leaves in logs.items() if sorted(leaves) != list(range(len(leaves)))}
    check("leaf numbers of each epoch without gap or repeat", not gaps, str(list(gaps.items())[:3]))
    figure("index lines", len(rows))
    figure("epochs", len(logs))
    said = store.complaints()
    check("no object was written twice, and the writer asked the store for nothing but PUT, over every life", not said, said[:300])


def cores(work):
    """Core files; none where the machine hands them to a program."""
    pattern = read("/proc/sys/kernel/core_pattern").strip()
    return [] if pattern.startswith("|") else glob.glob(os.path.join(os.path.dirname(pattern) or os.path.join(work, "data"), "*core*"))


def verified(gateway, store):
    """`vault verify` over all that the lives left; what the guide's stock tools make of a vault is in the part `audit`."""
    # keys are a bucket of their own; the chain names their objects too
    shutil.copytree(store.keys, store.vault, dirs_exist_ok=True)
    code, out, why = tollgate("vault", "verify", "--store", store.vault, "--key", os.path.join(gateway.data, "signing.key"), "--identity", gateway.identity,
                              "--log", "none", "--json")
    report = json.loads(out or "{}")
    check("vault verify finds nothing, and opened every fragment", code == 0 and report["counts"]["opened"] == report["counts"]["fragments"] > 0, out[-600:] + why)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--cycles", type=int, default=20)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    a = p.parse_args()
    say(f"crash: kills under load, {a.cycles} cycles, seed {a.seed}")
    check("the search finds every form", not self_check(), self_check())
    # whoever wants core files gets none
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    work, rng, search = workdir("crash"), random.Random(a.seed), Search(())
    sink, store = Sink(os.path.join(work, "sink")), Store(os.path.join(work, "s3"))
    sampled = Sink(os.path.join(work, "sampled"))
    sample = {"keep": ["errors"], "others": 1 / SHARE, "wait": "4s", "weight": "SampleRate"}
    exporters = {**outlets(sink), "otlp_http/sampled": {"endpoint": f"http://127.0.0.1:{sampled.http}", "sample": sample}}
    gateway = Gateway(work, exporters, vault={"store": store.settings}, log="info",
                      change=lambda config: config["processors"]["runs"].update(settle="1s"))
    load, follow, before = Load(gateway.http, failing=FAILING), Follow(sink), set(cores(work))
    kills = [cycle(n, gateway, sink, store, load, follow, rng, search) for n in range(a.cycles)]
    check("no canary in spool and data directory at the kills", search.bytes and not search.found, sorted(search.found)[:3])
    enough = sum(waiting >= UNDELIVERED and fragments >= NOT_UPLOADED for waiting, fragments in kills)
    check(f"at {enough} of {len(kills)} kills >= {UNDELIVERED} items undelivered and >= {NOT_UPLOADED} fragments not uploaded", enough >= len(kills) * 3 // 4)
    sink.tell("ok=1")
    store.tell("ok=1")
    gateway.start(env=credentials())
    got = settle(gateway, load, follow)
    compare(load, got, follow)
    priced_once(sink, load)
    sampled_whole(sampled, load)
    open_all(gateway, store, load)
    check("no panic", "panic" not in gateway.log())
    check("no core file, though the limit allows them", not set(cores(work)) - before, cores(work))
    search.know(map(canary, load.sent))
    search.tree(work)
    check("no canary anywhere outside the opened vault: spool, data, log, S3, outbound, in no form", not search.found, sorted(search.found)[:5])
    figure("bytes searched, inflated frames included", search.bytes)
    verified(gateway, store)
    finish(work)


if __name__ == "__main__":
    main()
