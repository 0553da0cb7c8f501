"""Makes semconv.yaml anew: attributes with the shape of their values. Usage: semconv.py FILE VERSION

FILE: the registry as `weaver registry resolve` writes it, or a YAML map of key to {type, shape}. What a machine writes about itself
in free text counts as a label, and so do types of errors, which clients fill with more than types. What people write (error messages,
statements, URLs, content) is not listed here.
"""
import re
import sys

import yaml

KEPT = {"label", "id", "host", "version", "enum", "path"}
MACHINE = {"container.runtime.description", "db.query.summary", "error.type", "k8s.container.status.last_terminated_reason", "os.description", "process.runtime.description", "user_agent.original", "webengine.description"}


def shape(key, attribute):
    """The shape of a key's values."""
    if key in MACHINE:
        return "label"
    if "shape" in attribute:
        return attribute["shape"]
    kind = attribute.get("type")
    if isinstance(kind, dict):
        return "enum"
    if kind not in ("string", "string[]"):
        return "number"
    last = re.split(r"[._]", key)[-1]
    by_name = {"id": "id", "uid": "id", "arn": "id", "address": "host", "ip": "host", "hostname": "host", "version": "version", "path": "path"}
    free = {"message", "description", "text", "statement", "stacktrace", "args", "line", "content", "title", "comment", "document", "query", "full", "uri", "url"}
    return "free_text" if last in free else by_name.get(last, "label")


def main():
    with open(sys.argv[1]) as f:
        data = yaml.safe_load(f)
    if "groups" in data:
        data = {one["name"]: one for group in data["groups"] for one in group.get("attributes", [])}
    shapes = {key: shape(key, attribute) for key, attribute in data.items()}
    print("# Attributes of the OpenTelemetry semantic conventions that hold labels, and the shape of their values. Text under any")
    print("# other key of their namespaces counts as unlisted. Shapes: label and path (may contain blanks), enum, id, host, version")
    print("# (never contain blanks).")
    print(f"# Made from the registry at {sys.argv[2]} by `just semconv FILE VERSION`.")
    for key in sorted(shapes):
        if shapes[key] in KEPT:
            print(f"{key}: {shapes[key]}")


if __name__ == "__main__":
    main()
