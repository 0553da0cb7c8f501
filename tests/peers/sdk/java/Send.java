import static io.opentelemetry.api.common.AttributeKey.longKey;
import static io.opentelemetry.api.common.AttributeKey.stringArrayKey;

import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.AttributesBuilder;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.ReadWriteSpan;
import io.opentelemetry.sdk.trace.ReadableSpan;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.SpanProcessor;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * Sends gen_ai spans with the official Java SDK and prints each item that the receiver acknowledged. {@code
 * send.py} documents arguments and output. With {@code --shutdown}, the SDK's own batch processor sends when its
 * provider ends.
 */
public final class Send {
    static final int SESSIONS = 4;
    static final String MODEL = "claude-sonnet-4-5";
    static final Set<String> NAMES = Set.of("--endpoint", "--protocol", "--compression", "--prefix", "--count", "--batch",
            "--timeout", "--shutdown");

    static String endpoint, compression, prefix;
    static boolean grpc, shutdown;
    static Duration timeout;

    static final Resource RESOURCE = Resource.getDefault().merge(Resource.create(Attributes.builder().put("service.name", "peer-java")
            .put("service.version", "1.0.0").put("deploy.environment", "test").put("tenant.id", "acme").build()));

    record Line(String id, String signal, String traceId, String spanId, String canary) {
        void print() {
            System.out.printf("{\"id\": \"%s\", \"signal\": \"%s\", \"trace_id\": \"%s\", \"span_id\": \"%s\", \"canary\": \"%s\"}%n",
                    id, signal, traceId, spanId, canary);
        }
    }

    /** A span's or log's name, attributes and canary. */
    record Item(String name, Attributes attributes, String canary) {}

    static String canary(String id, String place) {
        try {
            byte[] sum = MessageDigest.getInstance("SHA-256").digest((id + "/" + place).getBytes(StandardCharsets.UTF_8));
            return "CANARY-" + place + "-" + HexFormat.of().formatHex(sum).substring(0, 16);
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    static String messages(String role, String content) {
        return "[{\"role\": \"" + role + "\", \"parts\": [{\"type\": \"text\", \"content\": \"" + content + "\"}]}]";
    }

    /** A chat span in the form of the semantic conventions; every fourth is a tool span. */
    static Item item(String id, int n) {
        AttributesBuilder out = Attributes.builder().put("test.case.name", id).put("tenant.id", "acme")
                .put("gen_ai.conversation.id", prefix + "-session-" + n % SESSIONS);
        if (n % 4 == 3) {
            String own = canary(id, "toolargs");
            out.put("gen_ai.operation.name", "execute_tool").put("gen_ai.tool.name", "lookup").put("gen_ai.tool.type", "function")
                    .put("gen_ai.tool.call.id", "call_" + id).put("gen_ai.tool.call.arguments", "{\"key\": \"" + own + "\"}")
                    .put("gen_ai.tool.call.result", "found " + canary(id, "toolresult"));
            return new Item("execute_tool lookup", out.build(), own);
        }
        String own = canary(id, "prompt");
        out.put("gen_ai.operation.name", "chat").put("gen_ai.provider.name", "anthropic").put("gen_ai.request.model", MODEL)
                .put("gen_ai.response.model", MODEL).put("gen_ai.response.id", "msg_" + id)
                .put(longKey("gen_ai.usage.input_tokens"), 100 + n % 7).put(longKey("gen_ai.usage.output_tokens"), 20 + n % 5)
                .put(stringArrayKey("gen_ai.response.finish_reasons"), List.of("end_turn"))
                .put("gen_ai.input.messages", messages("user", "Ask " + own))
                .put("gen_ai.output.messages", messages("assistant", "Answer " + canary(id, "completion")));
        return new Item("chat " + MODEL, out.build(), own);
    }

    /** Holds spans that ended, so that a batch can be given to the exporter by hand and its answer read. */
    static final class KeptSpans implements SpanProcessor {
        final List<SpanData> items = new ArrayList<>();

        @Override
        public void onStart(Context parent, ReadWriteSpan span) {}

        @Override
        public boolean isStartRequired() {
            return false;
        }

        @Override
        public void onEnd(ReadableSpan span) {
            items.add(span.toSpanData());
        }

        @Override
        public boolean isEndRequired() {
            return true;
        }
    }

    static Line made(Tracer tracer, String id, int n) {
        Item item = item(id, n);
        Span span = tracer.spanBuilder(item.name()).setAllAttributes(item.attributes()).startSpan();
        span.addEvent("gen_ai.request.attempt", Attributes.of(longKey("attempt"), 1L));
        span.end();
        return new Line(id, "traces", span.getSpanContext().getTraceId(), span.getSpanContext().getSpanId(), item.canary());
    }

    static Map<String, String> arguments(String[] given) {
        Map<String, String> out = new HashMap<>();
        for (int at = 0; at < given.length; at++) {
            if (!NAMES.contains(given[at])) {
                System.err.println("unknown argument " + given[at]);
                System.exit(2);
            }
            out.put(given[at], given[at].equals("--shutdown") ? "" : given[++at]);
        }
        return out;
    }

    static int sent, ok;

    static void answered(CompletableResultCode result, Collection<Line> lines) {
        // a result that never comes must not keep the program
        result.join(60, TimeUnit.SECONDS);
        sent += lines.size();
        if (result.isSuccess()) {
            ok += lines.size();
            lines.forEach(Line::print);
            System.out.flush();
        } else if (result.getFailureThrowable() != null) {
            System.err.println(result.getFailureThrowable().getMessage());
        }
    }

    public static void main(String[] given) {
        Map<String, String> a = arguments(given);
        endpoint = a.get("--endpoint").replaceAll("/+$", "");
        grpc = a.getOrDefault("--protocol", "grpc").equals("grpc");
        compression = a.getOrDefault("--compression", "none");
        prefix = a.getOrDefault("--prefix", "java");
        shutdown = a.containsKey("--shutdown");
        timeout = Duration.ofMillis((long) (1000 * Double.parseDouble(a.getOrDefault("--timeout", "10"))));
        int count = Integer.parseInt(a.getOrDefault("--count", "10")), batch = Integer.parseInt(a.getOrDefault("--batch", "10"));
        SpanExporter exporter = grpc
                ? OtlpGrpcSpanExporter.builder().setEndpoint(endpoint).setTimeout(timeout).setCompression(compression).build()
                : OtlpHttpSpanExporter.builder().setEndpoint(endpoint + "/v1/traces").setTimeout(timeout).setCompression(compression).build();
        KeptSpans kept = new KeptSpans();
        SdkTracerProvider provider = SdkTracerProvider.builder().setResource(RESOURCE)
                .addSpanProcessor(shutdown ? BatchSpanProcessor.builder(exporter).build() : kept).build();
        Tracer tracer = provider.get("peer");
        long began = System.nanoTime();
        List<Line> lines = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            lines.add(made(tracer, String.format("%s-traces-%06d", prefix, n), n));
            if (!shutdown && (lines.size() == batch || n + 1 == count)) {
                answered(exporter.export(List.copyOf(kept.items)), lines);
                kept.items.clear();
                lines.clear();
            }
        }
        if (shutdown) {
            answered(provider.shutdown(), lines);
        }
        System.out.printf(Locale.ROOT, "{\"done\": true, \"sent\": %d, \"ok\": %d, \"failed\": %d, \"seconds\": %.3f}%n", sent, ok,
                sent - ok, (System.nanoTime() - began) / 1e9);
        System.out.flush();
        // okhttp's threads would keep the program for a minute
        System.exit(sent > ok ? 1 : 0);
    }
}
