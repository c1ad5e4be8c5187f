// Package quota watches what a plugin stores in its temporary directory and how
// much its home grows, where no file system of its own holds it to a size, and says
// when it is too much. It does not end anybody: package sandbox does.
//
// It counts, every time it looks: blocks and inodes of all that has a name in the
// directories, a file with several names once; and of files that are open in the
// plugin's processes and have no name any more, as temporary files of Python have
// not. It neither follows links nor waits for a FIFO, and opens what the plugin
// locked.
//
// # When it looks
//
//	        first   idle ─── heard something, or 100 ms ───┐
//	start ──────▶ look ─── nothing new ──▶ idle            │
//	                ▲  └── something new ─▶ glance ◀────────┘
//	                └── the limit may be exceeded, or 100 ms ──┘
//
// A glance asks the file system how much it has lost, which takes a microsecond. The
// pauses between glances are as long as a fast disk's cache takes to swallow what
// there is room for: 16 ms for 64 MiB, 1 ms at least. A look goes through the files;
// looks take at most a hundredth of one processor's time, and a third when the limit
// is near. On file systems that count late (btrfs, network) every glance is a look.
//
// # What it holds, measured on Linux 6.18, ext4, two processors
//
// Twelve ways to fill a disk at full speed (1 GB/s), limit 64 MiB and 4096 files:
// ended at 64 to 77 MiB; with four threads that keep both processors from the watch,
// or 4000 files that slow the look down, at 65 to 111 MiB; and at 4100 to 4220 files
// (go test -v -run Attacks, as root and as an ordinary user). A watch costs a plugin
// that lives shortly 26 µs, a look at 10 files 44 µs, at 4000 files 4 ms (-bench .).
//
// It does not hold fallocate(2), which reserves gigabytes within a millisecond: 4.6
// GB were gone before the process was. The system call filter refuses it. Nor
// does it see a file whose only descriptor is on its way through a socket; RLIMIT_FSIZE
// bounds one such file, the kernel their number (RLIMIT_NOFILE).
//
// # Concurrency, failure
//
// A watch is one goroutine, which Close ends and waits for; while one of them idles,
// another reads notifications for all. A directory that cannot be read is looked at
// with suspicion: then what the whole file system lost counts. A home of more than
// 100,000 files is over every limit. Directories nested more than 100 deep are too:
// removing them takes a descriptor for each level.
package quota
