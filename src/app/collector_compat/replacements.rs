//! Suggests replacements for components of the Collector that tollgate does not have. "Did you mean" compares spelling
//! and would suggest `attributes` for `k8sattributes`. Where tollgate has no replacement, the text says so. Typing
//! errors are handled in `config/problem`, removed parts in `collector_compat`.

/// The replacement for a component of type `kind` in `section`, or a text saying that there is none.
pub(crate) fn find_replacement(section: &str, kind: &str) -> Option<&'static str> {
    let table = match section {
        "receivers" => RECEIVERS,
        "processors" => PROCESSORS,
        "exporters" => EXPORTERS,
        "connectors" => CONNECTORS,
        _ => EXTENSIONS,
    };
    table.iter().find(|(kinds, _)| kinds.contains(&kind)).map(|(_, text)| *text)
}

type ReplacementTable = &'static [(&'static [&'static str], &'static str)];

const RECEIVERS: ReplacementTable = &[(
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
    "tollgate accepts only OTLP: keep this receiver in a Collector and send from there with its `otlp` exporter",
)];

const PROCESSORS: ReplacementTable = &[
    (&["probabilistic_sampler"], "write `filter: { sampling: { ratio: 0.1 } }`, which keeps or drops whole traces"),
    (
        &["tail_sampling"],
        "tail sampling is not supported: `filter: { sampling: { ratio: 0.1 } }` keeps a share of all traces, each complete; \
         to sample by errors, use a Collector behind tollgate",
    ),
    (&["deltatocumulative"], "set it in an exporter instead: `deltatocumulative: {}`"),
    (&["cumulativetodelta", "deltatorate", "metricsgeneration", "interval"], NO_REPLACEMENT),
    (
        &["k8sattributes", "resourcedetection"],
        "tollgate does not query the cluster or the machine: set OTEL_RESOURCE_ATTRIBUTES for the client, or write \
         `resource: { attributes: [{ key: k8s.pod.name, value: \"${env:POD_NAME}\" }] }`",
    ),
    (
        &["transform", "span", "metricstransform", "schema"],
        "OTTL statements are not supported: use `attributes`, `resource` and `filter`, and `redact` for private data",
    ),
    (
        &["redaction"],
        "use `redact`, whose rules find private data by themselves; write `blocked_values` as `redact: { custom: [{ name: BADGE, pattern: \"B[0-9]{6}\" }] }`, \
         `blocked_key_patterns` as its `keys`, `hash_function` as `options: { badge: { as: pseudonym } }`, and leave the rest out",
    ),
    (
        &["groupbytrace", "groupbyattrs"],
        "it can be removed unless a later component needs it: items keep their grouping",
    ),
    (&["remotetap"], "see `tollgate tap`"),
    (&["routing"], NO_REPLACEMENT),
];

const EXPORTERS: ReplacementTable = &[
    (&["logging"], "it is called `debug`: `debug: { verbosity: detailed }`"),
    (
        &["prometheusremotewrite"],
        "Prometheus and Mimir take OTLP: `otlp_http: { endpoint: \"http://prometheus:9090/api/v1/otlp\", deltatocumulative: {} }` \
         (Mimir: `/otlp`)",
    ),
    (
        &["prometheus"],
        "tollgate offers no scrape endpoint for forwarded metrics: send OTLP to Prometheus (`/api/v1/otlp`); tollgate's own metrics are at `/metrics`",
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
        "tollgate sends only OTLP: use the back end's OTLP endpoint if it has one, or else a Collector with this exporter",
    ),
    (&["nop"], "it can be removed"),
];

const CONNECTORS: ReplacementTable = &[(
    &["count", "exceptions", "failover", "roundrobin", "routing", "servicegraph", "spanmetrics", "sum"],
    "not supported: use a Collector behind tollgate",
)];

const EXTENSIONS: ReplacementTable = &[
    (
        &["basicauth"],
        "for clients, set `receivers.otlp.auth: { basic: { ACCOUNT: [\"user:password\"] } }`; for a back end, set an \
         exporter's `headers: { authorization: \"Basic …\" }`",
    ),
    (
        &["bearertokenauth"],
        "for clients, set `receivers.otlp.auth: { tokens: { ACCOUNT: [\"${env:TOKEN}\"] } }`; for a back end, set an \
         exporter's `headers: { authorization: \"Bearer ${env:TOKEN}\" }`",
    ),
    (&["headers_setter"], "use `account_headers` of the exporter, which sets headers by the sending account"),
    (
        &["oauth2client", "oidc", "sigv4auth", "asapclient", "googleclientauth", "azureauth"],
        "tollgate neither fetches nor verifies such tokens: use a long-lived token in `headers` or `receivers.otlp.auth`",
    ),
    (
        &["opamp", "opampcustommessages"],
        "it can be removed: the configuration is this file, reloaded on SIGHUP or with `--watch`",
    ),
    (
        &["docker_observer", "ecs_observer", "host_observer", "k8s_observer"],
        "it can be removed: it serves receivers that tollgate does not have",
    ),
    (&["healthcheckv2"], "see `health_check`: `/` and `/readyz`"),
];

const NO_REPLACEMENT: &str = "not supported: use a Collector behind tollgate, or let the back end do it";
