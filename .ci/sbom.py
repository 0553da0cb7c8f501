"""sbom.py [--target TRIPLE] [--features LIST] [--notices]: the crates of the release, as CycloneDX 1.6 JSON on stdout.

`cargo metadata`, `cargo tree` and Cargo.lock are the source, so that the Dockerfile and `just release` need no further tool, and two
runs on one commit print the same bytes. Crates that only take part in the build (build scripts, derive macros) have the
scope `excluded`. C libraries that crates bundle are components of those crates: vulnerabilities are filed under their
names. `--notices` prints the licence texts of what is shipped instead. Needs Python 3.11 (tomllib).
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# crate: the C library in it, its CPE vendor and product, the header that names its version, the expression that finds it, its licence
BUNDLED = {
    "aws-lc-sys": ("AWS-LC", "amazon:aws-lc", "aws-lc/include/openssl/base.h", r'AWSLC_VERSION_NUMBER_STRING "([\d.]+)"', "ISC OR Apache-2.0"),
    "libsqlite3-sys": ("SQLite", "sqlite:sqlite", "sqlite3/sqlite3.h", r'define SQLITE_VERSION\s+"([\d.]+)"', "blessing"),
    "zstd-sys": ("Zstandard", "facebook:zstandard", "zstd/lib/zstd.h", r"define ZSTD_VERSION_(?:MAJOR|MINOR|RELEASE)\s+(\d+)", "BSD-3-Clause"),
    "libmimalloc-sys": ("mimalloc", "microsoft:mimalloc", "c_src/mimalloc/v3/include/mimalloc.h", r"define MI_MALLOC_VERSION\s+(\d+)", "MIT"),
}
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.I)


def cargo_metadata(target, features):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    if features:
        command += ["--features", features]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def host():
    said = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^host: (.*)$", said, re.M).group(1)


def tree(target, features, edges, scope=("-p", "tollgate")):
    """(name, version) of the crates that a build takes, of the binary by default: `cargo metadata` joins the features of tests to them."""
    command = ["cargo", "tree", "--locked", *scope, "-e", edges, "--target", target, "--prefix", "none", "-f", "{p}"]
    if features:
        command += ["--features", features]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {(name, version.removeprefix("v")) for name, version, *_ in (line.split() for line in lines if line)}


class Graph:
    """The crates below the root package: `shipped` are linked into the binary, `building` only run during the build."""

    def __init__(self, target, features):
        metadata = cargo_metadata(target, features)
        self.packages = {package["id"]: package for package in metadata["packages"]}
        self.nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        self.root, self.members = metadata["resolve"]["root"], set(metadata["workspace_members"])
        self.shipped = self.named(tree(target, features, "normal,no-proc-macro"))
        self.building = self.named(tree(target, features, "normal,build")) - self.shipped

    def named(self, wanted):
        found = {one for one, package in self.packages.items() if (package["name"], package["version"]) in wanted}
        if len(found) != len(wanted):
            sys.exit("sbom.py: cargo tree and cargo metadata disagree about the crates")
        return found

    def edges(self, package_id):
        for edge in self.nodes[package_id]["deps"]:
            yield edge["pkg"], {kind["kind"] for kind in edge["dep_kinds"]}

    def foreign(self, package_ids):
        """Packages that are not ours, by name and version."""
        return sorted((self.packages[one] for one in package_ids - self.members), key=lambda p: (p["name"], p["version"]))


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def expression(package):
    """`MIT/Apache-2.0` is the old form of `MIT OR Apache-2.0`."""
    return (package["license"] or "NOASSERTION").replace(" / ", " OR ").replace("/", " OR ")


def bundled(package):
    """The C library within a crate, or nothing."""
    if package["name"] not in BUNDLED:
        return []
    name, cpe, header, pattern, licence = BUNDLED[package["name"]]
    found = re.findall(pattern, (Path(package["manifest_path"]).parent / header).read_text())
    if not found:
        sys.exit(f"sbom.py: {package['name']}: no version in {header}: correct BUNDLED")
    version = ".".join(found)
    if name == "mimalloc":  # 30302 is 3.3.2
        version = f"{int(version) // 10000}.{int(version) // 100 % 100}.{int(version) % 100}"
    licences = [{"license": {"name": licence}}] if licence == "blessing" else [{"expression": licence}]
    return [{"type": "library", "bom-ref": f"{purl(package)}#{name}", "name": name, "version": version, "licenses": licences,
             "cpe": f"cpe:2.3:a:{cpe}:{version}:*:*:*:*:*:*:*"}]


def component(package, scope, checksums):
    out = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"], "scope": scope,
           "licenses": [{"expression": expression(package)}], "purl": purl(package)}
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        out["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    inner = bundled(package)
    return {**out, "components": inner} if inner else out


def dependencies(graph, root_ref):
    """Our crates are one component, the root."""
    ref = {one: root_ref if one in graph.members else purl(graph.packages[one]) for one in graph.shipped | graph.building}
    edges = {}
    for one in ref:
        targets = edges.setdefault(ref[one], set())
        targets.update(ref[to] for to, kinds in graph.edges(one) if to in ref and kinds & {None, "build"} and ref[to] != ref[one])
    return [{"ref": one, "dependsOn": sorted(edges[one])} for one in sorted(edges)]


def bom(graph, target, features):
    with open(ROOT / "Cargo.lock", "rb") as f:
        checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(f)["package"]}
    own = graph.packages[graph.root]
    root_ref = f"pkg:cargo/{own['name']}@{own['version']}?target={target}" + (f"&features={features}" if features else "")
    components = [component(p, "required", checksums) for p in graph.foreign(graph.shipped)]
    components += [component(p, "excluded", checksums) for p in graph.foreign(graph.building)]
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        epoch = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    out = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(int(epoch), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "bom-ref": root_ref, "name": own["name"], "version": own["version"],
                          "licenses": [{"expression": own["license"]}], "purl": root_ref},
        },
        "components": components, "dependencies": dependencies(graph, root_ref),
    }
    # the same contents have the same serial number
    out["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(out, sort_keys=True)).urn
    return out


def notices(graph):
    """Each licence text once, below the names of the crates that come with it."""
    texts, without = {}, []
    for package in graph.foreign(graph.shipped):
        folder, name = Path(package["manifest_path"]).parent, f"{package['name']} {package['version']}"
        folders = [folder] + ([folder / Path(BUNDLED[package["name"]][2]).parts[0]] if package["name"] in BUNDLED else [])
        files = sorted(path for at in folders for path in at.iterdir() if path.is_file() and LICENCE_FILE.match(path.name))
        for path in files:
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(name)
        if not files:
            without.append(f"{name}: {expression(package)}")
    print("Licences of the crates in this binary. Each text is below the names of the crates that it came with.")
    for text, names in sorted(texts.items(), key=lambda entry: entry[1]):
        print("\n" + "=" * 100 + "\n" + "\n".join(sorted(set(names))) + "\n" + "-" * 100 + "\n" + text)
    if without:
        print("\n" + "=" * 100 + "\nCrates without a licence file, and the licence that they declare:\n" + "\n".join(without))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--target", default=None)
    options.add_argument("--features", default="")
    options.add_argument("--notices", action="store_true")
    options = options.parse_args()
    target = options.target or host()
    graph = Graph(target, options.features)
    if options.notices:
        notices(graph)
    else:
        json.dump(bom(graph, target, options.features), sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
