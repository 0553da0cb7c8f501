# Written by generate.py from boards.yaml.

data "honeycombio_query_specification" "claude_code_hooks_sessions" {
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.session.start"
  }
}

resource "honeycombio_query" "claude_code_hooks_sessions" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_sessions.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_sessions" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_sessions.id
  name        = "Sessions"
  description = "How many sessions ran? PromQL counts those that ended, of all agents."
}

data "honeycombio_query_specification" "claude_code_hooks_prompts" {
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.user_prompt"
  }
}

resource "honeycombio_query" "claude_code_hooks_prompts" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_prompts.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_prompts" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_prompts.id
  name        = "User prompts"
  description = "How many prompts did people send?"
}

data "honeycombio_query_specification" "claude_code_hooks_session_duration" {
  time_range = 86400
  calculation {
    op     = "AVG"
    column = "session.duration_ms"
  }
  calculation {
    op     = "P95"
    column = "session.duration_ms"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.session.end"
  }
}

resource "honeycombio_query" "claude_code_hooks_session_duration" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_session_duration.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_session_duration" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_session_duration.id
  name        = "Session duration"
  description = "How long does a session last, on average and at the 95th percentile?"
}

data "honeycombio_query_specification" "claude_code_hooks_prompts_per_session" {
  breakdowns = ["session.id"]
  limit      = 50
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.user_prompt"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_prompts_per_session" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_prompts_per_session.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_prompts_per_session" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_prompts_per_session.id
  name        = "Prompts per session"
  description = "How deep is each session?"
}

data "honeycombio_query_specification" "claude_code_hooks_tool_calls" {
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.tool"
  }
  filter {
    column = "gen_ai.tool.success"
    op     = "exists"
  }
}

resource "honeycombio_query" "claude_code_hooks_tool_calls" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_tool_calls.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_tool_calls" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_tool_calls.id
  name        = "Tool calls"
  description = "How many tools were called?"
}

data "honeycombio_query_specification" "claude_code_hooks_tokens" {
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.input_tokens"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.cache_read_tokens"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.cache_creation_tokens"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.output_tokens"
  }
  filter {
    column = "name"
    op     = "in"
    value  = "claude_code.turn.stop,claude_code.llm_call"
  }
  filter {
    column = "tollgate.cost.status"
    op     = "="
    value  = "priced"
  }
}

resource "honeycombio_query" "claude_code_hooks_tokens" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_tokens.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_tokens" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_tokens.id
  name        = "Token usage"
  description = "How many tokens are new input, read from the cache, written to it, and output?"
}

data "honeycombio_query_specification" "claude_code_hooks_tokens_per_session" {
  breakdowns = ["session.id"]
  limit      = 50
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.input_tokens"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.cache_read_tokens"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.cache_creation_tokens"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.output_tokens"
  }
  filter {
    column = "name"
    op     = "in"
    value  = "claude_code.turn.stop,claude_code.llm_call"
  }
  filter {
    column = "tollgate.cost.status"
    op     = "="
    value  = "priced"
  }
  order {
    column = "gen_ai.usage.input_tokens"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_tokens_per_session" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_tokens_per_session.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_tokens_per_session" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_tokens_per_session.id
  name        = "Tokens per session"
  description = "Which sessions use most tokens?"
}

data "honeycombio_query_specification" "claude_code_hooks_cache_hit_ratio" {
  time_range = 86400
  calculation {
    op     = "AVG"
    column = "gen_ai.usage.cache_hit_ratio"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.turn.stop"
  }
}

resource "honeycombio_query" "claude_code_hooks_cache_hit_ratio" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_cache_hit_ratio.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_cache_hit_ratio" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_cache_hit_ratio.id
  name        = "Cache hit ratio"
  description = "Which part of the input came from the prompt cache?"
}

data "honeycombio_query_specification" "claude_code_hooks_model_usage" {
  breakdowns = ["gen_ai.request.model"]
  limit      = 10
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.turn.stop"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_model_usage" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_model_usage.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_model_usage" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_model_usage.id
  name        = "Model usage"
  description = "Which models are used? Claude Code's own telemetry counts calls, the hooks count turns."
}

data "honeycombio_query_specification" "claude_code_hooks_tool_failures" {
  breakdowns = ["gen_ai.tool.name"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.tool"
  }
  filter {
    column = "gen_ai.tool.success"
    op     = "="
    value  = "false"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_tool_failures" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_tool_failures.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_tool_failures" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_tool_failures.id
  name        = "Tool failures"
  description = "Which tools fail?"
}

data "honeycombio_query_specification" "claude_code_hooks_permission_denials" {
  breakdowns = ["gen_ai.tool.name"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.permission.denied"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_permission_denials" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_permission_denials.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_permission_denials" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_permission_denials.id
  name        = "Permission denials"
  description = "Which tools was the agent not allowed to use?"
}

data "honeycombio_query_specification" "claude_code_hooks_tool_duration" {
  breakdowns = ["gen_ai.tool.name"]
  limit      = 20
  time_range = 86400
  calculation {
    op     = "AVG"
    column = "tool.duration_ms"
  }
  calculation {
    op     = "P95"
    column = "tool.duration_ms"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.tool"
  }
  filter {
    column = "gen_ai.tool.success"
    op     = "exists"
  }
  order {
    column = "tool.duration_ms"
    op     = "AVG"
    order  = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_tool_duration" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_tool_duration.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_tool_duration" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_tool_duration.id
  name        = "Tool duration"
  description = "Which tools are slow? Claude Code's own telemetry includes the wait for a permission."
}

data "honeycombio_query_specification" "claude_code_hooks_lines_edited" {
  breakdowns = ["session.id"]
  limit      = 50
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "edit.lines_added"
  }
  calculation {
    op     = "SUM"
    column = "edit.lines_removed"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.tool"
  }
  filter {
    column = "gen_ai.tool.success"
    op     = "exists"
  }
  filter {
    column = "edit.lines_added"
    op     = "exists"
  }
  order {
    column = "edit.lines_added"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_lines_edited" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_lines_edited.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_lines_edited" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_lines_edited.id
  name        = "Lines edited per session"
  description = "How many lines does a session add and remove?"
}

data "honeycombio_query_specification" "claude_code_hooks_stop_reasons" {
  breakdowns = ["agent.stop_reason"]
  limit      = 10
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.turn.stop"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_stop_reasons" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_stop_reasons.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_stop_reasons" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_stop_reasons.id
  name        = "Stop reasons"
  description = "How do model calls and turns end?"
}

data "honeycombio_query_specification" "claude_code_hooks_sub_agents" {
  breakdowns = ["agent.type"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  calculation {
    op     = "AVG"
    column = "agent.duration_ms"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.subagent"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_hooks_sub_agents" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_sub_agents.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_sub_agents" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_sub_agents.id
  name        = "Sub-agent activity"
  description = "Which sub-agents run, and how long?"
}

data "honeycombio_query_specification" "claude_code_hooks_compaction" {
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  calculation {
    op     = "SUM"
    column = "context.tokens_saved"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.context.compact"
  }
}

resource "honeycombio_query" "claude_code_hooks_compaction" {
  query_json = data.honeycombio_query_specification.claude_code_hooks_compaction.json
}

resource "honeycombio_query_annotation" "claude_code_hooks_compaction" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_hooks_compaction.id
  name        = "Context compaction"
  description = "How often is the context compacted, how many tokens did it have, and how many has the summary?"
}

resource "honeycombio_flexible_board" "claude_code_hooks" {
  name        = "Claude Code sessions (hooks)"
  description = "The same panels from the spans of claude-otel-hooks."
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 0
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_sessions.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_sessions.id
      query_style         = "graph"
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
      x_coordinate = 6
      y_coordinate = 0
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_prompts.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_prompts.id
      query_style         = "graph"
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
      y_coordinate = 5
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_session_duration.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_session_duration.id
      query_style         = "graph"
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
      x_coordinate = 6
      y_coordinate = 5
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_prompts_per_session.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_prompts_per_session.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 11
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_tool_calls.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_tool_calls.id
      query_style         = "graph"
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
      y_coordinate = 16
      width        = 12
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_tokens.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_tokens.id
      query_style         = "graph"
      visualization_settings {
        chart {
          chart_index = 0
          chart_type  = "line"
        }
        chart {
          chart_index = 1
          chart_type  = "line"
        }
        chart {
          chart_index = 2
          chart_type  = "line"
        }
        chart {
          chart_index = 3
          chart_type  = "line"
        }
      }
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 21
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_tokens_per_session.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_tokens_per_session.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 21
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_cache_hit_ratio.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_cache_hit_ratio.id
      query_style         = "graph"
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
      x_coordinate = 0
      y_coordinate = 27
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_model_usage.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_model_usage.id
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
      x_coordinate = 6
      y_coordinate = 27
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_tool_failures.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_tool_failures.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 33
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_permission_denials.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_permission_denials.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 33
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_tool_duration.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_tool_duration.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 39
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_lines_edited.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_lines_edited.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 39
      width        = 4
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_stop_reasons.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_stop_reasons.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 45
      width        = 4
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_sub_agents.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_sub_agents.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 4
      y_coordinate = 45
      width        = 4
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_hooks_compaction.id
      query_annotation_id = honeycombio_query_annotation.claude_code_hooks_compaction.id
      query_style         = "table"
    }
  }
}

output "claude_code_hooks_url" {
  value = honeycombio_flexible_board.claude_code_hooks.board_url
}
