"""A second tollgate."""
import json
import os
from decimal import Decimal

from backends.common import Fed, as_got, ask, bodies, operator, same_items
from harness import Gateway, Sink, check, until


def tollgate(work):
    """A second tollgate behind the first, for what both see: nothing is priced or cleaned twice, and both show the same runs."""
    behind = Sink(os.path.join(work, "behind"))

    def trusting(config):
        """The first one keeps content and cleans text; a second `vault` would seal its references."""
        config["receivers"]["otlp"]["trust"] = "internal"
        del config["processors"]["vault"]
        for pipeline in config["service"]["pipelines"].values():
            pipeline["processors"] = [name for name in pipeline["processors"] if name not in ("vault", "redact")]

    second = Gateway(os.path.join(work, "second"), {"otlp_http": {"endpoint": f"http://127.0.0.1:{behind.http}", "trust": "internal"}},
                     log="info", change=trusting).start()
    fed = Fed(os.path.join(work, "first"), {"endpoint": f"http://127.0.0.1:{second.http}"})
    until("the second has sent everything on", lambda: len(behind.rows()) >= len(fed.sink.rows()) and second.drained(), 60, 0.1)
    # the second writes the sums of a run so far, which depend on the order of arrival
    items = same_items(fed, behind, ("agent.", "tollgate.run."))
    runs = [ask(f"http://127.0.0.1:{one.admin}/api/runs?limit=1000") for one in (fed.gateway, second)]
    mine, its = ({one["id"]: Decimal(one["totals"]["cost_usd"] or 0) for one in json.loads(body)["runs"]} for body in runs)
    wrong = {run: (mine.get(run), its.get(run)) for run in {*mine, *its} if mine.get(run) != its.get(run)}
    check(f"both show the same {len(mine)} runs, at the same cost", mine and not wrong, wrong)
    operator(fed, as_got(items), runs[1] + b"".join(bodies(behind)))
