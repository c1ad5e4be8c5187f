// Package failpoint names the places before and after each durable step, so that a test
// can let a process die, panic, hang or fail exactly there.
//
//	go build -tags failpoints …                 programs with the points
//	FAILPOINTS=/some/dir bin/…          points of this process are in /some/dir/<program>
//	echo kill > /some/dir/<program>/NAME.armed  the next time that it gets there
//
// Without the tag every function here returns nil and is inlined away, with the names: no
// byte of a release has to do with this (TestReleasesHaveNoFailpoints of test/chaos). That
// is why it is a tag and not a switch: no environment of a host may be able to stop an
// agent (ADR 14).
//
// # In a process with points
//
//	NAME.seen    the process got to the point, armed or not
//	NAME.armed   the action, put there by the test (and renamed into place): panic, kill,
//	             sleep (a second) or error; with a rate and a seed behind it, as in
//	             "error 0.01 7", it is done in that part of the times, until the file is gone
//	NAME.hit     what NAME.armed becomes, once, before the action is done: the proof; where
//	             there is a rate, a file with a byte for each time
//
// Files need no protocol and outlive the process that they end.
//
// # Names
//
// part.step, and where one place serves many, what tells them apart behind a colon: a
// file's name, a phase, the function that called. An error that is injected before a step
// says truly that nothing was done; one after it is a lie of the kind that networks tell:
// it was done, and the caller hears that it failed.
//
// # Invariants
//
//   - One file NAME.armed without a rate makes one action, also with many goroutines at the
//     point.
//   - A point never makes a step that failed look as if it had not.
package failpoint
