//! Tests of the attributes stamped before content is removed, for one conversation as written by the major dialects.

use serde_json::{Value as Json, json};

use super::process::{Bench, Out};

/// The stamps of an item: roles in order, the five token shares, the requesting call.
fn told(out: &Out, at: usize) -> (String, Option<[i64; 5]>, Option<String>) {
    let attributes = out.attributes(at);
    let shape: Json =
        attributes.get("tollgate.content.shape").map_or(Json::Null, |text| serde_json::from_str(text).expect("JSON"));
    let roles = |part: &str| -> Vec<String> {
        let messages = shape[part].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["role"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let roles = ["input", "output", "system", "tools", "tool_args", "tool_result", "other"]
        .iter()
        .filter(|part| shape[**part].is_array())
        .map(|part| format!("{part}:{}", roles(part).join(",")))
        .collect::<Vec<_>>()
        .join(" ");
    let token =
        |name: &str| attributes.get(&format!("tollgate.input.{name}_tokens")).and_then(|text| text.parse().ok());
    let shares = ["system", "tools", "tool_results", "history", "user"].map(token);
    let shares = shares.iter().all(Option::is_some).then(|| shares.map(Option::unwrap_or_default));
    (roles, shares, attributes.get("tollgate.tool.requested_by").cloned())
}

fn text(json: Json) -> Json {
    json.to_string().into()
}

fn span(name: &str, span: u64, attributes: Json) -> Json {
    json!({"name": name, "trace": 1, "span": span, "parent": 9, "attributes": attributes})
}

fn semconv() -> Json {
    json!({"items": [span("chat m", 1, json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 5,
    "gen_ai.system_instructions": text(json!([{"type": "text", "content": "ssss"}])), "gen_ai.tool.definitions": text(json!([{"type": "function", "name": "tttt"}])),
    "gen_ai.input.messages": text(json!([{"role": "user", "parts": [{"type": "text", "content": "hhhh"}]}, {"role": "assistant", "parts": [{"type": "tool_call", "id": "c0", "name": "f", "arguments": {}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c0", "response": "rrrr"}]}, {"role": "user", "parts": [{"type": "text", "content": "uuuu"}]}])),
    "gen_ai.output.messages": text(json!([{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {}}]}]))})),
    span("execute_tool f", 2, json!({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f", "gen_ai.tool.call.id": "c1"}))]})
}

fn openinference() -> Json {
    json!({"scope": {"name": "openinference.instrumentation.openai"}, "items": [span("ChatCompletion", 1, json!({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 100, "llm.token_count.completion": 5,
    "llm.input_messages.0.message.role": "system", "llm.input_messages.0.message.content": "ssss", "llm.input_messages.1.message.role": "user", "llm.input_messages.1.message.content": "hhhh",
    "llm.input_messages.2.message.role": "assistant", "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c0", "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": "{}",
    "llm.input_messages.3.message.role": "tool", "llm.input_messages.3.message.tool_call_id": "c0", "llm.input_messages.3.message.content": "rrrr",
    "llm.input_messages.4.message.role": "user", "llm.input_messages.4.message.contents.0.message_content.type": "text", "llm.input_messages.4.message.contents.0.message_content.text": "uuuu",
    "input.value": text(json!({"messages": [{"role": "user", "content": "all of it once more"}]})),
    "llm.tools.0.tool.json_schema": "{\"name\":\"tttt\"}", "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1", "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "f"})),
    span("f", 2, json!({"openinference.span.kind": "TOOL", "tool.name": "f", "tool_call.id": "c1"}))]})
}

fn openllmetry() -> Json {
    json!({"scope": {"name": "opentelemetry.instrumentation.openai.v1"}, "items": [span("openai.chat", 1, json!({"llm.request.type": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 5,
    "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "ssss", "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "hhhh", "gen_ai.prompt.2.role": "assistant", "gen_ai.prompt.2.tool_calls.0.id": "c0", "gen_ai.prompt.2.tool_calls.0.arguments": "{}",
    "gen_ai.prompt.3.role": "tool", "gen_ai.prompt.3.content": "rrrr", "gen_ai.prompt.3.tool_call_id": "c0", "gen_ai.prompt.4.role": "user", "gen_ai.prompt.4.content": "uuuu",
    "llm.request.functions.0.name": "tttt", "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.tool_calls.0.id": "c1", "gen_ai.completion.0.tool_calls.0.name": "f"})),
    span("f.tool", 2, json!({"traceloop.span.kind": "tool", "traceloop.entity.name": "f", "gen_ai.tool.call.id": "c1"}))]})
}

fn vercel() -> Json {
    json!({"scope": {"name": "ai"}, "items": [span("ai.generateText.doGenerate", 1, json!({"ai.operationId": "ai.generateText.doGenerate", "operation.name": "ai.generateText.doGenerate", "ai.model.id": "gpt-4o", "ai.model.provider": "openai.chat", "ai.usage.inputTokens": 100, "ai.usage.outputTokens": 5,
    "ai.prompt.messages": text(json!([{"role": "system", "content": "ssss"}, {"role": "user", "content": [{"type": "text", "text": "hhhh"}]}, {"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c0", "toolName": "f", "input": {}}]},
        {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "c0", "toolName": "f", "output": "rrrr"}]}, {"role": "user", "content": [{"type": "text", "text": "uuuu"}]}])),
    "ai.prompt.tools": ["{\"type\":\"function\",\"name\":\"tttt\"}"], "ai.response.toolCalls": text(json!([{"toolCallId": "c1", "toolName": "f", "input": "{}"}]))})),
    span("ai.toolCall", 2, json!({"ai.operationId": "ai.toolCall", "operation.name": "ai.toolCall", "ai.toolCall.name": "f", "ai.toolCall.id": "c1"}))]})
}

fn gemini() -> Json {
    json!({"signal": "logs", "scope": {"name": "gemini-cli"}, "items": [{"trace": 1, "span": 1, "attributes": {"event.name": "gemini_cli.api_request", "session.id": "s", "model": "gemini-2.5-pro", "prompt_id": "p",
    "request_text": text(json!([{"role": "user", "parts": [{"text": "hhhh"}]}, {"role": "model", "parts": [{"functionCall": {"id": "c0", "name": "f"}}]}, {"role": "user", "parts": [{"functionResponse": {"id": "c0", "response": {"output": "rrrr"}}}]}, {"role": "user", "parts": [{"text": "uuuu"}]}]))}},
    {"trace": 1, "span": 1, "attributes": {"event.name": "gemini_cli.api_response", "session.id": "s", "model": "gemini-2.5-pro", "prompt_id": "p", "input_token_count": 100, "output_token_count": 5, "response_text": text(json!([{"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "f"}}]}}]}]))}}]})
}

fn pydantic() -> Json {
    json!({"scope": {"name": "pydantic-ai"}, "items": [span("chat gpt-4o", 1, json!({"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 5, "model_request_parameters": "{\"function_tools\":[{\"name\":\"tttt\"}]}",
    "events": text(json!([{"event.name": "gen_ai.system.message", "role": "system", "content": "ssss"}, {"event.name": "gen_ai.user.message", "role": "user", "content": "hhhh"}, {"event.name": "gen_ai.assistant.message", "role": "assistant", "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"event.name": "gen_ai.tool.message", "role": "tool", "id": "c0", "content": "rrrr"}, {"event.name": "gen_ai.user.message", "role": "user", "content": "uuuu"}, {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]))})),
    span("running tool", 2, json!({"gen_ai.tool.name": "f", "gen_ai.tool.call.id": "c1", "tool_arguments": "{}"}))]})
}

fn langsmith() -> Json {
    json!({"scope": {"name": "langsmith"}, "items": [span("ChatOpenAI", 1, json!({"langsmith.span.kind": "llm", "gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 5,
    "gen_ai.prompt": text(json!({"messages": [[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "SystemMessage"], "kwargs": {"content": "ssss", "type": "system"}}, {"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {"content": "hhhh", "type": "human"}},
        {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": "", "type": "ai", "tool_calls": [{"id": "c0", "name": "f", "args": {}}]}}, {"lc": 1, "type": "constructor", "id": ["ToolMessage"], "kwargs": {"content": "rrrr", "type": "tool", "tool_call_id": "c0"}}, {"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {"content": "uuuu", "type": "human"}}]]})),
    "gen_ai.completion": text(json!({"generations": [[{"text": "", "message": {"lc": 1, "type": "constructor", "kwargs": {"content": "", "type": "ai", "tool_calls": [{"id": "c1", "name": "f", "args": {}, "type": "tool_call"}]}}}]]}))})),
    span("f", 2, json!({"langsmith.span.kind": "tool", "gen_ai.tool.call.id": "c1", "gen_ai.operation.name": "execute_tool"}))]})
}

fn logfire() -> Json {
    json!({"scope": {"name": "logfire.openai"}, "items": [span("Chat Completion with {request_data[model]!r}", 1, json!({"gen_ai.system": "openai", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 5, "logfire.msg_template": "Chat Completion with {request_data[model]!r}",
    "request_data": text(json!({"model": "gpt-4o", "tools": [{"name": "tttt"}], "messages": [{"role": "system", "content": "ssss"}, {"role": "user", "content": "hhhh"}, {"role": "assistant", "tool_calls": [{"id": "c0", "type": "function"}]}, {"role": "tool", "content": "rrrr", "tool_call_id": "c0"}, {"role": "user", "content": "uuuu"}]})),
    "response_data": text(json!({"message": {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f"}}]}}))})),
    span("f", 2, json!({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f", "gen_ai.tool.call.id": "c1"}))]})
}

fn codex() -> Json {
    json!({"signal": "logs", "resource": {"service.name": "codex_cli_rs"}, "items": [{"trace": 1, "span": 1, "attributes": {"event.name": "codex.user_prompt", "conversation.id": "s", "prompt": "uuuu"}}, {"trace": 1, "span": 1, "attributes": {"event.name": "codex.tool_result", "conversation.id": "s", "tool_name": "f", "call_id": "c1", "arguments": "{}", "output": "rrrr", "success": "true"}}]})
}

fn claude() -> Json {
    json!({"signal": "logs", "scope": {"name": "com.anthropic.claude_code.events"}, "items": [{"body": "claude_code.user_prompt", "attributes": {"event.name": "user_prompt", "session.id": "s", "prompt": "uuuu"}}, {"body": "claude_code.tool_result", "attributes": {"event.name": "tool_result", "session.id": "s", "tool_name": "Bash", "tool_use_id": "c1", "tool_parameters": "{}"}}]})
}

/// Roles, shares of the billed input and the requesting call are stamped in every dialect: messages as JSON, as indexed
/// attributes, as events, with LangChain's types, and with Google's parts.
#[test]
fn conversations_are_told_in_every_dialect() {
    let all = "system,user,assistant,tool,user";
    let cases: [(&str, Json, String, bool, bool); 10] = [
        ("semconv", semconv(), "input:user,assistant,tool,user output:assistant system:- tools:-".into(), true, true),
        ("openinference", openinference(), format!("input:user,{all} output:assistant tools:-"), true, true),
        ("openllmetry", openllmetry(), format!("input:{all} output:assistant tools:-"), true, true),
        ("vercel", vercel(), format!("input:{all} output:- tools:-"), true, true),
        ("gemini", gemini(), "input:user,model,user,user".into(), false, false),
        ("pydantic", pydantic(), format!("input:{all},assistant tools:-"), true, true),
        ("langsmith", langsmith(), "input:system,human,ai,tool,human output:ai".into(), true, true),
        ("logfire", logfire(), format!("input:{all} output:assistant other:-"), true, true),
        ("codex", codex(), "input:-".into(), false, false),
        ("claude", claude(), "input:-".into(), false, false),
    ];
    for (name, case, roles, shares, asked) in cases {
        let out = Bench::new().pass(&case);
        let (first, second) = (told(&out, 0), told(&out, 1));
        assert_eq!(first.0, roles, "{name}");
        assert_eq!(second.2.as_deref(), asked.then_some("0000000000000001"), "{name}");
        assert_eq!(first.1.is_some(), shares, "{name}");
        let Some([system, _, results, history, user]) = first.1 else { continue };
        assert!([system, results, history, user].into_iter().all(|tokens| tokens > 0), "{name}: {:?}", first.1);
        assert_eq!(first.1.iter().flatten().sum::<i64>(), 100, "{name}");
    }
}
