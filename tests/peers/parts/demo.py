"""`tollgate demo --once`, as a stranger would meet them: piped, without HOME, with the default ports taken."""
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check, figure, finish, say, workdir  # noqa: E402


def main():
    work = workdir("demo")
    taken = []
    for port in (4317, 4318, 8888):
        try:
            taken.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            pass  # somebody else has it: that will do
    # an address that leads nowhere stands for "offline": whatever asks a proxy or a resolver fails
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": work, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    began = time.monotonic()
    done = subprocess.run([BINARY, "demo", "--once"], env=env, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
    took = time.monotonic() - began
    check("exit 0", done.returncode == 0, f"{done.returncode}: {done.stdout[-600:]} {done.stderr[-600:]}")
    check("no colour codes into a pipe", "\x1b[" not in done.stdout + done.stderr)
    check("it shows what it cost", re.search(r"\$\s?0\.\d+|0\.\d{4,} ?USD|USD", done.stdout) is not None)
    check("its folder is gone", not os.listdir(work), str(os.listdir(work)))
    closed = subprocess.run(f"'{BINARY}' demo --once | head -n 1; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash", env=env,
                            cwd=work, capture_output=True, text=True, timeout=180)
    check("a reader that goes away ends it quietly", "panic" not in closed.stderr and closed.returncode == 0, f"{closed.returncode} {closed.stderr[-300:]}")
    figure("time", round(took, 1), "s")
    for s in taken:
        s.close()
    finish(work)


if __name__ == "__main__":
    say("demo: piped, without HOME, default ports taken")
    main()
