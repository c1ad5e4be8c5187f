// Package grant decides what one plugin process may reach: what its manifest asks
// for, narrowed by the policy of the host's owner, as exact paths and destinations
// for the sandbox.
//
// It owns the decision and its account (who asked for what, what was granted, what
// not and why, in sentences); it confines nothing. What every plugin needs (the
// interpreter, its own code and directories) is the sandbox's business.
//
// # From a line of a manifest to a path
//
//		entry ─ fill in ${config.…} ─ plain and absolute? ─ follow links ─ ∩ ceilings
//		      ─ not protected? a plain file, a directory, or named exactly? ─ carve ─▶ Read | Write | Stat
//
//	  - Links are followed now, and what they lead to is judged. The sandbox opens the
//	    result without following any (RESOLVE_NO_SYMLINKS), so a link that is put there
//	    later makes the launch fail instead of widening it.
//	  - Protected paths are granted to nobody: the agent's directory, its other files,
//	    its processes. They are recognised under other mounts of the same file system too.
//	    Where a grant lies above one, a process with a root of its own gets the grant and
//	    a mask over what is protected ([Grants.Masks]); for one without, the grant
//	    becomes its parts, because Landlock (landlock(7)) only knows what is allowed.
//	  - Sockets and character devices are granted only by their exact names, block
//	    devices and pipes never: a disk holds the agent's key too.
//	  - A sensor is never given a path to write; it may read it.
//	  - What is not there is left out, and said.
//
// # /proc
//
// A process with its own process ids has a /proc of its own. What is granted of the
// host's is then shown below [HostProc], where HOST_PROC tells the SDK to look.
//
// # Concurrency, failure
//
// [Resolve] reads the file system and changes nothing; it may be called
// concurrently. It looks anew each time, because links, mounts and the owner's
// directories change while an agent runs. An entry that cannot be granted is denied
// and the others hold; only a policy that cannot be understood is an error, because
// then nothing can be said to be protected.
package grant
