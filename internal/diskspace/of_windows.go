package diskspace

import "golang.org/x/sys/windows"

// Of tells what this user may still store on the volume of a path, and how much it has
// in all.
func Of(path string) (free, total int64, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0, err
	}
	var left, all uint64
	if err := windows.GetDiskFreeSpaceEx(name, &left, &all, nil); err != nil {
		return 0, 0, err
	}
	return int64(left), int64(all), nil
}
