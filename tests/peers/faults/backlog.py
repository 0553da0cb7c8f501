"""A spool of gigabytes: memory stays flat while it waits and drains."""
import os
import shutil
import threading
import time

from faults.common import drained, place, plain, sink_in
from faults.storm import rss
from harness import check, figure, until
from load import request


def flat(work, options):
    """Gigabytes wait and memory stays as it was; when the back end is back they go out at least twice as fast as new data comes, and memory stays."""
    sink = sink_in(work, "flat")
    sink.tell("status=503&keep=0")
    gateway = plain(place(work, "flat"), sink, change=through).start()
    part, rate = max(64, options.backlog // 4) << 20, 4 << 20
    fill_spool(gateway, part)
    early = rss(gateway.process.pid)
    fill_spool(gateway, part * 3)
    late = rss(gateway.process.pid)
    figure(f"flat: memory with {part >> 20} and {part >> 18} MiB waiting", f"{early >> 20}, {late >> 20}", "MiB")
    check("flat: memory does not grow with what waits", late <= early + (48 << 20), f"{late >> 20} MiB")
    gateway.kill()
    began = time.monotonic()
    gateway.start()
    figure("flat: killed, and ready again with it after", round(time.monotonic() - began, 2), "s")
    # so much still comes while the backlog goes
    over, came = threading.Event(), [0]

    def arrivals():
        began = time.monotonic()
        while not over.is_set():
            if came[0] <= (time.monotonic() - began) * rate:
                came[0] += fill_spool(gateway, 1)
            else:
                time.sleep(0.01)

    sink.tell("ok=1&keep=0")
    thread = threading.Thread(target=arrivals)
    thread.start()
    began, peak = time.monotonic(), 0

    def gone():
        nonlocal peak
        peak = max(peak, rss(gateway.process.pid))
        return gateway.metric("tollgate_spool_pending_bytes", consumer="otlp_http") < (8 << 20)

    try:
        until("the backlog is gone", gone, 300, 0.2)
    finally:
        over.set()
        thread.join()
    took = time.monotonic() - began
    arrived, left = came[0] / took, (part * 4 + came[0]) / took
    figure("flat: while it drains, MiB a second that come and go", f"{arrived / 2**20:.1f}, {left / 2**20:.1f}")
    check("flat: the backlog goes at least twice as fast as data comes", left >= 2 * arrived, f"{left / arrived:.1f}")
    figure("flat: memory at most while it drains", peak >> 20, "MiB")
    check("flat: nor does memory grow while it goes", peak <= early + (96 << 20), f"{peak >> 20} MiB")
    drained(gateway)
    check("flat: a clean end", gateway.stop() == 0)


def through(config):
    """Nothing to strip: an exporter of one's own house, which takes everything as it comes."""
    config["exporters"]["otlp_http"]["trust"] = "internal"
    for pipeline in config["service"]["pipelines"].values():
        pipeline["processors"] = []
    config["processors"] = {}


FILL = os.urandom(300_000).hex()


def fill_spool(gateway, wanted):
    """Sends at least so many bytes, all of which must be taken; how many.
    A request that is told to come again comes again, as a client's would: a disk that stalls is not what is measured here."""
    sent = 0
    while sent < wanted:
        out = request("traces", [f"fill-{sent}-{n}" for n in range(4)])
        for span in out.resource_spans[0].scope_spans[0].spans:
            span.attributes.add(key="note").value.string_value = FILL
        body = out.SerializeToString()
        for attempt in range(10):
            status, _, answer = gateway.post("traces", body)
            if status == 200:
                break
            print(f"        {status} after {sent} bytes, attempt {attempt + 1}: {answer[:300]!r}")
            if status not in (429, 503):
                raise AssertionError(f"{status} is not an answer to come again for")
            time.sleep(1)
        else:
            raise AssertionError(f"{status} ten times after {sent} bytes; free on the disk: {shutil.disk_usage(gateway.config['spool']['directory']).free >> 20} MiB")
        sent += len(body)
    return sent
