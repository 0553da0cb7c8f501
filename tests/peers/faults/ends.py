"""Ends under load: SIGTERM, twice, a restart loop, and wall clocks that jump meanwhile."""
import ctypes.util
import glob
import os
import random
import time

from faults.common import Quick, accounted, drained, place, plain, promised, sink_in
from harness import check, children, figure, until


def run(work, options):
    rng = random.Random(options.seed)
    sink = sink_in(work, "ends")
    gateway = plain(place(work, "ends"), sink)
    load = Quick(gateway.http, "ends", threads=2, batch=10)
    codes = []
    for cycle in range(options.restarts):
        sink.tell("status=503&keep=0" if cycle % 3 == 1 else "ok=1")
        gateway.start()
        load.go()
        time.sleep(rng.uniform(0, 0.3))
        codes.append(gateway.stop(60))
    load.go(False)
    check(f"SIGTERM under load, {options.restarts} restarts: exit 0 each time", set(codes) == {0}, str(codes))
    # the back end hangs, so the end waits for it; the second signal does not
    sink.tell("delay_ms=60000")
    gateway.start()
    load.go()
    until("a request on its way", lambda: gateway.metric("otelcol_exporter_in_flight_requests") > 0 or len(load.acked) > 0, 10)
    time.sleep(0.5)
    began = time.monotonic()
    gateway.process.terminate()
    time.sleep(0.3)
    gateway.process.terminate()
    code = gateway.process.wait(20)
    children.remove(gateway.process)
    figure("SIGTERM twice: ended after", round(time.monotonic() - began, 2), "s")
    check("SIGTERM twice: it ends at once, exit 143", code == 143 and time.monotonic() - began < promised(5), f"exit {code}")
    sink.process.kill()
    load.end()
    again = sink_in(work, "ends-again")
    gateway.config["exporters"]["otlp_http"]["endpoint"] = f"http://127.0.0.1:{again.http}"
    # what waited goes on to the new one
    gateway.config["exporters"]["otlp_http"]["moved_from"] = [f"127.0.0.1:{sink.http}"]
    gateway.write()
    gateway.start()
    drained(gateway)
    check("after all that: a clean end", gateway.stop() == 0)
    before, after = set(sink.ids()), set(again.ids())
    lost = [one for one in load.acked if one not in before | after]
    check(f"ends: 0 of {len(load.acked)} acknowledged items lost", not lost, f"{len(lost)}: {lost[:3]}")
    check("ends: no panic", "panic" not in gateway.log())


def clocks(work, options):
    """Wall time goes two days ahead, three back, and stands still, under load and over a restart."""
    library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None) or ctypes.util.find_library("faketime")
    check("clocks: libfaketime is there", library is not None)
    if not library:
        return
    sink = sink_in(work, "clocks")
    home = place(work, "clocks")
    told = os.path.join(home, "faketime")
    # the wall clock alone: monotonic time does not jump on a real machine either
    env = {**os.environ, "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": told, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def tell(offset):
        with open(told + ".new", "w") as f:
            f.write(offset + "\n")
        os.replace(told + ".new", told)

    tell("+0")
    gateway = plain(home, sink)
    load = Quick(gateway.http, "clocks", threads=1, batch=10)
    gateway.start(env=env)
    load.go()
    for offset in ("+2d", "-1d", "-3d", "+0", "+400d"):
        tell(offset)
        before = len(load.acked)
        until(f"accepted at {offset}", lambda: len(load.acked) >= before + 50, 20)
        delivered = sink.taken()
        until(f"delivered at {offset}", lambda: sink.taken() > delivered, 20)
        if offset == "-3d":
            load.go(False)
            check("clocks: a clean end three days back", gateway.stop() == 0)
            gateway.start(env=env)
            load.go()
    wall = gateway.metric("tollgate_panics_total")
    load.end()
    drained(gateway)
    check("clocks: no panic was counted", wall == 0)
    check("clocks: a clean end", gateway.stop() == 0)
    accounted("clocks", sink, load.acked)
