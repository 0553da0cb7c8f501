{{- /* A role is one kind of pod: gateway, edge, worker or sidecar. Templates get (dict "root" $ "role" ROLE). */ -}}

{{- define "tollgate.roles" -}}
{{- if eq .Values.kind "fleet" }}edge worker{{ else }}{{ .Values.kind }}{{ end }}
{{- end }}

{{- define "tollgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tollgate.roleName" -}}
{{- include "tollgate.fullname" .root }}{{ if eq .root.Values.kind "fleet" }}-{{ .role }}{{ end }}
{{- end }}

{{- define "tollgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "tollgate.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tollgate.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tollgate.labels" -}}
{{ include "tollgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "tollgate.metadata" -}}
name: {{ include "tollgate.roleName" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "tollgate.labels" . | nindent 2 }}
{{- end }}

{{- /* Fails for values that would lose data or that tollgate would refuse at its start. */ -}}
{{- define "tollgate.check" -}}
{{- $role := .role }}
{{- $values := index .root.Values .role -}}
{{- with $values.spool }}
{{- if and .emptyDir (not .acceptLossOfUndeliveredData) }}
{{- fail (printf "%s.spool.emptyDir: accepted data that was not yet delivered would be deleted with the pod. Leave it false, or also set %s.spool.acceptLossOfUndeliveredData: true" $role $role) }}
{{- end }}
{{- end }}
{{- with dig "processors" "vault" nil $values.config }}
{{- if not .recipients }}
{{- fail (printf "%s.config.processors.vault.recipients is empty: list the auditors' public keys (tollgate vault keygen)" $role) }}
{{- end }}
{{- if not .store }}
{{- fail (printf "%s.config.processors.vault.store is empty: set s3 or directory" $role) }}
{{- end }}
{{- end }}
{{- if eq $role "edge" }}
{{- range $name, $exporter := $values.config.exporters }}
{{- if and (kindIs "map" $exporter) (eq (default "" $exporter.ack) "spooled") }}
{{- fail (printf "edge.config.exporters.%s.ack: spooled needs a volume that outlives the pod, which edges don't have" $name) }}
{{- end }}
{{- if and (eq $name "kafka") (not $exporter.brokers) }}
{{- fail "edge.config.exporters.kafka.brokers is empty: list host:port of some brokers" }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $role "worker" }}
{{- if not (dig "receivers" "kafka" "brokers" nil $values.config) }}
{{- fail "worker.config.receivers.kafka.brokers is empty: list host:port of some brokers" }}
{{- end }}
{{- if gt (int $values.replicas) (int $values.partitions) }}
{{- fail (printf "worker.replicas: %d workers for %d partitions; at most one worker per partition" (int $values.replicas) (int $values.partitions)) }}
{{- end }}
{{- end }}
{{- if eq $role "sidecar" }}
{{- if not $values.containers }}
{{- fail "sidecar.containers is empty: list your app's containers" }}
{{- end }}
{{- if and $values.native (semverCompare "<1.29-0" .root.Capabilities.KubeVersion.Version) }}
{{- fail "sidecar.native needs Kubernetes 1.29: set sidecar.native: false" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The container of tollgate; `native: true` makes it a native sidecar. */ -}}
{{- define "tollgate.container" -}}
{{- $image := .root.Values.image }}
{{- $values := index .root.Values .role -}}
- name: tollgate
  image: {{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end }}
  imagePullPolicy: {{ $image.pullPolicy }}
  {{- if .native }}
  restartPolicy: Always
  {{- end }}
  args: [run, --watch, --config=/etc/tollgate/config/config.yaml]
  env:
    - name: POD_NAME
      valueFrom: { fieldRef: { fieldPath: metadata.name } }
    {{- with $values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- if has .role (list "gateway" "edge") }}
    - { name: otlp-grpc, containerPort: 4317 }
    - { name: otlp-http, containerPort: 4318 }
    {{- end }}
    - { name: metrics, containerPort: 8888 }
    - { name: health, containerPort: 13133 }
  # A start reads and checks the whole spool: 8 GiB take 65 s on a volume of 125 MiB/s.
  startupProbe: { httpGet: { path: /, port: health }, periodSeconds: 1, failureThreshold: 900 }
  livenessProbe: { httpGet: { path: /livez, port: health }, periodSeconds: 10, failureThreshold: 3 }
  # `/readyz` also fails while the spool is full: only where a Service has other replicas to choose.
  readinessProbe: { httpGet: { path: {{ has .role (list "gateway" "edge") | ternary "/readyz" "/" }}, port: health }, periodSeconds: 5 }
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    # The folder and not the file by `subPath`, because the kubelet never updates a `subPath`.
    - { name: config, mountPath: /etc/tollgate/config, readOnly: true }
    - { name: secrets, mountPath: /etc/tollgate/secrets, readOnly: true }
    - { name: {{ eq .role "edge" | ternary "work" "spool" }}, mountPath: /var/lib/tollgate }
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "tollgate.podTemplate" -}}
{{- $root := .root }}
{{- $values := index .root.Values .role -}}
{{- $native := and (eq .role "sidecar") $values.native }}
{{- $container := include "tollgate.container" (dict "root" .root "role" .role "native" $native) -}}
metadata:
  labels:
    {{- include "tollgate.selectorLabels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "tollgate.serviceAccountName" $root }}
  automountServiceAccountToken: {{ and (eq .role "sidecar") $values.mountServiceAccountToken | default false }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- if $native }}
  initContainers:
    {{- $container | nindent 4 }}
  {{- end }}
  containers:
    {{- if not $native }}
    {{- $container | nindent 4 }}
    {{- end }}
    {{- if eq .role "sidecar" }}
    {{- toYaml $values.containers | nindent 4 }}
    {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "tollgate.roleName" . }} }
    - name: secrets
      {{- with $root.Values.secrets.secretProviderClass }}
      csi: { driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: { secretProviderClass: {{ . | quote }} } }
      {{- else }}
      secret: { secretName: {{ $root.Values.secrets.secretName }}, defaultMode: 0440 }
      {{- end }}
    {{- if eq .role "edge" }}
    # Holds no accepted data: an edge answers OK when Kafka has it.
    - name: work
      emptyDir: { sizeLimit: 4Gi }
    {{- else if $values.spool.emptyDir }}
    - name: spool
      emptyDir: { sizeLimit: {{ $values.spool.size }} }
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if $root.Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- $context := . }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "tollgate.selectorLabels" $context | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
  {{- with index $values $key }}
  {{ $key }}: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
