// Package memo is what plugins remember over restarts: small values by name, which
// they keep and find again through the agent socket.
//
// It owns one file for each owner, below the agent's data directory and out of any
// plugin's reach, and the bounds. An owner is a monitor of a sensor plugin, or an action
// or output plugin; who may call for whom is agentsocket's.
//
//	<dir>/<plugin>/<name>.json    {"seen": 41, "told": ["/", "/srv"]}
//
// # Invariants
//
//   - Set and Delete return after the file was flushed and renamed: a value that was kept
//     survives kill -9 and the loss of power, and no reader finds half of it.
//   - A value has at most 64 KiB and all of an owner's 1 MiB, as JSON. What would be more
//     is refused and changes nothing.
//   - Owners do not wait for each other; calls for one owner are served one at a time.
//
// # Failure
//
// A file that cannot be read is not replaced: the plugin is told which one it is, since
// to begin with nothing may repeat what was done.
package memo
