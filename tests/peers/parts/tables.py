"""`vault compact` against DuckDB: packed files have the lines of the index, and the documentation's statements run as they stand over both.
ClickHouse's statement runs in ClickHouse; Athena's are parsed as such, their columns held against the lines, and the query run in its DuckDB
form, as there is no Athena outside of AWS.

    tables.py [--rows 1000000] [--keep FOLDER]     a run with --keep that was stopped goes on where it was
"""
import argparse
import decimal
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, CACHE, HERE, REPO, check, figure, files, finish, read_json, say, start, workdir, write_json  # noqa: E402


class Duck:
    def __init__(self, folder):
        self.folder = folder
        python = os.path.join(CACHE, "tables", "venv", "bin", "python")
        self.process = start([python, os.path.join(HERE, "tables", "ask.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, sql, **more):
        self.process.stdin.write(json.dumps({"sql": sql, "folder": self.folder, **more}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AssertionError(f"{sql}\n{answer['error']}")
        return answer["rows"], answer["ms"]


class Lines:
    """The documented view, of the packed files or of the index."""

    def __init__(self, duck, view):
        self.duck, self.view = duck, view

    def ask(self, sql):
        return self.duck.ask(f"{self.view};\n{sql}")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def documented(engine, page="vault.md"):
    """The statements of a page for an engine."""
    with open(os.path.join(REPO, "docs", page)) as f:
        blocks = re.findall(rf"```sql\n *-- {engine}\n(.*?)```", f.read(), re.S)
    return [statement.strip() for block in blocks for statement in block.split(";\n") if statement.strip()]


def same_lines(packed, index):
    """What DuckDB reads in the packed files is what it reads in the index."""
    facts = ("count(*), count(DISTINCT session_id), sum(leaf)::BIGINT, sum(tokens_in)::BIGINT, sum(cost_usd::DECIMAL(18, 9)), sum(buckets.cache_read)::BIGINT, "
             "count(tool_name), sum(len(part))::BIGINT, min(ts), count(*) FILTER (repeat)")
    for by in ("tenant", "tool_name", "model", "(account, dt)"):
        ask = f"SELECT {by}, {facts} FROM lines GROUP BY {by} ORDER BY {by}"
        here, there = packed.ask(ask)[0], index.ask(ask)[0]
        check(f"by {by}: counts, sums and exact costs of packed files and index agree", here == there and here, str([here[:2], there[:2]]))


def statements(packed, index, session, made):
    """DuckDB's documented statements, over both."""
    found = documented("DuckDB")[1:]
    check("the documentation has statements", len(found) >= 3, len(found))
    for statement in found:
        statement = statement.replace("SESSION", session)
        rows, ms = packed.ask(statement)
        exact = sorted(map(str, rows))
        check(f"documented, runs and finds the same in both: {' '.join(statement.split())[:70]}", len(rows) > 0 and exact == sorted(map(str, index.ask(statement)[0])))
        figure("it took", round(ms), "ms")
        # lines.py makes 8 calls of each kind a session, and tells four of them twice or as what they are not
        by_tool = "tool_name" in statement
        if " AS calls" in statement:
            since = "" if by_tool else "WHERE dt >= DATE '2026-11-18'"
            sessions, _ = packed.ask(f"SELECT count(DISTINCT session_id) FROM lines {since}")
            calls = sum(row[1 if by_tool else 4] for row in rows)
            check(f"it counts each {'tool' if by_tool else 'model'} call once", calls == 8 * sessions[0][0], f"{calls} of {sessions[0][0]} sessions")
    fleet = documented("DuckDB", "how-to/fleet.md")
    check("the fleet's page has a statement", len(fleet) == 1, str(fleet))
    for lines in (packed, index):
        rows, _ = lines.ask(fleet[0])
        check("lost calls are added up, each once, and none whose line exists", decimal.Decimal(rows[0][0]) == decimal.Decimal("0.25") * made["lost"], f"{rows} for {made['lost']}")


def elsewhere(packed, store):
    """The documented statements of ClickHouse and Athena."""
    duck, sums = packed.duck, "SELECT tenant, model, sum(cost_usd::DECIMAL(18, 9)) FROM lines WHERE {} GROUP BY ALL"

    def same(ours, theirs):
        exact = lambda rows: sorted((tenant, model or "", decimal.Decimal(usd or 0)) for tenant, model, usd in rows)  # noqa: E731
        return exact(ours) == exact(theirs) != []
    for statement in documented("ClickHouse"):
        wanted, _ = packed.ask(sums.format("cost_usd IS NOT NULL AND ts >= '2026-11-18'"))
        for where in (f"{duck.folder}/lines", f"{store}/index"):
            local, count = re.subn(r"s3\('https://TABLES[^/]*/lines/([^']*)'", lambda found: f"file('{where}/{found[1]}'", statement)
            check("ClickHouse's statement reads the lines from S3", count == 1, statement)
            rows, ms = duck.ask(local, engine="clickhouse")
            check("documented, runs in ClickHouse, and finds the sums that DuckDB finds", same(rows, wanted), str([rows[:2], wanted[:2]]))
            figure("it took", round(ms), "ms")
    parsed, _ = duck.ask(";\n".join(documented("Athena")), engine="athena")
    columns = {row[1]: row[2].replace("TEXT", "VARCHAR") for row in parsed if row[0] == "column"}
    partitions = {name: columns.pop(name, None) for name in ("account", "dt")}
    guessed, _ = duck.ask("DESCRIBE FROM read_ndjson('lines/v1/*/*/*.ndjson.zst', hive_partitioning = false, sample_size = 100000)")
    guessed = {row[0]: row[1] for row in guessed}
    # DuckDB guesses more than Athena's text: a number behind `turn`, a time in `ts`
    fits = all(name in guessed and (kind == "VARCHAR" or kind == guessed[name]) for name, kind in columns.items())
    check("Athena's columns are fields of the lines, of their types", len(columns) > 15 and fits and set(partitions.values()) == {"VARCHAR"}, str([columns, partitions, guessed]))
    selects = [row[1] for row in parsed if row[0] == "select"]
    check("Athena's statements are a table, its partitions, and a query", [row[1] for row in parsed if row[0] == "other"] == ["MSCK REPAIR TABLE vault_lines"] and len(selects) == 1, str(parsed))
    read = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    for select in selects:
        table = f"FROM read_ndjson('lines/v1/*/*/*.ndjson.zst', hive_types = {{account: VARCHAR, dt: VARCHAR}}, columns = {{{read}}})"
        rows, _ = duck.ask(f"WITH vault_lines AS ({table}) {select}")
        wanted, _ = packed.ask(sums.format("dt >= DATE '2026-11-18'"))
        check("its query, in DuckDB's form, finds the sums", same(rows, wanted), str([rows[:2], wanted[:2]]))


def lines(store, rows, seed):
    python = os.path.join(CACHE, "tables", "venv", "bin", "python")
    return json.loads(subprocess.run([python, os.path.join(HERE, "tables", "lines.py"), store, str(rows), str(seed)], check=True, capture_output=True).stdout)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rows", type=int, default=1_000_000)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--keep")
    a = p.parse_args()
    work = os.path.abspath(a.keep) if a.keep else workdir("tables")
    os.makedirs(work, exist_ok=True)
    mark = os.path.join(work, f"made-{a.rows}.json")
    begun = os.path.exists(mark)
    if begun:
        made = read_json(mark)
        a.seed = made["seed"]
    say(f"tables: {a.rows} index lines, packed, seed {a.seed}")
    store, tables = os.path.join(work, "vault"), os.path.join(work, "tables")
    if not begun:
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(tables, ignore_errors=True)
        made = lines(store, a.rows, a.seed)
        made["seed"] = a.seed
        write_json(mark + ".part", made)
        os.rename(mark + ".part", mark)

    compact = [BINARY, "vault", "compact", "--store", store, "--output", tables, "--json", "--key", made["key"]]
    began = time.monotonic()
    code, out, why = run(*compact)
    check("compact packs every line", code == 0 and (begun or json.loads(out)["lines"] == made["rows"]), f"{out} {why}")
    packed = files("lines/v1/*/*/*", tables)
    check("a file for each day and 64 MiB", 4 <= len(packed) <= 4 + sum(map(os.path.getsize, packed)) / (32 << 20), f"{len(packed)} of {made['objects']} objects")
    if not begun:
        figure("compact", round(made["rows"] / (time.monotonic() - began)), "lines/s")
    figure("files", len(packed), f"of {made['objects']} index objects")
    before = {path: os.path.getmtime(path) for path in files("**/*", tables)}
    code, out, why = run(*compact)
    check("a second run changes nothing", code == 0 and json.loads(out)["objects"] == 0 and before == {path: os.path.getmtime(path) for path in files("**/*", tables)}, out + why)
    check("no left-overs", not [path for path in files("**/.*", tables)])

    duck, view = Duck(tables), documented("DuckDB")[0]
    packed, index = Lines(duck, view), Lines(duck, view.replace("'lines/v1/", f"'{store}/index/v1/"))
    check("the view reads the packed files, or the index", view != index.view and view.count("lines/v1/") == 1, view)
    rows, _ = packed.ask("SELECT count(*), count(DISTINCT leaf), count(DISTINCT dt), any_value(account) FROM lines")
    check("every line once, by account and day", rows[0] == [made["rows"], made["rows"], 4, "default"], str(rows))
    same_lines(packed, index)
    statements(packed, index, random.Random(a.seed).choice(made["sessions"]), made)
    elsewhere(packed, store)
    finish(work)


if __name__ == "__main__":
    main()
