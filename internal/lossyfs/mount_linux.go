package lossyfs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows the disk at dir until the function that it returns is called, which waits
// until the file system is gone.
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	d.mu.Lock()
	d.off = false
	d.mu.Unlock()
	never := time.Duration(0)
	server, err := fs.Mount(dir, &node{disk: d, entry: d.root}, &fs.Options{
		EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "lossyfs", Name: "lossyfs"},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a lossy disk at %s: %w", dir, err)
	}
	return func() error {
		if err := server.Unmount(); err != nil {
			return fmt.Errorf("unmount the lossy disk at %s: %w", dir, err)
		}
		server.Wait()
		return nil
	}, nil
}

// node is an entry as FUSE asks for it.
type node struct {
	fs.Inode
	disk  *Disk
	entry *entry
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
)

// powered runs f while nobody else touches the disk, unless its power is off.
func (n *node) powered(f func() syscall.Errno) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.disk.off {
		return syscall.EIO
	}
	return f()
}

func (n *node) child(ctx context.Context, e *entry, out *fuse.EntryOut) *fs.Inode {
	e.attributes(&out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, entry: e}, fs.StableAttr{Mode: e.mode & syscall.S_IFMT, Ino: e.id})
}

func (e *entry) attributes(out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink = e.id, e.mode, uint64(len(e.seen)), 1
	out.Blksize, out.Blocks = 4096, (out.Size+sector-1)/sector
}

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (found *fs.Inode, errno syscall.Errno) {
	errno = n.powered(func() syscall.Errno {
		e := n.entry.names[name]
		if e == nil {
			return syscall.ENOENT
		}
		found = n.child(ctx, e, out)
		return 0
	})
	return found, errno
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.powered(func() syscall.Errno {
		n.entry.attributes(&out.Attr)
		return 0
	})
}

// Setattr implements fs.NodeSetattrer. Times are nobody's concern here.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.powered(func() syscall.Errno {
		if mode, ok := in.GetMode(); ok {
			n.entry.mode = n.entry.mode&syscall.S_IFMT | mode&0o7777
		}
		if size, ok := in.GetSize(); ok {
			n.entry.resize(int64(size))
		}
		n.entry.attributes(&out.Attr)
		return 0
	})
}

// Readdir implements fs.NodeReaddirer.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	var list []fuse.DirEntry
	errno := n.powered(func() syscall.Errno {
		for name, e := range n.entry.names {
			list = append(list, fuse.DirEntry{Name: name, Mode: e.mode & syscall.S_IFMT, Ino: e.id})
		}
		return 0
	})
	return fs.NewListDirStream(list), errno
}

func (n *node) add(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (made *fs.Inode, errno syscall.Errno) {
	errno = n.powered(func() syscall.Errno {
		if n.entry.names[name] != nil {
			return syscall.EEXIST
		}
		e := n.disk.entry(mode)
		n.entry.names[name] = e
		made = n.child(ctx, e, out)
		return 0
	})
	return made, errno
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, _ uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	made, errno := n.add(ctx, name, syscall.S_IFREG|mode&0o7777, out)
	return made, nil, 0, errno
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, name, syscall.S_IFDIR|mode&0o7777, out)
}

func (n *node) remove(name string) syscall.Errno {
	return n.powered(func() syscall.Errno {
		if e := n.entry.names[name]; e == nil {
			return syscall.ENOENT
		} else if len(e.names) > 0 {
			return syscall.ENOTEMPTY
		}
		delete(n.entry.names, name)
		return 0
	})
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno { return n.remove(name) }

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno { return n.remove(name) }

// Rename implements fs.NodeRenamer.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	return n.powered(func() syscall.Errno {
		e := n.entry.names[name]
		if e == nil {
			return syscall.ENOENT
		}
		delete(n.entry.names, name)
		to.(*node).entry.names[newName] = e
		return 0
	})
}

// Open implements fs.NodeOpener.
func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, n.powered(func() syscall.Errno { return 0 })
}

// Read implements fs.NodeReader.
func (n *node) Read(_ context.Context, _ fs.FileHandle, into []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	read := 0
	errno := n.powered(func() syscall.Errno {
		if at < int64(len(n.entry.seen)) {
			read = copy(into, n.entry.seen[at:])
		}
		return 0
	})
	return fuse.ReadResultData(into[:read]), errno
}

// Write implements fs.NodeWriter.
func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	errno := n.powered(func() syscall.Errno {
		if n.disk.fails(OnWrite) {
			return syscall.EIO
		}
		n.entry.write(at, data)
		return 0
	})
	return uint32(len(data)), errno
}

// Fsync implements fs.NodeFsyncer, of files and of directories.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.powered(func() syscall.Errno {
		if n.disk.fails(OnFsync) {
			n.entry.changes = nil
			return syscall.EIO
		}
		n.entry.flush()
		return 0
	})
}
