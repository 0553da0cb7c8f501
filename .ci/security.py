"""security.py: docs/security is true. Exit 1 if it is not.

- dependencies.md has a row for each crate that a manifest of the shipped workspace names, and for each crate behind
  them of certain categories; no row for others; and the owner of each crate's repository.
- deny.toml: the licences, bans and sources of every crate, tests' too. `cargo deny` itself, whose build takes minutes, and
  which reads licence texts, is a part of `just nightly advisories`.
- threat-model.md: each row of the table names tests, or `none` and a reason, and each named test exists.

Each check is first run on a page that breaks it.
"""
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from sbom import ROOT, Graph, host, tree  # noqa: E402

# of crates.io; AWS's crates have none
WATCHED = {"cryptography", "compression", "network-programming", "web-programming", "web-programming::http-server", "parser-implementations",
           "authentication"}
NAMED = re.compile(r"aws-|nom$|snap$|lz4_flex$|zlib-rs$")
HEADINGS = ("Crates that touch keys or bytes from the network", "Crates that touch neither", "Crates behind them")


def rows(page, heading):
    """The cells of the table below a heading."""
    part = page.split(f"\n## {heading}\n", 1)[-1].split("\n## ", 1)[0] if f"\n## {heading}\n" in page else ""
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def owner(package):
    parts = urlsplit(package["repository"] or "")
    return parts.path.split("/")[1] if parts.netloc == "github.com" else parts.netloc


def dependency_problems(page, graph):
    packages = {package["name"]: package for package in graph.foreign(graph.shipped)}
    direct = {graph.packages[to]["name"] for one in graph.members & graph.shipped for to, kinds in graph.edges(one)
              if None in kinds and to in graph.shipped - graph.members}
    behind = {name for name, package in packages.items() if name not in direct and (WATCHED & set(package["categories"]) or NAMED.match(name))}
    problems, seen = [], {}
    for heading in HEADINGS:
        for cells in rows(page, heading):
            for name in names(cells[0]):
                if name in seen:
                    problems.append(f"{name} is listed twice")
                seen[name] = heading
                if name not in packages:
                    problems.append(f"{name} is listed and no longer a dependency")
                elif owner(packages[name]) not in names(cells[1]):
                    problems.append(f"{name}: its repository belongs to {owner(packages[name])}, not to {cells[1]}")
                elif len(cells) < 3 or not all(cells):
                    problems.append(f"{name}: an empty cell")
    for wanted, headings, kind in ((direct, HEADINGS[:2], "a direct dependency"), (behind, HEADINGS[2:], "a dependency of a watched category")):
        problems += [f"{name} is {kind} without a row under: {' or '.join(headings)}" for name in sorted(wanted) if seen.get(name) not in headings]
    return problems


def is_allowed(licence, allowed):
    """Whether an SPDX expression can be met by the allowed licences; old manifests write `/` for OR."""
    word = lambda found: {"OR": "or", "AND": "and"}.get(found[0], str(found[0] in allowed))  # noqa: E731
    meant = re.sub(r"[\w.+-]+(?: WITH [\w.+-]+)?", word, licence.replace("/", " OR "))
    return bool(re.fullmatch(r"(?:True|False|or|and|[() ])+", meant)) and eval(meant)


def policy_problems(policy, graph):
    every = graph.named(tree(host(), "kafka", "normal,build,dev", ("--workspace",)))
    used, problems = [graph.packages[one] for one in every], []
    for package in used:
        name = f"{package['name']} {package['version']}"
        if package["id"] in graph.members:
            problems += [f"{name}: {to['name']} without a version" for to in package["dependencies"] if to["source"] and to["req"] == "*"]
        elif package["source"] != "registry+https://github.com/rust-lang/crates.io-index":
            problems.append(f"{name} comes from {package['source']}")
        elif not is_allowed(package["license"] or "none", policy["licenses"]["allow"]):
            problems.append(f"{name}: its licence is not allowed: {package['license']}")
    for ban in policy["bans"]["deny"]:
        count = sum(package["name"] == ban["crate"] for package in used)
        if count > ("deny-multiple-versions" in ban):
            problems.append(f"{ban['crate']}: {ban.get('reason', f'{count} versions')}")
    return problems


def known_tests():
    """`crate::name` of each Rust test, `it::name` of the root's."""
    found = set()
    for path in ROOT.rglob("*.rs"):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in ("crates", "src", "tests"):
            continue
        crate = parts[1] if parts[0] == "crates" else "it" if parts[:2] == ("tests", "it") else "tollgate"
        for name in re.findall(r"#\[(?:tokio::)?test(?:\([^)]*\))?\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)", path.read_text()):
            found.add(f"{crate}::{name}")
    return found


def known_names():
    """What a row may name: Rust tests, parts of tests/peers and of tests/nightly.sh, recipes, scripts of .ci."""
    known = known_tests()
    known |= {f"peers {path.stem}" for path in (ROOT / "tests/peers/parts").glob("*.py")}
    known |= {f"just nightly {name}" for line in re.findall(r"^  ([a-z |-]+)\)", (ROOT / "tests/nightly.sh").read_text(), re.M) for name in line.split(" | ")}
    known |= {f"just {name}" for name in re.findall(r"^([a-z]+)(?: [^:\n]*)?:", (ROOT / "justfile").read_text(), re.M)}
    return known | {f".ci/{path.name}" for path in (ROOT / ".ci").iterdir()}


def threat_problems(page, tests):
    table, problems = rows(page, "Who could do what"), []
    if len(table) < 15:
        problems.append(f"the table has only {len(table)} rows")
    for cells in table:
        title = " / ".join(cells[:2])
        if len(cells) != 5 or not all(cells):
            problems.append(f"{title}: five cells that are not empty: asset, attacker, can, stopped by, tests")
            continue
        named = names(cells[4])
        if not named and not re.match(r"none: \w.{15}", cells[4]):
            problems.append(f"{title}: names no test, and no reason after `none:`")
        problems += [f"{title}: no test {name}" for name in named if name not in tests]
    return problems


def main():
    graph, tests = Graph(host(), "kafka"), known_names()
    dependencies, threats = ((ROOT / "docs/security" / name).read_text() for name in ("dependencies.md", "threat-model.md"))
    problems = [f"docs/security/dependencies.md: {one}" for one in dependency_problems(dependencies, graph)]
    problems += [f"docs/security/threat-model.md: {one}" for one in threat_problems(threats, tests)]
    policy = (ROOT / "deny.toml").read_text()
    problems += [f"deny.toml: {one}" for one in policy_problems(tomllib.loads(policy), graph)]
    if problems:
        sys.exit("\n".join(problems))
    for old, new in (("`rustls`, ", ""), ("`tokio-rs`", "`somebody`"), ("`strsim`", "`strsim`, `left-pad`"), ("`aes-gcm`, ", "")):
        assert dependency_problems(dependencies.replace(old, new, 1), graph), f"{old} can be changed unseen"
    for old, new in (('"MIT",', ""), ('"openssl"', '"serde"'), ('"tokio"', '"syn"')):
        assert policy_problems(tomllib.loads(policy.replace(old, new, 1)), graph), f"deny.toml: {old} can be changed unseen"
    first = rows(threats, "Who could do what")[0]
    for old, new in ((names(first[4])[0], "vault::no_such_test"), (first[4], "none"), (f" | {first[3]}", " | ")):
        assert threat_problems(threats.replace(old, new, 1), tests), f"{old} can be changed unseen"
    crates = sum(len(names(cells[0])) for heading in HEADINGS for cells in rows(dependencies, heading))
    print(f"security: {crates} crates listed; {len(rows(threats, 'Who could do what'))} threats, each with its tests")


if __name__ == "__main__":
    main()
