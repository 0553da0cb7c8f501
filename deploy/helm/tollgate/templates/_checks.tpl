{{- /*
Values that contradict each other, one a line: the value, what is wrong, and the remedy. values.schema.json refuses what
a schema can. `tests/peers/deploy/mistakes.yaml` has a mistake for each.
*/ -}}

{{- /* Bytes of a size of Kubernetes (20Gi) or of tollgate (16GiB); "" for anything else, such as a variable. */ -}}
{{- define "tollgate.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "m" 1e6 "g" 1e9 "t" 1e12 "ki" 1024 "mi" 1048576 "gi" 1073741824 "ti" 1099511627776 }}
{{- $unit := regexFind "[A-Za-z]*$" . | lower | trimSuffix "b" }}
{{- $number := regexFind "^[0-9.]+" . }}
{{- if and $number (hasKey $units $unit) }}{{ printf "%.0f" (mulf $number (index $units $unit)) }}{{ end }}
{{- end }}

{{- /* A resource's amount: thousandths of a core, or bytes. */ -}}
{{- define "tollgate.amount" -}}
{{- $text := last . | toString }}
{{- if ne (first .) "cpu" }}{{ include "tollgate.bytes" $text }}{{ else if hasSuffix "m" $text }}{{ trimSuffix "m" $text }}{{ else }}{{ mulf 1000 $text }}{{ end }}
{{- end }}

{{- /* Seconds of a time span of tollgate: 90s, 1h30m. */ -}}
{{- define "tollgate.seconds" -}}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 }}
{{- $unit := regexFind "[a-z]+" . }}
{{- $seconds = addf $seconds (mulf (trimSuffix $unit .) (get (dict "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400) $unit)) }}
{{- end }}
{{- $seconds }}
{{- end }}

{{- define "tollgate.check" -}}
{{- $problems := include "tollgate.problems" . }}
{{- range $role := splitList " " (include "tollgate.roles" .) }}
{{- $problems = printf "%s\n%s" $problems (include "tollgate.roleProblems" (dict "root" $ "role" $role)) }}
{{- end }}
{{- with regexSplit "\\s*\n\\s*" (trim $problems) -1 | join "\n- " }}
{{- fail (printf "these values can't work:\n- %s" .) }}
{{- end }}
{{- end }}

{{- /* Values of the release, and those of two roles. */ -}}
{{- define "tollgate.problems" -}}
{{- $values := .Values }}
{{- with .Values.image.repository }}
{{- if not (regexMatch "^([^/]*[.:][^/]*|localhost)/." .) }}
image.repository: {{ . }} has no registry, so it would be another publisher's image at docker.io: write registry.example/{{ . }}
{{- end }}
{{- else }}
image.repository is empty: set your image with its registry, such as registry.example/tollgate (none is published yet)
{{- end }}
{{- if eq .Values.kind "fleet" }}
{{- range list "secretName" "secretProviderClass" }}
{{- $name := index $values.edge.secrets . }}
{{- if and $name (eq $name (index $values.worker.secrets .)) }}
edge.secrets.{{ . }}: {{ $name }} is also worker.secrets.{{ . }}, so edges would hold the workers' keys: give each role its own
{{- end }}
{{- end }}
{{- $account := include "tollgate.serviceAccountName" (dict "root" $ "role" "edge") }}
{{- if and (eq $account (include "tollgate.serviceAccountName" (dict "root" $ "role" "worker"))) (ne $account "default") }}
edge.serviceAccount.name: {{ $account }} is also the workers', so edges would have their rights to S3: give each role its own
{{- end }}
{{- $written := include "tollgate.get" (list .Values.edge.config "exporters" "kafka" "topic") | default "tollgate.in" }}
{{- $read := include "tollgate.get" (list .Values.worker.config "receivers" "kafka" "topic") | default "tollgate.in" }}
{{- if ne $written $read }}
edge.config.exporters.kafka.topic: edges write to {{ $written }}, and workers read {{ $read }} (worker.config.receivers.kafka.topic): set the same topic
{{- end }}
{{- end }}
{{- /* the way in from outside */ -}}
{{- $role := eq .Values.kind "fleet" | ternary "edge" .Values.kind }}
{{- $clients := .Values.networkPolicy.clients }}
{{- $closed := and .Values.networkPolicy.enabled (not (or (toJson $clients | contains "namespaceSelector") (toJson $clients | contains "ipBlock"))) }}
{{- $open := not (dig "receivers" "otlp" "auth" nil (index .Values $role).config) }}
{{- range $way := list "ingress" "gatewayApi" }}
{{- with index $values $way }}
{{- if .enabled }}
{{- if eq $role "sidecar" }}
{{ $way }}.enabled: a sidecar takes data from its own pod alone: use the kind gateway or fleet
{{- end }}
{{- if not .host }}
{{ $way }}.host is empty: set the name under which clients reach tollgate
{{- end }}
{{- if and (not .tlsSecret) (not .parentRefs) }}
{{ $way }}.tlsSecret is empty, so tokens would cross the internet in clear: name the Secret with the certificate of {{ .host | default "the host" }}
{{- end }}
{{- if and (eq $way "gatewayApi") (not .className) (not .parentRefs) }}
gatewayApi.className is empty: name a GatewayClass, or a Gateway that exists in gatewayApi.parentRefs
{{- end }}
{{- if $closed }}
networkPolicy.clients selects only pods of the release's namespace, so nothing comes through {{ $way }}: add the controller's namespace
{{- end }}
{{- if $open }}
{{ $way }}.enabled: anyone who reaches {{ .host | default "the host" }} could send: set {{ $role }}.config.receivers.otlp.auth.tokens
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (ne .Values.service.type "ClusterIP") (ne $role "sidecar") }}
{{- if $open }}
service.type: {{ .Values.service.type }}: anyone who reaches it could send: set {{ $role }}.config.receivers.otlp.auth.tokens
{{- end }}
{{- if $closed }}
networkPolicy.clients selects only pods of the release's namespace, so nothing comes through service.type {{ .Values.service.type }}: add an ipBlock with your clients' addresses
{{- end }}
{{- end }}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- range $where := list "serviceMonitor" "prometheusRule" }}
{{- if hasKey (index $values $where).labels $key }}
{{ $where }}.labels: {{ $key }} is the chart's own label: remove it
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Values of one role. */ -}}
{{- define "tollgate.roleProblems" -}}
{{- $root := .root.Values }}
{{- $role := .role }}
{{- $values := index $root $role }}
{{- $config := $values.config }}
{{- $spool := default dict $values.spool }}
{{- $several := or (gt (int $values.replicas) 1) (dig "autoscaling" "enabled" false $values) }}
{{- $vault := dig "processors" "vault" nil $config }}
{{- $mounts := list "/etc/tollgate/config" "/etc/tollgate/secrets" "/var/lib/tollgate" }}
{{- range $values.extraVolumeMounts }}
{{- if has .mountPath $mounts }}
{{ $role }}.extraVolumeMounts: {{ .mountPath }} is a folder that the chart mounts: use another one
{{- end }}
{{- end }}
{{- range $values.extraVolumeMounts }}{{ $mounts = append $mounts .mountPath }}{{ end }}

{{- /* volumes */ -}}
{{- if and $spool.emptyDir (not $spool.acceptLossOfUndeliveredData) }}
{{ $role }}.spool.emptyDir: accepted data that was not yet delivered would be deleted with the pod. Leave it false, or also set {{ $role }}.spool.acceptLossOfUndeliveredData: true
{{- end }}
{{- $size := $values.workSize | default $spool.size | toString }}
{{- $max := include "tollgate.get" (list $config "spool" "max_size") | default "20GiB" }}
{{- if gt (include "tollgate.bytes" $max | float64) (mulf 0.9 (include "tollgate.bytes" $size)) }}
{{ $role }}.config.spool.max_size: {{ $max }} is more than nine tenths of the volume, {{ $role }}.{{ eq $role "edge" | ternary "workSize" "spool.size" }}: {{ $size }}. Clients would meet a full disk: enlarge the volume or lower max_size
{{- end }}
{{- $directory := include "tollgate.get" (list $config "spool" "directory") }}
{{- if not (hasPrefix "/var/lib/tollgate/" $directory) }}
{{ $role }}.config.spool.directory{{ with $directory }}: {{ . }} is not on the volume{{ else }} is empty{{ end }}: use a folder below /var/lib/tollgate/
{{- end }}
{{- $own := include "tollgate.roleName" . }}
{{- range dig "deliver" "claims" list $values }}
{{- if not (regexMatch (printf "^spool-%s-[0-9]+$" $own) .) }}
{{ $role }}.deliver.claims: {{ . }} is no claim of {{ $role }}, which are spool-{{ $own }}-0, -1 and so on: name one of them
{{- else if $spool.emptyDir }}
{{ $role }}.deliver.claims: with spool.emptyDir the pods have no claims: remove {{ . }}
{{- else if and (not (dig "autoscaling" "enabled" false $values)) (lt (regexFind "[0-9]+$" . | int) (int $values.replicas)) }}
{{ $role }}.deliver.claims: {{ . }} is in use, because {{ $role }}.replicas is {{ $values.replicas }}: that pod delivers it. Remove it, or lower replicas
{{- end }}
{{- end }}
{{- with include "tollgate.vaultDirectory" . }}
{{- $here := . }}
{{- $found := dict }}
{{- range $mounts }}{{ if hasPrefix (printf "%s/" .) $here }}{{ $_ := set $found . true }}{{ end }}{{ end }}
{{- if not $found }}
{{ $role }}.config.processors.vault.store.directory: {{ . }} is on no volume: use a folder below /var/lib/tollgate/
{{- end }}
{{- if and $spool.emptyDir (not (dig "vault" "ownVolume" false $values)) }}
{{ $role }}.vault.ownVolume: the vault would be on spool.emptyDir, and be deleted with the pod: set it to true
{{- end }}
{{- if and (eq $role "worker") $several }}
worker.config.processors.vault.store.directory: sessions move between workers, so one folder for each splits them: use s3
{{- end }}
{{- $full := include "tollgate.get" (list $vault "store" "directory" "max_size") }}
{{- if and $full (dig "vault" "ownVolume" false $values) (gt (include "tollgate.bytes" $full | float64) (mulf 0.9 (include "tollgate.bytes" ($values.vault.size | toString)))) }}
{{ $role }}.config.processors.vault.store.directory.max_size: {{ $full }} is more than nine tenths of {{ $role }}.vault.size: {{ $values.vault.size }}. Enlarge the volume or lower max_size
{{- end }}
{{- end }}

{{- /* memory, processor and time */ -}}
{{- $memory := $values.resources.limits.memory | toString }}
{{- if lt (include "tollgate.bytes" $memory | float64) 134217728.0 }}
{{ $role }}.resources.limits.memory: {{ $memory }} is less than tollgate needs: set 128Mi at the least; 512Mi take requests of 15 MiB
{{- end }}
{{- range $key, $limit := $values.resources.limits }}
{{- with index $values.resources.requests $key }}
{{- if gt (include "tollgate.amount" (list $key .) | float64) (include "tollgate.amount" (list $key $limit) | float64) }}
{{ $role }}.resources.requests.{{ $key }}: {{ . }} is more than its limit, {{ $limit }}: lower it
{{- end }}
{{- end }}
{{- end }}
{{- with include "tollgate.get" (list $config "limits" "memory") }}
{{- if gt (include "tollgate.bytes" . | float64) (include "tollgate.bytes" $memory | float64) }}
{{ $role }}.config.limits.memory: {{ . }} is more than the container's limit, {{ $memory }}: remove it, because tollgate reads the container's
{{- end }}
{{- end }}
{{- $shutdown := include "tollgate.get" (list $config "limits" "shutdown") | default "10s" }}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 (default dict $values.lifecycle) | int }}
{{- $needed := add $sleep 5 (mulf 2 (include "tollgate.seconds" $shutdown) | ceil | int) }}
{{- if lt (int $root.terminationGracePeriodSeconds) (int $needed) }}
terminationGracePeriodSeconds: {{ $root.terminationGracePeriodSeconds }} is less than {{ $role }} needs to stop in order, {{ $needed }}: preStop.sleep ({{ $sleep }} s), twice limits.shutdown ({{ $shutdown }}), and 5 s. Raise it, or lower {{ $role }}.config.limits.shutdown
{{- end }}

{{- /* ports */ -}}
{{- $ports := dict "extensions.health_check" "13133" "extensions.admin" "8888" }}
{{- if has $role (list "gateway" "edge") }}{{ $ports = merge $ports (dict "receivers.otlp.protocols.grpc" "4317" "receivers.otlp.protocols.http" "4318") }}{{ end }}
{{- range $where, $port := $ports }}
{{- with include "tollgate.get" (concat (list $config) (splitList "." $where) (list "endpoint")) }}
{{- if not (regexMatch (printf ":%s$" $port) .) }}
{{ $role }}.config.{{ $where }}.endpoint: {{ . }} is not where the chart's Service and probes look: write 0.0.0.0:{{ $port }}
{{- else if regexMatch "^(127\\.|localhost|\\[::1\\])" . }}
{{ $role }}.config.{{ $where }}.endpoint: {{ . }} can't be reached from outside the pod: write 0.0.0.0:{{ $port }}
{{- end }}
{{- end }}
{{- end }}
{{- $extensions := dig "service" "extensions" list $config | default list }}
{{- if not (and (has "health_check" $extensions) (include "tollgate.get" (list $config "extensions" "health_check" "endpoint"))) }}
{{ $role }}.config.service.extensions: without health_check on 0.0.0.0:13133 the kubelet's probes fail, and restart each pod: put it back
{{- end }}
{{- if eq $role "sidecar" }}
{{- range list "grpc" "http" }}
{{- $endpoint := include "tollgate.get" (list $config "receivers" "otlp" "protocols" . "endpoint") }}
{{- if and $endpoint (not (regexMatch "^(127\\.|localhost|\\[::1\\]|unix:)" $endpoint)) (not (dig "receivers" "otlp" "auth" nil $config)) }}
sidecar.config.receivers.otlp.protocols.{{ . }}.endpoint: {{ $endpoint }} takes data from every pod: write 127.0.0.1, or set receivers.otlp.auth
{{- end }}
{{- end }}
{{- end }}
{{- if and $root.networkPolicy.enabled (ne $role "sidecar") }}
{{- $egress := list }}
{{- range $root.networkPolicy.egressPorts }}{{ $egress = append $egress (toString .) }}{{ end }}
{{- range $root.networkPolicy.extraEgress }}
{{- range .ports | default (list (dict "port" "*")) }}{{ $egress = append $egress (toString .port) }}{{ end }}
{{- end }}
{{- $targets := dict }}
{{- range $name, $exporter := dig "exporters" dict $config }}
{{- with $exporter }}
{{- range .brokers }}{{ $_ := set $targets . (printf "exporters.%s.brokers" $name) }}{{ end }}
{{- with .endpoint }}{{ $_ := set $targets . (printf "exporters.%s.endpoint" $name) }}{{ end }}
{{- end }}
{{- end }}
{{- range $name, $receiver := dig "receivers" dict $config }}
{{- if $receiver }}{{ range $receiver.brokers }}{{ $_ := set $targets . (printf "receivers.%s.brokers" $name) }}{{ end }}{{ end }}
{{- end }}
{{- with include "tollgate.get" (list $vault "store" "s3" "endpoint") }}{{ $_ := set $targets . "processors.vault.store.s3.endpoint" }}{{ end }}
{{- range $target, $where := $targets }}
{{- $port := regexReplaceAll "^([a-z]+://)?[^/]*:([0-9]+)(/.*)?$" $target "${2}" }}
{{- if eq $port $target }}{{ $port = hasPrefix "http://" $target | ternary "80" "443" }}{{ end }}
{{- if not (or (has $port $egress) (has "*" $egress) (regexMatch "127\\.0\\.0\\.1|localhost|\\$\\{" $target)) }}
networkPolicy.egressPorts lacks {{ $port }}, the port of {{ $target }} ({{ $role }}.config.{{ $where }}): add it
{{- end }}
{{- end }}
{{- end }}

{{- /* who may read what */ -}}
{{- with $values.secrets }}
{{- if not (or .secretName .secretProviderClass) }}
{{ $role }}.secrets: neither secretName nor secretProviderClass is set: name one of them
{{- end }}
{{- end }}
{{- if and $values.serviceAccount.annotations (not $values.serviceAccount.create) }}
{{ $role }}.serviceAccount.annotations would be ignored, because create is false: annotate the account {{ include "tollgate.serviceAccountName" . }} yourself
{{- end }}
{{- if $root.serviceMonitor.enabled }}
{{- $key := $root.serviceMonitor.tokenSecret.key }}
{{- if not (has "admin" $extensions) }}
serviceMonitor.enabled: {{ $role }}.config.service.extensions has no admin, whose port is scraped: put it back
{{- end }}
{{- if and (dig "extensions" "admin" "tls" nil $config) (not $root.serviceMonitor.tlsConfig) }}
serviceMonitor.tlsConfig is empty, but {{ $role }}.config.extensions.admin.tls is set: say how Prometheus checks the certificate (ca, serverName)
{{- end }}
{{- if not $root.serviceMonitor.tokenSecret.name }}
{{- if $values.secrets.secretProviderClass }}
serviceMonitor.tokenSecret.name is empty, and {{ $role }}.secrets has a secretProviderClass and no Secret: name the Secret with the token
{{- else }}
{{- $auth := dig "extensions" "admin" "auth" nil $config }}
{{- $file := printf "${file:/etc/tollgate/secrets/%s}" $key }}
{{- if $auth }}
{{- if or (eq $file (include "tollgate.get" (list $auth "bearer"))) (has $file (dig "tokens" "operator" list $auth)) (has $file (dig "tokens" "tapper" list $auth)) }}
serviceMonitor.tokenSecret.key: {{ $key }} may also change things or see traffic: give Prometheus a token that is only under {{ $role }}.config.extensions.admin.auth.tokens.scraper
{{- else if not (or (has $file (dig "tokens" "scraper" list $auth)) (has $file (dig "tokens" "viewer" list $auth))) }}
serviceMonitor.tokenSecret.key: {{ $role }} does not know the token {{ $key }}: list {{ $file }} under {{ $role }}.config.extensions.admin.auth.tokens.scraper
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* names that the chart uses itself */ -}}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" }}
{{- if hasKey $values.podLabels $key }}
{{ $role }}.podLabels: selectors need the chart's own {{ $key }}: remove it
{{- end }}
{{- end }}
{{- if hasKey $values.podAnnotations "checksum/config" }}
{{ $role }}.podAnnotations: checksum/config is the chart's own, and restarts pods for a new configuration: remove it
{{- end }}
{{- $reserved := dict "extraContainers" (list "tollgate" "validate") "initContainers" (list "tollgate" "validate") "containers" (list "tollgate" "validate") "extraVolumes" (list "config" "secrets" "signing-keys" "spool" "vault" "work") "extraEnv" (list "POD_NAME") }}
{{- range $key, $names := $reserved }}
{{- range (index $values $key) }}
{{- if has .name $names }}
{{ $role }}.{{ $key }}: {{ .name }} is a name that the chart uses itself: choose another one
{{- end }}
{{- end }}
{{- end }}

{{- /* the configuration, beyond its schema */ -}}
{{- range $kind := list "receivers" "processors" "exporters" }}
{{- range $signal, $pipeline := dig "service" "pipelines" dict $config }}
{{- range (index (default dict $pipeline) $kind) }}
{{- if not (or (hasKey (index $config $kind | default dict) .) (hasKey (index $config "connectors" | default dict) .)) }}
{{ $role }}.config.service.pipelines.{{ $signal }}.{{ $kind }}: there is no {{ . }} in {{ $role }}.config.{{ $kind }}: define it, or write the list without it
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $extensions }}
{{- if not (hasKey (index $config "extensions" | default dict) .) }}
{{ $role }}.config.service.extensions: there is no {{ . }} in {{ $role }}.config.extensions: define it, or write the list without it
{{- end }}
{{- end }}
{{- $text := toYaml $config }}
{{- range regexFindAll "\\$\\{file:[^}]+\\}" $text -1 | uniq }}
{{- $path := trimSuffix "}" . | trimPrefix "${file:" }}
{{- $found := dict }}
{{- range $mounts }}{{ if hasPrefix (printf "%s/" .) $path }}{{ $_ := set $found . true }}{{ end }}{{ end }}
{{- if not $found }}
{{ $role }}.config names {{ . }}, which no volume has: put it into the Secret (/etc/tollgate/secrets/…), or mount it (extraVolumes, extraVolumeMounts)
{{- end }}
{{- end }}
{{- $known := list "POD_NAME" }}
{{- range $values.extraEnv }}{{ $known = append $known .name }}{{ end }}
{{- if not $values.envFrom }}
{{- range regexFindAll "\\$\\{env:\\w+\\}" $text -1 | uniq }}
{{- if not (has (trimSuffix "}" . | trimPrefix "${env:") $known) }}
{{ $role }}.config names {{ . }}, which the pod does not have: add it to {{ $role }}.extraEnv
{{- end }}
{{- end }}
{{- end }}
{{- if $vault }}
{{- if not $vault.recipients }}
{{ $role }}.config.processors.vault.recipients is empty: list the auditors' public keys (tollgate vault keygen)
{{- end }}
{{- if not $vault.store }}
{{ $role }}.config.processors.vault.store is empty: set s3 or directory
{{- end }}
{{- if and $root.signingKeys.secretName $vault.signing_key }}
{{ $role }}.config.processors.vault.signing_key: signingKeys.secretName already gives each pod its key: set one of them
{{- end }}
{{- if and $several (not (contains "${" ($vault.writer | default "${"))) }}
{{ $role }}.config.processors.vault.writer: all replicas would write as {{ $vault.writer }}, and their chains would fork: write "${env:POD_NAME}"
{{- end }}
{{- end }}
{{- if and $several (not (dig "pseudonyms" "key" nil $config)) }}
{{ $role }}.config.pseudonyms.key is empty, so each replica would make its own and know a user under another name: set the same for all
{{- end }}
{{- with $values.autoscaling }}
{{- if .enabled }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{ $role }}.autoscaling.minReplicas: {{ .minReplicas }} is more than maxReplicas, {{ .maxReplicas }}: lower it
{{- end }}
{{- if and (eq $role "edge") (not $values.resources.requests.cpu) }}
edge.resources.requests.cpu is empty, and the autoscaler needs it for its percentage: set it
{{- end }}
{{- if and (eq $role "worker") (gt (int .maxReplicas) (int $values.partitions)) }}
worker.autoscaling.maxReplicas: {{ .maxReplicas }} workers for {{ $values.partitions }} partitions; at most one worker per partition: lower it, or add partitions and raise worker.partitions
{{- end }}
{{- end }}
{{- end }}
{{- if eq $role "edge" }}
{{- range $name, $exporter := dig "exporters" dict $config }}
{{- if and $exporter (eq (default "" $exporter.ack) "spooled") }}
edge.config.exporters.{{ $name }}.ack: spooled needs a volume that outlives the pod, which edges don't have: remove it
{{- end }}
{{- end }}
{{- if not (dig "exporters" "kafka" "brokers" nil $config) }}
edge.config.exporters.kafka.brokers is empty: list host:port of some brokers
{{- end }}
{{- end }}
{{- if eq $role "worker" }}
{{- if not (dig "receivers" "kafka" "brokers" nil $config) }}
worker.config.receivers.kafka.brokers is empty: list host:port of some brokers
{{- end }}
{{- if gt (int $values.replicas) (int $values.partitions) }}
worker.replicas: {{ $values.replicas }} workers for {{ $values.partitions }} partitions; at most one worker per partition: lower it, or add partitions and raise worker.partitions
{{- end }}
{{- $member := include "tollgate.get" (list $config "receivers" "kafka" "group_instance_id") }}
{{- if and $several $member (not (contains "${" $member)) }}
worker.config.receivers.kafka.group_instance_id: all workers would be {{ $member }}, and only one may read: write "${env:POD_NAME}"
{{- end }}
{{- end }}
{{- if and (eq $role "sidecar") (not $values.containers) }}
sidecar.containers is empty: list your app's containers
{{- end }}
{{- end }}
