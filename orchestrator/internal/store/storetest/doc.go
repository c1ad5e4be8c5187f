// Package storetest is the suite that every engine of package store must pass. It
// tests only what the interfaces promise, so a server may rely on no more.
//
// An engine's test calls [Run] with a function that opens a store on a directory; the
// second call with the same directory must find what the first one left there. What
// an engine promises besides, such as surviving kill -9, it tests itself.
package storetest
