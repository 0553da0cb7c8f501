
¡
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
0.31.0r

codex_otel::metrics::clientQDEBUG*
flushing OTEL metricsY4‘L{Œ¡Èb$event otel/src/metrics/client.rs:324