// Sends gen_ai telemetry with the official Go SDK and says, per item, whether the receiver said OK. Arguments and output are those of
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
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	otelmetric "go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const sessions = 4

var (
	endpoint = flag.String("endpoint", "", "http://host:port")
	protocol = flag.String("protocol", "grpc", "grpc or http")
	signals  = flag.String("signals", "traces", "of traces,logs,metrics")
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
type keep struct {
	spans   []sdktrace.ReadOnlySpan
	records []sdklog.Record
}

func (k *keep) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (k *keep) OnEnd(span sdktrace.ReadOnlySpan)                { k.spans = append(k.spans, span) }
func (k *keep) OnEmit(_ context.Context, record *sdklog.Record) error {
	k.records = append(k.records, record.Clone())
	return nil
}
func (k *keep) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (k *keep) Shutdown(context.Context) error                         { return nil }
func (k *keep) ForceFlush(context.Context) error                       { return nil }

// A signal: how an item is made, and how a batch is sent.
type kind struct {
	make func(id string, n int) line
	send func(context.Context) error
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

func traces(ctx context.Context) kind {
	var exporter *otlptrace.Exporter
	if *protocol == "grpc" {
		exporter = must(otlptracegrpc.New(ctx))
	} else {
		exporter = must(otlptracehttp.New(ctx))
	}
	kept := &keep{}
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(kept), sdktrace.WithResource(res)).Tracer("peer")
	return kind{
		make: func(id string, n int) line {
			name, attrs, own := attributes(id, n)
			_, span := tracer.Start(ctx, name)
			span.SetAttributes(attrs...)
			span.AddEvent("gen_ai.request.attempt")
			span.End()
			at := span.SpanContext()
			return line{id, "traces", at.TraceID().String(), at.SpanID().String(), own}
		},
		send: func(ctx context.Context) error {
			spans := kept.spans
			kept.spans = nil
			return exporter.ExportSpans(ctx, spans)
		},
	}
}

func logs(ctx context.Context) kind {
	var exporter sdklog.Exporter
	if *protocol == "grpc" {
		exporter = must(otlploggrpc.New(ctx))
	} else {
		exporter = must(otlploghttp.New(ctx))
	}
	kept := &keep{}
	logger := sdklog.NewLoggerProvider(sdklog.WithProcessor(kept), sdklog.WithResource(res)).Logger("peer")
	return kind{
		make: func(id string, n int) line {
			_, attrs, own := attributes(id, n/4*4)
			var record log.Record
			record.SetTimestamp(time.Now())
			record.SetSeverity(log.SeverityInfo)
			record.SetEventName("gen_ai.client.inference.operation.details")
			record.SetBody(attribute.MapValue(attribute.String("content", own)))
			record.AddAttributes(attrs...)
			logger.Emit(ctx, record)
			return line{id, "logs", "", "", own}
		},
		send: func(ctx context.Context) error {
			records := kept.records
			kept.records = nil
			return exporter.Export(ctx, records)
		},
	}
}

func metrics(ctx context.Context) kind {
	delta := func(metric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }
	var exporter metric.Exporter
	if *protocol == "grpc" {
		exporter = must(otlpmetricgrpc.New(ctx))
	} else {
		exporter = must(otlpmetrichttp.New(ctx))
	}
	reader := metric.NewManualReader(metric.WithTemporalitySelector(delta))
	meter := metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(res), metric.WithCardinalityLimit(1_000_000)).Meter("peer")
	counter := must(meter.Int64Counter("gen_ai.client.calls"))
	return kind{
		make: func(id string, _ int) line {
			own := canary(id, "metric")
			counter.Add(ctx, 1, otelmetric.WithAttributes(attribute.String("test.case.name", id),
				attribute.String("gen_ai.request.model", "claude-sonnet-4-5"), attribute.String("gen_ai.prompt", own)))
			return line{id, "metrics", "", "", own}
		},
		send: func(ctx context.Context) error {
			var collected metricdata.ResourceMetrics
			if err := reader.Collect(ctx, &collected); err != nil {
				return err
			}
			return exporter.Export(ctx, &collected)
		},
	}
}

func main() {
	flag.Parse()
	ctx, seconds := context.Background(), time.Duration(*timeout)*time.Second
	// the exporters read the rest from their own variables
	_ = os.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", *endpoint)
	_ = os.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", fmt.Sprint(1000**timeout))
	_ = os.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", *compress)
	kinds := map[string]func(context.Context) kind{"traces": traces, "logs": logs, "metrics": metrics}
	began, out := time.Now(), json.NewEncoder(os.Stdout)
	sent, ok, failed := 0, 0, 0
	for _, signal := range strings.Split(*signals, ",") {
		k := kinds[signal](ctx)
		for at := 0; at < *count; at += *batch {
			var lines []line
			for n := at; n < min(at+*batch, *count); n++ {
				lines = append(lines, k.make(fmt.Sprintf("%s-%s-%06d", *prefix, signal, n), n))
			}
			deadline, end := context.WithTimeout(ctx, seconds)
			err := k.send(deadline)
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
	}
	_ = out.Encode(map[string]any{"done": true, "sent": sent, "ok": ok, "failed": failed, "seconds": time.Since(began).Seconds()})
	if failed > 0 {
		os.Exit(1)
	}
}
