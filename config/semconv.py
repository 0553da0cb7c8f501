"""Makes semconv.yaml anew: attributes with the shape of their values. Usage: semconv.py VERSIONS FILE...

FILE: a registry as `weaver registry resolve` writes it, a registry's model/**/registry.yaml, a YAML map of key to {type, shape},
or an older semconv.yaml, whose keys stay for clients that still send them. Later files override earlier ones. VERSIONS says what the
files are. What a machine writes about itself in free text counts as a label, and so do types of errors, which clients fill with more
than types. What people write (error messages, statements, URLs, content) is not listed here.
"""
import json
import re
import sys

import yaml

KEPT = {"label", "id", "host", "version", "enum", "path"}
MACHINE = {"container.runtime.description", "db.query.summary", "error.type", "gen_ai.skill.description", "k8s.container.status.last_terminated_reason", "os.description", "process.runtime.description", "user_agent.original", "webengine.description"}
PATHS = {"gen_ai.skill.resource.name"}


def shape(key, attribute):
    """The shape of a key's values; of an enumeration, its members."""
    if isinstance(attribute, (str, list)):
        return attribute
    if key in MACHINE:
        return "label"
    if key in PATHS:
        return "path"
    kind = attribute.get("type")
    members = attribute.get("values") or (kind.get("members") if isinstance(kind, dict) else None)
    if members:
        return [str(one["value"] if isinstance(one, dict) else one) for one in members]
    if "shape" in attribute:
        return attribute["shape"]
    if isinstance(kind, dict):
        return "enum"
    if kind not in ("string", "string[]"):
        return "number"
    last = re.split(r"[._]", key)[-1]
    by_name = {"id": "id", "uid": "id", "arn": "id", "cursor": "id", "tenant": "id", "address": "host", "ip": "host", "hostname": "host", "version": "version", "path": "path"}
    free = {"message", "description", "text", "statement", "stacktrace", "args", "line", "content", "title", "comment", "document", "query", "full", "uri", "url", "explanation"}
    return "free_text" if last in free else by_name.get(last, "label")


def attributes(path):
    """The attributes of one file, by key."""
    with open(path) as f:
        data = yaml.safe_load(f)
    if "groups" in data:
        return {one["name"]: one for group in data["groups"] for one in group.get("attributes", [])}
    return {one["key"]: one for one in data["attributes"]} if "file_format" in data else data


def main():
    shapes = {key: shape(key, one) for path in sys.argv[2:] for key, one in attributes(path).items()}
    print("# Attributes of the OpenTelemetry semantic conventions that hold labels, and the shape of their values. Text under any")
    print("# other key of their namespaces counts as unlisted. Shapes: label, id, version, path, host, the members of an")
    print("# enumeration, and enum, if its members are not known.")
    print(f"# Made by `just semconv VERSIONS FILE...` from {sys.argv[1]}.")
    for key in sorted(shapes):
        if isinstance(shapes[key], list):
            print(f"{key}: {json.dumps(shapes[key])}")
        elif shapes[key] in KEPT:
            print(f"{key}: {shapes[key]}")


if __name__ == "__main__":
    main()
