package cli

import "io/fs"

// openToOthers reports whether others than the owner may read a file: what lies in the
// user's profile they may not, unless somebody has allowed it.
func openToOthers(fs.FileInfo) bool { return false }
