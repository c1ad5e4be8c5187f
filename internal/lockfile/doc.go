// Package lockfile keeps a second process out of a directory: one holder of a path
// at a time, on one machine.
//
// The lock is the operating system's (flock(2), LockFileEx), so it ends with its
// process, however that ends, and there is no stale lock to remove. The file holds
// the holder's process id for people and stays when the lock is given back: removing
// it would let two processes lock two files of the same name.
//
// Lock does not wait: who finds the path held gets an error that names the holder. Only where that
// process is gone, and what it was starting when it was killed still has the file, it waits for a
// moment.
// It may be called concurrently; a second Lock in the same process is refused as well.
// A directory on a network file system is only as safe as that system's locks.
package lockfile
