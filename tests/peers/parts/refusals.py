"""What the official SDKs do when they are refused: Python, JavaScript, Go, over gRPC and HTTP, by status; and by tollgate's own refusals.

The table EXPECTED is what docs/operations.md tells.
"""
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import CACHE, HERE, Gateway, Sink, check, figure, finish, outlets, say, until, workdir  # noqa: E402

SDKS = ("py-http", "py-grpc", "js-http", "go-http", "go-grpc")
# name: what the back end is told. Over gRPC: 503 is UNAVAILABLE, 429 RESOURCE_EXHAUSTED, a time is RetryInfo
FAULTS = {
    "503": "status=503&count=1",
    "503 + 4 s": "status=503&retry_after=4&count=1",
    "429 + 4 s": "status=429&retry_after=4&count=1",
    "429": "status=429&count=1",
    "partial": "partial=1&count=1",
    "413": "status=413&count=1",
    "400": "status=400&count=1",
    "reset": "reset=1&count=1",
}
# (the SDK says that it went well, comes again, waits as long as it was told); the last only where it was told
FINE, LOST = (True, True, None), (False, False, None)
PATIENT, HASTY = (True, True, True), (True, True, False)
EXPECTED = {
    "503": {},
    "503 + 4 s": {"py-http": PATIENT, "py-grpc": HASTY, "js-http": PATIENT, "go-http": PATIENT, "go-grpc": PATIENT},
    "429 + 4 s": {"py-http": PATIENT, "py-grpc": HASTY, "js-http": PATIENT, "go-http": PATIENT, "go-grpc": PATIENT},
    # RESOURCE_EXHAUSTED without RetryInfo is final, as OTLP has it; Python's gRPC comes again nevertheless
    "429": {"go-grpc": LOST},
    # nothing comes again; Go's exporters tell it as an error
    "partial": {sdk: (sdk[:2] != "go", False, None) for sdk in SDKS},
    "413": {sdk: LOST for sdk in SDKS if sdk.endswith("http")},
    "400": dict.fromkeys(SDKS, LOST),
    "reset": {"go-http": LOST},
}


def command(sdk, port, count, prefix):
    name, protocol = sdk.split("-")
    if name == "py":
        base = [sys.executable, os.path.join(HERE, "sdk", "send.py"), "--protocol", protocol]
    elif name == "js":
        base = ["node", os.path.join(CACHE, "js", "send.mjs")]
    else:
        base = [os.path.join(CACHE, "go", "send"), "--protocol", protocol]
    return base + ["--endpoint", f"http://127.0.0.1:{port}", "--prefix", prefix, "--count", str(count), "--batch", "10", "--timeout", "20"]


def export(sdk, port, count=10, prefix="refused", extra=()):
    """(all accepted, ids accepted)"""
    done = subprocess.run([*command(sdk, port, count, prefix), *extra], capture_output=True, text=True, timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode == 0, [line["id"] for line in lines if "id" in line]


def against_sink(sdk, work, out):
    sink = Sink(os.path.join(work, f"sink-{sdk}"))
    port = sink.grpc if sdk.endswith("grpc") else sink.http
    for fault, told in FAULTS.items():
        if fault == "413" and sdk.endswith("grpc"):
            continue  # gRPC has no such status: it is RESOURCE_EXHAUSTED without a time, as "429"
        before = len(sink.requests())
        sink.tell(told)
        ok, _ = export(sdk, port)
        sink.tell("ok=1")
        tries = sink.requests()[before:]
        wait = tries[1]["t"] - tries[0]["t"] if len(tries) > 1 else 0.0
        out[sdk, fault] = (ok, len(tries) > 1, wait >= 3.5, round(wait, 1))


def limited(config):
    config["limits"] = {"per_account": {"requests_per_second": 1, "burst": "1s"}}


def against_tollgate(sdk, gateway, out):
    """Three requests where one a second is allowed: what arrives of 30 items."""
    port = gateway.grpc if sdk.endswith("grpc") else gateway.http
    _, ids = export(sdk, port, 30, f"{sdk}-limited")
    out[sdk] = len(ids)


def parallel(*targets):
    threads = [threading.Thread(target=target, args=arguments) for target, arguments in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    work = workdir("refusals")
    seen, arrived = {}, {}
    parallel(*((against_sink, (sdk, work, seen)) for sdk in SDKS))
    for fault in FAULTS:
        for sdk in SDKS:
            if (sdk, fault) not in seen:
                continue
            ok, again, waited, wait = seen[sdk, fault]
            say(f"         {fault:<10} {sdk:<8} {'ok  ' if ok else 'lost'} {'again after %.1f s' % wait if again else 'does not come again'}")
            wanted = EXPECTED[fault].get(sdk, FINE)
            got = (ok, again, waited if "+" in fault else None)
            check(f"{sdk}: {fault}", got == wanted, f"{got}, expected {wanted}")
    sink = Sink(os.path.join(work, "sink"))
    gateways = {sdk: Gateway(os.path.join(work, f"limited-{sdk}"), outlets(sink), change=limited).start() for sdk in SDKS}
    parallel(*((against_tollgate, (sdk, gateways[sdk], arrived)) for sdk in SDKS))
    for sdk, gateway in gateways.items():
        refused = gateway.metric("tollgate_receiver_rejections_total", reason="rate_limited")
        check(f"{sdk}: of three requests at once where one a second may come some were refused", refused > 0, str(refused))
        until("delivered", gateway.drained, 30)
        check(f"{sdk}: a clean end", gateway.stop() == 0)
        figure(f"{sdk}: items accepted of 30, requests refused", f"{arrived[sdk]}, {refused:.0f}")
        check(f"{sdk}: told when, it loses nothing", arrived[sdk] == 30, str(arrived[sdk]))
    got = set(sink.ids())
    for sdk in SDKS:
        check(f"{sdk}: what the SDK took for accepted has arrived", sum(one.startswith(sdk + "-limited") for one in got) == arrived[sdk])
    finish(work)


if __name__ == "__main__":
    say("refusals: what the official SDKs do when they are refused")
    main()
