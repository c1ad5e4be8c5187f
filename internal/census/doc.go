// Package census counts what a running program holds: its goroutines, its file
// descriptors, and the processes below it.
//
// It is for tests that do something a thousand times and then want to know what is left.
// Goroutines and descriptors come from the program's own metrics ([Of] reads them over
// HTTP), processes from /proc; so it works on Linux only. What it counts moves: callers
// ask until two counts agree, and allow for what comes and goes.
//
// It knows nothing of agents and changes nothing.
package census
