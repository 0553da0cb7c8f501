"""Phoenix, from PyPI."""
import json
import os

from backends.common import COST, INPUT, INSTALLED, OUTPUT, Fed, answers, ask, differences, operator, server, trace_ids
from harness import check, figure, free_port, until


def phoenix(work):
    """SQLite; REST for spans, GraphQL for the sums of its page."""
    port = free_port()
    server(work, "phoenix", os.path.join(INSTALLED, "phoenix", "bin", "phoenix"), "serve",
           env={**os.environ, "PHOENIX_WORKING_DIR": work, "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(free_port()),
                "PHOENIX_TELEMETRY_ENABLED": "false", "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false"})
    base = f"http://127.0.0.1:{port}"
    answers(f"{base}/healthz", 240)
    fed = Fed(work, {"endpoint": base, "compression": "gzip"}, ("traces",))

    def read():
        body = ask(f"{base}/v1/projects/default/spans?limit=1000")
        return body if len(json.loads(body)["data"]) >= len(fed.of("traces")) else None

    raw = until("Phoenix shows every span", read, 60, 0.5)
    got = [{"trace_id": span["context"]["trace_id"], "span_id": span["context"]["span_id"], "parent": span["parent_id"] or "",
            "error": span["status_code"] == "ERROR", "attributes": span["attributes"]} for span in json.loads(raw)["data"]]
    query = {"query": "{ projects { edges { node { traceCount recordCount tokenCountPrompt tokenCountCompletion costSummary { total { cost } } } } } }"}
    page = ask(f"{base}/graphql", body=json.dumps(query).encode(), headers={"content-type": "application/json"})
    operator(fed, got, raw + page)
    wrong = differences(fed.of("traces"), got, {INPUT: "llm.token_count.prompt", OUTPUT: "llm.token_count.completion", COST: None})
    check("the token counts that its page shows are the ones that tollgate sent", not wrong, wrong[:5])
    sums = json.loads(page)["data"]["projects"]["edges"][0]["node"]
    check("its page counts the traces and spans", (sums["traceCount"], sums["recordCount"]) == (len(trace_ids(fed)), len(got)), sums)
    figure("cost on Phoenix's own page, which prices each span", round(sums["costSummary"]["total"]["cost"], 6), "USD")
    figure("cost of the same calls by tollgate, each counted once", round(sum(span["attributes"].get(COST, 0) for span in got), 6), "USD")
