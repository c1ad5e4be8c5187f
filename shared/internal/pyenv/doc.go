// Package pyenv finds the Python that runs plugins.
//
// It owns the search for the real interpreter ([ResolvePython]): its path behind any
// shim, its version, and the directories that hold it, which is what a sandbox has to
// show of it. It keeps no state: every search is a new look.
//
// Debugging: an error names each candidate that was tried and why it is none.
package pyenv
