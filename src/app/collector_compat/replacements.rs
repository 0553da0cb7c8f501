//! Says what replaces components of the Collector that tollgate does not have: in the loader's errors, and in the
//! report of `tollgate migrate`. "Did you mean" compares spelling and would suggest `attributes` for `k8sattributes`.
//! Typing errors are handled in `config/problem`, removed parts in `collector_compat`.

/// What becomes of a component that tollgate does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplacementKind {
    /// `tollgate migrate` writes the replacement where it can.
    Converted,
    /// The component can be removed, and no data changes.
    NotNeeded,
    /// tollgate has no counterpart.
    Missing,
}
use ReplacementKind::{Converted, Missing, NotNeeded};

/// The replacement for a component of type `kind` in `section`, or a text saying that there is none.
pub(crate) fn find_replacement(section: &str, kind: &str) -> Option<(ReplacementKind, &'static str)> {
    let table = match section {
        "receivers" => RECEIVERS,
        "processors" => PROCESSORS,
        "exporters" => EXPORTERS,
        "connectors" => CONNECTORS,
        _ => EXTENSIONS,
    };
    table.iter().find(|(kinds, ..)| kinds.contains(&kind)).map(|(_, becomes, text)| (*becomes, *text))
}

/// What `tollgate migrate` says of a component that no table names.
pub(crate) fn describe_unlisted(section: &str) -> &'static str {
    match section {
        "receivers" => ONLY_OTLP_IN,
        "exporters" => ONLY_OTLP_OUT,
        "processors" => "tollgate has no such processor: keep it in a Collector in front of tollgate or behind it",
        "connectors" => NO_CONNECTOR,
        _ => "tollgate has no such extension: keep a Collector for what needs it",
    }
}

type ReplacementTable = &'static [(&'static [&'static str], ReplacementKind, &'static str)];

const ONLY_OTLP_IN: &str =
    "tollgate accepts only OTLP: keep this receiver in a Collector and send from there with its `otlp` exporter";
const ONLY_OTLP_OUT: &str =
    "tollgate sends only OTLP: use the back end's OTLP endpoint if it has one, or else a Collector with this exporter";
const NO_CONNECTOR: &str = "not supported: use a Collector behind tollgate";

const RECEIVERS: ReplacementTable = &[
    (&["nop"], NotNeeded, "it can be removed"),
    (
        &[
            "awscontainerinsightreceiver",
            "awsecscontainermetrics",
            "awsxray",
            "datadog",
            "docker_stats",
            "filelog",
            "fluentforward",
            "hostmetrics",
            "jaeger",
            "journald",
            "k8s_cluster",
            "k8s_events",
            "kubeletstats",
            "opencensus",
            "prometheus",
            "statsd",
            "syslog",
            "tcplog",
            "zipkin",
        ],
        Missing,
        ONLY_OTLP_IN,
    ),
];

const PROCESSORS: ReplacementTable = &[
    (
        &["probabilistic_sampler"],
        Converted,
        "write `filter: { sampling: { ratio: 0.1 } }`, which keeps or drops whole traces",
    ),
    (
        &["tail_sampling"],
        Missing,
        "tail sampling is not supported: `filter: { sampling: { ratio: 0.1 } }` keeps a share of all traces, each complete; \
         to sample by errors, use a Collector behind tollgate",
    ),
    (&["deltatocumulative"], Missing, "set it in an exporter instead: `deltatocumulative: {}`"),
    (&["cumulativetodelta", "deltatorate", "metricsgeneration", "interval"], Missing, NO_REPLACEMENT),
    (
        &["k8s_attributes", "k8sattributes", "resource_detection", "resourcedetection"],
        Missing,
        "tollgate does not query the cluster or the machine: set OTEL_RESOURCE_ATTRIBUTES for the client, or write \
         `resource: { attributes: [{ key: k8s.pod.name, value: \"${env:POD_NAME}\" }] }`",
    ),
    (
        &["transform", "span", "metricstransform", "schema"],
        Missing,
        "OTTL statements are not supported: use `attributes`, `resource` and `filter`, and `redact` for private data",
    ),
    (
        &["redaction"],
        Converted,
        "use `redact`, whose rules find private data by themselves; write `blocked_values` as `redact: { custom: [{ name: BADGE, pattern: \"B[0-9]{6}\" }] }`, \
         `blocked_key_patterns` as its `keys`, `hash_function` as `options: { badge: { as: pseudonym } }`, and leave the rest out",
    ),
    (
        &["groupbytrace", "groupbyattrs"],
        NotNeeded,
        "it can be removed unless a later component needs it: items keep their grouping",
    ),
    (&["remotetap"], NotNeeded, "see `tollgate tap`"),
    (&["routing"], Missing, NO_REPLACEMENT),
];

const EXPORTERS: ReplacementTable = &[
    (&["logging"], Converted, "it is called `debug`: `debug: { verbosity: detailed }`"),
    (
        &["prometheusremotewrite"],
        Missing,
        "Prometheus and Mimir take OTLP: `otlp_http: { endpoint: \"http://prometheus:9090/api/v1/otlp\", deltatocumulative: {} }` \
         (Mimir: `/otlp`)",
    ),
    (
        &["prometheus"],
        Missing,
        "tollgate offers no scrape endpoint for forwarded metrics: send OTLP to Prometheus (`/api/v1/otlp`); tollgate's own metrics are at `/metrics`",
    ),
    (&["jaeger"], Missing, "Jaeger takes OTLP: `otlp: { endpoint: \"http://jaeger:4317\" }`"),
    (&["loki"], Missing, "Loki takes OTLP: `otlp_http: { endpoint: \"http://loki:3100/otlp\" }`"),
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
            "loadbalancing",
            "opensearch",
            "splunk_hec",
            "zipkin",
        ],
        Missing,
        ONLY_OTLP_OUT,
    ),
    (&["nop"], NotNeeded, "it can be removed"),
];

const CONNECTORS: ReplacementTable = &[(
    &["count", "exceptions", "failover", "roundrobin", "routing", "servicegraph", "spanmetrics", "sum"],
    Missing,
    NO_CONNECTOR,
)];

const EXTENSIONS: ReplacementTable = &[
    (
        &["basicauth"],
        Converted,
        "for clients, set `receivers.otlp.auth: { basic: { ACCOUNT: [\"user:password\"] } }`; for a back end, set an \
         exporter's `headers: { authorization: \"Basic …\" }`",
    ),
    (
        &["bearertokenauth"],
        Converted,
        "for clients, set `receivers.otlp.auth: { tokens: { ACCOUNT: [\"${env:TOKEN}\"] } }`; for a back end, set an \
         exporter's `headers: { authorization: \"Bearer ${env:TOKEN}\" }`",
    ),
    (&["headers_setter"], Missing, "use `account_headers` of the exporter, which sets headers by the sending account"),
    (
        &["oauth2client", "oidc", "sigv4auth", "asapclient", "googleclientauth", "azureauth"],
        Missing,
        "tollgate neither fetches nor verifies such tokens: use a long-lived token in `headers` or `receivers.otlp.auth`",
    ),
    (
        &["opamp", "opampcustommessages"],
        NotNeeded,
        "it can be removed: the configuration is this file, reloaded on SIGHUP or with `--watch`",
    ),
    (
        &["docker_observer", "ecs_observer", "host_observer", "k8s_observer"],
        NotNeeded,
        "it can be removed: it serves receivers that tollgate does not have",
    ),
    (&["healthcheckv2"], Converted, "see `health_check`: `/` and `/readyz`"),
];

const NO_REPLACEMENT: &str = "not supported: use a Collector behind tollgate, or let the back end do it";
