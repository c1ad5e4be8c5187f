// Package processors gives a program that waits for disks enough of Go's processors.
//
// Of these (GOMAXPROCS) there are as many as the machine has. A goroutine in a system call
// keeps its one until the runtime notices, which takes from 20 µs to 10 ms: an fsync mostly
// has ended by then. So where two goroutines wait for their records to be durable on a
// machine with two processors nothing else runs meanwhile, although both are idle: no
// answer is read, no claim is sent.
//
// # Cost
//
// Some 50 kB of memory for each. What runs at a time is bounded by the machine as ever.
//
// # Failure
//
// There is none. Who sets GOMAXPROCS knows better, and is left alone.
package processors
