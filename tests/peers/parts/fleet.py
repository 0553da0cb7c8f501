"""A fleet on a real Kafka cluster: an edge, workers, brokers, and what happens when any of them dies.

    fleet.py [ROW …] [--nodes 3] [--kills 6] [--seconds 4]

Rows: check flow view kill drain brokers backlog secure (all without one). What clients were told is safe must arrive. Lost volumes, silent workers, retention, full volumes and what is stored twice are in the simulation (crates/receivers/tests/fleet).
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from faults.common import Quiet, accounted, quick  # noqa: E402
from harness import BINARY, RECORDINGS, Gateway, check, figure, finish, read, recorded, say, until, workdir  # noqa: E402
from kafka.cluster import Cluster  # noqa: E402
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


def worker(work, cluster, topic, sink, name, vault=None, **options):
    """A worker: the whole pipeline behind the topic."""
    exporter = {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}", "compression": "none", "retry_on_failure": {"initial_interval": "200ms", "max_interval": "1s"}}}
    receiver = {"brokers": cluster.addresses, "topic": topic, "dead_topic": f"{topic}.dead", "group_id": f"workers-{topic}", "group_instance_id": name,
                "keys": [KEY], "session_timeout": "6s", "effects_topic": f"{topic}.effects", **options}

    def adapt(config):
        config["receivers"] = {"kafka": receiver}
        config["pseudonyms"] = {"key": "the same on every worker of this fleet"}
        for pipeline in config["service"]["pipelines"].values():
            pipeline["receivers"] = ["kafka"]

    return Gateway(work, exporter, change=adapt, log="info", vault={"writer": name, **(vault or {})})


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


def behind(work, cluster, row, count, **options):
    """A topic between an edge that runs and so many workers that don't yet: (topic, sink, edge, workers)."""
    name, sink = topic(cluster, f"fleet.{row}"), Quiet(place(work, f"{row}-sink"))
    workers = [worker(place(work, f"{row}-{n}"), cluster, name, sink, f"{row}-{n}", **options) for n in range(count)]
    return name, sink, edge(place(work, f"{row}-edge"), cluster, name).start(), workers


def shared(*workers):
    """Starts workers and waits until each has its share of the partitions."""
    for one in workers:
        one.start()
    until("the workers have partitions", lambda: all(partitions(one) == PARTITIONS / len(workers) for one in workers), 60, 0.2)


def ended(row, *gateways):
    for one in gateways:
        check(f"{row}: a clean end of {os.path.basename(one.work)}, and no panic", one.stop() == 0 and "panic" not in one.log())


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
    ended("check", *workers)


def under_load(work, cluster, row, **options):
    """Two workers behind an edge, half of the partitions each, and a load that has begun: (topic, sink, edge, workers, load)."""
    name, sink, sender, workers = behind(work, cluster, row, 2, **options)
    shared(*workers)
    load = quick(sender.http, row, threads=3, sessions=20, fill=100)
    load.go()
    return name, sink, sender, workers, load


def flow_row(work, cluster, options):
    """Everything arrives once; the topic holds nothing readable; what can't be read is kept."""
    name, sink, sender, workers, load = under_load(work, cluster, "flow")
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
    ended("flow", *workers, sender)


def foreign(cluster, name):
    done = subprocess.run(["java", "-Xmx128m", "-cp", os.path.join(os.environ["PEERS_CACHE"], "kafka", "libs", "*"), "org.apache.kafka.tools.ConsoleProducer",
                           "--bootstrap-server", cluster.addresses[0], "--topic", name], input="somebody else's message\n", text=True, capture_output=True)
    return done.returncode == 0


def walk(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]


def holds(path, needle):
    return needle in read(path, "rb")


def kill_row(work, cluster, options):
    """SIGKILL of a worker at any moment, its volume stays: nothing is lost, nothing is stored twice."""
    name, sink, sender, workers = behind(work, cluster, "kill", 2)
    for one in workers:
        one.config["exporters"]["otlp_http"]["sending_queue"] = {"batch": {"flush_timeout": "20ms", "max_size": "64KiB", "sizer": "bytes"}}
        one.write()
        one.start()
    load = quick(sender.http, "kill", threads=3, sessions=20)
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
    ended("kill", *workers, sender)


def brokers_row(work, cluster, options):
    """A broker dies: the edge goes on. Two of three are down: the edge refuses, and goes on when they are back."""
    name, sink, sender, (reader,) = behind(work, cluster, "brokers", 1)
    shared(reader)
    load = quick(sender.http, "brokers", threads=3, sessions=20)
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
    ended("brokers", reader, sender)


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
    ended("drain", workers[1], sender)


def backlog_row(work, cluster, options):
    """A worker that has much to catch up on reads all partitions, not those of one broker first. (Seen: with the library's own limit of buffered records, the
    partitions of one broker of three were not read while the others had a backlog.)"""
    name, sink, sender, (reader,) = behind(work, cluster, "backlog", 1)
    load = quick(sender.http, "backlog", threads=3, sessions=200, fill=0)
    load.go()
    until("each partition has a backlog", lambda: min(cluster.ends(name).values()) > 1500, 300, 2)
    load.end()
    total = sum(cluster.ends(name).values())
    reader.start()
    until("half is read", lambda: reader.metric("tollgate_kafka_records_total", receiver="kafka", outcome="accepted") > total / 2, 300, 0.1)
    committed = cluster.committed(f"workers-{name}", name)
    figure("backlog: records in all, read of each partition when half was", f"{total}, {sorted(committed.get(number, 0) for number in range(PARTITIONS))}")
    check("backlog: every partition is read", all(committed.get(number, 0) > 0 for number in range(PARTITIONS)), str(committed))
    settled(cluster, name, [reader], 300)
    accounted("backlog", sink, load.acked, bound=0, accepted_twice=0)
    ended("backlog", sender, reader)


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


CLIENTS = ("claude-code", "codex", "opencode")


def recordings():
    """[(folder, files)] of recorded sessions."""
    return [(os.path.join(RECORDINGS, client, name), session["files"]) for client in CLIENTS for name, session in recorded(client).items()]


def runs_of(gateway):
    """{run id: what any replica must say of it}"""
    listed = gateway.ask("/api/runs?limit=1000")["runs"]
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
    name, sink, sender, workers = behind(work, cluster, "view", 2)
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
    owners = {json.dumps(found.get("replica")) for one in workers for found in one.ask("/api/runs?limit=1000")["runs"]}
    check("view: a run says which worker counts it", owners <= {"null", '"view-0"', '"view-1"'} and len(owners) == 3, str(owners))

    # a worker sums up the runs of others every ten seconds
    until("the sums are up to date", lambda: len({sum_shown(one) for one in (single, *workers)}) == 1, 40, 1)
    figure("view: runs, their cost", f"{len(expected)}, {sum_shown(single)} USD")
    tools += sum(map(tool_calls, workers), Counter())
    wanted = tool_calls(single)
    figure("view: calls of tools and failed ones, as counted by the single gateway, and by the workers together", f"{dict(wanted)}, {dict(tools)}")
    check("view: the workers together count as many calls of tools as one gateway", wanted.total() > 0 and tools == wanted)
    in_runs = sum(run["totals"]["tool_calls"] for run in expected.values())
    check(f"view: the runs that are compared have calls of tools ({in_runs})", in_runs > 0)
    until("everything is delivered", single.drained, 60, 0.1)
    counted = sum(one.metric("tollgate_cost_usd_total") - one.metric("tollgate_cost_corrected_usd_total") for one in workers)
    shown = Decimal(sum_shown(single))
    ended("view", *workers, single, sender)
    check(f"view: the stamps at the back end add up to what the pages show ({shown} USD)", stamped(sink) == stamped(lone) == shown,
          f"{stamped(sink)}, {stamped(lone)}")
    check("view: and so do the workers' metrics", abs(float(shown) - counted) < 1e-9, str(counted))
    delivered, by_one = spans_of(sink), spans_of(lone)
    check(f"view: the same {len(by_one)} spans reach the back end", by_one and delivered == by_one, str(list(delivered ^ by_one)[:3]))


def sum_shown(gateway):
    return gateway.ask("/api/sums")["all"]["cost_usd"]


def stamped(sink):
    """The sum of what the items at the sink were charged; an item that was delivered twice counts once."""
    charges = {}
    for signal, item in sink.items():
        attributes = item["attributes"]
        if attributes.get("tollgate.cost.status") in ("priced", "correction"):
            charges[json.dumps([signal, item.get("trace_id"), item.get("span_id"), attributes], sort_keys=True, default=str)] = Decimal(attributes["tollgate.cost.usd"])
    return sum(charges.values())


def spans_of(sink):
    """{(trace, span)} that the sink took."""
    found = set()
    for line in sink.requests():
        if line["status"] == 200 and line["file"] and line["signal"] == "traces":
            with open(os.path.join(sink.dir, line["file"]), "rb") as f:
                body = ExportTraceServiceRequest.FromString(f.read())
            found |= {(span.trace_id, span.span_id) for resource in body.resource_spans for scope in resource.scope_spans for span in scope.spans}
    return found


ROWS = {"check": check_row, "flow": flow_row, "view": view_row, "kill": kill_row, "drain": drain_row, "brokers": brokers_row,
        "backlog": backlog_row, "secure": secure_row}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW")
    p.add_argument("--nodes", type=int, default=3)
    p.add_argument("--kills", type=int, default=6)
    p.add_argument("--seconds", type=float, default=4, help="of load in each step")
    options = p.parse_args()
    work = workdir("fleet")
    began = time.monotonic()
    cluster = Cluster(place(work, "cluster"), options.nodes)
    figure("brokers started in", round(time.monotonic() - began, 1), "s")
    for row in options.rows or ROWS:
        began = time.monotonic()
        say(f"  -- {row}")
        ROWS[row](work, cluster, options)
        figure(f"{row} took", round(time.monotonic() - began, 1), "s")
    finish(work)


if __name__ == "__main__":
    main()
