"""The official SDKs as programs: the command that sends with each, and what it printed.

An SDK is a name and a protocol, such as `java-grpc`; names are the folders and programs of sdk/.
"""
import json
import os
import subprocess
import sys

from harness import CACHE, HERE

PROTOCOLS = {"py": ("grpc", "http"), "js": ("http",), "go": ("grpc", "http"), "java": ("grpc", "http")}


def sdks(names):
    return [f"{name}-{protocol}" for name in names for protocol in PROTOCOLS[name]]


def program(sdk):
    name, protocol = sdk.split("-")
    return {
        "py": [sys.executable, os.path.join(HERE, "sdk", "send.py"), "--protocol", protocol],
        "js": ["node", os.path.join(CACHE, "js", "send.mjs")],
        "go": [os.path.join(CACHE, "go", "send"), "--protocol", protocol],
        "java": ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{CACHE}/java/classes:{CACHE}/java/libs/*", "Send", "--protocol", protocol],
    }[name]


def command(sdk, target, *options):
    """`target` is a gateway or a sink: something with the ports `grpc` and `http`."""
    port = target.grpc if sdk.endswith("grpc") else target.http
    return [*program(sdk), "--endpoint", f"http://127.0.0.1:{port}", *options]


def send(sdk, target, *options, seconds=120):
    """(the program's end, its last line, the lines of items that got an OK)"""
    done = subprocess.run(command(sdk, target, *options), capture_output=True, text=True, timeout=seconds)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done, lines[-1] if lines else {}, [line for line in lines if "id" in line]
