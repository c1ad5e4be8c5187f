// Package deployments tests the files that people deploy Stavily with, without a
// cluster or an engine: the manifests and the chart of Kubernetes, the compose files
// and the Dockerfile.
//
//	kustomize ─┐                    ┌─ strict decoding into the API's own types
//	           ├─▶ objects ─▶ check ┼─ what refers to what: selectors, ports, volumes
//	helm ──────┘                    ├─ Pod Security, by the code of the API server
//	                                └─ the agents' configuration, by the agents' code
//	compose files ─▶ compose-go · Dockerfile ─▶ the parser and linter of BuildKit
//
// It is a module of its own: what these libraries need is several times what Stavily
// does, and no program or other test has to know of them. `make test-deployments` runs
// it, `make docker-test` starts what is checked here. When dependencies of Stavily
// itself change, run `go mod tidy` here too.
package deployments
