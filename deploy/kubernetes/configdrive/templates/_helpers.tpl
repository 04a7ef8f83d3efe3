{{/* Names, settings and probes. Each takes what its comment says; `root` is always the chart's own scope. */}}

{{/* The name in front of all objects: the release, with "configdrive" unless that is in it. Takes the root. */}}
{{- define "configdrive.name" -}}
{{- if contains "configdrive" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-configdrive{{ end }}
{{- end }}

{{/* By what pods are found; never changed, as a Deployment could not be upgraded. Takes root, component. */}}
{{- define "configdrive.selector" -}}
app.kubernetes.io/name: configdrive
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Name and labels of an object. Takes root, component, and more labels. */}}
{{- define "configdrive.metadata" -}}
{{- $name := printf "%s-%s" (include "configdrive.name" .root) .component }}
{{- if gt (len $name) 54 }}
{{- fail (printf "the name %q is too long: at most 54 characters, of which KEDA's own objects make 63; shorten the release's name or the entry's in workers" $name) }}
{{- end -}}
name: {{ $name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "configdrive.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* One entry of `workers`, with what it leaves out taken from `scaling` and `pods`. Takes root, name, entry. */}}
{{- define "configdrive.worker" -}}
{{- $worker := mergeOverwrite (deepCopy .root.Values.pods) (deepCopy .root.Values.scaling) (deepCopy (.entry | default dict)) }}
{{- $_ := set $worker "hypervisor" ($worker.hypervisor | default .name) }}
{{- $_ := set $worker "component" (printf "worker-%s" .name) }}
{{- range $worker.zones }}
{{- if not (has . ($.root.Values.settings.zones | default list)) }}
{{- fail (printf "workers.%s.zones: %q is not in settings.zones, so no event is ever sent to its queue" $.name .) }}
{{- end }}
{{- end }}
{{- toJson $worker }}
{{- end }}

{{/* A setting as the text of an environment variable: Helm reads every number as a float. */}}
{{- define "configdrive.text" -}}
{{- if or (kindIs "slice" .) (kindIs "map" .) }}{{ toJson . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}
{{- else }}{{ toString . }}
{{- end }}
{{- end }}

{{/* The environment: settings, and where this process finds its files. Takes what a pod does. */}}
{{- define "configdrive.env" -}}
{{- $settings := dict "settings" "/run/configdrive/settings.toml" }}
{{- if ne .role "flower" }}
{{- $_ := set $settings "health_file" "/tmp/alive" }}
{{- end }}
{{- if .hosts }}
{{- $_ := set $settings "keys_file" "/run/configdrive/keys.json" }}
{{- $_ := set $settings "inventory" "/etc/configdrive/inventory.toml" }}
{{- end }}
{{- if and .root.Values.metrics.enabled (has .role (list "worker" "storage-sweep" "cloudstack" "cloudstack-gate")) }}
{{- $_ := set $settings "metrics_port" .root.Values.metrics.port }}
{{- $_ := set $settings "metrics_address" "0.0.0.0" }}
{{- end }}
{{- range $name, $value := merge $settings (.settings | default dict) .root.Values.settings }}
- name: CONFIGDRIVE_{{ upper $name }}
  value: {{ include "configdrive.text" $value | quote }}
{{- end }}
{{- with .pod.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How long TERM leaves to an event in work: its limit, 35 s to write down what became of it, and a margin. */}}
{{- define "configdrive.grace" -}}
{{- add (ceil (.Values.settings.task_seconds | default 300)) 60 }}
{{- end }}

{{/*
Probes by the file that a living process touches. When its loop hangs, the file grows old; a Redis that is away restarts
nothing. Takes startSeconds, readyMinutes, aliveMinutes.
*/}}
{{- define "configdrive.probes" -}}
startupProbe:
  exec:
    command: [test, -e, /tmp/alive]
  periodSeconds: 2
  failureThreshold: {{ div .startSeconds 2 }}
readinessProbe:
  exec:
    command: [sh, -c, "find /tmp/alive -mmin -{{ .readyMinutes }} | grep -q ."]
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  exec:
    command: [sh, -c, "find /tmp/alive -mmin -{{ .aliveMinutes }} | grep -q ."]
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
