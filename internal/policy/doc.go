// Package policy holds the rules of this repository that a test can hold: which
// package may import which, why each dependency is here, that every directory says
// what it is, how long a function may be, and how foreign bytes are read.
//
// A rule that fails names the place and what to do. To change a rule, change its
// table here, in the commit that needs it, with the reason beside it.
package policy
