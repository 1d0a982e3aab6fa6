{{/*
broker.toml. A JSON text is a TOML text, so `toJson` quotes. No value here is secret.
*/}}
{{- define "confide-broker.settings" -}}
listen = {{ toJson .Values.settings.listen }}
challenge_seconds = {{ int .Values.settings.challengeSeconds }}
session_seconds = {{ int .Values.settings.sessionSeconds }}
lease_seconds = {{ int .Values.settings.leaseSeconds }}
log = {{ toJson .Values.settings.log }}
{{- if .Values.collateral.existingClaim }}
collateral = "/var/lib/confide-broker/collateral"
{{- end }}

[revocation]
crl = {{ toJson .Values.settings.revocation.crl }}
{{- if eq .Values.settings.revocation.crl "absent-ok" }}
reason = {{ toJson .Values.settings.revocation.reason }}
{{- end }}

[limits]
body_bytes = {{ int .Values.settings.limits.bodyBytes }}
head_bytes = {{ int .Values.settings.limits.headBytes }}
connections = {{ int .Values.settings.limits.connections }}
requests_per_second = {{ int .Values.settings.limits.requestsPerSecond }}
connections_per_second = {{ int .Values.settings.limits.connectionsPerSecond }}
request_seconds = {{ int .Values.settings.limits.requestSeconds }}
header_seconds = {{ int .Values.settings.limits.headerSeconds }}

{{ include "confide-broker.store" . }}
{{- end -}}

{{/* The store, which all replicas share. */}}
{{- define "confide-broker.store" -}}
[store]
kind = "postgres"
url = {{ toJson .Values.postgresql.url }}
password_file = "/run/confide-broker/postgresql/password"
ca_file = "/run/confide-broker/postgresql/ca.pem"
{{- end -}}
