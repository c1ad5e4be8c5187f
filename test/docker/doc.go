// The images and the compose files, for real: `make docker-test`.
//
//	base images ─▶ make docker-build ─▶ what the images say of themselves
//	                                ├─▶ docker-compose.yml: both agents healthy, an event, an action in the sandbox
//	                                ├─▶ the mounts and restrictions of the pods in deployments/kubernetes
//	                                ├─▶ the quick start without arguments
//	                                └─▶ docker-compose.dev.yml, as its first lines tell
//
// It uses the engine that answers here. Where none does and it is root, it starts one
// of its own (package engine). Where no registry answers, the base images are made
// with debootstrap and this host's Go. It removes what it makes; containers that the
// compose files name must not be there already.
package main
