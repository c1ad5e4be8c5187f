package api

// Version is the version of this build, set by the linker; "dev" in a plain
// `go build`.
var Version = "dev"
