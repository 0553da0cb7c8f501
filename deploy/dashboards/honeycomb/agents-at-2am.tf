# Written by generate.py from boards.yaml.

data "honeycombio_query_specification" "agents_at_2am_iterations" {
  time_range          = 86400
  compare_time_offset = 86400
  calculation {
    op     = "P95"
    column = "tollgate.run.iterations"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
}

resource "honeycombio_query" "agents_at_2am_iterations" {
  query_json = data.honeycombio_query_specification.agents_at_2am_iterations.json
}

resource "honeycombio_query_annotation" "agents_at_2am_iterations" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_iterations.id
  name        = "Iterations per run (p95)"
  description = "Do agents loop? tollgate warns at 80 % of the ceiling (50 unless set)."
}

data "honeycombio_query_specification" "agents_at_2am_run_time" {
  time_range          = 86400
  compare_time_offset = 86400
  calculation {
    op     = "P95"
    column = "tollgate.run.duration_seconds"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
}

resource "honeycombio_query" "agents_at_2am_run_time" {
  query_json = data.honeycombio_query_specification.agents_at_2am_run_time.json
}

resource "honeycombio_query_annotation" "agents_at_2am_run_time" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_run_time.id
  name        = "Time per run (p95)"
  description = "Do runs take longer? AgentRunTimeClimbing fires at 1.5 times the same hour yesterday."
}

data "honeycombio_query_specification" "agents_at_2am_failure_rate" {
  time_range          = 86400
  compare_time_offset = 86400
  calculation {
    op   = "COUNT"
    name = "part"
    filter {
      column = "body"
      op     = "="
      value  = "tollgate.run.summary"
    }
    filter {
      column = "tollgate.run.revision"
      op     = "does-not-exist"
    }
    filter {
      column = "error"
      op     = "="
      value  = "true"
    }
  }
  calculation {
    op   = "COUNT"
    name = "whole"
    filter {
      column = "body"
      op     = "="
      value  = "tollgate.run.summary"
    }
    filter {
      column = "tollgate.run.revision"
      op     = "does-not-exist"
    }
  }
  formula {
    name       = "failure rate"
    expression = "DIV($part, $whole)"
  }
}

resource "honeycombio_query" "agents_at_2am_failure_rate" {
  query_json = data.honeycombio_query_specification.agents_at_2am_failure_rate.json
}

resource "honeycombio_query_annotation" "agents_at_2am_failure_rate" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_failure_rate.id
  name        = "Failure rate"
  description = "Which part of the runs failed or was killed? AgentFailureSpike fires above 5 % and twice yesterday's."
}

data "honeycombio_query_specification" "agents_at_2am_cost_per_run" {
  time_range          = 86400
  compare_time_offset = 86400
  calculation {
    op     = "AVG"
    column = "agent.estimated_cost_usd"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
}

resource "honeycombio_query" "agents_at_2am_cost_per_run" {
  query_json = data.honeycombio_query_specification.agents_at_2am_cost_per_run.json
}

resource "honeycombio_query_annotation" "agents_at_2am_cost_per_run" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_cost_per_run.id
  name        = "Cost per run"
  description = "What does a run cost? Calls without a price are not included."
}

data "honeycombio_query_specification" "agents_at_2am_expensive_runs" {
  breakdowns = ["tollgate.run.id", "trace.trace_id", "tenant.id", "gen_ai.request.model", "tollgate.run.state"]
  limit      = 20
  time_range = 86400
  calculation {
    op     = "MAX"
    column = "agent.estimated_cost_usd"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  order {
    column = "agent.estimated_cost_usd"
    op     = "MAX"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_expensive_runs" {
  query_json = data.honeycombio_query_specification.agents_at_2am_expensive_runs.json
}

resource "honeycombio_query_annotation" "agents_at_2am_expensive_runs" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_expensive_runs.id
  name        = "Most expensive runs"
  description = "Which runs cost most, and in which trace are they?"
}

data "honeycombio_query_specification" "agents_at_2am_longest_runs" {
  breakdowns = ["tollgate.run.id", "trace.trace_id", "tenant.id", "gen_ai.request.model", "tollgate.run.state"]
  limit      = 20
  time_range = 86400
  calculation {
    op     = "MAX"
    column = "tollgate.run.duration_seconds"
  }
  calculation {
    op     = "MAX"
    column = "tollgate.run.iterations"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  order {
    column = "tollgate.run.duration_seconds"
    op     = "MAX"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_longest_runs" {
  query_json = data.honeycombio_query_specification.agents_at_2am_longest_runs.json
}

resource "honeycombio_query_annotation" "agents_at_2am_longest_runs" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_longest_runs.id
  name        = "Longest runs"
  description = "Which runs take longest, and how many iterations do they need?"
}

data "honeycombio_query_specification" "agents_at_2am_runs_by_state" {
  breakdowns = ["tollgate.run.state"]
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
}

resource "honeycombio_query" "agents_at_2am_runs_by_state" {
  query_json = data.honeycombio_query_specification.agents_at_2am_runs_by_state.json
}

resource "honeycombio_query_annotation" "agents_at_2am_runs_by_state" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_runs_by_state.id
  name        = "Runs by how they ended"
  description = "How many runs end, fail, go idle or are killed, and how many are live?"
}

data "honeycombio_query_specification" "agents_at_2am_tokens_per_run" {
  breakdowns = ["gen_ai.request.model"]
  time_range = 86400
  calculation {
    op     = "AVG"
    column = "agent.total_input_tokens"
  }
  calculation {
    op     = "AVG"
    column = "agent.total_output_tokens"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
}

resource "honeycombio_query" "agents_at_2am_tokens_per_run" {
  query_json = data.honeycombio_query_specification.agents_at_2am_tokens_per_run.json
}

resource "honeycombio_query_annotation" "agents_at_2am_tokens_per_run" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_tokens_per_run.id
  name        = "Tokens per run, by model"
  description = "Do runs use more tokens? In Grafana of one model in a run, in the others of the run's main model."
}

data "honeycombio_query_specification" "agents_at_2am_cost_by_tenant" {
  breakdowns = ["tenant.id"]
  limit      = 10
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "agent.estimated_cost_usd"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  order {
    column = "agent.estimated_cost_usd"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_cost_by_tenant" {
  query_json = data.honeycombio_query_specification.agents_at_2am_cost_by_tenant.json
}

resource "honeycombio_query_annotation" "agents_at_2am_cost_by_tenant" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_cost_by_tenant.id
  name        = "Cost by tenant"
  description = "Which tenant costs most?"
}

data "honeycombio_query_specification" "agents_at_2am_cost_by_model" {
  breakdowns = ["gen_ai.request.model"]
  limit      = 10
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.cost"
  }
  filter {
    column = "gen_ai.usage.cost"
    op     = "exists"
  }
  order {
    column = "gen_ai.usage.cost"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_cost_by_model" {
  query_json = data.honeycombio_query_specification.agents_at_2am_cost_by_model.json
}

resource "honeycombio_query_annotation" "agents_at_2am_cost_by_model" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_cost_by_model.id
  name        = "Cost by model"
  description = "Which model costs most?"
}

data "honeycombio_query_specification" "agents_at_2am_cost_by_feature" {
  breakdowns = ["agent.feature"]
  limit      = 10
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "agent.estimated_cost_usd"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  order {
    column = "agent.estimated_cost_usd"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_cost_by_feature" {
  query_json = data.honeycombio_query_specification.agents_at_2am_cost_by_feature.json
}

resource "honeycombio_query_annotation" "agents_at_2am_cost_by_feature" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_cost_by_feature.id
  name        = "Cost by feature"
  description = "Which feature costs most, among runs that have ended?"
}

data "honeycombio_query_specification" "agents_at_2am_fallbacks" {
  breakdowns = ["tollgate.fallback.reason", "tollgate.fallback.from", "tollgate.fallback.to"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "tollgate.fallback.reason"
    op     = "exists"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_fallbacks" {
  query_json = data.honeycombio_query_specification.agents_at_2am_fallbacks.json
}

resource "honeycombio_query_annotation" "agents_at_2am_fallbacks" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_fallbacks.id
  name        = "Fallbacks, by reason"
  description = "Where did another model have to answer, and why?"
}

data "honeycombio_query_specification" "agents_at_2am_first_chunk" {
  time_range          = 86400
  compare_time_offset = 86400
  calculation {
    op     = "P95"
    column = "gen_ai.response.time_to_first_chunk"
  }
  filter {
    column = "gen_ai.response.time_to_first_chunk"
    op     = "exists"
  }
}

resource "honeycombio_query" "agents_at_2am_first_chunk" {
  query_json = data.honeycombio_query_specification.agents_at_2am_first_chunk.json
}

resource "honeycombio_query_annotation" "agents_at_2am_first_chunk" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_first_chunk.id
  name        = "Time to the first piece of an answer (p95)"
  description = "Do streamed answers begin later? AgentFirstChunkClimbing fires at 1.5 times the same hour yesterday."
}

data "honeycombio_query_specification" "agents_at_2am_tool_failures" {
  breakdowns = ["tollgate.run.service", "tenant.id"]
  limit      = 20
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "tollgate.run.failed_tool_calls"
  }
  calculation {
    op     = "SUM"
    column = "agent.tool_calls_made"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  order {
    column = "tollgate.run.failed_tool_calls"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_tool_failures" {
  query_json = data.honeycombio_query_specification.agents_at_2am_tool_failures.json
}

resource "honeycombio_query_annotation" "agents_at_2am_tool_failures" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_tool_failures.id
  name        = "Tool failures"
  description = "Which tools fail? Honeycomb shows them by service. AgentToolErrorRate fires above 20 % in 5 minutes."
}

data "honeycombio_query_specification" "agents_at_2am_permission_denials" {
  breakdowns = ["tollgate.run.service", "tenant.id"]
  limit      = 20
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "tollgate.run.permission_denials"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.run.summary"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  order {
    column = "tollgate.run.permission_denials"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_permission_denials" {
  query_json = data.honeycombio_query_specification.agents_at_2am_permission_denials.json
}

resource "honeycombio_query_annotation" "agents_at_2am_permission_denials" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_permission_denials.id
  name        = "Permission denials"
  description = "What were agents not allowed to do? Honeycomb shows them by service."
}

data "honeycombio_query_specification" "agents_at_2am_alerts" {
  breakdowns = ["tollgate.alert.rule", "tollgate.alert.severity"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "body"
    op     = "="
    value  = "tollgate.alert"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "agents_at_2am_alerts" {
  query_json = data.honeycombio_query_specification.agents_at_2am_alerts.json
}

resource "honeycombio_query_annotation" "agents_at_2am_alerts" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_alerts.id
  name        = "Alerts"
  description = "Which alerts fire (Grafana), which began to fire (the others)? docs/alerts.md has a section for each."
}

data "honeycombio_query_specification" "agents_at_2am_gateway_behind" {
  time_range = 86400
  calculation {
    op     = "MAX"
    column = "tollgate_spool_oldest_seconds"
  }
  filter {
    column = "tollgate_spool_oldest_seconds"
    op     = "exists"
  }
}

resource "honeycombio_query" "agents_at_2am_gateway_behind" {
  query_json = data.honeycombio_query_specification.agents_at_2am_gateway_behind.json
}

resource "honeycombio_query_annotation" "agents_at_2am_gateway_behind" {
  dataset     = "__all__"
  query_id    = honeycombio_query.agents_at_2am_gateway_behind.id
  name        = "Gateway: seconds behind"
  description = "Does data wait in the spool, for a back end or for the vault?"
}

resource "honeycombio_flexible_board" "agents_at_2am" {
  name        = "Agents at 2 am"
  description = "Four numbers against yesterday, the most expensive and longest runs, cost, fallbacks, tool failures, permission denials and the gateway. Runs come from the `runs` connector's summaries and from tollgate's metrics."
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 0
      width        = 3
      height       = 3
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_iterations.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_iterations.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "stat"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 3
      y_coordinate = 0
      width        = 3
      height       = 3
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_run_time.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_run_time.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "stat"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 0
      width        = 3
      height       = 3
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_failure_rate.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_failure_rate.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "stat"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 9
      y_coordinate = 0
      width        = 3
      height       = 3
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_cost_per_run.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_cost_per_run.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "stat"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 3
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_expensive_runs.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_expensive_runs.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 3
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_longest_runs.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_longest_runs.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 9
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_runs_by_state.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_runs_by_state.id
      query_style         = "combo"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "line"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 9
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_tokens_per_run.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_tokens_per_run.id
      query_style         = "combo"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "line"
        }
        chart {
          chart_index = 1
          chart_type  = "line"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 14
      width        = 4
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_cost_by_tenant.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_cost_by_tenant.id
      query_style         = "combo"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "tsbar"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 4
      y_coordinate = 14
      width        = 4
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_cost_by_model.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_cost_by_model.id
      query_style         = "combo"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "tsbar"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 8
      y_coordinate = 14
      width        = 4
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_cost_by_feature.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_cost_by_feature.id
      query_style         = "combo"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "tsbar"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 19
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_fallbacks.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_fallbacks.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 19
      width        = 3
      height       = 3
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_first_chunk.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_first_chunk.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "stat"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 25
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_tool_failures.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_tool_failures.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 25
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_permission_denials.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_permission_denials.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 31
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_alerts.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_alerts.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 31
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.agents_at_2am_gateway_behind.id
      query_annotation_id = honeycombio_query_annotation.agents_at_2am_gateway_behind.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "line"
        }
      }
    }
  }
}

output "agents_at_2am_url" {
  value = honeycombio_flexible_board.agents_at_2am.board_url
}
