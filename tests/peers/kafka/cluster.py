"""Real brokers of Apache Kafka (KRaft) in processes of their own: one node or three, and the tools that come with them."""
import os
import subprocess
import uuid
from base64 import urlsafe_b64encode

from harness import CACHE, children, free_port, start, until

LIBS = os.path.join(CACHE, "kafka", "libs", "*")
QUIET = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", LIBS]


def java(main, *arguments, **options):
    return subprocess.run(["java", *QUIET, main, *arguments], capture_output=True, text=True, **options)


def new_id():
    """An id of Kafka; never one that looks like an option."""
    made = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return new_id() if made.startswith("-") else made


class Broker:
    """One node: broker and controller."""

    def __init__(self, number, folder):
        self.number, self.folder = number, folder
        self.port, self.controller, self.directory = free_port(), free_port(), new_id()
        self.process, self.log_path = None, os.path.join(folder, "broker.log")

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = start(["java", *QUIET, "kafka.Kafka", os.path.join(self.folder, "server.properties")], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        children.remove(self.process)


class Cluster:
    """Brokers that form a cluster; each keeps its data below `work`. `ports`: more listeners of the only node, by protocol."""

    def __init__(self, work, nodes=1, extra=None, ports=None):
        self.ports = ports or {}
        self.brokers = []
        for number in range(1, nodes + 1):
            folder = os.path.join(work, f"broker-{number}")
            os.makedirs(folder)
            self.brokers.append(Broker(number, folder))
        cluster = new_id()
        initial = ",".join(f"{b.number}@127.0.0.1:{b.controller}:{b.directory}" for b in self.brokers)
        copies = min(nodes, 3)
        more = [f"{protocol}://127.0.0.1:{port}" for protocol, port in self.ports.items()]
        for b in self.brokers:
            settings = {
                "process.roles": "broker,controller", "node.id": b.number,
                "controller.quorum.bootstrap.servers": ",".join(f"127.0.0.1:{one.controller}" for one in self.brokers),
                "listeners": ",".join([f"PLAINTEXT://127.0.0.1:{b.port}", f"CONTROLLER://127.0.0.1:{b.controller}", *more]),
                "advertised.listeners": ",".join([f"PLAINTEXT://127.0.0.1:{b.port}", *more]),
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
                "controller.listener.names": "CONTROLLER", "log.dirs": os.path.join(b.folder, "data"),
                "offsets.topic.replication.factor": copies, "offsets.topic.num.partitions": 4,
                "transaction.state.log.replication.factor": copies, "transaction.state.log.min.isr": min(copies, 2),
                "default.replication.factor": copies, "min.insync.replicas": min(copies, 2), "auto.create.topics.enable": "false",
                "group.initial.rebalance.delay.ms": 0, "message.max.bytes": 16 << 20, "replica.fetch.max.bytes": 16 << 20,
                **(extra or {}),
            }
            path = os.path.join(b.folder, "server.properties")
            with open(path, "w") as f:
                f.writelines(f"{name}={value}\n" for name, value in settings.items())
            done = java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", path, "--initial-controllers", initial)
            if done.returncode:
                raise AssertionError(f"broker {b.number} can't be formatted: {done.stdout[-500:]} {done.stderr[-500:]}")
            b.start()
        until("the brokers answer", self.answers, 180, 0.5)

    @property
    def addresses(self):
        return [f"127.0.0.1:{b.port}" for b in self.brokers]

    def answers(self):
        """Whether every broker does: one may answer before the others are registered."""
        done = self.tool("org.apache.kafka.tools.BrokerApiVersionsCommand")
        return done.returncode == 0 and done.stdout.count("(id: ") == len(self.brokers)

    def tool(self, main, *arguments):
        return java(main, "--bootstrap-server", ",".join(self.addresses), *arguments)

    def create_topic(self, name, partitions, replicas=None, **config):
        settings = [part for key, value in config.items() for part in ("--config", f"{key.replace('_', '.')}={value}")]
        replicas = replicas or min(len(self.brokers), 3)
        done = self.tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", name, "--partitions", str(partitions), "--replication-factor", str(replicas), *settings)
        if done.returncode:
            raise AssertionError(f"the topic {name} can't be created: {done.stdout[-300:]} {done.stderr[-300:]}")

    def ends(self, topic):
        """{partition: offset of the next record}"""
        done = self.tool("org.apache.kafka.tools.GetOffsetShell", "--topic", topic)
        if done.returncode or topic not in done.stdout:
            raise AssertionError(f"the ends of {topic} can't be read: {done.stderr[-300:]}")
        return {int(line.split(":")[1]): int(line.split(":")[2]) for line in done.stdout.split() if line.startswith(topic + ":")}

    def committed(self, group, topic):
        """{partition: committed offset}"""
        done = self.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--offsets")
        rows = [line.split() for line in done.stdout.splitlines()]
        return {int(row[2]): int(row[3]) for row in rows if len(row) > 3 and row[0] == group and row[1] == topic and row[3].isdigit()}
