#!/usr/bin/env node
// A chain, an agent and a graph on LangChain under an instrumentation; record_js.py runs it against the mock model.   agent.cjs LIBRARY PLAN
//
// LIBRARY: openinference | openllmetry.   PLAN: {model, system, session, user, metadata, content, prompts: {…}, tools: {…}, document, output}
// The last line of the output says which tool calls worked.
const { readFileSync } = require('node:fs')

const [library, path] = process.argv.slice(2)
const plan = JSON.parse(readFileSync(path, 'utf8'))
const manager = require('@langchain/core/callbacks/manager')
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto')

const libraries = {
  openinference() {
    const { NodeSDK } = require('@opentelemetry/sdk-node')
    const { LangChainInstrumentation } = require('@arizeai/openinference-instrumentation-langchain')
    const instrumentation = new LangChainInstrumentation()
    const sdk = new NodeSDK({ instrumentations: [instrumentation], traceExporter: new OTLPTraceExporter() })
    sdk.start()
    instrumentation.manuallyInstrument(manager)
    const core = require('@arizeai/openinference-core')
    const { context } = require('@opentelemetry/api')
    return {
      end: () => sdk.shutdown(),
      around(body) {
        let with_ = core.setSession(context.active(), { sessionId: plan.session })
        with_ = core.setUser(with_, { userId: plan.user })
        with_ = core.setMetadata(with_, { note: plan.metadata })
        return context.with(with_, body)
      },
    }
  },
  openllmetry() {
    const traceloop = require('@traceloop/node-server-sdk')
    traceloop.initialize({
      appName: 'ledger-agent', silenceInitializationMessage: true, traceContent: plan.content, exporter: new OTLPTraceExporter(),
      instrumentModules: { langchain: { callbackManagerModule: manager } },
    })
    return {
      end: () => traceloop.forceFlush(),
      around: (body) => traceloop.withAssociationProperties({ session_id: plan.session, user_id: plan.user, note: plan.metadata }, () =>
        traceloop.withWorkflow({ name: 'ledger-agent' }, body)),
    }
  },
}
const setup = libraries[library]()

const { ChatPromptTemplate } = require('@langchain/core/prompts')
const { BaseRetriever } = require('@langchain/core/retrievers')
const { Document } = require('@langchain/core/documents')
const { tool } = require('@langchain/core/tools')
const { ChatOpenAI } = require('@langchain/openai')
const { Annotation, END, START, StateGraph } = require('@langchain/langgraph')
const { createReactAgent } = require('@langchain/langgraph/prebuilt')
const { z } = require('zod')

const model = new ChatOpenAI({ model: plan.model, maxRetries: 0, temperature: 0.5, maxTokens: 512, useResponsesApi: plan.api === 'responses' })
const outcomes = {}
const tools = Object.entries(plan.tools).map(([name, { description, result, error }]) => tool(async (_, config) => {
  outcomes[config.toolCall.id] = !error
  if (error) throw new Error(error)
  return result
}, { name, description, schema: z.object({ key: z.string() }) }))

class Shelf extends BaseRetriever {
  lc_namespace = ['ledger', 'retrievers']

  async _getRelevantDocuments() {
    return [new Document({ pageContent: plan.document, metadata: { source: 'shelf-1' } })]
  }
}

async function run() {
  const config = { configurable: { thread_id: plan.session }, metadata: { note: plan.metadata, user_id: plan.user }, tags: ['nightly'] }
  const template = ChatPromptTemplate.fromMessages([['system', plan.system], ['human', 'Ask the ledger for {key}.']])
  await template.pipe(model).invoke({ key: plan.prompts.chain }, { ...config, runName: 'ledger-chain' })
  await new Shelf().invoke(plan.prompts.retrieve, config)
  const agent = createReactAgent({ llm: model, tools, prompt: plan.system, name: 'ledger-agent' })
  await agent.invoke({ messages: [{ role: 'user', content: plan.prompts.agent }] }, config)
  const state = Annotation.Root({ topic: Annotation(), draft: Annotation(), answer: Annotation() })
  const graph = new StateGraph(state)
    .addNode('outline', async ({ topic }) => ({ draft: `${topic} and more` }))
    .addNode('write', async ({ draft }) => {
      let answer = ''
      for await (const chunk of await model.stream([['human', draft]])) answer += chunk.text
      return { answer }
    })
    .addEdge(START, 'outline').addEdge('outline', 'write').addEdge('write', END).compile()
  await graph.invoke({ topic: plan.prompts.graph }, { ...config, runName: 'ledger-graph' })
  try {
    await model.invoke(plan.prompts.fail, config)
  } catch (error) {
    console.error('as planned:', error.name)
  }
  return plan.output
}

setup.around(run).then(async () => {
  await setup.end()
  console.log(JSON.stringify(outcomes))
  process.exit(0)
})
