// Package diskspace tells how much room a file system has, and which errors say that there is none.
//
// It owns the question to the kernel, which is another one on each system, and nothing of
// what is too little: agents decide that before they take work (G6), and the server when
// somebody asks its doctor.
//
//	free, total, err := diskspace.Of(dir)
//
// Invariants: free is what this process may still write, not what only root may; an error
// says that nothing is known, never that there is no room. There is no state, and any number
// may ask at once. One question is one system call of about a microsecond.
package diskspace
