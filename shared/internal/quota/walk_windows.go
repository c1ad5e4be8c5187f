package quota

import (
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// walk counts what is below the directory at path. Links and mount points are not
// followed.
func (c *count) walk(path string) {
	_ = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case name == path || d == nil:
			return nil
		case c.enough():
			return fs.SkipAll
		case err != nil:
			c.blind = true
			return fs.SkipDir
		}
		c.deep = strings.Count(name[len(path):], string(filepath.Separator)) > maxDepth
		c.use.Files++
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			c.use.Bytes += info.Size()
		}
		return nil
	})
}

// removed counts nothing: a file that is open keeps its name here.
func (c *count) removed([]int, bool) {}

// spaceOf tells what this user may still store on the volume of path.
func spaceOf(path string) space {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return space{}
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return space{}
	}
	return space{free: Use{Bytes: int64(free)}, known: true}
}
