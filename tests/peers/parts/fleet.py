"""A fleet on a real Kafka cluster: an edge, workers, brokers, and what happens when any of them dies.

    fleet.py [ROW …] [--nodes 3] [--kills 6] [--seconds 4]

Rows: check flow view kill roll drain brokers lost disk retention zombie growth backlog large secure collector (all without one), cost, try. What clients were told is
safe must arrive, and each accepted item once in the vault.
"""
import argparse
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from faults.common import Quick, Quiet, accounted  # noqa: E402
from faults.disk import can_mount, tmpfs  # noqa: E402
from faults.mounts import own_mounts  # noqa: E402
from harness import BINARY, RECORDINGS, Gateway, Sink, Stock, check, figure, finish, http, say, until, workdir  # noqa: E402
from kafka.cluster import Cluster  # noqa: E402
from kafka.collector import collector_row  # noqa: E402
from kafka.secure import PASSWORD, Authority, allow, sasl, secure_cluster  # noqa: E402
from load import request  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

KEY = "7a" * 32
PARTITIONS = 12


def place(work, name):
    path = os.path.join(work, name)
    os.makedirs(path, exist_ok=True)
    return path


def edge(work, cluster, topic, change=None):
    """An edge: no processors, no vault; a client's OK is the brokers'."""
    exporter = {"brokers": cluster.addresses, "topic": topic, "keys": [KEY], "timeout": "5s", "retry_on_failure": {"initial_interval": "200ms", "max_interval": "1s"}}

    def adapt(config):
        config["processors"] = {}
        for pipeline in config["service"]["pipelines"].values():
            pipeline["processors"] = []
        if change:
            change(config["exporters"]["kafka"])

    return Gateway(work, {"kafka": exporter}, change=adapt, log="info")


def worker(work, cluster, topic, sink, name, **options):
    """A worker: the whole pipeline behind the topic."""
    exporter = {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}", "compression": "none", "retry_on_failure": {"initial_interval": "200ms", "max_interval": "1s"}}}
    receiver = {"brokers": cluster.addresses, "topic": topic, "dead_topic": f"{topic}.dead", "group_id": f"workers-{topic}", "group_instance_id": name,
                "keys": [KEY], "session_timeout": "6s", "effects_topic": f"{topic}.effects", **options}

    def adapt(config):
        config["receivers"] = {"kafka": receiver}
        config["pseudonyms"] = {"key": "the same on every worker of this fleet"}
        for pipeline in config["service"]["pipelines"].values():
            pipeline["receivers"] = ["kafka"]

    return Gateway(work, exporter, change=adapt, log="info", vault={"writer": name})


def topic(cluster, name):
    cluster.create_topic(name, PARTITIONS, max_message_bytes=8 << 20)
    cluster.create_topic(f"{name}.dead", 1)
    cluster.create_topic(f"{name}.effects", 2)
    return name


def lag(cluster, name):
    """Records that no worker has committed yet."""
    ends, committed = cluster.ends(name), cluster.committed(f"workers-{name}", name)
    return sum(end - committed.get(partition, 0) for partition, end in ends.items())


def partitions(gateway):
    """Partitions of the data's topic that the worker has."""
    return gateway.metric("tollgate_kafka_partitions", receiver="kafka")


def settled(cluster, name, workers, seconds=120):
    until("the topic is read", lambda: lag(cluster, name) == 0, seconds, 1)
    for one in workers:
        until("everything is delivered", one.drained, seconds, 0.1)


def told(gateway, *command):
    done = subprocess.run([BINARY, *(command or ("check",)), "--config", gateway.config_path], capture_output=True, text=True, cwd=gateway.data)
    return done.returncode, done.stdout + done.stderr


SCRIPTS = {"kafka-acls.sh": "org.apache.kafka.tools.AclCommand", "kafka-configs.sh": "org.apache.kafka.tools.ConfigCommand", "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand"}


def obey(row, cluster, text, user=None):
    """Runs the commands that `check` names; with a user, those that grant it something."""
    commands = re.findall(rf"`({'kafka-acls' if user else 'kafka-[a-z]+'}\.sh [^`]+)`", text)
    for command in commands:
        script, *arguments = command.replace("User:NAME", f"User:{user}").split()
        done = cluster.tool(SCRIPTS[script], *arguments)
        check(f"{row}: a broker takes `{command}`", done.returncode == 0, done.stdout[-300:] + done.stderr[-300:])
    return commands


def check_row(work, cluster, options):
    """`check` says what a topic lacks and the command that mends it; nothing is written to it until then."""
    sender = edge(place(work, "check"), cluster, "fleet.weak")
    code, text = told(sender)
    check("check: a missing topic is named", code == 1 and "fleet.weak" in text and "topic" in text, text)
    cluster.create_topic("fleet.weak", 2, replicas=1, min_insync_replicas=1)
    code, text = told(sender)
    check("check: a topic with one replica is refused, with the command", code == 1 and "kafka-topics.sh --create" in text, text)
    sender.start()
    until("the refusal is shown before there is a request", lambda: sender.metric("tollgate_exporter_denied", exporter="kafka") == 1, 30, 0.2)
    check("check: an edge refuses the topic at its start", "replica" in sender.log(), sender.log()[-300:])
    status = sender.post("traces", request("traces", ["weak-1"]).SerializeToString())[0]
    check("check: a client gets no OK for a topic that can lose it", status == 503, str(status))
    check("check: and the log says why", "replica" in sender.log(), sender.log()[-300:])
    check("check: nothing was written", sum(cluster.ends("fleet.weak").values()) == 0)
    sender.stop()
    allowing = edge(place(work, "check-allowing"), cluster, "fleet.weak", change=lambda exporter: exporter.update(allow_weak_durability=True)).start()
    status = allowing.post("traces", request("traces", ["weak-2"]).SerializeToString())[0]
    check("check: with allow_weak_durability it is taken", status == 200, str(status))
    allowing.stop()
    away = edge(place(work, "check-away"), type("Away", (), {"addresses": ["127.0.0.1:9"]}), "fleet.weak")
    code, text = told(away)
    check("check: a broker that is not there is named, with a remedy", code == 1 and "brokers" in text, text)
    away.start()
    until("its log says that no broker answers", lambda: "no broker" in away.log(), 30, 0.2)
    check("check: an edge starts without it", away.alive() and away.ready() and away.metric("tollgate_exporter_denied", exporter="kafka") == 0)
    away.stop()

    cluster.create_topic("fleet.small", 2, max_message_bytes=1 << 20)
    sender = edge(place(work, "check-small"), cluster, "fleet.small", change=lambda exporter: exporter.update(max_request_size="2MiB"))
    code, text = told(sender)
    check("check: a topic that may refuse a record is a warning", code == 0 and "max.message.bytes=" in text, text)
    check("check: one command mends it", len(obey("check", cluster, text)) == 1)
    code, text = told(sender)
    check("check: the warning is gone", code == 0 and "max.message.bytes" not in text, text)

    for name, count in (("fleet.few", 1), ("fleet.few.dead", 1), ("fleet.few.effects", 2)):
        cluster.create_topic(name, count)
    sink = Quiet(place(work, "check-sink"))
    workers = [worker(place(work, f"check-few-{n}"), cluster, "fleet.few", sink, f"few-{n}").start() for n in range(2)]
    until("both workers are members", lambda: "has 2 members" in (text := told(workers[0])[1]) and "2 workers share 1" in text, 60, 1)
    code, text = told(workers[0])
    check("check: a worker without a partition is a warning", code == 0 and "2 workers share 1 partition" in text, text)
    check("check: one command mends it", len(obey("check", cluster, text)) == 1)
    code, text = told(workers[0])
    check("check: the warning is gone", code == 0 and "workers share" not in text, text)
    for one in workers:
        check("check: a clean end", one.stop() == 0)


def under_load(work, cluster, row, **options):
    """Two workers behind an edge, half of the partitions each, and a load that has begun: (topic, sink, edge, workers, load)."""
    name = topic(cluster, f"fleet.{row}")
    sink = Quiet(place(work, f"{row}-sink"))
    sender = edge(place(work, f"{row}-edge"), cluster, name).start()
    workers = [worker(place(work, f"{row}-{n}"), cluster, name, sink, f"{row}-{n}", **options).start() for n in range(2)]
    until("both workers have partitions", lambda: all(partitions(one) == PARTITIONS / 2 for one in workers), 60, 0.2)
    load = Quick(sender.http, row, threads=3, sessions=20)
    load.go()
    return name, sink, sender, workers, load


def flow_row(work, cluster, options):
    """Everything arrives once; the topic holds nothing readable; what can't be read is kept."""
    name = topic(cluster, "fleet.flow")
    sink = Quiet(place(work, "flow-sink"))
    sender = edge(place(work, "flow-edge"), cluster, name).start()
    workers = [worker(place(work, f"flow-{n}"), cluster, name, sink, f"flow-{n}").start() for n in range(2)]
    until("both workers have partitions", lambda: all(partitions(one) >= PARTITIONS // 2 for one in workers), 60, 0.2)
    load = Quick(sender.http, "flow", threads=3, sessions=20, fill=100)
    load.go()
    time.sleep(options.seconds)
    load.end()
    check("flow: a foreign message goes to the dead topic", foreign(cluster, name))
    settled(cluster, name, workers)
    figure("flow: items, refused, broken", f"{len(load.acked)}, {load.refused}, {load.broken}")
    accounted("flow", sink, load.acked, bound=0)
    check("flow: both workers worked", all(one.metric("tollgate_kafka_records_total", outcome="accepted") > 0 for one in workers))
    check("flow: the foreign message is in the dead topic", sum(cluster.ends(f"{name}.dead").values()) == 1)
    readable = [path for broker in cluster.brokers for path in walk(broker.folder) if holds(path, b"CANARY-load") or holds(path, b"load-session")]
    check("flow: no broker holds content or a session's id", not readable, str(readable[:3]))
    for one in workers:
        public = re.search(r'"vault_key":"([^"]+)"', one.log())[1]
        done = subprocess.run([BINARY, "vault", "verify", "--store", one.store, "--identity", one.identity, "--log", "none", "--key", public], capture_output=True, text=True)
        check(f"flow: the vault of {os.path.basename(one.work)} verifies", done.returncode == 0, done.stdout[-600:] + done.stderr[-300:])
        check("flow: a clean end", one.stop() == 0)
    sender.stop()


def foreign(cluster, name):
    done = subprocess.run(["java", "-Xmx128m", "-cp", os.path.join(os.environ["PEERS_CACHE"], "kafka", "libs", "*"), "org.apache.kafka.tools.ConsoleProducer",
                           "--bootstrap-server", cluster.addresses[0], "--topic", name], input="somebody else's message\n", text=True, capture_output=True)
    return done.returncode == 0


def walk(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]


def holds(path, needle):
    with open(path, "rb") as f:
        return needle in f.read()


def kill_row(work, cluster, options):
    """SIGKILL of a worker at any moment, its volume stays: nothing is lost, nothing is stored twice."""
    name = topic(cluster, "fleet.kill")
    sink = Quiet(place(work, "kill-sink"))
    sender = edge(place(work, "kill-edge"), cluster, name).start()
    small = {"batch": {"flush_timeout": "20ms", "max_size": "64KiB", "sizer": "bytes"}}
    workers = [worker(place(work, f"kill-{n}"), cluster, name, sink, f"kill-{n}") for n in range(2)]
    for one in workers:
        one.config["exporters"]["otlp_http"]["sending_queue"] = small
        one.write()
        one.start()
    load = Quick(sender.http, "kill", threads=3, sessions=20)
    load.go()
    for cycle in range(options.kills):
        victim = workers[cycle % 2]
        time.sleep(options.seconds / 2)
        victim.kill()
        # sometimes its partitions have moved when it comes back
        time.sleep(8 if cycle % 3 == 2 else 0.1)
        victim.start()
    time.sleep(options.seconds / 2)
    load.end()
    # the workers were away for most of the time, so much waits
    settled(cluster, name, workers, seconds=120 + 10 * options.kills)
    figure("kill: kills, items acknowledged", f"{options.kills}, {len(load.acked)}")
    accounted("kill", sink, load.acked, bound=0.1)
    stored_before = sum(one.metric("tollgate_kafka_records_total", outcome="stored_before") for one in workers)
    figure("kill: records that were in the spool already", stored_before)
    for one in workers:
        check("kill: no panic", "panic" not in one.log())
        check("kill: a clean end", one.stop() == 0)
    sender.stop()
    repeated_records("kill", workers)


# Records that a worker may have stored and not committed: 128 under way, and those of one poll (`receivers/kafka`).
UNCOMMITTED = 128 + 32


def repeated_records(row, workers):
    """What both workers stored is marked: its lines name one record of the topic. And it is little: what the first one had stored and not committed when it
    lost the partition, the records of one commit interval."""
    stored, items = [{} for _ in workers], [{} for _ in workers]
    for worker, records, named in zip(workers, stored, items):
        for line in Stock(worker.store, worker.identity).each_row():
            if line.get("response_id") and line["kind"] != "price":
                # an epoch of a vault ends with its process
                records.setdefault(line["source_record"], (line["ingest_ts"], line["epoch"]))
                named.setdefault(line["response_id"], line["source_record"])
    moves = Counter()
    for record in stored[0].keys() & stored[1].keys():
        _, epoch = min(records[record] for records in stored)
        moves[(record.rpartition("/")[0], epoch)] += 1
    most = max(moves.values(), default=0)
    figure(f"{row}: records of spans and logs, stored by both workers, moves of a partition with such, most records of one move",
           f"{len(stored[0] | stored[1])}, {moves.total()}, {len(moves)}, {most}")
    unmarked = [one for one in items[0].keys() & items[1].keys() if items[0][one] != items[1][one]]
    check(f"{row}: the lines of an item that both stored name one record", not unmarked, f"{len(unmarked)}: {unmarked[:3]}")
    check(f"{row}: a move repeats no more than one commit interval's records", most <= UNCOMMITTED, str(most))


def roll_row(work, cluster, options):
    """1, 3, 2 workers under load, each ended in order: nothing lost, nothing twice."""
    name = topic(cluster, "fleet.roll")
    sink = Quiet(place(work, "roll-sink"))
    sender = edge(place(work, "roll-edge"), cluster, name).start()
    workers = [worker(place(work, f"roll-{n}"), cluster, name, sink, f"roll-{n}") for n in range(3)]
    load = Quick(sender.http, "roll", threads=3, sessions=20)
    workers[0].start()
    load.go()
    for one in workers[1:]:
        time.sleep(options.seconds)
        one.start()
    until("all three have partitions", lambda: all(partitions(one) > 0 for one in workers), 60, 0.2)
    time.sleep(options.seconds)
    check("roll: a clean end", workers[0].stop() == 0)
    time.sleep(options.seconds)
    # an update of the others, one after the other
    for one in workers[1:]:
        check("roll: a clean end", one.stop() == 0)
        one.start()
        time.sleep(options.seconds)
    load.end()
    workers[0].start()
    settled(cluster, name, workers)
    figure("roll: items acknowledged", len(load.acked))
    accounted("roll", sink, load.acked, bound=0, accepted_twice=0)
    figure("roll: lost partitions", sum(one.metric("tollgate_kafka_partition_changes_total", change="lost") for one in workers))
    for one in workers:
        one.stop()
    sender.stop()


def brokers_row(work, cluster, options):
    """A broker dies: the edge goes on. Two of three are down: the edge refuses, and goes on when they are back."""
    name = topic(cluster, "fleet.brokers")
    sink = Quiet(place(work, "brokers-sink"))
    sender = edge(place(work, "brokers-edge"), cluster, name).start()
    reader = worker(place(work, "brokers-0"), cluster, name, sink, "brokers-0").start()
    load = Quick(sender.http, "brokers", threads=3, sessions=20)
    load.go()
    time.sleep(options.seconds)
    cluster.brokers[0].kill()
    before = len(load.acked)
    until("the edge goes on without one broker", lambda: len(load.acked) > before + 500, 60, 0.2)
    check("brokers: one of three may die", True)
    cluster.brokers[1].kill()
    until("the edge refuses", lambda: load.refused > 0, 90, 0.2)
    check("brokers: with two of three down, clients are told to come again", True)
    cluster.brokers[0].start()
    cluster.brokers[1].start()
    before = len(load.acked)
    until("the edge goes on", lambda: len(load.acked) > before + 500, 120, 0.2)
    load.end()
    settled(cluster, name, [reader])
    figure("brokers: items acknowledged, requests refused", f"{len(load.acked)}, {load.refused}")
    # the edge writes a request again whose acknowledgement was lost with a broker; the worker knows it by the record's id
    figure("brokers: records that an edge wrote again", reader.metric("tollgate_kafka_records_total", outcome="written_again"))
    accounted("brokers", sink, load.acked, bound=0, accepted_twice=0)
    check("brokers: no panic", "panic" not in reader.log() + sender.log())
    reader.stop()
    sender.stop()


def drain_row(work, cluster, options):
    """`fleet drain` empties a worker while its back end comes back: its volume is deleted afterwards, and nothing is lost or delivered twice."""
    # a session longer than the row: only a member that leaves gives its partitions away in time
    name, sink, sender, workers, load = under_load(work, cluster, "drain", session_timeout="120s")
    time.sleep(options.seconds)
    sink.tell("status=503")
    time.sleep(1)
    leaving = workers[0]
    code, text = told(leaving, "fleet", "drain", "--timeout", "4s")
    say("    " + text.strip().splitlines()[-1])
    check("drain: with the back end down, it says what is left", code == 1 and "record" in text and "otlp_http" in text, text)
    until("the other worker has all partitions", lambda: partitions(workers[1]) == PARTITIONS, 30, 0.2)
    check("drain: its partitions are gone", partitions(leaving) == 0)
    sink.tell("ok=1")
    code, text = told(leaving, "fleet", "drain", "--timeout", "90s")
    say(text)
    check("drain: it ends when everything is delivered", code == 0 and "drained" in text, text)
    until("the metrics say so too", leaving.drained, 10, 0.2)
    check("drain: a clean end", leaving.stop() == 0)
    shutil.rmtree(leaving.work)
    load.end()
    settled(cluster, name, workers[1:])
    figure("drain: items acknowledged", len(load.acked))
    accounted("drain", sink, load.acked, bound=0, accepted_twice=0)
    code, text = told(sender, "fleet", "drain")
    check("drain: an edge says that it has nothing to hand over", code == 1 and "SIGTERM" in text, text)
    for one in (workers[1], sender):
        check("drain: a clean end", one.stop() == 0)


def disk_row(work, cluster, options):
    """A worker's volume is full: its records stay in the topic, unread or uncommitted, and all of them arrive once there is room again."""
    name = topic(cluster, "fleet.disk")
    if not can_mount(work):
        # CI is root and must be able to; a developer's machine may not be
        check("disk: a small volume can be mounted here", not (os.environ.get("CI") == "true" and os.geteuid() == 0))
        return say("!!!! disk: no small volume can be mounted here: FULL DISKS NOT CHECKED")
    sink = Quiet(place(work, "disk-sink"))
    sender = edge(place(work, "disk-edge"), cluster, name).start()
    reader = worker(place(work, "disk-0"), cluster, name, sink, "disk-0")
    volume = place(work, "disk-volume")
    tmpfs(volume, 48 << 20)
    reader.config["spool"] = {**reader.config.get("spool", {}), "directory": os.path.join(volume, "spool"), "max_size": "1GiB"}
    reader.write()
    reader.start()
    sink.tell("status=503")
    load = Quick(sender.http, "disk", threads=3, sessions=20, fill=2000)
    load.go()
    until("the volume is full", lambda: reader.metric("tollgate_spool_refusals_total") > 0 or "full" in reader.log(), 120, 0.2)
    time.sleep(options.seconds)
    load.end()
    waiting = lag(cluster, name)
    figure("disk: records that wait in the topic", waiting)
    check("disk: with a full volume, records wait in the topic", waiting > 0)
    check("disk: the worker is alive and keeps its partitions", reader.alive() and partitions(reader) == PARTITIONS)
    sink.tell("ok=1")
    settled(cluster, name, [reader])
    figure("disk: items acknowledged", len(load.acked))
    accounted("disk", sink, load.acked, bound=0, accepted_twice=0)
    check("disk: nothing went to the dead topic", sum(cluster.ends(f"{name}.dead").values()) == 0)
    for one in (reader, sender):
        check("disk: a clean end", one.stop() == 0)
    subprocess.run(["umount", volume], check=True)


def retention_row(work, cluster, options):
    """Records that the topic's retention removed while all workers were away are counted and named; what is left arrives once."""
    name = topic(cluster, "fleet.retention")
    sink = Quiet(place(work, "retention-sink"))
    sender = edge(place(work, "retention-edge"), cluster, name).start()
    reader = worker(place(work, "retention-0"), cluster, name, sink, "retention-0").start()
    load = Quick(sender.http, "retention", threads=3, sessions=20)
    load.go()
    time.sleep(options.seconds / 2)
    check("retention: a clean end", reader.stop() == 0)
    time.sleep(options.seconds / 2)
    load.end()
    code, text = told(reader, "fleet", "status", "--json")
    found = json.loads(text.splitlines()[0]) if code == 0 else {}
    behind = [one for one in found.get("partitions", []) if one["waiting"]]
    check("retention: `fleet status` says since when records wait", behind and all(0 < one["oldest_seconds"] < 600 for one in behind), text[-600:])
    # half of what waits in each partition
    passed = {one["partition"]: (one["committed"] + (one["waiting"] + 1) // 2) for one in behind if one["committed"] is not None}
    removed = sum(to - one["committed"] for one in behind if (to := passed.get(one["partition"])))
    offsets = os.path.join(work, "retention.json")
    with open(offsets, "w") as f:
        json.dump({"version": 1, "partitions": [{"topic": name, "partition": number, "offset": to} for number, to in passed.items()]}, f)
    done = cluster.tool("org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", offsets)
    check("retention: the brokers removed records", done.returncode == 0 and removed > 0, done.stderr[-300:])
    reader.start()
    settled(cluster, name, [reader])
    figure("retention: records removed before they were read", removed)
    missing = reader.metric("tollgate_kafka_missing_records_total", receiver="kafka")
    check("retention: each of them is counted", missing == removed, f"{missing} of {removed}")
    check("retention: the log names the partition and the remedy", "retention.ms" in reader.log())
    got = Counter(one for one, _ in set(sink.deliveries()))
    check("retention: what was left arrived once", got and max(got.values()) == 1 and len(got) < len(load.acked))
    for one in (reader, sender):
        check("retention: a clean end", one.stop() == 0)


def lost_row(work, cluster, options):
    """A worker dies with its volume, on which accepted data waits for a back end that is down; what it had uploaded to the vault stays. Once the group's
    offsets are set back, as the page says, the others store what it had, and nothing of their own again. What is in the vault twice counts once."""
    name, sink, sender, workers, load = under_load(work, cluster, "lost")
    time.sleep(options.seconds)
    sink.tell("status=503")
    began = time.time()
    time.sleep(options.seconds)
    load.end()
    until("everything is in a spool", lambda: lag(cluster, name) == 0, 60, 1)
    workers[0].kill()
    shutil.rmtree(workers[0].data)
    sink.tell("ok=1")
    until("the other worker has all partitions", lambda: partitions(workers[1]) == PARTITIONS, 60, 0.2)
    until("the other worker has delivered its own", workers[1].drained, 60, 0.1)
    missing = len(set(load.acked) - set(sink.ids()))
    figure("lost: acknowledged items that are gone with the volume", missing)
    check("lost: without the volume, items are missing", missing > 0)
    check("lost: a clean end", workers[1].stop() == 0)
    until("the group is empty", lambda: set_back(cluster, f"workers-{name}", name, began - 10), 60, 2)
    workers[1].start()
    settled(cluster, name, workers[1:])
    figure("lost: items acknowledged", len(load.acked))
    figure("lost: records that were in the other spool already", workers[1].metric("tollgate_kafka_records_total", outcome="stored_before"))
    accounted("lost", sink, load.acked, bound=None)
    shown = costs_shown(work, workers[1:], load)
    for one in (workers[1], sender):
        check("lost: a clean end", one.stop() == 0)
    counted_once("lost", work, workers, load, shown, gone=workers[0])


def set_back(cluster, group, name, moment):
    """Sets the offsets of a group without members back to a time; False while it has members."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S.000", time.gmtime(moment))
    done = cluster.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--reset-offsets", "--group", group, "--topic", name, "--to-datetime", when, "--execute")
    return done.returncode == 0 and "Error" not in done.stdout + done.stderr


def zombie_row(work, cluster, options):
    """SIGSTOP of a worker past the session's timeout, then SIGCONT: nothing is lost, and what both workers took counts once."""
    name, sink, sender, workers, load = under_load(work, cluster, "zombie")
    time.sleep(options.seconds)
    workers[0].process.send_signal(signal.SIGSTOP)
    until("the other worker has all partitions", lambda: partitions(workers[1]) == PARTITIONS, 60, 0.2)
    time.sleep(options.seconds)
    workers[0].process.send_signal(signal.SIGCONT)
    time.sleep(options.seconds)
    load.end()
    settled(cluster, name, workers)
    figure("zombie: items acknowledged", len(load.acked))
    accounted("zombie", sink, load.acked, bound=0.05)
    lost = workers[0].metric("tollgate_kafka_partition_changes_total", change="lost")
    check("zombie: it noticed that its partitions were lost", lost > 0 or "partitions were lost" in workers[0].log())
    shown = costs_shown(work, workers, load)
    for one in (*workers, sender):
        check("zombie: a clean end", one.stop() == 0)
    counted_once("zombie", work, workers, load, shown)
    repeated_records("zombie", workers)


def growth_row(work, cluster, options):
    """Partitions that are added under load are written to and read, without a restart."""
    name, sink, sender, workers, load = under_load(work, cluster, "growth")
    cluster.add_partitions(name, 2 * PARTITIONS)
    until("the edge writes to the new partitions", lambda: sum(cluster.ends(name)[n] > 0 for n in range(PARTITIONS, 2 * PARTITIONS)) > 1, 150, 2)
    until("the workers have the new partitions", lambda: sum(map(partitions, workers)) == 2 * PARTITIONS, 150, 1)
    time.sleep(5)
    load.end()
    settled(cluster, name, workers)
    accounted("growth", sink, load.acked, bound=0.05)
    for one in (sender, *workers):
        one.stop()


def backlog_row(work, cluster, options):
    """A worker that has much to catch up on reads all partitions, not those of one broker first. (Seen: with the library's own limit of buffered records, the
    partitions of one broker of three were not read while the others had a backlog.)"""
    name = topic(cluster, "fleet.backlog")
    sink = Quiet(place(work, "backlog-sink"))
    sender = edge(place(work, "backlog-edge"), cluster, name).start()
    load = Quick(sender.http, "backlog", threads=3, sessions=200, fill=0)
    load.go()
    until("each partition has a backlog", lambda: min(cluster.ends(name).values()) > 1500, 300, 2)
    load.end()
    total = sum(cluster.ends(name).values())
    reader = worker(place(work, "backlog-0"), cluster, name, sink, "backlog-0").start()
    until("half is read", lambda: reader.metric("tollgate_kafka_records_total", receiver="kafka", outcome="accepted") > total / 2, 300, 0.1)
    committed = cluster.committed(f"workers-{name}", name)
    figure("backlog: records in all, read of each partition when half was", f"{total}, {sorted(committed.get(number, 0) for number in range(PARTITIONS))}")
    check("backlog: every partition is read", all(committed.get(number, 0) > 0 for number in range(PARTITIONS)), str(committed))
    settled(cluster, name, [reader], 300)
    accounted("backlog", sink, load.acked, bound=0, accepted_twice=0)
    for one in (sender, reader):
        check("backlog: a clean end", one.stop() == 0)


def large_row(work, cluster, options):
    """A request as large as the topic takes arrives; one item that is larger is refused, and so never accepted and lost."""
    name = topic(cluster, "fleet.large")
    sink = Quiet(place(work, "large-sink"))
    sender = edge(place(work, "large-edge"), cluster, name, change=lambda exporter: exporter.update(max_request_size="40MiB")).start()
    reader = worker(place(work, "large-0"), cluster, name, sink, "large-0").start()
    # random text, which compression makes no smaller than half
    noise = lambda size: os.urandom(size // 2).hex()  # noqa: E731
    names = [f"large-{n}" for n in range(40)]
    for part in (names[:20], names[20:]):
        body = request("traces", part)
        for resource in body.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attribute = span.attributes.add()
                    attribute.key, attribute.value.string_value = "noise", noise(700 << 10 if len(names) > 40 or span.name != names[0] else 10 << 20)
        status, _, answer = sender.post("traces", body.SerializeToString())
        check(f"large: a request of {body.ByteSize() >> 20} MiB is taken", status == 200, f"{status} {answer[:200]}")
    settled(cluster, name, [reader])
    accounted("large", sink, set(names), bound=0)
    body = request("traces", ["too-large"])
    attribute = body.resource_spans[0].scope_spans[0].spans[0].attributes.add()
    attribute.key, attribute.value.string_value = "noise", noise(24 << 20)
    status, _, answer = sender.post("traces", body.SerializeToString())
    check("large: an item that the topic does not take is refused", status != 200 or b"rejected" in answer, f"{status} {answer[:200]}")
    figure("large: the answer", f"{status} {answer[:120]}")
    reader.stop()
    sender.stop()


def cpu_seconds(gateway):
    with open(f"/proc/{gateway.process.pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def folder_bytes(folder):
    return sum(os.path.getsize(path) for path in walk(folder) if path.endswith(".log") and "fleet.cost" in path)


def cost_row(work, cluster, options):
    """What a fleet costs beside one gateway, in processor time per span: at the edge, at the worker, with 1, 2 and 4 workers; the wait for an
    OK, and bytes at the brokers. Figures of one machine; only ratios say something elsewhere. For the production build."""
    count, spans = options.requests, 100
    some = random.Random(7)
    words = ["".join(some.choices("abcdefghijklmnopqrstuvwxyz", k=some.randint(2, 9))) for _ in range(4000)]

    def make_bodies(share):
        made = []
        for n in range(count):
            # sessions of 250 spans: one that goes on for ever is summed up again and again, on every worker
            body = request("traces", [f"cost-{share}-{n}-{k}" for k in range(spans)], sessions=2, name=f"cost-{share}-{n // 5}")
            for attribute in (one for span in body.resource_spans[0].scope_spans[0].spans for one in span.attributes if one.key == "gen_ai.input.messages"):
                text = " ".join(some.choices(words, k=300))
                attribute.value.string_value = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
            made.append(body.SerializeToString())
        return made

    bodies = make_bodies("first")
    sent_bytes = sum(map(len, bodies))
    name = topic(cluster, "fleet.cost")
    sink = Quiet(place(work, "cost-sink"))
    to_sink = {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}", "compression": "none"}}

    def bare(config):
        config["processors"] = {}
        config["exporters"]["otlp_http"]["trust"] = "internal"
        for pipeline in config["service"]["pipelines"].values():
            pipeline["processors"] = []

    def send(gateway, settle, bodies=bodies):
        """(microseconds of processor time per span, waits for an OK)"""
        began, waits = cpu_seconds(gateway), []

        def post(body):
            start = time.perf_counter()
            status = gateway.post("traces", body)[0]
            waits.append(time.perf_counter() - start)
            return status

        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(post, bodies))
        settle()
        check("cost: everything was taken", set(statuses) == {200}, str(set(statuses)))
        # the first ones open connections and ask for topics
        return (cpu_seconds(gateway) - began) * 1e6 / (count * spans), sorted(waits[10:])

    def drained(gateway):
        return lambda: until("everything is delivered", gateway.drained, 120, 0.1)

    costs, waits = {}, {}
    for what, gateway in (("pass-through", Gateway(place(work, "cost-bare"), to_sink, log="info", change=bare)), ("one gateway", Gateway(place(work, "cost-single"), to_sink, log="info", vault={}))):
        costs[what], waits[what] = send(gateway.start(), drained(gateway))
        gateway.stop()
    sender = edge(place(work, "cost-edge"), cluster, name).start()
    costs["edge"], waits["edge"] = send(sender, lambda: None)
    sender.stop()
    figure("cost: bytes at one broker per byte in", round(sum(folder_bytes(broker.folder) for broker in cluster.brokers) / min(3, len(cluster.brokers)) / sent_bytes, 3))
    # each worker gets the same number of spans, as a fleet grows: with one topic for all, what a worker spends once
    # (joining, first use of tables) would count the more the more workers there are
    for workers in (1, 2, 4):
        group = f"cost-{workers}"
        grown = topic(cluster, f"{name}-{workers}")
        filler = edge(place(work, f"cost-fill-{workers}"), cluster, grown).start()
        for share in range(workers):
            send(filler, lambda: None, make_bodies(f"{workers}-{share}"))
        filler.stop()
        read = [worker(place(work, f"{group}-{n}"), cluster, grown, sink, f"{group}-{n}", group_id=group) for n in range(workers)]
        ends = sum(cluster.ends(grown).values())
        # They share the machine with each other and the brokers, so this also counts what they cost each other there.
        # A start compiles rules and vocabulary; that is no cost of a span.
        before = sum(cpu_seconds(one.start()) for one in read)
        until("the topic is read", lambda: sum(one.metric("tollgate_kafka_records_total", receiver="kafka", outcome="accepted") for one in read) == ends, 180, 0.2)
        for one in read:
            until("everything is delivered", one.drained, 120, 0.1)
        costs[f"{workers} workers"] = (sum(cpu_seconds(one) for one in read) - before) * 1e6 / (count * spans * workers)
        for one in read:
            one.stop()
    rounds = [one_after_the_other(work, cluster, f"{name}-alone-{n}", sink, send, make_bodies) for n in range(3)]
    alone = [sorted(of_round[others] for of_round in rounds)[1] for others in range(4)]
    figure("cost: a worker alone on the machine that shares its updates with 0, 1, 2, 3 others (median of three)", f"{', '.join(f'{one:.1f}' for one in alone)} us a span")
    figure("cost: the same, with 1 and 3 others / with none", f"{alone[1] / alone[0]:.2f}, {alone[3] / alone[0]:.2f}")
    for what, micros in costs.items():
        at = waits.get(what)
        wait = f", OK after {at[len(at) // 2] * 1e3:.1f} ms (p50), {at[len(at) * 99 // 100] * 1e3:.1f} ms (p99)" if at else ""
        figure(f"cost: {what}", f"{micros:.1f} us a span{wait}")
    for what, (some, others) in added_latency(work, cluster, options).items():
        figure(f"cost: {what}: from sending a request to its arrival at the back end", f"{some:.0f} ms (p50), {others:.0f} ms (p99)")
    figure("cost: edge / pass-through", round(costs["edge"] / costs["pass-through"], 2))
    figure("cost: one worker / one gateway", round(costs["1 workers"] / costs["one gateway"], 2))
    figure("cost: 2 and 4 workers / one worker", ", ".join(str(round(costs[f"{n} workers"] / costs["1 workers"], 2)) for n in (2, 4)))


def one_after_the_other(work, cluster, name, sink, send, make_bodies):
    """Microseconds of processor time per span of four workers that run one after the other, so that they don't compete for processors as in `cost_row`.
    The n-th one also stores and applies the updates of those before it, as each of n workers does."""
    told, costs = 0, []
    for n in range(4):
        own = topic(cluster, f"{name}-{n}")
        filler = edge(place(work, f"fill-{own}"), cluster, own).start()
        bodies = make_bodies(f"{name}-{n}")
        send(filler, lambda: None, bodies)
        filler.stop()
        ends = sum(cluster.ends(own).values())
        reader = worker(place(work, own), cluster, own, sink, own, effects_topic=f"{name}-0.effects").start()
        before = cpu_seconds(reader)
        updates = functools.partial(reader.metric, "tollgate_kafka_effects_total")
        until("the topic is read", lambda: reader.metric("tollgate_kafka_records_total", receiver="kafka", outcome="accepted") == ends, 180, 0.2)
        until("the updates of the others are read", lambda: updates(outcome="received") >= told, 60, 0.2)
        until("everything is delivered, and its own updates are sent", reader.drained, 120, 0.1)
        costs.append((cpu_seconds(reader) - before) * 1e6 / (len(bodies) * 100))
        told += updates(outcome="sent")
        reader.stop()
    return costs


def added_latency(work, cluster, options):
    """{who: (p50, p99)} of the milliseconds from sending a request to the arrival of its last item at the back end, at twenty requests a second, which keeps
    nothing waiting. Requests are not held back to be merged, so that the figures show the way alone."""
    name = topic(cluster, "fleet.latency")
    at_once = {"batch": {"flush_timeout": "0s"}}

    def measure(entry, sink, what):
        began = {}

        def post(number):
            ids = [f"{what}-{number}-{k}" for k in range(20)]
            body = request("traces", ids, sessions=4).SerializeToString()
            began.update(dict.fromkeys(ids, time.monotonic()))
            return entry.post("traces", body)[0]

        statuses, due = [], time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            for number in range(options.requests):
                time.sleep(max(0, due - time.monotonic()))
                due += 0.05
                statuses.append(pool.submit(post, number))
        check(f"cost: {what}: every request was taken", {one.result() for one in statuses} == {200})
        until(f"{what}: everything has arrived", lambda: set(began) <= set(sink.arrivals()), 60, 0.5)
        waits = {}
        for item, at in sink.arrivals().items():
            number = int(item.split("-")[1])
            # the first ones open connections
            if number >= 10:
                waits[number] = max(waits.get(number, 0), at - began[item])
        ordered = sorted(waits.values())
        return ordered[len(ordered) // 2] * 1e3, ordered[len(ordered) * 99 // 100] * 1e3

    sinks = [Quiet(place(work, f"latency-{what}-sink")) for what in ("gateway", "fleet")]
    single = Gateway(place(work, "latency-gateway"), {"otlp_http": {"endpoint": f"http://127.0.0.1:{sinks[0].http}", "compression": "none", "sending_queue": at_once}}, log="info", vault={})
    sender, reader = edge(place(work, "latency-edge"), cluster, name), worker(place(work, "latency-worker"), cluster, name, sinks[1], "latency-0")
    reader.config["exporters"]["otlp_http"]["sending_queue"] = at_once
    reader.write()
    found = {"one gateway": measure(single.start(), sinks[0], "gateway")}
    single.stop()
    sender.start()
    reader.start()
    until("the worker has all partitions", lambda: partitions(reader) == PARTITIONS, 60, 0.2)
    found["edge and worker"] = measure(sender, sinks[1], "fleet")
    for one in (sender, reader):
        one.stop()
    found["added by the topic"] = tuple(fleet - gateway for fleet, gateway in zip(found["edge and worker"], found["one gateway"]))
    return found


def secure_row(work, cluster, options):
    """Every credential and the rights that the page lists are enough; without one of them a clear line says what is missing."""
    secured, authority = secure_cluster(place(work, "secure-cluster"), ["edge", "worker", "stranger", "new-edge", "new-worker"])
    name = topic(secured, "fleet.secure")
    reading, writing = ("Read", "Describe", "DescribeConfigs"), ("Write", "Describe", "DescribeConfigs")
    allow(secured, "edge", writing, "--topic", name)
    allow(secured, "worker", reading, "--topic", name)
    allow(secured, "worker", writing, "--topic", f"{name}.dead")
    allow(secured, "worker", ("Write", *reading), "--topic", f"{name}.effects")
    allow(secured, "worker", ("Read",), "--group", f"workers-{name}")
    allow(secured, "worker", ("Read",), "--group", f"workers-{name}.effects.", "--resource-pattern-type", "prefixed")
    by_password = type("Address", (), {"addresses": [f"127.0.0.1:{secured.ports['SASL_SSL']}"]})
    by_certificate = type("Address", (), {"addresses": [f"127.0.0.1:{secured.ports['SSL']}"]})
    tls = {"ca_file": authority.ca}

    def certificate(owner, **options):
        files = authority.sign(owner, **options)
        return {**tls, "cert_file": files[0], "key_file": files[1]}

    ways = {kind: (by_password, {"tls": tls, "auth": sasl(kind, "edge")}) for kind in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")}
    ways["a certificate"] = (by_certificate, {"tls": certificate("edge")})
    sink = Quiet(place(work, "secure-sink"))
    reader = worker(place(work, "secure-worker"), by_password, name, sink, "secure-0", tls=tls, auth=sasl("SCRAM-SHA-512", "worker")).start()

    def allowing(more):
        return lambda exporter: exporter.update(allow_weak_durability=True, **more)

    sent = set()
    for number, (way, (address, more)) in enumerate(ways.items()):
        sender = edge(place(work, f"secure-edge-{number}"), address, name, change=allowing(more)).start()
        item = f"secure-{number}"
        status = sender.post("traces", request("traces", [item]).SerializeToString())[0]
        check(f"secure: an edge with {way} writes", status == 200, f"{status} {sender.log()[-400:]}")
        sent.add(item)
        sender.stop()
    settled(secured, name, [reader])
    check("secure: a worker reads what they wrote", reader.metric("tollgate_kafka_records_total", receiver="kafka", outcome="accepted") == len(sent))
    check("secure: it tells and reads effects", reader.metric("tollgate_kafka_effects_total", outcome="dropped") == 0 and "not told" not in reader.log(), reader.log()[-400:])
    reader.stop()

    wrong = {
        "a wrong password": (by_password, {"tls": tls, "auth": sasl("SCRAM-SHA-512", "edge", "another")}, "auth"),
        "a user without rights": (by_password, {"tls": tls, "auth": sasl("PLAIN", "stranger")}, "ACLs"),
        "an unknown authority": (by_password, {"tls": {"ca_file": Authority(place(work, "other") + "/tls").ca}, "auth": sasl("PLAIN", "edge")}, "tls"),
        "an expired certificate": (by_certificate, {"tls": certificate("expired", expired=True)}, "tls"),
        "no TLS at a port with TLS": (by_certificate, {}, "brokers"),
    }
    for number, (what, (address, more, remedy)) in enumerate(wrong.items()):
        code, text = told(edge(place(work, f"secure-wrong-{number}"), address, name, change=allowing(more)))
        say("    " + " ".join(line.strip() for line in text.splitlines() if "fleet.secure" in line or "kafka" in line)[:300])
        check(f"secure: {what} is told, with a remedy", code != 0 and remedy in text and PASSWORD not in text, text[-600:])
    code, text = told(worker(place(work, "secure-group"), by_password, name, sink, "secure-1", tls=tls, auth=sasl("PLAIN", "worker"), group_id="another"))
    check("secure: a group that the worker may not use is told", code != 0 and "group" in text, text[-600:])
    # users of whom nobody has thought yet, and one right of another kind
    allow(secured, "new-edge", ("Describe",), "--topic", name)
    sender = edge(place(work, "secure-new-edge"), by_password, name, change=allowing({"tls": tls, "auth": sasl("PLAIN", "new-edge")}))
    code, text = told(sender)
    check("secure: a missing right to write is named, and no other", code != 0 and "do not grant Write to this client" in text, text[-600:])
    check("secure: one command grants it", len(obey("secure", secured, text, "new-edge")) == 1)
    until("the edge may write", lambda: told(sender)[0] == 0, 20, 1)
    status = sender.start().post("traces", request("traces", ["secure-new"]).SerializeToString())[0]
    check("secure: and it writes", status == 200, f"{status} {sender.log()[-400:]}")
    sent.add("secure-new")
    sender.stop()
    reader = worker(place(work, "secure-new-worker"), by_password, name, sink, "new-0", tls=tls, auth=sasl("PLAIN", "new-worker"), group_id="new-workers")
    granted, end = [], time.monotonic() + 60
    while "kafka-acls.sh" in (text := told(reader)[1]) and time.monotonic() < end:
        granted += obey("secure", secured, text, "new-worker")
        time.sleep(1)
    say("    " + "\n    ".join(granted))
    expected = [f"--topic {name}", f"--topic {name}.dead", f"--topic {name}.effects", "--group new-workers", "--group new-workers.effects.new-0"]
    check("secure: a worker is told of each topic and both groups", [" ".join(command.split()[-2:]) for command in granted] == expected, str(granted))
    check("secure: nothing is missing then", "kafka-acls.sh" not in text, text[-600:])
    reader.start()
    until("the worker reads", lambda: reader.metric("tollgate_kafka_records_total", receiver="kafka", outcome="accepted") == len(sent), 60, 0.5)
    check("secure: with what was granted, it reads", "not told" not in reader.log() and "Kafka can't be read" not in reader.log(), reader.log()[-600:])
    reader.stop()
    for broker in secured.brokers:
        broker.kill()


CLIENTS = ("claude-code", "langgraph", "codex", "opencode")


def recordings():
    """[(folder, files)] of recorded sessions."""
    found = []
    for client in CLIENTS:
        top = os.path.join(RECORDINGS, client)
        if os.path.exists(os.path.join(top, "manifest.json")):
            with open(os.path.join(top, "manifest.json")) as f:
                sessions = json.load(f)["sessions"]
            found += [(os.path.join(top, session), recorded["files"]) for session, recorded in sessions.items()]
    return found


def runs_of(gateway):
    """{run id: what any replica must say of it}"""
    listed = json.loads(http(f"http://127.0.0.1:{gateway.admin}/api/runs?limit=1000")[2])["runs"]
    return {one["id"]: {key: value for key, value in one.items() if key not in ("replica", "state")} for one in listed}


def apart(found, expected):
    """The first difference between two answers of `runs_of`."""
    for run in sorted(set(found) | set(expected)):
        if found.get(run) != expected.get(run):
            one, other = found.get(run) or {}, expected.get(run) or {}
            return run, {key: (one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)}
    return None


def tool_calls(gateway):
    """{metric: calls of tools, and those that failed, since the start}. Which of a call's records comes first decides whether it is counted under a name."""
    return Counter({name: gateway.metric(name) for name in ("agent_tool_calls_total", "agent_tool_failures_total")})


def view_row(work, cluster, options):
    """Sessions that move from worker to worker, by an end in order and by a kill: every worker shows the runs, numbers and costs that one
    gateway shows which got everything, and the workers' counters add up to its."""
    name = topic(cluster, "fleet.view")
    sink = Quiet(place(work, "view-sink"))
    sender = edge(place(work, "view-edge"), cluster, name).start()
    workers = [worker(place(work, f"view-{n}"), cluster, name, sink, f"view-{n}") for n in range(2)]
    lone = Quiet(place(work, "view-lone-sink"))
    single = Gateway(place(work, "view-single"), {"otlp_http": {**workers[0].config["exporters"]["otlp_http"], "endpoint": f"http://127.0.0.1:{lone.http}"}}, log="info", vault={},
                     change=lambda config: config.update(pseudonyms={"key": "the same on every worker of this fleet"})).start()
    workers[0].start()
    played = recordings()
    parts = 3
    # a counter begins anew with each start, so it is read before each end
    tools = Counter()
    for part in range(parts):
        for folder, files in played:
            share = files[len(files) * part // parts:len(files) * (part + 1) // parts]
            sender.replay(folder, share)
            single.replay(folder, share)
        until("the topic is read", lambda: lag(cluster, name) == 0, 60, 0.5)
        if part == 0:
            # its partitions go to the other one
            workers[1].start()
            tools += tool_calls(workers[0])
            check("view: a clean end", workers[0].stop() == 0)
            until("the other worker has all partitions", lambda: partitions(workers[1]) == PARTITIONS, 60, 0.2)
        if part == 1:
            workers[0].start()
            until("both workers have partitions", lambda: all(partitions(one) == PARTITIONS / 2 for one in workers), 60, 0.2)
            tools += tool_calls(workers[1])
            workers[1].kill()
            workers[1].start()
    settled(cluster, name, workers)
    until("both workers have partitions", lambda: all(partitions(one) == PARTITIONS / 2 for one in workers), 60, 0.2)
    code, text = told(workers[0], "fleet", "status")
    say(text)
    check("view: `fleet status` names the workers and their partitions", code == 0 and all(re.search(rf"^view-{n} +6 +0", text, re.M) for n in range(2)), text)
    expected = runs_of(single)
    for one in workers:
        end = time.monotonic() + 20
        while (difference := apart(runs_of(one), expected)) and time.monotonic() < end:
            time.sleep(0.5)
        check(f"view: {os.path.basename(one.work)} shows the {len(expected)} runs of one gateway, and their numbers", difference is None, str(difference))
    owners = {json.dumps(found.get("replica")) for one in workers for found in json.loads(http(f"http://127.0.0.1:{one.admin}/api/runs?limit=1000")[2])["runs"]}
    check("view: a run says which worker counts it", owners <= {"null", '"view-0"', '"view-1"'} and len(owners) == 3, str(owners))

    # a worker sums up the runs of others every ten seconds
    until("the sums are up to date", lambda: len({sum_shown(one) for one in (single, *workers)}) == 1, 40, 1)
    check("view: the sum of costs is the same everywhere", True)
    figure("view: runs, their cost", f"{len(expected)}, {sum_shown(single)} USD")
    tools += sum(map(tool_calls, workers), Counter())
    wanted = tool_calls(single)
    figure("view: calls of tools and failed ones, as counted by the single gateway, and by the workers together", f"{dict(wanted)}, {dict(tools)}")
    check("view: the workers together count as many calls of tools as one gateway", wanted.total() > 0 and tools == wanted)
    in_runs = sum(run["totals"]["tool_calls"] for run in expected.values())
    check(f"view: the runs that are compared have calls of tools ({in_runs})", in_runs > 0)
    until("everything is delivered", single.drained, 60, 0.1)
    for one in (*workers, single, sender):
        check("view: a clean end", one.stop() == 0)
    same_index(workers, single)
    delivered, by_one = spans_of(sink), spans_of(lone)
    check(f"view: the same {len(by_one)} spans reach the back end", by_one and delivered == by_one, str(list(delivered ^ by_one)[:3]))


# Columns that say where a line lies, who wrote it and when, and those that depend on the order in which records of two partitions or a call's span and log come:
# which of the two carries the price (`costs_of` compares the prices), and whether a span's run had its name already. (Runs are compared through the API.)
# An edge splits a request by session, so an item's number in its request is another one, and content of the resource is stored with each part.
PLACES = {"leaf", "object_key", "off", "of", "len", "item", "kind", "part", "ingest_ts", "writer", "epoch", "fragment", "bases", "ct_sha256", "key_id", "key_sha256",
          "commitment", "pt_bytes", "source_record", "key_copies", "run_id", "turn", "cost_status", "cost_usd", "basis", "buckets", "rate", "rates", "tier"}


def stored(gateways):
    """What the vaults of these gateways hold: index lines by their facts, those of items with content of their resource apart, and the digests of content."""
    lines, of_resource, digests, records = Counter(), set(), Counter(), Counter()
    for gateway in gateways:
        stock = Stock(gateway.store, gateway.identity)
        for row in stock.rows():
            facts = json.dumps({key: value for key, value in row.items() if key not in PLACES}, sort_keys=True)
            items = [item for item in stock.open(row)["items"] if item["span_id"] == row["span_id"]] if row.get("object_key") else []
            for item in items:
                if any(piece["on"] == "resource" for piece in item["content"]):
                    of_resource.add(facts)
                digests[(facts, item["content_sha256"])] += 1
            lines[facts] += 1
            records[(row.get("source_record"), row["item"], row["kind"], json.dumps(row["part"]), facts)] += 1
    return lines, of_resource, digests, records


@functools.cache
def prices(work):
    """{signal: what one item of a load costs}, according to a gateway that got nothing else. A log record of a call waits for its span, and has no price."""
    sink = Quiet(place(work, "price-sink"))
    single = Gateway(place(work, "price"), {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}"}}, log="info", vault={}).start()
    kinds = ("traces", "logs")
    statuses = [single.post(kind, request(kind, [f"price-{kind}"]).SerializeToString())[0] for kind in kinds]
    check("price: an item of each kind is taken, and a clean end", statuses == [200, 200] and single.stop() == 0)
    found = {line["signal"]: line["cost_usd"] for line in Stock(single.store, single.identity).rows() if line.get("response_id")}
    check("price: a span has one", set(found) == set(kinds) and found["traces"] is not None, str(found))
    return found


def input_cost(work, load):
    """{response id: the price of its item}, of all that was acknowledged."""
    return {f"msg_{one}": prices(work)[kind] for one, kind in load.acked.items() if kind != "metrics"}


def total(costs):
    return sum((Decimal(cost) for cost in costs if cost is not None), Decimal())


def sum_shown(gateway):
    return json.loads(http(f"http://127.0.0.1:{gateway.admin}/api/sums")[2])["all"]["cost_usd"]


def costs_shown(work, gateways, load):
    """The sums of costs that these workers show, after the time that they take to hear of each other's runs."""
    expected, end = total(input_cost(work, load).values()), time.monotonic() + 40
    while (shown := [Decimal(sum_shown(one)) for one in gateways]) != [expected] * len(gateways) and time.monotonic() < end:
        time.sleep(1)
    return shown


def counted_once(row, work, workers, load, shown, gone=None):
    """What two workers stored is marked: its lines name one record of the topic and tell one price. Who counts each item once finds
    all that was sent, at its price to the last decimal, and so do the workers' pages. A worker that is `gone` may have told the others that it billed
    a call, and have lost the line with the price: the others' line then names the price as one that it does not count."""
    lines = {}
    for gateway in workers:
        for line in Stock(gateway.store, gateway.identity).rows():
            if line.get("response_id"):
                lines.setdefault(line["response_id"], []).append({**line, "by": gateway})
    twice = [found for found in lines.values() if len(found) > 1]
    figure(f"{row}: index lines, items, items with lines of both workers", f"{sum(map(len, lines.values()))}, {len(lines)}, {len(twice)}")
    check(f"{row}: some items are stored twice", twice)
    records = [{line.get("source_record") for line in found} for found in twice]
    check(f"{row}: both lines name one record", all(len(one) == 1 and None not in one for one in records), str([one for one in records if len(one) > 1][:3]))
    sent = input_cost(work, load)
    check(f"{row}: the index has each of the {len(sent)} items that were sent, and no other", set(lines) == set(sent) and load.refused + load.broken == 0,
          f"{len(set(sent) - set(lines))} missing, {len(set(lines) - set(sent))} more, {load.refused} refused, {load.broken} broken")
    by_item = {item: {line["cost_usd"] for line in found} - {None} for item, found in lines.items()}
    wrong = {item for item, found in by_item.items() if found != {sent.get(item)} - {None}}
    only_told = {item for item in wrong if gone and not by_item[item] and all(line["by"] is not gone and line["cost_status"] == "not_counted"
                                                                                and line.get("uncounted_cost_usd") == sent[item] for line in lines[item])}
    statuses = Counter(line["cost_status"] for item in wrong for line in lines[item])
    check(f"{row}: the lines of an item tell one price, that of the input", wrong == only_told, f"{len(wrong - only_told)}: {statuses}")
    expected, once = total(sent.values()), total(cost for found in by_item.values() for cost in found)
    missing, by_line = total(sent[item] for item in only_told), total(line["cost_usd"] for found in lines.values() for line in found)
    figure(f"{row}: cost of the input, of the index by item, of the workers' pages, of the index by line",
           f"{expected}, {once}, {', '.join(map(str, shown))}, {by_line} USD")
    if gone:
        figure(f"{row}: calls whose lines were on the lost volume, which another worker's lines price; their cost", f"{len(only_told)}, {missing} USD")
    check(f"{row}: the index has the cost of the input", once + missing == expected)
    check(f"{row}: the workers' pages have it", all(one == expected for one in shown))


def costs_of(gateways):
    """{(session, row of the rate table): sum of the prices in the index of these gateways}. How a call's price is spread over its lines depends on their order: a
    span that comes after those below it is billed for the rest."""
    costs = {}
    for row in (row for gateway in gateways for row in Stock(gateway.store, gateway.identity).rows()):
        if row["cost_usd"] is not None:
            call = row["session_id"], row["rate"]
            costs[call] = costs.get(call, 0) + Decimal(row["cost_usd"])
    return costs


def same_index(workers, single):
    """The workers' vaults together hold what one gateway's holds: items, content, sessions, runs, tokens, prices to the last decimal."""
    (lines, some, digests, records), (by_one, others, expected, _) = stored(workers), stored([single])
    aside = some | others

    def apart(found, wanted, facts):
        return [one for one in {*found, *wanted} if facts(one) not in aside and found[one] != wanted[one]]

    different = apart(lines, by_one, lambda line: line)
    check(f"view: the index has the {sum(by_one.values())} lines of one gateway", by_one and not different, f"{len(different)} apart: {different[:2]}")
    different = apart(digests, expected, lambda found: found[0])
    check(f"view: the vaults have its {len(expected)} contents", expected and not different, f"{len(different)} apart: {different[:2]}")
    figure("view: lines with content of their resource, left out", len(aside))
    costs, by_one = costs_of(workers), costs_of([single])
    figure("view: sessions with a price, the sum in the index of the single gateway, and of the workers", f"{len(by_one)}, {total(by_one.values())}, {total(costs.values())} USD")
    different = [(call, costs.get(call), by_one.get(call)) for call in costs | by_one if costs.get(call) != by_one.get(call)]
    check("view: the index has the costs of one gateway, session by session", by_one and not different, f"{len(different)} apart: {different[:3]}")
    check("view: each line names its record of the topic, and no record is there twice", all(record for record, *_ in records) and max(records.values()) == 1)


def spans_in(path):
    """{(trace, span)} of a recorded request, in hex."""
    with open(path, "rb") as f:
        body = f.read()
    if path.endswith(".json"):
        return {(span["traceId"].lower(), span["spanId"].lower()) for resource in json.loads(body)["resourceSpans"]
                for scope in resource["scopeSpans"] for span in scope["spans"]}
    body = ExportTraceServiceRequest.FromString(body)
    return {(span.trace_id.hex(), span.span_id.hex()) for resource in body.resource_spans for scope in resource.scope_spans for span in scope.spans}


def spans_of(sink):
    """{(trace, span)} that the sink took."""
    found = set()
    for line in sink.requests():
        if line["status"] == 200 and line["file"] and line["signal"] == "traces":
            with open(os.path.join(sink.dir, line["file"]), "rb") as f:
                body = ExportTraceServiceRequest.FromString(f.read())
            found |= {(span.trace_id, span.span_id) for resource in body.resource_spans for scope in resource.scope_spans for span in scope.spans}
    return found


def try_row(work, cluster, options):
    """What `just fleet` shows: recordings of real clients through an edge and two workers, one of which is killed."""
    name = "tollgate.in"
    cluster.create_topic(name, 8)
    cluster.create_topic("tollgate.in.dead", 1)
    cluster.create_topic("tollgate.in.effects", 2)
    sink = Sink(place(work, "try-sink"))
    sender = edge(place(work, "try-edge"), cluster, name, change=lambda exporter: exporter.update(allow_weak_durability=True)).start()
    workers = [worker(place(work, f"try-{n}"), cluster, name, sink, f"worker-{n}").start() for n in range(2)]
    until("both workers have partitions", lambda: all(partitions(one) == 4 for one in workers), 60, 0.2)
    sent, spans = 0, set()
    for number, (folder, files) in enumerate(recordings()):
        sender.replay(folder, files)
        sent += len(files)
        spans |= {one for file in files if file["signal"] == "traces" for one in spans_in(os.path.join(folder, file["file"]))}
        if number == 3:
            say("  worker-0 is killed (SIGKILL)")
            workers[0].kill()
    workers[0].start()
    settled(cluster, name, workers)
    figure("try: requests of recordings", sent)
    accepted = sum(one.metric("tollgate_kafka_records_total", outcome="accepted") for one in workers)
    figure("try: records in the topic, and taken by the workers since their last start", f"{sum(cluster.ends(name).values())}, {accepted:.0f}")
    check("try: no record was left or put aside", lag(cluster, name) == 0 and sum(cluster.ends("tollgate.in.dead").values()) == 0)
    missing = spans - {(trace.hex(), span.hex()) for trace, span in spans_of(sink)}
    check(f"try: all {len(spans)} spans of the recordings reached the back end", spans and not missing, f"{len(missing)} missing")
    shown = subprocess.run([BINARY, "report", "--admin", f"http://127.0.0.1:{workers[1].admin}"], capture_output=True, text=True)
    say(shown.stdout or shown.stderr)
    for one in (*workers, sender):
        check(f"try: a clean end of {os.path.basename(one.work)}", one.stop() == 0)


ROWS = {"check": check_row, "flow": flow_row, "view": view_row, "kill": kill_row, "roll": roll_row, "drain": drain_row, "brokers": brokers_row, "lost": lost_row,
        "disk": disk_row, "retention": retention_row, "zombie": zombie_row, "growth": growth_row, "backlog": backlog_row, "large": large_row, "secure": secure_row, "collector": collector_row}
# by name only
OTHER_ROWS = {"cost": cost_row, "try": try_row}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW")
    p.add_argument("--nodes", type=int, default=3)
    p.add_argument("--kills", type=int, default=6)
    p.add_argument("--seconds", type=float, default=4, help="of load in each step")
    p.add_argument("--requests", type=int, default=150, help="of the row `cost`")
    options = p.parse_args()
    # the row `disk` mounts a volume
    own_mounts()
    work = workdir("fleet")
    began = time.monotonic()
    cluster = Cluster(place(work, "cluster"), options.nodes)
    figure("brokers started in", round(time.monotonic() - began, 1), "s")
    for row in options.rows or ROWS:
        began = time.monotonic()
        say(f"  -- {row}")
        (ROWS | OTHER_ROWS)[row](work, cluster, options)
        figure(f"{row} took", round(time.monotonic() - began, 1), "s")
    finish(work)


if __name__ == "__main__":
    main()
