// Compiles ValidatingAdmissionPolicies as an API server does, without one: the policies come as a JSON array on standard
// input, and what does not compile goes to standard output as a JSON array of {policy, field, expression, error}.
//
// Which API server, is a matter of the module file: go.mod pins the oldest that is supported, newest.mod the newest. Its
// expressions are held to what a *new* policy may use, so also to what the release before it knows.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/cel-go/cel"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// An expression of a policy, and what it must evaluate to.
type expression struct {
	field, text string
	returns     []*cel.Type
}

func (e expression) GetExpression() string    { return e.text }
func (e expression) ReturnTypes() []*cel.Type { return e.returns }

// A variable, which later expressions know by its name and its type.
type variable struct {
	expression
	name string
}

func (v variable) GetName() string { return v.name }

type finding struct {
	Policy     string `json:"policy"`
	Field      string `json:"field"`
	Expression string `json:"expression"`
	Error      string `json:"error"`
}

func main() {
	var policies []admissionregistration.ValidatingAdmissionPolicy
	if err := json.NewDecoder(os.Stdin).Decode(&policies); err != nil {
		fmt.Fprintln(os.Stderr, "standard input is no array of policies:", err)
		os.Exit(2)
	}
	findings := []finding{}
	for _, policy := range policies {
		found, err := compile(&policy)
		if err != nil {
			fmt.Fprintf(os.Stderr, "cannot make a compiler for %s: %v\n", policy.Name, err)
			os.Exit(1)
		}
		findings = append(findings, found...)
	}
	if err := json.NewEncoder(os.Stdout).Encode(findings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// As validation and the admission plugin go about it: variables first and in order, then match conditions, validations and
// audit annotations; message expressions do without the authorizer.
func compile(policy *admissionregistration.ValidatingAdmissionPolicy) ([]finding, error) {
	compiler, err := plugin.NewCompositedCompiler(environmentOfServer())
	if err != nil {
		return nil, err
	}
	full := options(policy.Spec.ParamKind != nil, true)
	message := options(policy.Spec.ParamKind != nil, false)

	var findings []finding
	report := func(e expression, result plugin.CompilationResult) {
		if result.Error != nil {
			findings = append(findings, finding{policy.Name, e.field, e.text, result.Error.Error()})
		}
	}
	check := func(e expression, options plugin.OptionalVariableDeclarations) {
		report(e, compiler.CompileCELExpression(e, options, environment.NewExpressions))
	}
	for i, v := range policy.Spec.Variables {
		e := expression{fmt.Sprintf("spec.variables[%d].expression", i), v.Expression, []*cel.Type{cel.AnyType, cel.DynType}}
		report(e, compiler.CompileAndStoreVariable(variable{e, v.Name}, full, environment.NewExpressions))
	}
	for i, c := range policy.Spec.MatchConditions {
		check(expression{fmt.Sprintf("spec.matchConditions[%d].expression", i), c.Expression, []*cel.Type{cel.BoolType}}, full)
	}
	for i, v := range policy.Spec.Validations {
		check(expression{fmt.Sprintf("spec.validations[%d].expression", i), v.Expression, []*cel.Type{cel.BoolType}}, full)
		if v.MessageExpression != "" {
			check(expression{fmt.Sprintf("spec.validations[%d].messageExpression", i), v.MessageExpression, []*cel.Type{cel.StringType}}, message)
		}
	}
	for i, a := range policy.Spec.AuditAnnotations {
		check(expression{fmt.Sprintf("spec.auditAnnotations[%d].valueExpression", i), a.ValueExpression, []*cel.Type{cel.StringType, cel.NullType}}, full)
	}
	return findings, nil
}
