// Package pyenv finds the Python that runs a plugin and makes the virtual environment
// that has what the plugin requires.
//
// It owns: the search for real interpreters ([Interpreters]) and the choice among them
// by a plugin's runtime.version; reading requirements; the environments in one
// directory ([Builder]), each named for all that went into it, so that plugins with
// equal requirements share one; and saying, when something cannot be installed, which
// requirement, why, and what to do. It knows nothing of versions of plugins.
//
//	plugin ─ interpreter that fits ─ requirements + wheels at hand + policy ─▶ key
//	                                                                            │ there, and whole?
//	  .aside: pyvenv.cfg, links ─ pip in the sandbox ─ compile ─ check ─ rename ◀┘ no
//
// pip is the host's, run by the environment's interpreter and not installed into it. It
// is asked twice at most: for what is at hand (the plugin's wheels/, the host's wheel
// directory), without a network; then, where the owner set an index, with that.
//
// # Invariants
//
//   - An environment does not change once it is in its place. What is half built, or was
//     damaged by a crash of the host, is never used.
//   - A build writes its own directory aside and a private one, and runs nothing of the
//     packages, unless the owner allows source packages. Its time, memory and disk are bounded.
//   - No package replaces the interpreter or its configuration, brings links out of the
//     environment, or anything but files and directories.
//   - A plugin's requirements name packages, never places: those are the owner's choice.
//   - The index's credentials are in no argument, log or message, and in no environment.
//   - A plugin sees packages of the system only where its manifest or the owner says so.
//
// # Concurrency, failure
//
// Everything may be called concurrently; of several who want one environment one builds.
// A build that fails or is killed leaves nothing; New sweeps what a killed agent left.
// What somebody asked for stays for a week whatever [Builder.Collect] is told.
//
// # How to debug it
//
// stavily.json in an environment says what is in it. At log level debug there is all
// that pip said. An error of the search names each candidate and why it is none.
package pyenv
