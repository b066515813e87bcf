// Package admission tests the admission policies of deploy, with the API server's own code
// that compiles and evaluates them. What deploy/inject gives a pod is compared with what the
// agent counts.
package admission
