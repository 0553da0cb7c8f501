"""A volume that fills up: a small ext4 on a loop device. Alive, refusals well formed, nothing lost, well again
within five seconds of room. Mounts are made in a mount namespace of the part's own (parts/faults.py), so none outlives it."""
import os
import subprocess
import time

from faults.common import accounted, drained, place, plain, promised, sink_in
from harness import check, figure, http, status_of, until
from load import request

MIB = 1 << 20


def command(*words):
    subprocess.run(words, check=True, capture_output=True)


def ext4(folder, size):
    image = folder + ".img"
    with open(image, "wb") as f:
        f.truncate(size)
    command("mkfs.ext4", "-q", "-m", "0", image)
    command("mount", "-o", "loop", image, folder)


def fill_up(gateway, acked, prefix):
    """Sends until refused; the refusal."""
    pad = os.urandom(8_000).hex()
    for number in range(20_000):
        one = f"{prefix}-{number}"
        out = request("traces", [one])
        out.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="note").value.string_value = pad
        status, headers, answer = gateway.post("traces", out.SerializeToString(), "application/x-protobuf")
        if status != 200:
            return status, headers, answer
        acked.append(one)
    raise AssertionError("it never filled up")


def volume(name, work):
    folder = place(work, name)
    ext4(folder, 64 * MIB)
    sink = sink_in(work, name)
    # `spool` lies on the small volume, what else the gateway keeps does not
    gateway = plain(place(work, name + "-home"), sink, change=lambda c: c["spool"].update(directory=os.path.join(folder, "spool"), max_size="1GiB", segment_size="4MiB", keys=[os.urandom(32).hex()]))
    gateway.start()
    sink.tell("status=503&keep=0")
    acked = []
    ballast = os.path.join(folder, "ballast")
    with open(ballast, "wb") as f:
        f.write(bytes(12 * MIB))
    status, headers, answer = fill_up(gateway, acked, name)
    check(f"{name}: 503 with Retry-After", status == 503 and headers.get("retry-after") is not None, f"{status} {dict(headers)}")
    check(f"{name}: the hint", b"spool is full" in answer, str(answer[:200]))
    def told():
        fill_up(gateway, acked, f"{name}-{len(acked)}")
        ready, _, said = http(f"http://127.0.0.1:{gateway.admin}/readyz")
        return ready == 503 and b"spool is full" in said

    until(f"{name}: /readyz says so", told, 5, 0.1)
    check(f"{name}: /readyz says so", True)
    check(f"{name}: alive", gateway.alive() and status_of(f"http://127.0.0.1:{gateway.admin}/livez") == 200)
    before = len(acked)
    os.remove(ballast)
    began = time.monotonic()

    def again():
        one = f"{name}-again-{len(acked)}"
        if gateway.post("traces", request("traces", [one]).SerializeToString())[0] == 200:
            acked.append(one)
            return True
        return False

    until(f"{name}: takes data again", again, 30, 0.05)
    took = time.monotonic() - began
    figure(f"{name}: refused after {before} items; after room came back, data is taken in", round(took, 2), "s")
    check(f"{name}: within {promised(5)} s", took <= promised(5), f"{took:.1f} s")
    # full once more, and killed there: what was acknowledged is on the volume; then the back end is well
    fill_up(gateway, acked, name + "-more")
    gateway.kill()
    gateway.start(wait=False)
    until("alive", lambda: status_of(f"http://127.0.0.1:{gateway.admin}/livez") == 200, 30)
    sink.tell("ok=1")
    drained(gateway, 90)
    until(f"{name}: takes data again after the drain", again, 15, 0.1)
    drained(gateway)
    check(f"{name}: a clean end", gateway.stop() == 0)
    accounted(name, sink, acked, bound=None)
    check(f"{name}: no panic", "panic" not in gateway.log())
    command("umount", folder)


def run(work, options):
    try:
        trial = place(work, "try")
        ext4(trial, 8 * MIB)
        command("umount", trial)
    except (OSError, subprocess.CalledProcessError) as error:
        # CI is root and must be able to; a developer's machine may not be
        check("disk: a small volume can be mounted here", not (os.environ.get("CI") == "true" and os.geteuid() == 0))
        return print(f"!!!! disk: no small volume can be mounted here ({error}): FULL DISKS NOT CHECKED", flush=True)
    volume("ext4", work)
