#!/usr/bin/env node
// A small agent on the Vercel AI SDK; record_js.py runs it against the mock model.   agent.mjs PLAN
//
// PLAN: {version: 4…7, vendor: openai | responses | anthropic, model, record: bool, system, session, user, metadata, prompts: {…},
//        tools: {lookup: {description, result}, burn: {description, error}}}
// The last line of the output says which tool calls worked.
import { readFileSync } from 'node:fs'
import { SpanStatusCode, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { NodeSDK } from '@opentelemetry/sdk-node'
import { z } from 'zod'

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const { version } = plan
const sdk = new NodeSDK({ traceExporter: new OTLPTraceExporter() })
sdk.start()

const ai = await import(`ai${version}`)
const maker = plan.vendor === 'anthropic' ? 'anthropic' : 'openai'
const provider = (await import(`${maker}${version}`))[maker === 'anthropic' ? 'createAnthropic' : 'createOpenAI']({
  baseURL: `${process.env.MODEL_URL}/v1`, apiKey: 'dummy',
})
const model = plan.vendor === 'openai' ? provider.chat(plan.model) : plan.vendor === 'responses' ? provider.responses(plan.model) : provider(plan.model)

let telemetry
if (version < 7) {
  const options = {
    isEnabled: true, functionId: 'ledger', recordInputs: plan.record, recordOutputs: plan.record,
    metadata: { sessionId: plan.session, userId: plan.user, tenant: 'acme', note: plan.metadata, tags: ['nightly', 'ledger'] },
  }
  telemetry = { experimental_telemetry: options }
} else {
  const { OpenTelemetry, LegacyOpenTelemetry } = await import('@ai-sdk/otel')
  ai.registerTelemetry(plan.legacy ? new LegacyOpenTelemetry() : new OpenTelemetry())
  const shown = { sessionId: true, userId: true, note: true }
  telemetry = {
    runtimeContext: { sessionId: plan.session, userId: plan.user, note: plan.metadata },
    telemetry: { functionId: 'ledger', recordInputs: plan.record, recordOutputs: plan.record, includeRuntimeContext: shown },
  }
}

const outcomes = {}
function tool(name) {
  const { description, result, error } = plan.tools[name]
  const schema = z.object({ key: z.string().describe('The key') })
  return ai.tool({
    description, [version === 4 ? 'parameters' : 'inputSchema']: schema,
    execute: async (_, { toolCallId }) => {
      outcomes[toolCallId] = !error
      if (error) throw new Error(error)
      return { found: result }
    },
  })
}
const loop = version === 4 ? { maxSteps: 4 } : { stopWhen: ai.stepCountIs(4) }
const common = { model, system: plan.system, ...telemetry, maxRetries: 1 }
const planned = async (what) => {
  try {
    await what()
  } catch (error) {
    console.error('as planned:', error.name)
  }
}

await trace.getTracer('ledger-agent').startActiveSpan('agent.run', { attributes: { 'session.id': plan.session, 'tenant.id': 'acme' } }, async (span) => {
  await ai.generateText({ ...common, ...loop, prompt: plan.prompts.text, tools: { lookup: tool('lookup') } })
  // up to version 4 a tool that throws ends the run
  await planned(() => ai.generateText({ ...common, ...loop, prompt: plan.prompts.burn, tools: { burn: tool('burn') } }))
  const stream = ai.streamText({
    ...common, ...loop, messages: [{ role: 'user', content: [{ type: 'text', text: plan.prompts.stream }] }], tools: { lookup: tool('lookup') },
  })
  for await (const _ of stream.textStream);
  const schema = z.object({ key: z.string() })
  await ai.generateObject({ ...common, schema, schemaName: 'entry', schemaDescription: plan.schema, prompt: plan.prompts.object })
  if (plan.vendor !== 'anthropic') {
    const embedding = provider.textEmbeddingModel?.('text-embedding-3-small') ?? provider.embedding('text-embedding-3-small')
    const { runtimeContext, ...rest } = telemetry
    await ai.embedMany({ model: embedding, values: [plan.prompts.embed], ...rest })
  }
  await planned(() => ai.generateText({ ...common, prompt: plan.prompts.fail }))
  span.setStatus({ code: SpanStatusCode.OK })
  span.end()
})
await sdk.shutdown()
console.log(JSON.stringify(outcomes))
