{{/* Name of the chart's objects: the release's, unless that says "carryon" already or another is given. */}}
{{- define "carryon.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What selects the pods of a component; never changes, because a Deployment's selector may not. [root, component] */}}
{{- define "carryon.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of every object. [root, component] */}}
{{- define "carryon.labels" -}}
{{- $root := index . 0 -}}
{{ include "carryon.selector" . }}
app.kubernetes.io/part-of: carryon
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image: registry, repository and digest or tag. [root, image, registry] */}}
{{- define "carryon.image" -}}
{{- $image := index . 1 -}}
{{- $registry := default (index . 2) $image.registry -}}
{{- $path := ternary (printf "%s/%s" (trimSuffix "/" $registry) $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest }}{{ $path }}@{{ $image.digest }}{{ else }}{{ $path }}:{{ default (index . 0).Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- define "carryon.serviceAccount" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- if $account.create }}{{ default (printf "%s-%s" (include "carryon.fullname" $root) $component) $account.name }}{{ else }}{{ required (printf "%s.serviceAccount.name must be set where %s.serviceAccount.create is false" $component $component) $account.name }}{{ end }}
{{- end }}

{{/* Namespaces of jobs: those given, or else those of the installation, or else the release's. [root, given] */}}
{{- define "carryon.jobNamespaces" -}}
{{- $root := index . 0 -}}
{{- toJson (default (default (list $root.Release.Namespace) $root.Values.namespaces) (index . 1)) }}
{{- end }}

{{/* Origin that browsers see. */}}
{{- define "carryon.publicUrl" -}}
{{- if .Values.api.publicUrl }}{{ .Values.api.publicUrl }}
{{- else if and .Values.api.enabled .Values.api.ingress.enabled }}{{ ternary "https" "http" (ne .Values.api.ingress.tlsSecret "") }}://{{ .Values.api.ingress.host }}
{{- end }}
{{- end }}

{{/* Settings that operator and API must have alike. */}}
{{- define "carryon.sharedEnvironment" -}}
- {name: CARRYON_NAMESPACES, value: {{ join "," .Values.namespaces | quote }}}
- {name: CARRYON_DEFAULT_STORE, value: {{ .Values.defaultStore.uri | quote }}}
- {name: CARRYON_DEFAULT_STORE_ENDPOINT, value: {{ .Values.defaultStore.endpoint | quote }}}
- {name: CARRYON_DEFAULT_STORE_REGION, value: {{ .Values.defaultStore.region | quote }}}
- {name: CARRYON_DEFAULT_STORE_SECRET, value: {{ .Values.defaultStore.credentialsSecret | quote }}}
- {name: CARRYON_AMBIENT_CREDENTIALS, value: {{ .Values.ambientCredentials | quote }}}
- {name: CARRYON_FILE_ROOT, value: {{ .Values.fileRoot | quote }}}
{{- end }}

{{/* Pod Security "restricted", and then a root file system that nobody writes to. */}}
{{- define "carryon.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "carryon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a component's pods go. [root, component] */}}
{{- define "carryon.placement" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $settings := index $root.Values $component -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $settings.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $settings.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $settings.affinity }}
affinity: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "carryon.selector" . | nindent 8 }}
{{- end }}

{{/* Peers of a network policy: from these, and from the test of the release. [root, peers] */}}
{{- define "carryon.from" -}}
{{- $root := index . 0 -}}
{{- with index . 1 }}
from:
  {{- toYaml . | nindent 2 }}
  - podSelector:
      matchLabels:
        {{- include "carryon.selector" (list $root "test") | nindent 8 }}
{{- end }}
{{- end }}
