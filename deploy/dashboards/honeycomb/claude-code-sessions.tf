# Written by generate.py from boards.yaml.

data "honeycombio_query_specification" "claude_code_sessions_sessions" {
  time_range = 86400
  calculation {
    op     = "COUNT_DISTINCT"
    column = "session.id"
  }
  filter {
    column = "name"
    op     = "starts-with"
    value  = "claude_code."
  }
}

resource "honeycombio_query" "claude_code_sessions_sessions" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_sessions.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_sessions" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_sessions.id
  name        = "Sessions"
  description = "How many sessions ran? PromQL counts those that ended, of all agents."
}

data "honeycombio_query_specification" "claude_code_sessions_prompts" {
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.interaction"
  }
}

resource "honeycombio_query" "claude_code_sessions_prompts" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_prompts.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_prompts" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_prompts.id
  name        = "User prompts"
  description = "How many prompts did people send?"
}

data "honeycombio_query_specification" "claude_code_sessions_prompts_per_session" {
  breakdowns = ["session.id"]
  limit      = 50
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.interaction"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_prompts_per_session" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_prompts_per_session.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_prompts_per_session" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_prompts_per_session.id
  name        = "Prompts per session"
  description = "How deep is each session?"
}

data "honeycombio_query_specification" "claude_code_sessions_tool_calls" {
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
    column = "tool_name"
    op     = "exists"
  }
}

resource "honeycombio_query" "claude_code_sessions_tool_calls" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_tool_calls.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_tool_calls" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_tool_calls.id
  name        = "Tool calls"
  description = "How many tools were called?"
}

data "honeycombio_query_specification" "claude_code_sessions_tokens" {
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "input_tokens"
  }
  calculation {
    op     = "SUM"
    column = "cache_read_tokens"
  }
  calculation {
    op     = "SUM"
    column = "cache_creation_tokens"
  }
  calculation {
    op     = "SUM"
    column = "output_tokens"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.llm_request"
  }
}

resource "honeycombio_query" "claude_code_sessions_tokens" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_tokens.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_tokens" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_tokens.id
  name        = "Token usage"
  description = "How many tokens are new input, read from the cache, written to it, and output?"
}

data "honeycombio_query_specification" "claude_code_sessions_tokens_per_session" {
  breakdowns = ["session.id"]
  limit      = 50
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "input_tokens"
  }
  calculation {
    op     = "SUM"
    column = "cache_read_tokens"
  }
  calculation {
    op     = "SUM"
    column = "cache_creation_tokens"
  }
  calculation {
    op     = "SUM"
    column = "output_tokens"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.llm_request"
  }
  order {
    column = "input_tokens"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_tokens_per_session" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_tokens_per_session.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_tokens_per_session" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_tokens_per_session.id
  name        = "Tokens per session"
  description = "Which sessions use most tokens?"
}

data "honeycombio_query_specification" "claude_code_sessions_cache_hit_ratio" {
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "cache_read_tokens"
    name   = "part"
    filter {
      column = "name"
      op     = "="
      value  = "claude_code.llm_request"
    }
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.input_tokens"
    name   = "whole"
    filter {
      column = "name"
      op     = "="
      value  = "claude_code.llm_request"
    }
  }
  formula {
    name       = "cache hit ratio"
    expression = "DIV($part, $whole)"
  }
}

resource "honeycombio_query" "claude_code_sessions_cache_hit_ratio" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_cache_hit_ratio.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_cache_hit_ratio" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_cache_hit_ratio.id
  name        = "Cache hit ratio"
  description = "Which part of the input came from the prompt cache?"
}

data "honeycombio_query_specification" "claude_code_sessions_model_usage" {
  breakdowns = ["gen_ai.request.model"]
  limit      = 10
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.llm_request"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_model_usage" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_model_usage.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_model_usage" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_model_usage.id
  name        = "Model usage"
  description = "Which models are used? Claude Code's own telemetry counts calls, the hooks count turns."
}

data "honeycombio_query_specification" "claude_code_sessions_tool_failures" {
  breakdowns = ["tool_name", "error_type"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "body"
    op     = "="
    value  = "claude_code.tool_result"
  }
  filter {
    column = "error_type"
    op     = "exists"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_tool_failures" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_tool_failures.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_tool_failures" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_tool_failures.id
  name        = "Tool failures"
  description = "Which tools fail?"
}

data "honeycombio_query_specification" "claude_code_sessions_permission_denials" {
  breakdowns = ["tool_name", "source"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "body"
    op     = "="
    value  = "claude_code.tool_decision"
  }
  filter {
    column = "decision"
    op     = "="
    value  = "reject"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_permission_denials" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_permission_denials.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_permission_denials" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_permission_denials.id
  name        = "Permission denials"
  description = "Which tools was the agent not allowed to use?"
}

data "honeycombio_query_specification" "claude_code_sessions_tool_duration" {
  breakdowns = ["gen_ai.tool.name"]
  limit      = 20
  time_range = 86400
  calculation {
    op     = "AVG"
    column = "duration_ms"
  }
  calculation {
    op     = "P95"
    column = "duration_ms"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.tool"
  }
  filter {
    column = "tool_name"
    op     = "exists"
  }
  order {
    column = "duration_ms"
    op     = "AVG"
    order  = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_tool_duration" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_tool_duration.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_tool_duration" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_tool_duration.id
  name        = "Tool duration"
  description = "Which tools are slow? Claude Code's own telemetry includes the wait for a permission."
}

data "honeycombio_query_specification" "claude_code_sessions_lines_edited" {
  breakdowns = ["session.id", "type"]
  limit      = 50
  time_range = 86400
  calculation {
    op     = "SUM"
    column = "claude_code.lines_of_code.count"
  }
  filter {
    column = "claude_code.lines_of_code.count"
    op     = "exists"
  }
  order {
    column = "claude_code.lines_of_code.count"
    op     = "SUM"
    order  = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_lines_edited" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_lines_edited.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_lines_edited" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_lines_edited.id
  name        = "Lines edited per session"
  description = "How many lines does a session add and remove?"
}

data "honeycombio_query_specification" "claude_code_sessions_stop_reasons" {
  breakdowns = ["stop_reason"]
  limit      = 10
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.llm_request"
  }
  filter {
    column = "stop_reason"
    op     = "exists"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_stop_reasons" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_stop_reasons.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_stop_reasons" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_stop_reasons.id
  name        = "Stop reasons"
  description = "How do model calls and turns end?"
}

data "honeycombio_query_specification" "claude_code_sessions_sub_agents" {
  breakdowns = ["subagent_type"]
  limit      = 20
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  calculation {
    op     = "AVG"
    column = "duration_ms"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.tool"
  }
  filter {
    column = "subagent_type"
    op     = "exists"
  }
  order {
    op    = "COUNT"
    order = "descending"
  }
}

resource "honeycombio_query" "claude_code_sessions_sub_agents" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_sub_agents.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_sub_agents" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_sub_agents.id
  name        = "Sub-agent activity"
  description = "Which sub-agents run, and how long?"
}

data "honeycombio_query_specification" "claude_code_sessions_compaction" {
  time_range = 86400
  calculation {
    op = "COUNT"
  }
  calculation {
    op     = "SUM"
    column = "gen_ai.usage.input_tokens"
  }
  calculation {
    op     = "SUM"
    column = "output_tokens"
  }
  filter {
    column = "name"
    op     = "="
    value  = "claude_code.llm_request"
  }
  filter {
    column = "query_source_safe"
    op     = "="
    value  = "compact"
  }
  filter {
    column = "success"
    op     = "="
    value  = "true"
  }
}

resource "honeycombio_query" "claude_code_sessions_compaction" {
  query_json = data.honeycombio_query_specification.claude_code_sessions_compaction.json
}

resource "honeycombio_query_annotation" "claude_code_sessions_compaction" {
  dataset     = "__all__"
  query_id    = honeycombio_query.claude_code_sessions_compaction.id
  name        = "Context compaction"
  description = "How often is the context compacted, how many tokens did it have, and how many has the summary?"
}

resource "honeycombio_flexible_board" "claude_code_sessions" {
  name        = "Claude Code sessions"
  description = "The sixteen panels of the claude-otel-hooks board, in its twelve groups, from the telemetry that Claude Code itself sends (CLAUDE_CODE_ENABLE_TELEMETRY)."
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 0
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_sessions.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_sessions.id
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
      query_id            = honeycombio_query.claude_code_sessions_prompts.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_prompts.id
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
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_prompts_per_session.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_prompts_per_session.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 5
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_tool_calls.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_tool_calls.id
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
      y_coordinate = 11
      width        = 12
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_tokens.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_tokens.id
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
      y_coordinate = 16
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_tokens_per_session.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_tokens_per_session.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 16
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_cache_hit_ratio.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_cache_hit_ratio.id
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
      y_coordinate = 22
      width        = 6
      height       = 5
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_model_usage.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_model_usage.id
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
      y_coordinate = 22
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_tool_failures.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_tool_failures.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 28
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_permission_denials.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_permission_denials.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 28
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_tool_duration.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_tool_duration.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 34
      width        = 6
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_lines_edited.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_lines_edited.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 6
      y_coordinate = 34
      width        = 4
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_stop_reasons.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_stop_reasons.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 0
      y_coordinate = 40
      width        = 4
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_sub_agents.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_sub_agents.id
      query_style         = "table"
    }
  }
  panel {
    type = "query"
    position {
      x_coordinate = 4
      y_coordinate = 40
      width        = 4
      height       = 6
    }
    query_panel {
      query_id            = honeycombio_query.claude_code_sessions_compaction.id
      query_annotation_id = honeycombio_query_annotation.claude_code_sessions_compaction.id
      query_style         = "table"
    }
  }
}

output "claude_code_sessions_url" {
  value = honeycombio_flexible_board.claude_code_sessions.board_url
}
