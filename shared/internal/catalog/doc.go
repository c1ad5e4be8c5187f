// Package catalog knows which plugins are installed and which interpreter runs
// them.
//
// It owns the scan of the plugins directory ([Scan]) with the reason why a plugin
// there cannot be used, and the command line that starts a plugin ([Command]). It
// keeps no state and watches nothing: every Scan is a new look, and a caller that
// cannot use the new one keeps the old.
//
// A plugin is refused, with a sentence for the operator, when its manifest or files
// are wrong, when the agent's lists or type do not let it run, when the interpreter
// is missing or not of the version that it asks for, or when another directory holds
// a newer version of it. One bad plugin never hides a good one.
//
// Debugging: the heartbeat, and `stavily agents show`, tell what Scan found.
package catalog
