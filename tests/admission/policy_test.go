package admission

import (
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

// mutator is a MutatingAdmissionPolicy with one JSON patch, compiled as the API server does.
type mutator struct {
	compiler  *plugincel.CompositedCompiler
	matcher   matchconditions.Matcher
	evaluator plugincel.MutatingEvaluator
	scheme    *runtime.Scheme
}

// newMutator compiles a policy for the environment of new objects, so that nothing in it is
// newer than an API server of this version allows.
func newMutator(t testing.TB, p *admissionv1.MutatingAdmissionPolicy) mutator {
	options := plugincel.OptionalVariableDeclarations{HasParams: true, HasAuthorizer: true}
	compiler := newCompiler(t, p.Spec.Variables, options)
	m := mutator{compiler: compiler, scheme: runtime.NewScheme()}
	require.NoError(t, corev1.AddToScheme(m.scheme))
	m.matcher = newMatcher(t, compiler, p.Name, p.Spec.MatchConditions, options, *p.Spec.FailurePolicy)
	options.HasPatchTypes = true
	require.Len(t, p.Spec.Mutations, 1)
	condition := &patch.JSONPatchCondition{Expression: p.Spec.Mutations[0].JSONPatch.Expression}
	m.evaluator = compiler.CompileMutatingEvaluator(condition, options, environment.NewExpressions)
	require.Empty(t, m.evaluator.CompilationErrors())
	return m
}

// newCompiler is a compiler that knows the variables.
func newCompiler(t testing.TB, variables []admissionv1.Variable, options plugincel.OptionalVariableDeclarations) *plugincel.CompositedCompiler {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	require.NoError(t, err)
	for _, v := range variables {
		result := compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, options, environment.NewExpressions)
		require.Nil(t, result.Error, "variable %s: %v", v.Name, result.Error)
	}
	return compiler
}

func newMatcher(t testing.TB, compiler *plugincel.CompositedCompiler, name string, conditions []admissionv1.MatchCondition, options plugincel.OptionalVariableDeclarations, policy admissionv1.FailurePolicyType) matchconditions.Matcher {
	var all []plugincel.ExpressionAccessor
	for _, c := range conditions {
		all = append(all, (*matchconditions.MatchCondition)(&c))
	}
	compiled := compiler.CompileCondition(all, options, environment.NewExpressions)
	require.Empty(t, compiled.CompilationErrors())
	return matchconditions.NewMatcher(compiled, &policy, "policy", "validate", name)
}

var podKind, podResource = corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")

// created is the request that creates an object.
func created(object runtime.Object, namespace string, kind schema.GroupVersionKind, resource schema.GroupVersionResource) *admission.VersionedAttributes {
	by := &user.DefaultInfo{Name: "somebody"}
	record := admission.NewAttributesRecord(object, nil, kind, namespace, "", resource, "", admission.Create, &metav1.CreateOptions{}, false, by)
	return &admission.VersionedAttributes{Attributes: record, VersionedObject: object, VersionedKind: kind}
}

// mutate applies the policy to a pod once, for one NAD of its namespace.
func (m mutator) mutate(t testing.TB, pod *corev1.Pod, nad *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	request := created(pod, pod.Namespace, podKind, podResource)
	ctx := m.compiler.CreateContext(t.Context())
	matched := m.matcher.Match(ctx, request, nad, nil)
	require.NoError(t, matched.Error)
	if !matched.Matches {
		return pod
	}
	out, err := patch.NewJSONPatcher(m.evaluator).Patch(ctx, patch.Request{
		MatchedResource: podResource, VersionedAttributes: request, OptionalVariables: plugincel.OptionalVariableBindings{VersionedParams: nad},
		ObjectInterfaces: admission.NewObjectInterfacesFromScheme(m.scheme),
	}, celconfig.RuntimeCELCostBudget)
	require.NoError(t, err)
	return out.(*corev1.Pod)
}

// cost returns what one evaluation costs, of the 10,000,000 that it may.
func (m mutator) cost(t testing.TB, pod *corev1.Pod, nad *unstructured.Unstructured) int64 {
	request := created(pod, pod.Namespace, podKind, podResource)
	about := plugincel.CreateAdmissionRequest(request.Attributes, metav1.GroupVersionResource(podResource), metav1.GroupVersionKind(podKind))
	inputs := plugincel.OptionalVariableBindings{VersionedParams: nad}
	result, left, err := m.evaluator.ForInput(m.compiler.CreateContext(t.Context()), request, about, inputs, nil, celconfig.RuntimeCELCostBudget)
	require.NoError(t, err)
	require.NoError(t, result.Error)
	return celconfig.RuntimeCELCostBudget - left
}

// admit does what the API server does with a new pod: it evaluates the policy for each NAD
// in this order, and once more for those before the last that has changed the pod.
func (m mutator) admit(t testing.TB, pod *corev1.Pod, nads []*unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	again := 0
	for i, nad := range nads {
		next := m.mutate(t, pod, nad)
		if !equal(pod, next) {
			again = i
		}
		pod = next
	}
	for _, nad := range nads[:again] {
		pod = m.mutate(t, pod, nad)
	}
	return pod
}

// newValidator compiles a ValidatingAdmissionPolicy.
func newValidator(t testing.TB, p *admissionv1.ValidatingAdmissionPolicy) validating.Validator {
	options := plugincel.OptionalVariableDeclarations{HasAuthorizer: true}
	compiler := newCompiler(t, p.Spec.Variables, options)
	matcher := newMatcher(t, compiler, p.Name, p.Spec.MatchConditions, options, *p.Spec.FailurePolicy)
	var conditions, messages []plugincel.ExpressionAccessor
	for _, v := range p.Spec.Validations {
		conditions = append(conditions, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		var message plugincel.ExpressionAccessor // nil: there is none
		if v.MessageExpression != "" {
			message = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
		messages = append(messages, message)
	}
	compile := func(all []plugincel.ExpressionAccessor, options plugincel.OptionalVariableDeclarations) plugincel.ConditionEvaluator {
		compiled := compiler.CompileCondition(all, options, environment.NewExpressions)
		require.Empty(t, compiled.CompilationErrors())
		return compiled
	}
	return validating.NewValidator(compile(conditions, options), matcher, compile(nil, options),
		compile(messages, plugincel.OptionalVariableDeclarations{}), p.Spec.FailurePolicy, nil)
}

// refusal returns why a validator refuses an object that is created, or "".
func refusal(t testing.TB, v validating.Validator, request *admission.VersionedAttributes) string {
	t.Helper()
	result := v.Validate(t.Context(), request.GetResource(), request, nil, nil, celconfig.RuntimeCELCostBudget, nil)
	for _, d := range result.Decisions {
		require.NotEqual(t, validating.EvalError, d.Evaluation, d.Message)
		if d.Action == validating.ActionDeny {
			return d.Message
		}
	}
	return ""
}
