{{/*
Binds a policy of the given kind and name to what its matchConstraints select, or to that part of it which is in namespaces of
tenants. The binding says so and not the policy: of every request the API server reads the selectors of all policies before
it looks at kinds, and those of bindings after it.
*/}}
{{- define "gpu-tenancy.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- include "gpu-tenancy.enforcementMetadata" .root | nindent 2 }}
spec:
  policyName: {{ .name }}
  {{- if .tenants }}
  matchResources:
    namespaceSelector:
      matchExpressions:
        - {key: gpu-tenancy.dev/tenant, operator: Exists}
  {{- end }}
  {{- if eq .kind "ValidatingAdmissionPolicy" }}
  validationActions: [Deny]
  {{- end }}
{{- end }}

{{/* The operator, and whoever may write tenants: the cluster's administrators, by whatever name they go. */}}
{{- define "gpu-tenancy.privileged" -}}
request.userInfo.username == '{{ include "gpu-tenancy.user" . }}' ||
authorizer.group('gpu-tenancy.dev').resource('industrialtenants').check('update').allowed()
{{- end }}

{{/* What the tenant may name, from the namespace's annotation of this name; nothing while it is missing. */}}
{{- define "gpu-tenancy.allowed" -}}
namespaceObject.metadata.?annotations['gpu-tenancy.dev/{{ . }}'].orValue('').split(',').filter(name, name != '')
{{- end }}

{{/* What to say of the annotation of this name: that it is missing, or else what follows. */}}
{{- define "gpu-tenancy.unlessMissing" -}}
!('gpu-tenancy.dev/{{ . }}' in namespaceObject.metadata.?annotations.orValue({})) ?
'namespace ' + request.namespace + ' is not ready for this: its annotation gpu-tenancy.dev/{{ . }} is missing; the operator '
+ 'writes it from IndustrialTenant ' + namespaceObject.metadata.labels['gpu-tenancy.dev/tenant']
+ ', ask the provider if this lasts' :
{{- end }}

{{/* The part of a matchCondition by which only what says something else than before is judged. */}}
{{- define "gpu-tenancy.changed" -}}
oldObject == null || object.spec != oldObject.spec
|| object.metadata.?annotations.orValue({}) != oldObject.metadata.?annotations.orValue({})
{{- end }}

{{/* That a service account of the platform asks, such as that of a network plugin. */}}
{{- define "gpu-tenancy.platformAccount" -}}
{{- $groups := list -}}
{{- range .Values.policies.platformNamespaces }}{{ $groups = append $groups (printf "system:serviceaccounts:%s" .) }}{{ end -}}
request.userInfo.?groups.orValue([]).exists(group, group in {{ toJson $groups }})
{{- end }}

{{/* Denies the annotations by which host names are published that nobody granted. */}}
{{- define "gpu-tenancy.publishesNoName" -}}
- expression: >-
    !object.metadata.?annotations.orValue({}).exists(key, key.startsWith('external-dns.alpha.kubernetes.io/'))
  message: >-
    a name that is published by an annotation may be another tenant's: remove the annotations of external-dns.alpha.kubernetes.io,
    and name the host in an Ingress or a route
  reason: Forbidden
{{- end }}

{{/*
Annotations (key) by which what runs on nodes gives a pod something, past all that is judged here: devices and mounts by CDI
and NRI plugins, settings of the runtime, networks and addresses.
*/}}
{{- define "gpu-tenancy.speaksToNodes" -}}
{{ concat (list "cdi.k8s.io/" "devices.nri.io/" "mounts.nri.io/" "devices.noderesource.dev/" "mounts.noderesource.dev/")
.Values.policies.nodeAnnotations | toJson }}.exists(one, key.contains(one)) && key != 'k8s.v1.cni.cncf.io/networks'
{{- end }}

{{/* Networks, besides that of the cluster, that a pod joins and its tenant does not have. */}}
{{- define "gpu-tenancy.foreignNetworks" -}}
object.metadata.?annotations[?'k8s.v1.cni.cncf.io/networks'].optMap(names, names.split(',').map(name, name.trim().split('@')[0])
.filter(name, !(name in {{ include "gpu-tenancy.allowed" "networks" }}))).orValue([])
{{- end }}
{{- define "gpu-tenancy.writeNetworks" -}}
{{- include "gpu-tenancy.unlessMissing" "networks" }}
'network policies do not cover ' + variables.foreignNetworks.join(', ') + ': in the annotation k8s.v1.cni.cncf.io/networks write '
+ 'namespace/name of one of [' + {{ include "gpu-tenancy.allowed" "networks" }}.join(', ') + '], or remove it, or ask the '
+ 'provider, who changes spec.network.attachments of the IndustrialTenant'
{{- end }}

{{/*
The variable that says what is wrong: a list with the problem of the first rule that fails, or an empty one. The rules are a
list in YAML of what must be so (rule) and what to say if it is not (problem), both in CEL. The API server evaluates all
validations of a policy and all of their messages for each request, be it right or wrong; of this only what is needed.
*/}}
{{- define "gpu-tenancy.firstProblem" -}}
{{- range fromYamlArray . -}}
!({{ .rule }}) ? [{{ .problem }}] :
{{ end -}}
[]
{{- end }}

{{/*
Variables, from a list in YAML. Those to be inlined are put where they are asked for, since few rules do: to the API server
each that is left is a program of its own, made ready anew for every request.
*/}}
{{- define "gpu-tenancy.variables" -}}
{{- $all := . -}}
{{- range fromYamlArray . }}{{ if not .inline }}
- name: {{ .name }}
  expression: {{ list .expression $all | include "gpu-tenancy.inlined" | toRawJson }}
{{- end }}{{ end }}
{{- end }}
{{- define "gpu-tenancy.inlined" -}}
{{- $text := first . -}}
{{- range last . | fromYamlArray | reverse }}{{ if .inline -}}
{{- $text = regexReplaceAllLiteral (printf "variables\\.%s\\b" .name) $text (printf "(%s)" .expression) -}}
{{- end }}{{ end -}}
{{- $text -}}
{{- end }}

{{/* Denies with that problem. The API server repeats no text with a line break, or of more than 5 KiB. */}}
{{- define "gpu-tenancy.noProblem" -}}
- expression: variables.problem.size() == 0
  messageExpression: variables.problem.join('')
  message: what is wrong cannot be said, because a name in the pod is too long or has a line break; correct the names first
  reason: Forbidden
{{- end }}

{{/* Where images may come from; variables.pulls are those in question. */}}
{{- define "gpu-tenancy.imageVariables" -}}
- name: registries
  expression: >-
    {{- include "gpu-tenancy.allowed" "registries" | nindent 4 }}
- name: foreignImages
  inline: true
  expression: >-
    variables.pulls.filter(pull, !variables.registries.exists(registry, pull.startsWith('Always ' + registry + '/')))
{{- end }}
{{- define "gpu-tenancy.imageRules" -}}
- rule: "variables.pulls.all(pull, pull.startsWith('Always '))"
  problem: >-
    'an image that lies on the node may be another tenant\'s, fetched with rights that you do not have: write '
    + 'imagePullPolicy: Always (in a volume image.pullPolicy: Always) for '
    + variables.pulls.filter(pull, !pull.startsWith('Always ')).map(pull, pull.substring(pull.indexOf(' ') + 1)).join(', ')
- rule: variables.registries == ['*'] || variables.foreignImages.size() == 0
  problem: >-
    {{- include "gpu-tenancy.unlessMissing" "registries" | nindent 4 }}
    'this tenant does not run ' + variables.foreignImages.map(pull, pull.substring(pull.indexOf(' ') + 1)).join(', ')
    + ': write an image, with its registry, that begins with '
    + variables.registries.map(registry, registry + '/').join(' or ')
    + '; for more ask the provider, who changes spec.workloads.registries of the IndustrialTenant'
{{- end }}

{{/* What a pod pulls from registries: for each container and image volume its pull policy and image. */}}
{{- define "gpu-tenancy.pulls" -}}
{{ . }}.spec.containers.map(c, c.?imagePullPolicy.orValue('') + ' ' + c.?image.orValue(''))
+ {{ . }}.spec.?initContainers.orValue([]).map(c, c.?imagePullPolicy.orValue('') + ' ' + c.?image.orValue(''))
+ {{ . }}.spec.?ephemeralContainers.orValue([]).map(c, c.?imagePullPolicy.orValue('') + ' ' + c.?image.orValue(''))
+ {{ . }}.spec.?volumes.orValue([]).filter(v, has(v.image))
.map(v, v.image.?pullPolicy.orValue('') + ' ' + v.image.?reference.orValue(''))
{{- end }}

{{/* What a pod may request with each GPU of the pool whose nodes it selects: lists of pool, GPU, resource, amount. */}}
{{- define "gpu-tenancy.perGpu" -}}
namespaceObject.metadata.?annotations['gpu-tenancy.dev/per-gpu'].orValue('').split(',').filter(limit, limit.startsWith(
object.spec.?nodeSelector['gpu-tenancy.node-restriction.kubernetes.io/pool'].orValue('') + ' ')).map(limit, limit.split(' '))
{{- end }}

{{/*
That a pod requests no more than that, of GPUs and of the rest counted as the scheduler does: what runs at once, and in requests
of the pod as a whole what those say. The API server rounds up to thousandths: less is only the error of fractions. Nothing is
limited while the annotation is missing, for then the operator that writes it was never here; nor in a pod with none of the
pool's GPUs, which others of the quota's rules refuse.
*/}}
{{- define "gpu-tenancy.withinGpus" -}}
{{ include "gpu-tenancy.perGpu" . }}.all(limit, [[limit[1], limit[2]].map(name,
object.spec.?resources.?requests[?name].optMap(whole, {{ include "gpu-tenancy.amount" "whole" }}).orValue((
[object.spec.containers.map(c, {{ include "gpu-tenancy.requested" "c" }}).sum() + object.spec.?initContainers.orValue([])
.filter(c, c.?restartPolicy.orValue('') == 'Always').map(c, {{ include "gpu-tenancy.requested" "c" }}).sum()]
+ object.spec.?initContainers.orValue([]).transformList(place, c, {{ include "gpu-tenancy.requested" "c" }}
+ object.spec.initContainers.transformList(earlier, s, earlier < place && s.?restartPolicy.orValue('') == 'Always',
{{ include "gpu-tenancy.requested" "s" }}).sum())).max())
+ {{ include "gpu-tenancy.amount" "object.spec.?overhead[?name].orValue('0')" }})]
.all(held, held[0] == 0.0 || held[1] <= held[0] * {{ include "gpu-tenancy.amount" "limit[3]" }} + 0.0005))
{{- end }}
{{- define "gpu-tenancy.requested" -}}
{{ include "gpu-tenancy.amount" (printf "%s.?resources.?requests[?name].orValue('0')" .) }}
{{- end }}
{{- define "gpu-tenancy.amount" -}}
quantity({{ . }}).asApproximateFloat()
{{- end }}
{{- define "gpu-tenancy.requestLess" -}}
'what else a node has is shared out by its GPUs: each of pool '
+ object.spec.nodeSelector['gpu-tenancy.node-restriction.kubernetes.io/pool'] + ' brings '
+ {{ include "gpu-tenancy.perGpu" . }}.map(limit, limit[2] + ' ' + limit[3]).join(' and ')
+ ', and this pod requests more; lower resources.requests, of all containers together, or create a pod with more GPUs'
{{- end }}

{{/*
What mutation and fence read from a pod and its namespace; both must read it alike.
A name with a slash is an extended resource; an accelerator is one that the namespace's quotas name.
*/}}
{{- define "gpu-tenancy.podVariables" -}}
- name: placement
  expression: namespaceObject.metadata.?labels['gpu-tenancy.dev/placement'].orValue('')
- name: placementKey
  inline: true
  expression: "'placement.gpu-tenancy.node-restriction.kubernetes.io/' + variables.placement"
- name: accelerators
  expression: >-
    namespaceObject.metadata.?annotations['gpu-tenancy.dev/accelerators'].orValue('').split(',').filter(name, name != '')
- name: containers
  expression: object.spec.containers + object.spec.?initContainers.orValue([])
# Zero GPUs are none: no quota counts such a pod, so it is not let onto the nodes of a pool.
- name: gpu
  expression: >-
    variables.containers.exists(c, c.?resources.?limits.orValue({}).exists(name, name in variables.accelerators
    && quantity(c.resources.limits[name]).isGreaterThan(quantity('0'))))
- name: pool
  expression: >-
    object.metadata.?labels['gpu-tenancy.dev/pool'].orValue('') != '' ? object.metadata.labels['gpu-tenancy.dev/pool'] :
    namespaceObject.metadata.?labels['gpu-tenancy.dev/default-pool'].orValue('')
- name: tierLabel
  inline: true
  expression: object.metadata.?labels['gpu-tenancy.dev/tier'].orValue('')
- name: reservation
  expression: object.metadata.?labels['gpu-tenancy.dev/reservation'].orValue('')
- name: tier
  expression: >-
    variables.reservation != '' ? 'reserved' : variables.tierLabel != '' ? variables.tierLabel : 'guaranteed'
- name: class
  inline: true
  expression: "'gpu-' + variables.pool + '-' + variables.tier"
- name: priority
  inline: true
  expression: >-
    {'guaranteed': 1000, 'reserved': 1000, 'spot': -10}[?variables.tier].orValue(0)
- name: preemptionPolicy
  inline: true
  expression: "variables.tier == 'spot' ? 'Never' : 'PreemptLowerPriority'"
# The pods of a reservation with nodes of its own run there and nowhere else.
- name: exclusive
  expression: >-
    variables.reservation != '' && variables.reservation in
    namespaceObject.metadata.?annotations['gpu-tenancy.dev/exclusive-reservations'].orValue('').split(',')
- name: reservationKey
  inline: true
  expression: "'reservation.gpu-tenancy.node-restriction.kubernetes.io/' + request.namespace"
- name: reservationTolerated
  inline: true
  expression: >-
    object.spec.?tolerations.orValue([]).exists(t, t.?key.orValue('') == 'gpu-tenancy.dev/reservation'
    && t.?operator.orValue('Equal') == 'Equal' && t.?value.orValue('') == request.namespace && t.?effect.orValue('') == '')
- name: poolTolerated
  inline: true
  expression: >-
    object.spec.?tolerations.orValue([]).exists(t, t.?key.orValue('') == 'gpu-tenancy.dev/pool'
    && t.?operator.orValue('Equal') == 'Equal' && t.?value.orValue('') == variables.pool
    && t.?effect.orValue('NoSchedule') in ['', 'NoSchedule'])
{{- end }}
