//go:build newest

package main

import (
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

func environmentOfServer() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

func options(params, authorizer bool) plugin.OptionalVariableDeclarations {
	return plugin.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: authorizer}
}
