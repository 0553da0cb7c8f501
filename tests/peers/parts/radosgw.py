"""A real S3 with Object Lock: Ceph's radosgw 16.2, which ignores If-None-Match where there are versions."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import say  # noqa: E402
from locked_s3 import run  # noqa: E402

if __name__ == "__main__":
    say("radosgw: a real S3 with Object Lock")
    run("radosgw", conditional=False)
