{{- define "gpu-tenancy.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "gpu-tenancy.selector" . }}
{{- end }}

{{- define "gpu-tenancy.selector" -}}
app.kubernetes.io/name: gpu-tenancy
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Metadata of what holds without the operator: it may be kept when the release goes. */}}
{{- define "gpu-tenancy.enforcementMetadata" -}}
labels:
  {{- include "gpu-tenancy.labels" . | nindent 2 }}
{{- if .Values.keepOnUninstall }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
{{- end }}

{{- define "gpu-tenancy.image" -}}
{{- $image := .Values.operator.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The user name under which the operator speaks to the API server. */}}
{{- define "gpu-tenancy.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:gpu-tenancy
{{- end }}

{{- define "gpu-tenancy.clusterNetworkPolicies" -}}
{{- if eq .Values.clusterNetworkPolicies.mode "Auto" -}}
{{- if .Capabilities.APIVersions.Has "policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy" }}true{{ end -}}
{{- else if eq .Values.clusterNetworkPolicies.mode "Enabled" }}true{{ end }}
{{- end }}

{{- define "gpu-tenancy.mutation" -}}
{{- if eq .Values.policies.mutation "Auto" -}}
{{- if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" }}true{{ end -}}
{{- else if eq .Values.policies.mutation "Enabled" }}true{{ end }}
{{- end }}
