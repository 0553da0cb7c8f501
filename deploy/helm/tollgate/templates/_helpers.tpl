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
{{- with (index .root.Values .role).serviceAccount }}
{{- .name | default (.create | ternary (include "tollgate.roleName" $) "default") }}
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

{{- /* The scalar at a path of a map, "" where there is none: (list MAP "key" "key" …). */ -}}
{{- define "tollgate.get" -}}
{{- $here := first . }}
{{- range rest . }}{{ $here = kindIs "map" $here | ternary (index (kindIs "map" $here | ternary $here dict) .) nil }}{{ end }}
{{- if kindIs "float64" $here }}{{ printf "%.0f" $here }}{{ else if not (or (kindIs "invalid" $here) (kindIs "map" $here)) }}{{ $here }}{{ end }}
{{- end }}

{{- /* The folder of a vault that is a directory. */ -}}
{{- define "tollgate.vaultDirectory" -}}
{{- $config := (index .root.Values .role).config }}
{{- $path := list $config "processors" "vault" "store" "directory" }}
{{- include "tollgate.get" $path | default (include "tollgate.get" (append $path "path")) }}
{{- end }}

{{- /* The same, if a volume of its own holds it. */ -}}
{{- define "tollgate.vaultMount" -}}
{{- if dig "vault" "ownVolume" false (index .root.Values .role) }}{{ include "tollgate.vaultDirectory" . }}{{ end }}
{{- end }}

{{- /* The configuration, with the signing key that `signingKeys` gives the pod. */ -}}
{{- define "tollgate.config" -}}
{{- $config := deepCopy (index .root.Values .role).config }}
{{- if and .root.Values.signingKeys.secretName (dig "processors" "vault" nil $config) }}
{{- $_ := set $config.processors.vault "signing_key" "/etc/tollgate/signing.key" }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* What the containers of `run` and of `validate` have in common. The Job passes the name of a pod. */ -}}
{{- define "tollgate.surroundings" -}}
{{- $image := .root.Values.image }}
{{- $values := index .root.Values .role -}}
image: {{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end }}
imagePullPolicy: {{ $image.pullPolicy }}
env:
  - name: POD_NAME
    {{- if .podName }}
    value: {{ .podName }}
    {{- else }}
    valueFrom: { fieldRef: { fieldPath: metadata.name } }
    {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- with .root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  # The folder and not the file by `subPath`, because the kubelet never updates a `subPath`.
  - { name: config, mountPath: /etc/tollgate/config, readOnly: true }
  - { name: secrets, mountPath: /etc/tollgate/secrets, readOnly: true }
  {{- if .root.Values.signingKeys.secretName }}
  - { name: signing-keys, mountPath: /etc/tollgate/signing.key, subPathExpr: $(POD_NAME), readOnly: true }
  {{- end }}
  - { name: {{ eq .role "edge" | ternary "work" "spool" }}, mountPath: /var/lib/tollgate }
  {{- with include "tollgate.vaultMount" . }}
  # A folder of the volume, which has a `lost+found` of its own.
  - { name: vault, mountPath: {{ . }}, subPath: vault }
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "tollgate.validate" -}}
- name: validate
  args: [validate, --config=/etc/tollgate/config/config.yaml]
  {{- include "tollgate.surroundings" . | nindent 2 }}
{{- end }}

{{- /* The container of tollgate. Beside an app it is a native sidecar: it starts before the app and stops after it. */ -}}
{{- define "tollgate.container" -}}
{{- $values := index .root.Values .role -}}
- name: tollgate
  {{- if eq .role "sidecar" }}
  restartPolicy: Always
  {{- end }}
  args: [run, --watch, --config=/etc/tollgate/config/config.yaml]
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
  {{- with $values.lifecycle }}
  lifecycle:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- include "tollgate.surroundings" . | nindent 2 }}
{{- end }}

{{- /* What a pod of a workload and the pod of the Job have in common: who it is, what it may, and what it reads. */ -}}
{{- define "tollgate.identity" -}}
enableServiceLinks: false
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "tollgate.volumes" -}}
{{- $values := index .root.Values .role -}}
- name: secrets
  {{- with $values.secrets.secretProviderClass }}
  csi: { driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: { secretProviderClass: {{ . | quote }} } }
  {{- else }}
  secret: { secretName: {{ $values.secrets.secretName }}, defaultMode: 0440 }
  {{- end }}
{{- with .root.Values.signingKeys.secretName }}
- name: signing-keys
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tollgate.placement" -}}
{{- $values := index .root.Values .role }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $values $key }}
{{ $key }}: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tollgate.podTemplate" -}}
{{- $root := .root }}
{{- $values := index .root.Values .role -}}
{{- $sidecar := eq .role "sidecar" -}}
metadata:
  {{- include "tollgate.podMetadata" . | nindent 2 }}
spec:
  serviceAccountName: {{ include "tollgate.serviceAccountName" . }}
  automountServiceAccountToken: {{ and $sidecar $values.mountServiceAccountToken | default false }}
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  {{- include "tollgate.identity" . | nindent 2 }}
  {{- if or $values.initContainers $root.Values.validation.initContainer $sidecar }}
  initContainers:
    {{- with $values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $root.Values.validation.initContainer }}
    {{- include "tollgate.validate" . | nindent 4 }}
    {{- end }}
    {{- if $sidecar }}
    {{- include "tollgate.container" . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    {{- if $sidecar }}
    {{- toYaml $values.containers | nindent 4 }}
    {{- else }}
    {{- include "tollgate.container" . | nindent 4 }}
    {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "tollgate.roleName" . }} }
    {{- if eq .role "edge" }}
    # Holds no accepted data: an edge answers OK when Kafka has it.
    - name: work
      emptyDir: { sizeLimit: {{ $values.workSize }} }
    {{- else if $values.spool.emptyDir }}
    - name: spool
      emptyDir: { sizeLimit: {{ $values.spool.size }} }
    {{- end }}
    {{- include "tollgate.volumes" . | nindent 4 }}
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
  {{- include "tollgate.placement" . | nindent 2 }}
{{- end }}

{{- /* Labels and annotations of a role's pods; `component` names those that are not the role's own. */ -}}
{{- define "tollgate.podMetadata" -}}
{{- $values := index .root.Values .role -}}
labels:
  {{- include "tollgate.selectorLabels" (dict "root" .root "role" (.component | default .role)) | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include "tollgate.config" . | sha256sum }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* The pod that delivers what waits on the claims of a pod that is gone, whose name it passes. */ -}}
{{- define "tollgate.deliverTemplate" -}}
{{- $values := index .root.Values .role -}}
metadata:
  {{- include "tollgate.podMetadata" (merge (dict "component" (printf "%s-deliver" .role)) .) | nindent 2 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "tollgate.serviceAccountName" . }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
  {{- include "tollgate.identity" . | nindent 2 }}
  {{- if or $values.initContainers $values.extraContainers }}
  initContainers:
    {{- with $values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- range $values.extraContainers }}
    # A native sidecar: it ends with the delivery, or the Job would not.
    - {{- toYaml (set (deepCopy .) "restartPolicy" "Always") | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: deliver
      args: [spool, deliver, --timeout={{ $values.deliver.timeout }}, --config=/etc/tollgate/config/config.yaml]
      {{- include "tollgate.surroundings" . | nindent 6 }}
  volumes:
    - name: config
      configMap: { name: {{ include "tollgate.roleName" . }} }
    - name: spool
      persistentVolumeClaim: { claimName: spool-{{ .podName }} }
    {{- if include "tollgate.vaultMount" . }}
    - name: vault
      persistentVolumeClaim: { claimName: vault-{{ .podName }} }
    {{- end }}
    {{- include "tollgate.volumes" . | nindent 4 }}
  {{- include "tollgate.placement" . | nindent 2 }}
{{- end }}

{{- /* The rules of egress of a NetworkPolicy. */ -}}
{{- define "tollgate.egress" -}}
- ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
{{- with .egressPorts }}
- ports:
    {{- range . }}
    - { port: {{ . }} }
    {{- end }}
{{- end }}
{{- with .extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
