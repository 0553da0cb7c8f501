"""What the official SDKs do when they are refused: over gRPC and HTTP, by status, and by tollgate's own refusals.

    refusals.py    Python, JavaScript, Go and Java

The table of docs/operations.md says what each SDK does, and is compared with what it did.
"""
import os
import re
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import senders  # noqa: E402
from harness import REPO, Gateway, Sink, check, figure, finish, outlets, say, until, workdir  # noqa: E402

# name: what the back end is told, and the row of the table. Over gRPC: 503 is UNAVAILABLE, 429 RESOURCE_EXHAUSTED, a
# time is RetryInfo
FAULTS = {
    "503": ("status=503&count=1", "503 / UNAVAILABLE"),
    "503 + 4 s": ("status=503&retry_after=4&count=1", "the same with Retry-After / RetryInfo"),
    "429 + 4 s": ("status=429&retry_after=4&count=1", "429 / RESOURCE_EXHAUSTED with a time"),
    "429": ("status=429&count=1", "the same without a time"),
    "partial": ("partial=1&count=1", "`partial_success`"),
    "413": ("status=413&count=1", "400 / INVALID_ARGUMENT, 413"),
    "400": ("status=400&count=1", "400 / INVALID_ARGUMENT, 413"),
    "reset": ("reset=1&count=1", "the connection is reset"),
}
NAMES = {"Python": "py", "JavaScript": "js", "Go": "go", "Java": "java"}
# what a cell of the table says: (the SDK reports success, it retries, it waits as long as it was told)
MEANINGS = (
    (r"waits for it", (True, True, True)),
    (r"retries.* regardless", (True, True, False)),
    (r"retries", (True, True, None)),
    (r"drops", (False, False, None)),
    (r"goes on.* calls the error handler", (False, False, None)),
    (r"goes on", (True, False, None)),
)


def meaning(cell):
    return next(told for pattern, told in MEANINGS if re.match(pattern, cell))


def documented():
    """{(SDK, row): meaning} of the table of docs/operations.md."""
    with open(os.path.join(REPO, "docs", "operations.md")) as f:
        table = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in f.read().partition("| tollgate's answer |")[2].splitlines()]
    columns, _, *rows = table
    sdks = [f"{NAMES[name]}-{protocol.lower()}" for name, _, protocol in (column.partition(" ") for column in columns)]
    out = {}
    for row, *cells in rows[:len({row for _, row in FAULTS.values()})]:
        out |= {(sdk, row): meaning(cell) for sdk, cell in zip(sdks, cells, strict=True)}
    return out


def export(sdk, target, count=10, prefix="refused"):
    """(all accepted, ids accepted)"""
    done, _, lines = senders.send(sdk, target, "--prefix", prefix, "--count", str(count), "--batch", "10", "--timeout", "20")
    return done.returncode == 0, [line["id"] for line in lines]


def against_sink(sdk, work, out):
    sink = Sink(os.path.join(work, f"sink-{sdk}"))
    for fault, (told, _) in FAULTS.items():
        if fault == "413" and sdk.endswith("grpc"):
            continue  # gRPC has no such status: it is RESOURCE_EXHAUSTED without a time, as "429"
        before = len(sink.requests())
        sink.tell(told)
        ok, _ = export(sdk, sink)
        sink.tell("ok=1")
        tries = sink.requests()[before:]
        wait = tries[1]["t"] - tries[0]["t"] if len(tries) > 1 else 0.0
        out[sdk, fault] = (ok, len(tries) > 1, wait >= 3.5, round(wait, 1))


def limited(config):
    config["limits"] = {"per_account": {"requests_per_second": 1, "burst": "1s"}}


def against_tollgate(sdk, gateway, out):
    """Three requests where one a second is allowed: what arrives of 30 items."""
    _, ids = export(sdk, gateway, 30, f"{sdk}-limited")
    out[sdk] = len(ids)


def parallel(*targets):
    threads = [threading.Thread(target=target, args=arguments) for target, arguments in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    work = workdir("refusals")
    seen, arrived, told = {}, {}, documented()
    sdks = senders.sdks(["py", "js", "go", "java", *sys.argv[1:]])
    parallel(*((against_sink, (sdk, work, seen)) for sdk in sdks))
    for fault in FAULTS:
        for sdk in sdks:
            if (sdk, fault) not in seen:
                continue
            ok, again, waited, wait = seen[sdk, fault]
            say(f"         {fault:<10} {sdk:<8} {'ok  ' if ok else 'lost'} {'again after %.1f s' % wait if again else 'does not come again'}")
            wanted = told[sdk, FAULTS[fault][1]]
            # not every row names a time
            got = (ok, again, waited if wanted[2] is not None else None)
            check(f"{sdk}: {fault}, as docs/operations.md has it", got == wanted, f"{got}, documented {wanted}")
    sink = Sink(os.path.join(work, "sink"))
    gateways = {sdk: Gateway(os.path.join(work, f"limited-{sdk}"), outlets(sink), change=limited).start() for sdk in sdks}
    parallel(*((against_tollgate, (sdk, gateways[sdk], arrived)) for sdk in sdks))
    for sdk, gateway in gateways.items():
        refused = gateway.metric("tollgate_receiver_rejections_total", reason="rate_limited")
        check(f"{sdk}: of three requests at once where one a second may come some were refused", refused > 0, str(refused))
        until("delivered", gateway.drained, 30)
        check(f"{sdk}: a clean end", gateway.stop() == 0)
        figure(f"{sdk}: items accepted of 30, requests refused", f"{arrived[sdk]}, {refused:.0f}")
        check(f"{sdk}: told when, it loses nothing", arrived[sdk] == 30, str(arrived[sdk]))
    got = set(sink.ids())
    for sdk in sdks:
        check(f"{sdk}: what the SDK took for accepted has arrived", sum(one.startswith(sdk + "-limited") for one in got) == arrived[sdk])
    finish(work)


if __name__ == "__main__":
    say("refusals: what the official SDKs do when they are refused")
    main()
