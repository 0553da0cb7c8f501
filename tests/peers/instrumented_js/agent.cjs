#!/usr/bin/env node
// A small agent on a vendor's SDK under an instrumentation; record_js.py runs it against the mock model.   agent.cjs LIBRARY VENDOR PLAN
//
// LIBRARY: openinference, openllmetry (@traceloop/node-server-sdk), official (@opentelemetry/instrumentation-openai), native (what the
//          vendor's SDK traces by itself).    VENDOR: openai (chat completions) | responses | anthropic.
// PLAN: {model, system, prompt, session, user, metadata, stream, embed?, tools: {name: {description, result or error}}}
// The last line of the output says which tool calls worked.
const { readFileSync } = require('node:fs')
const { SpanStatusCode, trace, context } = require('@opentelemetry/api')

const [library, vendor, path] = process.argv.slice(2)
const plan = JSON.parse(readFileSync(path, 'utf8'))
// openllmetry does not know version 1
const anthropic = library === 'openllmetry' ? 'anthropic-0' : '@anthropic-ai/sdk'
const parameters = { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] }

// ---- the libraries: before the vendor's SDK is loaded -------------------------------------------------------------------

function nodeSdk(instrumentations) {
  const { NodeSDK } = require('@opentelemetry/sdk-node')
  const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto')
  const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-proto')
  const { OTLPMetricExporter } = require('@opentelemetry/exporter-metrics-otlp-proto')
  const { BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs')
  const { PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics')
  const exporter = new OTLPLogExporter()
  const sdk = new NodeSDK({
    instrumentations, traceExporter: new OTLPTraceExporter(),
    logRecordProcessors: [new BatchLogRecordProcessor({ exporter })],
    metricReaders: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter(), exportIntervalMillis: 1500, exportTimeoutMillis: 1000 })],
  })
  sdk.start()
  return () => sdk.shutdown()
}

const libraries = {
  openinference() {
    const { OpenAIInstrumentation } = require('@arizeai/openinference-instrumentation-openai')
    const { AnthropicInstrumentation } = require('@arizeai/openinference-instrumentation-anthropic')
    // OPENINFERENCE_HIDE_* of the environment does nothing here
    const config = plan.content ? {} : { traceConfig: { hideInputs: true, hideOutputs: true } }
    return { end: nodeSdk([vendor === 'anthropic' ? new AnthropicInstrumentation(config) : new OpenAIInstrumentation(config)]) }
  },
  official() {
    const { OpenAIInstrumentation } = require('@opentelemetry/instrumentation-openai')
    return { end: nodeSdk([new OpenAIInstrumentation({ captureMessageContent: plan.content })]) }
  },
  native: () => ({ end: nodeSdk([]) }),
  openllmetry() {
    const traceloop = require('@traceloop/node-server-sdk')
    const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-proto')
    traceloop.initialize({
      appName: 'ledger-agent', disableBatch: false, silenceInitializationMessage: true, traceContent: plan.content, exporter: new OTLPTraceExporter(),
      instrumentModules: vendor === 'anthropic' ? { anthropic: require(anthropic) } : { openAI: require('openai').OpenAI },
    })
    return { end: () => traceloop.forceFlush(), traceloop }
  },
}
const setup = libraries[library]()

// ---- the vendors: one turn of the model, and how its answer and a tool's go into the history ---------------------------

class Chat {
  constructor() {
    this.client = new (require('openai').OpenAI)({ maxRetries: 0 })
    this.history = [{ role: 'system', content: plan.system }, { role: 'user', content: plan.prompt }]
    this.tools = Object.entries(plan.tools).map(([name, t]) => ({ type: 'function', function: { name, description: t.description, parameters } }))
  }

  async turn(stream) {
    const ask = { model: plan.model, messages: this.history, tools: this.tools, temperature: 0.5, max_completion_tokens: 512 }
    if (stream) {
      let text = ''
      const chunks = await this.client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })
      for await (const chunk of chunks) text += chunk.choices[0]?.delta?.content ?? ''
      this.history.push({ role: 'assistant', content: text })
      return []
    }
    const { message } = (await this.client.chat.completions.create(ask)).choices[0]
    this.history.push(message)
    return (message.tool_calls ?? []).map((c) => [c.id, c.function.name, c.function.arguments])
  }

  result(call, text) {
    this.history.push({ role: 'tool', tool_call_id: call, content: text })
  }

  embed = (input) => this.client.embeddings.create({ model: 'text-embedding-3-small', input })
}

class Responses extends Chat {
  constructor() {
    super()
    this.history = [{ role: 'user', content: plan.prompt }]
    this.tools = Object.entries(plan.tools).map(([name, t]) => ({ type: 'function', name, description: t.description, parameters, strict: false }))
  }

  async turn(stream) {
    const ask = { model: plan.model, instructions: plan.system, input: this.history, tools: this.tools }
    let got
    if (stream) {
      for await (const event of await this.client.responses.create({ ...ask, stream: true })) got = event.response ?? got
    } else {
      got = await this.client.responses.create(ask)
    }
    const calls = got.output.filter((item) => item.type === 'function_call')
    this.history.push(...calls.map(({ call_id, name, arguments: a }) => ({ type: 'function_call', call_id, name, arguments: a })))
    return calls.map((c) => [c.call_id, c.name, c.arguments])
  }

  result(call, text) {
    this.history.push({ type: 'function_call_output', call_id: call, output: text })
  }
}

class Anthropic {
  constructor() {
    this.client = new (require(anthropic).Anthropic)({ maxRetries: 0 })
    this.history = [{ role: 'user', content: plan.prompt }]
    this.tools = Object.entries(plan.tools).map(([name, t]) => ({ name, description: t.description, input_schema: parameters }))
    this.system = [{ type: 'text', text: plan.system, cache_control: { type: 'ephemeral' } }]
  }

  async turn(stream) {
    const ask = { model: plan.model, max_tokens: 512, system: this.system, messages: this.history, tools: this.tools }
    const message = stream ? await this.client.messages.stream(ask).finalMessage() : await this.client.messages.create(ask)
    this.history.push({ role: 'assistant', content: message.content })
    return message.content.filter((b) => b.type === 'tool_use').map((b) => [b.id, b.name, JSON.stringify(b.input)])
  }

  result(call, text) {
    const block = { type: 'tool_result', tool_use_id: call, content: text }
    const last = this.history.at(-1)
    if (last.role === 'user') last.content.push(block)
    else this.history.push({ role: 'user', content: [block] })
  }
}

// ---- what stands around the model's calls ------------------------------------------------------------------------------

function runTool(name) {
  const { result, error } = plan.tools[name]
  if (error) throw new Error(error)
  return result
}

/** A span of our own; what it throws is told on it and passed on. */
function spanned(name, attributes, body) {
  return trace.getTracer('agent').startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await body(span)
    } catch (error) {
      span.recordException(error)
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
      throw error
    } finally {
      span.end()
    }
  })
}

const around = {
  openinference: {
    agent(body) {
      const core = require('@arizeai/openinference-core')
      let with_ = core.setSession(context.active(), { sessionId: plan.session })
      with_ = core.setUser(with_, { userId: plan.user })
      with_ = core.setMetadata(with_, { note: plan.metadata })
      with_ = core.setTags(with_, ['nightly'])
      with_ = core.setPromptTemplate(with_, { template: 'Ask the ledger for {{key}}.', variables: { key: plan.variable }, version: 'v1' })
      const whole = core.traceAgent(body, { name: 'ledger-agent', attributes: { 'tenant.id': 'acme' } })
      return context.with(with_, () => whole(plan.prompt))
    },
    tool(call, name, text) {
      const { traceTool } = require('@arizeai/openinference-core')
      return traceTool(async (_key) => runTool(name), { name, attributes: { 'tool.id': call, 'tool.description': plan.tools[name].description } })(JSON.parse(text))
    },
  },
  openllmetry: {
    agent(body) {
      const { traceloop } = setup
      return traceloop.withAssociationProperties({ session_id: plan.session, user_id: plan.user, note: plan.metadata }, () =>
        traceloop.withWorkflow({ name: 'ledger-agent', version: 1 }, (_prompt) => body(), plan.prompt))
    },
    tool(call, name, text) {
      return setup.traceloop.withTool({ name }, async (_key) => runTool(name), JSON.parse(text))
    },
  },
  official: {
    agent: (body) => spanned('agent.run', { 'session.id': plan.session, 'tenant.id': 'acme' }, body),
    // by the conventions, by hand: the library knows the model's calls only
    tool: (call, name, text) => spanned(`execute_tool ${name}`, {
      'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': name, 'gen_ai.tool.call.id': call, 'gen_ai.tool.call.arguments': text,
    }, async (span) => {
      const result = runTool(name)
      span.setAttribute('gen_ai.tool.call.result', result)
      return result
    }),
  },
}
around.native = around.official

const vendors = { openai: Chat, responses: Responses, anthropic: Anthropic }

async function main() {
  const model = new vendors[vendor]()
  const outcomes = {}
  await around[library].agent(async () => {
    for (let n = 0; n < plan.turns; n++) {
      for (const [call, name, text] of await model.turn(plan.stream && n === plan.turns - 1)) {
        let answer
        try {
          answer = await around[library].tool(call, name, text)
          outcomes[call] = true
        } catch (error) {
          answer = `failed: ${error.message}`
          outcomes[call] = false
        }
        model.result(call, answer)
      }
    }
    if (plan.embed) await model.embed(plan.embed)
    try {
      await model.turn(false)
    } catch (error) {
      console.error('as planned:', error.name)
    }
    return plan.output
  })
  await setup.end()
  console.log(JSON.stringify(outcomes))
  process.exit(0)
}

main()
