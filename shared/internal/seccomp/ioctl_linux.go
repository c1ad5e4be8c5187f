package seccomp

import "golang.org/x/sys/unix"

// Requests that package unix does not have for every architecture: linux/fs.h.
const (
	fsTypeMask     = 0xff00
	fsGetFlags     = 0x80086601
	fsFiemap       = 0xc020660b
	fsGetXattr     = 0x801c581f
	fsGetVersion   = 0x80087601
	fileClone      = 0x40049409
	fileCloneRange = 0x4020940d
	fileDedupe     = 0xc0189436
	siocSetGroup   = 0x8902
	fioSetOwner    = 0x8901
)

// ioctl allows what the devices and files of a process take, except:
//
//   - of terminals what types for others or changes the line's kernel driver;
//   - of file systems all but reading and sharing blocks, because what changes there
//     (immutable flags, encryption, verity, subvolumes) needs only a readable
//     descriptor and is not seen by Landlock;
//   - where the filter holds signals, naming who gets SIGIO.
func (r *rules) ioctl() *node {
	request := low(1)
	kind := request.masked(fsTypeMask)
	reads := r.equal(request, allow, denied,
		fsGetFlags, fsFiemap, fsGetXattr, fsGetVersion, fileClone, fileCloneRange, fileDedupe)
	rest := r.equal(kind, reads, allow, 'f'<<8, 'v'<<8, 'X'<<8, 0x94<<8)
	if r.signals() {
		rest = r.equal(request, denied, rest, fioSetOwner, siocSetGroup)
	}
	return r.equal(request, denied, rest, unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCCONS, unix.TIOCSETD, unix.TIOCVHANGUP)
}
