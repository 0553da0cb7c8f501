#!/usr/bin/env node
// An agent with a hand-off on the OpenAI Agents SDK under OpenInference; record_js.py runs it against the mock model.   agent.mjs PLAN
// The last line of the output says which tool calls worked.
import { readFileSync } from 'node:fs'
import { context } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { NodeSDK } from '@opentelemetry/sdk-node'
import * as core from '@arizeai/openinference-core'
import { OpenAIAgentsInstrumentation } from '@arizeai/openinference-instrumentation-openai-agents'
import * as agents from '@openai/agents'
import { z } from 'zod'

const plan = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const sdk = new NodeSDK({ traceExporter: new OTLPTraceExporter() })
sdk.start()
const instrumentation = new OpenAIAgentsInstrumentation()
instrumentation.manuallyInstrument(agents)

const outcomes = {}
const tools = Object.entries(plan.tools).map(([name, { description, result, error }]) => agents.tool({
  name, description, parameters: z.object({ key: z.string() }),
  execute: async (_, __, details) => {
    outcomes[details.toolCall.callId] = !error
    if (error) throw new Error(error)
    return result
  },
}))
const helper = new agents.Agent({ name: 'helper', model: plan.model, instructions: plan.helper, handoffDescription: plan.handoff })
const agent = new agents.Agent({ name: 'ledger-agent', model: plan.model, instructions: plan.system, tools, handoffs: [helper] })

const with_ = core.setMetadata(core.setUser(core.setSession(context.active(), { sessionId: plan.session }), { userId: plan.user }), { note: plan.metadata })
await context.with(with_, () => agents.withTrace('ledger', async () => {
  await agents.run(agent, plan.prompts.agent)
  const stream = await agents.run(agent, plan.prompts.stream, { stream: true })
  for await (const _ of stream);
  await stream.completed
  try {
    await agents.run(agent, plan.prompts.fail)
  } catch (error) {
    console.error('as planned:', error.name)
  }
}, { groupId: plan.session, metadata: { note: plan.metadata } }))
await agents.getGlobalTraceProvider().forceFlush()
await sdk.shutdown()
console.log(JSON.stringify(outcomes))
process.exit(0)
