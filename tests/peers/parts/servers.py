"""What each S3 server that can be had here honours: `s3/matrix.py` against each, compared with the table in docs/s3-servers.md.

TOLLGATE_UPDATE=1 writes the table again.
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import CACHE, HERE, REPO, check, figure, finish, read, say, workdir, write  # noqa: E402
from locked_s3 import started, stopped  # noqa: E402

SERVERS = {"radosgw": "Ceph radosgw 16.2.15", "versitygw": "versitygw 1.8.0"}
PAGE = os.path.join(REPO, "docs", "s3-servers.md")
BEGIN, END = "<!-- what `tests/peers/run.sh servers` found; TOLLGATE_UPDATE=1 writes it -->\n", "<!-- end -->\n"


def answers(server, work):
    line = started(server, os.path.join(work, server))
    try:
        python = os.path.join(CACHE, "venv-s3", "bin", "python")
        done = subprocess.run([python, os.path.join(HERE, "s3", "matrix.py")], input=json.dumps(line), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{server}: the matrix can't be made: {done.stderr[-1500:]}")
        return json.loads(done.stdout)
    finally:
        stopped(line)


def table(found):
    first = next(iter(found.values()))
    rows = [["what a vault builds on", *(SERVERS[server] for server in found)], ["---"] * (len(found) + 1)]
    rows += [[what, *(answer[what] for answer in found.values())] for what in first]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def main():
    work = workdir("servers")
    found = {server: answers(server, work) for server in SERVERS}
    made = table(found)
    before, _, rest = read(PAGE).partition(BEGIN)
    stored, _, after = rest.partition(END)
    if os.environ.get("TOLLGATE_UPDATE"):
        write(PAGE, before + BEGIN + made + END + after)
        stored = made
    changed = [row for row in made.splitlines() if row not in stored.splitlines()]
    check("the servers do what docs/s3-servers.md says (TOLLGATE_UPDATE=1 writes it)", made == stored, "".join(f"\n       now: {row}" for row in changed))
    for server, rows in found.items():
        figure(f"{server}: rows that hold", f"{sum(answer == 'yes' for answer in rows.values())} of {len(rows)}")
    # what no vault can do without, whatever the page says
    for server, rows in found.items():
        for what in ("a lock in the headers of a put holds, and is told by HEAD", "under compliance a version can't be deleted, by anyone",
                     "a policy lets a writer put locked objects, and nothing else"):
            check(f"{server}: {what}", rows[what] == "yes", rows[what])
    finish(work)


if __name__ == "__main__":
    say("servers: what S3 servers honour")
    main()
