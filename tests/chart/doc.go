// Package chart compares the Helm chart of deploy/chart, rendered by Helm's own code, with the
// kustomization: every value that stands for a component has to have the same effect. It is a
// module of its own because nothing of Multibond depends on Helm, whose program the end-to-end
// tests build from here, too.
package chart
