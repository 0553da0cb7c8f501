//! Words of software that say nothing about anybody: formats, protocols, clouds, frameworks, families of models,
//! environments, regions, and the verbs with which tools begin. In a text without blanks they do not count.
//!
//! A word that people use in sentences (`call`, `help`, `test`, `user`, `work`) does not belong here.

pub(super) const NEUTRAL_WORDS: &str = "\
    accounts aes agent agents ai aks alb alpine amazon amazonaws ami anthropic ap apac api apis app approval apps \
    arn async autogen aws azure backend batch bedrock bin bitbucket broker builder cache cbc central chat claude cli \
    clickhouse client cloud cloudflare cluster cmd codex cohere collector com command common completion completions \
    compute config container contrib controller conversation copilot core cpp cpu create crewai cron css cursor \
    daemon darwin db debian deepseek delete detail details dev dns docker dotnet duration dynamodb east ec ecdhe \
    ecdsa ecs eks elasticsearch elb embed embedding embeddings emea endpoint envoy error errors eu event events \
    exception exec execute exporter extension factory fetch flash frontend func function functions gateway gcm gcp \
    gemini gemma gen generate get git github gitlab gke golang google googleapis gpt gpu grok grpc haiku handler \
    helm heroku html http https huggingface id ids impl inference init instruct instrumentation internal invoke io \
    ip istio java javascript javax js json kafka kotlin kubernetes lambda langchain langgraph langsmith latest lib \
    libs linux list lite litellm llama llamaindex llm llms locations log logger logging lookup manager mcp md \
    metadata method metric metrics microsoft middleware mini mistral mixtral ml mode model models module modules \
    mongo mongodb mysql nano net network nginx node nodejs north northeast northwest object ollama openai \
    openinference openrouter opensearch opentelemetry operation operations opus org os otel otelcol otlp package \
    packages php pkg plugin plugins pod pods policy pool postgres postgresql preview process prod production project \
    projects provider proxy py python qa queue qwen rabbitmq realtime receiver redis region request requests \
    resource resources response responses rest robin round router rpc rs rsa ruby rust sa sandbox scala schema \
    scraper sdk server service services session sessions sha shell sonnet south southeast southwest span spans sql \
    sqlite src ssl staging store stream streaming subscriptions svc sync task tcp telemetry tenant thread timeout \
    tls toml tool tools trace traceloop tracer traces ts turbo ubuntu udp unified update upsert uri url us util \
    utils uuid vercel vertex vm vpc webhook west worker workers writer xml yaml zone zones";
