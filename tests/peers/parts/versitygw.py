"""A real S3 with Object Lock: versitygw 1.8."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import say  # noqa: E402
from locked_s3 import run  # noqa: E402

if __name__ == "__main__":
    say("versitygw: a real S3 with Object Lock")
    run("versitygw", conditional=True)
