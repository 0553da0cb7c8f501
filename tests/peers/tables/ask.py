"""DuckDB over packed lines and over the index: lines of {"sql", …} in, {"rows", "ms"} out, each in a connection of its own.

    {"sql": …, "folder": …}: run in that folder, so that statements of the documentation run as they stand.
    {"sql": …, "engine": "clickhouse"}: run by ClickHouse, values as text.
    {"sql": …, "engine": "athena"}: parsed as Athena's SQL, not run; a row each: ["select", DuckDB's form of it], ["column", name, type] or
    ["other", the statement].
"""
import json
import os
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


def duck(sql):
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    began = time.perf_counter()
    try:
        rows = {"duckdb": duck, "clickhouse": clickhouse, "athena": athena}[asked.get("engine", "duckdb")](asked["sql"])
        print(json.dumps({"rows": rows, "ms": (time.perf_counter() - began) * 1000}, default=str), flush=True)
    except (duckdb.Error, RuntimeError, ValueError) as error:
        print(json.dumps({"error": str(error)[:600]}), flush=True)
