#!/usr/bin/env node
// An agent with tools and a workflow on Mastra; record_js.py runs it against the mock model.   agent.mjs PLAN
// The last line of the output says which tools worked.
import { readFileSync } from 'node:fs'
import { createOpenAI } from '@ai-sdk/openai'
import { Mastra } from '@mastra/core'
import { Agent } from '@mastra/core/agent'
import { createTool } from '@mastra/core/tools'
import { createStep, createWorkflow } from '@mastra/core/workflows'
import { Observability } from '@mastra/observability'
import { OtelExporter } from '@mastra/otel-exporter'
import { z } from 'zod'

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const model = createOpenAI({ baseURL: `${process.env.MODEL_URL}/v1`, apiKey: 'dummy' }).responses(plan.model)
const outcomes = {}
// what is called `key` Mastra itself replaces by [REDACTED]
const tools = Object.fromEntries(Object.entries(plan.tools).map(([name, { description, result, error }]) => [name, createTool({
  id: name, description, inputSchema: z.object({ entry: z.string() }),
  execute: async () => {
    outcomes[name] = !error
    if (error) throw new Error(error)
    return { found: result }
  },
})]))
const ledger = new Agent({ id: 'ledger-agent', name: 'ledger-agent', instructions: plan.system, model, tools, maxRetries: 0 })
const step = createStep({
  id: 'shelve', inputSchema: z.object({ topic: z.string() }), outputSchema: z.object({ place: z.string() }),
  execute: async ({ inputData }) => ({ place: `${inputData.topic} goes to ${plan.place}` }),
})
const workflow = createWorkflow({ id: 'shelving', inputSchema: z.object({ topic: z.string() }), outputSchema: z.object({ place: z.string() }) }).then(step).commit()
const endpoint = `${process.env.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces`
const observability = new Observability({
  configs: { otel: { serviceName: 'ledger-agent', exporters: [new OtelExporter({ provider: { custom: { endpoint, protocol: 'http/protobuf' } } })] } },
})
const mastra = new Mastra({ agents: { ledger }, workflows: { workflow }, observability, logger: false })

const agent = mastra.getAgent('ledger')
const tracingOptions = { metadata: { sessionId: plan.session, userId: plan.user, note: plan.metadata }, tags: ['nightly'] }
await agent.generate(plan.prompts.agent, { tracingOptions, maxSteps: 4 })
const stream = await agent.stream(plan.prompts.stream, { tracingOptions })
for await (const _ of stream.textStream);
const run = await mastra.getWorkflow('workflow').createRun()
await run.start({ inputData: { topic: plan.prompts.topic }, tracingOptions })
try {
  await agent.generate(plan.prompts.fail, { tracingOptions })
} catch (error) {
  console.error('as planned:', error.name)
}
await observability.shutdown()
console.log(JSON.stringify(outcomes))
process.exit(0)
