// Sends gen_ai spans with the official Go SDK and says, per item, whether the receiver said OK. Arguments and output are those of
// send.py, which see (no threads here).
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const sessions = 4

var (
	endpoint = flag.String("endpoint", "", "http://host:port")
	protocol = flag.String("protocol", "grpc", "grpc or http")
	prefix   = flag.String("prefix", "go", "of the ids")
	compress = flag.String("compression", "none", "none or gzip")
	count    = flag.Int("count", 10, "items a signal")
	batch    = flag.Int("batch", 10, "items a request")
	timeout  = flag.Int("timeout", 10, "seconds of one export, retries included")
)

var res = resource.NewSchemaless(attribute.String("service.name", "peer-go"), attribute.String("service.version", "1.0.0"),
	attribute.String("deploy.environment", "test"), attribute.String("tenant.id", "acme"))

type line struct {
	ID      string `json:"id"`
	Signal  string `json:"signal"`
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
	Canary  string `json:"canary"`
}

func canary(id, place string) string {
	sum := sha256.Sum256([]byte(id + "/" + place))
	return "CANARY-" + place + "-" + hex.EncodeToString(sum[:])[:16]
}

func messages(role, content string) string {
	text, _ := json.Marshal([]any{map[string]any{"role": role, "parts": []any{map[string]any{"type": "text", "content": content}}}})
	return string(text)
}

// A chat span of semconv form; every fourth is a tool span.
func attributes(id string, n int) (string, []attribute.KeyValue, string) {
	base := []attribute.KeyValue{attribute.String("test.case.name", id), attribute.String("tenant.id", "acme"),
		attribute.String("gen_ai.conversation.id", fmt.Sprintf("%s-session-%d", *prefix, n%sessions))}
	if n%4 == 3 {
		own := canary(id, "toolargs")
		return "execute_tool lookup", append(base, attribute.String("gen_ai.operation.name", "execute_tool"),
			attribute.String("gen_ai.tool.name", "lookup"), attribute.String("gen_ai.tool.type", "function"),
			attribute.String("gen_ai.tool.call.id", "call_"+id), attribute.String("gen_ai.tool.call.arguments", `{"key": "`+own+`"}`),
			attribute.String("gen_ai.tool.call.result", "found "+canary(id, "toolresult"))), own
	}
	own := canary(id, "prompt")
	return "chat claude-sonnet-4-5", append(base, attribute.String("gen_ai.operation.name", "chat"), attribute.String("gen_ai.provider.name", "anthropic"),
		attribute.String("gen_ai.request.model", "claude-sonnet-4-5"), attribute.String("gen_ai.response.model", "claude-sonnet-4-5"),
		attribute.String("gen_ai.response.id", "msg_"+id), attribute.Int("gen_ai.usage.input_tokens", 100+n%7),
		attribute.Int("gen_ai.usage.output_tokens", 20+n%5), attribute.StringSlice("gen_ai.response.finish_reasons", []string{"end_turn"}),
		attribute.String("gen_ai.input.messages", messages("user", "Ask "+own)),
		attribute.String("gen_ai.output.messages", messages("assistant", "Answer "+canary(id, "completion")))), own
}

// Holds what ended, so that a batch can be given to the exporter by hand and its answer read.
type keep struct{ spans []sdktrace.ReadOnlySpan }

func (k *keep) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (k *keep) OnEnd(span sdktrace.ReadOnlySpan)                { k.spans = append(k.spans, span) }
func (k *keep) Shutdown(context.Context) error                  { return nil }
func (k *keep) ForceFlush(context.Context) error                { return nil }

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

func main() {
	flag.Parse()
	ctx, seconds := context.Background(), time.Duration(*timeout)*time.Second
	// the exporter reads the rest from its own variables
	_ = os.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", *endpoint)
	_ = os.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", fmt.Sprint(1000**timeout))
	_ = os.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", *compress)
	var exporter *otlptrace.Exporter
	if *protocol == "grpc" {
		exporter = must(otlptracegrpc.New(ctx))
	} else {
		exporter = must(otlptracehttp.New(ctx))
	}
	kept := &keep{}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(kept), sdktrace.WithResource(res)).Tracer("peer")
	began, out := time.Now(), json.NewEncoder(os.Stdout)
	sent, ok, failed := 0, 0, 0
	for at := 0; at < *count; at += *batch {
		var lines []line
		for n := at; n < min(at+*batch, *count); n++ {
			id := fmt.Sprintf("%s-traces-%06d", *prefix, n)
			name, attrs, own := attributes(id, n)
			_, span := tracer.Start(ctx, name)
			span.SetAttributes(attrs...)
			span.AddEvent("gen_ai.request.attempt")
			span.End()
			lines = append(lines, line{id, "traces", span.SpanContext().TraceID().String(), span.SpanContext().SpanID().String(), own})
		}
		spans := kept.spans
		kept.spans = nil
		deadline, end := context.WithTimeout(ctx, seconds)
		err := exporter.ExportSpans(deadline, spans)
		end()
		sent += len(lines)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed += len(lines)
			continue
		}
		ok += len(lines)
		for _, one := range lines {
			_ = out.Encode(one)
		}
	}
	_ = out.Encode(map[string]any{"done": true, "sent": sent, "ok": ok, "failed": failed, "seconds": time.Since(began).Seconds()})
	if failed > 0 {
		os.Exit(1)
	}
}
