//! Suggests replacements for components of the Collector that tollgate does not have. "Did you mean" compares spelling
//! and would suggest `attributes` for `k8sattributes`. Where tollgate has no replacement, the text says so. Typing
//! errors are handled in `config/problem`, removed parts in `collector`.

/// The replacement for a component of type `kind` in `section`, or a text saying that there is none.
pub(crate) fn remedy(section: &str, kind: &str) -> Option<&'static str> {
    let table = match section {
        "receivers" => RECEIVERS,
        "processors" => PROCESSORS,
        "exporters" => EXPORTERS,
        "connectors" => CONNECTORS,
        _ => EXTENSIONS,
    };
    table.iter().find(|(kinds, _)| kinds.contains(&kind)).map(|(_, what)| *what)
}

type Table = &'static [(&'static [&'static str], &'static str)];

const RECEIVERS: Table = &[(
    &[
        "filelog",
        "fluentforward",
        "hostmetrics",
        "jaeger",
        "journald",
        "k8s_cluster",
        "k8s_events",
        "kafka",
        "kubeletstats",
        "opencensus",
        "prometheus",
        "statsd",
        "syslog",
        "tcplog",
        "zipkin",
    ],
    "tollgate takes OTLP alone: leave it with a Collector, whose `otlp` exporter sends here",
)];

const PROCESSORS: Table = &[
    (&["probabilistic_sampler"], "write `filter: { sampling: { ratio: 0.1 } }`, which keeps whole traces"),
    (
        &["tail_sampling"],
        "no step waits for a whole trace here: `filter: { sampling: { ratio: 0.1 } }` keeps a part of all, each whole; \
         where errors decide, leave it with a Collector behind tollgate",
    ),
    (&["deltatocumulative"], "it is a key of exporters here: `deltatocumulative: {}`"),
    (&["cumulativetodelta", "deltatorate", "metricsgeneration", "interval"], NOTHING),
    (
        &["k8sattributes", "resourcedetection"],
        "nothing asks the cluster or the machine here: set OTEL_RESOURCE_ATTRIBUTES for the client, or write \
         `resource: { attributes: [{ key: k8s.pod.name, value: \"${env:POD_NAME}\" }] }`",
    ),
    (
        &["transform", "span", "metricstransform", "schema"],
        "no statements are run here: see `attributes`, `resource` and `filter`, and `redact` for what is private",
    ),
    (
        &["redaction"],
        "see `redact`: its rules find what is private by themselves; write `blocked_values` as `redact: { custom: [{ name: BADGE, pattern: \"B[0-9]{6}\" }] }`, \
         `blocked_key_patterns` as its `keys`, `hash_function` as `options: { badge: { as: pseudonym } }`, and leave the rest out",
    ),
    (&["groupbytrace", "groupbyattrs"], "it may be left out if nothing behind it needs it: items go on as they came"),
    (&["remotetap"], "see `tollgate tap`"),
    (&["routing"], NOTHING),
];

const EXPORTERS: Table = &[
    (&["logging"], "it is called `debug`: `debug: { verbosity: detailed }`"),
    (
        &["prometheusremotewrite"],
        "Prometheus and Mimir take OTLP: `otlp_http: { endpoint: \"http://prometheus:9090/api/v1/otlp\", deltatocumulative: {} }` \
         (Mimir: `/otlp`)",
    ),
    (
        &["prometheus"],
        "nothing is scraped of what passes: send OTLP to Prometheus (`/api/v1/otlp`); tollgate's own metrics are at `/metrics`",
    ),
    (&["jaeger"], "Jaeger takes OTLP: `otlp: { endpoint: \"http://jaeger:4317\" }`"),
    (&["loki"], "Loki takes OTLP: `otlp_http: { endpoint: \"http://loki:3100/otlp\" }`"),
    (
        &[
            "awscloudwatchlogs",
            "awsemf",
            "awss3",
            "awsxray",
            "azuremonitor",
            "clickhouse",
            "datadog",
            "elasticsearch",
            "googlecloud",
            "kafka",
            "loadbalancing",
            "opensearch",
            "splunk_hec",
            "zipkin",
        ],
        "tollgate sends OTLP alone: to the back end's OTLP endpoint if it has one, else to a Collector that has this exporter",
    ),
    (&["nop"], "it may be left out"),
];

const CONNECTORS: Table = &[(
    &["count", "exceptions", "failover", "roundrobin", "routing", "servicegraph", "spanmetrics", "sum"],
    "nothing does that here: leave it with a Collector behind tollgate",
)];

const EXTENSIONS: Table = &[
    (
        &["basicauth"],
        "who may send stands in `receivers.otlp.auth: { basic: { ACCOUNT: [\"user:password\"] } }`, what a back end is shown in an \
         exporter's `headers: { authorization: \"Basic …\" }`",
    ),
    (
        &["bearertokenauth"],
        "who may send stands in `receivers.otlp.auth: { tokens: { ACCOUNT: [\"${env:TOKEN}\"] } }`, what a back end is shown in an \
         exporter's `headers: { authorization: \"Bearer ${env:TOKEN}\" }`",
    ),
    (&["headers_setter"], "see `account_headers` of exporters: headers by the account that sent"),
    (
        &["oauth2client", "oidc", "sigv4auth", "asapclient", "googleclientauth", "azureauth"],
        "nothing fetches or checks such tokens here: a lasting one stands in `headers`, or in `receivers.otlp.auth`",
    ),
    (
        &["opamp", "opampcustommessages"],
        "it may be left out: the configuration is this file, read again by SIGHUP or `--watch`",
    ),
    (
        &["docker_observer", "ecs_observer", "host_observer", "k8s_observer"],
        "it may be left out: it serves receivers that are not here",
    ),
    (&["healthcheckv2"], "see `health_check`: `/` and `/readyz`"),
];

const NOTHING: &str = "nothing does that here: leave it with a Collector behind tollgate, or to the back end";
