
ﬁ
 

service.version	
0.169.0

env
test

service.name

codex_exec

	host.name
vm
%
telemetry.sdk.name
opentelemetry
 
telemetry.sdk.language
rust
!
telemetry.sdk.version
0.31.0é

codex_otel.log_onlyÙ	INFO2!

event.name
codex.user_prompt2
prompt_length
792
prompt

[REDACTED]2-
event.timestamp
2026-11-20T12:50:18.061Z29
conversation.id&
$01a1f901-f5e6-7a82-bc36-4e2037ac3ab92
app.version	
0.169.02

originator

codex_exec2
terminal.type
dumb2
model	
gpt-5.52
slug	
gpt-5.5Y>e√?Œ¡Èb/event otel/src/events/session_telemetry.rs:1200