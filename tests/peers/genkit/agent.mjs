#!/usr/bin/env node
// A flow with tools on Genkit; record_js.py runs it against the mock model.   agent.mjs PLAN
// The last line of the output says which tool calls worked.
import { readFileSync } from 'node:fs'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import openAI from '@genkit-ai/compat-oai/openai'
import { genkit, z } from 'genkit'
import { enableTelemetry, flushTracing } from 'genkit/tracing'

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'))
await enableTelemetry({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] })
const ai = genkit({ plugins: [openAI.openAI ? openAI.openAI() : openAI()] })
const model = openAI.openAI ? openAI.openAI.model(plan.model) : openAI.model(plan.model)

const outcomes = {}
const tools = Object.entries(plan.tools).map(([name, { description, result, error }]) => ai.defineTool(
  { name, description, inputSchema: z.object({ key: z.string() }), outputSchema: z.string() },
  async (_, { toolRequest }) => {
    outcomes[name] = !error
    if (error) throw new Error(error)
    return result
  }))
const planned = async (what) => {
  try {
    await what()
  } catch (error) {
    console.error('as planned:', error.name)
  }
}
ai.defineRetriever({ name: 'shelf' }, async () => ({ documents: [{ content: [{ text: plan.document }], metadata: { source: 'shelf-1' } }] }))
const greet = ai.definePrompt({ name: 'greet', model, input: { schema: z.object({ key: z.string() }) }, prompt: 'Ask the ledger for {{key}}.' })

const flow = ai.defineFlow({ name: 'ledger-agent', inputSchema: z.object({ question: z.string() }), outputSchema: z.string() }, async ({ question }) => {
  const docs = await ai.retrieve({ retriever: 'shelf', query: plan.prompts.retrieve })
  await greet({ key: plan.prompts.variable })
  await ai.generate({ model, system: plan.system, prompt: question, tools: tools.slice(0, 1), docs })
  await planned(() => ai.generate({ model, prompt: plan.prompts.burn, tools: tools.slice(1) }))
  const { stream, response } = ai.generateStream({ model, prompt: plan.prompts.stream })
  for await (const _ of stream);
  await response
  await planned(() => ai.generate({ model, prompt: plan.prompts.fail }))
  return plan.output
})
await flow({ question: plan.prompts.text })
await flushTracing()
console.log(JSON.stringify(outcomes))
process.exit(0)
