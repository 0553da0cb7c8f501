"""DuckDB over the tables: lines of {"sql", "times"} in, {"rows", "ms"} out (times: as often, each in a connection of its own; the median).

    {"sql": …, "folder": …}: run in that folder, so that statements of the documentation run as they stand.
    {"sql": …, "engine": "clickhouse"}: run by ClickHouse, values as text.
    {"sql": …, "engine": "athena"}: parsed as Athena's SQL, not run; a row each: ["select", DuckDB's form of it], ["column", name, type] or
    ["other", the statement].
"""
import json
import os
import statistics
import sys
import time

import duckdb



def clickhouse(sql):
    import chdb
    return [json.loads(row) for row in str(chdb.query(sql, "JSONCompactStringsEachRow")).splitlines() if row]


def athena(sql):
    import sqlglot
    from sqlglot import expressions
    rows = []
    for one in sqlglot.parse(sql, dialect="athena"):
        if isinstance(one, expressions.Create):
            rows += [["column", column.name, column.args["kind"].sql(dialect="duckdb")] for column in one.find_all(expressions.ColumnDef)]
        else:
            rows.append(["select", one.sql(dialect="duckdb")] if isinstance(one, expressions.Select) else ["other", one.sql()])
    return rows


for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    took, rows = [], []
    try:
        if "engine" in asked:
            began = time.perf_counter()
            rows = {"clickhouse": clickhouse, "athena": athena}[asked["engine"]](asked["sql"])
            print(json.dumps({"rows": rows, "ms": (time.perf_counter() - began) * 1000}), flush=True)
            continue
        for _ in range(asked.get("times", 1)):
            with duckdb.connect() as connection:
                began = time.perf_counter()
                rows = connection.execute(asked["sql"]).fetchall()
                took.append((time.perf_counter() - began) * 1000)
        print(json.dumps({"rows": rows, "ms": statistics.median(took)}, default=str), flush=True)
    except (duckdb.Error, RuntimeError, ValueError) as error:
        print(json.dumps({"error": str(error)[:600]}), flush=True)
