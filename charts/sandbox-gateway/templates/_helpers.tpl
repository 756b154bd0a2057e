{{- define "sandbox-gateway.fullname" -}}
{{- $joined := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- /* 63, less the longest suffix that is put after it. */ -}}
{{- .Values.fullnameOverride | default $joined | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sandbox-gateway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sandbox-gateway.labels" -}}
{{ include "sandbox-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "sandbox-gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "sandbox-gateway.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sandbox-gateway.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is needed: where you pushed what the Dockerfile builds" $image.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /*
The APIs by dialect; `states`: fields of spec that say what is wanted, and as CEL their value of a
sandbox that is awake and of one that sleeps. One that is not there wants it awake. `label`: without
it, an object is no sandbox. `times`: its controller pauses and ends it by its own clock. `byService`:
where its pods are, Services and their EndpointSlices tell.
*/ -}}
{{- define "sandbox-gateway.apis" -}}
native:
  group: sandbox-gateway.dev
  versions: [v1alpha1]
  resource: sandboxes
  states:
    desiredState: {awake: "'Running'", asleep: "'Paused'"}
kruise:
  group: agents.kruise.io
  versions: [v1alpha1]
  resource: sandboxes
  states:
    paused: {awake: "false", asleep: "true"}
  times: [pauseTime, shutdownTime]
agent-sandbox:
  group: agents.x-k8s.io
  versions: [v1alpha1, v1beta1]
  resource: sandboxes
  states:
    operatingMode: {awake: "'Running'", asleep: "'Suspended'"}
    replicas: {awake: "1", asleep: "0"}
{{- range tuple "deployment" "statefulset" }}
{{ . }}:
  group: apps
  versions: [v1]
  resource: {{ . }}s
  counted: replicas
  label: sandbox-gateway.dev/enabled
  byService: true
{{- end }}
{{- end -}}

{{- /* The APIs of settings.dialects alone. */ -}}
{{- define "sandbox-gateway.watched" -}}
{{- $apis := include "sandbox-gateway.apis" . | fromYaml -}}
{{- range .Values.settings.dialects }}
{{ . }}: {{ get $apis . | required (printf "settings.dialects: the chart knows no API for %s" .) | toJson }}
{{- end }}
{{- end -}}

{{- define "sandbox-gateway.rules" -}}
{{- $byService := false }}
{{- range $api := include "sandbox-gateway.watched" . | fromYaml }}
{{- $byService = or $byService $api.byService }}
- apiGroups: [{{ $api.group }}]
  resources: [{{ $api.resource }}]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if $byService }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
{{- end }}
{{- if .Values.settings.resize }}
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [patch]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* What is mounted: a volume each, and the settings or variables that its keys are for. */ -}}
{{- define "sandbox-gateway.volumes" -}}
{{- with .Values.files }}
{{- with .adminToken }}{{ if .secret }}
- name: admin-token
  secret: {{ .secret }}
  keys: {admin_token_file: {{ .key }}}
{{- end }}{{ end }}
{{- with .observerToken }}{{ if .secret }}
- name: observer-token
  secret: {{ .secret }}
  keys: {observer_token_file: {{ .key }}}
{{- end }}{{ end }}
{{- with .scopedTokenKeys }}{{ if .secret }}
- name: scoped-token-keys
  secret: {{ .secret }}
  keys: {scoped_token_keys_file: {{ .key }}}
{{- end }}{{ end }}
{{- with .jwks }}{{ if .configMap }}
- name: jwks
  configMap: {{ .configMap }}
  keys: {jwt_jwks: {{ .key }}}
{{- end }}{{ end }}
{{- with .tls }}{{ if .secret }}
- name: tls
  secret: {{ .secret }}
  keys:
    tls_certificate_file: tls.crt
    tls_key_file: tls.key
    {{- if .clientCa }}
    tls_client_ca_file: ca.crt
    {{- end }}
{{- end }}{{ end }}
{{- with .adminTls }}{{ if .secret }}
- name: admin-tls
  secret: {{ .secret }}
  keys: {admin_tls_certificate_file: tls.crt, admin_tls_key_file: tls.key}
{{- end }}{{ end }}
{{- with .upstreamTls }}{{ if .secret }}
- name: upstream-tls
  secret: {{ .secret }}
  keys: {upstream_tls_certificate_file: tls.crt, upstream_tls_key_file: tls.key}
{{- end }}{{ end }}
{{- with .upstreamCa }}{{ if .configMap }}
- name: upstream-ca
  configMap: {{ .configMap }}
  keys: {upstream_tls_ca_file: {{ .key }}}
{{- end }}{{ end }}
{{- with .ca }}{{ if .configMap }}
- name: ca
  configMap: {{ .configMap }}
  variables: {SSL_CERT_FILE: {{ .key }}}
{{- end }}{{ end }}
{{- with .pageTemplate }}{{ if .configMap }}
- name: page-template
  configMap: {{ .configMap }}
  keys: {page_template_file: {{ .key }}}
{{- end }}{{ end }}
{{- end }}
{{- end -}}

{{- define "sandbox-gateway.directory" -}}/etc/sandbox-gateway{{- end -}}

{{- define "sandbox-gateway.observerSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-observer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* The Leases by which replicas settle which of them puts sandboxes to sleep, and which right-sizes. */ -}}
{{- define "sandbox-gateway.leases" -}}
{{- $name := include "sandbox-gateway.fullname" . -}}
{{- if .Values.settings.standby }}
- {{ $name }}
{{- end }}
{{- if .Values.settings.resize }}
- {{ $name }}-resize
{{- end }}
{{- end -}}

{{- /* How replicas find each other and settle which of them leads, and what they go by. */ -}}
{{- define "sandbox-gateway.replicas" -}}
{{- if .Values.settings.standby }}
{{- $_ := required "settings.standby needs files.adminToken: with it the replicas ask each other before a sandbox sleeps" .Values.files.adminToken.secret }}
{{- end }}
{{- if .Values.settings.resize }}
{{- $_ := required "settings.resize needs files.adminToken: no gateway has a Lease without it" .Values.files.adminToken.secret }}
{{- end }}
{{- if include "sandbox-gateway.leases" . }}
lease_name: {{ include "sandbox-gateway.fullname" . }}
pod_namespace: {{ .Release.Namespace }}
peer_selector: app.kubernetes.io/name={{ .Chart.Name }},app.kubernetes.io/instance={{ .Release.Name }}
{{- end }}
{{- if .Values.observer.enabled }}
{{- if not .Values.settings.standby }}
{{- fail "observer.enabled has no effect: settings.standby is false" }}
{{- end }}
{{- $_ := required "observer.enabled needs files.observerToken: the observers show it to the gateways" .Values.files.observerToken.secret }}
observe_connections: true
{{- end }}
{{- end -}}

{{- /* The gateway's own file of settings. JSON is YAML, and toYaml would write 10000000 as 1e+07. */ -}}
{{- define "sandbox-gateway.settings" -}}
{{- $choice := "settings.auth_mode is needed, and has no default, since it decides who may reach and wake sandboxes: access-token, scoped-token, jwt or none" -}}
{{- $_ := required $choice .Values.settings.auth_mode -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $directory := include "sandbox-gateway.directory" . -}}
{{- range $volume := include "sandbox-gateway.volumes" . | fromYamlArray -}}
{{- range $setting, $key := $volume.keys -}}
{{- if get $settings $setting -}}
{{- fail (printf "settings.%s and a file for it are both given" $setting) -}}
{{- end -}}
{{- $_ := set $settings $setting (printf "%s/%s/%s" $directory $volume.name $key) -}}
{{- end -}}
{{- end -}}
{{- $settings = merge $settings (include "sandbox-gateway.replicas" . | fromYaml) -}}
{{- range $name, $value := $settings -}}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ toJson $value }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sandbox-gateway.dataPort" -}}
{{- regexFind "[0-9]+$" .Values.settings.data_listen -}}
{{- end -}}

{{- define "sandbox-gateway.adminPort" -}}
{{- $port := regexFind "[0-9]+$" .Values.settings.admin_listen -}}
{{- if eq $port (include "sandbox-gateway.dataPort" .) -}}
{{- fail "settings.data_listen and settings.admin_listen need ports of their own" -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{- define "sandbox-gateway.agentsPort" -}}
{{- $port := regexFind "[0-9]+$" .Values.settings.resize_listen -}}
{{- if has $port (list (include "sandbox-gateway.dataPort" .) (include "sandbox-gateway.adminPort" .)) -}}
{{- fail "settings.resize_listen needs a port of its own" -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{- /* Where sandboxes are, as peers of a NetworkPolicy. */ -}}
{{- define "sandbox-gateway.sandboxPeers" -}}
{{- if .Values.networkPolicy.sandboxesTo -}}
{{- toYaml .Values.networkPolicy.sandboxesTo -}}
{{- else if .Values.settings.namespaces -}}
- namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson .Values.settings.namespaces }}}
{{- else -}}
- namespaceSelector: {}
{{- end -}}
{{- end -}}

{{- /* A Go duration such as 1h30m in whole seconds, rounded up. */ -}}
{{- define "sandbox-gateway.seconds" -}}
{{- $inSeconds := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 1e-3 "us" 1e-6 "µs" 1e-6 "ns" 1e-9 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9.]+(h|ms|m|s|us|µs|ns)" . -1 -}}
{{- $amount := regexFind "^[0-9.]+" . -}}
{{- $total = addf $total (mulf (float64 $amount) (get $inSeconds (trimPrefix $amount .))) -}}
{{- end -}}
{{- ceil $total | int64 -}}
{{- end -}}

{{- /* Drained requests end before the kubelet's SIGKILL; the margin is for what is closed after. */ -}}
{{- define "sandbox-gateway.gracePeriod" -}}
{{- $delay := include "sandbox-gateway.seconds" .Values.settings.drain_delay | int64 -}}
{{- $drain := include "sandbox-gateway.seconds" .Values.settings.drain_timeout | int64 -}}
{{- $needed := add $delay $drain 15 -}}
{{- $wanted := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $wanted -}}
{{ $needed }}
{{- else if lt (int64 $wanted) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but draining needs %d: drain_delay, drain_timeout and 15 s" (int64 $wanted) $needed) -}}
{{- else -}}
{{ int64 $wanted }}
{{- end -}}
{{- end -}}
