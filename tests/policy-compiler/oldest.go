//go:build !newest

package main

import (
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Without strict costs, which are off by default in this release.
func environmentOfServer() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), false)
}

func options(params, authorizer bool) plugin.OptionalVariableDeclarations {
	return plugin.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: authorizer}
}
