"""A mount namespace of a part's own, for rows that fill a small volume."""
import os
import subprocess
import sys

OWN = "TOLLGATE_PEERS_NAMESPACE"


def own_mounts():
    """Begins again in a mount namespace of its own: what is mounted there goes with the last process."""
    apart = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() == 0 and OWN not in os.environ and subprocess.run([*apart, "true"], capture_output=True).returncode == 0:
        os.execvpe(apart[0], [*apart, sys.executable, *sys.argv], {**os.environ, OWN: "1"})
