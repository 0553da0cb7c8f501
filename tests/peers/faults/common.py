"""What the rows share: a gateway whose load is quick to make, and the count of what became of it."""
import itertools
import os
import re

from harness import Gateway, Sink, check, figure, until
from load import Load

# an attribute in protobuf: the key, and the value's two heads, of which the second is its length
MARKS = re.compile(rb"(test\.case\.name|gen_ai\.payload\.leaf)\x12.\n(.)", re.S)


def promised(seconds):
    """How long something may take: on a machine that others use (CI) only what is far beyond the promise fails; the figure tells the rest."""
    return seconds * 12 if os.environ.get("CI") == "true" else seconds


class Quiet(Sink):
    """A sink that answers at once; what it took is looked at in the end."""

    def __init__(self, directory):
        super().__init__(directory, "--raw")

    def deliveries(self):
        """(id, leaf) of each item that was taken. What was accepted once has one leaf, however often it comes; what a client sent again and the
        gateway accepted again has another. Metrics have none."""
        out = []
        for body in self.accepted():
            for found in MARKS.finditer(body):
                text = body[found.end():found.end() + found[2][0]].decode()
                if found[1] == b"test.case.name":
                    out.append((text, ""))
                else:
                    out[-1] = (out[-1][0], text)
        return out

    def accepted(self):
        """The body of each request that was taken."""
        for line in self.requests():
            if line["status"] == 200 and line["file"]:
                with open(os.path.join(self.dir, line["file"]), "rb") as f:
                    yield f.read()

    def ids(self, signals=()):
        return [one for one, _ in self.deliveries()]

    def taken(self):
        """Requests that were taken."""
        return sum(line["status"] == 200 for line in self.requests())


def plain(work, sink, change=None, **options):
    """A gateway with one exporter to `sink`, its own vault below `work`."""
    exporters = {"otlp_http": {"endpoint": f"http://127.0.0.1:{sink.http}", "compression": "none", "retry_on_failure": {"initial_interval": "200ms", "max_interval": "1s"}}}
    return Gateway(work, exporters, change=change, log=options.pop("log", "info"), **options)


def quick(port, name, **options):
    """Many small items a request: what is measured is the gateway, not the sender."""
    return Load(port, name, **{"batch": 50, "fill": 0, **options})


def accounted(what, sink, acked, bound=0.01, accepted_twice=None):
    """Every acknowledged item arrived; so few came again. What a client sent twice, because the kill took its answer, and what was then accepted
    twice, is told apart: the gateway can't know better, and each of the two is delivered once. (Metrics can't be told apart and count.)"""
    all_of_them = sink.deliveries()
    accepted = set(all_of_them)
    got = {one for one, _ in accepted}
    lost = [one for one in acked if one not in got]
    check(f"{what}: 0 of {len(acked)} acknowledged items lost", not lost, f"{len(lost)}: {lost[:3]}")
    again = (len(all_of_them) - len(accepted)) / max(1, len(got))
    figure(f"{what}: delivered again", f"{len(all_of_them) - len(accepted)} of {len(got)} ({again:.3%})")
    figure(f"{what}: accepted again, sent by clients that had heard no answer", len(accepted) - len(got))
    if accepted_twice is not None:
        check(f"{what}: at most {accepted_twice} accepted again", len(accepted) - len(got) <= accepted_twice)
    if bound is not None:
        check(f"{what}: at most {bound:.0%} delivered again", again <= bound, f"{again:.3%}")


def drained(gateway, seconds=60):
    try:
        until("everything delivered", gateway.drained, seconds, 0.05)
    except TimeoutError:
        check(f"everything delivered within {seconds} s", False, str({k: v for k, v in gateway.metrics().items() if "pending_records" in k and v}))


_numbers = itertools.count()


def place(work, name):
    """A fresh folder."""
    path = os.path.join(work, f"{name}-{next(_numbers)}")
    os.makedirs(path)
    return path


def sink_in(work, name):
    return Quiet(os.path.join(work, f"sink-{name}"))
