"""`vault compact` and `find --parquet` against DuckDB: the same lines, the documentation's statements run as they stand, times side by side.
ClickHouse's statement runs in ClickHouse over the same files; Athena's are parsed as such, their columns held against the files, and the query
run in its DuckDB form, as there is no Athena outside of AWS.

    tables.py [--rows 1000000] [--keep FOLDER]     a run with --keep that was stopped goes on where it was
"""
import argparse
import decimal
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, CACHE, HERE, REPO, check, figure, files, finish, say, start, workdir  # noqa: E402

TABLES = "read_parquet('parquet/v1/**/*.parquet', hive_types = {'account': VARCHAR, 'tenant': VARCHAR, 'dt': DATE})"
INDEX = "read_json('{}/index/v1/**/*.ndjson.zst', format = 'newline_delimited', hive_partitioning = false, maximum_object_size = 100000000)"


class Duck:
    def __init__(self, folder):
        self.folder = folder
        python = os.path.join(CACHE, "tables", "venv", "bin", "python")
        self.process = start([python, os.path.join(HERE, "tables", "ask.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, sql, times=1, **more):
        self.process.stdin.write(json.dumps({"sql": sql, "folder": self.folder, "times": times, **more}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AssertionError(f"{sql}\n{answer['error']}")
        return answer["rows"], answer["ms"]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def documented(engine):
    """The statements of docs/vault.md for an engine."""
    with open(os.path.join(REPO, "docs", "vault.md")) as f:
        blocks = re.findall(rf"```sql\n-- {engine}\n(.*?)```", f.read(), re.S)
    return [statement.strip() for block in blocks for statement in block.split(";\n") if statement.strip()]


def same_lines(duck, store):
    """What DuckDB reads in the tables is what it reads in the index itself."""
    facts = ("count(*), count(DISTINCT session_id), sum(leaf)::BIGINT, sum(tokens_in)::BIGINT, sum(cost_usd::DECIMAL(18, 9)), sum(buckets.cache_read)::BIGINT, "
             "count(tool_name), sum(len(part))::BIGINT, min(ts::VARCHAR), count(*) FILTER (repeat)")
    for by in ("tenant", "tool_name", "model"):
        ask = f"SELECT {by}, {facts} FROM {{}} GROUP BY {by} ORDER BY {by}"
        tables, _ = duck.ask(ask.format(TABLES))
        index, _ = duck.ask(ask.format(INDEX.format(store)))
        # DuckDB reads times of JSON as such: compared as the tables have them
        strip = [[value for n, value in enumerate(row) if n != 9] for row in tables], [[value for n, value in enumerate(row) if n != 9] for row in index]
        check(f"by {by}: counts, sums and exact costs of tables and index agree", strip[0] == strip[1] and strip[0], str([strip[0][:2], strip[1][:2]]))


def find(*options):
    began = time.perf_counter()
    code, out, why = run(BINARY, "vault", "find", "--json", *options)
    return code, [json.loads(row) for row in out.splitlines()], (time.perf_counter() - began) * 1000, why


def beside(duck, tables, what, options, where):
    """A lookup by `find` (a process each time) beside DuckDB's own scan for the same lines (a connection each time), in turns."""
    ours, theirs, same = [], [], True
    for _ in range(7):
        code, lines, took, why = find(*options, "--parquet", tables)
        rows, ms = duck.ask(f"SELECT * FROM {TABLES} WHERE {where}")
        ours.append(took)
        theirs.append(ms)
        same = same and code == 0 and len(rows) == len(lines) > 0
    ratio = statistics.median(ours) / statistics.median(theirs)
    check(f"{what}: find has the lines that DuckDB has", same, f"{len(lines)} and {len(rows)} {why}")
    figure(f"{what}, {len(lines)} lines: find", round(statistics.median(ours), 1), f"ms, DuckDB {round(statistics.median(theirs), 1)} ms, ratio {round(ratio, 2)}")
    # the bound is for a quiet machine; beside other work only what is no longer a scan fails
    bound = 5 if os.environ.get("QUIET") else 20
    check(f"{what}: find takes at most {bound} times DuckDB's own scan", ratio <= bound, f"{ratio:.2f}")


def elsewhere(duck):
    """The documented statements of ClickHouse and Athena."""
    sums = "SELECT tenant, model, sum(cost_usd::DECIMAL(18, 9)) FROM {} WHERE {} GROUP BY ALL"

    def same(ours, theirs):
        exact = lambda rows: sorted((tenant, model or "", decimal.Decimal(usd or 0)) for tenant, model, usd in rows)  # noqa: E731
        return exact(ours) == exact(theirs) != []
    for statement in documented("ClickHouse"):
        local, count = re.subn(r"s3\('https://TABLES[^/]*/([^']*)'", lambda found: f"file('{duck.folder}/{found[1]}'", statement)
        check("ClickHouse's statement reads the tables from S3", count == 1, statement)
        rows, ms = duck.ask(local, engine="clickhouse")
        wanted, _ = duck.ask(sums.format(TABLES, "cost_usd IS NOT NULL AND ts >= '2026-11-18'"))
        check("documented, runs in ClickHouse, and finds the sums that DuckDB finds", same(rows, wanted), str([rows[:2], wanted[:2]]))
        figure("it took", round(ms), "ms")
    text = TABLES.replace("DATE", "VARCHAR")
    parsed, _ = duck.ask(";\n".join(documented("Athena")), engine="athena")
    columns = {row[1]: row[2].replace("TEXT", "VARCHAR") for row in parsed if row[0] == "column"}
    types, _ = duck.ask(f"DESCRIBE SELECT {', '.join(columns)} FROM {text}")
    check("Athena's columns are those of the files, of their types", len(columns) > 15 and columns == {row[0]: row[1] for row in types}, str([columns, types]))
    selects = [row[1] for row in parsed if row[0] == "select"]
    check("Athena's statements are a table, its partitions, and a query", [row[1] for row in parsed if row[0] == "other"] == ["MSCK REPAIR TABLE vault_lines"] and len(selects) == 1, str(parsed))
    for select in selects:
        rows, _ = duck.ask(f"WITH vault_lines AS (SELECT * FROM {text}) {select}")
        wanted, _ = duck.ask(sums.format(text, "dt >= '2026-11-18'"))
        check("its query, in DuckDB's form, finds the sums", same(rows, wanted), str([rows[:2], wanted[:2]]))


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
        with open(mark) as f:
            made = json.load(f)
        a.seed = made["seed"]
    say(f"tables: {a.rows} index lines as Parquet, seed {a.seed}")
    subprocess.run([os.path.join(HERE, "tables", "install.sh")], check=True, stdout=subprocess.DEVNULL)
    store, tables = os.path.join(work, "vault"), os.path.join(work, "tables")
    python = os.path.join(CACHE, "tables", "venv", "bin", "python")
    if not begun:
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(tables, ignore_errors=True)
        made = json.loads(subprocess.run([python, os.path.join(HERE, "tables", "lines.py"), store, str(a.rows), str(a.seed)], check=True, capture_output=True).stdout)
        made["seed"] = a.seed
        with open(mark + ".part", "w") as f:
            json.dump(made, f)
        os.rename(mark + ".part", mark)

    began = time.monotonic()
    code, out, why = run(BINARY, "vault", "compact", "--store", store, "--output", tables, "--json")
    check("compact", code == 0 and (begun or json.loads(out)["lines"] == made["rows"]), f"{out} {why}")
    took = time.monotonic() - began
    size = sum(os.path.getsize(path) for path in files("**/*.parquet", tables))
    raw = sum(os.path.getsize(path) for path in files("**/*.zst", store))
    if not begun:
        figure("compact", round(made["rows"] / took), "lines/s")
    figure("a line in the tables", round(size / made["rows"], 1), f"bytes; in the index {round(raw / made['rows'], 1)}")
    before = {path: os.path.getmtime(path) for path in files("**/*", tables)}
    code, out, why = run(BINARY, "vault", "compact", "--store", store, "--output", tables, "--json")
    check("a second run changes nothing", code == 0 and json.loads(out)["objects"] == 0 and before == {path: os.path.getmtime(path) for path in files("**/*", tables)}, out + why)
    check("no left-overs", not [path for path in files("**/.*", tables)])

    duck = Duck(tables)
    rows, _ = duck.ask(f"SELECT count(*), count(DISTINCT (account, tenant, dt)) FROM {TABLES}")
    check("every line, by account, tenant and day", rows[0][0] == made["rows"] and rows[0][1] == len(files("parquet/v1/account=*/tenant=*/dt=*", tables)), str(rows))
    same_lines(duck, store)
    name = files("parquet/v1/**/*.parquet", tables)[0]
    rows, _ = duck.ask(f"SELECT DISTINCT path_in_schema FROM parquet_metadata('{name}') WHERE bloom_filter_offset IS NOT NULL")
    check("Bloom filters on what lookups name", {row[0] for row in rows} == {"session_id", "trace_id", "user_key", "tool_name"}, str(rows))
    rows, _ = duck.ask(f"SELECT DISTINCT compression FROM parquet_metadata('{name}')")
    check("zstd", {row[0] for row in rows} == {"ZSTD"}, str(rows))
    rows, _ = duck.ask(f"SELECT count(*) FROM (SELECT session_id, lag(session_id) OVER () AS before FROM read_parquet('{name}')) WHERE before > session_id")
    check("sorted by session", rows == [[0]], str(rows))

    session = random.Random(a.seed).choice(made["sessions"])
    rows, _ = duck.ask(f"SELECT trace_id, user_key, tenant FROM {TABLES} WHERE session_id = '{session}' LIMIT 1")
    trace, user, tenant = rows[0]
    beside(duck, tables, "a session", ["--session", session], f"session_id = '{session}'")
    beside(duck, tables, "a trace", ["--trace", trace], f"trace_id = '{trace}'")
    beside(duck, tables, "a user in a tenant", ["--user", user, "--tenant", tenant], f"user_key = '{user}' AND tenant = '{tenant}'")
    beside(duck, tables, "failures of a tool in a tenant", ["--tool", "WebFetch", "--tenant", "a/b c", "--failed"], "tool_name = 'WebFetch' AND tenant = 'a/b c' AND status <> 'ok'")
    code, one, _, why = find("--session", session, "--store", store)
    code_too, two, _, why_too = find("--session", session, "--parquet", tables)
    key = lambda row: row["leaf"]  # noqa: E731
    check("find gives the same lines from tables as from the index, field for field", code == code_too == 0 and sorted(one, key=key) == sorted(two, key=key) != [], why + why_too)

    elsewhere(duck)
    statements = documented("DuckDB")
    check("the documentation has statements", len(statements) >= 3, len(statements))
    for statement in statements:
        rows, ms = duck.ask(statement.replace("SESSION", session))
        check(f"documented, runs and finds: {' '.join(statement.split())[:70]}", len(rows) > 0)
        figure("it took", round(ms), "ms")
        # lines.py makes 8 calls of each kind a session, and tells four of them twice or as what they are not
        by_tool = "tool_name" in statement
        if " AS calls" in statement:
            since = "" if by_tool else "WHERE dt >= DATE '2026-11-18'"
            sessions, _ = duck.ask(f"SELECT count(DISTINCT session_id) FROM {TABLES} {since}")
            calls = sum(row[1 if by_tool else 4] for row in rows)
            check(f"it counts each {'tool' if by_tool else 'model'} call once", calls == 8 * sessions[0][0], f"{calls} of {sessions[0][0]} sessions")
    finish(work)


if __name__ == "__main__":
    main()
