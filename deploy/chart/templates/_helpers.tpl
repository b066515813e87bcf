{{/*
The objects are those of the kustomization: files has its files, as symbolic links. The
templates here change what values change, and nothing else.
*/}}

{{/* A file of deploy, in the release's namespace: list . "policy.yaml" */}}
{{- define "multibond.file" -}}
{{- $root := first . -}}
{{- $text := $root.Files.Get (print "files/" (last .)) -}}
{{- if lt (len $text) 100 -}}
{{- fail (printf "files/%s of the chart is no manifest (in a checkout it is a symbolic link: have git make those, or take the chart of a release)" (last .)) -}}
{{- end -}}
{{- $text | replace "namespace: multibond-system" (print "namespace: " $root.Release.Namespace) -}}
{{- end -}}

{{/* What the distribution and the values say of a node, as YAML. */}}
{{- define "multibond.node" -}}
{{- $own := index (.Files.Get "distributions.yaml" | fromYaml) .Values.distribution -}}
plugins: {{ .Values.paths.plugins | default $own.plugins | default "/opt/cni/bin" }}
configurations: {{ .Values.paths.configurations | default $own.configurations | default "/etc/cni/net.d" }}
kubelet: {{ .Values.paths.kubelet | default $own.kubelet | default "/var/lib/kubelet" }}
besideMultus: {{ or .Values.besideMultus $own.besideMultus | default false }}
constraints: {{ $own.constraints | default false }}
ownSELinux: {{ $own.ownSELinux | default false }}
{{- end -}}

{{/* The image. That of the release goes by its digest, unless a tag or a digest is set. */}}
{{- define "multibond.image" -}}
{{- $tag := .Values.image.tag -}}
{{- $digest := .Values.image.digest -}}
{{- if not (or $tag $digest) -}}
{{- $tag = .Chart.AppVersion -}}
{{- $digest = index .Chart.Annotations "multibond.io/image-digest" -}}
{{- end -}}
{{ .Values.image.repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with $digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* Changes a DaemonSet or Deployment as the values for all say: dict "root" . "set" the object "resources" those of its containers by name */}}
{{- define "multibond.everywhere" -}}
{{- $values := .root.Values -}}
{{- $pod := .set.spec.template.spec -}}
{{- $resources := .resources -}}
{{- range concat ($pod.initContainers | default list) $pod.containers -}}
{{- $_ := set . "image" (include "multibond.image" $.root) -}}
{{- $_ := set . "imagePullPolicy" $values.image.pullPolicy -}}
{{- $_ := set . "resources" (mustMergeOverwrite .resources (index $resources .name)) -}}
{{- include "multibond.memory" . -}}
{{- end -}}
{{- with $values.imagePullSecrets }}{{ $_ := set $pod "imagePullSecrets" . }}{{ end -}}
{{- if eq .set.kind "DaemonSet" }}{{/* others are not for the nodes with VFs */}}
{{- $_ := set $pod "nodeSelector" (mustMerge $pod.nodeSelector $values.nodeSelector) -}}
{{- $_ := set $pod "tolerations" $values.tolerations -}}
{{- end -}}
{{- $term := first $pod.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms -}}
{{- $_ := set (first $term.matchExpressions) "values" $values.architectures -}}
{{- if (include "multibond.node" .root | fromYaml).ownSELinux }}{{ $_ := unset ($pod.securityContext | default dict) "seLinuxOptions" }}{{ end -}}
{{- end -}}

{{/* Go collects garbage in time if it knows of three quarters of the container's memory. */}}
{{- define "multibond.memory" -}}
{{- $limit := .resources.limits.memory -}}
{{- range .env -}}
{{- if eq .name "GOMEMLIMIT" -}}
{{- $mib := mul (regexFind "^[0-9]+" $limit | int) (ternary 1024 1 (hasSuffix "Gi" $limit)) -}}
{{- $_ := set . "value" (printf "%dMiB" (div (mul $mib 3) 4)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
