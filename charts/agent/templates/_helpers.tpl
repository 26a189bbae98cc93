{{- define "holdfast.name" -}}
{{- default "holdfast" .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 52 characters: a StatefulSet's pods carry its name and a hash in a label of 63. */ -}}
{{- define "holdfast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "holdfast.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Objects without a namespace carry that of the release: two agents may share a cluster. */ -}}
{{- define "holdfast.clusterScopedName" -}}
{{- printf "%s:%s" .Release.Namespace (include "holdfast.fullname" .) -}}
{{- end -}}

{{- define "holdfast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "holdfast.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.image" -}}
{{- $image := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $image = printf "%s/%s" (trimSuffix "/" .) $image }}{{ end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $image .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image (default (printf "v%s" .Chart.AppVersion) .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.selectorLabels" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The status repository has credentials of its own only where it is a repository of its own. */ -}}
{{- define "holdfast.hasStatusCredentials" -}}
{{- if and .Values.status.existingSecret .Values.status.repository (ne .Values.status.repository "none") -}}true{{- end -}}
{{- end -}}

{{- /* The arguments that have a key in the config file, too, unless it is there: an argument would win over it. */ -}}
{{- define "holdfast.adjustableArgs" -}}
{{- $args := list (list "branch" .Values.repository.branch) (list "path" .Values.repository.path) (list "poll" .Values.repository.poll) -}}
{{- $args = append $args (list "log-format" .Values.logFormat) -}}
{{- $args = append $args (list "log-level" .Values.logLevel) -}}
{{- range $args }}
{{- if not (hasKey $.Values.config (first .)) }}
- {{ printf "--%s=%s" (first .) (last .) | quote }}
{{- end }}
{{- end }}
{{- end -}}
