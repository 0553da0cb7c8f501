"""What is played in each recorded session: the prompts, the model's steps, the canaries.

A canary is `CANARY-<place>-<16 hex>`; the hex is derived from session and place, so a repeated recording has the same ones.
In the tables below `{toolargs}` stands for the canary of place `toolargs` of that session.
"""
import hashlib

ALL_CONTENT = {
    "OTEL_LOG_USER_PROMPTS": "1",
    "OTEL_LOG_ASSISTANT_RESPONSES": "1",
    "OTEL_LOG_TOOL_DETAILS": "1",
    "OTEL_LOG_TOOL_CONTENT": "1",
}


def usage(i, out, read=0, w5=0, w1=0):
    return {"in": i, "out": out, "read": read, "w5": w5, "w1": w1}


def bash(command, description):
    return ("Bash", {"command": command, "description": description})


PLAIN_STEPS = [
    {"think": "I reason about {thinking} first.", "say": "I will look, says {completion1}.",
     "tools": [bash("echo {toolargs} && cat notes.txt", "Show notes {tooldesc}")],
     "usage": usage(120, 42, read=900, w5=30, w1=2000)},
    {"tools": [("Read", {"file_path": "{{cwd}}/{filename}.txt"})], "usage": usage(17, 61, read=2930, w5=0, w1=450)},
    {"tools": [bash("sh fail.sh {failargs}", "Fail on purpose")], "usage": usage(9, 33, read=3380, w5=77, w1=0)},
    {"say": "All done: {completion}.", "usage": usage(23, 128, read=3457, w5=0, w1=1)},
]

SESSIONS = {
    # the main one: two and more calls, tools that work, one that fails
    "plain": {
        "model": "claude-sonnet-4-5",
        "env": ALL_CONTENT,
        "prompts": ["Look at the notes for {prompt} please."],
        "lanes": {"main": {"marker": "{prompt}", "steps": PLAIN_STEPS}},
    },
    # two models, a sub-agent, an MCP tool, a denied tool, an overloaded server, hooks, a second prompt, an outside trace
    "mixed": {
        "model": "claude-opus-4-8",
        "env": {**ALL_CONTENT, "TRACEPARENT": "00-7011a7e0000000000000000000000001-00f067aa0ba902b7-01"},
        "hooks": True,
        "mcp": True,
        "agent": {"name": "digger", "model": "claude-haiku-4-5", "description": "Digs in files",
                  "prompt": "You dig. {agentsystem}"},
        "prompts": ["Dig for {prompt} with a helper.", "And now sum up {prompt2}."],
        "lanes": {
            "sub": {"marker": "{subprompt}", "steps": [
                {"tools": [bash("echo {subtoolargs}", "Dig")], "usage": usage(310, 25, read=0, w5=1200, w1=0)},
                {"say": "Found {subcompletion}.", "usage": usage(12, 40, read=1200, w5=64, w1=0)},
            ]},
            "main": {"marker": "{prompt}", "steps": [
                {"error": 529, "type": "overloaded_error", "message": "Overloaded {apierror}",
                 "headers": [("retry-after", "1")]},
                {"tools": [("Agent", {"subagent_type": "digger", "description": "Dig {subdesc}",
                                      "prompt": "Dig here: {subprompt}", "run_in_background": False})],
                 "usage": usage(201, 88, read=0, w5=0, w1=5200)},
                {"say": "Both at once {completion1}.", "tools": [
                    ("mcp__vaultdb__lookup", {"key": "{mcpargs}"}), bash("curl http://127.0.0.1:9/{deniedargs}", "Fetch")],
                 "usage": usage(31, 140, read=5200, w5=0, w1=610)},
                {"say": "First part: {completion}.", "usage": usage(14, 75, read=5810, w5=9, w1=300)},
                {"say": "Summary: {completion2}.", "usage": usage(44, 210, read=6119, w5=0, w1=120)},
            ]},
        },
    },
    # the detailed traces and the raw API bodies: every switch that exists. These carry the system prompt and the tool
    # definitions in full, so both are ours here (replaced prompt, MCP tool only): the vendor's text is not ours to commit
    "detailed": {
        "model": "claude-sonnet-5",
        "env": {**ALL_CONTENT, "OTEL_LOG_RAW_API_BODIES": "1", "ENABLE_BETA_TRACING_DETAILED": "1",
                "BETA_TRACING_ENDPOINT": "{{sink}}"},
        "mcp": True,
        "arguments": ["--system-prompt", "You are a test. {ownsystem}", "--tools", ""],
        "prompts": ["Detail {prompt}."],
        "lanes": {"main": {"marker": "{prompt}", "steps": [
            {"think": "Deep thought {thinking}.", "say": "I look it up {completion1}.",
             "tools": [("mcp__vaultdb__lookup", {"key": "{mcpargs}"})], "usage": usage(77, 20, read=0, w5=0, w1=9000)},
            {"say": "Detailed answer {completion}.", "usage": usage(5, 50, read=9000, w5=0, w1=180)},
        ]}},
    },
    # OTLP/JSON, and a model with a long-context price: the last call is over its limit of 100,000 input tokens
    "json": {
        "model": "claude-haiku-5-5",
        "protocol": "http/json",
        "env": ALL_CONTENT,
        "prompts": ["In JSON: {prompt}."],
        "lanes": {"main": {"marker": "{prompt}", "steps": [
            {"tools": [bash("echo {toolargs}", "Say")], "usage": usage(1000, 10, read=98000, w5=0, w1=1000)},
            {"say": "Long {completion}.", "usage": usage(2001, 1000, read=99000, w5=0, w1=4000)},
        ]}},
    },
    # no content switch at all: what leaks all the same
    "quiet": {
        "model": "claude-sonnet-4-5",
        "env": {},
        "prompts": ["Quietly look for {prompt}."],
        "lanes": {"main": {"marker": "{prompt}", "steps": PLAIN_STEPS}},
    },
    # the model refuses for good: a turn that ends in an error
    "failing": {
        "model": "claude-sonnet-4-5",
        "env": ALL_CONTENT,
        "prompts": ["This fails: {prompt}."],
        "lanes": {"main": {"marker": "{prompt}", "steps": [
            {"tools": [bash("echo {toolargs}", "Once")], "usage": usage(50, 7, read=0, w5=10, w1=0)},
            *[{"error": 400, "type": "invalid_request_error", "message": "Bad input {apierror}"}] * 40,
        ]}},
    },
    # the model is overloaded until the client gives up and takes another one
    "fallback": {
        "model": "claude-opus-4-8",
        "env": {**ALL_CONTENT, "CLAUDE_CODE_MAX_RETRIES": "4"},
        "arguments": ["--fallback-model", "claude-haiku-4-5"],
        "prompts": ["Never mind the load: {prompt}."],
        "lanes": {
            "overloaded": {"marker": "{prompt}", "model": "claude-opus-4-8", "steps": [
                {"error": 529, "type": "overloaded_error", "message": "Overloaded {apierror}", "headers": [("retry-after", "0")]}
            ] * 12},
            "main": {"marker": "{prompt}", "model": "claude-haiku-4-5", "steps": [
                {"say": "From the other model: {completion}.", "usage": usage(400, 30, read=0, w5=800, w1=0)}]},
        },
    },
    # overloaded, retried, given up; then, in a second turn, a refusal
    "refused": {
        "model": "claude-opus-4-8",
        "env": {**ALL_CONTENT, "CLAUDE_CODE_MAX_RETRIES": "1"},
        "prompts": ["Too much: {prompt}.", "Not allowed: {prompt2}."],
        "lanes": {"main": {"marker": "{prompt}", "steps": [
            *[{"error": 529, "type": "overloaded_error", "message": "Overloaded {apierror}",
               "headers": [("retry-after", "0")]}] * 2,
            {"say": "I will not {completion}.", "stop": "refusal", "usage": usage(90, 8, read=0, w5=0, w1=300)},
            {"say": "Then this instead {completion2}.", "usage": usage(95, 12, read=300, w5=0, w1=20)},
        ]}},
    },
    # a file edited twice and another one written, then the context compacted by hand, then a last prompt
    "edits": {
        "model": "claude-sonnet-4-5",
        "env": ALL_CONTENT,
        "prompts": ["Edit the notes for {prompt}.", "/compact keep {compactargs}", "Go on with {prompt2}."],
        "lanes": {"main": {"marker": "{prompt}", "steps": [
            {"tools": [("Read", {"file_path": "{{cwd}}/notes.txt"})], "usage": usage(60, 20, read=0, w5=0, w1=700)},
            {"tools": [("Edit", {"file_path": "{{cwd}}/notes.txt", "old_string": "first line\n",
                                 "new_string": "first {editnew}\nsecond\nthird\n"})],
             "usage": usage(12, 70, read=700, w5=0, w1=90)},
            {"tools": [("Edit", {"file_path": "{{cwd}}/notes.txt", "old_string": "second\nthird\n", "new_string": ""}),
                       ("Write", {"file_path": "{{cwd}}/more.txt", "content": "a\nb {writenew}\n"})],
             "usage": usage(14, 80, read=790, w5=0, w1=60)},
            {"say": "Edited: {completion}.", "usage": usage(9, 30, read=850, w5=0, w1=40)},
            {"say": "<summary>Notes were edited {summary}.</summary>", "usage": usage(900, 210, read=890, w5=0, w1=0)},
        ]}, "after": {"marker": "{prompt2}", "anywhere": True, "steps": [
            {"say": "Gone on: {completion2}.", "usage": usage(300, 15, read=0, w5=0, w1=400)},
        ]}},
    },
}

# What stands in the project folder of every session; `notes.txt` and the file that Read opens are tool results.
FILES = {
    "notes.txt": "first line\nthe notes say {toolresult}\n",
    "{filename}.txt": "alpha\n{fileread}\nomega\n",
    "fail.sh": 'echo "got $1" >&2\necho "{toolerror}" >&2\nexit 3\n',
    "CLAUDE.md": "Project memory: {memory}\n",
}
SYSTEM = "Appended system text {system}."


def canary(session, place):
    return f"CANARY-{place}-{hashlib.sha256(f'tollgate/{session}/{place}'.encode()).hexdigest()[:16]}"


class Canaries(dict):
    """Fills `{place}` and remembers every place it was asked for."""

    def __init__(self, session):
        super().__init__()
        self.session = session

    def __missing__(self, place):
        self[place] = canary(self.session, place)
        return self[place]

    def fill(self, value):
        if isinstance(value, str):
            return value.format_map(self)
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fill(v) for v in value]
        return value
