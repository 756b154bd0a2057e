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
The APIs by dialect, the fields of spec that the gateway may write, and the label without which an
object is no sandbox. byService: where its pods are, Services and their EndpointSlices tell.
*/ -}}
{{- define "sandbox-gateway.apis" -}}
native:
  group: sandbox-gateway.dev
  versions: [v1alpha1]
  resource: sandboxes
  fields: [desiredState]
kruise:
  group: agents.kruise.io
  versions: [v1alpha1]
  resource: sandboxes
  fields: [paused, pauseTime, shutdownTime]
agent-sandbox:
  group: agents.x-k8s.io
  versions: [v1alpha1, v1beta1]
  resource: sandboxes
  fields: [operatingMode, replicas]
{{- range tuple "deployment" "statefulset" }}
{{ . }}:
  group: apps
  versions: [v1]
  resource: {{ . }}s
  fields: [replicas]
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
{{- regexFind "[0-9]+$" .Values.settings.admin_listen -}}
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
