// Package catalog keeps the versions of plugins, and knows which of them can be used
// here.
//
// It owns the [Store] of immutable versions, the scan of directories that people edit
// ([Scanner]) with the reason why a plugin there cannot be used, and the command line that
// starts a plugin ([Command]). It starts nothing and watches nothing.
//
// # The store
//
//	<dir>/<id>/<version>-<digest12>/   a tree that never changes; its digest is looked at before use
//	<dir>/<id>/active                  a relative link to one of them (on Windows: a file with its name)
//	<dir>/<id>/state.json              where each came from, what proved itself, whether it is disabled
//	<dir>/.aside-*, <dir>/.gone-*      what is not there yet, or not any more; removed at the start
//
// Each change is one rename, before and after which everything is whole: a tree is
// filled aside and renamed, the link and the state are replaced, a tree that goes is
// renamed out of sight first. What is on disk without being noted, or noted without
// being there, was never in use or is not any more, and goes at the next start.
//
// A version that stood its first minute is good ([Store.Prove]). The last good one that is
// not active, and the one that was active before, can be gone back to. [Store.Collect]
// leaves these and what somebody runs. A directory with a plugin.yaml of its own is never the store's.
//
// # Debugging
//
// `sensor-agent plugins show ID` prints what the store has; a state.json that cannot be
// read is kept as state.json.bad and told in /health.
package catalog
