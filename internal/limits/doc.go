// Package limits is the one way in which foreign bytes are read: everything that
// comes from a network, a plugin, a file that somebody else may have written.
//
// Every reader here has a bound on size, and the JSON ones a bound on depth, that
// holds before memory is taken. A policy test (internal/policy) forbids the
// unbounded ways (io.ReadAll, os.ReadFile, bufio.Scanner, exec's Output) in the
// rest of the tree, so that "what happens with a gigabyte of it?" has one answer.
//
// Nothing here keeps state between calls but [Buffer], which is safe for
// concurrent use. Exceeding a bound is an error that wraps [ErrTooLarge]; the
// edges turn it into 413 or into a refusal that names the file.
package limits
