{{/* What the operator may do where jobs are: no more than it does (tests/component/test_chart_rights.py). */}}
{{- define "carryon.operatorRules" -}}
- {apiGroups: [carryon.dev], resources: [generationjobs], verbs: [list, watch, patch, delete]}
- {apiGroups: [carryon.dev], resources: [generationjobs/status], verbs: [patch]}
# To be named as what blocks a job's deletion takes the right to finalize it, where the cluster enforces that.
- {apiGroups: [carryon.dev], resources: [generationjobs/finalizers], verbs: [update]}
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch, create, delete]}
- {apiGroups: [""], resources: [pods/log], verbs: [get]}
- {apiGroups: [""], resources: [events], verbs: [create, patch]}
# Those that jobs name: keys of buckets, items, and whether the namespace itself is on its way out.
- {apiGroups: [""], resources: [secrets, configmaps, namespaces], verbs: [get]}
{{- end }}

{{/* What the API may do by its own right where jobs are. It changes nothing: that takes its callers' rights. */}}
{{- define "carryon.apiRules" -}}
- {apiGroups: [carryon.dev], resources: [generationjobs], verbs: [list, watch]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [get]}
{{- end }}

{{/* And everywhere: ask who somebody is, and what they may. */}}
{{- define "carryon.apiClusterRules" -}}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}
{{- $proxy := .Values.api.signInByProxy }}
{{- if $proxy.userHeader }}
- apiGroups: [""]
  resources: [users]
  verbs: [impersonate]
  {{- with $proxy.users }}
  resourceNames: {{ toJson . }}
  {{- end }}
{{- if $proxy.groupsHeader }}
- apiGroups: [""]
  resources: [groups]
  verbs: [impersonate]
  {{- with $proxy.groups }}
  resourceNames: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rules for a component, everywhere or in each namespace of jobs. [root, component, rules] */}}
{{- define "carryon.grantWhereJobsAre" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $rules := index . 2 -}}
{{- $name := printf "%s-%s" (include "carryon.fullname" $root) $component -}}
{{- $scopes := default (list "") $root.Values.namespaces -}}
{{- range $namespace := $scopes }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (ne $namespace "") }}
metadata:
  name: {{ $name }}
  {{- if $namespace }}
  namespace: {{ $namespace }}
  {{- end }}
  labels:
    {{- include "carryon.labels" (list $root $component) | nindent 4 }}
rules:
  {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne $namespace "") }}
metadata:
  name: {{ $name }}
  {{- if $namespace }}
  namespace: {{ $namespace }}
  {{- end }}
  labels:
    {{- include "carryon.labels" (list $root $component) | nindent 4 }}
{{- include "carryon.binding" (list $root $component (ternary "Role" "ClusterRole" (ne $namespace "")) $name) }}
{{- end }}
{{- end }}

{{/* Rest of a binding: a role for a component's service account. [root, component, kind, name] */}}
{{- define "carryon.binding" }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ index . 2 }}, name: {{ index . 3 }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "carryon.serviceAccount" . }}, namespace: {{ (index . 0).Release.Namespace }}}
{{- end }}
