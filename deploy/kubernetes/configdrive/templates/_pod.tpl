{{/* What a container may: nothing but compute, read, and write to what is mounted for it. */}}
{{- define "configdrive.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
A pod's template, the same for every process. Takes
  root         the chart's scope
  component    its label
  role         the container's name: worker, storage-sweep, wakeup, cloudstack, cloudstack-gate, flower, doctor
  pod          `pods` with what the component says otherwise
  secret       the secret whose files it gets in /run/configdrive
  hosts        whether it works on hypervisors: key file, inventory
  grace        seconds between TERM and KILL
  settings     more settings, for this process alone; may be left out
  ports        the container's ports beside that of metrics; may be left out
  run          command or args, and probes of the container, as YAML
*/}}
{{- define "configdrive.pod" -}}
{{- $metrics := and .root.Values.metrics.enabled (has .role (list "worker" "storage-sweep" "cloudstack" "cloudstack-gate")) -}}
metadata:
  labels:
    {{- include "configdrive.selector" . | nindent 4 }}
    {{- with .pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $annotations := deepCopy (.pod.annotations | default dict) }}
  {{- if and $metrics .root.Values.metrics.annotations }}
  {{- $_ := set $annotations "prometheus.io/scrape" "true" }}
  {{- $_ := set $annotations "prometheus.io/port" (toString .root.Values.metrics.port) }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  # Or each service is a variable, and that of Flower (CONFIGDRIVE_FLOWER_PORT, ...) looks like a setting.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- range $field := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
  {{- with get $.pod $field }}
  {{ $field }}:
    {{- if kindIs "string" . }} {{ . }}{{ else }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- end }}
  {{- end }}
  {{- $image := printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) }}
  initContainers:
    # A mounted secret is readable for the pod's group; a key file that others can read is refused.
    - name: secrets
      image: {{ $image | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [sh, -c, "install -m 0400 /secrets/* /run/configdrive/"]
      resources: {{- toYaml .pod.resources | nindent 8 }}
      securityContext: {{- include "configdrive.confined" . | nindent 8 }}
      volumeMounts:
        - name: secrets
          mountPath: /secrets
          readOnly: true
        - name: run
          mountPath: /run/configdrive
  containers:
    - name: {{ .role }}
      image: {{ $image | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- .run | nindent 6 }}
      {{- $ports := .ports | default list }}
      {{- if $metrics }}
      {{- $ports = append $ports (dict "name" "metrics" "containerPort" .root.Values.metrics.port) }}
      {{- end }}
      {{- with $ports }}
      ports: {{- toYaml . | nindent 8 }}
      {{- end }}
      env: {{- include "configdrive.env" . | trim | nindent 8 }}
      resources: {{- toYaml .pod.resources | nindent 8 }}
      securityContext: {{- include "configdrive.confined" . | nindent 8 }}
      volumeMounts:
        - name: run
          mountPath: /run/configdrive
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if .hosts }}
        - name: inventory
          mountPath: /etc/configdrive
          readOnly: true
        {{- end }}
        {{- with .pod.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: secrets
      secret:
        secretName: {{ .secret }}
    - name: run
      emptyDir:
        medium: Memory
    - name: tmp
      emptyDir: {}
    {{- if .hosts }}
    - name: inventory
      secret:
        secretName: {{ .root.Values.secrets.inventory }}
        defaultMode: 0440
    {{- end }}
    {{- with .pod.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
