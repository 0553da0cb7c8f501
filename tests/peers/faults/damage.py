"""Spools that come back other than they were left: a torn tail, a flipped bit, keys that are wrong or missing, a cloned volume."""
import os
import random
import shutil
import subprocess

from faults.common import accounted, drained, place, plain, sink_in
from harness import BINARY, check, figure
from load import request


def filled(work, name, sink, count=300):
    """A gateway killed with so many items waiting; what was acknowledged."""
    home = place(work, name)
    gateway = plain(home, sink)
    gateway.start()
    acked = []
    for number in range(count):
        one = f"{name}-{number}"
        if gateway.post("traces", request("traces", [one], fill=300).SerializeToString())[0] == 200:
            acked.append(one)
    gateway.kill()
    return gateway, acked


def segments(gateway):
    folder = gateway.config["spool"]["directory"]
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".spool") or name.startswith("seg"))


def written(path):
    """Bytes of whole records: segments take their room ahead, and a record, whose last bytes may be zeros, ends at a multiple of 8."""
    with open(path, "rb") as f:
        return -(-len(f.read().rstrip(b"\0")) // 8) * 8


def refused(gateway, code, *words):
    done = subprocess.run([BINARY, "run", "--config", gateway.config_path], capture_output=True, text=True, timeout=30, cwd=gateway.data)
    return done.returncode == code and all(word in done.stderr for word in words) and "panic" not in done.stderr, f"exit {done.returncode}: {done.stderr[-500:]}"


def run(work, options):
    rng = random.Random(options.seed)
    sink = sink_in(work, "damage")
    sink.tell("status=503&keep=0")

    torn, acked = filled(work, "torn", sink)
    last = segments(torn)[-1]
    # what a power cut leaves of a group that nobody was told of: a part of it behind the last whole one
    with open(last, "r+b") as f:
        f.seek(written(last))
        f.write(rng.randbytes(777))
    sink.tell("ok=1")
    torn.start()
    drained(torn)
    check("a torn tail: a clean start and end", torn.stop() == 0)
    accounted("a torn tail", sink, acked, bound=0)
    sink.tell("status=503&keep=0")

    flipped, _ = filled(work, "flipped", sink)
    first = segments(flipped)[0]
    found = 0
    with open(first, "rb") as f:
        # zeros may be what fills a record up to 8 bytes, which nobody reads
        places = [at for at, byte in enumerate(f.read(written(first) // 2)) if byte and at >= 200]
    for at in rng.sample(places, 5):
        with open(first, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1 << rng.randrange(8)]))
            f.flush()
            holds, said = refused(flipped, 1, os.path.basename(first))
            found += holds
            f.seek(at)
            f.write(bytes([byte]))
    check("a flipped bit in the middle: refused, the file is named, 5 of 5", found == 5, said)
    sink.tell("ok=1")
    flipped.start()
    drained(flipped)
    check("mended, it starts and drains", flipped.stop() == 0)
    sink.tell("status=503&keep=0")

    keyed, acked = filled(work, "keyed", sink, 20)
    path = os.path.join(keyed.data, "spool.key")
    with open(path, "rb") as f:
        key = f.read()
    os.remove(path)
    check("a missing key: exit 78, the key file is named", *refused(keyed, 78, "spool.key"))
    with open(path, "wb") as f:
        f.write(os.urandom(32).hex().encode() + b"\n")
    check("a wrong key: exit 78, the key is named", *refused(keyed, 78, "key"))
    with open(path, "wb") as f:
        f.write(key)

    # the volume is cloned while the gateway is down: both copies start, deliver what they hold, and neither touches the other's vault
    clone = place(work, "clone")
    shutil.rmtree(clone)
    shutil.copytree(keyed.work, clone)
    sink.tell("ok=1")
    keyed.start()
    drained(keyed)
    keyed.stop()
    with open(keyed.config_path) as f:
        text = f.read().replace(os.path.join(keyed.work, "data"), os.path.join(clone, "data"))
    keyed.config_path = os.path.join(clone, "tollgate.yaml")
    with open(keyed.config_path, "w") as f:
        f.write(text)
    keyed.data = os.path.join(clone, "data")
    names = set(vault_objects(keyed.store))
    keyed.start()
    drained(keyed)
    check("a cloned volume: starts, drains, ends", keyed.stop() == 0)
    check("a cloned volume: no object of the first one's vault was replaced", names <= set(vault_objects(keyed.store)))
    accounted("a cloned volume", sink, acked, bound=None)
    figure("a cloned volume: objects of the first, of both", f"{len(names)}, {len(vault_objects(keyed.store))}")


def vault_objects(root):
    """(name, bytes) of every object."""
    out = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                out.append((os.path.relpath(path, root), hash(f.read())))
    return out
