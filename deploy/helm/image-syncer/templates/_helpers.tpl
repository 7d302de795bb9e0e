{{- define "image-syncer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "image-syncer.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "image-syncer.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "image-syncer.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "image-syncer.selector" -}}
app.kubernetes.io/name: {{ include "image-syncer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "image-syncer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "image-syncer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "image-syncer.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "image-syncer.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "image-syncer.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The address of PostgreSQL; empty with SQLite. */}}
{{- define "image-syncer.database" -}}
{{- dig "state" "url" "" .Values.config -}}
{{- end -}}

{{/* The native file: the values', and in a daemon the address to listen on. */}}
{{- define "image-syncer.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if eq .Values.mode "daemon" -}}
{{- $listen := dict "listen" (printf "0.0.0.0:%d" (int .Values.service.port)) -}}
{{- $_ := set $config "server" (merge (default dict $config.server) $listen) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "image-syncer.keepsState" -}}
{{- if not (include "image-syncer.database" .) -}}yes{{- end -}}
{{- end -}}

{{/* Refuse what would lose events or refuse to start, before anything is installed. */}}
{{- define "image-syncer.validate" -}}
{{- $many := or (gt (int .Values.replicas) 1) (gt (int .Values.workers.replicas) 0) -}}
{{- if and (eq .Values.mode "daemon") $many (not (include "image-syncer.database" .)) -}}
{{- fail "several processes need PostgreSQL: set config.state.url to postgresql://..., or replicas: 1 and workers.replicas: 0" -}}
{{- end -}}
{{- $server := default dict .Values.config.server -}}
{{- if and (eq .Values.mode "daemon") (not $server.auth) (not $server.allow_open) -}}
{{- fail "other pods could send unauthenticated requests: set config.server.auth.tokens to ['${API_TOKEN}'] and env to that variable's secret, or config.server.allow_open: true" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "the ingress needs a host: set ingress.hosts" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled $server.auth (not .Values.serviceMonitor.tokenSecret) -}}
{{- fail "/metrics needs a login: set serviceMonitor.tokenSecret to the secret with a token of config.server.auth.tokens" -}}
{{- end -}}
{{- end -}}

{{/* The pod of a daemon, worker or cron job. Arguments: root, args, resources, state (whether it needs the volume). */}}
{{- define "image-syncer.pod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
serviceAccountName: {{ include "image-syncer.serviceAccount" $root }}
automountServiceAccountToken: {{ or $values.serviceAccount.readPods (gt (len $values.serviceAccount.annotations) 0) }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml $values.podSecurityContext | nindent 2 }}
containers:
  - name: image-syncer
    image: {{ include "image-syncer.image" $root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 6 }}
    securityContext: {{- toYaml $values.securityContext | nindent 6 }}
    {{- with $values.env }}
    env: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $values.envFrom }}
    envFrom: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .serves }}
    ports:
      - {name: http, containerPort: {{ $values.service.port }}}
    startupProbe:
      httpGet: {path: /healthz, port: http}
      periodSeconds: 2
      failureThreshold: 60
    livenessProbe:
      httpGet: {path: /healthz, port: http}
      periodSeconds: 15
      timeoutSeconds: 5
      failureThreshold: 4
    readinessProbe:
      httpGet: {path: /readyz, port: http}
      periodSeconds: 5
      timeoutSeconds: 5
    {{- end }}
    {{- with .resources }}
    resources: {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      - {name: config, mountPath: /etc/image-syncer, readOnly: true}
      - {name: state, mountPath: /var/lib/image-syncer}
      - {name: tmp, mountPath: /tmp}
      {{- range $values.secretFiles }}
      - {name: {{ printf "secret-%s" . | quote }}, mountPath: {{ printf "/run/secrets/%s" . | quote }}, readOnly: true}
      {{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "image-syncer.fullname" $root }}}
  - name: tmp
    emptyDir: {}
  - name: state
    {{- if and .state $values.persistence.enabled }}
    persistentVolumeClaim:
      claimName: {{ default (include "image-syncer.fullname" $root) $values.persistence.existingClaim }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- range $values.secretFiles }}
  - name: {{ printf "secret-%s" . | quote }}
    secret: {secretName: {{ . | quote }}}
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
