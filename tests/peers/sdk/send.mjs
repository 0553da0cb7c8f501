#!/usr/bin/env node
// Sends gen_ai telemetry with the official JavaScript SDK over OTLP/JSON and says, per item, whether the receiver said OK.
//
//   node send.mjs --endpoint http://127.0.0.1:4318 --count 100 [--signals traces,logs,metrics]
//
// Arguments and output are those of send.py (no grpc here, no threads); install.sh copies this file beside its modules.
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { SeverityNumber } from '@opentelemetry/api-logs'
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { LoggerProvider } from '@opentelemetry/sdk-logs'
import { AggregationTemporality, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base'

const text = (fallback) => ({ type: 'string', default: fallback })
const { values: a } = parseArgs({
  options: {
    endpoint: text(), count: text('10'), batch: text('10'), signals: text('traces'), prefix: text('js'), timeout: text('10'),
    compression: text('none'),
  },
})
if (!a.endpoint) {
  console.error('--endpoint is missing')
  process.exit(2)
}

const SESSIONS = 4
const resource = resourceFromAttributes({
  'service.name': 'peer-javascript', 'service.version': '1.0.0', 'deploy.environment': 'test', 'tenant.id': 'acme',
})
const canary = (id, place) => `CANARY-${place}-${createHash('sha256').update(`${id}/${place}`).digest('hex').slice(0, 16)}`
const messages = (role, content) => JSON.stringify([{ role, parts: [{ type: 'text', content }] }])

/** A chat span of semconv form; every fourth is a tool span. */
function attributes(id, n) {
  const base = { 'test.case.name': id, 'gen_ai.conversation.id': `${a.prefix}-session-${n % SESSIONS}`, 'tenant.id': 'acme' }
  if (n % 4 === 3) {
    const own = canary(id, 'toolargs')
    return ['execute_tool lookup', {
      ...base, 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'lookup', 'gen_ai.tool.type': 'function',
      'gen_ai.tool.call.id': `call_${id}`, 'gen_ai.tool.call.arguments': JSON.stringify({ key: own }),
      'gen_ai.tool.call.result': 'found ' + canary(id, 'toolresult'),
    }, own]
  }
  const own = canary(id, 'prompt')
  return ['chat claude-sonnet-4-5', {
    ...base, 'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'anthropic', 'gen_ai.request.model': 'claude-sonnet-4-5',
    'gen_ai.response.model': 'claude-sonnet-4-5', 'gen_ai.response.id': `msg_${id}`, 'gen_ai.usage.input_tokens': 100 + (n % 7),
    'gen_ai.usage.output_tokens': 20 + (n % 5), 'gen_ai.response.finish_reasons': ['end_turn'],
    'gen_ai.input.messages': messages('user', `Ask ${own}`),
    'gen_ai.output.messages': messages('assistant', 'Answer ' + canary(id, 'completion')),
  }, own]
}

const options = (signal) => ({
  url: `${a.endpoint.replace(/\/$/, '')}/v1/${signal}`, timeoutMillis: Number(a.timeout) * 1000, compression: a.compression,
})
const exported = (exporter, batch) => new Promise((done) => exporter.export(batch, (result) => done(result.code === 0)))

/** Holds what ended, so that a batch can be given to the exporter by hand and its answer read. */
class Keep {
  items = []
  onStart() {}
  onEnd(item) { this.items.push(item) }
  onEmit(item) { this.items.push(item) }
  async forceFlush() {}
  async shutdown() {}
  take() { return this.items.splice(0) }
}

class Reader extends MetricReader {
  async onForceFlush() {}
  async onShutdown() {}
}

const kinds = {
  traces() {
    const keep = new Keep()
    const tracer = new BasicTracerProvider({ resource, spanProcessors: [keep] }).getTracer('peer', '1.0.0')
    const exporter = new OTLPTraceExporter(options('traces'))
    return {
      make(id, n) {
        const [name, attrs, own] = attributes(id, n)
        const span = tracer.startSpan(name, { attributes: attrs })
        span.addEvent('gen_ai.request.attempt', { attempt: 1 })
        span.end()
        const { traceId, spanId } = span.spanContext()
        return { id, signal: 'traces', trace_id: traceId, span_id: spanId, canary: own }
      },
      send: () => exported(exporter, keep.take()),
    }
  },
  logs() {
    const keep = new Keep()
    const logger = new LoggerProvider({ resource, processors: [keep] }).getLogger('peer', '1.0.0')
    const exporter = new OTLPLogExporter(options('logs'))
    return {
      make(id, n) {
        const [, attrs, own] = attributes(id, 0)
        attrs['gen_ai.conversation.id'] = `${a.prefix}-session-${n % SESSIONS}`
        logger.emit({
          severityNumber: SeverityNumber.INFO, eventName: 'gen_ai.client.inference.operation.details', body: { content: own }, attributes: attrs,
        })
        return { id, signal: 'logs', trace_id: '', span_id: '', canary: own }
      },
      send: () => exported(exporter, keep.take()),
    }
  },
  metrics() {
    const reader = new Reader({ aggregationTemporalitySelector: () => AggregationTemporality.DELTA, cardinalitySelector: () => 1_000_000 })
    const counter = new MeterProvider({ resource, readers: [reader] }).getMeter('peer', '1.0.0').createCounter('gen_ai.client.calls')
    const exporter = new OTLPMetricExporter(options('metrics'))
    return {
      make(id) {
        const own = canary(id, 'metric')
        counter.add(1, { 'test.case.name': id, 'gen_ai.request.model': 'claude-sonnet-4-5', 'gen_ai.prompt': own })
        return { id, signal: 'metrics', trace_id: '', span_id: '', canary: own }
      },
      send: async () => exported(exporter, (await reader.collect()).resourceMetrics),
    }
  },
}

const began = performance.now()
const counts = { sent: 0, ok: 0, failed: 0 }
const [count, batch] = [Number(a.count), Number(a.batch)]
for (const signal of a.signals.split(',')) {
  const kind = kinds[signal]()
  for (let at = 0; at < count; at += batch) {
    const lines = []
    for (let n = at; n < Math.min(at + batch, count); n++) lines.push(kind.make(`${a.prefix}-${signal}-${String(n).padStart(6, '0')}`, n))
    const ok = await kind.send()
    counts.sent += lines.length
    counts[ok ? 'ok' : 'failed'] += lines.length
    if (ok) process.stdout.write(lines.map((line) => JSON.stringify(line) + '\n').join(''))
  }
}
console.log(JSON.stringify({ done: true, ...counts, seconds: Number(((performance.now() - began) / 1000).toFixed(3)) }))
process.exitCode = counts.failed ? 1 : 0
