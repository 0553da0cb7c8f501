"""Attacks a fleet for minutes, one failure after the other: two edges, three workers, three brokers, one vault. Every
acknowledged item reaches the back end and the vault; a call is counted once; back end, index, pages and metrics have one sum.

    attack.py [--minutes 10] [--seed N]

An attack is drawn by the seed: SIGKILL of a worker, an edge or a broker; a majority of brokers away; a worker frozen for longer than its session; the back
end or S3 away; a worker's full volume; a worker that is drained, deleted and replaced by a new one.
"""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from faults.common import Quiet, accounted  # noqa: E402
from faults.disk import ext4  # noqa: E402
from faults.mounts import own_mounts  # noqa: E402
from harness import BINARY, S3Stub, Stock, check, credentials, figure, finish, say, texts, until, workdir  # noqa: E402
from kafka.cluster import Cluster  # noqa: E402
from load import Load, add, canary  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402
from parts.fleet import PARTITIONS, edge, lag, partitions, place, stamped, sum_shown, told, topic, worker  # noqa: E402

MIB = 1 << 20
SESSION = 6
# Sessions of an edge's requests. Of a session's calls beyond 20,000 items, runs keep sums alone.
TURNS = 100
SAMPLE = 500


def cost_counted(gateway):
    """What its metrics say that calls cost: a kill takes nothing of it."""
    counted, corrected = (gateway.metric(name) for name in ("tollgate_cost_usd_total", "tollgate_cost_corrected_usd_total"))
    return counted - corrected


class Ordinary:
    """Spans that are no calls, as every agent sends between its calls: with one of them comes the correction of a call that two workers have counted."""

    def __init__(self, edges):
        self.edges, self.number, self.stopped, self.acked = edges, 0, False, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            one = f"ordinary-{self.number}"
            out, now = ExportTraceServiceRequest(), time.time_ns()
            resource = out.resource_spans.add()
            add(resource.resource.attributes, service__name="load", tenant__id="acme")
            span = resource.scope_spans.add().spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name="GET /orders", kind=3, start_time_unix_nano=now - 10**6, end_time_unix_nano=now)
            add(span.attributes, test__case__name=one)
            try:
                status = self.edges[self.number % len(self.edges)].post("traces", out.SerializeToString())[0]
            except OSError:
                status = 0
            if status == 200:
                self.acked.append(one)
            self.number += 1
            time.sleep(0.1)

    def end(self):
        self.stopped = True
        self.thread.join()


class Fleet:
    def __init__(self, work, cluster, rng):
        self.work, self.cluster, self.rng = work, cluster, rng
        self.topic, self.sink, self.store = topic(cluster, "attack"), Quiet(place(work, "sink")), S3Stub(os.path.join(work, "s3"))
        self.edges = [edge(place(work, f"edge-{n}"), cluster, self.topic).start() for n in range(2)]
        self.auditor, self.made, self.signers, self.cost_of_the_gone = None, 0, set(), 0.0
        self.workers = [self.new_worker() for _ in range(3)]
        self.done = Counter()

    def new_worker(self):
        """A worker with a small volume of its own, in which twice its checkpoint must stay free."""
        name, self.made = f"worker-{self.made}", self.made + 1
        one = worker(place(self.work, name), self.cluster, self.topic, self.sink, name, vault={"store": self.store.settings})
        one.volume = os.path.join(one.work, "volume")
        os.makedirs(one.volume)
        ext4(one.volume, 256 * MIB)
        one.config["spool"].update(directory=os.path.join(one.volume, "spool"), max_size="1GiB", segment_size="4MiB", keys=["6b" * 32])
        # one auditor for all of them
        vault = one.config["processors"]["vault"]
        self.auditor = self.auditor or (one.identity, vault["recipients"])
        self.identity, vault["recipients"] = self.auditor
        one.write()
        self.start(one)
        return one

    def start(self, one):
        # a killed worker rebuilds its state first, on two processors beside everything else
        until("the worker is ready", one.start(wait=False, env=credentials()).ready, 120, 0.1)

    # -- attacks: each leaves everything running ----------------------------------------------------------------------

    def kill_worker(self):
        one = self.rng.choice(self.workers)
        one.kill()
        # sometimes its partitions have moved when it comes back
        time.sleep(self.rng.choice((0.1, 1, SESSION + 2)))
        self.start(one)

    def kill_edge(self):
        one = self.rng.choice(self.edges)
        one.kill()
        time.sleep(self.rng.choice((0.1, 2)))
        one.start()

    def kill_broker(self):
        one = self.rng.choice(self.cluster.brokers)
        one.kill()
        time.sleep(self.rng.uniform(1, 6))
        one.start()
        until("the brokers answer again", self.cluster.answers, 120, 1)

    def brokers_away(self):
        gone = self.rng.sample(self.cluster.brokers, 2)
        for one in gone:
            one.kill()
        time.sleep(12)
        for one in gone:
            one.start()
        until("the brokers answer again", self.cluster.answers, 120, 1)

    def freeze_worker(self):
        """Others have its partitions when it goes on, and it knows nothing of it."""
        one = self.rng.choice(self.workers)
        with one.frozen():
            time.sleep(SESSION + 3)

    def back_end_away(self):
        self.sink.tell(self.rng.choice(("status=503", "reset=1", "reset=after", "status=429&retry_after=1", "delay_ms=2000")))
        time.sleep(self.rng.uniform(4, 10))
        self.sink.tell("ok=1")

    def s3_away(self):
        self.store.tell(self.rng.choice(("status=503", "reset=1", "reset=after", "hang=2")))
        time.sleep(self.rng.uniform(4, 10))
        self.store.tell("ok=1")

    def full_volume(self):
        one = self.rng.choice(self.workers)
        ballast = os.path.join(one.volume, "ballast")
        try:
            with open(ballast, "wb") as f:
                while True:
                    f.write(bytes(MIB))
        except OSError:
            pass
        time.sleep(8)
        if not one.alive():
            check("a full volume ends no worker", False, one.log()[-600:])
        os.remove(ballast)

    def scale_in(self):
        """A worker is drained while another dies; its volume is deleted and a new worker takes its place."""
        leaving = self.rng.choice(self.workers)
        other = self.rng.choice([one for one in self.workers if one is not leaving])
        other.kill()
        self.start(other)
        code, text = told(leaving, "fleet", "drain", "--timeout", "120s")
        if not check("a worker that is drained says so", code == 0 and "drained" in text, text[-600:]):
            return
        self.cost_of_the_gone += cost_counted(leaving)
        check("a drained worker ends well", leaving.stop() == 0)
        self.keep_signer(leaving)
        self.panics(leaving)
        subprocess.run(["umount", leaving.volume], check=True)
        shutil.rmtree(leaving.volume)
        self.workers[self.workers.index(leaving)] = self.new_worker()

    # -- the end --------------------------------------------------------------------------------------------------------

    def keep_signer(self, one):
        self.signers |= set(re.findall(r'"vault_key":"([^"]+)"', one.log()))

    def panics(self, one):
        check(f"{os.path.basename(one.work)}: no panic", "panicked" not in one.log(), one.log()[-300:])

    def settle(self):
        until("the topic is read", lambda: lag(self.cluster, self.topic) <= 0, 600, 2)
        for one in self.workers:
            until("everything is delivered and stored", one.drained, 300, 0.5)
        until("every partition has a worker", lambda: sum(partitions(one) for one in self.workers) == PARTITIONS, 60, 0.5)


# Weights: what happens often in life comes often here.
ATTACKS = {"kill_worker": 6, "kill_edge": 4, "kill_broker": 3, "brokers_away": 1, "freeze_worker": 2, "back_end_away": 3, "s3_away": 2, "full_volume": 2, "scale_in": 1}


def attack(fleet, minutes):
    """Each kind comes at least once; then by their weights, until the time is over."""
    end, first = time.monotonic() + minutes * 60, fleet.rng.sample(list(ATTACKS), len(ATTACKS))
    while time.monotonic() < end:
        kind = first.pop() if first else fleet.rng.choices(list(ATTACKS), ATTACKS.values())[0]
        began = time.monotonic()
        getattr(fleet, kind)()
        fleet.done[kind] += 1
        say(f"  {kind:<14} {time.monotonic() - began:5.1f} s   {max(0, end - time.monotonic()):5.0f} s left")
        time.sleep(fleet.rng.uniform(0.2, 3))
    check("each kind of attack happened", not first, str(first))


def in_the_vault(fleet, acked):
    """Every acknowledged item has an index line, and `verify` compares each line with what it opens; a sample is opened with stock tools. The
    lines."""
    store = fleet.store
    stock = Stock(store.vault, fleet.identity, store.keys)
    rows = stock.rows()
    contents = {one for one, signal in acked.items() if signal != "metrics"}
    delivered = {item["attributes"]["test.case.name"]: item["span_id"] for signal, item in fleet.sink.items() if signal != "metrics"}
    lines = stock.fragments(rows)
    # a fragment holds what one batch has of a session
    spans = {row["span_id"] for row in rows if row.get("fragment")}
    figure("index lines, fragments", f"{len(rows)}, {len(lines)}")
    lost = [one for one in contents if delivered.get(one) not in spans]
    check(f"content of each of {len(contents)} acknowledged items is in the vault", not lost, f"{len(lost)}: {lost[:5]}")
    sample = {row["span_id"]: "".join(texts(stock.open(row))) for row in fleet.rng.sample(sorted(lines.values(), key=str), min(SAMPLE, len(lines)))}
    wrong = [one for one, span in delivered.items() if span in sample and canary(one) not in sample[span]]
    check(f"{len(sample)} of them open with stock tools, and are what was sent", sample and not wrong, f"{len(wrong)}: {wrong[:5]}")
    shutil.copytree(store.keys, store.vault, dirs_exist_ok=True)
    keys = [word for signer in sorted(fleet.signers) for word in ("--key", signer)]
    done = subprocess.run([BINARY, "vault", "verify", "--store", store.vault, "--identity", fleet.identity, "--log", "none", *keys], capture_output=True, text=True)
    check("the vault verifies", done.returncode == 0, done.stdout[-800:] + done.stderr[-300:])
    said = store.complaints()
    check("no object was written twice, and the workers asked the store for nothing but PUT", not said, said[:300])
    return rows


def settled_sums(fleet):
    """What each worker's page says, and what the metrics of all say together, once they agree or after three minutes."""
    end = time.monotonic() + 180
    while True:
        counted = fleet.cost_of_the_gone + sum(map(cost_counted, fleet.workers))
        sums = [*(Decimal(sum_shown(one)) for one in fleet.workers), round(Decimal(counted), 6).normalize()]
        if len(set(sums)) == 1 or time.monotonic() > end:
            return sums
        time.sleep(2)


def costs_shown(gateway):
    """What its page says that the runs of each session cost."""
    sessions = [f"edge{edge}-session-{turn}-0" for edge in range(2) for turn in range(TURNS)]
    runs = {session: gateway.ask(f"/api/runs?limit=1000&session={session}")["runs"] for session in sessions}
    return {session: sum(Decimal(run["totals"]["cost_usd"] or 0) for run in shown) for session, shown in runs.items()}


def tell_differences(shown, rows):
    """Says, for each session whose cost the pages and the index do not agree on, its costs and charges."""
    due, charges = Counter(), Counter()
    for row in rows:
        if row.get("cost_usd"):
            due[row["session_id"]] += Decimal(row["cost_usd"])
            charges[row["session_id"]] += 1
    for session in sorted(shown[0]):
        costs = [costs[session] for costs in shown]
        if set(costs) != {due[session]}:
            say(f"  {session}: index {due[session]} ({charges[session]} charges), pages {', '.join(map(str, costs))}")


def main():
    own_mounts()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = p.parse_args()
    say(f"attack: {options.minutes} minutes, seed {options.seed}")
    work = workdir("attack")
    fleet = Fleet(work, Cluster(place(work, "cluster"), 3), random.Random(options.seed))
    until("every partition has a worker", lambda: sum(partitions(one) for one in fleet.workers) == PARTITIONS, 60, 0.5)
    loads = [Load(one.http, f"edge{n}", threads=1, batch=10, sessions=1, turns=TURNS, fill=100) for n, one in enumerate(fleet.edges)]
    ordinary = Ordinary(fleet.edges)
    for load in loads:
        load.go()
    attack(fleet, options.minutes)
    for load in loads:
        load.end()
    acked = {one: signal for load in loads for one, signal in load.acked.items()}
    figure("attacks", ", ".join(f"{count} {kind}" for kind, count in fleet.done.items()))
    figure("items acknowledged, requests refused, without an answer", f"{len(acked)}, {sum(load.refused for load in loads)}, {sum(load.broken for load in loads)}")
    began = time.monotonic()
    fleet.settle()
    figure("settled after", round(time.monotonic() - began, 1), "s")
    # Two workers that counted one call learn of it from each other; a worker sums up the runs of others every ten seconds.
    sums = settled_sums(fleet)
    shown = [costs_shown(one) for one in fleet.workers] if len(set(sums)) > 1 else []
    ordinary.end()
    fleet.settle()
    accounted("attack", fleet.sink, [*acked, *ordinary.acked], bound=None)
    for one in (*fleet.workers, *fleet.edges):
        check(f"{os.path.basename(one.work)}: a clean end", one.stop() == 0)
        fleet.keep_signer(one)
        fleet.panics(one)
    rows, at_back_end = in_the_vault(fleet, acked), stamped(fleet.sink)
    indexed = sum(Decimal(row["cost_usd"]) for row in rows if row.get("cost_usd"))
    figure("USD: pages, metrics, index, back end", f"{sums}, {indexed}, {at_back_end}")
    check("every page names one sum, and so do the metrics", len(set(sums)) == 1, str(sums))
    if shown:
        tell_differences(shown, rows)
    check("the index names it", indexed == sums[0])
    check("the stamps at the back end add up to it", at_back_end == sums[0])
    finish(work)


if __name__ == "__main__":
    main()
