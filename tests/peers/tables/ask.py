"""DuckDB over the tables: lines of {"sql", "times"} in, {"rows", "ms"} out (times: as often, each in a connection of its own; the median).

    {"sql": …, "folder": …}: run in that folder, so that statements of the documentation run as they stand.
"""
import json
import os
import statistics
import sys
import time

import duckdb

for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    took, rows = [], []
    try:
        for _ in range(asked.get("times", 1)):
            with duckdb.connect() as connection:
                began = time.perf_counter()
                rows = connection.execute(asked["sql"]).fetchall()
                took.append((time.perf_counter() - began) * 1000)
        print(json.dumps({"rows": rows, "ms": statistics.median(took)}, default=str), flush=True)
    except duckdb.Error as error:
        print(json.dumps({"error": str(error)[:600]}), flush=True)
