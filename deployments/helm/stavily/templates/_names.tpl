{{- define "stavily.labels" -}}
app: {{ .app }}
app.kubernetes.io/part-of: stavily
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "stavily.serverName" -}}
{{ .Release.Name }}-server
{{- end -}}

{{- define "stavily.baseURL" -}}
{{- if .Values.baseURL -}}
{{ .Values.baseURL }}
{{- else if .Values.server.enabled -}}
https://{{ include "stavily.serverName" . }}.{{ .Release.Namespace }}.svc:8443
{{- else -}}
{{ fail "baseURL is needed when server.enabled is false: what agents connect to, for example https://stavily.example.com:8443" }}
{{- end -}}
{{- end -}}

{{- define "stavily.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "stavily.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .storage }}
{{- end -}}
