// Package lossyfs is a disk for tests that loses at a power cut what nobody flushed.
//
// A [Disk] is a file system in memory, mounted by FUSE. It keeps two states: what programs
// see, and what a disk would have kept. A write reaches the second with fsync of its file,
// a name with fsync of its directory. At [Disk.Cut] the first state is thrown away; each
// piece of 512 bytes that was under way to the disk is kept or lost by chance, so that
// writes are torn and out of order, as drives with a cache do it.
//
// [Cuts] is the test that every durable store of ours takes: a process of its own writes
// and says on standard output what it was told is durable, the power is cut, another
// process says what it finds.
//
//	writer ─▶ store ─▶ files ─▶ FUSE ─▶ Disk        Cut ─▶ reader ─▶ store ─▶ what is there
//	   └─▶ "acknowledged" ─────────────────────────────────▶ all of it must be there
//
// [Errors] is the other: a write or an fsync fails with EIO, once, and what it was for never
// reaches the disk, whatever is flushed later.
//
// It needs root and /dev/fuse, and Linux; elsewhere [Cuts] skips. Locks are the kernel's, and
// so is the page cache: a program that maps files sees what it wrote.
//
// The method is that of LazyFS (https://github.com/dsrhaslab/lazyfs), which etcd and Jepsen
// use, without a second program to install.
package lossyfs
