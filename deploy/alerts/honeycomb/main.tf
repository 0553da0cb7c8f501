# Honeycomb triggers on tollgate's telemetry: spans (names and units as `normalize` writes them) and one
# `tollgate.run.summary` log per ended run. The triggers are environment-wide, because Honeycomb makes a dataset of each
# service.name. Columns must exist before they can be queried, so send a session first. Names are those of
# docs/alerts.md. Counts are only parts of ratios.
terraform {
  required_providers {
    honeycombio = {
      source  = "honeycombio/honeycombio"
      version = ">= 0.46"
    }
  }
}

variable "recipient_ids" {
  description = "Recipients (honeycombio_recipient) that are told"
  type        = list(string)
}

# --- tools and models: shares of calls --------------------------------------------------------------------------------

data "honeycombio_query_specification" "tool_error_rate" {
  calculation {
    op   = "COUNT"
    name = "calls"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "execute_tool"
    }
  }
  calculation {
    op   = "COUNT"
    name = "failed"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "execute_tool"
    }
    filter {
      column = "error"
      op     = "="
      value  = "true"
    }
  }
  formula {
    name       = "failure_rate"
    expression = "DIV($failed, $calls)"
  }
  breakdowns = ["gen_ai.tool.name"]
  time_range = 300
}

resource "honeycombio_trigger" "tool_error_rate" {
  name        = "AgentToolErrorRate"
  description = "Over 20 % of a tool's calls failed within 5 minutes. docs/alerts.md#agenttoolerrorrate"
  query_json  = data.honeycombio_query_specification.tool_error_rate.json
  frequency   = 120
  threshold {
    op    = ">"
    value = 0.2
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "finish_length" {
  # finish reasons stay as the provider spells them
  calculated_field {
    name       = "cut_off"
    expression = "IF(OR(CONTAINS($gen_ai.response.finish_reasons, \"length\"), CONTAINS($gen_ai.response.finish_reasons, \"max_tokens\"), CONTAINS($gen_ai.response.finish_reasons, \"MAX_TOKENS\")), 1, 0)"
  }
  calculation {
    op     = "AVG"
    column = "cut_off"
  }
  filter {
    column = "gen_ai.response.finish_reasons"
    op     = "exists"
  }
  time_range = 3600
}

resource "honeycombio_trigger" "finish_length" {
  name        = "AgentFinishLength"
  description = "Over 5 % of turns were cut off at their token limit. docs/alerts.md#agentfinishlength"
  query_json  = data.honeycombio_query_specification.finish_length.json
  frequency   = 900
  threshold {
    op    = ">"
    value = 0.05
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "overloaded" {
  calculation {
    op   = "COUNT"
    name = "calls"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "chat"
    }
  }
  calculation {
    op   = "COUNT"
    name = "overloaded"
    filter {
      column = "tollgate.fallback.reason"
      op     = "="
      value  = "overloaded_529"
    }
  }
  formula {
    name       = "share"
    expression = "DIV($overloaded, $calls)"
  }
  breakdowns = ["gen_ai.provider.name"]
  time_range = 900
}

resource "honeycombio_trigger" "overloaded" {
  name        = "AgentOverloaded"
  description = "529s in over 2 % of a provider's calls, three times in a row. docs/alerts.md#agentoverloaded"
  query_json  = data.honeycombio_query_specification.overloaded.json
  frequency   = 300
  threshold {
    op             = ">"
    value          = 0.02
    exceeded_limit = 3
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "rate_limits" {
  calculation {
    op   = "COUNT"
    name = "calls"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "chat"
    }
  }
  calculation {
    op   = "COUNT"
    name = "limited"
    filter {
      column = "tollgate.fallback.reason"
      op     = "="
      value  = "rate_limited_429"
    }
  }
  formula {
    name       = "share"
    expression = "DIV($limited, $calls)"
  }
  breakdowns = ["gen_ai.provider.name"]
  time_range = 1800
}

resource "honeycombio_trigger" "rate_limits" {
  name        = "AgentRateLimitsClimbing"
  description = "429s in over 2 % of a provider's calls. docs/alerts.md#agentratelimitsclimbing"
  query_json  = data.honeycombio_query_specification.rate_limits.json
  frequency   = 600
  threshold {
    op    = ">"
    value = 0.02
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "refusals" {
  calculation {
    op   = "COUNT"
    name = "calls"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "chat"
    }
  }
  calculation {
    op   = "COUNT"
    name = "refused"
    filter {
      column = "tollgate.fallback.reason"
      op     = "="
      value  = "refusal"
    }
  }
  formula {
    name       = "share"
    expression = "DIV($refused, $calls)"
  }
  breakdowns = ["tenant.id"]
  time_range = 3600
}

resource "honeycombio_trigger" "refusals" {
  name        = "AgentRefusalsTenant"
  description = "Refusals in over 5 % of a tenant's calls. docs/alerts.md#agentrefusalstenant"
  query_json  = data.honeycombio_query_specification.refusals.json
  frequency   = 900
  threshold {
    op    = ">"
    value = 0.05
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

# --- runs, against the same hour yesterday ----------------------------------------------------------------------------

data "honeycombio_query_specification" "run_time" {
  calculation {
    op     = "P95"
    column = "duration_ms"
  }
  filter {
    column = "gen_ai.operation.name"
    op     = "="
    value  = "invoke_agent"
  }
  breakdowns = ["gen_ai.agent.name"]
  time_range = 3600
}

resource "honeycombio_trigger" "run_time" {
  name        = "AgentRunTimeClimbing"
  description = "p95 time per run is over 1.5 times the same hour yesterday. docs/alerts.md#agentruntimeclimbing"
  query_json  = data.honeycombio_query_specification.run_time.json
  frequency   = 900
  threshold {
    op    = ">"
    value = 50
  }
  baseline_details {
    type           = "percentage"
    offset_minutes = 1440
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "failures" {
  calculation {
    op   = "COUNT"
    name = "runs"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "invoke_agent"
    }
  }
  calculation {
    op   = "COUNT"
    name = "failed"
    filter {
      column = "gen_ai.operation.name"
      op     = "="
      value  = "invoke_agent"
    }
    filter {
      column = "error"
      op     = "="
      value  = "true"
    }
  }
  formula {
    name       = "failure_rate"
    expression = "DIV($failed, $runs)"
  }
  breakdowns = ["gen_ai.agent.name"]
  time_range = 3600
}

resource "honeycombio_trigger" "failures" {
  name        = "AgentFailureSpike"
  description = "Over 5 % of an agent's runs failed within an hour. docs/alerts.md#agentfailurespike"
  query_json  = data.honeycombio_query_specification.failures.json
  frequency   = 900
  threshold {
    op    = ">"
    value = 0.05
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "cost_drift" {
  calculation {
    op     = "AVG"
    column = "agent.estimated_cost_usd"
  }
  filter {
    column = "meta.signal_type"
    op     = "="
    value  = "log"
  }
  breakdowns = ["tenant.id"]
  time_range = 21600
}

resource "honeycombio_trigger" "cost_drift" {
  name        = "AgentCostDrift"
  description = "A run of a tenant costs over 1.5 times what it did yesterday. docs/alerts.md#agentcostdrift"
  query_json  = data.honeycombio_query_specification.cost_drift.json
  frequency   = 5400
  threshold {
    op    = ">"
    value = 50
  }
  baseline_details {
    type           = "percentage"
    offset_minutes = 1440
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

# --- agents that handle incidents -------------------------------------------------------------------------------------

data "honeycombio_query_specification" "sre_cost" {
  calculation {
    op     = "SUM"
    column = "agent.estimated_cost_usd"
  }
  # only the summary log: the root span has the same sum, and a revision is the same run
  filter {
    column = "meta.signal_type"
    op     = "="
    value  = "log"
  }
  filter {
    column = "tollgate.run.revision"
    op     = "does-not-exist"
  }
  filter {
    column = "incident.id"
    op     = "exists"
  }
  time_range = 86400
}

resource "honeycombio_trigger" "sre_cost" {
  name        = "SREAgent-CostAnomaly"
  description = "Investigations cost over 50 USD within a day. docs/alerts.md#sreagent-costanomaly"
  query_json  = data.honeycombio_query_specification.sre_cost.json
  frequency   = 21600
  threshold {
    op    = ">"
    value = 50
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "sre_tool_calls" {
  calculation {
    op     = "P95"
    column = "agent.tool_calls_made"
  }
  filter {
    column = "meta.signal_type"
    op     = "="
    value  = "log"
  }
  filter {
    column = "incident.id"
    op     = "exists"
  }
  time_range = 86400
}

resource "honeycombio_trigger" "sre_tool_calls" {
  name        = "SREAgent-ToolCallAnomaly"
  description = "Runs of investigations take over 25 tool calls (p95). docs/alerts.md#sreagent-toolcallanomaly"
  query_json  = data.honeycombio_query_specification.sre_tool_calls.json
  frequency   = 21600
  threshold {
    op    = ">"
    value = 25
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}

data "honeycombio_query_specification" "sre_overrides" {
  calculation {
    op     = "COUNT_DISTINCT"
    column = "incident.id"
    name   = "investigations"
    filter {
      column = "incident.id"
      op     = "exists"
    }
  }
  calculation {
    op     = "COUNT_DISTINCT"
    column = "incident.id"
    name   = "overridden"
    filter {
      column = "agent.outcome"
      op     = "="
      value  = "overridden"
    }
  }
  formula {
    name       = "override_rate"
    expression = "DIV($overridden, $investigations)"
  }
  time_range = 86400
}

resource "honeycombio_trigger" "sre_overrides" {
  name        = "SREAgent-HighOverrideRate"
  description = "Humans decided otherwise in over 5 of 100 investigations of a day. docs/alerts.md#sreagent-highoverriderate"
  query_json  = data.honeycombio_query_specification.sre_overrides.json
  frequency   = 21600
  threshold {
    op    = ">"
    value = 0.05
  }
  dynamic "recipient" {
    for_each = var.recipient_ids
    content {
      id = recipient.value
    }
  }
}
